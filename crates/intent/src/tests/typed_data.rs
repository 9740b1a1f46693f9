//! Typed data against the example of EIP-712, against the library of the ecosystem, and each
//! refusal with exactly one check that fires.

use alloy_dyn_abi::TypedData;
use proptest::{collection::vec, prelude::*};
use quorate_model::{Payload, PayloadKind};
use serde_json::{Value, json};

use super::properties::Damage;
use crate::{Facts, MAX_TYPED_DATA_BYTES, TypedDataFacts, Undecodable, inspect};

fn mail() -> Value {
    json!({
        "types": {
            "EIP712Domain": [
                { "name": "name", "type": "string" },
                { "name": "version", "type": "string" },
                { "name": "chainId", "type": "uint256" },
                { "name": "verifyingContract", "type": "address" },
            ],
            "Person": [
                { "name": "name", "type": "string" },
                { "name": "wallet", "type": "address" },
            ],
            "Mail": [
                { "name": "from", "type": "Person" },
                { "name": "to", "type": "Person" },
                { "name": "contents", "type": "string" },
            ],
        },
        "primaryType": "Mail",
        "domain": {
            "name": "Ether Mail",
            "version": "1",
            "chainId": 1,
            "verifyingContract": "0xCcCCccccCCCCcCCCCCCcCcCccCcCCCcCcccccccC",
        },
        "message": {
            "from": { "name": "Cow", "wallet": "0xCD2a3d9F938E13CD947Ec05AbC7FE734Df8DD826" },
            "to": { "name": "Bob", "wallet": "0xbBbBBBBbbBBBbbbBbbBbbbbBBbBbbbbBbBbbBBbB" },
            "contents": "Hello, Bob!",
        },
    })
}

fn read(document: &str) -> Result<TypedDataFacts, Undecodable> {
    let payload = Payload::new(PayloadKind::EvmTypedData, document);
    let Facts::EvmTypedData(facts) = inspect(&payload)? else {
        panic!("typed data have facts of their own")
    };
    Ok(facts)
}

/// A document of one field of a type.
fn one(kind: &str, value: &Value) -> Value {
    let mut document = mail();
    document["types"]["Mail"] = json!([{ "name": "x", "type": kind }]);
    document["message"] = json!({ "x": value });
    document
}

/// Refuses a document for exactly this.
fn check(document: &Value, detail: &str) {
    let result = read(&document.to_string());
    let found = result.as_ref().map_err(Undecodable::detail).err();
    assert_eq!(found, Some(detail), "{result:?}");
}

fn changed(change: impl FnOnce(&mut Value)) -> Value {
    let mut document = mail();
    change(&mut document);
    document
}

#[test]
fn the_example_of_eip_712_has_the_hashes_that_are_printed_there() {
    let facts = read(&mail().to_string()).unwrap();

    assert_eq!(
        facts.digest.to_string(),
        "be609aee343fb3c4b28e1df9e632fca64fcfaede20f02e86244efddf30957bd2"
    );
    assert_eq!(
        facts.domain_separator.to_string(),
        "f2cee375fa42b42143804025fc449deafd50cc031ca257e0b194a650a912090f"
    );
    assert_eq!(
        facts.encoded_type,
        "Mail(Person from,Person to,string contents)Person(string name,address wallet)"
    );
    assert_eq!(facts.chain.as_deref(), Some("eip155:1"));
    assert_eq!(facts.domain.name.as_deref(), Some("Ether Mail"));
    let paths: Vec<_> = facts
        .fields
        .iter()
        .map(|field| field.path.as_str())
        .collect();
    assert_eq!(
        paths,
        [
            "from.name",
            "from.wallet",
            "to.name",
            "to.wallet",
            "contents"
        ]
    );
    assert_eq!(facts.fields[4].value, "Hello, Bob!");
    assert!(!facts.truncated);
}

#[test]
fn a_rendering_is_bounded_and_cannot_hide_what_it_says() {
    let facts = read(&one("string", &json!("a\u{202e}b\n")).to_string()).unwrap();
    assert_eq!(facts.fields[0].value, r"a\u{202e}b\n");

    for (kind, value) in [
        ("string", json!("a".repeat(257))),
        ("bytes", json!(format!("0x{}", "ab".repeat(300)))),
        ("bool[]", json!(vec![true; 257])),
    ] {
        let facts = read(&one(kind, &value).to_string()).unwrap();

        assert!(facts.truncated, "{kind}");
        assert!(facts.fields.len() <= 256);
        assert!(facts.fields.iter().all(|field| field.value.len() <= 514));
    }
}

#[test]
fn a_type_that_contains_itself_is_refused() {
    for kind in ["Person", "Person[]", "Person[2][]"] {
        let document = changed(|document| {
            document["types"]["Person"] = json!([{ "name": "parent", "type": kind }]);
        });
        check(&document, "TYPED_DATA_TYPE_LOOP");
    }
    let long_way = changed(|document| {
        document["types"]["Person"] = json!([{ "name": "mail", "type": "Mail" }]);
    });
    check(&long_way, "TYPED_DATA_TYPE_LOOP");
}

#[test]
fn what_grows_has_a_bound() {
    let types = changed(|document| {
        for number in 0..62 {
            document["types"][format!("T{number}")] = json!([]);
        }
    });
    let fields = changed(|document| {
        let field = |number| json!({ "name": format!("f{number}"), "type": "bool" });
        document["types"]["Unused"] = (0..65).map(field).collect();
    });
    let deep = format!("{}{}", "[".repeat(33), "]".repeat(33));
    let long = mail().to_string() + &" ".repeat(MAX_TYPED_DATA_BYTES);

    check(&types, "TYPED_DATA_TOO_MANY_TYPES");
    check(&fields, "TYPED_DATA_TOO_MANY_FIELDS");
    check(
        &one("bool[]", &json!(vec![true; 8200])),
        "TYPED_DATA_TOO_MANY_VALUES",
    );
    assert_eq!(read(&deep).unwrap_err().detail(), "TYPED_DATA_TOO_DEEP");
    assert_eq!(read(&long).unwrap_err().detail(), "TYPED_DATA_TOO_LARGE");
}

#[test]
fn a_bomb_of_types_is_hashed_once_each() {
    // Each type uses the next one 64 times: 64^30 values if anything were expanded.
    let document = changed(|document| {
        for number in 0..30 {
            let next = if number == 29 {
                "bool".to_owned()
            } else {
                format!("T{}[]", number + 1)
            };
            let field = |index| json!({ "name": format!("f{index}"), "type": next });
            document["types"][format!("T{number}")] = (0..20).map(field).collect();
        }
    });

    assert!(read(&document.to_string()).is_ok());
}

#[test]
fn keys_stand_once_and_fields_are_exactly_those_of_the_type() {
    let text = mail().to_string();
    let twice = text.replace(
        r#""contents":"Hello, Bob!""#,
        r#""contents":"a","contents":"b""#,
    );
    let missing = changed(|document| {
        document["message"]
            .as_object_mut()
            .unwrap()
            .remove("contents");
    });
    let extra = changed(|document| document["message"]["cc"] = json!("Eve"));
    let top = changed(|document| document["extra"] = json!(1));
    let field_twice = changed(|document| {
        let field = json!({ "name": "a", "type": "bool" });
        document["types"]["Unused"] = json!([field, field]);
    });
    let no_primary = changed(|document| document["primaryType"] = json!("Nothing"));
    let unknown = changed(|document| document["types"]["Person"][0]["type"] = json!("Text"));
    let name = changed(|document| document["types"]["Person"][0]["name"] = json!("a b"));

    assert_eq!(
        read(&twice).unwrap_err().detail(),
        "TYPED_DATA_DUPLICATE_KEY"
    );
    assert_eq!(read("{").unwrap_err().detail(), "TYPED_DATA_NOT_JSON");
    assert_eq!(
        read(&format!("{text} 1")).unwrap_err().detail(),
        "TYPED_DATA_NOT_JSON"
    );
    check(&missing, "TYPED_DATA_MISSING_FIELD");
    check(&extra, "TYPED_DATA_EXTRA_FIELD");
    check(&top, "TYPED_DATA_EXTRA_FIELD");
    check(&field_twice, "TYPED_DATA_FIELD_TWICE");
    check(&no_primary, "TYPED_DATA_UNKNOWN_TYPE");
    check(&unknown, "TYPED_DATA_UNKNOWN_TYPE");
    check(&name, "TYPED_DATA_NAME");
}

#[test]
fn the_domain_is_as_every_library_hashes_it() {
    let turned = changed(|document| {
        let fields = document["types"]["EIP712Domain"].as_array_mut().unwrap();
        fields.swap(0, 1);
    });
    let other_type = changed(|document| {
        document["types"]["EIP712Domain"][2]["type"] = json!("uint64");
    });
    let absent = changed(|document| {
        document["types"]
            .as_object_mut()
            .unwrap()
            .remove("EIP712Domain");
    });
    let primary = changed(|document| document["primaryType"] = json!("EIP712Domain"));
    let empty = changed(|document| {
        document["types"]["EIP712Domain"] = json!([]);
        document["domain"] = json!({});
    });
    let zero = changed(|document| document["domain"]["chainId"] = json!(0));
    let surplus = changed(|document| document["domain"]["salt"] = json!("0x00"));

    for document in [turned, other_type, absent, primary, empty] {
        check(&document, "TYPED_DATA_DOMAIN_TYPE");
    }
    check(&zero, "TYPED_DATA_CHAIN_ID_ZERO");
    check(&surplus, "TYPED_DATA_EXTRA_FIELD");
}

#[test]
fn values_are_of_their_types() {
    let max = format!("0x{}", "ff".repeat(32));
    let above = format!("0x1{}", "00".repeat(32));
    for (kind, value) in [
        ("uint8", json!(255)),
        ("uint8", json!("255")),
        ("uint8", json!("0xff")),
        ("uint256", json!(max)),
        ("int8", json!(-128)),
        ("int8", json!("-128")),
        ("int8", json!(127)),
        ("bytes2", json!("0xabcd")),
        ("bytes", json!("0x")),
        ("bool[2]", json!([true, false])),
        ("bool[]", json!([])),
    ] {
        let result = read(&one(kind, &value).to_string());
        assert!(result.is_ok(), "{kind} {value} {result:?}");
    }
    for (kind, value, detail) in [
        ("uint8", json!(256), "TYPED_DATA_OUT_OF_RANGE"),
        ("uint8", json!(-1), "TYPED_DATA_OUT_OF_RANGE"),
        ("uint256", json!(above), "TYPED_DATA_OUT_OF_RANGE"),
        ("int8", json!(128), "TYPED_DATA_OUT_OF_RANGE"),
        ("int8", json!(-129), "TYPED_DATA_OUT_OF_RANGE"),
        ("uint8", json!("1.0"), "TYPED_DATA_WRONG_VALUE"),
        ("uint8", json!("01"), "TYPED_DATA_WRONG_VALUE"),
        ("uint8", json!("0x"), "TYPED_DATA_WRONG_VALUE"),
        ("uint8", json!(1.5), "TYPED_DATA_INEXACT_NUMBER"),
        ("uint8", json!(true), "TYPED_DATA_WRONG_TYPE"),
        ("bool", json!(1), "TYPED_DATA_WRONG_TYPE"),
        ("bool", json!("true"), "TYPED_DATA_WRONG_TYPE"),
        ("string", json!(1), "TYPED_DATA_WRONG_TYPE"),
        ("string", json!(null), "TYPED_DATA_WRONG_TYPE"),
        ("Person", json!(null), "TYPED_DATA_WRONG_TYPE"),
        ("bool[]", json!(true), "TYPED_DATA_WRONG_TYPE"),
        ("bool[2]", json!([true]), "TYPED_DATA_ARRAY_LENGTH"),
        ("bytes2", json!("0xab"), "TYPED_DATA_WRONG_VALUE"),
        ("bytes2", json!("abcd"), "TYPED_DATA_WRONG_VALUE"),
        ("bytes", json!("0xabc"), "TYPED_DATA_WRONG_VALUE"),
        ("address", json!("0x01"), "TYPED_DATA_WRONG_VALUE"),
        ("uint", json!(1), "TYPED_DATA_UNKNOWN_TYPE"),
        ("uint7", json!(1), "TYPED_DATA_UNKNOWN_TYPE"),
        ("uint264", json!(1), "TYPED_DATA_UNKNOWN_TYPE"),
        ("bytes33", json!("0x"), "TYPED_DATA_UNKNOWN_TYPE"),
        ("bool[0]", json!([]), "TYPED_DATA_UNKNOWN_TYPE"),
        ("bool[01]", json!([]), "TYPED_DATA_UNKNOWN_TYPE"),
        ("bool[", json!([]), "TYPED_DATA_UNKNOWN_TYPE"),
    ] {
        check(&one(kind, &value), detail);
    }
    let large = one("uint256", &json!("N"))
        .to_string()
        .replace("\"N\"", "18446744073709551616");
    assert_eq!(
        read(&large).unwrap_err().detail(),
        "TYPED_DATA_INEXACT_NUMBER"
    );
}

/// Values of every kind of type, and a domain with any of its fields.
fn any_document() -> impl Strategy<Value = Value> {
    let hex = |length: std::ops::RangeInclusive<usize>| {
        vec(any::<u8>(), length).prop_map(|bytes| format!("0x{}", hex::encode(bytes)))
    };
    let leaf = (any::<bool>(), ".{0,20}", hex(0..=40), hex(4..=4), hex(20..=20)).prop_map(
        |(flag, text, data, tag, account)| {
            json!({ "flag": flag, "text": text, "data": data, "tag": tag, "account": account })
        },
    );
    let numbers = (any::<u64>(), hex(32..=32), any::<i64>(), any::<i128>()).prop_map(
        |(small, large, signed, wide)| {
            json!({
                "small": small, "large": large, "signed": signed, "wide": wide.to_string(),
            })
        },
    );
    let pairs = vec((leaf.clone(), leaf), 0..3).prop_map(|pairs| {
        pairs
            .into_iter()
            .map(|(one, other)| json!([one, other]))
            .collect()
    });
    (numbers, pairs, 1u8..32, 1u64..9, hex(32..=32)).prop_map(
        |(numbers, pairs, mask, chain, salt): (_, Vec<Value>, _, _, _)| {
            let fields = [
                ("name", "string", json!("Quorate")),
                ("version", "string", json!("1")),
                ("chainId", "uint256", json!(chain)),
                (
                    "verifyingContract",
                    "address",
                    json!(format!("0x{}", "11".repeat(20))),
                ),
                ("salt", "bytes32", json!(salt)),
            ];
            let mut domain = json!({});
            let mut domain_type = Vec::new();
            for (bit, (name, kind, value)) in fields.into_iter().enumerate() {
                if mask & (1 << bit) != 0 {
                    domain[name] = value;
                    domain_type.push(json!({ "name": name, "type": kind }));
                }
            }
            let of = |fields: &[(&str, &str)]| -> Value {
                let field = |(name, kind): &(&str, &str)| json!({ "name": name, "type": kind });
                fields.iter().map(field).collect()
            };
            json!({
                "types": {
                    "EIP712Domain": domain_type,
                    "Order": of(&[("numbers", "Numbers"), ("pairs", "Leaf[2][]")]),
                    "Numbers": of(&[
                        ("small", "uint64"), ("large", "uint256"), ("signed", "int64"),
                        ("wide", "int128"),
                    ]),
                    "Leaf": of(&[
                        ("flag", "bool"), ("text", "string"), ("data", "bytes"),
                        ("tag", "bytes4"), ("account", "address"),
                    ]),
                },
                "primaryType": "Order",
                "domain": domain,
                "message": { "numbers": numbers, "pairs": pairs },
            })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_digest_is_that_of_the_other_library(document in any_document()) {
        let judge: TypedData = serde_json::from_value(document.clone()).unwrap();

        let facts = read(&document.to_string()).unwrap();

        let digest = judge.eip712_signing_hash().unwrap();
        prop_assert_eq!(facts.digest.as_bytes(), &digest.0);
    }

    #[test]
    fn damaged_documents_never_panic(
        document in any_document(),
        damages in vec(Damage::any(), 1..4),
    ) {
        let mut bytes = document.to_string().into_bytes();
        for damage in damages {
            damage.inflict(&mut bytes);
        }
        let _ = inspect(&Payload::new(PayloadKind::EvmTypedData, bytes));
    }
}
