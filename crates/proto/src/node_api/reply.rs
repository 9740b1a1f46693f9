//! Replies of a node.

use quorate_model::{
    Epoch, Reason, Refusal,
    certificate::MAX_CERTIFICATE_BYTES,
    command::MAX_HOLDERS,
    node_api::{
        Aborted, AuditPage, CeremonyReply, EraseReceipt, KeyListing, MAX_ERASURES,
        MAX_LISTED_ROSTERS, NodeReply, PairingReply, Prepared, ShareBatch, SignedItem,
        SigningReply,
    },
    quarantine::Readmission,
    roster::MAX_NODES,
    share::{MAX_SHARE_BATCH, ShareStatement},
};

use crate::{
    convert::{
        Malformed, bounded, known, list, name, optional_time, present, signature, small, store,
        stored, timestamp,
    },
    destruction,
    limits::{MAX_EVIDENCE_BYTES, MAX_NODE_PAGE, MAX_NODE_REPLY_BYTES},
    node::v1 as pb,
    operation::{standing, standing_to_wire},
    types::{self, signed_command},
    v1,
};

fn other_kind() -> Refusal {
    Refusal::new(
        Reason::Invariant,
        "the reply is of another kind than the request",
    )
}

/// Pairs one kind of reply with the response of one method, both ways.
macro_rules! replies {
    ($($wire:ident => $variant:pat, $out:expr; |$name:ident| $back:block)*) => {$(
        impl TryFrom<NodeReply> for pb::$wire {
            type Error = Refusal;
            fn try_from(reply: NodeReply) -> Result<Self, Refusal> {
                match reply {
                    $variant => Ok($out),
                    _ => Err(other_kind()),
                }
            }
        }

        impl TryFrom<pb::$wire> for NodeReply {
            type Error = Refusal;
            fn try_from($name: pb::$wire) -> Result<Self, Refusal> {
                Ok($back)
            }
        }
    )*};
}

replies! {
    GetStatusResponse => NodeReply::Status(status), Self { status: store(&status)? };
    |wire| { Self::Status(stored("status", &wire.status)?) }

    ListKeysResponse => NodeReply::Keys(keys), Self {
        keys: keys.into_iter().map(listing_to_wire).collect(),
    };
    |wire| { Self::Keys(list("keys", wire.keys, MAX_NODE_PAGE, listing)?) }

    MakeTicketsResponse => NodeReply::Tickets(batch), Self { batch: store(&batch)? };
    |wire| { Self::Tickets(stored("batch", &wire.batch)?) }

    SignSharesResponse => NodeReply::Shares(batch), Self {
        signature: batch.signature.as_bytes().to_vec(),
        outcomes: batch.outcomes.into_iter().map(share_to_wire).collect::<Result<_, _>>()?,
    };
    |wire| {
        Self::Shares(ShareBatch {
            outcomes: list("outcomes", wire.outcomes, MAX_SHARE_BATCH, share)?,
            signature: signature("signature", &wire.signature)?,
        })
    }

    ValidateCommandResponse => NodeReply::Done, Self {};
    |_wire| { Self::Done }

    BeginCeremonyResponse => NodeReply::Ceremony(reply), Self {
        reply: Some(ceremony_to_wire(reply)?),
    };
    |wire| { Self::Ceremony(ceremony(present("reply", wire.reply)?)?) }

    AdvanceCeremonyResponse => NodeReply::Ceremony(reply), Self {
        reply: Some(ceremony_to_wire(reply)?),
    };
    |wire| { Self::Ceremony(ceremony(present("reply", wire.reply)?)?) }

    ProveKeyResponse => NodeReply::Proved(receipt), Self { receipt: store(&receipt)? };
    |wire| { Self::Proved(stored("receipt", &wire.receipt)?) }

    ActivateKeyResponse => NodeReply::Activated(receipt), Self { receipt: store(&receipt)? };
    |wire| { Self::Activated(stored("receipt", &wire.receipt)?) }

    EraseEpochsResponse => NodeReply::Erased(outcomes), Self {
        outcomes: outcomes.into_iter().map(erased_to_wire).collect::<Result<_, _>>()?,
    };
    |wire| { Self::Erased(list("outcomes", wire.outcomes, MAX_ERASURES, erased)?) }

    RecordEvidenceResponse => NodeReply::Done, Self {};
    |_wire| { Self::Done }

    ReadAuditResponse => NodeReply::Audit(page), Self {
        records: page.records,
        durable_sequence: page.durable,
    };
    |wire| {
        Self::Audit(AuditPage {
            records: list("records", wire.records, MAX_NODE_PAGE, Ok)?,
            durable: wire.durable_sequence,
        })
    }

    AttestTimeResponse => NodeReply::Time(attestation), Self { attestation: store(&attestation)? };
    |wire| { Self::Time(stored("attestation", &wire.attestation)?) }

    ConfirmTimeResponse => NodeReply::Done, Self {};
    |_wire| { Self::Done }

    AttestAddressResponse => NodeReply::Address(statement), Self {
        statement: store(&statement)?,
    };
    |wire| { Self::Address(stored("statement", &wire.statement)?) }

    SetKeyStateResponse => NodeReply::StateSet(receipt), Self { receipt: store(&receipt)? };
    |wire| { Self::StateSet(stored("receipt", &wire.receipt)?) }

    DestroyKeyResponse => NodeReply::Destruction(receipt), Self { receipt: store(&receipt)? };
    |wire| { Self::Destruction(stored("receipt", &wire.receipt)?) }

    ChangeRosterResponse => NodeReply::RosterChanged(receipt), Self { receipt: store(&receipt)? };
    |wire| { Self::RosterChanged(stored("receipt", &wire.receipt)?) }

    ListRostersResponse => NodeReply::Rosters(commands), Self {
        commands: commands.into_iter().map(Into::into).collect(),
    };
    |wire| { Self::Rosters(list("commands", wire.commands, MAX_LISTED_ROSTERS, signed_command)?) }

    AttestHeadsResponse => NodeReply::Heads(attestation), Self {
        attestation: store(&attestation)?,
    };
    |wire| { Self::Heads(stored("attestation", &wire.attestation)?) }

    ReadmitResponse => NodeReply::Readmission(readmission), Self {
        missing_nodes: readmission.missing.into_iter().map(Into::into).collect(),
    };
    |wire| {
        Self::Readmission(Readmission {
            missing: list("missing_nodes", wire.missing_nodes, MAX_NODES, |node| {
                name("missing_nodes", node)
            })?,
        })
    }

    BeginPairingResponse => NodeReply::Pairing(reply), Self {
        reply: Some(pairing_to_wire(reply)),
    };
    |wire| { Self::Pairing(pairing(present("reply", wire.reply)?)?) }

    AdvancePairingResponse => NodeReply::Pairing(reply), Self {
        reply: Some(pairing_to_wire(reply)),
    };
    |wire| { Self::Pairing(pairing(present("reply", wire.reply)?)?) }

    BeginSigningResponse => NodeReply::Signing(reply), Self {
        reply: Some(signing_to_wire(reply)?),
    };
    |wire| { Self::Signing(signing(present("reply", wire.reply)?)?) }

    AdvanceSigningResponse => NodeReply::Signing(reply), Self {
        reply: Some(signing_to_wire(reply)?),
    };
    |wire| { Self::Signing(signing(present("reply", wire.reply)?)?) }
}

fn listing_to_wire(listing: KeyListing) -> pb::KeyListing {
    pb::KeyListing {
        key: listing.key.into(),
        state: v1::KeyState::from(listing.state).into(),
        epoch: listing.epoch.0,
        certificate: listing.certificate,
        proof: listing.proof,
        birth: listing.birth,
        next_epoch: listing.next_epoch.0,
        keeps_old: listing.keeps_old,
        standing: standing_to_wire(&listing.standing),
        destruction: destruction::to_wire(&listing.destruction),
        activate_time: listing.activated.map(timestamp),
        last_use_time: listing.used.map(timestamp),
    }
}

fn listing(wire: pb::KeyListing) -> Result<KeyListing, Malformed> {
    let bounded = |field, bytes: Option<Vec<u8>>| {
        bytes
            .map(|bytes| bounded(field, bytes, MAX_CERTIFICATE_BYTES))
            .transpose()
    };
    Ok(KeyListing {
        key: name("keys.key", wire.key)?,
        state: known::<v1::KeyState, _>("keys.state", wire.state)?,
        epoch: Epoch(wire.epoch),
        certificate: bounded("keys.certificate", wire.certificate)?,
        proof: bounded("keys.proof", wire.proof)?,
        birth: bounded("keys.birth", wire.birth)?,
        next_epoch: Epoch(wire.next_epoch),
        keeps_old: wire.keeps_old,
        standing: standing("keys.standing", wire.standing)?,
        destruction: destruction::known("keys.destruction", wire.destruction)?,
        activated: optional_time("keys.activate_time", wire.activate_time)?,
        used: optional_time("keys.last_use_time", wire.last_use_time)?,
    })
}

fn erased_to_wire(outcome: Result<EraseReceipt, Refusal>) -> Result<pb::EraseOutcome, Refusal> {
    let outcome = match outcome {
        Ok(receipt) => pb::erase_outcome::Outcome::Receipt(store(&receipt)?),
        Err(refusal) => pb::erase_outcome::Outcome::Refusal(refusal.into()),
    };
    Ok(pb::EraseOutcome {
        outcome: Some(outcome),
    })
}

fn erased(wire: pb::EraseOutcome) -> Result<Result<EraseReceipt, Refusal>, Malformed> {
    Ok(match present("outcomes.outcome", wire.outcome)? {
        pb::erase_outcome::Outcome::Receipt(bytes) => Ok(stored("outcomes.receipt", &bytes)?),
        pb::erase_outcome::Outcome::Refusal(wire) => Err(types::refusal(wire)?),
    })
}

type ShareOutcome = Result<ShareStatement, Refusal>;

fn share_to_wire(outcome: ShareOutcome) -> Result<pb::ShareOutcome, Refusal> {
    let outcome = match outcome {
        Ok(statement) => pb::share_outcome::Outcome::Statement(store(&statement)?),
        Err(refusal) => pb::share_outcome::Outcome::Refusal(refusal.into()),
    };
    Ok(pb::ShareOutcome {
        outcome: Some(outcome),
    })
}

fn share(wire: pb::ShareOutcome) -> Result<ShareOutcome, Malformed> {
    Ok(match present("outcomes.outcome", wire.outcome)? {
        pb::share_outcome::Outcome::Statement(bytes) => Ok(stored("outcomes.statement", &bytes)?),
        pb::share_outcome::Outcome::Refusal(refusal) => Err(types::refusal(refusal)?),
    })
}

fn ceremony_to_wire(reply: CeremonyReply) -> Result<pb::CeremonyReply, Refusal> {
    Ok(pb::CeremonyReply {
        round: reply.round.into(),
        envelopes: reply.envelopes,
        prepared: reply.prepared.as_ref().map(prepared_to_wire).transpose()?,
        aborted: reply.aborted.map(aborted_to_wire),
    })
}

fn aborted_to_wire(aborted: Aborted) -> pb::Aborted {
    pb::Aborted {
        message: aborted.message,
        culprits: aborted.culprits.into_iter().map(Into::into).collect(),
        evidence: aborted.evidence,
    }
}

fn pairing_to_wire(reply: PairingReply) -> pb::PairingReply {
    pb::PairingReply {
        round: reply.round.into(),
        envelopes: reply.envelopes,
        paired: reply.paired,
        aborted: reply.aborted.map(aborted_to_wire),
    }
}

fn pairing(wire: pb::PairingReply) -> Result<PairingReply, Malformed> {
    Ok(PairingReply {
        round: small("reply.round", wire.round)?,
        envelopes: envelopes(wire.envelopes)?,
        paired: wire.paired,
        aborted: wire.aborted.map(aborted).transpose()?,
    })
}

fn signing_to_wire(reply: SigningReply) -> Result<pb::SigningReply, Refusal> {
    let signed = |signed: SignedItem| {
        Ok::<_, Refusal>(pb::SignedItem {
            receipt: store(&signed.receipt)?,
            signature: signed.signature,
        })
    };
    Ok(pb::SigningReply {
        round: reply.round.into(),
        envelopes: reply.envelopes,
        signed: reply.signed.map(signed).transpose()?,
    })
}

fn signing(wire: pb::SigningReply) -> Result<SigningReply, Malformed> {
    let signed = |signed: pb::SignedItem| {
        Ok::<_, Malformed>(SignedItem {
            signature: bounded("signed.signature", signed.signature, 65)?,
            receipt: stored("signed.receipt", &signed.receipt)?,
        })
    };
    Ok(SigningReply {
        round: small("reply.round", wire.round)?,
        envelopes: envelopes(wire.envelopes)?,
        signed: wire.signed.map(signed).transpose()?,
    })
}

fn envelopes(wire: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, Malformed> {
    list("reply.envelopes", wire, MAX_HOLDERS, |envelope| {
        bounded("reply.envelopes", envelope, MAX_NODE_REPLY_BYTES)
    })
}

fn prepared_to_wire(prepared: &Prepared) -> Result<pb::Prepared, Refusal> {
    Ok(pb::Prepared {
        session: store(&prepared.session)?,
        statement: store(&prepared.statement)?,
        verifying_shares: prepared.verifying_shares.clone(),
        signature: prepared.signature.as_bytes().to_vec(),
    })
}

fn ceremony(wire: pb::CeremonyReply) -> Result<CeremonyReply, Malformed> {
    Ok(CeremonyReply {
        round: small("reply.round", wire.round)?,
        envelopes: envelopes(wire.envelopes)?,
        prepared: wire.prepared.map(prepared).transpose()?,
        aborted: wire.aborted.map(aborted).transpose()?,
    })
}

fn prepared(wire: pb::Prepared) -> Result<Prepared, Malformed> {
    Ok(Prepared {
        session: stored("prepared.session", &wire.session)?,
        statement: stored("prepared.statement", &wire.statement)?,
        verifying_shares: list(
            "prepared.verifying_shares",
            wire.verifying_shares,
            MAX_HOLDERS,
            |share| bounded("prepared.verifying_shares", share, 64),
        )?,
        signature: signature("prepared.signature", &wire.signature)?,
    })
}

fn aborted(wire: pb::Aborted) -> Result<Aborted, Malformed> {
    Ok(Aborted {
        message: wire.message,
        culprits: list("aborted.culprits", wire.culprits, MAX_HOLDERS, |culprit| {
            name("aborted.culprits", culprit)
        })?,
        evidence: wire
            .evidence
            .map(|evidence| bounded("aborted.evidence", evidence, MAX_EVIDENCE_BYTES))
            .transpose()?,
    })
}
