//! A committee that declares itself: the certificate of a later epoch that everybody signed who is
//! named in it, over points that nobody in it has the shares of (P20, decisions 0017 and 0019).

use quorate_model::{
    DerivationPath, Nonce32, SessionBinding, SessionPreimage, SessionSource, Signature,
    certificate::{
        CommitCertificate, KeyEvidence, NodeSignature, PossessionProof, PreparedStatement,
        participants_of, verifying_shares_hash,
    },
    command::{CommandBody, SignedCommand},
    identity::sign_digest,
    node_api::{ActivationReceipt, EraseCertificate},
    payload::pop_message,
    session::reshare_places,
    share::{ShareItem, ShareReceipt, ShareStatement, share_batch_digest, signed_message_hash},
};

use super::{super::*, harness::*};

const HONEST: [usize; 3] = [0, 1, 2];

const LIARS: [usize; 2] = [3, 4];

/// Has never heard of the key.
const STRANGER: usize = 5;

impl Cluster {
    /// A certificate by the liars for a command that the admins did endorse.
    fn declared(
        &self,
        old: &Held,
        command: &SignedCommand,
        points: &[Vec<u8>],
    ) -> CommitCertificate {
        let decoded = quorate_proto::command::decode(&command.bytes).unwrap();
        let CommandBody::ReshareKey(reshare) = decoded.body else {
            panic!("another command")
        };
        let before = &old.certificate.statement;
        let (participants, dealers) = reshare_places(&reshare.nodes, &before.participants[..2]);
        let source = (before.epoch, old.certificate.hash());
        let session = SessionPreimage {
            nonces: (1..=4).map(|seed| Nonce32([seed; 32])).collect(),
            binding: SessionBinding {
                protocol: "reshare/1/bip340".to_owned(),
                cluster: self.pinned.cluster(),
                roster: self.pinned.hash(),
                key: reshare.key.clone(),
                source: Some(SessionSource {
                    epoch: source.0,
                    certificate: source.1,
                    dealers,
                    receivers: 2,
                }),
                target_epoch: reshare.first_epoch,
                threshold: reshare.threshold,
                participants,
                command: command.digest(),
                payload_index: 0,
            },
        };
        let statement = PreparedStatement {
            session: session.id(),
            roster: self.pinned.hash(),
            command: command.digest(),
            epoch: reshare.first_epoch,
            source: Some(source),
            threshold: reshare.threshold,
            participants: participants_of(&reshare.nodes),
            verifying_shares: verifying_shares_hash(points),
            transcript: Digest::new([1; 32]),
            ..before.clone()
        };
        let signatures = LIARS.map(|at| NodeSignature {
            node: node_id(at),
            signature: statement.sign(&self.keys[at]),
        });
        CommitCertificate {
            command: command.clone(),
            session,
            statement,
            verifying_shares: points.to_vec(),
            signatures: signatures.to_vec(),
        }
    }

    /// What the liars can make of a proof: shares of their own, and a signature that the key once made.
    fn pretended(&mut self, certificate: &CommitCertificate, old: &Held) -> PossessionProof {
        let hash = certificate.hash();
        let set = self.set_of(&LIARS, &LIARS, certificate.statement.scheme);
        let message = signed_message_hash(&pop_message(&hash), &DerivationPath::ROOT, false);
        let receipts = LIARS.map(|at| {
            let statement = ShareStatement {
                node: node_id(at),
                sequence: 9,
                record: Digest::new([9; 32]),
                command: hash,
                key: certificate.statement.key.clone(),
                epoch: certificate.statement.epoch,
                items: vec![ShareItem {
                    signing_set: set.digest(),
                    message,
                    share: [1; 32],
                }],
            };
            let batch = vec![statement.digest()];
            let signature = sign_digest(&self.keys[at], &share_batch_digest(&batch));
            ShareReceipt {
                statement,
                batch,
                signature,
            }
        });
        PossessionProof {
            certificate: hash,
            set,
            receipts: receipts.to_vec(),
            signature: old.proof.signature.clone(),
        }
    }

    /// The word of the liars that they hold their epoch.
    fn vouched_by_liars(&self, certificate: &CommitCertificate) -> EraseCertificate {
        let receipts = LIARS.map(|at| {
            let mut receipt = ActivationReceipt {
                node: node_id(at),
                key: certificate.statement.key.clone(),
                epoch: certificate.statement.epoch,
                certificate: certificate.hash(),
                sequence: 9,
                signature: Signature([0; 64]),
            };
            receipt.signature = sign_digest(&self.keys[at], &receipt.digest());
            receipt
        });
        EraseCertificate {
            key: certificate.statement.key.clone(),
            epoch: certificate.statement.epoch,
            receipts: receipts.to_vec(),
        }
    }
}

#[test]
fn a_committee_that_declares_itself_is_believed_by_nobody_and_takes_nothing_away() {
    let mut cluster = Cluster::new(6);
    let old = cluster.born("notes", Scheme::Bip340, 2, &HONEST);
    // Points that make the key, of shares that two others hold, and points that make another key.
    let genuine = cluster.run(&old, 2, &[0, 1]);
    let genuine = cluster.certify(&old, &genuine).unwrap();
    let others = cluster.born("other", Scheme::Bip340, 2, &LIARS);
    for (points, why) in [
        (&genuine.verifying_shares, "the share of node node-3"),
        (
            &others.certificate.verifying_shares,
            "interpolate verifying shares",
        ),
    ] {
        let command = cluster.reshare_command_from(&old, 2, &LIARS, Epoch(3));
        let certificate = cluster.declared(&old, &command, points);
        let bytes = certificate.to_bytes().unwrap();
        let birth = old.origin();
        quorate_proto::certificate::verify(&bytes, Some(&birth), &cluster.pinned)
            .expect("but for a proof everything holds");
        let declared = Held {
            proof: cluster.pretended(&certificate, &old),
            certificate,
            birth: Some(birth),
            holders: LIARS.to_vec(),
        };
        let before = cluster.listing(0);

        refuses_everything(&mut cluster, &declared, why);

        assert_eq!(cluster.listing(0), before);
        for at in HONEST {
            assert!(cluster.has_share(at, &old));
        }
        cluster.sign_by(&old, &[0, 2]).unwrap();
    }
}

fn refuses_everything(cluster: &mut Cluster, declared: &Held, why: &str) {
    let violation = Reason::ProtocolViolation;
    let set = cluster.set_of(&LIARS, &LIARS, Scheme::Bip340);
    let prove = NodeRequest::ProveKey {
        certificate: declared.certificate.to_bytes().unwrap(),
        set,
    };
    let erase = cluster.vouched_by_liars(&declared.certificate);
    let unproven = KeyEvidence {
        proof: None,
        ..declared.evidence()
    };
    let holder = cluster.run(declared, 2, &[0, 5]);
    let stranger = cluster.run(declared, 2, &[STRANGER, 0]);

    assert_eq!(reason(cluster.ask(0, prove)), violation);
    let refusal = cluster.activate_at(0, declared).unwrap_err();
    assert_eq!(refusal.reason, violation);
    assert!(refusal.message.contains(why), "{refusal}");
    let refused = reason(cluster.erase_at(0, &erase));
    assert_eq!(refused, Reason::EpochChanged);
    // A holder goes by what it has in use, and whoever has heard of nothing by the proof.
    let refused = reason(cluster.certify(declared, &holder));
    assert_eq!(refused, Reason::EpochChanged);
    let refusal = cluster.certify(declared, &stranger).unwrap_err();
    assert_eq!(refusal.reason, violation);
    assert!(refusal.message.contains(why), "{refusal}");
    let refused = reason(cluster.certify_from(&unproven, declared, &stranger));
    assert_eq!(refused, Reason::KeyNotActive);
}
