//! The epoch that is reshared, as its certificate states it.

use frost_core::Element;
use quorate_model::{
    PartyIndex, SessionBinding,
    certificate::{CommitCertificate, PreparedStatement, verifying_shares_hash},
};
use serde::{Deserialize, Serialize};

use super::terms::{is_well_shaped, scheme_of};
use crate::{
    sharing::{SharingError, check_public_sharing},
    suite::{Suite, decode_element, lagrange},
};

/// What is known of the epoch that is reshared (P27): the statement that all its holders signed,
/// and its verifying shares, whose hash the statement holds.
///
/// The hash of the statement is that of the certificate, and the session is bound to it (P12). So
/// two parties of one session have one source, and whoever judges them needs no other word for it
/// than this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReshareSource {
    /// What all holders of the source epoch signed.
    pub statement: PreparedStatement,
    /// The verifying shares of the source epoch in index order.
    pub verifying_shares: Vec<Vec<u8>>,
}

/// Why a source is not what a session reshares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The session reshares nothing, or is of no shape that resharing has.
    #[error("read the source of a session")]
    Session,
    /// Another certificate, key, scheme or epoch than that of the session, or one that is not
    /// before the epoch that is made.
    #[error("reshare another epoch than that of the session")]
    OtherSource,
    /// The verifying shares are not those of the statement: one for each holder, in order.
    #[error("match verifying shares with the statement of their holders")]
    VerifyingShares,
    /// The verifying shares do not make the group key.
    #[error("check the sharing of the source epoch")]
    Sharing(#[from] SharingError),
    /// Not exactly as many dealers as the threshold, or one does not hold its share.
    #[error("find exactly as many holders among the dealers as make the key")]
    Dealers,
}

impl ReshareSource {
    /// What a certificate says of its epoch. Whether the certificate holds is for the caller to
    /// have checked.
    pub fn of(certificate: &CommitCertificate) -> Self {
        Self {
            statement: certificate.statement.clone(),
            verifying_shares: certificate.verifying_shares.clone(),
        }
    }

    /// Checks that this is what a session reshares, that it is a sharing of its group key, and
    /// that exactly as many of its holders deal as make the key (P5, P27).
    pub fn check(&self, binding: &SessionBinding) -> Result<(), SourceError> {
        let statement = &self.statement;
        let bound = binding.source.as_ref().filter(|_| is_well_shaped(binding));
        let bound = bound.ok_or(SourceError::Session)?;
        if statement.certificate_hash() != bound.certificate
            || statement.epoch != bound.epoch
            || statement.key != binding.key
            || scheme_of(binding) != Some(statement.scheme)
            || binding.target_epoch <= bound.epoch
        {
            return Err(SourceError::OtherSource);
        }
        let holders = &statement.participants;
        let indices = holders.iter().map(|holder| holder.index.number());
        if verifying_shares_hash(&self.verifying_shares) != statement.verifying_shares
            || self.verifying_shares.len() != holders.len()
            || holders.len() > usize::from(u16::MAX)
            || !indices.eq((1..).take(holders.len()))
        {
            return Err(SourceError::VerifyingShares);
        }
        let (threshold, key) = (statement.threshold, &statement.group_key);
        check_public_sharing(statement.scheme, threshold, key, &self.verifying_shares)?;
        let hold = bound.dealers.iter().all(|dealer| {
            let deals = binding
                .participants
                .iter()
                .find(|p| p.index == dealer.index);
            let holds = holders.iter().find(|h| h.index == dealer.source_index);
            deals.is_some() && deals.map(|p| &p.node) == holds.map(|h| &h.node)
        });
        if !hold || bound.dealers.len() != usize::from(statement.threshold) {
            return Err(SourceError::Dealers);
        }
        Ok(())
    }

    /// The verifying share of a holder.
    pub(crate) fn verifying_share<C: Suite>(&self, holder: PartyIndex) -> Option<Element<C>> {
        let at = usize::from(holder.number()).checked_sub(1)?;
        decode_element::<C>(self.verifying_shares.get(at)?)
    }

    /// The index of a dealer's share, and the Lagrange coefficient that makes it a part of the key.
    pub(crate) fn part_of<C: Suite>(
        binding: &SessionBinding,
        dealer: PartyIndex,
    ) -> Option<(PartyIndex, frost_core::Scalar<C>)> {
        let dealers = &binding.source.as_ref()?.dealers;
        let own = dealers.iter().find(|other| other.index == dealer)?;
        let all: Vec<_> = dealers.iter().map(|dealer| dealer.source_index).collect();
        let lambda = lagrange::<C>(&all, own.source_index)?;
        Some((own.source_index, lambda))
    }

    /// What a dealer's commitment to its constant term must be: its Lagrange coefficient times its
    /// verifying share.
    pub(crate) fn constant_of<C: Suite>(
        &self,
        binding: &SessionBinding,
        dealer: PartyIndex,
    ) -> Option<Element<C>> {
        let (holder, lambda) = Self::part_of::<C>(binding, dealer)?;
        Some(self.verifying_share::<C>(holder)? * lambda)
    }
}
