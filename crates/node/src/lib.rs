//! A Quorate node: gate, protocols, vault, journal, index, sealing.
