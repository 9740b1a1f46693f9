//! The ends of keys in journals: that each was ordered, announced and waited for, and that nothing is
//! done with a key afterwards (P34, I5).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use quorate_model::{
    Digest, KeyId, KeyName, NodeId, UnixMillis,
    audit::{Entry, KeyDestroyed, RULE_OF_CLIENTS, Record, ShareReleased},
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
    /// Judges a verified record under the chain of rosters and the one that the node acted by, where
    /// that is known. `held` says whether the node held the key of a tombstone.
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
        rosters: Rosters<'_>,
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
            Entry::ShareReleased(released) => {
                ends.check_alive(node, record, &released.key)?;
                ends.check_use(node, record, released)
            }
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
                let order = order(rosters, command, (key, *key_id), judgment.command)?;
                let Order { step, created, .. } = order;
                let least = record.time.plus(order.then.roster().lifecycle_delay_ms());
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
                let order = order(rosters, command, (key, *key_id), judgment.command)?;
                let named = DestroyStep::Cancel {
                    announcement: *announcement,
                };
                if order.step != named {
                    return Err("the withdrawal is another step".to_owned());
                }
                let at = (key.clone(), *key_id, *announcement);
                ends.withdrawn.insert(at);
                Ok(())
            }
            Entry::KeyDestroyed(destroyed) => {
                ends.check_tombstone(rosters, (node, record), destroyed, held)
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

    /// A node that has recorded that a key's time is over signs nothing more with it for a client. What
    /// the admins have evacuated is recorded under another rule.
    fn check_use(
        &self,
        node: &NodeId,
        record: &Record,
        released: &ShareReleased,
    ) -> Result<(), String> {
        let key = &released.key;
        let for_client = released.judgment.rule == RULE_OF_CLIENTS;
        if for_client && self.retired.contains(key) {
            return Err(format!(
                "node \"{node}\" signed for a client with key \"{key}\" in record {} after it \
                 recorded that the key is retired: this proves its fault",
                record.sequence
            ));
        }
        Ok(())
    }

    fn check_tombstone(
        &mut self,
        rosters: Rosters<'_>,
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
        let order = order(rosters, command, (key, *key_id), judgment.command)?;
        match order.step {
            DestroyStep::AtOnce => {}
            DestroyStep::Confirm {
                announcement: named,
            } => {
                let shown = announcement.as_ref().map(SignedCommand::digest);
                let heard = self.announced.get(&(key.clone(), named));
                let in_time = heard.is_some_and(|heard| {
                    heard.from <= record.time
                        && record.time <= heard.until
                        && check_afresh(&order.then, heard.created, order.created).is_ok()
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

/// The chain, and the roster that a node acted by, where that is known.
type Rosters<'a> = (&'a PinnedRoster, Option<&'a PinnedRoster>);

/// A recorded order.
struct Order {
    step: DestroyStep,
    created: UnixMillis,
    /// The chain as it was: the node acted by this roster, or by a stricter one.
    then: PinnedRoster,
}

/// What a recorded order asks for, if enough persons speak for it.
fn order(
    (roster, head): Rosters<'_>,
    command: &SignedCommand,
    (key, key_id): (&KeyName, KeyId),
    digest: Digest,
) -> Result<Order, String> {
    let admitted = quorate_proto::admission::admit_ever(roster, command);
    let admitted = admitted.map_err(|refusal| refusal.message)?;
    if command.is_forbidden(&admitted.body) {
        return Err("an admin forbids the order".to_owned());
    }
    if let CommandBody::DestroyKey(destroy) = admitted.body
        && destroy.key == *key
        && destroy.key_id == key_id
        && command.digest() == digest
    {
        // Rules only become stricter from one roster to the next.
        let acted_by = head.filter(|head| head.follows(&admitted.roster));
        let then = acted_by.cloned().or_else(|| roster.at(&admitted.roster));
        return Ok(Order {
            step: destroy.step,
            created: admitted.created,
            then: then.ok_or("the order was made under an unknown roster")?,
        });
    }
    Err("the order is about something else".to_owned())
}

#[cfg(test)]
mod tests;
