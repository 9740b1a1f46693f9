//! The end of a ceremony at one node: its share is durable, and it says so (P19).

use std::sync::{Arc, Mutex};

use quorate_model::{
    Reason, Refusal,
    audit::{Entry, Judgment, KeyPrepared},
    node_api::{CeremonyReply, NodeReply, Prepared},
};
use quorate_protocol::sharing::SigningShare;
use zeroize::Zeroizing;

use super::{Facts, Work, aim::Aim, machine::Made, resharing};
use crate::{
    core::{
        Context, Fatal, NodeCore, Outcome, Pending, State,
        binding::check_binding,
        destroying::check_not_destroyed,
        ledger::{self, KeyRow},
        lock,
        rounds::Turn,
    },
    disk::Disk,
    vault::NewRecord,
};

impl<D: Disk + 'static> NodeCore<D> {
    /// Makes the share durable, reads it back, records it, and only then signs PREPARED (P19).
    pub(super) fn prepare(
        self: &Arc<Self>,
        context: &mut Context<'_>,
        work: &Arc<Mutex<Work>>,
        facts: Facts,
        (round, turn): (u8, Turn),
        (share, made): (&SigningShare, Made),
    ) -> Result<Outcome, Fatal> {
        let sharing = made.sharing;
        let aim = Arc::clone(&facts.aim);
        let statement = aim.statement(facts.roster, facts.command, facts.epoch, &sharing);
        let mut state = lock(&self.state);
        if let Err(refusal) = self.check_prepares(&state, &facts)? {
            drop(state);
            return self.refused(context, facts.subject(), refusal);
        }
        let public = quorate_model::wire::encode(&statement)
            .map_err(|_| Fatal::Invariant("a statement can be encoded"))?;
        let secret = Zeroizing::new(share.expose().to_vec());
        let record = NewRecord {
            key: aim.key(),
            epoch: facts.epoch,
            public: &public,
            secret: &secret,
        };
        let _stored = self.vault.store(&record, context.rng)?;
        #[cfg(debug_assertions)]
        self.erase_unvouched(aim.key(), facts.epoch, context.rng)?;
        let time = state.clock.elapsed(context.reading);
        let mut entries = introduction(&state, &aim)?;
        entries.push(Entry::KeyPrepared(KeyPrepared {
            judgment: facts.judgment,
            key: aim.key().clone(),
            epoch: facts.epoch,
            session: statement.session,
            statement: statement.digest(),
        }));
        let appended = self.record(&mut state, time, entries)?;
        drop(state);

        let reply = CeremonyReply {
            round: round.saturating_add(1),
            envelopes: Vec::new(),
            prepared: Some(Prepared {
                signature: statement.sign(&self.identity),
                session: sharing.session,
                statement,
                verifying_shares: sharing.verifying_shares,
            }),
            aborted: None,
        };
        let work = Arc::clone(work);
        Ok(Pending::answer(appended, move |_| {
            lock(&work).answer(turn, None, Ok(reply.clone()));
            Ok(NodeReply::Ceremony(reply))
        }))
    }

    /// The last moment at which another attempt may have prepared this epoch.
    fn check_prepares(&self, state: &State, facts: &Facts) -> Result<Result<(), Refusal>, Fatal> {
        let key = facts.aim.key();
        if let Err(refusal) = self.check_roster(facts.roster) {
            return Ok(Err(refusal));
        }
        if let Err(refusal) = check_not_destroyed(state, key)? {
            return Ok(Err(refusal));
        }
        let row = ledger::key(&*state.index, key)?.unwrap_or_default();
        let other = match &*facts.aim {
            Aim::Create(_) => row.origin().is_some(),
            Aim::Reshare(resharing) => {
                let id = resharing::id_of(&row)?;
                id.is_some_and(|id| id != resharing.command.key_id)
                    || row
                        .active()
                        .is_some_and(|active| active.order() != resharing.order)
            }
        };
        let taken =
            other || row.next_epoch() > facts.epoch || self.vault.contains(key, facts.epoch)?;
        let Judgment {
            command_id,
            command,
            ..
        } = facts.judgment;
        Ok(match check_binding(state, command_id, command)? {
            Ok(()) if taken => Err(Refusal::new(
                Reason::EpochTaken,
                format!("epoch {} of key \"{key}\" was prepared before", facts.epoch),
            )),
            judged => judged,
        })
    }
}

/// A node that knows nothing of a key learns from its first share which key it is.
fn introduction(state: &State, aim: &Aim) -> Result<Vec<Entry>, Fatal> {
    let Aim::Reshare(resharing) = aim else {
        return Ok(Vec::new());
    };
    let row = ledger::key(&*state.index, aim.key())?;
    if row.as_ref().and_then(KeyRow::origin).is_some() {
        return Ok(Vec::new());
    }
    Ok(vec![Entry::KeyIntroduced {
        key: aim.key().clone(),
        birth: resharing.birth.clone(),
    }])
}
