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

/// The extended keys of the generator of secp256k1, whose account is known, and of a child.
const XPUB: &str = "xpub661MyMwAqRbcEcVW3ed6UZE1cmFoVFxq4jLanmwzXi4WwKjMzhUQ3LLPd6wdxM5sgXS2y7LwWfHxJgfxHgXcEtXpzdetkzZVzqLM6NR7L6K";
const CHILD: &str = "xpub67tVq9TC3jGc6P7y5e5rngzMQzAkBz5H8dTzAdpfCeRRNEgB2yyjq1uzNgDUhHVLdDsBcBJemhW1zAAGA3HuJJdm5HUpTKrhpZfo9KEMnpH";

#[test]
fn with_a_key_it_is_decoded_for_that_key() {
    let workspace = Workspace::new();
    workspace.write("tx.hex", EIP_155);
    let tx = |from: &str| {
        let from = format!(
            r#"{{"to":"0x3535353535353535353535353535353535353535","gas":"0x5208","nonce":"0x9",
                "value":"0xde0b6b3a7640000","gasPrice":"0x4a817c800","chainId":"0x1",
                "from":"{from}"}}"#
        );
        workspace.write("tx.json", &from);
    };

    let root = workspace
        .succeed(&format!(
            "decode evm-transaction --in tx.hex --xpub {XPUB} -o json"
        ))
        .json();
    let child = workspace
        .succeed(&format!(
            "decode evm-transaction --in tx.hex --xpub {XPUB} --path m/0/5 -o json"
        ))
        .json();

    let account = "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf";
    assert_eq!(root["facts"]["sender"], account);
    assert_eq!(root["signed"][0]["message"], root["facts"]["digest"]);
    assert_ne!(child["facts"]["sender"], root["facts"]["sender"]);
    assert_eq!(child["signed"][0]["path"], "m/0/5");
    tx(account);
    let table = workspace.succeed(&format!(
        "decode evm-transaction --in tx.json --xpub {XPUB}"
    ));
    assert!(!table.out.contains("not checked"), "{}", table.out);
    tx("0x3535353535353535353535353535353535353535");
    let other = workspace.run(&format!(
        "decode evm-transaction --in tx.json --xpub {XPUB}"
    ));
    assert_eq!(other.code, 7);
    assert!(other.err.contains(account), "{}", other.err);
}

#[test]
fn what_a_key_does_not_sign_is_refused_with_its_detail() {
    let workspace = Workspace::new();
    workspace.write("text", "hello");
    workspace.write("digest", &format!("0x{}", "ab".repeat(32)));
    workspace.write(
        "call.json",
        r#"{"to":"0x3535353535353535353535353535353535353535","gas":"0x5208","nonce":0,
            "data":"0x01020304","gasPrice":"0x1","chainId":1}"#,
    );
    for (call, expected) in [
        (
            format!("evm-transaction --in call.json --xpub {XPUB}"),
            "detail: EVM_BLIND",
        ),
        (
            format!("message --in text --xpub {XPUB} --scheme ecdsa-secp256k1"),
            "detail: SCHEME_UNFIT",
        ),
        (format!("digest --in digest --xpub {XPUB}"), "--scheme"),
        (
            format!("evm-message --in text --xpub {CHILD}"),
            "at depth 1",
        ),
        ("evm-message --in text --xpub nonsense".to_owned(), "BIP-32"),
        (
            format!("solana-message --in text --xpub {XPUB}"),
            "128 digits",
        ),
        (
            format!("evm-message --in text --xpub {XPUB} --path m/0h"),
            "hardened",
        ),
        ("evm-message --in text --scheme bip340".to_owned(), "--xpub"),
    ] {
        let run = workspace.run(&format!("decode {call}"));

        assert_ne!(run.code, 0, "{call}");
        assert!(run.err.contains(expected), "{call}: {}", run.err);
        assert_eq!(run.out, "", "{call}");
    }
}
