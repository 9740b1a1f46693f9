//! Evidence against signers.

use quorate_model::{
    DerivationPath, Digest, Epoch, KeyName, PartyIndex, Scheme, TicketId,
    identity::sign_digest,
    key::Participant,
    share::{
        SetEntry, SetOfSigners, ShareItem, ShareReceipt, ShareStatement, share_batch_digest,
        signed_message_hash,
    },
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

use super::super::{BadShare, Evidence, Facts, NotProven, SigningFacts};
use crate::{
    Fault,
    derivation::Child,
    dkg::tests::harness::{Cluster, identity, identity_of, node, party},
    frost::{Hedge, NoncePair, PublicKeys, SigningKeyShare, SigningSet, Tweak, sign_share},
};

const CHAIN_CODE: [u8; 32] = [7; 32];

/// A signing of two messages by parties 1 and 3, with the receipt of party 1.
struct Signing {
    key: KeyName,
    participants: Vec<Participant>,
    keys: PublicKeys,
    messages: Vec<(Vec<u8>, DerivationPath, Tweak)>,
    sets: Vec<SetOfSigners>,
    statement: ShareStatement,
}

fn signing() -> Signing {
    let cluster = Cluster::new(Scheme::Bip340, 2, 3, 1);
    let binding = cluster.binding.clone();
    let outputs = cluster.finish();
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    let hedge = Hedge::new([3; 32]);
    let keys = PublicKeys::new(
        Scheme::Bip340,
        2,
        &outputs[0].group_key,
        &outputs[0].verifying_shares,
    )
    .unwrap();
    let share_key = SigningKeyShare::new(
        Scheme::Bip340,
        party(1),
        2,
        &outputs[0].share,
        &outputs[0].group_key,
        &outputs[0].verifying_shares[0],
    )
    .unwrap();
    let child: DerivationPath = "m/1/7".parse().unwrap();
    let messages = vec![
        (b"one".to_vec(), DerivationPath::ROOT, Tweak::None),
        (b"two".to_vec(), child, Tweak::TaprootKeyPath),
    ];
    let mut sets = Vec::new();
    let mut items = Vec::new();
    for (message, path, tweak) in &messages {
        let (nonces, own) = NoncePair::generate(Scheme::Bip340, &hedge, &mut rng).unwrap();
        let (_, other) = NoncePair::generate(Scheme::Bip340, &hedge, &mut rng).unwrap();
        let entry = |signer: PartyIndex, commitments: &crate::frost::NonceCommitments| SetEntry {
            signer,
            ticket: TicketId([0; 16]),
            commitments: commitments.to_received(),
        };
        let set = SetOfSigners {
            entries: vec![entry(party(1), &own), entry(party(3), &other)],
        };
        let parsed = SigningSet::from_received(Scheme::Bip340, &set).unwrap();
        let child =
            Child::derive(Scheme::Bip340, &outputs[0].group_key, &CHAIN_CODE, path).unwrap();
        let share_key = share_key.child(&child).unwrap();
        let share = sign_share(&share_key, nonces, &parsed, message, *tweak).unwrap();
        let message = signed_message_hash(message, path, *tweak == Tweak::TaprootKeyPath);
        items.push(ShareItem {
            signing_set: set.digest(),
            message,
            share,
        });
        sets.push(set);
    }
    let statement = ShareStatement {
        node: node(party(1)),
        sequence: 1,
        record: Digest::ZERO,
        command: Digest::new([4; 32]),
        key: binding.key.clone(),
        epoch: Epoch(1),
        items,
    };
    Signing {
        key: binding.key,
        participants: binding.participants,
        keys,
        messages,
        sets,
        statement,
    }
}

impl Signing {
    fn receipt(statement: ShareStatement, signer: u16) -> ShareReceipt {
        let batch = vec![Digest::ZERO, statement.digest()];
        let signature = sign_digest(&identity(party(signer)), &share_batch_digest(&batch));
        ShareReceipt {
            statement,
            batch,
            signature,
        }
    }

    fn evidence(&self, statement: ShareStatement, item: u32) -> BadShare {
        let at = usize::try_from(item).unwrap().min(1);
        BadShare {
            receipt: Self::receipt(statement, 1),
            item,
            set: self.sets[at].clone(),
            message: self.messages[at].0.clone(),
            path: self.messages[at].1.clone(),
            tweak: self.messages[at].2,
        }
    }

    fn facts(&self) -> SigningFacts<'_> {
        SigningFacts {
            key: &self.key,
            epoch: Epoch(1),
            participants: &self.participants,
            keys: &self.keys,
            chain_code: &CHAIN_CODE,
        }
    }
}

fn verify(
    evidence: BadShare,
    facts: Option<SigningFacts<'_>>,
) -> Result<(PartyIndex, Fault), NotProven> {
    let evidence = Evidence::BadSignatureShare(Box::new(evidence));
    let read = Evidence::from_bytes(&evidence.to_bytes().unwrap()).unwrap();
    assert_eq!(read, evidence);
    assert_eq!(read.session(), None);
    let facts = Facts {
        identity_of: &identity_of,
        signing: facts,
    };
    read.verify(&facts).map(|blamed| {
        assert_eq!(blamed.node, node(blamed.party));
        (blamed.party, blamed.fault)
    })
}

/// The statement with a bad share in this place.
fn bad(signing: &Signing, item: usize) -> ShareStatement {
    let mut statement = signing.statement.clone();
    statement.items[item].share[31] ^= 1;
    statement
}

#[test]
fn a_bad_share_in_a_signed_statement_names_its_signer() {
    let signing = signing();
    for item in [0, 1] {
        let at = usize::try_from(item).unwrap();
        let evidence = signing.evidence(bad(&signing, at), item);

        let verdict = verify(evidence, Some(signing.facts()));

        assert_eq!(verdict, Ok((party(1), Fault::BadSignatureShare)));
    }
}

#[test]
fn a_good_share_blames_nobody() {
    let signing = signing();
    for item in [0, 1] {
        let evidence = signing.evidence(signing.statement.clone(), item);

        assert_eq!(
            verify(evidence, Some(signing.facts())),
            Err(NotProven::NoFault)
        );
    }
}

#[test]
fn a_share_is_not_judged_without_facts_or_by_those_of_something_else() {
    let signing = signing();
    let evidence = || signing.evidence(bad(&signing, 0), 0);
    let other_key: KeyName = "other".parse().unwrap();
    let judge = |facts| verify(evidence(), Some(facts));

    assert_eq!(verify(evidence(), None), Err(NotProven::FactsMissing));
    let others = [
        SigningFacts {
            key: &other_key,
            ..signing.facts()
        },
        SigningFacts {
            epoch: Epoch(2),
            ..signing.facts()
        },
    ];
    for facts in others {
        assert_eq!(judge(facts), Err(NotProven::OtherFacts));
    }
    let facts = SigningFacts {
        participants: &signing.participants[1..],
        ..signing.facts()
    };
    assert_eq!(judge(facts), Err(NotProven::UnknownParticipant));
}

#[test]
fn a_share_under_another_signature_set_or_place_blames_nobody() {
    let signing = signing();
    let facts = || Some(signing.facts());
    let forged = BadShare {
        receipt: Signing::receipt(bad(&signing, 0), 2),
        ..signing.evidence(bad(&signing, 0), 0)
    };
    let other_set = BadShare {
        set: signing.sets[1].clone(),
        ..signing.evidence(bad(&signing, 0), 0)
    };
    let other_message = BadShare {
        message: b"another".to_vec(),
        ..signing.evidence(bad(&signing, 0), 0)
    };
    let other_tweak = BadShare {
        tweak: Tweak::TaprootKeyPath,
        ..signing.evidence(bad(&signing, 0), 0)
    };
    let other_path = BadShare {
        path: "m/1/8".parse().unwrap(),
        ..signing.evidence(signing.statement.clone(), 1)
    };
    let nowhere = signing.evidence(bad(&signing, 0), 2);
    let mut unsigned = signing.evidence(signing.statement.clone(), 0);
    unsigned.receipt.statement.items[0].share[31] ^= 1;

    assert_eq!(verify(forged, facts()), Err(NotProven::Statement));
    assert_eq!(verify(other_set, facts()), Err(NotProven::Statement));
    assert_eq!(verify(other_message, facts()), Err(NotProven::Statement));
    assert_eq!(verify(other_tweak, facts()), Err(NotProven::Statement));
    assert_eq!(verify(other_path, facts()), Err(NotProven::Statement));
    assert_eq!(verify(nowhere, facts()), Err(NotProven::Statement));
    assert_eq!(verify(unsigned, facts()), Err(NotProven::Statement));
}

#[test]
fn a_set_that_no_honest_node_signs_for_blames_nobody() {
    let signing = signing();
    let mut statement = bad(&signing, 0);
    let mut set = signing.sets[0].clone();
    set.entries.truncate(1);
    statement.items[0].signing_set = set.digest();

    let evidence = BadShare {
        receipt: Signing::receipt(statement, 1),
        set,
        ..signing.evidence(bad(&signing, 0), 0)
    };

    assert_eq!(
        verify(evidence, Some(signing.facts())),
        Err(NotProven::Statement)
    );
}
