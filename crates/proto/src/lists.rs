//! How long the lists of a message are, judged on its bytes before any of it is decoded: an empty
//! element takes two bytes on the wire and up to a hundred in memory.
//!
//! Only lists are judged. What is no message at all is left to the decoder, but for groups and for
//! messages that are given in parts, which no encoder of ours writes.

use std::{collections::HashMap, sync::LazyLock};

use prost::{
    Message as _, Name,
    bytes::Buf as _,
    encoding::{WireType, decode_key, decode_varint},
};
use prost_types::{
    DescriptorProto, FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};
use quorate_model::{
    Reason, Refusal,
    command::{MAX_ENDORSEMENTS, MAX_HOLDERS},
    evacuation::MAX_DESTINATIONS,
    node_api::{MAX_ATTESTATIONS, MAX_ERASURES, MAX_LISTED_ROSTERS},
    path::MAX_STEPS,
    payload::{MAX_PAYLOADS, MAX_SIGNING_ITEMS},
    roster::{MAX_NODES, MAX_ROSTERS},
    scheme::KeyPurpose,
    share::MAX_SHARE_BATCH,
};

use crate::{
    limits::{
        MAX_CEREMONY, MAX_NODE_PAGE, MAX_PUBLIC_PAGE, MAX_REFUSAL_PARTS, MAX_ROSTER_SIGNATURES,
    },
    operation::MAX_RECEIPTS,
};

/// The most elements of every list of the API.
const MOST: &[(&str, usize)] = &[
    ("quorate.node.v1.Aborted.culprits", MAX_HOLDERS),
    (
        "quorate.node.v1.AdvanceCeremonyRequest.envelopes",
        MAX_CEREMONY,
    ),
    (
        "quorate.node.v1.AdvancePairingRequest.envelopes",
        MAX_HOLDERS,
    ),
    (
        "quorate.node.v1.AdvanceSigningRequest.envelopes",
        MAX_HOLDERS,
    ),
    ("quorate.node.v1.AttestAddressRequest.path", MAX_STEPS),
    ("quorate.node.v1.BeginPairingRequest.holders", MAX_HOLDERS),
    ("quorate.node.v1.BeginSigningRequest.signers", MAX_HOLDERS),
    ("quorate.node.v1.CeremonyReply.envelopes", MAX_HOLDERS),
    ("quorate.node.v1.EraseEpochsRequest.erasures", MAX_ERASURES),
    ("quorate.node.v1.EraseEpochsResponse.outcomes", MAX_ERASURES),
    (
        "quorate.node.v1.ReadmitRequest.attestations",
        MAX_ATTESTATIONS,
    ),
    (
        "quorate.node.v1.ListRostersResponse.commands",
        MAX_LISTED_ROSTERS,
    ),
    ("quorate.node.v1.ReadmitResponse.missing_nodes", MAX_NODES),
    ("quorate.node.v1.ReshareFrom.dealers", MAX_HOLDERS),
    ("quorate.node.v1.PairingReply.envelopes", MAX_HOLDERS),
    ("quorate.node.v1.SigningReply.envelopes", MAX_HOLDERS),
    ("quorate.node.v1.ConfirmTimeRequest.attestations", MAX_NODES),
    ("quorate.node.v1.ListKeysResponse.keys", MAX_NODE_PAGE),
    ("quorate.node.v1.Prepared.verifying_shares", MAX_HOLDERS),
    ("quorate.node.v1.ReadAuditResponse.records", MAX_NODE_PAGE),
    (
        "quorate.node.v1.ShareRequest.signing_sets",
        MAX_SIGNING_ITEMS,
    ),
    (
        "quorate.node.v1.SignSharesRequest.requests",
        MAX_SHARE_BATCH,
    ),
    (
        "quorate.node.v1.SignSharesResponse.outcomes",
        MAX_SHARE_BATCH,
    ),
    ("quorate.v1.AttestAddressRequest.path", MAX_STEPS),
    ("quorate.v1.AttestAddressResponse.statements", MAX_HOLDERS),
    ("quorate.v1.CommandProgress.awaited_nodes", MAX_NODES),
    (
        "quorate.v1.CreateKey.evacuation_destinations",
        MAX_DESTINATIONS,
    ),
    ("quorate.v1.CreateKey.nodes", MAX_NODES),
    ("quorate.v1.CreateKey.purposes", KeyPurpose::ALL.len()),
    ("quorate.v1.Evacuate.payloads", MAX_PAYLOADS),
    ("quorate.v1.Key.participants", MAX_NODES),
    ("quorate.v1.KeyDestruction.missing", MAX_NODES),
    ("quorate.v1.KeyDestruction.receipts", MAX_NODES),
    ("quorate.v1.KeyReshared.erased", MAX_NODES),
    ("quorate.v1.KeyReshared.missing_nodes", MAX_NODES),
    ("quorate.v1.KeyStateSet.missing_nodes", MAX_NODES),
    ("quorate.v1.KeyStateSet.receipts", MAX_HOLDERS),
    ("quorate.v1.Key.purposes", KeyPurpose::ALL.len()),
    ("quorate.v1.Key.verifying_shares", MAX_NODES),
    (
        "quorate.v1.ListAuditRecordsResponse.audit_records",
        MAX_PUBLIC_PAGE,
    ),
    ("quorate.v1.ListCommandsResponse.commands", MAX_PUBLIC_PAGE),
    ("quorate.v1.ListEvidenceResponse.evidence", MAX_PUBLIC_PAGE),
    ("quorate.v1.ListKeysResponse.keys", MAX_PUBLIC_PAGE),
    ("quorate.v1.ListNodesResponse.nodes", MAX_PUBLIC_PAGE),
    ("quorate.v1.Payload.path", MAX_STEPS),
    ("quorate.v1.Refusal.metadata", MAX_REFUSAL_PARTS),
    ("quorate.v1.ReadmitNode.without_nodes", MAX_NODES),
    ("quorate.v1.ReshareKey.nodes", MAX_NODES),
    ("quorate.v1.Roster.receipts", MAX_NODES),
    ("quorate.v1.Roster.signatures", MAX_ROSTER_SIGNATURES),
    ("quorate.v1.Roster.successors", MAX_ROSTERS),
    ("quorate.v1.RosterChanged.missing", MAX_NODES),
    ("quorate.v1.RosterChanged.receipts", MAX_NODES),
    ("quorate.v1.Sign.payloads", MAX_PAYLOADS),
    ("quorate.v1.Signed.receipts", MAX_RECEIPTS),
    ("quorate.v1.Signed.signatures", MAX_SIGNING_ITEMS),
    ("quorate.v1.Signed.signers", MAX_NODES),
    ("quorate.v1.SignedCommand.endorsements", MAX_ENDORSEMENTS),
    (
        "quorate.v1.SubmitCommandRequest.endorsements",
        MAX_ENDORSEMENTS,
    ),
];

/// A field that is a list, or a message in which there may be some.
struct Field {
    name: String,
    kind: Kind,
    most: usize,
    /// The full name of the message, where it is one.
    of: Option<String>,
}

enum Kind {
    /// A single message. Given in parts, it could add to its lists with each.
    Single,
    /// A list of strings, bytes or messages, one by one.
    Items,
    /// A list of numbers, many in one piece.
    Numbers,
}

/// The fields of every message of the API that matter here, by number.
type Shapes = HashMap<String, HashMap<u32, Field>>;

static SHAPES: LazyLock<Shapes> = LazyLock::new(|| {
    let descriptors = include_bytes!(concat!(env!("OUT_DIR"), "/all.bin"));
    let files = FileDescriptorSet::decode(descriptors.as_slice()).unwrap_or_default();
    let mut shapes = Shapes::new();
    for file in &files.file {
        for message in &file.message_type {
            add(&mut shapes, file.package(), message);
        }
    }
    shapes
});

fn add(shapes: &mut Shapes, parent: &str, message: &DescriptorProto) {
    let full_name = format!("{parent}.{}", message.name());
    for nested in &message.nested_type {
        add(shapes, &full_name, nested);
    }
    let mut fields = HashMap::new();
    for field in &message.field {
        let list = format!("{full_name}.{}", field.name());
        let most = MOST.iter().find(|(name, _)| *name == list);
        let most = most.map_or(0, |(_, most)| *most);
        let (kind, most) = match (field.label() == Label::Repeated, field.r#type()) {
            (true, Type::String | Type::Bytes | Type::Message) => (Kind::Items, most),
            (true, _) => (Kind::Numbers, most),
            (false, Type::Message) => (Kind::Single, 1),
            (false, _) => continue,
        };
        let of = (field.r#type() == Type::Message)
            .then(|| field.type_name().trim_start_matches('.').to_owned());
        let name = field.name().to_owned();
        let number = field.number().unsigned_abs();
        fields.insert(
            number,
            Field {
                name,
                kind,
                most,
                of,
            },
        );
    }
    shapes.insert(full_name, fields);
}

/// Judges the lists of a message by its bytes.
///
/// # Errors
///
/// [`Reason::TooLarge`] with the name of the list that is too long.
pub fn check<M: Name>(bytes: &[u8]) -> Result<(), Refusal> {
    walk(&M::full_name(), "", bytes)
}

fn walk(message: &str, path: &str, mut rest: &[u8]) -> Result<(), Refusal> {
    let Some(fields) = SHAPES.get(message) else {
        return Err(Refusal::new(
            Reason::Invariant,
            format!("{message} has no descriptor"),
        ));
    };
    let mut counts: HashMap<u32, usize> = HashMap::new();
    while rest.has_remaining() {
        let (number, wire_type, value) = next(&mut rest)?;
        let Some(field) = fields.get(&number) else {
            continue;
        };
        let at = match path {
            "" => field.name.clone(),
            _ => format!("{path}.{}", field.name),
        };
        let count = counts.entry(number).or_default();
        *count = count.saturating_add(elements(field, wire_type, value));
        if *count > field.most {
            return Err(too_many(&at, field));
        }
        if let Some(inner) = &field.of {
            walk(inner, &at, value)?;
        }
    }
    Ok(())
}

/// The next field: its number, and its bytes where it is delimited by a length.
fn next<'a>(rest: &mut &'a [u8]) -> Result<(u32, WireType, &'a [u8]), Refusal> {
    let malformed = || Refusal::new(Reason::RequestInvalid, "the bytes are no message");
    let (number, wire_type) = decode_key(rest).map_err(|_| malformed())?;
    let length = match wire_type {
        WireType::Varint => {
            decode_varint(rest).map_err(|_| malformed())?;
            0
        }
        WireType::ThirtyTwoBit => 4,
        WireType::SixtyFourBit => 8,
        WireType::LengthDelimited => decode_varint(rest).map_err(|_| malformed())?,
        WireType::StartGroup | WireType::EndGroup => return Err(malformed()),
    };
    let length = usize::try_from(length).map_err(|_| malformed())?;
    let (value, after) = rest.split_at_checked(length).ok_or_else(malformed)?;
    *rest = after;
    Ok((number, wire_type, value))
}

/// How many elements one occurrence of a field adds. The last byte of each packed number is below
/// 128.
fn elements(field: &Field, wire_type: WireType, value: &[u8]) -> usize {
    match (&field.kind, wire_type) {
        (Kind::Numbers, WireType::LengthDelimited) => {
            value.iter().filter(|byte| **byte < 0x80).count()
        }
        _ => 1,
    }
}

fn too_many(path: &str, field: &Field) -> Refusal {
    let problem = match field.kind {
        Kind::Single => "it is given in parts".to_owned(),
        Kind::Items | Kind::Numbers => format!("more than {} items", field.most),
    };
    Refusal::new(Reason::TooLarge, format!("{path}: {problem}"))
        .with("field", path)
        .with("problem", problem)
}

#[cfg(test)]
mod tests;
