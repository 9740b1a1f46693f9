//! The node's gRPC service: generated types become model types here, and go no further.

use std::{future::Future, sync::Arc};

use quorate_model::{
    CoordinatorId, Refusal,
    node_api::{NodeReply, NodeRequest},
};
use quorate_proto::{
    limits::{CallLimits, node_call},
    node::v1 as pb,
    status::to_status,
};
use tonic::{Request, Response, Status};

use pb::node_service_server::{NodeService, NodeServiceServer};

/// Answers the requests of coordinators.
pub trait HandleRequests: Send + Sync + 'static {
    /// Answers one request of a coordinator whose TLS key was checked against the roster.
    fn handle(
        &self,
        caller: CoordinatorId,
        request: NodeRequest,
    ) -> impl Future<Output = Result<NodeReply, Refusal>> + Send;
}

/// The service on one connection: all that arrives on it comes from one coordinator.
pub struct NodeGrpc<H> {
    handler: Arc<H>,
    caller: CoordinatorId,
}

impl<H: HandleRequests> NodeGrpc<H> {
    /// The service for a connection to this coordinator.
    pub fn new(handler: Arc<H>, caller: CoordinatorId) -> Self {
        Self { handler, caller }
    }

    /// The service as a server. It allows small messages only, until [`within`] allows more.
    pub fn into_server(self) -> NodeServiceServer<Self> {
        let small = node_call("");
        within(NodeServiceServer::new(self), small)
    }

    async fn answer<Q, R>(&self, request: Request<Q>) -> Result<Response<R>, Status>
    where
        NodeRequest: TryFrom<Q, Error = Refusal>,
        R: TryFrom<NodeReply, Error = Refusal>,
    {
        let request =
            NodeRequest::try_from(request.into_inner()).map_err(|refusal| to_status(&refusal))?;
        self.handler
            .handle(self.caller.clone(), request)
            .await
            .and_then(R::try_from)
            .map(Response::new)
            .map_err(|refusal| to_status(&refusal))
    }
}

/// The server for one call, which cuts off messages that are too large for it.
pub fn within<H>(
    server: NodeServiceServer<NodeGrpc<H>>,
    limits: CallLimits,
) -> NodeServiceServer<NodeGrpc<H>> {
    server
        .max_decoding_message_size(limits.request)
        .max_encoding_message_size(limits.reply)
}

/// Every method is the same: convert, handle, convert.
macro_rules! methods {
    ($($method:ident($request:ident) -> $response:ident;)*) => {
        #[tonic::async_trait]
        impl<H: HandleRequests> NodeService for NodeGrpc<H> {$(
            async fn $method(
                &self,
                request: Request<pb::$request>,
            ) -> Result<Response<pb::$response>, Status> {
                self.answer(request).await
            }
        )*}
    };
}

methods! {
    get_status(GetStatusRequest) -> GetStatusResponse;
    list_keys(ListKeysRequest) -> ListKeysResponse;
    make_tickets(MakeTicketsRequest) -> MakeTicketsResponse;
    sign_shares(SignSharesRequest) -> SignSharesResponse;
    validate_command(ValidateCommandRequest) -> ValidateCommandResponse;
    begin_ceremony(BeginCeremonyRequest) -> BeginCeremonyResponse;
    advance_ceremony(AdvanceCeremonyRequest) -> AdvanceCeremonyResponse;
    prove_key(ProveKeyRequest) -> ProveKeyResponse;
    activate_key(ActivateKeyRequest) -> ActivateKeyResponse;
    record_evidence(RecordEvidenceRequest) -> RecordEvidenceResponse;
    read_audit(ReadAuditRequest) -> ReadAuditResponse;
    attest_time(AttestTimeRequest) -> AttestTimeResponse;
    confirm_time(ConfirmTimeRequest) -> ConfirmTimeResponse;
    begin_pairing(BeginPairingRequest) -> BeginPairingResponse;
    advance_pairing(AdvancePairingRequest) -> AdvancePairingResponse;
    begin_signing(BeginSigningRequest) -> BeginSigningResponse;
    advance_signing(AdvanceSigningRequest) -> AdvanceSigningResponse;
    attest_address(AttestAddressRequest) -> AttestAddressResponse;
    set_key_state(SetKeyStateRequest) -> SetKeyStateResponse;
    destroy_key(DestroyKeyRequest) -> DestroyKeyResponse;
    change_roster(ChangeRosterRequest) -> ChangeRosterResponse;
    list_rosters(ListRostersRequest) -> ListRostersResponse;
    erase_epochs(EraseEpochsRequest) -> EraseEpochsResponse;
    attest_heads(AttestHeadsRequest) -> AttestHeadsResponse;
    readmit(ReadmitRequest) -> ReadmitResponse;
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use quorate_model::Reason;
    use quorate_proto::status::from_status;

    use super::*;

    /// Remembers what it was asked and gives a fixed answer.
    struct Fixed {
        asked: Mutex<Vec<(CoordinatorId, NodeRequest)>>,
        answer: Result<NodeReply, Refusal>,
    }

    impl HandleRequests for Fixed {
        async fn handle(
            &self,
            caller: CoordinatorId,
            request: NodeRequest,
        ) -> Result<NodeReply, Refusal> {
            self.asked.lock().unwrap().push((caller, request));
            self.answer.clone()
        }
    }

    fn service(answer: Result<NodeReply, Refusal>) -> (Arc<Fixed>, NodeGrpc<Fixed>) {
        let fixed = Arc::new(Fixed {
            asked: Mutex::default(),
            answer,
        });
        (Arc::clone(&fixed), NodeGrpc::new(fixed, caller()))
    }

    fn caller() -> CoordinatorId {
        "coordinator-1".parse().unwrap()
    }

    #[tokio::test]
    async fn a_request_reaches_the_handler_with_its_caller() {
        let (fixed, grpc) = service(Ok(NodeReply::Done));
        let wire = pb::RecordEvidenceRequest {
            evidence: vec![1, 2],
        };

        grpc.record_evidence(Request::new(wire)).await.unwrap();

        let asked = fixed.asked.lock().unwrap().clone();
        assert_eq!(
            asked,
            [(
                caller(),
                NodeRequest::RecordEvidence {
                    evidence: vec![1, 2]
                }
            )]
        );
    }

    #[tokio::test]
    async fn a_malformed_request_never_reaches_the_handler() {
        let (fixed, grpc) = service(Ok(NodeReply::Done));
        let wire = pb::GetStatusRequest { nonce: vec![0; 31] };

        let status = grpc.get_status(Request::new(wire)).await.unwrap_err();

        assert_eq!(from_status(&status).unwrap().reason, Reason::RequestInvalid);
        assert!(fixed.asked.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_refusal_travels_with_its_reason() {
        let refusal = Refusal::new(Reason::ClockSuspect, "the clock is in doubt");
        let (_, grpc) = service(Err(refusal.clone()));
        let wire = pb::AttestTimeRequest {
            challenge: vec![0; 32],
        };

        let status = grpc.attest_time(Request::new(wire)).await.unwrap_err();

        assert_eq!(from_status(&status), Some(refusal));
    }

    #[tokio::test]
    async fn a_reply_of_another_kind_is_a_bug_and_not_an_answer() {
        let (_, grpc) = service(Ok(NodeReply::Done));
        let wire = pb::ReadAuditRequest::default();

        let status = grpc.read_audit(Request::new(wire)).await.unwrap_err();

        assert_eq!(from_status(&status).unwrap().reason, Reason::Invariant);
    }
}
