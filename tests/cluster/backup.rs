//! Backups of nodes, made while the cluster works, and what becomes of them.

use std::{fs, path::Path};

use serde_json::Value;

use crate::harness::{Cluster, Done, program, run, wait_for};

/// A key pair that everybody knows, from the tests of age.
const RECIPIENT: &str = "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa";
const IDENTITY: &str = "AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33";
const STRANGER: &str = "AGE-SECRET-KEY-1QURSWPC8QURSWPC8QURSWPC8QURSWPC8QURSWPC8QURSWPC8QURSKMP32K";

struct Backups<'a> {
    cluster: &'a Cluster,
    identity: String,
}

impl<'a> Backups<'a> {
    fn of(cluster: &'a Cluster) -> Self {
        let identity = cluster.file("keeper.age");
        fs::write(
            &identity,
            format!("# public key: {RECIPIENT}\n{IDENTITY}\n"),
        )
        .unwrap();
        Self { cluster, identity }
    }

    fn node_dir(&self, node: &str) -> String {
        self.cluster.file(&format!("nodes/{node}"))
    }

    fn back_up(&self, node: &str, to: &str) -> Done {
        run(program("quorate-node")
            .args(["backup", "--config"])
            .arg(self.cluster.node_config(node))
            .args(["--to", to, "--recipient", RECIPIENT]))
    }

    fn restore(&self, node: &str, from: &str, dir: &str, identity: &str) -> Done {
        let key = self.cluster.file(&format!("nodes/{node}.key"));
        run(program("quorate-node")
            .args(["restore", "--from", from, "--identity", identity])
            .args(["--dir", dir, "--key-file", &key]))
    }
}

impl Backups<'_> {
    fn wait_for_readmission(&self, name: &str) {
        wait_for("a readmitted node", || {
            // Before that the node that is listed may be the one that was lost.
            let kinds = audit(self.cluster, "node-c");
            (kinds["peer-restored"].as_u64() >= Some(1)).then_some(())
        });
        wait_for("a restored node in service", || {
            let nodes = self.cluster.nodes();
            let node = nodes.iter().find(|node| node["id"] == name)?;
            let well = ["connected", "clock_confirmed"]
                .iter()
                .all(|is| node[is] == true);
            (node["quarantined"] == false && well).then_some(())
        });
    }
}

/// How a command ended that must have done what it was asked.
fn done(done: Done) -> String {
    assert_eq!(done.code, 0, "{done:?}");
    done.stdout
}

#[test]
fn a_node_is_backed_up_while_it_signs_and_while_it_is_stopped() {
    let cluster = Cluster::start(&[]);
    cluster.create_key("notes", "bip340", "messages");
    let backups = Backups::of(&cluster);
    let running = cluster.file("running.backup");
    let stopped = cluster.file("stopped.backup");

    let told = done(backups.back_up("node-a", &running));
    let signed = cluster.json(&["sign", "message", "notes", "--text", "meanwhile"]);
    cluster.kill_node("node-a");
    done(backups.back_up("node-a", &stopped));
    let _back = cluster.start_node("node-a");
    cluster.wait_for_connected(3);

    assert!(told.contains("of node node-a: 2 shares"), "{told}");
    assert!(signed["signature"].is_string(), "{signed}");
    backups.back_up("node-a", &running).refused(1, "exists");
    for (at, backup) in [running, stopped].iter().enumerate() {
        let dir = cluster.file(&format!("restored-{at}"));
        let told = done(backups.restore("node-a", backup, &dir, &backups.identity));
        assert!(told.contains("restored node node-a"), "{told}");
        assert!(told.contains("quarantine"), "{told}");
        assert!(!told.contains("does not"), "{told}");
    }
    let kinds = audit(&cluster, "node-a");
    assert_eq!(kinds["backup-made"], 2, "{kinds}");
}

#[test]
fn a_node_whose_disk_is_lost_comes_back_from_its_backup_and_a_second_copy_does_not() {
    let cluster = Cluster::start(&[]);
    cluster.create_key("notes", "bip340", "messages");
    let backups = Backups::of(&cluster);
    let (backup, copy) = (cluster.file("a.backup"), cluster.file("copy"));
    let dir = backups.node_dir("node-a");
    done(backups.back_up("node-a", &backup));
    let receipts = cluster.file("receipts");
    cluster.kill_node("node-b");
    let sign = ["sign", "message", "notes", "--text", "lost"];
    cluster.json(&[&sign[..], &["--receipts", &receipts]].concat());
    let _first_b = cluster.start_node("node-b");
    cluster.wait_for_connected(3);
    cluster.kill_node("node-a");
    fs::remove_dir_all(&dir).unwrap();

    done(backups.restore("node-a", &backup, &dir, &backups.identity));
    let back = cluster.start_node("node-a");
    cluster.wait_for_connected(3);
    backups.wait_for_readmission("node-a");
    assert_eq!(audit(&cluster, "node-a")["readmitted"], 1);
    // The record of what it signed after the backup is lost, and blames nobody.
    let mut verify = vec!["audit", "verify", &receipts];
    let logs = ["node-a", "node-c"].map(|node| {
        audit(&cluster, node);
        cluster.file(&format!("{node}.audit"))
    });
    verify.extend(logs.iter().map(String::as_str));
    let verified = cluster.json(&verify);
    assert_eq!(verified["lost"], 1, "{verified}");
    cluster.kill_node("node-b");
    let signed = cluster.json(&["sign", "message", "notes", "--text", "again"]);
    assert_eq!(signed["signers"], serde_json::json!(["node-a", "node-c"]));
    drop(back);
    let _b = cluster.start_node("node-b");
    cluster.wait_for_connected(2);

    done(backups.restore("node-a", &backup, &copy, &backups.identity));
    fs::remove_dir_all(&dir).unwrap();
    fs::rename(&copy, &dir).unwrap();
    let _copy = cluster.start_node("node-a");
    cluster.wait_for_connected(3);
    wait_for("a second copy that is refused", || {
        let refused = audit(&cluster, "node-c");
        let node = cluster.nodes();
        let node = node.iter().find(|node| node["id"] == "node-a")?;
        (refused["refused"].as_u64() >= Some(1) && node["quarantined"] == true).then_some(())
    });
    assert_eq!(audit(&cluster, "node-c")["peer-restored"], 1);
    let signed = cluster.json(&["sign", "message", "notes", "--text", "still"]);
    assert_eq!(signed["signers"], serde_json::json!(["node-b", "node-c"]));
}

/// Two nodes in quarantine do not release each other. One comes back by the word of the admins, and the
/// other one with its help.
#[test]
fn two_disks_that_are_lost_together_come_back_by_the_word_of_the_admins() {
    let cluster = Cluster::start(&[]);
    cluster.create_key("notes", "bip340", "messages");
    let backups = Backups::of(&cluster);
    let mut back = Vec::new();
    for node in ["node-a", "node-b"] {
        let (backup, dir) = (
            cluster.file(&format!("{node}.backup")),
            backups.node_dir(node),
        );
        done(backups.back_up(node, &backup));
        cluster.kill_node(node);
        fs::remove_dir_all(&dir).unwrap();
        done(backups.restore(node, &backup, &dir, &backups.identity));
    }
    for node in ["node-a", "node-b"] {
        back.push(cluster.start_node(node));
    }
    wait_for("two nodes in quarantine", || {
        let nodes = cluster.nodes();
        let waits = nodes.iter().filter(|node| node["quarantined"] == true);
        (waits.filter(|node| node["restore_id"].is_string()).count() == 2).then_some(())
    });
    let readmit = |words: &[&str]| {
        let mut call = vec!["node", "readmit"];
        call.extend(words);
        cluster.quorate(&call)
    };
    let reason = ["--reason", "the site burned down"];

    readmit(&["node-c", "--without", "node-b", reason[0], reason[1]])
        .refused(1, "not in quarantine");
    readmit(&["node-a", "--without", "node-x", reason[0], reason[1]]).refused(1, "node-x");
    readmit(&["node-a", "--without", "node-a", reason[0], reason[1]]).refused(1, "restored one");
    let told = readmit(&["node-a", "--without", "node-b", reason[0], reason[1]]);

    assert!(done(told).contains("in service again"));
    for node in ["node-a", "node-b"] {
        backups.wait_for_readmission(node);
    }
    let kinds = audit(&cluster, "node-a");
    assert_eq!(kinds["readmission-ordered"], 1, "{kinds}");
    assert_eq!(audit(&cluster, "node-b").get("readmission-ordered"), None);
    cluster.kill_node("node-c");
    let signed = cluster.json(&["sign", "message", "notes", "--text", "again"]);
    assert_eq!(signed["signers"], serde_json::json!(["node-a", "node-b"]));
}

/// P35: the admin quorum of two, at two keyboards. Until the second one has spoken, nothing changes.
#[test]
fn a_readmission_waits_for_the_second_admin_who_sees_whose_word_is_left_out() {
    let cluster = Cluster::start(&["--second-admin"]);
    cluster.create_key("notes", "bip340", "messages");
    let backups = Backups::of(&cluster);
    let (backup, dir) = (cluster.file("a.backup"), backups.node_dir("node-a"));
    done(backups.back_up("node-a", &backup));
    for node in ["node-a", "node-b"] {
        cluster.kill_node(node);
    }
    fs::remove_dir_all(&dir).unwrap();
    done(backups.restore("node-a", &backup, &dir, &backups.identity));
    let _back = cluster.start_node("node-a");
    let shown = || {
        let nodes = cluster.nodes();
        nodes.into_iter().find(|node| node["id"] == "node-a")
    };
    wait_for("a node in quarantine", || {
        let node = shown()?;
        (node["quarantined"] == true && node["restore_id"].is_string()).then_some(())
    });
    let words = ["node", "readmit", "node-a", "--without", "node-b"];
    let reason = ["--reason", "the site burned down", "-o", "json"];

    let proposed = cluster.quorate(&[&words[..], &reason].concat());

    proposed.refused(4, "quorate command approve");
    let told: Value = serde_json::from_str(&proposed.stdout).unwrap();
    let id = told["command_id"].as_str().unwrap();
    let waiting = cluster.wait_for_state(id, "AWAITING_ENDORSEMENT");
    let speak = |who: &str| {
        let digest = waiting["digest"].as_str().unwrap();
        let words = ["command", "approve", id, "--identity", who, "--yes"];
        cluster.quorate(&[&words[..], &["--digest", digest]].concat())
    };
    speak("admin").refused(3, "endorses twice");
    assert_eq!(shown().unwrap()["quarantined"], true);
    assert_eq!(audit(&cluster, "node-a").get("readmission-ordered"), None);

    let approved = speak("admin-2");

    assert_eq!(approved.code, 0, "{approved:?}");
    for [name, value] in [
        ["change", "readmit node node-a"],
        ["without", "node-b"],
        ["reason", "the site burned down"],
        ["warning", "is not heard"],
    ] {
        let mut rows = approved.stderr.lines();
        let is_told = rows.any(|row| row.starts_with(name) && row.contains(value));
        assert!(is_told, "{name} {value}: {}", approved.stderr);
    }
    cluster.wait_for_state(id, "SUCCEEDED");
    backups.wait_for_readmission("node-a");
    assert_eq!(audit(&cluster, "node-a")["readmission-ordered"], 1);
    let signed = cluster.json(&["sign", "message", "notes", "--text", "again"]);
    assert_eq!(signed["signers"], serde_json::json!(["node-a", "node-c"]));
}

#[test]
fn a_restored_node_never_signs_with_a_share_that_was_refreshed_since() {
    let cluster = Cluster::start(&[]);
    cluster.create_key("notes", "bip340", "messages");
    let _coordinator = cluster.restart_coordinator_with("[limits]\nquorum_wait_ms = 500");
    let backups = Backups::of(&cluster);
    let (backup, dir) = (cluster.file("a.backup"), backups.node_dir("node-a"));
    done(backups.back_up("node-a", &backup));
    cluster.json(&["key", "refresh", "notes"]);
    cluster.kill_node("node-a");
    fs::remove_dir_all(&dir).unwrap();

    done(backups.restore("node-a", &backup, &dir, &backups.identity));
    let _back = cluster.start_node("node-a");
    cluster.wait_for_connected(3);
    backups.wait_for_readmission("node-a");
    cluster.kill_node("node-b");
    cluster.wait_for_connected(2);
    let own = "node node-a cannot use its share of key \"notes\"";
    let told = wait_for("the word of the restored node itself", || {
        // Before it has heard of the epoch in use, it is not asked, or says that there is another.
        let alone = cluster.quorate(&["sign", "message", "notes", "--text", "stale"]);
        assert_ne!(alone.code, 0, "{alone:?}");
        alone.stderr.contains(own).then_some(alone)
    });

    told.refused(1, "SHARE_UNAVAILABLE");
    assert!(refusals(&cluster, "node-a", "SHARE_UNAVAILABLE") > 0);
}

/// It carries out no order from before its return, and does not use what it still has either. Another
/// order takes it from it.
#[test]
fn a_restored_node_never_uses_a_key_that_was_destroyed_since() {
    let cluster = Cluster::start(&["--lifecycle-delay", "0"]);
    cluster.create_key("notes", "bip340", "messages");
    let _coordinator = cluster.restart_coordinator_with("[limits]\nquorum_wait_ms = 500");
    let backups = Backups::of(&cluster);
    let (backup, dir) = (cluster.file("a.backup"), backups.node_dir("node-a"));
    done(backups.back_up("node-a", &backup));
    let change =
        |words: &[&str]| cluster.json(&[&["key"], words, &["--reason", "a drill"]].concat());
    change(&["deactivate", "notes"]);
    let ended = change(&["destroy", "notes", "--force"]);
    assert_eq!(ended["destruction"]["complete"], true, "{ended}");
    cluster.kill_node("node-a");
    fs::remove_dir_all(&dir).unwrap();

    done(backups.restore("node-a", &backup, &dir, &backups.identity));
    let _back = cluster.start_node("node-a");
    cluster.wait_for_connected(3);
    backups.wait_for_readmission("node-a");

    // Nobody takes it for destroyed while the node has its share again.
    wait_for("a destruction that is partial again", || {
        let shown = cluster.quorate(&["key", "show", "notes"]);
        let told = "node-a has shares and has not said so";
        shown.stdout.contains(told).then_some(())
    });
    assert_eq!(cluster.vault_files("node-a", "notes"), ["notes.1"]);
    let before = refusals(&cluster, "node-a", "KEY_DESTROYED");
    // Two suffice to refuse, so that with all three nobody might ask this node.
    cluster.kill_node("node-c");
    cluster.wait_for_connected(2);
    let sign = ["sign", "message", "notes", "--text", "stale"];
    cluster.quorate(&sign).refused(3, "KEY_DESTROYED");
    // Whatever the coordinator and the others say, it says so as well.
    assert!(refusals(&cluster, "node-a", "KEY_DESTROYED") > before);
    let _third = cluster.start_node("node-c");
    cluster.wait_for_connected(3);

    change(&["destroy", "notes"]);
    let ended = change(&["destroy", "notes", "--confirm"]);
    assert_eq!(ended["destruction"]["complete"], true, "{ended}");
    assert_eq!(cluster.vault_files("node-a", "notes"), [""; 0]);
    assert_eq!(audit(&cluster, "node-a")["key-destroyed"], 1);
}

#[test]
fn what_cannot_be_restored_is_refused_with_its_reason_and_changes_nothing() {
    let cluster = Cluster::start(&[]);
    let backups = Backups::of(&cluster);
    let (backup, dir) = (cluster.file("a.backup"), cluster.file("restored"));
    done(backups.back_up("node-a", &backup));
    let stranger = cluster.file("stranger.age");
    fs::write(&stranger, STRANGER).unwrap();
    let cut = cluster.file("cut.backup");
    let bytes = fs::read(&backup).unwrap();
    fs::write(&cut, &bytes[..bytes.len() - 10]).unwrap();
    let restore = |from: &str, dir: &str, identity: &str| {
        let done = backups.restore("node-a", from, dir, identity);
        assert!(!Path::new(&cluster.file("restored")).exists());
        done
    };

    restore(&cut, &dir, &backups.identity).refused(1, "damaged");
    restore(&backup, &dir, &stranger).refused(1, "does not open this backup");
    let other = backups.node_dir("node-b");
    restore(&backup, &other, &backups.identity).refused(1, "is not empty");
    let no_key = cluster.file("none");
    restore(&backup, &dir, &no_key).refused(1, "read age identity file");
    backups
        .restore("node-b", &backup, &dir, &backups.identity)
        .refused(1, "the key file is not the one");
    assert!(!Path::new(&dir).exists());
    cluster.wait_for_connected(3);
}

/// How often each kind of record stands in the audit log of a node.
fn audit(cluster: &Cluster, node: &str) -> Value {
    let log = cluster.file(&format!("{node}.audit"));
    let _old = fs::remove_file(&log);
    done(cluster.quorate(&["audit", "export", "--node", node, "--out", &log]));
    let verified = cluster.json(&["audit", "verify", &log]);
    verified["files"][0]["kinds"].clone()
}

/// How often a node has recorded this reason for a refusal.
fn refusals(cluster: &Cluster, node: &str, reason: &str) -> usize {
    let log = cluster.file(&format!("{node}.refusals"));
    done(cluster.quorate(&["audit", "export", "--node", node, "--out", &log, "--force"]));
    // Records stand in the file in hex.
    let log = fs::read_to_string(log).unwrap();
    log.matches(&hex::encode(reason)).count()
}

/// What a drill says of each key, with its exit code.
fn drill(backups: &Backups<'_>, from: &str, words: &[&str]) -> (i32, Vec<(String, String)>) {
    let key = backups.cluster.file("nodes/node-a.key");
    let fixed = [
        "drill",
        "restore",
        "-o",
        "json",
        "--key-file",
        &key,
        "--from",
        from,
    ];
    let identity = ["--age-identity", &backups.identity];
    let done = backups
        .cluster
        .quorate(&[&fixed[..], &identity, words].concat());
    let told: Value = serde_json::from_str(&done.stdout).unwrap_or_else(|_| panic!("{done:?}"));
    assert_eq!(told["node"], "node-a");
    let keys = told["keys"].as_array().unwrap().iter().map(|key| {
        let text = |field: &str| key[field].as_str().unwrap().to_owned();
        (text("name"), text("share"))
    });
    (done.code, keys.collect())
}

#[test]
fn a_drill_says_which_shares_of_a_backup_would_be_usable_and_leaves_nothing() {
    let cluster = Cluster::start(&["--lifecycle-delay", "0"]);
    let backups = Backups::of(&cluster);
    for name in ["notes", "old"] {
        cluster.create_key(name, "bip340", "messages");
    }
    let backup = cluster.file("node-a.backup");
    done(backups.back_up("node-a", &backup));
    let scratch = tempfile::tempdir().unwrap();
    let below = ["--scratch", scratch.path().to_str().unwrap()];
    let is = |name: &str, share: &str| (name.to_owned(), share.to_owned());
    let usable = vec![
        is("demo-taproot", "usable"),
        is("notes", "usable"),
        is("old", "usable"),
    ];

    assert_eq!(drill(&backups, &backup, &below), (0, usable.clone()));
    assert_eq!(
        drill(&backups, &backup, &[&below[..], &["--offline"]].concat()),
        (0, usable)
    );

    cluster.json(&["key", "refresh", "notes"]);
    cluster.create_key("young", "bip340", "messages");
    cluster.json(&["key", "deactivate", "old", "--reason", "a drill"]);
    cluster.json(&["key", "destroy", "old", "--reason", "a drill", "--force"]);
    let after = vec![
        is("demo-taproot", "usable"),
        is("notes", "stale"),
        is("old", "destroyed"),
        is("young", "missing"),
    ];
    assert_eq!(drill(&backups, &backup, &below), (1, after));

    // What would keep it from being restored keeps it from being tried.
    let key = cluster.file("nodes/node-b.key");
    let words = [
        "drill",
        "restore",
        "--key-file",
        &key,
        "--from",
        &backup,
        "--age-identity",
    ];
    let wrong = cluster.quorate(&[&words[..], &[&backups.identity]].concat());
    wrong.refused(1, "the backup cannot be restored");
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
}

/// P3, P35: what was followed before the backup is followed after it.
#[test]
fn a_restored_node_goes_by_the_rosters_of_its_backup_and_follows_those_since() {
    let cluster = Cluster::start(&["--nodes", "4"]);
    let backups = Backups::of(&cluster);
    cluster.json(&["node", "drain", "node-d"]);
    let words = [
        "key",
        "create",
        "notes",
        "--scheme",
        "bip340",
        "--purpose",
        "messages",
    ];
    cluster.json(&[&words[..], &["--nodes", "node-a,node-b,node-c"]].concat());
    let backup = cluster.file("node-a.backup");
    done(backups.back_up("node-a", &backup));
    cluster.json(&["node", "drain", "node-d", "--cancel"]);
    cluster.kill_node("node-a");
    let dir = backups.node_dir("node-a");
    fs::remove_dir_all(&dir).unwrap();

    done(backups.restore("node-a", &backup, &dir, &backups.identity));
    let _node = cluster.start_node("node-a");
    backups.wait_for_readmission("node-a");

    cluster.kill_node("node-b");
    cluster.json(&["sign", "message", "notes", "--text", "again"]);
    let shown = cluster.json(&["cluster", "show", "--acknowledged"]);
    let by = shown["acknowledged"]["acknowledged_by"].to_string();
    assert!(by.contains("node-a"), "{shown}");
}
