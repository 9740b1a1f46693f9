//! What a coordinator tells of a key beside its evidence: since when it is in use, when it was last
//! used, and which key takes its place.
//!
//! Nothing proves the times. Which key takes the place of another is proven by the certificate of
//! that key; that there is one is told by the coordinator, which can always hide it.

use quorate_model::{
    KeyState, UnixMillis, command::MAX_CREATED_AHEAD_MS, life::Successor, operation::KeyView,
    roster::PinnedRoster,
};

use super::{KeyReference, ListedKey};
use crate::{
    client::Client,
    command::{CLOCK_TOLERANCE_MS, CommandTimes},
    error::ClientError,
    verify::VerificationError,
};

/// What a coordinator tells of a key.
#[derive(Debug)]
pub(super) struct Told {
    activated: Option<UnixMillis>,
    used: Option<UnixMillis>,
    replaced_by: Option<Successor>,
}

impl Told {
    /// Takes what is told of a key that was created at a time. Times that no honest node has are left
    /// out: from before the creation, or to come.
    pub(super) fn read(view: &KeyView, created: UnixMillis) -> Self {
        let latest = CommandTimes::from_now().created.plus(CLOCK_TOLERANCE_MS);
        // The clock of whoever made the command may be ahead of those of nodes.
        let can_be =
            |time: &UnixMillis| time.plus(MAX_CREATED_AHEAD_MS) >= created && *time <= latest;
        Self {
            activated: view.activated.filter(can_be),
            used: view.used.filter(can_be),
            replaced_by: view.replaced_by.clone(),
        }
    }
}

impl ListedKey {
    /// When the key was put in use: the time that as many holders bear out as sign with it, by their
    /// own clocks. None where too few say.
    ///
    /// # Security
    ///
    /// It is the word of nodes, and comes from the coordinator, which can say anything: it is for
    /// people to look at, and no evidence. The audit logs of nodes are.
    pub fn activated(&self) -> Option<UnixMillis> {
        self.0.told.activated
    }

    /// When the key was last used, to the hour: that much later it may have been. None where too few
    /// holders say.
    ///
    /// # Security
    ///
    /// As with [`ListedKey::activated`]. Fewer holders than sign cannot make it later than what an
    /// honest one saw, and the coordinator can.
    pub fn last_used(&self) -> Option<UnixMillis> {
        self.0.told.used
    }

    /// Whether this key says by its certificate that it takes the place of another.
    pub fn takes_place_of(&self, before: &Self) -> bool {
        let before = before.record();
        let named = self.life().replaces.as_ref();
        named.is_some_and(|named| named.key_id == before.id() && named.key == before.name)
    }

    /// The key of a list that takes the place of this one: the first one that is active, or the first
    /// of all. Unlike [`ListedKey::successor`] it stays when its own time is over. Keys that are not
    /// proven are passed over, and those of which fewer holders than sign are in the roster: persons
    /// and nodes that were removed can make one.
    pub fn replaced_by<'a>(&self, keys: &'a [Self], roster: &PinnedRoster) -> Option<&'a Self> {
        let takes_place = |key: &&Self| key.takes_place_of(self) && key.counts(roster);
        let keys = keys.iter().filter(takes_place);
        keys.min_by_key(|key| (key.state() != KeyState::Active, key.created()))
    }

    /// Whether others may be told of it that know it by its name alone.
    fn counts(&self, roster: &PinnedRoster) -> bool {
        let by_name = KeyReference::from(self.record().name.clone());
        self.proof().is_some() && by_name.check_served(self.record(), roster).is_ok()
    }
}

impl Client {
    /// The key that takes the place of another, as the coordinator names it: fetched, verified, and
    /// asked by its certificate whether it does. None where none is named, and where the one that is
    /// named is not proven or not served, as with [`ListedKey::replaced_by`].
    ///
    /// That there is none is the coordinator's word.
    ///
    /// # Errors
    ///
    /// [`VerificationError::OtherSuccessor`] when the key that is named does not say that it takes
    /// the place of this one, and [`VerificationError::OtherKeyId`] when another one is shown.
    pub async fn successor(&self, key: &ListedKey) -> Result<Option<ListedKey>, ClientError> {
        let Some(named) = &key.0.told.replaced_by else {
            return Ok(None);
        };
        let reference = KeyReference {
            name: named.key.clone(),
            id: Some(named.key_id),
        };
        let next = self.look_up(&reference).await?;
        if !next.takes_place_of(key) {
            return Err(VerificationError::OtherSuccessor {
                key: key.record().name.clone(),
                named: named.key.clone(),
            }
            .into());
        }
        Ok(Some(next).filter(|next| next.counts(&self.roster())))
    }
}

#[cfg(test)]
mod tests;
