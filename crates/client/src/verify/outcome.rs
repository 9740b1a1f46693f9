//! What a command that signs came to, and who is shown to have taken part.

use std::collections::BTreeMap;

use quorate_intent::{ItemTweak, SigningItem};
use quorate_model::{
    Digest, Epoch, KeyName, KeyRecord, NodeId,
    operation::SignOutcome,
    share::{ShareReceipt, signed_message_hash, whole_signature_hash},
};

use super::{ReceiptChecker, VerificationError, Verifiers};

/// Fewer never make a key.
const LEAST_THRESHOLD: usize = 2;

/// Checks the outcome of a command that signs: that it is of this key and command, that each
/// signature verifies, and that exactly the signers that it names have signed shares for it.
///
/// The signatures of every epoch verify under the same key. Who held it in an epoch that is over
/// cannot be looked up any more: of those signers it is checked that each of them signed what it
/// did, and not that they were as many as the threshold was. An outcome of a later epoch than that
/// of the record is refused.
pub(crate) fn outcome(
    record: &KeyRecord,
    verifiers: &Verifiers,
    command: &Digest,
    items: &[&SigningItem],
    outcome: &SignOutcome,
    receipts: &ReceiptChecker,
) -> Result<(), VerificationError> {
    if outcome.key != record.name || outcome.scheme != record.scheme {
        return Err(VerificationError::OtherOutcome("it is another key's"));
    }
    if outcome.epoch > record.epoch {
        return Err(VerificationError::OtherEpoch {
            key: record.name.clone(),
            made: outcome.epoch,
            shown: record.epoch,
        });
    }
    if outcome.signatures.len() != items.len() {
        return Err(VerificationError::OtherOutcome(
            "it holds another number of signatures",
        ));
    }
    for (at, (item, signature)) in items.iter().zip(&outcome.signatures).enumerate() {
        verifiers
            .signature(record, &item.path, item.tweak, &item.message, signature)
            .map_err(|()| VerificationError::BadSignature(at))?;
    }
    let messages: Vec<_> = items
        .iter()
        .map(|item| {
            let is_taproot = item.tweak == ItemTweak::TaprootKeyPath;
            signed_message_hash(&item.message, &item.path, is_taproot)
        })
        .collect();
    let signed = Signed {
        committee: Committee::of(record, outcome, messages.len()),
        command,
        messages: &messages,
        outcome,
        receipts,
    };
    if record.scheme.is_frost() {
        signed.check_together()
    } else {
        signed.check_in_rounds()
    }
}

/// Who may sign in the epoch of an outcome.
struct Committee<'a> {
    key: &'a KeyName,
    epoch: Epoch,
    threshold: usize,
    /// In which order the signers stand.
    ranks: BTreeMap<&'a NodeId, usize>,
}

impl<'a> Committee<'a> {
    fn of(record: &'a KeyRecord, outcome: &'a SignOutcome, messages: usize) -> Self {
        let is_current = outcome.epoch == record.epoch;
        let (threshold, ranks) = if is_current {
            let holders = record.participants.iter();
            let ranks = holders.map(|p| (&p.node, usize::from(p.index.number())));
            (usize::from(record.threshold), ranks.collect())
        } else {
            let of_each = if record.scheme.is_frost() {
                outcome.signers.len()
            } else {
                outcome.receipts.len().checked_div(messages).unwrap_or(0)
            };
            let ranks = outcome.signers.iter().enumerate();
            (
                of_each.max(LEAST_THRESHOLD),
                ranks.map(|(rank, node)| (node, rank)).collect(),
            )
        };
        Self {
            key: &record.name,
            epoch: outcome.epoch,
            threshold,
            ranks,
        }
    }
}

/// Signatures that verify, with what is said about their signers.
struct Signed<'a> {
    committee: Committee<'a>,
    command: &'a Digest,
    messages: &'a [Digest],
    outcome: &'a SignOutcome,
    receipts: &'a ReceiptChecker,
}

impl Signed<'_> {
    /// Whether a receipt is of this key, epoch and command.
    fn is_of_it(&self, receipt: &ShareReceipt) -> bool {
        let statement = &receipt.statement;
        statement.key == *self.committee.key
            && statement.epoch == self.committee.epoch
            && statement.command == *self.command
    }

    /// Where each message is signed by itself, t holders state for each that they took part in
    /// exactly this signature, all in one session.
    fn check_in_rounds(&self) -> Result<(), VerificationError> {
        let other = Err(VerificationError::OtherOutcome(
            "its signers are not t holders of the key for every message",
        ));
        let (outcome, threshold) = (self.outcome, self.committee.threshold);
        if outcome.receipts.len() != self.messages.len().saturating_mul(threshold) {
            return other;
        }
        let mut all = BTreeMap::new();
        let signed = self.messages.iter().zip(&outcome.signatures);
        for ((message, signature), group) in signed.zip(outcome.receipts.chunks(threshold)) {
            let made = whole_signature_hash(signature);
            let mut session = None;
            let mut before = None;
            for receipt in group {
                let statement = &receipt.statement;
                let Some(rank) = self.committee.ranks.get(&statement.node) else {
                    return other;
                };
                let [item] = statement.items.as_slice() else {
                    return Err(VerificationError::BadReceipt(statement.node.clone()));
                };
                let fits = self.is_of_it(receipt)
                    && item.message == *message
                    && item.share == *made.as_bytes()
                    && *session.get_or_insert(item.signing_set) == item.signing_set;
                if !fits || !self.receipts.holds(receipt) {
                    return Err(VerificationError::BadReceipt(statement.node.clone()));
                }
                if before.is_some_and(|before| before >= rank) {
                    return other;
                }
                before = Some(rank);
                all.insert(rank, &statement.node);
            }
        }
        if all.into_values().eq(&outcome.signers) {
            Ok(())
        } else {
            other
        }
    }

    fn check_together(&self) -> Result<(), VerificationError> {
        let outcome = self.outcome;
        let ranks = outcome.signers.iter();
        let ranks: Option<Vec<_>> = ranks.map(|node| self.committee.ranks.get(node)).collect();
        let are_threshold = outcome.signers.len() == self.committee.threshold
            && outcome.receipts.len() == outcome.signers.len()
            && ranks.is_some_and(|ranks| ranks.is_sorted_by(|a, b| a < b));
        if !are_threshold {
            return Err(VerificationError::OtherOutcome(
                "its signers are not t holders of the key",
            ));
        }
        for (node, receipt) in outcome.signers.iter().zip(&outcome.receipts) {
            let statement = &receipt.statement;
            let items = statement.items.iter();
            let fits = statement.node == *node
                && self.is_of_it(receipt)
                && items.map(|item| &item.message).eq(self.messages);
            if !fits || !self.receipts.holds(receipt) {
                return Err(VerificationError::BadReceipt(node.clone()));
            }
        }
        Ok(())
    }
}
