//! Rules for where the holders of a key run, over real processes (P27), in a cluster whose ceremony
//! is held by hand.

use std::{os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use serde_json::{Value, json};

use crate::harness::{Cluster, Done, program, run};

/// Where each node runs. The first two could sign for a key with threshold 2.
const REGIONS: [(&str, &str); 5] = [
    ("node-a", "north"),
    ("node-b", "north"),
    ("node-c", "south"),
    ("node-d", "east"),
    ("node-e", "west"),
];

/// The directory of a cluster that is being made.
struct Ceremony {
    directory: tempfile::TempDir,
}

impl Ceremony {
    fn begin() -> Self {
        let ceremony = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        for name in ["nodes", "home", "cards"] {
            std::fs::create_dir(ceremony.file(name)).unwrap();
        }
        protect(ceremony.file("home"), 0o700);
        ceremony.secret("home/passphrase", "a drill\n");
        ceremony
    }

    fn file(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    fn secret(&self, name: &str, text: &str) {
        std::fs::write(self.file(name), text).unwrap();
        protect(self.file(name), 0o600);
    }

    /// Has a host make its identity, and keeps the card that it shows.
    fn card(&self, name: &str, command: &mut Command) -> String {
        let card = self.file(&format!("cards/{name}.json"));
        std::fs::write(&card, succeeded(command).stdout).unwrap();
        card
    }

    fn quorate(&self, arguments: &[&str]) -> Command {
        let mut command = program("quorate");
        command
            .args(arguments)
            .env("QUORATE_HOME", self.file("home"))
            .env("QUORATE_PASSPHRASE_FILE", self.file("home/passphrase"));
        command
    }

    fn node(&self, verb: &str, name: &str) -> Command {
        let mut command = program("quorate-node");
        command
            .args([verb, "--dir", &self.file(&format!("nodes/{name}"))])
            .args(["--key-file", &self.file(&format!("nodes/{name}.key"))]);
        command
    }

    fn cards(&self) -> Vec<String> {
        let mut cards = Vec::new();
        for (name, region) in REGIONS {
            self.secret(&format!("nodes/{name}.key"), &"5a1c".repeat(16));
            let mut init = self.node("init", name);
            init.args(["--id", name, "--region", region, "--organisation", "ours"]);
            cards.push(self.card(name, &mut init));
        }
        let mut init = program("quorate-coordinator");
        init.args(["init", "--id", "coordinator", "--dir"]);
        cards.push(self.card("coordinator", init.arg(self.file("coordinator"))));
        for role in ["admin", "client"] {
            let mut new = self.quorate(&["identity", "new", role, "--role", role]);
            cards.push(self.card(role, &mut new));
        }
        cards
    }

    /// Signs the roster, pins it everywhere, and leaves what `dev` resumes a cluster from.
    fn end(self, rules: &[&str]) -> tempfile::TempDir {
        let roster = self.file("roster.json");
        let words = ["cluster", "init", "--name", "ruled", "--identity", "admin"];
        let quorum = ["--lifecycle-quorum", "1", "--out", &roster, "-o", "json"];
        let mut init = self.quorate(&[&words[..], &quorum, rules].concat());
        let made = succeeded(init.args(self.cards())).json();
        let hash = made["roster_hash"].as_str().unwrap();
        for (name, _) in REGIONS {
            succeeded(
                self.node("pin", name)
                    .args(["--roster", &roster, "--hash", hash]),
            );
        }
        let words = ["cluster", "pin", &roster, "--hash", hash, "--threshold"];
        let mut pin = self.quorate(&[&words[..], &["3"]].concat());
        pin.args(["--coordinator", "coordinator=127.0.0.1:1"]);
        for role in ["admin", "client"] {
            let file = self.file(&format!("home/{role}.identity"));
            pin.args([&format!("--{role}"), &file]);
        }
        succeeded(&mut pin);
        let profile = self.file("home/profile.toml");
        let mut settings: toml::Table = std::fs::read_to_string(&profile).unwrap().parse().unwrap();
        settings["defaults"]
            .as_table_mut()
            .unwrap()
            .insert("passphrase_file".to_owned(), "passphrase".into());
        std::fs::write(&profile, settings.to_string()).unwrap();
        let shape = json!({ "format": 1, "shape": { "nodes": REGIONS.len(), "threshold": 3 } });
        std::fs::write(self.file("dev.json"), shape.to_string()).unwrap();
        self.directory
    }
}

fn protect(path: impl AsRef<Path>, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn succeeded(command: &mut Command) -> Done {
    let done = run(command);
    assert_eq!(done.code, 0, "{command:?}: {done:?}");
    done
}

fn shown(cluster: &Cluster) -> (Value, Value, Value) {
    let shown = cluster.json(&["key", "show", "notes"]);
    let of = |field: &str| shown[field].clone();
    (of("epoch"), of("threshold"), of("nodes"))
}

#[test]
fn a_placement_rule_stops_creation_and_resharing_and_nothing_changes() {
    let cluster = Cluster::start_in(Ceremony::begin().end(&["--spread-regions"]), &[]);
    let create = |nodes: &str| {
        let words = ["key", "create", "notes", "--scheme", "bip340", "--purpose"];
        let shape = ["messages", "--threshold", "2", "--nodes", nodes];
        cluster.quorate(&[&words[..], &shape].concat())
    };
    let reshare = |threshold: &str, nodes: &str| {
        let words = ["key", "reshare", "notes", "--threshold", threshold];
        cluster.quorate(&[&words[..], &["--nodes", nodes]].concat())
    };
    let stopped = |done: &Done| {
        done.refused(3, "PLACEMENT_VIOLATED");
        done.refused(3, "region \"north\" (node-a, node-b)");
    };

    stopped(&create("node-a,node-b,node-c"));
    let listed = cluster.json(&["key", "list"]);
    assert!(!listed.to_string().contains("notes"), "{listed}");
    assert_eq!(create("node-a,node-c,node-d").code, 0);
    let before = shown(&cluster);

    stopped(&reshare("2", "node-a,node-b,node-c"));
    stopped(&reshare("2", "node-a,node-b,node-c,node-d,node-e"));
    let replaced = cluster.quorate(&["node", "replace", "node-c", "node-b"]);
    assert_eq!(replaced.code, 1, "{replaced:?}");
    assert!(
        replaced.stdout.contains("PLACEMENT_VIOLATED"),
        "{replaced:?}"
    );

    assert_eq!(shown(&cluster), before);
    cluster.json(&["sign", "message", "notes", "--text", "pay"]);
    // As many of them as a higher threshold bears.
    let wide = reshare("3", "node-a,node-b,node-c,node-d,node-e");
    assert_eq!(wide.code, 0, "{wide:?}");
    let signed = cluster.json(&["sign", "message", "notes", "--text", "pay"]);
    assert_eq!(signed["epoch"], 2);
}
