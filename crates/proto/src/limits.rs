//! Size limits of whole messages. A receiver cuts off what is larger before it decodes anything.

use quorate_model::{
    command::MAX_HOLDERS,
    payload::MAX_SIGNING_ITEMS,
    share::{MAX_SHARE_BATCH, ShareRequest},
};

/// The largest request to the public API: a command of 4 MiB, its endorsements, and room.
pub const MAX_PUBLIC_REQUEST_BYTES: usize = 8 << 20;

/// The largest answer of the public API.
pub const MAX_PUBLIC_REPLY_BYTES: usize = 32 << 20;

/// The largest request to a node: one share request with a command of 4 MiB and the signing sets of
/// 1,024 messages by 32 signers. Batches are smaller.
pub const MAX_NODE_REQUEST_BYTES: usize = 8 << 20;

/// The largest answer of a node: the last messages of a pairwise set-up between 32 holders. Pages
/// are smaller.
pub const MAX_NODE_REPLY_BYTES: usize = 6 << 20;

/// The largest page of a node's keys or of its journal.
pub const MAX_PAGE_BYTES: usize = 4 << 20;

/// The most items on a page of the public API.
pub const MAX_PUBLIC_PAGE: usize = 1_000;

/// The most who take part in a ceremony: those who deal shares again, and those who receive.
pub(crate) const MAX_CEREMONY: usize = 2 * MAX_HOLDERS;

/// The most keys or records on a page of a node.
pub const MAX_NODE_PAGE: usize = 1 << 16;

/// The most signatures below a roster: every principal that one can list.
pub const MAX_ROSTER_SIGNATURES: usize = 4_096;

/// The most variable parts of a refusal.
pub const MAX_REFUSAL_PARTS: usize = 64;

/// The largest evidence, in bytes.
pub const MAX_EVIDENCE_BYTES: usize = 1 << 20;

/// What is enough for a request or an answer that holds no command, no certificate and no page.
const SMALL_BYTES: usize = 256 << 10;

/// What a list takes for each of its elements before these have any content, as vectors grow to
/// twice their length: nothing to speak of but for the signing sets of a whole batch.
const SIGNING_SETS_BYTES: usize = MAX_SHARE_BATCH * MAX_SIGNING_ITEMS * 2 * size_of::<Vec<u8>>();

/// What an endorsement takes at the most on the wire: a principal's name, a role, a signature.
const ENDORSEMENT_BYTES: usize = 192;

/// What an entry of a signing set takes beside its commitments.
const SET_ENTRY_BYTES: usize = 32;

/// What a share request takes beside command, endorsements and signing sets.
const SHARE_REQUEST_BYTES: usize = 128;

/// How large one call to a node may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallLimits {
    /// The largest request, in bytes.
    pub request: usize,
    /// The largest answer, in bytes.
    pub reply: usize,
    /// What the lists of a decoded request take beside the content of their elements, in bytes.
    pub lists: usize,
}

/// The limits of a method of the node API, by its HTTP path. What is no method has small ones.
pub fn node_call(path: &str) -> CallLimits {
    let method = path.rsplit('/').next().unwrap_or_default();
    let (request, reply) = match method {
        "SignShares" => (MAX_NODE_REQUEST_BYTES, MAX_PAGE_BYTES),
        "ValidateCommand" | "BeginSigning" | "SetKeyState" | "DestroyKey" | "ChangeRoster" => {
            (MAX_NODE_REQUEST_BYTES, SMALL_BYTES)
        }
        // An envelope has at most 64 KiB, and there are at most 64.
        "AdvanceCeremony" => (5 << 20, 3 << 20),
        // Here one has at most 160 KiB.
        "AdvancePairing" => (MAX_NODE_REPLY_BYTES, MAX_NODE_REPLY_BYTES),
        // Where no shape is fragile, at most 15 others sign.
        "AdvanceSigning" => (2 << 20, 2 << 20),
        // A certificate, a proof or evidence, of 1 MiB each.
        "ProveKey" | "ActivateKey" | "RecordEvidence" | "BeginPairing" => {
            (MAX_PAGE_BYTES, SMALL_BYTES)
        }
        // Receipts of 32 holders for each of 256 keys; one page of heads, or a few that are small.
        "EraseEpochs" | "Readmit" => (MAX_PAGE_BYTES, SMALL_BYTES),
        // Two certificates and a proof, of 1 MiB each.
        "BeginCeremony" => (MAX_PAGE_BYTES, MAX_PAGE_BYTES),
        "ListKeys" | "ReadAudit" | "AttestHeads" | "ListRosters" => (SMALL_BYTES, MAX_PAGE_BYTES),
        _ => (SMALL_BYTES, SMALL_BYTES),
    };
    let lists = if method == "SignShares" {
        SIGNING_SETS_BYTES
    } else {
        0
    };
    CallLimits {
        request,
        reply,
        lists,
    }
}

/// At most how many bytes a share request takes on the wire.
pub fn share_request_bytes(request: &ShareRequest) -> usize {
    let command = request.command.bytes.len();
    let endorsements = request
        .command
        .endorsements
        .len()
        .saturating_mul(ENDORSEMENT_BYTES);
    let sets = request
        .items
        .iter()
        .map(|set| {
            set.entries.iter().fold(SET_ENTRY_BYTES, |sum, entry| {
                sum.saturating_add(SET_ENTRY_BYTES)
                    .saturating_add(entry.commitments.hiding.len())
                    .saturating_add(entry.commitments.binding.len())
            })
        })
        .fold(0usize, usize::saturating_add);
    [command, endorsements, sets, SHARE_REQUEST_BYTES]
        .into_iter()
        .fold(0, usize::saturating_add)
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use quorate_model::{
        Epoch, PartyIndex, TicketId,
        command::{
            Endorsement, EndorsementKind, MAX_COMMAND_BYTES, MAX_ENDORSEMENTS, SignedCommand,
        },
        identity::Signature,
        node_api::NodeRequest,
        roster::Role,
        share::{Commitments, SetEntry, SetOfSigners},
    };

    use super::*;
    use crate::node_api::WireRequest;

    /// A request with a command of so many bytes, for so many messages by so many signers.
    fn request(bytes: usize, endorsements: usize, items: usize, signers: u16) -> ShareRequest {
        let long = "a".repeat(63);
        let endorsement = Endorsement {
            principal: long.parse().unwrap(),
            kind: EndorsementKind::Propose,
            role: Role::Client,
            signature: Signature([255; 64]),
        };
        let entry = |signer| SetEntry {
            signer: PartyIndex::new(signer).unwrap(),
            ticket: TicketId([255; 16]),
            commitments: Commitments {
                hiding: vec![255; 33],
                binding: vec![255; 33],
            },
        };
        let set = SetOfSigners {
            // The highest indices take the most bytes.
            entries: (0..signers)
                .map(|at| entry(u16::MAX.saturating_sub(at)))
                .collect(),
        };
        ShareRequest {
            command: SignedCommand {
                bytes: vec![255; bytes],
                endorsements: vec![endorsement; endorsements],
            },
            key: long.parse().unwrap(),
            epoch: Epoch(u32::MAX),
            items: vec![set; items],
        }
    }

    fn encoded(requests: Vec<ShareRequest>) -> usize {
        let request = NodeRequest::SignShares { requests };
        let WireRequest::SignShares(wire) = WireRequest::try_from(request).unwrap() else {
            panic!("another kind of request");
        };
        wire.encoded_len()
    }

    #[test]
    fn a_share_request_takes_at_most_what_is_reckoned() {
        for (bytes, endorsements, items, signers) in [
            (0, 0, 0, 0),
            (0, 0, 1, 1),
            (200, 1, 1, 2),
            (1 << 20, MAX_ENDORSEMENTS, 256, 32),
            (1, 1, 1_024, 2),
        ] {
            let request = request(bytes, endorsements, items, signers);
            let reckoned = share_request_bytes(&request);

            assert!(encoded(vec![request]) <= reckoned);
        }
    }

    #[test]
    fn the_largest_share_request_fits_its_call() {
        let largest = request(MAX_COMMAND_BYTES, MAX_ENDORSEMENTS, MAX_SIGNING_ITEMS, 32);

        assert!(share_request_bytes(&largest) <= node_call("/x/SignShares").request);
        assert!(encoded(vec![largest]) <= MAX_NODE_REQUEST_BYTES);
    }

    #[test]
    fn no_call_is_larger_than_messages_may_be() {
        for service in ["SignShares", "ValidateCommand", "AdvanceCeremony", "Other"] {
            let limits = node_call(&format!("/quorate.node.v1.NodeService/{service}"));

            assert!(limits.request <= MAX_NODE_REQUEST_BYTES);
            assert!(limits.reply <= MAX_NODE_REPLY_BYTES);
        }
    }
}
