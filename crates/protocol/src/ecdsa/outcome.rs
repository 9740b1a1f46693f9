//! What a round leads to, and what must follow from it.

use quorate_model::{Digest, PartyIndex};

use crate::{
    abort::{Abort, Fault},
    ceremony::Rejected,
    ecdsa::engine::Failure,
    envelope::Envelope,
};

/// A failed consistency check of a peer: the end of everything between this node and that peer,
/// over all keys and epochs, until the admin quorum lifts it.
///
/// # Security
///
/// A peer that fails a check has learned something about this node's end of the pairing; repeating
/// it with the same pairing gives the share away. So the ban must be durable before anything is
/// answered, and it must be obeyed. The proof lies in sealed messages and convinces nobody else.
#[must_use = "a ban must be durable before anything is answered"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ban {
    /// Who failed the check.
    pub peer: PartyIndex,
    /// In which session.
    pub session: Digest,
    /// By its message of which round.
    pub round: u8,
}

/// What a round led to.
#[must_use = "an outcome carries messages that must be sent, or a ban that must be kept"]
#[derive(Debug)]
pub enum Advance<M, O> {
    /// The run goes on.
    Running {
        /// The run.
        machine: M,
        /// One broadcast, or one envelope for every other party.
        outgoing: Vec<Envelope>,
    },
    /// The run has its output.
    Finished {
        /// The output.
        output: O,
    },
    /// The run is over without an output.
    Aborted {
        /// Why.
        abort: Abort,
    },
    /// The run is over, and so is everything with one peer. Nothing may be answered before the ban
    /// is durable.
    Banned {
        /// What must be kept.
        ban: Ban,
        /// Why.
        abort: Abort,
    },
    /// The envelopes are not the round that is awaited; the run waits on.
    Refused {
        /// The run, unchanged.
        machine: M,
        /// Why.
        rejected: Rejected,
    },
}

/// Whether the pairings among the parties of a session that ended so must be made afresh before they
/// are used again: after a signature that does not hold although every check passed, and where the
/// two ends of a pairing differ.
///
/// Otherwise one bad node could make every subset fail for ever without being named.
pub fn renews_pairings(abort: &Abort) -> bool {
    matches!(
        abort.fault(),
        Some(Fault::InvalidSignature | Fault::PairingMismatch)
    )
}

/// Why a round does not lead on.
pub(super) enum Stop {
    Abort(Abort),
    Banned(Ban, Abort),
}

impl From<Abort> for Stop {
    fn from(abort: Abort) -> Self {
        Self::Abort(abort)
    }
}

impl<M, O> From<Stop> for Advance<M, O> {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Abort(abort) => Self::Aborted { abort },
            Stop::Banned(ban, abort) => Self::Banned { ban, abort },
        }
    }
}

impl Stop {
    /// What an engine's failure in a round means for the session.
    pub(super) fn of(failure: Failure, session: Digest, round: u8) -> Self {
        match failure {
            Failure::Ban(peer) => Self::Banned(
                Ban {
                    peer,
                    session,
                    round,
                },
                Abort::unprovable(peer, Fault::FailedCheck),
            ),
            Failure::Blamed(peer, fault) => Self::Abort(Abort::unprovable(peer, fault)),
            Failure::Unnamed(fault) => Self::Abort(Abort::blameless(fault)),
            Failure::Invariant(what) => Self::Abort(Abort::Invariant(what)),
        }
    }
}
