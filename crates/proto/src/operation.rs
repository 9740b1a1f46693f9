//! Conversions of what callers of the public API see: commands, keys and nodes.

use quorate_model::{
    Epoch, KeyId, KeyRecord, NodeId, Participant, Reason, Refusal,
    backup::RestoreId,
    certificate::{KeyEvidence, MAX_CERTIFICATE_BYTES},
    command::MAX_HOLDERS,
    life::Successor,
    node_api::EraseReceipt,
    operation::{
        CommandOutcome, CommandView, KeyView, NodeView, Progress, ReshareOutcome, SignOutcome,
        StateOutcome,
    },
    payload::MAX_SIGNING_ITEMS,
    roster::MAX_NODES,
    share::ShareReceipt,
    standing::{MAX_STANDING_BYTES, Standing, StateReceipt},
};

use crate::{
    command::{purposes, purposes_to_wire},
    convert::{
        Malformed, array, bounded, digest, duration_of_micros, index, known, list, micros, name,
        optional_time, small, store, stored, time, timestamp,
    },
    destruction, names, roster, types, v1,
};

/// The longest group key or verifying share, in bytes.
const MAX_POINT_BYTES: usize = 64;

/// The longest signature, in bytes.
const MAX_SIGNATURE_BYTES: usize = 128;

/// The most receipts: of every signer, and where messages are signed in rounds for every message.
pub(crate) const MAX_RECEIPTS: usize = MAX_HOLDERS * MAX_SIGNING_ITEMS;

impl TryFrom<CommandView> for v1::CommandView {
    type Error = Refusal;
    fn try_from(view: CommandView) -> Result<Self, Refusal> {
        let progress = |progress: Progress| v1::CommandProgress {
            step: progress.step,
            awaited_nodes: progress.awaited.into_iter().map(Into::into).collect(),
            percent: progress.percent.into(),
        };
        Ok(Self {
            name: names::command(&view.id),
            digest: view.digest.as_bytes().to_vec(),
            kind: v1::command_view::Kind::from(view.kind).into(),
            key: view.key.as_ref().map(names::key).unwrap_or_default(),
            state: v1::command_view::State::from(view.state).into(),
            create_time: Some(timestamp(view.created)),
            expire_time: Some(timestamp(view.expires)),
            progress: view.progress.map(progress),
            outcome: view.outcome.map(outcome_to_wire).transpose()?,
            error: view.error.map(Into::into),
            awaiting: view.awaiting.map(Into::into),
        })
    }
}

fn outcome_to_wire(outcome: CommandOutcome) -> Result<v1::command_view::Outcome, Refusal> {
    match outcome {
        CommandOutcome::KeyCreated { key, epoch } => {
            Ok(v1::command_view::Outcome::KeyCreated(v1::KeyCreated {
                key: names::key(&key),
                epoch: epoch.0,
            }))
        }
        CommandOutcome::Signed(signed) => Ok(v1::command_view::Outcome::Signed(v1::Signed {
            key: names::key(&signed.key),
            epoch: signed.epoch.0,
            scheme: v1::Scheme::from(signed.scheme).into(),
            signers: signed.signers.into_iter().map(Into::into).collect(),
            signatures: signed.signatures,
            receipts: signed
                .receipts
                .iter()
                .map(store)
                .collect::<Result<_, _>>()?,
        })),
        CommandOutcome::KeyStateSet(set) => {
            Ok(v1::command_view::Outcome::KeyStateSet(v1::KeyStateSet {
                key: names::key(&set.key),
                binding: set.binding.into(),
                receipts: set.receipts.iter().map(store).collect::<Result<_, _>>()?,
                missing_nodes: set.missing.into_iter().map(Into::into).collect(),
            }))
        }
        CommandOutcome::KeyReshared(done) => {
            Ok(v1::command_view::Outcome::KeyReshared(v1::KeyReshared {
                key: names::key(&done.key),
                epoch: done.epoch.0,
                erased: done.erased.iter().map(store).collect::<Result<_, _>>()?,
                missing_nodes: done.missing.into_iter().map(Into::into).collect(),
            }))
        }
        CommandOutcome::KeyDestruction(outcome) => Ok(v1::command_view::Outcome::KeyDestruction(
            destruction::outcome_to_wire(outcome)?,
        )),
        CommandOutcome::RosterChanged(outcome) => Ok(v1::command_view::Outcome::RosterChanged(
            roster::outcome_to_wire(outcome)?,
        )),
        _ => Err(Refusal::new(
            Reason::Invariant,
            "the outcome has no wire form",
        )),
    }
}

impl TryFrom<v1::CommandView> for CommandView {
    type Error = Refusal;
    fn try_from(wire: v1::CommandView) -> Result<Self, Refusal> {
        Ok(command_view(wire)?)
    }
}

fn command_view(wire: v1::CommandView) -> Result<CommandView, Malformed> {
    Ok(CommandView {
        id: names::command_in("name", &wire.name)?,
        digest: digest("digest", &wire.digest)?,
        kind: known::<v1::command_view::Kind, _>("kind", wire.kind)?,
        key: (!wire.key.is_empty())
            .then(|| names::key_in("key", &wire.key))
            .transpose()?,
        state: known::<v1::command_view::State, _>("state", wire.state)?,
        created: time("create_time", wire.create_time)?,
        expires: time("expire_time", wire.expire_time)?,
        progress: wire.progress.map(progress).transpose()?,
        outcome: wire.outcome.map(outcome).transpose()?,
        error: wire.error.map(types::refusal).transpose()?,
        awaiting: wire.awaiting.map(types::signed_command).transpose()?,
    })
}

fn progress(wire: v1::CommandProgress) -> Result<Progress, Malformed> {
    Ok(Progress {
        step: wire.step,
        awaited: node_ids("progress.awaited_nodes", wire.awaited_nodes)?,
        percent: small("progress.percent", wire.percent)?,
    })
}

fn outcome(wire: v1::command_view::Outcome) -> Result<CommandOutcome, Malformed> {
    match wire {
        v1::command_view::Outcome::KeyCreated(created) => Ok(CommandOutcome::KeyCreated {
            key: names::key_in("key_created.key", &created.key)?,
            epoch: Epoch(created.epoch),
        }),
        v1::command_view::Outcome::Signed(signed) => {
            Ok(CommandOutcome::Signed(sign_outcome(signed)?))
        }
        v1::command_view::Outcome::KeyStateSet(set) => {
            Ok(CommandOutcome::KeyStateSet(state_outcome(set)?))
        }
        v1::command_view::Outcome::KeyReshared(done) => {
            Ok(CommandOutcome::KeyReshared(reshare_outcome(done)?))
        }
        v1::command_view::Outcome::KeyDestruction(wire) => {
            Ok(CommandOutcome::KeyDestruction(destruction::outcome(wire)?))
        }
        v1::command_view::Outcome::RosterChanged(wire) => {
            Ok(CommandOutcome::RosterChanged(roster::outcome(wire)?))
        }
    }
}

fn sign_outcome(wire: v1::Signed) -> Result<SignOutcome, Malformed> {
    Ok(SignOutcome {
        key: names::key_in("signed.key", &wire.key)?,
        epoch: Epoch(wire.epoch),
        scheme: known::<v1::Scheme, _>("signed.scheme", wire.scheme)?,
        signers: node_ids("signed.signers", wire.signers)?,
        signatures: list(
            "signed.signatures",
            wire.signatures,
            MAX_SIGNING_ITEMS,
            |signature| bounded("signed.signatures", signature, MAX_SIGNATURE_BYTES),
        )?,
        receipts: list("signed.receipts", wire.receipts, MAX_RECEIPTS, |bytes| {
            stored::<ShareReceipt>("signed.receipts", &bytes)
        })?,
    })
}

fn state_outcome(wire: v1::KeyStateSet) -> Result<StateOutcome, Malformed> {
    Ok(StateOutcome {
        key: names::key_in("key_state_set.key", &wire.key)?,
        binding: small("key_state_set.binding", wire.binding)?,
        receipts: list(
            "key_state_set.receipts",
            wire.receipts,
            MAX_HOLDERS,
            |bytes| stored::<StateReceipt>("key_state_set.receipts", &bytes),
        )?,
        missing: node_ids("key_state_set.missing_nodes", wire.missing_nodes)?,
    })
}

fn reshare_outcome(wire: v1::KeyReshared) -> Result<ReshareOutcome, Malformed> {
    Ok(ReshareOutcome {
        key: names::key_in("key_reshared.key", &wire.key)?,
        epoch: Epoch(wire.epoch),
        erased: list("key_reshared.erased", wire.erased, MAX_NODES, |bytes| {
            stored::<EraseReceipt>("key_reshared.erased", &bytes)
        })?,
        missing: node_ids("key_reshared.missing_nodes", wire.missing_nodes)?,
    })
}

/// The commands about the state of a key; no bytes while there are none.
pub(crate) fn standing_to_wire(standing: &Standing) -> Vec<u8> {
    if standing.sequence() == 0 {
        return Vec::new();
    }
    // Marks that were read once can be written.
    store(standing).unwrap_or_default()
}

pub(crate) fn standing(field: &'static str, wire: Vec<u8>) -> Result<Standing, Malformed> {
    let bytes = bounded(field, wire, MAX_STANDING_BYTES)?;
    if bytes.is_empty() {
        return Ok(Standing::default());
    }
    stored(field, &bytes)
}

fn node_ids(field: &'static str, ids: Vec<String>) -> Result<Vec<NodeId>, Malformed> {
    list(field, ids, MAX_NODES, |id| name(field, id))
}

impl From<KeyView> for v1::Key {
    fn from(view: KeyView) -> Self {
        let KeyView {
            record,
            state,
            evidence,
            standing,
            destruction,
            next_epoch,
            activated,
            used,
            replaced_by,
        } = view;
        let participant = |participant: Participant| v1::Participant {
            index: participant.index.number().into(),
            node: participant.node.into(),
        };
        Self {
            name: names::key(&record.name),
            scheme: v1::Scheme::from(record.scheme).into(),
            purposes: purposes_to_wire(&record.purposes),
            state: v1::KeyState::from(state).into(),
            epoch: record.epoch.0,
            threshold: record.threshold.into(),
            participants: record.participants.into_iter().map(participant).collect(),
            group_key: record.group_key,
            verifying_shares: record.verifying_shares,
            chain_code: record.chain_code.to_vec(),
            command_digest: record.command.as_bytes().to_vec(),
            certificate_hash: record.certificate.as_bytes().to_vec(),
            certificate: evidence.certificate,
            proof: evidence.proof,
            birth: evidence.birth,
            standing: standing_to_wire(&standing),
            destruction: destruction::to_wire(&destruction),
            next_epoch: next_epoch.map_or(0, |epoch| epoch.0),
            activate_time: activated.map(timestamp),
            last_use_time: used.map(timestamp),
            replaced_by: replaced_by.map(|successor| v1::KeySuccessor {
                name: names::key(&successor.key),
                key_id: successor.key_id.as_bytes().to_vec(),
            }),
        }
    }
}

impl TryFrom<v1::Key> for KeyView {
    type Error = Refusal;
    fn try_from(wire: v1::Key) -> Result<Self, Refusal> {
        Ok(key_view(wire)?)
    }
}

fn key_view(wire: v1::Key) -> Result<KeyView, Malformed> {
    let point = |field, bytes| bounded(field, bytes, MAX_POINT_BYTES);
    let certificate = |field, bytes| bounded(field, bytes, MAX_CERTIFICATE_BYTES);
    let evidence = KeyEvidence {
        certificate: certificate("certificate", wire.certificate)?,
        proof: wire
            .proof
            .map(|proof| certificate("proof", proof))
            .transpose()?,
        birth: wire
            .birth
            .map(|birth| certificate("birth", birth))
            .transpose()?,
    };
    let record = KeyRecord {
        name: names::key_in("name", &wire.name)?,
        scheme: known::<v1::Scheme, _>("scheme", wire.scheme)?,
        purposes: purposes("purposes", wire.purposes)?,
        epoch: Epoch(wire.epoch),
        threshold: small("threshold", wire.threshold)?,
        participants: list(
            "participants",
            wire.participants,
            MAX_NODES,
            |participant| {
                Ok(Participant {
                    index: index("participants.index", participant.index)?,
                    node: name("participants.node", participant.node)?,
                })
            },
        )?,
        group_key: point("group_key", wire.group_key)?,
        verifying_shares: list(
            "verifying_shares",
            wire.verifying_shares,
            MAX_NODES,
            |share| point("verifying_shares", share),
        )?,
        chain_code: array("chain_code", &wire.chain_code)?,
        command: digest("command_digest", &wire.command_digest)?,
        certificate: digest("certificate_hash", &wire.certificate_hash)?,
    };
    Ok(KeyView {
        record,
        state: known::<v1::KeyState, _>("state", wire.state)?,
        evidence,
        standing: standing("standing", wire.standing)?,
        destruction: destruction::known("destruction", wire.destruction)?,
        next_epoch: (wire.next_epoch > 0).then_some(Epoch(wire.next_epoch)),
        activated: optional_time("activate_time", wire.activate_time)?,
        used: optional_time("last_use_time", wire.last_use_time)?,
        replaced_by: wire.replaced_by.as_ref().map(successor).transpose()?,
    })
}

fn successor(wire: &v1::KeySuccessor) -> Result<Successor, Malformed> {
    Ok(Successor {
        key: names::key_in("replaced_by.name", &wire.name)?,
        key_id: array("replaced_by.key_id", &wire.key_id).map(KeyId)?,
    })
}

impl From<NodeView> for v1::Node {
    fn from(view: NodeView) -> Self {
        use v1::node::{ClockState, LinkState, ServiceState};
        let link = if view.connected {
            LinkState::Connected
        } else {
            LinkState::Disconnected
        };
        let clock = if view.clock_confirmed {
            ClockState::Confirmed
        } else {
            ClockState::Suspect
        };
        Self {
            name: names::node(&view.id),
            region: view.region,
            link_state: link.into(),
            version: view.version,
            round_trip_duration: Some(duration_of_micros(view.latency_us)),
            journal_sequence: view.journal_sequence,
            pid: view.pid,
            clock_state: clock.into(),
            service_state: if view.quarantine.is_some() {
                ServiceState::Quarantined.into()
            } else {
                ServiceState::InService.into()
            },
            restore_id: view
                .quarantine
                .map(|restore| restore.as_bytes().to_vec())
                .unwrap_or_default(),
        }
    }
}

impl TryFrom<v1::Node> for NodeView {
    type Error = Refusal;
    fn try_from(wire: v1::Node) -> Result<Self, Refusal> {
        use v1::node::{ClockState, LinkState, ServiceState};
        let connected = match LinkState::try_from(wire.link_state) {
            Ok(LinkState::Connected) => true,
            Ok(LinkState::Disconnected) => false,
            Ok(LinkState::Unspecified) | Err(_) => return Err(no_value("link_state")),
        };
        let clock_confirmed = match ClockState::try_from(wire.clock_state) {
            Ok(ClockState::Confirmed) => true,
            Ok(ClockState::Suspect) => false,
            Ok(ClockState::Unspecified) | Err(_) => return Err(no_value("clock_state")),
        };
        Ok(Self {
            id: names::node_in("name", &wire.name)?,
            region: wire.region,
            connected,
            version: wire.version,
            latency_us: micros("round_trip_duration", wire.round_trip_duration)?,
            journal_sequence: wire.journal_sequence,
            pid: wire.pid,
            clock_confirmed,
            quarantine: match ServiceState::try_from(wire.service_state) {
                Ok(ServiceState::Quarantined) => {
                    Some(array("restore_id", &wire.restore_id).map(RestoreId)?)
                }
                Ok(ServiceState::InService | ServiceState::Unspecified) => None,
                Err(_) => return Err(no_value("service_state")),
            },
        })
    }
}

fn no_value(field: &'static str) -> Refusal {
    Malformed::new(field, "no known value").into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::arbitrary;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_command_view_survives_the_wire(view in arbitrary::command_view()) {
            let wire = v1::CommandView::try_from(view.clone()).unwrap();

            prop_assert_eq!(CommandView::try_from(wire), Ok(view));
        }

        #[test]
        fn a_key_view_survives_the_wire(view in arbitrary::key_view()) {
            let wire = v1::Key::from(view.clone());

            prop_assert_eq!(KeyView::try_from(wire), Ok(view));
        }

        #[test]
        fn a_node_view_survives_the_wire(view in arbitrary::node_view()) {
            let wire = v1::Node::from(view.clone());

            prop_assert_eq!(NodeView::try_from(wire), Ok(view));
        }

        #[test]
        fn a_view_with_an_unspecified_state_is_refused(view in arbitrary::node_view()) {
            let wire = v1::Node { link_state: 0, ..v1::Node::from(view.clone()) };
            let other = v1::Node { clock_state: 7, ..v1::Node::from(view) };

            let link = NodeView::try_from(wire).unwrap_err();
            let clock = NodeView::try_from(other).unwrap_err();
            prop_assert_eq!(link.get("field"), Some("link_state"));
            prop_assert_eq!(clock.get("field"), Some("clock_state"));
        }
    }
}
