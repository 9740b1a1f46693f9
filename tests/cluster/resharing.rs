//! Keys whose shares go to other committees, over real processes: signatures in between, nodes that
//! are away, and processes that are killed in the middle.

mod disjoint;
mod selection;

use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Cluster, Process, kill, program, run, wait_for, wait_until_gone};

/// How often a process is killed in the middle of a resharing. `QUORATE_KILL_CYCLES` says another
/// number.
const KILL_CYCLES: usize = 12;

fn create(cluster: &Cluster, name: &str, scheme: &str, purpose: &str) -> Value {
    cluster.json(&[
        "key",
        "create",
        name,
        "--scheme",
        scheme,
        "--purpose",
        purpose,
        "--threshold",
        "2",
        "--nodes",
        "node-a,node-b,node-c",
    ])
}

fn reshare(cluster: &Cluster, name: &str, threshold: &str, nodes: &str) -> Value {
    let words = ["key", "reshare", name, "--threshold", threshold];
    cluster.json(&[&words[..], &["--nodes", nodes]].concat())
}

fn xpub(cluster: &Cluster, name: &str) -> Value {
    cluster.json(&["key", "xpub", name])["xpub"].clone()
}

fn exported(cluster: &Cluster) -> Vec<String> {
    let nodes = cluster.nodes();
    let names = nodes.iter().map(|node| node["name"].as_str().unwrap());
    names
        .map(|name| {
            let file = cluster.file(&format!("{name}.journal"));
            let _old = std::fs::remove_file(&file);
            cluster.json(&["audit", "export", "--node", name, "--out", &file]);
            file
        })
        .collect()
}

fn audited(cluster: &Cluster) {
    let files = exported(cluster);
    let words: Vec<&str> = ["audit", "verify"]
        .into_iter()
        .chain(files.iter().map(String::as_str))
        .collect();
    let done = cluster.quorate(&words);
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
}

#[test]
fn a_key_of_every_scheme_goes_to_other_committees_and_back_and_signs_in_between() {
    let cluster = Cluster::start(&["--nodes", "5"]);
    let messages = ["sign", "message"].as_slice();
    let evm = ["sign", "evm-message"].as_slice();
    for (name, scheme, sign) in [
        ("taproot", "bip340", messages),
        ("schnorr", "frost-secp256k1", messages),
        ("edwards", "ed25519", messages),
        ("account", "ecdsa-secp256k1", evm),
    ] {
        let born = create(&cluster, name, scheme, "messages");
        let watched = match scheme {
            "ed25519" => Value::Null,
            _ => xpub(&cluster, name),
        };
        for (epoch, threshold, nodes) in [
            (2, "2", "node-a,node-b,node-c"),
            (3, "3", "node-e,node-d,node-c,node-b,node-a"),
            (4, "2", "node-b,node-c,node-d,node-e"),
            (5, "2", "node-a,node-b,node-c"),
        ] {
            let moved = if epoch == 2 {
                cluster.json(&["key", "refresh", name])
            } else {
                reshare(&cluster, name, threshold, nodes)
            };
            assert_eq!(moved["epoch"], epoch, "{moved}");
            assert_eq!(moved["public_key"], born["public_key"]);
            assert_eq!(moved["missing"], json!([]));

            let signed = cluster.json(&[sign, &[name, "--text", "pay"]].concat());
            assert_eq!(signed["epoch"], epoch);
            assert_eq!(signed["public_key"], born["public_key"]);
        }
        if scheme != "ed25519" {
            assert_eq!(xpub(&cluster, name), watched, "{name}");
        }
        for (node, epochs) in [("node-a", &["5"][..]), ("node-e", &[])] {
            let expected: Vec<String> = epochs
                .iter()
                .flat_map(|epoch| {
                    let record = format!("{name}.{epoch}");
                    let pairings = format!("{record}.pairings");
                    [Some(record), sign.eq(evm).then_some(pairings)]
                })
                .flatten()
                .collect();
            assert_eq!(cluster.vault_files(node, name), expected);
        }
    }
    audited(&cluster);
}

#[test]
fn a_node_that_was_away_gives_its_old_share_up_when_it_is_back() {
    let cluster = Cluster::start(&["--nodes", "4"]);
    create(&cluster, "notes", "bip340", "messages");
    cluster.kill_node("node-a");
    cluster.wait_for_connected(3);

    let moved = reshare(&cluster, "notes", "2", "node-b,node-c,node-d");

    assert_eq!(moved["missing"], json!(["node-a"]));
    assert_eq!(cluster.vault_files("node-a", "notes"), ["notes.1"]);
    // A coordinator that knows nothing of it does the same.
    let _coordinator = cluster.restart_coordinator_with("");
    let _node = cluster.start_node("node-a");
    wait_for("a node without its old share", || {
        cluster
            .vault_files("node-a", "notes")
            .is_empty()
            .then_some(())
    });
    cluster.json(&["sign", "message", "notes", "--text", "pay"]);
    audited(&cluster);
}

#[test]
fn signing_goes_on_while_a_key_is_refreshed_again_and_again() {
    let cluster = Cluster::start(&[]);
    create(&cluster, "notes", "bip340", "messages");
    create(&cluster, "account", "ecdsa-secp256k1", "messages");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let signing: Vec<_> = [["message", "notes"], ["evm-message", "account"]]
            .into_iter()
            .map(|[kind, key]| {
                let (home, over) = (cluster.home().to_owned(), &over);
                scope.spawn(move || {
                    let mut epochs = Vec::new();
                    while !over.load(Ordering::Relaxed) {
                        let words = ["sign", kind, key, "--text", "pay", "-o", "json"];
                        let signed =
                            run(program("quorate").args(words).env("QUORATE_HOME", &home)).json();
                        epochs.push(signed["epoch"].as_u64().unwrap());
                    }
                    epochs
                })
            })
            .collect();
        for _ in 0..4 {
            cluster.json(&["key", "refresh", "notes", "account"]);
        }
        over.store(true, Ordering::Relaxed);
        for epochs in signing {
            let epochs = epochs.join().unwrap();
            assert!(epochs.is_sorted() && epochs.len() > 4, "{epochs:?}");
        }
    });
    audited(&cluster);
}

#[test]
fn what_cannot_be_reshared_says_why_and_changes_nothing() {
    let cluster = Cluster::start(&["--nodes", "4"]);
    create(&cluster, "notes", "bip340", "messages");
    let refused = |threshold: &str, nodes: &str, says: &str| {
        let words = ["key", "reshare", "notes", "--threshold", threshold];
        let done = cluster.quorate(&[&words[..], &["--nodes", nodes]].concat());
        assert_ne!(done.code, 0);
        assert!(done.stderr.contains(says), "{}", done.stderr);
    };
    refused("4", "node-a,node-b,node-c", "lower it or name more nodes");
    refused("1", "node-a,node-b,node-c", "at least 2");
    refused("3", "node-a,node-b,node-c", "fragile");
    refused("2", "node-a,node-b,node-a", "twice");
    refused("2", "node-a,node-b,node-x", "node-x");
    let unknown = cluster.quorate(&["key", "refresh", "nothing"]);
    unknown.refused(unknown.code, "there is no key \"nothing\"");
    assert_ne!(unknown.code, 0);

    cluster.kill_node("node-d");
    cluster.wait_for_connected(3);
    let _coordinator = cluster.restart_coordinator_with("[limits]\nquorum_wait_ms = 300\n");
    cluster.wait_for_connected(3);
    refused("2", "node-b,node-c,node-d", "node-d");
    assert_eq!(cluster.json(&["key", "show", "notes"])["epoch"], 1);
    cluster.json(&["sign", "message", "notes", "--text", "pay"]);
}

#[test]
fn keys_whose_time_is_over_do_not_stop_a_batch() {
    let cluster = Cluster::start(&["--nodes", "4", "--lifecycle-delay", "0"]);
    for name in ["notes", "old", "gone", "stolen"] {
        create(&cluster, name, "bip340", "messages");
    }
    for name in ["old", "gone"] {
        cluster.json(&["key", "deactivate", name, "--reason", "its time is over"]);
    }
    cluster.json(&["key", "compromise", "stolen", "--reason", "a drill"]);
    let words = [
        "key",
        "destroy",
        "gone",
        "--reason",
        "its time is over",
        "--force",
    ];
    cluster.json(&words);

    let refreshed = cluster.quorate(&["key", "refresh", "--all"]);

    assert_eq!(refreshed.code, 0, "{refreshed:?}");
    assert!(
        refreshed.stdout.contains("it is destroyed"),
        "{refreshed:?}"
    );
    let no_cure = "a refresh does not undo a theft";
    assert!(refreshed.stdout.contains(no_cure), "{refreshed:?}");
    let after = epochs(&cluster);
    assert_eq!((after["notes"], after["stolen"]), (2, 1));
    // Whoever names it gets it, and hears what it is not.
    let named = cluster.quorate(&["key", "refresh", "notes", "stolen"]);
    assert_eq!(named.code, 0, "{named:?}");
    assert!(named.stdout.contains(no_cure), "{named:?}");
    let named = cluster.json(&["key", "refresh", "notes", "stolen"]);
    let warnings: Vec<&Value> = named["done"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["warning"].is_string())
        .map(|one| &one["key"])
        .collect();
    assert_eq!(warnings, ["stolen"], "{named}");
    let after = epochs(&cluster);
    assert_eq!((after["notes"], after["stolen"]), (4, 3));
    let replaced = cluster.quorate(&["node", "replace", "node-c", "node-d"]);
    replaced.refused(1, "still have their shares");
    assert!(
        replaced.stdout.contains("goes to nobody else"),
        "{replaced:?}"
    );
    assert!(!replaced.stdout.contains("KEY_DESTROYED"), "{replaced:?}");
}

/// P11: two admins, at two keyboards.
#[test]
fn a_resharing_waits_for_the_second_admin() {
    let cluster = Cluster::start(&["--second-admin", "--nodes", "4"]);
    create(&cluster, "notes", "bip340", "messages");
    let words = ["key", "reshare", "notes", "--threshold", "2", "--nodes"];
    let propose = [&words[..], &["node-b,node-c,node-d"]].concat();
    let asked = cluster.json(&[&propose[..], &["--validate-only"]].concat());
    assert_eq!(asked["approvals_needed"], 1);

    let proposed = cluster.quorate(&[&propose[..], &["-o", "json"]].concat());

    proposed.refused(4, "quorate command approve");
    let shown: Value = serde_json::from_str(&proposed.stdout).unwrap();
    let id = shown["command_id"].as_str().unwrap();
    let waiting = cluster.wait_for_state(id, "AWAITING_ENDORSEMENT");
    assert_eq!(cluster.json(&["key", "show", "notes"])["epoch"], 1);
    let digest = waiting["digest"].as_str().unwrap();
    let approve = ["command", "approve", id, "--identity", "admin-2", "--yes"];
    let approved = cluster.quorate(&[&approve[..], &["--digest", digest]].concat());
    assert_eq!(approved.code, 0, "{}", approved.stderr);
    assert!(approved.stderr.contains("node-d"), "{}", approved.stderr);
    cluster.wait_for_state(id, "SUCCEEDED");
    assert_eq!(cluster.json(&["key", "show", "notes"])["epoch"], 2);
    // The id that was printed repeats the command, although nobody gave one.
    let again = cluster.json(&[&propose[..], &["--command-id", id]].concat());
    assert_eq!(
        (&again["epoch"], &again["command_id"]),
        (&json!(2), &json!(id))
    );
    cluster.json(&["sign", "message", "notes", "--text", "pay"]);
}

/// More commands wait than one admin may have under way; they are approved together, and an
/// interrupted run proposes nothing twice.
#[test]
fn a_replacement_of_forty_keys_waits_for_the_second_admin_and_goes_on() {
    let cluster = Cluster::start(&["--second-admin", "--nodes", "4"]);
    reshare_approved(&cluster, "demo-taproot", "node-a,node-b,node-d");
    let names: Vec<String> = (0..40).map(|number| format!("user-{number}")).collect();
    for name in &names {
        let words = ["key", "create", name, "--scheme", "bip340", "--nodes"];
        let nodes = ["node-a,node-b,node-c", "--purpose", "messages"];
        cluster.json(&[&words[..], &nodes].concat());
    }
    let words = ["node", "replace", "node-c", "node-d", "-o", "json"];
    let propose = || {
        let proposed = cluster.quorate(&words);
        proposed.refused(4, "must approve them");
        let shown: Value = serde_json::from_str(&proposed.stdout).unwrap();
        assert_eq!(shown["failed"], json!([]));
        (shown["waiting"].clone(), proposed.stdout)
    };
    let (first, _) = propose();
    assert_eq!(first.as_array().unwrap().len(), 40);
    let (again, proposed) = propose();
    assert_eq!(again, first);
    let file = cluster.file("proposed.json");
    std::fs::write(&file, proposed).unwrap();
    let approve = [
        "command",
        "approve",
        "--identity",
        "admin-2",
        "--from",
        &file,
    ];
    cluster.quorate(&approve).refused(2, "no terminal");
    cluster
        .quorate(&["command", "approve", "--yes", "--from", "/dev/null"])
        .refused(2, "is not what");

    let approved = cluster.quorate(&[&approve[..], &["--yes"]].concat());

    assert_eq!(approved.code, 0, "{approved:?}");
    for name in &names {
        let shown = cluster.json(&["key", "show", name]);
        assert_eq!(shown["nodes"], json!(["node-a", "node-b", "node-d"]));
        assert_eq!(shown["epoch"], 2);
    }
    let done = cluster.quorate(&words);
    assert_eq!(done.code, 0, "{done:?}");
}

/// Reshares a key by two admins.
fn reshare_approved(cluster: &Cluster, name: &str, nodes: &str) {
    let words = ["key", "reshare", name, "--threshold", "2", "-o", "json"];
    let proposed = cluster.quorate(&[&words[..], &["--nodes", nodes]].concat());
    let shown: Value = serde_json::from_str(&proposed.stdout).unwrap();
    let [id, digest] = ["command_id", "digest"].map(|field| shown[field].as_str().unwrap());
    let words = ["command", "approve", id, "--identity", "admin-2", "--yes"];
    cluster.json(&[&words[..], &["--digest", digest]].concat());
}

/// What a process has to do with a resharing.
#[derive(Clone, Copy, Debug)]
enum Part {
    /// It holds a share and gives it up. One of two such nodes deals.
    Leaves,
    /// It deals, and receives.
    Stays,
    /// It only receives.
    Comes,
    Coordinator,
}

/// What is asked for, and who dies in it.
const KILLS: [(&str, Part); 6] = [
    ("reshare", Part::Leaves),
    ("reshare", Part::Coordinator),
    ("refresh", Part::Stays),
    ("reshare", Part::Comes),
    ("refresh", Part::Coordinator),
    ("reshare", Part::Stays),
];

/// How far it has come by then.
const PERCENTS: [u32; 5] = [10, 50, 70, 80, 90];

/// The committees that a key goes back and forth between. One node is in both.
const COMMITTEES: [[&str; 3]; 2] = [
    ["node-a", "node-b", "node-c"],
    ["node-c", "node-d", "node-e"],
];

fn members(cluster: &Cluster, key: &str) -> Vec<String> {
    serde_json::from_value(cluster.json(&["key", "show", key])["nodes"].clone()).unwrap()
}

/// The node that has this part in a resharing; none is the coordinator.
fn victim(part: Part, before: &[String], after: &[String], turn: usize) -> Option<String> {
    let choice: Vec<&String> = match part {
        Part::Coordinator => return None,
        Part::Leaves => before.iter().filter(|one| !after.contains(one)).collect(),
        Part::Stays => before.iter().filter(|one| after.contains(one)).collect(),
        Part::Comes => after.iter().filter(|one| !before.contains(one)).collect(),
    };
    Some(choice[turn % choice.len()].clone())
}

/// Kills a process as soon as a command has come so far, and says whether the command was not over
/// by then.
fn kill_at(cluster: &Cluster, victim: i64, percent: u32, arguments: &[&str]) -> bool {
    let mut running = cluster.watch(arguments);
    let far = |line: &str| {
        let number = line.trim().split('%').next().unwrap_or_default();
        number.parse::<u32>().is_ok_and(|done| done >= percent)
    };
    let reached = running.stderr.first(far).is_some();
    kill(victim);
    wait_until_gone(victim);
    if !reached {
        assert_eq!(running.end().code, 0, "{arguments:?}");
        return false;
    }
    // It may still succeed, fail, or find nobody to answer: what counts is what is left.
    let met = running.code() != Some(0);
    running.kill();
    met
}

/// Waits until the holders of a key have one share of it with all that belongs to it, and nobody else
/// has any.
fn only_holders_have_shares(cluster: &Cluster, key: &str, files: usize) {
    let holders = members(cluster, key);
    for node in ["node-a", "node-b", "node-c", "node-d", "node-e"] {
        let expected = if holders.iter().any(|holder| holder == node) {
            files
        } else {
            0
        };
        wait_for(&format!("{expected} files of {key} at {node}"), || {
            (cluster.vault_files(node, key).len() == expected).then_some(())
        });
    }
}

/// Every part in a run dies in a run of each scheme within 12 cycles, and at every step within 60.
#[test]
fn a_process_killed_at_any_step_leaves_a_key_that_signs_and_can_be_reshared() {
    let cycles = std::env::var("QUORATE_KILL_CYCLES")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(KILL_CYCLES);
    let cluster = Cluster::start(&["--nodes", "5"]);
    create(&cluster, "notes", "bip340", "messages");
    create(&cluster, "account", "ecdsa-secp256k1", "messages");
    cluster.kill_coordinator();
    let mut coordinator = cluster.start_coordinator();
    cluster.wait_for_connected(5);
    let mut nodes: Vec<Process> = Vec::new();
    let mut met = 0;
    for cycle in 0..cycles {
        let (key, kind) = [("notes", "message"), ("account", "evm-message")][cycle % 2];
        let (verb, part) = KILLS[cycle / 2 % KILLS.len()];
        let before = members(&cluster, key);
        let after = if verb == "refresh" {
            before.clone()
        } else {
            let is_first = before.iter().any(|node| node == COMMITTEES[0][0]);
            COMMITTEES[usize::from(is_first)].map(str::to_owned).into()
        };
        let committee = after.join(",");
        let mut command = vec!["key", verb, key];
        if verb == "reshare" {
            command.extend(["--threshold", "2", "--nodes", &committee]);
        }
        let dies = victim(part, &before, &after, cycle + cycle / 12);
        let pid = match &dies {
            Some(node) => cluster.node_pid(node),
            None => coordinator.id(),
        };

        let is_met = kill_at(&cluster, pid, PERCENTS[cycle % PERCENTS.len()], &command);

        met += usize::from(is_met);
        match &dies {
            Some(node) => {
                assert!(before.contains(node) || after.contains(node));
                nodes.push(cluster.start_node(node));
            }
            None => coordinator = cluster.start_coordinator(),
        }
        cluster.wait_for_connected(5);
        wait_for("a signature", || {
            let signed = cluster.quorate(&["sign", kind, key, "--text", "pay"]);
            (signed.code == 0).then_some(())
        });
        let reshared = wait_for("a resharing", || {
            // One that the command gives up too early is made again, and again.
            let patient = ["-o", "json", "--timeout", "2m"];
            let done = cluster.quorate(&[&command[..], &patient].concat());
            (done.code == 0).then(|| done.json())
        });
        assert_eq!(reshared["missing"], json!([]), "cycle {cycle}");
        assert_eq!(members(&cluster, key), after, "cycle {cycle}");
    }
    eprintln!("{met} of {cycles} kills met a command that was not over");
    assert!(met * 2 > cycles, "{met} of {cycles} kills met a command");
    only_holders_have_shares(&cluster, "notes", 1);
    only_holders_have_shares(&cluster, "account", 2);
    audited(&cluster);
}

/// Whoever lost the files of its shares gets others, as the receiver of a refresh.
#[test]
fn a_node_that_lost_its_vault_is_made_whole_by_a_refresh() {
    let cluster = Cluster::start(&[]);
    create(&cluster, "notes", "bip340", "messages");
    create(&cluster, "account", "ecdsa-secp256k1", "messages");
    cluster.kill_node("node-a");
    let vault = cluster.directory().join("nodes/node-a/vault");
    std::fs::remove_dir_all(&vault).unwrap();
    std::fs::create_dir(&vault).unwrap();
    let _node = cluster.start_node("node-a");
    cluster.wait_for_connected(3);
    // Only the others sign.
    for words in [["message", "notes"], ["evm-message", "account"]] {
        let signed = cluster.json(&[&["sign"][..], &words, &["--text", "pay"]].concat());
        assert_eq!(signed["signers"], json!(["node-b", "node-c"]));
    }

    cluster.json(&["key", "refresh", "notes", "account"]);

    cluster.kill_node("node-b");
    cluster.wait_for_connected(2);
    for words in [["message", "notes"], ["evm-message", "account"]] {
        let signed = cluster.json(&[&["sign"][..], &words, &["--text", "pay"]].concat());
        assert_eq!(signed["signers"], json!(["node-a", "node-c"]));
        assert_eq!(signed["epoch"], 2);
    }
}

fn epochs(cluster: &Cluster) -> std::collections::BTreeMap<String, u64> {
    let listed = cluster.json(&["key", "list"]);
    let all = listed.as_array().unwrap().iter();
    all.map(|key| {
        let name = key["name"].as_str().unwrap().to_owned();
        (name, key["epoch"].as_u64().unwrap())
    })
    .collect()
}

/// Whoever is interrupted runs the same command again, and what has moved stays where it is.
#[test]
fn a_replacement_that_was_interrupted_goes_on_where_it_ended() {
    let cluster = Cluster::start(&["--nodes", "4"]);
    // It has a share at both nodes, and cannot move from one to the other.
    reshare(&cluster, "demo-taproot", "2", "node-a,node-b,node-d");
    let names: Vec<String> = (0..12).map(|number| format!("user-{number}")).collect();
    for name in &names {
        create(&cluster, name, "bip340", "messages");
    }
    let words = ["node", "replace", "node-c", "node-d", "--parallel", "1"];
    let mut running = cluster.watch(&words);
    let _moved = running.stderr.first(|line| line.contains("3/"));
    running.signal(Signal::INT);
    let interrupted = running.end();
    // It tells how far it came before it ends.
    interrupted.refused(1, "run the command again");
    assert!(interrupted.stdout.contains("not tried"), "{interrupted:?}");
    let before = epochs(&cluster);
    let moved = names.iter().filter(|name| before[*name] > 1).count();
    assert!((2..12).contains(&moved), "{before:?}");

    let done = cluster.quorate(&words);

    assert_eq!(done.code, 0, "{done:?}");
    let after = epochs(&cluster);
    for name in &names {
        // Nothing is moved twice; what was under way when it ended may have taken a number.
        assert!((2..=3).contains(&after[name]), "{name}: {after:?}");
        let shown = cluster.json(&["key", "show", name]);
        assert_eq!(shown["nodes"], json!(["node-a", "node-b", "node-d"]));
    }
    let again = cluster.quorate(&words);
    assert_eq!(again.code, 0, "{again:?}");
    assert_eq!(epochs(&cluster), after);
}

/// P41: what a coordinator holds back, a host brings. A holder that was away hears at its console that
/// a later epoch is in use, and then that the key is to be destroyed.
#[test]
fn certificates_are_brought_to_a_stopped_node_at_its_own_console() {
    let cluster = Cluster::start(&["--nodes", "4", "--lifecycle-delay", "0"]);
    create(&cluster, "demo", "bip340", "messages");
    reshare(&cluster, "demo", "2", "node-a,node-b,node-c");
    let directory = cluster.file("certificates");
    let certificates = || {
        cluster.json(&["key", "certificates", "demo", "--out", &directory]);
    };
    certificates();
    let import = |file: &str| {
        let config = cluster.node_config("node-c");
        let mut command = program("quorate-node");
        run(command
            .args(["import-certificate", "--config"])
            .arg(config)
            .arg(format!("{directory}/{file}")))
    };
    import("demo-epoch-2.cert").refused(1, "stop it first");
    cluster.kill_node("node-c");
    reshare(&cluster, "demo", "2", "node-a,node-b,node-d");
    certificates();
    let held = cluster.vault_files("node-c", "demo");
    assert_eq!(held.len(), 1);

    let moved = import("demo-epoch-3.cert");

    assert_eq!(moved.code, 0, "{moved:?}");
    assert!(moved.stdout.contains("epoch 3"), "{moved:?}");
    assert_eq!(import("demo-epoch-3.cert").code, 0, "and again");
    let old = import("demo-epoch-2.cert");
    assert_eq!(old.code, 1, "{old:?}");
    import("demo-creation.cert").refused(1, "without the proof");
    std::fs::write(format!("{directory}/garbage.cert"), b"garbage").unwrap();
    import("garbage.cert").refused(1, "no certificate");

    cluster.json(&["key", "deactivate", "demo", "--reason", "over"]);
    let end = |more: &[&str]| {
        let words = ["key", "destroy", "demo", "--reason", "over"];
        cluster.quorate(&[&words[..], more].concat())
    };
    assert_eq!(end(&[]).code, 0);
    let out = format!("{directory}/demo-destruction.cert");
    end(&["--confirm", "--out", &out]).refused(5, "partial");
    let ended = import("demo-destruction.cert");
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(
        ended
            .stdout
            .contains("confirm the destruction of demo: acted by")
    );
    assert_eq!(cluster.vault_files("node-c", "demo"), Vec::<String>::new());
    let _node = cluster.start_node("node-c");
    cluster.wait_for_connected(4);
    wait_for("the whole destruction", || {
        (end(&["--confirm"]).code == 0).then_some(())
    });
}

/// The certificate of a later epoch is verified offline, with that of the key's birth in it.
#[test]
fn the_certificate_of_an_epoch_is_verified_without_the_cluster() {
    let cluster = Cluster::start(&[]);
    let born = create(&cluster, "notes", "bip340", "messages");
    cluster.json(&["key", "refresh", "notes"]);
    let directory = cluster.file("certificates");
    let all = cluster.json(&["key", "certificates", "notes", "--out", &directory]);
    let kinds: Vec<&str> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["certificate"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["creation", "epoch-2"]);
    let file = format!("{directory}/notes-epoch-2.cert");
    cluster.kill_coordinator();
    let verify = |file: &str| cluster.quorate(&["verify", "certificate", file, "-o", "json"]);

    let verified = verify(&file).json();

    assert_eq!(verified["key_id"], born["id"]);
    assert_eq!(verified["epoch"], 2);
    assert_eq!(verified["possession"], true);
    let bytes = std::fs::read(&file).unwrap();
    for at in [bytes.len() / 3, bytes.len() / 2, bytes.len() - 10] {
        let mut forged = bytes.clone();
        forged[at] ^= 1;
        std::fs::write(&file, forged).unwrap();
        let refused = verify(&file);
        assert_eq!(refused.code, 7, "byte {at}: {refused:?}");
    }
}
