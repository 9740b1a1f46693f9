//! What a newcomer does, and must see.

use crate::harness::{Cluster, is_alive, kill, program, run, wait_until_gone};

#[test]
fn dev_runs_a_command_with_the_profile_and_ends_with_its_status() {
    let directory = tempfile::tempdir().unwrap();

    let done = run(program("quorate")
        .args([
            "dev",
            "--exec",
            "quorate key show demo-taproot -o json && exit 7",
            "--dir",
        ])
        .arg(directory.path())
        .env("QUORATE_DEV_NO_BUILD", "1"));

    assert_eq!(done.code, 7, "{done:?}");
    assert!(done.stdout.contains("\"ACTIVE\""), "{done:?}");
    assert!(done.stdout.contains("demo-taproot"), "{done:?}");
}

#[test]
fn dev_tells_its_command_where_the_gateway_is() {
    let done = run(program("quorate")
        .args(["dev", "--gateway", "--exec", "echo $ETH_RPC_URL"])
        .env("ETH_RPC_URL", "http://elsewhere.example")
        .env("QUORATE_DEV_NO_BUILD", "1"));

    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stdout.starts_with("http://127.0.0.1:"), "{done:?}");
    assert!(done.stderr.contains(done.stdout.trim()), "{done:?}");
}

#[test]
fn nothing_is_left_behind_even_when_dev_itself_is_killed() {
    let cluster = Cluster::start(&[]);
    let pids = cluster.node_pids();
    assert_eq!(pids.len(), 3);
    assert!(pids.iter().all(|pid| is_alive(*pid)));

    drop(cluster);

    pids.into_iter().for_each(wait_until_gone);
}

#[test]
fn a_kept_directory_comes_back_with_its_keys() {
    let cluster = Cluster::start(&[]);
    let before = cluster.json(&["key", "show", "demo-taproot"]);

    let (_, directory) = cluster.stop();
    let cluster = Cluster::start_in(directory, &[]);

    assert_eq!(
        cluster.json(&["key", "show", "demo-taproot"])["public_key"],
        before["public_key"]
    );
    let (_, directory) = cluster.stop();
    let other = run(program("quorate")
        .args(["dev", "--second-admin", "--exec", "true", "--dir"])
        .arg(directory.path())
        .env("QUORATE_DEV_NO_BUILD", "1"));
    assert_ne!(other.code, 0, "{other:?}");
    assert!(other.stderr.contains("made with one admin"), "{other:?}");
}

#[test]
fn shapes_that_cannot_be_are_refused_before_anything_starts() {
    for (arguments, says) in [
        (["--nodes", "3", "--threshold", "4"], "threshold"),
        (["--nodes", "3", "--threshold", "1"], "expected 2"),
        (["--nodes", "1", "--threshold", "2"], "expected 3 to 32"),
    ] {
        let done = run(program("quorate")
            .arg("dev")
            .args(arguments)
            .env("QUORATE_DEV_NO_BUILD", "1"));

        assert_ne!(done.code, 0, "{done:?}");
        assert!(done.stderr.contains(says), "expected \"{says}\": {done:?}");
    }
}

#[test]
fn sigterm_ends_everything() {
    let cluster = Cluster::start(&[]);
    let pids = cluster.node_pids();

    let (_, _directory) = cluster.stop();

    pids.into_iter().for_each(wait_until_gone);
}

#[test]
fn a_killed_node_is_not_restarted_by_dev() {
    let cluster = Cluster::start(&[]);
    let pid = cluster.nodes()[0]["pid"].as_i64().unwrap();

    kill(pid);
    cluster.wait_for_connected(2);

    let dead = cluster
        .nodes()
        .into_iter()
        .find(|node| node["connected"] == false)
        .unwrap();
    assert_eq!(dead["pid"], 0);
}
