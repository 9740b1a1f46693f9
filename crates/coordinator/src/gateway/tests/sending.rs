use alloy_consensus::{Transaction as _, TxEnvelope};
use alloy_eips::Decodable2718 as _;
use serde_json::{Value, json};

use super::world::{Running, World, account, changed, transfer};
use crate::gateway::upstream::UpstreamFailure;

/// A transfer of which only the essence is said.
fn bare() -> Value {
    json!({
        "from": account("m/0/5"),
        "to": "0x3535353535353535353535353535353535353535",
        "value": "0x1",
    })
}

fn read(raw: &Value) -> TxEnvelope {
    let digits = raw.as_str().unwrap().strip_prefix("0x").unwrap();
    TxEnvelope::decode_2718_exact(&hex::decode(digits).unwrap()).unwrap()
}

/// What was sent to the chain.
fn sent(running: &Running) -> TxEnvelope {
    let calls = running.world.upstream.called("eth_sendRawTransaction");
    assert_eq!(calls.len(), 1);
    read(&calls[0][0])
}

#[tokio::test]
async fn what_is_left_out_is_taken_from_the_upstream_and_the_transaction_sent() {
    let running = World::with_upstream().start();

    let hash = running.result("eth_sendTransaction", json!([bare()])).await;

    let sent = sent(&running);
    assert_eq!(hash, json!(sent.tx_hash().to_string()));
    assert_eq!(
        (sent.nonce(), sent.gas_limit(), sent.chain_id()),
        (7, 21_000, Some(1))
    );
    assert_eq!(sent.max_fee_per_gas(), 203);
    assert_eq!(sent.max_priority_fee_per_gas(), Some(3));
    let upstream = &running.world.upstream;
    let from = account("m/0/5");
    assert_eq!(
        upstream.called("eth_getTransactionCount"),
        [json!([from, "pending"])]
    );
    assert_eq!(
        upstream.called("eth_estimateGas")[0][0]["from"],
        json!(from)
    );
    assert_eq!(
        upstream.called("eth_estimateGas")[0][0]["maxFeePerGas"],
        "0xcb"
    );
}

#[tokio::test]
async fn what_is_said_is_left_as_it_is() {
    let running = World::with_upstream().start();

    running
        .result("eth_sendTransaction", json!([transfer()]))
        .await;

    let sent = sent(&running);
    assert_eq!((sent.nonce(), sent.max_fee_per_gas()), (9, 20_000_000_000));
    for method in [
        "eth_getTransactionCount",
        "eth_estimateGas",
        "eth_maxPriorityFeePerGas",
    ] {
        assert!(running.world.upstream.called(method).is_empty(), "{method}");
    }
}

#[tokio::test]
async fn a_tip_is_never_above_the_whole_fee() {
    let running = World::with_upstream().start();
    let low = changed(json!({ "maxFeePerGas": "0x2", "maxPriorityFeePerGas": null }));

    running.result("eth_sendTransaction", json!([low])).await;

    assert_eq!(sent(&running).max_priority_fee_per_gas(), Some(2));
}

#[tokio::test]
async fn a_chain_without_a_base_fee_and_an_old_type_get_a_gas_price() {
    for (block, kind) in [
        (json!({ "number": "0x10" }), json!(null)),
        (json!({ "baseFeePerGas": "0x64" }), json!("0x0")),
    ] {
        let running = World::with_upstream().start();
        running
            .world
            .upstream
            .answers("eth_getBlockByNumber", Ok(block));
        let mut transaction = bare();
        transaction["type"] = kind;

        running
            .result("eth_sendTransaction", json!([transaction]))
            .await;

        let sent = sent(&running);
        assert_eq!((sent.is_legacy(), sent.gas_price()), (true, Some(0x67)));
    }
}

#[tokio::test]
async fn an_upstream_cannot_make_a_transaction_dear() {
    for (method, answer) in [
        ("eth_estimateGas", "0xffffffffffffff"),
        ("eth_maxPriorityFeePerGas", "0xffffffffffffffff"),
    ] {
        let running = World::with_upstream().start();
        running.world.upstream.answers(method, Ok(json!(answer)));

        let (code, message, _) = running.error("eth_sendTransaction", json!([bare()])).await;

        assert_eq!(code, -32000);
        assert!(message.contains("max_filled_fee"), "{message}");
        assert!(running.commands().is_empty());
    }
}

#[tokio::test]
async fn a_transaction_that_is_complete_is_signed_without_asking_the_upstream() {
    let running = World::with_upstream().start();

    running
        .result("eth_signTransaction", json!([transfer()]))
        .await;
    let before = running.world.upstream.calls.lock().unwrap().len();
    let filled = running.result("eth_signTransaction", json!([bare()])).await;

    assert_eq!(before, 0);
    assert_eq!(read(&filled).nonce(), 7);
    assert!(
        running
            .world
            .upstream
            .called("eth_sendRawTransaction")
            .is_empty()
    );
}

#[tokio::test]
async fn without_an_upstream_nothing_is_sent_or_passed_on() {
    let running = World::new().start();

    let (code, message, _) = running.error("eth_sendTransaction", json!([bare()])).await;
    let (passed_code, ..) = running.error("eth_blockNumber", json!([])).await;

    assert_eq!((code, passed_code), (-32601, -32601));
    assert!(message.contains("needs an upstream"));
}

#[tokio::test]
async fn an_upstream_of_another_chain_is_never_used() {
    let running = World::with_upstream().start();
    running
        .world
        .upstream
        .answers("eth_chainId", Ok(json!("0x2")));

    let sent = running
        .error("eth_sendTransaction", json!([transfer()]))
        .await;
    let passed = running.error("eth_blockNumber", json!([])).await;
    running
        .world
        .upstream
        .answers("eth_chainId", Ok(json!("0x1")));
    let later = running.result("eth_blockNumber", json!([])).await;

    for (code, message, _) in [sent, passed] {
        assert_eq!(
            (code, message.as_str()),
            (-32000, "the upstream serves another chain than 1")
        );
    }
    assert_eq!(later, "0x10");
    assert!(running.commands().is_empty());
}

#[tokio::test]
async fn what_the_upstream_refuses_comes_back_as_it_is() {
    let running = World::with_upstream().start();
    let refused = UpstreamFailure::Refused(3, "execution reverted".into(), Some(json!("0x08")));
    running
        .world
        .upstream
        .answers("eth_estimateGas", Err(refused.clone()));
    running
        .world
        .upstream
        .answers("eth_sendRawTransaction", Err(refused));

    let estimate = running.error("eth_sendTransaction", json!([bare()])).await;
    let send = running
        .error("eth_sendTransaction", json!([transfer()]))
        .await;

    let told = "execution reverted".to_owned();
    assert_eq!(estimate, (3, told.clone(), json!("0x08")));
    // It may be sent all the same: whoever wants to be sure looks for the hash.
    let (code, message, data) = send;
    assert_eq!((code, message, &data["data"]), (3, told, &json!("0x08")));
    let read = read(&data["raw"]);
    assert_eq!(data["hash"], json!(read.tx_hash().to_string()));
}

#[tokio::test]
async fn a_transaction_of_unknown_fate_comes_back_to_be_sent_again() {
    let running = World::with_upstream().start();
    let lost = Err(UpstreamFailure::Lost("the connection fails"));
    running
        .world
        .upstream
        .answers("eth_sendRawTransaction", lost);

    let (code, _, data) = running
        .error("eth_sendTransaction", json!([transfer()]))
        .await;

    assert_eq!(code, -32000);
    let read = read(&data["raw"]);
    assert_eq!(data["hash"], json!(read.tx_hash().to_string()));
}

#[tokio::test]
async fn reads_are_passed_on_with_their_parameters() {
    let running = World::with_upstream().start();
    running
        .world
        .upstream
        .answers("eth_getBalance", Ok(json!("0x5")));

    let balance = running
        .result("eth_getBalance", json!([account("m"), "latest"]))
        .await;

    assert_eq!(balance, "0x5");
    let called = running.world.upstream.called("eth_getBalance");
    assert_eq!(called, [json!([account("m"), "latest"])]);
}

#[tokio::test]
async fn whatever_manages_accounts_is_never_passed_on() {
    let running = World::with_upstream().start();
    for method in [
        "personal_unlockAccount",
        "personal_sendTransaction",
        "personal_importRawKey",
        "personal_ecRecover",
        "eth_signTypedData_v3",
        "eth_resend",
        "admin_addPeer",
        "debug_traceTransaction",
        "miner_start",
        "txpool_content",
        "wallet_addEthereumChain",
        "anvil_impersonateAccount",
        "evm_mine",
        "",
    ] {
        let (code, message, _) = running.error(method, json!([])).await;

        assert_eq!(code, -32601, "{method}");
        assert!(message.contains("not served here"));
    }
    assert!(running.world.upstream.calls.lock().unwrap().is_empty());
}

#[tokio::test]
async fn transactions_of_one_account_are_sent_one_after_the_other() {
    let running = World::with_upstream().start();

    let (first, second) = tokio::join!(
        running.result("eth_sendTransaction", json!([bare()])),
        running.result("eth_sendTransaction", json!([bare()])),
    );

    let calls = running.world.upstream.calls.lock().unwrap();
    let order: Vec<_> = calls
        .iter()
        .map(|(method, _)| method.as_str())
        .filter(|method| {
            matches!(
                *method,
                "eth_getTransactionCount" | "eth_sendRawTransaction"
            )
        })
        .collect();
    let once = ["eth_getTransactionCount", "eth_sendRawTransaction"];
    assert_eq!(order, [once, once].concat());
    assert_eq!(first, second);
}
