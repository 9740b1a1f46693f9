//! JSON-RPC 2.0: requests, batches, answers and the codes of errors.

use quorate_model::{Reason, Refusal, refusal::Code};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, value::RawValue};

/// The code of what is no JSON.
pub(super) const PARSE: i64 = -32_700;
/// The code of what is no request.
pub(super) const INVALID_REQUEST: i64 = -32_600;
/// The code of a method that is not served.
pub(super) const METHOD_NOT_FOUND: i64 = -32_601;
/// The code of parameters that are not those of the method.
pub(super) const INVALID_PARAMS: i64 = -32_602;
/// The code of everything that has no code of its own.
pub(super) const FAILED: i64 = -32_000;
/// The code of what the rules or a person deny (EIP-1193).
pub(super) const DENIED: i64 = 4_001;
/// The code of an account that is not served (EIP-1193).
pub(super) const UNAUTHORIZED: i64 = 4_100;

/// An error as callers see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct RpcError {
    pub(super) code: i64,
    pub(super) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) data: Option<Value>,
}

impl RpcError {
    pub(super) fn new(code: i64, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            data: None,
        }
    }

    pub(super) fn params(message: impl Into<String>) -> Self {
        Self::new(INVALID_PARAMS, message)
    }

    pub(super) fn failed(message: impl Into<String>) -> Self {
        Self::new(FAILED, message)
    }

    /// What is wrong with a transaction itself.
    pub(super) fn of_request(refusal: &Refusal) -> Self {
        Self {
            code: INVALID_PARAMS,
            ..Self::from(refusal)
        }
    }

    /// Adds something for programs. Data that have no names are the `data` of what is there then.
    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        let mut object = match self.data.take() {
            Some(Value::Object(object)) => object,
            Some(unnamed) => Map::from_iter([("data".to_owned(), unnamed)]),
            None => Map::new(),
        };
        object.insert(name.to_owned(), value.into());
        self.data = Some(Value::Object(object));
        self
    }
}

impl From<&Refusal> for RpcError {
    fn from(refusal: &Refusal) -> Self {
        let error = Self::new(code_of(refusal.reason), refusal.message.clone())
            .with("reason", refusal.reason.as_str());
        match refusal.get("detail") {
            Some(detail) => error.with("detail", detail),
            None => error,
        }
    }
}

impl From<Refusal> for RpcError {
    fn from(refusal: Refusal) -> Self {
        Self::from(&refusal)
    }
}

/// The code for a reason of the cluster.
fn code_of(reason: Reason) -> i64 {
    let is_rule = matches!(
        reason,
        Reason::PurposeMismatch | Reason::PayloadRefused | Reason::FeeTooHigh
    );
    if is_rule {
        return DENIED;
    }
    match reason.code() {
        Code::PermissionDenied => DENIED,
        Code::InvalidArgument => INVALID_PARAMS,
        Code::NotFound
        | Code::AlreadyExists
        | Code::Unauthenticated
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::Unavailable
        | Code::ResourceExhausted
        | Code::DeadlineExceeded
        | Code::Internal => FAILED,
    }
}

/// A call. Its id comes back exactly as it was written.
pub(super) struct Call<'a> {
    /// None for a notification, which has no answer.
    pub(super) id: Option<&'a RawValue>,
    pub(super) method: String,
    pub(super) params: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Wire<'a> {
    jsonrpc: Option<String>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    method: String,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
}

/// What a body holds.
pub(super) enum Incoming<'a> {
    One(&'a RawValue),
    Batch(Vec<&'a RawValue>),
}

impl<'a> Incoming<'a> {
    /// Reads a body as one call or a batch of calls.
    pub(super) fn read(body: &'a [u8], max_batch: usize) -> Result<Self, RpcError> {
        let no_json = || RpcError::new(PARSE, "the request is no JSON");
        let value: &RawValue = serde_json::from_slice(body).map_err(|_| no_json())?;
        if !value.get().starts_with('[') {
            return Ok(Self::One(value));
        }
        let calls: Vec<&RawValue> = serde_json::from_str(value.get()).map_err(|_| no_json())?;
        if calls.is_empty() {
            return Err(RpcError::new(INVALID_REQUEST, "the batch is empty"));
        }
        if calls.len() > max_batch {
            let message = format!(
                "the batch has {} calls, expected at most {max_batch}",
                calls.len()
            );
            return Err(RpcError::new(INVALID_REQUEST, message));
        }
        Ok(Self::Batch(calls))
    }
}

impl<'a> Call<'a> {
    /// Reads one call.
    pub(super) fn read(value: &'a RawValue) -> Result<Self, RpcError> {
        let invalid = |problem: &str| RpcError::new(INVALID_REQUEST, problem);
        let wire: Wire<'a> = serde_json::from_str(value.get())
            .map_err(|_| invalid("expected an object with jsonrpc, id, method and params"))?;
        if wire.jsonrpc.as_deref() != Some("2.0") {
            return Err(invalid("expected \"jsonrpc\": \"2.0\""));
        }
        let is_scalar = |id: &RawValue| !id.get().starts_with(['{', '[']);
        if !wire.id.is_none_or(is_scalar) {
            return Err(invalid("an id is a text, a number or null"));
        }
        Ok(Self {
            // A reader of JSON takes null for nothing, and only its absence means a notification.
            id: wire.id.or_else(|| null_id(value)),
            method: wire.method,
            params: wire.params,
        })
    }
}

/// The id null of a call that has one.
fn null_id(value: &RawValue) -> Option<&'static RawValue> {
    #[derive(Deserialize)]
    struct Present<'a> {
        #[serde(borrow, default, deserialize_with = "present")]
        id: Option<&'a RawValue>,
    }
    fn present<'de, D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<&'de RawValue>, D::Error> {
        <&RawValue>::deserialize(deserializer).map(Some)
    }
    let read: Present<'_> = serde_json::from_str(value.get()).ok()?;
    read.id.map(|_| RawValue::NULL)
}

/// An answer.
#[derive(Serialize)]
pub(super) struct Answer<'a> {
    jsonrpc: &'static str,
    id: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<RpcError>,
}

impl<'a> Answer<'a> {
    pub(super) fn new(id: Option<&'a RawValue>, outcome: Result<Box<RawValue>, RpcError>) -> Self {
        let (result, error) = match outcome {
            Ok(result) => (Some(result), None),
            Err(error) => (None, Some(error)),
        };
        Self {
            jsonrpc: "2.0",
            id: id.unwrap_or(RawValue::NULL),
            result,
            error,
        }
    }

    /// How much the result takes.
    pub(super) fn bytes(&self) -> usize {
        self.result.as_ref().map_or(0, |result| result.get().len())
    }
}

/// A result as JSON.
pub(super) fn result(value: impl Serialize) -> Result<Box<RawValue>, RpcError> {
    serde_json::value::to_raw_value(&value)
        .map_err(|_| RpcError::failed("the result cannot be written"))
}
