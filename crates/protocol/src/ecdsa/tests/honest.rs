use k256::{Scalar, elliptic_curve::PrimeField as _};
use secp256k1::{Message, PublicKey, SecretKey, ecdsa};

use super::{
    super::EcdsaSignature,
    harness::{Holders, subsets},
};

/// What the verifiers outside say, who know neither the engine nor this crate.
fn assert_valid(key: &[u8; 33], digest: [u8; 32], signature: &EcdsaSignature) {
    assert_eq!(signature.public_key, *key);
    let compact = signature.compact();
    let key = PublicKey::from_byte_array_compressed(*key).unwrap();
    let read = ecdsa::Signature::from_compact(&compact).unwrap();
    let mut low = read;
    low.normalize_s();
    assert_eq!(low, read, "s is low");
    assert!(ecdsa::verify(&read, Message::from_digest(digest), &key).is_ok());

    let read = k256::ecdsa::Signature::from_slice(&compact).unwrap();
    let id = k256::ecdsa::RecoveryId::from_byte(signature.recovery_id).unwrap();
    let recovered = k256::ecdsa::VerifyingKey::recover_from_prehash(&digest, &read, id).unwrap();
    assert_eq!(recovered.to_encoded_point(true).as_bytes(), key.serialize());
}

fn check_shape(holders: &Holders, count: u16, messages: u8) {
    for (at, signers) in subsets(holders.threshold, count).iter().enumerate() {
        for message in 0..messages {
            let digest = [message.wrapping_mul(37); 32];
            let seed = 100 + at as u64;
            let signature = holders.signature(signers, digest, None, seed);

            assert_valid(&holders.group_key(), digest, &signature);
        }
    }
}

#[test]
fn every_two_of_three_holders_sign_for_the_key_that_was_generated() {
    check_shape(Holders::small(), 3, 8);
}

#[test]
fn every_three_of_five_holders_sign_for_the_key_that_was_generated() {
    check_shape(Holders::large(), 5, 2);
}
