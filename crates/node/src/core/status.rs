//! Requests that change nothing: status, listings, the audit log, statements of time and of
//! addresses. And the one that ends a doubt about the clock.

use std::sync::Arc;

use quorate_intent::{KeyFacts, address_of_kind};
use quorate_model::{
    DerivationPath, Digest, Epoch, KeyName, KeyRecord, Reason, Refusal, Signature,
    address::{AddressClaim, AddressKind, AddressStatement},
    audit::Entry,
    bytes::Nonce32,
    command::{CommandBody, SignedCommand},
    identity::sign_digest,
    node_api::{AuditPage, ClockState, KeyListing, NodeReply, NodeStatus, TimeAttestation},
};

use super::{Context, Fatal, NodeCore, Outcome, destroying, ledger, loaded, lock};
use crate::{disk::Disk, index::IndexError};

/// The most keys in one page: their certificates must fit a message.
const MAX_KEYS_PER_PAGE: u32 = 200;

/// The most records in one page.
const MAX_RECORDS_PER_PAGE: u32 = 1_000;

/// The most bytes of certificates and proofs, or of records, in one page; one that is larger goes
/// alone.
const MAX_PAGE_BYTES: usize = 2 << 20;

impl<D: Disk + 'static> NodeCore<D> {
    /// Where the node stands, under the asker's nonce (P35).
    pub(super) fn status(&self, context: &mut Context<'_>, nonce: Nonce32) -> NodeReply {
        let mut state = lock(&self.state);
        let now_ms = context.reading.monotonic_ms;
        let quarantine = state
            .quarantine
            .as_mut()
            .map(|quarantine| quarantine.shown(now_ms, context.rng));
        let durable = self.journal.durable().position();
        let mut status = NodeStatus {
            node: self.me.clone(),
            nonce,
            boot: self.boot,
            version: self.about.version.clone(),
            pid: self.about.pid,
            roster: self.pinned().hash(),
            journal_sequence: durable.sequence,
            journal_head: durable.hash,
            time: state.clock.elapsed(context.reading),
            clock: state.clock.state(),
            quarantine,
            signature: Signature([0; 64]),
        };
        drop(state);
        status.signature = sign_digest(&self.identity, &status.digest());
        NodeReply::Status(status)
    }

    pub(super) fn list_keys(&self, after: Option<&KeyName>, limit: u32) -> Result<Outcome, Fatal> {
        let limit = limit.clamp(1, MAX_KEYS_PER_PAGE);
        let state = lock(&self.state);
        let rows = ledger::keys_after(&*state.index, after, limit as usize)?
            .into_iter()
            .map(|(key, row)| {
                let standing = ledger::standing(&*state.index, &key)?.standing;
                let ended = ledger::destruction(&*state.index, &key)?;
                let uses = ledger::uses(&*state.index, &key)?;
                Ok((key, row, standing, ended, uses))
            })
            .collect::<Result<Vec<_>, IndexError>>()?;
        drop(state);
        let mut bytes = 0usize;
        let listings = rows
            .into_iter()
            .enumerate()
            .take_while(|(at, (_, row, standing, ended, _))| {
                let evidence = row.current().map_or(0, |epoch| {
                    let proof = epoch.proof.as_ref().map_or(0, |(_, bytes)| bytes.len());
                    epoch.certificate.len().saturating_add(proof)
                });
                let birth = row.current().and_then(|epoch| row.birth_of(epoch));
                let birth = birth.map_or(0, <[u8]>::len);
                let commands = standing
                    .marks()
                    .map(|mark| mark.command.stored_bytes())
                    .fold(0usize, usize::saturating_add);
                let orders = ended.as_ref().map_or(0, destroying::stored_bytes);
                bytes = [evidence, birth, commands, orders]
                    .into_iter()
                    .fold(bytes, usize::saturating_add);
                *at == 0 || bytes <= MAX_PAGE_BYTES
            })
            .map(|(_, named)| named)
            .map(|(key, row, standing, ended, uses)| {
                let destruction = ended
                    .as_ref()
                    .map(|row| self.destruction_of(&key, row))
                    .unwrap_or_default();
                let current = row.current();
                let active = row.active().map_or(Epoch(0), |active| active.epoch);
                let left = self.vault.keyring().epochs_below(&key, active);
                KeyListing {
                    key,
                    state: destroying::state_of(
                        ended.as_ref(),
                        standing.state(row.active().is_some()),
                    ),
                    epoch: row.epoch(),
                    certificate: current.map(|epoch| epoch.certificate.clone()),
                    proof: current.and_then(|epoch| Some(epoch.proof.clone()?.1)),
                    birth: current.and_then(|epoch| Some(row.birth_of(epoch)?.to_vec())),
                    next_epoch: row.next_epoch(),
                    keeps_old: row.keeps_old() || !left.is_empty(),
                    standing,
                    destruction,
                    activated: uses.activated,
                    used: uses.used,
                }
            })
            .collect();
        Ok(Outcome::Ready(Ok(NodeReply::Keys(listings))))
    }

    pub(super) fn read_audit(&self, from: u64, limit: u32) -> Result<Outcome, Fatal> {
        let limit = limit.clamp(1, MAX_RECORDS_PER_PAGE);
        let durable = self.journal.durable().sequence();
        let records = self
            .journal
            .read_range(from, limit as usize, MAX_PAGE_BYTES)?;
        let records = records.into_iter().map(|record| record.bytes).collect();
        Ok(Outcome::Ready(Ok(NodeReply::Audit(AuditPage {
            records,
            durable,
        }))))
    }

    /// Runs everything of the gate that needs no signing set, and records nothing. More persons may have
    /// to speak for the command before it is carried out.
    pub(super) fn validate(
        self: &Arc<Self>,
        context: &mut Context<'_>,
        command: &SignedCommand,
    ) -> Result<Outcome, Fatal> {
        let now = match self.trusted_time(&mut lock(&self.state), context)? {
            Ok(now) => now,
            Err(refusal) => return Ok(Outcome::Ready(Err(refusal))),
        };
        let judged = match self.admit_question(command, now) {
            Ok(admitted) => {
                let state = lock(&self.state);
                let mut judged = Self::judge_command(&state, &admitted)?;
                if let CommandBody::DestroyKey(destroy) = &admitted.command().body
                    && judged.is_ok()
                    && let Err(refusal) = self.judge_destruction(&state, &admitted, destroy, now)?
                {
                    judged = Err(refusal);
                }
                if let CommandBody::CreateKey(create) = &admitted.command().body {
                    let before = Self::birth_of_replaced(&state, create)?;
                    drop(state);
                    judged.and_then(|_| self.check_replaced(create, before.as_deref()))
                } else {
                    drop(state);
                    match judged {
                        Ok(Some(row)) => self.judge_key(&admitted, &row)?,
                        Ok(None) => Ok(()),
                        Err(refusal) => Err(refusal),
                    }
                }
            }
            Err(refusal) => Err(refusal),
        };
        Ok(Outcome::Ready(judged.map(|()| NodeReply::Done)))
    }

    /// States this machine's wall clock to a peer in doubt (P43).
    pub(super) fn attest_time(&self, context: &Context<'_>, challenge: Nonce32) -> NodeReply {
        let mut attestation = TimeAttestation {
            node: self.me.clone(),
            challenge,
            time: context.reading.wall,
            signature: Signature([0; 64]),
        };
        attestation.signature = sign_digest(&self.identity, &attestation.digest());
        NodeReply::Time(attestation)
    }

    /// States an address of an active key, derived from the certificate that the node holds.
    pub(super) fn attest_address(
        &self,
        context: &Context<'_>,
        key: &KeyName,
        path: DerivationPath,
        kind: AddressKind,
    ) -> Result<Outcome, Fatal> {
        if !lock(&self.state)
            .statements
            .take(context.reading.monotonic_ms)
        {
            return Ok(Outcome::Ready(Err(Refusal::new(
                Reason::Overloaded,
                format!(
                    "node {} states no more addresses for the moment: try again later",
                    self.me
                ),
            ))));
        }
        let state = lock(&self.state);
        let standing = ledger::standing(&*state.index, key)?.standing;
        if let Err(refusal) = standing.check_receives(key) {
            let refusal = destroying::check_not_destroyed(&state, key)?
                .err()
                .unwrap_or(refusal);
            return Ok(Outcome::Ready(Err(refusal)));
        }
        drop(state);
        // A key in use is verified already.
        if let Some(key) = self.loaded.get(key).filter(|key| key.active) {
            let stated = self.address_statement(&key.record, path, kind);
            return Ok(Outcome::Ready(stated.map(NodeReply::Address)));
        }
        let row = ledger::key(&*lock(&self.state).index, key)?;
        let record = match &row {
            None => Err(loaded::unknown(key)),
            Some(row) => row
                .active()
                .ok_or_else(|| loaded::not_active(key, "its creation is not finished"))
                .and_then(|active| self.record_of(row, active)),
        };
        let stated = record.and_then(|record| self.address_statement(&record, path, kind));
        Ok(Outcome::Ready(stated.map(NodeReply::Address)))
    }

    fn address_statement(
        &self,
        record: &KeyRecord,
        path: DerivationPath,
        kind: AddressKind,
    ) -> Result<AddressStatement, Refusal> {
        let address = address_of_kind(&KeyFacts::of(record), &path, kind)
            .map_err(|error| Refusal::from(&error))?;
        let claim = AddressClaim {
            key: record.name.clone(),
            epoch: record.epoch,
            certificate: record.certificate,
            path,
            kind,
            address,
        };
        let mut statement = AddressStatement {
            node: self.me.clone(),
            claim,
            signature: Signature([0; 64]),
        };
        statement.signature = sign_digest(&self.identity, &statement.digest());
        Ok(statement)
    }

    /// Takes the statements of peers about the time (P43).
    pub(super) fn confirm_time(
        self: &Arc<Self>,
        context: &Context<'_>,
        attestations: &[TimeAttestation],
    ) -> Result<Outcome, Fatal> {
        let mut state = lock(&self.state);
        if state.clock.state() == ClockState::Confirmed {
            return Ok(Outcome::Ready(Ok(NodeReply::Done)));
        }
        let pinned = self.pinned();
        let roster = pinned.roster();
        let confirmed =
            state
                .clock
                .confirm_by_peers(&self.me, roster, attestations, context.reading);
        if confirmed.is_err() {
            return Ok(Outcome::Ready(Err(Refusal::new(
                Reason::ClockSuspect,
                format!("too few peers agree with the clock of node {}", self.me),
            )
            .with("node", &self.me))));
        }
        let time = state.clock.elapsed(context.reading);
        let witnesses = attestations.iter().map(|a| a.node.clone()).collect();
        let _appended = self.record(
            &mut state,
            time,
            vec![Entry::ClockConfirmed { time, witnesses }],
        )?;
        Ok(Outcome::Ready(Ok(NodeReply::Done)))
    }

    /// The digest under which nothing was decided yet, for records without a policy.
    pub(super) fn policy(&self) -> Digest {
        self.pinned().roster().policy_hash
    }
}
