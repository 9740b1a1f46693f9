//! Rosters: following a chain of them, and conversions (P3).

use quorate_model::{
    Digest, Refusal,
    command::SignedCommand,
    operation::{RosterOutcome, RosterView},
    roster::{
        Followed, MAX_NODES, MAX_ROSTERS, PinnedRoster, RosterError, RosterReceipt,
        RosterSignature, SignedRoster, Successor,
    },
};

use crate::{
    admission, command,
    convert::{Malformed, digest, list, name, signature, store, stored},
    limits::MAX_ROSTER_SIGNATURES,
    types, v1,
};

/// Why a chain of rosters is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// The first roster is not the one that was confirmed, or does not hold.
    #[error(transparent)]
    First(#[from] RosterError),
    /// A later one does not follow from those before it.
    #[error("a later roster of the file does not hold: {0}")]
    Later(Refusal),
}

/// Follows a file of rosters from the first, whose hash was confirmed out of band, to the newest.
///
/// # Errors
///
/// When the first is another roster, or one of the file does not hold.
pub fn pin(file: &SignedRoster, expected: &Digest) -> Result<PinnedRoster, ChainError> {
    file.verify_pinned(expected)?;
    open(file)
}

/// Follows a file of rosters whose first is known to be the right one.
///
/// # Errors
///
/// When one of the file does not hold.
pub fn open(file: &SignedRoster) -> Result<PinnedRoster, ChainError> {
    let first = file.verify_first()?;
    follow_all(
        first,
        file.successors.iter().map(|Successor(signed)| signed),
    )
    .map_err(ChainError::Later)
}

/// Follows commands in their order.
///
/// # Errors
///
/// The refusal of the first that does not hold.
pub fn follow_all<'a>(
    pinned: PinnedRoster,
    commands: impl IntoIterator<Item = &'a SignedCommand>,
) -> Result<PinnedRoster, Refusal> {
    commands.into_iter().try_fold(pinned, |pinned, signed| {
        Ok(match follow(&pinned, signed)? {
            Followed::InForce(next) | Followed::Aside(next) => next,
            Followed::Known => pinned,
        })
    })
}

/// Follows one command about the roster, whenever it is heard of.
///
/// # Errors
///
/// The refusal that every node gives.
pub fn follow(pinned: &PinnedRoster, signed: &SignedCommand) -> Result<Followed, Refusal> {
    admission::check_size(signed)?;
    // Whoever speaks may be in the roster of another branch only: who carries the command is counted
    // once its parents are known. Here the bytes are somebody's word, and are read.
    pinned
        .verify_endorsements(signed)
        .map_err(|error| admission::refused(&error))?;
    let command = command::decode(&signed.bytes)?;
    pinned.follow(signed, &command)
}

pub(crate) fn outcome_to_wire(outcome: RosterOutcome) -> Result<v1::RosterChanged, Refusal> {
    Ok(v1::RosterChanged {
        version: outcome.version,
        roster: outcome.roster.as_bytes().to_vec(),
        receipts: outcome
            .receipts
            .iter()
            .map(store)
            .collect::<Result<_, _>>()?,
        missing: outcome
            .missing
            .into_iter()
            .map(|(node, refusal)| v1::roster_changed::Missing {
                node: node.into(),
                refusal: refusal.map(Into::into),
            })
            .collect(),
    })
}

pub(crate) fn outcome(wire: v1::RosterChanged) -> Result<RosterOutcome, Malformed> {
    const RECEIPTS: &str = "roster_changed.receipts";
    const MISSING: &str = "roster_changed.missing";
    Ok(RosterOutcome {
        version: wire.version,
        roster: digest("roster_changed.roster", &wire.roster)?,
        receipts: list(RECEIPTS, wire.receipts, MAX_NODES, |bytes| {
            stored::<RosterReceipt>(RECEIPTS, &bytes)
        })?,
        missing: list(MISSING, wire.missing, MAX_NODES, |missing| {
            let refusal = missing.refusal.map(types::refusal).transpose()?;
            Ok((name(MISSING, missing.node)?, refusal))
        })?,
    })
}

impl TryFrom<RosterView> for v1::Roster {
    type Error = Refusal;
    fn try_from(view: RosterView) -> Result<Self, Refusal> {
        let receipts = view.receipts.iter().map(store).collect::<Result<_, _>>()?;
        Ok(Self {
            receipts,
            ..view.file.into()
        })
    }
}

impl TryFrom<v1::Roster> for RosterView {
    type Error = Refusal;
    fn try_from(mut wire: v1::Roster) -> Result<Self, Refusal> {
        let receipts = std::mem::take(&mut wire.receipts);
        let receipts = list("receipts", receipts, MAX_NODES, |bytes| {
            stored::<RosterReceipt>("receipts", &bytes)
        })?;
        let file = wire.try_into()?;
        Ok(Self { file, receipts })
    }
}

impl From<SignedRoster> for v1::Roster {
    fn from(roster: SignedRoster) -> Self {
        let signature = |signed: RosterSignature| v1::RosterSignature {
            principal: signed.principal.into(),
            signature: signed.signature.as_bytes().to_vec(),
        };
        Self {
            text: roster.roster,
            signatures: roster.signatures.into_iter().map(signature).collect(),
            successors: roster
                .successors
                .into_iter()
                .map(|Successor(signed)| signed.into())
                .collect(),
            receipts: Vec::new(),
        }
    }
}

impl TryFrom<v1::Roster> for SignedRoster {
    type Error = Refusal;
    fn try_from(wire: v1::Roster) -> Result<Self, Refusal> {
        let signatures = list(
            "signatures",
            wire.signatures,
            MAX_ROSTER_SIGNATURES,
            |signed| {
                Ok(RosterSignature {
                    principal: name("signatures.principal", signed.principal)?,
                    signature: signature("signatures.signature", &signed.signature)?,
                })
            },
        )?;
        let successors = list("successors", wire.successors, MAX_ROSTERS, |signed| {
            types::signed_command(signed).map(Successor)
        })?;
        Ok(Self {
            roster: wire.text,
            signatures,
            successors,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::arbitrary;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn rosters_survive_the_wire(view in arbitrary::roster_view()) {
            let wire = v1::Roster::try_from(view.clone()).unwrap();

            prop_assert_eq!(RosterView::try_from(wire), Ok(view));
        }
    }

    #[test]
    fn a_signature_of_another_length_is_refused() {
        let signed = v1::RosterSignature {
            principal: "admin".to_owned(),
            signature: vec![0; 63],
        };
        let wire = v1::Roster {
            text: String::new(),
            signatures: vec![signed],
            ..v1::Roster::default()
        };

        let refused = SignedRoster::try_from(wire).unwrap_err();

        assert_eq!(refused.get("field"), Some("signatures.signature"));
    }
}
