use quorate_model::Scheme;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

use super::harness::{binding, identity, party, setup, some_source, state};
use crate::dkg::{Setup, SetupError, start};

fn refusal(change: impl FnOnce(&mut Setup)) -> SetupError {
    let mut setup = setup(Scheme::Bip340, 2, 3, party(1));
    change(&mut setup);
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    start(setup, state(1), &identity(party(1)), &mut rng).unwrap_err()
}

#[test]
fn a_binding_of_another_protocol_or_scheme_is_refused() {
    let other = binding(Scheme::FrostSecp256k1, 2, 3);

    assert_eq!(refusal(|setup| setup.binding = other), SetupError::Protocol);
    assert_eq!(
        refusal(|setup| setup.binding.protocol = "dkg/2".into()),
        SetupError::Protocol
    );
}

#[test]
fn impossible_shapes_are_refused() {
    assert_eq!(
        refusal(|setup| setup.binding.threshold = 0),
        SetupError::Shape
    );
    assert_eq!(
        refusal(|setup| setup.binding.threshold = 4),
        SetupError::Shape
    );
    assert_eq!(
        refusal(|setup| setup.binding.participants.truncate(1)),
        SetupError::Shape
    );
    assert_eq!(
        refusal(|setup| setup.binding.participants.reverse()),
        SetupError::Shape
    );
    assert_eq!(
        refusal(|setup| setup.binding = binding(Scheme::Bip340, 2, 33)),
        SetupError::Shape
    );
    assert_eq!(
        refusal(|setup| setup.binding.participants[1] = setup.binding.participants[0].clone()),
        SetupError::Shape
    );
}

#[test]
fn a_binding_of_another_key_is_refused() {
    assert_eq!(refusal(|setup| setup.threshold = 3), SetupError::Binding);
    assert_eq!(refusal(|setup| setup.count = 2), SetupError::Binding);
    assert_eq!(
        refusal(|setup| setup.binding.source = Some(some_source())),
        SetupError::Binding
    );
    assert_eq!(
        refusal(|setup| setup.binding.payload_index = 1),
        SetupError::Binding
    );
}

#[test]
fn a_party_that_does_not_take_part_is_refused() {
    assert_eq!(
        refusal(|setup| setup.me = party(2)),
        SetupError::NotParticipant
    );
    assert_eq!(
        refusal(|setup| setup.me = party(4)),
        SetupError::NotParticipant
    );
}

#[test]
fn missing_foreign_and_repeated_identity_keys_are_refused() {
    let expected = SetupError::IdentityKeys;

    assert_eq!(
        refusal(|setup| setup.roster_key_of.retain(|index, _| *index != party(3))),
        expected
    );
    assert_eq!(
        refusal(|setup| {
            setup
                .roster_key_of
                .insert(party(4), identity(party(4)).verifying_key());
        }),
        expected
    );
    assert_eq!(
        refusal(|setup| {
            setup
                .roster_key_of
                .insert(party(3), identity(party(2)).verifying_key());
        }),
        expected
    );
}

#[test]
fn a_weak_identity_key_is_refused() {
    let mut one = [0; 32];
    one[0] = 1;
    let weak = ed25519_dalek::VerifyingKey::from_bytes(&one).unwrap();

    assert_eq!(
        refusal(|setup| setup.roster_key_of.extend([(party(3), weak)])),
        SetupError::IdentityKeys
    );
}
