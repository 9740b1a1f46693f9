//! The key-encryption key (KEK): what unlocks a node, and the file that tells how.
//!
//! The file `sealing` holds the kind of the KEK, the cost and salt of its derivation, and a check
//! value sealed under it. So a wrong passphrase is told from a tampered record, and from a damaged
//! file, which carries a hash.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use quorate_model::{NodeId, wire};
use rand_core::CryptoRngCore;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize as _, Zeroizing};

use super::{Associated, BadSeal, KEY, KeyFile, SealKey, SealedKind};
use crate::disk::{self, Disk, DiskError};

const PATH: &str = "sealing";
const MAGIC: &[u8; 16] = b"quorate-sealing1";
const MAX_BYTES: usize = 4096;
const SALT: usize = 32;
const CHECK_TEXT: &[u8] = b"this key opens the node";

/// Wraps keys and small secrets. A hardware module can stand behind it.
pub trait Kek: Send + Sync {
    /// Wraps a secret, bound to what it is.
    fn wrap(
        &self,
        secret: &[u8],
        associated: Associated<'_>,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<Vec<u8>, BadSeal>;

    /// Unwraps what [`Kek::wrap`] made with the same associated data.
    fn unwrap(
        &self,
        wrapped: &[u8],
        associated: Associated<'_>,
    ) -> Result<Zeroizing<Vec<u8>>, BadSeal>;
}

/// A KEK in the memory of the process.
#[derive(Debug)]
pub struct LocalKek(SealKey);

impl LocalKek {
    /// A KEK that a simulator or a test draws; it is never written anywhere.
    pub fn generate(rng: &mut dyn CryptoRngCore) -> Self {
        Self(SealKey::generate(rng))
    }
}

impl Kek for LocalKek {
    fn wrap(
        &self,
        secret: &[u8],
        associated: Associated<'_>,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<Vec<u8>, BadSeal> {
        self.0.seal(secret, associated, rng)
    }

    fn unwrap(
        &self,
        wrapped: &[u8],
        associated: Associated<'_>,
    ) -> Result<Zeroizing<Vec<u8>>, BadSeal> {
        self.0.open(wrapped, associated)
    }
}

/// A passphrase that a person typed.
pub struct Passphrase(Zeroizing<Vec<u8>>);

impl Passphrase {
    /// Takes the bytes as they were typed, without a line end.
    pub fn new(text: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(text.into()))
    }
}

impl std::fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Passphrase(redacted)")
    }
}

/// The cost of deriving a KEK from a passphrase (Argon2id).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArgonCost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl ArgonCost {
    /// 64 MiB, three passes, one lane.
    pub const STANDARD: Self = Self {
        memory_kib: 64 * 1024,
        passes: 3,
        lanes: 1,
    };

    /// The least that protects a passphrase: the lowest recommendation of OWASP.
    const LEAST: Self = Self {
        memory_kib: 19 * 1024,
        passes: 2,
        lanes: 1,
    };

    /// The most that a file can ask for, so that a tampered one cannot exhaust the machine.
    const MOST: Self = Self {
        memory_kib: 4 * 1024 * 1024,
        passes: 64,
        lanes: 16,
    };

    /// The least that Argon2 can do.
    const INSECURE: Self = Self {
        memory_kib: 8,
        passes: 1,
        lanes: 1,
    };

    /// A cost of one's own, within what is secure and what is possible.
    pub fn new(memory_kib: u32, passes: u32, lanes: u32) -> Result<Self, KekError> {
        let cost = Self {
            memory_kib,
            passes,
            lanes,
        };
        cost.check(false)?;
        Ok(cost)
    }

    fn check(self, insecure_allowed: bool) -> Result<(), KekError> {
        let least = if insecure_allowed {
            Self::INSECURE
        } else {
            Self::LEAST
        };
        let within = |value, least, most| (least..=most).contains(&value);
        if within(self.memory_kib, least.memory_kib, Self::MOST.memory_kib)
            && within(self.passes, least.passes, Self::MOST.passes)
            && within(self.lanes, least.lanes, Self::MOST.lanes)
        {
            Ok(())
        } else {
            Err(KekError::Cost {
                memory_kib: self.memory_kib,
                passes: self.passes,
                lanes: self.lanes,
            })
        }
    }
}

/// Where a KEK comes from.
#[derive(Debug)]
pub struct KekSource(Source);

#[derive(Debug)]
enum Source {
    Passphrase {
        passphrase: Passphrase,
        cost: ArgonCost,
        insecure_allowed: bool,
    },
    KeyFile(KeyFile),
}

impl KekSource {
    /// A passphrase, with the standard cost for a KEK that is made.
    pub fn passphrase(passphrase: Passphrase) -> Self {
        Self::passphrase_with_cost(passphrase, ArgonCost::STANDARD)
    }

    /// A passphrase, with a cost for a KEK that is made.
    pub fn passphrase_with_cost(passphrase: Passphrase, cost: ArgonCost) -> Self {
        Self(Source::Passphrase {
            passphrase,
            cost,
            insecure_allowed: false,
        })
    }

    /// A passphrase that is derived at next to no cost: for tests and throwaway clusters only. A
    /// node opened by [`KekSource::passphrase`] refuses what was made so.
    pub fn insecure_passphrase(passphrase: Passphrase) -> Self {
        Self(Source::Passphrase {
            passphrase,
            cost: ArgonCost::INSECURE,
            insecure_allowed: true,
        })
    }

    /// A key file.
    pub fn key_file(key: KeyFile) -> Self {
        Self(Source::KeyFile(key))
    }
}

/// A KEK that cannot be made or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KekError {
    /// The disk refused.
    #[error("use file sealing")]
    Disk(#[from] DiskError),
    /// The node has not been set up.
    #[error("there is no file sealing in this directory: the node has not been initialized")]
    Missing,
    /// The node has been set up already.
    #[error("there is a file sealing in this directory: the node has been initialized already")]
    Exists,
    /// The file is damaged.
    #[error(
        "file sealing is damaged: put this node's own copy back; without one nothing of the node \
         can be unsealed"
    )]
    Damaged,
    /// The passphrase is not the one that the node was sealed with.
    #[error("the passphrase is wrong")]
    WrongPassphrase,
    /// The key file is not the one that the node was sealed with.
    #[error("the key file is not the one that this node was sealed with")]
    WrongKeyFile,
    /// The files belong to another node.
    #[error("the directory belongs to node {found}, not to {expected}")]
    WrongNode {
        /// The node in the file.
        found: String,
        /// The node that was asked for.
        expected: NodeId,
    },
    /// A passphrase was given where a key file is needed.
    #[error("this node is sealed with a key file, and a passphrase was given")]
    NeedsKeyFile,
    /// A key file was given where a passphrase is needed.
    #[error("this node is sealed with a passphrase, and a key file was given")]
    NeedsPassphrase,
    /// The passphrase is empty.
    #[error("the passphrase is empty")]
    EmptyPassphrase,
    /// The cost of the derivation is outside of what is allowed.
    #[error(
        "deriving the key with {memory_kib} KiB, {passes} passes and {lanes} lanes is not \
         allowed: at least 19456 KiB and 2 passes, at most 4 GiB, 64 passes and 16 lanes"
    )]
    Cost {
        /// KiB of memory.
        memory_kib: u32,
        /// Passes over it.
        passes: u32,
        /// Lanes in it.
        lanes: u32,
    },
    /// Sealing or derivation is impossible, for example because memory is short.
    #[error("derive the key-encryption key")]
    Derivation,
}

#[derive(Serialize, Deserialize)]
struct Header {
    node: NodeId,
    kind: Kind,
    check: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
enum Kind {
    Passphrase { cost: ArgonCost, salt: [u8; SALT] },
    KeyFile,
}

/// Sets up the KEK of a node, where there is none yet.
pub fn create_kek(
    disk: &dyn Disk,
    node: &NodeId,
    source: &KekSource,
    rng: &mut dyn CryptoRngCore,
) -> Result<LocalKek, KekError> {
    if disk.exists(PATH)? {
        return Err(KekError::Exists);
    }
    let (kind, kek) = match &source.0 {
        Source::Passphrase {
            passphrase,
            cost,
            insecure_allowed,
        } => {
            cost.check(*insecure_allowed)?;
            let mut salt = [0; SALT];
            rng.fill_bytes(&mut salt);
            (
                Kind::Passphrase { cost: *cost, salt },
                derive(passphrase, *cost, &salt)?,
            )
        }
        Source::KeyFile(key) => (Kind::KeyFile, copy(&key.0)?),
    };
    let check = kek
        .wrap(CHECK_TEXT, check_of(node), rng)
        .map_err(|BadSeal| KekError::Derivation)?;
    let header = Header {
        node: node.clone(),
        kind,
        check,
    };
    let body = wire::encode(&header).map_err(|_| KekError::Derivation)?;
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&Sha256::digest(&body));
    bytes.extend_from_slice(&body);
    disk::replace(disk, PATH, &bytes)?;
    Ok(kek)
}

/// Opens the KEK of a node.
pub fn open_kek(disk: &dyn Disk, node: &NodeId, source: &KekSource) -> Result<LocalKek, KekError> {
    let bytes = match disk::read_whole(disk, PATH, MAX_BYTES) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Err(KekError::Missing),
        Err(error) => return Err(error.into()),
    };
    let header = parse(&bytes).ok_or(KekError::Damaged)?;
    if header.node != *node {
        let found = header.node.to_string();
        return Err(KekError::WrongNode {
            found,
            expected: node.clone(),
        });
    }
    let (kek, wrong) = match (&source.0, &header.kind) {
        (
            Source::Passphrase {
                passphrase,
                insecure_allowed,
                ..
            },
            Kind::Passphrase { cost, salt },
        ) => {
            cost.check(*insecure_allowed)?;
            (derive(passphrase, *cost, salt)?, KekError::WrongPassphrase)
        }
        (Source::KeyFile(key), Kind::KeyFile) => (copy(&key.0)?, KekError::WrongKeyFile),
        (Source::Passphrase { .. }, Kind::KeyFile) => return Err(KekError::NeedsKeyFile),
        (Source::KeyFile(_), Kind::Passphrase { .. }) => return Err(KekError::NeedsPassphrase),
    };
    match kek.unwrap(&header.check, check_of(node)) {
        Ok(text) if *text == CHECK_TEXT => Ok(kek),
        Ok(_) | Err(BadSeal) => Err(wrong),
    }
}

/// The node that a directory was set up for.
pub fn node_of(disk: &dyn Disk) -> Result<NodeId, KekError> {
    let bytes = disk::read_whole(disk, PATH, MAX_BYTES)?.ok_or(KekError::Missing)?;
    parse(&bytes)
        .map(|header| header.node)
        .ok_or(KekError::Damaged)
}

fn parse(bytes: &[u8]) -> Option<Header> {
    let (hash, body) = bytes.strip_prefix(MAGIC)?.split_at_checked(32)?;
    if Sha256::digest(body).as_slice() != hash {
        return None;
    }
    wire::decode(body).ok()
}

fn check_of(node: &NodeId) -> Associated<'_> {
    Associated {
        kind: SealedKind::KekCheck,
        node,
        share: None,
        public: &[],
    }
}

fn copy(key: &SealKey) -> Result<LocalKek, KekError> {
    SealKey::from_slice(key.expose())
        .map(LocalKek)
        .ok_or(KekError::Derivation)
}

fn derive(passphrase: &Passphrase, cost: ArgonCost, salt: &[u8]) -> Result<LocalKek, KekError> {
    if passphrase.0.is_empty() {
        return Err(KekError::EmptyPassphrase);
    }
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(KEY))
        .map_err(|_| KekError::Derivation)?;
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let mut memory = vec![Block::default(); argon.params().block_count()];
    let mut key = Zeroizing::new([0; KEY]);
    let derived =
        argon.hash_password_into_with_memory(&passphrase.0, salt, key.as_mut_slice(), &mut memory);
    memory.zeroize();
    derived.map_err(|_| KekError::Derivation)?;
    SealKey::from_slice(key.as_slice())
        .map(LocalKek)
        .ok_or(KekError::Derivation)
}
