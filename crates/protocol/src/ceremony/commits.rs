//! Round 1: every dealer has committed to a package, and everybody says what it saw.

use rand_core::CryptoRngCore;

use super::{
    checks::check_commit,
    echoes::AwaitCommitEchoes,
    hellos::{Dealing, SessionKeys},
    messages::Echo,
    party::{Draft, Party},
    round,
};
use crate::{
    abort::{Abort, Fault},
    envelope::Envelope,
    rounds::{Inbox, Round},
    suite::Suite,
};

/// Waits for every dealer's commitment.
///
/// A commitment that is copied from another party needs no check here: it names its dealer, so
/// whoever copied it cannot open it and is blamed for that.
pub(super) struct AwaitCommits<C: Suite> {
    pub(super) dealing: Option<Dealing<C>>,
    pub(super) keys: SessionKeys,
}

impl<C: Suite> Round for AwaitCommits<C> {
    type Context = Party;
    type Message = Envelope;
    type Next = (AwaitCommitEchoes<C>, Draft);

    fn finish(
        self,
        party: &mut Party,
        inbox: Inbox<Envelope>,
        _: &mut dyn CryptoRngCore,
    ) -> Result<Self::Next, Abort> {
        let Self { dealing, keys } = self;
        let hellos = party.view(round::HELLO)?;
        for (_, envelope) in inbox.iter() {
            check_commit(envelope).map_err(|_| party.malformed(envelope))?;
            // Nobody can be named: a node may say hello more than once, so hellos are never
            // equivocation (P14), and which of them were relayed is the relay's doing.
            if envelope.header.previous != hellos {
                return Err(Abort::blameless(Fault::SplitView));
            }
        }
        party.keep(round::COMMIT, inbox);
        let echo = Echo {
            seen: party.headers(round::COMMIT)?,
        };
        let draft = party.broadcast(round::COMMIT_ECHO, &echo)?;
        Ok((AwaitCommitEchoes { dealing, keys }, draft))
    }
}
