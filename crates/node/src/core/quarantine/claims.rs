//! What others tell a restored node of the states of keys: which of it counts, and in which order it is
//! taken (P33, P35).

use std::{collections::BTreeSet, sync::Arc};

use quorate_model::{
    KeyName, NodeId, Refusal,
    certificate::{CommitCertificate, PreparedStatement},
    command::{CommandBody, SignedCommand},
    quarantine::HeadsAttestation,
    roster::PinnedRoster,
    standing::{Effect, SetKeyState, Standing, StateChange, StateMark},
};
use quorate_proto::admission;

use super::{
    super::{
        Context, Fatal, NodeCore,
        ledger::{self, KeyRow},
        lock,
    },
    Quarantined, does_not_hold,
};
use crate::disk::Disk;

/// The most resumptions that are heard of each of the others; a key whose resumption is left out stays
/// suspended until it is resumed anew.
const MAX_RESUMPTIONS: usize = 4_096;

/// The most commands that stop keys and could not be taken at once, from each of the others. None is
/// left out: a node that tells of more does not tell its part.
const MAX_STOPS: usize = 1 << 16;

/// A command about a state that was checked and is not taken yet: a resumption, one by persons who were
/// removed since, or one that is only of its time once a resumption is known.
pub(super) struct Claim {
    set: SetKeyState,
    command: SignedCommand,
    /// Whether the roster in force admits it.
    in_force: bool,
    by: BTreeSet<NodeId>,
}

impl Quarantined {
    /// Takes note that a node acts by a command that was checked.
    fn claim(
        &mut self,
        page: &HeadsAttestation,
        (set, in_force): (SetKeyState, bool),
        command: &SignedCommand,
    ) -> Result<(), Refusal> {
        let told = self.told.entry(page.node.clone()).or_default();
        let digest = command.digest();
        if let Some(claim) = self.claims.get_mut(&digest) {
            claim.by.insert(page.node.clone());
            // Others may have endorsed it besides, who were removed since.
            if in_force && !claim.in_force {
                claim.in_force = true;
                claim.command = command.clone();
            }
            return Ok(());
        }
        if set.change == StateChange::Resume {
            if told.resumptions >= MAX_RESUMPTIONS {
                return Ok(());
            }
            told.resumptions = told.resumptions.saturating_add(1);
        } else if told.stops >= MAX_STOPS {
            return Err(does_not_hold(page, "it tells of too many stopped keys"));
        } else {
            told.stops = told.stops.saturating_add(1);
        }
        let claim = Claim {
            set,
            command: command.clone(),
            in_force,
            by: [page.node.clone()].into(),
        };
        self.claims.insert(digest, claim);
        Ok(())
    }
}

/// What holders of a key have stated of it, as this node knows it.
pub(super) fn stated(row: &KeyRow) -> Result<Option<PreparedStatement>, Fatal> {
    let Some(current) = row.current() else {
        return Ok(None);
    };
    let certificate = CommitCertificate::from_bytes(&current.certificate)
        .map_err(|_| Fatal::Invariant("a certificate was verified before it was recorded"))?;
    Ok(Some(certificate.statement))
}

/// The command of a mark about a key, if some roster admits it and it says what the mark says, and
/// whether the roster in force does.
fn checked(pinned: &PinnedRoster, key: &KeyName, mark: &StateMark) -> Option<(SetKeyState, bool)> {
    let (command, in_force) = admission::admit_noting_when(pinned, &mark.command).ok()?;
    let forbidden = mark.command.is_forbidden(&command.body);
    let CommandBody::SetKeyState(set) = command.body else {
        return None;
    };
    let fits = !forbidden && set.key == *key && set.change == mark.change;
    fits.then_some((set, in_force))
}

impl<D: Disk + 'static> NodeCore<D> {
    /// Hears the commands of admins that others have heard, and that stop something: also of keys of
    /// which this node has not heard, or it would sign with one that came to it later. What counts
    /// only by the word of several, or is not of its time yet, is kept until all have told.
    pub(super) fn take_standings(
        self: &Arc<Self>,
        context: &mut Context<'_>,
        page: &HeadsAttestation,
    ) -> Result<Result<(), Refusal>, Fatal> {
        let pinned = self.pinned();
        for head in &page.heads {
            let held = self.standing_of(&head.key)?;
            for mark in head.standing.marks() {
                let command = &mark.command;
                if held.holds(&command.digest()) {
                    continue;
                }
                // A node lists what it has checked: anything else counts for nothing.
                let Some((set, in_force)) = checked(&pinned, &head.key, mark) else {
                    continue;
                };
                if set.change != StateChange::Resume && in_force {
                    let _outcome = self.adopt_key_state(context, command.clone())?;
                    if self.standing_of(&head.key)?.holds(&command.digest()) {
                        continue;
                    }
                }
                if let Some(quarantine) = &mut lock(&self.state).quarantine
                    && let Err(refusal) = quarantine.claim(page, (set, in_force), command)
                {
                    return Ok(Err(refusal));
                }
            }
        }
        Ok(Ok(()))
    }

    fn standing_of(&self, key: &KeyName) -> Result<Standing, Fatal> {
        Ok(ledger::standing(&*lock(&self.state).index, key)?.standing)
    }

    /// Takes what counts by the word of as many holders as sign with the key: resumptions, and what
    /// persons commanded who were removed since. One of them is honest, took it in time, and knows of
    /// no admin who forbade it; any other resumption is to be made anew. Of a key that this node has
    /// not heard of, a stop takes a majority of the others.
    ///
    /// Resumptions go first, because suspensions are only of their time beside the last one. A
    /// suspension that is so by one that does not count is taken with it, and outdoes it.
    pub(super) fn take_claims(
        self: &Arc<Self>,
        context: &mut Context<'_>,
        others: &BTreeSet<NodeId>,
    ) -> Result<(), Fatal> {
        let Some(mut counted) = self.counted(others)? else {
            return Ok(());
        };
        counted.sort_by_key(|(set, ..)| (set.change != StateChange::Resume, set.sequence));
        for (set, command, counts) in &counted {
            if *counts {
                let _outcome = self.adopt_key_state(context, command.clone())?;
            }
            let is_stop = set.change == StateChange::Suspend;
            if !is_stop || !*counts || self.standing_of(&set.key)?.holds(&command.digest()) {
                continue;
            }
            if let Some(resumption) = self.outdone_by(set, command, &counted)? {
                let _outcome = self.adopt_key_state(context, resumption)?;
                let _outcome = self.adopt_key_state(context, command.clone())?;
            }
        }
        Ok(())
    }

    /// The resumption beside which a suspension of the key that this node holds can be taken, and that
    /// it outdoes; none where the key would not be suspended afterwards.
    fn outdone_by(
        &self,
        set: &SetKeyState,
        command: &SignedCommand,
        claimed: &[(SetKeyState, SignedCommand, bool)],
    ) -> Result<Option<SignedCommand>, Fatal> {
        let digest = command.digest();
        let rejected = ledger::rejected_state(&*lock(&self.state).index, &digest)?;
        if rejected.is_some() || self.check_held(set)?.is_err() {
            return Ok(None);
        }
        let standing = self.standing_of(&set.key)?;
        for (resume, resumption, _) in claimed {
            let fits = resume.change == StateChange::Resume
                && resume.key == set.key
                && resume.key_id == set.key_id
                && resume.sequence < set.sequence;
            let known = resumption.digest();
            if !fits || standing.judge(resume, &known) != Ok(Effect::Changes) {
                continue;
            }
            let mut beside = standing.clone();
            beside.take(StateMark::new(resume, resumption.clone()));
            if beside.judge(set, &digest) == Ok(Effect::Changes) {
                return Ok(Some(resumption.clone()));
            }
        }
        Ok(None)
    }

    /// What is claimed, with whether it counts, once all others have told; none before.
    #[expect(clippy::type_complexity, reason = "it is used in one place")]
    fn counted(
        &self,
        others: &BTreeSet<NodeId>,
    ) -> Result<Option<Vec<(SetKeyState, SignedCommand, bool)>>, Fatal> {
        let state = lock(&self.state);
        let Some(quarantine) = &state.quarantine else {
            return Ok(None);
        };
        if !quarantine.missing(others).is_empty() {
            return Ok(None);
        }
        let majority = (others.len() / 2).saturating_add(1);
        let mut counted = Vec::new();
        for claim in quarantine.claims.values() {
            let Claim {
                set,
                command,
                in_force,
                by,
            } = claim;
            let resumes = set.change == StateChange::Resume;
            let row = ledger::key(&*state.index, &set.key)?.unwrap_or_default();
            let by = by.intersection(others);
            let counts = match stated(&row)? {
                _ if *in_force && !resumes => true,
                Some(stated) => {
                    let holds = |node: &&NodeId| {
                        let mut holders = stated.participants.iter();
                        holders.any(|holder| holder.node == **node)
                    };
                    by.filter(holds).count() >= usize::from(stated.threshold)
                }
                None => !resumes && by.count() >= majority,
            };
            counted.push((set.clone(), command.clone(), counts));
        }
        Ok(Some(counted))
    }
}
