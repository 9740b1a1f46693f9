//! The table of `docs/protocol/states.md`, cell by cell (P33).

use quorate_model::{
    DerivationPath, Purposes,
    address::AddressKind,
    command::{CreateKey, SignedCommand},
    destruction::{
        DestroyStep::{Announce, AtOnce},
        DestructionReceipt,
    },
    life::{KeyLife, Predecessor},
    standing::StateChange::{self, Compromise, Deactivate, Resume, Suspend},
};

use super::{
    destroying::{DELAY_MS, cancel, confirm},
    ecdsa::DIGEST,
    evacuating::{PINNED, solana, transfer},
    resharing::harness::{Held, Run, certificate_of},
    standing::told,
    *,
};
use crate::disk::MemoryDisk;

const TABLE: &str = include_str!("../../../../../docs/protocol/states.md");

const HOLDERS: [usize; 3] = [0, 1, 2];

/// Two of the holders, and a node that has never heard of the keys.
const OTHERS: [usize; 3] = [0, 1, 3];

/// The rows of the table, with what each is asked by.
const ROWS: [(&str, &[Asked]); 13] = [
    ("sign", &[Asked::Sign, Asked::SignInRounds]),
    ("state an address", &[Asked::Address]),
    ("suspend", &[Asked::Change(Suspend)]),
    ("resume", &[Asked::Change(Resume)]),
    ("deactivate", &[Asked::Change(Deactivate)]),
    ("compromise", &[Asked::Change(Compromise)]),
    (
        "prove, activate, set up pairings",
        &[Asked::Prove, Asked::Activate, Asked::Pair],
    ),
    ("refresh: same nodes, same threshold", &[Asked::Refresh]),
    (
        "reshare to other nodes or another threshold",
        &[
            Asked::Reshare(2, &OTHERS),
            Asked::Reshare(2, &[0, 1]),
            Asked::Reshare(3, &HOLDERS),
        ],
    ),
    (
        "announce, confirm or force the end",
        &[Asked::Announce, Asked::Confirm, Asked::Force],
    ),
    ("evacuate", &[Asked::Evacuate]),
    ("cancel an announcement", &[Asked::Cancel]),
    ("make another key in its place", &[Asked::Replace]),
];

/// What a cell says beside "yes" where a command is taken, by row.
const PERMITTED: [(&str, &str); 2] = [
    ("announce, confirm or force the end", "the receipt again"),
    ("evacuate", "to pinned destinations"),
];

#[derive(Clone, Copy, Debug)]
enum Asked {
    Sign,
    SignInRounds,
    Address,
    Change(StateChange),
    Prove,
    Activate,
    Pair,
    Refresh,
    Reshare(u16, &'static [usize]),
    Announce,
    Confirm,
    Force,
    Evacuate,
    Cancel,
    Replace,
}

/// A state, the column that it has in the table, and a way into it.
struct Way {
    state: KeyState,
    column: usize,
    proven: bool,
    changes: &'static [StateChange],
}

const fn way(state: KeyState, column: usize, changes: &'static [StateChange]) -> Way {
    Way {
        state,
        column,
        proven: true,
        changes,
    }
}

const WAYS: [Way; 11] = [
    Way {
        proven: false,
        ..way(KeyState::PreActive, 1, &[])
    },
    way(KeyState::Active, 2, &[]),
    way(KeyState::Active, 2, &[Suspend, Resume]),
    way(KeyState::Suspended, 3, &[Suspend]),
    way(KeyState::Deactivated, 4, &[Deactivate]),
    way(KeyState::Deactivated, 4, &[Suspend, Deactivate]),
    way(KeyState::Compromised, 5, &[Compromise]),
    way(KeyState::Compromised, 5, &[Suspend, Deactivate, Compromise]),
    way(KeyState::Destroyed, 6, &[Deactivate]),
    way(KeyState::DestroyedCompromised, 6, &[Compromise]),
    way(KeyState::DestroyedCompromised, 6, &[Deactivate, Compromise]),
];

/// Nodes at which two keys stand in one state: one for Solana, which may be evacuated, and one that
/// signs in rounds.
struct World {
    cluster: Cluster,
    disks: Vec<MemoryDisk>,
    solana: Held,
    /// An epoch of it that is not in use: the next one, or that of its birth.
    waiting: Held,
    rounds: Held,
    /// What the first node said when it destroyed the first key.
    end: Option<DestructionReceipt>,
    /// The sequence of the next change.
    sequence: u64,
}

#[test]
fn each_state_allows_what_the_table_says() {
    for way in &WAYS {
        let mut world = World::new(way);
        for (row, asked) in ROWS {
            let cell = cell(row, way.column);
            for one in asked {
                world.start_again();
                let what = format!("{one:?} in {} after {:?}", way.state, way.changes);

                let refused = world.ask(*one);

                assert_eq!(refused, reason_in(row, cell).unwrap(), "{what}");
            }
        }
    }
}

#[test]
fn the_table_has_no_row_that_is_not_tested() {
    let rows: Vec<_> = rows().map(|cells| cells[0]).collect();

    assert_eq!(rows, ROWS.map(|(row, _)| row));
}

#[test]
fn a_cell_permits_only_in_the_words_for_it() {
    let (end, way_out) = (PERMITTED[0].0, PERMITTED[1].0);
    assert_eq!(reason_in("sign", "yes"), Ok(None));
    assert_eq!(reason_in(end, "the receipt again"), Ok(None));
    let named = Ok(Some(Reason::KeyDestroyed));
    assert_eq!(reason_in("sign", "`KEY_DESTROYED`"), named);

    for (row, cell) in [
        ("sign", "no"),
        ("sign", ""),
        ("sign", "Yes"),
        ("sign", "KEY_DESTROYED"),
        ("sign", "`KEY_GONE`"),
        ("sign", "the receipt again"),
        (way_out, "the receipt again"),
        (end, "to pinned destinations"),
    ] {
        assert!(reason_in(row, cell).is_err(), "{row}: {cell}");
    }
}

fn rows() -> impl Iterator<Item = Vec<&'static str>> {
    let lines = TABLE.lines().skip_while(|line| !line.starts_with("|---"));
    let lines = lines.skip(1).take_while(|line| line.starts_with('|'));
    lines.map(|line| {
        let line = line.trim_matches('|');
        line.split('|').map(str::trim).collect()
    })
}

fn cell(row: &str, column: usize) -> &'static str {
    rows().find(|cells| cells[0] == row).unwrap()[column]
}

/// The refusal that a cell names, or none where it permits.
fn reason_in(row: &str, cell: &str) -> Result<Option<Reason>, String> {
    if cell == "yes" || PERMITTED.contains(&(row, cell)) {
        return Ok(None);
    }
    let named = cell.strip_prefix('`').and_then(|c| c.strip_suffix('`'));
    let known = Reason::ALL
        .iter()
        .find(|reason| named == Some(reason.as_str()));
    match known {
        Some(reason) => Ok(Some(*reason)),
        None => Err(format!("the cell \"{cell}\" of \"{row}\" says nothing")),
    }
}

impl World {
    fn new(way: &Way) -> Self {
        let mut cluster = Cluster::new(4);
        let purposes = [KeyPurpose::Transactions, KeyPurpose::Messages];
        let solana = cluster.unproven("hot", Scheme::Ed25519, &purposes);
        let rounds = cluster.unproven("warm", Scheme::EcdsaSecp256k1, &[KeyPurpose::Digests]);
        let mut waiting = solana.clone();
        if way.proven {
            for (at, held) in HOLDERS
                .iter()
                .flat_map(|at| [(*at, &solana), (*at, &rounds)])
            {
                cluster.activate_at(at, held).unwrap();
            }
            let run = cluster.run(&solana, 2, &HOLDERS);
            waiting = cluster.prove_run(&solana, &run);
        }
        let mut sequence = 1;
        for change in way.changes {
            for (at, name) in HOLDERS.iter().flat_map(|at| [(*at, "hot"), (*at, "warm")]) {
                cluster.change(at, name, sequence, *change).unwrap();
            }
            sequence += 1;
        }
        let mut end = None;
        if way.column == 6 {
            for name in ["warm", "hot"] {
                let order = cluster.step(name, AtOnce);
                let receipts = [0, 1, 2, 3].map(|at| cluster.destroy(at, &order).unwrap());
                end = receipts.into_iter().next();
            }
        }
        for at in HOLDERS {
            for name in ["hot", "warm"] {
                assert_eq!(cluster.state_of(at, name), way.state, "{:?}", way.changes);
            }
        }
        Self {
            disks: cluster.disks_as_they_are(),
            cluster,
            solana,
            waiting,
            rounds,
            end,
            sequence,
        }
    }

    /// Each cell is asked of nodes that stand as they stood at first.
    fn start_again(&mut self) {
        self.cluster.monotonic_ms = 0;
        for (at, disk) in self.disks.iter().enumerate() {
            self.cluster.start_on(at, disk.fork());
        }
    }

    fn ask(&mut self, asked: Asked) -> Option<Reason> {
        let sequence = self.sequence;
        match asked {
            Asked::Sign => self.sign(),
            Asked::SignInRounds => self.sign_in_rounds(),
            Asked::Address => {
                let request = NodeRequest::AttestAddress {
                    key: "hot".parse().unwrap(),
                    path: DerivationPath::ROOT,
                    kind: AddressKind::Solana,
                };
                told(self.cluster.ask(0, request))
            }
            Asked::Change(change) => {
                let set = self.cluster.state_set("hot", sequence, change);
                let command = self.cluster.approved(set);
                let validated = self.validate(&command);
                let changed = told(self.cluster.bring(0, &command));
                assert_eq!(validated, changed);
                changed
            }
            Asked::Prove => told(self.cluster.prove_by(&self.waiting.certificate, &HOLDERS)),
            Asked::Activate => told(self.cluster.activate_at(0, &self.waiting)),
            Asked::Pair => {
                let paired = self.cluster.pair(&self.rounds.certificate, &HOLDERS, 7);
                paired.err().map(|(_, refusal)| refusal.reason)
            }
            Asked::Refresh => self.reshare(2, &HOLDERS),
            Asked::Reshare(threshold, nodes) => self.reshare(threshold, nodes),
            Asked::Announce => {
                let announcement = self.cluster.step("hot", Announce);
                self.destroy(&announcement)
            }
            Asked::Confirm => {
                let announcement = self.cluster.step("hot", Announce);
                let _heard = self.destroy(&announcement);
                self.cluster.monotonic_ms = DELAY_MS;
                let order = self.cluster.step("hot", confirm(announcement.digest()));
                self.destroy(&order)
            }
            Asked::Force => {
                let order = self.cluster.step("hot", AtOnce);
                self.destroy(&order)
            }
            Asked::Evacuate => self.evacuate(),
            Asked::Cancel => {
                let keep = self
                    .cluster
                    .step_of_one("hot", cancel(Digest::new([7; 32])));
                self.destroy(&keep)
            }
            Asked::Replace => self.replace(),
        }
    }

    fn validate(&mut self, command: &SignedCommand) -> Option<Reason> {
        let request = NodeRequest::Validate {
            command: command.clone(),
        };
        told(self.cluster.ask(0, request))
    }

    fn sign(&mut self) -> Option<Reason> {
        let payloads = vec![Payload::message(*b"one")];
        let command = self.cluster.sign_command("hot", payloads);
        self.shares(&command)
    }

    fn evacuate(&mut self) -> Option<Reason> {
        let payload = transfer(&self.solana.certificate.statement.group_key, PINNED);
        let command = self.cluster.evacuation(payload);
        self.shares(&command)
    }

    fn shares(&mut self, command: &SignedCommand) -> Option<Reason> {
        let set = self.cluster.set(&[0, 1], Scheme::Ed25519);
        let certificate = &self.solana.certificate;
        let request = self.cluster.share_request(command, certificate, &[set]);
        let signed = told(self.cluster.shares(0, &request));
        assert_eq!(self.validate(command), signed);
        signed
    }

    fn sign_in_rounds(&mut self) -> Option<Reason> {
        let payloads = vec![Payload::digest(DIGEST)];
        let command = self.cluster.sign_command("warm", payloads);
        let certificate = &self.rounds.certificate;
        let request = self.cluster.request(certificate, &command, 0, &[0, 1]);
        let begun = told(self.cluster.begin(0, 1, &request));
        assert_eq!(self.validate(&command), begun);
        begun
    }

    fn reshare(&mut self, threshold: u16, nodes: &'static [usize]) -> Option<Reason> {
        let run = Run {
            epoch: Epoch(3),
            ..self.cluster.run(&self.solana, threshold, nodes)
        };
        let mut evidence = self.solana.evidence();
        if self.waiting.epoch() == self.solana.epoch() {
            // Nobody can show a proof of a key that is not proven.
            evidence.proof = None;
        }
        let validated = self.validate(&run.command);
        let refused = told(self.cluster.certify_from(&evidence, &self.solana, &run));
        assert_eq!(validated, refused);
        refused
    }

    fn replace(&mut self) -> Option<Reason> {
        // The nodes know the old key in every state: another one of its name is none.
        let id = self.cluster.created["hot"];
        let mistaken = self.successor("mistaken", KeyId([9; 32]));
        assert_eq!(mistaken, Some(Reason::KeyIdMismatch));
        self.successor("next", id)
    }

    fn successor(&mut self, name: &str, replaced: KeyId) -> Option<Reason> {
        let record = &self.solana.certificate.statement;
        let command = self.cluster.creation(CreateKey {
            key: name.parse().unwrap(),
            scheme: record.scheme,
            threshold: 2,
            nodes: HOLDERS.map(node_id).to_vec(),
            purposes: Purposes::new(vec![KeyPurpose::Transactions, KeyPurpose::Messages]).unwrap(),
            accept_fragile: true,
            life: KeyLife {
                replaces: Some(Predecessor {
                    key: record.key.clone(),
                    key_id: replaced,
                }),
                ..KeyLife::default()
            },
        });
        let validated = self.validate(&command);
        let parties = (&HOLDERS[..], HOLDERS.len());
        let prepared = told(self.cluster.rounds(&command, Epoch(1), None, parties));
        assert_eq!(validated, prepared);
        prepared
    }

    fn destroy(&mut self, order: &SignedCommand) -> Option<Reason> {
        let validated = self.validate(order);
        let answer = self.cluster.destroy(0, order);
        match (&self.end, answer) {
            (Some(end), Ok(again)) => {
                assert_eq!(again, *end);
                None
            }
            (_, answer) => {
                let refused = told(answer);
                assert_eq!(validated, refused);
                refused
            }
        }
    }
}

impl Cluster {
    /// A key with its proof of possession, of which no node has heard.
    fn unproven(&mut self, name: &str, scheme: Scheme, purposes: &[KeyPurpose]) -> Held {
        let evacuation = match scheme {
            Scheme::Ed25519 => vec![solana(PINNED).parse().unwrap()],
            _ => vec![],
        };
        let mut command = self.creation(CreateKey {
            key: name.parse().unwrap(),
            scheme,
            threshold: 2,
            nodes: HOLDERS.map(node_id).to_vec(),
            purposes: Purposes::new(purposes.to_vec()).unwrap(),
            accept_fragile: true,
            life: KeyLife {
                evacuation,
                ..KeyLife::default()
            },
        });
        let second = self.second_admin.clone();
        let word = EndorsementKind::Approve;
        self.word(&mut command, word, "the-second-admin", &second);
        let parties = (&HOLDERS[..], HOLDERS.len());
        let prepared = self.rounds(&command, Epoch(1), None, parties).unwrap();
        let certificate = certificate_of(&command, &prepared, &HOLDERS);
        if scheme == Scheme::EcdsaSecp256k1 {
            self.pair(&certificate, &HOLDERS, 1).unwrap();
        }
        let proof = self.prove_by(&certificate, &HOLDERS).unwrap();
        Held {
            certificate,
            proof,
            birth: None,
            holders: HOLDERS.to_vec(),
        }
    }
}
