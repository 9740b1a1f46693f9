use alloy_consensus::{Transaction as _, TxEnvelope, transaction::SignerRecoverable as _};
use alloy_eips::Decodable2718 as _;
use alloy_primitives::{B256, Signature, eip191_hash_message};
use quorate_evm::EvmSignatureError;
use quorate_intent::Facts;
use quorate_model::{KeyPurpose, Reason, Scheme, command::CommandBody};

use super::*;
use crate::{
    ListedKey,
    error::ExitClass,
    fixtures::{FakeCluster, made_key},
};

const TRANSFER: &str = r#"{
    "to": "0x3535353535353535353535353535353535353535", "gas": "0x5208", "nonce": "0x9",
    "value": "0xde0b6b3a7640000", "chainId": "0x1",
    "maxFeePerGas": "0x4a817c800", "maxPriorityFeePerGas": "0x1""#;

const MAIL: &str = r#"{
    "types": {
        "EIP712Domain": [{"name": "name", "type": "string"}, {"name": "chainId", "type": "uint256"}],
        "Mail": [{"name": "contents", "type": "string"}]
    },
    "primaryType": "Mail",
    "domain": {"name": "Ether Mail", "chainId": 1},
    "message": {"contents": "Hello, Bob!"}
}"#;

fn transfer(more: &str) -> EvmRequest {
    EvmRequest::from_json(format!("{TRANSFER}{more}}}").as_bytes()).unwrap()
}

fn path(text: &str) -> DerivationPath {
    text.parse().unwrap()
}

#[tokio::test]
async fn a_transaction_comes_back_ready_to_be_sent_from_the_account_at_the_path() {
    let cluster = FakeCluster::start(&[KeyPurpose::Transactions]).await;
    let FakeCluster { client, key, .. } = &cluster;
    for at in ["m", "m/0/5"] {
        let path = path(at);
        let from = key.evm_address(&path).unwrap();
        let request = transfer(&format!(r#","from":"{from}""#));

        let signed = client
            .sign_evm_transaction(key, &path, &request, &CommandOptions::default())
            .await
            .unwrap();

        let read = TxEnvelope::decode_2718_exact(signed.raw()).unwrap();
        assert_eq!(signed.from(), from);
        assert_eq!(read.recover_signer().unwrap().0.0, *from.as_bytes());
        assert_eq!(signed.hash().as_bytes(), &read.tx_hash().0);
        assert_eq!((read.nonce(), read.chain_id()), (9, Some(1)));
    }
    let commands = cluster.commands();
    let CommandBody::Sign(sign) = &commands[1].body else {
        panic!()
    };
    assert_eq!(sign.payloads, [transfer("").payload().at(path("m/0/5"))]);
}

#[tokio::test]
async fn personal_messages_and_typed_data_come_back_with_v() {
    let cluster = FakeCluster::start(&[KeyPurpose::Messages]).await;
    let FakeCluster { client, key, .. } = &cluster;
    let (path, options) = (path("m/3"), CommandOptions::default());
    let from = key.evm_address(&path).unwrap();

    let personal = client
        .sign_evm_message(key, &path, b"hello", &options)
        .await;
    let typed = client
        .sign_typed_data(key, &path, MAIL.as_bytes(), &options)
        .await;

    let digest = quorate_intent::inspect(&Payload::new(PayloadKind::EvmTypedData, MAIL)).unwrap();
    let Facts::EvmTypedData(facts) = digest else {
        panic!()
    };
    for (signed, digest) in [
        (personal.unwrap(), eip191_hash_message(b"hello")),
        (typed.unwrap(), B256::from(*facts.digest.as_bytes())),
    ] {
        let signature = Signature::from_raw_array(&signed.signature().to_bytes()).unwrap();
        let recovered = signature.recover_address_from_prehash(&digest).unwrap();
        assert_eq!(recovered.0.0, *from.as_bytes());
        assert_eq!(signed.from(), from);
    }
}

#[tokio::test]
async fn what_must_not_be_signed_never_reaches_the_cluster() {
    let cluster = FakeCluster::start(&[KeyPurpose::Messages]).await;
    let FakeCluster { client, key, .. } = &cluster;
    let (root, options) = (DerivationPath::ROOT, CommandOptions::default());
    let from_another = transfer(r#","from":"0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf""#);
    let refusal = |result: Result<_, ClientError>| match result {
        Err(ClientError::Refused(refusal)) => {
            (refusal.reason, refusal.get("detail").unwrap().to_owned())
        }
        other => panic!("{other:?}"),
    };

    let wrong_from = client
        .sign_evm_transaction(key, &root, &from_another, &options)
        .await;
    let wrong_purpose = client
        .sign_evm_transaction(key, &root, &transfer(""), &options)
        .await;
    let malformed = client.sign_typed_data(key, &root, b"{}", &options).await;

    let (reason, detail) = refusal(wrong_from.map(drop));
    assert_eq!(
        (reason, detail.as_str()),
        (Reason::PayloadRefused, "EVM_WRONG_FROM")
    );
    let (reason, _) = refusal(wrong_purpose.map(drop));
    assert_eq!(reason, Reason::PurposeMismatch);
    let (reason, _) = refusal(malformed.map(drop));
    assert_eq!(reason, Reason::PayloadUndecodable);
    assert!(cluster.commands().is_empty());
}

#[tokio::test]
async fn a_transactions_key_signs_no_personal_message() {
    let cluster = FakeCluster::start(&[KeyPurpose::Transactions]).await;
    let options = CommandOptions::default();

    let result = cluster
        .client
        .sign_evm_message(&cluster.key, &DerivationPath::ROOT, b"hello", &options)
        .await;

    assert_eq!(result.unwrap_err().reason(), Some(Reason::PurposeMismatch));
}

#[tokio::test]
async fn a_blind_call_is_refused() {
    let cluster = FakeCluster::start(&KeyPurpose::ALL).await;
    let request = transfer(r#","data":"0x01020304""#);
    let options = CommandOptions::default();

    let result = cluster
        .client
        .sign_evm_transaction(&cluster.key, &DerivationPath::ROOT, &request, &options)
        .await;

    let Err(ClientError::Refused(refusal)) = result else {
        panic!()
    };
    assert_eq!(refusal.get("detail"), Some("EVM_BLIND"));
}

#[tokio::test]
async fn a_signature_with_another_parity_or_content_is_never_returned() {
    for tamper in [
        (|outcome| outcome.signatures[0][64] ^= 1)
            as fn(&mut quorate_model::operation::SignOutcome),
        |outcome| outcome.signatures[0][64] = 2,
        |outcome| outcome.signatures[0][9] ^= 1,
        |outcome| outcome.signatures[0].truncate(64),
    ] {
        let cluster = FakeCluster::start_with(&KeyPurpose::ALL, tamper).await;
        let options = CommandOptions::default();

        let result = cluster
            .client
            .sign_evm_transaction(&cluster.key, &DerivationPath::ROOT, &transfer(""), &options)
            .await;

        let Err(ClientError::Unverified(error)) = result else {
            panic!("{result:?}")
        };
        assert_eq!(error, VerificationError::BadSignature(0));
        assert_eq!(
            ClientError::from(error).exit_class(),
            ExitClass::Verification
        );
    }
}

#[test]
fn a_signature_that_evm_cannot_express_is_refused_with_its_own_reason() {
    let made = made_key(Scheme::EcdsaSecp256k1);
    let key = ListedKey::verify(&made.view, &made.roster)
        .unwrap()
        .certified()
        .unwrap();
    let payload = transfer("").payload();

    let error = signed(&key, &payload, &[&[1; 64][..], &[2]].concat()).err();

    let Some(ClientError::Unverified(error)) = error else {
        panic!()
    };
    assert_eq!(
        error,
        VerificationError::Evm(EvmSignatureError::RecoveryId { found: 2 })
    );
}

#[test]
fn a_key_of_another_scheme_has_no_account() {
    let made = made_key(Scheme::Bip340);
    let key = ListedKey::verify(&made.view, &made.roster)
        .unwrap()
        .certified()
        .unwrap();

    let error = key.evm_address(&DerivationPath::ROOT).unwrap_err();

    assert_eq!(error.reason(), Some(Reason::SchemeMismatch));
}

#[test]
fn signatures_of_each_kind_are_verified_whatever_the_purposes() {
    let made = made_key(Scheme::EcdsaSecp256k1);
    let key = ListedKey::verify(&made.view, &made.roster)
        .unwrap()
        .certified()
        .unwrap();
    for payload in [
        transfer("").payload(),
        Payload::new(PayloadKind::EvmMessage, *b"hello").at(path("m/1")),
        Payload::new(PayloadKind::EvmTypedData, MAIL),
        Payload::digest([5; 32]),
    ] {
        let outcome = made.sign_ecdsa(Digest::ZERO, std::slice::from_ref(&payload));

        let other = payload.clone().at(path("m/9"));

        assert!(key.verify_payload(&payload, &outcome.signatures).is_ok());
        assert!(key.verify_payload(&other, &outcome.signatures).is_err());
        assert!(key.verify_payload(&payload, &[]).is_err());
    }
}
