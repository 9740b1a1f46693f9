//! HTTP around the methods: who may call, and how much.
//!
//! A browser must never reach the accounts behind the back of its user: a page of somebody else
//! can send requests to this machine, and after a change of its name in the DNS even read the
//! answers. So the name in the request must be one of ours, requests of pages are refused, the
//! content type is one that pages cannot send unasked, and no header ever allows them to.

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::to_bytes,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::post,
};
use serde::Serialize;
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::{
    GatewayError,
    cluster::Cluster,
    config::GatewayConfig,
    methods::Gateway,
    rpc::{Answer, Call, INVALID_REQUEST, Incoming, RpcError},
    upstream::{MAX_ANSWER_BYTES, Upstream},
};

/// How long the bytes of a request may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(10);

/// What every request is judged by.
struct Door {
    hosts: Vec<String>,
    token: Option<Zeroizing<String>>,
    room: Semaphore,
}

struct Served<C, U> {
    gateway: Gateway<C, U>,
    max_batch: usize,
    max_bytes: usize,
}

/// The gateway as a web application.
///
/// # Errors
///
/// When the token cannot be read.
pub fn app<C: Cluster, U: Upstream>(
    config: &GatewayConfig,
    gateway: Gateway<C, U>,
) -> Result<Router, GatewayError> {
    let door = Arc::new(Door {
        hosts: config.hosts.clone(),
        token: config.read_token()?,
        room: Semaphore::new(config.max_requests.min(Semaphore::MAX_PERMITS)),
    });
    let served = Arc::new(Served {
        gateway,
        max_batch: config.max_batch,
        max_bytes: config.max_request_bytes,
    });
    Ok(Router::new()
        .route("/", post(take::<C, U>))
        .with_state(served)
        .layer(middleware::from_fn_with_state(door, admit)))
}

/// Lets a request in, or says why not.
async fn admit(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    if let Err((status, problem)) = door.judge(request.headers()) {
        let mut response = (status, problem).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let scheme = header::HeaderValue::from_static("Bearer");
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, scheme);
        }
        return response;
    }
    let Ok(_permit) = door.room.try_acquire() else {
        let problem = "too many requests at a time: repeat it later\n";
        return (StatusCode::SERVICE_UNAVAILABLE, problem).into_response();
    };
    next.run(request).await
}

impl Door {
    fn judge(&self, headers: &HeaderMap) -> Result<(), (StatusCode, &'static str)> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        if !text(header::HOST).is_some_and(|host| self.is_ours(host)) {
            return Err((
                StatusCode::FORBIDDEN,
                "the gateway is not known under this name: add it to hosts\n",
            ));
        }
        if headers.contains_key(header::ORIGIN) {
            return Err((StatusCode::FORBIDDEN, "pages of browsers are not served\n"));
        }
        if let Some(token) = &self.token {
            let shown = text(header::AUTHORIZATION)
                .and_then(|value| value.split_once(' '))
                .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
                .map(|(_, shown)| shown.trim());
            let shown = shown.unwrap_or_default().as_bytes();
            if !bool::from(shown.ct_eq(token.as_bytes())) {
                return Err((StatusCode::UNAUTHORIZED, "show the token of the gateway\n"));
            }
        }
        let kind = text(header::CONTENT_TYPE).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/json") {
            return Err((
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "expected POST with content type application/json\n",
            ));
        }
        Ok(())
    }

    /// Whether a Host header names this machine. A name could be anybody's, an address is not.
    fn is_ours(&self, host: &str) -> bool {
        let name = match host.strip_prefix('[') {
            Some(rest) => rest.split_once(']').map_or("", |(address, _)| address),
            None => host.split_once(':').map_or(host, |(name, _)| name),
        };
        let name = name.trim_end_matches('.');
        name.parse::<IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || self
                .hosts
                .iter()
                .any(|ours| ours.eq_ignore_ascii_case(name))
    }
}

async fn take<C: Cluster, U: Upstream>(
    State(served): State<Arc<Served<C, U>>>,
    request: Request,
) -> Response {
    let arrival = to_bytes(request.into_body(), served.max_bytes);
    let body = match tokio::time::timeout(ARRIVAL, arrival).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => {
            let problem = "the request breaks off or is larger than max_request_bytes\n";
            return (StatusCode::PAYLOAD_TOO_LARGE, problem).into_response();
        }
        Err(_) => return (StatusCode::REQUEST_TIMEOUT, "it arrives too slowly\n").into_response(),
    };
    match Incoming::read(&body, served.max_batch) {
        Err(error) => reply(&Answer::new(None, Err(error))),
        Ok(Incoming::One(call)) => match served.answer(call).await {
            Some(answer) => reply(&answer),
            None => StatusCode::NO_CONTENT.into_response(),
        },
        Ok(Incoming::Batch(calls)) => {
            let mut answers = Vec::new();
            let mut room = MAX_ANSWER_BYTES;
            for call in calls {
                let answer = if room == 0 {
                    unanswered(call)
                } else {
                    served.answer(call).await
                };
                room = room.saturating_sub(answer.as_ref().map_or(0, Answer::bytes));
                answers.extend(answer);
            }
            if answers.is_empty() {
                return StatusCode::NO_CONTENT.into_response();
            }
            reply(&answers)
        }
    }
}

impl<C: Cluster, U: Upstream> Served<C, U> {
    /// The answer to one call. A notification has none, and so is not carried out: nobody would get
    /// what was signed.
    async fn answer<'a>(&self, call: &'a serde_json::value::RawValue) -> Option<Answer<'a>> {
        match Call::read(call) {
            Err(error) => Some(Answer::new(None, Err(error))),
            Ok(Call { id: None, .. }) => None,
            Ok(call) => Some(Answer::new(call.id, self.gateway.answer(&call).await)),
        }
    }
}

/// The answer to a call that is not carried out, because what came before it is enough for one
/// reply.
fn unanswered(call: &serde_json::value::RawValue) -> Option<Answer<'_>> {
    let id = match Call::read(call) {
        Ok(Call { id: None, .. }) => return None,
        Ok(Call { id, .. }) => id,
        Err(_) => None,
    };
    let error = RpcError::failed(
        "the answers to the calls before this one are too large for one reply: nothing was done, \
         ask again",
    );
    Some(Answer::new(id, Err(error)))
}

fn reply(answer: &impl Serialize) -> Response {
    let body = serde_json::to_vec(answer).or_else(|_| {
        let error = RpcError::new(INVALID_REQUEST, "the answer cannot be written");
        serde_json::to_vec(&Answer::new(None, Err(error)))
    });
    match body {
        Ok(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
