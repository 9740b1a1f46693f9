use quorate_model::command::MAX_COMMAND_BYTES;

use super::*;
use crate::{limits::MAX_NODE_REQUEST_BYTES, node::v1 as node, v1};

/// So many empty elements of field 1.
fn empty(count: usize) -> Vec<u8> {
    [0x0a, 0x00].repeat(count)
}

/// A field of some bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    prost::encoding::encode_varint(bytes.len() as u64, &mut field);
    field.extend(bytes);
    field
}

fn check_too_long<M: Name>(bytes: &[u8], list: &str) {
    let refusal = check::<M>(bytes).unwrap_err();

    assert_eq!(refusal.reason, Reason::TooLarge);
    assert_eq!(refusal.get("field"), Some(list), "{refusal}");
}

#[test]
fn a_message_full_of_empty_elements_is_refused() {
    let full = empty(MAX_NODE_REQUEST_BYTES / 2);

    check_too_long::<node::SignSharesRequest>(&full, "requests");
    check_too_long::<node::SignSharesRequest>(&empty(MAX_SHARE_BATCH + 1), "requests");
    assert_eq!(
        check::<node::SignSharesRequest>(&empty(MAX_SHARE_BATCH)),
        Ok(())
    );
}

#[test]
fn lists_in_messages_and_lists_of_messages_are_judged() {
    let endorsements = field(2, &[]).repeat(MAX_ENDORSEMENTS + 1);
    let command = field(1, &endorsements);
    let sets = field(4, &[]).repeat(MAX_SIGNING_ITEMS + 1);

    check_too_long::<node::ValidateCommandRequest>(&command, "command.endorsements");
    let request = field(1, &command);
    check_too_long::<node::SignSharesRequest>(&request, "requests.command.endorsements");
    let request = field(1, &sets);
    check_too_long::<node::SignSharesRequest>(&request, "requests.signing_sets");
    check_too_long::<v1::SubmitCommandRequest>(&endorsements, "endorsements");
}

#[test]
fn a_message_in_parts_is_refused() {
    let half = field(2, &[]).repeat(MAX_ENDORSEMENTS);
    let parts = field(1, &half).repeat(2);

    check_too_long::<node::ValidateCommandRequest>(&parts, "command");
}

#[test]
fn the_lists_of_a_command_are_judged_before_it_is_decoded() {
    let payloads = field(2, &[]).repeat(MAX_COMMAND_BYTES / 2 - 16);
    let steps = field(4, &[0x80, 0x01].repeat(MAX_STEPS + 1));
    let number_by_number = [0x20, 0x01].repeat(MAX_STEPS + 1);

    for (body, list) in [
        (payloads, "sign.payloads"),
        (field(2, &steps), "sign.payloads.path"),
        (field(2, &number_by_number), "sign.payloads.path"),
    ] {
        let command = field(11, &body);

        check_too_long::<v1::Command>(&command, list);
        let refusal = crate::command::decode(&command).unwrap_err();
        assert_eq!(refusal.reason, Reason::CommandUndecodable);
        assert_eq!(refusal.get("field"), Some(list));
    }
}

#[test]
fn what_is_no_message_is_refused_as_such() {
    let (group, cut, endless) = (&[0x0b][..], &[0x0a, 0x05, 0x00][..], &[0xff; 11][..]);
    for bytes in [group, cut, endless] {
        let refusal = check::<node::SignSharesRequest>(bytes).unwrap_err();

        assert_eq!(refusal.reason, Reason::RequestInvalid);
    }
    assert_eq!(check::<node::SignSharesRequest>(&[]), Ok(()));
    // A field that nobody knows is no list.
    assert_eq!(
        check::<node::SignSharesRequest>(&field(9, &[1]).repeat(5_000)),
        Ok(())
    );
}

#[test]
fn every_list_of_the_api_has_a_bound_and_every_bound_a_list() {
    let lists: Vec<String> = SHAPES
        .iter()
        .filter(|(message, _)| message.starts_with("quorate."))
        .flat_map(|(message, fields)| {
            fields
                .values()
                .filter(|field| !matches!(field.kind, Kind::Single))
                .map(move |field| format!("{message}.{}", field.name))
        })
        .collect();

    for list in &lists {
        assert!(MOST.iter().any(|(name, _)| name == list), "{list}");
    }
    for (name, most) in MOST {
        assert!(lists.iter().any(|list| list == name), "{name}");
        assert!(*most > 0, "{name}");
    }
}
