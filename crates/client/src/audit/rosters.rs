//! Rosters in journals: that every one that a node followed was carried by the admins of the one
//! before it, and that no node went from one branch of a fork to another (P3).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use quorate_model::{
    Digest, NodeId, Reason,
    audit::{Entry, Judgment, Record},
    command::{CommandBody, SignedCommand},
    roster::{Followed, PinnedRoster, Roster, SignedRoster},
};
use quorate_proto::roster::{follow, pin};

/// The rosters that are known, and which one each node acts by.
#[derive(Default)]
pub(super) struct Followings {
    /// The parents of every roster that a record made known.
    parents: BTreeMap<Digest, Vec<Digest>>,
    heads: HashMap<NodeId, Digest>,
}

impl Followings {
    /// Judges a verified record. The answer is the chain with what the record adds to it, where that
    /// is anything.
    ///
    /// # Errors
    ///
    /// What the node did that no honest node does.
    pub(super) fn record(
        &mut self,
        roster: &PinnedRoster,
        node: &NodeId,
        record: &Record,
    ) -> Result<Option<PinnedRoster>, String> {
        if let Entry::RosterPinned { roster: text } = &record.entry {
            self.pinned(roster, node, text)
        } else if let Entry::RosterFollowed {
            judgment,
            version,
            roster: hash,
            in_force,
            command,
        } = &record.entry
        {
            let said = Said {
                judgment,
                version: *version,
                hash: *hash,
                in_force: *in_force,
                command,
            };
            self.followed(roster, node, &said).map_err(|why| {
                format!(
                    "node \"{node}\" followed a roster in record {}, {why}",
                    record.sequence
                )
            })
        } else {
            Ok(None)
        }
    }

    /// The roster that a node is known to act by, as the chain was then.
    pub(super) fn head(&self, roster: &PinnedRoster, node: &NodeId) -> Option<PinnedRoster> {
        roster.at(self.heads.get(node)?)
    }

    /// The rosters that a node began with.
    fn pinned(
        &mut self,
        roster: &PinnedRoster,
        node: &NodeId,
        text: &[u8],
    ) -> Result<Option<PinnedRoster>, String> {
        let file: SignedRoster =
            serde_json::from_slice(text).map_err(|error| format!("no roster: {error}"))?;
        let own = pin(&file, &roster.cluster()).map_err(|error| error.to_string())?;
        self.heads.insert(node.clone(), own.hash());
        let mut chain = roster.clone();
        for signed in own.since(&own.cluster()) {
            if let Some(next) = added(&chain, signed).map_err(|error| error.to_string())? {
                chain = next;
            }
        }
        Ok(Some(chain).filter(|chain| chain != roster))
    }

    fn followed(
        &mut self,
        roster: &PinnedRoster,
        node: &NodeId,
        said: &Said<'_>,
    ) -> Result<Option<PinnedRoster>, String> {
        let fault = |what: &str| format!("{what}: this proves its fault");
        let next = match added(roster, said.command) {
            Ok(next) => next,
            // Whether it holds cannot be told without what lies between.
            Err(refusal) if refusal.reason == Reason::RosterBehind => return Err(refusal.message),
            Err(refusal) => return Err(fault(&refusal.message)),
        };
        let command = quorate_proto::command::decode(&said.command.bytes)
            .map_err(|refusal| fault(&refusal.message))?;
        let CommandBody::ChangeRoster(change) = &command.body else {
            return Err(fault("and the command does not change it"));
        };
        let text = Roster::parse(&change.roster).map_err(|error| fault(&error.to_string()))?;
        let is_it = change.hash() == said.hash
            && text.version == said.version
            && said.command.digest() == said.judgment.command
            && command.id == said.judgment.command_id;
        if !is_it {
            return Err(fault("and the record says something else of it"));
        }
        self.parents.insert(said.hash, text.parents);
        if !said.in_force {
            return Ok(next);
        }
        let before = self.heads.insert(node.clone(), said.hash);
        let leads = before.is_none_or(|before| self.follows(roster, &said.hash, &before));
        if !leads {
            return Err(fault("which does not follow from the one that it acted by"));
        }
        Ok(next)
    }

    /// Whether a roster is another one or follows from it.
    fn follows(&self, roster: &PinnedRoster, hash: &Digest, before: &Digest) -> bool {
        let parents: BTreeMap<Digest, &[Digest]> = roster
            .history()
            .map(|(roster, hash)| (hash, &*roster.parents))
            .collect();
        let (mut seen, mut open) = (BTreeSet::new(), vec![*hash]);
        while let Some(hash) = open.pop() {
            if hash == *before {
                return true;
            }
            if !seen.insert(hash) {
                continue;
            }
            let own = self.parents.get(&hash).map(Vec::as_slice);
            let known = own.or_else(|| parents.get(&hash).copied());
            open.extend(known.unwrap_or_default());
        }
        false
    }
}

/// What a record says of a roster.
struct Said<'a> {
    judgment: &'a Judgment,
    version: u32,
    hash: Digest,
    in_force: bool,
    command: &'a SignedCommand,
}

/// The chain with a roster that was not known, if its command holds.
fn added(
    roster: &PinnedRoster,
    signed: &SignedCommand,
) -> Result<Option<PinnedRoster>, quorate_model::Refusal> {
    Ok(match follow(roster, signed)? {
        Followed::InForce(next) | Followed::Aside(next) => Some(next),
        Followed::Known => None,
    })
}

#[cfg(test)]
mod tests;
