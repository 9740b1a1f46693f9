//! The end of keys (P34, P11).
//!
//! A node hears of the destruction of a key twice: an announcement, which starts its own delay, and
//! a confirmation, which it takes only after that delay and only while the announcement has neither
//! lapsed nor been withdrawn. The tombstone is durable before anything is erased, and everything is
//! erased before the node says so; a process that dies in between erases when it starts again.
//!
//! A node that holds no share takes all of it too: whoever may ever have held one says so, and a
//! name that was destroyed is never used again, wherever.

use std::{collections::BTreeSet, sync::Arc};

use quorate_model::{
    Digest, Epoch, KeyId, KeyName, KeyState, NodeId, PrincipalId, Reason, Refusal, Signature,
    UnixMillis,
    audit::{Entry, KeyDestroyed},
    command::{CommandBody, SignedCommand},
    destruction::{
        CONFIRM_WINDOW_MS, DestroyKey, DestroyStep, Destruction, DestructionReceipt, ErasureMethod,
        MAX_ANNOUNCEMENTS, MAX_ERASED_EPOCHS, Said, not_retired,
    },
    node_api::NodeReply,
};
use quorate_proto::destruction::check_afresh;

use super::{
    Context, Fatal, NodeCore, Outcome, Pending, State, Subject,
    binding::check_id,
    budget::{self, Budget},
    gate::Admitted,
    ledger::{self, Announced, DestructionRow, KeyRow, Tombstone, Withdrawn},
    lock,
};
use crate::{disk::Disk, keyring::ShareId};

/// Refuses whatever would bring a destroyed key back, or make another one of its name.
pub(super) fn check_not_destroyed(
    state: &State,
    name: &KeyName,
) -> Result<Result<(), Refusal>, Fatal> {
    let row = ledger::destruction(&*state.index, name)?;
    Ok(
        match row.and_then(|row| Some((row.key_id, row.tombstone?))) {
            Some((id, _)) => Err(gone(name, id)),
            None => Ok(()),
        },
    )
}

fn gone(name: &KeyName, id: KeyId) -> Refusal {
    Refusal::new(
        Reason::KeyDestroyed,
        format!("key \"{name}\" is destroyed, and its name is never used again"),
    )
    .with("key", name)
    .with("key_id", id)
}

fn not_announced(message: String) -> Refusal {
    Refusal::new(Reason::DestructionNotAnnounced, message)
}

fn being_written() -> Outcome {
    Outcome::Ready(Err(Refusal::new(
        Reason::Overloaded,
        "the step is being written: ask again",
    )))
}

/// The state of a destroyed key, for a listing.
pub(super) fn state_of(row: Option<&DestructionRow>, otherwise: KeyState) -> KeyState {
    row.and_then(|row| row.tombstone.as_ref())
        .map_or(otherwise, |tombstone| tombstone.state)
}

/// About how many bytes a listing takes for what it says of the end of a key.
pub(super) fn stored_bytes(row: &DestructionRow) -> usize {
    const RECEIPT_BYTES: usize = 512;
    let announced = row.announced.iter().map(|held| &held.command);
    let withdrawn = row.withdrawn.iter().map(|held| &held.command);
    let ended = row.tombstone.iter();
    let ended =
        ended.flat_map(|tombstone| tombstone.announcement.iter().chain([&tombstone.command]));
    announced
        .chain(withdrawn)
        .chain(ended)
        .map(|order| order.stored_bytes().saturating_add(RECEIPT_BYTES))
        .fold(0, usize::saturating_add)
}

impl<D: Disk + 'static> NodeCore<D> {
    /// Takes a step towards the end of a key, and acknowledges it once it is durable and done.
    pub(super) fn destroy_key(
        self: &Arc<Self>,
        context: &mut Context<'_>,
        signed: SignedCommand,
    ) -> Result<Outcome, Fatal> {
        let mut subject = Subject {
            command: Some(signed.digest()),
            ..Subject::default()
        };
        let now = lock(&self.state).clock.elapsed(context.reading);
        let admitted = match self.admit(&signed, now) {
            Ok(admitted) => admitted,
            Err(refusal) => return self.refused(context, subject, refusal),
        };
        subject.command_id = Some(admitted.command().id);
        subject.endorsements = Some(admitted.endorsements());
        let CommandBody::DestroyKey(destroy) = &admitted.command().body else {
            let refusal = Refusal::new(
                Reason::RequestInvalid,
                "the command is not about the end of a key",
            );
            return self.refused(context, subject, refusal);
        };
        subject.key = Some(destroy.key.clone());
        // Delays are counted in the node's time, so nothing of it is judged while that is in doubt.
        // A withdrawal has no time.
        if admitted.command().body.expires()
            && let Err(refusal) = self.trusted_time(&mut lock(&self.state), context)?
        {
            return Ok(Outcome::Ready(Err(refusal)));
        }
        if let Err(refusal) = self.check_named(destroy)? {
            return self.refused(context, subject, refusal);
        }
        let mut state = lock(&self.state);
        let row = ledger::destruction(&*state.index, &destroy.key)?;
        if let Some(tombstone) = row.as_ref().and_then(|row| row.tombstone.as_ref()) {
            drop(state);
            return match self.answer_destroyed(context, destroy, tombstone)? {
                Err(refusal) => self.refused(context, subject, refusal),
                Ok(outcome) => Ok(outcome),
            };
        }
        let now = self.record_time(&state, context);
        let judged = match self.check_roster_of(&admitted, destroy) {
            Ok(()) => self.judge_destruction(&state, &admitted, destroy, now)?,
            Err(refusal) => Err(refusal),
        };
        let step = match judged {
            Ok(step) => step,
            Err(refusal) => {
                drop(state);
                return self.refused(context, subject, refusal);
            }
        };
        self.take_step(context, &mut state, &admitted, destroy, signed, step)
    }

    /// A destruction counts the nodes of the roster that its order was made under (decision 0022). So
    /// it is not carried out by one that knows fewer nodes than there are: whoever was added since may
    /// have a share, and would be missed by nobody.
    fn check_roster_of(&self, admitted: &Admitted, destroy: &DestroyKey) -> Result<(), Refusal> {
        let pinned = self.pinned();
        let ordered = pinned.at(&admitted.command().roster);
        let is_new = |node: &NodeId| {
            let listed = ordered.as_ref().and_then(|then| then.card(node));
            listed.is_none()
        };
        let mut nodes = pinned.roster().nodes.iter().map(|card| &card.id);
        match (destroy.step, nodes.find(|node| is_new(node))) {
            (DestroyStep::Confirm { .. } | DestroyStep::AtOnce, Some(added)) => Err(Refusal::new(
                Reason::RosterBehind,
                format!(
                    "the order was made under an earlier roster, and node {added} was added since: \
                     order it again under roster {}",
                    pinned.roster().version
                ),
            )),
            _ => Ok(()),
        }
    }

    /// The time of the next record: a delay that begins or ends with it is counted from there, and
    /// not from a clock that was read before other records came in between.
    fn record_time(&self, state: &State, context: &Context<'_>) -> UnixMillis {
        let now = state.clock.elapsed(context.reading);
        now.max(self.journal.head().time)
    }

    /// Checks that the name stands for the key of the command where it stands for one at all (I4).
    fn check_named(&self, destroy: &DestroyKey) -> Result<Result<(), Refusal>, Fatal> {
        if let Some(key) = self.loaded.get(&destroy.key) {
            return Ok(destroy.check_key(&key.record));
        }
        let state = lock(&self.state);
        let row = ledger::key(&*state.index, &destroy.key)?;
        let ended = ledger::destruction(&*state.index, &destroy.key)?;
        drop(state);
        if let Some(birth) = row.as_ref().and_then(KeyRow::origin) {
            let born = quorate_proto::certificate::verify(birth, None, &self.pinned());
            return Ok(born.and_then(|(_, record)| destroy.check_key(&record)));
        }
        let other = ended.filter(|row| row.tombstone.is_some() && row.key_id != destroy.key_id);
        Ok(other.map_or(Ok(()), |row| Err(gone(&destroy.key, row.key_id))))
    }

    /// What a node says of a key that is destroyed already: the same as the first time. What the
    /// first time was given up before its end is done now.
    fn answer_destroyed(
        &self,
        context: &mut Context<'_>,
        destroy: &DestroyKey,
        tombstone: &Tombstone,
    ) -> Result<Result<Outcome, Refusal>, Fatal> {
        if let DestroyStep::Cancel { .. } = destroy.step {
            return Ok(Err(gone(&destroy.key, destroy.key_id)));
        }
        if self.journal.durable().sequence() < tombstone.record {
            return Ok(Ok(being_written()));
        }
        let shares = self.left_of(&destroy.key, tombstone)?;
        if !shares.is_empty() {
            self.vault.erase(&shares, context.rng)?;
            self.ecdsa.forget_pairings(&shares);
        }
        let receipt = self.tombstone_receipt(&destroy.key, destroy.key_id, tombstone);
        Ok(Ok(Outcome::Ready(Ok(NodeReply::Destruction(receipt)))))
    }

    /// The shares of a key that have data keys.
    fn shares_of(&self, key: &KeyName) -> BTreeSet<ShareId> {
        let epochs = self.vault.keyring().epochs_below(key, Epoch(u32::MAX));
        epochs
            .into_iter()
            .map(|epoch| (key.clone(), epoch))
            .collect()
    }

    /// What is left of a destroyed key: shares with their data keys, and files without, where a
    /// process died between the two.
    fn left_of(&self, key: &KeyName, tombstone: &Tombstone) -> Result<BTreeSet<ShareId>, Fatal> {
        let mut shares = self.shares_of(key);
        for epoch in &tombstone.epochs {
            if self.vault.has_files(key, *epoch)? {
                shares.insert((key.clone(), *epoch));
            }
        }
        Ok(shares)
    }

    /// Judges a step at this node, and records nothing.
    pub(super) fn judge_destruction(
        &self,
        state: &State,
        admitted: &Admitted,
        destroy: &DestroyKey,
        now: UnixMillis,
    ) -> Result<Result<Step, Refusal>, Fatal> {
        if !admitted.command().body.is_unstoppable()
            && let Err(refusal) = check_id(state, admitted)?
        {
            return Ok(Err(refusal));
        }
        let row = ledger::destruction(&*state.index, &destroy.key)?;
        let row = row.filter(|row| row.key_id == destroy.key_id);
        self.judge_step(state, (destroy, admitted), row.as_ref(), now)
    }

    fn judge_step(
        &self,
        state: &State,
        (destroy, admitted): (&DestroyKey, &Admitted),
        row: Option<&DestructionRow>,
        now: UnixMillis,
    ) -> Result<Result<Step, Refusal>, Fatal> {
        let key = &destroy.key;
        let digest = admitted.digest();
        let announced = row.map(|row| row.announced.as_slice()).unwrap_or_default();
        let live = || announced.iter().filter(|held| now <= held.until);
        let withdrawal = |announcement: &Digest| {
            let about = (key, destroy.key_id);
            ledger::withdrawal(&*state.index, about, announcement)
        };
        if !destroy.step.needs_one()
            && let Err(refusal) = self.check_retired(state, key)?
        {
            return Ok(Err(refusal));
        }
        match destroy.step {
            DestroyStep::Cancel { announcement } => Ok(Ok(withdrawal(&announcement)?
                .map_or(Step::Withdraw(announcement), Step::KnownWithdrawal))),
            DestroyStep::Announce => {
                if withdrawal(&digest)?.is_some() {
                    return Ok(Err(not_announced(format!(
                        "this announcement of the destruction of key \"{key}\" was withdrawn: \
                         announce it anew"
                    ))));
                }
                if let Some(known) = live().find(|held| held.digest == digest) {
                    return Ok(Ok(Step::KnownAnnouncement(known.clone())));
                }
                if live().count() >= MAX_ANNOUNCEMENTS {
                    return Ok(Err(Refusal::new(
                        Reason::Overloaded,
                        format!(
                            "the destruction of key \"{key}\" is announced {MAX_ANNOUNCEMENTS} \
                             times: cancel one first"
                        ),
                    )));
                }
                Ok(Ok(Step::Announce))
            }
            DestroyStep::Confirm { announcement } => {
                let withdrawn = withdrawal(&announcement)?.is_some();
                let heard = live().find(|held| held.digest == announcement && !withdrawn);
                Ok(check_heard(key, heard, now).and_then(|heard| {
                    let announced = quorate_proto::command::decode(&heard.command.bytes)?;
                    let made = admitted.command().created;
                    check_afresh(&self.pinned(), announced.created, made)?;
                    Ok(Step::Destroy(Some(heard.command.clone())))
                }))
            }
            DestroyStep::AtOnce => Ok(Ok(Step::Destroy(None))),
        }
    }

    /// Only a key whose time is over is destroyed (P33). Of one that this node never knew, others
    /// judge it.
    fn check_retired(&self, state: &State, key: &KeyName) -> Result<Result<(), Refusal>, Fatal> {
        let row = ledger::key(&*state.index, key)?;
        if row.as_ref().and_then(KeyRow::origin).is_none() {
            return Ok(Ok(()));
        }
        // Whoever has given its share to others hears no more of where the key stands: they judge it.
        let has_left = row.as_ref().and_then(|row| {
            let record = self.record_of(row, row.active()?).ok()?;
            record.index_of(&self.me).is_none().then_some(())
        });
        if has_left.is_some() {
            return Ok(Ok(()));
        }
        let proven = row.is_some_and(|row| row.active().is_some());
        let stands = ledger::standing(&*state.index, key)?.standing.state(proven);
        Ok(if stands.is_retired() {
            Ok(())
        } else {
            Err(not_retired(key, stands).with("node", &self.me))
        })
    }

    fn take_step(
        self: &Arc<Self>,
        context: &Context<'_>,
        state: &mut State,
        admitted: &Admitted,
        destroy: &DestroyKey,
        signed: SignedCommand,
        step: Step,
    ) -> Result<Outcome, Fatal> {
        let key = destroy.key.clone();
        let key_id = destroy.key_id;
        let time = self.record_time(state, context);
        let entry = match step {
            Step::KnownAnnouncement(known) => {
                return Ok(self.recorded(known.record, self.announcement(&key, key_id, &known)));
            }
            Step::KnownWithdrawal(known) => {
                return Ok(self.recorded(known.record, self.withdrawal(&key, key_id, &known)));
            }
            Step::Announce => {
                let from = time.plus(self.pinned().roster().lifecycle_delay_ms());
                Entry::DestructionAnnounced {
                    judgment: self.judgment(admitted, "quorum:lifecycle"),
                    expires: admitted.command().expires,
                    key: key.clone(),
                    key_id,
                    from,
                    until: from.plus(CONFIRM_WINDOW_MS),
                    command: signed,
                }
            }
            Step::Withdraw(announcement) => {
                // Each one takes a record, and any admin makes any number of them: each has a budget
                // of its own, so that none uses up the others'.
                let now_ms = context.reading.monotonic_ms;
                if !may_withdraw(state, signed.proposing_admin().cloned(), now_ms) {
                    let message = format!(
                        "node {} records no more withdrawals for the moment",
                        self.me
                    );
                    let refusal = Refusal::new(Reason::Overloaded, message);
                    return Ok(Outcome::Ready(Err(refusal)));
                }
                Entry::DestructionWithdrawn {
                    judgment: self.judgment(admitted, "role:admin"),
                    key: key.clone(),
                    key_id,
                    announcement,
                    command: signed,
                }
            }
            Step::Destroy(announcement) => {
                return self.destroy(context, state, (admitted, destroy), signed, announcement);
            }
        };
        let appended = self.record(state, time, vec![entry])?;
        let receipt = match destroy.step {
            DestroyStep::Cancel { announcement } => {
                ledger::withdrawal(&*state.index, (&key, key_id), &announcement)?
                    .map(|held| self.withdrawal(&key, key_id, &held))
            }
            DestroyStep::Announce | DestroyStep::Confirm { .. } | DestroyStep::AtOnce => {
                ledger::destruction(&*state.index, &key)?
                    .and_then(|row| row.announced.last().cloned())
                    .map(|held| self.announcement(&key, key_id, &held))
            }
        };
        let receipt = receipt.ok_or(Fatal::Invariant("a step that was recorded has a row"))?;
        Ok(Pending::answer(appended, move |_| {
            Ok(NodeReply::Destruction(receipt))
        }))
    }

    /// The tombstone, and then the end of every share.
    fn destroy(
        self: &Arc<Self>,
        context: &Context<'_>,
        state: &mut State,
        (admitted, destroy): (&Admitted, &DestroyKey),
        command: SignedCommand,
        announcement: Option<SignedCommand>,
    ) -> Result<Outcome, Fatal> {
        let key = destroy.key.clone();
        let rule = if announcement.is_some() {
            "quorum:lifecycle"
        } else {
            "quorum:every-admin"
        };
        let held = self.vault.keyring().epochs_below(&key, Epoch(u32::MAX));
        let mut epochs: BTreeSet<Epoch> = held.iter().copied().collect();
        // Files whose data keys are gone already go with them.
        epochs.extend(ledger::erasing_of(&*state.index, &key)?);
        let row = ledger::key(&*state.index, &key)?.unwrap_or_default();
        epochs.extend(row.prepared.iter().map(|mark| mark.epoch));
        let stands = ledger::standing(&*state.index, &key)?.standing.state(true);
        let entry = Entry::KeyDestroyed(KeyDestroyed {
            judgment: self.judgment(admitted, rule),
            expires: admitted.command().expires,
            key: key.clone(),
            key_id: destroy.key_id,
            state: stands.destroyed(),
            epochs: highest(held),
            // Backups keep what was erased since.
            backups: if row.prepared_to > Epoch(0) {
                ledger::backups_of(&*state.index, &key)?
            } else {
                0
            },
            announcement,
            command,
        });
        let time = self.record_time(state, context);
        let appended = self.record(state, time, vec![entry])?;
        self.loaded.forget(&key);
        let tombstone = ledger::destruction(&*state.index, &key)?
            .and_then(|row| row.tombstone)
            .ok_or(Fatal::Invariant("a tombstone that was recorded has a row"))?;
        self.forget_sessions(&key);
        let receipt = self.tombstone_receipt(&key, destroy.key_id, &tombstone);
        let shares: BTreeSet<ShareId> = epochs
            .into_iter()
            .map(|epoch| (key.clone(), epoch))
            .collect();
        let core = Arc::clone(self);
        Ok(Pending::act(appended, move |_, rng| {
            if !shares.is_empty() {
                core.vault.erase(&shares, rng)?;
                core.ecdsa.forget_pairings(&shares);
            }
            Ok(Ok(NodeReply::Destruction(receipt)))
        }))
    }

    /// A receipt of what was recorded before: told only once that is durable.
    fn recorded(&self, record: u64, receipt: DestructionReceipt) -> Outcome {
        if self.journal.durable().sequence() < record {
            return being_written();
        }
        Outcome::Ready(Ok(NodeReply::Destruction(receipt)))
    }

    fn announcement(&self, key: &KeyName, key_id: KeyId, held: &Announced) -> DestructionReceipt {
        let said = Said::Announced {
            since: held.since,
            from: held.from,
            until: held.until,
        };
        self.word(key, key_id, (held.digest, said), (held.record, held.head))
    }

    fn withdrawal(&self, key: &KeyName, key_id: KeyId, held: &Withdrawn) -> DestructionReceipt {
        let said = Said::Withdrawn {
            announcement: held.announcement,
        };
        let command = held.command.digest();
        self.word(key, key_id, (command, said), (held.record, held.head))
    }

    fn tombstone_receipt(
        &self,
        key: &KeyName,
        key_id: KeyId,
        tombstone: &Tombstone,
    ) -> DestructionReceipt {
        let said = Said::Destroyed {
            state: tombstone.state,
            epochs: tombstone.epochs.clone(),
            method: ErasureMethod::BestEffort,
            backups: tombstone.backups,
        };
        let command = tombstone.command.digest();
        let at = (tombstone.record, tombstone.head);
        self.word(key, key_id, (command, said), at)
    }

    fn word(
        &self,
        key: &KeyName,
        key_id: KeyId,
        (command, said): (Digest, Said),
        (record, head): (u64, Digest),
    ) -> DestructionReceipt {
        DestructionReceipt {
            node: self.me.clone(),
            key: key.clone(),
            key_id,
            command,
            said,
            record,
            head,
            signature: Signature([0; 64]),
        }
        .sign(&self.identity)
    }

    /// What this node lists of the end of a key: nothing that is not durable and done.
    pub(super) fn destruction_of(&self, key: &KeyName, row: &DestructionRow) -> Destruction {
        let durable = self.journal.durable().sequence();
        let mut known = Destruction::default();
        for held in row.announced.iter().filter(|held| held.record <= durable) {
            known.orders.push(held.command.clone());
            known
                .receipts
                .push(self.announcement(key, row.key_id, held));
        }
        for held in row.withdrawn.iter().filter(|held| held.record <= durable) {
            known.orders.push(held.command.clone());
            known.receipts.push(self.withdrawal(key, row.key_id, held));
        }
        let done =
            |tombstone: &&Tombstone| tombstone.record <= durable && self.shares_of(key).is_empty();
        if let Some(tombstone) = row.tombstone.as_ref().filter(done) {
            known.orders.extend(tombstone.announcement.clone());
            known.orders.push(tombstone.command.clone());
            known
                .receipts
                .push(self.tombstone_receipt(key, row.key_id, tombstone));
        }
        known
    }

    /// The shares of destroyed keys that are on the disk: of a process that died between the
    /// tombstone and the end, or put back by hand from an old copy.
    pub(super) fn undead(&self, state: &State) -> Result<BTreeSet<ShareId>, Fatal> {
        let mut shares = BTreeSet::new();
        for (key, tombstone) in ledger::tombstoned(&*state.index)? {
            shares.extend(self.left_of(&key, &tombstone)?);
        }
        Ok(shares)
    }
}

/// What a step comes to at this node.
pub(super) enum Step {
    Announce,
    KnownAnnouncement(Announced),
    Withdraw(Digest),
    KnownWithdrawal(Withdrawn),
    /// With the announcement, unless it goes without one.
    Destroy(Option<SignedCommand>),
}

/// As many epochs as a receipt lists.
fn highest(mut epochs: Vec<Epoch>) -> Vec<Epoch> {
    let beyond = epochs.len().saturating_sub(MAX_ERASED_EPOCHS);
    epochs.split_off(beyond)
}

/// Each admin has a budget of its own.
fn may_withdraw(state: &mut State, by: Option<PrincipalId>, now_ms: u64) -> bool {
    by.is_some_and(|admin| {
        state
            .withdrawals
            .entry(admin)
            .or_insert_with(|| Budget::new(budget::WITHDRAWALS))
            .take(now_ms)
    })
}

fn check_heard<'a>(
    key: &KeyName,
    heard: Option<&'a Announced>,
    now: UnixMillis,
) -> Result<&'a Announced, Refusal> {
    let Some(heard) = heard else {
        return Err(not_announced(format!(
            "the destruction of key \"{key}\" was not announced here by the announcement that is \
             confirmed, or it was withdrawn, or it lapsed: announce it anew"
        ))
        .with("key", key));
    };
    if now < heard.from {
        let left = heard.from.since(now).div_ceil(1_000);
        return Err(Refusal::new(
            Reason::DestructionTooEarly,
            format!(
                "the destruction of key \"{key}\" was announced here too short a time ago: confirm \
                 it in {left} s or later"
            ),
        )
        .with("key", key)
        .with("from_ms", heard.from.0)
        .with("left_s", left));
    }
    Ok(heard)
}
