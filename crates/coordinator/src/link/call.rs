//! One call over a link: model types in, model types out.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use hyper::{body::Incoming, client::conn::http2::SendRequest};
use quorate_model::{
    Reason, Refusal,
    node_api::{NodeReply, NodeRequest},
};
use quorate_proto::{
    limits::{MAX_NODE_REPLY_BYTES, MAX_NODE_REQUEST_BYTES},
    node::v1::node_service_client::NodeServiceClient,
    node_api::WireRequest,
    status::from_status,
};
use tonic::{
    Code, Status,
    body::Body,
    codegen::{Service, http},
};

use super::CallError;

pub(super) type Client = NodeServiceClient<Connection>;

/// A client on an established connection.
pub(super) fn client(sender: SendRequest<Body>) -> Client {
    // HTTP/2 wants an authority; the connection itself says who is asked.
    let origin = http::Uri::from_static("http://node");
    NodeServiceClient::with_origin(Connection(sender), origin)
        .max_decoding_message_size(MAX_NODE_REPLY_BYTES)
        .max_encoding_message_size(MAX_NODE_REQUEST_BYTES)
}

/// An HTTP/2 connection as the generated client wants it.
#[derive(Clone)]
pub(super) struct Connection(SendRequest<Body>);

impl Service<http::Request<Body>> for Connection {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

/// Sends a request with the method that carries it.
pub(super) async fn call(mut client: Client, request: NodeRequest) -> Result<NodeReply, CallError> {
    macro_rules! send {
        ($($kind:ident => $method:ident),* $(,)?) => {
            match WireRequest::try_from(request).map_err(CallError::Refused)? {
                $(WireRequest::$kind(wire) => {
                    client.$method(wire).await.map(|response| response.into_inner().try_into())
                })*
            }
        };
    }
    let answer = send! {
        GetStatus => get_status,
        ListKeys => list_keys,
        MakeTickets => make_tickets,
        SignShares => sign_shares,
        ValidateCommand => validate_command,
        BeginCeremony => begin_ceremony,
        AdvanceCeremony => advance_ceremony,
        ProveKey => prove_key,
        ActivateKey => activate_key,
        RecordEvidence => record_evidence,
        ReadAudit => read_audit,
        AttestTime => attest_time,
        ConfirmTime => confirm_time,
        BeginPairing => begin_pairing,
        AdvancePairing => advance_pairing,
        BeginSigning => begin_signing,
        AdvanceSigning => advance_signing,
        AttestAddress => attest_address,
        SetKeyState => set_key_state,
        DestroyKey => destroy_key,
        ChangeRoster => change_roster,
        ListRosters => list_rosters,
        EraseEpochs => erase_epochs,
        AttestHeads => attest_heads,
        Readmit => readmit,
    };
    answer
        .map_err(|status| failure(&status))?
        .map_err(|refusal: Refusal| {
            let message = format!("the node's answer is malformed: {refusal}");
            CallError::Refused(Refusal::new(Reason::ProtocolViolation, message))
        })
}

/// What a status without an answer means. Those that the node did not make itself say that nobody
/// knows whether it acted.
fn failure(status: &Status) -> CallError {
    if let Some(refusal) = from_status(status) {
        return CallError::Refused(refusal);
    }
    let refused = |reason, what: &str| {
        let message = format!("{what}: {}", status.message());
        CallError::Refused(Refusal::new(reason, message))
    };
    match status.code() {
        Code::DeadlineExceeded => CallError::TimedOut,
        Code::OutOfRange | Code::ResourceExhausted => {
            refused(Reason::TooLarge, "the message is larger than allowed")
        }
        Code::Unimplemented => refused(Reason::RequestInvalid, "the node does not know the method"),
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss
        | Code::Unauthenticated => CallError::Lost,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_with_a_reason_is_a_refusal_and_one_without_tells_nothing() {
        let refusal = Refusal::new(Reason::TicketUnknown, "the ticket is spent");
        let carried = quorate_proto::status::to_status(&refusal);

        assert_eq!(failure(&carried), CallError::Refused(refusal));
        assert_eq!(failure(&Status::unavailable("gone")), CallError::Lost);
        assert_eq!(
            failure(&Status::unknown("h2 protocol error")),
            CallError::Lost
        );
        assert_eq!(failure(&Status::deadline_exceeded("")), CallError::TimedOut);
        let reason = |status: Status| match failure(&status) {
            CallError::Refused(refusal) => Some(refusal.reason),
            CallError::Lost | CallError::TimedOut => None,
        };
        assert_eq!(reason(Status::out_of_range("big")), Some(Reason::TooLarge));
        assert_eq!(
            reason(Status::unimplemented("")),
            Some(Reason::RequestInvalid)
        );
    }
}
