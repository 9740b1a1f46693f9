//! The ends of keys in journals: that each was ordered, announced and waited for, and that nothing is
//! done with a key afterwards (P34, I5).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use quorate_model::{
    Digest, KeyId, KeyName, NodeId, UnixMillis,
    audit::{Entry, KeyDestroyed, Record},
    command::{CommandBody, SignedCommand},
    destruction::{CONFIRM_WINDOW_MS, DestroyStep},
    roster::PinnedRoster,
};
use quorate_proto::destruction::check_afresh;

/// What is kept of the ends of keys in the journal of one node.
#[derive(Default)]
struct Ends {
    announced: HashMap<(KeyName, Digest), Announced>,
    withdrawn: BTreeSet<(KeyName, KeyId, Digest)>,
    /// The keys whose time is over at this node.
    retired: BTreeSet<KeyName>,
    /// The sequence of the tombstone.
    destroyed: BTreeMap<KeyName, u64>,
}

/// An announcement.
struct Announced {
    /// When it was made.
    created: UnixMillis,
    /// From when it may be confirmed.
    from: UnixMillis,
    /// Until when.
    until: UnixMillis,
}

/// The ends of keys in all journals.
#[derive(Default)]
pub(super) struct Endings(HashMap<NodeId, Ends>);

impl Endings {
    /// Judges a verified record. `held` says whether the node held the key of a tombstone.
    ///
    /// # Errors
    ///
    /// What the node did that no honest node does.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "what has nothing to do with ends is not judged here"
    )]
    pub(super) fn record(
        &mut self,
        roster: &PinnedRoster,
        node: &NodeId,
        record: &Record,
        held: bool,
    ) -> Result<(), String> {
        let ends = self.0.entry(node.clone()).or_default();
        match &record.entry {
            Entry::KeyStateChanged(changed) if changed.state.is_retired() => {
                ends.retired.insert(changed.key.clone());
                ends.check_alive(node, record, &changed.key)
            }
            Entry::KeyStateChanged(changed) => ends.check_alive(node, record, &changed.key),
            Entry::ShareReleased(released) => ends.check_alive(node, record, &released.key),
            Entry::KeyPrepared(prepared) => ends.check_alive(node, record, &prepared.key),
            Entry::KeyActivated { key, .. } => ends.check_alive(node, record, key),
            Entry::DestructionAnnounced {
                judgment,
                key,
                key_id,
                from,
                until,
                command,
                ..
            } => {
                let (step, created) = order(roster, command, (key, *key_id), judgment.command)?;
                let least = record.time.plus(roster.roster().lifecycle_delay_ms());
                if step != DestroyStep::Announce {
                    return Err("the announcement is another step".to_owned());
                }
                if *from < least || *until != from.plus(CONFIRM_WINDOW_MS) {
                    return Err(format!(
                        "node \"{node}\" waits less than the roster asks for before it destroys \
                         key \"{key}\": this proves its fault"
                    ));
                }
                let at = (key.clone(), judgment.command);
                let heard = Announced {
                    created,
                    from: *from,
                    until: *until,
                };
                ends.announced.insert(at, heard);
                Ok(())
            }
            Entry::DestructionWithdrawn {
                judgment,
                key,
                key_id,
                announcement,
                command,
            } => {
                let (step, _) = order(roster, command, (key, *key_id), judgment.command)?;
                let named = DestroyStep::Cancel {
                    announcement: *announcement,
                };
                if step != named {
                    return Err("the withdrawal is another step".to_owned());
                }
                let at = (key.clone(), *key_id, *announcement);
                ends.withdrawn.insert(at);
                Ok(())
            }
            Entry::KeyDestroyed(destroyed) => {
                ends.check_tombstone(roster, (node, record), destroyed, held)
            }
            _ => Ok(()),
        }
    }

    /// The keys that a node has destroyed.
    pub(super) fn destroyed(&self, node: &NodeId) -> Vec<KeyName> {
        let ends = self.0.get(node);
        ends.map(|ends| ends.destroyed.keys().cloned().collect())
            .unwrap_or_default()
    }
}

impl Ends {
    fn check_alive(&self, node: &NodeId, record: &Record, key: &KeyName) -> Result<(), String> {
        match self.destroyed.get(key) {
            Some(tombstone) => Err(format!(
                "node \"{node}\" used key \"{key}\" in record {} after it destroyed it in record \
                 {tombstone}: this proves its fault",
                record.sequence
            )),
            None => Ok(()),
        }
    }

    fn check_tombstone(
        &mut self,
        roster: &PinnedRoster,
        (node, record): (&NodeId, &Record),
        destroyed: &KeyDestroyed,
        held: bool,
    ) -> Result<(), String> {
        let KeyDestroyed {
            judgment,
            key,
            key_id,
            announcement,
            command,
            ..
        } = destroyed;
        self.check_alive(node, record, key)?;
        let fault = |what: &str| {
            Err(format!(
                "node \"{node}\" destroyed key \"{key}\" in record {} {what}: this proves its fault",
                record.sequence
            ))
        };
        let (step, made) = order(roster, command, (key, *key_id), judgment.command)?;
        match step {
            DestroyStep::AtOnce => {}
            DestroyStep::Confirm {
                announcement: named,
            } => {
                let shown = announcement.as_ref().map(SignedCommand::digest);
                let heard = self.announced.get(&(key.clone(), named));
                let in_time = heard.is_some_and(|heard| {
                    heard.from <= record.time
                        && record.time <= heard.until
                        && check_afresh(roster, heard.created, made).is_ok()
                });
                if shown != Some(named)
                    || !in_time
                    || self.withdrawn.contains(&(key.clone(), *key_id, named))
                {
                    return fault("without an announcement, or out of its time");
                }
            }
            DestroyStep::Announce | DestroyStep::Cancel { .. } => {
                return fault("by a step that destroys nothing");
            }
        }
        if held && !self.retired.contains(key) {
            return fault("while it was in use");
        }
        self.destroyed.insert(key.clone(), record.sequence);
        Ok(())
    }
}

/// The step that a recorded order asks for, and when it was made, if enough persons speak for it.
fn order(
    roster: &PinnedRoster,
    command: &SignedCommand,
    (key, key_id): (&KeyName, KeyId),
    digest: Digest,
) -> Result<(DestroyStep, UnixMillis), String> {
    let admitted = quorate_proto::admission::admit(roster, command);
    let admitted = admitted.map_err(|refusal| refusal.message)?;
    if command.is_forbidden(&admitted.body) {
        return Err("an admin forbids the order".to_owned());
    }
    if let CommandBody::DestroyKey(destroy) = admitted.body
        && destroy.key == *key
        && destroy.key_id == key_id
        && command.digest() == digest
    {
        return Ok((destroy.step, admitted.created));
    }
    Err("the order is about something else".to_owned())
}

#[cfg(test)]
mod tests;
