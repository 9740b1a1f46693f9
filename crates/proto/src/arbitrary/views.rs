//! What callers of the public API see.

use proptest::{array::uniform32, collection::vec, option, prelude::*, sample::select};
use quorate_model::{
    KeyId, KeyName, KeyRecord, NodeId,
    life::Successor,
    operation::{
        CommandKind, CommandOutcome, CommandState, CommandView, KeyView, NodeView, Progress,
        SignOutcome,
    },
};

use super::{
    bytes, command_id,
    destruction::{destruction, destruction_outcome},
    digest, epoch, named, participants, purposes, receipt, refusal,
    resharing::{evidence_of_key, reshare_outcome},
    rosters::roster_outcome,
    scheme, signed_command, state,
    states::{standing, state_outcome},
    time,
};

fn successor() -> impl Strategy<Value = Successor> {
    (named(), uniform32(any::<u8>())).prop_map(|(key, id)| Successor {
        key,
        key_id: KeyId(id),
    })
}

fn outcome() -> impl Strategy<Value = CommandOutcome> {
    let signed = (
        named::<KeyName>(),
        epoch(),
        scheme(),
        vec(named::<NodeId>(), 0..3),
        vec(bytes(), 0..3),
        vec(receipt(), 0..3),
    )
        .prop_map(|(key, epoch, scheme, signers, signatures, receipts)| {
            CommandOutcome::Signed(SignOutcome {
                key,
                epoch,
                scheme,
                signers,
                signatures,
                receipts,
            })
        });
    prop_oneof![
        (named(), epoch()).prop_map(|(key, epoch)| CommandOutcome::KeyCreated { key, epoch }),
        signed,
        state_outcome().prop_map(CommandOutcome::KeyStateSet),
        reshare_outcome().prop_map(CommandOutcome::KeyReshared),
        destruction_outcome().prop_map(CommandOutcome::KeyDestruction),
        roster_outcome().prop_map(CommandOutcome::RosterChanged),
    ]
}

pub(crate) fn command_view() -> impl Strategy<Value = CommandView> {
    let states = vec![
        CommandState::AwaitingEndorsement,
        CommandState::Running,
        CommandState::Succeeded,
        CommandState::Denied,
        CommandState::Failed,
        CommandState::Expired,
        CommandState::Cancelled,
    ];
    let kinds = vec![
        CommandKind::CreateKey,
        CommandKind::Sign,
        CommandKind::SetKeyState,
        CommandKind::ReshareKey,
        CommandKind::DestroyKey,
        CommandKind::ChangeRoster,
        CommandKind::ReadmitNode,
        CommandKind::Evacuate,
    ];
    let progress = (".{0,8}", vec(named::<NodeId>(), 0..3), any::<u8>()).prop_map(
        |(step, awaited, percent)| Progress {
            step,
            awaited,
            percent,
        },
    );
    (
        (
            command_id(),
            digest(),
            select(kinds),
            option::of(named::<KeyName>()),
            select(states),
        ),
        (
            time(),
            time(),
            option::of(progress),
            option::of(outcome()),
            option::of(refusal()),
            option::of(signed_command()),
        ),
    )
        .prop_map(|((id, digest, kind, key, state), rest)| {
            let (created, expires, progress, outcome, error, awaiting) = rest;
            CommandView {
                id,
                digest,
                kind,
                key,
                state,
                created,
                expires,
                progress,
                outcome,
                error,
                awaiting,
            }
        })
}

pub(crate) fn key_view() -> impl Strategy<Value = KeyView> {
    let record = (
        (
            named::<KeyName>(),
            scheme(),
            purposes(),
            epoch(),
            any::<u16>(),
            participants(),
        ),
        (
            bytes(),
            vec(bytes(), 0..4),
            uniform32(any::<u8>()),
            digest(),
            digest(),
        ),
    )
        .prop_map(
            |((name, scheme, purposes, epoch, threshold, participants), rest)| {
                let (group_key, verifying_shares, chain_code, command, certificate) = rest;
                KeyRecord {
                    name,
                    scheme,
                    purposes,
                    epoch,
                    threshold,
                    participants,
                    group_key,
                    verifying_shares,
                    chain_code,
                    command,
                    certificate,
                }
            },
        );
    (
        record,
        state(),
        evidence_of_key(),
        standing(),
        destruction(),
        option::of((1..=u32::MAX).prop_map(quorate_model::Epoch)),
        (
            option::of(time()),
            option::of(time()),
            option::of(successor()),
        ),
    )
        .prop_map(
            |(record, state, evidence, standing, destruction, next_epoch, rest)| {
                let (activated, used, replaced_by) = rest;
                KeyView {
                    record,
                    state,
                    evidence,
                    standing,
                    destruction,
                    next_epoch,
                    activated,
                    used,
                    replaced_by,
                }
            },
        )
}

pub(crate) fn node_view() -> impl Strategy<Value = NodeView> {
    (
        (named::<NodeId>(), ".{0,12}", any::<bool>(), ".{0,12}"),
        (
            any::<u64>(),
            any::<u64>(),
            any::<u32>(),
            any::<bool>(),
            option::of(any::<[u8; 16]>().prop_map(quorate_model::backup::RestoreId)),
        ),
    )
        .prop_map(|((id, region, connected, version), rest)| {
            let (latency_us, journal_sequence, pid, clock_confirmed, quarantine) = rest;
            NodeView {
                id,
                region,
                connected,
                version,
                latency_us,
                journal_sequence,
                pid,
                clock_confirmed,
                quarantine,
            }
        })
}
