//! The keys that the coordinator knows: from its store, from ceremonies, and from what nodes list.
//!
//! A key counts only once its certificate has been verified under the pinned roster. What comes
//! from the store is verified when it is first used, so that a start with many keys is quick.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use quorate_model::{
    Digest, Epoch, KeyId, KeyName, KeyRecord, UnixMillis,
    certificate::{CommitCertificate, KeyEvidence},
    command::CommandBody,
    life::Predecessor,
    operation::KeyView,
    roster::PinnedRoster,
    standing::Standing,
};
use quorate_protocol::frost::PublicKeys;

use super::{destroying::Destroying, event::StoredKey, math};

/// A key whose certificate holds.
pub(super) struct Certified {
    pub(super) record: KeyRecord,
    pub(super) public: PublicKeys,
    /// The session that made the epoch.
    session: Digest,
    pub(super) certificate: Vec<u8>,
    /// The proof of possession, verified.
    pub(super) proof: Option<Vec<u8>>,
    /// The certificate of the key's birth, of a later epoch.
    pub(super) birth: Option<Vec<u8>>,
    /// When the key was commanded.
    pub(super) created: UnixMillis,
    /// The key that it takes the place of.
    replaces: Option<Predecessor>,
}

impl Certified {
    /// Verifies certificates, and the proof if there is one. A later epoch without its proof is good
    /// for nothing but the end of the run that makes it.
    pub(super) fn verify(pinned: &PinnedRoster, evidence: &KeyEvidence) -> Option<Self> {
        let KeyEvidence {
            certificate,
            proof,
            birth,
        } = evidence;
        let (parsed, record) =
            quorate_proto::certificate::verify(certificate, birth.as_deref(), pinned).ok()?;
        let public = PublicKeys::of_record(&record).ok()?;
        let proof = proof.as_deref();
        if proof.is_some_and(|proof| !math::proof_holds(pinned, &record, &public, proof)) {
            return None;
        }
        let (created, replaces) = beginning(birth.as_deref().unwrap_or(certificate))?;
        Some(Self {
            created,
            replaces,
            record,
            public,
            session: parsed.statement.session,
            certificate: certificate.clone(),
            proof: proof.map(<[u8]>::to_vec),
            birth: birth.clone(),
        })
    }

    pub(super) fn evidence(&self) -> KeyEvidence {
        KeyEvidence {
            certificate: self.certificate.clone(),
            proof: self.proof.clone(),
            birth: self.birth.clone(),
        }
    }

    /// The certificate of the key's birth.
    pub(super) fn origin(&self) -> &[u8] {
        self.birth.as_ref().unwrap_or(&self.certificate)
    }

    /// Where the epoch stands among those of its key (P30).
    fn order(&self) -> (Epoch, Digest) {
        (self.record.epoch, self.session)
    }

    /// The digest of the command that made this epoch.
    pub(super) fn made_by(&self) -> Option<Digest> {
        let parsed = CommitCertificate::from_bytes(&self.certificate).ok()?;
        Some(parsed.command.digest())
    }

    pub(super) fn stored(&self) -> StoredKey {
        StoredKey {
            name: self.record.name.clone(),
            certificate: self.certificate.clone(),
            proof: self.proof.clone(),
            birth: self.birth.clone(),
        }
    }

    pub(super) fn view(
        &self,
        pinned: &PinnedRoster,
        standing: Standing,
        destroying: &Destroying,
    ) -> KeyView {
        let stands = standing.state(self.proof.is_some());
        KeyView {
            record: self.record.clone(),
            state: destroying.state(pinned, &self.record.id(), stands),
            evidence: self.evidence(),
            standing,
            destruction: destroying.of(&self.record.id()),
            next_epoch: None,
            activated: None,
            used: None,
            replaced_by: None,
        }
    }
}

/// When a key was commanded, and which it takes the place of, by the certificate of its birth.
/// Nothing of it is verified.
fn beginning(birth: &[u8]) -> Option<(UnixMillis, Option<Predecessor>)> {
    let parsed = CommitCertificate::from_bytes(birth).ok()?;
    let command = quorate_proto::command::decode(&parsed.command.bytes).ok()?;
    let CommandBody::CreateKey(create) = command.body else {
        return None;
    };
    Some((command.created, create.life.replaces))
}

enum Entry {
    Unverified(StoredKey),
    Verified(Arc<Certified>),
}

/// What learning of a key came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Learned {
    /// Nothing that was not known.
    Known,
    /// A key, or a proof, that was not known.
    News,
    /// The certificate or the proof does not hold.
    False,
}

/// All keys by name.
#[derive(Default)]
pub(super) struct KeyBook {
    keys: BTreeMap<KeyName, Entry>,
    /// The keys that say that they take the place of another, by the id of that one.
    replacing: BTreeMap<KeyId, BTreeSet<KeyName>>,
}

impl KeyBook {
    /// Takes a key from the store.
    pub(super) fn restore(&mut self, key: StoredKey) {
        let birth = key.birth.as_ref().unwrap_or(&key.certificate);
        if let Some((_, Some(before))) = beginning(birth) {
            self.replaces(key.name.clone(), &before);
        }
        self.keys.insert(key.name.clone(), Entry::Unverified(key));
    }

    fn replaces(&mut self, name: KeyName, before: &Predecessor) {
        let names = self.replacing.entry(before.key_id).or_default();
        names.insert(name);
    }

    /// The proven keys that take the place of another.
    pub(super) fn successors(
        &mut self,
        pinned: &PinnedRoster,
        before: &KeyRecord,
    ) -> Vec<Arc<Certified>> {
        let id = before.id();
        let names = self.replacing.get(&id).cloned().unwrap_or_default();
        // What was learned of a name since may be another key.
        let takes_its_place = |key: &Arc<Certified>| {
            let said = key.replaces.as_ref();
            let same = said.is_some_and(|said| said.key_id == id && said.key == before.name);
            same && key.proof.is_some()
        };
        let keys = names.iter().filter_map(|name| self.get(pinned, name));
        keys.filter(takes_its_place).collect()
    }

    /// A key, verified. A stored key that does not verify is forgotten; nodes will list it.
    pub(super) fn get(&mut self, pinned: &PinnedRoster, name: &KeyName) -> Option<Arc<Certified>> {
        let stored = match self.keys.get(name)? {
            Entry::Verified(key) => return Some(Arc::clone(key)),
            Entry::Unverified(stored) => stored,
        };
        let evidence = KeyEvidence {
            certificate: stored.certificate.clone(),
            proof: stored.proof.clone(),
            birth: stored.birth.clone(),
        };
        let verified = Certified::verify(pinned, &evidence).filter(|key| key.record.name == *name);
        let Some(key) = verified else {
            self.keys.remove(name);
            return None;
        };
        let key = Arc::new(key);
        self.keys
            .insert(name.clone(), Entry::Verified(Arc::clone(&key)));
        Some(key)
    }

    /// What is known under a name, where a node lists something else.
    pub(super) fn unlike(
        &mut self,
        pinned: &PinnedRoster,
        name: &KeyName,
        evidence: &KeyEvidence,
    ) -> Option<Arc<Certified>> {
        if self.is_as_stored(name, evidence) {
            return None;
        }
        self.get(pinned, name)
    }

    /// A page of keys after a name.
    pub(super) fn page(
        &mut self,
        pinned: &PinnedRoster,
        after: Option<&KeyName>,
        limit: usize,
    ) -> Vec<Arc<Certified>> {
        let names: Vec<KeyName> = match after {
            Some(after) => self
                .keys
                .range::<KeyName, _>((std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded))
                .map(|(name, _)| name.clone())
                .take(limit)
                .collect(),
            None => self.keys.keys().take(limit).cloned().collect(),
        };
        names
            .iter()
            .filter_map(|name| self.get(pinned, name))
            .collect()
    }

    /// What is kept of the keys after a name, at most so many, verified or not.
    pub(super) fn certificates(&self, after: Option<&KeyName>, most: usize) -> Vec<StoredKey> {
        let from = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        self.keys
            .range::<KeyName, _>((from, std::ops::Bound::Unbounded))
            .take(most)
            .map(|(_, entry)| match entry {
                Entry::Unverified(stored) => stored.clone(),
                Entry::Verified(key) => key.stored(),
            })
            .collect()
    }

    /// The names of the keys whose proof of possession is not there yet.
    pub(super) fn unproven(&self) -> Vec<KeyName> {
        let proof = |entry: &Entry| match entry {
            Entry::Unverified(stored) => stored.proof.is_some(),
            Entry::Verified(key) => key.proof.is_some(),
        };
        let unproven = self.keys.iter().filter(|(_, entry)| !proof(entry));
        unproven.map(|(name, _)| name.clone()).collect()
    }

    /// Whether what is known of a name stays, beside an epoch that is proven or not. Under one name
    /// one key is served, the first that is known with its proof; of that key the highest epoch that
    /// is proven.
    fn stays(
        &mut self,
        pinned: &PinnedRoster,
        name: &KeyName,
        (epoch, session): (Epoch, Digest),
        has_proof: bool,
    ) -> bool {
        self.get(pinned, name).is_some_and(|known| {
            !has_proof || (known.proof.is_some() && known.order() >= (epoch, session))
        })
    }

    /// Takes a verified key, unless what is known of its name stays.
    pub(super) fn put(&mut self, pinned: &PinnedRoster, key: Arc<Certified>) -> bool {
        let name = &key.record.name;
        let has_proof = key.proof.is_some();
        let other = self
            .get(pinned, name)
            .is_some_and(|known| known.proof.is_some() && known.record.id() != key.record.id());
        let relies = has_proof || key.birth.is_none();
        if other || !relies || self.stays(pinned, name, key.order(), has_proof) {
            return false;
        }
        if let Some(before) = key.replaces.clone() {
            self.replaces(name.clone(), &before);
        }
        self.keys.insert(name.clone(), Entry::Verified(key));
        true
    }

    /// Takes what a node lists.
    pub(super) fn learn(
        &mut self,
        pinned: &PinnedRoster,
        name: &KeyName,
        evidence: &KeyEvidence,
    ) -> Learned {
        // All before anything is verified, which costs much more.
        if self.is_as_stored(name, evidence) {
            return Learned::Known;
        }
        let Ok(parsed) = CommitCertificate::from_bytes(&evidence.certificate) else {
            return Learned::False;
        };
        let order = (parsed.statement.epoch, parsed.statement.session);
        if self.stays(pinned, name, order, evidence.proof.is_some()) {
            return Learned::Known;
        }
        match Certified::verify(pinned, evidence) {
            Some(key) if key.record.name == *name => {
                if self.put(pinned, Arc::new(key)) {
                    Learned::News
                } else {
                    Learned::Known
                }
            }
            _ => Learned::False,
        }
    }

    fn is_as_stored(&self, name: &KeyName, evidence: &KeyEvidence) -> bool {
        let KeyEvidence {
            certificate, proof, ..
        } = evidence;
        match self.keys.get(name) {
            Some(Entry::Unverified(key)) => key.certificate == *certificate && key.proof == *proof,
            Some(Entry::Verified(key)) => key.certificate == *certificate && key.proof == *proof,
            None => false,
        }
    }

    /// Whether a key of this name is known. What is kept was verified before it was kept.
    pub(super) fn knows(&self, name: &KeyName) -> bool {
        self.keys.contains_key(name)
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }
}

/// The digest of the command that created a key, with its epoch.
pub(super) fn origin(key: &Certified) -> (Digest, Epoch) {
    (key.record.command, key.record.epoch)
}

/// The greatest name before `name`: what a listing must start after to begin with `name`.
///
/// Names are at most 63 characters of `-`, `0-9` and `a-z`, in this order. The last character is
/// replaced by the one before it, and the rest is filled with the greatest.
pub(super) fn before(name: &KeyName) -> Option<KeyName> {
    let (last, start) = name.as_str().as_bytes().split_last()?;
    let previous = match last {
        b'0' => b'-',
        b'a' => b'9',
        other => other.checked_sub(1)?,
    };
    let mut text = start.to_vec();
    text.push(previous);
    text.resize(63.max(text.len()), b'z');
    String::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_fits_between_a_name_and_the_one_before_it() {
        for text in ["a0", "aa", "demo-taproot", "zz9", "a-b", "k1"] {
            let name: KeyName = text.parse().unwrap();
            let before = before(&name).unwrap();

            assert!(before < name, "{text}");
            let start = &text[..text.len() - 1];
            for between in ["-z", "8z", "9", "az", "y", "yzz"] {
                let Ok(other) = format!("{start}{between}").parse::<KeyName>() else {
                    continue;
                };
                assert!(other <= before || other >= name, "{other} lies between");
            }
        }
    }

    #[test]
    fn a_name_of_full_length_has_one_before_it() {
        let name: KeyName = "b".repeat(63).parse().unwrap();

        let before = before(&name).unwrap();

        assert_eq!(before.as_str(), format!("{}a", "b".repeat(62)));
    }
}
