//! Keys whose evidence was verified against the pinned roster (P20). There is no other way to make
//! one: what a coordinator says about a key counts for nothing by itself.

mod told;

use std::{str::FromStr, sync::Arc};

use quorate_intent::{EvmAddress, ItemTweak, KeyFacts, SigningItem, evm_address};
use quorate_model::{
    DerivationPath, Digest, Epoch, KeyName, KeyPurpose, KeyRecord, KeyState, NameError, Payload,
    Purposes, Reason, Refusal, Scheme, UnixMillis,
    certificate::{CommitCertificate, KeyEvidence},
    command::CommandBody,
    destruction::Destruction,
    ids::KeyId,
    life::{Duty, KeyDates, KeyLife},
    operation::KeyView,
    quarantine::MOST_LEFT_OUT,
    roster::PinnedRoster,
    standing::Standing,
};

use self::told::Told;
use crate::{
    destruction,
    error::ClientError,
    state,
    verify::{self, VerificationError, Verifiers},
};

/// Which key a caller means. A name is an alias that a coordinator resolves; only an id says which
/// key it is (I4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyReference {
    /// The name.
    pub name: KeyName,
    /// The id that the key must have; any key of the name where the caller knows none.
    pub id: Option<KeyId>,
}

impl KeyReference {
    /// Checks that a key is the one that the caller means.
    pub(crate) fn check(&self, shown: &KeyRecord) -> Result<(), VerificationError> {
        if shown.name != self.name {
            return Err(VerificationError::OtherKey(self.name.clone()));
        }
        match self.id {
            Some(expected) if expected != shown.id() => Err(VerificationError::OtherKeyId {
                key: self.name.clone(),
                shown: shown.id(),
                expected,
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// Checks that a key which is meant by its name alone is held by nodes in service, as many as
    /// sign. Persons and nodes that were removed keep their keys and date what they sign as they
    /// like: together they make a key of a free name that holds under the roster of their time.
    pub(crate) fn check_served(
        &self,
        shown: &KeyRecord,
        roster: &PinnedRoster,
    ) -> Result<(), VerificationError> {
        let in_service = |node| roster.roster().node(node).is_some();
        let holders = shown.participants.iter();
        let served = holders.filter(|holder| in_service(&holder.node)).count();
        if self.id.is_some() || served >= usize::from(shown.threshold) {
            return Ok(());
        }
        Err(VerificationError::NotServed {
            key: shown.name.clone(),
            id: shown.id(),
            served,
            threshold: shown.threshold,
        })
    }
}

impl From<KeyName> for KeyReference {
    fn from(name: KeyName) -> Self {
        Self { name, id: None }
    }
}

impl FromStr for KeyReference {
    type Err = NameError;
    fn from_str(name: &str) -> Result<Self, NameError> {
        name.parse::<KeyName>().map(Self::from)
    }
}

/// What keys of a scheme can sign for: there is a kind of payload for each of these purposes, and for
/// no other.
pub const fn fitting_purposes(scheme: Scheme) -> &'static [KeyPurpose] {
    use KeyPurpose::{Digests, Messages, Transactions};
    match scheme {
        Scheme::Bip340 | Scheme::EcdsaSecp256k1 => &[Transactions, Messages, Digests],
        Scheme::FrostSecp256k1 => &[Messages, Digests],
        Scheme::Ed25519 => &[Transactions, Messages],
        _ => &KeyPurpose::ALL,
    }
}

/// Refuses a purpose that no payload serves with a key of the scheme.
pub(crate) fn check_purposes(scheme: Scheme, purposes: &Purposes) -> Result<(), Refusal> {
    let fitting = fitting_purposes(scheme);
    let mut given = purposes.as_slice().iter();
    let Some(idle) = given.find(|purpose| !fitting.contains(purpose)) else {
        return Ok(());
    };
    let names: Vec<&str> = fitting.iter().map(|purpose| purpose.as_str()).collect();
    let message = format!(
        "a key of scheme {scheme} signs nothing for the purpose {idle}: use {}",
        names.join(", ")
    );
    Err(Refusal::new(Reason::PurposeMismatch, message)
        .with("scheme", scheme)
        .with("purpose", idle))
}

/// A key with a certificate that holds. It may not be active yet.
#[derive(Clone, Debug)]
pub struct ListedKey(Arc<Checked>);

/// A key that every holder has certified and proven: it signs, and its address may be shown.
///
/// It says who holds the key in one epoch. It serves on after the key was reshared: whatever comes
/// back from another epoch has the [`Client`](crate::Client) verify the key again.
#[derive(Clone, Debug)]
pub struct CertifiedKey(Arc<Checked>);

#[derive(Debug)]
struct Checked {
    record: KeyRecord,
    verifiers: Verifiers,
    state: KeyState,
    standing: Standing,
    destruction: Destruction,
    made_by: Digest,
    plan: Plan,
    evidence: KeyEvidence,
    next_epoch: Option<Epoch>,
    told: Told,
}

/// What the commands in the certificates of a key say of its life.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) life: KeyLife,
    pub(crate) created: UnixMillis,
    dealt: UnixMillis,
}

impl Plan {
    /// Reads the command of the epoch, and that of the birth where it is another.
    pub(crate) fn read(
        certified: &CommitCertificate,
        birth: Option<&[u8]>,
    ) -> Result<Self, Refusal> {
        let made = quorate_proto::command::decode(&certified.command.bytes)?;
        let dealt = made.created;
        let creation = match birth {
            Some(birth) => {
                let birth = CommitCertificate::from_bytes(birth)?;
                quorate_proto::command::decode(&birth.command.bytes)?
            }
            None => made,
        };
        let created = creation.created;
        let CommandBody::CreateKey(create) = creation.body else {
            let message = "certificate does not hold: its command does not create a key";
            return Err(Refusal::new(Reason::ProtocolViolation, message));
        };
        Ok(Self {
            life: create.life,
            created,
            dealt,
        })
    }
}

impl ListedKey {
    /// Verifies what a coordinator says about a key. A later epoch than that of its birth counts
    /// only with its proof of possession, in whatever state the key is (decision 0019).
    pub fn verify(view: &KeyView, roster: &PinnedRoster) -> Result<Self, VerificationError> {
        let KeyEvidence {
            certificate,
            proof,
            birth,
        } = &view.evidence;
        let (certified, record) = verify::certificate(certificate, birth.as_deref(), roster)?;
        let verifiers = Verifiers::new(&record)?;
        if record != view.record {
            return Err(VerificationError::OtherKey(view.record.name.clone()));
        }
        let is_later = birth.is_some();
        let is_active = view.state == KeyState::Active;
        let counts = is_later || view.state != KeyState::PreActive;
        let proof = proof.as_ref().filter(|_| counts);
        match proof {
            Some(proof) => {
                verify::possession(proof, &record, roster)?;
            }
            None if is_later => {
                return Err(VerificationError::UnprovenEpoch {
                    key: record.name,
                    epoch: record.epoch,
                });
            }
            None if is_active => return Err(VerificationError::NoProof(record.name)),
            None => {}
        }
        let standing = state::standing(view, &record, roster)?;
        let destruction = destruction::known(view, &record, roster)?;
        let state = standing.state(proof.is_some());
        let state = destruction::state(&destruction, &record, roster, state);
        let plan = Plan::read(&certified, birth.as_deref())?;
        Ok(Self(Arc::new(Checked {
            verifiers,
            state,
            standing,
            destruction,
            made_by: certified.command.digest(),
            told: Told::read(view, plan.created),
            plan,
            evidence: KeyEvidence {
                certificate: certificate.clone(),
                proof: proof.cloned(),
                birth: birth.clone(),
            },
            next_epoch: view.next_epoch,
            record,
        })))
    }

    /// The record, as the certificate proves it.
    pub fn record(&self) -> &KeyRecord {
        &self.0.record
    }

    /// The state. That a key is proven, and every command of the admins about it, is checked; that
    /// there are no others is the coordinator's word.
    pub fn state(&self) -> KeyState {
        self.0.state
    }

    /// The commands about the state, each checked under the roster.
    pub fn standing(&self) -> &Standing {
        &self.0.standing
    }

    /// The commands about the key's end and what nodes say of them, each checked under the roster.
    pub fn destruction(&self) -> &Destruction {
        &self.0.destruction
    }

    /// What is planned for the key, and which key it takes the place of.
    pub fn life(&self) -> &KeyLife {
        &self.0.plan.life
    }

    /// The time of the command that created the key, as its admin gave it.
    pub fn created(&self) -> UnixMillis {
        self.0.plan.created
    }

    /// The time of the command that made the shares in use: the last refresh, or the creation.
    pub fn dealt(&self) -> UnixMillis {
        self.0.plan.dealt
    }

    /// The first active key of a list that takes the place of this one. Each says itself that it
    /// does, by its certificate; that there are no others is the coordinator's word.
    pub fn successor<'a>(&self, keys: &'a [Self]) -> Option<&'a Self> {
        let id = self.record().id();
        let replaces = |key: &&Self| {
            let before = key.life().replaces.as_ref();
            key.state() == KeyState::Active && before.is_some_and(|before| before.key_id == id)
        };
        keys.iter().filter(replaces).min_by_key(|key| key.created())
    }

    /// What is due for the key by a time, given the keys that may take its place.
    pub fn due(&self, keys: &[Self], by: UnixMillis) -> Vec<(Duty, UnixMillis)> {
        let dates = KeyDates {
            created: self.created(),
            dealt: self.dealt(),
            replaced: self.successor(keys).map(Self::created),
            state: self.state(),
        };
        self.life().due(&dates, by)
    }

    /// The encoded commit certificate.
    pub fn certificate(&self) -> &[u8] {
        &self.0.evidence.certificate
    }

    /// The encoded proof of possession of a proven key.
    pub fn proof(&self) -> Option<&[u8]> {
        self.0.evidence.proof.as_deref()
    }

    /// The encoded certificate of the key's birth, where this epoch is a later one.
    pub fn birth(&self) -> Option<&[u8]> {
        self.0.evidence.birth.as_deref()
    }

    /// The certificate with all that it is checked by, beside the roster.
    pub fn evidence(&self) -> &KeyEvidence {
        &self.0.evidence
    }

    /// The number from which attempts at another epoch begin: that after the present one, or a higher
    /// one, if holders say that they have left numbers out. Whoever lies about it uses up no more than
    /// [`MOST_LEFT_OUT`] of them at a time.
    pub fn next_epoch(&self) -> Epoch {
        let present = self.record().epoch.0;
        let shown = self.0.next_epoch.map_or(0, |epoch| epoch.0);
        let simply = present.saturating_add(1);
        if shown <= present.saturating_add(MOST_LEFT_OUT) {
            Epoch(shown.max(simply))
        } else {
            Epoch(simply)
        }
    }

    /// The digest of the command that made this epoch.
    pub(crate) fn made_by(&self) -> Digest {
        self.0.made_by
    }

    /// Checks that this is still the key that it was in another epoch.
    pub(crate) fn check_unchanged(&self, before: &KeyRecord) -> Result<(), VerificationError> {
        let record = self.record();
        let is_same = record.id() == before.id()
            && record.name == before.name
            && record.scheme == before.scheme
            && record.purposes == before.purposes
            && record.group_key == before.group_key
            && record.chain_code == before.chain_code;
        if !is_same {
            return Err(VerificationError::KeyChanged(before.name.clone()));
        }
        Ok(())
    }

    /// The key as one that may be used; none while it is not active.
    pub fn certified(&self) -> Option<CertifiedKey> {
        self.0
            .evidence
            .proof
            .is_some()
            .then(|| CertifiedKey(Arc::clone(&self.0)))
    }
}

impl CertifiedKey {
    /// The record, as the certificate proves it.
    pub fn record(&self) -> &KeyRecord {
        &self.0.record
    }

    /// What decoding a payload needs to know of the key.
    pub fn facts(&self) -> KeyFacts<'_> {
        let record = self.record();
        KeyFacts::of(record)
    }

    /// The encoded commit certificate.
    pub fn certificate(&self) -> &[u8] {
        &self.0.evidence.certificate
    }

    /// The encoded proof of possession.
    pub fn proof(&self) -> &[u8] {
        self.0.evidence.proof.as_deref().unwrap_or_default()
    }

    /// The key as lists show it.
    pub fn listed(&self) -> ListedKey {
        ListedKey(Arc::clone(&self.0))
    }

    pub(crate) fn verifiers(&self) -> &Verifiers {
        &self.0.verifiers
    }

    /// Refuses to show an address of a key that was deactivated or reported as compromised: nothing
    /// would ever spend from it again.
    ///
    /// # Errors
    ///
    /// [`Reason::KeyDeactivated`] or [`Reason::KeyCompromised`].
    pub fn check_receives(&self) -> Result<(), Refusal> {
        self.0.standing.check_receives(&self.record().name)
    }

    /// What is planned for the key, and where it may be evacuated to.
    pub fn life(&self) -> &KeyLife {
        &self.0.plan.life
    }

    /// Refuses to evacuate a key that is in use, or gone.
    ///
    /// # Errors
    ///
    /// [`Reason::KeyNotRetired`] or [`Reason::KeyDestroyed`].
    pub fn check_evacuates(&self) -> Result<(), Refusal> {
        let name = &self.record().name;
        if self.0.state.is_destroyed() {
            let message = format!("key \"{name}\" is destroyed: nobody moves what it held");
            return Err(Refusal::new(Reason::KeyDestroyed, message).with("key", name));
        }
        self.0.standing.check_evacuates(name)
    }

    /// The public key of a child (P26), encoded like the group key.
    pub fn child_key(&self, path: &DerivationPath) -> Result<Vec<u8>, VerificationError> {
        verify::child(self.record(), path)
            .map(|child| child.key().to_vec())
            .map_err(|error| VerificationError::NoChild(error.to_string()))
    }

    /// The account of a child on every EVM chain.
    pub fn evm_address(&self, path: &DerivationPath) -> Result<EvmAddress, ClientError> {
        let KeyRecord { name, scheme, .. } = self.record();
        if *scheme != Scheme::EcdsaSecp256k1 {
            let message = format!(
                "key \"{name}\" has scheme {scheme} and no account on EVM chains: use a key of \
                 ecdsa-secp256k1"
            );
            return Err(Refusal::new(Reason::SchemeMismatch, message).into());
        }
        let account = evm_address(&self.child_key(path)?);
        Ok(account.map_err(|error| VerificationError::NoChild(error.to_string()))?)
    }

    /// Checks one signature for each message that the payload has signed, whatever the purposes of
    /// the key.
    pub fn verify_payload(
        &self,
        payload: &Payload,
        signatures: &[Vec<u8>],
    ) -> Result<(), ClientError> {
        let all = Purposes::new(KeyPurpose::ALL.to_vec());
        let facts = KeyFacts {
            purposes: all.as_ref().unwrap_or(&self.record().purposes),
            ..self.facts()
        };
        let decoded =
            quorate_intent::decode(payload, &facts).map_err(|error| Refusal::from(&error))?;
        if decoded.items.len() != signatures.len() {
            let problem = "it holds another number of signatures";
            return Err(VerificationError::OtherOutcome(problem).into());
        }
        for (at, (item, signature)) in decoded.items.iter().zip(signatures).enumerate() {
            let SigningItem {
                message,
                path,
                tweak,
                ..
            } = item;
            self.verifiers()
                .signature(self.record(), path, *tweak, message, signature)
                .map_err(|()| VerificationError::BadSignature(at))?;
        }
        Ok(())
    }

    /// Checks a signature over exact bytes under the untweaked key or a child of it, whatever its
    /// purposes.
    pub fn verify_message(
        &self,
        path: &DerivationPath,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), VerificationError> {
        self.verifiers()
            .signature(self.record(), path, ItemTweak::None, message, signature)
            .map_err(|()| VerificationError::BadSignature(0))
    }
}

#[cfg(test)]
mod tests {
    use quorate_intent::Undecodable;
    use quorate_model::PayloadKind;

    use super::*;
    use crate::fixtures::made_key;

    #[test]
    fn a_purpose_fits_a_scheme_that_has_a_payload_for_it() {
        let all = Purposes::new(KeyPurpose::ALL.to_vec()).unwrap();
        for scheme in Scheme::ALL {
            // The facts of another scheme's key will do: kinds are admitted before keys are read.
            let record = made_key(Scheme::Bip340).view.record;
            let facts = KeyFacts {
                scheme,
                purposes: &all,
                ..KeyFacts::of(&record)
            };
            for purpose in KeyPurpose::ALL {
                let mut kinds = PayloadKind::ALL.into_iter();
                let signs = kinds.any(|kind| {
                    let decoded = quorate_intent::decode(&Payload::new(kind, vec![1]), &facts);
                    let is_unfit = matches!(decoded, Err(Undecodable::SchemeUnfit { .. }));
                    kind.purpose() == purpose && !is_unfit
                });
                let fits = fitting_purposes(scheme).contains(&purpose);
                assert_eq!(fits, signs, "{scheme} {purpose}");
            }
        }
    }

    #[test]
    fn a_purpose_that_signs_nothing_is_refused_with_those_that_do() {
        let given = Purposes::new(vec![KeyPurpose::Messages, KeyPurpose::Transactions]).unwrap();

        let refused = check_purposes(Scheme::FrostSecp256k1, &given).unwrap_err();

        assert_eq!(refused.reason, Reason::PurposeMismatch);
        assert!(refused.message.ends_with("use messages, digests"));
        assert_eq!(check_purposes(Scheme::Ed25519, &given), Ok(()));
    }
}
