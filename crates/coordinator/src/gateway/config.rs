//! The section `[gateway]` of a coordinator's configuration.

use std::{
    fmt,
    fs::File,
    io::{self, Read as _},
    net::{IpAddr, SocketAddr},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use quorate_intent::EvmAddress;
use quorate_model::{DerivationPath, KeyName};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::GatewayError;

/// The most accounts of one gateway.
const MAX_ACCOUNTS: usize = 1_024;

/// The fewest characters of a token: 128 bits in hex have 32.
const MIN_TOKEN_LENGTH: usize = 16;

/// The most bytes of a token file.
const MAX_TOKEN_BYTES: u64 = 4_096;

/// An account that the gateway serves: a child of a key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountConfig {
    /// The key.
    pub key: KeyName,
    /// Which child of it; the key itself if it is left out.
    #[serde(default)]
    pub path: DerivationPath,
    /// The address that the account must have. If it has another, it is not served.
    pub address: Option<EvmAddress>,
}

/// A text that may hold a secret, as URLs of providers do, and is not shown.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub struct Secret(Zeroizing<String>);

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl Secret {
    /// Takes the text.
    pub fn new(text: impl Into<String>) -> Self {
        Self::from(text.into())
    }

    /// The text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

/// How the gateway runs. What is not known is refused.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayConfig {
    /// Where wallets connect; a loopback address unless `allow_remote` is set.
    pub listen: SocketAddr,
    /// Lets it listen where other machines can connect.
    #[serde(default)]
    pub allow_remote: bool,
    /// The identity file of the principal that the gateway is.
    pub identity: PathBuf,
    /// The file with the passphrase of the identity.
    pub passphrase_file: PathBuf,
    /// A file with a token that callers must show.
    pub token_file: Option<PathBuf>,
    /// The chain.
    pub chain_id: u64,
    /// A node of the chain, `http://` or `https://`.
    pub upstream: Option<Secret>,
    /// Names, beside `localhost` and addresses, under which callers know the gateway.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// The accounts.
    pub accounts: Vec<AccountConfig>,
    /// The most that a transaction may cost in fees, in wei, when the gateway fills any of them in.
    #[serde(default = "tenth_of_a_coin")]
    pub max_filled_fee: u64,
    /// The most bytes of a request.
    #[serde(default = "two_mebibytes")]
    pub max_request_bytes: usize,
    /// The most calls in a batch.
    #[serde(default = "hundred")]
    pub max_batch: usize,
    /// The most requests at a time.
    #[serde(default = "hundred")]
    pub max_requests: usize,
    /// The most connections at a time.
    #[serde(default = "two_hundred")]
    pub max_connections: usize,
    /// How long one call to the cluster or to the upstream may take, in milliseconds.
    #[serde(default = "forty_seconds")]
    pub timeout_ms: u64,
}

const fn tenth_of_a_coin() -> u64 {
    100_000_000_000_000_000
}

const fn two_mebibytes() -> usize {
    2 << 20
}

const fn hundred() -> usize {
    100
}

const fn two_hundred() -> usize {
    200
}

const fn forty_seconds() -> u64 {
    40_000
}

/// Why the section is not usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GatewayConfigError {
    /// Everybody could have things signed.
    #[error(
        "gateway address {0} is not a loopback address: whoever connects may sign. Set \
         allow_remote = true, and a token_file, if that is meant"
    )]
    Remote(SocketAddr),
    /// Nothing to sign with.
    #[error("the gateway has {0} accounts, expected 1 to {MAX_ACCOUNTS}")]
    AccountCount(usize),
    /// The same account twice.
    #[error("the gateway lists key \"{key}\" at {path} twice")]
    Repeated {
        /// The key.
        key: KeyName,
        /// The path.
        path: DerivationPath,
    },
    /// No chain.
    #[error("chain_id of the gateway is 0")]
    NoChain,
    /// A bound with which nothing can work.
    #[error("{0} of the gateway is zero")]
    Zero(&'static str),
    /// Something else than a name.
    #[error("host \"{0}\" of the gateway is no name: leave out scheme, port and path")]
    Host(String),
}

impl GatewayConfig {
    /// Checks what can be checked without files.
    ///
    /// # Errors
    ///
    /// When no gateway can run with it.
    pub fn check(&self) -> Result<(), GatewayConfigError> {
        if !self.listen.ip().is_loopback() && !self.allow_remote {
            return Err(GatewayConfigError::Remote(self.listen));
        }
        if self.chain_id == 0 {
            return Err(GatewayConfigError::NoChain);
        }
        let count = self.accounts.len();
        if !(1..=MAX_ACCOUNTS).contains(&count) {
            return Err(GatewayConfigError::AccountCount(count));
        }
        for (at, account) in self.accounts.iter().enumerate() {
            let earlier = self.accounts.iter().take(at);
            let same =
                |other: &AccountConfig| (&other.key, &other.path) == (&account.key, &account.path);
            if earlier.into_iter().any(same) {
                return Err(GatewayConfigError::Repeated {
                    key: account.key.clone(),
                    path: account.path.clone(),
                });
            }
        }
        let positive = [
            ("max_request_bytes", self.max_request_bytes),
            ("max_batch", self.max_batch),
            ("max_requests", self.max_requests),
            ("max_connections", self.max_connections),
            ("timeout_ms", usize::from(self.timeout_ms > 0)),
        ];
        if let Some((name, _)) = positive.into_iter().find(|(_, value)| *value == 0) {
            return Err(GatewayConfigError::Zero(name));
        }
        let is_name = |host: &String| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
            !host.is_empty() && host.chars().all(plain) && host.parse::<IpAddr>().is_err()
        };
        match self.hosts.iter().find(|host| !is_name(host)) {
            Some(host) => Err(GatewayConfigError::Host(host.clone())),
            None => Ok(()),
        }
    }

    /// How long one call may take.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// Reads the token, if there is to be one.
    ///
    /// # Errors
    ///
    /// When others can read the file, or it holds no token.
    pub(super) fn read_token(&self) -> Result<Option<Zeroizing<String>>, GatewayError> {
        let Some(path) = &self.token_file else {
            return Ok(None);
        };
        match read_token(path) {
            Ok(token) => Ok(Some(token)),
            Err(source) => Err(GatewayError::Token {
                path: path.clone(),
                source,
            }),
        }
    }
}

fn read_token(path: &Path) -> io::Result<Zeroizing<String>> {
    let refused = |problem: &str| io::Error::new(io::ErrorKind::InvalidData, problem);
    let file = File::open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        return Err(refused(
            "it can be read by others than its owner: use mode 0600",
        ));
    }
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_TOKEN_BYTES).read_to_string(&mut text)?;
    let token = Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned());
    if token.len() < MIN_TOKEN_LENGTH || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(refused(
            "expected one line of at least 16 visible ASCII characters without blanks",
        ));
    }
    Ok(token)
}
