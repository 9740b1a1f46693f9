use alloy_consensus::{Transaction as _, transaction::SignerRecoverable as _};
use alloy_primitives::keccak256;
use k256::ecdsa::SigningKey;
use quorate_intent::{Amount, EvmAccess, EvmFees, evm_address};

use super::*;

fn key() -> SigningKey {
    SigningKey::from_slice(&[0x46; 32]).unwrap()
}

fn account(key: &SigningKey) -> EvmAddress {
    let point = key.verifying_key().to_encoded_point(true);
    evm_address(point.as_bytes()).unwrap()
}

/// Signs as the scheme does: r, s, recovery id.
fn sign(key: &SigningKey, digest: &[u8; 32]) -> Vec<u8> {
    let (signature, id) = key.sign_prehash_recoverable(digest).unwrap();
    [signature.to_bytes().as_slice(), &[id.to_byte()]].concat()
}

fn transaction(fees: EvmFees) -> EvmTransaction {
    let is_legacy = matches!(fees, EvmFees::Legacy { .. });
    let access = EvmAccess {
        address: EvmAddress::new([7; 20]),
        keys: vec![[8; 32]],
    };
    EvmTransaction {
        chain_id: 1,
        nonce: 9,
        fees,
        gas_limit: 21_000,
        to: Some(EvmAddress::new([0x35; 20])),
        value: Amount::from(1_000_000_000_000_000_000_u64),
        input: Vec::new(),
        access_list: if is_legacy { vec![] } else { vec![access] },
    }
}

fn all_fees() -> [EvmFees; 4] {
    let (max_priority_fee, max_fee) = (1, 20_000_000_000);
    [
        EvmFees::Legacy { gas_price: max_fee },
        EvmFees::AccessList { gas_price: max_fee },
        EvmFees::Dynamic {
            max_priority_fee,
            max_fee,
        },
        EvmFees::Blob {
            max_priority_fee,
            max_fee,
            max_blob_fee: 3,
            hashes: vec![[1; 32]],
        },
    ]
}

#[test]
fn the_example_of_eip_155_becomes_its_signed_bytes() {
    let transaction = transaction(all_fees()[0].clone());
    let signature = sign(&key(), &transaction.signing_hash());

    let signed =
        SignedEvmTransaction::assemble(&transaction.encode(), &signature, account(&key())).unwrap();

    assert_eq!(
        hex::encode(signed.raw()),
        "f86c098504a817c800825208943535353535353535353535353535353535353535880de0b6b3a76400008025a0\
         28ef61340bd939bc2195fe537567866003e1a15d3c71ff63e1590620aa636276a067cbe9d8997f761aecb703304\
         b3800ccf555c9f3dc64214b297fb1966a3b6d83"
    );
}

#[test]
fn every_type_of_transaction_is_signed_by_the_account_of_the_key() {
    for seed in 1..=20 {
        let key = SigningKey::from_slice(&[seed; 32]).unwrap();
        for fees in all_fees() {
            let transaction = transaction(fees);
            let signature = sign(&key, &transaction.signing_hash());

            let signed =
                SignedEvmTransaction::assemble(&transaction.encode(), &signature, account(&key))
                    .unwrap();

            let read = TxEnvelope::decode_2718_exact(signed.raw()).unwrap();
            assert_eq!(u8::from(read.tx_type()), transaction.type_number());
            assert_eq!(read.chain_id(), Some(1));
            assert_eq!(
                read.recover_signer().unwrap().0.0,
                *signed.from().as_bytes()
            );
            assert_eq!(signed.hash().as_bytes(), &keccak256(signed.raw()).0);
        }
    }
}

#[test]
fn the_largest_chain_id_of_a_legacy_transaction_is_written() {
    let mut transaction = transaction(all_fees()[0].clone());
    transaction.chain_id = u64::MAX / 2 - 36;
    let signature = sign(&key(), &transaction.signing_hash());

    let signed =
        SignedEvmTransaction::assemble(&transaction.encode(), &signature, account(&key())).unwrap();

    let read = TxEnvelope::decode_2718_exact(signed.raw()).unwrap();
    assert_eq!(read.chain_id(), Some(transaction.chain_id));
}

#[test]
fn what_is_no_signature_of_the_account_is_refused_with_its_reason() {
    let transaction = transaction(all_fees()[2].clone());
    let unsigned = transaction.encode();
    let good = sign(&key(), &transaction.signing_hash());
    let from = account(&key());
    let check = |unsigned: &[u8], signature: &[u8], from, expected| {
        let result = SignedEvmTransaction::assemble(unsigned, signature, from);
        assert_eq!(result, Err(expected));
    };
    let other_signer = |expected| EvmSignatureError::OtherSigner { expected };
    let with_id = |id| [&good[..64], &[id]].concat();
    let other = EvmAddress::new([1; 20]);

    let short = &good[..64];
    check(
        &unsigned,
        short,
        from,
        EvmSignatureError::Length { found: 64 },
    );
    let long = [&good[..], &[0]].concat();
    check(
        &unsigned,
        &long,
        from,
        EvmSignatureError::Length { found: 66 },
    );
    for found in [2, 3, 27] {
        let expected = EvmSignatureError::RecoveryId { found };
        check(&unsigned, &with_id(found), from, expected);
    }
    check(&unsigned, &with_id(good[64] ^ 1), from, other_signer(from));
    check(&unsigned, &good, other, other_signer(other));
    check(&unsigned, &high(&good), from, other_signer(from));
    check(&unsigned, &[0; 65], from, other_signer(from));
    check(
        &[4],
        &good,
        from,
        EvmSignatureError::Transaction(EvmRefusal::AuthorizationList),
    );
}

#[test]
fn a_personal_signature_has_v_and_is_recovered() {
    let digest = Digest::new([5; 32]);
    let good = sign(&key(), digest.as_bytes());
    let from = account(&key());

    let signed = SignedEvmMessage::check(&digest, &good, from).unwrap();

    let bytes = signed.signature().to_bytes();
    assert_eq!(bytes[..64], good[..64]);
    assert_eq!(bytes[64], 27 + good[64]);
    let read = Signature::from_raw_array(&bytes).unwrap();
    let recovered = read.recover_address_from_prehash(&B256::from([5; 32]));
    assert_eq!(recovered.unwrap().0.0, *from.as_bytes());
    let refused = Err(EvmSignatureError::OtherSigner { expected: from });
    assert_eq!(SignedEvmMessage::check(&Digest::ZERO, &good, from), refused);
    assert_eq!(
        SignedEvmMessage::check(&digest, &high(&good), from),
        refused
    );
    let overflow = [&good[..64], &[2]].concat();
    assert_eq!(
        SignedEvmMessage::check(&digest, &overflow, from),
        Err(EvmSignatureError::RecoveryId { found: 2 })
    );
}

/// The other signature of the same numbers, which is valid and refused (EIP-2).
#[expect(
    clippy::arithmetic_side_effects,
    reason = "scalars of the group do not overflow"
)]
fn high(signature: &[u8]) -> Vec<u8> {
    let low = k256::ecdsa::Signature::from_slice(&signature[..64]).unwrap();
    let (r, s) = low.split_scalars();
    let high = k256::ecdsa::Signature::from_scalars(r, -s).unwrap();
    [high.to_bytes().as_slice(), &[signature[64] ^ 1]].concat()
}
