//! Rounds 2 and 4: everybody has signed what it saw in the round before (P15).
//!
//! An echo carries the signed headers that its sender saw. Where two views differ, the two headers
//! of one sender are the proof of who said two things, and an echo that holds anything else is
//! itself the proof against its sender. So no split view is without somebody to name.

use rand_core::CryptoRngCore;

use super::{
    checks::check_echo,
    hellos::{Dealing, SessionKeys},
    messages::{Echo, Share, decode, encode},
    outcome::Outcome,
    party::{Draft, Party},
    reveals::AwaitReveals,
    round,
    shares::AwaitShares,
    terms::receives,
};
use crate::{
    abort::{Abort, Fault},
    envelope::{Envelope, SignedHeader, seal},
    evidence::Evidence,
    rounds::{Inbox, Round},
    sharing::{Commitment, Polynomial},
    suite::Suite,
};

/// Waits for everybody's echo of the commitments.
pub(super) struct AwaitCommitEchoes<C: Suite> {
    pub(super) dealing: Option<Dealing<C>>,
    pub(super) keys: SessionKeys,
}

impl<C: Suite> Round for AwaitCommitEchoes<C> {
    type Context = Party;
    type Message = Envelope;
    type Next = (AwaitReveals<C>, Option<Draft>);

    fn finish(
        self,
        party: &mut Party,
        inbox: Inbox<Envelope>,
        _: &mut dyn CryptoRngCore,
    ) -> Result<Self::Next, Abort> {
        let Self { dealing, keys } = self;
        compare(party, round::COMMIT, &inbox)?;
        party.keep(round::COMMIT_ECHO, inbox);
        let Some(Dealing { polynomial, reveal }) = dealing else {
            let polynomial = None;
            return Ok((AwaitReveals { polynomial, keys }, None));
        };
        let draft = party.broadcast(round::REVEAL, &reveal)?;
        let polynomial = Some(polynomial);
        Ok((AwaitReveals { polynomial, keys }, Some(draft)))
    }
}

/// Waits for everybody's echo of the packages.
pub(super) struct AwaitRevealEchoes<C: Suite> {
    pub(super) polynomial: Option<Polynomial<C>>,
    pub(super) keys: SessionKeys,
    pub(super) commitments: Vec<Commitment<C>>,
}

/// What follows when everybody saw the same packages.
pub(super) enum Dealt<C: Suite> {
    /// This party receives.
    Awaits(AwaitShares<C>),
    /// This party has dealt, and receives nothing: all that it does is done.
    Done(Box<Outcome>),
}

impl<C: Suite> Round for AwaitRevealEchoes<C> {
    type Context = Party;
    type Message = Envelope;
    type Next = (Dealt<C>, Vec<Draft>);

    fn finish(
        self,
        party: &mut Party,
        inbox: Inbox<Envelope>,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<Self::Next, Abort> {
        let Self {
            polynomial,
            keys,
            commitments,
        } = self;
        compare(party, round::REVEAL, &inbox)?;
        party.keep(round::REVEAL_ECHO, inbox);
        let drafts = match &polynomial {
            Some(polynomial) => deal(party, polynomial, &keys, rng)?,
            None => Vec::new(),
        };
        if !receives(&party.binding, party.me) {
            let outcome = Outcome::of(party, &commitments, None)?;
            return Ok((Dealt::Done(Box::new(outcome)), drafts));
        }
        let own = polynomial.map(|polynomial| polynomial.evaluate(party.me));
        let awaits = AwaitShares {
            own,
            keys: keys.own,
            commitments,
        };
        Ok((Dealt::Awaits(awaits), drafts))
    }
}

/// Seals a share to every other receiver.
fn deal<C: Suite>(
    party: &Party,
    polynomial: &Polynomial<C>,
    keys: &SessionKeys,
    rng: &mut dyn CryptoRngCore,
) -> Result<Vec<Draft>, Abort> {
    let mut drafts = Vec::with_capacity(keys.theirs.len());
    for (recipient, key) in &keys.theirs {
        let slot = party.slot(round::SHARE, Some(*recipient))?;
        let share = polynomial.evaluate(*recipient);
        let sealed = seal(key, &slot, share.to_bytes().as_ref(), &mut *rng)
            .map_err(|_| Abort::Invariant("a checked session key can be sealed to"))?;
        let body =
            encode(&Share { sealed }).map_err(|_| Abort::Invariant("a body is encodable"))?;
        drafts.push(Draft { slot, body });
    }
    Ok(drafts)
}

/// Compares what everybody saw in a round with what this party saw.
fn compare(party: &Party, seen_round: u8, echoes: &Inbox<Envelope>) -> Result<(), Abort> {
    #[cfg(debug_assertions)]
    if party.leaves_echoes_out {
        return Ok(());
    }
    let ours = party.headers(seen_round)?;
    let view = party.view(seen_round)?;
    for (sender, envelope) in echoes.iter() {
        let same = envelope.header.previous == view
            && decode::<Echo>(envelope.header.round, &envelope.body)
                .is_some_and(|echo| same_statements(&echo.seen, &ours));
        if same {
            continue;
        }
        let theirs = check_echo(party.terms()?, &party.keys, envelope).map_err(|fault| {
            let evidence = Evidence::FalseEcho {
                session: party.preimage(),
                echo: envelope.clone(),
            };
            Abort::proven(sender, fault, evidence)
        })?;
        return Err(equivocation(party, ours, theirs));
    }
    Ok(())
}

fn same_statements(theirs: &[SignedHeader], ours: &[SignedHeader]) -> bool {
    theirs
        .iter()
        .map(|statement| &statement.header)
        .eq(ours.iter().map(|own| &own.header))
}

/// Two whole views of one round that differ: the first sender in both whose statements differ.
fn equivocation(party: &Party, ours: Vec<SignedHeader>, theirs: Vec<SignedHeader>) -> Abort {
    let differing = ours
        .into_iter()
        .zip(theirs)
        .find(|(own, their)| own.header != their.header);
    let Some((first, second)) = differing else {
        return Abort::Invariant("views that differ have a statement that differs");
    };
    let culprit = first.header.sender;
    if culprit == party.me {
        return Abort::blameless(Fault::Impersonated);
    }
    let evidence = Evidence::Equivocation {
        session: party.preimage(),
        first,
        second,
    };
    Abort::proven(culprit, Fault::Equivocation, evidence)
}
