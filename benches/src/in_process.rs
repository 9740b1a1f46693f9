//! The yardstick: the stock libraries in one process, on all cores, with no network, no disk and no
//! policy. Nonces are included, and so is the verification that the libraries do.

mod ecdsa;

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use frost_core::{
    Ciphersuite, Identifier, SigningPackage,
    keys::{self, IdentifierList, KeyPackage, PublicKeyPackage},
    round1, round2,
};
use quorate_model::Scheme;
use rand_core::OsRng;

type Sign = Box<dyn Fn(u64, &[u8; 32]) -> Result<()> + Send + Sync>;

/// The stock library with a key of a scheme.
pub(crate) struct Yardstick {
    sign: Sign,
    threads: usize,
    /// The number of the next message.
    next: AtomicU64,
    time: Duration,
}

impl Yardstick {
    /// Makes a key and signs once with it.
    pub(crate) fn new(scheme: Scheme, threshold: u16, nodes: u16, threads: usize) -> Result<Self> {
        let sign: Sign = match scheme {
            Scheme::Bip340 => frost::<frost_secp256k1_tr::Secp256K1Sha256TR>(threshold, nodes)?,
            Scheme::FrostSecp256k1 => frost::<frost_secp256k1::Secp256K1Sha256>(threshold, nodes)?,
            Scheme::Ed25519 => frost::<frost_ed25519::Ed25519Sha512>(threshold, nodes)?,
            Scheme::EcdsaSecp256k1 => {
                let group = ecdsa::Group::deal(threshold, nodes)?;
                Box::new(move |number, message| group.sign(number, message))
            }
            other => anyhow::bail!("no yardstick for {other}"),
        };
        sign(u64::MAX, &[0; 32])?;
        Ok(Self {
            sign,
            threads,
            next: AtomicU64::new(0),
            time: Duration::ZERO,
        })
    }

    /// Signs different messages on all threads for so long.
    pub(crate) fn run(&mut self, time: Duration) -> Result<()> {
        let start = Instant::now();
        let (sign, next) = (&self.sign, &self.next);
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..self.threads)
                .map(|_| {
                    scope.spawn(|| -> Result<()> {
                        while start.elapsed() < time {
                            let number = next.fetch_add(1, Ordering::Relaxed);
                            sign(number, &numbered(number))?;
                        }
                        Ok(())
                    })
                })
                .collect();
            workers.into_iter().try_for_each(|worker| {
                worker
                    .join()
                    .map_err(|_| anyhow::anyhow!("a worker panicked"))?
            })
        })?;
        self.time = self.time.saturating_add(start.elapsed());
        Ok(())
    }

    /// Signatures per second, over all runs.
    pub(crate) fn per_second(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
        let signed = self.next.load(Ordering::Relaxed) as f64;
        signed / self.time.as_secs_f64()
    }
}

fn frost<C: Ciphersuite>(threshold: u16, nodes: u16) -> Result<Sign>
where
    Group<C>: Send + Sync + 'static,
{
    let group = deal::<C>(threshold, nodes)?;
    Ok(Box::new(move |_, message| sign(&group, message)))
}

/// A key in one piece of memory: only a yardstick may have that.
struct Group<C: Ciphersuite> {
    shares: BTreeMap<Identifier<C>, KeyPackage<C>>,
    public: PublicKeyPackage<C>,
}

fn deal<C: Ciphersuite>(threshold: u16, nodes: u16) -> Result<Group<C>> {
    let (shares, public) =
        keys::generate_with_dealer::<C, _>(nodes, threshold, IdentifierList::Default, &mut OsRng)?;
    let shares = shares
        .into_iter()
        .take(usize::from(threshold))
        .map(|(id, share)| Ok((id, KeyPackage::try_from(share)?)))
        .collect::<Result<_, frost_core::Error<C>>>()?;
    Ok(Group { shares, public })
}

fn sign<C: Ciphersuite>(group: &Group<C>, message: &[u8]) -> Result<()> {
    let mut nonces = BTreeMap::new();
    let mut commitments = BTreeMap::new();
    for (id, share) in &group.shares {
        let (secret, public) = round1::commit(share.signing_share(), &mut OsRng);
        nonces.insert(*id, secret);
        commitments.insert(*id, public);
    }
    let package = SigningPackage::new(commitments, message);
    let mut shares = BTreeMap::new();
    for (id, share) in &group.shares {
        let nonces = nonces.get(id).context("nonces of a signer")?;
        shares.insert(*id, round2::sign(&package, nonces, share)?);
    }
    frost_core::aggregate(&package, &shares, &group.public)?;
    Ok(())
}

/// 32 bytes that begin with a number.
pub(crate) fn numbered(number: u64) -> [u8; 32] {
    let mut message = [0; 32];
    for (to, from) in message.iter_mut().zip(number.to_be_bytes()) {
        *to = from;
    }
    message
}
