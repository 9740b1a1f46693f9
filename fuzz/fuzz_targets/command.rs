//! Commands have exactly one encoding.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate_proto::command::{decode, encode};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(command) = decode(bytes) {
        assert_eq!(encode(&command), bytes, "a command with two encodings");
    }
});
