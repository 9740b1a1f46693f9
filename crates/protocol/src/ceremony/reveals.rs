//! Round 3: every dealer has revealed its package, and everybody says what it saw.

use rand_core::CryptoRngCore;

use super::{
    checks::{check_commit, check_constant, check_reveal, follows},
    echoes::AwaitRevealEchoes,
    hellos::SessionKeys,
    messages::Echo,
    party::{Draft, Party},
    round,
};
use crate::{
    abort::{Abort, Fault},
    envelope::Envelope,
    evidence::{ConstantProof, Evidence},
    rounds::{Inbox, Round},
    sharing::{Commitment, Polynomial},
    suite::{Suite, encode_element},
};

/// Waits for every dealer's package.
pub(super) struct AwaitReveals<C: Suite> {
    pub(super) polynomial: Option<Polynomial<C>>,
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
            let polynomial = check_package::<C>(party, envelope)?;
            check_part(party, envelope, &polynomial)?;
            commitments.push(polynomial);
        }
        refuse_equal(&commitments)?;
        check_sum(party, &commitments)?;
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

/// Blames a dealer that deals something else than its part of the key that is reshared (P27).
fn check_part<C: Suite>(
    party: &Party,
    reveal: &Envelope,
    polynomial: &Commitment<C>,
) -> Result<(), Abort> {
    let Some(source) = &party.source else {
        return Ok(());
    };
    let dealer = reveal.header.sender;
    let part = source
        .constant_of::<C>(&party.binding, dealer)
        .ok_or(Abort::Invariant(
            "every dealer of a checked source has a part",
        ))?;
    check_constant(&part, polynomial).map_err(|fault| {
        let evidence = Evidence::WrongConstant(Box::new(ConstantProof {
            session: party.preimage(),
            source: source.clone(),
            reveal: reveal.clone(),
        }));
        Abort::proven(dealer, fault, evidence)
    })
}

/// The parts of a key make the key (P27). Each was compared with the source, whose sharing was
/// checked, so that anything else is a bug.
fn check_sum<C: Suite>(party: &Party, commitments: &[Commitment<C>]) -> Result<(), Abort> {
    let Some(source) = &party.source else {
        return Ok(());
    };
    let sum = commitments
        .iter()
        .map(Commitment::constant)
        .reduce(|sum, next| sum + next)
        .and_then(|sum| encode_element::<C>(&sum));
    if sum.as_ref() == Some(&source.statement.group_key) {
        Ok(())
    } else {
        Err(Abort::Invariant("the parts of a key make the key"))
    }
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
/// At a key's birth both dealers have proven that they know the term, and both committed before
/// either was revealed. So they act together, or two machines drew the same randomness; neither can
/// be named alone. In a resharing each term was compared with its dealer's part of the key, and two
/// parts are equal only if chance made them so.
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
