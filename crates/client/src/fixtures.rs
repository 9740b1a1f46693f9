//! A small cluster for tests, with keys that everybody knows.
#![expect(clippy::arithmetic_side_effects, reason = "test data is small")]

use std::collections::BTreeMap;

use ed25519_dalek::SigningKey;
use quorate_model::{
    DerivationPath, Digest, Epoch, IdentityKey, KeyPurpose, KeyState, NodeId, PartyIndex, Purposes,
    Scheme, SessionBinding, TicketId,
    certificate::{
        CommitCertificate, KeyEvidence, NodeSignature, PossessionProof, PreparedStatement,
        participants_of, verifying_shares_hash,
    },
    command::{CommandBody, CreateKey},
    identity::sign_digest,
    operation::KeyView,
    payload::pop_message,
    roster::{CoordinatorCard, NodeCard, PinnedRoster, Role, Roster, SignedRoster},
    share::{
        SetEntry, SetOfSigners, ShareItem, ShareReceipt, ShareStatement, share_batch_digest,
        signed_message_hash,
    },
};
use quorate_protocol::{
    dkg::{Advance, DkgOutput, HelloState, Setup, protocol_name, start},
    frost::{
        Hedge, PublicKeys, SigningKeyShare, SigningSet, Tweak, aggregate, generate_batch,
        sign_share,
    },
};
use rand_core::OsRng;

use crate::{
    command::{CommandOptions, Prepared},
    identity::Identity,
};

/// The identity key of the node with this number.
pub(crate) fn node_key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

/// The id of the node with this number: 1 is node-a.
pub(crate) fn node_id(number: u8) -> NodeId {
    format!("node-{}", char::from(b'a' + number - 1))
        .parse()
        .unwrap()
}

/// A roster of three nodes with one principal that is admin and client.
pub(crate) fn cluster() -> (PinnedRoster, Identity) {
    let identity = Identity::generate(
        "ann".parse().unwrap(),
        "Ann".to_owned(),
        vec![Role::Admin, Role::Client],
        &mut OsRng,
    )
    .unwrap();
    (signed_roster(&identity).verify_first().unwrap(), identity)
}

/// The roster of [`cluster`], signed.
pub(crate) fn signed_roster(identity: &Identity) -> SignedRoster {
    let node = |number: u8| NodeCard {
        id: node_id(number),
        identity_key: IdentityKey::of(&node_key(number)),
        tls_key_hash: Digest::new([number; 32]),
        region: format!("region-{number}"),
        organisation: format!("organisation-{number}"),
    };
    let roster = Roster {
        format: 1,
        version: 1,
        cluster_name: "test".to_owned(),
        parents: vec![],
        nodes: (1..=3).map(node).collect(),
        coordinators: vec![CoordinatorCard {
            id: "coordinator".parse().unwrap(),
            tls_key_hash: Digest::new([9; 32]),
        }],
        principals: vec![identity.card().clone()],
        admin_quorum: 1,
        lifecycle_quorum: 1,
        policy_hash: Digest::ZERO,
    };
    let mut signed = SignedRoster::unsigned(&roster).unwrap();
    signed.sign(&identity.card().id, identity.signing_key());
    signed
}

/// A key that three nodes really made, and everything needed to sign with it.
pub(crate) struct MadeKey {
    pub(crate) roster: PinnedRoster,
    pub(crate) identity: Identity,
    pub(crate) view: KeyView,
    shares: Vec<SigningKeyShare>,
}

/// Makes a 2-of-3 key with all purposes.
pub(crate) fn made_key(scheme: Scheme) -> MadeKey {
    let (roster, identity) = cluster();
    let create = CreateKey {
        key: "hot".parse().unwrap(),
        scheme,
        threshold: 2,
        nodes: (1..=3).map(node_id).collect(),
        purposes: Purposes::new(KeyPurpose::ALL.to_vec()).unwrap(),
        accept_fragile: false,
    };
    let body = CommandBody::CreateKey(create.clone());
    let options = CommandOptions::default();
    let command = Prepared::new(&roster, &identity, body, &options);
    let outputs = generate(&roster, &create, command.digest());
    let output = &outputs[0];
    let statement = PreparedStatement {
        session: output.session.id(),
        roster: roster.hash(),
        command: command.digest(),
        key: create.key,
        scheme,
        purposes: create.purposes,
        epoch: Epoch(1),
        source: None,
        threshold: 2,
        participants: output.session.binding.participants.clone(),
        group_key: output.group_key.clone(),
        verifying_shares: verifying_shares_hash(&output.verifying_shares),
        chain_code: output.chain_code,
        transcript: output.transcript,
    };
    let sign = |number: u8| NodeSignature {
        node: node_id(number),
        signature: statement.sign(&node_key(number)),
    };
    let signatures = (1..=3).map(sign).collect();
    let certificate = CommitCertificate {
        command: command.signed().clone(),
        session: output.session.clone(),
        statement: statement.clone(),
        verifying_shares: output.verifying_shares.clone(),
        signatures,
    };
    let share = |(index, own): (PartyIndex, &DkgOutput)| {
        let at = usize::from(index.number()) - 1;
        let public = &own.verifying_shares[at];
        SigningKeyShare::new(
            scheme.proven_by(),
            index,
            2,
            &own.share,
            &own.group_key,
            public,
        )
        .unwrap()
    };
    let shares = PartyIndex::first(3).zip(&outputs).map(share).collect();
    let bytes = certificate.to_bytes().unwrap();
    let (_, record) = quorate_proto::certificate::verify(&bytes, &roster).unwrap();
    let evidence = KeyEvidence {
        certificate: bytes,
        proof: None,
    };
    let view = KeyView {
        record,
        state: KeyState::Active,
        evidence,
    };
    let mut made = MadeKey {
        roster,
        identity,
        view,
        shares,
    };
    let certificate = made.view.record.certificate;
    let message = pop_message(&certificate);
    let (set, receipts, signature) = made.sign(&[1, 2, 3], certificate, &message);
    let proof = PossessionProof {
        certificate,
        set,
        receipts,
        signature,
    };
    made.view.evidence.proof = Some(proof.to_bytes().unwrap());
    made
}

/// Runs key generation among three machines in this process.
fn generate(roster: &PinnedRoster, create: &CreateKey, command: Digest) -> Vec<DkgOutput> {
    let binding = SessionBinding {
        protocol: protocol_name(create.scheme).unwrap().to_owned(),
        cluster: roster.cluster(),
        roster: roster.hash(),
        key: create.key.clone(),
        source_epoch: None,
        target_epoch: Epoch(1),
        threshold: 2,
        participants: participants_of(&create.nodes),
        command,
        payload_index: 0,
    };
    let keys = || (1..=3).map(node_key);
    let roster_key_of: BTreeMap<_, _> = PartyIndex::first(3)
        .zip(keys().map(|key| key.verifying_key()))
        .collect();
    let mut running = Vec::new();
    let mut envelopes = Vec::new();
    for (me, key) in PartyIndex::first(3).zip(keys()) {
        let setup = Setup {
            me,
            roster_key_of: roster_key_of.clone(),
            threshold: 2,
            count: 3,
            scheme: create.scheme,
            binding: binding.clone(),
        };
        let state = HelloState {
            journal_sequence: 1,
            journal_head: Digest::ZERO,
            boot_id: [0; 16],
            policy: Digest::ZERO,
        };
        let (machine, hello) = start(setup, state, &key, &mut OsRng).unwrap();
        running.push((me, key, machine));
        envelopes.push(hello);
    }
    loop {
        let mut outputs = Vec::new();
        let mut next = Vec::new();
        let mut outgoing_of_all = Vec::new();
        for (me, key, machine) in running {
            let inbound: Vec<_> = envelopes
                .iter()
                .filter(|envelope| envelope.header.recipient.is_none_or(|to| to == me))
                .map(|envelope| envelope.to_bytes().unwrap())
                .collect();
            let step = machine.advance(&inbound, &key, &mut OsRng);
            if let Advance::Running { machine, outgoing } = step {
                next.push((me, key, machine));
                outgoing_of_all.extend(outgoing);
            } else if let Advance::Finished { output, .. } = step {
                outputs.push(output);
            } else {
                panic!("{step:?}");
            }
        }
        if !outputs.is_empty() {
            return outputs;
        }
        (running, envelopes) = (next, outgoing_of_all);
    }
}

impl MadeKey {
    /// Signs one message with these nodes, as a coordinator would have it signed.
    pub(crate) fn sign(
        &self,
        signers: &[u8],
        command: Digest,
        message: &[u8],
    ) -> (SetOfSigners, Vec<ShareReceipt>, Vec<u8>) {
        let scheme = self.view.record.scheme.proven_by();
        let hedge = Hedge::new([1; 32]);
        let pairs: Vec<_> = signers
            .iter()
            .map(|_| {
                generate_batch(scheme, 1, &hedge, &mut OsRng)
                    .unwrap()
                    .remove(0)
            })
            .collect();
        let index = |number: u8| PartyIndex::new(number.into()).unwrap();
        let entries = signers
            .iter()
            .zip(&pairs)
            .map(|(number, (_, commitments))| SetEntry {
                signer: index(*number),
                ticket: TicketId([*number; 16]),
                commitments: commitments.to_received(),
            });
        let set = SetOfSigners {
            entries: entries.collect(),
        };
        let checked = SigningSet::from_received(scheme, &set).unwrap();
        let mut shares = Vec::new();
        let mut receipts = Vec::new();
        for (number, (nonces, _)) in signers.iter().zip(pairs) {
            let key = &self.shares[usize::from(*number) - 1];
            let share = sign_share(key, nonces, &checked, message, Tweak::None).unwrap();
            shares.push((index(*number), share));
            receipts.push(self.receipt(*number, command, &set, message, share));
        }
        let keys = PublicKeys::of_record(&self.view.record).unwrap();
        let signature = aggregate(&keys, &checked, message, Tweak::None, &shares).unwrap();
        (set, receipts, signature)
    }

    fn receipt(
        &self,
        number: u8,
        command: Digest,
        set: &SetOfSigners,
        message: &[u8],
        share: [u8; 32],
    ) -> ShareReceipt {
        let message = signed_message_hash(message, &DerivationPath::ROOT, false);
        let statement = ShareStatement {
            node: node_id(number),
            sequence: 5,
            record: Digest::new([7; 32]),
            command,
            key: self.view.record.name.clone(),
            epoch: self.view.record.epoch,
            items: vec![ShareItem {
                signing_set: set.digest(),
                message,
                share,
            }],
        };
        let batch = vec![statement.digest()];
        let signature = sign_digest(&node_key(number), &share_batch_digest(&batch));
        ShareReceipt {
            statement,
            batch,
            signature,
        }
    }
}
