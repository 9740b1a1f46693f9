//! The Quorate SDK: identity, typed commands, verification by default.
