//! The socket in the directory of a running node, at which a person at its machine asks for a
//! backup. Only the running process may append to its journal, so it makes the backup itself.
//!
//! It is no way into the node from elsewhere: a file that only its owner can open, in a directory
//! that only its owner can enter. And what leaves here is sealed to whom the asker names, and
//! sealed under what unseals the node before that.
//!
//! A request is one line of JSON. The answer is a stream of frames: a kind, a length of four
//! little-endian bytes, and so many bytes; it counts only with its last frame.

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Read as _, Write},
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use quorate_model::{NodeId, backup::BackupId};
use rand_core::OsRng;
use serde::{Deserialize, Serialize};
use tokio::{net::UnixListener, sync::Semaphore};

use crate::{
    backup::{self, BackupError, Made, Recipients},
    disk::Disk,
    shell::Shell,
};

/// The name of the socket in the node's directory.
pub const SOCKET: &str = "console";

const MAX_REQUEST_BYTES: u64 = 64 * 1024;
const MAX_FRAME_BYTES: usize = 1 << 20;

/// Backups read the whole disk: one at a time.
const MAX_BACKUPS: usize = 1;

/// Whoever asks and then neither speaks nor listens is not waited for.
const PATIENCE: Duration = Duration::from_mins(1);

const PIECE: u8 = 1;
const DONE: u8 = 2;
const FAILED: u8 = 3;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Request {
    Backup { recipients: Vec<String> },
}

/// A backup that was made, as the command tells of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The node.
    pub node: NodeId,
    /// The id of the backup.
    pub backup: BackupId,
    /// The last journal record in it.
    pub sequence: u64,
    /// How many shares are in it.
    pub shares: usize,
}

impl From<Made> for Summary {
    fn from(made: Made) -> Self {
        Self {
            node: made.header.node,
            backup: made.header.backup,
            sequence: made.header.sequence,
            shares: made.shares,
        }
    }
}

/// Listens in a directory whose lock this process has.
pub(crate) fn listen(dir: &Path) -> Result<UnixListener> {
    let path = dir.join(SOCKET);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("remove {}", path.display()));
        }
        _ => {}
    }
    let listener =
        UnixListener::bind(&path).with_context(|| format!("listen at {}", path.display()))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))
        .with_context(|| format!("keep {} to its owner", path.display()))?;
    Ok(listener)
}

/// Answers whoever asks, until the process ends.
pub(crate) async fn serve<D: Disk + 'static>(listener: UnixListener, shell: Arc<Shell<D>>) {
    let room = Arc::new(Semaphore::new(MAX_BACKUPS));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Too many open files: wait until some are closed.
            tokio::time::sleep(Duration::from_secs(1)).await;
            continue;
        };
        let Ok(stream) = stream.into_std() else {
            continue;
        };
        let permit = Arc::clone(&room).try_acquire_owned().ok();
        let shell = Arc::clone(&shell);
        tokio::task::spawn_blocking(move || {
            if let Err(error) = answer(&stream, &shell, permit.is_some()) {
                tracing::warn!(reason = %format!("{error:#}"), "a request at the console failed");
            }
        });
    }
}

fn answer<D: Disk + 'static>(stream: &UnixStream, shell: &Shell<D>, room: bool) -> Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = Vec::new();
    BufReader::new(stream.take(MAX_REQUEST_BYTES)).read_until(b'\n', &mut line)?;
    let made = match serde_json::from_slice(&line) {
        Ok(Request::Backup { .. }) if !room => {
            Err("another backup is being made: wait for it".to_owned())
        }
        Ok(Request::Backup { recipients }) => back_up(stream, shell, &recipients),
        Err(_) => Err("this node does not know the request: upgrade it".to_owned()),
    };
    match made {
        Ok(summary) => {
            tracing::info!(node = %summary.node, records = summary.sequence, "backup made");
            frame(stream, DONE, &serde_json::to_vec(&summary)?)?;
            Ok(())
        }
        Err(message) => {
            frame(stream, FAILED, message.as_bytes())?;
            bail!(message)
        }
    }
}

fn back_up<D: Disk + 'static>(
    stream: &UnixStream,
    shell: &Shell<D>,
    recipients: &[String],
) -> Result<Summary, String> {
    let made = Recipients::parse(recipients).and_then(|recipients| {
        let out = Frames(stream);
        backup::write(shell.core(), shell.reading(), &recipients, out, &mut OsRng)
    });
    match made {
        Ok(made) => Ok(made.into()),
        Err(BackupError::Node(fatal)) => Err(shell.stop_unless_refused(fatal)),
        Err(error) => Err(format!("{:#}", anyhow::Error::from(error))),
    }
}

/// What is written goes out in frames.
struct Frames<'a>(&'a UnixStream);

impl Write for Frames<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = bytes.get(..MAX_FRAME_BYTES).unwrap_or(bytes);
        frame(self.0, PIECE, piece)?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn frame(mut stream: &UnixStream, kind: u8, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    stream.write_all(&[kind])?;
    stream.write_all(&length.to_le_bytes())?;
    stream.write_all(bytes)
}

/// Asks a running node for a backup and writes it, sealed.
pub(super) fn ask(dir: &Path, recipients: &Recipients, out: &mut dyn Write) -> Result<Summary> {
    let path = dir.join(SOCKET);
    let mut stream = UnixStream::connect(&path).with_context(|| {
        format!(
            "reach the running node at {}: stop it to make a backup without it, or start it again",
            path.display()
        )
    })?;
    let mut request = serde_json::to_vec(&Request::Backup {
        recipients: recipients.texts(),
    })?;
    request.push(b'\n');
    stream.write_all(&request).context("ask for a backup")?;
    let mut input = BufReader::new(stream);
    loop {
        let mut head = [0; 5];
        input
            .read_exact(&mut head)
            .context("the node ended before the backup did; nothing was kept of it")?;
        let [kind, length @ ..] = head;
        let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        ensure!(
            length <= MAX_FRAME_BYTES,
            "the node answers in another form"
        );
        let mut bytes = vec![0; length];
        input
            .read_exact(&mut bytes)
            .context("the node ended before the backup did; nothing was kept of it")?;
        match kind {
            PIECE => out.write_all(&bytes).context("write the backup")?,
            DONE => return serde_json::from_slice(&bytes).context("read what the node says"),
            FAILED => bail!("{}", String::from_utf8_lossy(&bytes)),
            _ => bail!("the node answers in another form"),
        }
    }
}
