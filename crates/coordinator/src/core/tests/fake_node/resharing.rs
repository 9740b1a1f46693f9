//! A node's part in the rounds of resharing.

use quorate_model::{
    Digest, Epoch, KeyName, KeyRecord, KeyState, NodeId, Reason, Refusal,
    certificate::{
        CommitCertificate, PossessionProof, PreparedStatement, participants_of,
        verifying_shares_hash,
    },
    command::{ReshareKey, SignedCommand},
    key::Participant,
    node_api::{Aborted, AttemptId, NodeReply, Prepared, ReshareFrom},
    session::{SessionBinding, SessionSource, reshare_places},
};
use quorate_protocol::{
    envelope::Envelope,
    evidence::Evidence,
    frost::PublicKeys,
    possession,
    reshare::{Advance, HelloState, Machine, ReshareOutput, ReshareSource, Setup, protocol_name},
};

use super::{FakeNode, Held, epochs::epoch_changed, reply};

/// A resharing under way at a node.
pub(super) struct Run {
    attempt: AttemptId,
    machine: Option<Machine>,
    command: Digest,
    reshare: ReshareKey,
    epoch: Epoch,
    source: KeyRecord,
    birth: Vec<u8>,
    /// What the node said in the place of what its machine said, and the latter.
    spoilt: Option<(Vec<u8>, Vec<u8>)>,
    /// What was answered last, for a coordinator that lost it.
    answered: Option<(u8, NodeReply)>,
}

fn invalid(message: &str) -> Refusal {
    Refusal::new(Reason::RequestInvalid, message)
}

impl FakeNode {
    pub(super) fn reshared_in(&self, attempt: AttemptId) -> Option<KeyName> {
        let mut runs = self.reshares.iter();
        let (key, _) = runs.find(|(_, run)| run.attempt == attempt)?;
        Some(key.clone())
    }

    pub(super) fn begin_resharing(
        &mut self,
        attempt: AttemptId,
        command: &SignedCommand,
        (reshare, epoch): (ReshareKey, Epoch),
        from: Option<&ReshareFrom>,
    ) -> Result<NodeReply, Refusal> {
        quorate_proto::admission::admit(&self.pinned, command)?;
        let from = from.ok_or_else(|| invalid("nothing is to be reshared"))?;
        let source = self.judge_source(&reshare, from)?;
        let asked = (reshare.threshold, reshare.nodes.as_slice());
        self.judge_standing(&reshare.key, &source, asked)?;
        let dealing: Vec<Participant> = source
            .participants
            .iter()
            .filter(|holder| from.dealers.contains(&holder.node))
            .cloned()
            .collect();
        if dealing.len() != usize::from(source.threshold) || dealing.len() != from.dealers.len() {
            return Err(invalid("not exactly as many deal as sign"));
        }
        let next = self.next_epoch(&reshare.key);
        if reshare.nodes.contains(&self.id) && epoch < next {
            let refusal = Refusal::new(Reason::EpochTaken, "the epoch is taken");
            return Err(refusal.with("next_epoch", next));
        }
        assert!(reshare.can_make(epoch), "an epoch that was not commanded");
        let deals = from.dealers.contains(&self.id);
        if deals && self.manners.lost_share {
            return Err(Refusal::new(Reason::ShareUnavailable, "no share"));
        }
        let setup = self.setup(
            &reshare,
            epoch,
            (command, &source),
            (from, dealing.as_slice()),
        )?;
        let state = HelloState {
            journal_sequence: 0,
            journal_head: Digest::ZERO,
            boot_id: self.boot,
            policy: Digest::ZERO,
        };
        let held = self.keys.get(&reshare.key).filter(|_| deals);
        let share = held.and_then(|held| held.share.as_ref());
        let (machine, hello) =
            quorate_protocol::reshare::start(setup, share, state, &self.key, &mut self.rng)
                .unwrap();
        let birth = from.evidence.birth.clone();
        let run = Run {
            attempt,
            machine: Some(machine),
            command: command.digest(),
            epoch,
            source,
            birth: birth.unwrap_or_else(|| from.evidence.certificate.clone()),
            spoilt: None,
            answered: None,
            reshare,
        };
        self.reshares.insert(run.reshare.key.clone(), run);
        Ok(NodeReply::Ceremony(reply(0, &[hello])))
    }

    /// What is reshared, believed as a real node believes it.
    fn judge_source(&self, reshare: &ReshareKey, from: &ReshareFrom) -> Result<KeyRecord, Refusal> {
        let evidence = &from.evidence;
        let birth = evidence.birth.as_deref();
        let held = self.keys.get(&reshare.key);
        if held.is_some_and(|held| held.epoch != reshare.source_epoch) {
            return Err(epoch_changed());
        }
        let (_, record) =
            quorate_proto::certificate::verify(&evidence.certificate, birth, &self.pinned)?;
        if record.epoch != reshare.source_epoch {
            return Err(invalid("another epoch is shown"));
        }
        reshare.check_key(&record)?;
        if held.is_some_and(|held| held.certificate.as_ref() != Some(&evidence.certificate)) {
            return Err(epoch_changed());
        }
        let proof = PossessionProof::from_bytes(evidence.proof.as_ref().unwrap())?;
        let public = PublicKeys::of_record(&record).unwrap();
        possession::verify(&self.pinned, &record, &public, &proof)?;
        Ok(record)
    }

    /// A key that is not active stays where it is (P33).
    pub(super) fn judge_standing(
        &self,
        key: &KeyName,
        source: &KeyRecord,
        (threshold, nodes): (u16, &[NodeId]),
    ) -> Result<(), Refusal> {
        let standing = self.standing(key);
        let holders = source.participants.iter().map(|holder| &holder.node);
        let stays = threshold == source.threshold && nodes.iter().eq(holders);
        if standing.state(true) == KeyState::Active || stays {
            return Ok(());
        }
        standing.check_signs(key)
    }

    fn setup(
        &self,
        reshare: &ReshareKey,
        epoch: Epoch,
        (command, source): (&SignedCommand, &KeyRecord),
        (from, dealing): (&ReshareFrom, &[Participant]),
    ) -> Result<Setup, Refusal> {
        let (participants, dealers) = reshare_places(&reshare.nodes, dealing);
        let parsed = CommitCertificate::from_bytes(&from.evidence.certificate)?;
        let me = participants.iter().find(|p| p.node == self.id);
        let me = me.ok_or_else(|| invalid("no part in it"))?.index;
        let count = u16::try_from(reshare.nodes.len()).unwrap();
        let identity = |p: &Participant| {
            let card = self.pinned.roster().node(&p.node).unwrap();
            (p.index, card.identity_key.parse().unwrap())
        };
        Ok(Setup {
            me,
            roster_key_of: participants.iter().map(identity).collect(),
            source: ReshareSource::of(&parsed),
            threshold: reshare.threshold,
            count,
            scheme: source.scheme,
            binding: SessionBinding {
                protocol: protocol_name(source.scheme).unwrap().to_owned(),
                cluster: self.pinned.cluster(),
                roster: self.pinned.hash(),
                key: reshare.key.clone(),
                source: Some(SessionSource {
                    epoch: source.epoch,
                    certificate: source.certificate,
                    dealers,
                    receivers: count,
                }),
                target_epoch: epoch,
                threshold: reshare.threshold,
                participants,
                command: command.digest(),
                payload_index: 0,
            },
        })
    }

    pub(super) fn advance_resharing(
        &mut self,
        key: &KeyName,
        round: u8,
        envelopes: &[Vec<u8>],
    ) -> Result<NodeReply, Refusal> {
        if let Some(refusal) = &self.manners.refuses_rounds {
            return Err(refusal.clone());
        }
        let run = &self.reshares[key];
        if let Some((answered, before)) = &run.answered
            && *answered == round
        {
            return Ok(before.clone());
        }
        let used = self.keys.get(key).map(|held| held.epoch);
        if used.is_some_and(|used| used != run.source.epoch) {
            return Err(epoch_changed());
        }
        let asked = (run.reshare.threshold, run.reshare.nodes.as_slice());
        self.judge_standing(key, &run.source, asked)?;
        let mut run = self.reshares.remove(key).unwrap();
        let Some(machine) = run.machine.take() else {
            return Err(Refusal::new(Reason::SessionUnknown, "the run is over"));
        };
        assert_eq!(machine.round(), round);
        let mut envelopes = envelopes.to_vec();
        if let Some((said, meant)) = run.spoilt.take() {
            let own = envelopes.iter_mut().filter(|one| **one == said);
            own.for_each(|one| one.clone_from(&meant));
        }
        let mut answer = match machine.advance(&envelopes, &self.key, &mut self.rng) {
            Advance::Running { machine, outgoing } => {
                let answer = reply(
                    machine.round(),
                    &self.says(&mut run, machine.round(), outgoing),
                );
                run.machine = Some(machine);
                answer
            }
            Advance::Finished { output, outgoing } => {
                let outgoing = self.says(&mut run, round + 1, outgoing);
                let mut last = reply(round + 1, &outgoing);
                last.prepared = self.prepare(&run, output);
                last
            }
            Advance::Aborted { abort, outgoing } => {
                let mut ended = reply(round + 1, &outgoing);
                let evidence = abort.evidence().map(Evidence::to_bytes);
                ended.aborted = Some(Aborted {
                    message: abort.to_string(),
                    culprits: vec![],
                    evidence: evidence.transpose().unwrap(),
                });
                ended
            }
            Advance::Refused { rejected, .. } => panic!("refused: {rejected}"),
        };
        if self.manners.aborts_at == Some(round) {
            self.manners.aborts_at = None;
            run.machine = None;
            answer = reply(round, &[]);
            answer.aborted = Some(Aborted {
                message: "split view".to_owned(),
                culprits: vec![],
                evidence: self.manners.aborts_with.clone(),
            });
        }
        let answer = NodeReply::Ceremony(answer);
        run.answered = Some((round, answer.clone()));
        self.reshares.insert(key.clone(), run);
        Ok(answer)
    }

    /// What the node says in a round; something else, if its manners say so.
    fn says(&mut self, run: &mut Run, round: u8, mut said: Vec<Envelope>) -> Vec<Envelope> {
        if self.manners.spoils_round == Some(round)
            && let Some(first) = said.first_mut()
        {
            self.manners.spoils_round = None;
            let other = Envelope::sign(first.header.slot(), b"nothing".to_vec(), &self.key);
            let meant = std::mem::replace(first, other);
            run.spoilt = Some((first.to_bytes().unwrap(), meant.to_bytes().unwrap()));
        }
        said
    }

    /// Keeps a share of a new epoch and says so (P19).
    fn prepare(&mut self, run: &Run, output: ReshareOutput) -> Option<Prepared> {
        let ReshareOutput::Holder { share, sharing } = output else {
            return None;
        };
        let Run {
            reshare, source, ..
        } = run;
        let statement = PreparedStatement {
            session: sharing.session.id(),
            roster: self.pinned.hash(),
            command: run.command,
            key: reshare.key.clone(),
            scheme: source.scheme,
            purposes: source.purposes.clone(),
            epoch: run.epoch,
            source: Some((source.epoch, source.certificate)),
            threshold: reshare.threshold,
            participants: participants_of(&reshare.nodes),
            group_key: sharing.group_key.clone(),
            verifying_shares: verifying_shares_hash(&sharing.verifying_shares),
            chain_code: sharing.chain_code,
            transcript: sharing.transcript,
        };
        let me = reshare.nodes.iter().position(|node| *node == self.id);
        let held = Held {
            certificate: None,
            proof: None,
            birth: Some(run.birth.clone()),
            session: statement.session,
            epoch: run.epoch,
            prepared: run.epoch.0,
            scheme: source.scheme,
            threshold: reshare.threshold,
            share: Some(share),
            group_key: sharing.group_key,
            verifying_share: sharing.verifying_shares[me.unwrap()].clone(),
        };
        let spare = self.spare.entry(reshare.key.clone()).or_default();
        spare.push(held);
        Some(Prepared {
            signature: statement.sign(&self.key),
            session: sharing.session,
            statement,
            verifying_shares: sharing.verifying_shares,
        })
    }
}
