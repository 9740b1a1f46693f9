//! The keys that the coordinator knows: from its store, from ceremonies, and from what nodes list.
//!
//! A key counts only once its certificate has been verified under the pinned roster. What comes
//! from the store is verified when it is first used, so that a start with many keys is quick.

use std::{collections::BTreeMap, sync::Arc};

use quorate_model::{
    Digest, Epoch, KeyName, KeyRecord, certificate::KeyEvidence, operation::KeyView,
    roster::PinnedRoster, standing::Standing,
};
use quorate_protocol::frost::PublicKeys;

use super::{event::StoredKey, math};

/// A key whose certificate holds.
pub(super) struct Certified {
    pub(super) record: KeyRecord,
    pub(super) public: PublicKeys,
    pub(super) certificate: Vec<u8>,
    /// The proof of possession, verified.
    pub(super) proof: Option<Vec<u8>>,
}

impl Certified {
    /// Verifies a certificate, and the proof if there is one.
    pub(super) fn verify(
        pinned: &PinnedRoster,
        certificate: &[u8],
        proof: Option<&[u8]>,
    ) -> Option<Self> {
        let (_, record) = quorate_proto::certificate::verify(certificate, None, pinned).ok()?;
        let public = PublicKeys::of_record(&record).ok()?;
        if proof.is_some_and(|proof| !math::proof_holds(pinned, &record, &public, proof)) {
            return None;
        }
        Some(Self {
            record,
            public,
            certificate: certificate.to_vec(),
            proof: proof.map(<[u8]>::to_vec),
        })
    }

    pub(super) fn stored(&self) -> StoredKey {
        StoredKey {
            name: self.record.name.clone(),
            certificate: self.certificate.clone(),
            proof: self.proof.clone(),
        }
    }

    pub(super) fn view(&self, standing: Standing) -> KeyView {
        KeyView {
            record: self.record.clone(),
            state: standing.state(self.proof.is_some()),
            evidence: KeyEvidence {
                certificate: self.certificate.clone(),
                proof: self.proof.clone(),
                birth: None,
            },
            standing,
        }
    }
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
pub(super) struct KeyBook(BTreeMap<KeyName, Entry>);

impl KeyBook {
    /// Takes a key from the store.
    pub(super) fn restore(&mut self, key: StoredKey) {
        self.0.insert(key.name.clone(), Entry::Unverified(key));
    }

    /// A key, verified. A stored key that does not verify is forgotten; nodes will list it.
    pub(super) fn get(&mut self, pinned: &PinnedRoster, name: &KeyName) -> Option<Arc<Certified>> {
        let stored = match self.0.get(name)? {
            Entry::Verified(key) => return Some(Arc::clone(key)),
            Entry::Unverified(stored) => stored,
        };
        let verified = Certified::verify(pinned, &stored.certificate, stored.proof.as_deref())
            .filter(|key| key.record.name == *name);
        let Some(key) = verified else {
            self.0.remove(name);
            return None;
        };
        let key = Arc::new(key);
        self.0
            .insert(name.clone(), Entry::Verified(Arc::clone(&key)));
        Some(key)
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
                .0
                .range::<KeyName, _>((std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded))
                .map(|(name, _)| name.clone())
                .take(limit)
                .collect(),
            None => self.0.keys().take(limit).cloned().collect(),
        };
        names
            .iter()
            .filter_map(|name| self.get(pinned, name))
            .collect()
    }

    /// The names of the keys whose proof of possession is not there yet.
    pub(super) fn unproven(&self) -> Vec<KeyName> {
        let proof = |entry: &Entry| match entry {
            Entry::Unverified(stored) => stored.proof.is_some(),
            Entry::Verified(key) => key.proof.is_some(),
        };
        let unproven = self.0.iter().filter(|(_, entry)| !proof(entry));
        unproven.map(|(name, _)| name.clone()).collect()
    }

    /// Whether what is known of a name stays, beside a certificate that has a proof or not. Under
    /// one name one key is served, the first that is known with its proof; a second certificate for
    /// a known name is ignored, and only a proof can be news.
    fn stays(&mut self, pinned: &PinnedRoster, name: &KeyName, has_proof: bool) -> bool {
        self.get(pinned, name)
            .is_some_and(|known| known.proof.is_some() || !has_proof)
    }

    /// Takes a verified key, unless what is known of its name stays.
    pub(super) fn put(&mut self, pinned: &PinnedRoster, key: Arc<Certified>) -> bool {
        let name = &key.record.name;
        if self.stays(pinned, name, key.proof.is_some()) {
            return false;
        }
        self.0.insert(name.clone(), Entry::Verified(key));
        true
    }

    /// Takes what a node lists.
    pub(super) fn learn(
        &mut self,
        pinned: &PinnedRoster,
        name: &KeyName,
        certificate: &[u8],
        proof: Option<&[u8]>,
    ) -> Learned {
        // Both before anything is verified, which costs much more.
        if self.is_as_stored(name, certificate, proof) || self.stays(pinned, name, proof.is_some())
        {
            return Learned::Known;
        }
        match Certified::verify(pinned, certificate, proof) {
            Some(key) if key.record.name == *name => {
                self.put(pinned, Arc::new(key));
                Learned::News
            }
            _ => Learned::False,
        }
    }

    fn is_as_stored(&self, name: &KeyName, certificate: &[u8], proof: Option<&[u8]>) -> bool {
        match self.0.get(name) {
            Some(Entry::Unverified(key)) => {
                key.certificate == certificate && key.proof.as_deref() == proof
            }
            Some(Entry::Verified(key)) => {
                key.certificate == certificate && key.proof.as_deref() == proof
            }
            None => false,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
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
