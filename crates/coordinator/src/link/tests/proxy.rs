//! A wire that can be cut, or fall silent.

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

use super::Listening;

/// What happens to the connections that exist.
#[derive(Clone, Copy)]
enum Wire {
    Whole,
    Cut,
    Silent,
}

pub(super) struct Proxy {
    front: Listening,
    wire: watch::Sender<Wire>,
    task: JoinHandle<()>,
}

impl Proxy {
    pub(super) async fn to(listening: &Listening) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let behind = listening.address.clone();
        let (wire, seen) = watch::channel(Wire::Whole);
        let task = tokio::spawn(async move {
            loop {
                let (mut front, _) = listener.accept().await.unwrap();
                let mut back = TcpStream::connect(&behind).await.unwrap();
                let mut wire = seen.clone();
                wire.mark_unchanged();
                tokio::spawn(async move {
                    tokio::select! {
                        _ = copy_bidirectional(&mut front, &mut back) => {}
                        _ = wire.changed() => {}
                    }
                    let last = *wire.borrow();
                    if matches!(last, Wire::Silent) {
                        std::future::pending::<()>().await;
                    }
                });
            }
        });
        Self {
            front: listening.shallow(address),
            wire,
            task,
        }
    }

    /// Where nodes dial.
    pub(super) fn front(&self) -> Listening {
        self.front.shallow(self.front.address.clone())
    }

    /// Ends all connections; new ones pass.
    pub(super) fn cut(&self) {
        self.wire.send_replace(Wire::Cut);
    }

    /// Carries nothing more on any connection and ends none; new ones pass.
    pub(super) fn fall_silent(&self) {
        self.wire.send_replace(Wire::Silent);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}
