//! Evidence against peers (P16).

use std::sync::Arc;

use quorate_model::{
    NodeId, Reason, Refusal,
    audit::Entry,
    node_api::NodeReply,
    tagged::{Tag, digest_of},
};
use quorate_protocol::evidence::{self, Evidence};

use super::{Context, Fatal, NodeCore, Outcome, Pending, Subject, activation::refused, lock};
use crate::disk::Disk;

/// The most bytes of evidence that a node records.
const MAX_EVIDENCE_BYTES: usize = 256 * 1024;

/// The most pieces of evidence against one node that are recorded in one run of the process.
const MAX_EVIDENCE_PER_NODE: usize = 16;

impl<D: Disk + 'static> NodeCore<D> {
    /// Takes evidence against a peer into the audit log, if it proves anything (P16).
    pub(super) fn record_evidence(
        self: &Arc<Self>,
        context: &mut Context<'_>,
        evidence: Vec<u8>,
    ) -> Result<Outcome, Fatal> {
        if evidence.len() > MAX_EVIDENCE_BYTES {
            return Ok(refused(Refusal::new(
                Reason::TooLarge,
                format!(
                    "the evidence has {} bytes, at most {MAX_EVIDENCE_BYTES}",
                    evidence.len()
                ),
            )));
        }
        let parsed = Evidence::from_bytes(&evidence);
        // A signature share is judged by the key that it claims to be of, as this node knows it.
        let key = match &parsed {
            Ok(Evidence::BadSignatureShare(share)) => self.load(&share.receipt.statement.key)?.ok(),
            _ => None,
        };
        let signing = key.as_ref().map(|key| evidence::SigningFacts {
            key: &key.record.name,
            epoch: key.record.epoch,
            participants: &key.record.participants,
            keys: &key.public,
            chain_code: &key.record.chain_code,
        });
        let blamed = parsed
            .map_err(|error| error.to_string())
            .and_then(|evidence| {
                let identity_of =
                    |node: &NodeId| self.pinned().card(node).map(|card| card.identity_key);
                let facts = evidence::Facts {
                    identity_of: &identity_of,
                    signing,
                };
                evidence.verify(&facts).map_err(|error| error.to_string())
            });
        let blamed = match blamed {
            Ok(blamed) => blamed.node,
            Err(why) => {
                let refusal = Refusal::new(
                    Reason::ProtocolViolation,
                    format!("the evidence proves nothing: {why}"),
                );
                return self.refused(context, Subject::default(), refusal);
            }
        };
        let mut state = lock(&self.state);
        let digest = digest_of(Tag::Audit, &evidence);
        let seen = state.blamed.entry(blamed.clone()).or_default();
        if seen.contains(&digest) {
            return Ok(Outcome::Ready(Ok(NodeReply::Done)));
        }
        if seen.len() >= MAX_EVIDENCE_PER_NODE || !state.refusals.take(context.reading.monotonic_ms)
        {
            return Ok(refused(Refusal::new(
                Reason::Overloaded,
                "too much evidence at once: try again later",
            )));
        }
        let time = state.clock.elapsed(context.reading);
        let entry = Entry::PeerBlamed {
            node: blamed.clone(),
            evidence,
        };
        let appended = self.record(&mut state, time, vec![entry])?;
        state.blamed.entry(blamed).or_default().insert(digest);
        Ok(Pending::answer(appended, |_| Ok(NodeReply::Done)))
    }
}
