use bitcoin::{
    bip32::{ChildNumber, Xpub},
    secp256k1::Secp256k1,
};
use ed25519_bip32::{DerivationScheme, XPub};
use quorate_model::{DerivationPath, Scheme, path::FIRST_HARDENED};
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore as _, SeedableRng as _};

use super::{Child, DerivationError, Offset};
use crate::suite::{Edwards, Secp, Suite, encode_element};

fn path(text: &str) -> DerivationPath {
    text.parse().unwrap()
}

/// A path of up to ten steps, small and large ones.
fn draw_path(rng: &mut ChaCha20Rng) -> DerivationPath {
    let length = rng.next_u32() % 11;
    let steps = (0..length).map(|_| {
        let bits = rng.next_u32() % 31 + 1;
        (rng.next_u32() % FIRST_HARDENED) >> (31 - bits)
    });
    DerivationPath::new(steps.collect()).unwrap()
}

/// A random point, with a chain code.
fn draw_key<C: Suite>(rng: &mut ChaCha20Rng) -> (Vec<u8>, [u8; 32]) {
    let mut wide = [0; 64];
    rng.fill_bytes(&mut wide);
    let key = encode_element::<C>(&C::mul_base(&C::reduce_wide(&wide))).unwrap();
    let mut chain_code = [0; 32];
    rng.fill_bytes(&mut chain_code);
    (key, chain_code)
}

#[test]
fn children_on_secp256k1_are_those_of_the_bitcoin_library() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let secp = Secp256k1::verification_only();
    for _ in 0..1_000 {
        let (key, chain_code) = draw_key::<Secp>(&mut rng);
        let path = draw_path(&mut rng);
        let xpub = Xpub {
            network: bitcoin::NetworkKind::Main,
            depth: 0,
            parent_fingerprint: [0; 4].into(),
            child_number: ChildNumber::Normal { index: 0 },
            public_key: bitcoin::secp256k1::PublicKey::from_slice(&key).unwrap(),
            chain_code: chain_code.into(),
        };
        let steps: Vec<ChildNumber> = path.steps().iter().map(|step| (*step).into()).collect();
        let expected = xpub.derive_pub(&secp, &steps).unwrap();

        let child = Child::derive(Scheme::Bip340, &key, &chain_code, &path).unwrap();

        assert_eq!(child.key(), expected.public_key.serialize(), "{path}");
        assert_eq!(child.chain_code(), expected.chain_code.as_bytes());
    }
}

#[test]
fn the_published_vector_of_bip_32_holds() {
    // BIP-32, test vector 2: the public keys of chains m and m/0.
    let parent: Xpub = "xpub661MyMwAqRbcFW31YEwpkMuc5THy2PSt5bDMsktWQcFF8syAmRUapSCGu8ED9W6oDMSgv6\
                        Zz8idoc4a6mr8BDzTJY47LJhkJ8UB7WEGuduB"
        .parse()
        .unwrap();
    let expected: Xpub = "xpub69H7F5d8KSRgmmdJg2KhpAK8SR3DjMwAdkxj3ZuxV27CprR9LgpeyGmXUbC6wb7ERfvr\
                          nKZjXoUmmDznezpbZb7ap6r1D3tgFxHmwMkQTPH"
        .parse()
        .unwrap();

    let child = Child::derive(
        Scheme::FrostSecp256k1,
        &parent.public_key.serialize(),
        parent.chain_code.as_bytes(),
        &path("m/0"),
    )
    .unwrap();

    assert_eq!(child.key(), expected.public_key.serialize());
    assert_eq!(child.chain_code(), expected.chain_code.as_bytes());
}

#[test]
fn children_on_ed25519_are_those_of_the_bip32_ed25519_library() {
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    for _ in 0..1_000 {
        let (key, chain_code) = draw_key::<Edwards>(&mut rng);
        let path = draw_path(&mut rng);
        let mut expected =
            XPub::from_pk_and_chaincode(key.as_slice().try_into().unwrap(), &chain_code);
        for step in path.steps() {
            expected = expected.derive(DerivationScheme::V2, *step).unwrap();
        }

        let child = Child::derive(Scheme::Ed25519, &key, &chain_code, &path).unwrap();

        assert_eq!(child.key(), expected.public_key_slice(), "{path}");
        assert_eq!(child.chain_code(), expected.chain_code());
    }
}

#[test]
fn the_offset_leads_from_the_key_to_the_child() {
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let secret = k256::Scalar::from(7_u64);
    let key = encode_element::<Secp>(&Secp::mul_base(&secret)).unwrap();
    let path = draw_path(&mut rng);

    let child = Child::derive(Scheme::Bip340, &key, &[5; 32], &path).unwrap();

    let Offset::Secp(offset) = child.offset else {
        panic!("the child is on another curve")
    };
    let made = encode_element::<Secp>(&Secp::mul_base(&(secret + offset))).unwrap();
    assert_eq!(made, child.key());
}

#[test]
fn the_root_is_the_group_key() {
    let (key, chain_code) = draw_key::<Edwards>(&mut ChaCha20Rng::seed_from_u64(4));

    let child = Child::derive(Scheme::Ed25519, &key, &chain_code, &DerivationPath::ROOT).unwrap();

    assert_eq!((child.key(), child.chain_code()), (&key[..], &chain_code));
}

#[test]
fn bytes_that_are_no_group_key_have_no_children() {
    for scheme in Scheme::ALL {
        for key in [&[][..], &[2; 32], &[5; 33], &[0xff; 32]] {
            assert_eq!(
                Child::derive(scheme, key, &[0; 32], &path("m/0")),
                Err(DerivationError::BadGroupKey)
            );
        }
    }
}
