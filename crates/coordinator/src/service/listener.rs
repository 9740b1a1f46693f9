//! The listener for callers: TLS with the keys of principals pinned from the roster (P4).

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use quorate_model::{Digest, PrincipalId, roster::PinnedRoster};
use quorate_pinning::{PinningError, TlsIdentity, peer_key_hash, server_config};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tonic::transport::server::Connected;

use crate::runtime::Rosters;

/// How long a caller may take for the handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections at a time.
const MAX_CONNECTIONS: usize = 4_096;

/// Connections in the handshake at a time, so that strangers cannot take the places of principals.
const MAX_HALF_OPEN: usize = 256;

/// The pause after an error of the listener itself, most likely that no file descriptor is free.
const PAUSE: Duration = Duration::from_millis(100);

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller(pub PrincipalId);

/// A connection of a principal. It gives its place back when it ends.
pub struct Connection {
    stream: TlsStream<TcpStream>,
    caller: Caller,
    _place: OwnedSemaphorePermit,
}

impl Connected for Connection {
    type ConnectInfo = Caller;
    fn connect_info(&self) -> Caller {
        self.caller.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Lets principals in and nobody else.
pub struct Doorkeeper {
    tls: TlsAcceptor,
    rosters: Rosters,
}

impl Doorkeeper {
    /// Knows the principals of the roster that is in force when they come.
    ///
    /// # Errors
    ///
    /// When the identity cannot be used for TLS.
    pub fn new(identity: &TlsIdentity, rosters: Rosters) -> Result<Self, PinningError> {
        let asked = Arc::clone(&rosters);
        let is_known = move |hash: &Digest| principal_of(&asked(), hash).is_some();
        let tls = server_config(identity, Arc::new(is_known))?;
        Ok(Self {
            tls: TlsAcceptor::from(Arc::new(tls)),
            rosters,
        })
    }

    async fn let_in(&self, stream: TcpStream) -> io::Result<(TlsStream<TcpStream>, Caller)> {
        stream.set_nodelay(true)?;
        let stream = timeout(HANDSHAKE_TIMEOUT, self.tls.accept(stream))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let caller = peer_key_hash(stream.get_ref().1)
            .and_then(|hash| principal_of(&(self.rosters)(), &hash))
            .ok_or_else(|| io::Error::from(io::ErrorKind::PermissionDenied))?;
        Ok((stream, Caller(caller)))
    }
}

/// The principal with a TLS key.
fn principal_of(pinned: &PinnedRoster, hash: &Digest) -> Option<PrincipalId> {
    let mut principals = pinned.roster().principals.iter();
    let found = principals.find(|principal| principal.tls_key_hash == *hash)?;
    Some(found.id.clone())
}

/// Accepts callers until nobody takes them any more.
pub async fn accept_callers(
    listener: TcpListener,
    doorkeeper: Doorkeeper,
    callers: mpsc::Sender<io::Result<Connection>>,
) {
    let doorkeeper = Arc::new(doorkeeper);
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let half_open = Arc::new(Semaphore::new(MAX_HALF_OPEN));
    loop {
        let Ok(handshake) = Arc::clone(&half_open).acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = callers.closed() => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(reason = %error, "accept a caller");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let (doorkeeper, callers) = (Arc::clone(&doorkeeper), callers.clone());
        let places = Arc::clone(&places);
        tokio::spawn(async move {
            let entered = doorkeeper.let_in(stream).await;
            drop(handshake);
            match entered.and_then(|entered| Ok((entered, free_place(&places)?))) {
                Ok(((stream, caller), place)) => {
                    let connection = Connection {
                        stream,
                        caller,
                        _place: place,
                    };
                    // The server is going down.
                    let _sent = callers.send(Ok(connection)).await;
                }
                Err(error) => {
                    metrics::counter!("quorate_refused_callers_total").increment(1);
                    let reason = crate::runtime::chain(&error);
                    tracing::warn!(peer = %peer, reason, "caller is refused");
                }
            }
        });
    }
}

fn free_place(places: &Arc<Semaphore>) -> io::Result<OwnedSemaphorePermit> {
    Arc::clone(places)
        .try_acquire_owned()
        .map_err(|_| io::Error::other("too many callers are connected"))
}
