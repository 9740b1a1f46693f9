//! Tickets and signature shares (P23, P24).
//!
//! The order of [`NodeCore::sign_shares`] is the rule: the ticket leaves memory first, then the
//! gate, then the record, and only after the record is durable is a share computed. Whatever goes
//! wrong on the way, the ticket is gone.

use std::{collections::BTreeMap, sync::Arc};

use quorate_intent::{
    Decoded, ItemTweak, KeyFacts, SigningItem, check_destinations, check_evacuation, decode_all,
};
use quorate_model::{
    CommandId, DerivationPath, Digest, Epoch, KeyId, KeyName, KeyRecord, PartyIndex, Reason,
    Refusal, Scheme, Signature, TicketId,
    audit::{Entry, ItemRecord, Judgment, SharePurpose, ShareReleased},
    certificate::CommitCertificate,
    command::{CommandBody, Sign},
    evacuation::{Destination, Evacuate},
    identity::sign_digest,
    node_api::{NodeReply, ShareBatch},
    share::{
        MAX_SHARE_BATCH, MAX_TICKETS_PER_CALL, SetOfSigners, ShareItem, ShareRequest,
        ShareStatement, Ticket, TicketBatch, share_batch_digest, signed_message_hash,
    },
};
use quorate_protocol::{
    derivation::Child,
    frost::{self, NoncePair, ShareBytes, SigningKeyShare, SigningSet, Tweak, generate_batch},
};

use super::{
    Context, Fatal, NodeCore, Outcome, Pending, State, Subject,
    binding::{check_binding, check_id, reused},
    destroying::check_not_destroyed,
    gate::Admitted,
    ledger::{self, KeyRow},
    loaded::{LoadedKey, epoch_changed, not_active, unknown},
    lock,
    standing::{Use, check_use},
};
use crate::{disk::Disk, journal::Committed};

/// Makes the signature share of one message. There is one true way; the seam exists so that tests
/// can run a node that cheats.
pub trait MakeShares: Send + Sync {
    /// The share of `key` under nonces that are used up by the call.
    ///
    /// # Errors
    ///
    /// When the signing set is no set that can be signed under.
    fn share(
        &self,
        key: &SigningKeyShare,
        nonces: NoncePair,
        set: &SigningSet,
        message: &[u8],
        tweak: Tweak,
    ) -> Result<ShareBytes, frost::SignError>;
}

/// Makes shares as RFC 9591 says.
#[derive(Clone, Copy, Debug, Default)]
pub struct TrueShares;

impl MakeShares for TrueShares {
    fn share(
        &self,
        key: &SigningKeyShare,
        nonces: NoncePair,
        set: &SigningSet,
        message: &[u8],
        tweak: Tweak,
    ) -> Result<ShareBytes, frost::SignError> {
        frost::sign_share(key, nonces, set, message, tweak)
    }
}

/// One message with everything that its share needs, the nonces by value.
pub(super) struct Task {
    pub(super) nonces: NoncePair,
    pub(super) set: SigningSet,
    pub(super) set_digest: Digest,
    pub(super) message: Vec<u8>,
    pub(super) message_digest: Digest,
    /// The child that signs; none where the key itself does. Its share is made when it is used.
    pub(super) child: Option<Child>,
    pub(super) tweak: Tweak,
}

/// One request that passed the gate.
struct Permitted {
    key: Arc<LoadedKey>,
    id: CommandId,
    command: Digest,
    /// The roster that it was judged under.
    roster: Digest,
    purpose: Use,
    tasks: Vec<Task>,
    entry: Entry,
}

impl<D: Disk + 'static> NodeCore<D> {
    /// Makes nonce pairs for later and hands out their commitments (P23).
    pub(super) fn make_tickets(
        &self,
        context: &mut Context<'_>,
        scheme: Scheme,
        count: u32,
    ) -> Result<NodeReply, Refusal> {
        if !(1..=MAX_TICKETS_PER_CALL).contains(&count) {
            return Err(Refusal::new(
                Reason::RequestInvalid,
                format!("{count} tickets were asked for, expected 1 to {MAX_TICKETS_PER_CALL}"),
            ));
        }
        let made = generate_batch(scheme, count as usize, &self.hedge, context.rng)
            .map_err(|error| Refusal::new(Reason::SchemeMismatch, error.to_string()))?;
        let mut tickets = Vec::with_capacity(made.len());
        let mut pools = lock(&self.tickets);
        for (nonces, commitments) in made {
            let mut id = [0; 16];
            context.rng.fill_bytes(&mut id);
            let id = TicketId(id);
            pools.keep(
                context.caller,
                scheme,
                id,
                nonces,
                context.reading.monotonic_ms,
            );
            tickets.push(Ticket {
                id,
                commitments: commitments.to_received(),
            });
        }
        drop(pools);
        let mut batch = TicketBatch {
            node: self.me.clone(),
            coordinator: context.caller.clone(),
            scheme,
            boot: self.boot,
            tickets,
            signature: Signature([0; 64]),
        };
        batch.signature = sign_digest(&self.identity, &batch.digest());
        Ok(NodeReply::Tickets(batch))
    }

    /// Judges a batch of requests, records what is permitted in one piece, and answers with the
    /// shares once the records are durable.
    pub(super) fn sign_shares(
        self: &Arc<Self>,
        context: &mut Context<'_>,
        requests: Vec<ShareRequest>,
    ) -> Result<Outcome, Fatal> {
        if requests.is_empty() || requests.len() > MAX_SHARE_BATCH {
            return Ok(Outcome::Ready(Err(Refusal::new(
                Reason::TooLarge,
                format!(
                    "{} requests in one call, expected 1 to {MAX_SHARE_BATCH}",
                    requests.len()
                ),
            ))));
        }
        let mut judged = Vec::with_capacity(requests.len());
        for request in requests {
            let mut subject = Subject {
                command: Some(request.command.digest()),
                key: Some(request.key.clone()),
                epoch: Some(request.epoch),
                ..Subject::default()
            };
            let permitted = self.permit(context, &request, &mut subject)?;
            judged.push((permitted, subject));
        }

        let mut state = lock(&self.state);
        let mut entries = Vec::new();
        let mut outcomes = Vec::with_capacity(judged.len());
        let mut bound = BTreeMap::new();
        for (permitted, subject) in judged {
            // Ids are checked again in one piece with the records that bind them: two requests
            // may have come for one id at the same moment.
            let permitted = match permitted {
                Ok(permitted) => self
                    .check_bound(&state, &mut bound, &permitted)?
                    .map(|()| permitted),
                Err(refusal) => Err(refusal),
            };
            match permitted {
                Ok(Permitted {
                    key,
                    command,
                    tasks,
                    entry,
                    ..
                }) => {
                    outcomes.push(Ok((entries.len(), key, command, tasks)));
                    entries.push(entry);
                }
                Err(refusal) if refusal.reason == Reason::CommandRejected => {
                    // Final only once it is durable: the answer waits for it.
                    if is_fresh_rejection(&state, &subject, &refusal)?
                        || state.refusals.take(context.reading.monotonic_ms)
                    {
                        entries.push(self.refused_entry(subject, &refusal));
                        outcomes.push(Err(refusal));
                    } else {
                        outcomes.push(Err(self.recorded_rejection(refusal)));
                    }
                }
                Err(refusal) => {
                    let _appended = self.refuse(&mut state, context.reading, subject, &refusal)?;
                    outcomes.push(Err(refusal));
                }
            }
        }
        if entries.is_empty() {
            let outcomes = outcomes
                .into_iter()
                .filter_map(Result::err)
                .map(Err)
                .collect();
            return Ok(Outcome::Ready(Ok(self.sign_batch(outcomes))));
        }
        let time = state.clock.elapsed(context.reading);
        let appended = self.record(&mut state, time, entries)?;
        drop(state);

        let core = Arc::clone(self);
        Ok(Pending::answer(appended, move |committed| {
            let outcomes = outcomes
                .into_iter()
                .map(|outcome| {
                    outcome.and_then(|(at, key, command, tasks)| {
                        core.release(committed, at, &key, command, tasks)
                    })
                })
                .collect();
            Ok(core.sign_batch(outcomes))
        }))
    }

    /// Everything that is checked of one request before it is recorded.
    fn permit(
        &self,
        context: &mut Context<'_>,
        request: &ShareRequest,
        subject: &mut Subject,
    ) -> Result<Result<Permitted, Refusal>, Fatal> {
        let key = match self.load(&request.key)? {
            Ok(key) => key,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let nonces = self.take_tickets(context, &key, &request.items);
        let mut state = lock(&self.state);
        let now = match self.trusted_time(&mut state, context)? {
            Ok(now) => now,
            Err(refusal) => return Ok(Err(refusal)),
        };
        drop(state);
        let admitted = match self.admit(&request.command, now) {
            Ok(admitted) => admitted,
            Err(refusal) => return Ok(Err(refusal)),
        };
        subject.command_id = Some(admitted.command().id);
        subject.endorsements = Some(admitted.endorsements());
        let state = lock(&self.state);
        let judged = match check_id(&state, &admitted)? {
            Ok(()) => {
                let purpose = Use::of(&admitted.command().body);
                check_use(&state, &request.key, purpose)?
            }
            Err(refusal) => Err(refusal),
        };
        drop(state);
        if let Err(refusal) = judged {
            return Ok(Err(refusal));
        }
        Ok(match self.pinned_for(&admitted)? {
            Ok(pinned) => nonces.and_then(|nonces| {
                self.permit_shares(&key, (&admitted, pinned.as_deref()), request, nonces)
            }),
            Err(refusal) => Err(refusal),
        })
    }

    /// Takes this node's ticket of every set out of memory, whatever else is wrong (P24).
    pub(super) fn take_tickets(
        &self,
        context: &Context<'_>,
        key: &LoadedKey,
        items: &[SetOfSigners],
    ) -> Result<Vec<NoncePair>, Refusal> {
        let mut pools = lock(&self.tickets);
        let now_ms = context.reading.monotonic_ms;
        let taken: Vec<Option<NoncePair>> = items
            .iter()
            .map(|set| {
                let entry = set.entry(key.me)?;
                pools.take(
                    context.caller,
                    key.record.scheme.proven_by(),
                    &entry.ticket,
                    now_ms,
                )
            })
            .collect();
        drop(pools);
        taken
            .into_iter()
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| {
                Refusal::new(
                    Reason::TicketUnknown,
                    format!("node {} does not hold a ticket for every message", self.me),
                )
                .with("node", &self.me)
            })
    }

    fn permit_shares(
        &self,
        key: &Arc<LoadedKey>,
        (admitted, pinned): (&Admitted, Option<&[Destination]>),
        request: &ShareRequest,
        nonces: Vec<NoncePair>,
    ) -> Result<Permitted, Refusal> {
        let record = &key.record;
        if !record.scheme.is_frost() {
            return Err(Refusal::new(
                Reason::SchemeMismatch,
                format!("key \"{}\" signs in rounds, not with tickets", record.name),
            ));
        }
        let asked = (&request.key, request.epoch);
        let items = self.key_and_messages(key, admitted, asked, pinned)?;
        let exactly = usize::from(record.threshold);
        let tasks = self.tasks(key, items, &request.items, nonces, exactly)?;
        let purpose = Use::of(&admitted.command().body);
        let entry = Entry::ShareReleased(ShareReleased {
            judgment: self.judgment(admitted, purpose.rule()),
            expires: admitted.command().expires,
            key: record.name.clone(),
            epoch: record.epoch,
            purpose: SharePurpose::Sign,
            items: tasks.iter().map(item_record).collect(),
        });
        Ok(Permitted {
            key: Arc::clone(key),
            id: admitted.command().id,
            command: admitted.digest(),
            roster: admitted.roster(),
            purpose,
            tasks,
            entry,
        })
    }

    /// Checks that the command is for the key that this node holds under its name (I4).
    fn check_key_id(&self, sign: &Sign, record: &KeyRecord) -> Result<(), Refusal> {
        #[cfg(debug_assertions)]
        if self
            .ignores_key_ids
            .load(std::sync::atomic::Ordering::Relaxed)
        {
            return Ok(());
        }
        sign.check_key(record)
    }

    /// Checks that a command asks this key in this epoch to sign, and decodes what (P7).
    pub(super) fn key_and_messages(
        &self,
        key: &LoadedKey,
        admitted: &Admitted,
        (name, epoch): (&KeyName, Epoch),
        pinned: Option<&[Destination]>,
    ) -> Result<Vec<SigningItem>, Refusal> {
        let body = &admitted.command().body;
        let sign = body.signs().ok_or_else(|| {
            Refusal::new(Reason::RequestInvalid, "the command does not ask to sign")
        })?;
        let record = &key.record;
        if sign.key != *name || record.name != *name {
            return Err(Refusal::new(
                Reason::RequestInvalid,
                format!("the command is for key \"{}\", not \"{name}\"", sign.key),
            ));
        }
        self.check_key_id(sign, record)?;
        if !key.active {
            return Err(not_active(&record.name, "not every share has been proven"));
        }
        if epoch != record.epoch {
            return Err(epoch_changed(&record.name, record.epoch));
        }
        let decoded = decoded(record, sign, pinned)?;
        Ok(decoded.into_iter().flat_map(|one| one.items).collect())
    }

    /// Where the key of an evacuation may go; none for a client's signature, which may go anywhere. Read
    /// anew each time, because it is seldom asked.
    pub(super) fn pinned_for(
        &self,
        admitted: &Admitted,
    ) -> Result<Result<Option<Vec<Destination>>, Refusal>, Fatal> {
        let CommandBody::Evacuate(Evacuate { sign, .. }) = &admitted.command().body else {
            return Ok(Ok(None));
        };
        let row = ledger::key(&*lock(&self.state).index, &sign.key)?;
        Ok(row
            .as_ref()
            .ok_or_else(|| unknown(&sign.key))
            .and_then(|row| destinations(row, sign.key_id))
            .map(Some))
    }

    /// Pairs messages with their sets and nonces; every set is checked whole (P5, P24).
    pub(super) fn tasks(
        &self,
        key: &LoadedKey,
        items: Vec<SigningItem>,
        sets: &[SetOfSigners],
        nonces: Vec<NoncePair>,
        signers: usize,
    ) -> Result<Vec<Task>, Refusal> {
        let invalid = |message: String| Refusal::new(Reason::SigningSetInvalid, message);
        if items.len() != sets.len() || items.len() != nonces.len() {
            return Err(invalid(format!(
                "{} signing sets for {} messages",
                sets.len(),
                items.len()
            )));
        }
        let mut tasks = Vec::with_capacity(items.len());
        for ((item, set), nonces) in items.into_iter().zip(sets).zip(nonces) {
            if set.entries.len() != signers || !set.is_ordered() {
                return Err(invalid(format!(
                    "a signing set has {} signers, expected exactly {signers} in order",
                    set.entries.len()
                )));
            }
            for signer in set.signers() {
                self.check_signer(key, signer)?;
            }
            let checked = checked_set(key.record.scheme.proven_by(), set)?;
            let own = set.entry(key.me).is_some_and(|entry| {
                let made = nonces.commitments();
                entry.commitments.hiding == made.hiding()
                    && entry.commitments.binding == made.binding()
            });
            if !own {
                return Err(invalid(
                    "a signing set does not hold this node's ticket".to_owned(),
                ));
            }
            tasks.push(Task {
                nonces,
                set: checked,
                set_digest: set.digest(),
                message_digest: signed_message_hash(
                    &item.message,
                    &item.path,
                    item.tweak == ItemTweak::TaprootKeyPath,
                ),
                child: child_of(key, &item.path)?,
                message: item.message,
                tweak: match item.tweak {
                    ItemTweak::None => Tweak::None,
                    ItemTweak::TaprootKeyPath => Tweak::TaprootKeyPath,
                },
            });
        }
        Ok(tasks)
    }

    fn check_signer(&self, key: &LoadedKey, signer: PartyIndex) -> Result<(), Refusal> {
        let known = key
            .record
            .node_at(signer)
            .is_some_and(|node| self.pinned().roster().node(node).is_some());
        if known {
            return Ok(());
        }
        Err(Refusal::new(
            Reason::SigningSetInvalid,
            format!("signer {signer} holds no share of the key or is not in the roster"),
        ))
    }

    /// Computes the shares of one recorded request.
    pub(super) fn release(
        &self,
        committed: &Committed,
        at: usize,
        key: &LoadedKey,
        command: Digest,
        tasks: Vec<Task>,
    ) -> Result<ShareStatement, Refusal> {
        let bug = || Refusal::new(Reason::Invariant, "a share has no record");
        let (sequence, record) = committed.positions().get(at).copied().ok_or_else(bug)?;
        let mut items = Vec::with_capacity(tasks.len());
        for task in tasks {
            let Task {
                nonces,
                set,
                set_digest,
                message,
                message_digest,
                child,
                tweak,
            } = task;
            let no_share = || Refusal::new(Reason::Invariant, "a share has no share of a child");
            let share = match &child {
                Some(child) => Some(key.share.child(child).ok_or_else(no_share)?),
                None => None,
            };
            let share = self
                .shares
                .share(
                    share.as_ref().unwrap_or(&key.share),
                    nonces,
                    &set,
                    &message,
                    tweak,
                )
                .map_err(|error| Refusal::new(Reason::SigningSetInvalid, error.to_string()))?;
            items.push(ShareItem {
                signing_set: set_digest,
                message: message_digest,
                share,
            });
        }
        Ok(ShareStatement {
            node: self.me.clone(),
            sequence,
            record,
            command,
            key: key.record.name.clone(),
            epoch: key.record.epoch,
            items,
        })
    }

    /// Signs all statements of a batch at once.
    pub(super) fn sign_batch(&self, outcomes: Vec<Result<ShareStatement, Refusal>>) -> NodeReply {
        let mut batch = ShareBatch {
            outcomes,
            signature: Signature([0; 64]),
        };
        batch.signature = sign_digest(&self.identity, &share_batch_digest(&batch.batch()));
        NodeReply::Shares(batch)
    }

    /// The part of an audit record that says on whose word a command was judged.
    pub(super) fn judgment(&self, admitted: &Admitted, rule: &str) -> Judgment {
        Judgment {
            command: admitted.digest(),
            command_id: admitted.command().id,
            endorsements: admitted.endorsements(),
            policy: self.policy(),
            rule: rule.to_owned(),
        }
    }

    /// Judges again, in one piece with the record, what may have changed since.
    fn check_bound(
        &self,
        state: &State,
        bound: &mut BTreeMap<CommandId, Digest>,
        permitted: &Permitted,
    ) -> Result<Result<(), Refusal>, Fatal> {
        let Permitted {
            id,
            command,
            key,
            roster,
            purpose,
            ..
        } = permitted;
        if let Err(refusal) = self.check_roster(*roster) {
            return Ok(Err(refusal));
        }
        if let Err(refusal) = check_binding(state, *id, *command)? {
            return Ok(Err(refusal));
        }
        if let Err(refusal) = check_use(state, &key.record.name, *purpose)? {
            return Ok(Err(refusal));
        }
        if let Err(refusal) = self.check_in_force(state, key)? {
            return Ok(Err(refusal));
        }
        let first = *bound.entry(*id).or_insert(*command);
        Ok(if first == *command {
            Ok(())
        } else {
            Err(reused(*id))
        })
    }

    /// Judges a command by what the node holds, without carrying it out. Answers with the row of
    /// the key that it is about, which [`Self::judge_key`] judges without the state being locked.
    pub(super) fn judge_command(
        state: &State,
        admitted: &Admitted,
    ) -> Result<Result<Option<KeyRow>, Refusal>, Fatal> {
        if let Err(refusal) = check_id(state, admitted)? {
            return Ok(Err(refusal));
        }
        let body = &admitted.command().body;
        if let Some(name) = body.key()
            && let Err(refusal) = check_not_destroyed(state, name)?
        {
            return Ok(Err(refusal));
        }
        match body {
            CommandBody::CreateKey(create) => {
                let key = &create.key;
                if let Err(error) = check_destinations(create) {
                    return Ok(Err(Refusal::from(&error)));
                }
                let row = ledger::key(&*state.index, key)?;
                Ok(match row.as_ref().and_then(KeyRow::origin) {
                    Some(_) => Err(super::ceremony::exists(key)),
                    None => Ok(None),
                })
            }
            CommandBody::Sign(sign) | CommandBody::Evacuate(Evacuate { sign, .. }) => {
                let row = ledger::key(&*state.index, &sign.key)?;
                let Some(row) = row else {
                    return Ok(Err(unknown(&sign.key)));
                };
                if row.active().is_none() {
                    return Ok(Err(not_active(&sign.key, "its creation is not finished")));
                }
                Ok(check_use(state, &sign.key, Use::of(body))?.map(|()| Some(row)))
            }
            CommandBody::SetKeyState(set) => {
                let row = ledger::standing(&*state.index, &set.key)?;
                let judged = row.standing.judge(set, &admitted.digest());
                let row = ledger::key(&*state.index, &set.key)?;
                Ok(match row.filter(|row| row.origin().is_some()) {
                    Some(row) => judged.map(|_| Some(row)),
                    None => Err(unknown(&set.key)),
                })
            }
            CommandBody::ReshareKey(reshare) => Self::judge_resharing(state, reshare),
            // What else is asked of it depends on the step, and is judged when it is taken.
            CommandBody::DestroyKey(destroy) => Ok(Ok(ledger::key(&*state.index, &destroy.key)?)),
            // Whether a roster follows from the one in force was judged with its endorsements; a
            // readmission is judged by the restored node, when it is brought what others know.
            CommandBody::ChangeRoster(_) | CommandBody::ReadmitNode(_) => Ok(Ok(None)),
            _ => Ok(Err(Refusal::new(
                Reason::RequestInvalid,
                "this node does not know the command: upgrade it",
            ))),
        }
    }

    /// Judges whether the key of a row is the one that a command is for, and what it asks to have
    /// signed.
    pub(super) fn judge_key(
        &self,
        admitted: &Admitted,
        row: &KeyRow,
    ) -> Result<Result<(), Refusal>, Fatal> {
        let Some(current) = row.current() else {
            return Ok(Ok(()));
        };
        let record = match self.record_of(row, current) {
            Ok(record) => record,
            Err(refusal) => return Ok(Err(refusal)),
        };
        Ok(match &admitted.command().body {
            CommandBody::Sign(sign) => self.judge_payloads(sign, &record, None),
            CommandBody::Evacuate(Evacuate { sign, .. }) => destinations(row, sign.key_id)
                .and_then(|pinned| self.judge_payloads(sign, &record, Some(&pinned))),
            CommandBody::SetKeyState(set) => set.check_key(&record),
            CommandBody::ReshareKey(reshare) => match reshare.check_key(&record) {
                Ok(()) if row.active().is_none() => {
                    Err(not_active(&reshare.key, "its creation is not finished"))
                }
                Ok(()) => self.check_goes(reshare, &record)?,
                Err(refusal) => Err(refusal),
            },
            CommandBody::DestroyKey(destroy) => destroy.check_key(&record),
            CommandBody::CreateKey(_) | _ => Ok(()),
        })
    }

    fn judge_payloads(
        &self,
        sign: &Sign,
        record: &KeyRecord,
        pinned: Option<&[Destination]>,
    ) -> Result<(), Refusal> {
        self.check_key_id(sign, record)?;
        decoded(record, sign, pinned).map(drop)
    }
}

/// Whether a refusal is an admin's rejection that no record holds yet.
fn is_fresh_rejection(state: &State, subject: &Subject, refusal: &Refusal) -> Result<bool, Fatal> {
    let Some(id) = subject
        .command_id
        .filter(|_| refusal.reason == Reason::CommandRejected)
    else {
        return Ok(false);
    };
    Ok(!ledger::command(&*state.index, id)?.is_some_and(|row| row.rejected))
}

/// What the payloads of a command mean, decoded here and now (P7). Those of an evacuation go to the
/// pinned destinations alone (P33).
fn decoded(
    record: &KeyRecord,
    sign: &Sign,
    pinned: Option<&[Destination]>,
) -> Result<Vec<Decoded>, Refusal> {
    let facts = KeyFacts::of(record);
    let decoded = decode_all(&sign.payloads, &facts).map_err(|error| Refusal::from(&error))?;
    if let Some(pinned) = pinned {
        check_evacuation(&sign.payloads, &decoded, &facts, pinned)
            .map_err(|error| Refusal::from(&error))?;
    }
    Ok(decoded)
}

/// Where a key may be evacuated to, as the command in the certificate of its birth says. The
/// certificate was verified before it was kept, and its command is the one whose digest is the id.
fn destinations(row: &KeyRow, key_id: KeyId) -> Result<Vec<Destination>, Refusal> {
    let Some(birth) = row.origin() else {
        return Ok(Vec::new());
    };
    let birth = CommitCertificate::from_bytes(birth)?;
    if KeyId::of(&birth.command.digest()) != key_id {
        return Err(Refusal::new(
            Reason::KeyIdMismatch,
            "the destinations are those of another key of the name",
        ));
    }
    let command = quorate_proto::command::decode(&birth.command.bytes)?;
    let CommandBody::CreateKey(create) = command.body else {
        return Err(Refusal::new(
            Reason::Invariant,
            "a key was born by a command that creates none",
        ));
    };
    Ok(create.life.evacuation)
}

/// The child of the key that signs (P26).
pub(super) fn child_of(key: &LoadedKey, path: &DerivationPath) -> Result<Option<Child>, Refusal> {
    if path.is_root() {
        return Ok(None);
    }
    let record = &key.record;
    Child::derive(record.scheme, &record.group_key, &record.chain_code, path)
        .map(Some)
        .map_err(|error| Refusal::new(Reason::PayloadRefused, error.to_string()))
}

pub(super) fn item_record(task: &Task) -> ItemRecord {
    ItemRecord {
        message: task.message_digest,
        signing_set: task.set_digest,
    }
}

fn checked_set(scheme: Scheme, set: &SetOfSigners) -> Result<SigningSet, Refusal> {
    SigningSet::from_received(scheme, set).map_err(|error| {
        Refusal::new(
            Reason::SigningSetInvalid,
            format!("a signing set is invalid: {error}"),
        )
    })
}
