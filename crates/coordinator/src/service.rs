//! The public API, `quorate.v1`: conversions, bounds and pages around the engine.

mod audit;
mod cluster;
mod commands;
mod keys;
mod listener;
mod nodes;
mod page;

use std::sync::Arc;

use quorate_model::{PrincipalId, Reason, Refusal};
use quorate_proto::{
    limits::{MAX_PUBLIC_REPLY_BYTES, MAX_PUBLIC_REQUEST_BYTES},
    status::to_status,
    v1::{
        audit_service_server::AuditServiceServer, cluster_service_server::ClusterServiceServer,
        command_service_server::CommandServiceServer, key_service_server::KeyServiceServer,
        node_service_server::NodeServiceServer,
    },
};
use tonic::{Request, Status, service::Routes, transport::server::Router};

use crate::runtime::Engine;

pub use listener::{Caller, Doorkeeper, accept_callers};

/// What all services share.
struct Inner {
    engine: Engine,
}

/// The public API over an engine; cheap to clone.
#[derive(Clone)]
pub struct Api(Arc<Inner>);

impl Api {
    /// The API of a coordinator.
    pub fn new(engine: Engine) -> Self {
        Self(Arc::new(Inner { engine }))
    }

    /// Adds every service, with health checking and reflection, to a server.
    ///
    /// # Errors
    ///
    /// When the descriptors for reflection cannot be read.
    pub async fn serve_on(
        self,
        mut server: tonic::transport::Server,
    ) -> Result<Router, tonic_reflection::server::Error> {
        let (health, health_service) = tonic_health::server::health_reporter();
        macro_rules! service {
            ($server:ident) => {{
                health.set_serving::<$server<Api>>().await;
                $server::new(self.clone())
                    .max_decoding_message_size(MAX_PUBLIC_REQUEST_BYTES)
                    .max_encoding_message_size(MAX_PUBLIC_REPLY_BYTES)
            }};
        }
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(quorate_proto::FILE_DESCRIPTOR_SET)
            .build_v1()?;
        let routes = Routes::new(health_service)
            .add_service(reflection)
            .add_service(service!(CommandServiceServer))
            .add_service(service!(KeyServiceServer))
            .add_service(service!(NodeServiceServer))
            .add_service(service!(ClusterServiceServer))
            .add_service(service!(AuditServiceServer));
        Ok(server.add_routes(routes))
    }

    fn engine(&self) -> &Engine {
        &self.0.engine
    }

    /// Who calls: the principal whose TLS key it is. The handshake lets nobody else in; whoever was
    /// removed since is answered nothing more. Commands stand by their own endorsements.
    fn caller<T>(&self, request: &Request<T>) -> Result<PrincipalId, Status> {
        let caller = request.extensions().get::<Caller>();
        let pinned = self.engine().pinned();
        caller
            .filter(|caller| pinned.roster().principal(&caller.0).is_some())
            .map(|caller| caller.0.clone())
            .ok_or_else(|| {
                to_status(&Refusal::new(
                    Reason::CallerUnknown,
                    "the caller is no principal of the roster",
                ))
            })
    }
}

/// A refusal as the status of a call.
#[expect(
    clippy::needless_pass_by_value,
    reason = "a refusal ends here; it is passed to map_err"
)]
fn refuse(refusal: Refusal) -> Status {
    let status = to_status(&refusal);
    if refusal.reason == Reason::Invariant {
        tracing::error!(reason = %refusal.message, "invariant broken");
    }
    status
}

fn invalid(message: impl Into<String>) -> Status {
    to_status(&Refusal::new(Reason::RequestInvalid, message))
}

#[cfg(test)]
mod tests;
