//! What the chain of one node says, read from its first record to its last durable one: whatever a
//! record rests on stands before it.

use std::collections::{BTreeMap, BTreeSet};

use quorate_model::{
    Digest, Epoch, KeyName, NodeId, UnixMillis,
    audit::{Entry, KeyDestroyed, PairBanned, Record, SharePurpose},
    backup::RestoreId,
    certificate::CommitCertificate,
    destruction::DestroyStep,
    roster::{PinnedRoster, Role},
    standing::Standing,
};

use crate::people::DELAY_MS;

/// A rule that was seen broken, and how.
pub(super) type Breach = (&'static str, String);

/// An announcement that a node heard.
struct Heard {
    /// When.
    at: UnixMillis,
    /// When it lapses.
    until: UnixMillis,
    /// When the admins made it.
    made: UnixMillis,
}

/// What the chain of one node says, as far as it was read.
#[derive(Default)]
pub(super) struct Chain {
    /// How many pairs it bans.
    pub(super) bans: usize,
    /// How often it suspends pairings.
    pub(super) suspensions: usize,
    /// How many changes of states it heard.
    pub(super) states: usize,
    /// Whose chain it is.
    pub(super) node: Option<NodeId>,
    /// The keys that it destroyed.
    pub(super) destroyed: BTreeSet<KeyName>,
    /// The epoch of each key that is in use.
    in_use: BTreeMap<KeyName, Epoch>,
    /// The epochs that others hold.
    elsewhere: BTreeSet<(KeyName, Epoch)>,
    /// Where each key stands.
    standings: BTreeMap<KeyName, Standing>,
    announced: BTreeMap<Digest, Heard>,
    /// The announcements of which it heard that they are withdrawn.
    pub(super) withdrawn: BTreeSet<Digest>,
    /// The roster in force.
    pub(super) roster: Option<Digest>,
    /// The restoration that is not over.
    quarantine: Option<RestoreId>,
    /// Whether it was ever restored.
    pub(super) was_restored: bool,
    /// The last restoration that is over, and from when on the node remembers.
    readmitted: Option<(RestoreId, UnixMillis)>,
}

/// What is known of all that happened, whatever a chain says.
pub(super) struct Seen<'a> {
    /// The rosters.
    pub(super) pinned: &'a PinnedRoster,
    /// Whether a node breaks no rule on purpose.
    pub(super) is_honest: &'a dyn Fn(&NodeId) -> bool,
    /// When a command was made.
    pub(super) made: &'a dyn Fn(&Digest) -> Option<UnixMillis>,
    /// The epochs that others had in use when a restored node came back.
    pub(super) floor: &'a dyn Fn(RestoreId, &KeyName) -> Option<Epoch>,
}

impl Chain {
    /// The chain of a node, of which nothing was read.
    pub(super) fn of(node: NodeId) -> Self {
        Self {
            node: Some(node),
            ..Self::default()
        }
    }

    /// The epoch of each key that is in use.
    pub(super) fn in_use(&self) -> impl Iterator<Item = (&KeyName, &Epoch)> {
        self.in_use.iter()
    }

    /// The restoration that is not over.
    pub(super) fn quarantine(&self) -> Option<RestoreId> {
        self.quarantine
    }

    /// Reads the next record.
    pub(super) fn take(&mut self, facts: &Seen<'_>, record: &Record) -> Result<(), Breach> {
        let Some(node) = &self.node.clone() else {
            return Ok(());
        };
        self.check_restored(node, facts, &record.entry)?;
        self.check_member(node, facts, &record.entry)?;
        match &record.entry {
            Entry::PairBanned(PairBanned { peer, .. }) => {
                self.bans += 1;
                if (facts.is_honest)(peer) {
                    return Err(("I6", format!("{node} bans {peer}, which is honest")));
                }
            }
            Entry::PairingsSuspended(_) => self.suspensions += 1,
            Entry::KeyStateChanged(changed) => {
                self.states += 1;
                let standing = self.standings.entry(changed.key.clone()).or_default();
                standing.take(changed.mark.clone());
            }
            Entry::KeyPrepared(prepared) => self.check_lives(node, &prepared.key, "prepares")?,
            Entry::KeyCertified {
                key,
                epoch,
                certificate,
            } => {
                self.check_lives(node, key, "takes up")?;
                let certified = CommitCertificate::from_bytes(certificate).ok();
                let mut holders = certified.iter().flat_map(|it| &it.statement.participants);
                if !holders.any(|holder| holder.node == *node) {
                    self.elsewhere.insert((key.clone(), *epoch));
                }
            }
            Entry::KeyActivated { key, epoch, .. } => {
                self.check_lives(node, key, "uses")?;
                let before = self.in_use.insert(key.clone(), *epoch);
                if before.is_some_and(|before| before > *epoch) {
                    return Err(("P30", format!("{node} goes back to epoch {epoch}")));
                }
            }
            Entry::ShareReleased(released) => {
                self.check_lives(node, &released.key, "signs with")?;
                if released.purpose == SharePurpose::Sign {
                    self.check_signs(node, &released.key, released.epoch)?;
                }
            }
            Entry::DestructionAnnounced { until, command, .. } => {
                let made = quorate_proto::command::decode(&command.bytes)
                    .map_or(UnixMillis(u64::MAX), |command| command.created);
                let heard = Heard {
                    at: record.time,
                    until: *until,
                    made,
                };
                self.announced.insert(command.digest(), heard);
            }
            Entry::DestructionWithdrawn { announcement, .. } => {
                self.withdrawn.insert(*announcement);
            }
            Entry::KeyDestroyed(end) => {
                self.check_end(node, facts.pinned, record.time, end)?;
                self.destroyed.insert(end.key.clone());
            }
            Entry::Restored { restore, .. } => {
                self.quarantine = Some(*restore);
                self.was_restored = true;
            }
            Entry::Readmitted { restore, .. } => {
                self.quarantine = None;
                self.readmitted = Some((*restore, record.time));
            }
            _ => {}
        }
        Ok(())
    }

    /// Rosters are followed by the word of enough admins (P3); and a node that its roster does not list
    /// makes no shares and signs nothing (P7).
    fn check_member(
        &mut self,
        node: &NodeId,
        facts: &Seen<'_>,
        entry: &Entry,
    ) -> Result<(), Breach> {
        match entry {
            Entry::RosterPinned { .. } => self.roster = Some(facts.pinned.cluster()),
            Entry::RosterFollowed {
                roster,
                in_force,
                command,
                ..
            } => {
                let before = self.roster.and_then(|before| facts.pinned.at(&before));
                let carried = before.is_some_and(|before| {
                    let persons = command.persons_for(Role::Admin, before.roster()).len();
                    persons >= usize::from(before.roster().admin_quorum)
                });
                if !carried || (facts.made)(&command.digest()).is_none() {
                    let detail = format!("{node} follows a roster that no quorum made");
                    return Err(("P3", detail));
                }
                if *in_force {
                    self.roster = Some(*roster);
                }
            }
            Entry::KeyPrepared(_) | Entry::ShareReleased(_) => {
                let then = self.roster.and_then(|roster| facts.pinned.at(&roster));
                if then.is_some_and(|then| then.roster().node(node).is_none()) {
                    let detail = format!("{node} was removed and acts: {}", entry.kind());
                    return Err(("P7", detail));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A restored node does nothing that rests on a promise before it is readmitted, and afterwards
    /// nothing that was commanded before; and it uses no epoch below those that others used when it
    /// came back (P35).
    fn check_restored(&self, node: &NodeId, facts: &Seen<'_>, entry: &Entry) -> Result<(), Breach> {
        let command = match entry {
            Entry::KeyPrepared(prepared) => prepared.judgment.command,
            Entry::ShareReleased(released) => released.judgment.command,
            Entry::DestructionAnnounced { command, .. } => command.digest(),
            Entry::KeyDestroyed(end) => end.command.digest(),
            _ => return Ok(()),
        };
        if self.quarantine.is_some() {
            let detail = format!("{node} acts in quarantine: {}", entry.kind());
            return Err(("P35", detail));
        }
        let Some((restore, remembers)) = self.readmitted else {
            return Ok(());
        };
        let proves = matches!(
            entry,
            Entry::ShareReleased(released) if released.purpose != SharePurpose::Sign
        );
        // A proof of possession is given under the command that made the shares, which are there.
        if !proves && (facts.made)(&command).is_some_and(|made| made < remembers) {
            let detail = format!(
                "{node} carries out what was commanded before it came back: {}",
                entry.kind()
            );
            return Err(("P35", detail));
        }
        if let Entry::ShareReleased(released) = entry {
            let floor = (facts.floor)(restore, &released.key);
            if !proves && floor.is_some_and(|floor| released.epoch < floor) {
                let epoch = released.epoch;
                let detail = format!("{node} came back and signs with superseded epoch {epoch}");
                return Err(("P35", detail));
            }
        }
        Ok(())
    }

    /// Nothing follows a tombstone (I5, P34).
    fn check_lives(&self, node: &NodeId, key: &KeyName, does: &str) -> Result<(), Breach> {
        if self.destroyed.contains(key) {
            let detail = format!("{node} {does} key \"{key}\", which it has destroyed");
            return Err(("I5", detail));
        }
        Ok(())
    }

    fn check_signs(&self, node: &NodeId, key: &KeyName, epoch: Epoch) -> Result<(), Breach> {
        if self.in_use.get(key) != Some(&epoch) {
            return Err(("P30", format!("{node} signs with epoch {epoch}")));
        }
        let standing = self.standings.get(key);
        match standing.and_then(|standing| standing.check_signs(key).err()) {
            Some(refusal) => Err(("P33", format!("{node} signs although the {refusal}"))),
            None => Ok(()),
        }
    }

    /// A key ends when its time is over and enough admins have announced and confirmed it, with the
    /// delay between the two, or when all of them say so (P11, P34).
    fn check_end(
        &self,
        node: &NodeId,
        pinned: &PinnedRoster,
        now: UnixMillis,
        end: &KeyDestroyed,
    ) -> Result<(), Breach> {
        let fails = |why: &str| {
            let detail = format!("{node} destroys key \"{}\" although {why}", end.key);
            Err(("P34", detail))
        };
        let Ok(command) = quorate_proto::command::decode(&end.command.bytes) else {
            return fails("the order is none");
        };
        let quorate_model::command::CommandBody::DestroyKey(destroy) = &command.body else {
            return fails("nobody ordered it");
        };
        let roster = pinned.roster();
        let spoken = pinned.verify_endorsements(&end.command).is_ok();
        let persons = end.command.persons_for(Role::Admin, roster).len();
        let all = roster.persons(Role::Admin).len();
        let retired = |standing: &Standing| standing.state(true).is_retired();
        // Whoever has given its share to others hears no more of where the key stands.
        let holds = self.in_use.get(&end.key).is_some_and(|epoch| {
            let at = (end.key.clone(), *epoch);
            !self.elsewhere.contains(&at)
        });
        if holds && !self.standings.get(&end.key).is_some_and(retired) {
            return fails("its time is not over");
        }
        if !spoken || destroy.key != end.key || destroy.key_id != end.key_id {
            return fails("the order is about something else");
        }
        match destroy.step {
            DestroyStep::AtOnce if persons == all => Ok(()),
            DestroyStep::AtOnce => fails("not every admin said so"),
            DestroyStep::Announce | DestroyStep::Cancel { .. } => fails("nobody confirmed it"),
            DestroyStep::Confirm { .. } if persons < usize::from(roster.lifecycle_quorum) => {
                fails("too few admins confirmed it")
            }
            DestroyStep::Confirm { announcement } => {
                let Some(heard) = self.announced.get(&announcement) else {
                    return fails("it was not announced");
                };
                if self.withdrawn.contains(&announcement) {
                    return fails("the announcement was withdrawn");
                }
                if now < heard.at.plus(DELAY_MS) || now > heard.until {
                    return fails("it was announced too short or too long a time ago");
                }
                if command.created < heard.made.plus(DELAY_MS) {
                    return fails("the confirmation was made too early");
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests;
