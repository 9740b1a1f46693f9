//! Commands about the end of keys, and what nodes say of them.

use proptest::{array::uniform32, collection::vec, option, prelude::*, sample::select};
use quorate_model::{
    KeyId, KeyState, NodeId,
    command::CommandBody,
    destruction::{DestroyKey, DestroyStep, Destruction, DestructionReceipt, ErasureMethod, Said},
    operation::DestructionOutcome,
};

use super::{digest, epoch, named, refusal, signature, signed_command, time};

fn step() -> impl Strategy<Value = DestroyStep> {
    prop_oneof![
        Just(DestroyStep::Announce),
        digest().prop_map(|announcement| DestroyStep::Cancel { announcement }),
        digest().prop_map(|announcement| DestroyStep::Confirm { announcement }),
        Just(DestroyStep::AtOnce),
    ]
}

fn key_id() -> impl Strategy<Value = KeyId> {
    uniform32(any::<u8>()).prop_map(KeyId)
}

pub(super) fn destroy_command() -> impl Strategy<Value = CommandBody> {
    (named(), key_id(), step(), "[a-z]{1,20}").prop_map(|(key, key_id, step, reason)| {
        CommandBody::DestroyKey(DestroyKey {
            key,
            key_id,
            step,
            reason,
        })
    })
}

fn said() -> impl Strategy<Value = Said> {
    let states = vec![KeyState::Destroyed, KeyState::DestroyedCompromised];
    let methods = vec![ErasureMethod::BestEffort, ErasureMethod::Strong];
    prop_oneof![
        (time(), time(), time()).prop_map(|(since, from, until)| Said::Announced {
            since,
            from,
            until
        }),
        digest().prop_map(|announcement| Said::Withdrawn { announcement }),
        (
            select(states),
            vec(epoch(), 0..4),
            select(methods),
            any::<u32>()
        )
            .prop_map(|(state, epochs, method, backups)| Said::Destroyed {
                state,
                epochs,
                method,
                backups,
            }),
    ]
}

pub(super) fn destruction_receipt() -> impl Strategy<Value = DestructionReceipt> {
    (
        (named(), named(), key_id()),
        digest(),
        said(),
        (any::<u64>(), digest()),
        signature(),
    )
        .prop_map(
            |((node, key, key_id), command, said, (record, head), signature)| DestructionReceipt {
                node,
                key,
                key_id,
                command,
                said,
                record,
                head,
                signature,
            },
        )
}

pub(super) fn destruction() -> impl Strategy<Value = Destruction> {
    let receipts = vec(destruction_receipt(), 0..3);
    (vec(signed_command(), 0..3), receipts)
        .prop_map(|(orders, receipts)| Destruction { orders, receipts })
}

pub(super) fn destruction_outcome() -> impl Strategy<Value = DestructionOutcome> {
    let missing = (named::<NodeId>(), option::of(refusal()));
    (
        named(),
        vec(destruction_receipt(), 0..3),
        vec(missing, 0..3),
    )
        .prop_map(|(key, receipts, missing)| DestructionOutcome {
            key,
            receipts,
            missing,
        })
}
