//! What a command id is bound to at this node: its first bytes, an admin's rejection, and how often
//! shares were released for it (P8).

use quorate_model::{Digest, Reason, Refusal, ids::CommandId};

use super::{Fatal, State, gate::Admitted, ledger};

/// The most times that a node releases shares for one command: retries with other subsets need a
/// few, and a command that is replayed must not fill the journal.
const MAX_RELEASES: u32 = 64;

/// Checks that the command id is free or bound to these bytes, and not rejected (P8).
pub(super) fn check_id(state: &State, admitted: &Admitted) -> Result<Result<(), Refusal>, Fatal> {
    check_id_within(state, admitted, 1)
}

/// The same for a command whose messages take a record each.
pub(super) fn check_id_within(
    state: &State,
    admitted: &Admitted,
    records: usize,
) -> Result<Result<(), Refusal>, Fatal> {
    let id = admitted.command().id;
    let bound = check_binding_within(state, id, admitted.digest(), records)?;
    Ok(bound.and_then(|()| {
        if admitted.is_rejected() {
            Err(rejected(id))
        } else {
            Ok(())
        }
    }))
}

/// Checks what is recorded of a command id, in one piece with the record that rests on it.
pub(super) fn check_binding(
    state: &State,
    id: CommandId,
    digest: Digest,
) -> Result<Result<(), Refusal>, Fatal> {
    check_binding_within(state, id, digest, 1)
}

/// The same for a command whose messages take a record each.
pub(super) fn check_binding_within(
    state: &State,
    id: CommandId,
    digest: Digest,
    records: usize,
) -> Result<Result<(), Refusal>, Fatal> {
    let records = u32::try_from(records).unwrap_or(u32::MAX).max(1);
    let at_most = MAX_RELEASES.saturating_mul(records);
    Ok(match ledger::command(&*state.index, id)? {
        Some(row) if row.digest != digest => Err(reused(id)),
        Some(row) if row.rejected => Err(rejected(id)),
        Some(row) if row.releases >= at_most => Err(Refusal::new(
            Reason::Overloaded,
            format!("shares were released {at_most} times for command {id}: make a new one"),
        )),
        Some(_) | None => Ok(()),
    })
}

pub(super) fn reused(id: CommandId) -> Refusal {
    Refusal::new(
        Reason::RequestIdReused,
        format!("command id {id} belongs to another command: use a new id"),
    )
    .with("command_id", id)
}

pub(super) fn rejected(id: CommandId) -> Refusal {
    Refusal::new(
        Reason::CommandRejected,
        format!("command {id} was rejected by an admin"),
    )
    .with("command_id", id)
}
