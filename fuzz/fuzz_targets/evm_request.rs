//! The parameter of `eth_signTransaction`, and the decoding of what it makes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate_evm::EvmRequest;
use quorate_intent::{Facts, inspect};

fuzz_target!(|json: &[u8]| {
    if let Ok(request) = EvmRequest::from_json(json) {
        let payload = request.payload();
        if let Ok(facts) = inspect(&payload) {
            assert!(matches!(facts, Facts::EvmTransaction(_)), "{facts:?}");
        }
    }
});
