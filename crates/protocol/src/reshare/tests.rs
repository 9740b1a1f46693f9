mod blame;
mod chains;
pub(crate) mod harness;
mod honest;
mod refused;
mod secrecy;
mod setups;
