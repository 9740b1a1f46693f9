//! EVM transactions and messages against known figures and against the library of the ecosystem.

use alloy_consensus::{
    SignableTransaction as _, TxEip1559, TxEip2930, TxEip4844, TxEip7702, TxLegacy,
};
use alloy_eips::{
    eip2930::{AccessList, AccessListItem},
    eip7702::Authorization,
};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use proptest::{collection::vec, option, prelude::*};
use quorate_model::{Payload, PayloadKind};

use super::properties::Damage;
use crate::{
    Amount, Asset, EvmAuthorizationFacts, EvmRefusal, EvmTransaction, EvmTransactionFacts,
    EvmTransactionType, Facts, Undecodable, evm_address, inspect,
};

/// The example of EIP-155.
const EIP_155: &str = "ec098504a817c800825208943535353535353535353535353535353535353535880de0b6b3\
                       a764000080018080";

fn facts_of(bytes: &[u8]) -> Result<EvmTransactionFacts, Undecodable> {
    let Facts::EvmTransaction(facts) = inspect(&Payload::new(PayloadKind::EvmTransaction, bytes))?
    else {
        panic!("a transaction has facts of its own")
    };
    Ok(facts)
}

fn check(bytes: &[u8], expected: EvmRefusal) {
    assert_eq!(facts_of(bytes), Err(Undecodable::Evm(expected)));
}

/// The unsigned encoding of a transaction of the other library.
fn unsigned<T: alloy_consensus::SignableTransaction<alloy_primitives::Signature>>(
    transaction: &T,
) -> Vec<u8> {
    transaction.encoded_for_signing()
}

fn dynamic() -> TxEip1559 {
    TxEip1559 {
        chain_id: 1,
        nonce: 7,
        gas_limit: 60_000,
        max_fee_per_gas: 30_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000,
        to: TxKind::Call(Address::repeat_byte(0x11)),
        value: U256::from(5),
        access_list: AccessList::default(),
        input: Bytes::new(),
    }
}

fn blob() -> TxEip4844 {
    let mut hash = B256::repeat_byte(7);
    hash.0[0] = 1;
    TxEip4844 {
        chain_id: 1,
        nonce: 7,
        gas_limit: 21_000,
        max_fee_per_gas: 100,
        max_priority_fee_per_gas: 1,
        to: Address::repeat_byte(0x11),
        value: U256::from(5),
        access_list: AccessList::default(),
        blob_versioned_hashes: vec![hash],
        max_fee_per_blob_gas: 3,
        input: Bytes::new(),
    }
}

fn set_code() -> TxEip7702 {
    let word = |chain_id: u64, nonce| {
        let authorization = Authorization {
            chain_id: U256::from(chain_id),
            address: Address::repeat_byte(0x22),
            nonce,
        };
        authorization.into_signed(alloy_primitives::Signature::new(
            U256::from(5),
            U256::from(6),
            true,
        ))
    };
    TxEip7702 {
        chain_id: 1,
        nonce: 7,
        gas_limit: 21_000,
        max_fee_per_gas: 100,
        max_priority_fee_per_gas: 1,
        to: Address::repeat_byte(0x11),
        value: U256::from(5),
        access_list: AccessList::default(),
        authorization_list: vec![word(1, 3), word(0, 4)],
        input: Bytes::new(),
    }
}

fn with_input(input: Vec<u8>) -> Vec<u8> {
    unsigned(&TxEip1559 {
        input: input.into(),
        ..dynamic()
    })
}

fn call(selector: [u8; 4], words: &[[u8; 32]]) -> Vec<u8> {
    [&selector[..], words.as_flattened()].concat()
}

fn word(address: u8) -> [u8; 32] {
    let mut word = [0; 32];
    word[12..].fill(address);
    word
}

fn number(value: u8) -> [u8; 32] {
    let mut word = [0; 32];
    word[31] = value;
    word
}

#[test]
fn the_example_of_eip_155_has_the_hash_that_is_printed_there() {
    let facts = facts_of(&hex::decode(EIP_155).unwrap()).unwrap();

    assert_eq!(
        facts.digest.to_string(),
        "daf5a779ae972f972197303d7b574746c7ef83eadac0f2791ad23db92e4c8e53"
    );
    assert_eq!(facts.chain, "eip155:1");
    assert_eq!(facts.transaction_type, EvmTransactionType::Legacy);
    assert_eq!(facts.nonce, 9);
    assert_eq!(facts.value.to_string(), "1000000000000000000");
    assert_eq!(facts.max_fee.to_string(), "420000000000000");
    assert_eq!(facts.transfers.len(), 1);
    assert_eq!(facts.transfers[0].amount, facts.value);
    assert_eq!(facts.sender, None);
    assert!(!facts.blind);
}

#[test]
fn a_personal_message_is_hashed_with_its_prefix_and_length() {
    let payload = Payload::new(PayloadKind::EvmMessage, *b"hello\n\xe2\x80\xae");

    let Facts::EvmMessage(facts) = inspect(&payload).unwrap() else {
        panic!("a message has facts of its own")
    };

    let judge = alloy_primitives::eip191_hash_message(&payload.bytes);
    assert_eq!(facts.digest.as_bytes(), &judge.0);
    assert_eq!(facts.message.text.as_deref(), Some(r"hello\n\u{202e}"));
}

#[test]
fn the_address_of_a_key_is_the_one_that_everybody_knows() {
    // The key of secret 1.
    let key = hex::decode("0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798");

    let address = evm_address(&key.unwrap()).unwrap();

    assert_eq!(
        address.to_string(),
        "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf"
    );
    assert!(evm_address(&[2; 32]).is_err());
    for text in [
        "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf",
        "0x7e5f4552091a69125d5dfcb7b8c2659029395bdf",
    ] {
        assert_eq!(text.parse(), Ok(address));
    }
    for text in [
        "0x7E5F4552091A69125d5DfCb7b8C2659029395BdF",
        "7e5f4552091a69125d5dfcb7b8c2659029395bdf",
        "0x7e5f4552091a69125d5dfcb7b8c2659029395b",
        "",
    ] {
        assert!(text.parse::<crate::EvmAddress>().is_err(), "{text}");
    }
}

#[test]
fn token_calls_are_decoded_exactly_or_blind() {
    let transfer = call([0xa9, 0x05, 0x9c, 0xbb], &[word(2), number(9)]);
    let approve = call([0x09, 0x5e, 0xa7, 0xb3], &[word(3), [0xff; 32]]);
    let from = call([0x23, 0xb8, 0x72, 0xdd], &[word(4), word(5), number(6)]);
    let contract = Asset::Token(Address::repeat_byte(0x11).to_string());

    let facts = facts_of(&with_input(transfer.clone())).unwrap();
    assert_eq!(facts.transfers.len(), 2, "value and token are both shown");
    assert_eq!(facts.transfers[0].asset, Asset::Native);
    assert_eq!(facts.transfers[1].asset, contract);
    assert_eq!(facts.transfers[1].to, Address::repeat_byte(2).to_string());
    assert_eq!(facts.transfers[1].amount, Amount::from(9_u64));
    let facts = facts_of(&with_input(approve)).unwrap();
    assert_eq!(facts.approvals[0].asset, contract);
    assert!(facts.approvals[0].unlimited);
    assert!(!facts.blind);
    let facts = facts_of(&with_input(from)).unwrap();
    let sender = Some(Address::repeat_byte(4).to_string());
    assert_eq!(facts.transfers[1].from, sender);

    let mut padded = transfer.clone();
    padded[5] = 1;
    let longer = [&transfer[..], &[0]].concat();
    for input in [
        padded,
        longer,
        transfer[..67].to_vec(),
        transfer[..36].to_vec(),
        transfer[..4].to_vec(),
        transfer[..3].to_vec(),
        call([1, 2, 3, 4], &[word(2), number(9)]),
    ] {
        let facts = facts_of(&with_input(input)).unwrap();
        assert!(facts.blind, "{facts:?}");
        assert_eq!(facts.transfers.len(), 1);
    }
}

#[test]
fn the_creation_of_a_contract_is_blind() {
    let creation = TxEip1559 {
        to: TxKind::Create,
        ..dynamic()
    };

    let facts = facts_of(&unsigned(&creation)).unwrap();

    assert_eq!(facts.to, None);
    assert!(facts.blind_because[0].contains("creates a contract"));
}

#[test]
fn a_key_signs_what_decodes_in_full_and_nothing_blind() {
    let sender = crate::EvmAddress::new([8; 20]);
    let blind = with_input(vec![1, 2, 3, 4]);

    let facts = crate::evm::transaction_for(&unsigned(&dynamic()), sender).unwrap();
    let refused = crate::evm::transaction_for(&blind, sender).unwrap_err();

    assert_eq!(facts.sender, Some(sender));
    assert_eq!(refused.detail(), "EVM_BLIND");
    assert!(refused.to_string().contains("01020304"), "{refused}");
}

#[test]
fn what_puts_code_in_the_place_of_accounts_is_shown_and_not_signed() {
    let transaction = set_code();
    let bytes = unsigned(&transaction);

    let facts = facts_of(&bytes).unwrap();
    let refused = crate::evm::transaction_for(&bytes, crate::EvmAddress::new([8; 20]));

    assert_eq!(facts.transaction_type, EvmTransactionType::Eip7702);
    assert_eq!(
        facts.digest.as_bytes()[..],
        transaction.signature_hash().0[..]
    );
    let word = |chain: Option<&str>, nonce| EvmAuthorizationFacts {
        chain: chain.map(str::to_owned),
        address: crate::EvmAddress::new([0x22; 20]),
        nonce,
    };
    assert_eq!(
        facts.authorizations,
        [word(Some("eip155:1"), 3), word(None, 4)]
    );
    assert!(facts.blind);
    assert_eq!(facts.max_fee, Amount::from(2_100_000_u64));
    assert_eq!(refused, Err(EvmRefusal::AuthorizationList));
}

#[test]
fn the_fee_of_blobs_is_part_of_the_fee() {
    let facts = facts_of(&unsigned(&blob())).unwrap();

    assert_eq!(facts.max_fee, Amount::from(21_000_u64 * 100 + 131_072 * 3));
    assert_eq!(facts.blob_hashes.len(), 1);
}

#[test]
fn each_bad_transaction_has_a_reason_of_its_own() {
    let legacy = hex::decode(EIP_155).unwrap();
    let typed = unsigned(&dynamic());
    let mut longer = typed.clone();
    longer.extend([0, 0]);
    let no_chain = TxLegacy {
        chain_id: None,
        gas_limit: 21_000,
        ..TxLegacy::default()
    };
    let chain = |chain_id| {
        unsigned(&TxEip1559 {
            chain_id,
            ..dynamic()
        })
    };
    let authorization = TxEip7702 {
        chain_id: 1,
        ..TxEip7702::default()
    };
    let nonce = TxEip1559 {
        nonce: u64::MAX,
        ..dynamic()
    };
    let tip = TxEip1559 {
        max_priority_fee_per_gas: 30_000_000_001,
        ..dynamic()
    };
    let no_blobs = TxEip4844 {
        blob_versioned_hashes: Vec::new(),
        ..blob()
    };
    let other_blob = TxEip4844 {
        blob_versioned_hashes: vec![B256::repeat_byte(2)],
        ..blob()
    };
    let mut signed_legacy = legacy.clone();
    let end = signed_legacy.len() - 2;
    signed_legacy[end..].copy_from_slice(&[5, 6]);
    let mut signed = typed[2..].to_vec();
    signed.extend([1, 5, 6]);
    signed.splice(0..0, [2, 0xc0 + u8::try_from(signed.len()).unwrap()]);

    check(&longer, EvmRefusal::TrailingBytes { count: 2 });
    check(&unsigned(&no_chain), EvmRefusal::ChainIdMissing);
    check(&chain(0), EvmRefusal::ChainIdZero);
    check(&chain(u64::MAX / 2 - 35), EvmRefusal::ChainIdTooLarge);
    assert!(facts_of(&chain(u64::MAX / 2 - 36)).is_ok());
    check(&unsigned(&authorization), EvmRefusal::AuthorizationList);
    let code = unsigned(&set_code());
    for length in 0..code.len() {
        assert!(facts_of(&code[..length]).is_err(), "{length}");
    }
    check(&unsigned(&nonce), EvmRefusal::NonceTooLarge);
    check(&unsigned(&tip), EvmRefusal::PriorityAboveMax);
    check(&unsigned(&no_blobs), EvmRefusal::NoBlobs);
    check(&unsigned(&other_blob), EvmRefusal::BlobVersion { index: 0 });
    check(&signed_legacy, EvmRefusal::AlreadySigned);
    check(&signed, EvmRefusal::AlreadySigned);
    for bytes in [&[][..], &[0], &[5, 0xc0], &[0x80], b"0x02"] {
        check(bytes, EvmRefusal::UnknownType);
    }
    let count = EvmRefusal::FieldCount {
        found: 1,
        expected: 9,
    };
    check(&[2, 0xc1, 1], count);
}

#[test]
fn there_is_one_encoding_of_every_field() {
    let rlp = |problem| EvmRefusal::Rlp { problem };
    let field = |field, problem| EvmRefusal::Field { field, problem };
    // Chain id, nonce, fees, gas limit, to, value, data, access list; all of them empty or 1.
    let with = |at: usize, item: &[u8]| {
        let mut items: Vec<Vec<u8>> = vec![vec![1]; 5];
        items.extend([vec![0x80], vec![0x80], vec![0x80], vec![0xc0]]);
        items[at] = item.to_vec();
        let content = items.concat();
        let length = 0xc0 + u8::try_from(content.len()).unwrap();
        [&[2, length][..], &content].concat()
    };
    let early = "it ends early";

    assert!(facts_of(&with(0, &[1])).is_ok());
    check(
        &with(1, &[0x81, 1]),
        rlp("a single byte has a header that it does not need"),
    );
    check(
        &with(1, &[0]),
        field("nonce", "the number has leading zeros"),
    );
    check(
        &with(1, &[0x82, 0, 1]),
        field("nonce", "the number has leading zeros"),
    );
    check(
        &with(7, &[0xb8, 1, 0xff]),
        rlp("a short length is written in the long form"),
    );
    check(
        &with(7, &[0xb9, 0, 0xff]),
        rlp("a length has leading zeros"),
    );
    check(&with(7, &[0xbf]), rlp(early));
    check(&with(8, &[0xff; 9]), rlp(early));
    check(
        &with(5, &[0x81, 0xff]),
        field("to", "an address has 20 bytes"),
    );
    check(&with(5, &[0xc0]), field("to", "expected a string"));
    check(&with(8, &[0x80]), field("accessList", "expected a list"));
    let long = [&[0x89][..], &[1; 9]].concat();
    check(
        &with(1, &long),
        field("nonce", "the number exceeds 64 bits"),
    );
    let long = [&[0x91][..], &[1; 17]].concat();
    check(
        &with(3, &long),
        field("maxFeePerGas", "the price exceeds 128 bits"),
    );
    check(&[2, 0x80], rlp("it is no list"));
}

fn any_access() -> impl Strategy<Value = AccessList> {
    let item = (any::<[u8; 20]>(), vec(any::<[u8; 32]>(), 0..3)).prop_map(|(address, keys)| {
        AccessListItem {
            address: Address::new(address),
            storage_keys: keys.into_iter().map(B256::new).collect(),
        }
    });
    vec(item, 0..3).prop_map(AccessList)
}

/// One transaction of each type, with its hash as the other library computes it.
fn any_transactions() -> impl Strategy<Value = Vec<(Vec<u8>, B256)>> {
    let to = option::of(any::<[u8; 20]>());
    let money = (
        any::<u128>(),
        any::<u128>(),
        any::<[u8; 32]>(),
        any::<u128>(),
    );
    let counts = (1..u64::MAX / 2 - 36, 0..u64::MAX, any::<u64>());
    (
        counts,
        money,
        to,
        vec(any::<u8>(), 0..100),
        any_access(),
        vec(any::<[u8; 31]>(), 1..4),
    )
        .prop_map(|(counts, money, to, input, access_list, blobs)| {
            let (chain_id, nonce, gas_limit) = counts;
            let (one, other, value, max_fee_per_blob_gas) = money;
            let (max_priority_fee_per_gas, max_fee_per_gas) = (one.min(other), one.max(other));
            let value = U256::from_be_bytes(value);
            let input = Bytes::from(input);
            let kind = to.map_or(TxKind::Create, |to| TxKind::Call(Address::new(to)));
            let legacy = TxLegacy {
                chain_id: Some(chain_id),
                nonce,
                gas_price: one,
                gas_limit,
                to: kind,
                value,
                input: input.clone(),
            };
            let listed = TxEip2930 {
                chain_id,
                nonce,
                gas_price: one,
                gas_limit,
                to: kind,
                value,
                input: input.clone(),
                access_list: access_list.clone(),
            };
            let dynamic = TxEip1559 {
                chain_id,
                nonce,
                gas_limit,
                max_fee_per_gas,
                max_priority_fee_per_gas,
                to: kind,
                value,
                access_list: access_list.clone(),
                input: input.clone(),
            };
            let blob = TxEip4844 {
                chain_id,
                nonce,
                gas_limit,
                max_fee_per_gas,
                max_priority_fee_per_gas,
                to: Address::new(to.unwrap_or([9; 20])),
                value,
                access_list,
                blob_versioned_hashes: blobs
                    .iter()
                    .map(|hash| B256::new([&[1][..], hash].concat().try_into().unwrap()))
                    .collect(),
                max_fee_per_blob_gas,
                input,
            };
            vec![
                (unsigned(&legacy), legacy.signature_hash()),
                (unsigned(&listed), listed.signature_hash()),
                (unsigned(&dynamic), dynamic.signature_hash()),
                (unsigned(&blob), blob.signature_hash()),
            ]
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_digest_is_that_of_the_other_library(transactions in any_transactions()) {
        for (number, (bytes, hash)) in (0..).zip(transactions) {
            let facts = facts_of(&bytes).unwrap();
            let transaction = EvmTransaction::decode(&bytes).unwrap();

            prop_assert_eq!(facts.digest.as_bytes(), &hash.0);
            prop_assert_eq!(transaction.signing_hash(), hash.0);
            prop_assert_eq!(transaction.type_number(), number);
            prop_assert_eq!(transaction.encode(), bytes);
        }
    }

    #[test]
    fn damaged_transactions_never_panic_and_have_one_encoding(
        transactions in any_transactions(),
        damages in vec(Damage::any(), 1..4),
    ) {
        for (mut bytes, _) in transactions {
            for damage in damages.clone() {
                damage.inflict(&mut bytes);
            }
            let _ = facts_of(&bytes);
            if let Ok(transaction) = EvmTransaction::read(&bytes) {
                prop_assert_eq!(transaction.encode(), bytes);
            }
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..200), kind in 0u8..5) {
        let _ = facts_of(&bytes);
        let _ = facts_of(&[&[kind][..], &bytes].concat());
        let length = 0xc0 + u8::try_from(bytes.len().min(55)).unwrap();
        let _ = facts_of(&[&[kind, length][..], &bytes[..bytes.len().min(55)]].concat());
    }
}
