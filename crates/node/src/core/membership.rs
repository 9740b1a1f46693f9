//! Who belongs to the cluster, as this node knows it (P3, P41).
//!
//! A node follows a roster by the chain alone: each is a command that the admins of the one before
//! have carried with their quorum. That needs no trusted clock, no coordinator's word and nothing
//! that the node holds, so that every node that hears of it comes to the same end.

use std::sync::{Arc, PoisonError};

use quorate_model::{
    Digest, Reason, Refusal, Signature,
    audit::{Entry, Judgment},
    command::SignedCommand,
    node_api::{MAX_LISTED_ROSTERS, NodeReply, NodeRequest},
    roster::{Followed, PinnedRoster, RosterReceipt},
};

use super::{Context, Fatal, NodeCore, Outcome, Pending, State, Subject, ledger, lock};
use crate::disk::Disk;

/// The most bytes of the commands in one answer; a single one may be larger.
const MAX_PAGE_BYTES: usize = 2 << 20;

/// What a node answers that is not in the roster any more: who it was, what it did, and that it ends
/// what it holds.
const fn is_for_strangers(request: &NodeRequest) -> bool {
    matches!(
        request,
        NodeRequest::Status { .. }
            | NodeRequest::ReadAudit { .. }
            | NodeRequest::ChangeRoster { .. }
            | NodeRequest::ListRosters { .. }
            | NodeRequest::EraseEpochs { .. }
            | NodeRequest::DestroyKey { .. }
    )
}

impl<D: Disk + 'static> NodeCore<D> {
    /// Refuses to take part in anything once the roster does not list this node any more (P7).
    pub(super) fn check_member(&self, request: &NodeRequest) -> Result<(), Refusal> {
        let pinned = self.pinned();
        if is_for_strangers(request) || pinned.roster().node(&self.me).is_some() {
            return Ok(());
        }
        Err(Refusal::new(
            Reason::NodeUnknown,
            format!(
                "node {} was removed: roster {} does not list it",
                self.me,
                pinned.roster().version
            ),
        )
        .with("node", &self.me))
    }

    /// Follows a command about the roster, and acknowledges it once it is durable.
    pub(super) fn change_roster(
        self: &Arc<Self>,
        context: &mut Context<'_>,
        signed: &SignedCommand,
    ) -> Result<Outcome, Fatal> {
        let subject = Subject {
            command: Some(signed.digest()),
            endorsements: Some(signed.endorsement_set_hash()),
            ..Subject::default()
        };
        let parsed = loop {
            let pinned = self.pinned();
            // Signatures are checked without the lock, which signing needs.
            let followed = quorate_proto::roster::follow(&pinned, signed)
                .and_then(|followed| Ok((followed, Change::of(signed)?)));
            let (followed, change) = match followed {
                Ok(judged) => judged,
                Err(refusal) => return self.refused(context, subject, refusal),
            };
            let state = lock(&self.state);
            if Arc::ptr_eq(&pinned, &self.pinned()) {
                break (followed, change, state);
            }
        };
        let (followed, change, mut state) = parsed;
        let (chain, in_force) = match followed {
            Followed::Known => {
                return Ok(Outcome::Ready(self.recorded_roster(
                    &state,
                    &change,
                    signed.digest(),
                )?));
            }
            Followed::InForce(chain) => (chain, true),
            Followed::Aside(chain) => (chain, false),
        };
        let entry = change.entry(signed, self.policy(), in_force);
        let time = state.clock.elapsed(context.reading);
        let appended = self.record(&mut state, time, vec![entry])?;
        // What is decided under it from here on is recorded after it.
        *self.pinned.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(chain);
        let receipt = self.roster_receipt(&state, &change.hash, signed.digest())?;
        drop(state);
        Ok(Pending::answer(appended, move |_| {
            receipt.map(NodeReply::RosterChanged)
        }))
    }

    /// The receipt for a roster that was followed before: told only once its record is durable.
    fn recorded_roster(
        &self,
        state: &State,
        change: &Change,
        command: Digest,
    ) -> Result<Result<NodeReply, Refusal>, Fatal> {
        let receipt = match self.roster_receipt(state, &change.hash, command)? {
            Ok(receipt) => receipt,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if self.journal.durable().sequence() < receipt.record {
            return Ok(Err(Refusal::new(
                Reason::Overloaded,
                "the roster is being written: ask again",
            )));
        }
        Ok(Ok(NodeReply::RosterChanged(receipt)))
    }

    fn roster_receipt(
        &self,
        state: &State,
        roster: &Digest,
        command: Digest,
    ) -> Result<Result<RosterReceipt, Refusal>, Fatal> {
        let pinned = self.pinned();
        if !pinned.follows(roster) {
            return Ok(Err(forked(&pinned, roster)));
        }
        // Roster 1 stands in the journal's first record.
        let row = ledger::roster(&*state.index, roster)?;
        let receipt = RosterReceipt {
            node: self.me.clone(),
            roster: *roster,
            in_force: pinned.hash(),
            command,
            record: row.map_or(1, |row| row.record),
            signature: Signature([0; 64]),
        };
        Ok(Ok(receipt.sign(&self.identity)))
    }

    /// The commands that lead from another roster to what this node knows, as many as fit.
    pub(super) fn list_rosters(&self, since: &Digest) -> NodeReply {
        let pinned = self.pinned();
        let mut bytes = 0usize;
        let commands = pinned
            .since(since)
            .into_iter()
            .take(MAX_LISTED_ROSTERS)
            .enumerate()
            .take_while(|(at, command)| {
                bytes = bytes.saturating_add(command.stored_bytes());
                *at == 0 || bytes <= MAX_PAGE_BYTES
            })
            .map(|(_, command)| command.clone());
        NodeReply::Rosters(commands.collect())
    }
}

/// What a command about the roster asks for.
pub(crate) struct Change {
    id: quorate_model::CommandId,
    /// The hash of the roster.
    pub(crate) hash: Digest,
    version: u32,
}

impl Change {
    /// The record of a node that follows it.
    pub(crate) fn entry(&self, signed: &SignedCommand, policy: Digest, in_force: bool) -> Entry {
        Entry::RosterFollowed {
            judgment: Judgment {
                command: signed.digest(),
                command_id: self.id,
                endorsements: signed.endorsement_set_hash(),
                policy,
                rule: "quorum:admin".to_owned(),
            },
            version: self.version,
            roster: self.hash,
            in_force,
            command: signed.clone(),
        }
    }

    /// Reads a command whose endorsements hold.
    pub(crate) fn of(signed: &SignedCommand) -> Result<Self, Refusal> {
        let command = quorate_proto::command::decode(&signed.bytes)?;
        let quorate_model::command::CommandBody::ChangeRoster(change) = &command.body else {
            return Err(Refusal::new(
                Reason::RequestInvalid,
                "the command does not change the roster",
            ));
        };
        let roster = quorate_model::roster::Roster::parse(&change.roster)
            .map_err(|error| Refusal::new(Reason::RosterInvalid, error.to_string()))?;
        Ok(Self {
            id: command.id,
            hash: change.hash(),
            version: roster.version,
        })
    }
}

fn forked(pinned: &PinnedRoster, roster: &Digest) -> Refusal {
    Refusal::new(
        Reason::RosterForked,
        format!(
            "roster {} stands beside roster {}, which is in force here, and both follow the same \
             one: make a roster that names both as its parents",
            roster.short(),
            pinned.hash().short()
        ),
    )
    .with("roster", roster)
    .with("in_force", pinned.hash())
}
