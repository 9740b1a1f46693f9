//! How many keys are due for a refresh, a rotation or retirement, for an operator's alarms.
//!
//! Counting reads the certificates of all keys, so a few are looked at every second, and the figures
//! are those of the last round. They are for watching: nothing here is verified, and nobody acts on
//! it but a person who looks with `quorate key list --due`.

use std::collections::BTreeMap;

use quorate_model::{
    KeyName, UnixMillis,
    certificate::CommitCertificate,
    command::{Command, CommandBody},
    ids::KeyId,
    key::KeyState,
    life::{Duty, KeyDates, KeyLife},
};

use super::Core;

/// Keys that become due within this time are counted as due soon: 7 days, in milliseconds.
const SOON_MS: u64 = 7 * 24 * 60 * 60 * 1_000;

/// How many keys are due for one thing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DueCount {
    /// Now.
    pub now: u64,
    /// Within the next seven days, those that are due now among them.
    pub soon: u64,
}

/// The count under way, and what the last one came to.
#[derive(Default)]
pub(super) struct DueCounts {
    after: Option<KeyName>,
    counting: BTreeMap<Duty, DueCount>,
    counted: BTreeMap<Duty, DueCount>,
    /// Since when there is an active key in the place of another, found in this round and the last.
    finding: BTreeMap<KeyId, UnixMillis>,
    replaced: BTreeMap<KeyId, UnixMillis>,
}

/// What the certificates of a key say of its time.
struct Plan {
    id: KeyId,
    created: UnixMillis,
    dealt: UnixMillis,
    life: KeyLife,
}

impl Plan {
    fn read(certificate: &[u8], birth: Option<&[u8]>) -> Option<Self> {
        let (_, dealt) = command_of(certificate)?;
        let (id, born) = command_of(birth.unwrap_or(certificate))?;
        let CommandBody::CreateKey(create) = born.body else {
            return None;
        };
        Some(Self {
            id,
            created: born.created,
            dealt: dealt.created,
            life: create.life,
        })
    }
}

fn command_of(certificate: &[u8]) -> Option<(KeyId, Command)> {
    let parsed = CommitCertificate::from_bytes(certificate).ok()?;
    let command = quorate_proto::command::decode(&parsed.command.bytes).ok()?;
    Some((KeyId::of(&parsed.command.digest()), command))
}

impl Core {
    /// Looks at the next keys, at most so many, and answers with the figures of the last whole round.
    /// A key in whose place there is another is told from the round before.
    pub fn count_due(&mut self, now: UnixMillis, most: usize) -> BTreeMap<Duty, DueCount> {
        let keys = self.keys.certificates(self.due.after.as_ref(), most);
        let is_last = keys.len() < most;
        for key in keys {
            if let Some(plan) = Plan::read(&key.certificate, key.birth.as_deref()) {
                self.count_key(&plan, key.proof.is_some(), now);
            }
            self.due.after = Some(key.name);
        }
        if is_last {
            let due = &mut self.due;
            due.after = None;
            due.counted = std::mem::take(&mut due.counting);
            due.replaced = std::mem::take(&mut due.finding);
        }
        self.due.counted.clone()
    }

    fn count_key(&mut self, plan: &Plan, is_proven: bool, now: UnixMillis) {
        let stands = self.states.standing(&plan.id).state(is_proven);
        let state = self.destroying.state(&self.pinned, &plan.id, stands);
        let due = &mut self.due;
        if let Some(before) = plan
            .life
            .replaces
            .as_ref()
            .filter(|_| state == KeyState::Active)
        {
            let since = due.finding.entry(before.key_id).or_insert(plan.created);
            *since = plan.created.min(*since);
        }
        let dates = KeyDates {
            created: plan.created,
            dealt: plan.dealt,
            replaced: due.replaced.get(&plan.id).copied(),
            state,
        };
        for (duty, at) in plan.life.due(&dates, now.plus(SOON_MS)) {
            let count = due.counting.entry(duty).or_default();
            count.soon = count.soon.saturating_add(1);
            if at <= now {
                count.now = count.now.saturating_add(1);
            }
        }
    }
}
