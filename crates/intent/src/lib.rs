//! What the bytes of a payload mean, and the digests to sign.
