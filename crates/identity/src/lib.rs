//! The identity of a principal: the Ed25519 key that endorses and the TLS key that connects, in
//! one file sealed under a passphrase. The form of the file is described in `sealed.rs`.
//!
//! Whoever speaks for a principal uses it: the SDK, the command line, and the gateway of a
//! coordinator. Nodes and coordinators have identities of other kinds.

pub mod passphrase;
mod sealed;

use std::{
    fs::{self, OpenOptions},
    io::{self, Read as _, Write as _},
    path::Path,
};

use ed25519_dalek::SigningKey;
use quorate_model::{
    IdentityKey, PrincipalId,
    command::{Endorsement, EndorsementKind, SignedCommand, endorsement_digest},
    identity::sign_digest,
    ids::ClusterId,
    roster::{Principal, Role},
    wire,
};
use quorate_pinning::TlsIdentity;
use rand_core::CryptoRngCore;
use zeroize::Zeroizing;

use sealed::{MAX_FILE_BYTES, SealedFile};
pub use sealed::{SealError, SealingCost};

use crate::passphrase::Passphrase;

/// The identity of a principal, opened.
///
/// # Security
/// Holds secret keys. It is not cloned, printed or serialized; its keys are erased on drop.
pub struct Identity {
    card: Principal,
    signing: SigningKey,
    tls: TlsIdentity,
}

/// Why an identity is not available.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The file does not open.
    #[error("read identity file {path}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The file cannot be written, or exists.
    #[error("write identity file {path}")]
    Unwritable {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The secret part does not open.
    #[error(transparent)]
    Sealed(#[from] SealError),
    /// The keys in the file are not those of its card.
    #[error("the keys in the identity file are not those of its card")]
    OtherKeys,
    /// The TLS key or certificate is not usable.
    #[error("make or read the TLS key of the identity")]
    Tls(#[source] quorate_pinning::PinningError),
}

impl Identity {
    /// Makes a new identity from system randomness.
    pub fn generate(
        id: PrincipalId,
        person: String,
        roles: Vec<Role>,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<Self, IdentityError> {
        let mut seed = Zeroizing::new([0_u8; 32]);
        rng.fill_bytes(seed.as_mut());
        let signing = SigningKey::from_bytes(&seed);
        let tls = TlsIdentity::generate(id.as_str()).map_err(IdentityError::Tls)?;
        let card = Principal {
            id,
            person,
            roles,
            identity_key: IdentityKey::of(&signing),
            tls_key_hash: tls.key_hash(),
        };
        Ok(Self { card, signing, tls })
    }

    /// The public card: what rosters list.
    pub fn card(&self) -> &Principal {
        &self.card
    }

    /// The key that endorses.
    pub fn signing_key(&self) -> &SigningKey {
        &self.signing
    }

    /// The exact bytes of a command with the proposal of this principal.
    pub fn propose(&self, bytes: Vec<u8>, cluster: &ClusterId, role: Role) -> SignedCommand {
        SignedCommand::propose(bytes, cluster, &self.card.id, role, &self.signing)
    }

    /// The word of this principal on the exact bytes of a command.
    pub fn endorse(
        &self,
        signed: &SignedCommand,
        cluster: &ClusterId,
        kind: EndorsementKind,
        role: Role,
    ) -> Endorsement {
        let id = self.card.id.clone();
        let digest = endorsement_digest(cluster, &signed.digest(), kind, &id, role);
        Endorsement {
            kind,
            principal: id,
            role,
            signature: sign_digest(&self.signing, &digest),
        }
    }

    /// The key and certificate that connect.
    pub fn tls(&self) -> &TlsIdentity {
        &self.tls
    }

    /// The text of an identity file.
    pub fn seal(
        &self,
        passphrase: &Passphrase,
        cost: SealingCost,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<String, IdentityError> {
        let seed = Zeroizing::new(self.signing.to_bytes());
        let key = self.tls.key_der();
        let secret = wire::encode(&(&*seed, key, self.tls.certificate_der()))
            .map(Zeroizing::new)
            .map_err(|error| SealError::Unreadable(error.to_string()))?;
        let file = SealedFile::seal(self.card.clone(), &secret, passphrase, cost, rng)?;
        Ok(file.to_text()?)
    }

    /// Opens the text of an identity file.
    pub fn open(text: &str, passphrase: &Passphrase) -> Result<Self, IdentityError> {
        let file = SealedFile::parse(text)?;
        let secret = file.open(passphrase)?;
        let (seed, key, certificate): ([u8; 32], Vec<u8>, Vec<u8>) =
            wire::decode(&secret).map_err(|error| SealError::Unreadable(error.to_string()))?;
        let signing = SigningKey::from_bytes(&Zeroizing::new(seed));
        let tls =
            TlsIdentity::from_der(certificate, Zeroizing::new(key)).map_err(IdentityError::Tls)?;
        let card = file.card;
        if IdentityKey::of(&signing) != card.identity_key || tls.key_hash() != card.tls_key_hash {
            return Err(IdentityError::OtherKeys);
        }
        Ok(Self { card, signing, tls })
    }

    /// Writes a new file that only its owner may read; an existing file is never replaced.
    pub fn write_new(
        &self,
        path: &Path,
        passphrase: &Passphrase,
        cost: SealingCost,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<(), IdentityError> {
        let text = self.seal(passphrase, cost, rng)?;
        write_private(path, text.as_bytes()).map_err(|source| IdentityError::Unwritable {
            path: path.display().to_string(),
            source,
        })
    }

    /// Opens a file.
    pub fn read(path: &Path, passphrase: &Passphrase) -> Result<Self, IdentityError> {
        Self::open(&read_text(path)?, passphrase)
    }

    /// The public card of a file, without its passphrase and therefore unproven.
    pub fn read_card(path: &Path) -> Result<Principal, IdentityError> {
        Ok(SealedFile::parse(&read_text(path)?)?.card)
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("id", &self.card.id)
            .finish_non_exhaustive()
    }
}

/// Writes a new file with mode 0600 and makes it durable.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    if let Some(parent) = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        fs::File::open(parent)?.sync_all()?;
    }
    Ok(())
}

fn read_text(path: &Path) -> Result<String, IdentityError> {
    let unreadable = |source| IdentityError::Unreadable {
        path: path.display().to_string(),
        source,
    };
    let file = fs::File::open(path).map_err(unreadable)?;
    let mut text = String::new();
    file.take(MAX_FILE_BYTES)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use rand_core::OsRng;

    use super::*;

    #[test]
    fn an_identity_comes_back_from_its_file_with_the_same_keys() {
        let (identity, passphrase) = (identity(), passphrase("correct horse"));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ann.identity");

        identity
            .write_new(&path, &passphrase, SealingCost::Generated, &mut OsRng)
            .unwrap();
        let opened = Identity::read(&path, &passphrase).unwrap();

        assert_eq!(opened.card(), identity.card());
        assert_eq!(
            opened.signing_key().to_bytes(),
            identity.signing_key().to_bytes()
        );
        assert_eq!(opened.tls().key_hash(), identity.card().tls_key_hash);
        assert_eq!(Identity::read_card(&path).unwrap(), *identity.card());
    }

    #[cfg(unix)]
    #[test]
    fn an_identity_file_is_readable_by_its_owner_only_and_never_replaced() {
        use std::os::unix::fs::PermissionsExt as _;
        let (identity, passphrase) = (identity(), passphrase("correct horse"));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ann.identity");
        identity
            .write_new(&path, &passphrase, SealingCost::Generated, &mut OsRng)
            .unwrap();

        let again = identity.write_new(&path, &passphrase, SealingCost::Generated, &mut OsRng);

        assert!(matches!(again, Err(IdentityError::Unwritable { .. })));
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn a_wrong_passphrase_opens_nothing() {
        let text = identity()
            .seal(&passphrase("right"), SealingCost::Generated, &mut OsRng)
            .unwrap();

        let error = Identity::open(&text, &passphrase("wrong")).unwrap_err();

        assert!(matches!(
            error,
            IdentityError::Sealed(SealError::WrongPassphrase)
        ));
    }

    #[test]
    fn an_identity_file_never_shows_its_secret_keys() {
        let identity = identity();

        let text = identity
            .seal(&passphrase("right"), SealingCost::Generated, &mut OsRng)
            .unwrap();

        assert!(!text.contains(&hex::encode(identity.signing_key().to_bytes())));
        assert!(!format!("{identity:?}").contains(&hex::encode(identity.signing_key().to_bytes())));
    }

    #[test]
    fn each_change_of_an_identity_file_is_noticed() {
        let passphrase = passphrase("right");
        let text = identity()
            .seal(&passphrase, SealingCost::Generated, &mut OsRng)
            .unwrap();
        let changed = |change: &dyn Fn(&mut serde_json::Value)| {
            let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
            change(&mut value);
            let opened = Identity::open(&value.to_string(), &passphrase);
            let Err(IdentityError::Sealed(error)) = opened else {
                panic!()
            };
            error
        };

        assert!(Identity::open(&text, &passphrase).is_ok());
        assert_eq!(
            changed(&|v| v["card"]["roles"] = serde_json::json!(["admin", "client"])),
            SealError::WrongPassphrase
        );
        assert_eq!(
            changed(&|v| v["card"]["person"] = "eve".into()),
            SealError::WrongPassphrase
        );
        assert_eq!(
            changed(&|v| v["sealing"]["passes"] = 2.into()),
            SealError::WrongPassphrase
        );
        assert_eq!(
            changed(&|v| v["sealing"]["memory_kib"] = 4_000_000.into()),
            SealError::UnknownSealing
        );
        assert_eq!(
            changed(&|v| v["sealing"]["passes"] = 1000.into()),
            SealError::UnknownSealing
        );
        assert_eq!(
            changed(&|v| v["sealing"]["kdf"] = "md5".into()),
            SealError::UnknownSealing
        );
        assert_eq!(
            changed(&|v| v["sealing"]["cipher"] = "none".into()),
            SealError::UnknownSealing
        );
        assert_eq!(
            changed(&|v| v["sealing"]["salt"] = "00".into()),
            SealError::UnknownSealing
        );
        assert_eq!(
            changed(&|v| v["format"] = 2.into()),
            SealError::UnknownFormat(2)
        );
        assert!(matches!(
            changed(&|v| v["more"] = 1.into()),
            SealError::Unreadable(_)
        ));
    }

    fn identity() -> Identity {
        Identity::generate(
            "ann".parse().unwrap(),
            "Ann".to_owned(),
            vec![Role::Admin],
            &mut OsRng,
        )
        .unwrap()
    }

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::new(text.as_bytes().to_vec()).unwrap()
    }
}
