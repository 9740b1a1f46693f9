//! Tests of the whole crate through its public face, with judges that share no code with it.

#[expect(clippy::arithmetic_side_effects, reason = "an overflow fails the test")]
mod addresses;
mod children;
#[expect(clippy::arithmetic_side_effects, reason = "an overflow fails the test")]
mod ecdsa;
mod evacuation;
#[expect(clippy::arithmetic_side_effects, reason = "an overflow fails the test")]
mod evm;
mod fixtures;
#[expect(
    clippy::arithmetic_side_effects,
    reason = "an overflow in a judge fails the test"
)]
mod judges;
mod payloads;
#[expect(clippy::arithmetic_side_effects, reason = "an overflow fails the test")]
mod properties;
mod psbt_refusals;
mod refusals;
mod signing;
#[expect(clippy::arithmetic_side_effects, reason = "an overflow fails the test")]
mod solana;
mod solana_refusals;
mod typed_data;
mod vectors;
