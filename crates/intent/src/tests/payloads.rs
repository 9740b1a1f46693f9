//! What is said about payloads that are signed, and the forms that they come in.

use quorate_model::payload::MAX_PAYLOAD_BYTES;
use quorate_model::{DerivationPath, Digest, KeyPurpose, Payload, Purposes, Scheme};

use super::fixtures::{CHAIN_CODE, WholeKey, decode_psbt, mixed, output, plain, spend, stranger};
use crate::{
    DigestFacts, Facts, ItemTweak, KeyFacts, MessageFacts, Network, PsbtFacts, PsbtForm,
    ScriptKind, ScriptPubkey, SigningItem, Undecodable, decode, psbt_from_text_or_binary,
};

fn facts_of(psbt: &bitcoin::Psbt, key: &WholeKey) -> PsbtFacts {
    let Facts::Psbt(facts) = decode_psbt(key, psbt).unwrap().facts else {
        panic!("a PSBT has facts of its own")
    };
    facts
}

fn decode_message(bytes: &[u8]) -> (MessageFacts, Vec<SigningItem>) {
    let purposes = Purposes::new(vec![KeyPurpose::Messages]).unwrap();
    let key = KeyFacts {
        scheme: Scheme::Ed25519,
        purposes: &purposes,
        group_key: &[1; 32],
        chain_code: &CHAIN_CODE,
    };
    let decoded = decode(&Payload::message(bytes), &key).unwrap();
    let Facts::Message(facts) = decoded.facts else {
        panic!("a message has facts of its own")
    };
    (facts, decoded.items)
}

#[test]
fn a_message_is_signed_as_it_is_from_length_zero() {
    for message in [&b""[..], b"a", b"\x00\xff\x80", &[7; 5000]] {
        let (facts, items) = decode_message(message);

        let item = SigningItem {
            message: message.to_vec(),
            path: DerivationPath::ROOT,
            tweak: ItemTweak::None,
            input: None,
        };
        assert_eq!(items, [item]);
        assert_eq!(facts.length, u64::try_from(message.len()).unwrap());
        assert_eq!(facts.truncated, message.len() > 256);
    }
    assert_eq!(
        decode_message(b"").0.sha256.to_string(),
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    );
}

#[test]
fn the_text_of_a_message_cannot_hide_what_it_says() {
    let check = |message: &str, shown: &str| {
        assert_eq!(
            decode_message(message.as_bytes()).0.text.as_deref(),
            Some(shown)
        );
    };
    check("pay 5 BTC", "pay 5 BTC");
    check("a\nb\tc\u{7f}\u{1b}[2J", r"a\nb\tc\u{7f}\u{1b}[2J");
    check("right\u{202e}left", r"right\u{202e}left");
    check("zero\u{200b}width", r"zero\u{200b}width");
    check("soft\u{ad}hyphen", r"soft\u{ad}hyphen");
    assert_eq!(decode_message(b"\xff\xfe").0.text, None);
    assert_eq!(decode_message(b"\xff\xfe").0.hex, "fffe");
}

#[test]
fn a_long_message_is_shown_in_part() {
    let (facts, _) = decode_message("ä".repeat(300).as_bytes());

    assert_eq!(facts.text.unwrap(), "ä".repeat(256));
    assert_eq!(facts.hex.len(), 512);
    assert!(facts.truncated);
}

#[test]
fn a_digest_is_signed_untweaked_and_shown_as_it_is() {
    let purposes = Purposes::new(vec![KeyPurpose::Digests]).unwrap();
    let key = WholeKey::number(1);
    let facts = KeyFacts {
        purposes: &purposes,
        ..key.facts()
    };

    let decoded = decode(&Payload::digest([8; 32]), &facts).unwrap();

    assert_eq!(
        decoded.facts,
        Facts::Digest(DigestFacts {
            digest: Digest::new([8; 32])
        })
    );
    let item = SigningItem {
        message: vec![8; 32],
        path: DerivationPath::ROOT,
        tweak: ItemTweak::None,
        input: None,
    };
    assert_eq!(decoded.items, [item]);
}

#[test]
fn the_facts_of_a_spend_name_inputs_outputs_change_and_fee() {
    let key = WholeKey::number(1);

    let facts = facts_of(&mixed(&key), &key);

    let ours: Vec<_> = facts.inputs.iter().map(|input| input.is_ours).collect();
    let change: Vec<_> = facts
        .outputs
        .iter()
        .map(|output| output.is_change)
        .collect();
    assert_eq!(ours, [false, true, true, false]);
    assert_eq!(change, [false, true]);
    assert_eq!(facts.input_total_sat, 410_000);
    assert_eq!(facts.own_input_total_sat, 300_000);
    assert_eq!(facts.output_total_sat, 400_000);
    assert_eq!(facts.change_total_sat, 150_000);
    assert_eq!(facts.fee_sat, 10_000);
    assert_eq!(facts.outflow_sat(), 150_000);
    assert!(!facts.high_fee);
    assert!(facts.replaceable);
    assert_eq!(facts.outputs[0].kind, ScriptKind::P2wpkh);
    assert_eq!(facts.outputs[1].kind, ScriptKind::P2tr);
    assert_eq!(facts.inputs[2].vout, 2);
    assert_eq!(facts.inputs[2].txid, "07".repeat(32));
}

#[test]
fn only_the_own_taproot_script_is_change() {
    let key = WholeKey::number(1);
    let mut paid = plain(&key);
    // The output claims the internal key of the key, and pays to somebody else.
    paid.unsigned_tx.output[1].script_pubkey = WholeKey::number(2).script();
    paid.outputs[1].tap_internal_key =
        Some(bitcoin::XOnlyPublicKey::from_slice(&key.group_key()[1..]).unwrap());

    let facts = facts_of(&paid, &key);

    assert!(facts.outputs.iter().all(|output| !output.is_change));
    assert_eq!(facts.change_total_sat, 0);
    assert_eq!(facts.outflow_sat(), 100_000);
}

#[test]
fn the_fee_rate_counts_the_signatures_that_are_to_come() {
    let key = WholeKey::number(1);
    let spent = vec![output(key.script(), 100_000)];
    let psbt = spend(spent, vec![output(key.script(), 98_890)]);

    let facts = facts_of(&psbt, &key);

    // One taproot input and output are 111 virtual bytes.
    assert_eq!(facts.fee_sat, 1110);
    assert_eq!(facts.fee_rate_sat_per_kvb, 10_000);
}

#[test]
fn a_high_fee_that_was_accepted_is_still_called_high() {
    let key = WholeKey::number(1);
    let psbt = spend(
        vec![output(key.script(), 1000)],
        vec![output(stranger(), 500)],
    );
    let payload = Payload {
        allow_high_fee: true,
        ..Payload::psbt(psbt.serialize())
    };

    let decoded = decode(&payload, &key.facts()).unwrap();

    assert!(matches!(decoded.facts, Facts::Psbt(facts) if facts.high_fee));
}

#[test]
fn others_may_pay_into_the_key() {
    let key = WholeKey::number(1);
    let spent = vec![output(key.script(), 1000), output(stranger(), 5000)];
    let psbt = spend(spent, vec![output(key.script(), 5900)]);

    assert_eq!(facts_of(&psbt, &key).outflow_sat(), -4900);
}

#[test]
fn scripts_are_named_and_have_addresses_where_there_are_any() {
    let check = |script: &str, kind, address: Option<&str>| {
        let script = ScriptPubkey::new(hex::decode(script).unwrap());
        assert_eq!(script.kind(), kind);
        assert_eq!(script.address(Network::Bitcoin).as_deref(), address);
    };
    // The scripts and addresses of BIP-173 and BIP-350, and of the first payment in the chain.
    check(
        "0014751e76e8199196d454941c45d1b3a323f1433bd6",
        ScriptKind::P2wpkh,
        Some("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"),
    );
    check(
        "512079be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
        ScriptKind::P2tr,
        Some("bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0"),
    );
    check(
        "76a91462e907b15cbf27d5425399ebf6f0fb50ebb88f1888ac",
        ScriptKind::P2pkh,
        Some("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa"),
    );
    check("6a0568656c6c6f", ScriptKind::OpReturn, None);
    check("51", ScriptKind::Other, None);
    check("", ScriptKind::Other, None);
}

#[test]
fn facts_survive_text_and_binary() {
    let key = WholeKey::number(1);
    let decoded = decode_psbt(&key, &mixed(&key)).unwrap();

    let text = serde_json::to_string(&decoded.facts).unwrap();
    let binary = postcard::to_allocvec(&decoded.facts).unwrap();

    assert_eq!(serde_json::from_str::<Facts>(&text).unwrap(), decoded.facts);
    assert_eq!(
        postcard::from_bytes::<Facts>(&binary).unwrap(),
        decoded.facts
    );
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        value["psbt"]["outputs"][0]["script"],
        stranger().to_hex_string()
    );
    assert_eq!(value["psbt"]["outputs"][0]["kind"], "p2wpkh");
    assert_eq!(value["psbt"]["fee_sat"], 10_000);
}

#[test]
fn a_psbt_comes_back_in_the_form_in_which_it_came() {
    let psbt = plain(&WholeKey::number(1)).serialize();
    let forms = [
        PsbtForm::Binary,
        PsbtForm::Base64 { newline: false },
        PsbtForm::Base64 { newline: true },
    ];
    for form in forms {
        let written = form.write(&psbt);

        let (read, found) = psbt_from_text_or_binary(&written).unwrap();

        assert_eq!((read, found), (psbt.clone(), form));
    }
    let text = String::from_utf8(PsbtForm::Base64 { newline: false }.write(&psbt)).unwrap();
    assert_eq!(text, plain(&WholeKey::number(1)).to_string());
}

#[test]
fn base64_is_read_with_line_breaks_and_without_padding() {
    // Four bytes more, so that the text ends in padding.
    let psbt = [plain(&WholeKey::number(1)).serialize(), vec![0]].concat();
    let psbt = if psbt.len() % 3 == 0 {
        psbt[..psbt.len() - 1].to_vec()
    } else {
        psbt
    };
    let text = String::from_utf8(PsbtForm::Base64 { newline: false }.write(&psbt)).unwrap();
    assert!(text.ends_with('='));
    let wrapped: Vec<_> = text
        .as_bytes()
        .chunks(64)
        .map(|line| [line, b"\r\n"].concat())
        .collect();

    let unpadded = psbt_from_text_or_binary(text.trim_end_matches('=').as_bytes()).unwrap();
    let unwrapped = psbt_from_text_or_binary(&wrapped.concat()).unwrap();

    assert_eq!(unpadded.0, psbt);
    assert_eq!(unwrapped, (psbt, PsbtForm::Base64 { newline: true }));
}

#[test]
fn a_file_that_is_no_psbt_in_either_form_is_refused() {
    for file in [
        &b""[..],
        b"\n",
        b"hello",
        b"aGVsbG8gd29ybGQ=",
        b"70736274ff01",
        &[0xff; 9],
    ] {
        assert_eq!(psbt_from_text_or_binary(file), Err(Undecodable::NotPsbt));
    }
    let mut long = b"psbt\xff".to_vec();
    long.resize(MAX_PAYLOAD_BYTES + 1, 0);
    for form in [PsbtForm::Binary, PsbtForm::Base64 { newline: true }] {
        let error = psbt_from_text_or_binary(&form.write(&long)).unwrap_err();
        assert_eq!(error.detail(), "PAYLOAD_TOO_LARGE");
    }
}
