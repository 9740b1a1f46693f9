//! Keys in bulk: one ceremony, and for every name a command, a certificate and a proof that verify
//! as if the name had had its own.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use ed25519_dalek::SigningKey;
use quorate_model::{
    CommandId, Digest, Epoch, KeyName, KeyPurpose, KeyRecord, NodeId, PartyIndex, Purposes, Scheme,
    SessionBinding, SessionPreimage, TicketId, UnixMillis,
    audit::{Entry, ItemRecord, Judgment, KeyPrepared, SharePurpose, ShareReleased},
    bytes::Nonce32,
    certificate::{
        CommitCertificate, NodeSignature, PossessionProof, PreparedStatement, participants_of,
        verifying_shares_hash,
    },
    command::{Command, CommandBody, CreateKey, SignedCommand},
    identity::sign_digest,
    payload::pop_message,
    roster::{PinnedRoster, Role},
    share::{
        SetEntry, SetOfSigners, ShareItem, ShareReceipt, ShareStatement, share_batch_digest,
        signed_message_hash,
    },
};
use quorate_protocol::{
    dkg::{Advance, DkgOutput, HelloState, Machine, Setup, protocol_name, start},
    envelope::Envelope,
    frost::{
        Hedge, PublicKeys, SigningKeyShare, SigningSet, Tweak, aggregate, generate_batch,
        sign_share,
    },
};
use rand_core::{CryptoRngCore, OsRng};
use uuid::Uuid;

/// How long a command of the client lives, in milliseconds.
const LIFETIME_MS: u64 = 60 * 60 * 1000;

/// Who takes part in every birth.
pub(super) struct Parents {
    pinned: PinnedRoster,
    admin: SigningKey,
    nodes: Vec<(NodeId, SigningKey)>,
    shape: (Scheme, u16),
    outputs: Vec<DkgOutput>,
    hedge: Hedge,
}

/// A key that the first node can record.
pub(super) struct Birth {
    pub(super) name: KeyName,
    /// What lies in clear in the vault's record.
    pub(super) public: Vec<u8>,
    pub(super) prepared: Entry,
    /// The certificate and the first node's part in the proof of possession.
    pub(super) proves: Vec<Entry>,
    certificate: Digest,
    set: SetOfSigners,
    items: Vec<ShareItem>,
    signature: Vec<u8>,
}

impl Parents {
    /// Runs the one ceremony.
    pub(super) fn new(
        pinned: PinnedRoster,
        admin: SigningKey,
        nodes: Vec<(NodeId, SigningKey)>,
        scheme: Scheme,
        threshold: u16,
    ) -> Result<Self> {
        let mut parents = Self {
            pinned,
            admin,
            nodes,
            shape: (scheme, threshold),
            outputs: Vec::new(),
            hedge: Hedge::new([7; 32]),
        };
        parents.outputs = parents.ceremony()?;
        Ok(parents)
    }

    /// The share of the first node.
    pub(super) fn own_share(&self) -> Result<&[u8; 32]> {
        let own = self.outputs.first().context("the ceremony has outputs")?;
        Ok(own.share.expose())
    }

    fn binding(&self, key: KeyName, command: Digest) -> Result<SessionBinding> {
        let (scheme, threshold) = self.shape;
        let nodes: Vec<_> = self.nodes.iter().map(|(node, _)| node.clone()).collect();
        Ok(SessionBinding {
            protocol: protocol_name(scheme)
                .context("the scheme has a ceremony")?
                .to_owned(),
            cluster: self.pinned.cluster(),
            roster: self.pinned.hash(),
            key,
            source: None,
            target_epoch: Epoch(1),
            threshold,
            participants: participants_of(&nodes),
            command,
            payload_index: 0,
        })
    }

    fn ceremony(&self) -> Result<Vec<DkgOutput>> {
        let (scheme, threshold) = self.shape;
        let count = u16::try_from(self.nodes.len())?;
        let binding = self.binding("ceremony".parse()?, Digest::ZERO)?;
        let keys: BTreeMap<_, _> = PartyIndex::first(count).zip(&self.nodes).collect();
        let mut machines: Vec<(PartyIndex, Machine)> = Vec::new();
        let mut envelopes = Vec::new();
        for (me, (_, key)) in &keys {
            let setup = Setup {
                me: *me,
                roster_key_of: keys
                    .iter()
                    .map(|(index, (_, key))| (*index, key.verifying_key()))
                    .collect(),
                threshold,
                count,
                scheme,
                binding: binding.clone(),
            };
            let state = HelloState {
                journal_sequence: 1,
                journal_head: Digest::ZERO,
                boot_id: [0; 16],
                policy: Digest::ZERO,
            };
            let (machine, hello) = start(setup, state, key, &mut OsRng)?;
            machines.push((*me, machine));
            envelopes.push(hello);
        }
        let mut outputs = Vec::new();
        while !machines.is_empty() {
            let mut next = Vec::new();
            for (me, machine) in std::mem::take(&mut machines) {
                let (_, key) = keys.get(&me).context("a party has a key")?;
                match machine.advance(&inbox(&envelopes, me)?, key, &mut OsRng) {
                    Advance::Running { machine, outgoing } => {
                        machines.push((me, machine));
                        next.extend(outgoing);
                    }
                    Advance::Finished { output, .. } => outputs.push(output),
                    Advance::Aborted { abort, .. } => bail!("the ceremony ended: {abort}"),
                    Advance::Refused { rejected, .. } => {
                        bail!("the ceremony refused a round: {rejected}")
                    }
                }
            }
            envelopes = next;
        }
        Ok(outputs)
    }

    /// A key of this name, created at this time.
    pub(super) fn bear(&self, name: KeyName, created: UnixMillis) -> Result<Birth> {
        let (command, signed) = self.command(&name, created)?;
        let certificate = self.certificate(&name, &signed)?;
        let (_, record) =
            quorate_proto::certificate::verify(&certificate.to_bytes()?, None, &self.pinned)?;
        let (set, items, signature) = self.proof(&record)?;
        let judgment = Judgment {
            command: signed.digest(),
            command_id: command.id,
            endorsements: signed.endorsement_set_hash(),
            policy: self.pinned.roster().policy_hash,
            rule: "role:admin".to_owned(),
        };
        let statement = &certificate.statement;
        let own = items.first().context("everybody proves")?;
        let released = ShareReleased {
            judgment: judgment.clone(),
            expires: command.expires,
            key: name.clone(),
            epoch: statement.epoch,
            purpose: SharePurpose::ProofOfPossession,
            items: vec![ItemRecord {
                message: own.message,
                signing_set: own.signing_set,
            }],
        };
        Ok(Birth {
            public: quorate_model::wire::encode(statement)?,
            prepared: Entry::KeyPrepared(KeyPrepared {
                judgment,
                key: name.clone(),
                epoch: statement.epoch,
                session: statement.session,
                statement: statement.digest(),
            }),
            proves: vec![
                Entry::KeyCertified {
                    key: name.clone(),
                    epoch: statement.epoch,
                    certificate: certificate.to_bytes()?,
                },
                Entry::ShareReleased(released),
            ],
            certificate: certificate.hash(),
            name,
            set,
            items,
            signature,
        })
    }

    /// The last record of a birth, for the place of the first node's record of its share. Of the
    /// other nodes, whose journals do not exist, the same places are named.
    /// The policy that records name.
    pub(super) fn policy(&self) -> Digest {
        self.pinned.roster().policy_hash
    }

    pub(super) fn activate(
        &self,
        birth: Birth,
        (sequence, record): (u64, Digest),
    ) -> Result<Entry> {
        let receipt = |((node, key), item): (&(NodeId, SigningKey), ShareItem)| {
            let statement = ShareStatement {
                node: node.clone(),
                sequence,
                record,
                command: birth.certificate,
                key: birth.name.clone(),
                epoch: Epoch(1),
                items: vec![item],
            };
            let batch = vec![statement.digest()];
            let signature = sign_digest(key, &share_batch_digest(&batch));
            ShareReceipt {
                statement,
                batch,
                signature,
            }
        };
        let proof = PossessionProof {
            certificate: birth.certificate,
            set: birth.set,
            receipts: self.nodes.iter().zip(birth.items).map(receipt).collect(),
            signature: birth.signature,
        };
        Ok(Entry::KeyActivated {
            key: birth.name,
            epoch: Epoch(1),
            proof: proof.to_bytes()?,
        })
    }

    fn command(&self, name: &KeyName, created: UnixMillis) -> Result<(Command, SignedCommand)> {
        let (scheme, threshold) = self.shape;
        let create = CreateKey {
            key: name.clone(),
            scheme,
            threshold,
            nodes: self.nodes.iter().map(|(node, _)| node.clone()).collect(),
            purposes: Purposes::new(vec![KeyPurpose::Messages])?,
            accept_fragile: true,
            life: quorate_model::life::KeyLife::default(),
        };
        let command = Command {
            cluster: self.pinned.cluster(),
            roster: self.pinned.hash(),
            id: CommandId(Uuid::from_bytes(random(&mut OsRng))),
            created,
            expires: created.plus(LIFETIME_MS),
            body: CommandBody::CreateKey(create),
        };
        let bytes = quorate_proto::command::encode(&command);
        let cluster = self.pinned.cluster();
        let admin = "admin-1".parse()?;
        let signed = SignedCommand::propose(bytes, &cluster, &admin, Role::Admin, &self.admin);
        Ok((command, signed))
    }

    fn certificate(&self, name: &KeyName, command: &SignedCommand) -> Result<CommitCertificate> {
        let (scheme, threshold) = self.shape;
        let sharing = self.outputs.first().context("the ceremony has outputs")?;
        let session = SessionPreimage {
            binding: self.binding(name.clone(), command.digest())?,
            nonces: self
                .nodes
                .iter()
                .map(|_| Nonce32(random(&mut OsRng)))
                .collect(),
        };
        let statement = PreparedStatement {
            session: session.id(),
            roster: self.pinned.hash(),
            command: command.digest(),
            key: name.clone(),
            scheme,
            purposes: Purposes::new(vec![KeyPurpose::Messages])?,
            epoch: Epoch(1),
            source: None,
            threshold,
            participants: session.binding.participants.clone(),
            group_key: sharing.group_key.clone(),
            verifying_shares: verifying_shares_hash(&sharing.verifying_shares),
            chain_code: sharing.chain_code,
            transcript: sharing.transcript,
        };
        let signature = |(node, key): &(NodeId, SigningKey)| NodeSignature {
            node: node.clone(),
            signature: statement.sign(key),
        };
        Ok(CommitCertificate {
            command: command.clone(),
            signatures: self.nodes.iter().map(signature).collect(),
            session,
            verifying_shares: sharing.verifying_shares.clone(),
            statement,
        })
    }

    /// Everybody's share of one signature over the certificate.
    fn proof(&self, record: &KeyRecord) -> Result<(SetOfSigners, Vec<ShareItem>, Vec<u8>)> {
        let scheme = record.scheme;
        let mut nonces = Vec::new();
        let mut entries = Vec::new();
        let pairs = generate_batch(scheme, self.nodes.len(), &self.hedge, &mut OsRng)?;
        for (holder, (pair, commitments)) in record.participants.iter().zip(pairs) {
            nonces.push(pair);
            entries.push(SetEntry {
                signer: holder.index,
                ticket: TicketId(random(&mut OsRng)),
                commitments: commitments.to_received(),
            });
        }
        let set = SetOfSigners { entries };
        let checked = SigningSet::from_received(scheme, &set)?;
        let message = pop_message(&record.certificate);
        let mut shares = Vec::new();
        for ((holder, output), nonces) in record.participants.iter().zip(&self.outputs).zip(nonces)
        {
            let public = record.verifying_share(holder.index);
            let key = SigningKeyShare::new(
                scheme,
                holder.index,
                record.threshold,
                &output.share,
                &record.group_key,
                public.context("a holder has a public share")?,
            )?;
            let share = sign_share(&key, nonces, &checked, &message, Tweak::None)?;
            shares.push((holder.index, share));
        }
        let keys = PublicKeys::of_record(record)?;
        let signature = aggregate(&keys, &checked, &message, Tweak::None, &shares)?;
        let signing_set = set.digest();
        let message = signed_message_hash(&message, &quorate_model::DerivationPath::ROOT, false);
        let item = |(_, share)| ShareItem {
            signing_set,
            message,
            share,
        };
        Ok((set, shares.into_iter().map(item).collect(), signature))
    }
}

fn inbox(envelopes: &[Envelope], me: PartyIndex) -> Result<Vec<Vec<u8>>> {
    envelopes
        .iter()
        .filter(|envelope| envelope.header.recipient.is_none_or(|to| to == me))
        .map(|envelope| Ok(envelope.to_bytes()?))
        .collect()
}

fn random<const N: usize>(rng: &mut dyn CryptoRngCore) -> [u8; N] {
    let mut bytes = [0; N];
    rng.fill_bytes(&mut bytes);
    bytes
}
