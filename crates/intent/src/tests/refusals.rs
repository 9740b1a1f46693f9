//! What is refused of payloads of any kind, each test with exactly one check that fires.

use quorate_model::{
    DerivationPath, KeyPurpose, Payload, PayloadKind, Purposes, Reason, Refusal, Scheme,
    payload::{MAX_PAYLOAD_BYTES, MAX_PAYLOADS, MAX_SIGNING_ITEMS, pop_message},
};

use super::fixtures::{CHAIN_CODE, WholeKey, output, plain, spend, stranger};
use crate::{
    BatchUndecodable, KeyFacts, Network, Undecodable, address, decode, decode_all, inspect,
    taproot_script,
};

#[test]
fn a_payload_is_signed_only_under_its_own_purpose() {
    for kind in PayloadKind::ALL {
        let payload = Payload {
            kind,
            bytes: vec![5; 32],
            allow_high_fee: false,
            path: DerivationPath::ROOT,
        };
        let others: Vec<_> = KeyPurpose::ALL
            .into_iter()
            .filter(|purpose| *purpose != kind.purpose())
            .collect();

        // No scheme signs the kinds of EVM chains.
        let scheme = Scheme::ALL.into_iter().find(|scheme| is_fit(*scheme, kind));
        let Some(scheme) = scheme else {
            continue;
        };

        let error = decode_as(scheme, &others, &payload).unwrap_err();

        assert_eq!(
            error,
            Undecodable::WrongPurpose {
                kind,
                purposes: purposes(&others)
            }
        );
        assert_eq!(error.reason(), Reason::PurposeMismatch);
    }
}

#[test]
fn a_wrong_purpose_says_which_the_key_has_and_which_is_needed() {
    let error = decode_as(
        Scheme::Ed25519,
        &[KeyPurpose::Transactions],
        &Payload::message(*b"hello"),
    )
    .unwrap_err();

    assert_eq!(
        error.to_string(),
        "the key has the purpose transactions, a payload of kind message needs the purpose \
         messages: use a key that was created with it, purposes are fixed at creation"
    );
}

#[test]
fn a_scheme_signs_only_the_kinds_that_it_has_signatures_for() {
    let check = |scheme, payload: &Payload, fits: bool| {
        let unfit = Err(Undecodable::SchemeUnfit {
            kind: payload.kind,
            scheme,
        });
        let result = decode_as(scheme, &KeyPurpose::ALL, payload);
        assert_eq!(result == unfit, !fits, "{scheme} {payload:?} {result:?}");
    };
    let psbt = Payload::psbt(plain(&WholeKey::number(1)).serialize());
    let digest = Payload::digest([5; 32]);
    let message = Payload::message(*b"hello");

    check(Scheme::Bip340, &psbt, true);
    check(Scheme::FrostSecp256k1, &psbt, false);
    check(Scheme::Ed25519, &psbt, false);
    check(Scheme::Bip340, &digest, true);
    check(Scheme::FrostSecp256k1, &digest, true);
    check(Scheme::Ed25519, &digest, false);
    check(Scheme::Bip340, &message, true);
    check(Scheme::FrostSecp256k1, &message, true);
    check(Scheme::Ed25519, &message, true);
    check(Scheme::EcdsaSecp256k1, &digest, true);
    // Whoever signs the hash of 32 bytes may have signed the hash of a Bitcoin transaction.
    check(Scheme::EcdsaSecp256k1, &message, false);
    for scheme in Scheme::ALL {
        for kind in [
            PayloadKind::EvmTransaction,
            PayloadKind::EvmMessage,
            PayloadKind::EvmTypedData,
        ] {
            let fits = scheme == Scheme::EcdsaSecp256k1;
            check(scheme, &Payload::new(kind, *b"{}"), fits);
        }
        let solana = Payload::solana_message(*b"x");
        check(scheme, &solana, scheme == Scheme::Ed25519);
    }
}

#[test]
fn a_bip340_message_of_32_bytes_needs_the_purpose_digests_too() {
    let messages = [KeyPurpose::Messages];
    let both = [KeyPurpose::Messages, KeyPurpose::Digests];
    let of = |length: usize| Payload::message(vec![5; length]);

    let alone = decode_as(Scheme::Bip340, &messages, &of(32));

    assert_eq!(alone, Err(Undecodable::BareDigest));
    assert_eq!(decode_as(Scheme::Bip340, &both, &of(32)), Ok(()));
    assert_eq!(decode_as(Scheme::Bip340, &messages, &of(31)), Ok(()));
    assert_eq!(decode_as(Scheme::Bip340, &messages, &of(33)), Ok(()));
    assert_eq!(decode_as(Scheme::Ed25519, &messages, &of(32)), Ok(()));
    assert_eq!(
        decode_as(Scheme::FrostSecp256k1, &messages, &of(32)),
        Ok(())
    );
}

#[test]
fn a_client_cannot_have_a_proof_of_possession_signed() {
    let proof = pop_message(&quorate_model::Digest::new([3; 32]));
    let beginning = proof.get(..12).unwrap();
    let mut digest = beginning.to_vec();
    digest.resize(32, 0);

    for scheme in Scheme::FROST {
        for message in [&proof[..], beginning] {
            let result = decode_as(scheme, &KeyPurpose::ALL, &Payload::message(message));
            assert_eq!(result, Err(Undecodable::InternalProof), "{scheme}");
        }
    }
    assert_eq!(
        decode_as(Scheme::Bip340, &KeyPurpose::ALL, &Payload::digest(digest)),
        Err(Undecodable::InternalProof)
    );
}

#[test]
fn a_message_that_only_resembles_an_internal_proof_is_signed() {
    for message in [
        &b"\xff"[..],
        b"\xffquorate/v1",
        b"\xffquorate/v2/pop",
        b"quorate/v1/pop",
    ] {
        let payload = Payload::message(message);
        assert_eq!(
            decode_as(Scheme::Bip340, &[KeyPurpose::Messages], &payload),
            Ok(())
        );
    }
}

#[test]
fn a_digest_has_exactly_32_bytes() {
    for length in [0, 31, 33, 64] {
        let payload = Payload::digest(vec![5; length]);
        assert_eq!(
            decode_as(Scheme::Bip340, &[KeyPurpose::Digests], &payload),
            Err(Undecodable::DigestLength { found: length })
        );
    }
}

#[test]
fn a_payload_beyond_the_bound_is_refused_unread() {
    for kind in PayloadKind::ALL {
        let found = MAX_PAYLOAD_BYTES + 1;
        let payload = Payload {
            kind,
            bytes: vec![5; found],
            allow_high_fee: false,
            path: DerivationPath::ROOT,
        };
        assert_eq!(
            inspect(&payload),
            Err(Undecodable::TooLarge { kind, found })
        );
        for scheme in Scheme::ALL
            .into_iter()
            .filter(|scheme| is_fit(*scheme, kind))
        {
            let error = decode_as(scheme, &KeyPurpose::ALL, &payload).unwrap_err();
            assert_eq!(error, Undecodable::TooLarge { kind, found });
        }
    }
    let largest = Payload::message(vec![5; MAX_PAYLOAD_BYTES]);
    assert_eq!(
        decode_as(Scheme::Bip340, &[KeyPurpose::Messages], &largest),
        Ok(())
    );
}

#[test]
fn a_group_key_that_is_no_point_is_refused() {
    let purposes = purposes(&[KeyPurpose::Transactions]);
    let payload = Payload::psbt(plain(&WholeKey::number(1)).serialize());
    for group_key in [vec![2; 32], vec![5; 33], vec![0; 0], vec![4; 65]] {
        let key = KeyFacts {
            scheme: Scheme::Bip340,
            purposes: &purposes,
            group_key: &group_key,
            chain_code: &CHAIN_CODE,
        };
        let expected = Undecodable::MalformedKey {
            found: group_key.len(),
        };

        assert_eq!(decode(&payload, &key).unwrap_err(), expected);
        assert_eq!(
            address(&key, &DerivationPath::ROOT, Network::Bitcoin, None).unwrap_err(),
            expected
        );
        assert_eq!(taproot_script(&group_key).unwrap_err(), expected);
    }
}

#[test]
fn an_address_is_not_shown_for_a_key_that_could_not_spend_from_it() {
    let key = WholeKey::number(1);
    let other_purpose = purposes(&[KeyPurpose::Messages, KeyPurpose::Digests]);
    let without_purpose = KeyFacts {
        purposes: &other_purpose,
        ..key.facts()
    };
    let other_scheme = KeyFacts {
        scheme: Scheme::FrostSecp256k1,
        ..key.facts()
    };

    assert!(address(&key.facts(), &DerivationPath::ROOT, Network::Bitcoin, None).is_ok());
    assert!(matches!(
        address(
            &without_purpose,
            &DerivationPath::ROOT,
            Network::Bitcoin,
            None
        ),
        Err(Undecodable::WrongPurpose { .. })
    ));
    assert!(matches!(
        address(&other_scheme, &DerivationPath::ROOT, Network::Bitcoin, None),
        Err(Undecodable::SchemeUnfit { .. })
    ));
}

#[test]
fn the_payloads_of_a_command_are_bounded_and_refused_together() {
    let key = WholeKey::number(1);
    let good = Payload::psbt(plain(&key).serialize());
    let bad = Payload::psbt(vec![]);
    let spent = vec![output(key.script(), 1000); MAX_SIGNING_ITEMS];
    let paid = vec![output(
        stranger(),
        950 * u64::try_from(MAX_SIGNING_ITEMS).unwrap(),
    )];
    let full = Payload::psbt(spend(spent, paid).serialize());
    let decode = |payloads: &[Payload]| decode_all(payloads, &key.facts()).map(|all| all.len());

    assert_eq!(decode(&[]), Err(BatchUndecodable::Empty));
    assert_eq!(decode(&vec![good.clone(); MAX_PAYLOADS]), Ok(MAX_PAYLOADS));
    assert_eq!(
        decode(&vec![good.clone(); MAX_PAYLOADS + 1]),
        Err(BatchUndecodable::TooManyPayloads {
            found: MAX_PAYLOADS + 1
        })
    );
    assert_eq!(
        decode(&[good.clone(), bad]),
        Err(BatchUndecodable::Payload {
            index: 1,
            error: Undecodable::NotPsbt
        })
    );
    assert_eq!(decode(std::slice::from_ref(&full)), Ok(1));
    assert_eq!(
        decode(&[full, good]),
        Err(BatchUndecodable::TooManyItems { index: 1 })
    );
}

#[test]
fn a_refusal_carries_reason_detail_and_payload() {
    let error = BatchUndecodable::Payload {
        index: 3,
        error: Undecodable::NoAmount { input: 2 },
    };

    let refusal = Refusal::from(&error);

    assert_eq!(refusal.reason, Reason::PayloadRefused);
    assert_eq!(refusal.get("detail"), Some("PSBT_AMOUNT_MISSING"));
    assert_eq!(refusal.get("payload"), Some("3"));
    assert!(
        refusal
            .message
            .starts_with("payload 3: input 2 of the PSBT has no witness_utxo")
    );
    assert_eq!(
        Refusal::from(&Undecodable::BareDigest).get("detail"),
        Some("BARE_DIGEST")
    );
}

/// Whether a scheme has signatures for a kind.
fn is_fit(scheme: Scheme, kind: PayloadKind) -> bool {
    let unfit = Err(Undecodable::SchemeUnfit { kind, scheme });
    decode_as(scheme, &KeyPurpose::ALL, &Payload::new(kind, [])) != unfit
}

fn purposes(list: &[KeyPurpose]) -> Purposes {
    Purposes::new(list.to_vec()).unwrap()
}

fn decode_as(scheme: Scheme, list: &[KeyPurpose], payload: &Payload) -> Result<(), Undecodable> {
    let purposes = purposes(list);
    let key = WholeKey::number(1);
    let facts = KeyFacts {
        scheme,
        purposes: &purposes,
        group_key: key.group_key(),
        chain_code: &CHAIN_CODE,
    };
    decode(payload, &facts).map(|_| ())
}
