//! Resharings carried from node to node by hand.

use quorate_model::{
    Refusal,
    certificate::{CommitCertificate, KeyEvidence, NodeSignature, PossessionProof},
    command::{ReshareKey, SignedCommand},
    node_api::{
        ActivationReceipt, CeremonyReply, EraseCertificate, EraseReceipt, Prepared, ReshareFrom,
        SigningRequest,
    },
    payload::pop_message,
    share::{SetEntry, SetOfSigners},
};
use quorate_protocol::{
    ceremony::round,
    frost::{SigningSet, Tweak, aggregate},
    verify,
};

use super::super::{ecdsa::DIGEST, *};
use crate::core::Outcome;

/// A key with the cores that hold it, by index.
#[derive(Clone)]
pub(crate) struct Held {
    pub(crate) certificate: CommitCertificate,
    pub(crate) proof: PossessionProof,
    pub(crate) birth: Option<Vec<u8>>,
    pub(crate) holders: Vec<usize>,
}

impl Held {
    pub(crate) fn evidence(&self) -> KeyEvidence {
        KeyEvidence {
            certificate: self.certificate.to_bytes().unwrap(),
            proof: Some(self.proof.to_bytes().unwrap()),
            birth: self.birth.clone(),
        }
    }

    pub(crate) fn origin(&self) -> Vec<u8> {
        let own = || self.certificate.to_bytes().unwrap();
        self.birth.clone().unwrap_or_else(own)
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.certificate.statement.epoch
    }

    pub(crate) fn threshold(&self) -> usize {
        usize::from(self.certificate.statement.threshold)
    }
}

/// A run that is to be made.
pub(crate) struct Run {
    pub(crate) command: SignedCommand,
    pub(crate) epoch: Epoch,
    pub(crate) dealers: Vec<usize>,
    pub(crate) receivers: Vec<usize>,
}

impl Cluster {
    /// A key of some of the nodes.
    pub(crate) fn born(
        &mut self,
        name: &str,
        scheme: Scheme,
        threshold: u16,
        holders: &[usize],
    ) -> Held {
        let id = self.command_id();
        let create = CreateKey {
            key: name.parse().unwrap(),
            scheme,
            threshold,
            nodes: holders.iter().map(|at| node_id(*at)).collect(),
            purposes: quorate_model::Purposes::new(vec![match scheme {
                Scheme::EcdsaSecp256k1 => KeyPurpose::Digests,
                _ => KeyPurpose::Messages,
            }])
            .unwrap(),
            accept_fragile: true,
            life: quorate_model::life::KeyLife::default(),
        };
        let command = self.signed(id, Role::Admin, CommandBody::CreateKey(create));
        self.created
            .insert(name.to_owned(), KeyId::of(&command.digest()));
        let prepared = self
            .rounds(&command, Epoch(1), None, (holders, holders.len()))
            .unwrap();
        let certificate = certificate_of(&command, &prepared, holders);
        self.pair_all(&certificate, holders);
        let proof = self.prove_by(&certificate, holders).unwrap();
        let held = Held {
            certificate,
            proof,
            birth: None,
            holders: holders.to_vec(),
        };
        for at in holders {
            self.activate_at(*at, &held).unwrap();
        }
        held
    }

    pub(crate) fn reshare_command(
        &mut self,
        held: &Held,
        threshold: u16,
        nodes: &[usize],
    ) -> SignedCommand {
        let first = Epoch(held.epoch().0 + 1);
        self.reshare_command_from(held, threshold, nodes, first)
    }

    /// The same with attempts from an epoch on.
    pub(crate) fn reshare_command_from(
        &mut self,
        held: &Held,
        threshold: u16,
        nodes: &[usize],
        first_epoch: Epoch,
    ) -> SignedCommand {
        let id = self.command_id();
        let statement = &held.certificate.statement;
        let name = statement.key.to_string();
        let body = CommandBody::ReshareKey(ReshareKey {
            key: statement.key.clone(),
            key_id: self.created[&name],
            source_epoch: statement.epoch,
            first_epoch,
            threshold,
            nodes: nodes.iter().map(|at| node_id(*at)).collect(),
            accept_fragile: true,
        });
        let command = self.signed(id, Role::Admin, body);
        self.endorsed(command)
    }

    /// With the word of the second person.
    pub(crate) fn endorsed(&self, mut command: SignedCommand) -> SignedCommand {
        let cluster = self.pinned.cluster();
        command.endorse(
            &cluster,
            EndorsementKind::Approve,
            &"the-second-admin".parse().unwrap(),
            Role::Admin,
            &self.second_admin,
        );
        command
    }

    /// A run by the first t holders, to the epoch after the source.
    pub(crate) fn run(&mut self, held: &Held, threshold: u16, receivers: &[usize]) -> Run {
        Run {
            command: self.reshare_command(held, threshold, receivers),
            epoch: Epoch(held.epoch().0 + 1),
            dealers: held.holders[..held.threshold()].to_vec(),
            receivers: receivers.to_vec(),
        }
    }

    /// Carries a run up to its certificate.
    pub(crate) fn certify(&mut self, held: &Held, run: &Run) -> Result<CommitCertificate, Refusal> {
        self.certify_from(&held.evidence(), held, run)
    }

    pub(crate) fn certify_from(
        &mut self,
        evidence: &KeyEvidence,
        held: &Held,
        run: &Run,
    ) -> Result<CommitCertificate, Refusal> {
        let mut everybody = run.receivers.clone();
        everybody.extend(
            held.holders
                .iter()
                .filter(|at| run.dealers.contains(at) && !run.receivers.contains(at)),
        );
        let source = ReshareFrom {
            evidence: evidence.clone(),
            dealers: run.dealers.iter().map(|at| node_id(*at)).collect(),
        };
        let parties = (everybody.as_slice(), run.receivers.len());
        let prepared = self.rounds(&run.command, run.epoch, Some(&source), parties)?;
        Ok(certificate_of(&run.command, &prepared, &run.receivers))
    }

    /// Carries a ceremony of some of the nodes up to PREPARED of those that receive, which stand
    /// first.
    pub(crate) fn rounds(
        &mut self,
        command: &SignedCommand,
        epoch: Epoch,
        source: Option<&ReshareFrom>,
        (everybody, receivers): (&[usize], usize),
    ) -> Result<Vec<Prepared>, Refusal> {
        let attempt = self.attempt();
        let mut replies = self.begin_all(attempt, command, epoch, source, everybody)?;
        while !replies.iter().all(|reply| reply.prepared.is_some()) {
            replies = self.advance_all(attempt, &replies, (everybody, receivers))?;
        }
        Ok(replies.into_iter().filter_map(|r| r.prepared).collect())
    }

    /// What everybody says first in a ceremony.
    pub(crate) fn begin_all(
        &mut self,
        attempt: [u8; 16],
        command: &SignedCommand,
        epoch: Epoch,
        source: Option<&ReshareFrom>,
        everybody: &[usize],
    ) -> Result<Vec<CeremonyReply>, Refusal> {
        let mut replies = Vec::new();
        for at in everybody {
            let request = NodeRequest::BeginCeremony {
                attempt,
                command: command.clone(),
                epoch,
                source: source.cloned(),
            };
            replies.push(ceremony(self.ask(*at, request)?));
        }
        Ok(replies)
    }

    /// One round of a ceremony.
    pub(crate) fn advance_all(
        &mut self,
        attempt: [u8; 16],
        replies: &[CeremonyReply],
        (everybody, receivers): (&[usize], usize),
    ) -> Result<Vec<CeremonyReply>, Refusal> {
        let now = replies[0].round;
        let asked = if now == round::SHARE {
            receivers
        } else {
            everybody.len()
        };
        let mut next = Vec::new();
        for (place, at) in everybody.iter().enumerate().take(asked) {
            let request = NodeRequest::AdvanceCeremony {
                attempt,
                round: now,
                envelopes: inbox(replies, index(place + 1)),
            };
            next.push(ceremony(self.ask(*at, request)?));
        }
        Ok(next)
    }

    /// An attempt that no other one is named like.
    pub(crate) fn attempt(&mut self) -> [u8; 16] {
        self.next_id += 1;
        self.next_id.to_le_bytes()
    }

    /// Sets up the pairings that a key which signs in rounds is proven with.
    pub(crate) fn pair_all(&mut self, certificate: &CommitCertificate, holders: &[usize]) {
        if certificate.statement.scheme == Scheme::EcdsaSecp256k1 {
            let placed: Vec<_> = (0..).zip(holders).map(|(place, at)| (*at, place)).collect();
            let attempt = self.attempt();
            self.pair_placed(certificate, &placed, attempt).unwrap();
        }
    }

    pub(crate) fn prove_by(
        &mut self,
        certificate: &CommitCertificate,
        holders: &[usize],
    ) -> Result<PossessionProof, Refusal> {
        let scheme = certificate.statement.scheme.proven_by();
        let set = self.set_of(holders, holders, scheme);
        let mut receipts = Vec::new();
        for at in holders {
            let request = NodeRequest::ProveKey {
                certificate: certificate.to_bytes().unwrap(),
                set: set.clone(),
            };
            match self.ask(*at, request)? {
                NodeReply::Proved(receipt) => receipts.push(receipt),
                other => panic!("{other:?}"),
            }
        }
        let shares: Vec<_> = receipts
            .iter()
            .enumerate()
            .map(|(place, receipt)| (index(place + 1), receipt.statement.items[0].share))
            .collect();
        let checked = SigningSet::from_received(scheme, &set).unwrap();
        let message = pop_message(&certificate.hash());
        let keys = self.public_keys(certificate);
        let signature = aggregate(&keys, &checked, &message, Tweak::None, &shares).unwrap();
        Ok(PossessionProof {
            certificate: certificate.hash(),
            set,
            receipts,
            signature,
        })
    }

    /// Tickets of some of the holders, at their indices.
    pub(crate) fn set_of(
        &mut self,
        signers: &[usize],
        holders: &[usize],
        scheme: Scheme,
    ) -> SetOfSigners {
        let mut entries: Vec<_> = signers
            .iter()
            .map(|at| {
                let ticket = self.ticket(*at, scheme);
                let place = holders.iter().position(|holder| holder == at).unwrap();
                SetEntry {
                    signer: index(place + 1),
                    ticket: ticket.id,
                    commitments: ticket.commitments,
                }
            })
            .collect();
        entries.sort_by_key(|entry| entry.signer);
        SetOfSigners { entries }
    }

    pub(crate) fn activate_at(
        &mut self,
        at: usize,
        held: &Held,
    ) -> Result<ActivationReceipt, Refusal> {
        let request = NodeRequest::ActivateKey {
            key: held.certificate.statement.key.clone(),
            epoch: held.epoch(),
            certificate: held.certificate.to_bytes().unwrap(),
            proof: held.proof.to_bytes().unwrap(),
        };
        match self.ask(at, request)? {
            NodeReply::Activated(receipt) => Ok(receipt),
            other => panic!("{other:?}"),
        }
    }

    /// The whole way to an epoch in use at its holders.
    pub(crate) fn reshare(&mut self, held: &Held, threshold: u16, receivers: &[usize]) -> Held {
        let run = self.run(held, threshold, receivers);
        let next = self.prove_run(held, &run);
        for at in receivers {
            self.activate_at(*at, &next).unwrap();
        }
        next
    }

    /// A run with its proof, activated nowhere.
    pub(crate) fn prove_run(&mut self, held: &Held, run: &Run) -> Held {
        let certificate = self.certify(held, run).unwrap();
        self.prove_certified(held, run, certificate)
    }

    pub(crate) fn prove_certified(
        &mut self,
        held: &Held,
        run: &Run,
        certificate: CommitCertificate,
    ) -> Held {
        self.pair_all(&certificate, &run.receivers);
        let proof = self.prove_by(&certificate, &run.receivers).unwrap();
        Held {
            certificate,
            proof,
            birth: Some(held.origin()),
            holders: run.receivers.clone(),
        }
    }

    pub(crate) fn vouch(&mut self, held: &Held) -> EraseCertificate {
        let holders = held.holders.clone();
        EraseCertificate {
            key: held.certificate.statement.key.clone(),
            epoch: held.epoch(),
            receipts: holders
                .iter()
                .map(|at| self.activate_at(*at, held).unwrap())
                .collect(),
        }
    }

    pub(crate) fn erase_at(
        &mut self,
        at: usize,
        erase: &EraseCertificate,
    ) -> Result<EraseReceipt, Refusal> {
        let request = NodeRequest::EraseEpochs {
            erasures: vec![erase.clone()],
        };
        match self.ask(at, request)? {
            NodeReply::Erased(outcomes) => outcomes.into_iter().next().unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// Signs with some of the holders; the signature holds under the group key.
    pub(crate) fn sign_by(&mut self, held: &Held, signers: &[usize]) -> Result<Vec<u8>, Refusal> {
        let statement = &held.certificate.statement;
        let name = statement.key.to_string();
        if statement.scheme == Scheme::EcdsaSecp256k1 {
            let command = self.sign_command(&name, vec![Payload::digest(DIGEST)]);
            return self.sign_in_rounds_by(held, signers, command);
        }
        let command = self.sign_command(&name, vec![Payload::message(b"x")]);
        self.sign_as_commanded(held, signers, &command)
    }

    fn sign_in_rounds_by(
        &mut self,
        held: &Held,
        signers: &[usize],
        command: SignedCommand,
    ) -> Result<Vec<u8>, Refusal> {
        let statement = &held.certificate.statement;
        let place = |at| held.holders.iter().position(|holder| holder == at).unwrap();
        let placed: Vec<_> = signers.iter().map(|at| (*at, place(at))).collect();
        let request = SigningRequest {
            command,
            key: statement.key.clone(),
            epoch: statement.epoch,
            item: 0,
            signers: placed.iter().map(|(_, place)| index(place + 1)).collect(),
        };
        let attempt = self.attempt();
        let signed = self.sign_placed(&placed, attempt, &request);
        let signed = signed.map_err(|(_, refusal)| refusal)?;
        let signature = signed[0].signature.clone();
        let (scheme, key) = (statement.scheme, &statement.group_key);
        verify::signature(scheme, key, &DIGEST, Tweak::None, &signature).unwrap();
        Ok(signature)
    }

    pub(crate) fn sign_as_commanded(
        &mut self,
        held: &Held,
        signers: &[usize],
        command: &SignedCommand,
    ) -> Result<Vec<u8>, Refusal> {
        let scheme = held.certificate.statement.scheme;
        let set = self.set_of(signers, &held.holders, scheme);
        let request = self.share_request(command, &held.certificate, std::slice::from_ref(&set));
        let mut shares = Vec::new();
        for at in signers {
            let statement = self.shares(*at, &request)?;
            let place = held.holders.iter().position(|holder| holder == at).unwrap();
            shares.push((index(place + 1), statement.items[0].share));
        }
        shares.sort_by_key(|(signer, _)| *signer);
        let keys = self.public_keys(&held.certificate);
        let checked = SigningSet::from_received(scheme, &set).unwrap();
        Ok(aggregate(&keys, &checked, b"x", Tweak::None, &shares).unwrap())
    }

    pub(crate) fn listing(&self, at: usize) -> quorate_model::node_api::KeyListing {
        self.listings(at).remove(0)
    }

    pub(crate) fn listings(&self, at: usize) -> Vec<quorate_model::node_api::KeyListing> {
        match self.cores[at].list_keys(None, 10).unwrap() {
            Outcome::Ready(Ok(NodeReply::Keys(keys))) => keys,
            _ => panic!("not keys"),
        }
    }

    pub(crate) fn has_share(&self, at: usize, held: &Held) -> bool {
        let share = (held.certificate.statement.key.clone(), held.epoch());
        let kept = self.cores[at].vault.keyring().contains(&share);
        assert_eq!(
            self.cores[at].vault.contains(&share.0, share.1).unwrap(),
            kept
        );
        kept
    }
}

pub(crate) fn certificate_of(
    command: &SignedCommand,
    prepared: &[Prepared],
    holders: &[usize],
) -> CommitCertificate {
    CommitCertificate {
        command: command.clone(),
        session: prepared[0].session.clone(),
        statement: prepared[0].statement.clone(),
        verifying_shares: prepared[0].verifying_shares.clone(),
        signatures: prepared
            .iter()
            .zip(holders)
            .map(|(one, at)| NodeSignature {
                node: node_id(*at),
                signature: one.signature,
            })
            .collect(),
    }
}
