//! Rosters: the chain as far as this side has followed it, commands that make the next one, and who
//! acts by it (P3, P41).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError, RwLock},
};

use quorate_model::{
    Digest, NodeId, Reason, Refusal,
    command::{ChangeRoster, CommandBody, SignedCommand},
    operation::{CommandOutcome, CommandView},
    roster::{MAX_ROSTERS, PinnedRoster, Roster, RosterReceipt, SignedRoster, Successor},
};
use quorate_proto::roster::follow_all;

use crate::{
    client::Client,
    command::{CommandOptions, Prepared},
    error::ClientError,
    verify::{ReceiptChecker, VerificationError},
};

/// The rosters that a client works under. They are followed, and never taken back.
#[derive(Debug)]
pub(crate) struct Rosters(RwLock<Held>);

#[derive(Clone, Debug)]
struct Held {
    roster: Arc<PinnedRoster>,
    receipts: Arc<ReceiptChecker>,
}

impl Held {
    fn new(roster: PinnedRoster) -> Self {
        Self {
            receipts: Arc::new(ReceiptChecker::new(&roster)),
            roster: Arc::new(roster),
        }
    }
}

impl Rosters {
    pub(crate) fn new(roster: PinnedRoster) -> Self {
        Self(RwLock::new(Held::new(roster)))
    }

    pub(crate) fn roster(&self) -> Arc<PinnedRoster> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner).roster)
    }

    pub(crate) fn receipts(&self) -> Arc<ReceiptChecker> {
        Arc::clone(
            &self
                .0
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .receipts,
        )
    }

    /// Follows what a coordinator shows, all of it or nothing. The answer is whether anything was not
    /// known before.
    pub(crate) fn follow(&self, file: &SignedRoster) -> Result<bool, VerificationError> {
        let mut held = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match followed(&held.roster, file)? {
            Some(next) => {
                *held = Held::new(next);
                Ok(true)
            }
            None => Ok(false),
        }
    }
}

/// The chain with what a file adds to it; none where that is nothing.
fn followed(
    known: &PinnedRoster,
    file: &SignedRoster,
) -> Result<Option<PinnedRoster>, VerificationError> {
    if file.hash() != known.cluster() {
        return Err(VerificationError::Rosters(Refusal::new(
            Reason::WrongCluster,
            "they begin with another roster than the pinned one, and are of another cluster",
        )));
    }
    let commands = file.successors.iter().map(|Successor(signed)| signed);
    let next = follow_all(known.clone(), commands).map_err(VerificationError::Rosters)?;
    Ok(Some(next).filter(|next| next != known))
}

/// The roster that a command makes, read from its exact bytes.
///
/// # Errors
///
/// The refusal that every node gives when the bytes are no such command; [`Reason::RosterInvalid`]
/// when they hold no roster.
pub fn roster_of(signed: &SignedCommand) -> Result<Roster, Refusal> {
    let command = quorate_proto::command::decode(&signed.bytes)?;
    parse(&command.body)
}

fn parse(body: &CommandBody) -> Result<Roster, Refusal> {
    let CommandBody::ChangeRoster(change) = body else {
        let message = "the command does not change the roster";
        return Err(Refusal::new(Reason::RequestInvalid, message));
    };
    Roster::parse(&change.roster)
        .map_err(|error| Refusal::new(Reason::RosterInvalid, error.to_string()))
}

/// Who acts by a roster, as their verified receipts say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RosterProgress {
    /// The version of the roster.
    pub version: u32,
    /// Its hash.
    pub roster: Digest,
    /// The nodes of the roster that act by it, or by one that follows from it.
    pub acting: Vec<RosterReceipt>,
    /// The other nodes of the roster, with what each refuses. They hear of it when they connect.
    pub missing: Vec<(NodeId, Option<Refusal>)>,
    /// The nodes that it does not list any more and that have said that they know.
    pub removed: Vec<RosterReceipt>,
}

impl RosterProgress {
    /// Checks every receipt by the card of its node, and counts who is missing by itself. `known` is
    /// the chain that the roster belongs to, or will.
    fn verify(
        known: &PinnedRoster,
        (roster, hash): (&Roster, Digest),
        receipts: &[RosterReceipt],
        refusals: &[(NodeId, Option<Refusal>)],
    ) -> Result<Self, VerificationError> {
        let (mut acting, mut removed) = (BTreeMap::new(), BTreeMap::new());
        for receipt in receipts {
            let bad = || VerificationError::BadReceipt(receipt.node.clone());
            let listed = roster.node(&receipt.node);
            let card = listed
                .or_else(|| known.card(&receipt.node))
                .ok_or_else(bad)?;
            receipt.verify(card, &hash).map_err(|_| bad())?;
            // What stands in another branch does not follow from it, whatever the node says.
            let strays = receipt.in_force != hash
                && known.knows(&receipt.in_force)
                && !known
                    .at(&receipt.in_force)
                    .is_some_and(|then| then.follows(&hash));
            let of_it = if listed.is_some() {
                &mut acting
            } else {
                &mut removed
            };
            let again = of_it.insert(receipt.node.clone(), receipt.clone());
            if strays || again.is_some() {
                return Err(bad());
            }
        }
        let refusal_of = |node: &NodeId| {
            let mut all = refusals.iter();
            all.find(|(other, _)| other == node)
                .and_then(|(_, refusal)| refusal.clone())
        };
        let nodes = roster.nodes.iter().map(|card| &card.id);
        let missing = nodes
            .filter(|node| !acting.contains_key(*node))
            .map(|node| (node.clone(), refusal_of(node)))
            .collect();
        Ok(Self {
            version: roster.version,
            roster: hash,
            acting: acting.into_values().collect(),
            missing,
            removed: removed.into_values().collect(),
        })
    }

    /// How many nodes the roster lists.
    pub fn nodes(&self) -> usize {
        self.acting.len().saturating_add(self.missing.len())
    }
}

impl Client {
    /// Asks the coordinator for rosters that are not known here, and follows them from the pinned one
    /// on. The answer is whether there were any. Long-lived clients need not call it before they sign:
    /// what comes from a roster that is not known has it fetched.
    ///
    /// # Errors
    ///
    /// [`VerificationError::Rosters`] when what is shown does not follow; nothing of it is taken then.
    pub async fn refresh_roster(&self) -> Result<bool, ClientError> {
        let mut any = false;
        // Each answer but the last makes one roster known at least.
        for _ in 0..MAX_ROSTERS {
            let view = self.transport().rosters(&self.roster().hash()).await?;
            if !self.rosters().follow(&view.file)? {
                break;
            }
            any = true;
        }
        Ok(any)
    }

    /// Verifies something by the rosters that are known, and once more by those that the coordinator
    /// has where it does not hold by these.
    pub(crate) async fn verified<T, E: Into<ClientError>>(
        &self,
        verify: impl Fn(&PinnedRoster) -> Result<T, E>,
    ) -> Result<T, ClientError> {
        let error = match verify(&self.roster()) {
            Ok(verified) => return Ok(verified),
            Err(error) => error,
        };
        if matches!(self.refresh_roster().await, Ok(true)) {
            return verify(&self.roster()).map_err(Into::into);
        }
        Err(error.into())
    }

    /// Makes a command that puts a roster in the place of the one in force, and endorses it. What
    /// every node would refuse is refused here; that more admins have to speak for it is not.
    ///
    /// # Errors
    ///
    /// [`Reason::RosterInvalid`] when the roster may not follow the one in force, and
    /// [`Reason::RosterBehind`] when it names parents that are not known here.
    pub fn prepare_roster_change(
        &self,
        next: &Roster,
        options: &CommandOptions,
    ) -> Result<Prepared, ClientError> {
        let text = next
            .to_bytes()
            .map_err(|error| Refusal::new(Reason::RosterInvalid, error.to_string()))?;
        let body = CommandBody::ChangeRoster(ChangeRoster { roster: text });
        let prepared = self.prepare(body, options);
        quorate_proto::admission::admit_proposal(&self.roster(), prepared.signed())?;
        Ok(prepared)
    }

    /// Verifies what a command that changes the roster came to: every receipt, and who is missing.
    /// This client follows the roster from then on.
    ///
    /// # Errors
    ///
    /// [`VerificationError::OtherOutcome`] when it is the outcome of something else, or no node acts
    /// by the roster; [`VerificationError::BadReceipt`] when a receipt does not hold.
    pub async fn roster_changed(
        &self,
        prepared: &Prepared,
        view: &CommandView,
    ) -> Result<RosterProgress, ClientError> {
        let other = VerificationError::OtherOutcome;
        let body = &prepared.command().body;
        let CommandBody::ChangeRoster(change) = body else {
            return Err(other("the command does not change the roster").into());
        };
        let Some(CommandOutcome::RosterChanged(outcome)) = &view.outcome else {
            return Err(other("it is not one of a change of the roster").into());
        };
        let (roster, hash) = (parse(body)?, change.hash());
        if outcome.roster != hash || outcome.version != roster.version {
            return Err(other("it is one of another roster").into());
        }
        self.refresh_roster().await?;
        let (receipts, missing) = (&outcome.receipts, &outcome.missing);
        let known = self.roster();
        let progress = RosterProgress::verify(&known, (&roster, hash), receipts, missing)?;
        if progress.acting.is_empty() && progress.removed.is_empty() {
            return Err(other("no node acts by the roster").into());
        }
        Ok(progress)
    }

    /// Who acts by the roster in force, as the coordinator has heard and every receipt proves; none
    /// for roster 1, which every host has pinned by hand.
    ///
    /// # Errors
    ///
    /// [`VerificationError::Rosters`] or [`VerificationError::BadReceipt`] when what is shown does not
    /// hold.
    pub async fn roster_progress(&self) -> Result<Option<RosterProgress>, ClientError> {
        self.refresh_roster().await?;
        let known = self.roster();
        if known.command().is_none() {
            return Ok(None);
        }
        let view = self.transport().rosters(&known.hash()).await?;
        let about = (known.roster(), known.hash());
        let progress = RosterProgress::verify(&known, about, &view.receipts, &[])?;
        Ok(Some(progress))
    }
}

/// What a roster changes of another one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RosterDifference {
    /// The nodes that it adds.
    pub added: Vec<quorate_model::roster::NodeCard>,
    /// The nodes that it lists no more.
    pub removed: Vec<NodeId>,
    /// The nodes that receive no further share from then on.
    pub drained: Vec<NodeId>,
    /// The nodes that receive shares again.
    pub undrained: Vec<NodeId>,
    /// The nodes whose region or organisation changes, with their new cards.
    pub moved: Vec<quorate_model::roster::NodeCard>,
    /// Everything else, for people: what, before, after.
    pub rules: Vec<(String, String, String)>,
}

impl RosterDifference {
    /// Compares two rosters.
    pub fn between(before: &Roster, after: &Roster) -> Self {
        let ids = |roster: &Roster| -> BTreeSet<NodeId> {
            roster.nodes.iter().map(|card| card.id.clone()).collect()
        };
        let (old, new) = (ids(before), ids(after));
        let cards = after.nodes.iter();
        let added = cards.clone().filter(|card| !old.contains(&card.id));
        let moved = cards.filter(|card| before.node(&card.id).is_some_and(|was| was != *card));
        let without = |one: &BTreeSet<NodeId>, other: &BTreeSet<NodeId>| -> Vec<NodeId> {
            one.difference(other).cloned().collect()
        };
        let undrained = without(&before.drained, &after.drained);
        Self {
            added: added.cloned().collect(),
            removed: without(&old, &new),
            drained: without(&after.drained, &before.drained),
            // A node that leaves needs no draining any more.
            undrained: undrained
                .into_iter()
                .filter(|node| new.contains(node))
                .collect(),
            moved: moved.cloned().collect(),
            rules: rules(before, after),
        }
    }
}

/// The rules of two rosters, where they differ.
fn rules(before: &Roster, after: &Roster) -> Vec<(String, String, String)> {
    let (old, new) = (&before.placement, &after.placement);
    let pair = |what: &str, before: &dyn ToString, after: &dyn ToString| {
        (what.to_owned(), before.to_string(), after.to_string())
    };
    let delay = |roster: &Roster| format!("{} s", roster.lifecycle_delay_ms().div_euclid(1_000));
    let mut all = vec![
        pair("cluster name", &before.cluster_name, &after.cluster_name),
        pair("admin quorum", &before.admin_quorum, &after.admin_quorum),
        pair(
            "lifecycle quorum",
            &before.lifecycle_quorum,
            &after.lifecycle_quorum,
        ),
        pair("lifecycle delay", &delay(before), &delay(after)),
        pair("policy", &before.policy_hash, &after.policy_hash),
        pair("spread regions", &old.spread_regions, &new.spread_regions),
        pair(
            "spread organisations",
            &old.spread_organisations,
            &new.spread_organisations,
        ),
        pair(
            "least threshold",
            &old.least_threshold,
            &new.least_threshold,
        ),
        pair("least nodes", &old.least_nodes, &new.least_nodes),
        pair("least regions", &old.least_regions, &new.least_regions),
    ];
    for principal in &before.principals {
        let is = match after.principal(&principal.id) {
            Some(same) if same == principal => continue,
            Some(_) => "changed",
            None => "removed",
        };
        let what = format!("principal {}", principal.id);
        all.push((what, principal.person.clone(), is.to_owned()));
    }
    for principal in &after.principals {
        if before.principal(&principal.id).is_none() {
            let what = format!("principal {}", principal.id);
            all.push((what, "none".to_owned(), principal.person.clone()));
        }
    }
    if before.coordinators != after.coordinators {
        let names = |roster: &Roster| {
            let names = roster.coordinators.iter().map(|card| card.id.to_string());
            names.collect::<Vec<_>>().join(", ")
        };
        all.push(pair("coordinators", &names(before), &names(after)));
    }
    all.retain(|(_, before, after)| before != after);
    all
}

#[cfg(test)]
mod tests;
