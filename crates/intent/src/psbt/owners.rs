//! Which inputs and outputs of a PSBT belong to a key (P26).

use std::collections::BTreeMap;

use bitcoin::{NetworkKind, Psbt, TapLeafHash, TxOut, bip32::KeySource, secp256k1::XOnlyPublicKey};
use quorate_model::DerivationPath;

use crate::{
    children::{BadClaim, Family},
    decode::KeyFacts,
    taproot::TaprootKey,
    undecodable::Undecodable,
};

/// The key origins of a taproot input or output (BIP-371).
type Origins = BTreeMap<XOnlyPublicKey, (Vec<TapLeafHash>, KeySource)>;

/// The key or a child of it, with its taproot output.
#[derive(Clone, Debug)]
pub(crate) struct Owner {
    pub(crate) path: DerivationPath,
    pub(crate) key: TaprootKey,
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
        let root = Owner {
            path: DerivationPath::ROOT,
            key: TaprootKey::of(key.group_key)?,
        };
        let inputs = prevouts
            .iter()
            .zip(psbt.inputs.iter().map(|input| &input.tap_key_origins));
        let inputs: Vec<_> = owners("input", inputs, &root, &mut family)?;
        if inputs.iter().all(Option::is_none) {
            return Err(Undecodable::NotOurs {
                script: root.key.script.to_hex_string(),
                fingerprint: family.fingerprint().to_string(),
            });
        }
        let outputs = psbt
            .unsigned_tx
            .output
            .iter()
            .zip(psbt.outputs.iter().map(|output| &output.tap_key_origins));
        let outputs = owners("output", outputs, &root, &mut family)?;
        *left = family.left();
        Ok(Self { inputs, outputs })
    }
}

/// Who owns each of these outputs; a claim that is not true is refused. Origins with leaves speak
/// of script trees, and claim nothing here.
fn owners<'a>(
    side: &'static str,
    outputs: impl Iterator<Item = (&'a TxOut, &'a Origins)>,
    root: &Owner,
    family: &mut Family,
) -> Result<Vec<Option<Owner>>, Undecodable> {
    let mut found = Vec::new();
    for (index, (output, origins)) in outputs.enumerate() {
        let mut owner = (output.script_pubkey == root.key.script).then(|| root.clone());
        let internal = origins.iter().filter(|(_, (leaves, _))| leaves.is_empty());
        for (key, (_, source)) in internal {
            let claimed = family.claimed(key, source).map_err(|claim| match claim {
                BadClaim::False => Undecodable::FalseOrigin { side, index },
                BadClaim::TooMany => Undecodable::TooManyChildren,
            })?;
            let Some((path, key)) = claimed else {
                continue;
            };
            if key.script != output.script_pubkey {
                return Err(Undecodable::FalseOrigin { side, index });
            }
            owner = Some(Owner { path, key });
        }
        found.push(owner);
    }
    Ok(found)
}
