//! One coordinator: a TLS connection with its key pinned from the roster, made when it is needed.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use quorate_model::roster::Roster;
use quorate_pinning::{TlsIdentity, allow, client_config, server_name};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use crate::{
    error::ClientError,
    profile::{CoordinatorAddress, ProfileError},
};

/// How long making a connection may take at most.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A coordinator with its channel.
#[derive(Debug)]
pub(super) struct Coordinator {
    dialer: Dialer,
    channel: Channel,
}

/// Makes connections to one coordinator.
#[derive(Clone)]
struct Dialer {
    /// A connection that was made to try whether it can be made.
    spare: Arc<Mutex<Option<TlsStream<TcpStream>>>>,
    address: Arc<str>,
    tls: TlsConnector,
    timeout: Duration,
}

impl std::fmt::Debug for Dialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dialer")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// Prepares a channel to each coordinator.
pub(super) fn all(
    addresses: &[CoordinatorAddress],
    roster: &Roster,
    identity: &TlsIdentity,
    timeout: Duration,
) -> Result<Vec<Coordinator>, ClientError> {
    if addresses.is_empty() {
        return Err(ProfileError::NoCoordinator.into());
    }
    addresses
        .iter()
        .map(|address| Coordinator::new(address, roster, identity, timeout))
        .collect()
}

impl Coordinator {
    fn new(
        address: &CoordinatorAddress,
        roster: &Roster,
        identity: &TlsIdentity,
        timeout: Duration,
    ) -> Result<Self, ClientError> {
        let card = roster
            .coordinator(&address.id)
            .ok_or_else(|| ProfileError::UnknownCoordinator(address.id.clone()))?;
        let config =
            client_config(identity, allow([card.tls_key_hash])).map_err(ClientError::Tls)?;
        let dialer = Dialer {
            spare: Arc::default(),
            address: address.address.as_str().into(),
            tls: TlsConnector::from(Arc::new(config)),
            timeout: timeout.min(CONNECT_TIMEOUT),
        };
        // The name stands in HTTP/2 headers only: the key is what is checked, not the name.
        let endpoint = Endpoint::from_static("https://coordinator.quorate")
            .http2_adaptive_window(true)
            .tcp_nodelay(true);
        let dial = dialer.clone();
        let channel = endpoint.connect_with_connector_lazy(service_fn(move |_: Uri| {
            let dialer = dial.clone();
            async move { dialer.connection().await.map(TokioIo::new) }
        }));
        Ok(Self { dialer, channel })
    }

    pub(super) fn address(&self) -> &str {
        &self.dialer.address
    }

    /// The channel; it connects by itself, and again after a break.
    pub(super) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Tries whether the coordinator is there, and says what is wrong in words.
    pub(super) async fn try_connect(&self) -> Result<(), String> {
        match self.dialer.dial().await {
            Ok(stream) => {
                self.dialer.keep(stream);
                Ok(())
            }
            Err(error) => Err(format!("{}: {error}", self.address())),
        }
    }
}

impl Dialer {
    fn keep(&self, stream: TlsStream<TcpStream>) {
        *self.spare.lock().unwrap_or_else(PoisonError::into_inner) = Some(stream);
    }

    async fn connection(&self) -> io::Result<TlsStream<TcpStream>> {
        let spare = self
            .spare
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match spare {
            Some(stream) => Ok(stream),
            None => self.dial().await,
        }
    }

    async fn dial(&self) -> io::Result<TlsStream<TcpStream>> {
        let connect = async {
            let stream = TcpStream::connect(self.address.as_ref()).await?;
            stream.set_nodelay(true)?;
            self.tls.connect(server_name(), stream).await
        };
        timeout(self.timeout, connect).await.map_err(|_| {
            let seconds = self.timeout.as_secs_f64();
            io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no connection within {seconds} s"),
            )
        })?
    }
}
