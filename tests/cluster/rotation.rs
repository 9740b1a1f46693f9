//! Keys with a plan over real processes: what is due, and a new key in the place of an old one.

use serde_json::{Value, json};

use crate::harness::Cluster;

fn due(cluster: &Cluster, within: &str) -> Vec<(String, String, Value)> {
    let listed = cluster.json(&["key", "list", "--due", "--within", within]);
    let all = listed.as_array().unwrap().iter();
    all.map(|one| {
        let text = |field: &str| one[field].as_str().unwrap().to_owned();
        (text("name"), text("due_for"), one["replaced_by"].clone())
    })
    .collect()
}

fn line(name: &str, what: &str, by: Value) -> (String, String, Value) {
    (name.to_owned(), what.to_owned(), by)
}

/// The key was used since it was shown like this, and by nobody before.
fn assert_used(cluster: &Cluster, before: &Value) {
    let of_key = |shown: &Value, field: &str| shown["life"][field].as_u64();
    let after = cluster.json(&["key", "show", "hot"]);
    let activated = of_key(&after, "activated_ms");
    assert!(activated >= of_key(before, "created_ms"), "{after}");
    assert_eq!(of_key(before, "last_used_ms"), None);
    assert!(of_key(&after, "last_used_ms") >= activated, "{after}");
}

#[test]
fn a_key_becomes_due_is_rotated_and_retired() {
    let cluster = Cluster::start(&[]);
    let words = ["key", "create", "hot", "--scheme", "bip340"];
    let plan = ["--cryptoperiod", "365d", "--refresh-every", "90d"];
    let purpose = ["--purpose", "messages"];
    let old = cluster.json(&[&words[..], &plan, &purpose].concat());
    assert_eq!(due(&cluster, "1d"), []);
    assert_eq!(due(&cluster, "91d"), [line("hot", "refresh", Value::Null)]);
    assert_eq!(
        due(&cluster, "366d"),
        [
            line("hot", "refresh", Value::Null),
            line("hot", "rotation", Value::Null)
        ]
    );

    let new = cluster.json(&["key", "rotate", "hot"]);

    assert_eq!(new["name"], "hot-2");
    assert_ne!(new["public_key"], old["public_key"]);
    let shown = cluster.json(&["key", "show", "hot-2"]);
    assert_eq!(
        shown["life"]["replaces"],
        json!({ "name": "hot", "id": old["id"] })
    );
    for same in ["scheme", "threshold", "nodes", "purposes"] {
        assert_eq!(new[same], old[same], "{same}");
    }
    let period = |key: &Value, end: &str| {
        let ms = |field: &str| key["life"][field].as_u64().unwrap();
        ms(end) - ms("created_ms")
    };
    for planned in ["planned_end_ms", "refresh_due_ms"] {
        assert_eq!(period(&new, planned), period(&old, planned), "{planned}");
    }
    let link = json!({ "name": "hot-2", "id": new["id"], "state": "ACTIVE" });
    let replaced = cluster.json(&["key", "show", "hot"]);
    assert_eq!(replaced["life"]["replaced_by"], link);
    let listed = cluster.json(&["key", "list"]);
    let of_list = listed.as_array().unwrap().iter();
    let link_of = |name: &str| {
        let mut named = of_list.clone().filter(|key| key["name"] == name);
        named.next().unwrap()["life"]["replaced_by"].clone()
    };
    assert_eq!((link_of("hot"), link_of("hot-2")), (link, Value::Null));
    let told = cluster.quorate(&["key", "show", "hot"]).stdout;
    assert!(told.contains("replaced by") && told.contains("activated"));
    let mut all = due(&cluster, "1d");
    all.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(all, [line("hot", "retirement", json!("hot-2"))]);
    // Both sign, so that what the old one holds can be moved.
    for name in ["hot", "hot-2"] {
        let signed = cluster.quorate(&["sign", "message", name, "--text", "move"]);
        assert_eq!(signed.code, 0, "{}", signed.stderr);
    }
    assert_used(&cluster, &replaced);
    cluster.json(&["key", "deactivate", "hot", "--reason", "replaced by hot-2"]);
    assert_eq!(due(&cluster, "1d"), []);
    // Once more only on purpose, and with advice that can be followed.
    cluster
        .quorate(&["key", "rotate", "hot"])
        .refused(2, "\"hot-2\" takes its place");
    let words = ["key", "rotate", "hot", "--name", "other"];
    let without = ["--without", "cryptoperiod,refresh-every"];
    let third = cluster.quorate(&[&words[..], &without].concat());
    let life = &cluster.json(&["key", "show", "other"])["life"];
    for planned in ["planned_end_ms", "refresh_due_ms"] {
        assert_eq!(life[planned], Value::Null, "{planned}");
    }
    assert!(third.stderr.contains("key destroy hot"), "{third:?}");
    cluster.json(&["node", "drain", "node-c"]);
    cluster
        .quorate(&["key", "rotate", "hot-2"])
        .refused(3, "node-c (drained)");
    let few = ["--nodes", "node-a,node-b", "--validate-only"];
    cluster
        .quorate(&[&["key", "rotate", "hot-2"][..], &few].concat())
        .refused(2, "--accept-fragile");
}

/// The last refresh is what the next one is counted from.
#[test]
fn a_refreshed_key_says_when_and_is_due_later() {
    let cluster = Cluster::start(&[]);
    let words = ["key", "create", "hot", "--scheme", "bip340"];
    let plan = ["--refresh-every", "90d", "--purpose", "messages"];
    let born = cluster.json(&[&words[..], &plan].concat());

    cluster.json(&["key", "refresh", "hot"]);

    let shown = cluster.json(&["key", "show", "hot"]);
    let ms = |key: &Value, field: &str| key["life"][field].as_u64().unwrap();
    assert_eq!(ms(&shown, "created_ms"), ms(&born, "created_ms"));
    assert_eq!(ms(&born, "dealt_ms"), ms(&born, "created_ms"));
    assert!(ms(&shown, "dealt_ms") > ms(&born, "dealt_ms"));
    let later = ms(&shown, "dealt_ms") - ms(&born, "dealt_ms");
    assert_eq!(
        ms(&shown, "refresh_due_ms") - ms(&born, "refresh_due_ms"),
        later
    );
    let table = cluster.quorate(&["key", "show", "hot"]);
    assert!(table.stdout.contains("refreshed"), "{table:?}");
}

#[test]
fn plans_that_make_no_sense_change_nothing() {
    let cluster = Cluster::start(&[]);
    cluster.create_key("hot", "bip340", "messages");
    for (words, code, says) in [
        (
            &["key", "rotate", "hot", "--name", "hot"][..],
            1,
            "would replace itself",
        ),
        (&["key", "rotate", "cold"], 1, "KEY_UNKNOWN"),
        (
            &[
                "key",
                "create",
                "cold",
                "--scheme",
                "bip340",
                "--cryptoperiod",
                "0s",
            ],
            2,
            "expected 1 s to 100 years",
        ),
        (
            &[
                "key",
                "create",
                "cold",
                "--scheme",
                "bip340",
                "--cryptoperiod",
                "soon",
            ],
            2,
            "is no period",
        ),
        (&["key", "list", "--within", "30d"], 2, "--due"),
        (
            &[
                "key",
                "rotate",
                "hot",
                "--command-id",
                "0e6c5c2f-7f64-4a1e-9d1c-52a0f3b87d10",
            ],
            2,
            "--command-id without --name",
        ),
    ] {
        let done = cluster.quorate(words);
        assert!(done.stderr.contains(says), "{words:?}: {}", done.stderr);
        assert_eq!(done.code, code, "{words:?}: {}", done.stderr);
    }
    let names = cluster.json(&["key", "list"]);
    assert_eq!(names.as_array().unwrap().len(), 2);
}
