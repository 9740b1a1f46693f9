//! The test vectors of RFC 9591 (appendix E.1 and E.5): shares and signatures from given nonces.

use quorate_model::Scheme;

use super::{
    super::{
        NonceCommitments, NoncePair, PublicKeys, SigningKeyShare, SigningSet, Tweak, aggregate,
        nonces::Scalars, sign_share,
    },
    dealt::party,
};
use crate::{
    sharing::{SecretScalar, SigningShare},
    suite::{Edwards, Secp, Suite, decode_scalar, encode_element},
};

struct Signer {
    index: u16,
    share: &'static str,
    hiding_nonce: &'static str,
    binding_nonce: &'static str,
    hiding_commitment: &'static str,
    binding_commitment: &'static str,
    signature_share: &'static str,
}

struct Vector {
    scheme: Scheme,
    group_key: &'static str,
    signers: [Signer; 2],
    /// The share of the participant that does not sign.
    third_share: &'static str,
    signature: &'static str,
}

const MESSAGE: &[u8] = b"test";

const ED25519: Vector = Vector {
    scheme: Scheme::Ed25519,
    group_key: "15d21ccd7ee42959562fc8aa63224c8851fb3ec85a3faf66040d380fb9738673",
    signers: [
        Signer {
            index: 1,
            share: "929dcc590407aae7d388761cddb0c0db6f5627aea8e217f4a033f2ec83d93509",
            hiding_nonce: "ef6599dea4010581a72b3018c37c29a4341d7cab0773e8687ca74dcf14009701",
            binding_nonce: "2baadfa0c69aa60d517ad4751de372a73f9d89cfc39026601f18458cdec12605",
            hiding_commitment: "9b116f12589591a7e23fe8048059ab10ab48e67739e7a2fb3890f61a7999478c",
            binding_commitment: "c39b66b7dfccb122da24f13587f9a08c4347cae70046ca15169adf90ba65854d",
            signature_share: "60997f0142e43e8005027fe5ab7447dac00d22c2d7ddd9571a02613ba7d81c08",
        },
        Signer {
            index: 3,
            share: "d3cb090a075eb154e82fdb4b3cb507f110040905468bb9c46da8bdea643a9a02",
            hiding_nonce: "80f8d9a4b8f9366e1a0b618107c907cd3ee29fa9bb40b4691cc1bde696240005",
            binding_nonce: "2610b664a5a187b4855e87d2ff485bebdf043dc2f161fcd4854cd01dc0276404",
            hiding_commitment: "e679a2a971748ccfaabead4dbe8ac1def61275c186c79d471e1e45091ad1e687",
            binding_commitment: "b2a942478453fabb6bd3181c56ba657413447b4136e1daea2484d396d1a516b3",
            signature_share: "79390e78bc59699c7af831f8f5fb478ec871a85f561a8641b5670ac4443f720f",
        },
    ],
    third_share: "a91e66e012e4364ac9aaa405fcafd370402d9859f7b6685c07eed76bf409e80d",
    signature: concat!(
        "154fb694ee7fcb37bf2381d94488c2a84b03b3352ad085feca81ad26d45852b7",
        "ecfe971ce4da95c4a95db93ac376b053897fca212ef85f99cf696bffeb178f07"
    ),
};

const SECP256K1: Vector = Vector {
    scheme: Scheme::FrostSecp256k1,
    group_key: "02f37c34b66ced1fb51c34a90bdae006901f10625cc06c4f64663b0eae87d87b4f",
    signers: [
        Signer {
            index: 1,
            share: "08f89ffe80ac94dcb920c26f3f46140bfc7f95b493f8310f5fc1ea2b01f4254c",
            hiding_nonce: "09764379667f9a9fa61928947bd925a7f162b21886b750d3b11c226d16b32f58",
            binding_nonce: "b2d3f8cb9da70984354c3fc3511b1f6ed21b7205941cb5553565d2ecade8c694",
            hiding_commitment: "0305e62a1d3f57a0b17ade569a3a4043e2a1fc3bd0b102614a8d8cc68e3322ad89",
            binding_commitment: "03b634c2aed7f85b8eec22e97e5f916ab43a3518821480e15da2af7cffcb060a30",
            signature_share: "ca54b18d7449377cfa680760a5770b9e64e201f7ea36b068effeca5fce2155e5",
        },
        Signer {
            index: 3,
            share: "00e95d59dd0d46b0e303e500b62b7ccb0e555d49f5b849f5e748c071da8c0dbc",
            hiding_nonce: "0d92e255e5b42ebc2863f8198d946fc10f388c4983073c18cbb77b88e3bf2e34",
            binding_nonce: "1c7243ce00a499b1e7ce3403e7b731d0c820cf108feb8c5ee7c29b4ef43be5e0",
            hiding_commitment: "036f878da0dc19ba7da9f2d9e795e2674e62ff06c990fc4464cc1ed55a2acce46b",
            binding_commitment: "025350e2a9e32e7b1fe0161e990623600b2d301b3307641469129cff7936c4d2ce",
            signature_share: "da13d054e83052568706a6d161d80f112a6bc3f76aa903c022585ae7e091e65e",
        },
    ],
    third_share: "04f0feac2edcedc6ce1253b7fab8c86b856a797f44d83d82a385554e6e401984",
    signature: concat!(
        "024c1ad4e031872661fa6ebd05dfc7fb30db08b38d79f0edbc82051ae931381bc6",
        "a46881e25c7989d3816eae32074f1ab0d49ee908a59713ed5284c6bade7cfb02"
    ),
};

fn bytes(text: &str) -> Vec<u8> {
    hex::decode(text).unwrap()
}

fn array(text: &str) -> [u8; 32] {
    bytes(text).try_into().unwrap()
}

fn secret<C: Suite>(text: &str) -> SecretScalar<C> {
    SecretScalar::new(decode_scalar::<C>(&bytes(text)).unwrap())
}

fn verifying_share<C: Suite>(share: &str) -> Vec<u8> {
    encode_element::<C>(&C::mul_base(secret::<C>(share).expose())).unwrap()
}

fn check<C: Suite>(vector: &Vector, scalars: impl Fn(SecretScalar<C>, SecretScalar<C>) -> Scalars) {
    let Vector {
        scheme,
        group_key,
        signers,
        third_share,
        signature,
    } = vector;
    let group_key = bytes(group_key);
    let [one, three] = signers;
    let verifying_shares = [one.share, third_share, three.share].map(verifying_share::<C>);
    let entries = signers
        .iter()
        .map(|signer| {
            let (hiding, binding) = (
                bytes(signer.hiding_commitment),
                bytes(signer.binding_commitment),
            );
            let commitments = NonceCommitments::from_bytes(*scheme, &hiding, &binding).unwrap();
            (party(signer.index), commitments)
        })
        .collect();
    let set = SigningSet::new(entries).unwrap();

    let shares: Vec<_> = signers
        .iter()
        .map(|signer| {
            let index = party(signer.index);
            let key = SigningKeyShare::new(
                *scheme,
                index,
                2,
                &SigningShare::from_bytes(array(signer.share)),
                &group_key,
                &verifying_shares[usize::from(signer.index) - 1],
            )
            .unwrap();
            let nonces = NoncePair {
                scalars: Box::new(scalars(
                    secret(signer.hiding_nonce),
                    secret(signer.binding_nonce),
                )),
                commitments: set.commitments(index).unwrap().clone(),
            };
            (
                index,
                sign_share(&key, nonces, &set, MESSAGE, Tweak::None).unwrap(),
            )
        })
        .collect();

    for (signer, (_, share)) in signers.iter().zip(&shares) {
        assert_eq!(*share, array(signer.signature_share));
    }
    let keys = PublicKeys::new(*scheme, 2, &group_key, &verifying_shares).unwrap();
    let made = aggregate(&keys, &set, MESSAGE, Tweak::None, &shares).unwrap();
    assert_eq!(made, bytes(signature));
}

#[test]
fn the_vectors_of_rfc_9591_are_met() {
    check::<Edwards>(&ED25519, |hiding, binding| Scalars::Edwards {
        hiding,
        binding,
    });
    check::<Secp>(&SECP256K1, |hiding, binding| Scalars::Secp {
        hiding,
        binding,
    });
}
