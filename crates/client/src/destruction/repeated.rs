//! Steps that nodes have taken already: what they said the first time, without another command.

use quorate_model::{
    CommandId, Digest, NodeId, Refusal, UnixMillis,
    destruction::{DestroyStep, DestructionReceipt, Said},
    roster::PinnedRoster,
};

use super::{DestroyAction, DestructionProgress, Order};
use crate::{key::ListedKey, verify::VerificationError};

/// A step that was taken before.
#[derive(Clone, Debug)]
pub struct TakenStep {
    /// The command by which the first of the nodes acts.
    pub id: CommandId,
    /// Its digest.
    pub digest: Digest,
    /// The step.
    pub step: DestroyStep,
    /// When the last command that missing nodes are told of expires; none where it has, or where
    /// nobody is missing.
    pub told_until: Option<UnixMillis>,
    /// Whether it lives on, but was made under a roster that is no longer in force: nodes that were
    /// added since refuse it, and so does whoever knows them.
    pub is_outdated: bool,
    /// What nodes say.
    pub progress: DestructionProgress,
}

impl ListedKey {
    /// What nodes say of a step that there is no need to command again: everybody has taken it, or
    /// whoever is missing hears of it from the coordinator, or could not take it anyway. None where
    /// a command is to be made.
    ///
    /// # Errors
    ///
    /// When what the coordinator shows does not make a certificate that holds.
    pub fn taken(
        &self,
        action: DestroyAction,
        roster: &PinnedRoster,
        now: UnixMillis,
    ) -> Result<Option<TakenStep>, VerificationError> {
        match action {
            DestroyAction::Announce => Ok(None),
            DestroyAction::Cancel(named) => Ok(self.withdrawn_everywhere(named, roster, now)),
            DestroyAction::Confirm(_) | DestroyAction::AtOnce => {
                self.carried_out(action, roster, now)
            }
        }
    }

    /// Whether nodes were told to destroy their shares by a command that lives on, under another
    /// roster than the one in force: whoever has not done so is commanded afresh.
    pub fn is_ordered_under_another_roster(&self, roster: &PinnedRoster, now: UnixMillis) -> bool {
        let done = self.destruction().destroyed();
        let mut orders = done.filter_map(|receipt| {
            let signed = self.destruction().order(&receipt.command)?;
            Order::read(signed)
        });
        orders.any(|order| order.expires > now && order.roster != roster.hash())
    }

    fn withdrawn_everywhere(
        &self,
        named: Option<Digest>,
        roster: &PinnedRoster,
        now: UnixMillis,
    ) -> Option<TakenStep> {
        let is_live = !self.announcements_at(now).is_empty();
        let announcement = match named {
            Some(named) => named,
            None if is_live => return None,
            None => self.withdrawn_last()?,
        };
        let receipts = self.destruction().receipts.iter();
        let receipts: Vec<DestructionReceipt> = receipts
            .filter(|one| one.said == Said::Withdrawn { announcement })
            .cloned()
            .collect();
        if !self.withdrawal(announcement, &[], roster).is_complete() {
            return None;
        }
        let digest = receipts.first()?.command;
        let order = self.destruction().order(&digest).and_then(Order::read)?;
        Some(TakenStep {
            id: order.id,
            digest,
            step: order.destroy.step,
            told_until: None,
            is_outdated: false,
            progress: DestructionProgress {
                receipts,
                missing_holders: Vec::new(),
                missing_others: Vec::new(),
                certificate: None,
            },
        })
    }

    fn carried_out(
        &self,
        action: DestroyAction,
        roster: &PinnedRoster,
        now: UnixMillis,
    ) -> Result<Option<TakenStep>, VerificationError> {
        let Some((certificate, count)) = self.destruction_certificate(roster)? else {
            return Ok(None);
        };
        let orders: Vec<Order> = certificate.orders.iter().filter_map(Order::read).collect();
        let forced = action == DestroyAction::AtOnce;
        let lives = |order: &Order| {
            let step = order.destroy.step;
            order.expires > now && step.destroys() && (!forced || step == DestroyStep::AtOnce)
        };
        // Whoever was away would refuse for ever what was made under another roster (ROSTER_BEHIND).
        let is_of_another = |order: &Order| order.roster != roster.hash();
        let is_outdated = orders.iter().any(|one| lives(one) && is_of_another(one));
        let mut told: Vec<Order> = orders.into_iter().filter(lives).collect();
        if is_outdated {
            // What was commanded afresh, which those who have destroyed their shares do not act by.
            let all = self.destruction().orders.iter().filter_map(Order::read);
            told = all.filter(lives).collect();
        }
        told.retain(|one| !is_of_another(one));
        let told_until = told.iter().map(|order| order.expires).max();
        let told_of = |digest: &Digest| {
            let mut orders = told.iter();
            orders.any(|order| order.destroy.step.announcement() == Some(*digest))
        };
        let mut announced = self.announcements().into_iter();
        let could_take = match action {
            DestroyAction::AtOnce => told_until.is_none(),
            DestroyAction::Confirm(Some(named)) => !told_of(&named),
            DestroyAction::Confirm(None) | DestroyAction::Announce | DestroyAction::Cancel(_) => {
                announced.any(|one| !one.has_lapsed(now) && !told_of(&one.digest))
            }
        };
        if could_take && !count.is_complete() {
            return Ok(None);
        }
        let Some((digest, order)) = certificate.receipts.first().and_then(|receipt| {
            let signed = self.destruction().order(&receipt.command)?;
            Some((receipt.command, Order::read(signed)?))
        }) else {
            return Ok(None);
        };
        let missing = |nodes: &[NodeId]| -> Vec<(NodeId, Option<Refusal>)> {
            nodes.iter().map(|node| (node.clone(), None)).collect()
        };
        Ok(Some(TakenStep {
            id: order.id,
            digest,
            step: order.destroy.step,
            told_until: told_until.filter(|_| !count.is_complete()),
            is_outdated: is_outdated && told_until.is_none(),
            progress: DestructionProgress {
                receipts: certificate.receipts.clone(),
                missing_holders: missing(&count.missing_holders),
                missing_others: missing(&count.missing_others),
                certificate: Some((certificate, count)),
            },
        }))
    }
}
