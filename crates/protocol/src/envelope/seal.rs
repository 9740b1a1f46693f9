//! Sealing of secret bodies: HPKE (RFC 9180) in base mode with X25519, HKDF-SHA256 and
//! ChaCha20-Poly1305, to a key that the recipient made for this session and this sender.
//!
//! The sender is authenticated by the envelope's signature. The key is per sender because a
//! complaint reveals it (P21), and must open nothing else.

use curve25519_dalek::{MontgomeryPoint, traits::Identity as _};
use hpke::{
    Deserializable as _, OpModeR, OpModeS, Serializable as _,
    aead::{AeadCtxR, AeadCtxS, ChaCha20Poly1305},
    kdf::HkdfSha256,
    kem::X25519HkdfSha256,
    setup_receiver, setup_sender, single_shot_open, single_shot_seal,
};
use rand_core::CryptoRngCore;
use serde::{Deserialize, Serialize};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use super::Slot;

const INFO: &[u8] = b"quorate/v1/seal";

/// Apart from [`INFO`], so that no body sealed by itself is the first of a sequence.
const SEQUENCE_INFO: &[u8] = b"quorate/v1/seal-sequence";

/// A sealed body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// The encapsulated key.
    pub encapsulated: [u8; 32],
    /// The ciphertext with its tag.
    #[serde(with = "serde_bytes")]
    pub ciphertext: Vec<u8>,
}

/// A body that cannot be sealed: the recipient's key is no usable point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("seal to a session key")]
pub struct SealError;

/// A body that does not open: another key, another place, or not what the sender sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("open a sealed body")]
pub struct OpenError;

/// The secret half of the key to which one sender seals in one session. Zeroized when dropped.
pub struct SessionSecretKey(StaticSecret);

impl std::fmt::Debug for SessionSecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionSecretKey(<redacted>)")
    }
}

impl SessionSecretKey {
    /// Makes a fresh key.
    pub fn generate(rng: &mut dyn CryptoRngCore) -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        rng.fill_bytes(bytes.as_mut());
        Self(StaticSecret::from(*bytes))
    }

    /// Takes a key that a complaint has revealed.
    pub fn from_revealed(bytes: [u8; 32]) -> Self {
        Self(StaticSecret::from(bytes))
    }

    /// The public half.
    pub fn public(&self) -> [u8; 32] {
        PublicKey::from(&self.0).to_bytes()
    }

    /// Gives the secret up, for a complaint (P21).
    pub(crate) fn reveal(self) -> [u8; 32] {
        self.0.to_bytes()
    }
}

/// Whether bytes are a public key that can be sealed to: not a point of small order.
///
/// Secret keys are multiples of 8, so the points that are useless are those that 8 takes to zero.
pub fn is_session_key(bytes: &[u8; 32]) -> bool {
    let by_eight = MontgomeryPoint(*bytes).mul_bits_be([true, false, false, false].into_iter());
    by_eight != MontgomeryPoint::identity()
}

/// Seals a body for the place that it goes to.
pub fn seal(
    recipient: &[u8; 32],
    slot: &Slot,
    plaintext: &[u8],
    mut rng: &mut dyn CryptoRngCore,
) -> Result<Sealed, SealError> {
    let recipient =
        <X25519HkdfSha256 as hpke::Kem>::PublicKey::from_bytes(recipient).map_err(|_| SealError)?;
    let (encapsulated, ciphertext) =
        single_shot_seal::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256, _>(
            &OpModeS::Base,
            &recipient,
            INFO,
            plaintext,
            slot.associated_data().as_bytes(),
            &mut rng,
        )
        .map_err(|_| SealError)?;
    Ok(Sealed {
        encapsulated: encapsulated.to_bytes().into(),
        ciphertext,
    })
}

/// Opens a body that came in the place that it was sealed for.
pub fn open(
    key: &SessionSecretKey,
    slot: &Slot,
    sealed: &Sealed,
) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let bytes = Zeroizing::new(key.0.to_bytes());
    let key = <X25519HkdfSha256 as hpke::Kem>::PrivateKey::from_bytes(bytes.as_ref())
        .map_err(|_| OpenError)?;
    let encapsulated =
        <X25519HkdfSha256 as hpke::Kem>::EncappedKey::from_bytes(&sealed.encapsulated)
            .map_err(|_| OpenError)?;
    single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
        &OpModeR::Base,
        &key,
        &encapsulated,
        INFO,
        &sealed.ciphertext,
        slot.associated_data().as_bytes(),
    )
    .map(Zeroizing::new)
    .map_err(|_| OpenError)
}

/// Seals the bodies that one sender has for one recipient in one session, one after the other,
/// under one key agreement (RFC 9180, section 5.2).
pub struct Sealer(AeadCtxS<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>);

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer(<redacted>)")
    }
}

impl Sealer {
    /// Agrees on a key with the recipient: the sealer, and the encapsulated key, which goes with
    /// the first body.
    pub fn new(
        recipient: &[u8; 32],
        mut rng: &mut dyn CryptoRngCore,
    ) -> Result<(Self, [u8; 32]), SealError> {
        let recipient = <X25519HkdfSha256 as hpke::Kem>::PublicKey::from_bytes(recipient)
            .map_err(|_| SealError)?;
        let (encapsulated, context) =
            setup_sender(&OpModeS::Base, &recipient, SEQUENCE_INFO, &mut rng)
                .map_err(|_| SealError)?;
        Ok((Self(context), encapsulated.to_bytes().into()))
    }

    /// Seals the next body for the place that it goes to.
    pub fn seal(&mut self, slot: &Slot, plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
        self.0
            .seal(plaintext, slot.associated_data().as_bytes())
            .map_err(|_| SealError)
    }
}

/// Opens what a [`Sealer`] has sealed, in its order.
pub struct Opener(AeadCtxR<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>);

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Opener(<redacted>)")
    }
}

impl Opener {
    /// Takes the encapsulated key that came with the first body.
    pub fn new(key: &SessionSecretKey, encapsulated: &[u8; 32]) -> Result<Self, OpenError> {
        let bytes = Zeroizing::new(key.0.to_bytes());
        let key = <X25519HkdfSha256 as hpke::Kem>::PrivateKey::from_bytes(bytes.as_ref())
            .map_err(|_| OpenError)?;
        let encapsulated = <X25519HkdfSha256 as hpke::Kem>::EncappedKey::from_bytes(encapsulated)
            .map_err(|_| OpenError)?;
        setup_receiver(&OpModeR::Base, &key, &encapsulated, SEQUENCE_INFO)
            .map(Self)
            .map_err(|_| OpenError)
    }

    /// Opens the next body, which came in the place that it was sealed for.
    pub fn open(
        &mut self,
        slot: &Slot,
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        self.0
            .open(ciphertext, slot.associated_data().as_bytes())
            .map(Zeroizing::new)
            .map_err(|_| OpenError)
    }
}
