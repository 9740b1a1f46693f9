//! What a run ends with.

use quorate_model::{Digest, Scheme, SessionPreimage};

use crate::{
    abort::Abort,
    ceremony::{Outcome, Output, Sharing},
    sharing::SigningShare,
};

/// A new key as one of its holders has it. All but the share is public, and the same for all.
#[derive(Debug)]
pub struct DkgOutput {
    /// This party's share.
    pub share: SigningShare,
    /// The scheme.
    pub scheme: Scheme,
    /// How many shares make the key.
    pub threshold: u16,
    /// The untweaked group key: 33 bytes compressed for secp256k1, of either parity; 32 for
    /// Ed25519.
    pub group_key: Vec<u8>,
    /// The verifying shares in index order, encoded alike.
    pub verifying_shares: Vec<Vec<u8>>,
    /// The BIP-32 chain code (P22).
    pub chain_code: [u8; 32],
    /// Everything that the session id is the hash of.
    pub session: SessionPreimage,
    /// The hash of everything that was said to everybody.
    pub transcript: Digest,
}

impl Output for DkgOutput {
    fn conclude(Outcome { share, sharing }: Outcome) -> Result<Self, Abort> {
        let share = share.ok_or(Abort::Invariant("everybody receives when a key is born"))?;
        let Sharing {
            scheme,
            threshold,
            group_key,
            verifying_shares,
            chain_code,
            session,
            transcript,
        } = sharing;
        Ok(Self {
            share,
            scheme,
            threshold,
            group_key,
            verifying_shares,
            chain_code,
            session,
            transcript,
        })
    }
}
