//! `quorate key rotate`.

use std::collections::BTreeSet;

use clap::{Args, ValueEnum};
use quorate_client::{
    ListedKey,
    model::{
        KeyName, KeyRecord, NodeId, Reason,
        command::CreateKey,
        key::KeyState,
        life::{KeyLife, Predecessor},
        roster::{Role, Roster},
    },
};

use super::{create, life::Periods};
use crate::{
    args::{KeyArg, Submission},
    command::reshare,
    context::Context,
    error::{CliError, refuse},
    output,
};

/// Make the key that takes the place of another: same scheme, purposes, nodes and threshold.
#[derive(Debug, Args)]
#[command(
    after_help = "The new key has addresses of its own. The old one goes on signing, so that what \
it holds can be moved; deactivate it afterwards.

Examples:
  quorate key rotate hot
  quorate key rotate hot --name hot-2027 --cryptoperiod 365d"
)]
pub(crate) struct Rotate {
    #[command(flatten)]
    key: KeyArg,
    /// Name of the new key [default: the old one with the next number, as in hot-2]
    #[arg(long = "name", id = "new", value_name = "NAME")]
    new: Option<KeyName>,
    /// Nodes that hold the new key, separated by commas [default: those of the old one]
    #[arg(long, value_delimiter = ',', value_name = "NODES")]
    nodes: Vec<NodeId>,
    /// With --nodes, accept a shape that a few lost or bad nodes stop for ever
    #[arg(long, requires = "nodes")]
    accept_fragile: bool,
    /// What is planned for the new key; what is not said is as for the old one
    #[command(flatten)]
    periods: Periods,
    /// What the new key does not take over of the old one, separated by commas
    #[arg(long, value_enum, value_delimiter = ',', value_name = "WHAT")]
    without: Vec<Left>,
    #[command(flatten)]
    submission: Submission,
}

/// What a new key takes over of the old one unless it is told not to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Left {
    /// The planned end.
    Cryptoperiod,
    /// How often its shares are dealt again.
    RefreshEvery,
    /// Where it may be evacuated to.
    EvacuateTo,
}

impl Rotate {
    pub(super) async fn run(&self, context: &Context) -> Result<(), CliError> {
        if self.new.is_none() && self.submission.command_id.is_some() {
            return Err(CliError::Usage(
                "--command-id without --name: the next free name is another one when the command \
                 is repeated, so name the new key"
                    .to_owned(),
            ));
        }
        let client = context.connect(Role::Admin).await?;
        let old = client.look_up(&self.key.reference()).await?;
        if old.state() == KeyState::PreActive {
            return Err(refuse(
                Reason::KeyNotActive,
                format!(
                    "key \"{}\" was never active, and nothing can be moved from it: create a key \
                     instead",
                    old.record().name
                ),
            ));
        }
        let keys = client.list_keys().await?;
        let name = if let Some(name) = &self.new {
            name.clone()
        } else {
            check_first(&old, &keys)?;
            let taken = keys.iter().map(|key| &key.record().name).collect();
            next_name(&old.record().name, &taken)?
        };
        if self.nodes.is_empty() {
            check_holders(old.record(), client.roster().roster())?;
        } else {
            reshare::check_nodes(&client.roster(), &self.nodes)?;
        }
        let create = self.command(&old, name);
        if create::carry_out(context, &client, &self.submission, &create).await? {
            let before = &old.record().name;
            let has_way_out = !old.life().evacuation.is_empty();
            output::progress(&advice(old.state(), has_way_out, before, &create.key));
        }
        Ok(())
    }

    fn command(&self, old: &ListedKey, name: KeyName) -> CreateKey {
        let record = old.record();
        let said = self.periods.life();
        let takes = |what: Left| !self.without.contains(&what);
        let mut create = CreateKey {
            key: name,
            scheme: record.scheme,
            threshold: record.threshold,
            nodes: if self.nodes.is_empty() {
                record.participants.iter().map(|p| p.node.clone()).collect()
            } else {
                self.nodes.clone()
            },
            purposes: record.purposes.clone(),
            accept_fragile: self.accept_fragile,
            life: KeyLife {
                replaces: Some(Predecessor {
                    key: record.name.clone(),
                    key_id: record.id(),
                }),
                cryptoperiod_s: said.cryptoperiod_s.or(old
                    .life()
                    .cryptoperiod_s
                    .filter(|_| takes(Left::Cryptoperiod))),
                refresh_s: said
                    .refresh_s
                    .or(old.life().refresh_s.filter(|_| takes(Left::RefreshEvery))),
                evacuation: if said.evacuation.is_empty() && takes(Left::EvacuateTo) {
                    old.life().evacuation.clone()
                } else {
                    said.evacuation
                },
            },
        };
        // The old one was accepted in this shape.
        create.accept_fragile |= self.nodes.is_empty() && create.is_fragile();
        create
    }
}

/// Refuses to rotate a key a second time without saying so.
fn check_first(old: &ListedKey, keys: &[ListedKey]) -> Result<(), CliError> {
    let Some(next) = old.successor(keys) else {
        return Ok(());
    };
    let (name, next) = (&old.record().name, &next.record().name);
    Err(CliError::Usage(format!(
        "key \"{name}\" was rotated already: \"{next}\" takes its place; rotate that one, or name \
         another successor with --name"
    )))
}

/// Refuses holders that can take no new key, and says which they are.
fn check_holders(record: &KeyRecord, roster: &Roster) -> Result<(), CliError> {
    let holders = || record.participants.iter().map(|holder| &holder.node);
    let removed = holders().filter(|node| roster.node(node).is_none());
    let drained = holders().filter(|node| roster.drained.contains(*node));
    let told: Vec<String> = removed
        .map(|node| format!("{node} (removed)"))
        .chain(drained.map(|node| format!("{node} (drained)")))
        .collect();
    if told.is_empty() {
        return Ok(());
    }
    Err(refuse(
        Reason::NodeDrained,
        format!(
            "key \"{}\" is held by nodes that take no new key: {}; name the holders of the new key \
             with --nodes",
            record.name,
            told.join(", ")
        ),
    ))
}

/// What is to be done with the old key, which depends on what it can still sign.
fn advice(state: KeyState, has_way_out: bool, before: &KeyName, next: &KeyName) -> String {
    let give = format!("next: give out addresses of \"{next}\"");
    let deactivate = format!("quorate key deactivate {before} --reason 'replaced by {next}'");
    match state {
        KeyState::PreActive | KeyState::Active => {
            format!("{give}, move what \"{before}\" holds to it, then run {deactivate}")
        }
        KeyState::Suspended => format!(
            "{give}; \"{before}\" is suspended: resume it to move what it holds, then run {deactivate}"
        ),
        KeyState::Deactivated | KeyState::Compromised if has_way_out => format!(
            "{give}; \"{before}\" is {state}: move what it holds to its pinned destinations with \
             quorate sign ... --evacuate, and when it holds nothing, run quorate key destroy {before} \
             --reason 'replaced by {next}'"
        ),
        KeyState::Deactivated | KeyState::Compromised => format!(
            "{give}; \"{before}\" is {state} and signs no more, so nothing can be moved from it: when \
             it holds nothing, run quorate key destroy {before} --reason 'replaced by {next}'"
        ),
        KeyState::Destroyed | KeyState::DestroyedCompromised => {
            format!("{give}; nothing is left of \"{before}\"")
        }
        _ => give,
    }
}

/// The name with the next number that no key has: `hot`, `hot-2`, `hot-3`.
fn next_name(name: &KeyName, taken: &BTreeSet<&KeyName>) -> Result<KeyName, CliError> {
    let (stem, number) = match name.as_str().rsplit_once('-') {
        Some((stem, digits)) => match digits.parse::<u32>() {
            Ok(number) if number > 1 && number.to_string() == digits => (stem, number),
            Ok(_) | Err(_) => (name.as_str(), 1),
        },
        None => (name.as_str(), 1),
    };
    (number.saturating_add(1)..u32::MAX)
        .map_while(|next| format!("{stem}-{next}").parse::<KeyName>().ok())
        .find(|next| !taken.contains(next))
        .ok_or_else(|| {
            CliError::Usage(format!(
                "\"{name}\" is too long to put a number behind it: name the new key with --name"
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_name_counts_on_and_passes_over_names_that_are_taken() {
        let check = |name: &str, taken: &[&str], expected: &str| {
            let taken: Vec<KeyName> = taken.iter().map(|name| name.parse().unwrap()).collect();
            let next = next_name(&name.parse().unwrap(), &taken.iter().collect());
            assert_eq!(next.unwrap().as_str(), expected);
        };

        check("hot", &["hot"], "hot-2");
        check("hot-2", &["hot", "hot-2"], "hot-3");
        check("hot", &["hot-2", "hot-3"], "hot-4");
        check("hot-02", &[], "hot-02-2");
        check("user-wallet", &[], "user-wallet-2");
        check("user-1", &[], "user-1-2");
    }

    #[test]
    fn what_is_advised_can_be_followed_in_the_state_of_the_old_key() {
        let (before, next) = ("hot".parse().unwrap(), "hot-2".parse().unwrap());
        for (state, says, never) in [
            (KeyState::Active, "key deactivate hot", "destroy"),
            (KeyState::Suspended, "resume it", "destroy"),
            (KeyState::Deactivated, "key destroy hot", "key deactivate"),
            (KeyState::Compromised, "key destroy hot", "key deactivate"),
            (KeyState::Destroyed, "nothing is left", "quorate key"),
        ] {
            let told = advice(state, false, &before, &next);

            assert!(told.contains(says), "{told}");
            assert!(!told.contains(never), "{told}");
        }
        let told = advice(KeyState::Compromised, true, &before, &next);
        assert!(told.contains("--evacuate"), "{told}");
    }

    #[test]
    fn a_name_without_room_for_a_number_is_refused_with_what_to_do() {
        let name = "a".repeat(63).parse().unwrap();

        let refused = next_name(&name, &BTreeSet::new()).unwrap_err();

        assert!(refused.to_string().contains("with --name"), "{refused}");
    }
}
