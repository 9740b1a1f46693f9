//! The bytes of commands (P1, P6).
//!
//! A command has one encoding. [`decode`] refuses every other, because what a reader would skip
//! silently, an unknown field above all, could be a restriction that the signers meant.

use prost::Message as _;
use quorate_model::{
    Epoch, KeyId, Payload, Purposes, Reason, Refusal,
    backup::RestoreId,
    command::{ChangeRoster, Command, CommandBody, CreateKey, MAX_COMMAND_BYTES, ReshareKey, Sign},
    evacuation::{Evacuate, InvalidDestination, MAX_DESTINATIONS},
    life::{KeyLife, Predecessor},
    payload::{MAX_PAYLOAD_BYTES, MAX_PAYLOADS},
    quarantine::ReadmitNode,
    roster::{MAX_NODES, MAX_ROSTER_BYTES},
    standing::SetKeyState,
};

use crate::{
    convert::{
        Malformed, array, bounded, digest, duration_of_seconds, known, list, name, path, present,
        seconds, small, time, timestamp,
    },
    destruction, lists,
    names::uuid,
    v1,
};

/// The one encoding of a command.
pub fn encode(command: &Command) -> Vec<u8> {
    v1::Command::from(command).encode_to_vec()
}

/// Reads a command from its exact bytes. The endorsements over them are checked elsewhere.
///
/// # Errors
///
/// [`Reason::TooLarge`] above the size limit; [`Reason::CommandUndecodable`] for everything that
/// is no command or not in its one encoding.
pub fn decode(bytes: &[u8]) -> Result<Command, Refusal> {
    if bytes.len() > MAX_COMMAND_BYTES {
        let message = format!(
            "the command has {} bytes, expected at most {MAX_COMMAND_BYTES}",
            bytes.len()
        );
        return Err(Refusal::new(Reason::TooLarge, message).with("bytes", bytes.len()));
    }
    lists::check::<v1::Command>(bytes).map_err(|refusal| match refusal.get("field") {
        Some(field) => undecodable(&refusal.message).with("field", field),
        None => undecodable("it is no protobuf message"),
    })?;
    let wire = v1::Command::decode(bytes).map_err(|_| undecodable("it is no protobuf message"))?;
    let command = command(wire).map_err(|Malformed { field, problem, .. }| {
        undecodable(&format!("{field}: {problem}")).with("field", field)
    })?;
    if encode(&command) != bytes {
        return Err(undecodable(
            "it is not in its one encoding, or has a field that this version does not know",
        ));
    }
    Ok(command)
}

fn undecodable(problem: &str) -> Refusal {
    Refusal::new(
        Reason::CommandUndecodable,
        format!("the command is not readable: {problem}"),
    )
    .with("problem", problem)
}

impl From<&Command> for v1::Command {
    fn from(command: &Command) -> Self {
        Self {
            cluster: command.cluster.as_bytes().to_vec(),
            roster: command.roster.as_bytes().to_vec(),
            command_id: command.id.to_string(),
            create_time: Some(timestamp(command.created)),
            expire_time: Some(timestamp(command.expires)),
            body: body_to_wire(&command.body),
        }
    }
}

/// A body that this version of the wire does not know is left out, which every reader refuses.
fn body_to_wire(body: &CommandBody) -> Option<v1::command::Body> {
    match body {
        CommandBody::CreateKey(create) => Some(v1::command::Body::CreateKey(create.into())),
        CommandBody::Sign(sign) => Some(v1::command::Body::Sign(sign.into())),
        CommandBody::SetKeyState(set) => Some(v1::command::Body::SetKeyState(set.into())),
        CommandBody::ReshareKey(reshare) => Some(v1::command::Body::ReshareKey(reshare.into())),
        CommandBody::DestroyKey(destroy) => Some(v1::command::Body::DestroyKey(destroy.into())),
        CommandBody::ChangeRoster(change) => {
            Some(v1::command::Body::ChangeRoster(v1::ChangeRoster {
                text: change.roster.clone(),
            }))
        }
        CommandBody::Evacuate(evacuate) => Some(v1::command::Body::Evacuate(evacuate.into())),
        CommandBody::ReadmitNode(readmit) => {
            Some(v1::command::Body::ReadmitNode(v1::ReadmitNode {
                node: readmit.node.to_string(),
                restore_id: readmit.restore.as_bytes().to_vec(),
                without_nodes: readmit.without.iter().map(ToString::to_string).collect(),
                reason: readmit.reason.clone(),
            }))
        }
        _ => None,
    }
}

impl From<&CreateKey> for v1::CreateKey {
    fn from(create: &CreateKey) -> Self {
        Self {
            key: create.key.to_string(),
            scheme: v1::Scheme::from(create.scheme).into(),
            threshold: create.threshold.into(),
            nodes: create.nodes.iter().map(ToString::to_string).collect(),
            purposes: purposes_to_wire(&create.purposes),
            accept_fragile: create.accept_fragile,
            replaces: create
                .life
                .replaces
                .as_ref()
                .map(|before| v1::KeyPredecessor {
                    key: before.key.to_string(),
                    key_id: before.key_id.as_bytes().to_vec(),
                }),
            cryptoperiod_duration: create.life.cryptoperiod_s.map(duration_of_seconds),
            refresh_duration: create.life.refresh_s.map(duration_of_seconds),
            evacuation_destinations: create
                .life
                .evacuation
                .iter()
                .map(ToString::to_string)
                .collect(),
        }
    }
}

fn payload_to_wire(payload: &Payload) -> v1::Payload {
    v1::Payload {
        kind: v1::PayloadKind::from(payload.kind).into(),
        content: payload.bytes.clone(),
        allow_high_fee: payload.allow_high_fee,
        path: payload.path.steps().to_vec(),
    }
}

impl From<&Sign> for v1::Sign {
    fn from(sign: &Sign) -> Self {
        Self {
            key: sign.key.to_string(),
            payloads: sign.payloads.iter().map(payload_to_wire).collect(),
            key_id: sign.key_id.as_bytes().to_vec(),
        }
    }
}

impl From<&Evacuate> for v1::Evacuate {
    fn from(evacuate: &Evacuate) -> Self {
        let Evacuate { sign, reason } = evacuate;
        Self {
            key: sign.key.to_string(),
            key_id: sign.key_id.as_bytes().to_vec(),
            payloads: sign.payloads.iter().map(payload_to_wire).collect(),
            reason: reason.clone(),
        }
    }
}

impl From<&SetKeyState> for v1::SetKeyState {
    fn from(set: &SetKeyState) -> Self {
        Self {
            key: set.key.to_string(),
            key_id: set.key_id.as_bytes().to_vec(),
            sequence: set.sequence,
            change: v1::KeyStateChange::from(set.change).into(),
            reason: set.reason.clone(),
        }
    }
}

impl From<&ReshareKey> for v1::ReshareKey {
    fn from(reshare: &ReshareKey) -> Self {
        Self {
            key: reshare.key.to_string(),
            key_id: reshare.key_id.as_bytes().to_vec(),
            source_epoch: reshare.source_epoch.0,
            threshold: reshare.threshold.into(),
            nodes: reshare.nodes.iter().map(ToString::to_string).collect(),
            accept_fragile: reshare.accept_fragile,
            first_epoch: reshare.first_epoch.0,
        }
    }
}

fn command(wire: v1::Command) -> Result<Command, Malformed> {
    Ok(Command {
        cluster: digest("cluster", &wire.cluster)?,
        roster: digest("roster", &wire.roster)?,
        id: uuid("command_id", &wire.command_id)?,
        created: time("create_time", wire.create_time)?,
        expires: time("expire_time", wire.expire_time)?,
        body: match present("body", wire.body)? {
            v1::command::Body::CreateKey(create) => CommandBody::CreateKey(create_key(create)?),
            v1::command::Body::Sign(request) => CommandBody::Sign(sign(request)?),
            v1::command::Body::SetKeyState(set) => CommandBody::SetKeyState(set_key_state(set)?),
            v1::command::Body::ReshareKey(reshare) => {
                CommandBody::ReshareKey(reshare_key(reshare)?)
            }
            v1::command::Body::DestroyKey(destroy) => {
                CommandBody::DestroyKey(destruction::destroy_key(destroy)?)
            }
            v1::command::Body::ChangeRoster(change) => CommandBody::ChangeRoster(ChangeRoster {
                roster: bounded("change_roster.text", change.text, MAX_ROSTER_BYTES)?,
            }),
            v1::command::Body::Evacuate(request) => CommandBody::Evacuate(evacuate(request)?),
            v1::command::Body::ReadmitNode(readmit) => {
                CommandBody::ReadmitNode(readmit_node(readmit)?)
            }
        },
    })
}

fn readmit_node(wire: v1::ReadmitNode) -> Result<ReadmitNode, Malformed> {
    Ok(ReadmitNode {
        node: name("readmit_node.node", wire.node)?,
        restore: array("readmit_node.restore_id", &wire.restore_id).map(RestoreId)?,
        without: list(
            "readmit_node.without_nodes",
            wire.without_nodes,
            MAX_NODES,
            |node| name("readmit_node.without_nodes", node),
        )?,
        reason: wire.reason,
    })
}

fn create_key(wire: v1::CreateKey) -> Result<CreateKey, Malformed> {
    let create = CreateKey {
        key: name("create_key.key", wire.key)?,
        scheme: known::<v1::Scheme, _>("create_key.scheme", wire.scheme)?,
        threshold: small("create_key.threshold", wire.threshold)?,
        nodes: list("create_key.nodes", wire.nodes, MAX_NODES, |node| {
            name("create_key.nodes", node)
        })?,
        purposes: purposes("create_key.purposes", wire.purposes)?,
        accept_fragile: wire.accept_fragile,
        life: KeyLife {
            replaces: wire.replaces.map(predecessor).transpose()?,
            cryptoperiod_s: seconds(
                "create_key.cryptoperiod_duration",
                wire.cryptoperiod_duration,
            )?,
            refresh_s: seconds("create_key.refresh_duration", wire.refresh_duration)?,
            evacuation: list(
                "create_key.evacuation_destinations",
                wire.evacuation_destinations,
                MAX_DESTINATIONS,
                |text| {
                    let field = "create_key.evacuation_destinations";
                    text.parse().map_err(|error: InvalidDestination| {
                        Malformed::new(field, error.to_string())
                    })
                },
            )?,
        },
    };
    let life = create.life.check(&create.key);
    life.map_err(|error| Malformed::new("create_key", error.to_string()))?;
    Ok(create)
}

fn predecessor(wire: v1::KeyPredecessor) -> Result<Predecessor, Malformed> {
    Ok(Predecessor {
        key: name("create_key.replaces.key", wire.key)?,
        key_id: array("create_key.replaces.key_id", &wire.key_id).map(KeyId)?,
    })
}

fn sign(wire: v1::Sign) -> Result<Sign, Malformed> {
    Ok(Sign {
        key: name("sign.key", wire.key)?,
        key_id: array("sign.key_id", &wire.key_id).map(KeyId)?,
        payloads: payloads(&OF_SIGN, wire.payloads)?,
    })
}

fn evacuate(wire: v1::Evacuate) -> Result<Evacuate, Malformed> {
    let evacuate = Evacuate {
        sign: Sign {
            key: name("evacuate.key", wire.key)?,
            key_id: array("evacuate.key_id", &wire.key_id).map(KeyId)?,
            payloads: payloads(&OF_EVACUATE, wire.payloads)?,
        },
        reason: wire.reason,
    };
    let checked = evacuate.check();
    checked.map_err(|refusal| Malformed::new("evacuate", refusal.message))?;
    Ok(evacuate)
}

/// How the payloads of a command are called in an error.
struct PayloadFields {
    list: &'static str,
    kind: &'static str,
    content: &'static str,
    path: &'static str,
}

const OF_SIGN: PayloadFields = PayloadFields {
    list: "sign.payloads",
    kind: "sign.payloads.kind",
    content: "sign.payloads.content",
    path: "sign.payloads.path",
};

const OF_EVACUATE: PayloadFields = PayloadFields {
    list: "evacuate.payloads",
    kind: "evacuate.payloads.kind",
    content: "evacuate.payloads.content",
    path: "evacuate.payloads.path",
};

fn payloads(fields: &PayloadFields, wire: Vec<v1::Payload>) -> Result<Vec<Payload>, Malformed> {
    if wire.is_empty() {
        return Err(Malformed::new(fields.list, "there is nothing to sign"));
    }
    list(fields.list, wire, MAX_PAYLOADS, |payload| {
        Ok(Payload {
            kind: known::<v1::PayloadKind, _>(fields.kind, payload.kind)?,
            bytes: bounded(fields.content, payload.content, MAX_PAYLOAD_BYTES)?,
            allow_high_fee: payload.allow_high_fee,
            path: path(fields.path, payload.path)?,
        })
    })
}

fn set_key_state(wire: v1::SetKeyState) -> Result<SetKeyState, Malformed> {
    let set = SetKeyState {
        key: name("set_key_state.key", wire.key)?,
        key_id: array("set_key_state.key_id", &wire.key_id).map(KeyId)?,
        sequence: wire.sequence,
        change: known::<v1::KeyStateChange, _>("set_key_state.change", wire.change)?,
        reason: wire.reason,
    };
    set.check()
        .map_err(|refusal| Malformed::new("set_key_state", refusal.message))?;
    Ok(set)
}

fn reshare_key(wire: v1::ReshareKey) -> Result<ReshareKey, Malformed> {
    Ok(ReshareKey {
        key: name("reshare_key.key", wire.key)?,
        key_id: array("reshare_key.key_id", &wire.key_id).map(KeyId)?,
        source_epoch: Epoch(wire.source_epoch),
        first_epoch: Epoch(wire.first_epoch),
        threshold: small("reshare_key.threshold", wire.threshold)?,
        nodes: list("reshare_key.nodes", wire.nodes, MAX_NODES, |node| {
            name("reshare_key.nodes", node)
        })?,
        accept_fragile: wire.accept_fragile,
    })
}

pub(crate) fn purposes(field: &'static str, wire: Vec<i32>) -> Result<Purposes, Malformed> {
    let purposes = list(field, wire, 16, |number| {
        known::<v1::KeyPurpose, _>(field, number)
    })?;
    Purposes::new(purposes).map_err(|error| Malformed::new(field, error.to_string()))
}

pub(crate) fn purposes_to_wire(purposes: &Purposes) -> Vec<i32> {
    purposes
        .as_slice()
        .iter()
        .map(|purpose| v1::KeyPurpose::from(*purpose).into())
        .collect()
}

#[cfg(test)]
mod tests;
