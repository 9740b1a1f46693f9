//! What a person at the node's own machine can hand to it and take from it without a coordinator
//! (P36, P41).
//!
//! A coordinator can hold news back; it cannot keep a host from bringing them. What is brought is
//! judged like everything else: the node believes the signatures of the roster's principals, and
//! nobody who carries them.

use std::{io::Write, path::Path};

use anyhow::{Context as _, Result, ensure};
use quorate_model::{
    CoordinatorId, Refusal,
    certificate::{Certificate, CommitCertificate, KeyEvidence, MAX_CERTIFICATE_FILE},
    command::{CommandBody, SignedCommand},
    destruction::DestroyStep,
    node_api::{NodeReply, NodeRequest},
    roster::{Roster, RosterReceipt, SignedRoster, Successor},
    standing::{MAX_STANDING_BYTES, Standing, StateReceipt},
    wire,
};
use rand_core::OsRng;

use crate::{
    backup::{self, Recipients},
    core::{Context, Outcome, TrueShares},
    disk::{DiskError, RealDisk},
    host::{self, Opened},
    sealing::KekSource,
    shell::MachineClock,
};

pub(crate) mod socket;

pub use socket::{SOCKET, Summary};

/// Has a node make a backup of itself, whether it is running or not, and writes it, sealed. What
/// unseals the node is asked for only where it is not running.
pub fn backup(
    dir: &Path,
    unseal: impl FnOnce() -> Result<KekSource>,
    recipients: &Recipients,
    out: &mut dyn Write,
) -> Result<Summary> {
    host::card(dir)?;
    match RealDisk::open(dir) {
        Err(DiskError::InUse { .. }) => return socket::ask(dir, recipients, out),
        opened => drop(opened?),
    }
    let source = unseal()?;
    let clock = MachineClock::start();
    let opened = host::open(dir, &source, clock.read(), false, Box::new(TrueShares), 1)
        .context("open the node")?;
    opened.report.log();
    let core = &opened.core;
    let made = backup::write(core, clock.read(), recipients, out, &mut OsRng)?;
    let last = core.checkpoint_now(clock.read())?;
    core.journal().commit(&last)?;
    Ok(made.into())
}

/// What became of one command that was brought.
#[derive(Debug)]
pub struct Imported<Receipt> {
    /// The command in a few words.
    pub what: String,
    /// The node's receipt, or why it does not act by the command.
    pub receipt: Result<Receipt, Refusal>,
}

/// Reads the commands about the state of a key that `quorate key states --out` wrote.
pub fn read_states(file: &Path) -> Result<Standing> {
    let size = std::fs::metadata(file)
        .with_context(|| format!("read {}", file.display()))?
        .len();
    ensure!(
        size <= MAX_STANDING_BYTES as u64,
        "{} is too large for the states of a key",
        file.display()
    );
    let bytes = std::fs::read(file).with_context(|| format!("read {}", file.display()))?;
    wire::decode(&bytes).with_context(|| {
        format!(
            "read {}: expected a file that `quorate key states --out` wrote",
            file.display()
        )
    })
}

/// Has a node that is not running act by commands about the state of a key.
pub fn import_states(
    dir: &Path,
    source: &KekSource,
    states: &Standing,
) -> Result<Vec<Imported<StateReceipt>>> {
    let commands = states.marks().map(|mark| mark.command.clone());
    let asks = commands.map(|command| (what(&command), NodeRequest::SetKeyState { command }));
    import((dir, source), false, asks.collect(), |reply| {
        if let NodeReply::StateSet(receipt) = reply {
            Some(receipt)
        } else {
            None
        }
    })
}

/// Reads a certificate that `quorate key certificates` or `key destroy --out` wrote.
pub fn read_certificate(file: &Path) -> Result<Certificate> {
    let read = || format!("read {}", file.display());
    let size = std::fs::metadata(file).with_context(read)?.len();
    ensure!(
        size <= MAX_CERTIFICATE_FILE as u64,
        "{} is too large for a certificate",
        file.display()
    );
    let bytes = std::fs::read(file).with_context(read)?;
    Certificate::from_file(&bytes).with_context(read)
}

/// Has a node that is not running act by a certificate: move up to the epoch that it proves, or carry
/// out the orders that it holds. What the node does not have to believe it refuses as from a
/// coordinator, and its own delays hold. Orders of a destruction are judged only by a clock that is
/// trusted: after a while off, a person confirms it (P43).
pub fn import_certificate(
    dir: &Path,
    source: &KekSource,
    certificate: &Certificate,
    confirm_clock: bool,
) -> Result<Vec<Imported<String>>> {
    let asks = match certificate {
        Certificate::Key(evidence) => vec![epoch_of(evidence)?],
        Certificate::Destruction(end) => {
            let mut orders: Vec<&SignedCommand> = end.orders.iter().collect();
            // What an order confirms was announced before it.
            orders.sort_by_key(|order| !announces(order));
            let orders = orders.into_iter();
            orders
                .map(|order| {
                    (
                        what(order),
                        NodeRequest::DestroyKey {
                            command: order.clone(),
                        },
                    )
                })
                .collect()
        }
    };
    import((dir, source), confirm_clock, asks, said)
}

fn announces(order: &SignedCommand) -> bool {
    let command = quorate_proto::command::decode(&order.bytes);
    command.is_ok_and(|command| {
        matches!(
            command.body,
            CommandBody::DestroyKey(destroy) if destroy.step == DestroyStep::Announce
        )
    })
}

/// The epoch that a certificate proves, in a few words, and how a node is brought it.
fn epoch_of(evidence: &KeyEvidence) -> Result<(String, NodeRequest)> {
    let certificate = CommitCertificate::from_bytes(&evidence.certificate)?;
    let proof = evidence.proof.clone().context(
        "the certificate comes without the proof of its shares, and nothing follows from it",
    )?;
    let (key, epoch) = (certificate.statement.key, certificate.statement.epoch);
    let told = format!("epoch {epoch} of key \"{key}\"");
    let request = NodeRequest::ActivateKey {
        key,
        epoch,
        certificate: evidence.certificate.clone(),
        proof,
    };
    Ok((told, request))
}

/// What a node that acts by a certificate says.
fn said(reply: NodeReply) -> Option<String> {
    if let NodeReply::Activated(receipt) = &reply {
        return Some(format!("in use here (record {})", receipt.sequence));
    }
    let NodeReply::Destruction(receipt) = reply else {
        return None;
    };
    Some(format!("acted by (record {})", receipt.record))
}

/// Has a node that is not running follow the rosters of a file.
pub fn import_rosters(
    dir: &Path,
    source: &KekSource,
    rosters: &SignedRoster,
) -> Result<Vec<Imported<RosterReceipt>>> {
    let successors = rosters.successors.iter().cloned();
    let asks = successors
        .map(|Successor(command)| (what(&command), NodeRequest::ChangeRoster { command }));
    import((dir, source), false, asks.collect(), |reply| {
        if let NodeReply::RosterChanged(receipt) = reply {
            Some(receipt)
        } else {
            None
        }
    })
}

/// Hands requests to a node, each with a few words about what it brings.
fn import<Receipt>(
    (dir, source): (&Path, &KekSource),
    confirm_clock: bool,
    asks: Vec<(String, NodeRequest)>,
    receipt_of: impl Fn(NodeReply) -> Option<Receipt>,
) -> Result<Vec<Imported<Receipt>>> {
    let clock = MachineClock::start();
    let shares = Box::new(TrueShares);
    let opened = host::open(dir, source, clock.read(), confirm_clock, shares, 1)
        .context("open the node: stop it first if it is running")?;
    let Opened {
        core,
        writer,
        report,
        ..
    } = opened;
    report.log();
    let caller: CoordinatorId = "console".parse().context("name the console")?;
    let mut imported = Vec::new();
    for (what, request) in asks {
        let mut context = Context {
            caller: &caller,
            reading: clock.read(),
            rng: &mut OsRng,
        };
        let outcome = core.handle(&mut context, request)?;
        let reply = match outcome {
            Outcome::Ready(reply) => reply,
            Outcome::Pending(pending) => {
                let committed = core.journal().commit(pending.appended())?;
                pending.release(&committed, &mut OsRng)?
            }
        };
        let receipt = match reply {
            Ok(reply) => Ok(receipt_of(reply).context("the node answered with something else")?),
            Err(refusal) => Err(refusal),
        };
        imported.push(Imported { what, receipt });
    }
    let last = core.checkpoint_now(clock.read())?;
    core.journal().commit(&last)?;
    drop(writer);
    Ok(imported)
}

/// What a command says, from the bytes that are signed and not from what stands beside them.
fn what(signed: &SignedCommand) -> String {
    match quorate_proto::command::decode(&signed.bytes).map(|command| command.body) {
        Ok(CommandBody::SetKeyState(set)) => {
            format!("{} {} at sequence {}", set.change, set.key, set.sequence)
        }
        Ok(CommandBody::DestroyKey(destroy)) => {
            format!(
                "{} the destruction of {}",
                destroy.step.as_str(),
                destroy.key
            )
        }
        Ok(CommandBody::ChangeRoster(change)) => match Roster::parse(&change.roster) {
            Ok(roster) => format!("roster {} ({})", roster.version, change.hash().short()),
            Err(_) => "what is no roster".to_owned(),
        },
        Ok(_) => "a command about something else".to_owned(),
        Err(_) => "what is no command".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;
    use quorate_model::{
        CommandId, Digest, IdentityKey, KeyId, Reason, UnixMillis,
        command::Command,
        destruction::{DestroyKey, DestructionCertificate},
        roster::{CoordinatorCard, NodeCard, PinnedRoster, Principal, Role},
    };

    use super::*;
    use crate::{
        core::Reading,
        sealing::{KeyFile, open_kek},
    };

    const HOUR_MS: u64 = 60 * 60 * 1000;

    #[test]
    fn orders_are_judged_by_a_clock_after_a_gap_only_where_a_person_confirms_it() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join("node");
        let key = hex::encode((0..32).collect::<Vec<u8>>());
        let source = KekSource::key_file(KeyFile::parse(key.as_bytes()).unwrap());
        let admin = SigningKey::from_bytes(&[9; 32]);
        let now = MachineClock::start().read();
        let off_since = UnixMillis(now.wall.0 - HOUR_MS);
        let pinned = pinned_at(&dir, &source, &admin, off_since);
        let certificate = Certificate::Destruction(DestructionCertificate {
            evidence: KeyEvidence {
                certificate: Vec::new(),
                proof: None,
                birth: None,
            },
            orders: vec![announcement(&pinned, &admin, off_since)],
            receipts: Vec::new(),
        });
        let import = |confirm_clock| {
            let imported = import_certificate(&dir, &source, &certificate, confirm_clock);
            let [one] = imported.unwrap().try_into().unwrap();
            one.receipt
        };

        let doubted = import(false);
        let confirmed = import(true);

        assert_eq!(doubted.unwrap_err().reason, Reason::ClockSuspect);
        let acted = confirmed.unwrap();
        assert!(acted.starts_with("acted by"), "{acted}");
    }

    /// A node whose last record is of this time.
    fn pinned_at(
        dir: &Path,
        source: &KekSource,
        admin: &SigningKey,
        wall: UnixMillis,
    ) -> PinnedRoster {
        let id = "node-a".parse().unwrap();
        let card = host::init(dir, &id, "region-a", "example", source).unwrap();
        let others = [2_u8, 3].map(|number| NodeCard {
            id: format!("node-{number}").parse().unwrap(),
            identity_key: IdentityKey::of(&SigningKey::from_bytes(&[number; 32])),
            tls_key_hash: Digest::new([number; 32]),
            region: format!("region-{number}"),
            organisation: "example".to_owned(),
        });
        let roster = Roster {
            format: 1,
            version: 1,
            cluster_name: "test".to_owned(),
            parents: Vec::new(),
            nodes: [vec![card], others.to_vec()].concat(),
            coordinators: vec![CoordinatorCard {
                id: "coordinator".parse().unwrap(),
                tls_key_hash: Digest::new([8; 32]),
            }],
            principals: vec![Principal {
                id: "admin".parse().unwrap(),
                person: "admin".to_owned(),
                roles: vec![Role::Admin],
                identity_key: IdentityKey::of(admin),
                tls_key_hash: Digest::new([9; 32]),
            }],
            admin_quorum: 1,
            lifecycle_quorum: 1,
            policy_hash: Digest::ZERO,
            lifecycle_delay_seconds: None,
            drained: [].into(),
            placement: quorate_model::roster::Placement::default(),
        };
        let mut signed = SignedRoster::unsigned(&roster).unwrap();
        signed.sign(&"admin".parse().unwrap(), admin);
        let pinned = signed.verify_first().unwrap();
        let disk = std::sync::Arc::new(RealDisk::open(dir).unwrap());
        let kek = open_kek(&disk, &id, source).unwrap();
        let reading = Reading {
            wall,
            monotonic_ms: 0,
        };
        host::pin_with(&disk, &signed, &pinned, &id, &kek, reading, &mut OsRng).unwrap();
        pinned
    }

    /// An order that has not expired by the node's last record nor by the machine's clock.
    fn announcement(
        pinned: &PinnedRoster,
        admin: &SigningKey,
        created: UnixMillis,
    ) -> SignedCommand {
        let command = Command {
            cluster: pinned.cluster(),
            roster: pinned.hash(),
            id: CommandId(uuid::Uuid::from_u128(1)),
            created,
            expires: created.plus(2 * HOUR_MS),
            body: CommandBody::DestroyKey(DestroyKey {
                key: "old".parse().unwrap(),
                key_id: KeyId([1; 32]),
                step: DestroyStep::Announce,
                reason: "emptied".to_owned(),
            }),
        };
        let bytes = quorate_proto::command::encode(&command);
        let (id, role) = ("admin".parse().unwrap(), Role::Admin);
        SignedCommand::propose(bytes, &pinned.cluster(), &id, role, admin)
    }
}
