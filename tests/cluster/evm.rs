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
    evm_key(&cluster, "payout");
    let config = std::fs::read_to_string(cluster.directory().join("coordinator.toml")).unwrap();
    let config: toml::Table = config.parse().unwrap();
    let address = config["gateway"]["listen"].as_str().unwrap().to_owned();
    let call = |method: &str, params: Value| -> Value {
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        post(&address, &call.to_string())
    };

    let accounts = call("eth_accounts", json!([]));
    let from = &accounts["result"][0];
    let signed = call("eth_signTransaction", json!([transfer(from)]));
    let personal = call("personal_sign", json!(["0x68656c6c6f", from]));

    assert!(
        signed["result"].as_str().unwrap().starts_with("0x02"),
        "{signed}"
    );
    let message = cluster.file("message");
    std::fs::write(&message, "hello").unwrap();
    let verified = cluster.json(&[
        "verify",
        "payout",
        "--kind",
        "evm-message",
        "--path",
        "m/0/5",
        "--file",
        &message,
        "--signature",
        personal["result"].as_str().unwrap(),
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
