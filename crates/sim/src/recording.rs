//! What a relay could have recorded: every byte that passed between nodes and coordinators.

use std::collections::BTreeSet;

use prost::Message;
use quorate_model::{
    NodeId,
    node_api::{NodeReply, NodeRequest},
    wire,
};
use quorate_proto::{node::v1 as pb, node_api::WireRequest};
use quorate_protocol::{
    dkg::{Hello, round},
    envelope::Envelope,
};

/// Everything that passed, with the public points that were seen in it.
#[derive(Default)]
pub(crate) struct Recording {
    /// Requests and replies as they are on the wire, each once.
    pub(crate) passed: BTreeSet<Vec<u8>>,
    /// The keys to which shares of new keys were sealed.
    pub(crate) session_keys: BTreeSet<[u8; 32]>,
    /// The commitments to nonces, with the node that keeps the nonces.
    pub(crate) commitments: BTreeSet<(NodeId, Vec<u8>)>,
}

impl Recording {
    /// Notes what a node was asked.
    pub(crate) fn request(&mut self, request: &NodeRequest) {
        if let Ok(wire) = WireRequest::try_from(request.clone()) {
            self.passed.insert(request_bytes(&wire));
        }
    }

    /// Notes what a node answered.
    pub(crate) fn reply(&mut self, reply: &NodeReply) {
        self.passed.extend(reply_bytes(reply.clone()));
        match reply {
            NodeReply::Ceremony(ceremony) if ceremony.round == round::HELLO => {
                let hellos = ceremony
                    .envelopes
                    .iter()
                    .filter_map(|bytes| Envelope::from_bytes(bytes).ok())
                    .filter_map(|envelope| wire::decode::<Hello>(&envelope.body).ok());
                for hello in hellos {
                    self.session_keys
                        .extend(hello.session_keys.into_iter().map(|(_, key)| key));
                }
            }
            NodeReply::Tickets(batch) => {
                for ticket in &batch.tickets {
                    let pair = &ticket.commitments;
                    for point in [&pair.hiding, &pair.binding] {
                        self.commitments.insert((batch.node.clone(), point.clone()));
                    }
                }
            }
            _ => {}
        }
    }
}

fn request_bytes(request: &WireRequest) -> Vec<u8> {
    match request {
        WireRequest::GetStatus(wire) => wire.encode_to_vec(),
        WireRequest::ListKeys(wire) => wire.encode_to_vec(),
        WireRequest::MakeTickets(wire) => wire.encode_to_vec(),
        WireRequest::SignShares(wire) => wire.encode_to_vec(),
        WireRequest::ValidateCommand(wire) => wire.encode_to_vec(),
        WireRequest::BeginCeremony(wire) => wire.encode_to_vec(),
        WireRequest::AdvanceCeremony(wire) => wire.encode_to_vec(),
        WireRequest::ProveKey(wire) => wire.encode_to_vec(),
        WireRequest::ActivateKey(wire) => wire.encode_to_vec(),
        WireRequest::RecordEvidence(wire) => wire.encode_to_vec(),
        WireRequest::ReadAudit(wire) => wire.encode_to_vec(),
        WireRequest::AttestTime(wire) => wire.encode_to_vec(),
        WireRequest::ConfirmTime(wire) => wire.encode_to_vec(),
        WireRequest::BeginPairing(wire) => wire.encode_to_vec(),
        WireRequest::AdvancePairing(wire) => wire.encode_to_vec(),
        WireRequest::BeginSigning(wire) => wire.encode_to_vec(),
        WireRequest::AdvanceSigning(wire) => wire.encode_to_vec(),
        WireRequest::AttestAddress(wire) => wire.encode_to_vec(),
        WireRequest::SetKeyState(wire) => wire.encode_to_vec(),
        WireRequest::DestroyKey(wire) => wire.encode_to_vec(),
        WireRequest::EraseEpochs(wire) => wire.encode_to_vec(),
        WireRequest::ChangeRoster(wire) => wire.encode_to_vec(),
        WireRequest::ListRosters(wire) => wire.encode_to_vec(),
        WireRequest::AttestHeads(wire) => wire.encode_to_vec(),
        WireRequest::Readmit(wire) => wire.encode_to_vec(),
    }
}

fn reply_bytes(reply: NodeReply) -> Option<Vec<u8>> {
    fn encoded<T: Message + TryFrom<NodeReply>>(reply: NodeReply) -> Option<Vec<u8>> {
        T::try_from(reply).ok().map(|wire| wire.encode_to_vec())
    }
    match reply {
        NodeReply::Status(_) => encoded::<pb::GetStatusResponse>(reply),
        NodeReply::Keys(_) => encoded::<pb::ListKeysResponse>(reply),
        NodeReply::Tickets(_) => encoded::<pb::MakeTicketsResponse>(reply),
        NodeReply::Shares(_) => encoded::<pb::SignSharesResponse>(reply),
        NodeReply::Ceremony(_) => encoded::<pb::AdvanceCeremonyResponse>(reply),
        NodeReply::Proved(_) => encoded::<pb::ProveKeyResponse>(reply),
        NodeReply::Activated(_) => encoded::<pb::ActivateKeyResponse>(reply),
        NodeReply::Audit(_) => encoded::<pb::ReadAuditResponse>(reply),
        NodeReply::Time(_) => encoded::<pb::AttestTimeResponse>(reply),
        NodeReply::Pairing(_) => encoded::<pb::AdvancePairingResponse>(reply),
        NodeReply::Signing(_) => encoded::<pb::AdvanceSigningResponse>(reply),
        NodeReply::StateSet(_) => encoded::<pb::SetKeyStateResponse>(reply),
        NodeReply::Destruction(_) => encoded::<pb::DestroyKeyResponse>(reply),
        NodeReply::Erased(_) => encoded::<pb::EraseEpochsResponse>(reply),
        NodeReply::RosterChanged(_) => encoded::<pb::ChangeRosterResponse>(reply),
        NodeReply::Rosters(_) => encoded::<pb::ListRostersResponse>(reply),
        NodeReply::Heads(_) => encoded::<pb::AttestHeadsResponse>(reply),
        NodeReply::Readmission(_) => encoded::<pb::ReadmitResponse>(reply),
        NodeReply::Address(_) => encoded::<pb::AttestAddressResponse>(reply),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
