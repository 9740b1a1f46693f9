//! A complaint about a share (P21): everything that is needed to open it and find it wrong.
//!
//! The accuser could try to frame an honest dealer by claiming another session key than the one
//! that the dealer sealed to. So the complaint shows that the dealer saw the hello which holds the
//! key: the dealer's own commitment names the hash of all hellos.

use quorate_model::{Digest, SessionPreimage};
use serde::{Deserialize, Serialize};

use super::{Blamed, NotProven, Session};
use crate::{
    abort::Fault,
    ceremony::{
        checks::{check_hello, check_sealed, check_share, committed_polynomial},
        round,
        terms::{is_hello, view},
    },
    envelope::{Envelope, SessionSecretKey, SignedHeader},
    suite::{Curve, Edwards, Secp, Suite},
};

/// What an accuser shows.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Complaint {
    /// The session.
    pub session: SessionPreimage,
    /// The names of all hellos, in order of their senders.
    pub hellos: Vec<Digest>,
    /// The accuser's hello, which holds the session key for the dealer.
    pub hello: Envelope,
    /// The dealer's commitment, which names the hellos that the dealer saw.
    pub commit: SignedHeader,
    /// The dealer's package.
    pub reveal: Envelope,
    /// The dealer's share for the accuser.
    pub share: Envelope,
    /// The secret of the session key. It opens this share and nothing else.
    pub revealed: [u8; 32],
}

impl std::fmt::Debug for Complaint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Complaint")
            .field("accuser", &self.hello.header.sender.number())
            .field("dealer", &self.share.header.sender.number())
            .finish_non_exhaustive()
    }
}

impl Session {
    pub(super) fn complaint(&self, complaint: &Complaint) -> Result<Blamed, NotProven> {
        let fault = match self.terms.curve {
            Curve::Secp => self.share_fault::<Secp>(complaint)?,
            Curve::Edwards => self.share_fault::<Edwards>(complaint)?,
        };
        self.blame(complaint.share.header.sender, fault)
    }

    fn share_fault<C: Suite>(&self, complaint: &Complaint) -> Result<Fault, NotProven> {
        let Complaint {
            commit,
            reveal,
            share,
            ..
        } = complaint;
        let dealer = share.header.sender;
        let accuser = share.header.recipient.ok_or(NotProven::Statement)?;

        // The dealer's statements, all of this session.
        super::signed(&self.keys, share)?;
        self.signed_header(commit)?;
        self.broadcast(reveal, round::REVEAL)?;
        self.stands(&commit.header, round::COMMIT)?;
        if !self.terms.place(&share.header, round::SHARE, Some(accuser))
            || commit.header.sender != dealer
            || reveal.header.sender != dealer
        {
            return Err(NotProven::Statement);
        }
        let key = self.revealed_key(complaint)?;

        let read = check_sealed(share).map_err(|_| NotProven::Statement)?;
        let polynomial =
            committed_polynomial::<C>(&self.terms, reveal).map_err(|_| NotProven::Statement)?;
        match check_share(&key, accuser, &polynomial, share, &read) {
            Ok(_) => Err(NotProven::NoFault),
            Err(fault) => Ok(fault),
        }
    }

    /// The session key that the accuser made for the dealer, as the dealer saw it.
    fn revealed_key(&self, complaint: &Complaint) -> Result<SessionSecretKey, NotProven> {
        let Complaint {
            hellos,
            hello,
            commit,
            share,
            revealed,
            ..
        } = complaint;
        let (dealer, accuser) = (share.header.sender, share.header.recipient);
        super::signed(&self.keys, hello)?;
        let binding = self.terms.binding();
        let provisional = binding.provisional_id();
        if !is_hello(binding, &hello.header) || Some(hello.header.sender) != accuser {
            return Err(NotProven::Statement);
        }
        let mut named = self.terms.parties().zip(hellos);
        let is_named =
            named.any(|(party, digest)| Some(party) == accuser && *digest == hello.header.digest());
        if !is_named || view(&provisional, round::HELLO, hellos) != commit.header.previous {
            return Err(NotProven::Statement);
        }
        let read = check_hello(binding, hello).map_err(|_| NotProven::Statement)?;
        let key = SessionSecretKey::from_revealed(*revealed);
        let public = key.public();
        if !read.session_keys.contains(&(dealer, public)) {
            return Err(NotProven::Statement);
        }
        Ok(key)
    }
}
