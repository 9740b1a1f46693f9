//! Payloads of every kind: the first byte chooses the kind, and by its highest bit whether a high
//! fee is accepted; the rest are its bytes.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use quorate_intent::{KeyFacts, decode, inspect};
use quorate_model::{DerivationPath, KeyPurpose, Payload, PayloadKind, Purposes, Scheme};

/// The generator of secp256k1: a key like any other to a decoder.
const SECP256K1: [u8; 33] = [
    0x02, 0x79, 0xbe, 0x66, 0x7e, 0xf9, 0xdc, 0xbb, 0xac, 0x55, 0xa0, 0x62, 0x95, 0xce, 0x87, 0x0b,
    0x07, 0x02, 0x9b, 0xfc, 0xdb, 0x2d, 0xce, 0x28, 0xd9, 0x59, 0xf2, 0x81, 0x5b, 0x16, 0xf8, 0x17,
    0x98,
];
/// The base point of Ed25519.
const ED25519: [u8; 32] = {
    let mut point = [0x66; 32];
    point[0] = 0x58;
    point
};
const CHAIN_CODE: [u8; 32] = [7; 32];

static EVERYTHING: LazyLock<Purposes> = LazyLock::new(|| {
    let all = [
        KeyPurpose::Transactions,
        KeyPurpose::Messages,
        KeyPurpose::Digests,
    ];
    Purposes::new(all.to_vec()).expect("each purpose once")
});

fuzz_target!(|data: &[u8]| {
    let Some((chosen, bytes)) = data.split_first() else {
        return;
    };
    let kind = PayloadKind::ALL[usize::from(chosen & 0x7f) % PayloadKind::ALL.len()];
    let payload = Payload {
        kind,
        bytes: bytes.to_vec(),
        allow_high_fee: chosen & 0x80 != 0,
        path: DerivationPath::default(),
    };
    let inspected = inspect(&payload).is_ok();
    for (scheme, group_key) in [
        (Scheme::Bip340, SECP256K1.as_slice()),
        (Scheme::EcdsaSecp256k1, SECP256K1.as_slice()),
        (Scheme::Ed25519, ED25519.as_slice()),
    ] {
        let key = KeyFacts {
            scheme,
            purposes: &EVERYTHING,
            group_key,
            chain_code: &CHAIN_CODE,
        };
        if let Ok(decoded) = decode(&payload, &key) {
            assert!(!decoded.items.is_empty(), "nothing to sign was decoded");
            assert!(inspected, "what is signed can be inspected");
        }
    }
});
