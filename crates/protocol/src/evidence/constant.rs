//! A dealer that deals something else than its part of the key (P27).
//!
//! What its part is follows from the source epoch. The dealer's own signature is over a session
//! whose id covers the hash of the source's certificate, so nobody can put another source beside
//! its package; an honest dealer has checked that source itself before it said hello.

use quorate_model::SessionPreimage;
use serde::{Deserialize, Serialize};

use super::{Blamed, NotProven, Session};
use crate::{
    abort::Fault,
    ceremony::{
        checks::{check_constant, committed_polynomial},
        round,
        source::ReshareSource,
    },
    envelope::Envelope,
    suite::{Curve, Edwards, Secp, Suite},
};

/// What shows a wrong constant term.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConstantProof {
    /// The session.
    pub session: SessionPreimage,
    /// What the session reshares.
    pub source: ReshareSource,
    /// The dealer's package.
    pub reveal: Envelope,
}

impl std::fmt::Debug for ConstantProof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConstantProof")
            .field("dealer", &self.reveal.header.sender.number())
            .finish_non_exhaustive()
    }
}

impl Session {
    pub(super) fn wrong_constant(&self, proof: &ConstantProof) -> Result<Blamed, NotProven> {
        self.broadcast(&proof.reveal, round::REVEAL)?;
        proof
            .source
            .check(self.terms.binding())
            .map_err(|_| NotProven::OtherSource)?;
        let fault = match self.terms.curve {
            Curve::Secp => self.constant_fault::<Secp>(proof)?,
            Curve::Edwards => self.constant_fault::<Edwards>(proof)?,
        };
        self.blame(proof.reveal.header.sender, fault)
    }

    fn constant_fault<C: Suite>(&self, proof: &ConstantProof) -> Result<Fault, NotProven> {
        let ConstantProof { source, reveal, .. } = proof;
        let part = source
            .constant_of::<C>(self.terms.binding(), reveal.header.sender)
            .ok_or(NotProven::Statement)?;
        let polynomial =
            committed_polynomial::<C>(&self.terms, reveal).map_err(|_| NotProven::Statement)?;
        check_constant(&part, &polynomial)
            .err()
            .ok_or(NotProven::NoFault)
    }
}
