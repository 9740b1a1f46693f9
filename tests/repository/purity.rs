//! Pure crates reach no runtime, no socket and no database, and arrows point one way.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use serde_json::Value;

/// What a pure crate must not reach through normal dependencies.
const IMPURE: [&str; 9] = [
    "tokio",
    "mio",
    "sled",
    "redb",
    "hyper",
    "socket2",
    "tokio-rustls",
    "rustix",
    "axum",
];

/// Which of our crates each of our crates may use.
const ARROWS: [(&str, &[&str]); 11] = [
    ("quorate-model", &[]),
    ("quorate-protocol", &["quorate-model"]),
    ("quorate-intent", &["quorate-model"]),
    ("quorate-proto", &["quorate-model"]),
    ("quorate-pinning", &["quorate-model"]),
    ("quorate-evm", &["quorate-intent", "quorate-model"]),
    ("quorate-identity", &["quorate-model", "quorate-pinning"]),
    (
        "quorate-node",
        &[
            "quorate-intent",
            "quorate-model",
            "quorate-pinning",
            "quorate-proto",
            "quorate-protocol",
        ],
    ),
    (
        "quorate-coordinator",
        &[
            "quorate-evm",
            "quorate-identity",
            "quorate-intent",
            "quorate-model",
            "quorate-pinning",
            "quorate-proto",
            "quorate-protocol",
        ],
    ),
    (
        "quorate-client",
        &[
            "quorate-evm",
            "quorate-identity",
            "quorate-intent",
            "quorate-model",
            "quorate-pinning",
            "quorate-proto",
            "quorate-protocol",
        ],
    ),
    (
        "quorate",
        &[
            "quorate-client",
            "quorate-evm",
            "quorate-identity",
            "quorate-intent",
            "quorate-model",
            "quorate-pinning",
            "quorate-proto",
            "quorate-protocol",
        ],
    ),
];

struct Graph {
    names: BTreeMap<String, String>,
    normal: BTreeMap<String, Vec<String>>,
}

fn graph() -> Graph {
    // Other platforms' crates are not downloaded, and not what is built here.
    let rustc = Command::new("rustc").arg("-vV").output().unwrap();
    let version = String::from_utf8(rustc.stdout).unwrap();
    let host = version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .unwrap();
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args(["--filter-platform", host])
        .current_dir(super::root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let names = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| (text(&package["id"]), text(&package["name"])))
        .collect();
    let is_normal = |dep: &Value| {
        dep["dep_kinds"]
            .as_array()
            .unwrap()
            .iter()
            .any(|kind| kind["kind"].is_null())
    };
    let normal = metadata["resolve"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| {
            let deps = node["deps"].as_array().unwrap();
            let used = deps
                .iter()
                .filter(|dep| is_normal(dep))
                .map(|dep| text(&dep["pkg"]));
            (text(&node["id"]), used.collect())
        })
        .collect();
    Graph { names, normal }
}

impl Graph {
    fn reach(&self, package: &str) -> BTreeSet<&str> {
        let start = self
            .names
            .iter()
            .find(|(_, name)| *name == package)
            .unwrap()
            .0;
        let mut seen = BTreeSet::new();
        let mut open = vec![start.as_str()];
        while let Some(id) = open.pop() {
            for next in &self.normal[id] {
                if seen.insert(next.as_str()) {
                    open.push(next);
                }
            }
        }
        seen.into_iter().map(|id| self.names[id].as_str()).collect()
    }
}

#[test]
fn pure_crates_reach_no_runtime_socket_or_database() {
    let graph = graph();

    for package in [
        "quorate-model",
        "quorate-protocol",
        "quorate-intent",
        "quorate-evm",
    ] {
        let reached = graph.reach(package);
        let impure: Vec<_> = IMPURE
            .iter()
            .filter(|name| reached.contains(**name))
            .collect();
        assert!(impure.is_empty(), "{package} reaches {impure:?}");
    }
}

#[test]
fn crates_use_only_what_their_arrows_allow() {
    let graph = graph();

    for (package, allowed) in ARROWS {
        let ours = graph
            .reach(package)
            .into_iter()
            .filter(|name| name.starts_with("quorate"));
        let wrong: Vec<_> = ours.filter(|name| !allowed.contains(name)).collect();
        assert!(wrong.is_empty(), "{package} uses {wrong:?}");
    }
}

#[test]
fn nothing_brings_a_second_tls_provider_or_a_dead_serializer() {
    let graph = graph();
    let names: BTreeSet<&str> = graph.names.values().map(String::as_str).collect();

    for banned in [
        "aws-lc-rs",
        "aws-lc-sys",
        "openssl",
        "openssl-sys",
        "bincode",
        "native-tls",
    ] {
        assert!(
            !names.contains(banned),
            "{banned} is in the dependency tree"
        );
    }
}
