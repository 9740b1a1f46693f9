//! Children of a key: what wallets derive from the extended public key, what PSBTs claim by key
//! origins, and spends that Bitcoin Core accepts.

use bitcoin::{
    Psbt, ScriptBuf,
    bip32::{Fingerprint, Xpub},
    key::{Secp256k1, TapTweak as _},
    secp256k1::{Message, XOnlyPublicKey},
    taproot::{LeafVersion, TapLeafHash, TaprootBuilder},
};
use miniscript::{Descriptor, DescriptorPublicKey};
use quorate_model::{DerivationPath, KeyPurpose, Payload, Purposes, Scheme};

use super::{
    fixtures::{WholeKey, decode_psbt, output, spend, stranger},
    judges::{core_accepts, spent_outputs, transaction_of},
};
use crate::{
    BatchUndecodable, Facts, Finished, KeyFacts, Network, SigningItem, Undecodable, WatchOnly,
    address, decode, decode_all, finish, taproot::of_library, watch_only,
};

fn path(text: &str) -> DerivationPath {
    text.parse().unwrap()
}

fn internal(key: &WholeKey, path: &DerivationPath) -> XOnlyPublicKey {
    let secp = Secp256k1::new();
    key.private(path).private_key.x_only_public_key(&secp).0
}

fn script(key: &WholeKey, path: &DerivationPath) -> ScriptBuf {
    ScriptBuf::new_p2tr(&Secp256k1::new(), internal(key, path), None)
}

/// A key origin as wallets write it.
type Origin = (
    Vec<TapLeafHash>,
    (Fingerprint, bitcoin::bip32::DerivationPath),
);

fn origin(key: &WholeKey, path: &str) -> Origin {
    let path = path.trim_start_matches('m').trim_start_matches('/');
    (vec![], (key.fingerprint(), path.parse().unwrap()))
}

fn claim_input(key: &WholeKey, psbt: &mut Psbt, index: usize, at: &str) {
    let internal = internal(key, &path(at));
    psbt.inputs[index].tap_key_origins = [(internal, origin(key, at))].into();
}

fn claim_output(key: &WholeKey, psbt: &mut Psbt, index: usize, at: &str) {
    let internal = internal(key, &path(at));
    psbt.outputs[index].tap_key_origins = [(internal, origin(key, at))].into();
}

/// A signature as the shares of the child would make it.
fn sign(key: &WholeKey, item: &SigningItem) -> Vec<u8> {
    let secp = Secp256k1::new();
    let pair = key
        .private(&item.path)
        .to_keypair(&secp)
        .tap_tweak(&secp, None);
    let message = Message::from_digest(item.message.as_slice().try_into().unwrap());
    secp.sign_schnorr_no_aux_rand(&message, &pair.to_keypair())
        .serialize()
        .to_vec()
}

#[test]
fn core_accepts_a_spend_of_the_key_and_of_two_children() {
    let key = WholeKey::number(1);
    let (one, two, change) = (path("m/0/5"), path("m/0/2147483647"), path("m/1/9"));
    let spent = vec![
        output(script(&key, &one), 100_000),
        output(stranger(), 50_000),
        output(key.script(), 200_000),
        output(script(&key, &two), 300_000),
    ];
    let paid = vec![
        output(stranger(), 400_000),
        output(script(&key, &change), 240_000),
    ];
    let mut psbt = spend(spent, paid);
    claim_input(&key, &mut psbt, 0, "m/0/5");
    claim_input(&key, &mut psbt, 3, "m/0/2147483647");
    claim_output(&key, &mut psbt, 1, "m/1/9");

    let payload = Payload::psbt(psbt.serialize());
    let decoded = decode(&payload, &key.facts()).unwrap();
    let signatures: Vec<_> = decoded.items.iter().map(|item| sign(&key, item)).collect();
    let Finished::Psbt(signed) = finish(&payload, &key.facts(), &signatures).unwrap() else {
        panic!("a PSBT comes back as a PSBT")
    };

    let paths: Vec<_> = decoded.items.iter().map(|item| item.path.clone()).collect();
    assert_eq!(paths, [one, DerivationPath::ROOT, two]);
    let transaction = transaction_of(&signed);
    for input in [0, 2, 3] {
        assert!(
            core_accepts(&transaction, &spent_outputs(&psbt), input),
            "input {input}"
        );
    }
    let Facts::Psbt(facts) = decoded.facts else {
        panic!("the facts are those of a PSBT")
    };
    assert_eq!(facts.own_input_total_sat, 600_000);
    assert_eq!(facts.change_total_sat, 240_000);
    assert_eq!(facts.outputs[1].path, Some(change));
    assert_eq!(facts.outputs[0].path, None);
    assert_eq!(facts.inputs[1].path, None);
}

#[test]
fn a_child_that_no_origin_names_is_somebody_elses() {
    let key = WholeKey::number(1);
    let child = script(&key, &path("m/0/5"));
    let spent = vec![output(key.script(), 100_000), output(child.clone(), 50_000)];
    let psbt = spend(spent, vec![output(child, 140_000)]);

    let decoded = decode_psbt(&key, &psbt).unwrap();

    assert_eq!(decoded.items.len(), 1);
    let Facts::Psbt(facts) = decoded.facts else {
        panic!("the facts are those of a PSBT")
    };
    assert_eq!(facts.change_total_sat, 0);
}

#[test]
fn a_claim_that_is_not_true_is_refused_wherever_it_stands() {
    let key = WholeKey::number(1);
    let child = script(&key, &path("m/0/5"));
    let hidden = |internal: XOnlyPublicKey| {
        let leaf = ScriptBuf::from_hex("51").unwrap();
        let tree = TaprootBuilder::new().add_leaf(0, leaf).unwrap();
        let info = tree.finalize(&Secp256k1::new(), internal).unwrap();
        ScriptBuf::new_p2tr_tweaked(info.output_key())
    };
    let make = |paid: ScriptBuf| {
        let spent = vec![
            output(child.clone(), 100_000),
            output(key.script(), 100_000),
        ];
        spend(spent, vec![output(paid, 190_000)])
    };
    let check = |psbt: &Psbt, side: &'static str| {
        let error = decode_psbt(&key, psbt).unwrap_err();
        assert_eq!(error, Undecodable::FalseOrigin { side, index: 0 });
    };

    // Another path than that of the script.
    let mut other_path = make(stranger());
    claim_input(&key, &mut other_path, 0, "m/0/6");
    check(&other_path, "input");
    // The right path under the wrong key.
    let mut other_key = make(stranger());
    let wrong = internal(&WholeKey::number(2), &DerivationPath::ROOT);
    other_key.inputs[0].tap_key_origins = [(wrong, origin(&key, "m/0/5"))].into();
    check(&other_key, "input");
    // Change that hides a script tree behind the key of a child.
    let mut hides = make(hidden(internal(&key, &path("m/1/0"))));
    claim_output(&key, &mut hides, 0, "m/1/0");
    check(&hides, "output");
    // Change to a stranger.
    let mut steals = make(stranger());
    claim_output(&key, &mut steals, 0, "m/1/0");
    check(&steals, "output");
    // Paths that no shared key has.
    let (side, index, steps) = ("output", 0, 11);
    for (at, expected) in [
        ("m/44'/0", Undecodable::HardenedOrigin { side, index }),
        (
            "m/0/0/0/0/0/0/0/0/0/0/0",
            Undecodable::LongOrigin { side, index, steps },
        ),
    ] {
        let mut underivable = make(stranger());
        underivable.outputs[0].tap_key_origins =
            [(internal(&key, &DerivationPath::ROOT), origin(&key, at))].into();
        assert_eq!(decode_psbt(&key, &underivable), Err(expected));
    }
}

#[test]
fn origins_of_other_keys_and_of_script_leaves_claim_nothing() {
    let key = WholeKey::number(1);
    let other = WholeKey::number(2);
    let mut psbt = spend(
        vec![output(key.script(), 100_000), output(stranger(), 100_000)],
        vec![output(stranger(), 190_000)],
    );
    claim_input(&other, &mut psbt, 1, "m/0/5");
    let leaf = TapLeafHash::from_script(&ScriptBuf::new(), LeafVersion::TapScript);
    let (_, source) = origin(&key, "m/1/0");
    psbt.outputs[0].tap_key_origins =
        [(internal(&key, &path("m/1/0")), (vec![leaf], source))].into();

    let decoded = decode_psbt(&key, &psbt).unwrap();

    assert_eq!(decoded.items.len(), 1);
    let Facts::Psbt(facts) = decoded.facts else {
        panic!("the facts are those of a PSBT")
    };
    assert!(!facts.outputs[0].is_change);
}

#[test]
fn a_path_goes_with_messages_and_not_beside_a_psbt() {
    let key = WholeKey::number(1);
    let psbt = super::fixtures::plain(&key).serialize();
    let beside = Payload::psbt(psbt).at(path("m/0/1"));
    assert_eq!(
        decode(&beside, &key.facts()),
        Err(Undecodable::PathBesidePsbt)
    );
    let purposes = Purposes::new(vec![KeyPurpose::Messages]).unwrap();
    let facts = KeyFacts {
        purposes: &purposes,
        ..key.facts()
    };

    let decoded = decode(&Payload::message(*b"hello").at(path("m/0/1")), &facts).unwrap();

    assert_eq!(decoded.items[0].path, path("m/0/1"));
}

#[test]
fn a_watch_only_wallet_derives_the_same_addresses() {
    let key = WholeKey::number(3);
    for network in Network::ALL {
        let WatchOnly {
            xpub,
            fingerprint: shown,
            descriptors,
        } = watch_only(&key.facts(), network).unwrap();

        let read: Xpub = xpub.parse().unwrap();
        assert_eq!(
            (read.depth, read.parent_fingerprint),
            (0, Fingerprint::default())
        );
        assert_eq!(read.network, of_library(network).into());
        assert_eq!(shown, key.fingerprint().to_string());
        let [both] = &descriptors[..] else {
            panic!("a taproot key has one form of address")
        };
        let both: Descriptor<DescriptorPublicKey> = both.parse().unwrap();
        for (branch, descriptor) in both.into_single_descriptors().unwrap().iter().enumerate() {
            for index in [0, 5, 77_777] {
                let expected = descriptor.at_derivation_index(index).unwrap();
                let expected = expected.address(of_library(network)).unwrap().to_string();
                let child = path(&format!("m/{branch}/{index}"));
                assert_eq!(
                    address(&key.facts(), &child, network, None).unwrap(),
                    expected
                );
            }
        }
    }
}

#[test]
fn a_key_that_spends_nothing_has_an_extended_key_and_no_descriptor() {
    let key = WholeKey::number(3);
    let purposes = Purposes::new(vec![KeyPurpose::Messages]).unwrap();
    let facts = KeyFacts {
        purposes: &purposes,
        ..key.facts()
    };
    let edwards = KeyFacts {
        scheme: Scheme::Ed25519,
        group_key: &[7; 32],
        ..key.facts()
    };

    assert_eq!(
        watch_only(&facts, Network::Bitcoin).unwrap().descriptors,
        [""; 0]
    );
    assert!(matches!(
        watch_only(&edwards, Network::Bitcoin),
        Err(Undecodable::MalformedKey { found: 32 })
    ));
    assert!(matches!(
        address(&facts, &path("m/0/0"), Network::Bitcoin, None),
        Err(Undecodable::WrongPurpose { .. })
    ));
}

/// A PSBT that pays to so many children of the key, ten steps away each.
fn pays_far_away(key: &WholeKey, count: usize) -> Psbt {
    let paths: Vec<String> = (0..count)
        .map(|at| format!("m/{at}/0/0/0/0/0/0/0/0/0"))
        .collect();
    let paid = paths
        .iter()
        .map(|at| output(script(key, &path(at)), 1))
        .collect();
    let mut psbt = spend(vec![output(key.script(), 100_000)], paid);
    for (index, at) in paths.iter().enumerate() {
        claim_output(key, &mut psbt, index, at);
    }
    psbt
}

#[test]
fn a_command_does_not_make_a_node_derive_without_end() {
    let key = WholeKey::number(1);
    let many = pays_far_away(&key, 1_200);
    let half = Payload {
        allow_high_fee: true,
        ..Payload::psbt(pays_far_away(&key, 600).serialize())
    };

    assert_eq!(
        decode_psbt(&key, &many).unwrap_err(),
        Undecodable::TooManyChildren
    );
    assert!(decode(&half, &key.facts()).is_ok());
    let twice = decode_all(&[half.clone(), half], &key.facts()).unwrap_err();
    let error = Undecodable::TooManyChildren;
    assert_eq!(twice, BatchUndecodable::Payload { index: 1, error });
}
