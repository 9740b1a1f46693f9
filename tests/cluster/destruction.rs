//! The end of keys over real processes: announced, confirmed, told by certificates, and nothing left
//! on the disks.

mod forced;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use quorate_model::{Epoch, KeyName};
use quorate_node::{
    config::NodeConfig,
    disk::RealDisk,
    sealing::{KekSource, KeyFile, open_kek},
    vault::{Vault, VaultError},
};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{
    Cluster, Done, Process, is_alive, kill, program, run, signal, wait_for, wait_until_gone,
};

const REASON: [&str; 2] = ["--reason", "a drill"];

fn destroy(cluster: &Cluster, name: &str, more: &[&str]) -> Done {
    let words = ["key", "destroy", name, "-o", "json"];
    cluster.quorate(&[&words[..], &REASON, more].concat())
}

fn retired(cluster: &Cluster, name: &str, scheme: &str) -> Value {
    let created = cluster.create_key(name, scheme, "messages");
    cluster.json(&[&["key", "deactivate", name][..], &REASON].concat());
    created
}

fn node_directory(cluster: &Cluster, node: &str) -> PathBuf {
    cluster.directory().join("nodes").join(node)
}

/// Every file below a directory with its content.
fn files(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if let Ok(bytes) = std::fs::read(&path) {
            // A running node removes files meanwhile.
            found.push((path, bytes));
        }
    }
    found
}

fn copy(from: &Path, to: &Path) {
    for (path, bytes) in files(from) {
        let target = to.join(path.strip_prefix(from).unwrap());
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::write(target, bytes).unwrap();
    }
}

/// What a share's file holds beside its clear part: any 32 bytes of it are found nowhere by chance.
fn traces(bytes: &[u8]) -> Vec<&[u8]> {
    let end = bytes.len() - 64;
    [end, end + 16, end + 32]
        .map(|at| &bytes[at..at + 32])
        .to_vec()
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Opens the vault of a copy of a node's directory with all that its node opens it with.
fn load(cluster: &Cluster, node: &str, copy: &Path, key: &str) -> Result<(), VaultError> {
    let config = NodeConfig::read(&cluster.node_config(node)).unwrap();
    let key_file = std::fs::read(config.key_file.unwrap()).unwrap();
    let source = KekSource::key_file(KeyFile::parse(&key_file).unwrap());
    let disk = Arc::new(RealDisk::open(copy).unwrap());
    let id = node.parse().unwrap();
    let kek = open_kek(&disk, &id, &source).unwrap();
    let (vault, _) = Vault::open(disk, id, Arc::new(kek)).unwrap();
    let key: KeyName = key.parse().unwrap();
    vault.load(&key, Epoch(1)).map(drop)
}

fn audited(cluster: &Cluster) {
    let mut words = vec!["audit".to_owned(), "verify".to_owned()];
    for node in cluster.nodes() {
        let name = node["name"].as_str().unwrap();
        let file = cluster.file(&format!("{name}.journal"));
        let _old = std::fs::remove_file(&file);
        cluster.json(&["audit", "export", "--node", name, "--out", &file]);
        words.push(file);
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = cluster.quorate(&words);
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
}

/// What is told of announcements, of a second one, and of withdrawals that are repeated.
fn announced_twice_and_withdrawn(cluster: &Cluster) {
    let done = destroy(cluster, "old", &[]);
    assert!(done.stderr.contains("old --confirm"), "{}", done.stderr);
    let announced = done.json();
    assert_eq!(announced["receipts"].as_array().unwrap().len(), 4);
    let shown = cluster.quorate(&["key", "show", "old"]);
    assert!(shown.stdout.contains("4 of 4 nodes"), "{}", shown.stdout);
    let shown = &cluster.json(&["key", "show", "old"])["announcements"][0];
    assert_eq!(shown["digest"], announced["digest"]);
    assert_eq!(shown["command_id"], announced["command_id"]);
    assert_eq!(shown["announced_by"], json!(["admin"]));
    let again = destroy(cluster, "old", &[]);
    assert!(again.stderr.contains("announced already"), "{again:?}");
    let repeated = again.json();
    let id = repeated["command_id"].as_str().unwrap();
    let repeated = destroy(cluster, "old", &["--command-id", id]);
    let own = repeated.json()["digest"].as_str().unwrap().to_owned();
    let mut warnings = repeated.stderr.lines();
    assert!(
        !warnings.any(|line| line.starts_with("warning") && line.contains(&own)),
        "{repeated:?}"
    );
    let second = again.json()["digest"].as_str().unwrap().to_owned();
    destroy(cluster, "old", &["--cancel"]).refused(1, "is announced 2 times");
    destroy(cluster, "old", &["--cancel", "--announcement", &second]).json();
    // One admin keeps it; it is announced anew.
    let kept = destroy(cluster, "old", &["--cancel"]);
    assert!(kept.stderr.contains("no announcement"), "{kept:?}");
    let kept = kept.json();
    let again = destroy(cluster, "old", &["--cancel"]).json();
    assert_eq!(again["receipts"].as_array().unwrap().len(), 4);
    assert_eq!(kept["step"], again["step"]);
}

#[test]
fn a_key_is_announced_and_confirmed_and_its_certificate_is_verified_offline() {
    let cluster = Cluster::start(&["--lifecycle-delay", "0", "--nodes", "4"]);
    let words = [
        "key",
        "create",
        "old",
        "--scheme",
        "bip340",
        "--purpose",
        "messages",
    ];
    let nodes = ["--threshold", "2", "--nodes", "node-a,node-b,node-c"];
    let created = cluster.json(&[&words[..], &nodes].concat());
    destroy(&cluster, "old", &[]).refused(3, "KEY_NOT_RETIRED");
    cluster.json(&[&["key", "deactivate", "old"][..], &REASON].concat());
    destroy(&cluster, "old", &["--confirm"]).refused(3, "DESTRUCTION_NOT_ANNOUNCED");
    destroy(&cluster, "old", &["--cancel"]).refused(3, "DESTRUCTION_NOT_ANNOUNCED");
    destroy(&cluster, "old", &["--confirm", "--force"]).refused(2, "cannot be used with");
    destroy(&cluster, "old", &["--out", "x"]).refused(2, "nothing is destroyed before");

    announced_twice_and_withdrawn(&cluster);
    destroy(&cluster, "old", &["--confirm"]).refused(3, "DESTRUCTION_NOT_ANNOUNCED");
    destroy(&cluster, "old", &[]).json();
    let file = cluster.file("old.cert");

    let done = destroy(&cluster, "old", &["--confirm", "--out", &file]).json();

    assert_eq!(done["destruction"]["complete"], true, "{done}");
    assert_eq!(done["receipts"][0]["method"], "best-effort");
    let worth = done["receipts"][0].to_string();
    assert!(
        worth.contains("SSD") && worth.contains("hardware module"),
        "{worth}"
    );
    let shown = cluster.json(&["key", "show", "old"]);
    assert_eq!(shown["state"], "DESTROYED");
    let certificate = std::fs::read(&file).unwrap();
    for step in ["--confirm", "--force"] {
        std::fs::remove_file(&file).unwrap();
        let again = destroy(&cluster, "old", &[step, "--out", &file]).json();
        assert_eq!(again["destruction"], done["destruction"]);
        assert_eq!(std::fs::read(&file).unwrap(), certificate);
    }
    destroy(&cluster, "old", &[]).refused(3, "KEY_DESTROYED");
    destroy(&cluster, "old", &["--cancel"]).refused(3, "KEY_DESTROYED");
    for (refused, reason) in [
        (
            &["sign", "message", "old", "--text", "pay"][..],
            "KEY_DESTROYED",
        ),
        (&["key", "refresh", "old"], "KEY_DESTROYED"),
        (
            &["key", "compromise", "old", "--reason", "late"],
            "KEY_DESTROYED",
        ),
        (&["key", "create", "old", "--scheme", "bip340"], "KEY_"),
    ] {
        let done = cluster.quorate(refused);
        assert_ne!(done.code, 0, "{refused:?}");
        assert!(done.stderr.contains(reason), "{refused:?}: {}", done.stderr);
    }

    let directory = cluster.file("certificates");
    let all = cluster.json(&["key", "certificates", "old", "--out", &directory]);
    let kinds: Vec<&str> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["certificate"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["creation", "destruction"]);
    let of_birth = format!("{directory}/old-creation.cert");
    audited(&cluster);

    // No machine of the cluster is needed, and the roster by its hash.
    let (roster, hash) = {
        let profile = cluster.home().join("roster.json");
        let shown = cluster.json(&["cluster", "show"]);
        let hash = shown["roster_hash"].as_str().unwrap().to_owned();
        (profile.to_str().unwrap().to_owned(), hash)
    };
    cluster.kill_coordinator();
    let verify = |file: &str| {
        let words = ["verify", "certificate", file, "-o", "json"];
        cluster.quorate(&[&words[..], &["--roster", &roster, "--hash", &hash]].concat())
    };
    let verified = verify(&file).json();
    assert_eq!(verified["key_id"], created["id"]);
    assert_eq!(verified["destruction"]["complete"], true);
    assert_eq!(verified["destruction"]["receipts"], "4 of 4");
    assert_eq!(verified["receipts"][0]["backups"], 0);
    assert_eq!(verify(&of_birth).json()["possession"], true);
    let mut bytes = std::fs::read(&file).unwrap();
    let last = bytes.len() - 10;
    bytes[last] ^= 1;
    let forged = cluster.file("forged.cert");
    std::fs::write(&forged, bytes).unwrap();
    verify(&forged).refused(7, "does not hold");
    std::fs::write(&forged, b"quorate certificate 9\nx").unwrap();
    verify(&forged).refused(7, "newer form");
    std::fs::write(&forged, b"garbage").unwrap();
    verify(&forged).refused(7, "is no certificate");
}

/// P34: also with the passphrase, also with a copy of the sealed share from before.
#[test]
fn nothing_of_a_destroyed_share_is_on_any_disk_or_opens_any_more() {
    let cluster = Cluster::start(&["--lifecycle-delay", "0"]);
    for (name, scheme) in [("schnorr", "bip340"), ("pairs", "ecdsa-secp256k1")] {
        let words = ["key", "create", name, "--scheme", scheme];
        cluster.json(&[&words[..], &["--purpose", "messages"]].concat());
        cluster.json(&[&["key", "compromise", name][..], &REASON].concat());
    }
    cluster.create_key("stays", "bip340", "messages");
    let nodes = ["node-a", "node-b", "node-c"];
    let mut before = Vec::new();
    for node in nodes {
        let vault = node_directory(&cluster, node).join("vault");
        for (path, bytes) in files(&vault) {
            let name = path.file_name().unwrap().to_str().unwrap();
            if name.starts_with("schnorr.") || name.starts_with("pairs.") {
                before.push((node, path, bytes));
            }
        }
    }
    assert_eq!(before.len(), 9, "a share of each, and pairings");
    let old_keyrings: Vec<Vec<u8>> = nodes
        .map(|node| std::fs::read(node_directory(&cluster, node).join("keyring")).unwrap())
        .into();

    for name in ["schnorr", "pairs"] {
        let done = destroy(&cluster, name, &["--force"]).json();
        assert_eq!(done["destruction"]["complete"], true);
        let shown = cluster.json(&["key", "show", name]);
        assert_eq!(shown["state"], "DESTROYED_COMPROMISED");
    }

    for (node, old_keyring) in nodes.iter().zip(&old_keyrings) {
        let now = files(&node_directory(&cluster, node));
        let names: BTreeSet<&str> = now
            .iter()
            .map(|(path, _)| path.file_name().unwrap().to_str().unwrap())
            .collect();
        assert!(!names.iter().any(|name| name.starts_with("schnorr.")));
        for (path, bytes) in &now {
            for (_, _, sealed) in before.iter().filter(|(of, ..)| of == node) {
                for trace in traces(sealed) {
                    assert!(!contains(bytes, trace), "a sealed share is in {path:?}");
                }
            }
            for trace in traces(old_keyring) {
                assert!(!contains(bytes, trace), "a wrapped key is in {path:?}");
            }
        }
        // Whoever kept the sealed files has nothing that opens them.
        let stolen = tempfile::tempdir().unwrap();
        let home = node_directory(&cluster, node);
        copy(&home, stolen.path());
        for (_, path, bytes) in before.iter().filter(|(of, ..)| of == node) {
            let place = stolen.path().join(path.strip_prefix(&home).unwrap());
            std::fs::create_dir_all(place.parent().unwrap()).unwrap();
            std::fs::write(place, bytes).unwrap();
        }
        for name in ["schnorr", "pairs"] {
            let opened = load(&cluster, node, stolen.path(), name);
            assert!(matches!(opened, Err(VaultError::Erased { .. })));
        }
        load(&cluster, node, stolen.path(), "stays").unwrap();
    }
    let signed = cluster.quorate(&["sign", "message", "stays", "--text", "still"]);
    assert_eq!(signed.code, 0, "{}", signed.stderr);
}

#[test]
fn a_node_that_is_away_is_missing_until_it_is_back_and_then_destroys_too() {
    let cluster = Cluster::start(&["--lifecycle-delay", "0"]);
    retired(&cluster, "old", "ed25519");
    cluster.kill_node("node-c");
    cluster.wait_for_connected(2);
    let announced = destroy(&cluster, "old", &[]).json();
    assert_eq!(announced["missing"][0]["node"], "node-c");

    destroy(&cluster, "old", &["--confirm"]).refused(5, "partial: 2 of 3 holders");
    let file = cluster.file("partial.cert");
    let again = destroy(&cluster, "old", &["--confirm", "--out", &file]);
    again.refused(5, "partial: 2 of 3 holders");
    again.refused(5, "tells the missing nodes");
    let verified = cluster.json(&["verify", "certificate", &file]);
    assert_eq!(
        verified["destruction"]["missing_holders"],
        json!(["node-c"])
    );

    assert_eq!(
        cluster.json(&["key", "show", "old"])["state"],
        "DEACTIVATED"
    );
    let shown = cluster.quorate(&["key", "show", "old"]);
    assert!(
        shown.stdout.contains("node-c has shares and has not"),
        "{}",
        shown.stdout
    );
    let _node: Process = cluster.start_node("node-c");
    wait_for("the last holder to destroy its share", || {
        let shown = cluster.json(&["key", "show", "old"]);
        (shown["state"] == "DESTROYED").then_some(())
    });
    audited(&cluster);
}

/// Whoever held the key before hears no more of where it stands, and says that nothing is left.
#[test]
fn a_key_that_went_to_other_nodes_is_destroyed_at_those_that_held_it_before_as_well() {
    let cluster = Cluster::start(&["--lifecycle-delay", "0", "--nodes", "4"]);
    let words = ["key", "create", "old", "--scheme", "bip340", "--purpose"];
    let nodes = ["--threshold", "2", "--nodes", "node-a,node-b,node-c"];
    cluster.json(&[&words[..], &["messages"], &nodes].concat());
    let moved = ["key", "reshare", "old", "--threshold", "2", "--nodes"];
    cluster.json(&[&moved[..], &["node-a,node-b,node-d"]].concat());
    cluster.json(&[&["key", "deactivate", "old"][..], &REASON].concat());

    let announced = destroy(&cluster, "old", &[]).json();
    assert_eq!(announced["missing"], serde_json::json!([]), "{announced}");
    let file = cluster.file("old.cert");
    let done = destroy(&cluster, "old", &["--confirm", "--out", &file]).json();

    assert_eq!(done["destruction"]["complete"], true, "{done}");
    let verified = cluster.json(&["verify", "certificate", &file]);
    assert_eq!(verified["destruction"]["receipts"], "4 of 4");
    audited(&cluster);
}

#[test]
fn a_confirmation_before_its_time_changes_nothing_and_says_when() {
    let cluster = Cluster::start(&["--lifecycle-delay", "3600"]);
    retired(&cluster, "old", "bip340");
    let announced = destroy(&cluster, "old", &[]).json();
    let receipt = &announced["receipts"][0];
    let waits = receipt["from_ms"].as_u64().unwrap() - receipt["since_ms"].as_u64().unwrap();
    assert_eq!(waits, 3_600_000);

    let early = destroy(&cluster, "old", &["--confirm"]);

    early.refused(3, "DESTRUCTION_TOO_EARLY");
    assert_eq!(
        cluster.json(&["key", "show", "old"])["state"],
        "DEACTIVATED"
    );
    // Every admin is one admin here.
    destroy(&cluster, "old", &["--force"]).json();
    assert_eq!(cluster.json(&["key", "show", "old"])["state"], "DESTROYED");
}

/// P11: two admins, at two keyboards.
#[test]
fn both_steps_wait_for_the_second_admin_and_cancelling_does_not() {
    let cluster = Cluster::start(&["--lifecycle-delay", "0", "--second-admin"]);
    cluster.create_key("old", "bip340", "messages");
    let approve = |done: Done| {
        done.refused(4, "quorate command approve");
        let id = serde_json::from_str::<Value>(&done.stdout).unwrap()["command_id"].clone();
        let id = id.as_str().unwrap().to_owned();
        let shown = cluster.json(&["command", "show", &id]);
        let digest = shown["digest"].as_str().unwrap();
        let words = ["command", "approve", &id, "--identity", "admin-2", "--yes"];
        let approved = cluster.quorate(&[&words[..], &["--digest", digest]].concat());
        assert_eq!(approved.code, 0, "{}", approved.stderr);
        done.refused(4, &format!("approve {id} --digest {digest}"));
        (approved.stderr.clone(), digest.to_owned())
    };
    let words = ["key", "deactivate", "old", "-o", "json"];
    approve(cluster.quorate(&[&words[..], &REASON].concat()));

    let (text, announcement) = approve(destroy(&cluster, "old", &[]));
    assert!(
        text.contains("announce the destruction of key old"),
        "{text}"
    );
    assert_eq!(destroy(&cluster, "old", &["--cancel"]).code, 0);
    let named = ["--confirm", "--announcement", &announcement];
    destroy(&cluster, "old", &named).refused(3, "it was withdrawn");
    let (_, announcement) = approve(destroy(&cluster, "old", &[]));
    let file = cluster.file("old.cert");
    let confirm = ["--confirm", "--out", &file];
    let proposed = destroy(&cluster, "old", &confirm);
    proposed.refused(4, "is not written");
    let (text, _) = approve(proposed);
    assert!(text.contains("nobody can undo it"), "{text}");
    assert!(text.contains(&announcement), "{text}");

    let shown = cluster.json(&["key", "show", "old"]);
    assert_eq!(shown["state"], "DESTROYED");
    assert_eq!(shown["name"], json!("old"));
    // Whoever proposed it gets the certificate by the same command.
    destroy(&cluster, "old", &confirm).json();
    assert!(Path::new(&file).exists());
}

fn share_exists(cluster: &Cluster, node: &str, key: &str) -> bool {
    let vault = node_directory(cluster, node).join("vault");
    let mut all = files(&vault).into_iter();
    all.any(|(path, _)| path.file_name().unwrap().to_str().unwrap() == format!("{key}.1"))
}

/// How often a process is killed in the middle of a destruction. `QUORATE_KILL_CYCLES` says another
/// number.
const KILL_CYCLES: usize = 6;

const STEPS: [(&str, &[&str]); 3] = [
    ("announce", &[]),
    ("confirm", &["--confirm"]),
    ("at-once", &["--force"]),
];

const HOLDERS: [&str; 3] = ["node-a", "node-b", "node-c"];

/// Waits until a step is under way that only these nodes have not answered.
fn wait_for_step(cluster: &Cluster, id: &str, awaited: &[&str]) {
    wait_for(&format!("a step that awaits {awaited:?}"), || {
        let shown = cluster.quorate(&["command", "show", id, "-o", "json"]);
        let shown = (shown.code == 0).then(|| shown.json())?;
        let is_so = shown["state"] == "RUNNING" && shown["progress"]["awaited"] == json!(awaited);
        is_so.then_some(())
    });
}

/// Ends a key whose destruction was cut short at some step, however far it has come.
fn finish(cluster: &Cluster, key: &str, step: &str, more: &[&str]) {
    let digest;
    let mut last = more.to_vec();
    if step == "announce" {
        // An announcement erases nothing, whoever heard of it.
        assert_eq!(cluster.json(&["key", "show", key])["state"], "DEACTIVATED");
        assert!(HOLDERS.iter().all(|node| share_exists(cluster, node, key)));
        let again = destroy(cluster, key, &[]).json();
        assert_eq!(again["missing"], json!([]), "{again}");
        digest = again["digest"].as_str().unwrap().to_owned();
        last = vec!["--confirm", "--announcement", &digest];
    }
    let ended = wait_for("the end of the key", || {
        let done = destroy(cluster, key, &last);
        (done.code == 0).then(|| done.json())
    });
    assert_eq!(ended["destruction"]["complete"], true, "{ended}");
    let shown = cluster.json(&["key", "show", key]);
    assert_eq!(shown["state"], "DESTROYED");
    let kind = match shown["scheme"].as_str() {
        Some("ecdsa-secp256k1") => "evm-message",
        _ => "message",
    };
    cluster
        .quorate(&["sign", kind, key, "--text", "pay"])
        .refused(3, "KEY_DESTROYED");
    for node in HOLDERS {
        assert_eq!(cluster.vault_files(node, key), [""; 0], "{node}");
    }
}

/// One holder hears of the step and does not act, so that the step is not over; it dies, or the
/// coordinator does.
#[test]
fn a_process_killed_in_the_middle_of_a_destruction_finishes_it() {
    let cycles = std::env::var("QUORATE_KILL_CYCLES")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(KILL_CYCLES);
    let cluster = Cluster::start(&["--lifecycle-delay", "0"]);
    cluster.create_key("stays", "bip340", "messages");
    let mut coordinator = cluster.restart_coordinator_with("[limits]\nquorum_wait_ms = 60000\n");
    let mut nodes: Vec<Process> = Vec::new();
    for cycle in 0..cycles {
        let key = format!("old-{cycle}");
        let (step, more) = STEPS[cycle % STEPS.len()];
        let holder_dies = (cycle / STEPS.len()).is_multiple_of(2);
        // Seldom, because pairing takes long: a confirmation, then an order at once, then an
        // announcement.
        let is_ecdsa = cycle % 4 == 1;
        let scheme = ["bip340", "ecdsa-secp256k1"][usize::from(is_ecdsa)];
        retired(&cluster, &key, scheme);
        if step == "confirm" {
            destroy(&cluster, &key, &[]).json();
        }
        let held = HOLDERS[cycle % HOLDERS.len()];
        let pid = cluster.node_pid(held);
        signal(pid, Signal::STOP);

        let id = format!("0e6c5c2f-7f64-4a1e-9d1c-52a0f3b8{cycle:04x}");
        let words = ["key", "destroy", &key, "--command-id", &id];
        let mut running = cluster.begin(&[&words[..], &REASON, more].concat());
        wait_for_step(&cluster, &id, &[held]);
        for node in HOLDERS {
            let is_erased = step != "announce" && node != held;
            assert_eq!(share_exists(&cluster, node, &key), !is_erased, "{node}");
        }
        if holder_dies {
            kill(pid);
            wait_until_gone(pid);
            nodes.push(cluster.start_node(held));
        } else {
            coordinator.kill();
            signal(pid, Signal::CONT);
            coordinator = cluster.start_coordinator();
        }
        running.kill();

        cluster.wait_for_connected(3);
        finish(&cluster, &key, step, more);
        let signed = cluster.quorate(&["sign", "message", "stays", "--text", "still"]);
        assert_eq!(signed.code, 0, "{}", signed.stderr);
    }
    audited(&cluster);
}

/// The first holder dies while it erases: as soon as a share of any node is gone.
#[test]
fn a_holder_killed_while_shares_go_finishes_it_when_it_is_back() {
    let cluster = Cluster::start(&["--lifecycle-delay", "0"]);
    let mut nodes: Vec<Process> = Vec::new();
    for (step, more) in &STEPS[1..] {
        let key = format!("old-{step}");
        let scheme = match *step {
            "confirm" => "ecdsa-secp256k1",
            _ => "bip340",
        };
        retired(&cluster, &key, scheme);
        if *step == "confirm" {
            destroy(&cluster, &key, &[]).json();
        }
        let pid = cluster.node_pid("node-b");
        let words = ["key", "destroy", &key];
        let mut running = cluster.begin(&[&words[..], &REASON, more].concat());
        wait_for("the first erasure", || {
            let mut holders = HOLDERS.into_iter();
            let all = holders.all(|node| share_exists(&cluster, node, &key));
            (!all).then_some(())
        });
        kill(pid);
        wait_until_gone(pid);
        running.kill();
        nodes.push(cluster.start_node("node-b"));
        cluster.wait_for_connected(3);
        finish(&cluster, &key, step, more);
    }
    audited(&cluster);
}

/// What is kept of a key proves its whole life to whoever has nothing else.
#[test]
fn a_reshared_key_leaves_three_certificates_that_verify_offline() {
    let cluster = Cluster::start(&["--lifecycle-delay", "0", "--nodes", "4"]);
    let words = ["key", "create", "old", "--scheme", "bip340", "--purpose"];
    let nodes = ["--threshold", "2", "--nodes", "node-a,node-b,node-c"];
    let created = cluster.json(&[&words[..], &["messages"], &nodes].concat());
    let moved = ["key", "reshare", "old", "--threshold", "2", "--nodes"];
    cluster.json(&[&moved[..], &["node-b,node-c,node-d"]].concat());
    cluster.json(&[&["key", "deactivate", "old"][..], &REASON].concat());
    destroy(&cluster, "old", &["--force"]).json();
    let directory = cluster.file("certificates");
    cluster.json(&["key", "certificates", "old", "--out", &directory]);
    let mut pids = cluster.node_pids();
    pids.push(cluster.coordinator_pid());
    let home = cluster.home().to_owned();

    let (_, kept) = cluster.stop();

    assert!(!pids.iter().any(|pid| is_alive(*pid)));
    let verify = |kind: &str| {
        let file = kept.path().join(format!("certificates/old-{kind}.cert"));
        let mut command = program("quorate");
        command.args(["verify", "certificate", "-o", "json"]);
        let verified = run(command.arg(file).env("QUORATE_HOME", &home)).json();
        assert_eq!(verified["key_id"], created["id"], "{kind}");
        assert_eq!(verified["public_key"], created["public_key"], "{kind}");
        verified
    };
    let creation = verify("creation");
    assert_eq!(creation["epoch"], 1);
    assert_eq!(creation["nodes"], json!(["node-a", "node-b", "node-c"]));
    let epoch = verify("epoch-2");
    assert_eq!(epoch["epoch"], 2);
    assert_eq!(epoch["nodes"], json!(["node-b", "node-c", "node-d"]));
    let destruction = verify("destruction");
    assert_eq!(destruction["destruction"]["complete"], true);
    assert_eq!(destruction["destruction"]["receipts"], "4 of 4");
    let found = std::fs::read_dir(kept.path().join("certificates")).unwrap();
    assert_eq!(found.count(), 3);
}

/// The share of a machine that is gone may lie on its disk for ever, and nobody says otherwise.
#[test]
fn a_retired_key_of_a_dead_machine_stays_partial_and_says_why() {
    let cluster = Cluster::start(&["--lifecycle-delay", "0"]);
    retired(&cluster, "old", "bip340");
    cluster.kill_node("node-c");
    std::fs::remove_dir_all(node_directory(&cluster, "node-c")).unwrap();
    cluster.wait_for_connected(2);
    destroy(&cluster, "old", &[]).json();
    let file = cluster.file("partial.cert");
    let partial = |done: &Done| {
        done.refused(5, "partial: 2 of 3 holders");
        assert!(done.stderr.contains("node-c"), "{done:?}");
        let told: Value = serde_json::from_str(&done.stdout).unwrap();
        assert_eq!(told["destruction"]["complete"], false);
        assert_eq!(told["missing"][0]["node"], "node-c");
    };

    partial(&destroy(&cluster, "old", &["--confirm", "--out", &file]));

    let removed = cluster.quorate(&["node", "remove", "node-c", "--force"]);
    assert_eq!(removed.code, 0, "{removed:?}");
    let _coordinator = {
        cluster.kill_coordinator();
        cluster.start_coordinator()
    };
    cluster.wait_for_connected(2);
    std::fs::remove_file(&file).unwrap();
    partial(&destroy(&cluster, "old", &["--confirm", "--out", &file]));
    let verified = cluster.json(&["verify", "certificate", &file]);
    assert_eq!(
        verified["destruction"]["missing_holders"],
        json!(["node-c"])
    );
    let shown = cluster.json(&["key", "show", "old"]);
    assert_eq!(shown["state"], "DEACTIVATED");
    let shown = cluster.quorate(&["key", "show", "old"]);
    assert!(
        shown.stdout.contains("node-c has shares and has not"),
        "{shown:?}"
    );
}
