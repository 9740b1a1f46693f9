//! What is judged before a signature begins, and again before its last message leaves (P7).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use quorate_intent::SigningItem;
use quorate_model::{
    Digest, PartyIndex, Reason, Refusal, UnixMillis,
    audit::Judgment,
    evacuation::Destination,
    node_api::{AttemptId, SigningRequest},
    share::signed_message_hash,
};
use quorate_proto::admission;

use super::{Asking, Facts};
use crate::{
    core::{
        Context, Fatal, NodeCore, State, Subject,
        binding::{check_binding_within, check_id_within},
        ecdsa::share_of,
        gate::Admitted,
        ledger,
        loaded::LoadedKey,
        lock,
        standing::{Use, check_use},
    },
    disk::Disk,
};

impl<D: Disk + 'static> NodeCore<D> {
    /// Everything that is checked before this node says hello (P7).
    pub(super) fn judge_signing(
        &self,
        context: &mut Context<'_>,
        id: AttemptId,
        request: &SigningRequest,
        subject: &mut Subject,
    ) -> Result<Result<(Facts, SigningItem), Refusal>, Fatal> {
        let key = match self.load(&request.key)? {
            Ok(key) => key,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let now = match self.trusted_time(&mut lock(&self.state), context)? {
            Ok(now) => now,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let admitted = match self.admit(&request.command, now) {
            Ok(admitted) => admitted,
            Err(refusal) => return Ok(Err(refusal)),
        };
        subject.command_id = Some(admitted.command().id);
        subject.endorsements = Some(admitted.endorsements());
        let pinned = match self.pinned_for(&admitted)? {
            Ok(pinned) => pinned,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let command = (&admitted, pinned.as_deref());
        let judged = self.judge_message(id, &key, command, request);
        let (facts, item) = match judged {
            Ok(judged) => judged,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if let Err(refusal) = check_id_within(&lock(&self.state), &admitted, facts.items)? {
            return Ok(Err(refusal));
        }
        let pairings = self.pairings_of(&key)?;
        let state = lock(&self.state);
        if let Err(refusal) = check_use(&state, &request.key, facts.purpose)? {
            return Ok(Err(refusal));
        }
        let ready = match self.check_bans(&state, &facts.participants)? {
            Ok(()) => {
                self.check_pairings(&state, &key, &facts.participants, pairings.as_deref())?
            }
            Err(refusal) => Err(refusal),
        };
        Ok(ready.map(|()| (facts, item)))
    }

    fn judge_message(
        &self,
        id: AttemptId,
        key: &Arc<LoadedKey>,
        (admitted, pinned): (&Admitted, Option<&[Destination]>),
        request: &SigningRequest,
    ) -> Result<(Facts, SigningItem), Refusal> {
        share_of(key)?;
        let asked = (&request.key, request.epoch);
        let mut messages = self.key_and_messages(key, admitted, asked, pinned)?;
        let items = messages.len();
        let at = usize::try_from(request.item).unwrap_or(usize::MAX);
        if at >= items {
            return Err(Refusal::new(
                Reason::RequestInvalid,
                format!("the command has {items} messages, none is number {at}"),
            ));
        }
        let item = messages.swap_remove(at);
        let participants = self.chosen(key, &request.signers)?;
        let threshold = usize::from(key.record.threshold);
        if participants.len() != threshold {
            return Err(Refusal::new(
                Reason::SigningSetInvalid,
                format!(
                    "{} holders are to sign, expected exactly {threshold}",
                    participants.len()
                ),
            ));
        }
        let purpose = Use::of(&admitted.command().body);
        let facts = Facts {
            id,
            asked: Asking::of(request),
            key: Arc::clone(key),
            participants,
            judgment: self.judgment(admitted, purpose.rule()),
            purpose,
            roster: admitted.roster(),
            expires: admitted.command().expires,
            items,
            message: signed_message_hash(&item.message, &item.path, false),
            pairs: Vec::new(),
            released: Mutex::new(None),
        };
        Ok((facts, item))
    }

    /// Judges again what may have changed since the beginning (P7): bans at every step, and before
    /// the last message the clock, the roster, the command, and the state of the key.
    pub(super) fn judge_again(
        &self,
        context: &mut Context<'_>,
        facts: &Facts,
        releases: bool,
    ) -> Result<Result<(), Refusal>, Fatal> {
        let mut state = lock(&self.state);
        if let Err(refusal) = self.check_bans(&state, &facts.participants)? {
            return Ok(Err(refusal));
        }
        if !releases {
            return Ok(Ok(()));
        }
        let now = match self.trusted_time(&mut state, context)? {
            Ok(now) => now,
            Err(refusal) => return Ok(Err(refusal)),
        };
        self.check_release(&state, facts, now)
    }

    pub(super) fn check_release(
        &self,
        state: &State,
        facts: &Facts,
        now: UnixMillis,
    ) -> Result<Result<(), Refusal>, Fatal> {
        if facts.expires <= now {
            return Ok(Err(admission::expired()));
        }
        if let Err(refusal) = self.check_roster(facts.roster) {
            return Ok(Err(refusal));
        }
        let Judgment {
            command_id,
            command,
            ..
        } = facts.judgment;
        let bound = check_binding_within(state, command_id, command, facts.items)?;
        if let Err(refusal) = bound {
            return Ok(Err(refusal));
        }
        if let Err(refusal) = self.check_bans(state, &facts.participants)? {
            return Ok(Err(refusal));
        }
        let record = &facts.key.record;
        if let Err(refusal) = check_use(state, &record.name, facts.purpose)? {
            return Ok(Err(refusal));
        }
        if let Err(refusal) = self.check_in_force(state, &facts.key)? {
            return Ok(Err(refusal));
        }
        let suspended = ledger::suspended(&*state.index, &record.name, record.epoch)?;
        let suspended = self
            .others(&facts.participants)
            .any(|p| suspended.contains(&p.node));
        // A fresh set-up lifts the suspension and not what began with the pairings before it.
        let current: BTreeMap<PartyIndex, Digest> = self
            .pairings_of(&facts.key)?
            .map(|pairings| pairings.pairs().collect())
            .unwrap_or_default();
        let replaced = facts
            .pairs
            .iter()
            .any(|(peer, id)| current.get(peer) != Some(id));
        Ok(if suspended || replaced {
            Err(self.unready(&record.name))
        } else {
            Ok(())
        })
    }
}
