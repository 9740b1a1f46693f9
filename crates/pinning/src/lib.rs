//! TLS with keys pinned from the roster, no certificate authority.
