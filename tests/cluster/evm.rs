//! Keys of EVM chains: transactions, messages and typed data of a real cluster, from the command
//! line and through the gateway.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use serde_json::{Value, json};

use crate::harness::Cluster;

const MAIL: &str = r#"{
    "types": {
        "EIP712Domain": [{"name": "name", "type": "string"}, {"name": "chainId", "type": "uint256"}],
        "Mail": [{"name": "contents", "type": "string"}]
    },
    "primaryType": "Mail",
    "domain": {"name": "Ether Mail", "chainId": 1},
    "message": {"contents": "Hello, Bob!"}
}"#;

fn transfer(from: &Value) -> Value {
    json!({
        "from": from,
        "to": "0x3535353535353535353535353535353535353535",
        "gas": "0x5208",
        "nonce": "0x9",
        "value": "0xde0b6b3a7640000",
        "chainId": "0x7a69",
        "maxFeePerGas": "0x4a817c800",
        "maxPriorityFeePerGas": "0x1",
    })
}

fn evm_key(cluster: &Cluster, name: &str) {
    let create = ["key", "create", name, "--scheme", "ecdsa-secp256k1"];
    let purposes = ["--purpose", "transactions", "--purpose", "messages"];
    cluster.json(&[&create[..], &purposes].concat());
}

#[test]
fn a_cluster_signs_for_evm_chains_from_the_command_line() {
    let cluster = Cluster::start(&[]);
    evm_key(&cluster, "payout");
    let [message, document, transaction] = ["message", "mail", "tx"].map(|name| cluster.file(name));
    std::fs::write(&message, "hello").unwrap();
    std::fs::write(&document, MAIL).unwrap();

    for path in ["m", "m/0/5"] {
        let at = ["--path", path];
        let sign = |what: &[&str]| cluster.json(&[&["sign"], what, &at].concat());
        let personal = sign(&["evm-message", "payout", "--file", &message]);
        let typed = sign(&["typed-data", "payout", "--in", &document]);
        let from = &personal["from"];
        std::fs::write(&transaction, transfer(from).to_string()).unwrap();
        let signed = sign(&["evm-tx", "payout", "--in", &transaction]);

        assert_eq!((&typed["from"], &signed["from"]), (from, from));
        assert!(signed["raw"].as_str().unwrap().starts_with("0x02"));
        assert_eq!(signed["hash"].as_str().unwrap().len(), 66);
        for (kind, file, signed) in [
            ("evm-message", &message, &personal),
            ("typed-data", &document, &typed),
        ] {
            let signature = signed["signature"].as_str().unwrap();
            let verify = ["verify", "payout", "--kind", kind, "--file", file];
            let signature = ["--signature", signature];
            let verified = cluster.json(&[&verify[..], &signature, &at].concat());
            assert_eq!(verified["valid"], true);
            let other = cluster.quorate(&[&verify[..], &signature, &["--path", "m/9"]].concat());
            assert_eq!(other.code, 7);
        }
    }

    let another = transfer(&json!("0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf"));
    std::fs::write(&transaction, another.to_string()).unwrap();
    let refused = cluster.quorate(&["sign", "evm-tx", "payout", "--in", &transaction]);
    assert_eq!(refused.code, 3);
}

#[test]
fn a_wallet_signs_through_the_gateway() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = ["--gateway", "--gateway-account", "payout:m/0/5"];
    let cluster = Cluster::start_in(directory, &arguments);
    let no_other = cluster.quorate(&["key", "show", "demo-evm"]);
    no_other.refused(1, "KEY_UNKNOWN");
    evm_key(&cluster, "payout");
    let gateway = Gateway::of(&cluster);

    let accounts = gateway.call("eth_accounts", &json!([]));
    let from = &accounts["result"][0];
    let signed = gateway.call("eth_signTransaction", &json!([transfer(from)]));
    let personal = gateway.call("personal_sign", &json!(["0x68656c6c6f", from]));

    assert!(
        signed["result"].as_str().unwrap().starts_with("0x02"),
        "{signed}"
    );
    assert_verifies_hello(&cluster, "payout", "m/0/5", &personal["result"]);
}

#[test]
fn dev_makes_an_account_for_the_gateway_when_none_is_named_and_tells_how_to_use_it() {
    let mut cluster = Cluster::start(&["--gateway"]);
    let gateway = Gateway::of(&cluster);
    let account = cluster.json(&["key", "address", "demo-evm", "--chain", "ethereum"]);
    let account = account["address"].clone();

    let accounts = gateway.call("eth_accounts", &json!([]));
    let signed = gateway.call("eth_signTransaction", &json!([transfer(&account)]));
    let personal = gateway.call("personal_sign", &json!(["0x68656c6c6f", account]));

    assert_eq!(accounts["result"], json!([account]));
    assert!(
        signed["result"].as_str().unwrap().starts_with("0x02"),
        "{signed}"
    );
    assert_verifies_hello(&cluster, "demo-evm", "m", &personal["result"]);
    let told = cluster.told("EVM account");
    assert!(told.contains(account.as_str().unwrap()), "{told}");
    let usage = format!("cast rpc eth_accounts --rpc-url http://{}", gateway.0);
    assert_eq!(cluster.told("cast rpc eth_accounts").trim(), usage);

    let (_, directory) = cluster.stop();
    let cluster = Cluster::start_in(directory, &["--gateway"]);
    let kept = Gateway::of(&cluster).call("eth_accounts", &json!([]));
    assert_eq!(kept["result"], json!([account]));
}

/// Where the gateway of a cluster listens.
struct Gateway(String);

impl Gateway {
    fn of(cluster: &Cluster) -> Self {
        let config = cluster.directory().join("coordinator.toml");
        let config = std::fs::read_to_string(config).unwrap();
        let config: toml::Table = config.parse().unwrap();
        Self(config["gateway"]["listen"].as_str().unwrap().to_owned())
    }

    fn call(&self, method: &str, params: &Value) -> Value {
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        post(&self.0, &call.to_string())
    }
}

/// Checks the signature of a personal message with the command line.
fn assert_verifies_hello(cluster: &Cluster, key: &str, path: &str, signature: &Value) {
    let message = cluster.file("message");
    std::fs::write(&message, "hello").unwrap();
    let verified = cluster.json(&[
        "verify",
        key,
        "--kind",
        "evm-message",
        "--path",
        path,
        "--file",
        &message,
        "--signature",
        signature.as_str().unwrap(),
    ]);
    assert_eq!(verified["valid"], true);
}

fn post(address: &str, body: &str) -> Value {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "POST / HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    let (_, body) = response.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap()
}
