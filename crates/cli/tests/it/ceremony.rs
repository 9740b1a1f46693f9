//! Identities, rosters and profiles, as in `docs/operations/ceremony.md`.

use std::fs;

use crate::workspace::Workspace;

const CARDS: &str = "node-a.json node-b.json node-c.json coordinator.json admin.json client.json";

#[test]
fn a_ceremony_ends_with_a_pinned_profile() {
    let workspace = Workspace::new();

    let hash = workspace.cluster();

    let shown = workspace.succeed("cluster show -o json").json();
    assert_eq!(shown["roster_hash"], hash.as_str());
    assert_eq!(shown["complete"], true);
    assert_eq!(shown["content"]["nodes"].as_array().unwrap().len(), 3);
    assert_eq!(shown["content"]["lifecycle_quorum"], 1);
}

#[test]
fn each_admin_signs_and_a_roster_without_all_of_them_is_not_pinned() {
    let workspace = Workspace::new();
    workspace.cards();
    let bob = workspace.succeed("identity new bob --role admin");
    workspace.write("bob.json", &bob.out);

    let first = workspace
        .succeed(&format!(
            "cluster init {CARDS} bob.json --name test --identity bob -o json"
        ))
        .json();
    let hash = first["roster_hash"].as_str().unwrap();
    let early = workspace.run(&format!(
        "cluster pin roster.json --hash {hash} --coordinator coordinator=127.0.0.1:1"
    ));
    let other = workspace.run(&format!(
        "cluster sign roster.json --identity admin-x --hash {}",
        "0".repeat(64)
    ));
    let second = workspace
        .succeed(&format!(
            "cluster sign roster.json --identity admin-x --hash {hash} -o json"
        ))
        .json();

    assert_eq!(first["complete"], false);
    assert_eq!(first["missing"][0], "admin-x");
    assert_eq!(early.code, 7, "{}", early.err);
    assert!(
        early.err.contains("signed by 1 admins, expected 2"),
        "{}",
        early.err
    );
    assert_eq!(other.code, 7, "{}", other.err);
    assert_eq!(second["complete"], true);
    assert_eq!(second["roster_hash"], hash);
}

#[test]
fn a_stranger_or_a_client_does_not_sign_a_roster() {
    let workspace = Workspace::new();
    workspace.cards();
    workspace.succeed("identity new eve --role admin");
    workspace.succeed(&format!(
        "cluster init {CARDS} --name test --lifecycle-quorum 1"
    ));
    let before = fs::read(workspace.path("roster.json")).unwrap();

    for signer in ["eve", "client-x"] {
        let run = workspace.run(&format!("cluster sign roster.json --identity {signer}"));

        assert_eq!(run.code, 7, "{}", run.err);
        assert!(run.err.contains("is not an admin's"), "{}", run.err);
    }
    assert_eq!(fs::read(workspace.path("roster.json")).unwrap(), before);
}

#[test]
fn another_roster_than_the_confirmed_one_is_refused() {
    let workspace = Workspace::new();
    workspace.cluster();
    let path = workspace.path("home/roster.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("region-a", "region-z")).unwrap();

    let run = workspace.run("key list");

    assert_eq!(run.code, 7, "{}", run.err);
    assert!(run.err.contains("expected the pinned"), "{}", run.err);
}

#[test]
fn rosters_that_cannot_be_are_refused_with_the_reason() {
    let workspace = Workspace::new();
    workspace.cards();
    workspace.write("nonsense.json", "{}");
    for (arguments, code, expected) in [
        (
            format!("{CARDS} node-a.json"),
            7,
            "\"node-a\" stands more than once",
        ),
        (
            CARDS.to_owned(),
            7,
            "lifecycle quorum is 2, expected 1 to 1",
        ),
        (
            format!("{CARDS} --lifecycle-quorum 1 --admin-quorum 2"),
            7,
            "admin quorum is 2",
        ),
        (
            "node-a.json coordinator.json admin.json --lifecycle-quorum 1".to_owned(),
            7,
            "1 nodes",
        ),
        (format!("{CARDS} nonsense.json"), 2, "is no card"),
        (format!("{CARDS} absent.json"), 1, "absent.json"),
    ] {
        let run = workspace.run(&format!("cluster init {arguments} --name test"));

        assert_eq!(run.code, code, "{arguments}: {}", run.err);
        assert!(run.err.contains(expected), "{arguments}: {}", run.err);
        assert!(!workspace.path("roster.json").exists());
    }
}

#[test]
fn an_identity_is_never_replaced_and_shows_its_card_only() {
    let workspace = Workspace::new();
    let made = workspace.succeed("identity new ann --role admin --role client --person Ann");
    let file = fs::read(workspace.path("home/ann.identity")).unwrap();

    let again = workspace.run("identity new ann --role admin");
    let shown = workspace.succeed("identity show --identity ann");

    assert_eq!(again.code, 2, "{}", again.err);
    assert_eq!(fs::read(workspace.path("home/ann.identity")).unwrap(), file);
    assert_eq!(shown.json(), made.json());
    assert_eq!(made.json()["roles"], serde_json::json!(["admin", "client"]));
}

#[test]
fn a_profile_is_never_replaced() {
    let workspace = Workspace::new();
    let hash = workspace.cluster();

    let run = workspace.run(&format!(
        "cluster pin roster.json --hash {hash} --coordinator coordinator=127.0.0.1:2"
    ));

    assert_eq!(run.code, 2, "{}", run.err);
    assert!(run.err.contains("holds a profile already"), "{}", run.err);
}

#[test]
fn placement_rules_and_the_chain_are_shown() {
    let workspace = Workspace::new();
    workspace.cards();
    workspace.succeed(&format!(
        "cluster init {CARDS} --name test --lifecycle-quorum 1 --identity admin-x \
         --spread-regions --least-threshold 2 --least-regions 3"
    ));

    let shown = workspace.succeed("cluster show roster.json");
    let json = workspace.succeed("cluster show roster.json -o json").json();

    for expected in [
        "fewer holders in one region than sign",
        "threshold 2 or more",
        "regions 3 or more",
        "1 (1 in the chain)",
        "cluster id",
    ] {
        assert!(shown.out.contains(expected), "{expected}: {}", shown.out);
    }
    assert_eq!(json["content"]["placement"]["least_regions"], 3);
    assert_eq!(json["content"]["placement"].as_object().unwrap().len(), 3);
    assert_eq!(json["version"], 1);
    assert_eq!(json["rosters"], 1);
    assert_eq!(json["in_force"], json["roster_hash"]);
    assert_eq!(json["cluster_id"], json["roster_hash"]);
}
