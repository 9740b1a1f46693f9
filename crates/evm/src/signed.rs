//! From signatures of the cluster to what EVM chains take.

use alloy_consensus::{TxEnvelope, transaction::SignerRecoverable as _};
use alloy_eips::Decodable2718 as _;
use alloy_primitives::{Address, B256, Signature, U256};
use quorate_intent::{EvmAddress, EvmRefusal, EvmTransaction};
use quorate_model::Digest;

/// The length of a signature of the scheme `ecdsa-secp256k1`: r, s, recovery id.
const SIGNATURE_LENGTH: usize = 65;

/// A signature in the form of EVM chains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvmSignature {
    r: [u8; 32],
    s: [u8; 32],
    y_parity: bool,
}

/// Why a signature is none that an EVM chain takes from the account of the key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EvmSignatureError {
    /// Another length than the scheme has.
    #[error("the signature has {found} bytes, expected {SIGNATURE_LENGTH}")]
    Length {
        /// How many.
        found: usize,
    },
    /// A signature whose point has an x coordinate above the order of the group. EVM chains have
    /// no way to write it down; one of about 2^127 signatures is like that.
    #[error(
        "the signature has recovery id {found}, which EVM chains cannot express: ask for another \
         signature with a new command"
    )]
    RecoveryId {
        /// The recovery id.
        found: u8,
    },
    /// The payload is no transaction that can be signed.
    #[error(transparent)]
    Transaction(#[from] EvmRefusal),
    /// Another library reads another transaction.
    #[error("the signed transaction is not the one that was to be signed")]
    OtherTransaction,
    /// The signature is somebody else's, or has a high s.
    #[error("the signature is not one of account {expected}")]
    OtherSigner {
        /// The account of the key.
        expected: EvmAddress,
    },
}

impl EvmSignature {
    /// Takes a signature of the scheme `ecdsa-secp256k1`.
    ///
    /// # Errors
    ///
    /// When EVM chains cannot express it.
    pub fn from_ecdsa(signature: &[u8]) -> Result<Self, EvmSignatureError> {
        let length = EvmSignatureError::Length {
            found: signature.len(),
        };
        let (r, rest) = signature.split_first_chunk().ok_or(length.clone())?;
        let (s, rest) = rest.split_first_chunk().ok_or(length.clone())?;
        let y_parity = match rest {
            [0] => false,
            [1] => true,
            [found] => return Err(EvmSignatureError::RecoveryId { found: *found }),
            _ => return Err(length),
        };
        Ok(Self {
            r: *r,
            s: *s,
            y_parity,
        })
    }

    /// The first number.
    pub const fn r(&self) -> &[u8; 32] {
        &self.r
    }

    /// The second number.
    pub const fn s(&self) -> &[u8; 32] {
        &self.s
    }

    /// Whether the point has an odd y coordinate.
    pub const fn y_parity(&self) -> bool {
        self.y_parity
    }

    /// The bytes as wallets pass them on: r, s, and v, which is 27 or 28.
    pub fn to_bytes(&self) -> [u8; SIGNATURE_LENGTH] {
        let mut bytes = [0; SIGNATURE_LENGTH];
        let v = 27_u8.saturating_add(self.y_parity.into());
        let parts = self.r.iter().chain(&self.s).chain(std::iter::once(&v));
        for (byte, part) in bytes.iter_mut().zip(parts) {
            *byte = *part;
        }
        bytes
    }

    /// The account that signed a digest, as alloy recovers it.
    fn recover(&self, digest: &Digest) -> Option<Address> {
        let (r, s) = (U256::from_be_bytes(self.r), U256::from_be_bytes(self.s));
        let signature = Signature::new(r, s, self.y_parity);
        // alloy recovers from a high s as well, and contracts refuse it.
        if signature.normalize_s().is_some() {
            return None;
        }
        signature
            .recover_address_from_prehash(&B256::from(*digest.as_bytes()))
            .ok()
    }
}

/// A transaction that an EVM chain takes from the account of the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedEvmTransaction {
    raw: Vec<u8>,
    hash: Digest,
    from: EvmAddress,
    signature: EvmSignature,
}

impl SignedEvmTransaction {
    /// Puts an unsigned transaction and a signature of the scheme `ecdsa-secp256k1` together, and
    /// has alloy read who sends it.
    ///
    /// # Errors
    ///
    /// When that is not `from`, or the two do not make a transaction.
    pub fn assemble(
        unsigned: &[u8],
        signature: &[u8],
        from: EvmAddress,
    ) -> Result<Self, EvmSignatureError> {
        let transaction = EvmTransaction::decode(unsigned)?;
        let signature = EvmSignature::from_ecdsa(signature)?;
        let raw = transaction.encode_signed(signature.y_parity(), signature.r(), signature.s());
        let other = || EvmSignatureError::OtherTransaction;
        let read = TxEnvelope::decode_2718_exact(&raw).map_err(|_| other())?;
        if read.signature_hash().0 != transaction.signing_hash() {
            return Err(other());
        }
        match read.recover_signer() {
            Ok(signer) if signer.0.0 == *from.as_bytes() => Ok(Self {
                hash: Digest::new(read.tx_hash().0),
                raw,
                from,
                signature,
            }),
            Ok(_) | Err(_) => Err(EvmSignatureError::OtherSigner { expected: from }),
        }
    }

    /// The bytes for `eth_sendRawTransaction`, behind the type byte where there is one.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// The hash by which the chain knows the transaction.
    pub const fn hash(&self) -> Digest {
        self.hash
    }

    /// The account that sends it.
    pub const fn from(&self) -> EvmAddress {
        self.from
    }

    /// The signature inside.
    pub const fn signature(&self) -> &EvmSignature {
        &self.signature
    }
}

/// A signature over a personal message or typed data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedEvmMessage {
    signature: EvmSignature,
    from: EvmAddress,
}

impl SignedEvmMessage {
    /// Takes a signature of the scheme `ecdsa-secp256k1` over a digest, and has alloy recover who
    /// made it.
    ///
    /// # Errors
    ///
    /// When that is not `from`.
    pub fn check(
        digest: &Digest,
        signature: &[u8],
        from: EvmAddress,
    ) -> Result<Self, EvmSignatureError> {
        let signature = EvmSignature::from_ecdsa(signature)?;
        match signature.recover(digest) {
            Some(signer) if signer.0.0 == *from.as_bytes() => Ok(Self { signature, from }),
            Some(_) | None => Err(EvmSignatureError::OtherSigner { expected: from }),
        }
    }

    /// The signature.
    pub const fn signature(&self) -> &EvmSignature {
        &self.signature
    }

    /// The account that signed.
    pub const fn from(&self) -> EvmAddress {
        self.from
    }
}

#[cfg(test)]
mod tests;
