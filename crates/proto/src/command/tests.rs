use proptest::prelude::*;
use quorate_model::{
    CommandId, Digest, KeyId, KeyPurpose, Scheme, UnixMillis, evacuation::Evacuate,
    standing::StateChange,
};
use uuid::Uuid;

use super::*;
use crate::arbitrary;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_command_survives_its_bytes(command in arbitrary::command()) {
        let bytes = encode(&command);

        prop_assert_eq!(decode(&bytes), Ok(command));
    }

    #[test]
    fn other_bytes_never_stand_for_the_same_command(
        command in arbitrary::command(),
        at in any::<prop::sample::Index>(),
        bit in 0..8_u32,
    ) {
        let bytes = encode(&command);
        let mut other = bytes.clone();
        let at = at.index(other.len());
        other[at] ^= 1 << bit;

        prop_assert_ne!(decode(&other), Ok(command));
    }

    #[test]
    fn arbitrary_bytes_are_refused_or_are_the_one_encoding(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        if let Ok(command) = decode(&bytes) {
            prop_assert_eq!(encode(&command), bytes);
        }
    }
}

fn create() -> Command {
    Command {
        cluster: Digest::new([1; 32]),
        roster: Digest::new([2; 32]),
        id: CommandId(Uuid::from_bytes([3; 16])),
        created: UnixMillis(1_700_000_000_123),
        expires: UnixMillis(1_700_000_060_000),
        body: CommandBody::CreateKey(CreateKey {
            key: "treasury".parse().unwrap(),
            scheme: Scheme::Bip340,
            threshold: 2,
            nodes: ["node-a", "node-b", "node-c"]
                .map(|id| id.parse().unwrap())
                .to_vec(),
            purposes: Purposes::new(vec![KeyPurpose::Transactions, KeyPurpose::Messages]).unwrap(),
            accept_fragile: false,
            life: KeyLife::default(),
        }),
    }
}

fn sign() -> Command {
    let payloads = vec![Payload::message(*b"hello"), Payload::message(Vec::new())];
    let sign = Sign {
        key: "treasury".parse().unwrap(),
        key_id: KeyId([4; 32]),
        payloads,
    };
    Command {
        body: CommandBody::Sign(sign),
        ..create()
    }
}

#[test]
fn the_bytes_of_a_command_stay_as_they_are() {
    let mut expected = Vec::new();
    expected.extend([0x0a, 32]);
    expected.extend([1; 32]);
    expected.extend([0x12, 32]);
    expected.extend([2; 32]);
    expected.extend([0x1a, 36]);
    expected.extend(b"03030303-0303-0303-0303-030303030303");
    expected.extend([
        0x22, 11, 0x08, 0x80, 0xe2, 0xcf, 0xaa, 0x06, 0x10, 0xc0, 0xa9, 0xd3, 0x3a,
    ]);
    expected.extend([0x2a, 6, 0x08, 0xbc, 0xe2, 0xcf, 0xaa, 0x06]);
    expected.extend([0x5a, 59, 0x0a, 8]);
    expected.extend(b"treasury");
    expected.extend([0x12, 9, 0x08, 0x01, 0x12, 5]);
    expected.extend(b"hello");
    expected.extend([0x12, 2, 0x08, 0x01]);
    expected.extend([0x1a, 32]);
    expected.extend([4; 32]);

    assert_eq!(encode(&sign()), expected);
}

#[test]
fn an_unknown_field_is_refused_wherever_it_stands() {
    let mut at_top = encode(&create());
    // Field 31, varint 1: past everything that this version knows.
    at_top.extend([0xf8, 0x01, 1]);
    let mut wire = v1::Command::from(&create());
    let body = wire.body.take().unwrap();
    let v1::command::Body::CreateKey(body) = body else {
        panic!("the body is a create-key")
    };
    let mut inside = wire.encode_to_vec();
    let mut body = body.encode_to_vec();
    body.extend([0x78, 1]);
    inside.extend([0x52, u8::try_from(body.len()).unwrap()]);
    inside.extend(body);

    for bytes in [at_top, inside] {
        assert!(
            v1::Command::decode(bytes.as_slice()).is_ok(),
            "a lenient reader takes it"
        );
        let refused = decode(&bytes).unwrap_err();
        assert_eq!(refused.reason, Reason::CommandUndecodable);
        assert!(refused.message.contains("does not know"), "{refused}");
    }
}

#[test]
fn fields_in_another_order_are_refused() {
    let bytes = encode(&sign());
    let mut turned = bytes[34..68].to_vec();
    turned.extend(&bytes[..34]);
    turned.extend(&bytes[68..]);

    assert!(v1::Command::decode(turned.as_slice()).is_ok());
    assert_eq!(
        decode(&turned).unwrap_err().reason,
        Reason::CommandUndecodable
    );
}

#[test]
fn a_field_that_stands_twice_is_refused() {
    let mut bytes = encode(&sign());
    let first: Vec<u8> = bytes[..34].to_vec();
    bytes.splice(0..0, first);

    assert!(v1::Command::decode(bytes.as_slice()).is_ok());
    assert_eq!(
        decode(&bytes).unwrap_err().reason,
        Reason::CommandUndecodable
    );
}

#[test]
fn two_bodies_are_refused_although_a_lenient_reader_takes_the_last() {
    let mut bytes = encode(&create());
    let body_only = v1::Command {
        body: body_to_wire(&sign().body),
        ..v1::Command::default()
    };
    bytes.extend(body_only.encode_to_vec());

    assert!(v1::Command::decode(bytes.as_slice()).is_ok());
    assert_eq!(
        decode(&bytes).unwrap_err().reason,
        Reason::CommandUndecodable
    );
}

#[test]
fn a_number_longer_than_needed_is_refused() {
    // threshold: field 3 of the body, 2 as two bytes.
    let bytes = encode(&create());
    let at = bytes
        .windows(2)
        .rposition(|pair| pair == [0x18, 2])
        .unwrap();
    let mut longer = bytes.clone();
    longer.splice(at + 1..at + 2, [0x82, 0x00]);
    let body = longer.iter().position(|byte| *byte == 0x52).unwrap();
    longer[body + 1] += 1;

    assert!(v1::Command::decode(longer.as_slice()).is_ok());
    assert_eq!(
        decode(&longer).unwrap_err().reason,
        Reason::CommandUndecodable
    );
}

#[test]
fn each_malformed_field_is_named() {
    let check = |field: &str, change: &dyn Fn(&mut v1::Command)| {
        let mut wire = v1::Command::from(&create());
        change(&mut wire);
        let refused = decode(&wire.encode_to_vec()).unwrap_err();
        assert_eq!(refused.reason, Reason::CommandUndecodable, "{field}");
        assert_eq!(refused.get("field"), Some(field), "{refused}");
    };
    let create = |wire: &mut v1::Command, change: &dyn Fn(&mut v1::CreateKey)| match &mut wire.body
    {
        Some(v1::command::Body::CreateKey(create)) => change(create),
        _ => panic!("the body is a create-key"),
    };

    check("cluster", &|wire| wire.cluster.truncate(31));
    check("roster", &|wire| wire.roster.push(0));
    check("command_id", &|wire| {
        wire.command_id = wire.command_id.replace('-', "");
    });
    check("command_id", &|wire| wire.command_id = "x".to_owned());
    check("create_time", &|wire| wire.create_time = None);
    check("create_time", &|wire| {
        wire.create_time.as_mut().unwrap().nanos += 1;
    });
    check("create_time", &|wire| {
        wire.create_time.as_mut().unwrap().nanos = 1_000_000_000;
    });
    check("expire_time", &|wire| {
        wire.expire_time.as_mut().unwrap().seconds = -1;
    });
    check("expire_time", &|wire| {
        wire.expire_time.as_mut().unwrap().seconds = i64::MAX;
    });
    check("body", &|wire| wire.body = None);
    check("create_key.key", &|wire| {
        create(wire, &|body| body.key = "A".to_owned());
    });
    check("create_key.scheme", &|wire| {
        create(wire, &|body| body.scheme = 0);
    });
    check("create_key.scheme", &|wire| {
        create(wire, &|body| body.scheme = 99);
    });
    check("create_key.threshold", &|wire| {
        create(wire, &|body| body.threshold = 65_536);
    });
    check("create_key.nodes", &|wire| {
        create(wire, &|body| body.nodes.push(String::new()));
    });
    check("create_key.nodes", &|wire| {
        create(wire, &|body| {
            body.nodes = vec!["aa".to_owned(); MAX_NODES + 1];
        });
    });
    check("create_key.purposes", &|wire| {
        create(wire, &|body| body.purposes.clear());
    });
    check("create_key.purposes", &|wire| {
        create(wire, &|body| body.purposes = vec![1, 1]);
    });
    check("create_key.purposes", &|wire| {
        create(wire, &|body| body.purposes.push(7));
    });
    check("create_key.replaces.key", &|wire| {
        create(wire, &|body| {
            body.replaces = Some(v1::KeyPredecessor::default());
        });
    });
    check("create_key.replaces.key_id", &|wire| {
        create(wire, &|body| {
            body.replaces = Some(v1::KeyPredecessor {
                key: "before".to_owned(),
                key_id: vec![0; 31],
            });
        });
    });
    check("create_key.cryptoperiod_duration", &|wire| {
        create(wire, &|body| body.cryptoperiod_duration = period(-1, 0));
    });
    check("create_key.refresh_duration", &|wire| {
        create(wire, &|body| body.refresh_duration = period(1, 1));
    });
    check("create_key", &|wire| {
        create(wire, &|body| body.cryptoperiod_duration = period(0, 0));
    });
    check("create_key", &|wire| {
        create(wire, &|body| {
            body.replaces = Some(v1::KeyPredecessor {
                key: body.key.clone(),
                key_id: vec![0; 32],
            });
        });
    });
}

#[test]
fn destinations_that_are_no_accounts_too_many_or_out_of_order_are_refused() {
    let check = |field: &str, destinations: Vec<&str>| {
        let mut wire = v1::Command::from(&create());
        let Some(v1::command::Body::CreateKey(create)) = &mut wire.body else {
            panic!("the body is a create-key")
        };
        create.evacuation_destinations = destinations.into_iter().map(str::to_owned).collect();
        let refused = decode(&wire.encode_to_vec()).unwrap_err();
        assert_eq!(refused.get("field"), Some(field), "{refused}");
    };
    let account = "eip155:1:0xab";

    check("create_key.evacuation_destinations", vec!["0xab"]);
    check("create_key.evacuation_destinations", vec![account; 33]);
    check("create_key", vec![account; 2]);
    check("create_key", vec!["eip155:2:0xab", account]);
}

#[expect(clippy::unnecessary_wraps, reason = "what fields of messages hold")]
fn period(seconds: i64, nanos: i32) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos })
}

#[test]
fn a_command_from_before_keys_had_plans_reads_as_one_without_a_plan() {
    // The first of the vectors that are published with the protocol.
    let old = hex::decode(concat!(
        "0a201111111111111111111111111111111111111111111111111111111111111111",
        "12201111111111111111111111111111111111111111111111111111111111111111",
        "1a2430303030303030302d303030302d303030302d303030302d303030303030303030303031",
        "220b0880a4a7da0610c0a9d33a2a0b08d8a8a7da0610c0a9d33a",
        "52290a0874726561737572791001180222066e6f64652d6122066e6f64652d62",
        "22066e6f64652d632a0101",
    ))
    .unwrap();

    let command = decode(&old).unwrap();

    let CommandBody::CreateKey(create) = &command.body else {
        panic!("the command creates a key");
    };
    assert_eq!(create.life, KeyLife::default());
    assert_eq!(encode(&command), old);
}

#[test]
fn each_malformed_evacuation_is_refused() {
    let CommandBody::Sign(sign) = sign().body else {
        panic!("the body is a sign")
    };
    let good = Command {
        body: CommandBody::Evacuate(Evacuate {
            sign,
            reason: "a drill".to_owned(),
        }),
        ..create()
    };
    assert_eq!(decode(&encode(&good)).unwrap(), good);
    let check = |field: &str, change: &dyn Fn(&mut v1::Evacuate)| {
        let mut wire = v1::Command::from(&good);
        match &mut wire.body {
            Some(v1::command::Body::Evacuate(evacuate)) => change(evacuate),
            _ => panic!("the body is an evacuation"),
        }
        let refused = decode(&wire.encode_to_vec()).unwrap_err();
        assert_eq!(refused.get("field"), Some(field), "{refused}");
    };

    check("evacuate.key", &|evacuate| evacuate.key.clear());
    check("evacuate.key_id", &|evacuate| evacuate.key_id.push(0));
    check("evacuate.payloads", &|evacuate| evacuate.payloads.clear());
    check("evacuate.payloads.kind", &|evacuate| {
        evacuate.payloads[0].kind = 99;
    });
    check("evacuate", &|evacuate| evacuate.reason.clear());
    check("evacuate", &|evacuate| evacuate.reason.push('\n'));
}

#[test]
fn each_malformed_payload_is_refused() {
    let check = |field: &str, change: &dyn Fn(&mut v1::Sign)| {
        let mut wire = v1::Command::from(&sign());
        match &mut wire.body {
            Some(v1::command::Body::Sign(sign)) => change(sign),
            _ => panic!("the body is a sign"),
        }
        let refused = decode(&wire.encode_to_vec()).unwrap_err();
        assert_eq!(refused.get("field"), Some(field), "{refused}");
    };

    check("sign.key", &|sign| sign.key.clear());
    check("sign.key_id", &|sign| sign.key_id.clear());
    check("sign.key_id", &|sign| sign.key_id.push(0));
    check("sign.payloads", &|sign| sign.payloads.clear());
    check("sign.payloads", &|sign| {
        let payload = sign.payloads[0].clone();
        sign.payloads = vec![payload; MAX_PAYLOADS + 1];
    });
    check("sign.payloads.kind", &|sign| sign.payloads[0].kind = 0);
    check("sign.payloads.content", &|sign| {
        sign.payloads[0].content = vec![0; MAX_PAYLOAD_BYTES + 1];
    });
    check("sign.payloads.path", &|sign| {
        sign.payloads[0].path = vec![0; 11];
    });
    check("sign.payloads.path", &|sign| {
        sign.payloads[0].path = vec![1 << 31];
    });
}

#[test]
fn each_malformed_change_of_state_is_refused() {
    let set = SetKeyState {
        key: "hot".parse().unwrap(),
        key_id: KeyId([7; 32]),
        sequence: 1,
        change: StateChange::Suspend,
        reason: "a drill".to_owned(),
    };
    let command = Command {
        body: CommandBody::SetKeyState(set),
        ..sign()
    };
    assert_eq!(decode(&encode(&command)), Ok(command.clone()));
    let check = |field: &str, change: &dyn Fn(&mut v1::SetKeyState)| {
        let mut wire = v1::Command::from(&command);
        match &mut wire.body {
            Some(v1::command::Body::SetKeyState(set)) => change(set),
            _ => panic!("the body changes a state"),
        }
        let refused = decode(&wire.encode_to_vec()).unwrap_err();
        assert_eq!(refused.reason, Reason::CommandUndecodable, "{field}");
        assert_eq!(refused.get("field"), Some(field), "{refused}");
    };

    check("set_key_state.key", &|set| set.key.clear());
    check("set_key_state.key_id", &|set| set.key_id.truncate(31));
    check("set_key_state.change", &|set| set.change = 0);
    check("set_key_state.change", &|set| set.change = 9);
    check("set_key_state", &|set| set.sequence = 0);
    check("set_key_state", &|set| set.reason.clear());
    check("set_key_state", &|set| set.reason = "two\nlines".to_owned());
    check("set_key_state", &|set| set.reason = "x".repeat(501));
}

#[test]
fn purposes_out_of_order_are_refused() {
    let mut wire = v1::Command::from(&create());
    let Some(v1::command::Body::CreateKey(create)) = &mut wire.body else {
        panic!("the body is a create-key")
    };
    create.purposes.reverse();

    let refused = decode(&wire.encode_to_vec()).unwrap_err();

    assert_eq!(refused.reason, Reason::CommandUndecodable);
}

#[test]
fn a_command_above_the_limit_is_refused_before_it_is_read() {
    let refused = decode(&vec![0xff; MAX_COMMAND_BYTES + 1]).unwrap_err();

    assert_eq!(refused.reason, Reason::TooLarge);
}

#[test]
fn garbage_and_nothing_are_no_commands() {
    for bytes in [&b"garbage"[..], &[], &[0x0a, 0xff]] {
        assert_eq!(
            decode(bytes).unwrap_err().reason,
            Reason::CommandUndecodable
        );
    }
}
