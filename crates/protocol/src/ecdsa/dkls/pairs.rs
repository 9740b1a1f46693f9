//! The set-up between two holders: a shared seed for shares of zero (Functionality 3.4, by
//! commitments), and base transfers in both directions for the multiplications (Functionality 3.5).

use dkls23_core::{
    protocols::PartyIndex as Index,
    utilities::{
        multiplication::{MulReceiver, MulSender},
        ot::base::{OTReceiver, OTSender},
        proofs::{DLogProof, EncProof},
        zero_shares::{SeedPair, ZeroShare},
    },
};
use k256_next::{Secp256k1, elliptic_curve::PrimeField as _};
use quorate_model::{Digest, PartyIndex, Tag, Tagged};
use rand_core::CryptoRngCore;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use super::{Scalar, decode, encode, index_of, shapes};
use crate::{
    abort::Fault,
    ecdsa::engine::{CommittedPair, Failure, OpenedPair, PairEnd, PairPlace, SecretBytes},
};

/// What the seeds' commitments are for.
const SEED_PURPOSE: &[u8] = b"quorate/v1/pairing";

/// One end of a pairing as it is kept.
#[derive(Serialize, Deserialize)]
pub(super) struct PairState {
    pub(super) seed: SeedPair,
    pub(super) sender: MulSender<Secp256k1>,
    pub(super) receiver: MulReceiver<Secp256k1>,
}

/// The message that opens the commitment and begins the transfers.
#[derive(Serialize, Deserialize)]
struct Opening {
    seed: [u8; 32],
    salt: Vec<u8>,
    /// This side receives in a multiplication: it sends in the base transfer.
    dlog_proof: DLogProof<Secp256k1>,
    gadget_nonce: Scalar,
    /// This side sends in a multiplication: it receives in the base transfers.
    enc_proofs: Vec<EncProof<Secp256k1>>,
    transfer_seed: [u8; 32],
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.seed.zeroize();
        self.salt.zeroize();
    }
}

/// The session of the multiplication in which `receiver` receives.
fn transfer_session(place: PairPlace, receiver: PartyIndex, sender: PartyIndex) -> Digest {
    Tagged::new(Tag::Pairing)
        .text("transfer")
        .digest(&place.session)
        .number(u64::from(receiver.number()))
        .number(u64::from(sender.number()))
        .finish()
}

/// What the commitment that `place.me` makes for `place.peer` is bound to.
fn seed_context(place: PairPlace) -> Result<[u8; 32], Failure> {
    Ok(ZeroShare::seed_context(
        SEED_PURPOSE,
        &[place.session.as_bytes()],
        index_of(place.me)?,
        index_of(place.peer)?,
    ))
}

struct Committed {
    place: PairPlace,
    seed: Zeroizing<[u8; 32]>,
    salt: Zeroizing<Vec<u8>>,
}

pub(super) fn begin(place: PairPlace) -> Result<(Box<dyn CommittedPair>, Vec<u8>), Failure> {
    let context = seed_context(place)?;
    let (seed, commitment, salt) = ZeroShare::generate_seed_with_bound_commitment(&context);
    let committed = Committed {
        place,
        seed: Zeroizing::new(seed),
        salt: Zeroizing::new(salt),
    };
    Ok((Box::new(committed), commitment.to_vec()))
}

impl CommittedPair for Committed {
    fn open(
        self: Box<Self>,
        _: &mut dyn CryptoRngCore,
    ) -> Result<(Box<dyn OpenedPair>, SecretBytes), Failure> {
        let Self { place, seed, salt } = *self;
        let PairPlace { me, peer, .. } = place;
        let receiving = transfer_session(place, me, peer);
        let sending = transfer_session(place, peer, me);
        let (ot_sender, dlog_proof, gadget_nonce) =
            MulReceiver::<Secp256k1>::init_phase1(receiving.as_bytes());
        let (ot_receiver, correlation, pads, enc_proofs) =
            MulSender::<Secp256k1>::init_phase1(sending.as_bytes());
        let opening = Opening {
            seed: *seed,
            salt: salt.to_vec(),
            dlog_proof,
            gadget_nonce,
            enc_proofs,
            transfer_seed: ot_receiver.seed,
        };
        let message = encode(&opening)?;
        let opened = Opened {
            place,
            seed,
            ot_sender,
            gadget_nonce,
            ot_receiver,
            correlation,
            pads,
        };
        Ok((Box::new(opened), message))
    }
}

struct Opened {
    place: PairPlace,
    seed: Zeroizing<[u8; 32]>,
    ot_sender: OTSender<Secp256k1>,
    gadget_nonce: Scalar,
    ot_receiver: OTReceiver,
    correlation: Vec<bool>,
    pads: Vec<Scalar>,
}

/// The library leaves these to whoever holds them.
impl Drop for Opened {
    fn drop(&mut self) {
        self.ot_sender.s.zeroize();
        self.correlation.zeroize();
        self.pads.zeroize();
    }
}

impl OpenedPair for Opened {
    fn finish(
        mut self: Box<Self>,
        commitment: &[u8],
        message: &SecretBytes,
    ) -> Result<PairEnd, Failure> {
        let place = self.place;
        let PairPlace { me, peer, .. } = place;
        let malformed = Failure::Blamed(peer, Fault::Malformed);
        let opening: Opening = decode(message).ok_or(malformed)?;
        let commitment = commitment.try_into().map_err(|_| malformed)?;
        if opening.salt.len() != shapes::SALT_BYTES
            || !shapes::is_dlog_proof(&opening.dlog_proof)
            || !shapes::are_enc_proofs(&opening.enc_proofs)
        {
            return Err(malformed);
        }
        let context = seed_context(place.reversed())?;
        if !ZeroShare::verify_bound_seed(&opening.seed, &context, commitment, &opening.salt) {
            return Err(Failure::Blamed(peer, Fault::FalseReveal));
        }
        let seed = ZeroShare::generate_seed_pair(
            index_of(me)?,
            index_of(peer)?,
            &self.seed,
            &opening.seed,
        );
        // Nothing of these transfers is used again when one fails, so a failure leaks nothing.
        let bad_proof = |_| Failure::Blamed(peer, Fault::BadProof);
        let receiver = MulReceiver::<Secp256k1>::init_phase2(
            &self.ot_sender,
            transfer_session(place, me, peer).as_bytes(),
            &opening.transfer_seed,
            &opening.enc_proofs,
            &self.gadget_nonce,
        )
        .map_err(bad_proof)?;
        let correlation = std::mem::take(&mut self.correlation);
        let sender = MulSender::<Secp256k1>::init_phase2(
            &self.ot_receiver,
            transfer_session(place, peer, me).as_bytes(),
            correlation,
            &self.pads,
            &opening.dlog_proof,
            &opening.gadget_nonce,
        )
        .map_err(bad_proof)?;
        let id = pair_id(place, &receiver, &sender);
        let state = PairState {
            seed,
            sender,
            receiver,
        };
        Ok(PairEnd {
            secret: encode(&state)?,
            id,
        })
    }
}

/// What both ends have in common in public: the session, and the gadgets of both directions, the
/// one in which the lower index receives first.
fn pair_id(
    place: PairPlace,
    receiver: &MulReceiver<Secp256k1>,
    sender: &MulSender<Secp256k1>,
) -> Digest {
    let (low, high, first, second) = if place.me < place.peer {
        (
            place.me,
            place.peer,
            &receiver.public_gadget,
            &sender.public_gadget,
        )
    } else {
        (
            place.peer,
            place.me,
            &sender.public_gadget,
            &receiver.public_gadget,
        )
    };
    let gadget = |tagged: Tagged, scalar: &Scalar| tagged.bytes(&scalar.to_repr());
    Tagged::new(Tag::Pairing)
        .text("pair")
        .digest(&place.session)
        .number(u64::from(low.number()))
        .number(u64::from(high.number()))
        .list(first, gadget)
        .list(second, gadget)
        .finish()
}

/// Reads one's own end of a pairing; none if it is not one between these two.
pub(super) fn read(me: PartyIndex, peer: PartyIndex, secret: &SecretBytes) -> Option<PairState> {
    let state: PairState = decode(secret)?;
    let with: Index = index_of(peer).ok()?;
    let belongs = state.seed.index_counterparty == with
        && state.seed.lowest_index == (me < peer)
        && me != peer;
    (belongs && state.sender.check_state().is_ok() && state.receiver.check_state(None).is_ok())
        .then_some(state)
}
