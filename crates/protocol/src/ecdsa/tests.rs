mod cheats;
mod harness;
mod honest;
