//! The outputs that pay to one public key, in the forms that its scheme can spend.

use bitcoin::{CompressedPublicKey, Script, ScriptBuf, secp256k1::PublicKey};
use quorate_model::{Scheme, address::AddressType};

use crate::{taproot::TaprootKey, undecodable::Undecodable};

/// A public key with what can be paid to it so that its scheme can spend it.
#[derive(Clone, Debug)]
pub(crate) enum Receiver {
    /// Spent by BIP-340 signatures.
    Taproot(TaprootKey),
    /// Spent by ECDSA signatures.
    Ecdsa(EcdsaKey),
}

impl Receiver {
    /// Takes a public key of 33 bytes.
    pub(crate) fn of(scheme: Scheme, public_key: &[u8]) -> Result<Self, Undecodable> {
        if scheme == Scheme::EcdsaSecp256k1 {
            return EcdsaKey::of(public_key).map(Self::Ecdsa);
        }
        TaprootKey::of(public_key).map(Self::Taproot)
    }

    /// The scripts that pay to it.
    pub(crate) fn scripts(&self) -> impl Iterator<Item = (AddressType, &Script)> {
        let (taproot, ecdsa) = match self {
            Self::Taproot(key) => (Some((AddressType::P2tr, key.script.as_script())), None),
            Self::Ecdsa(key) => (None, Some(key.scripts())),
        };
        taproot.into_iter().chain(ecdsa.into_iter().flatten())
    }

    /// In which form a script pays to it, if it does.
    pub(crate) fn form_of(&self, script: &Script) -> Option<AddressType> {
        self.scripts()
            .find(|(_, own)| *own == script)
            .map(|(form, _)| form)
    }

    /// The script of one form; none when the scheme cannot spend it.
    pub(crate) fn script(&self, form: AddressType) -> Option<&Script> {
        self.scripts()
            .find(|(own, _)| *own == form)
            .map(|(_, script)| script)
    }
}

/// A key that signs by ECDSA, with its scripts.
#[derive(Clone, Debug)]
pub(crate) struct EcdsaKey {
    /// Always compressed: segwit allows nothing else, and one form of each script is enough.
    pub(crate) public_key: CompressedPublicKey,
    /// Pays in the form of segwit; also the redeem script of the form inside a script hash.
    pub(crate) p2wpkh: ScriptBuf,
    p2sh_p2wpkh: ScriptBuf,
    p2pkh: ScriptBuf,
}

impl EcdsaKey {
    fn of(public_key: &[u8]) -> Result<Self, Undecodable> {
        let malformed = |_| Undecodable::MalformedKey {
            found: public_key.len(),
        };
        let public_key = CompressedPublicKey::from_slice(public_key).map_err(malformed)?;
        let p2wpkh = ScriptBuf::new_p2wpkh(&public_key.wpubkey_hash());
        Ok(Self {
            p2sh_p2wpkh: ScriptBuf::new_p2sh(&p2wpkh.script_hash()),
            p2pkh: ScriptBuf::new_p2pkh(&public_key.pubkey_hash()),
            public_key,
            p2wpkh,
        })
    }

    fn scripts(&self) -> [(AddressType, &Script); 3] {
        [
            (AddressType::P2wpkh, &self.p2wpkh),
            (AddressType::P2shP2wpkh, &self.p2sh_p2wpkh),
            (AddressType::P2pkh, &self.p2pkh),
        ]
    }
}

/// What unlocks a script hash before the witness does the rest: a push of the redeem script, here
/// of the 22 bytes of P2WPKH.
pub(crate) fn nested_script_sig(redeem: &Script) -> ScriptBuf {
    let length = u8::try_from(redeem.len()).unwrap_or(u8::MAX);
    ScriptBuf::from_bytes([&[length], redeem.as_bytes()].concat())
}

/// The public key of a key origin, as the two kinds of origin write it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ClaimedKey<'a> {
    /// Of a taproot input or output (BIP-371).
    XOnly(&'a bitcoin::XOnlyPublicKey),
    /// Of any other (BIP-174).
    Full(&'a PublicKey),
}

impl ClaimedKey<'_> {
    /// Whether it is the key of this receiver.
    pub(crate) fn is_of(self, receiver: &Receiver) -> bool {
        match (self, receiver) {
            (Self::XOnly(claimed), Receiver::Taproot(key)) => *claimed == key.internal,
            (Self::Full(claimed), Receiver::Ecdsa(key)) => *claimed == key.public_key.0,
            (Self::XOnly(_), Receiver::Ecdsa(_)) | (Self::Full(_), Receiver::Taproot(_)) => false,
        }
    }
}
