//! How it went with each key of a batch, and with all of them.

use std::collections::BTreeMap;

use quorate_client::{
    ExitClass,
    model::{CommandId, Digest, KeyName, NodeId, Reason, UnixMillis},
};
use serde_json::{Value, json};

use crate::{
    error::CliError,
    output::{self, Table},
};

/// How it went with one key.
#[derive(Debug)]
pub(super) enum Ended {
    Done {
        value: Value,
        missing: Vec<NodeId>,
        /// What the change does not do for this key.
        warning: Option<&'static str>,
    },
    Waiting {
        id: CommandId,
        digest: Digest,
        expires: UnixMillis,
    },
    Skipped(Skip),
    Failed {
        told: String,
        reason: Option<Reason>,
    },
    /// It was begun, and not followed to its end.
    UnderWay,
    /// No coordinator can be reached, or the command was interrupted, so that nothing more was tried.
    Untried,
}

/// Why a key was left alone.
#[derive(Debug)]
pub(super) struct Skip {
    pub(super) why: String,
    /// Whether what was asked for is not so.
    pub(super) is_open: bool,
}

impl Ended {
    pub(super) fn is_failure(&self) -> bool {
        matches!(self, Self::Failed { .. } | Self::UnderWay | Self::Untried)
    }

    /// Whether the same would be refused once more.
    fn is_hopeless(&self) -> bool {
        let Self::Failed {
            reason: Some(reason),
            ..
        } = self
        else {
            return false;
        };
        // The next run proposes anew what has come to its end, from where the key then stands.
        let is_anew =
            reason.is_final() || matches!(reason, Reason::CommandUnknown | Reason::StateOutdated);
        !reason.is_retryable() && !is_anew
    }

    pub(super) fn told(&self) -> String {
        match self {
            Self::Done { value, warning, .. } => {
                let epoch = value.get("epoch").and_then(Value::as_u64);
                let warning = warning.map(|text| format!("; warning: {text}"));
                format!(
                    "epoch {}{}",
                    epoch.unwrap_or_default(),
                    warning.unwrap_or_default()
                )
            }
            Self::Waiting { id, .. } => format!("command {id} waits for another admin"),
            Self::Skipped(skip) => format!("skipped: {}", skip.why),
            Self::Failed { told, reason: None } => format!("failed: {told}"),
            Self::Failed {
                told,
                reason: Some(reason),
            } => format!("failed: {told} ({reason})"),
            Self::UnderWay => "begun, and not followed to its end".to_owned(),
            Self::Untried => "not tried".to_owned(),
        }
    }

    /// Whether the count says all there is to say.
    const fn is_plain(&self) -> bool {
        matches!(self, Self::Done { warning: None, .. })
    }

    const fn kind(&self) -> &'static str {
        match self {
            Self::Done { .. } => "done",
            Self::Waiting { .. } => "waiting",
            Self::Skipped(_) => "skipped",
            Self::Failed { .. } => "failed",
            Self::UnderWay => "under-way",
            Self::Untried => "untried",
        }
    }

    fn json(&self, key: &KeyName) -> Value {
        match self {
            Self::Done { value, .. } => value.clone(),
            Self::Waiting {
                id,
                digest,
                expires,
            } => json!({
                "key": key,
                "command_id": id.to_string(),
                "digest": digest,
                "expire_time_ms": expires.0,
            }),
            Self::Skipped(skip) => json!({ "key": key, "message": skip.why }),
            Self::Failed { told, reason } => {
                let reason = reason.map(Reason::as_str);
                json!({ "key": key, "reason": reason, "message": told })
            }
            Self::UnderWay | Self::Untried => json!({ "key": key }),
        }
    }
}

/// What all kinds of ends are called, in the order in which they are told.
const KINDS: [&str; 6] = [
    "done",
    "waiting",
    "skipped",
    "failed",
    "under-way",
    "untried",
];

fn count(ended: &BTreeMap<KeyName, Ended>, kind: &str) -> usize {
    ended.values().filter(|one| one.kind() == kind).count()
}

pub(super) fn summary_json(ended: &BTreeMap<KeyName, Ended>) -> Value {
    let of_kind = |kind: &str| {
        let of_it = ended.iter().filter(|(_, one)| one.kind() == kind);
        let values = of_it.map(|(key, one)| one.json(key)).collect();
        (kind.to_owned(), Value::Array(values))
    };
    Value::Object(KINDS.map(of_kind).into_iter().collect())
}

pub(super) fn summary(ended: &BTreeMap<KeyName, Ended>) -> Table {
    let mut table = Table::default();
    for (key, one) in ended.iter().filter(|(_, one)| !one.is_plain()) {
        table.row([key.as_str(), &one.told()]);
    }
    for kind in KINDS {
        let number = count(ended, kind);
        if number > 0 || kind == "done" {
            table.pair(kind, number);
        }
    }
    let mut missing: BTreeMap<&NodeId, usize> = BTreeMap::new();
    for one in ended.values() {
        if let Ended::Done { missing: of_it, .. } = one {
            for node in of_it {
                let keys = missing.entry(node).or_default();
                *keys = keys.saturating_add(1);
            }
        }
    }
    for (node, keys) in missing {
        let told = format!("{node} (keys: {keys}); it erases them when it is back");
        table.pair("not erased yet by", told);
    }
    table
}

/// How many keys are not done, in which way, and whether a repeat helps; none if all are.
fn undone(ended: &BTreeMap<KeyName, Ended>) -> Option<String> {
    let kinds = [
        ("failed", "failed"),
        ("under-way", "under way"),
        ("untried", "not tried"),
    ];
    let counts = kinds.map(|(kind, text)| (count(ended, kind), text));
    let told = counts.iter().filter(|(number, _)| *number > 0);
    let told: Vec<String> = told
        .map(|(number, text)| format!("{number} {text}"))
        .collect();
    if told.is_empty() {
        return None;
    }
    let undone = ended.values().filter(|one| one.is_failure()).count();
    let hopeless = ended.values().filter(|one| one.is_hopeless()).count();
    let advice = match hopeless {
        0 => "run the command again".to_owned(),
        all if all == undone => "a repeat alone does not help".to_owned(),
        some => format!("run the command again, which alone does not help {some} of them"),
    };
    Some(format!(
        "{undone} of {} keys are not done: {}; {advice}",
        ended.len(),
        told.join(", ")
    ))
}

/// Whether the caller may go on as if all keys were changed.
pub(super) fn verdict(ended: &BTreeMap<KeyName, Ended>) -> Result<(), CliError> {
    let waiting: Vec<_> = ended
        .values()
        .filter_map(|one| match one {
            Ended::Waiting { id, digest, .. } => Some((id.to_string(), digest.to_string())),
            Ended::Done { .. }
            | Ended::Skipped(_)
            | Ended::Failed { .. }
            | Ended::UnderWay
            | Ended::Untried => None,
        })
        .collect();
    if !waiting.is_empty() {
        let (ids, digests): (Vec<_>, Vec<_>) = waiting.iter().cloned().unzip();
        output::progress(&format!(
            "another admin must approve them: quorate command approve {} --digest {}",
            ids.join(" "),
            digests.join(",")
        ));
    }
    if let Some(message) = undone(ended) {
        return Err(CliError::Incomplete {
            message,
            code: ExitClass::Other.code(),
        });
    }
    let is_open = |one: &Ended| matches!(one, Ended::Skipped(skip) if skip.is_open);
    let open = ended.values().filter(|one| is_open(one)).count();
    if open > 0 {
        return Err(CliError::Incomplete {
            message: format!(
                "{open} of {} keys were skipped and still have their shares where they were",
                ended.len()
            ),
            code: ExitClass::Other.code(),
        });
    }
    if !waiting.is_empty() {
        return Err(CliError::Incomplete {
            message: format!("{} commands wait for more endorsements", waiting.len()),
            code: ExitClass::Waiting.code(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> KeyName {
        text.parse().unwrap()
    }

    fn done() -> Ended {
        Ended::Done {
            value: json!({ "key": "one", "epoch": 2 }),
            missing: vec!["node-c".parse().unwrap()],
            warning: None,
        }
    }

    fn skipped(why: &str, is_open: bool) -> Ended {
        let why = why.to_owned();
        Ended::Skipped(Skip { why, is_open })
    }

    fn waiting() -> Ended {
        Ended::Waiting {
            id: CommandId(uuid::Uuid::nil()),
            digest: Digest::ZERO,
            expires: UnixMillis(9),
        }
    }

    fn failed() -> Ended {
        Ended::Failed {
            told: "too few nodes answer".to_owned(),
            reason: Some(Reason::QuorumUnavailable),
        }
    }

    #[test]
    fn a_summary_lists_what_was_not_done_and_counts_the_rest() {
        let ended = BTreeMap::from([
            (name("one"), done()),
            (name("three"), failed()),
            (name("two"), skipped("it is not active yet", false)),
            (name("zwei"), waiting()),
        ]);

        let table = summary(&ended).to_string();
        let value = summary_json(&ended);

        assert!(!table.lines().any(|line| line.starts_with("one")));
        assert!(table.contains("too few nodes answer (QUORUM_UNAVAILABLE)"));
        assert!(table.contains("skipped: it is not active yet"));
        assert!(table.contains("node-c (keys: 1)"), "{table}");
        assert_eq!(value["done"][0]["epoch"], 2);
        assert_eq!(value["failed"][0]["reason"], "QUORUM_UNAVAILABLE");
        assert_eq!(value["skipped"][0]["key"], "two");
        // Whoever rejects it needs its end from somebody else than the coordinator.
        assert_eq!(value["waiting"][0]["expire_time_ms"], 9);
        assert_eq!(value["untried"], json!([]));
    }

    #[test]
    fn a_summary_lists_what_was_done_where_that_is_no_cure() {
        let warned = Ended::Done {
            value: json!({ "key": "stolen", "epoch": 2 }),
            missing: Vec::new(),
            warning: Some("it is no cure"),
        };
        let ended = BTreeMap::from([(name("one"), done()), (name("stolen"), warned)]);

        let table = summary(&ended).to_string();

        assert!(table.contains("epoch 2; warning: it is no cure"), "{table}");
        assert!(!table.lines().any(|line| line.starts_with("one")));
        assert!(verdict(&ended).is_ok());
    }

    #[test]
    fn what_is_under_way_is_counted_apart_and_a_repeat_is_advised_only_where_it_helps() {
        let refused = || Ended::Failed {
            told: "the role is missing".to_owned(),
            reason: Some(Reason::RoleMissing),
        };
        let said = |all: Vec<Ended>| {
            let keys = ["aa", "bb", "cc"].map(name);
            undone(&keys.into_iter().zip(all).collect())
        };

        assert_eq!(said(vec![done(), waiting()]), None);
        for (all, expected) in [
            (
                vec![Ended::UnderWay, Ended::UnderWay, Ended::Untried],
                "3 of 3 keys are not done: 2 under way, 1 not tried; run the command again",
            ),
            (
                vec![refused(), refused()],
                "2 of 2 keys are not done: 2 failed; a repeat alone does not help",
            ),
            (
                vec![refused(), failed()],
                "2 of 2 keys are not done: 2 failed; run the command again, which alone does not \
                 help 1 of them",
            ),
        ] {
            assert_eq!(said(all).as_deref(), Some(expected));
        }
    }

    #[test]
    fn a_batch_ends_well_only_if_nothing_failed_and_nothing_waits() {
        let code = |all: Vec<Ended>| {
            let keys = ["aa", "bb", "cc"].map(name);
            let ended = keys.into_iter().zip(all).collect();
            verdict(&ended).err().map(|error| error.exit_code())
        };
        assert_eq!(code(vec![]), None);
        assert_eq!(code(vec![done(), skipped("", false)]), None);
        assert_eq!(code(vec![done(), skipped("", true)]), Some(1));
        assert_eq!(code(vec![done(), waiting()]), Some(4));
        assert_eq!(code(vec![waiting(), failed()]), Some(1));
        assert_eq!(code(vec![done(), Ended::Untried]), Some(1));
        assert_eq!(code(vec![done(), Ended::UnderWay]), Some(1));
    }
}
