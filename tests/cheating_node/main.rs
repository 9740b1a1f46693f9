//! A node that runs like any other, but for its signature shares: each is off by one bit.
//! For tests only.

use quorate_node::{
    config::NodeConfig,
    core::{MakeShares, TrueShares},
    run::{self, RunOptions},
    sealing::{KekSource, KeyFile},
};
use quorate_protocol::frost::{
    NoncePair, ShareBytes, SignError, SigningKeyShare, SigningSet, Tweak,
};

struct FalseShares;

impl MakeShares for FalseShares {
    fn share(
        &self,
        key: &SigningKeyShare,
        nonces: NoncePair,
        set: &SigningSet,
        message: &[u8],
        tweak: Tweak,
    ) -> Result<ShareBytes, SignError> {
        let mut share = TrueShares.share(key, nonces, set, message, tweak)?;
        if let Some(first) = share.last_mut() {
            *first ^= 1;
        }
        Ok(share)
    }
}

fn main() -> anyhow::Result<()> {
    let path = std::env::args_os()
        .nth(1)
        .ok_or_else(|| anyhow::anyhow!("no configuration"))?;
    let config = NodeConfig::read(path.as_ref())?;
    config.check()?;
    let key_file = config
        .key_file
        .as_deref()
        .ok_or_else(|| anyhow::anyhow!("no key file"))?;
    let source = KekSource::key_file(KeyFile::read(key_file)?);
    let options = RunOptions {
        confirm_clock: false,
        exit_with_parent: true,
    };
    run::run(&config, &source, options, Box::new(FalseShares))
}
