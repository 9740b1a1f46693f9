//! A node that was restored from a backup, and the others that tell it what it has forgotten (P35).
//!
//! It has forgotten what it promised since the backup was made: which epochs it prepared (P19),
//! which are in use (P30), and what admins have said of keys. So it does nothing that rests on a
//! promise before every other node of the roster has said what it knows, signed over a nonce that
//! this process drew.
//!
//! What others say is believed where it holds the node back, and no further: an epoch that somebody
//! says is in use keeps lower ones from signing, numbers that somebody knows are not prepared here,
//! and commands of admins are checked as always. Nothing is erased on anybody's word: one liar must
//! not take the share of an honest node.

mod claims;
mod ordered;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
};

use quorate_model::{
    Digest, Epoch, KeyName, NodeId, Nonce32, Reason, Refusal, Signature, UnixMillis,
    audit::Entry,
    backup::{BackupId, RestoreId},
    command::{Command, CommandBody, SignedCommand},
    identity::sign_digest,
    node_api::{NodeReply, NodeRequest, NodeStatus},
    quarantine::{HeadsAttestation, KeyHead, MAX_HEADS, Quarantine, Readmission, TakenHead},
    standing::StateChange,
};
use rand_core::CryptoRngCore;

use self::claims::{Claim, stated};
use super::{
    Context, Fatal, NodeCore, Outcome, Pending, State, Subject,
    activation::refused,
    binding::check_binding,
    gate::{self, Admitted},
    ledger::{self, KeyRow},
    loaded::epoch_changed,
    lock,
};
use crate::disk::Disk;

/// How long a nonce is kept while nothing comes under it, in milliseconds.
const NONCE_MS: u64 = 60_000;

/// The most keys that one of the others may tell of.
const MAX_KEYS: usize = 1 << 18;

/// The most restorations of one node that are remembered.
const MAX_RESTORES: usize = 256;

/// The most bytes of commands in one page; a key that has more goes alone.
const MAX_PAGE_BYTES: usize = 1 << 20;

/// How many heads one record holds.
const HEADS_IN_RECORD: usize = 1_000;

/// Numbers that are left out above those that others know: one command of a resharing takes so many,
/// and this node may have prepared one of which nobody else has heard.
const MARGIN: u32 = 1_000;

/// How far above the epoch in use a number may lie: a liar uses up no more of them.
const MAX_AHEAD: u32 = 1 << 20;

/// A quarantine under way.
pub(super) struct Quarantined {
    backup: BackupId,
    restore: RestoreId,
    /// The nonce, and when it was last of use.
    nonce: Option<(Nonce32, u64)>,
    told: BTreeMap<NodeId, Told>,
    /// What others act by that counts only by the word of several.
    claims: BTreeMap<Digest, Claim>,
    /// The record that ends it, while that is being written.
    ending: Option<u64>,
}

/// What one other node has said so far.
#[derive(Default)]
struct Told {
    resumptions: usize,
    stops: usize,
    last: Option<KeyName>,
    complete: bool,
    heads: BTreeMap<KeyName, Head>,
}

#[derive(Clone, Copy, Default)]
struct Head {
    epoch: Epoch,
    next_epoch: Epoch,
    /// How many say that the key is destroyed.
    destroyed: usize,
}

impl Head {
    fn max(self, other: Self) -> Self {
        Self {
            epoch: self.epoch.max(other.epoch),
            next_epoch: self.next_epoch.max(other.next_epoch),
            destroyed: self.destroyed.saturating_add(other.destroyed),
        }
    }
}

impl Quarantined {
    /// The quarantine that the journal says this node is in.
    pub(super) fn of(state: &State) -> Result<Option<Self>, Fatal> {
        let row = ledger::quarantine(&*state.index)?;
        Ok(row.map(|row| Self {
            backup: row.backup,
            restore: row.restore,
            nonce: None,
            told: BTreeMap::new(),
            claims: BTreeMap::new(),
            ending: None,
        }))
    }

    /// What the status shows. A nonce that is of no use any more is replaced, and what came under
    /// it is forgotten.
    pub(super) fn shown(&mut self, now_ms: u64, rng: &mut dyn CryptoRngCore) -> Quarantine {
        let kept = self
            .nonce
            .filter(|(_, used_ms)| now_ms.saturating_sub(*used_ms) <= NONCE_MS);
        let nonce = if let Some((nonce, _)) = kept {
            nonce
        } else {
            let mut nonce = [0; 32];
            rng.fill_bytes(&mut nonce);
            self.nonce = Some((Nonce32(nonce), now_ms));
            self.told.clear();
            self.claims.clear();
            Nonce32(nonce)
        };
        Quarantine {
            backup: self.backup,
            restore: self.restore,
            nonce,
        }
    }

    fn missing(&self, others: &BTreeSet<NodeId>) -> Vec<NodeId> {
        let complete = |node: &NodeId| self.told.get(node).is_some_and(|told| told.complete);
        others
            .iter()
            .filter(|node| !complete(node))
            .cloned()
            .collect()
    }

    /// Checks a page against what its node has said so far; all that needs no state was checked.
    /// False: the node has told all, and the page says nothing new.
    fn check(&self, page: &HeadsAttestation) -> Result<bool, Refusal> {
        let shown = Some(page.quarantine.nonce);
        if page.quarantine.backup != self.backup
            || page.quarantine.restore != self.restore
            || self.nonce.map(|(nonce, _)| nonce) != shown
        {
            return Err(does_not_hold(page, "it is of another restoration or nonce"));
        }
        let told = self.told.get(&page.node);
        if told.is_some_and(|told| told.complete) {
            return Ok(false);
        }
        // Whoever lost its way begins again, and a page that comes again takes nothing back.
        if page.after.as_ref() > told.and_then(|told| told.last.as_ref()) {
            return Err(does_not_hold(page, "its pages are out of order"));
        }
        let names = || page.heads.iter().map(|head| &head.key);
        let rises = names().zip(names().skip(1)).all(|(one, next)| one < next)
            && names()
                .next()
                .is_none_or(|first| Some(first) > page.after.as_ref());
        if !rises || (page.heads.is_empty() && !page.is_last) {
            return Err(does_not_hold(page, "its keys are out of order"));
        }
        let keys = told.map_or(0, |told| told.heads.len());
        if keys.saturating_add(page.heads.len()) > MAX_KEYS {
            return Err(does_not_hold(page, "it tells of too many keys"));
        }
        Ok(true)
    }

    /// Takes one page, once what it says of states was taken: with its last page a node has told all.
    fn take(&mut self, page: &HeadsAttestation, now_ms: u64) -> Result<(), Refusal> {
        if !self.check(page)? {
            return Ok(());
        }
        let told = self.told.entry(page.node.clone()).or_default();
        for head in &page.heads {
            let said = Head {
                epoch: head.epoch,
                next_epoch: head.next_epoch,
                destroyed: usize::from(head.destroyed),
            };
            let known = told.heads.entry(head.key.clone()).or_insert(said);
            *known = Head {
                destroyed: known.destroyed.max(said.destroyed),
                ..known.max(said)
            };
        }
        let last = page.heads.last().map(|head| head.key.clone());
        told.last = told.last.take().max(last);
        told.complete = page.is_last;
        if let Some((_, used_ms)) = &mut self.nonce {
            *used_ms = now_ms;
        }
        Ok(())
    }

    /// What all others say together.
    fn heads(&self, others: &BTreeSet<NodeId>) -> BTreeMap<KeyName, Head> {
        let mut heads: BTreeMap<KeyName, Head> = BTreeMap::new();
        let told = self.told.iter().filter(|(node, _)| others.contains(*node));
        for (key, said) in told.flat_map(|(_, told)| &told.heads) {
            let head = heads.entry(key.clone()).or_default();
            *head = head.max(*said);
        }
        heads
    }
}

/// How many nodes sign with a key, as this node knows it.
fn threshold_of(row: &KeyRow) -> Result<Option<usize>, Fatal> {
    let stated = stated(row)?;
    Ok(stated.map(|statement| usize::from(statement.threshold)))
}

fn does_not_hold(page: &HeadsAttestation, what: &str) -> Refusal {
    Refusal::new(
        Reason::ProtocolViolation,
        format!("the word of node {} does not count: {what}", page.node),
    )
    .with("node", &page.node)
}

/// That nobody's word is missing.
fn readmitted() -> NodeReply {
    let missing = Vec::new();
    NodeReply::Readmission(Readmission { missing })
}

/// Whether a request rests on no promise.
const fn is_harmless(request: &NodeRequest) -> bool {
    matches!(
        request,
        NodeRequest::Status { .. }
            | NodeRequest::ListKeys { .. }
            | NodeRequest::ReadAudit { .. }
            | NodeRequest::AttestTime { .. }
            | NodeRequest::ConfirmTime { .. }
            | NodeRequest::AttestHeads { .. }
            | NodeRequest::Readmit { .. }
            | NodeRequest::ChangeRoster { .. }
            | NodeRequest::ListRosters { .. }
    )
}

impl<D: Disk + 'static> NodeCore<D> {
    /// Whether this node waits to be readmitted.
    pub fn is_quarantined(&self) -> bool {
        lock(&self.state).quarantine.is_some()
    }

    /// Refuses whatever rests on what this node may have forgotten.
    pub(super) fn check_quarantine(&self, request: &NodeRequest) -> Result<(), Refusal> {
        if is_harmless(request) || !self.is_quarantined() {
            return Ok(());
        }
        Err(Refusal::new(
            Reason::NodeQuarantined,
            format!(
                "node {} was restored from a backup and is in quarantine: it is in service again \
                 when all other nodes of the roster are connected and have told it what it missed",
                self.me
            ),
        )
        .with("node", &self.me))
    }

    /// Refuses to use an epoch of a key below one that others say is in use.
    pub(super) fn check_superseded(
        &self,
        name: &KeyName,
        epoch: Epoch,
    ) -> Result<Result<(), Refusal>, Fatal> {
        let row = ledger::superseded(&*lock(&self.state).index, name)?;
        Ok(match row {
            Some(row) if row.destroyed => Err(Refusal::new(
                Reason::KeyDestroyed,
                format!("key \"{name}\" was destroyed, as other nodes say"),
            )
            .with("key", name)),
            Some(row) if row.epoch > epoch => Err(epoch_changed(name, row.epoch)),
            _ => Ok(()),
        })
    }

    /// Says what this node knows of the keys, to one that was restored. It helps one restoration of
    /// a backup: two machines with one node's past must not both come back.
    pub(super) fn attest_heads(
        self: &Arc<Self>,
        context: &Context<'_>,
        status: &NodeStatus,
        after: Option<KeyName>,
    ) -> Result<Outcome, Fatal> {
        let quarantine = match self.restored_peer(status) {
            Ok(quarantine) => quarantine,
            Err(refusal) => return Ok(refused(refusal)),
        };
        let about = status.node.clone();
        let mut state = lock(&self.state);
        match ledger::peer_restored(&*state.index, &about, quarantine.backup)? {
            Some(row) if row.restore != quarantine.restore => {
                drop(state);
                let refusal = Refusal::new(
                    Reason::BackupRestoredTwice,
                    format!(
                        "backup {} of node {about} was restored before, as {}: stop every copy but \
                         one; if that one is lost, restore a later backup, or reshare the node's \
                         keys to others",
                        quarantine.backup, row.restore
                    ),
                )
                .with("node", &about)
                .with("backup", quarantine.backup);
                self.refused(context, Subject::default(), refusal)
            }
            Some(row) if self.journal.durable().sequence() < row.record => {
                Ok(refused(Refusal::new(
                    Reason::Overloaded,
                    "the restoration is being written: ask again",
                )))
            }
            Some(_) => {
                drop(state);
                let page = self.heads_page(about, quarantine, after)?;
                Ok(Outcome::Ready(Ok(NodeReply::Heads(page))))
            }
            None => {
                if ledger::restores_of(&*state.index, &about, MAX_RESTORES)? >= MAX_RESTORES {
                    return Ok(refused(Refusal::new(
                        Reason::TooLarge,
                        format!("node {about} was restored {MAX_RESTORES} times: replace it"),
                    )));
                }
                let time = state.clock.elapsed(context.reading);
                let entry = Entry::PeerRestored {
                    node: about.clone(),
                    backup: quarantine.backup,
                    restore: quarantine.restore,
                };
                let appended = self.record(&mut state, time, vec![entry])?;
                drop(state);
                // Its journal goes on from its backup.
                lock(&self.seen).forget(&about);
                let core = Arc::clone(self);
                Ok(Pending::act(appended, move |_, _| {
                    let page = core.heads_page(about, quarantine, after)?;
                    Ok(Ok(NodeReply::Heads(page)))
                }))
            }
        }
    }

    /// Nobody but the restored node itself can say that it was restored.
    fn restored_peer(&self, status: &NodeStatus) -> Result<Quarantine, Refusal> {
        let pinned = self.pinned();
        let card = pinned
            .roster()
            .node(&status.node)
            .filter(|card| card.id != self.me)
            .ok_or_else(|| {
                Refusal::new(
                    Reason::NodeUnknown,
                    format!("node {} is no other node of the roster", status.node),
                )
            })?;
        let signed = card
            .identity_key
            .verify(&status.digest(), &status.signature);
        if signed.is_err() || status.roster != self.pinned().hash() {
            return Err(Refusal::new(
                Reason::ProtocolViolation,
                format!("the status of node {} does not hold", status.node),
            ));
        }
        status.quarantine.ok_or_else(|| {
            Refusal::new(
                Reason::RequestInvalid,
                format!("node {} is not in quarantine", status.node),
            )
        })
    }

    fn heads_page(
        &self,
        about: NodeId,
        quarantine: Quarantine,
        after: Option<KeyName>,
    ) -> Result<HeadsAttestation, Fatal> {
        let state = lock(&self.state);
        let rows = ledger::keys_after(&*state.index, after.as_ref(), MAX_HEADS)?;
        let mut is_last = rows.len() < MAX_HEADS;
        let mut heads = Vec::with_capacity(rows.len());
        let mut bytes = 0usize;
        for (key, row) in rows {
            let standing = ledger::standing(&*state.index, &key)?.standing;
            let commands = standing.marks().map(|mark| mark.command.stored_bytes());
            bytes = commands.fold(bytes, usize::saturating_add);
            if bytes > MAX_PAGE_BYTES && !heads.is_empty() {
                is_last = false;
                break;
            }
            let ended = ledger::destruction(&*state.index, &key)?;
            let active = row.active();
            heads.push(KeyHead {
                epoch: active.map_or(Epoch(0), |active| active.epoch),
                certificate: active.map(|active| active.hash),
                next_epoch: row.next_epoch(),
                standing,
                destroyed: ended.is_some_and(|row| row.tombstone.is_some()),
                key,
            });
        }
        let is_quarantined = state.quarantine.is_some();
        drop(state);
        let mut page = HeadsAttestation {
            node: self.me.clone(),
            about,
            quarantine,
            roster: self.pinned().hash(),
            is_quarantined,
            after,
            is_last,
            heads,
            signature: Signature([0; 64]),
        };
        page.signature = sign_digest(&self.identity, &page.digest());
        Ok(page)
    }

    /// Takes what others say. With the word of all of them the quarantine is over, or of all but those
    /// that the admin quorum leaves out.
    pub(super) fn readmit(
        self: &Arc<Self>,
        context: &mut Context<'_>,
        attestations: &[HeadsAttestation],
        command: Option<&SignedCommand>,
    ) -> Result<Outcome, Fatal> {
        let ordered = match command {
            Some(signed) => match self.check_readmission(context, signed)? {
                Ok(Some(ordered)) => Some(ordered),
                // It was carried out, and whoever asks again has lost the answer.
                Ok(None) => return Ok(Outcome::Ready(Ok(readmitted()))),
                Err((subject, refusal)) => return self.refused(context, subject, refusal),
            },
            None => None,
        };
        let mut others = self.other_nodes();
        if let Some(ordered) = &ordered {
            others.retain(|node| !ordered.without.contains(node));
        }
        let now_ms = context.reading.monotonic_ms;
        for page in attestations {
            if let Err(refusal) = self.check_page(page) {
                return Ok(refused(refusal));
            }
            let news = match &lock(&self.state).quarantine {
                Some(quarantine) => quarantine.check(page),
                None => return Ok(refused(self.not_quarantined())),
            };
            match news {
                Ok(true) => {}
                Ok(false) => continue,
                Err(refusal) => return Ok(refused(refusal)),
            }
            // First: a node has told all only when all of it was taken.
            if let Err(refusal) = self.take_standings(context, page)? {
                return Ok(refused(refusal));
            }
            let taken = match &mut lock(&self.state).quarantine {
                Some(quarantine) => quarantine.take(page, now_ms),
                None => return Ok(refused(self.not_quarantined())),
            };
            if let Err(refusal) = taken {
                return Ok(refused(refusal));
            }
        }
        self.take_claims(context, &others)?;
        let mut state = lock(&self.state);
        let Some(quarantine) = &state.quarantine else {
            return Ok(refused(self.not_quarantined()));
        };
        let missing = quarantine.missing(&others);
        if !missing.is_empty() {
            let readmission = Readmission { missing };
            return Ok(Outcome::Ready(Ok(NodeReply::Readmission(readmission))));
        }
        if let Some(record) = quarantine.ending {
            if self.journal.durable().sequence() >= record {
                // Whoever was to be told of it was not.
                self.end_quarantine(&mut state)?;
                return Ok(Outcome::Ready(Ok(readmitted())));
            }
            return Ok(refused(Refusal::new(
                Reason::Overloaded,
                "the end of the quarantine is being written: ask again",
            )));
        }
        let restore = quarantine.restore;
        // From its time on the node remembers: a time in doubt may be that of the backup.
        if let Err(refusal) = self.trusted_time(&mut state, context)? {
            return Ok(refused(refusal));
        }
        let Some(quarantine) = &state.quarantine else {
            return Ok(refused(self.not_quarantined()));
        };
        if let Some(ordered) = &ordered
            && let Err(refusal) = check_binding(&state, ordered.id, ordered.digest)?
        {
            return Ok(refused(refusal));
        }
        let mut entries = Vec::new();
        let taken = Self::taken(&state, quarantine, &others)?;
        for heads in taken.chunks(HEADS_IN_RECORD) {
            let heads = heads.to_vec();
            entries.push(Entry::HeadsTaken { heads });
        }
        entries.extend(ordered.map(|ordered| ordered.entry));
        entries.push(Entry::Readmitted {
            restore,
            witnesses: others.into_iter().collect(),
        });
        let time = state.clock.elapsed(context.reading);
        let appended = self.record(&mut state, time, entries)?;
        if let Some(quarantine) = &mut state.quarantine {
            quarantine.ending = Some(appended.last());
        }
        drop(state);
        let core = Arc::clone(self);
        Ok(Pending::act(appended, move |_, _| {
            core.end_quarantine(&mut lock(&core.state))?;
            Ok(Ok(readmitted()))
        }))
    }

    fn end_quarantine(&self, state: &mut State) -> Result<(), Fatal> {
        self.remember_from(state)?;
        state.quarantine = None;
        Ok(())
    }

    /// Takes note of the time before which this node may have forgotten what it did.
    pub(super) fn remember_from(&self, state: &State) -> Result<(), Fatal> {
        let returned = ledger::returned(&*state.index)?.unwrap_or(UnixMillis(0));
        self.remembers_from_ms.store(returned.0, Ordering::Relaxed);
        Ok(())
    }

    /// What is checked of a command that needs no state, the time, and whether this node remembers
    /// what became of it.
    pub(super) fn admit(
        &self,
        signed: &SignedCommand,
        now: UnixMillis,
    ) -> Result<Admitted, Refusal> {
        let admitted = gate::admit(&self.pinned(), signed, now)?;
        self.check_remembered(admitted.command())?;
        Ok(admitted)
    }

    /// As [`Self::admit`], for a command that is only asked about, by whoever wants to know.
    pub(super) fn admit_question(
        &self,
        signed: &SignedCommand,
        now: UnixMillis,
    ) -> Result<Admitted, Refusal> {
        let admitted = gate::admit_question(&self.pinned(), signed, now)?;
        self.check_remembered(admitted.command())?;
        Ok(admitted)
    }

    /// A node that was restored has forgotten which commands it carried out, and which were rejected
    /// (P8). What was made before it was readmitted, and does more than stop something, is not carried
    /// out again.
    fn check_remembered(&self, command: &Command) -> Result<(), Refusal> {
        let from = UnixMillis(self.remembers_from_ms.load(Ordering::Relaxed));
        let only_stops = match &command.body {
            CommandBody::SetKeyState(set) => set.change != StateChange::Resume,
            CommandBody::DestroyKey(destroy) => destroy.step.needs_one(),
            // A readmission is for one restoration, which it names.
            CommandBody::ChangeRoster(_) | CommandBody::ReadmitNode(_) => true,
            CommandBody::CreateKey(_) | CommandBody::Sign(_) | CommandBody::ReshareKey(_) | _ => {
                false
            }
        };
        if command.created >= from || only_stops {
            return Ok(());
        }
        Err(Refusal::new(
            Reason::CommandTimeInvalid,
            format!(
                "node {} was restored from a backup since the command was made, and has forgotten what \
                 became of it: make the command again with a new id",
                self.me
            ),
        )
        .with("node", &self.me))
    }

    fn other_nodes(&self) -> BTreeSet<NodeId> {
        let pinned = self.pinned();
        let nodes = pinned.roster().nodes.iter().map(|card| &card.id);
        nodes.filter(|node| **node != self.me).cloned().collect()
    }

    fn not_quarantined(&self) -> Refusal {
        let message = format!("node {} is not in quarantine", self.me);
        Refusal::new(Reason::RequestInvalid, message)
    }

    /// Everything about a page that needs no state.
    fn check_page(&self, page: &HeadsAttestation) -> Result<(), Refusal> {
        let pinned = self.pinned();
        let roster = pinned.roster();
        let card = roster.node(&page.node).filter(|card| card.id != self.me);
        let holds = card.is_some_and(|card| {
            let digest = page.digest();
            card.identity_key.verify(&digest, &page.signature).is_ok()
        });
        if !holds || page.about != self.me || page.roster != self.pinned().hash() {
            return Err(does_not_hold(page, "it is not signed for this node"));
        }
        if page.is_quarantined {
            return Err(does_not_hold(
                page,
                "it is in quarantine itself and may have forgotten as much",
            ));
        }
        Ok(())
    }

    /// What this node goes by from here on, of the keys of which others know more.
    fn taken(
        state: &State,
        quarantine: &Quarantined,
        others: &BTreeSet<NodeId>,
    ) -> Result<Vec<TakenHead>, Fatal> {
        let mut taken = Vec::new();
        for (key, head) in quarantine.heads(others) {
            let row = ledger::key(&*state.index, &key)?.unwrap_or_default();
            let own = row.next_epoch().0;
            let active = row.active().map_or(0, |active| active.epoch.0);
            let most = own.max(active.saturating_add(MAX_AHEAD));
            let next = head.next_epoch.0.max(own).min(most).saturating_add(MARGIN);
            // As many as sign with the key: one of them is honest. Fewer may be liars, who would keep
            // the node from using its share for good. And only a retired key is destroyed, by commands
            // that this node has heard by now.
            let standing = ledger::standing(&*state.index, &key)?.standing;
            let needed = threshold_of(&row)?.filter(|_| standing.state(true).is_retired());
            taken.push(TakenHead {
                key,
                epoch: head.epoch,
                next_epoch: Epoch(next),
                destroyed: needed.is_some_and(|needed| head.destroyed >= needed),
            });
        }
        Ok(taken)
    }
}
