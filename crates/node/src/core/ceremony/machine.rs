//! The machine of either protocol, and what it ends with.

use ed25519_dalek::SigningKey;
use quorate_protocol::{
    Abort,
    ceremony::{Advance, Proven, Rejected, Sharing},
    dkg::{self, DkgOutput},
    envelope::Envelope,
    reshare::{self, ReshareOutput},
    sharing::SigningShare,
};
use rand_core::CryptoRngCore;

/// One party's run of key generation or of resharing.
pub(super) enum Machine {
    Birth(dkg::Machine),
    Reshare(reshare::Machine),
}

/// What a run ends with: a new sharing, and this node's share of it if it receives one.
pub(super) struct Made {
    pub(super) share: Option<SigningShare>,
    pub(super) sharing: Sharing,
}

/// What a round led to.
pub(super) enum Step {
    Running(Machine, Vec<Envelope>),
    Finished(Box<Made>, Vec<Envelope>),
    Aborted(Abort, Vec<Envelope>),
    Refused(Machine, Rejected),
}

impl Machine {
    pub(super) fn round(&self) -> u8 {
        match self {
            Self::Birth(machine) => machine.round(),
            Self::Reshare(machine) => machine.round(),
        }
    }

    /// Where the nodes stand, once that is proven (P35).
    pub(super) fn proven(&self) -> Option<Proven> {
        match self {
            Self::Birth(machine) => machine.proven(),
            Self::Reshare(machine) => machine.proven(),
        }
    }

    pub(super) fn advance(
        self,
        inbound: &[Vec<u8>],
        key: &SigningKey,
        rng: &mut dyn CryptoRngCore,
    ) -> Step {
        match self {
            Self::Birth(machine) => {
                step(machine.advance(inbound, key, rng), Self::Birth, Made::born)
            }
            Self::Reshare(machine) => {
                let advance = machine.advance(inbound, key, rng);
                step(advance, Self::Reshare, Made::reshared)
            }
        }
    }

    #[cfg(debug_assertions)]
    pub(super) fn without_comparing_echoes(self) -> Self {
        match self {
            Self::Birth(machine) => Self::Birth(machine.without_comparing_echoes()),
            Self::Reshare(machine) => Self::Reshare(machine.without_comparing_echoes()),
        }
    }
}

fn step<O>(
    advance: Advance<O>,
    machine: impl Fn(quorate_protocol::ceremony::Machine<O>) -> Machine,
    made: impl Fn(O) -> Made,
) -> Step {
    match advance {
        Advance::Running {
            machine: next,
            outgoing,
        } => Step::Running(machine(next), outgoing),
        Advance::Finished { output, outgoing } => Step::Finished(Box::new(made(output)), outgoing),
        Advance::Aborted { abort, outgoing } => Step::Aborted(abort, outgoing),
        Advance::Refused {
            machine: same,
            rejected,
        } => Step::Refused(machine(same), rejected),
    }
}

impl Made {
    fn born(output: DkgOutput) -> Self {
        let DkgOutput {
            share,
            scheme,
            threshold,
            group_key,
            verifying_shares,
            chain_code,
            session,
            transcript,
        } = output;
        Self {
            share: Some(share),
            sharing: Sharing {
                scheme,
                threshold,
                group_key,
                verifying_shares,
                chain_code,
                session,
                transcript,
            },
        }
    }

    fn reshared(output: ReshareOutput) -> Self {
        match output {
            ReshareOutput::Holder { share, sharing } => Self {
                share: Some(share),
                sharing,
            },
            ReshareOutput::Dealer { sharing } => Self {
                share: None,
                sharing,
            },
        }
    }
}
