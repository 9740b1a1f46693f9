//! Nodes that come and go over real processes (P3, P41).

use std::{os::unix::fs::PermissionsExt as _, path::PathBuf};

use serde_json::{Value, json};

use crate::harness::{Cluster, Done, Process, program, run, wait_for};

/// The directory of a node on a machine of its own.
struct NewHost {
    name: &'static str,
    directory: PathBuf,
}

impl NewHost {
    fn init(cluster: &Cluster, name: &'static str) -> Self {
        let host = Self {
            name,
            directory: cluster.directory().join("elsewhere").join(name),
        };
        std::fs::create_dir_all(&host.directory).unwrap();
        std::fs::write(host.file("key"), "5a1c".repeat(16)).unwrap();
        let only_mine = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(host.file("key"), only_mine).unwrap();
        let made = run(program("quorate-node")
            .args(["init", "--id", name, "--region", "far", "--organisation"])
            .args(["others", "--dir", &host.file("data")])
            .args(["--key-file", &host.file("key")]));
        assert_eq!(made.code, 0, "{made:?}");
        std::fs::write(host.file("card.json"), made.stdout).unwrap();
        host
    }

    fn file(&self, name: &str) -> String {
        self.directory.join(name).to_str().unwrap().to_owned()
    }

    fn add(&self, cluster: &Cluster) -> Done {
        let card = self.file("card.json");
        cluster.quorate(&["node", "add", &card, "-o", "json"])
    }

    fn pin(&self, cluster: &Cluster) -> Done {
        let rosters = self.file("roster.json");
        cluster.json(&["cluster", "export", "--out", &rosters]);
        let shown = cluster.json(&["cluster", "show"]);
        run(program("quorate-node")
            .args(["pin", "--roster", &rosters, "--hash"])
            .args([shown["cluster_id"].as_str().unwrap()])
            .args(["--dir", &self.file("data"), "--key-file", &self.file("key")]))
    }

    fn start(&self, cluster: &Cluster) -> Process {
        let other = std::fs::read_to_string(cluster.node_config("node-a")).unwrap();
        let at = other.find("[[coordinators]]").unwrap();
        let config = format!(
            "dir = \"{}\"\nkey_file = \"{}\"\nmetrics = \"127.0.0.1:0\"\n{}",
            self.file("data"),
            self.file("key"),
            &other[at..]
        );
        std::fs::write(self.file("node.toml"), config).unwrap();
        let mut command = program("quorate-node");
        command.args([
            "run",
            "--exit-with-parent",
            "--config",
            &self.file("node.toml"),
        ]);
        let mut process = Process::start(&mut command);
        process.ready();
        process
    }

    /// Adds the node and starts it.
    fn join(cluster: &Cluster, name: &'static str) -> (Self, Process) {
        let host = Self::init(cluster, name);
        let added = host.add(cluster);
        assert_eq!(added.code, 0, "{added:?}");
        // Again, as after an interruption: nothing is recorded twice.
        for _ in 0..2 {
            let pinned = host.pin(cluster);
            assert_eq!(pinned.code, 0, "{pinned:?}");
        }
        let process = host.start(cluster);
        cluster.node_pid(host.name);
        (host, process)
    }
}

fn version(cluster: &Cluster) -> u64 {
    let shown = cluster.json(&["cluster", "show", "--acknowledged"]);
    shown["acknowledged"]["version"].as_u64().unwrap()
}

/// Waits until these nodes act by the roster in force, and nobody is missing.
fn all_act(cluster: &Cluster, nodes: &[&str]) {
    wait_for(&format!("{nodes:?} act by the roster"), || {
        let shown = cluster.json(&["cluster", "show", "--acknowledged"]);
        let acting = &shown["acknowledged"];
        (acting["acknowledged_by"] == json!(nodes) && acting["missing"] == json!([])).then_some(())
    });
}

fn signs(cluster: &Cluster, key: &str) {
    cluster.json(&["sign", "message", key, "--text", "pay"]);
}

fn holders(cluster: &Cluster, key: &str) -> Value {
    cluster.json(&["key", "show", key])["nodes"].clone()
}

fn audit(cluster: &Cluster, nodes: &[&str]) {
    let files: Vec<String> = nodes
        .iter()
        .map(|node| {
            let file = cluster.file(&format!("{node}.journal"));
            cluster.json(&["audit", "export", "--node", node, "--out", &file]);
            file
        })
        .collect();
    let mut words = vec!["audit", "verify"];
    words.extend(files.iter().map(String::as_str));
    let verified = cluster.quorate(&words);
    assert_eq!(verified.code, 0, "{verified:?}");
}

#[test]
fn a_new_machine_takes_the_place_of_an_old_one() {
    let cluster = Cluster::start(&[]);
    cluster.create_key("notes", "bip340", "messages");
    cluster.create_key("coins", "ecdsa-secp256k1", "digests");

    let (host, first_run) = NewHost::join(&cluster, "node-d");
    all_act(&cluster, &["node-a", "node-b", "node-c", "node-d"]);
    // It holds nothing yet, and a new key may be on it.
    let words = ["key", "create", "wide", "--scheme", "ed25519", "--nodes"];
    let purpose = ["--purpose", "messages"];
    cluster.json(&[&words[..], &["node-b,node-c,node-d"], &purpose].concat());
    signs(&cluster, "wide");

    // Its keys have to go first.
    let held = cluster.quorate(&["node", "remove", "node-c"]);
    held.refused(3, "NODE_HOLDS_SHARES");
    assert!(held.stderr.contains("notes"), "{}", held.stderr);
    assert_eq!(version(&cluster), 2);
    let replaced = cluster.quorate(&["node", "replace", "node-c", "node-d"]);
    // The new key has a share at both.
    replaced.refused(1, "wide");
    let words = ["key", "reshare", "wide", "--threshold", "2", "--nodes"];
    cluster.json(&[&words[..], &["node-a,node-b,node-d"]].concat());
    assert_eq!(
        holders(&cluster, "notes"),
        json!(["node-a", "node-b", "node-d"])
    );

    cluster.json(&["node", "remove", "node-c"]);
    all_act(&cluster, &["node-a", "node-b", "node-d"]);
    assert_eq!(cluster.nodes().len(), 3);
    for key in ["notes", "wide"] {
        signs(&cluster, key);
    }
    cluster.json(&["sign", "digest", "coins", "--hex", &"7".repeat(64)]);

    // All of it outlives the processes.
    drop(first_run);
    cluster.kill_node("node-a");
    cluster.kill_coordinator();
    let _coordinator = cluster.start_coordinator();
    let _node = cluster.start_node("node-a");
    let _second_run = host.start(&cluster);
    cluster.wait_for_connected(3);
    all_act(&cluster, &["node-a", "node-b", "node-d"]);
    signs(&cluster, "notes");
    audit(&cluster, &["node-a", "node-b", "node-d"]);
    let shown = cluster.json(&["node", "list"]);
    assert!(!shown.to_string().contains("node-c"), "{shown}");
}

#[test]
fn a_node_that_was_away_follows_when_it_is_back() {
    let cluster = Cluster::start(&[]);
    cluster.create_key("notes", "bip340", "messages");
    cluster.kill_node("node-b");

    let added = NewHost::init(&cluster, "node-d").add(&cluster).json();

    assert_eq!(added["version"], 2);
    assert_eq!(added["acknowledged_by"], json!(["node-a", "node-c"]));
    assert!(added["missing"].to_string().contains("node-b"), "{added}");
    signs(&cluster, "notes");
    let _node = cluster.start_node("node-b");
    wait_for("node-b acts by the roster", || {
        let shown = cluster.json(&["cluster", "show", "--acknowledged"]);
        let by = &shown["acknowledged"]["acknowledged_by"];
        (*by == json!(["node-a", "node-b", "node-c"])).then_some(())
    });
    cluster.kill_node("node-a");
    signs(&cluster, "notes");
}

/// Whatever dies while a roster is on its way, everybody ends on the same one, and keys go on.
#[test]
fn a_process_killed_in_the_middle_of_a_change_ends_on_the_same_roster() {
    let cluster = Cluster::start(&[]);
    cluster.create_key("notes", "bip340", "messages");
    let mut nodes = Vec::new();
    let mut coordinator = None;
    let all = ["node-a", "node-b", "node-c"];
    for (at, victim) in ["node-a", "coordinator", "node-b", "coordinator"]
        .iter()
        .enumerate()
    {
        // One change and the next one back, so that each is a roster of its own.
        let mut words = vec!["node", "drain", "node-c"];
        if at % 2 == 1 {
            words.push("--cancel");
        }
        let change = cluster.begin(&words);
        match (*victim, coordinator.take()) {
            ("coordinator", None) => cluster.kill_coordinator(),
            ("coordinator", Some(running)) => drop::<Process>(running),
            (node, running) => {
                coordinator = running;
                cluster.kill_node(node);
            }
        }
        if *victim == "coordinator" {
            coordinator = Some(cluster.start_coordinator());
        } else {
            nodes.push(cluster.start_node(victim));
        }
        drop(change);
        cluster.wait_for_connected(3);
        // What did not get through is asked for again; what did is known.
        let again = cluster.quorate(&words);
        assert!(
            again.code == 0 || again.stderr.contains("drained"),
            "{again:?}"
        );
        all_act(&cluster, &all);
        signs(&cluster, "notes");
    }
    assert_eq!(version(&cluster), 5);
    audit(&cluster, &all);
}

/// P41: what a coordinator holds back, a host brings.
#[test]
fn rosters_are_brought_to_a_stopped_node_at_its_own_console() {
    let cluster = Cluster::start(&[]);
    cluster.kill_node("node-b");
    NewHost::init(&cluster, "node-d").add(&cluster).json();
    cluster.json(&["node", "drain", "node-a"]);
    let rosters = cluster.file("rosters.json");
    cluster.json(&["cluster", "export", "--out", &rosters]);
    let import = |file: &str| {
        let config = cluster.node_config("node-b");
        let mut command = program("quorate-node");
        run(command
            .args(["import-rosters", "--config"])
            .arg(config)
            .arg(file))
    };

    let followed = import(&rosters);

    assert_eq!(followed.code, 0, "{followed:?}");
    assert_eq!(
        followed.stdout.matches("followed").count(),
        2,
        "{followed:?}"
    );
    assert_eq!(import(&rosters).code, 0, "and again");
    // What others than its admins say is not followed.
    let other = Cluster::start(&[]);
    NewHost::init(&other, "node-d").add(&other).json();
    let theirs = cluster.file("theirs.json");
    other.json(&["cluster", "export", "--out", &theirs]);
    let refused = import(&theirs);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(
        refused.stdout.contains("ENDORSEMENT_INVALID"),
        "{refused:?}"
    );
    import("/dev/null").refused(1, "read roster");
}

#[test]
fn a_lost_machine_is_removed_by_force_and_its_keys_go_to_others() {
    let cluster = Cluster::start(&[]);
    cluster.create_key("notes", "bip340", "messages");
    cluster.kill_node("node-c");

    let forced = cluster.quorate(&["node", "remove", "node-c", "--force"]);

    assert_eq!(forced.code, 0, "{forced:?}");
    assert!(
        forced.stderr.contains("2 of 3 holders are left"),
        "{}",
        forced.stderr
    );
    all_act(&cluster, &["node-a", "node-b"]);
    signs(&cluster, "notes");
    let (_host, _process) = NewHost::join(&cluster, "node-d");
    let replaced = cluster.quorate(&["node", "replace", "node-c", "node-d"]);
    assert_eq!(replaced.code, 0, "{replaced:?}");
    assert_eq!(
        holders(&cluster, "notes"),
        json!(["node-a", "node-b", "node-d"])
    );
    signs(&cluster, "notes");
    // The old machine comes back, and nobody lets it in.
    let old = cluster.node_command("node-c");
    let mut old = { old };
    let _old = Process::start(&mut old);
    cluster.kill_node("node-a");
    signs(&cluster, "notes");
    assert_eq!(cluster.nodes().len(), 3);
}

#[test]
fn a_drained_node_receives_nothing_until_it_is_drained_no_more() {
    let cluster = Cluster::start(&["--nodes", "4"]);
    cluster.create_key("notes", "bip340", "messages");
    let drained = cluster.quorate(&["node", "drain", "node-d"]);
    assert_eq!(drained.code, 0, "{drained:?}");
    assert!(
        drained.stderr.contains("node replace node-d"),
        "{}",
        drained.stderr
    );

    cluster
        .quorate(&["key", "refresh", "notes"])
        .refused(3, "NODE_DRAINED");
    let words = ["key", "create", "more", "--scheme", "bip340", "--nodes"];
    let more = cluster.quorate(&[&words[..], &["node-b,node-c,node-d"]].concat());
    more.refused(3, "NODE_DRAINED");
    // Where nobody names nodes, it is none of them.
    let more = cluster.create_key("more", "bip340", "messages");
    assert_eq!(more["nodes"], json!(["node-a", "node-b", "node-c"]));
    assert_eq!(holders(&cluster, "more"), more["nodes"]);
    // What it holds it signs with.
    cluster.kill_node("node-a");
    signs(&cluster, "notes");
    let _node = cluster.start_node("node-a");
    cluster.wait_for_connected(4);
    cluster.json(&["node", "drain", "node-d", "--cancel"]);
    cluster.json(&["key", "refresh", "notes"]);
    signs(&cluster, "notes");
}

/// P3: the admin quorum of two, at two keyboards.
#[test]
fn a_roster_waits_for_the_second_admin_who_sees_what_it_changes() {
    let cluster = Cluster::start(&["--second-admin"]);
    let host = NewHost::init(&cluster, "node-d");
    let added = host.add(&cluster);
    added.refused(4, "quorate command approve");
    let id = serde_json::from_str::<Value>(&added.stdout).unwrap()["command_id"].clone();
    let id = id.as_str().unwrap();
    let waiting = cluster.wait_for_state(id, "AWAITING_ENDORSEMENT");
    assert_eq!(cluster.json(&["cluster", "show"])["content"]["version"], 1);

    let approve = ["command", "approve", id, "--identity", "admin-2", "--yes"];
    let digest = ["--digest", waiting["digest"].as_str().unwrap()];
    let approved = cluster.quorate(&[&approve[..], &digest].concat());

    assert_eq!(approved.code, 0, "{approved:?}");
    assert!(approved.stderr.contains("node-d"), "{}", approved.stderr);
    assert!(approved.stderr.contains("far"), "{}", approved.stderr);
    cluster.wait_for_state(id, "SUCCEEDED");
    all_act_but(&cluster, "node-d");

    let removed = cluster.quorate(&["node", "remove", "node-d", "-o", "json"]);
    removed.refused(4, "quorate command approve");
    let id = serde_json::from_str::<Value>(&removed.stdout).unwrap()["command_id"].clone();
    let id = id.as_str().unwrap();
    let waiting = cluster.wait_for_state(id, "AWAITING_ENDORSEMENT");
    let words = ["command", "reject", id, "--identity", "admin-2", "--yes"];
    let digest = ["--digest", waiting["digest"].as_str().unwrap()];
    let rejected = cluster.quorate(&[&words[..], &digest].concat());
    assert!(rejected.stdout.contains("DENIED"), "{rejected:?}");
    assert_eq!(cluster.json(&["cluster", "show"])["content"]["version"], 2);

    // Whatever the proposer was told, whoever approves looks at the keys that are there by then.
    let words = ["node", "remove", "node-c", "--force", "-o", "json"];
    let removed = cluster.quorate(&words);
    removed.refused(4, "quorate command approve");
    let id = serde_json::from_str::<Value>(&removed.stdout).unwrap()["command_id"].clone();
    let id = id.as_str().unwrap();
    let waiting = cluster.wait_for_state(id, "AWAITING_ENDORSEMENT");
    let approve = ["command", "approve", id, "--identity", "admin-2", "--yes"];
    let digest = ["--digest", waiting["digest"].as_str().unwrap()];
    let approve = [&approve[..], &digest].concat();
    let refused = cluster.quorate(&approve);
    refused.refused(3, "NODE_HOLDS_SHARES");
    assert!(
        refused.stderr.contains("demo-taproot at node-c"),
        "{refused:?}"
    );
    cluster.wait_for_state(id, "AWAITING_ENDORSEMENT");
    let approved = cluster.quorate(&[&approve[..], &["--force"]].concat());
    assert_eq!(approved.code, 0, "{approved:?}");
    cluster.wait_for_state(id, "SUCCEEDED");
}

fn all_act_but(cluster: &Cluster, missing: &str) {
    let shown = cluster.json(&["cluster", "show", "--acknowledged"]);
    let acting = &shown["acknowledged"];
    assert_eq!(
        acting["acknowledged_by"],
        json!(["node-a", "node-b", "node-c"])
    );
    assert!(acting["missing"].to_string().contains(missing), "{acting}");
}

#[test]
fn what_is_no_next_roster_changes_nothing() {
    let cluster = Cluster::start(&[]);
    let host = NewHost::init(&cluster, "node-d");
    let card = std::fs::read_to_string(host.file("card.json")).unwrap();

    // Before the roster lists it, the machine does not begin.
    host.pin(&cluster)
        .refused(1, "does not list node \"node-d\"");
    host.add(&cluster).json();
    host.add(&cluster).refused(1, "in the roster already");
    std::fs::write(host.file("card.json"), card.replace("node-d", "node-e")).unwrap();
    host.add(&cluster).refused(1, "ROSTER_INVALID");
    std::fs::write(host.file("card.json"), "{}").unwrap();
    host.add(&cluster).refused(2, "no card of a node");
    cluster.json(&["node", "remove", "node-d"]);
    // Another machine under an id that was used.
    let taken = card.replace("far", "near");
    let other = NewHost::init(&cluster, "node-x");
    let of_other = std::fs::read_to_string(other.file("card.json")).unwrap();
    std::fs::write(
        other.file("card.json"),
        of_other.replace("node-x", "node-d"),
    )
    .unwrap();
    other
        .add(&cluster)
        .refused(1, "that an earlier roster gave");
    // The same machine may come back, also from elsewhere.
    std::fs::write(host.file("card.json"), taken).unwrap();
    host.add(&cluster).json();
    cluster
        .quorate(&["node", "remove", "node-y"])
        .refused(1, "NODE_UNKNOWN");
    cluster
        .quorate(&["node", "drain", "node-y"])
        .refused(1, "NODE_UNKNOWN");

    assert_eq!(version(&cluster), 4);
    let rosters = host.file("roster.json");
    cluster.json(&["cluster", "export", "--out", &rosters]);
    let damaged = std::fs::read_to_string(&rosters).unwrap();
    let at = damaged.find("successors").unwrap();
    let (kept, chain) = damaged.split_at(at);
    let swapped = format!("{kept}{}", chain.replacen('7', "8", 40));
    std::fs::write(host.file("damaged.json"), swapped).unwrap();
    let shown = cluster.json(&["cluster", "show"]);
    let pinned = run(program("quorate-node")
        .args(["pin", "--roster", &host.file("damaged.json"), "--hash"])
        .args([shown["cluster_id"].as_str().unwrap()])
        .args(["--dir", &host.file("data"), "--key-file", &host.file("key")]));
    assert_eq!(pinned.code, 1, "{pinned:?}");
}
