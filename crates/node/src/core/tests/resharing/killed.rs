//! A process dies, or a machine loses power, at any step that a resharing writes (P29, P30, I1).

use std::panic::{AssertUnwindSafe, catch_unwind};

use quorate_model::certificate::{CommitCertificate, PossessionProof};

use super::{
    super::{quarantine::RESTORE, *},
    harness::*,
};
use crate::disk::{Fault, Survival};

/// The one that leaves is a dealer, the second deals and receives, the third receives only, and the
/// last is new.
const OLD: [usize; 3] = [0, 1, 2];
const NEW: [usize; 3] = [1, 2, 3];

/// What dies, and what is left of what was not made durable.
#[derive(Clone, Copy, Debug)]
enum Death {
    /// One process.
    Process,
    /// The machine of one node.
    Machine,
    /// One machine, with writes torn.
    Torn,
    /// The machines of all nodes at once.
    All,
}

impl Cluster {
    /// A whole resharing, up to the erasure of the old shares.
    fn carry(&mut self, held: &Held, run: &Run) -> Held {
        let next = self.prove_run(held, run);
        self.put_in_use(&next);
        next
    }

    fn put_in_use(&mut self, next: &Held) {
        // Holders first, and then whoever leaves.
        for at in [1, 2, 3, 0] {
            self.activate_at(at, next).unwrap();
        }
        let erase = self.vouch(next);
        for at in 0..self.cores.len() {
            self.erase_at(at, &erase).unwrap();
        }
    }

    fn revive(&mut self, victim: usize, death: Death, step: u64) {
        for at in 0..self.cores.len() {
            let survival = match death {
                Death::All => Survival::Nothing,
                _ if at != victim => continue,
                Death::Process => Survival::Everything,
                Death::Machine => Survival::Nothing,
                Death::Torn => Survival::Torn(step),
            };
            let disk = self.disks[at].clone();
            disk.crash(survival);
            self.start_on(at, disk);
        }
    }

    /// The highest proven epoch that any node shows, as a coordinator finds it.
    fn found(&self, old: &Held) -> Held {
        let listed = (0..self.cores.len()).filter_map(|at| {
            let listing = self.listings(at).pop()?;
            let proof = listing.proof?;
            let certificate = CommitCertificate::from_bytes(&listing.certificate?).unwrap();
            Some((certificate, proof, listing.birth))
        });
        let (certificate, proof, birth) = listed
            .max_by_key(|(certificate, _, _)| certificate.statement.epoch)
            .unwrap();
        if certificate.hash() == old.certificate.hash() {
            return old.clone();
        }
        Held {
            certificate,
            proof: PossessionProof::from_bytes(&proof).unwrap(),
            birth,
            holders: NEW.to_vec(),
        }
    }
}

/// Stops a node at every operation that changes its disk, in the middle of a resharing. Whatever died:
/// an epoch is in use of which enough shares are durable, it signs, the next resharing succeeds, and
/// in the end nothing of the old epochs is left.
fn dies_at_every_step(scheme: Scheme, victim: usize, death: Death) {
    let mut cluster = Cluster::new(4);
    let old = cluster.born("notes", scheme, 2, &OLD);
    let run = cluster.run(&old, 2, &NEW);
    let disks = cluster.disks_as_they_are();
    let mut steps = 0;
    loop {
        for (at, disk) in disks.iter().enumerate() {
            cluster.start_on(at, disk.fork());
        }
        let disk = cluster.disks[victim].clone();
        disk.fail_at(disk.operations() + steps, Fault::Stop);
        let done = catch_unwind(AssertUnwindSafe(|| cluster.carry(&old, &run)));
        if done.is_ok() {
            break;
        }
        cluster.revive(victim, death, steps);

        let held = cluster.found(&old);
        let what = format!(
            "{death:?} of {victim} at step {steps}, epoch {}",
            held.epoch()
        );
        if held.epoch() != old.epoch() {
            for at in NEW {
                cluster.activate_at(at, &held).expect(&what);
            }
        }
        for signers in [[0, 1], [1, 2]] {
            let signers = signers.map(|place| held.holders[place]);
            cluster.sign_by(&held, &signers).expect(&what);
        }
        let mut again = cluster.run(&held, 2, &NEW);
        let certificate = loop {
            match cluster.certify(&held, &again) {
                Ok(certificate) => break certificate,
                // A share of an attempt that was not recorded lies there: its number is not used
                // again (P19).
                Err(taken) if taken.reason == Reason::EpochTaken => again.epoch.0 += 1,
                Err(other) => panic!("{what}: {other}"),
            }
            assert!(again.epoch.0 <= held.epoch().0 + 3, "{what}");
        };
        let last = cluster.prove_certified(&held, &again, certificate);
        cluster.put_in_use(&last);
        cluster.sign_by(&last, &[1, 3]).expect(&what);
        for at in 0..cluster.cores.len() {
            for epoch in 1..last.epoch().0 {
                let share = (last.certificate.statement.key.clone(), Epoch(epoch));
                let vault = &cluster.cores[at].vault;
                assert!(!vault.keyring().contains(&share), "{what}: {epoch} at {at}");
                assert!(
                    !vault.has_files(&share.0, share.1).unwrap(),
                    "{what}: {epoch} at {at}"
                );
            }
        }
        steps += 1;
    }
    assert!(steps > 3, "{steps} steps of node {victim} were tried");
}

/// P35: a node that proved an epoch of which nobody had heard when it was restored moves up with the
/// others, and is made whole by the next resharing.
#[test]
fn a_restored_node_is_not_left_behind_an_epoch_that_it_has_forgotten() {
    let mut cluster = Cluster::new(3);
    let old = cluster.born("notes", Scheme::Bip340, 2, &OLD);
    let backup = cluster.disks[0].fork();
    let run = cluster.run(&old, 2, &OLD);
    let next = cluster.prove_run(&old, &run);
    cluster.start_on(0, backup);
    cluster.quarantine(0, RESTORE);
    let status = cluster.status_of(0);
    let pages = [1, 2].map(|at| cluster.heads(at, &status).unwrap());
    assert_eq!(cluster.readmit(0, &pages).unwrap().missing, []);

    for at in [1, 2] {
        cluster.activate_at(at, &next).unwrap();
    }
    // It has no share of it, so it does not say that it has, however often it is asked.
    for _ in 0..3 {
        let refusal = cluster.activate_at(0, &next).unwrap_err();
        assert_eq!(refusal.reason, Reason::ShareUnavailable);
    }

    assert_eq!(cluster.listing(0).epoch, next.epoch());
    let mut whole = cluster.run(&next, 2, &OLD);
    whole.dealers = vec![1, 2];
    whole.epoch = cluster.listing(0).next_epoch;
    whole.command = cluster.reshare_command_from(&next, 2, &OLD, whole.epoch);
    let whole = cluster.prove_run(&next, &whole);
    for at in OLD {
        cluster.activate_at(at, &whole).unwrap();
    }
    cluster.monotonic_ms += 1_000;
    cluster.sign_by(&whole, &[0, 1]).unwrap();
}

fn dies_in_every_way(victim: usize) {
    for death in [Death::Process, Death::Machine, Death::Torn, Death::All] {
        dies_at_every_step(Scheme::Bip340, victim, death);
    }
}

/// With an ECDSA key, of which the pairings of the new epoch are set up between its certificate and
/// its proof. Torn writes stand for those of the machine as well: each step takes longer.
fn dies_with_pairings(victim: usize) {
    for death in [Death::Process, Death::Torn, Death::All] {
        dies_at_every_step(Scheme::EcdsaSecp256k1, victim, death);
    }
}

#[test]
fn a_dealer_that_leaves_dies_at_every_step() {
    dies_in_every_way(0);
}

#[test]
fn a_dealer_that_stays_dies_at_every_step() {
    dies_in_every_way(1);
}

#[test]
fn a_holder_that_receives_only_dies_at_every_step() {
    dies_in_every_way(2);
}

#[test]
fn a_new_holder_dies_at_every_step() {
    dies_in_every_way(3);
}

#[test]
fn a_holder_of_an_ecdsa_key_that_leaves_dies_at_every_step() {
    dies_with_pairings(0);
}

#[test]
fn a_holder_of_an_ecdsa_key_that_stays_dies_at_every_step() {
    dies_with_pairings(1);
}

#[test]
fn a_holder_of_an_ecdsa_key_that_receives_only_dies_at_every_step() {
    dies_with_pairings(2);
}

#[test]
fn a_new_holder_of_an_ecdsa_key_dies_at_every_step() {
    dies_with_pairings(3);
}
