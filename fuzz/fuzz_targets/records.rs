//! What parties send each other and keep: the first byte chooses the form.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate_model::{
    audit::Record,
    certificate::{CommitCertificate, PossessionProof},
    roster::Roster,
};
use quorate_protocol::{
    ecdsa::{Dkls23, PairingState},
    envelope::Envelope,
    evidence::Evidence,
};

fuzz_target!(|data: &[u8]| {
    let Some((form, bytes)) = data.split_first() else {
        return;
    };
    match form % 7 {
        0 => drop(Roster::parse(bytes)),
        1 => drop(CommitCertificate::from_bytes(bytes)),
        2 => drop(PossessionProof::from_bytes(bytes)),
        3 => drop(Envelope::from_bytes(bytes)),
        4 => drop(Evidence::from_bytes(bytes)),
        5 => drop(PairingState::from_bytes(&Dkls23, bytes)),
        _ => drop(Record::from_bytes(bytes)),
    }
});
