//! What goes in, what goes out, and the fee.

use bitcoin::{Amount, Psbt, TxOut};

use super::{
    HIGH_FEE_SAT, HIGH_FEE_SHARE,
    owners::{Owner, Owners},
};
use crate::undecodable::Undecodable;

/// Sums in satoshis; none exceeds what can exist.
#[derive(Debug)]
pub(super) struct Totals {
    pub(super) inputs: u64,
    pub(super) own: u64,
    pub(super) outputs: u64,
    pub(super) change: u64,
    pub(super) fee: u64,
    pub(super) high_fee: bool,
}

impl Totals {
    pub(super) fn of(
        psbt: &Psbt,
        prevouts: &[TxOut],
        owners: &Owners,
        allow_high_fee: bool,
    ) -> Result<Self, Undecodable> {
        let (inputs, own) = sums(prevouts, &owners.inputs, "inputs")?;
        let (outputs, change) = sums(&psbt.unsigned_tx.output, &owners.outputs, "outputs")?;
        let fee = inputs
            .checked_sub(outputs)
            .ok_or(Undecodable::OutputsExceedInputs {
                inputs_sat: inputs,
                outputs_sat: outputs,
            })?;
        // Multiplied, because a division would round one tenth down; ten times all money fits.
        let high_fee = fee.saturating_mul(HIGH_FEE_SHARE) > inputs || fee > HIGH_FEE_SAT;
        if high_fee && !allow_high_fee {
            return Err(Undecodable::HighFee {
                fee_sat: fee,
                inputs_sat: inputs,
            });
        }
        Ok(Self {
            inputs,
            own,
            outputs,
            change,
            fee,
            high_fee,
        })
    }
}

/// The sum of all outputs, and of those with an owner, which is never more.
fn sums(
    outputs: &[TxOut],
    owners: &[Option<Owner>],
    side: &'static str,
) -> Result<(u64, u64), Undecodable> {
    let mut all: u64 = 0;
    let mut own: u64 = 0;
    for (output, owner) in outputs.iter().zip(owners) {
        let amount = output.value.to_sat();
        all = all
            .checked_add(amount)
            .filter(|sum| *sum <= Amount::MAX_MONEY.to_sat())
            .ok_or(Undecodable::AmountOutOfRange { side })?;
        if owner.is_some() {
            own = own.saturating_add(amount);
        }
    }
    Ok((all, own))
}
