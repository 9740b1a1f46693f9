//! A wire that can be cut.

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

use super::Listening;

pub(super) struct Proxy {
    front: Listening,
    cuts: watch::Sender<u64>,
    task: JoinHandle<()>,
}

impl Proxy {
    pub(super) async fn to(listening: &Listening) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let behind = listening.address.clone();
        let (cuts, seen) = watch::channel(0);
        let task = tokio::spawn(async move {
            loop {
                let (mut front, _) = listener.accept().await.unwrap();
                let mut back = TcpStream::connect(&behind).await.unwrap();
                let mut cut = seen.clone();
                cut.mark_unchanged();
                tokio::spawn(async move {
                    tokio::select! {
                        _ = copy_bidirectional(&mut front, &mut back) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Self { front: listening.shallow(address), cuts, task }
    }

    /// Where nodes dial.
    pub(super) fn front(&self) -> Listening {
        self.front.shallow(self.front.address.clone())
    }

    /// Ends all connections; new ones pass.
    pub(super) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}
