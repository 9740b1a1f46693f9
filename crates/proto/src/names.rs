//! Resource names of the public API: `collection/id`.

use quorate_model::{CommandId, Digest, KeyName, NodeId, Refusal};
use uuid::Uuid;

use crate::convert::{Malformed, name};

fn within<'a>(field: &'static str, text: &'a str, collection: &str) -> Result<&'a str, Malformed> {
    text.strip_prefix(collection)
        .and_then(|rest| rest.strip_prefix('/'))
        .ok_or_else(|| Malformed::new(field, format!("expected {collection}/ID")))
}

pub(crate) fn key_in(field: &'static str, text: &str) -> Result<KeyName, Malformed> {
    name(field, within(field, text, "keys")?.to_owned())
}

pub(crate) fn node_in(field: &'static str, text: &str) -> Result<NodeId, Malformed> {
    name(field, within(field, text, "nodes")?.to_owned())
}

pub(crate) fn uuid(field: &'static str, text: &str) -> Result<CommandId, Malformed> {
    Uuid::try_parse(text)
        .ok()
        .map(CommandId)
        .filter(|id| id.to_string() == text)
        .ok_or_else(|| Malformed::new(field, "not a UUID in lower-case hyphenated form"))
}

pub(crate) fn command_in(field: &'static str, text: &str) -> Result<CommandId, Malformed> {
    uuid(field, within(field, text, "commands")?)
}

/// Reads `keys/{key}`.
pub fn parse_key(text: &str) -> Result<KeyName, Refusal> {
    Ok(key_in("name", text)?)
}

/// Reads `nodes/{node}`.
pub fn parse_node(text: &str) -> Result<NodeId, Refusal> {
    Ok(node_in("name", text)?)
}

/// Reads `commands/{command}`.
pub fn parse_command(text: &str) -> Result<CommandId, Refusal> {
    Ok(command_in("name", text)?)
}

/// Which roster is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RosterVersion {
    /// The one in force.
    Current,
    /// The one with this version.
    Number(u32),
}

/// Reads `rosters/{version}` or `rosters/current`.
pub fn parse_roster(text: &str) -> Result<RosterVersion, Refusal> {
    let version = within("name", text, "rosters")?;
    if version == "current" {
        return Ok(RosterVersion::Current);
    }
    version
        .parse::<u32>()
        .ok()
        .filter(|number| number.to_string() == version)
        .map(RosterVersion::Number)
        .ok_or_else(|| Malformed::new("name", "expected rosters/NUMBER or rosters/current").into())
}

/// Reads `nodes/{node}`, or `nodes/-`, which stands for all of them.
pub fn parse_nodes(text: &str) -> Result<Option<NodeId>, Refusal> {
    if text == "nodes/-" {
        return Ok(None);
    }
    Ok(Some(node_in("parent", text)?))
}

/// `keys/{key}`.
pub fn key(key: &KeyName) -> String {
    format!("keys/{key}")
}

/// `nodes/{node}`.
pub fn node(node: &NodeId) -> String {
    format!("nodes/{node}")
}

/// `commands/{command}`.
pub fn command(command: &CommandId) -> String {
    format!("commands/{command}")
}

/// `nodes/{node}/auditRecords/{sequence}`.
pub fn audit_record(node: &NodeId, sequence: u64) -> String {
    format!("nodes/{node}/auditRecords/{sequence}")
}

/// `nodes/{node}/evidence/{hash}`.
pub fn evidence(node: &NodeId, hash: &Digest) -> String {
    format!("nodes/{node}/evidence/{hash}")
}

#[cfg(test)]
mod tests {
    use quorate_model::Reason;

    use super::*;

    #[test]
    fn names_lead_back_to_what_they_name() {
        let taproot: KeyName = "demo-taproot".parse().unwrap();
        let alpha: NodeId = "node-a".parse().unwrap();
        let id = CommandId(Uuid::from_bytes([7; 16]));

        assert_eq!(parse_key(&key(&taproot)).unwrap(), taproot);
        assert_eq!(parse_node(&node(&alpha)).unwrap(), alpha);
        assert_eq!(parse_nodes(&node(&alpha)).unwrap(), Some(alpha));
        assert_eq!(parse_nodes("nodes/-").unwrap(), None);
        assert_eq!(parse_command(&command(&id)).unwrap(), id);
        assert_eq!(
            parse_roster("rosters/current").unwrap(),
            RosterVersion::Current
        );
        assert_eq!(
            parse_roster("rosters/12").unwrap(),
            RosterVersion::Number(12)
        );
    }

    #[test]
    fn a_name_in_another_collection_or_form_is_refused() {
        let upper = command(&CommandId(Uuid::from_bytes([0xab; 16]))).to_uppercase();
        let refusals = [
            parse_key("nodes/node-a").unwrap_err(),
            parse_key("keys/Demo").unwrap_err(),
            parse_key("keysdemo").unwrap_err(),
            parse_node("nodes/").unwrap_err(),
            parse_command(&upper).unwrap_err(),
            parse_command("commands/07070707070707070707070707070707").unwrap_err(),
            parse_roster("rosters/01").unwrap_err(),
            parse_roster("rosters/latest").unwrap_err(),
        ];

        for refusal in refusals {
            assert_eq!(refusal.reason, Reason::RequestInvalid, "{refusal}");
        }
    }
}
