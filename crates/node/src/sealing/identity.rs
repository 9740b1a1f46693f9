//! The node's identity file: what makes a node itself, sealed under its KEK.
//!
//! Identity key, TLS key and hedge secret are drawn apart and serve apart (P3).

use ed25519_dalek::SigningKey;
use quorate_model::{
    Digest, IdentityKey, NodeId,
    tagged::{Tag, Tagged},
};
use rand_core::CryptoRngCore;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{Associated, BadSeal, Kek, SealedKind};
use crate::disk::{self, Disk, DiskError};

const PATH: &str = "identity";
const MAGIC: &[u8; 16] = b"quorate-node-id1";
const MAX_BYTES: usize = 64 * 1024;

/// A node secret that hedges fresh randomness (P23).
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct HedgeSecret([u8; 32]);

impl HedgeSecret {
    /// Takes 32 secret bytes.
    pub fn new(bytes: &[u8; 32]) -> Self {
        let mut secret = Self([0; 32]);
        secret.0.copy_from_slice(bytes);
        secret
    }

    /// The bytes, for the derivation that needs them.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// A secret of its own for one purpose inside the node.
    pub(crate) fn derive(&self, purpose: &str) -> Digest {
        Tagged::new(Tag::Hedge)
            .text("derived")
            .text(purpose)
            .bytes(&self.0)
            .finish()
    }
}

impl std::fmt::Debug for HedgeSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HedgeSecret(redacted)")
    }
}

/// The private TLS key of a node, as DER bytes that are opaque here.
pub struct TlsKey(Zeroizing<Vec<u8>>);

impl TlsKey {
    /// Takes the DER bytes.
    pub fn new(der: Zeroizing<Vec<u8>>) -> Self {
        Self(der)
    }

    /// The DER bytes, for the TLS library.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for TlsKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsKey(redacted)")
    }
}

/// What makes a node itself.
pub struct NodeIdentity {
    /// The node.
    pub node: NodeId,
    /// The Ed25519 key that signs what the node says.
    pub identity: SigningKey,
    /// The key of its TLS certificate.
    pub tls_key: TlsKey,
    /// The certificate, as DER bytes.
    pub tls_certificate: Vec<u8>,
    /// What hedges its randomness.
    pub hedge: HedgeSecret,
}

impl std::fmt::Debug for NodeIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            node,
            identity,
            tls_key,
            tls_certificate,
            hedge,
        } = self;
        f.debug_struct("NodeIdentity")
            .field("node", node)
            .field("identity", &IdentityKey::of(identity))
            .field("tls_key", tls_key)
            .field("tls_certificate", &tls_certificate.len())
            .field("hedge", hedge)
            .finish()
    }
}

/// An identity file that cannot be made or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityFileError {
    /// The disk refused.
    #[error("use file identity")]
    Disk(#[from] DiskError),
    /// There is none.
    #[error("there is no file identity in this directory: the node has not been initialized")]
    Missing,
    /// There is one already.
    #[error("there is a file identity in this directory: the node has an identity already")]
    Exists,
    /// The file was changed, or belongs to another node or KEK.
    #[error(
        "file identity was changed, or belongs to another node: put this node's own copy back; \
         it never changes after it was made"
    )]
    Tampered,
    /// A part is larger than the file can hold.
    #[error("the identity is larger than its file may be")]
    TooLarge,
}

impl NodeIdentity {
    /// Draws an identity around a TLS key.
    pub fn generate(
        node: NodeId,
        tls_key: TlsKey,
        tls_certificate: Vec<u8>,
        rng: &mut dyn CryptoRngCore,
    ) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(seed.as_mut_slice());
        let identity = SigningKey::from_bytes(&seed);
        rng.fill_bytes(seed.as_mut_slice());
        Self {
            node,
            identity,
            tls_key,
            tls_certificate,
            hedge: HedgeSecret::new(&seed),
        }
    }

    /// The public identity key.
    pub fn public(&self) -> IdentityKey {
        IdentityKey::of(&self.identity)
    }

    /// Writes the identity where there is none, and reads it back.
    pub fn create(
        &self,
        disk: &dyn Disk,
        kek: &dyn Kek,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<(), IdentityFileError> {
        if disk.exists(PATH)? {
            return Err(IdentityFileError::Exists);
        }
        let plain = self.encode();
        let sealed = kek
            .wrap(&plain, associated(&self.node), rng)
            .map_err(|BadSeal| IdentityFileError::TooLarge)?;
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&sealed);
        if bytes.len() > MAX_BYTES {
            return Err(IdentityFileError::TooLarge);
        }
        disk::replace(disk, PATH, &bytes)?;
        Self::open(disk, &self.node, kek).map(drop)
    }

    /// Reads the identity of a node.
    pub fn open(disk: &dyn Disk, node: &NodeId, kek: &dyn Kek) -> Result<Self, IdentityFileError> {
        let bytes = disk::read_whole(disk, PATH, MAX_BYTES)?.ok_or(IdentityFileError::Missing)?;
        let sealed = bytes
            .strip_prefix(MAGIC)
            .ok_or(IdentityFileError::Tampered)?;
        let plain = kek
            .unwrap(sealed, associated(node))
            .map_err(|BadSeal| IdentityFileError::Tampered)?;
        Self::decode(node, &plain).ok_or(IdentityFileError::Tampered)
    }

    /// The parts, each after its length. The buffer has its final size from the start, so that no
    /// copy of a secret is left behind by growth.
    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let seed = Zeroizing::new(self.identity.to_bytes());
        let parts: [&[u8]; 4] = [
            seed.as_slice(),
            self.hedge.expose(),
            self.tls_key.expose(),
            &self.tls_certificate,
        ];
        let size = parts.iter().fold(0_usize, |sum, part| {
            sum.saturating_add(part.len()).saturating_add(4)
        });
        let mut plain = Zeroizing::new(Vec::with_capacity(size));
        for part in parts {
            let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
            plain.extend_from_slice(&length.to_le_bytes());
            plain.extend_from_slice(part);
        }
        plain
    }

    fn decode(node: &NodeId, plain: &[u8]) -> Option<Self> {
        let (seed, rest) = take(plain)?;
        let (hedge, rest) = take(rest)?;
        let (tls_key, rest) = take(rest)?;
        let (tls_certificate, rest) = take(rest)?;
        if !rest.is_empty() {
            return None;
        }
        Some(Self {
            node: node.clone(),
            identity: SigningKey::from_bytes(seed.try_into().ok()?),
            tls_key: TlsKey(Zeroizing::new(tls_key.to_vec())),
            tls_certificate: tls_certificate.to_vec(),
            hedge: HedgeSecret::new(hedge.try_into().ok()?),
        })
    }
}

fn take(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)
}

fn associated(node: &NodeId) -> Associated<'_> {
    Associated {
        kind: SealedKind::Identity,
        node,
        share: None,
        public: &[],
    }
}
