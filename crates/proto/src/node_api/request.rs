//! Requests to a node.

use quorate_model::{
    Epoch, Nonce32, PartyIndex, Reason, Refusal,
    certificate::MAX_CERTIFICATE_BYTES,
    command::MAX_HOLDERS,
    node_api::{MAX_ATTESTATIONS, MAX_ERASURES, NodeRequest, ReshareFrom, SigningRequest},
    payload::MAX_SIGNING_ITEMS,
    roster::MAX_NODES,
    share::{MAX_SHARE_BATCH, ShareRequest},
};

use crate::{
    convert::{
        Malformed, array, bounded, digest, known, list, name, path, present, small, store, stored,
    },
    limits::{MAX_CEREMONY, MAX_EVIDENCE_BYTES, MAX_NODE_REQUEST_BYTES},
    node::v1 as pb,
    types::signed_command,
    v1,
};

/// The most bytes of two certificates and a proof.
const MAX_EVIDENCE_OF_KEY: usize = 3 * MAX_CERTIFICATE_BYTES + 64;

/// A request in the form of the method that carries it.
#[derive(Clone, Debug, PartialEq)]
pub enum WireRequest {
    /// For `GetStatus`.
    GetStatus(pb::GetStatusRequest),
    /// For `ListKeys`.
    ListKeys(pb::ListKeysRequest),
    /// For `MakeTickets`.
    MakeTickets(pb::MakeTicketsRequest),
    /// For `SignShares`.
    SignShares(pb::SignSharesRequest),
    /// For `ValidateCommand`.
    ValidateCommand(pb::ValidateCommandRequest),
    /// For `BeginCeremony`.
    BeginCeremony(pb::BeginCeremonyRequest),
    /// For `AdvanceCeremony`.
    AdvanceCeremony(pb::AdvanceCeremonyRequest),
    /// For `ProveKey`.
    ProveKey(pb::ProveKeyRequest),
    /// For `ActivateKey`.
    ActivateKey(pb::ActivateKeyRequest),
    /// For `EraseEpochs`.
    EraseEpochs(pb::EraseEpochsRequest),
    /// For `RecordEvidence`.
    RecordEvidence(pb::RecordEvidenceRequest),
    /// For `ReadAudit`.
    ReadAudit(pb::ReadAuditRequest),
    /// For `AttestTime`.
    AttestTime(pb::AttestTimeRequest),
    /// For `ConfirmTime`.
    ConfirmTime(pb::ConfirmTimeRequest),
    /// For `BeginPairing`.
    BeginPairing(pb::BeginPairingRequest),
    /// For `AdvancePairing`.
    AdvancePairing(pb::AdvancePairingRequest),
    /// For `BeginSigning`.
    BeginSigning(pb::BeginSigningRequest),
    /// For `AdvanceSigning`.
    AdvanceSigning(pb::AdvanceSigningRequest),
    /// For `AttestAddress`.
    AttestAddress(pb::AttestAddressRequest),
    /// For `SetKeyState`.
    SetKeyState(pb::SetKeyStateRequest),
    /// For `DestroyKey`.
    DestroyKey(pb::DestroyKeyRequest),
    /// For `ChangeRoster`.
    ChangeRoster(pb::ChangeRosterRequest),
    /// For `ListRosters`.
    ListRosters(pb::ListRostersRequest),
    /// For `AttestHeads`.
    AttestHeads(pb::AttestHeadsRequest),
    /// For `Readmit`.
    Readmit(pb::ReadmitRequest),
}

impl TryFrom<NodeRequest> for WireRequest {
    type Error = Refusal;
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the others are converted by the function that is called for them"
    )]
    fn try_from(request: NodeRequest) -> Result<Self, Refusal> {
        Ok(match request {
            NodeRequest::Status { nonce } => Self::GetStatus(pb::GetStatusRequest {
                nonce: nonce.0.to_vec(),
            }),
            NodeRequest::ListKeys { after, limit } => Self::ListKeys(pb::ListKeysRequest {
                after: after.map(Into::into),
                limit,
            }),
            NodeRequest::MakeTickets { scheme, count } => {
                let scheme = v1::Scheme::from(scheme).into();
                Self::MakeTickets(pb::MakeTicketsRequest { scheme, count })
            }
            NodeRequest::SignShares { requests } => {
                let requests = requests
                    .into_iter()
                    .map(share_to_wire)
                    .collect::<Result<_, _>>()?;
                Self::SignShares(pb::SignSharesRequest { requests })
            }
            NodeRequest::Validate { command } => {
                let command = Some(command.into());
                Self::ValidateCommand(pb::ValidateCommandRequest { command })
            }
            NodeRequest::BeginCeremony {
                attempt,
                command,
                epoch,
                source,
            } => Self::BeginCeremony(pb::BeginCeremonyRequest {
                attempt: attempt.to_vec(),
                command: Some(command.into()),
                epoch: epoch.0,
                source: source.map(source_to_wire).transpose()?,
            }),
            NodeRequest::AdvanceCeremony {
                attempt,
                round,
                envelopes,
            } => Self::AdvanceCeremony(pb::AdvanceCeremonyRequest {
                attempt: attempt.to_vec(),
                round: round.into(),
                envelopes,
            }),
            NodeRequest::ProveKey { certificate, set } => {
                let signing_set = store(&set)?;
                Self::ProveKey(pb::ProveKeyRequest {
                    certificate,
                    signing_set,
                })
            }
            NodeRequest::ActivateKey {
                key,
                epoch,
                certificate,
                proof,
            } => Self::ActivateKey(pb::ActivateKeyRequest {
                key: key.into(),
                epoch: epoch.0,
                certificate,
                proof,
            }),
            NodeRequest::EraseEpochs { erasures } => {
                let erasures = erasures.iter().map(store).collect::<Result<_, _>>()?;
                Self::EraseEpochs(pb::EraseEpochsRequest { erasures })
            }
            NodeRequest::RecordEvidence { evidence } => {
                Self::RecordEvidence(pb::RecordEvidenceRequest { evidence })
            }
            NodeRequest::ReadAudit { from, limit } => Self::ReadAudit(pb::ReadAuditRequest {
                from_sequence: from,
                limit,
            }),
            NodeRequest::AttestTime { challenge } => Self::AttestTime(pb::AttestTimeRequest {
                challenge: challenge.0.to_vec(),
            }),
            NodeRequest::ConfirmTime { attestations } => {
                let attestations = attestations.iter().map(store).collect::<Result<_, _>>()?;
                Self::ConfirmTime(pb::ConfirmTimeRequest { attestations })
            }
            NodeRequest::SetKeyState { command } => Self::SetKeyState(pb::SetKeyStateRequest {
                command: Some(command.into()),
            }),
            NodeRequest::ChangeRoster { command } => Self::ChangeRoster(pb::ChangeRosterRequest {
                command: Some(command.into()),
            }),
            NodeRequest::ListRosters { since } => Self::ListRosters(pb::ListRostersRequest {
                since: since.as_bytes().to_vec(),
            }),
            NodeRequest::DestroyKey { command } => Self::DestroyKey(pb::DestroyKeyRequest {
                command: Some(command.into()),
            }),
            NodeRequest::AttestAddress { key, path, kind } => {
                Self::AttestAddress(pb::AttestAddressRequest {
                    key: key.into(),
                    path: path.steps().to_vec(),
                    kind: store(&kind)?,
                })
            }
            in_rounds => rounds_to_wire(in_rounds)?,
        })
    }
}

/// The requests of protocols in rounds other than key generation, and those that bring a restored
/// node back.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the others are converted where this is called"
)]
fn rounds_to_wire(request: NodeRequest) -> Result<WireRequest, Refusal> {
    Ok(match request {
        NodeRequest::AttestHeads { status, after } => {
            WireRequest::AttestHeads(pb::AttestHeadsRequest {
                status: store(&status)?,
                after: after.map(Into::into),
            })
        }
        NodeRequest::Readmit {
            attestations,
            command,
        } => WireRequest::Readmit(pb::ReadmitRequest {
            attestations: attestations.iter().map(store).collect::<Result<_, _>>()?,
            command: command.map(Into::into),
        }),
        NodeRequest::BeginPairing {
            attempt,
            certificate,
            holders,
        } => WireRequest::BeginPairing(pb::BeginPairingRequest {
            attempt: attempt.to_vec(),
            certificate,
            holders: numbers(&holders),
        }),
        NodeRequest::AdvancePairing {
            attempt,
            round,
            envelopes,
        } => WireRequest::AdvancePairing(pb::AdvancePairingRequest {
            attempt: attempt.to_vec(),
            round: round.into(),
            envelopes,
        }),
        NodeRequest::BeginSigning { attempt, request } => {
            WireRequest::BeginSigning(pb::BeginSigningRequest {
                attempt: attempt.to_vec(),
                command: Some(request.command.into()),
                key: request.key.into(),
                epoch: request.epoch.0,
                item: request.item,
                signers: numbers(&request.signers),
            })
        }
        NodeRequest::AdvanceSigning {
            attempt,
            round,
            envelopes,
        } => WireRequest::AdvanceSigning(pb::AdvanceSigningRequest {
            attempt: attempt.to_vec(),
            round: round.into(),
            envelopes,
        }),
        _ => {
            return Err(Refusal::new(
                Reason::Invariant,
                "the request has no wire form",
            ));
        }
    })
}

fn source_to_wire(source: ReshareFrom) -> Result<pb::ReshareFrom, Refusal> {
    Ok(pb::ReshareFrom {
        evidence: store(&source.evidence)?,
        dealers: source.dealers.into_iter().map(Into::into).collect(),
    })
}

fn source(wire: pb::ReshareFrom) -> Result<ReshareFrom, Malformed> {
    let evidence = bounded("source.evidence", wire.evidence, MAX_EVIDENCE_OF_KEY)?;
    Ok(ReshareFrom {
        evidence: stored("source.evidence", &evidence)?,
        dealers: list("source.dealers", wire.dealers, MAX_HOLDERS, |node| {
            name("source.dealers", node)
        })?,
    })
}

fn share_to_wire(request: ShareRequest) -> Result<pb::ShareRequest, Refusal> {
    Ok(pb::ShareRequest {
        command: Some(request.command.into()),
        key: request.key.into(),
        epoch: request.epoch.0,
        signing_sets: request.items.iter().map(store).collect::<Result<_, _>>()?,
    })
}

fn share(wire: pb::ShareRequest) -> Result<ShareRequest, Malformed> {
    Ok(ShareRequest {
        command: signed_command(present("requests.command", wire.command)?)?,
        key: name("requests.key", wire.key)?,
        epoch: Epoch(wire.epoch),
        items: list(
            "requests.signing_sets",
            wire.signing_sets,
            MAX_SIGNING_ITEMS,
            |bytes| stored("requests.signing_sets", &bytes),
        )?,
    })
}

fn numbers(indices: &[PartyIndex]) -> Vec<u32> {
    indices.iter().map(|index| index.number().into()).collect()
}

fn indices(field: &'static str, numbers: Vec<u32>) -> Result<Vec<PartyIndex>, Malformed> {
    list(field, numbers, MAX_HOLDERS, |number| {
        u16::try_from(number)
            .ok()
            .and_then(PartyIndex::new)
            .ok_or_else(|| Malformed::new(field, "is no index of a holder"))
    })
}

fn envelopes(wire: Vec<Vec<u8>>, most: usize) -> Result<Vec<Vec<u8>>, Malformed> {
    list("envelopes", wire, most, |envelope| {
        bounded("envelopes", envelope, MAX_NODE_REQUEST_BYTES)
    })
}

/// Reads the request of one method.
macro_rules! requests {
    ($($wire:ident($name:ident) $body:block)*) => {$(
        impl TryFrom<pb::$wire> for NodeRequest {
            type Error = Refusal;
            fn try_from($name: pb::$wire) -> Result<Self, Refusal> {
                Ok($body)
            }
        }
    )*};
}

requests! {
    GetStatusRequest(wire) {
        Self::Status { nonce: Nonce32(array("nonce", &wire.nonce)?) }
    }
    ListKeysRequest(wire) {
        let after = wire.after.map(|after| name("after", after)).transpose()?;
        Self::ListKeys { after, limit: wire.limit }
    }
    MakeTicketsRequest(wire) {
        let scheme = known::<v1::Scheme, _>("scheme", wire.scheme)?;
        Self::MakeTickets { scheme, count: wire.count }
    }
    SignSharesRequest(wire) {
        Self::SignShares { requests: list("requests", wire.requests, MAX_SHARE_BATCH, share)? }
    }
    ValidateCommandRequest(wire) {
        Self::Validate { command: signed_command(present("command", wire.command)?)? }
    }
    BeginCeremonyRequest(wire) {
        Self::BeginCeremony {
            attempt: array("attempt", &wire.attempt)?,
            command: signed_command(present("command", wire.command)?)?,
            epoch: Epoch(wire.epoch),
            source: wire.source.map(source).transpose()?,
        }
    }
    AdvanceCeremonyRequest(wire) {
        Self::AdvanceCeremony {
            attempt: array("attempt", &wire.attempt)?,
            round: small("round", wire.round)?,
            envelopes: envelopes(wire.envelopes, MAX_CEREMONY)?,
        }
    }
    ProveKeyRequest(wire) {
        Self::ProveKey {
            certificate: bounded("certificate", wire.certificate, MAX_CERTIFICATE_BYTES)?,
            set: stored("signing_set", &wire.signing_set)?,
        }
    }
    ActivateKeyRequest(wire) {
        Self::ActivateKey {
            key: name("key", wire.key)?,
            epoch: Epoch(wire.epoch),
            certificate: bounded("certificate", wire.certificate, MAX_CERTIFICATE_BYTES)?,
            proof: bounded("proof", wire.proof, MAX_CERTIFICATE_BYTES)?,
        }
    }
    EraseEpochsRequest(wire) {
        Self::EraseEpochs {
            erasures: list("erasures", wire.erasures, MAX_ERASURES, |bytes| {
                stored("erasures", &bytes)
            })?,
        }
    }
    RecordEvidenceRequest(wire) {
        Self::RecordEvidence { evidence: bounded("evidence", wire.evidence, MAX_EVIDENCE_BYTES)? }
    }
    ReadAuditRequest(wire) {
        Self::ReadAudit { from: wire.from_sequence, limit: wire.limit }
    }
    AttestTimeRequest(wire) {
        Self::AttestTime { challenge: Nonce32(array("challenge", &wire.challenge)?) }
    }
    ConfirmTimeRequest(wire) {
        Self::ConfirmTime {
            attestations: list("attestations", wire.attestations, MAX_NODES, |bytes| {
                stored("attestations", &bytes)
            })?,
        }
    }
    BeginPairingRequest(wire) {
        Self::BeginPairing {
            attempt: array("attempt", &wire.attempt)?,
            certificate: bounded("certificate", wire.certificate, MAX_CERTIFICATE_BYTES)?,
            holders: indices("holders", wire.holders)?,
        }
    }
    AdvancePairingRequest(wire) {
        Self::AdvancePairing {
            attempt: array("attempt", &wire.attempt)?,
            round: small("round", wire.round)?,
            envelopes: envelopes(wire.envelopes, MAX_HOLDERS)?,
        }
    }
    BeginSigningRequest(wire) {
        Self::BeginSigning {
            attempt: array("attempt", &wire.attempt)?,
            request: SigningRequest {
                command: signed_command(present("command", wire.command)?)?,
                key: name("key", wire.key)?,
                epoch: Epoch(wire.epoch),
                item: wire.item,
                signers: indices("signers", wire.signers)?,
            },
        }
    }
    AdvanceSigningRequest(wire) {
        Self::AdvanceSigning {
            attempt: array("attempt", &wire.attempt)?,
            round: small("round", wire.round)?,
            envelopes: envelopes(wire.envelopes, MAX_HOLDERS)?,
        }
    }
    ChangeRosterRequest(wire) {
        Self::ChangeRoster { command: signed_command(present("command", wire.command)?)? }
    }
    ListRostersRequest(wire) {
        Self::ListRosters { since: digest("since", &wire.since)? }
    }
    AttestHeadsRequest(wire) {
        Self::AttestHeads {
            status: stored("status", &wire.status)?,
            after: wire.after.map(|after| name("after", after)).transpose()?,
        }
    }
    ReadmitRequest(wire) {
        Self::Readmit {
            attestations: list("attestations", wire.attestations, MAX_ATTESTATIONS, |bytes| {
                stored("attestations", &bytes)
            })?,
            command: wire.command.map(signed_command).transpose()?,
        }
    }
    SetKeyStateRequest(wire) {
        Self::SetKeyState { command: signed_command(present("command", wire.command)?)? }
    }
    DestroyKeyRequest(wire) {
        Self::DestroyKey { command: signed_command(present("command", wire.command)?)? }
    }
    AttestAddressRequest(wire) {
        Self::AttestAddress {
            key: name("key", wire.key)?,
            path: path("path", wire.path)?,
            kind: stored("kind", &wire.kind)?,
        }
    }
}
