//! A directory to run the command in.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use ed25519_dalek::SigningKey;
use quorate_client::model::{
    Digest, IdentityKey,
    roster::{CoordinatorCard, NodeCard},
};
use serde_json::Value;
use tempfile::TempDir;

/// What a run printed and ended with.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Run {
    /// The result as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| {
            panic!("{error}: {} {}", self.out, self.err);
        })
    }
}

/// The directory, with a passphrase file in it.
pub(crate) struct Workspace {
    dir: TempDir,
}

impl Workspace {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("passphrase"), "correct horse\n").unwrap();
        Self { dir }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
    }

    /// Runs the command in the directory, with `home` as its profile.
    pub(crate) fn run(&self, arguments: &str) -> Run {
        self.run_with(arguments, &self.path("passphrase"))
    }

    pub(crate) fn run_with(&self, arguments: &str, passphrase_file: &Path) -> Run {
        let output = Command::new(env!("CARGO_BIN_EXE_quorate"))
            .args(arguments.split_whitespace())
            .current_dir(self.dir.path())
            .env("QUORATE_HOME", self.path("home"))
            .env("QUORATE_PASSPHRASE_FILE", passphrase_file)
            .output()
            .unwrap();
        Run {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Runs the command, which must succeed.
    pub(crate) fn succeed(&self, arguments: &str) -> Run {
        let run = self.run(arguments);
        assert_eq!(run.code, 0, "{arguments}: {}", run.err);
        run
    }

    /// Writes the cards of three nodes and a coordinator, and makes an admin and a client.
    pub(crate) fn cards(&self) {
        for (number, letter) in (1..).zip(["a", "b", "c"]) {
            let card = NodeCard {
                id: format!("node-{letter}").parse().unwrap(),
                identity_key: IdentityKey::of(&node_key(number)),
                tls_key_hash: Digest::new([number; 32]),
                region: format!("region-{letter}"),
                organisation: "org".to_owned(),
            };
            let text = serde_json::to_string(&card).unwrap();
            self.write(&format!("node-{letter}.json"), &text);
        }
        let card = CoordinatorCard {
            id: "coordinator".parse().unwrap(),
            tls_key_hash: Digest::new([9; 32]),
        };
        self.write("coordinator.json", &serde_json::to_string(&card).unwrap());
        for role in ["admin", "client"] {
            let run = self.succeed(&format!("identity new {role}-x --role {role}"));
            self.write(&format!("{role}.json"), &run.out);
        }
    }

    /// Makes a roster signed by its admin, pins it, and returns its hash.
    pub(crate) fn cluster(&self) -> String {
        self.cards();
        let cards = "node-a.json node-b.json node-c.json coordinator.json admin.json client.json";
        let run = self.succeed(&format!(
            "cluster init {cards} --name test --lifecycle-quorum 1 --identity admin-x -o json"
        ));
        let hash = run.json()["roster_hash"].as_str().unwrap().to_owned();
        self.succeed(&format!(
            "cluster pin roster.json --hash {hash} --coordinator coordinator=127.0.0.1:1 \
             --admin home/admin-x.identity --client home/client-x.identity"
        ));
        hash
    }
}

/// The identity key of a node.
pub(crate) fn node_key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}
