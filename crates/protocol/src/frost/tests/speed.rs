use super::{super::*, dealt::{deal, kinds, party}};
use std::time::Instant;
#[test]
fn speed() {
    for (scheme, tweak) in kinds() {
        let mut dealt = deal(scheme, 2, 3, 1);
        let keys = dealt.keys();
        let key1 = dealt.key(party(1));
        let n = 400u32;
        let hedge = Hedge::new([1; 32]);
        let t = Instant::now();
        let batch = generate_batch(scheme, n as usize, &hedge, &mut dealt.rng).unwrap();
        let t_nonce = t.elapsed() / n;
        let other = generate_batch(scheme, n as usize, &hedge, &mut dealt.rng).unwrap();
        let t = Instant::now();
        for (_, c) in &other { NonceCommitments::from_bytes(scheme, c.hiding(), c.binding()).unwrap(); }
        let t_parse = t.elapsed() / n;
        let mut sets = vec![]; let mut n1 = vec![]; let mut n2 = vec![];
        for ((a, ca), (b, cb)) in batch.into_iter().zip(other) {
            sets.push(SigningSet::new(vec![(party(1), ca), (party(2), cb)]).unwrap()); n1.push(a); n2.push(b);
        }
        let m = [7u8; 32];
        let t = Instant::now();
        let s1: Vec<_> = n1.into_iter().zip(&sets).map(|(a, s)| sign_share(&key1, a, s, &m, tweak).unwrap()).collect();
        let t_sign = t.elapsed() / n;
        let key2 = dealt.key(party(2));
        let s2: Vec<_> = n2.into_iter().zip(&sets).map(|(a, s)| sign_share(&key2, a, s, &m, tweak).unwrap()).collect();
        let t = Instant::now();
        for ((s, a), b) in sets.iter().zip(s1).zip(s2) { aggregate(&keys, s, &m, tweak, &[(party(1), a), (party(2), b)]).unwrap(); }
        let t_agg = t.elapsed() / n;
        eprintln!("{scheme} {tweak:?}: nonce {t_nonce:?} parse {t_parse:?} sign {t_sign:?} aggregate {t_agg:?}");
    }
    // pieces
    let mut dealt = deal(quorate_model::Scheme::Bip340, 2, 3, 1);
    let (_, set) = dealt.set(&[1, 2]);
    let n = 1000u32;
    let signers: Vec<_> = set.signers().collect();
    let t = Instant::now();
    for _ in 0..n { std::hint::black_box(crate::suite::lagrange::<crate::suite::Secp>(&signers, party(1))); }
    eprintln!("lagrange {:?}", t.elapsed() / n);
    let p = secp256k1::PublicKey::from_slice(set.entries()[0].1.hiding()).unwrap();
    let s = secp256k1::Scalar::from_be_bytes([0x77; 32]).unwrap();
    let t = Instant::now();
    for _ in 0..n { std::hint::black_box(p.mul_tweak(&s).unwrap()); }
    eprintln!("mul_tweak {:?}", t.elapsed() / n);
    let t = Instant::now();
    for _ in 0..n { std::hint::black_box(p.combine(&p).unwrap()); }
    eprintln!("combine2 {:?}", t.elapsed() / n);
    let sk = secp256k1::SecretKey::from_secret_bytes([0x77; 32]).unwrap();
    let t = Instant::now();
    for _ in 0..n { std::hint::black_box(secp256k1::PublicKey::from_secret_key(&sk)); }
    eprintln!("libsecp gen {:?}", t.elapsed() / n);
    use crate::suite::Suite as _;
    let k = crate::suite::Secp::number(0x1234_5678_9abc);
    let t = Instant::now();
    for _ in 0..n { std::hint::black_box(crate::suite::Secp::mul_base(&k)); }
    eprintln!("k256 gen {:?}", t.elapsed() / n);
    let t = Instant::now();
    for i in 0..n { std::hint::black_box(<crate::suite::Secp as frost_core::Ciphersuite>::H1(&i.to_be_bytes())); }
    eprintln!("H1 {:?}", t.elapsed() / n);
    let t = Instant::now();
    for _ in 0..n { std::hint::black_box(secp256k1::PublicKey::from_slice(set.entries()[0].1.hiding()).unwrap()); }
    eprintln!("parse {:?}", t.elapsed() / n);
    let v = keys_v(&dealt);
    let t = Instant::now();
    for _ in 0..n { let _ = std::hint::black_box(v.verifier(Tweak::None).unwrap().verify(&[7; 32], &[0x11; 64])); }
    eprintln!("verify(bad) {:?}", t.elapsed() / n);
}
fn keys_v(d: &super::dealt::Dealt) -> PublicKeys { d.keys() }
