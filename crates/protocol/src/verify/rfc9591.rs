//! Verification of FROST(secp256k1, SHA-256) signatures: `z·G = R + c·Y`, where
//! `c = hash_to_field(R, Y, message)` (RFC 9591 sections 6.5 and B, RFC 9380 section 5.2).

use k256::{
    Scalar as FieldScalar,
    elliptic_curve::{bigint::U512, ops::Reduce},
};
use secp256k1::{PublicKey, Scalar};
use sha2::{Digest as _, Sha256};

const DOMAIN: &[u8] = b"FROST-secp256k1-SHA256-v1chal";

/// Bytes of uniform output: 128 bits more than the order, so that the reduction is not biased.
const OUTPUT_BYTES: usize = 48;

/// Whether a 65-byte signature R, z holds.
pub(super) fn holds(key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
    check(key, message, signature).unwrap_or(false)
}

fn check(key: &PublicKey, message: &[u8], signature: &[u8]) -> Option<bool> {
    let (encoded, z) = signature.split_at_checked(33)?;
    let commitment = PublicKey::from_byte_array_compressed(encoded.try_into().ok()?).ok()?;
    let z = Scalar::from_be_bytes(z.try_into().ok()?).ok()?;
    let c = challenge(&[encoded, &key.serialize(), message].concat())?;
    let rest = key.negate().mul_tweak(&c).ok()?.add_exp_tweak(&z).ok()?;
    Some(rest == commitment)
}

fn challenge(input: &[u8]) -> Option<Scalar> {
    let uniform = expand_message(input, DOMAIN)?;
    let mut wide = [0; 64];
    wide.get_mut(64 - OUTPUT_BYTES..)?.copy_from_slice(&uniform);
    let reduced = <FieldScalar as Reduce<U512>>::reduce_bytes(&wide.into());
    Scalar::from_be_bytes(reduced.to_bytes().into()).ok()
}

/// `expand_message_xmd` of RFC 9380 section 5.3.1 with SHA-256, for 48 bytes: two blocks.
pub(super) fn expand_message(input: &[u8], domain: &[u8]) -> Option<[u8; OUTPUT_BYTES]> {
    let domain_length = u8::try_from(domain.len()).ok()?;
    let length = u16::try_from(OUTPUT_BYTES).ok()?.to_be_bytes();
    let zero_block = [0; 64];
    let first = Sha256::new()
        .chain_update(zero_block)
        .chain_update(input)
        .chain_update(length)
        .chain_update([0])
        .chain_update(domain)
        .chain_update([domain_length])
        .finalize();
    let block = |mixed: &[u8], number: u8| {
        Sha256::new()
            .chain_update(mixed)
            .chain_update([number])
            .chain_update(domain)
            .chain_update([domain_length])
            .finalize()
    };
    let one = block(&first, 1);
    let mixed: Vec<u8> = first.iter().zip(&one).map(|(a, b)| a ^ b).collect();
    let two = block(&mixed, 2);
    let mut output = [0; OUTPUT_BYTES];
    for (to, from) in output.iter_mut().zip(one.iter().chain(&two)) {
        *to = *from;
    }
    Some(output)
}
