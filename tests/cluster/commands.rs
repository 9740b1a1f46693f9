//! Commands that come too late, or under an id that is taken.

use std::time::Duration;

use quorate_client::{
    Client, CommandOptions, CommandTimes,
    identity::Identity,
    model::{Payload, UnixMillis, roster::Role},
    passphrase::Passphrase,
    profile::Profile,
};

use crate::harness::Cluster;

#[test]
fn a_command_that_has_expired_is_refused_and_stays_refused() {
    let cluster = Cluster::start(&[]);
    cluster.create_key("notes", "bip340", "messages");
    let id = "5e7a1c94-8b2d-4f36-9a0e-d3c6b1f4e827";
    keep_command(&cluster, id, "late", expired());
    let sign = [
        "sign",
        "message",
        "notes",
        "--text",
        "late",
        "--command-id",
        id,
    ];

    for _ in 0..2 {
        let done = cluster.quorate(&sign);

        done.refused(1, "the command has expired");
        done.refused(1, "COMMAND_EXPIRED");
    }
    cluster.json(&["sign", "message", "notes", "--text", "in time"]);
}

#[test]
fn what_has_ended_does_not_keep_the_rest_of_a_file_from_being_approved() {
    let cluster = Cluster::start(&["--second-admin"]);
    cluster.create_key("notes", "bip340", "messages");
    cluster.create_key("memos", "bip340", "messages");
    let proposed = cluster.quorate(&["key", "refresh", "notes", "memos", "-o", "json"]);
    proposed.refused(4, "must approve them");
    let file = cluster.file("proposed.json");
    std::fs::write(&file, &proposed.stdout).unwrap();
    let shown: serde_json::Value = serde_json::from_str(&proposed.stdout).unwrap();
    let text = |name: &str| shown["waiting"][0][name].as_str().unwrap().to_owned();
    let (id, digest) = (text("command_id"), text("digest"));
    let words = ["--identity", "admin-2", "--yes"];
    let one = ["command", "approve", &id, "--digest", &digest];
    let all = ["command", "approve", "--from", &file];
    assert_eq!(cluster.quorate(&[&one[..], &words].concat()).code, 0);
    cluster.wait_for_state(&id, "SUCCEEDED");

    let rest = cluster.quorate(&[&all[..], &words].concat());

    assert_eq!(rest.code, 0, "{rest:?}");
    let told = format!("command {id} is SUCCEEDED and waits for nobody: passed over");
    assert!(rest.stderr.contains(&told), "{}", rest.stderr);
    for name in ["notes", "memos"] {
        assert_eq!(cluster.json(&["key", "show", name])["epoch"], 2);
    }
    let again = cluster.quorate(&[&all[..], &words].concat());
    assert_eq!(again.code, 0, "{again:?}");
    // Nothing is left to forbid, which is no success for whoever wants to.
    let against = ["command", "reject", "--from", &file];
    let late = cluster.quorate(&[&against[..], &words].concat());
    late.refused(1, "2 of 2 commands were not rejected");
    late.refused(1, "came too late");
}

#[test]
fn a_command_id_is_bound_to_its_first_bytes() {
    let cluster = Cluster::start(&[]);
    cluster.create_key("notes", "bip340", "messages");
    let sign = |text: &str, id: &str| {
        cluster.quorate(&[
            "sign",
            "message",
            "notes",
            "--text",
            text,
            "--command-id",
            id,
            "-o",
            "json",
        ])
    };
    let id = "8f4b2d60-1a7c-4e95-b3d8-6c0e9f5a2b71";
    let first = sign("once", id).json();

    let other = sign("twice", id);
    let again = sign("once", id).json();

    other.refused(1, "REQUEST_ID_REUSED");
    assert_eq!(again["signatures"], first["signatures"]);
}

/// Times of a command that ended a second after it was made, an hour ago.
fn expired() -> CommandTimes {
    let hour = 60 * 60 * 1000;
    let made = CommandTimes::from_now().created.0 - hour;
    CommandTimes {
        created: UnixMillis(made),
        expires: UnixMillis(made + 1000),
    }
}

/// Makes a command with these times where the command line looks for commands to repeat.
fn keep_command(cluster: &Cluster, id: &str, text: &str, times: CommandTimes) {
    let profile = Profile::load(cluster.home()).unwrap();
    let passphrase = Passphrase::read(&profile.passphrase_path().unwrap()).unwrap();
    let path = profile.identity_path(Role::Client).unwrap();
    let identity = Identity::read(&path, &passphrase).unwrap();
    let options = CommandOptions {
        command_id: Some(quorate_client::model::CommandId(id.parse().unwrap())),
        times: Some(times),
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let prepared = runtime.block_on(async {
        let client = Client::connect(&profile, identity, Duration::from_secs(30)).await?;
        let key = client.key(&"notes".parse().unwrap()).await?;
        client.prepare_sign(&key, vec![Payload::message(text.as_bytes())], &options)
    });
    let path = cluster
        .home()
        .join("commands")
        .join(format!("{id}.command"));
    prepared.unwrap().write(&path).unwrap();
}
