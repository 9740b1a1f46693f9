//! The end of a key of which a node holds several epochs, or of which another one is on its way
//! (I5, P30, P34).

use std::collections::BTreeSet;

use quorate_model::{
    certificate::CommitCertificate,
    node_api::{CeremonyReply, ReshareFrom},
};

use super::{
    super::{
        ecdsa::inbox_of,
        resharing::harness::{Held, Run, certificate_of},
    },
    opened::Thief,
    *,
};

pub(super) const HOLDERS: [usize; 3] = [0, 1, 2];

const SCHEMES: [Scheme; 2] = [Scheme::Bip340, Scheme::EcdsaSecp256k1];

/// How far the last epoch has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Last {
    Prepared,
    Certified,
    Proven,
}

impl Cluster {
    /// A key of which each node holds three epochs: one that is not erased yet, the one in use, and
    /// one that is not in use yet.
    pub(super) fn of_three_epochs(&mut self, scheme: Scheme, last: Last) -> Held {
        let first = self.born("notes", scheme, 2, &HOLDERS);
        let held = self.reshare(&first, 2, &HOLDERS);
        let run = self.run(&held, 2, &HOLDERS);
        let certificate = self.certify(&held, &run).unwrap();
        match last {
            Last::Prepared => {}
            // A node hears of a certificate with the request to prove it.
            Last::Certified => self.show(&certificate),
            Last::Proven => drop(self.prove_certified(&held, &run, certificate)),
        }
        held
    }

    /// Has every node take a certificate and give its part of the proof, which nobody puts
    /// together.
    fn show(&mut self, certificate: &CommitCertificate) {
        self.pair_all(certificate, &HOLDERS);
        self.prove_by(certificate, &HOLDERS).unwrap();
    }

    /// Looks that no share, pairing or file of a key is there, and that it stays so after a start.
    pub(super) fn must_be_bare(&mut self, at: usize, thief: &Thief, what: &str) {
        let name = "notes".parse().unwrap();
        let disk = self.disks[at].clone();
        let opened = thief.opens_of_any(at, &disk, &name);
        assert_eq!(opened, BTreeSet::new(), "{what}");
        for start in [false, true] {
            if start {
                self.start_on(at, disk.clone());
            }
            let vault = &self.cores[at].vault;
            let kept = vault.keyring().epochs_below(&name, Epoch(u32::MAX));
            assert_eq!(kept, [], "{what}");
            let listed = vault.list().unwrap();
            assert!(listed.iter().all(|(key, _)| *key != name), "{what}");
        }
    }
}

#[test]
fn shares_of_every_epoch_prepared_and_certified_go() {
    for scheme in SCHEMES {
        for last in [Last::Prepared, Last::Certified, Last::Proven] {
            let what = format!("{scheme:?}, {last:?}");
            let name = "notes".parse().unwrap();
            let mut cluster = Cluster::new(3);
            cluster.of_three_epochs(scheme, last);
            cluster.retire("notes");
            let thieves: Vec<_> = cluster.disks.iter().map(Thief::new).collect();
            let all = [1, 2, 3].map(Epoch);
            for at in HOLDERS {
                let opened = thieves[at].opens(at, &cluster.disks[at], &name);
                assert_eq!(opened, BTreeSet::from(all), "{what}");
            }
            let order = cluster.step("notes", AtOnce);

            let receipts = HOLDERS.map(|at| cluster.destroy(at, &order).unwrap());

            for (at, receipt) in receipts.iter().enumerate() {
                assert!(
                    matches!(&receipt.said, Said::Destroyed { epochs, .. } if *epochs == all),
                    "{what}: {receipt:?}"
                );
                cluster.must_be_bare(at, &thieves[at], &what);
                assert_eq!(&cluster.destroy(at, &order).unwrap(), receipt, "{what}");
            }
        }
    }
}

/// A resharing of a key, which its admins destroy meanwhile.
struct Race {
    cluster: Cluster,
    held: Held,
    run: Run,
    attempt: [u8; 16],
    order: SignedCommand,
    thief: Option<Thief>,
}

impl Race {
    fn new(scheme: Scheme) -> Self {
        let mut cluster = Cluster::new(3);
        let held = cluster.born("notes", scheme, 2, &HOLDERS);
        let run = cluster.run(&held, 2, &HOLDERS);
        cluster.retire("notes");
        let order = cluster.step("notes", AtOnce);
        let attempt = cluster.attempt();
        Self {
            cluster,
            held,
            run,
            attempt,
            order,
            thief: None,
        }
    }

    fn begin(&mut self, attempt: [u8; 16]) -> Result<Vec<CeremonyReply>, Refusal> {
        let source = ReshareFrom {
            evidence: self.held.evidence(),
            dealers: self.run.dealers.iter().map(|at| node_id(*at)).collect(),
        };
        let (command, epoch) = (&self.run.command, self.run.epoch);
        self.cluster
            .begin_all(attempt, command, epoch, Some(&source), &HOLDERS)
    }

    fn advance(&mut self, replies: &[CeremonyReply]) -> Result<Vec<CeremonyReply>, Refusal> {
        let parties = (&HOLDERS[..], HOLDERS.len());
        self.cluster.advance_all(self.attempt, replies, parties)
    }

    /// What everybody says after so many rounds, or once all have prepared.
    fn after(&mut self, rounds: usize) -> Vec<CeremonyReply> {
        let mut replies = self.begin(self.attempt).unwrap();
        for _ in 0..rounds {
            if all_prepared(&replies) {
                break;
            }
            replies = self.advance(&replies).unwrap();
        }
        replies
    }

    fn certified(&mut self) -> CommitCertificate {
        let replies = self.after(usize::MAX);
        let prepared: Vec<_> = replies.into_iter().filter_map(|r| r.prepared).collect();
        certificate_of(&self.run.command, &prepared, &HOLDERS)
    }

    fn destroy(&mut self, expected: &[Epoch]) {
        self.thief = Some(Thief::new(&self.cluster.disks[0]));
        let receipt = self.cluster.destroy(0, &self.order).unwrap();
        assert!(
            matches!(&receipt.said, Said::Destroyed { epochs, .. } if epochs == expected),
            "{receipt:?}"
        );
    }

    /// Nothing of the run is recorded after the tombstone, and nothing of it is on the disk.
    fn must_be_over(&mut self, what: &str) {
        let attempt = self.cluster.attempt();
        let gone = Some(Reason::KeyDestroyed);
        assert_eq!(told(self.begin(attempt)), gone, "{what}");
        let records = entries(&self.cluster, 0);
        let mut after = records
            .iter()
            .skip_while(|entry| !matches!(entry, Entry::KeyDestroyed(_)));
        assert!(after.next().is_some(), "{what}");
        let goes_on = after.find(|entry| {
            matches!(
                entry,
                Entry::KeyPrepared(_)
                    | Entry::KeyCertified { .. }
                    | Entry::ShareReleased(_)
                    | Entry::KeyActivated { .. }
            )
        });
        assert!(goes_on.is_none(), "{what}: {goes_on:?}");
        let thief = self.thief.take().unwrap();
        self.cluster.must_be_bare(0, &thief, what);
    }
}

fn all_prepared(replies: &[CeremonyReply]) -> bool {
    replies.iter().all(|reply| reply.prepared.is_some())
}

#[test]
fn a_resharing_that_is_under_way_prepares_nothing_after_the_tombstone() {
    for scheme in SCHEMES {
        for rounds in 0.. {
            let what = format!("{scheme:?} after {rounds} rounds");
            let mut race = Race::new(scheme);
            let replies = race.after(rounds);
            let over = all_prepared(&replies);
            let last = if over { 2 } else { 1 };

            race.destroy(&[1, 2].map(Epoch)[..last]);

            let unknown = Some(Reason::SessionUnknown);
            assert_eq!(told(race.advance(&replies)), unknown, "{what}");
            race.must_be_over(&what);
            if over {
                assert!(rounds > 2, "{what}");
                break;
            }
        }
    }
}

#[test]
fn a_resharing_that_is_prepared_is_not_proven_after_the_tombstone() {
    for scheme in SCHEMES {
        for (shown, proven) in [(false, false), (true, false), (true, true)] {
            let what = format!("{scheme:?}, shown {shown}, proven {proven}");
            let mut race = Race::new(scheme);
            let certificate = race.certified();
            if shown {
                race.cluster.pair_all(&certificate, &HOLDERS);
            }
            let proof = proven.then(|| race.cluster.prove_by(&certificate, &HOLDERS).unwrap());

            race.destroy(&[1, 2].map(Epoch));

            let gone = Some(Reason::KeyDestroyed);
            let proves = told(race.cluster.prove_by(&certificate, &HOLDERS));
            assert_eq!(proves, gone, "{what}");
            let pairing = NodeRequest::BeginPairing {
                attempt: race.cluster.attempt(),
                certificate: certificate.to_bytes().unwrap(),
                holders: HOLDERS.map(|at| index(at + 1)).to_vec(),
            };
            assert_eq!(told(race.cluster.ask(0, pairing)), gone, "{what}");
            if let Some(proof) = proof {
                let next = Held {
                    certificate,
                    proof,
                    birth: Some(race.held.origin()),
                    holders: HOLDERS.to_vec(),
                };
                let activates = told(race.cluster.activate_at(0, &next));
                assert_eq!(activates, gone, "{what}");
            }
            race.must_be_over(&what);
        }
    }
}

/// Pairings are set up between the certificate and the proof of an epoch.
#[test]
fn pairings_that_are_on_their_way_are_not_set_up_after_the_tombstone() {
    let mut race = Race::new(Scheme::EcdsaSecp256k1);
    let certificate = race.certified();
    let attempt = race.cluster.attempt();
    let mut begun = Vec::new();
    for at in HOLDERS {
        let request = NodeRequest::BeginPairing {
            attempt,
            certificate: certificate.to_bytes().unwrap(),
            holders: HOLDERS.map(|at| index(at + 1)).to_vec(),
        };
        let NodeReply::Pairing(reply) = race.cluster.ask(at, request).unwrap() else {
            panic!("no pairing")
        };
        begun.push(reply);
    }

    race.destroy(&[1, 2].map(Epoch));

    let said: Vec<_> = begun.iter().map(|reply| reply.envelopes.clone()).collect();
    let request = NodeRequest::AdvancePairing {
        attempt,
        round: begun[0].round,
        envelopes: inbox_of(&said, 0),
    };
    let advanced = told(race.cluster.ask(0, request));
    assert_eq!(advanced, Some(Reason::SessionUnknown));
    race.must_be_over("pairings");
}
