use alloy_consensus::{
    Transaction as _, TxEip1559, TxEip7702, TxLegacy, transaction::SignerRecoverable as _,
};
use alloy_network::{Ethereum, EthereumWallet, NetworkWallet, TxSigner as _};
use alloy_primitives::{TxKind, address, eip191_hash_message, keccak256};
use alloy_sol_types::{eip712_domain, sol};
use quorate_model::{
    KeyPurpose, Reason,
    command::{CommandBody, Sign},
};

use super::*;
use crate::fixtures::FakeCluster;

sol! {
    struct Person {
        string name;
        address[] wallets;
    }

    struct Mail {
        Person from;
        Person[2] to;
        int64 weight;
        uint256 value;
        bytes4 tag;
        bytes attachment;
        bool urgent;
        string contents;
    }
}

fn signer(cluster: &FakeCluster) -> QuorateSigner {
    let path = "m/0/5".parse().unwrap();
    QuorateSigner::new(cluster.client.clone(), cluster.key.clone(), path).unwrap()
}

fn payloads(cluster: &FakeCluster) -> Vec<Payload> {
    let of = |command: quorate_model::command::Command| {
        let CommandBody::Sign(Sign { payloads, .. }) = command.body else {
            panic!()
        };
        payloads
    };
    cluster.commands().into_iter().flat_map(of).collect()
}

fn transfer() -> TxEip1559 {
    TxEip1559 {
        chain_id: 1,
        nonce: 9,
        gas_limit: 21_000,
        max_fee_per_gas: 20,
        max_priority_fee_per_gas: 1,
        to: TxKind::Call(address!("0x3535353535353535353535353535353535353535")),
        value: U256::from(10).pow(U256::from(18)),
        ..TxEip1559::default()
    }
}

fn mail() -> Mail {
    let person = |name: &str| Person {
        name: name.to_owned(),
        wallets: vec![address!("0xCD2a3d9F938E13CD947Ec05AbC7FE734Df8DD826"); 2],
    };
    Mail {
        from: person("Cow"),
        to: [person("Bob"), person("Carol")],
        weight: -5,
        value: U256::MAX,
        tag: [1, 2, 3, 4].into(),
        attachment: vec![0xab; 40].into(),
        urgent: true,
        contents: "Hello, \"Bob\"!\n".to_owned(),
    }
}

/// The reason and the detail of a refusal behind an error of alloy.
fn refusal(error: Error) -> (Reason, String) {
    let Error::Other(error) = error else {
        panic!("{error}")
    };
    match error.downcast_ref() {
        Some(ClientError::Refused(refusal)) => {
            (refusal.reason, refusal.get("detail").unwrap().to_owned())
        }
        _ => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_wallet_of_alloy_signs_transactions_that_nodes_decode() {
    let cluster = FakeCluster::start(&[KeyPurpose::Transactions]).await;
    let signer = signer(&cluster);
    let from = Signer::address(&signer);
    let wallet = EthereumWallet::new(signer);
    let unsigned = alloy_consensus::TypedTransaction::Eip1559(transfer());

    let transaction = NetworkWallet::<Ethereum>::sign_transaction_from(&wallet, from, unsigned)
        .await
        .unwrap();

    assert_eq!(transaction.recover_signer().unwrap(), from);
    assert_eq!(transaction.nonce(), 9);
    let payloads = payloads(&cluster);
    assert_eq!(payloads[0].kind, PayloadKind::EvmTransaction);
    assert_eq!(payloads[0].bytes, transfer().encoded_for_signing());
}

#[tokio::test]
async fn the_chain_of_the_signer_is_filled_in_and_another_is_refused() {
    let cluster = FakeCluster::start(&[KeyPurpose::Transactions]).await;
    let signer = signer(&cluster).with_chain_id(Some(5));
    let mut legacy = TxLegacy {
        to: transfer().to,
        gas_limit: 21_000,
        ..TxLegacy::default()
    };
    let mut other = transfer();

    let filled = signer.sign_transaction(&mut legacy).await;
    let mismatch = signer.sign_transaction(&mut other).await;

    assert!(filled.is_ok());
    assert_eq!(legacy.chain_id, Some(5));
    assert!(matches!(
        mismatch,
        Err(Error::TransactionChainIdMismatch { signer: 5, tx: 1 })
    ));
}

#[tokio::test]
async fn what_nodes_refuse_is_refused_with_its_reason() {
    let cluster = FakeCluster::start(&[KeyPurpose::Transactions]).await;
    let signer = signer(&cluster);
    let mut everywhere = TxLegacy {
        to: transfer().to,
        ..TxLegacy::default()
    };
    let mut blind = transfer();
    blind.input = vec![1, 2, 3, 4].into();
    let mut delegation = TxEip7702 {
        chain_id: 1,
        ..TxEip7702::default()
    };

    let everywhere = signer.sign_transaction(&mut everywhere).await;
    let blind = signer.sign_transaction(&mut blind).await;
    let delegation = signer.sign_transaction(&mut delegation).await;

    for (result, detail) in [
        (everywhere, "EVM_CHAIN_ID_MISSING"),
        (blind, "EVM_BLIND"),
        (delegation, "EVM_AUTHORIZATION_LIST"),
    ] {
        let found = refusal(result.unwrap_err());
        assert_eq!(found, (Reason::PayloadRefused, detail.to_owned()));
    }
    assert!(cluster.commands().is_empty());
}

#[tokio::test]
async fn a_personal_message_is_signed_as_the_message() {
    let cluster = FakeCluster::start(&[KeyPurpose::Messages]).await;
    let signer = signer(&cluster);

    let signature = signer.sign_message(b"hello").await.unwrap();

    let digest = eip191_hash_message(b"hello");
    let recovered = signature.recover_address_from_prehash(&digest).unwrap();
    assert_eq!(recovered, Signer::address(&signer));
    assert_eq!(payloads(&cluster)[0].bytes, b"hello");
}

#[tokio::test]
async fn a_signer_goes_on_after_its_key_was_reshared() {
    let cluster = FakeCluster::start(&[KeyPurpose::Messages]).await;
    let signer = signer(&cluster);
    let digest = eip191_hash_message(b"hello");
    for holders in [[1, 2, 3], [4, 3, 2], [4, 3, 1]] {
        cluster.reshare(&holders);

        let signature = signer.sign_message(b"hello").await.unwrap();

        let recovered = signature.recover_address_from_prehash(&digest).unwrap();
        assert_eq!(recovered, Signer::address(&signer));
    }
}

#[tokio::test]
async fn typed_data_of_both_kinds_are_signed_as_documents() {
    let cluster = FakeCluster::start(&[KeyPurpose::Messages]).await;
    let signer = signer(&cluster);
    let domain = eip712_domain! {
        name: "Ether Mail",
        version: "1",
        chain_id: 1,
        verifying_contract: address!("0xCcCCccccCCCCcCCCCCCcCcCccCcCCCcCcccccccC"),
        salt: keccak256("salt"),
    };
    let expected = mail().eip712_signing_hash(&domain);
    let dynamic = typed_data::of_struct(&mail(), &domain).unwrap();

    let of_struct = signer.sign_typed_data(&mail(), &domain).await.unwrap();
    let of_document = signer.sign_dynamic_typed_data(&dynamic).await.unwrap();

    for signature in [of_struct, of_document] {
        let recovered = signature.recover_address_from_prehash(&expected).unwrap();
        assert_eq!(recovered, Signer::address(&signer));
    }
    for payload in payloads(&cluster) {
        assert_eq!(payload.kind, PayloadKind::EvmTypedData);
        let document = String::from_utf8(payload.bytes).unwrap();
        assert!(document.contains(r#""contents":"Hello, \"Bob\"!\n""#));
    }
}

#[tokio::test]
async fn typed_data_without_a_domain_are_refused() {
    let cluster = FakeCluster::start(&[KeyPurpose::Messages]).await;
    let signer = signer(&cluster);

    let result = signer
        .sign_typed_data(&mail(), &Eip712Domain::default())
        .await;

    assert_eq!(refusal(result.unwrap_err()).0, Reason::PayloadRefused);
}

#[tokio::test]
async fn a_bare_hash_is_signed_only_by_a_key_for_digests() {
    let hash = B256::from([7; 32]);
    let digests = FakeCluster::start(&[KeyPurpose::Digests]).await;
    let others = FakeCluster::start(&[KeyPurpose::Transactions, KeyPurpose::Messages]).await;

    let signed = signer(&digests).sign_hash(&hash).await.unwrap();
    let refused = signer(&others).sign_hash(&hash).await.unwrap_err();

    let recovered = signed.recover_address_from_prehash(&hash).unwrap();
    assert_eq!(recovered, Signer::address(&signer(&digests)));
    assert!(refused.to_string().contains("needs the purpose digests"));
    assert_eq!(refusal(refused).0, Reason::PurposeMismatch);
    assert!(others.commands().is_empty());
}
