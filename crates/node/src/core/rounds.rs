//! A protocol in rounds at this node: its machine, and what was answered last (P14).

use quorate_model::{
    Digest, NodeId, PartyIndex, Reason, Refusal,
    node_api::Aborted,
    tagged::{Tag, Tagged},
};
use quorate_protocol::{
    Abort,
    envelope::{Envelope, SignedHeader},
    evidence::Evidence,
};

/// A session that nothing was heard of for so long is dropped, in milliseconds (P17).
pub(super) const IDLE_MS: u64 = 60_000;

/// One run; locked while it works, so that a repeat waits for the first.
pub(super) struct Run<M, R> {
    /// None once the run is over.
    machine: Option<Box<M>>,
    /// The round that was answered last, the name of what came in, and the answer.
    answered: (u8, Digest, Result<R, Refusal>),
}

/// A round that is asked for.
pub(super) enum Asked<M, R> {
    /// It was answered before.
    Before(Result<R, Refusal>),
    /// It is the machine's turn. What it comes to is put back by [`Run::answer`].
    Turn(Box<M>, Turn),
}

/// Names the answer of a round, so that the same question is recognized.
#[derive(Clone, Copy)]
pub(super) struct Turn {
    round: u8,
    incoming: Digest,
}

impl<M, R: Clone> Run<M, R> {
    /// A run whose hello is its first answer.
    pub(super) fn new(machine: M, hello: R) -> Self {
        Self {
            machine: Some(Box::new(machine)),
            answered: (0, Digest::ZERO, Ok(hello)),
        }
    }

    /// The hello, as long as nothing came after it.
    pub(super) fn hello(&self) -> Option<Result<R, Refusal>> {
        let (round, _, reply) = &self.answered;
        (*round == 0).then(|| reply.clone())
    }

    /// Takes the machine for a round, or the answer that was given before.
    pub(super) fn ask(
        &mut self,
        round: u8,
        envelopes: &[Vec<u8>],
        awaited: impl Fn(&M) -> u8,
    ) -> Result<Asked<M, R>, Refusal> {
        let incoming = name_of(envelopes);
        let (answered, seen, reply) = &self.answered;
        if *answered == round.saturating_add(1) && *seen == incoming {
            return Ok(Asked::Before(reply.clone()));
        }
        let ready = self.machine.take_if(|machine| awaited(machine) == round);
        ready
            .map(|machine| Asked::Turn(machine, Turn { round, incoming }))
            .ok_or_else(|| {
                Refusal::new(
                    Reason::RequestInvalid,
                    format!("round {round} is not the one that this node awaits"),
                )
            })
    }

    /// The machine waits on, as if it had not been asked.
    pub(super) fn wait_on(&mut self, machine: M) {
        self.machine = Some(Box::new(machine));
    }

    /// Keeps an answer, and the machine unless the run is over.
    pub(super) fn answer(&mut self, turn: Turn, machine: Option<M>, reply: Result<R, Refusal>) {
        self.machine = machine.map(Box::new);
        self.answered = (turn.round.saturating_add(1), turn.incoming, reply);
    }
}

/// Names what came in by headers and signatures. These hold for one body each, and a machine moves
/// only by bodies that it has checked against them, so a question that repeats them with other
/// bodies learns what was answered to the true ones, and nothing else.
fn name_of(envelopes: &[Vec<u8>]) -> Digest {
    Tagged::new(Tag::Envelope)
        .text("incoming")
        .list(envelopes, |tagged, bytes| match Envelope::skim(bytes) {
            Ok(SignedHeader { header, signature }) => {
                let tagged = tagged.text("signed").digest(&header.digest());
                tagged.bytes(signature.as_bytes())
            }
            Err(_) => tagged.text("unreadable").bytes(bytes),
        })
        .finish()
}

/// The envelopes as they go out.
pub(super) fn encode_all<'a>(
    envelopes: impl IntoIterator<Item = &'a Envelope>,
) -> Result<Vec<Vec<u8>>, Refusal> {
    envelopes
        .into_iter()
        .map(|envelope| {
            envelope
                .to_bytes()
                .map_err(|_| Refusal::new(Reason::Invariant, "an envelope cannot be encoded"))
        })
        .collect()
}

/// Why a run ended, as others are told.
pub(super) fn told(
    abort: &Abort,
    node_at: impl Fn(PartyIndex) -> Option<NodeId>,
) -> Result<Aborted, Refusal> {
    let evidence = abort
        .evidence()
        .map(Evidence::to_bytes)
        .transpose()
        .map_err(|_| Refusal::new(Reason::Invariant, "evidence cannot be encoded"))?;
    Ok(Aborted {
        message: abort.to_string(),
        culprits: abort.culprits().into_iter().filter_map(node_at).collect(),
        evidence,
    })
}

/// The session is not there.
pub(super) fn unknown_session() -> Refusal {
    Refusal::new(
        Reason::SessionUnknown,
        "the ceremony is not known here: it ended, was idle for too long, or the node restarted",
    )
}
