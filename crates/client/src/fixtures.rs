//! A small cluster for tests, with keys that everybody knows.
#![expect(clippy::arithmetic_side_effects, reason = "test data is small")]

mod fake_cluster;
mod resharing;

use std::{collections::BTreeMap, sync::Arc};

use bitcoin::{
    NetworkKind,
    bip32::{ChainCode, ChildNumber, Fingerprint, Xpriv},
    secp256k1::Secp256k1,
};
use ed25519_dalek::SigningKey;
use quorate_intent::KeyFacts;
use quorate_model::{
    DerivationPath, Digest, Epoch, IdentityKey, KeyPurpose, KeyState, NodeId, PartyIndex, Payload,
    Purposes, Scheme, SessionBinding, Signature, TicketId,
    certificate::{
        CommitCertificate, KeyEvidence, NodeSignature, PossessionProof, PreparedStatement,
        participants_of, verifying_shares_hash,
    },
    command::{ChangeRoster, CommandBody, CreateKey, SignedCommand},
    identity::sign_digest,
    life::KeyLife,
    operation::{KeyView, SignOutcome},
    payload::pop_message,
    roster::{
        CoordinatorCard, Followed, NodeCard, PinnedRoster, Role, Roster, RosterReceipt,
        SignedRoster,
    },
    share::{
        SetEntry, SetOfSigners, ShareItem, ShareReceipt, ShareStatement, share_batch_digest,
        signed_message_hash, whole_signature_hash,
    },
};
use quorate_protocol::{
    ceremony::{Advance, Machine, Output},
    dkg::{DkgOutput, HelloState, Setup, protocol_name, start},
    envelope::Envelope,
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
pub(crate) use fake_cluster::{FakeCluster, stated};

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

/// The card of the node with this number.
pub(crate) fn node_card(number: u8) -> NodeCard {
    NodeCard {
        id: node_id(number),
        identity_key: IdentityKey::of(&node_key(number)),
        tls_key_hash: Digest::new([number; 32]),
        region: format!("region-{number}"),
        organisation: format!("organisation-{number}"),
    }
}

/// A roster of four nodes with one principal that is admin and client.
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
    roster_with(identity, Digest::new([9; 32]))
}

/// The same with the TLS key of the coordinator.
pub(crate) fn roster_with(identity: &Identity, coordinator: Digest) -> SignedRoster {
    let roster = Roster {
        format: 1,
        version: 1,
        cluster_name: "test".to_owned(),
        parents: vec![],
        nodes: (1..=4).map(node_card).collect(),
        coordinators: vec![CoordinatorCard {
            id: "coordinator".parse().unwrap(),
            tls_key_hash: coordinator,
        }],
        principals: vec![identity.card().clone()],
        admin_quorum: 1,
        lifecycle_quorum: 1,
        policy_hash: Digest::ZERO,
        lifecycle_delay_seconds: None,
        drained: [].into(),
        placement: quorate_model::roster::Placement::default(),
    };
    let mut signed = SignedRoster::unsigned(&roster).unwrap();
    signed.sign(&identity.card().id, identity.signing_key());
    signed
}

/// The command that makes the next roster of a cluster, endorsed by one admin, and the chain with it.
pub(crate) fn next_roster(
    pinned: &PinnedRoster,
    admin: &Identity,
    edit: impl FnOnce(&mut Roster),
) -> (SignedCommand, PinnedRoster) {
    let mut next = pinned.roster().clone();
    next.version += 1;
    next.parents = vec![pinned.hash()];
    edit(&mut next);
    let roster = next.to_bytes().unwrap();
    let body = CommandBody::ChangeRoster(ChangeRoster { roster });
    let command = Prepared::new(pinned, admin, body, &CommandOptions::default());
    let signed = command.signed().clone();
    let chain = match quorate_proto::roster::follow(pinned, &signed) {
        Ok(Followed::InForce(chain)) => chain,
        other => panic!("{other:?}"),
    };
    (signed, chain)
}

/// The word of the node with this number that it acts by the roster in force of a chain.
pub(crate) fn roster_receipt(number: u8, chain: &PinnedRoster) -> RosterReceipt {
    let receipt = RosterReceipt {
        node: node_id(number),
        roster: chain.hash(),
        in_force: chain.hash(),
        command: chain.command().unwrap().digest(),
        record: 7,
        signature: Signature([0; 64]),
    };
    receipt.sign(&node_key(number))
}

/// A key that three nodes really made, and everything needed to sign with it.
pub(crate) struct MadeKey {
    pub(crate) roster: PinnedRoster,
    pub(crate) identity: Arc<Identity>,
    pub(crate) view: KeyView,
    shares: Vec<SigningKeyShare>,
    first_shares: [[u8; 32]; 2],
}

/// Makes a 2-of-3 key with all purposes.
pub(crate) fn made_key(scheme: Scheme) -> MadeKey {
    let (roster, identity) = cluster();
    made_key_in(roster, identity, scheme, &KeyPurpose::ALL)
}

/// Makes a 2-of-3 key of a cluster.
pub(crate) fn made_key_in(
    roster: PinnedRoster,
    identity: impl Into<Arc<Identity>>,
    scheme: Scheme,
    purposes: &[KeyPurpose],
) -> MadeKey {
    let create = CreateKey {
        key: "hot".parse().unwrap(),
        scheme,
        threshold: 2,
        nodes: (1..=3).map(node_id).collect(),
        purposes: Purposes::new(purposes.to_vec()).unwrap(),
        accept_fragile: false,
        life: KeyLife::default(),
    };
    make(roster, identity.into(), create)
}

/// Makes a key of the cluster of another one, with this name and plan, and otherwise like it.
pub(crate) fn made_beside(before: &MadeKey, name: &str, life: KeyLife) -> MadeKey {
    let record = &before.view.record;
    let create = CreateKey {
        key: name.parse().unwrap(),
        scheme: record.scheme,
        threshold: 2,
        nodes: (1..=3).map(node_id).collect(),
        purposes: record.purposes.clone(),
        accept_fragile: false,
        life,
    };
    make(before.roster.clone(), Arc::clone(&before.identity), create)
}

/// Makes a 2-of-3 key as it is commanded.
fn make(roster: PinnedRoster, identity: Arc<Identity>, create: CreateKey) -> MadeKey {
    let scheme = create.scheme;
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
    let first_shares = [0, 1].map(|at: usize| *outputs[at].share.expose());
    let bytes = certificate.to_bytes().unwrap();
    let (_, record) = quorate_proto::certificate::verify(&bytes, None, &roster).unwrap();
    let evidence = KeyEvidence {
        certificate: bytes,
        proof: None,
        birth: None,
    };
    let view = KeyView {
        record,
        state: KeyState::Active,
        standing: quorate_model::standing::Standing::default(),
        destruction: quorate_model::destruction::Destruction::default(),
        next_epoch: None,
        activated: None,
        used: None,
        replaced_by: None,
        evidence,
    };
    let made = MadeKey {
        roster,
        identity,
        view,
        shares,
        first_shares,
    };
    made.proven()
}

fn hello_state() -> HelloState {
    HelloState {
        journal_sequence: 1,
        journal_head: Digest::ZERO,
        boot_id: [0; 16],
        policy: Digest::ZERO,
    }
}

/// Runs key generation among three machines in this process.
fn generate(roster: &PinnedRoster, create: &CreateKey, command: Digest) -> Vec<DkgOutput> {
    let binding = SessionBinding {
        protocol: protocol_name(create.scheme).unwrap().to_owned(),
        cluster: roster.cluster(),
        roster: roster.hash(),
        key: create.key.clone(),
        source: None,
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
        let state = hello_state();
        let (machine, hello) = start(setup, state, &key, &mut OsRng).unwrap();
        running.push((me, key, machine));
        envelopes.push(hello);
    }
    run(running, envelopes)
}

/// Runs machines in this process until all have finished, and answers with what each ends with.
fn run<O: Output + std::fmt::Debug>(
    mut running: Vec<(PartyIndex, SigningKey, Machine<O>)>,
    mut envelopes: Vec<Envelope>,
) -> Vec<O> {
    let mut outputs = BTreeMap::new();
    while !running.is_empty() {
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
            } else if let Advance::Finished { output, outgoing } = step {
                outputs.insert(me, output);
                outgoing_of_all.extend(outgoing);
            } else {
                panic!("{step:?}");
            }
        }
        (running, envelopes) = (next, outgoing_of_all);
    }
    outputs.into_values().collect()
}

impl MadeKey {
    /// The key with the proof of possession by all its holders.
    fn proven(mut self) -> Self {
        let certificate = self.view.record.certificate;
        let message = pop_message(&certificate);
        let everybody: Vec<_> = (1..).take(self.shares.len()).collect();
        let (set, receipts, signature) = self.sign(&everybody, certificate, &message);
        let proof = PossessionProof {
            certificate,
            set,
            receipts,
            signature,
        };
        self.view.evidence.proof = Some(proof.to_bytes().unwrap());
        self
    }

    /// The number of the node that holds the share with this index.
    fn number_of(&self, index: u8) -> u8 {
        resharing::number(&self.view.record.participants[usize::from(index) - 1].node)
    }

    /// Signs one message with the shares of these indices, as a coordinator would have it signed.
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
            let hash = signed_message_hash(message, &DerivationPath::ROOT, false);
            receipts.push(self.receipt(*number, command, &set, hash, share));
        }
        let keys = PublicKeys::of_record(&self.view.record).unwrap();
        let signature = aggregate(&keys, &checked, message, Tweak::None, &shares).unwrap();
        (set, receipts, signature)
    }

    fn receipt(
        &self,
        index: u8,
        command: Digest,
        set: &SetOfSigners,
        message: Digest,
        share: [u8; 32],
    ) -> ShareReceipt {
        let number = self.number_of(index);
        let statement = ShareStatement {
            node: node_id(number),
            sequence: 5_000,
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

    /// Signs payloads with a key of ecdsa-secp256k1 that is put together from its shares, as the
    /// first two of its holders would sign them together.
    pub(crate) fn sign_ecdsa(&self, command: Digest, payloads: &[Payload]) -> SignOutcome {
        let record = &self.view.record;
        let facts = KeyFacts::of(record);
        let decoded = quorate_intent::decode_all(payloads, &facts).unwrap();
        let set = SetOfSigners { entries: vec![] };
        let mut signatures = Vec::new();
        let mut receipts = Vec::new();
        for item in decoded.iter().flat_map(|payload| &payload.items) {
            let key = self.whole_key_at(&item.path);
            let (signature, id) = key.sign_prehash_recoverable(&item.message).unwrap();
            let signature = [signature.to_bytes().as_slice(), &[id.to_byte()]].concat();
            let message = signed_message_hash(&item.message, &item.path, false);
            let whole = *whole_signature_hash(&signature).as_bytes();
            for index in [1, 2] {
                receipts.push(self.receipt(index, command, &set, message, whole));
            }
            signatures.push(signature);
        }
        SignOutcome {
            key: record.name.clone(),
            epoch: record.epoch,
            scheme: record.scheme,
            signers: [1, 2].map(|index| node_id(self.number_of(index))).to_vec(),
            signatures,
            receipts,
        }
    }

    /// The secret key at a path: interpolated at 0 over the shares of parties 1 and 2, and derived
    /// by another library.
    fn whole_key_at(&self, path: &DerivationPath) -> k256::ecdsa::SigningKey {
        let scalar = |bytes: &[u8; 32]| {
            *k256::SecretKey::from_slice(bytes)
                .unwrap()
                .to_nonzero_scalar()
        };
        let [first, second] = self.first_shares.each_ref().map(scalar);
        let secret = first + first - second;
        let root = Xpriv {
            network: NetworkKind::Main,
            depth: 0,
            parent_fingerprint: Fingerprint::default(),
            child_number: ChildNumber::Normal { index: 0 },
            private_key: bitcoin::secp256k1::SecretKey::from_slice(&secret.to_bytes()).unwrap(),
            chain_code: ChainCode::from(self.view.record.chain_code),
        };
        let path: bitcoin::bip32::DerivationPath = path.to_string().parse().unwrap();
        let child = root.derive_priv(&Secp256k1::new(), &path).unwrap();
        k256::ecdsa::SigningKey::from_slice(&child.private_key.secret_bytes()).unwrap()
    }
}
