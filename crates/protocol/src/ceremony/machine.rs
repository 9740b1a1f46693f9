//! A party's run, round by round: bytes in, bytes out. It never logs, never waits, and knows no
//! time; whoever drives it owns the deadline.

use std::{
    collections::{BTreeMap, BTreeSet},
    marker::PhantomData,
};

use ed25519_dalek::SigningKey;
use quorate_model::{Digest, PartyIndex};
use rand_core::CryptoRngCore;

use super::{
    commits::AwaitCommits,
    echoes::{AwaitCommitEchoes, AwaitRevealEchoes, Dealt},
    hellos::AwaitHellos,
    messages::{HelloState, Proven},
    outcome::Outcome,
    party::{Draft, Party},
    rejected::Rejected,
    reveals::AwaitReveals,
    round,
    shares::AwaitShares,
    terms::{protocol_id, speakers},
};
use crate::{
    abort::{Abort, Fault},
    envelope::{Envelope, Slot},
    evidence::Evidence,
    rounds::{Collector, Inbox, Receipt, Round as _},
    sharing::Polynomial,
    suite::{Edwards, Secp, Suite},
};

/// The rounds of a party, each named for what it awaits.
enum State<C: Suite> {
    Hellos(AwaitHellos<C>),
    Commits(AwaitCommits<C>),
    CommitEchoes(AwaitCommitEchoes<C>),
    Reveals(AwaitReveals<C>),
    RevealEchoes(AwaitRevealEchoes<C>),
    Shares(AwaitShares<C>),
}

/// What one round led to.
enum Step<C: Suite> {
    Next(State<C>, Vec<Draft>),
    Done(Box<Outcome>, Vec<Draft>),
}

impl<C: Suite> State<C> {
    fn round(&self) -> u8 {
        match self {
            Self::Hellos(_) => round::HELLO,
            Self::Commits(_) => round::COMMIT,
            Self::CommitEchoes(_) => round::COMMIT_ECHO,
            Self::Reveals(_) => round::REVEAL,
            Self::RevealEchoes(_) => round::REVEAL_ECHO,
            Self::Shares(_) => round::SHARE,
        }
    }

    fn finish(
        self,
        party: &mut Party,
        inbox: Inbox<Envelope>,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<Step<C>, Abort> {
        Ok(match self {
            Self::Hellos(state) => {
                let (next, draft) = state.finish(party, inbox, rng)?;
                Step::Next(Self::Commits(next), draft.into_iter().collect())
            }
            Self::Commits(state) => {
                let (next, draft) = state.finish(party, inbox, rng)?;
                Step::Next(Self::CommitEchoes(next), vec![draft])
            }
            Self::CommitEchoes(state) => {
                let (next, draft) = state.finish(party, inbox, rng)?;
                Step::Next(Self::Reveals(next), draft.into_iter().collect())
            }
            Self::Reveals(state) => {
                let (next, draft) = state.finish(party, inbox, rng)?;
                Step::Next(Self::RevealEchoes(next), vec![draft])
            }
            Self::RevealEchoes(state) => match state.finish(party, inbox, rng)? {
                (Dealt::Awaits(next), drafts) => Step::Next(Self::Shares(next), drafts),
                (Dealt::Done(outcome), drafts) => Step::Done(outcome, drafts),
            },
            Self::Shares(state) => {
                Step::Done(Box::new(state.finish(party, inbox, rng)?), Vec::new())
            }
        })
    }
}

enum Run {
    Secp(State<Secp>),
    Edwards(State<Edwards>),
}

/// What a dealer deals, on the curve of the key; none of a party that only receives.
pub(crate) enum Deals {
    Secp(Option<Polynomial<Secp>>),
    Edwards(Option<Polynomial<Edwards>>),
}

/// The output of one of the protocols that these rounds serve.
pub trait Output: Sized {
    /// Gives what a run ended with the form that its protocol promises.
    fn conclude(outcome: Outcome) -> Result<Self, Abort>;
}

/// One party's run of a protocol.
///
/// Secrets live in the state of the round that needs them and die with it.
pub struct Machine<O> {
    party: Party,
    run: Run,
    /// The broadcast that this party made for the round that it awaits; none where it says nothing
    /// to everybody.
    sent: Option<Digest>,
    output: PhantomData<fn() -> O>,
}

impl<O> std::fmt::Debug for Machine<O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine")
            .field("me", &self.party.me)
            .field("round", &self.round())
            .finish_non_exhaustive()
    }
}

/// What a round led to. Whatever must still be sent is part of every outcome.
#[must_use = "an outcome carries messages that must be sent"]
#[derive(Debug)]
pub enum Advance<O> {
    /// The run goes on.
    Running {
        /// The run.
        machine: Machine<O>,
        /// One broadcast, or one envelope for every other receiver; nothing of a party that only
        /// receives, in the rounds of the dealers.
        outgoing: Vec<Envelope>,
    },
    /// This party has done everything.
    Finished {
        /// What it ends with.
        output: O,
        /// What must still be sent: the shares of a dealer that receives nothing.
        outgoing: Vec<Envelope>,
    },
    /// The run is over without an output.
    Aborted {
        /// Why.
        abort: Abort,
        /// What must still be sent: a complaint, if there is one.
        outgoing: Vec<Envelope>,
    },
    /// The envelopes are not the round that is awaited; the run waits on.
    Refused {
        /// The run, unchanged.
        machine: Machine<O>,
        /// Why.
        rejected: Rejected,
    },
}

/// Begins a run whose setup has been checked: the machine, and this party's hello.
pub(crate) fn begin<O>(
    party: Party,
    deals: Deals,
    state: HelloState,
    key: &SigningKey,
    rng: &mut dyn CryptoRngCore,
) -> Result<(Machine<O>, Envelope), Abort> {
    let (run, hello) = match deals {
        Deals::Secp(polynomial) => {
            let (state, hello) = AwaitHellos::begin(&party, polynomial, state, rng);
            (Run::Secp(State::Hellos(state)), hello)
        }
        Deals::Edwards(polynomial) => {
            let (state, hello) = AwaitHellos::begin(&party, polynomial, state, rng);
            (Run::Edwards(State::Hellos(state)), hello)
        }
    };
    let envelope = sign(party.broadcast(round::HELLO, &hello)?, key);
    let machine = Machine {
        party,
        run,
        sent: Some(envelope.digest()),
        output: PhantomData,
    };
    Ok((machine, envelope))
}

fn sign(draft: Draft, key: &SigningKey) -> Envelope {
    Envelope::sign(draft.slot, draft.body, key)
}

fn sign_all(drafts: Vec<Draft>, key: &SigningKey) -> Vec<Envelope> {
    drafts.into_iter().map(|draft| sign(draft, key)).collect()
}

impl<O> Machine<O> {
    /// Breaks the rule that echoes are compared (P15), so that the simulator can show that it finds
    /// a node that does. No release build holds it.
    #[cfg(debug_assertions)]
    #[must_use]
    pub fn without_comparing_echoes(mut self) -> Self {
        self.party.leaves_echoes_out = true;
        self
    }

    /// The round whose envelopes are awaited.
    pub fn round(&self) -> u8 {
        match &self.run {
            Run::Secp(state) => state.round(),
            Run::Edwards(state) => state.round(),
        }
    }

    /// The session id, once everybody has said hello.
    pub fn session(&self) -> Option<Digest> {
        self.party.terms.as_ref().map(|terms| terms.session)
    }

    /// Where the nodes stand by their hellos, once everybody has said hello (P35).
    pub fn states(&self) -> &BTreeMap<PartyIndex, HelloState> {
        &self.party.states
    }

    /// The same, once it is proven.
    pub fn proven(&self) -> Option<Proven> {
        let session = self.session()?;
        (self.round() > round::COMMIT_ECHO).then(|| Proven {
            session,
            states: self.party.states.clone(),
        })
    }

    /// Takes the envelopes of the awaited round: the broadcast of everybody who speaks in it, this
    /// party included, or in the share round those that the dealers made for this party.
    pub fn advance(
        self,
        inbound: &[Vec<u8>],
        key: &SigningKey,
        rng: &mut dyn CryptoRngCore,
    ) -> Advance<O>
    where
        O: Output,
    {
        let inbox = match self.collect(inbound) {
            Ok(inbox) => inbox,
            Err(Uncollected::Rejected(rejected)) => {
                return Advance::Refused {
                    machine: self,
                    rejected,
                };
            }
            Err(Uncollected::Abort(abort)) => {
                return Advance::Aborted {
                    abort,
                    outgoing: Vec::new(),
                };
            }
        };
        let Self { mut party, run, .. } = self;
        match run {
            Run::Secp(state) => {
                let step = state.finish(&mut party, inbox, rng);
                conclude(party, step, Run::Secp, key)
            }
            Run::Edwards(state) => {
                let step = state.finish(&mut party, inbox, rng);
                conclude(party, step, Run::Edwards, key)
            }
        }
    }

    /// Gathers the round in the order of checks of P14. Whatever fails one is dropped; if the round
    /// is not complete without it, the first failure is the reason.
    fn collect(&self, inbound: &[Vec<u8>]) -> Result<Inbox<Envelope>, Uncollected> {
        if inbound.len() > 2 * self.party.keys.len() {
            return Err(Rejected::TooMany(inbound.len()).into());
        }
        let round = self.round();
        let mut expected: BTreeSet<_> = speakers(&self.party.binding, round).into_iter().collect();
        if round == round::SHARE {
            expected.remove(&self.party.me);
        }
        let mut collector = Collector::new(expected);
        let mut first_rejected = None;
        for (position, bytes) in inbound.iter().enumerate() {
            let envelope = match self.accept(position, bytes) {
                Ok(envelope) => envelope,
                Err(Uncollected::Rejected(rejected)) => {
                    first_rejected.get_or_insert(rejected);
                    continue;
                }
                Err(abort @ Uncollected::Abort(_)) => return Err(abort),
            };
            let sender = envelope.header.sender;
            match collector.insert(sender, ByDigest(envelope.clone())) {
                Receipt::Kept | Receipt::Repeated => {}
                Receipt::Equivocated => {
                    let first = collector.received(sender).map(|kept| kept.0.clone());
                    return Err(self.equivocated(first, &envelope));
                }
                Receipt::Stranger => {
                    first_rejected.get_or_insert(Rejected::Stranger(sender));
                }
            }
        }
        match collector.complete() {
            Ok(inbox) => Ok(inbox.map(|kept| kept.0)),
            Err(collector) => Err(first_rejected
                .unwrap_or_else(|| Rejected::Incomplete {
                    missing: collector.awaiting().collect(),
                })
                .into()),
        }
    }

    fn accept(&self, position: usize, bytes: &[u8]) -> Result<Envelope, Uncollected> {
        let envelope = Envelope::from_bytes(bytes)
            .map_err(|source| Rejected::Unreadable { position, source })?;
        let header = &envelope.header;
        let sender = header.sender;
        let key = self
            .party
            .keys
            .get(&sender)
            .ok_or(Rejected::Stranger(sender))?;
        envelope
            .verify(key)
            .map_err(|_| Rejected::BadSignature(sender))?;
        let round = self.round();
        let recipient = if round == round::SHARE {
            Some(self.party.me)
        } else {
            None
        };
        if header.recipient != recipient {
            return Err(Rejected::NotForMe(sender).into());
        }
        let session = self.party.session_in(round).map_err(Uncollected::Abort)?;
        if header.session != session || header.protocol != protocol_id(&self.party.binding) {
            return Err(Rejected::OtherSession(sender).into());
        }
        if header.round != round {
            return Err(Rejected::OtherRound {
                sender,
                round: header.round,
            }
            .into());
        }
        if sender == self.party.me && self.sent != Some(envelope.digest()) {
            return Err(self.not_mine(round));
        }
        Ok(envelope)
    }

    /// An envelope with this party's signature that this party did not send.
    fn not_mine(&self, round: u8) -> Uncollected {
        if round == round::HELLO {
            // It may have said another hello in an earlier attempt.
            return Rejected::OtherSession(self.party.me).into();
        }
        Uncollected::Abort(Abort::blameless(Fault::Impersonated))
    }

    fn equivocated(&self, first: Option<Envelope>, second: &Envelope) -> Uncollected {
        let sender = second.header.sender;
        let Some(first) = first else {
            return Uncollected::Abort(Abort::Invariant("a first message was kept"));
        };
        if self.round() == round::HELLO {
            // Hellos are never equivocation (P14); which of them counts is not ours to choose.
            return Rejected::OtherSession(sender).into();
        }
        let evidence = Evidence::Equivocation {
            session: self.party.preimage(),
            first: first.signed_header(),
            second: second.signed_header(),
        };
        Uncollected::Abort(Abort::proven(sender, Fault::Equivocation, evidence))
    }
}

/// An envelope that is equal to another if it says the same: one message can be signed twice.
struct ByDigest(Envelope);

impl PartialEq for ByDigest {
    fn eq(&self, other: &Self) -> bool {
        self.0.digest() == other.0.digest()
    }
}

enum Uncollected {
    Rejected(Rejected),
    Abort(Abort),
}

impl From<Rejected> for Uncollected {
    fn from(rejected: Rejected) -> Self {
        Self::Rejected(rejected)
    }
}

fn conclude<C: Suite, O: Output>(
    party: Party,
    step: Result<Step<C>, Abort>,
    run: impl FnOnce(State<C>) -> Run,
    key: &SigningKey,
) -> Advance<O> {
    match step {
        Ok(Step::Next(state, drafts)) => {
            let outgoing = sign_all(drafts, key);
            let sent = outgoing
                .iter()
                .find(|envelope| envelope.header.recipient.is_none())
                .map(Envelope::digest);
            Advance::Running {
                machine: Machine {
                    party,
                    run: run(state),
                    sent,
                    output: PhantomData,
                },
                outgoing,
            }
        }
        Ok(Step::Done(outcome, drafts)) => match O::conclude(*outcome) {
            Ok(output) => Advance::Finished {
                output,
                outgoing: sign_all(drafts, key),
            },
            Err(abort) => Advance::Aborted {
                abort,
                outgoing: Vec::new(),
            },
        },
        Err(abort) => {
            let outgoing = complaint(&party, &abort, key).into_iter().collect();
            Advance::Aborted { abort, outgoing }
        }
    }
}

/// The envelope that carries a complaint to everybody (P21).
fn complaint(party: &Party, abort: &Abort, key: &SigningKey) -> Option<Envelope> {
    let evidence = abort
        .evidence()
        .filter(|evidence| evidence.is_complaint())?;
    let slot: Slot = party.slot(round::COMPLAINT, None).ok()?;
    Some(Envelope::sign(slot, evidence.to_bytes().ok()?, key))
}
