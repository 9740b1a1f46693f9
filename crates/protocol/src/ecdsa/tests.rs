mod cheats;
pub(crate) mod harness;
mod honest;
mod relay;
mod setups;
mod states;
