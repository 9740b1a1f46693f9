//! Where an evacuation may go, and what it may not do.

use std::sync::LazyLock;

use quorate_model::{
    DerivationPath, KeyPurpose, Payload, Purposes, Reason, Refusal, Scheme, command::CreateKey,
    evacuation::Destination, life::KeyLife,
};

use super::{
    fixtures::{WholeKey, funding, output, plain, spend, stranger},
    solana::{LEGACY, TOKEN, V0, bytes, decode_for},
};
use crate::{
    Astray, KeyFacts, Network, ScriptPubkey, Unreachable, bitcoin_chain, check_destinations,
    check_evacuation, decode, decode_all, pinned_output,
};

const CHECKED: &str = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
const LOWER: &str = "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed";

fn account(text: &str) -> Destination {
    text.parse().unwrap()
}

fn creation(scheme: Scheme, purposes: &[KeyPurpose], to: &[&str]) -> CreateKey {
    CreateKey {
        key: "hot".parse().unwrap(),
        scheme,
        threshold: 2,
        nodes: Vec::new(),
        purposes: Purposes::new(purposes.to_vec()).unwrap(),
        accept_fragile: false,
        life: KeyLife {
            evacuation: to.iter().map(|text| account(text)).collect(),
            ..KeyLife::default()
        },
    }
}

#[test]
fn the_chains_of_bitcoin_are_named_by_their_first_blocks() {
    for network in Network::ALL {
        let genesis = bitcoin::constants::genesis_block(crate::taproot::of_library(network));
        let hash = genesis.block_hash().to_string();
        assert_eq!(bitcoin_chain(network), &hash[..32], "{network}");
    }
}

#[test]
fn only_destinations_that_the_key_can_reach_are_pinned() {
    let transactions = [KeyPurpose::Transactions];
    let judge = |scheme, to: &str| check_destinations(&creation(scheme, &transactions, &[to]));
    let main = "bip122:000000000019d6689c085ae165831e93";
    let segwit = format!("{main}:bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq");
    let solana =
        "solana:5eykt4UsFv8P8NJdTREpY1vzqKqKvdp:cGfHiC6Kgg3FpFZvgwGcswsCRtp4aBP2fzuXRQPizuN";
    let evm = format!("eip155:137:{CHECKED}");
    for (scheme, to) in [
        (Scheme::EcdsaSecp256k1, evm.as_str()),
        (Scheme::EcdsaSecp256k1, &segwit),
        (Scheme::Bip340, &segwit),
        (Scheme::Ed25519, solana),
    ] {
        assert_eq!(judge(scheme, to), Ok(()), "{scheme} {to}");
    }
    for (scheme, to) in [
        (Scheme::Bip340, evm.as_str()),
        (Scheme::Ed25519, &segwit),
        (Scheme::EcdsaSecp256k1, solana),
        (Scheme::FrostSecp256k1, &segwit),
    ] {
        let judged = judge(scheme, to);
        assert!(
            matches!(judged, Err(Unreachable::OtherScheme { .. })),
            "{scheme} {to}"
        );
    }
    let ecdsa = Scheme::EcdsaSecp256k1;
    let testnet = format!("{main}:tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx");
    for (to, expected) in [
        (format!("eip155:1:{LOWER}"), format!("write it {CHECKED}")),
        (
            format!("eip155:1:{}", CHECKED.replace('A', "a")),
            "EIP-55".to_owned(),
        ),
        (format!("eip155:0:{CHECKED}"), "eip155:CHAIN-ID".to_owned()),
        (format!("eip155:01:{CHECKED}"), "eip155:CHAIN-ID".to_owned()),
        (testnet, "none of the network bitcoin".to_owned()),
        (
            format!("{main}:bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdx"),
            "cannot be read".to_owned(),
        ),
        (segwit.replace("bc1q", "BC1Q"), "cannot be read".to_owned()),
        (
            "bip122:ffffffffffffffffffffffffffffffff:abc".to_owned(),
            "no chain".to_owned(),
        ),
        (
            "cosmos:cosmoshub-3:cosmos1t2uflqwqe0fsj0shcfkrvpukewcw40yjj6hdc0".to_owned(),
            "no chain".to_owned(),
        ),
        (
            "solana:5eykt4UsFv8P8NJdTREpY1vzqKqKvdp:abc".to_owned(),
            "32 bytes".to_owned(),
        ),
        (
            "solana:5eykt4UsFv8P8NJdTREpY1vzqKqKvdp:11111111111111111111111111111111".to_owned(),
            "system program".to_owned(),
        ),
        (
            "solana:bogus:cGfHiC6Kgg3FpFZvgwGcswsCRtp4aBP2fzuXRQPizuN".to_owned(),
            "no chain".to_owned(),
        ),
        (
            "eip155:1:0x0000000000000000000000000000000000000001".to_owned(),
            "so low a number".to_owned(),
        ),
        (
            format!("{main}:bc1pfeessrawgf"),
            "nobody owns yet".to_owned(),
        ),
    ] {
        let refused = judge(ecdsa, &to).unwrap_err();
        assert!(refused.to_string().contains(&expected), "{refused}");
        assert_eq!(Refusal::from(&refused).reason, Reason::RequestInvalid);
    }
    let messages = creation(ecdsa, &[KeyPurpose::Messages], &[&evm]);
    assert_eq!(
        check_destinations(&messages),
        Err(Unreachable::NoTransactions)
    );
    let nowhere = creation(ecdsa, &[KeyPurpose::Messages], &[]);
    assert_eq!(check_destinations(&nowhere), Ok(()));
}

/// Judges one payload of one key.
fn judge(key: &WholeKey, payload: &Payload, pinned: &[Destination]) -> Result<(), Astray> {
    let payloads = std::slice::from_ref(payload);
    let decoded = decode_all(payloads, &key.facts()).unwrap();
    check_evacuation(payloads, &decoded, &key.facts(), pinned)
}

fn to_stranger() -> Destination {
    let address = ScriptPubkey::new(stranger().into_bytes()).address(Network::Regtest);
    account(&format!(
        "bip122:{}:{}",
        bitcoin_chain(Network::Regtest),
        address.unwrap()
    ))
}

#[test]
fn every_output_of_a_bitcoin_transaction_is_pinned_and_nothing_comes_back() {
    let key = WholeKey::number(1);
    let pinned = [to_stranger()];
    let pay = |paid| {
        let psbt = spend(vec![output(key.script(), 100_000)], paid);
        Payload::psbt(psbt.serialize())
    };
    let sweep = pay(vec![output(stranger(), 60_000), output(stranger(), 39_000)]);
    assert_eq!(judge(&key, &sweep, &pinned), Ok(()));

    let with_change = Payload::psbt(plain(&key).serialize());
    let refused = judge(&key, &with_change, &pinned).unwrap_err();
    assert!(
        matches!(refused, Astray::NotPinned { index: 0, .. }),
        "{refused}"
    );
    assert_eq!(Refusal::from(&refused).reason, Reason::DestinationNotPinned);
    assert!(refused.to_string().contains("not even change"), "{refused}");
    let pays_to = |script: bitcoin::ScriptBuf| {
        let script = ScriptPubkey::new(script.into_bytes());
        pinned_output(&script, &pinned).cloned()
    };
    assert_eq!(pays_to(stranger()), Some(to_stranger()));
    assert_eq!(pays_to(key.script()), None);
    let data = bitcoin::ScriptBuf::from_hex("6a0161").unwrap();
    let elsewhere = pay(vec![output(stranger(), 99_000), output(data, 0)]);
    let refused = judge(&key, &elsewhere, &pinned).unwrap_err();
    assert!(refused.to_string().contains("script 6a0161"), "{refused}");

    let high_fee = Payload {
        allow_high_fee: true,
        ..pay(vec![output(stranger(), 50_000)])
    };
    let refused = judge(&key, &high_fee, &pinned).unwrap_err();
    assert!(
        refused.to_string().contains("accepts a high fee"),
        "{refused}"
    );
    assert_eq!(judge(&key, &sweep, &[]), Err(Astray::NothingPinned));
}

#[test]
fn one_payload_that_goes_astray_refuses_them_all() {
    let key = WholeKey::number(1);
    let psbt = spend(
        vec![output(key.script(), 100_000)],
        vec![output(stranger(), 99_000)],
    );
    let payloads = [
        Payload::psbt(psbt.serialize()),
        Payload::psbt(plain(&key).serialize()),
    ];
    let decoded = decode_all(&payloads, &key.facts()).unwrap();

    let refused =
        check_evacuation(&payloads, &decoded, &key.facts(), &[to_stranger()]).unwrap_err();

    assert!(
        matches!(refused, Astray::NotPinned { index: 1, .. }),
        "{refused}"
    );
}

/// The least that is moved with a fee of at most 60,000 units of gas at 100 wei.
const COINS: u64 = 60_000_000;

/// A transaction that moves coins, or calls, on chain 1.
fn evm(to: &str, value: u64, input: &[u8]) -> Payload {
    evm_at(100, to, value, input)
}

fn evm_at(max_fee_per_gas: u128, to: &str, value: u64, input: &[u8]) -> Payload {
    use alloy_consensus::SignableTransaction as _;
    let transaction = alloy_consensus::TxEip1559 {
        chain_id: 1,
        gas_limit: 60_000,
        max_fee_per_gas,
        to: alloy_primitives::TxKind::Call(to.parse().unwrap()),
        value: alloy_primitives::U256::from(value),
        input: input.to_vec().into(),
        ..Default::default()
    };
    Payload::new(
        quorate_model::PayloadKind::EvmTransaction,
        transaction.encoded_for_signing(),
    )
}

/// The words of a call of ERC-20: selector, accounts, and an amount of 7.
fn call(selector: &str, accounts: &[&str]) -> Vec<u8> {
    let mut data = hex::decode(selector).unwrap();
    for account in accounts {
        data.extend([0; 12]);
        data.extend(hex::decode(&account[2..]).unwrap());
    }
    data.extend([0; 31]);
    data.push(7);
    data
}

#[test]
fn coins_and_tokens_of_evm_chains_go_to_the_pinned_account_of_the_same_chain() {
    let key = WholeKey::ecdsa([1; 32]);
    let own = crate::evm_address(key.group_key()).unwrap().to_string();
    let here = [account(&format!("eip155:1:{CHECKED}"))];
    let there = [account(&format!("eip155:137:{CHECKED}"))];
    let token = "0xdac17f958d2ee523a2206206994597c13d831ec7";
    let thief = "0x1111111111111111111111111111111111111111";
    let coin = evm(LOWER, COINS, &[]);
    assert_eq!(judge(&key, &coin, &here), Ok(()));
    let refused = judge(&key, &coin, &there).unwrap_err().to_string();
    assert!(
        refused.contains(&format!("eip155:1:{CHECKED}")),
        "{refused}"
    );
    let tokens = evm(token, 0, &call("a9059cbb", &[LOWER]));
    assert_eq!(judge(&key, &tokens, &here), Ok(()));
    let dear = evm_at(1_666_666_666_666, token, 0, &call("a9059cbb", &[LOWER]));
    assert_eq!(judge(&key, &dear, &here), Ok(()));
    // Together they pay more, whatever each may.
    let twice = [dear.clone(), dear];
    let decoded = decode_all(&twice, &key.facts()).unwrap();
    let refused = check_evacuation(&twice, &decoded, &key.facts(), &here).unwrap_err();
    assert!(
        matches!(refused, Astray::DoesMore { index: 1, .. }),
        "{refused}"
    );
    let from_itself = evm(token, 0, &call("23b872dd", &[&own, LOWER]));
    assert_eq!(judge(&key, &from_itself, &here), Ok(()));

    let reason = |payload: &Payload| {
        let refused = judge(&key, payload, &here).unwrap_err();
        (Refusal::from(&refused).reason, refused.to_string())
    };
    for (payload, expected, says) in [
        (
            evm(thief, COINS, &[]),
            Reason::DestinationNotPinned,
            "0x1111",
        ),
        // A coin that goes to the contract stays there.
        (
            evm(token, COINS, &call("a9059cbb", &[LOWER])),
            Reason::DestinationNotPinned,
            "0xdAC17",
        ),
        (
            evm(token, 0, &call("a9059cbb", &[thief])),
            Reason::DestinationNotPinned,
            "0x1111",
        ),
        (
            evm(token, 0, &call("095ea7b3", &[LOWER])),
            Reason::PayloadRefused,
            "allows somebody",
        ),
        (
            evm(token, 0, &call("23b872dd", &[thief, LOWER])),
            Reason::PayloadRefused,
            "another account",
        ),
        (
            evm(LOWER, COINS - 1, &[]),
            Reason::PayloadRefused,
            "more than a tenth",
        ),
        (evm(LOWER, 0, &[]), Reason::PayloadRefused, "moves nothing"),
        // A tenth of a coin, and no more, for tokens of whatever worth.
        (
            evm_at(1_666_666_666_667, token, 0, &call("a9059cbb", &[LOWER])),
            Reason::PayloadRefused,
            "0.1 coin",
        ),
    ] {
        let (told, text) = reason(&payload);
        assert_eq!(told, expected, "{text}");
        assert!(text.contains(says), "{text}");
    }
}

fn solana_key(key: &[u8]) -> KeyFacts<'_> {
    static PURPOSES: LazyLock<Purposes> =
        LazyLock::new(|| Purposes::new(vec![KeyPurpose::Transactions]).unwrap());
    KeyFacts {
        scheme: Scheme::Ed25519,
        purposes: &PURPOSES,
        group_key: key,
        chain_code: &super::fixtures::CHAIN_CODE,
    }
}

fn judge_solana(message: &[u8], to: &str) -> Result<(), Astray> {
    let key = bytes(super::solana::KEY);
    let payloads = [Payload::solana_message(message)];
    let decoded = [decode_for(&key, message).unwrap()];
    check_evacuation(&payloads, &decoded, &solana_key(&key), &[account(to)])
}

/// Changes the last instruction's data, which ends with the amount.
fn with_lamports(message: &str, lamports: u64) -> Vec<u8> {
    let mut message = bytes(message);
    let amount = message.last_chunk_mut().unwrap();
    *amount = lamports.to_le_bytes();
    message
}

/// The message with a price of compute units, which ends with the amount and no lookup tables.
fn with_the_lamports_of_v0(lamports: u64) -> Vec<u8> {
    let mut message = bytes(V0);
    let tables = message.pop().unwrap();
    *message.last_chunk_mut().unwrap() = lamports.to_le_bytes();
    message.push(tables);
    message
}

#[test]
fn solana_transfers_go_to_the_pinned_account_on_whatever_cluster() {
    let to = "solana:5eykt4UsFv8P8NJdTREpY1vzqKqKvdp:cGfHiC6Kgg3FpFZvgwGcswsCRtp4aBP2fzuXRQPizuN";
    let other = to.replace(
        "cGfHiC6Kgg3FpFZvgwGcswsCRtp4aBP2fzuXRQPizuN",
        "GmaDrppBC7P5ARKV8g3djiwP89vz1jLK23V2GBjuAEGB",
    );
    for message in [LEGACY, V0] {
        let message = bytes(message);
        assert_eq!(judge_solana(&message, to), Ok(()));
        let refused = judge_solana(&message, &other).unwrap_err();
        assert!(matches!(refused, Astray::NotPinned { .. }), "{refused}");
    }
    // The fee is 5000 lamports.
    assert_eq!(judge_solana(&with_lamports(LEGACY, 50_000), to), Ok(()));
    for (message, says) in [
        (with_lamports(LEGACY, 49_999), "more than a tenth"),
        (with_lamports(LEGACY, 0), "moves nothing"),
        (of_another(), "another account"),
    ] {
        let refused = judge_solana(&message, to).unwrap_err();
        assert!(refused.to_string().contains(says), "{refused}");
    }
    // The fee is paid also where the transfer fails, so what is said to move allows no more of it.
    let mut dear = with_the_lamports_of_v0(u64::MAX);
    let price = 1_000_000_000_000_u64.to_le_bytes();
    let at = dear
        .windows(8)
        .position(|window| *window == 5_000_u64.to_le_bytes());
    let at = at.unwrap();
    dear.splice(at..at.saturating_add(8), price);
    let refused = judge_solana(&dear, to).unwrap_err();
    assert!(refused.to_string().contains("0.01 on Solana"), "{refused}");
    // It says to whom a shared account credits what comes in.
    let account =
        "solana:5eykt4UsFv8P8NJdTREpY1vzqKqKvdp:uZ1N4C9dc71Euu4GLYt5UURpFtg1WWSwo3F4Rn46Fr3";
    let refused = judge_solana(&bytes(TOKEN), account).unwrap_err();
    assert!(refused.to_string().contains("carries a memo"), "{refused}");
}

/// A transfer to the same account that the key pays the fee of, and another signer the lamports.
fn of_another() -> Vec<u8> {
    let key = bytes(super::solana::KEY);
    let accounts = [&key[..], &[0x77; 32], &[0x09; 32], &[0; 32], &[0x03; 32]].concat();
    let instruction = [
        &[1, 3, 2, 1, 2, 12, 2, 0, 0, 0][..],
        &1_000_000_u64.to_le_bytes(),
    ]
    .concat();
    [&[2, 0, 1, 4][..], &accounts, &instruction].concat()
}

/// What is told of one input need not be true where its signature does not say so: two signatures of
/// two tellings make one transaction.
#[test]
fn amounts_of_several_inputs_are_proven_unless_each_signature_vouches_for_all() {
    let ecdsa = WholeKey::ecdsa([1; 32]);
    let own = bitcoin::ScriptBuf::new_p2wpkh(&ecdsa.child(&DerivationPath::ROOT).wpubkey_hash());
    let paid = || vec![output(stranger(), 995_000)];
    let told = |scripts: Vec<bitcoin::TxOut>| Payload::psbt(spend(scripts, paid()).serialize());
    let pinned = [to_stranger()];

    let one = told(vec![output(own.clone(), 1_000_000)]);
    assert_eq!(judge(&ecdsa, &one, &pinned), Ok(()));
    // The second is the key's as well, and holds far more.
    let lie = told(vec![
        output(own.clone(), 1_000_000),
        output(stranger(), 1_000),
    ]);
    let refused = judge(&ecdsa, &lie, &pinned).unwrap_err();
    assert!(
        refused.to_string().contains("non_witness_utxo"),
        "{refused}"
    );
    let mut proven = spend(
        vec![output(own.clone(), 1_000_000), output(own.clone(), 1_000)],
        paid(),
    );
    for (index, sat) in [(0, 1_000_000), (1, 1_000)] {
        let mut previous = funding(vec![output(own.clone(), sat)]);
        previous.lock_time =
            bitcoin::absolute::LockTime::from_consensus(u32::try_from(index).unwrap());
        let outpoint = bitcoin::OutPoint::new(previous.compute_txid(), 0);
        proven.unsigned_tx.input[index].previous_output = outpoint;
        proven.inputs[index].non_witness_utxo = Some(previous);
    }
    let proven = Payload::psbt(proven.serialize());
    assert_eq!(judge(&ecdsa, &proven, &pinned), Ok(()));

    let taproot = WholeKey::number(1);
    let both = told(vec![
        output(taproot.script(), 1_000_000),
        output(stranger(), 1_000),
    ]);
    assert_eq!(judge(&taproot, &both, &pinned), Ok(()));
}

#[test]
fn what_does_not_say_what_it_moves_evacuates_nothing() {
    let purposes = Purposes::new(KeyPurpose::ALL.to_vec()).unwrap();
    let key = WholeKey::number(1);
    let facts = KeyFacts {
        purposes: &purposes,
        ..key.facts()
    };
    for payload in [
        Payload::message(*b"a message of more than 32 bytes, signed"),
        Payload::new(quorate_model::PayloadKind::Digest, vec![1; 32]),
    ] {
        let payload = payload.at(DerivationPath::ROOT);
        let decoded = [decode(&payload, &facts).unwrap()];
        let refused = check_evacuation(&[payload], &decoded, &facts, &[to_stranger()]).unwrap_err();
        assert_eq!(Refusal::from(&refused).reason, Reason::PayloadRefused);
        assert!(
            refused.to_string().contains("only transactions"),
            "{refused}"
        );
    }
}
