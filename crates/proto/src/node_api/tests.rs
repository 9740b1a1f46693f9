use proptest::prelude::*;
use quorate_model::{
    Reason, Refusal,
    command::MAX_HOLDERS,
    node_api::{NodeReply, NodeRequest},
    share::MAX_SHARE_BATCH,
};

use super::*;
use crate::{arbitrary, node::v1 as pb, v1};

/// The request as a server reads it.
fn received(wire: WireRequest) -> Result<NodeRequest, Refusal> {
    match wire {
        WireRequest::GetStatus(wire) => wire.try_into(),
        WireRequest::ListKeys(wire) => wire.try_into(),
        WireRequest::MakeTickets(wire) => wire.try_into(),
        WireRequest::SignShares(wire) => wire.try_into(),
        WireRequest::ValidateCommand(wire) => wire.try_into(),
        WireRequest::BeginCeremony(wire) => wire.try_into(),
        WireRequest::AdvanceCeremony(wire) => wire.try_into(),
        WireRequest::ProveKey(wire) => wire.try_into(),
        WireRequest::ActivateKey(wire) => wire.try_into(),
        WireRequest::EraseEpochs(wire) => wire.try_into(),
        WireRequest::RecordEvidence(wire) => wire.try_into(),
        WireRequest::ReadAudit(wire) => wire.try_into(),
        WireRequest::AttestTime(wire) => wire.try_into(),
        WireRequest::ConfirmTime(wire) => wire.try_into(),
        WireRequest::BeginPairing(wire) => wire.try_into(),
        WireRequest::AdvancePairing(wire) => wire.try_into(),
        WireRequest::BeginSigning(wire) => wire.try_into(),
        WireRequest::AdvanceSigning(wire) => wire.try_into(),
        WireRequest::AttestAddress(wire) => wire.try_into(),
        WireRequest::SetKeyState(wire) => wire.try_into(),
        WireRequest::DestroyKey(wire) => wire.try_into(),
        WireRequest::ChangeRoster(wire) => wire.try_into(),
        WireRequest::ListRosters(wire) => wire.try_into(),
        WireRequest::AttestHeads(wire) => wire.try_into(),
        WireRequest::Readmit(wire) => wire.try_into(),
    }
}

/// The reply through the response type `W`.
fn through<W>(reply: NodeReply) -> Result<NodeReply, Refusal>
where
    W: TryFrom<NodeReply, Error = Refusal>,
    NodeReply: TryFrom<W, Error = Refusal>,
{
    W::try_from(reply).and_then(NodeReply::try_from)
}

/// The replies that each response type can carry; all others are refused.
fn carried(reply: &NodeReply) -> Vec<Result<NodeReply, Refusal>> {
    [
        through::<pb::GetStatusResponse>,
        through::<pb::ListKeysResponse>,
        through::<pb::MakeTicketsResponse>,
        through::<pb::SignSharesResponse>,
        through::<pb::ValidateCommandResponse>,
        through::<pb::BeginCeremonyResponse>,
        through::<pb::AdvanceCeremonyResponse>,
        through::<pb::ProveKeyResponse>,
        through::<pb::ActivateKeyResponse>,
        through::<pb::EraseEpochsResponse>,
        through::<pb::RecordEvidenceResponse>,
        through::<pb::ReadAuditResponse>,
        through::<pb::AttestTimeResponse>,
        through::<pb::ConfirmTimeResponse>,
        through::<pb::BeginPairingResponse>,
        through::<pb::AdvancePairingResponse>,
        through::<pb::BeginSigningResponse>,
        through::<pb::AdvanceSigningResponse>,
        through::<pb::AttestAddressResponse>,
        through::<pb::SetKeyStateResponse>,
        through::<pb::DestroyKeyResponse>,
        through::<pb::ChangeRosterResponse>,
        through::<pb::ListRostersResponse>,
        through::<pb::AttestHeadsResponse>,
        through::<pb::ReadmitResponse>,
    ]
    .map(|through| through(reply.clone()))
    .into()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_request_survives_the_wire(request in arbitrary::request()) {
        let wire = WireRequest::try_from(request.clone()).unwrap();

        prop_assert_eq!(received(wire), Ok(request));
    }

    #[test]
    fn a_reply_survives_the_responses_that_carry_its_kind_and_no_other(
        reply in arbitrary::reply(),
    ) {
        let methods = if reply == NodeReply::Done {
            3
        } else if matches!(
            reply,
            NodeReply::Ceremony(_) | NodeReply::Pairing(_) | NodeReply::Signing(_)
        ) {
            2
        } else {
            1
        };

        let (ok, refused): (Vec<_>, Vec<_>) = carried(&reply).into_iter().partition(Result::is_ok);

        prop_assert_eq!(ok.len(), methods);
        for back in ok {
            prop_assert_eq!(back.unwrap(), reply.clone());
        }
        for refusal in refused {
            prop_assert_eq!(refusal.unwrap_err().reason, Reason::Invariant);
        }
    }
}

fn refused(request: impl TryInto<NodeRequest, Error = Refusal>) -> (Reason, String) {
    let Err(refusal) = request.try_into() else {
        panic!("the request is accepted")
    };
    (
        refusal.reason,
        refusal.get("field").unwrap_or_default().to_owned(),
    )
}

#[test]
fn lists_longer_than_allowed_are_refused() {
    let requests = vec![pb::ShareRequest::default(); MAX_SHARE_BATCH + 1];
    let envelopes = vec![Vec::new(); 2 * MAX_HOLDERS + 1];
    let attempt = vec![0; 16];

    assert_eq!(
        refused(pb::SignSharesRequest { requests }),
        (Reason::TooLarge, "requests".to_owned())
    );
    assert_eq!(
        refused(pb::AdvanceCeremonyRequest {
            attempt,
            round: 0,
            envelopes
        }),
        (Reason::TooLarge, "envelopes".to_owned())
    );
    assert_eq!(
        refused(pb::ConfirmTimeRequest {
            attestations: vec![Vec::new(); 256]
        }),
        (Reason::TooLarge, "attestations".to_owned())
    );
    assert_eq!(
        refused(pb::RecordEvidenceRequest {
            evidence: vec![0; (1 << 20) + 1]
        }),
        (Reason::TooLarge, "evidence".to_owned())
    );
}

#[test]
fn malformed_fields_are_named() {
    let invalid = |field: &str| (Reason::RequestInvalid, field.to_owned());

    assert_eq!(
        refused(pb::GetStatusRequest { nonce: vec![0; 31] }),
        invalid("nonce")
    );
    assert_eq!(
        refused(pb::ListKeysRequest {
            after: Some("A".to_owned()),
            limit: 1
        }),
        invalid("after")
    );
    assert_eq!(
        refused(pb::MakeTicketsRequest {
            scheme: 0,
            count: 1
        }),
        invalid("scheme")
    );
    assert_eq!(
        refused(pb::ValidateCommandRequest { command: None }),
        invalid("command")
    );
    assert_eq!(
        refused(pb::BeginCeremonyRequest {
            attempt: vec![0; 15],
            command: Some(v1::SignedCommand::default()),
            epoch: 1,
            source: None,
        }),
        invalid("attempt")
    );
    assert_eq!(
        refused(pb::AdvanceCeremonyRequest {
            attempt: vec![0; 16],
            round: 256,
            envelopes: Vec::new(),
        }),
        invalid("round")
    );
    assert_eq!(
        refused(pb::ProveKeyRequest {
            certificate: Vec::new(),
            signing_set: vec![9]
        }),
        invalid("signing_set")
    );
    assert_eq!(
        refused(pb::ActivateKeyRequest {
            key: String::new(),
            epoch: 1,
            proof: Vec::new(),
            certificate: Vec::new(),
        }),
        invalid("key")
    );
    assert_eq!(
        refused(pb::AttestTimeRequest {
            challenge: vec![0; 33]
        }),
        invalid("challenge")
    );
}
