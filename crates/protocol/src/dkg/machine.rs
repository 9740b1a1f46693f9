//! A party's run, round by round: bytes in, bytes out. It never logs, never waits, and knows no
//! time; whoever drives it owns the deadline.

use std::collections::{BTreeMap, BTreeSet};

use ed25519_dalek::SigningKey;
use quorate_model::{Digest, PartyIndex, wire::WireError};
use rand_core::CryptoRngCore;

use super::{
    checks::stands_in,
    commits::AwaitCommits,
    echoes::{AwaitCommitEchoes, AwaitRevealEchoes},
    hellos::AwaitHellos,
    messages::{Hello, HelloState},
    output::DkgOutput,
    party::{Draft, Party},
    reveals::AwaitReveals,
    round,
    setup::{Setup, SetupError},
    shares::AwaitShares,
};
use crate::{
    abort::{Abort, Fault},
    envelope::{Envelope, ProtocolId, Slot},
    evidence::Evidence,
    rounds::{Collector, Inbox, Receipt, Round as _},
    suite::{Curve, Edwards, Secp, Suite},
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
    Done(DkgOutput),
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
                Step::Next(Self::Commits(next), vec![draft])
            }
            Self::Commits(state) => {
                let (next, draft) = state.finish(party, inbox, rng)?;
                Step::Next(Self::CommitEchoes(next), vec![draft])
            }
            Self::CommitEchoes(state) => {
                let (next, draft) = state.finish(party, inbox, rng)?;
                Step::Next(Self::Reveals(next), vec![draft])
            }
            Self::Reveals(state) => {
                let (next, draft) = state.finish(party, inbox, rng)?;
                Step::Next(Self::RevealEchoes(next), vec![draft])
            }
            Self::RevealEchoes(state) => {
                let (next, drafts) = state.finish(party, inbox, rng)?;
                Step::Next(Self::Shares(next), drafts)
            }
            Self::Shares(state) => Step::Done(state.finish(party, inbox, rng)?),
        })
    }
}

enum Run {
    Secp(State<Secp>),
    Edwards(State<Edwards>),
}

/// One party's run of key generation.
///
/// Secrets live in the state of the round that needs them and die with it.
pub struct Machine {
    party: Party,
    run: Run,
    /// The broadcast that this party made for the round that it awaits; none in the share round.
    sent: Option<Digest>,
}

impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine")
            .field("me", &self.party.me)
            .field("round", &self.round())
            .finish_non_exhaustive()
    }
}

/// Why a set of envelopes is not a round. Nothing has changed, and nobody is blamed: whatever does
/// not come signed from the right party in the right place is the relay's doing (P14).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejected {
    /// More envelopes than a round can have.
    #[error("read a round of {0} envelopes")]
    TooMany(usize),
    /// Bytes that are no envelope.
    #[error("read envelope {position} of the round")]
    Unreadable {
        /// Where it stands.
        position: usize,
        /// What is wrong with it.
        #[source]
        source: WireError,
    },
    /// From nobody who takes part.
    #[error("find party {0} among the participants")]
    Stranger(PartyIndex),
    /// A signature that does not hold.
    #[error("verify the signature of party {0}")]
    BadSignature(PartyIndex),
    /// For somebody else.
    #[error("read an envelope of party {0} for another recipient")]
    NotForMe(PartyIndex),
    /// Of another session or protocol.
    #[error("read an envelope of party {0} of another session")]
    OtherSession(PartyIndex),
    /// Of another round.
    #[error("read an envelope of party {sender} of round {round}")]
    OtherRound {
        /// Who signed it.
        sender: PartyIndex,
        /// Its round.
        round: u8,
    },
    /// Some have not spoken.
    #[error("complete the round without {} of the parties", missing.len())]
    Incomplete {
        /// Who has not.
        missing: Vec<PartyIndex>,
    },
}

/// What a round led to. Whatever must still be sent is part of every outcome.
#[must_use = "an outcome carries messages that must be sent"]
#[derive(Debug)]
pub enum Advance {
    /// The run goes on.
    Running {
        /// The run.
        machine: Machine,
        /// One broadcast, or one envelope for every other party.
        outgoing: Vec<Envelope>,
    },
    /// The key exists.
    Finished {
        /// The key.
        output: DkgOutput,
        /// What must still be sent.
        outgoing: Vec<Envelope>,
    },
    /// The run is over without a key.
    Aborted {
        /// Why.
        abort: Abort,
        /// What must still be sent: a complaint, if there is one.
        outgoing: Vec<Envelope>,
    },
    /// The envelopes are not the round that is awaited; the run waits on.
    Refused {
        /// The run, unchanged.
        machine: Machine,
        /// Why.
        rejected: Rejected,
    },
}

/// Begins a run: the machine, and this party's hello.
pub fn start(
    setup: Setup,
    state: HelloState,
    key: &SigningKey,
    rng: &mut dyn CryptoRngCore,
) -> Result<(Machine, Envelope), SetupError> {
    setup.check(&key.verifying_key())?;
    let curve = Curve::of(setup.scheme)?;
    let party = Party::new(setup.me, setup.roster_key_of, setup.binding);
    let (run, hello) = match curve {
        Curve::Secp => {
            let (state, hello) = AwaitHellos::begin(&party, state, rng);
            (Run::Secp(State::Hellos(state)), hello)
        }
        Curve::Edwards => {
            let (state, hello) = AwaitHellos::begin(&party, state, rng);
            (Run::Edwards(State::Hellos(state)), hello)
        }
    };
    let envelope = sign_hello(&party, &hello, key)?;
    let sent = Some(envelope.digest());
    Ok((Machine { party, run, sent }, envelope))
}

fn sign_hello(party: &Party, hello: &Hello, key: &SigningKey) -> Result<Envelope, SetupError> {
    let draft = party
        .broadcast(round::HELLO, hello)
        .map_err(|_| SetupError::Invariant("a hello needs nothing but the binding"))?;
    Ok(sign(draft, key))
}

fn sign(draft: Draft, key: &SigningKey) -> Envelope {
    Envelope::sign(draft.slot, draft.body, key)
}

impl Machine {
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

    /// Takes the envelopes of the awaited round: the broadcast of every party, this one included,
    /// or in the share round those that the others made for this party.
    pub fn advance(
        self,
        inbound: &[Vec<u8>],
        key: &SigningKey,
        rng: &mut dyn CryptoRngCore,
    ) -> Advance {
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
        let parties: BTreeSet<_> = self.party.keys.keys().copied().collect();
        if inbound.len() > 2 * parties.len() {
            return Err(Rejected::TooMany(inbound.len()).into());
        }
        let mut expected = parties;
        if self.sent.is_none() {
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
        if header.session != session || header.protocol != ProtocolId::Dkg {
            return Err(Rejected::OtherSession(sender).into());
        }
        if !stands_in(header, &session, round, recipient) {
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

fn conclude<C: Suite>(
    party: Party,
    step: Result<Step<C>, Abort>,
    run: impl FnOnce(State<C>) -> Run,
    key: &SigningKey,
) -> Advance {
    match step {
        Ok(Step::Next(state, drafts)) => {
            let outgoing: Vec<_> = drafts.into_iter().map(|draft| sign(draft, key)).collect();
            let sent = outgoing
                .iter()
                .find(|envelope| envelope.header.recipient.is_none())
                .map(Envelope::digest);
            Advance::Running {
                machine: Machine {
                    party,
                    run: run(state),
                    sent,
                },
                outgoing,
            }
        }
        Ok(Step::Done(output)) => Advance::Finished {
            output,
            outgoing: Vec::new(),
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
