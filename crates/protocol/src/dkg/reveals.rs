//! Round 3: everybody has revealed its package, and says what it saw.

use rand_core::CryptoRngCore;

use super::{
    checks::{check_commit, check_reveal, follows},
    echoes::AwaitRevealEchoes,
    hellos::SessionKeys,
    messages::Echo,
    party::{Draft, Party},
    round,
};
use crate::{
    abort::{Abort, Fault},
    envelope::Envelope,
    evidence::Evidence,
    rounds::{Inbox, Round},
    sharing::{Commitment, Polynomial},
    suite::Suite,
};

/// Waits for everybody's package.
pub(super) struct AwaitReveals<C: Suite> {
    pub(super) polynomial: Polynomial<C>,
    pub(super) keys: SessionKeys,
}

impl<C: Suite> Round for AwaitReveals<C> {
    type Context = Party;
    type Message = Envelope;
    type Next = (AwaitRevealEchoes<C>, Draft);

    fn finish(
        self,
        party: &mut Party,
        inbox: Inbox<Envelope>,
        _: &mut dyn CryptoRngCore,
    ) -> Result<Self::Next, Abort> {
        let Self { polynomial, keys } = self;
        let mut commitments = Vec::new();
        for (_, envelope) in inbox.iter() {
            check_follows(party, round::COMMIT_ECHO, envelope)?;
            commitments.push(check_package::<C>(party, envelope)?);
        }
        refuse_equal(&commitments)?;
        party.keep(round::REVEAL, inbox);
        let echo = Echo {
            seen: party.headers(round::REVEAL)?,
        };
        let draft = party.broadcast(round::REVEAL_ECHO, &echo)?;
        Ok((
            AwaitRevealEchoes {
                polynomial,
                keys,
                commitments,
            },
            draft,
        ))
    }
}

fn check_package<C: Suite>(party: &Party, reveal: &Envelope) -> Result<Commitment<C>, Abort> {
    let commit = party.said_by(round::COMMIT, reveal.header.sender)?;
    let commitment =
        check_commit(commit).map_err(|_| Abort::Invariant("a kept commitment is readable"))?;
    check_reveal(party.terms()?, &commitment, reveal).map_err(|fault| {
        let evidence = Evidence::FalseReveal {
            session: party.preimage(),
            commit: commit.clone(),
            reveal: reveal.clone(),
        };
        Abort::proven(reveal.header.sender, fault, evidence)
    })
}

/// Blames whoever names another past than in its own echo.
pub(super) fn check_follows(party: &Party, echo_round: u8, later: &Envelope) -> Result<(), Abort> {
    let echo = party.said_by(echo_round, later.header.sender)?;
    if follows(&echo.header, &later.header) {
        return Ok(());
    }
    let evidence = Evidence::Contradiction {
        session: party.preimage(),
        echo: echo.signed_header(),
        later: later.signed_header(),
    };
    Err(Abort::proven(
        later.header.sender,
        Fault::Contradiction,
        evidence,
    ))
}

/// Refuses equal constant terms (P18).
///
/// Both dealers have proven that they know the term, and both committed before either was revealed.
/// So they act together, or two machines drew the same randomness; neither can be named alone.
fn refuse_equal<C: Suite>(commitments: &[Commitment<C>]) -> Result<(), Abort> {
    for (at, one) in commitments.iter().enumerate() {
        let repeated = commitments
            .iter()
            .skip(at + 1)
            .any(|other| other.constant() == one.constant());
        if repeated {
            return Err(Abort::blameless(Fault::EqualCommitments));
        }
    }
    Ok(())
}
