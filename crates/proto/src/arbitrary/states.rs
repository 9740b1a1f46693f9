//! Commands about the states of keys, and what holders say of them.

use proptest::{array::uniform32, collection::vec, prelude::*, sample::select};
use quorate_model::{
    KeyId, NodeId,
    operation::StateOutcome,
    standing::{SetKeyState, Standing, StateChange, StateMark, StateReceipt},
};

use super::{digest, named, signature, signed_command, state};

fn change() -> impl Strategy<Value = StateChange> {
    select(vec![
        StateChange::Suspend,
        StateChange::Resume,
        StateChange::Deactivate,
        StateChange::Compromise,
    ])
}

pub(super) fn set_key_state() -> impl Strategy<Value = SetKeyState> {
    let key_id = uniform32(any::<u8>()).prop_map(KeyId);
    (named(), key_id, 1..=u64::MAX >> 1, change(), "[a-z]{1,20}").prop_map(
        |(key, key_id, sequence, change, reason)| SetKeyState {
            key,
            key_id,
            sequence,
            change,
            reason,
        },
    )
}

pub(super) fn standing() -> impl Strategy<Value = Standing> {
    vec((set_key_state(), signed_command()), 0..4).prop_map(|marks| {
        let mut standing = Standing::default();
        for (set, command) in marks {
            standing.take(StateMark::new(&set, command));
        }
        standing
    })
}

pub(super) fn state_receipt() -> impl Strategy<Value = StateReceipt> {
    let numbers = (any::<u64>(), any::<u64>());
    (
        named(),
        set_key_state(),
        digest(),
        state(),
        numbers,
        signature(),
    )
        .prop_map(
            |(node, set, command, state, (sequence, record), signature)| StateReceipt {
                node,
                key: set.key,
                key_id: set.key_id,
                command,
                state,
                sequence,
                record,
                signature,
            },
        )
}

pub(super) fn state_outcome() -> impl Strategy<Value = StateOutcome> {
    let receipts = vec(state_receipt(), 0..3);
    (
        named(),
        any::<u16>(),
        receipts,
        vec(named::<NodeId>(), 0..3),
    )
        .prop_map(|(key, binding, receipts, missing)| StateOutcome {
            key,
            binding,
            receipts,
            missing,
        })
}
