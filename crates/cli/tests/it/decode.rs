//! `quorate decode`: facts without a cluster.

use crate::workspace::Workspace;

const EIP_155: &str = "0xec098504a817c800825208943535353535353535353535353535353535353535880de0b6\
                       b3a764000080018080\n";

const SOLANA: &str = "AQABA+pKbGPinFIKvvVQexMuxfmVR3bK6+vnuSQh7qaRRG0iCQkJCQkJCQkJCQkJCQkJCQkJ\
                      CQkJCQkJCQkJCQkJCQkAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAMDAwMDAwMDAwMD\
                      AwMDAwMDAwMDAwMDAwMDAwMDAwMDAQICAAEMAgAAAIfWEgAAAAAA";

#[test]
fn an_evm_transaction_is_the_same_as_hex_and_as_json() {
    let workspace = Workspace::new();
    workspace.write("tx.hex", EIP_155);
    workspace.write(
        "tx.json",
        r#"{"to":"0x3535353535353535353535353535353535353535","gas":"0x5208","nonce":"0x9",
            "value":"0xde0b6b3a7640000","gasPrice":"0x4a817c800","chainId":"0x1",
            "from":"0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf"}"#,
    );

    let hex = workspace
        .succeed("decode evm-transaction --in tx.hex -o json")
        .json();
    let json = workspace
        .succeed("decode evm-transaction --in tx.json -o json")
        .json();
    let table = workspace.succeed("decode evm-transaction --in tx.json").out;

    assert_eq!(hex["facts"], json["facts"]);
    assert_eq!(hex["facts"]["chain"], "eip155:1");
    assert_eq!(
        hex["facts"]["transfers"][0]["amount"],
        "1000000000000000000"
    );
    assert_eq!(
        json["claimed_from"],
        "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf"
    );
    assert!(table.contains("eip155:1"), "{table}");
    assert!(table.contains("claimed and not checked"), "{table}");
}

#[test]
fn messages_digests_and_solana_messages_are_shown() {
    let workspace = Workspace::new();
    workspace.write("text", "hello\n");
    workspace.write("digest", &format!("0x{}", "ab".repeat(32)));
    workspace.write("solana", SOLANA);

    let message = workspace.succeed("decode message --in text -o json").json();
    let personal = workspace
        .succeed("decode evm-message --in text -o json")
        .json();
    let digest = workspace
        .succeed("decode digest --in digest -o json")
        .json();
    let solana = workspace
        .succeed("decode solana-message --in solana -o json")
        .json();

    assert_eq!(message["facts"]["text"], "hello\\n");
    assert_eq!(personal["facts"]["message"]["length"], 6);
    assert_eq!(digest["facts"]["digest"], "ab".repeat(32));
    assert_eq!(solana["facts"]["transfers"][0]["amount"], "1234567");
    assert_eq!(solana["facts"]["chain"], serde_json::Value::Null);
    assert_eq!(solana["facts"]["blind"], false);
}

#[test]
fn what_is_blind_is_shown_and_what_does_not_decode_is_named() {
    let workspace = Workspace::new();
    workspace.write("bad", "garbage");
    workspace.write(
        "call.json",
        r#"{"to":"0x3535353535353535353535353535353535353535","gas":"0x5208","nonce":0,
            "data":"0x01020304","gasPrice":"0x1","chainId":1}"#,
    );
    workspace.write("seven.json", r#"{"authorizationList":[]}"#);

    let blind = workspace
        .succeed("decode evm-transaction --in call.json -o json")
        .json();
    assert_eq!(blind["facts"]["blind"], true);
    assert_eq!(blind["facts"]["call"]["selector"], "01020304");
    for (kind, file, expected) in [
        ("psbt", "bad", "this is no PSBT"),
        ("digest", "bad", "expected exactly 32"),
        ("evm-transaction", "bad", "this is no EVM transaction"),
        ("evm-transaction", "seven.json", "authorization lists"),
        ("evm-typed-data", "bad", "are no JSON"),
        ("solana-message", "bad", "Solana message"),
        ("message", "absent", "absent"),
    ] {
        let run = workspace.run(&format!("decode {kind} --in {file}"));

        assert_ne!(run.code, 0, "{kind}");
        assert!(run.err.contains(expected), "{kind}: {}", run.err);
        assert_eq!(run.out, "", "{kind}");
    }
}
