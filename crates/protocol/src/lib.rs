//! The cryptographic protocols of Quorate as consuming rounds.
