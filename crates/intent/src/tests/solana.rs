//! What is said about Solana messages. The bytes of the vectors were made by the Solana SDK; the
//! key is the Ed25519 key of the seed `07…07`.

use proptest::{collection::vec, prelude::*, sample};
use quorate_model::{DerivationPath, KeyPurpose, Payload, Purposes, Scheme};

use super::{fixtures::CHAIN_CODE, properties::Damage};
use crate::{
    Amount, Asset, Decoded, Facts, Finished, ItemTweak, KeyFacts, SolanaFacts, SolanaVersion,
    Transfer, Undecodable, decode, finish, inspect, solana, solana_address,
};

pub(super) const KEY: &str = "ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c";
const ADDRESS: &str = "GmaDrppBC7P5ARKV8g3djiwP89vz1jLK23V2GBjuAEGB";
const TO: &str = "cGfHiC6Kgg3FpFZvgwGcswsCRtp4aBP2fzuXRQPizuN";

/// A transfer of 1,234,567 lamports.
pub(super) const LEGACY: &str = "01000103ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c090909090909090909\
    090909090909090909090909090909090909090909090900000000000000000000000000000000000000000000\
    000000000000000000000303030303030303030303030303030303030303030303030303030303030303010202\
    00010c0200000087d6120000000000";

/// The same, with a limit of 200,000 compute units at 5,000 millionths of a lamport.
pub(super) const V0: &str = "8001000204ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c0909090909090909\
    090909090909090909090909090909090909090909090909000000000000000000000000000000000000000000\
    00000000000000000000000306466fe5211732ffecadba72c39be7bc8ce5bbc5f7126b2c439b3a400000000303\
    0303030303030303030303030303030303030303030303030303030303030303000502400d0300030009038813\
    000000000000020200010c0200000087d612000000000000";

/// The same, with the destination in a lookup table.
pub(super) const LOOKUP: &str = "8001000102ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c0000000000000000\
    000000000000000000000000000000000000000000000000030303030303030303030303030303030303030303\
    030303030303030303030301010200020c0200000087d612000000000001050505050505050505050505050505\
    0505050505050505050505050505050505010000";

/// Five million units of a token with six decimals, and a memo.
pub(super) const TOKEN: &str = "01000306ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c0b0b0b0b0b0b0b0b0b\
    0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d\
    0d0d0d0d0d0d0d0d0d0d054a535a992921064d24e87160da387c7c35b5ddbc92bb81e41fa8404105448d06ddf6\
    e1d765a193d9cbe146ceeb79ac1cb485ed5f5b37913a8cf5857eff00a90c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c\
    0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0303030303030303030303030303030303030303030303030303030303\
    030303020404010502000a0c404b4c0000000000060300076f726465722037";

pub(super) fn bytes(hex: &str) -> Vec<u8> {
    hex::decode(hex).unwrap()
}

pub(super) fn decode_for(key: &[u8], message: &[u8]) -> Result<Decoded, Undecodable> {
    let purposes = Purposes::new(vec![KeyPurpose::Transactions]).unwrap();
    let facts = KeyFacts {
        scheme: Scheme::Ed25519,
        purposes: &purposes,
        group_key: key,
        chain_code: &CHAIN_CODE,
    };
    decode(&Payload::solana_message(message), &facts)
}

pub(super) fn facts_of(message: &[u8]) -> Result<SolanaFacts, Undecodable> {
    let Facts::SolanaMessage(facts) = inspect(&Payload::solana_message(message))? else {
        panic!("a Solana message has facts of its own")
    };
    Ok(facts)
}

fn native(to: &str, amount: u64) -> Transfer {
    Transfer {
        asset: Asset::Native,
        from: Some(ADDRESS.to_owned()),
        to: to.to_owned(),
        amount: amount.into(),
        decimals: Some(9),
    }
}

#[test]
fn a_transfer_is_shown_and_its_exact_bytes_are_signed() {
    let message = bytes(LEGACY);

    let decoded = decode_for(&bytes(KEY), &message).unwrap();

    let [item] = decoded.items.as_slice() else {
        panic!("one signature is made")
    };
    assert_eq!(item.message, message);
    assert_eq!((item.tweak, item.input), (ItemTweak::None, None));
    let facts = facts_of(&message).unwrap();
    assert_eq!(decoded.facts, Facts::SolanaMessage(facts.clone()));
    assert_eq!(facts.chain, None);
    assert_eq!(facts.version, SolanaVersion::Legacy);
    assert_eq!(facts.fee_payer, ADDRESS);
    assert_eq!(facts.signers, [ADDRESS]);
    assert_eq!(
        facts.recent_blockhash,
        "CktRuQ2mttgRGkXJtyksdKHjUdc2C4TgDzyB98oEzy8"
    );
    assert_eq!(facts.transfers, [native(TO, 1_234_567)]);
    assert_eq!(facts.max_fee, Amount::from(5000_u64));
    assert_eq!(facts.instructions[0].name.as_deref(), Some("transfer"));
    assert!(!facts.blind);
}

#[test]
fn the_price_of_compute_units_is_part_of_the_fee() {
    let facts = facts_of(&bytes(V0)).unwrap();

    assert_eq!(facts.version, SolanaVersion::V0);
    assert_eq!(facts.transfers, [native(TO, 1_234_567)]);
    // 5000 for the signature, and 200,000 units at 0.005 lamports.
    assert_eq!(facts.max_fee, Amount::from(6000_u64));
    assert!(!facts.blind);
    assert!(decode_for(&bytes(KEY), &bytes(V0)).is_ok());
}

#[test]
fn a_token_transfer_names_mint_accounts_and_amount() {
    let facts = facts_of(&bytes(TOKEN)).unwrap();

    let expected = Transfer {
        asset: Asset::Token("p2Yicb86aZig616Eav2VWG9vuXR5mEqhtzshZYBxzsV".to_owned()),
        from: Some("k7FaK87WHGVXzkaoHb7CdVPgkKDQhZ29VLDeBVbDfYn".to_owned()),
        to: "swqrv48gsrwpBFbftEwnP2vB4jckpvfGJfXkwaniLCC".to_owned(),
        amount: 5_000_000_u64.into(),
        decimals: Some(6),
    };
    assert_eq!(facts.transfers, [expected]);
    assert_eq!(facts.instructions[1].memo.as_deref(), Some("order 7"));
    assert!(!facts.blind);
}

#[test]
fn a_lookup_table_hides_the_destination_and_makes_the_message_blind() {
    let facts = facts_of(&bytes(LOOKUP)).unwrap();
    let refused = decode_for(&bytes(KEY), &bytes(LOOKUP)).unwrap_err();

    assert!(facts.blind);
    assert_eq!(facts.transfers, []);
    assert!(facts.blind_because[0].contains("lookup table"));
    assert!(facts.instructions[0].accounts[1].contains("lookup table"));
    assert_eq!(refused.detail(), "SOLANA_BLIND");
}

#[test]
fn a_signature_comes_back_as_it_is_and_completes_the_transaction_of_its_only_signer() {
    let purposes = Purposes::new(vec![KeyPurpose::Transactions]).unwrap();
    let key = bytes(KEY);
    let facts = KeyFacts {
        scheme: Scheme::Ed25519,
        purposes: &purposes,
        group_key: &key,
        chain_code: &CHAIN_CODE,
    };
    let payload = Payload::solana_message(bytes(LEGACY));
    let signature = vec![0x5a; 64];

    let finished = finish(&payload, &facts, std::slice::from_ref(&signature)).unwrap();
    let transaction = solana::transaction(&payload.bytes, &key, &signature).unwrap();

    assert_eq!(finished, Finished::Signature(signature.clone()));
    let expected = [&[1][..], &signature, &payload.bytes].concat();
    assert_eq!(transaction.bytes, expected);
    assert!(transaction.complete);
    assert!(solana::transaction(&payload.bytes, &[9; 32], &signature).is_err());
    assert!(solana::transaction(&payload.bytes, &key, &signature[1..]).is_err());
}

#[test]
fn a_second_signer_has_zeros_until_it_signs() {
    let mut message = bytes(LEGACY);
    message[0] = 2;

    let second = solana::transaction(&message, &[9; 32], &[0x5a; 64]).unwrap();

    assert!(!second.complete);
    assert_eq!(second.bytes[..65], [&[2][..], &[0; 64]].concat());
    assert_eq!(second.bytes[65..129], [0x5a; 64]);
}

#[test]
fn a_message_that_a_validator_would_take_for_a_transaction_is_not_signed_as_text() {
    let purposes = Purposes::new(vec![KeyPurpose::Messages]).unwrap();
    let key = bytes(KEY);
    let facts = KeyFacts {
        scheme: Scheme::Ed25519,
        purposes: &purposes,
        group_key: &key,
        chain_code: &CHAIN_CODE,
    };
    let sign = |message: &[u8]| decode(&Payload::message(message), &facts).map(|_| ());
    let mut later_version = bytes(V0);
    later_version[0] = 0x81;
    let mut as_second_signer = bytes(LEGACY);
    as_second_signer[0] = 2;
    as_second_signer[4..68].rotate_left(32);
    let mut unsigned = bytes(LEGACY);
    unsigned[4..68].rotate_left(32);
    let off_chain = [b"\xffsolana offchain".as_slice(), &key].concat();

    for refused in [
        bytes(LEGACY),
        bytes(V0),
        bytes(LOOKUP),
        later_version,
        as_second_signer,
    ] {
        assert_eq!(sign(&refused), Err(Undecodable::MessageIsTransaction));
    }
    for signed in [&b"hello"[..], b"", &[1, 0, 0], &unsigned, &off_chain] {
        assert_eq!(sign(signed), Ok(()));
    }
}

/// A message with any indices, which may be out of range.
fn any_message() -> impl Strategy<Value = Vec<u8>> {
    let instruction = (0u8..8, vec(0u8..8, 0..5), vec(any::<u8>(), 0..16)).prop_map(
        |(program, accounts, data)| {
            let mut bytes = vec![program, u8::try_from(accounts.len()).unwrap()];
            bytes.extend(accounts);
            bytes.push(u8::try_from(data.len()).unwrap());
            bytes.extend(data);
            bytes
        },
    );
    let header = (0u8..4, 0u8..3, 0u8..4);
    (header, 0usize..6, vec(instruction, 0..4), any::<bool>()).prop_map(
        |((signatures, read_signed, read), keys, instructions, versioned)| {
            let mut bytes = Vec::new();
            if versioned {
                bytes.push(0x80);
            }
            bytes.extend([signatures, read_signed, read, u8::try_from(keys).unwrap()]);
            for key in (0..keys).map(|key| u8::try_from(key).unwrap()) {
                bytes.extend([key; 32]);
            }
            bytes.extend([3; 32]);
            bytes.push(u8::try_from(instructions.len()).unwrap());
            bytes.extend(instructions.concat());
            if versioned {
                bytes.push(0);
            }
            bytes
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn random_bytes_and_random_messages_never_panic(
        garbage in vec(any::<u8>(), 0..300),
        message in any_message(),
    ) {
        let _ = facts_of(&garbage);
        let _ = decode_for(&bytes(KEY), &garbage);
        let _ = facts_of(&message);
    }

    #[test]
    fn damaged_messages_never_panic_and_have_one_encoding(
        vector in sample::select(vec![LEGACY, V0, LOOKUP, TOKEN]),
        damages in vec(Damage::any(), 1..4),
    ) {
        let mut message = bytes(vector);
        for damage in damages {
            damage.inflict(&mut message);
        }
        if facts_of(&message).is_ok() {
            let mut longer = message.clone();
            longer.push(0);
            prop_assert!(facts_of(&longer).is_err());
            prop_assert!(facts_of(&message[..message.len() - 1]).is_err());
        }
    }

    #[test]
    fn amounts_are_read_exactly(lamports in any::<u64>()) {
        let mut message = bytes(LEGACY);
        let at = message.len() - 8;
        message[at..].copy_from_slice(&lamports.to_le_bytes());

        prop_assert_eq!(facts_of(&message).unwrap().transfers, [native(TO, lamports)]);
    }
}

#[test]
fn a_child_signs_what_names_it_and_no_message_that_is_a_transaction_of_it() {
    let key = bytes(KEY);
    let path: DerivationPath = "m/0/7".parse().unwrap();
    let purposes = Purposes::new(vec![KeyPurpose::Transactions, KeyPurpose::Messages]).unwrap();
    let facts = KeyFacts {
        scheme: Scheme::Ed25519,
        purposes: &purposes,
        group_key: &key,
        chain_code: &CHAIN_CODE,
    };
    let parent =
        ed25519_bip32::XPub::from_pk_and_chaincode(key.as_slice().try_into().unwrap(), &CHAIN_CODE);
    let step = |xpub: &ed25519_bip32::XPub, index| {
        let scheme = ed25519_bip32::DerivationScheme::V2;
        xpub.derive(scheme, index).unwrap()
    };
    let child = step(&step(&parent, 0), 7).public_key();
    let message = bytes(&LEGACY.replace(KEY, &hex::encode(child)));
    let decode_at = |payload: Payload| decode(&payload.at(path.clone()), &facts);

    let decoded = decode_at(Payload::solana_message(message.clone())).unwrap();

    assert_eq!(decoded.items[0].path, path);
    assert_eq!(
        decode_at(Payload::message(message.clone())),
        Err(Undecodable::MessageIsTransaction)
    );
    let by_parent = decode(&Payload::solana_message(message), &facts);
    assert!(
        matches!(by_parent, Err(Undecodable::Solana(_))),
        "{by_parent:?}"
    );
    let of_parent = decode_at(Payload::solana_message(bytes(LEGACY)));
    assert!(
        matches!(of_parent, Err(Undecodable::Solana(_))),
        "{of_parent:?}"
    );
    assert_eq!(
        solana_address(&facts, &path).unwrap(),
        solana::address(&child)
    );
    assert_eq!(
        solana_address(&facts, &DerivationPath::ROOT).unwrap(),
        ADDRESS
    );
}
