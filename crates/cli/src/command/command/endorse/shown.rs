//! What is shown of a command to whoever is to speak about it, decoded from the bytes that are signed.

use quorate_client::{
    AwaitingCommand, Client, ClientError, KeyReference, RosterDifference,
    model::{
        KeyState, Reason, Refusal,
        command::{CommandBody, CreateKey, EndorsementKind, ReshareKey, SignedCommand},
        destruction::{DestroyKey, DestroyStep},
        evacuation::{Destination, Evacuate},
        standing::{SetKeyState, StateChange},
    },
};
use quorate_intent::{Facts, KeyFacts, check_evacuation, decode_all, pinned_output};

use crate::{
    command::{
        decode,
        key::{
            destroy::time_from,
            life::{way_out, without_checksum},
            purposes_text,
        },
        reshare::{NO_CURE, changes, fragility, names},
        roster::{Holding, difference_table},
    },
    error::{CliError, chain, refuse},
    output::{self, Table},
};

/// How commands are shown.
pub(super) struct Shown {
    pub(super) kind: EndorsementKind,
    /// Whether nodes may go that hold shares.
    pub(super) force: bool,
}

impl Shown {
    pub(super) async fn show(
        &self,
        client: &Client,
        awaiting: &AwaitingCommand,
    ) -> Result<(), CliError> {
        let lost = show(client, awaiting, self.kind).await?;
        if lost.is_empty() || self.force || self.kind == EndorsementKind::Reject {
            return Ok(());
        }
        Err(refuse(
            Reason::NodeHoldsShares,
            format!(
                "keys have shares at nodes that the roster removes: {}; have them moved with \
                 `quorate node replace`, or approve with --force what is told above",
                lost.join(", ")
            ),
        ))
    }
}

/// Shows a command, and answers with the keys that lose shares by it.
async fn show(
    client: &Client,
    awaiting: &AwaitingCommand,
    kind: EndorsementKind,
) -> Result<Vec<String>, CliError> {
    let mut lost = Vec::new();
    let command = awaiting.command();
    let mut table = Table::default();
    table.pair("command", command.id);
    table.pair("digest", awaiting.digest());
    if let CommandBody::CreateKey(create) = &command.body {
        show_creation(create, &mut table);
    } else if let CommandBody::SetKeyState(set) = &command.body {
        show_state(client, set, kind, &mut table).await?;
    } else if let CommandBody::ReshareKey(reshare) = &command.body {
        show_reshare(client, reshare, &mut table).await?;
    } else if let CommandBody::DestroyKey(destroy) = &command.body {
        show_destroy(client, destroy, &mut table).await?;
    } else if let CommandBody::ChangeRoster(_) = &command.body {
        lost = show_roster(client, awaiting.signed(), &mut table).await?;
    } else if let CommandBody::Evacuate(evacuate) = &command.body {
        show_evacuation(client, evacuate, kind, &mut table).await?;
    } else if let CommandBody::ReadmitNode(readmit) = &command.body {
        table.pair("change", format!("readmit node {}", readmit.node));
        table.pair("restoration", readmit.restore);
        table.pair("without", names(&readmit.without));
        table.pair("reason", &readmit.reason);
        table.pair(
            "warning",
            "what those nodes alone know is not heard: stops and ends of keys, and epochs in use",
        );
    }
    let words: Vec<String> = awaiting
        .signed()
        .endorsements
        .iter()
        .map(|word| format!("{} ({})", word.principal, word.kind.as_str()))
        .collect();
    table.pair("endorsed by", words.join(", "));
    let expires = if command.body.expires() {
        output::time(command.expires)
    } else {
        "never".to_owned()
    };
    table.pair("expires", expires);
    eprintln!("{table}");
    Ok(lost)
}

/// What becomes of the state of a key, and of what it holds. A key that is not shown can be stopped
/// from signing all the same, and no more.
async fn show_state(
    client: &Client,
    set: &SetKeyState,
    kind: EndorsementKind,
    table: &mut Table,
) -> Result<(), CliError> {
    table.pair("change", format!("{} key {}", set.change, set.key));
    table.pair("key id", set.key_id);
    table.pair("sequence", set.sequence);
    table.pair("reason", &set.reason);
    let reference = KeyReference {
        name: set.key.clone(),
        id: Some(set.key_id),
    };
    match client.look_up(&reference).await {
        Ok(key) => {
            table.pair("state", key.state());
            if set.change.retires() {
                table.pair("warning", way_out(key.life(), &set.key));
            }
        }
        Err(error) if stops_at_once(set.change) => {
            table.pair(
                "warning",
                format!("the key is not shown: {}", chain(&error)),
            );
        }
        Err(error) => return unseen(kind, error, table),
    }
    Ok(())
}

/// Whether a change keeps a thief from signing, which waits for nothing.
const fn stops_at_once(change: StateChange) -> bool {
    matches!(change, StateChange::Suspend | StateChange::Compromise)
}

/// The key that is to be made. It waits for approval where it names destinations. That a shape which
/// is not fragile would be accepted if it were is nothing to look at.
fn show_creation(create: &CreateKey, table: &mut Table) {
    table.pair("change", format!("create key {}", create.key));
    table.pair("scheme", create.scheme);
    let (threshold, nodes) = (create.threshold, &create.nodes);
    table.pair(
        "holders",
        format!("{threshold} of {} ({})", nodes.len(), names(nodes)),
    );
    table.pair("purpose", purposes_text(&create.purposes));
    if create.is_fragile() {
        table.pair(
            "accepted",
            "a shape that a few lost or bad nodes stop for ever",
        );
    }
    for (what, period) in [
        ("used for", create.life.cryptoperiod_s),
        ("refreshed every", create.life.refresh_s),
    ] {
        if let Some(seconds) = period {
            table.pair(what, format!("{seconds} s"));
        }
    }
    if let Some(before) = &create.life.replaces {
        table.pair("replaces", format!("{} ({})", before.key, before.key_id));
    }
    for destination in &create.life.evacuation {
        table.pair("evacuated to", destination);
    }
    for account in without_checksum(&create.life) {
        table.pair("warning", account);
    }
    table.pair(
        "warning",
        "whoever owns these accounts may be sent all that the key holds once it is retired, and \
         nobody changes them later",
    );
}

/// What the payloads say, as nodes see it, and whether it goes where the key's creation says.
async fn show_evacuation(
    client: &Client,
    evacuate: &Evacuate,
    kind: EndorsementKind,
    table: &mut Table,
) -> Result<(), CliError> {
    let sign = &evacuate.sign;
    table.pair("change", format!("evacuate key {}", sign.key));
    table.pair("key id", sign.key_id);
    table.pair("reason", &evacuate.reason);
    let key = KeyReference {
        name: sign.key.clone(),
        id: Some(sign.key_id),
    };
    let key = match client.look_up(&key).await {
        Ok(key) => key,
        Err(error) => return unseen(kind, error, table),
    };
    table.pair("state", key.state());
    let facts = KeyFacts::of(key.record());
    let decoded = match decode_all(&sign.payloads, &facts) {
        Ok(decoded) => decoded,
        Err(error) => return unseen(kind, Refusal::from(&error).into(), table),
    };
    let pinned = &key.life().evacuation;
    for (payload, decoded) in sign.payloads.iter().zip(&decoded) {
        table.pair("payload", payload.kind);
        if !payload.path.is_root() {
            table.pair("path", &payload.path);
        }
        decode::rows(table, "", &decode::inner(&decoded.facts)?);
        let Facts::Psbt(psbt) = &decoded.facts else {
            continue;
        };
        for (index, output) in psbt.outputs.iter().enumerate() {
            let to = pinned_output(&output.script, pinned);
            let to = to.map_or("none of the pinned destinations", Destination::as_str);
            table.pair(&format!("output {index} pays to"), to);
        }
    }
    for destination in pinned {
        table.pair("pinned", destination);
    }
    let judged = check_evacuation(&sign.payloads, &decoded, &facts, pinned)
        .map_err(|astray| astray.to_string())
        .and_then(|()| {
            let stands = key.standing().check_evacuates(&sign.key);
            stands.map_err(|refusal| refusal.message)
        });
    if let Err(problem) = judged {
        table.pair("warning", format!("nodes will refuse it: {problem}"));
    }
    Ok(())
}

/// Whoever rejects a command need not see what it does; whoever approves it must.
fn unseen(kind: EndorsementKind, error: ClientError, table: &mut Table) -> Result<(), CliError> {
    if kind != EndorsementKind::Reject {
        return Err(error.into());
    }
    let why = format!("what it is about is not shown: {}", chain(&error));
    table.pair("warning", why);
    Ok(())
}

/// Who holds the key, and who is to hold it.
async fn show_reshare(
    client: &Client,
    reshare: &ReshareKey,
    table: &mut Table,
) -> Result<(), ClientError> {
    let key = client
        .look_up(&KeyReference {
            name: reshare.key.clone(),
            id: Some(reshare.key_id),
        })
        .await?;
    let record = key.record();
    let before: Vec<_> = record.participants.iter().map(|p| p.node.clone()).collect();
    let (added, removed) = changes(record, &reshare.nodes);
    let is_refresh = before == reshare.nodes && record.threshold == reshare.threshold;
    let change = if is_refresh { "refresh" } else { "reshare" };
    table.pair("change", format!("{change} key {}", reshare.key));
    table.pair("key id", reshare.key_id);
    table.pair("from epoch", reshare.source_epoch);
    let shape =
        |threshold, nodes: &[_]| format!("{threshold} of {} ({})", nodes.len(), names(nodes));
    table.pair("holders before", shape(record.threshold, &before));
    table.pair("holders after", shape(reshare.threshold, &reshare.nodes));
    for (name, nodes) in [("added", added), ("removed", removed)] {
        if !nodes.is_empty() {
            table.pair(name, nodes.join(", "));
        }
    }
    if record.epoch != reshare.source_epoch {
        let epoch = record.epoch;
        table.pair(
            "warning",
            format!("the key is in epoch {epoch} by now: this will be refused"),
        );
    }
    if let Some(fragile) = fragility(reshare) {
        table.pair("warning", format!("accepted: {fragile}"));
    }
    if key.state() == KeyState::Compromised {
        table.pair("warning", NO_CURE);
    }
    Ok(())
}

/// What is to become of the key, and what is known of it.
async fn show_destroy(
    client: &Client,
    destroy: &DestroyKey,
    table: &mut Table,
) -> Result<(), ClientError> {
    let key = client
        .look_up(&KeyReference {
            name: destroy.key.clone(),
            id: Some(destroy.key_id),
        })
        .await?;
    let step = match destroy.step {
        DestroyStep::Announce => "announce the destruction of",
        DestroyStep::Cancel { .. } => "withdraw the destruction of",
        DestroyStep::Confirm { .. } => "destroy for good",
        DestroyStep::AtOnce => "destroy for good, at once,",
    };
    table.pair("change", format!("{step} key {}", destroy.key));
    table.pair("key id", destroy.key_id);
    table.pair("state", key.state());
    if let Some(announcement) = destroy.step.announcement() {
        table.pair("announcement", announcement);
        let known = key.announcements();
        match known.iter().find(|one| one.digest == announcement) {
            Some(known) => {
                let roster = client.roster();
                let count = known.from.len();
                let nodes = roster.roster().nodes.len();
                let opens = time_from(known.opens_everywhere(&roster));
                let told = format!("{count} of {nodes} nodes ({})", known.reason);
                table.pair("announced to", told);
                table.pair("confirmed from", opens);
            }
            None => table.pair("warning", "no node shows this announcement"),
        }
    }
    table.pair("reason", &destroy.reason);
    if destroy.step.destroys() {
        table.pair(
            "warning",
            "nobody can undo it: whatever the key still holds is lost",
        );
    }
    Ok(())
}

/// What the roster changes of the one in force, and what becomes of keys with it. The answer is which
/// keys have shares at nodes that go.
async fn show_roster(
    client: &Client,
    signed: &SignedCommand,
    table: &mut Table,
) -> Result<Vec<String>, ClientError> {
    let pinned = client.roster();
    let next = quorate_client::roster_of(signed)?;
    table.append(difference_table(pinned.roster(), &next));
    if next.parents != [pinned.hash()] {
        table.pair(
            "warning",
            format!(
                "it does not follow roster {} alone, which is in force: nodes that act by that one \
                 may refuse it",
                pinned.roster().version
            ),
        );
    }
    let removed = RosterDifference::between(pinned.roster(), &next).removed;
    if removed.is_empty() {
        return Ok(Vec::new());
    }
    let keys = client.list_keys().await?;
    let mut lost = Vec::new();
    for node in &removed {
        for holding in Holding::at(&keys, node, &next) {
            table.pair("warning", holding.consequence());
            lost.push(format!("{} at {node}", holding.key));
        }
    }
    Ok(lost)
}

#[cfg(test)]
mod tests {
    use quorate_client::model::{KeyName, KeyPurpose, Purposes, Scheme, life::KeyLife};

    use super::*;

    #[test]
    fn only_a_fragile_shape_is_shown_as_accepted() {
        for (threshold, nodes, is_told) in [(2, 2, true), (2, 3, false), (3, 4, true)] {
            let names = (1..=nodes).map(|number| format!("node-{number}").parse().unwrap());
            let create = CreateKey {
                key: "hot-2".parse().unwrap(),
                scheme: Scheme::Bip340,
                threshold,
                nodes: names.collect(),
                purposes: Purposes::new(vec![KeyPurpose::Messages]).unwrap(),
                accept_fragile: true,
                life: KeyLife::default(),
            };
            let mut table = Table::default();

            show_creation(&create, &mut table);

            let told = table.to_string();
            assert_eq!(told.contains("stop for ever"), is_told, "{told}");
        }
    }

    #[test]
    fn what_is_not_seen_is_rejected_and_never_approved() {
        let hidden = || {
            let key: KeyName = "hot".parse().unwrap();
            let message = format!("there is no key \"{key}\"");
            ClientError::from(Refusal::new(Reason::KeyUnknown, message))
        };
        let mut table = Table::default();

        assert!(unseen(EndorsementKind::Approve, hidden(), &mut table).is_err());
        assert!(unseen(EndorsementKind::Propose, hidden(), &mut table).is_err());
        assert!(unseen(EndorsementKind::Reject, hidden(), &mut table).is_ok());
        assert!(table.to_string().contains("is not shown"), "{table}");
    }
}
