//! A node of the chain, which the gateway asks for what it does not know itself. It is not trusted
//! with anything but what it is asked for.

use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Method, Request, Uri, body::Bytes, header};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use tokio_rustls::rustls;

use super::{
    config::Secret,
    rpc::{FAILED, RpcError},
};

/// The most bytes of an answer, and about of all answers to a batch.
pub(super) const MAX_ANSWER_BYTES: usize = 8 << 20;

/// Why the upstream is of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpstreamError {
    /// The URL is none, or of another kind.
    #[error("the upstream is no URL with http or https, a host, and no user")]
    Url,
    /// The certificates of the system cannot be read.
    #[error("read the certificates of the system")]
    Certificates(#[source] std::io::Error),
}

/// Whatever answers for the chain.
pub trait Upstream: Send + Sync + 'static {
    /// Makes a call. The error is for the caller of the gateway.
    fn call(
        &self,
        method: &str,
        params: &RawValue,
    ) -> impl Future<Output = Result<Box<RawValue>, UpstreamFailure>> + Send;
}

/// Why a call brought nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamFailure {
    /// The upstream says no: code, message and data.
    Refused(i64, String, Option<Value>),
    /// Nobody knows whether it acted.
    Lost(&'static str),
}

impl From<UpstreamFailure> for RpcError {
    fn from(failure: UpstreamFailure) -> Self {
        match failure {
            UpstreamFailure::Refused(code, message, data) => Self {
                code,
                message,
                data,
            },
            UpstreamFailure::Lost(why) => {
                Self::new(FAILED, format!("the upstream does not answer: {why}"))
            }
        }
    }
}

/// A node of the chain over HTTP.
pub struct HttpUpstream {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    uri: Uri,
    limit: Duration,
}

impl HttpUpstream {
    /// A client of a node; nothing is asked yet.
    ///
    /// # Errors
    ///
    /// When the URL is none.
    pub fn new(url: &Secret, limit: Duration) -> Result<Self, UpstreamError> {
        let uri: Uri = url.expose().parse().map_err(|_| UpstreamError::Url)?;
        let authority = uri.authority().ok_or(UpstreamError::Url)?;
        let is_known = matches!(uri.scheme_str(), Some("http" | "https"));
        if !is_known || authority.as_str().contains('@') {
            return Err(UpstreamError::Url);
        }
        let provider = rustls::crypto::ring::default_provider();
        let builder = HttpsConnectorBuilder::new();
        // A machine without certificates can still call a node beside it.
        let connector = if uri.scheme_str() == Some("https") {
            builder
                .with_provider_and_native_roots(provider)
                .map_err(UpstreamError::Certificates)?
                .https_only()
                .enable_http1()
                .build()
        } else {
            let config = rustls::ClientConfig::builder_with_provider(provider.into())
                .with_safe_default_protocol_versions()
                .map_err(|_| UpstreamError::Url)?
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth();
            builder
                .with_tls_config(config)
                .https_or_http()
                .enable_http1()
                .build()
        };
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { client, uri, limit })
    }

    async fn exchange(&self, body: Vec<u8>) -> Result<Bytes, &'static str> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.uri.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|_| "the request cannot be made")?;
        // The error may hold the URL, which may hold a secret.
        let response = self.client.request(request).await;
        let response = response.map_err(|_| "the connection fails")?;
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect();
        let body = body
            .await
            .map_err(|_| "the answer breaks off or is too large")?;
        Ok(body.to_bytes())
    }
}

#[derive(Deserialize)]
struct Answer {
    result: Option<Box<RawValue>>,
    error: Option<AnswerError>,
}

#[derive(Deserialize)]
struct AnswerError {
    code: i64,
    #[serde(default)]
    message: String,
    data: Option<Value>,
}

impl Upstream for HttpUpstream {
    async fn call(
        &self,
        method: &str,
        params: &RawValue,
    ) -> Result<Box<RawValue>, UpstreamFailure> {
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let body = serde_json::to_vec(&call)
            .map_err(|_| UpstreamFailure::Lost("the call cannot be written"))?;
        let answer = tokio::time::timeout(self.limit, self.exchange(body)).await;
        let answer = match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(why)) => return Err(UpstreamFailure::Lost(why)),
            Err(_) => return Err(UpstreamFailure::Lost("it takes too long")),
        };
        let answer: Answer = serde_json::from_slice(&answer)
            .map_err(|_| UpstreamFailure::Lost("the answer is no JSON-RPC"))?;
        match answer {
            Answer {
                error: Some(error), ..
            } => Err(UpstreamFailure::Refused(
                error.code,
                error.message,
                error.data,
            )),
            // A result of null is read as none.
            Answer { result, .. } => Ok(result.unwrap_or_else(|| RawValue::NULL.to_owned())),
        }
    }
}
