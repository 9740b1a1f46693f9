//! Machines that are not who they should be.

use std::{fs, path::Path, process::Command};

use crate::harness::{Cluster, Process, program, run, wait_for};

#[test]
fn a_copy_of_a_node_is_refused_while_the_original_is_connected_and_reported() {
    let cluster = Cluster::start(&[]);
    cluster.create_key("notes", "bip340", "messages");
    let (_, directory) = cluster.stop();
    copy(
        &directory.path().join("nodes/node-a"),
        &directory.path().join("copy"),
    );
    let cluster = Cluster::start_in(directory, &[]);
    let original = cluster.node_pid("node-a");

    let mut second = Process::start(
        cluster
            .node_command("node-a")
            .args(["--dir", &cluster.file("copy")]),
    );
    second.stderr.wait_for("link is down");

    wait_for("a report of the coordinator", || {
        let log = cluster.log("coordinator");
        log.contains("two machines use the identity of this node")
            .then_some(())
    });
    for number in 0..5 {
        let text = format!("message {number}");
        cluster.json(&["sign", "message", "notes", "--text", &text]);
    }
    assert_eq!(cluster.nodes().len(), 3);
    cluster.wait_for_connected(3);
    assert_eq!(cluster.node_pid("node-a"), original);
    let second = second.stderr.wait_for("link is down");
    assert!(second.contains("coordinator"), "{second}");
}

#[test]
fn a_node_that_the_roster_does_not_list_never_appears() {
    let cluster = Cluster::start(&[]);
    let directory = cluster.directory().join("strangers");
    fs::create_dir(&directory).unwrap();
    let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    let phrase = path("phrase");
    fs::write(&phrase, "the passphrase of strangers\n").unwrap();
    // Strangers make a roster of their own, which names the coordinator that they are after.
    let mut cards = vec![cluster.file("coordinator/card.json")];
    for id in ["node-a", "node-x"] {
        let key = path(&format!("{id}.key"));
        fs::copy(cluster.file("nodes/node-a.key"), &key).unwrap();
        made(
            program("quorate-node")
                .args(["init", "--id", id, "--region", "r", "--organisation", "o"])
                .args(["--dir", &path(id), "--key-file", &key]),
        );
        cards.push(path(&format!("{id}/card.json")));
    }
    for (id, role) in [("ann", "admin"), ("bob", "client")] {
        let card = made(
            program("quorate")
                .args(["identity", "new", id, "--role", role])
                .args(["--home", &path("home"), "--passphrase-file", &phrase]),
        );
        let file = path(&format!("{id}.card.json"));
        fs::write(&file, card).unwrap();
        cards.push(file);
    }
    let roster = path("roster.json");
    let said = made(
        program("quorate")
            .args([
                "cluster",
                "init",
                "--name",
                "strangers",
                "--identity",
                "ann",
            ])
            .args(["--home", &path("home"), "--passphrase-file", &phrase])
            .args(["--lifecycle-quorum", "1", "--out", &roster, "-o", "json"])
            .args(&cards),
    );
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    let hash = said["roster_hash"].as_str().unwrap();

    for id in ["node-a", "node-x"] {
        let key = path(&format!("{id}.key"));
        made(
            program("quorate-node")
                .args(["pin", "--roster", &roster, "--hash", hash])
                .args(["--dir", &path(id), "--key-file", &key]),
        );
        let mut stranger = Process::start(cluster.node_command("node-a").args([
            "--dir",
            &path(id),
            "--key-file",
            &key,
        ]));
        stranger.ready();
        stranger.stderr.wait_for("link is down");
    }

    wait_for("two refusals of the coordinator", || {
        let log = cluster.log("coordinator");
        (log.matches("connection is refused").count() >= 2).then_some(())
    });
    assert_eq!(cluster.nodes().len(), 3);
    assert!(!cluster.log("coordinator").contains("two machines"));
    let own = cluster.json(&["key", "show", "demo-taproot"]);
    assert_eq!(own["state"], "ACTIVE");
    let real = cluster.home().join("roster.json");
    let refused = run(program("quorate-node")
        .args(["pin", "--hash", hash, "--dir", &path("node-x")])
        .args(["--key-file", &path("node-x.key"), "--roster"])
        .arg(real));
    assert_eq!(refused.code, 1, "{refused:?}");
}

/// Runs a command that must succeed and returns what it printed.
fn made(command: &mut Command) -> String {
    let done = run(command);
    assert_eq!(done.code, 0, "{done:?}");
    done.stdout
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
