//! Which inputs and outputs of a PSBT belong to a key (P26).

use bitcoin::{NetworkKind, Psbt, TxOut, bip32::KeySource, psbt};
use quorate_model::{DerivationPath, Scheme, address::AddressType};

use crate::{
    children::{BadClaim, Family},
    decode::KeyFacts,
    receiver::{ClaimedKey, Receiver},
    undecodable::Undecodable,
};

/// The key origins of an input or output that may speak of the key.
type Claims<'a> = Vec<(ClaimedKey<'a>, &'a KeySource)>;

/// The key or a child of it, and in which form it is paid.
#[derive(Clone, Debug)]
pub(crate) struct Owner {
    pub(crate) path: DerivationPath,
    pub(crate) key: Receiver,
    pub(crate) form: AddressType,
}

/// Which inputs and outputs belong to the key, each by its script.
#[derive(Debug)]
pub(super) struct Owners {
    pub(super) inputs: Vec<Option<Owner>>,
    pub(super) outputs: Vec<Option<Owner>>,
}

impl Owners {
    /// Nothing belongs to anybody.
    pub(super) fn nobody(psbt: &Psbt) -> Self {
        Self {
            inputs: vec![None; psbt.inputs.len()],
            outputs: vec![None; psbt.outputs.len()],
        }
    }

    pub(super) fn of(
        psbt: &Psbt,
        prevouts: &[TxOut],
        key: &KeyFacts<'_>,
        left: &mut usize,
    ) -> Result<Self, Undecodable> {
        let mut family = Family::of(key, NetworkKind::Main)?.with_left(*left);
        let root = Receiver::of(key.scheme, key.group_key)?;
        let claims = psbt.inputs.iter().map(|i| claims_of_input(i, key.scheme));
        let inputs = owners("input", prevouts.iter().zip(claims), &root, &mut family)?;
        if inputs.iter().all(Option::is_none) {
            return Err(Undecodable::NotOurs {
                scripts: shown(&root),
                fingerprint: family.fingerprint().to_string(),
            });
        }
        let claims = psbt.outputs.iter().map(|o| claims_of_output(o, key.scheme));
        let outputs = psbt.unsigned_tx.output.iter().zip(claims);
        let outputs = owners("output", outputs, &root, &mut family)?;
        *left = family.left();
        Ok(Self { inputs, outputs })
    }
}

fn shown(receiver: &Receiver) -> String {
    let scripts: Vec<_> = receiver
        .scripts()
        .map(|(form, script)| format!("{form} {}", script.to_hex_string()))
        .collect();
    scripts.join(", ")
}

fn claims_of_input(input: &psbt::Input, scheme: Scheme) -> Claims<'_> {
    if scheme == Scheme::EcdsaSecp256k1 {
        full_claims(&input.bip32_derivation)
    } else {
        taproot_claims(&input.tap_key_origins)
    }
}

fn claims_of_output(output: &psbt::Output, scheme: Scheme) -> Claims<'_> {
    if scheme == Scheme::EcdsaSecp256k1 {
        full_claims(&output.bip32_derivation)
    } else {
        taproot_claims(&output.tap_key_origins)
    }
}

fn full_claims<'a>(
    origins: impl IntoIterator<Item = (&'a bitcoin::secp256k1::PublicKey, &'a KeySource)>,
) -> Claims<'a> {
    let origins = origins.into_iter();
    origins
        .map(|(key, source)| (ClaimedKey::Full(key), source))
        .collect()
}

/// Origins with leaves speak of script trees, and claim nothing here.
fn taproot_claims<'a>(
    origins: impl IntoIterator<
        Item = (
            &'a bitcoin::XOnlyPublicKey,
            &'a (Vec<bitcoin::TapLeafHash>, KeySource),
        ),
    >,
) -> Claims<'a> {
    let origins = origins.into_iter();
    origins
        .filter(|(_, (leaves, _))| leaves.is_empty())
        .map(|(key, (_, source))| (ClaimedKey::XOnly(key), source))
        .collect()
}

/// Who owns each of these outputs; a claim that is not true is refused.
fn owners<'a>(
    side: &'static str,
    outputs: impl Iterator<Item = (&'a TxOut, Claims<'a>)>,
    root: &Receiver,
    family: &mut Family,
) -> Result<Vec<Option<Owner>>, Undecodable> {
    let mut found = Vec::new();
    for (index, (output, claims)) in outputs.enumerate() {
        let mut owner = owner(DerivationPath::ROOT, root, output);
        for (key, source) in claims {
            let claimed = family.claimed(key, source).map_err(|claim| match claim {
                BadClaim::False => Undecodable::FalseOrigin { side, index },
                BadClaim::Hardened => Undecodable::HardenedOrigin { side, index },
                BadClaim::TooLong(steps) => Undecodable::LongOrigin { side, index, steps },
                BadClaim::TooMany => Undecodable::TooManyChildren,
            })?;
            let Some((path, child)) = claimed else {
                continue;
            };
            let child = self::owner(path, &child, output);
            owner = Some(child.ok_or(Undecodable::FalseOrigin { side, index })?);
        }
        found.push(owner);
    }
    Ok(found)
}

/// The owner of an output, when it pays to this key.
fn owner(path: DerivationPath, key: &Receiver, output: &TxOut) -> Option<Owner> {
    Some(Owner {
        form: key.form_of(&output.script_pubkey)?,
        key: key.clone(),
        path,
    })
}
