use alloy_consensus::{TxEnvelope, transaction::SignerRecoverable as _};
use alloy_eips::Decodable2718 as _;
use alloy_primitives::{B256, Signature, eip191_hash_message};
use quorate_intent::{Facts, inspect};
use quorate_model::{
    KeyPurpose, Payload, PayloadKind, Reason, Refusal, Scheme, command::CommandBody,
    operation::CommandState, roster::Role,
};
use serde_json::{Value, json};

use super::world::{Conduct, Running, World, account, account_config, changed, transfer};

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap().strip_prefix("0x").unwrap()).unwrap()
}

fn signer_of(signature: &Value, digest: B256) -> String {
    let signature = Signature::from_raw(&bytes(signature)).unwrap();
    signature
        .recover_address_from_prehash(&digest)
        .unwrap()
        .to_string()
}

fn mail() -> Value {
    json!({
        "types": {
            "EIP712Domain": [
                { "name": "name", "type": "string" },
                { "name": "chainId", "type": "uint256" },
            ],
            "Mail": [{ "name": "contents", "type": "string" }],
        },
        "primaryType": "Mail",
        "domain": { "name": "Ether Mail", "chainId": "0x1" },
        "message": { "contents": "Hello, Bob!" },
    })
}

#[tokio::test]
async fn a_transaction_comes_back_in_hex_signed_by_its_account() {
    let running = World::new().start();

    let raw = running
        .result("eth_signTransaction", json!([transfer()]))
        .await;

    let read = TxEnvelope::decode_2718_exact(&bytes(&raw)).unwrap();
    assert_eq!(
        read.recover_signer().unwrap().to_string(),
        account("m/0/5").to_string()
    );
    let commands = running.commands();
    let CommandBody::Sign(sign) = &commands[0].body else {
        panic!()
    };
    assert_eq!(sign.key.as_str(), "payout");
    assert_eq!(sign.payloads[0].kind, PayloadKind::EvmTransaction);
    assert_eq!(sign.payloads[0].path.to_string(), "m/0/5");
    assert_eq!(commands[0].body.role(), Role::Client);
}

#[tokio::test]
async fn a_legacy_transaction_is_signed_for_its_chain() {
    let running = World::new().start();
    let legacy = changed(json!({
        "gasPrice": "0x1", "maxFeePerGas": null, "maxPriorityFeePerGas": null,
    }));

    let raw = running.result("eth_signTransaction", json!([legacy])).await;

    let read = TxEnvelope::decode_2718_exact(&bytes(&raw)).unwrap();
    assert!(read.is_legacy());
    assert_eq!(alloy_consensus::Transaction::chain_id(&read), Some(1));
}

#[tokio::test]
async fn personal_messages_are_signed_behind_their_prefix_whatever_the_method() {
    let running = World::new().start();
    let from = account("m");
    let hello = json!("0x68656c6c6f");
    for (method, params) in [
        ("eth_sign", json!([from, hello])),
        ("personal_sign", json!([hello, from])),
        ("personal_sign", json!(["hello", from, "password"])),
    ] {
        let signature = running.result(method, params).await;

        assert_eq!(
            signer_of(&signature, eip191_hash_message(b"hello")),
            from.to_string()
        );
        assert!(matches!(bytes(&signature)[64], 27 | 28));
    }
}

#[tokio::test]
async fn a_digest_given_to_eth_sign_is_a_message_and_no_digest() {
    let running = World::new().start();
    let digest = [7; 32];
    let text = format!("0x{}", hex::encode(digest));

    let signature = running
        .result("eth_sign", json!([account("m"), text]))
        .await;

    let (bare, prefixed) = (B256::from(digest), eip191_hash_message(digest));
    assert_ne!(signer_of(&signature, bare), account("m").to_string());
    assert_eq!(signer_of(&signature, prefixed), account("m").to_string());
}

#[tokio::test]
async fn typed_data_are_taken_as_an_object_and_as_a_text() {
    let running = World::new().start();
    let from = account("m");
    let payload = Payload::new(PayloadKind::EvmTypedData, mail().to_string());
    let Ok(Facts::EvmTypedData(facts)) = inspect(&payload) else {
        panic!()
    };
    for (method, document) in [
        ("eth_signTypedData", mail()),
        ("eth_signTypedData_v4", mail()),
        ("eth_signTypedData_v4", json!(mail().to_string())),
    ] {
        let signature = running.result(method, json!([from, document])).await;

        let digest = B256::from(*facts.digest.as_bytes());
        assert_eq!(signer_of(&signature, digest), from.to_string());
    }
}

#[tokio::test]
async fn an_account_that_is_not_served_does_not_make_another_the_only_one() {
    let mut world = World::new();
    world.config.accounts = vec![account_config("payout", "m"), account_config("nobody", "m")];
    let running = world.start();
    assert_eq!(
        running
            .result("eth_accounts", json!([]))
            .await
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let mut transaction = transfer();
    transaction.as_object_mut().unwrap().remove("from");

    let (code, message, _) = running
        .error("eth_signTransaction", json!([transaction]))
        .await;

    assert_eq!(code, -32602);
    assert!(message.contains("\"from\" is missing"), "{message}");
    assert!(running.commands().is_empty());
}

#[tokio::test]
async fn typed_data_of_another_chain_are_refused() {
    let running = World::new().start();
    let mut document = mail();
    document["domain"]["chainId"] = json!(5);

    let (code, message, _) = running
        .error("eth_signTypedData_v4", json!([account("m"), document]))
        .await;

    assert_eq!(code, -32602);
    assert!(message.contains("chain 5"), "{message}");
    assert!(running.commands().is_empty());
}

#[tokio::test]
async fn the_chain_and_the_version_are_told() {
    let running = World::new().start();

    assert_eq!(running.result("eth_chainId", json!([])).await, "0x1");
    assert_eq!(running.result("net_version", json!([])).await, "1");
    let version = running.result("web3_clientVersion", json!([])).await;
    assert!(version.as_str().unwrap().starts_with("quorate/"));
}

#[tokio::test]
async fn parameters_that_are_not_those_of_the_method_are_refused() {
    let running = World::new().start();
    let from = account("m");
    for (method, params, expected) in [
        (
            "eth_signTransaction",
            json!([]),
            "expected 1 to 1 parameters",
        ),
        ("eth_signTransaction", json!(["0x"]), "no object"),
        ("eth_signTransaction", json!({ "from": from }), "as a list"),
        ("eth_signTransaction", json!([transfer(), 1]), "found 2"),
        (
            "eth_signTransaction",
            json!([changed(json!({ "from": "bob" }))]),
            "no address",
        ),
        (
            "eth_signTransaction",
            json!([changed(json!({ "from": 5 }))]),
            "no address",
        ),
        (
            "eth_signTransaction",
            json!([changed(json!({ "from": null }))]),
            "\"from\" is missing",
        ),
        (
            "eth_signTransaction",
            json!([changed(json!({ "nonce": null }))]),
            "no \"nonce\"",
        ),
        (
            "eth_signTransaction",
            json!([changed(json!({ "gasPrice": "0x1" }))]),
            "exclude",
        ),
        (
            "eth_signTransaction",
            json!([changed(json!({ "colour": "red" }))]),
            "unknown field",
        ),
        (
            "eth_signTransaction",
            json!([changed(json!({ "chainId": null }))]),
            "no chain id",
        ),
        (
            "eth_signTransaction",
            json!([changed(json!({ "chainId": "0x0" }))]),
            "chain id is 0",
        ),
        (
            "eth_signTransaction",
            json!([changed(json!({ "chainId": "0x2" }))]),
            "for chain 2",
        ),
        (
            "eth_signTransaction",
            json!([changed(json!({ "authorizationList": [] }))]),
            "EIP-7702",
        ),
        ("eth_sign", json!([from]), "expected 2 to 2 parameters"),
        ("eth_sign", json!([from, "hello"]), "not in 0x-hex"),
        ("eth_sign", json!(["0x00", from]), "no address"),
        ("personal_sign", json!(["0xzz", from]), "not in 0x-hex"),
        ("personal_sign", json!([5, from]), "no text"),
        ("eth_signTypedData_v4", json!([from, {}]), "primaryType"),
        ("eth_signTypedData_v4", json!([from, 5]), "object"),
    ] {
        let (code, message, _) = running.error(method, params.clone()).await;

        assert_eq!(code, -32602, "{method} {params}: {message}");
        assert!(message.contains(expected), "{method} {params}: {message}");
    }
    assert!(running.commands().is_empty());
}

#[tokio::test]
async fn what_no_key_signs_is_denied_with_its_detail() {
    let running = World::new().start();
    let blind = changed(json!({ "data": "0x01020304" }));

    let (code, _, data) = running.error("eth_signTransaction", json!([blind])).await;

    assert_eq!((code, data["detail"].as_str()), (4001, Some("EVM_BLIND")));
    assert!(running.commands().is_empty());
}

#[tokio::test]
async fn a_key_signs_only_for_its_purposes() {
    let mut world = World::new();
    world.add_key("talk", Scheme::EcdsaSecp256k1, &[KeyPurpose::Messages]);
    world.add_key("pay", Scheme::EcdsaSecp256k1, &[KeyPurpose::Transactions]);
    world.config.accounts = vec![account_config("talk", "m/0/5"), account_config("pay", "m")];
    let running = world.start();

    let pay = running
        .error("eth_signTransaction", json!([transfer()]))
        .await;
    let talk = running
        .error("eth_sign", json!([account("m"), "0x00"]))
        .await;

    for (code, _, data) in [pay, talk] {
        assert_eq!(
            (code, data["reason"].as_str()),
            (4001, Some("PURPOSE_MISMATCH"))
        );
    }
}

async fn error_under(conduct: Conduct) -> (i64, String, Value) {
    let running: Running = World::new().start();
    running.world.conducts(conduct);
    running
        .error("eth_signTransaction", json!([transfer()]))
        .await
}

#[tokio::test]
async fn what_the_cluster_denies_is_denied_and_what_fails_has_failed() {
    let refusal = |reason| Refusal::new(reason, "the cluster says why");
    let end = |state, reason| Conduct::End(state, Some(refusal(reason)));
    for (conduct, expected) in [
        (end(CommandState::Denied, Reason::RoleMissing), 4001),
        (end(CommandState::Denied, Reason::KeyNotActive), 4001),
        (end(CommandState::Failed, Reason::CommandRejected), 4001),
        (end(CommandState::Failed, Reason::QuorumUnavailable), -32000),
        (end(CommandState::Expired, Reason::CommandExpired), -32000),
        (Conduct::Refuse(refusal(Reason::Overloaded)), -32000),
        (Conduct::Refuse(refusal(Reason::ShuttingDown)), -32000),
    ] {
        let (code, message, data) = error_under(conduct).await;

        assert_eq!((code, message.as_str()), (expected, "the cluster says why"));
        assert!(
            data["reason"].is_string() && data["command_id"].is_string(),
            "{data}"
        );
    }
    let (code, ..) = error_under(Conduct::End(CommandState::Denied, None)).await;
    assert_eq!(code, 4001);
    let (code, message, _) = error_under(Conduct::End(CommandState::Cancelled, None)).await;
    assert_eq!(
        (code, message.as_str()),
        (-32000, "the command is CANCELLED")
    );
}

#[tokio::test]
async fn a_command_that_takes_too_long_may_still_be_signed() {
    let (code, message, data) = error_under(Conduct::Stall).await;

    assert_eq!((code, data["reason"].as_str()), (-32000, Some("TIMED_OUT")));
    assert!(message.contains("may still be signed"));
    assert!(data["command_id"].is_string());
}

#[tokio::test]
async fn a_signature_that_does_not_hold_is_never_returned() {
    for tamper in [
        (|signature| signature[64] ^= 1) as fn(&mut Vec<u8>),
        |signature| signature[64] = 2,
        |signature| signature[3] ^= 1,
        Vec::clear,
    ] {
        let running = World::new().start();
        running.world.conducts(Conduct::Tamper(tamper));

        let transaction = running
            .error("eth_signTransaction", json!([transfer()]))
            .await;
        let message = running
            .error("eth_sign", json!([account("m"), "0x00"]))
            .await;

        for (code, message, _) in [transaction, message] {
            assert_eq!(code, -32000);
            assert!(
                message.starts_with("the signature is not returned"),
                "{message}"
            );
        }
    }
}
