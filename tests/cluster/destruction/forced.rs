//! The end of a key without announcement and delay, which takes every admin.

use serde_json::{Value, json};

use super::{REASON, audited, destroy};
use crate::harness::{Cluster, Done};

/// P11, P34: two admins, at two keyboards. One of them destroys nothing, however often; both do it
/// without the delay.
#[test]
fn a_forced_destruction_waits_for_every_admin_and_then_for_nothing() {
    let cluster = Cluster::start(&["--lifecycle-delay", "3600", "--second-admin"]);
    cluster.create_key("old", "bip340", "messages");
    let file = cluster.file("old.cert");
    let force = ["--force", "--out", &file];
    let approve = |proposed: &Done, who: &str| {
        let told: Value = serde_json::from_str(&proposed.stdout).unwrap();
        let [id, digest] = ["command_id", "digest"].map(|field| told[field].as_str().unwrap());
        let words = ["command", "approve", id, "--identity", who, "--yes"];
        cluster.quorate(&[&words[..], &["--digest", digest]].concat())
    };
    let words = ["key", "compromise", "old", "-o", "json"];
    let compromised = cluster.quorate(&[&words[..], &REASON].concat());
    assert_eq!(approve(&compromised, "admin-2").code, 0);

    let proposed = destroy(&cluster, "old", &force);

    proposed.refused(4, "every other admin");
    proposed.refused(4, "is not written");
    let told: Value = serde_json::from_str(&proposed.stdout).unwrap();
    let id = told["command_id"].as_str().unwrap();
    cluster.wait_for_state(id, "AWAITING_ENDORSEMENT");
    approve(&proposed, "admin").refused(3, "endorses twice");
    let still = cluster.json(&["command", "show", id]);
    assert_eq!(still["state"], "AWAITING_ENDORSEMENT", "{still}");
    assert_eq!(
        cluster.json(&["key", "show", "old"])["state"],
        "COMPROMISED"
    );
    assert_eq!(cluster.vault_files("node-a", "old"), ["old.1"]);

    let approved = approve(&proposed, "admin-2");

    assert_eq!(approved.code, 0, "{approved:?}");
    for says in [
        "destroy for good, at once, key old",
        "a drill",
        "nobody can undo it",
    ] {
        assert!(approved.stderr.contains(says), "{says}: {approved:?}");
    }
    let shown = cluster.json(&["key", "show", "old"]);
    assert_eq!(shown["state"], "DESTROYED_COMPROMISED");
    for node in ["node-a", "node-b", "node-c"] {
        assert_eq!(cluster.vault_files(node, "old"), [""; 0]);
    }
    let done = destroy(&cluster, "old", &force).json();
    assert_eq!(done["destruction"]["complete"], true, "{done}");
    let verified = cluster.json(&["verify", "certificate", &file]);
    assert_eq!(verified["destruction"]["missing_holders"], json!([]));
    audited(&cluster);
}
