use quorate_model::{
    Digest, Epoch, PartyIndex, Scheme, SessionBinding, certificate::verifying_shares_hash,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

use super::harness::{BOTH, DEALER, Held, RECEIVER, identity, node, number, party, state};
use crate::{
    reshare::{ReshareSource, Setup, SetupError, SourceError, start},
    sharing::{SharingError, SigningShare},
};

/// Starts as a party of the run that tests of cheats use, after a change.
fn start_as(
    me: u16,
    change: impl FnOnce(&mut Setup),
    share: impl FnOnce(&Held) -> Option<SigningShare>,
) -> Result<(), SetupError> {
    let held = Held::small();
    let binding = held.binding(&[1, 3], &[3, 4, 5], 2);
    let mut setup = held.setup(&binding, party(me));
    change(&mut setup);
    let own = &binding.participants[usize::from(me) - 1].node;
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let share = share(&held);
    let key = identity(party(number(own)));
    start(setup, share.as_ref(), state(1), &key, &mut rng).map(|_| ())
}

fn copy(held: &Held, holder: u16) -> Option<SigningShare> {
    let share = held.shares.get(&party(holder))?;
    Some(SigningShare::from_bytes(*share.expose()))
}

/// What the party that only receives says to a changed setup.
fn refusal(change: impl FnOnce(&mut Setup)) -> SetupError {
    start_as(RECEIVER, change, |_| None).unwrap_err()
}

/// The same for a change of the source to which the session is bound again.
fn of_source(change: impl FnOnce(&mut ReshareSource)) -> SetupError {
    refusal(|setup| {
        change(&mut setup.source);
        let hash = setup.source.statement.certificate_hash();
        setup.binding.source.as_mut().unwrap().certificate = hash;
    })
}

fn of_binding(change: impl FnOnce(&mut SessionBinding)) -> SetupError {
    refusal(|setup| change(&mut setup.binding))
}

#[test]
fn everybody_starts_from_what_is_right() {
    assert_eq!(start_as(RECEIVER, |_| (), |_| None), Ok(()));
    assert_eq!(start_as(BOTH, |_| (), |held| copy(held, 3)), Ok(()));
    assert_eq!(start_as(DEALER, |_| (), |held| copy(held, 1)), Ok(()));
}

#[test]
fn a_binding_of_another_protocol_or_scheme_is_refused() {
    for protocol in ["dkg/2/bip340", "reshare/2/bip340", "reshare/1/ed25519"] {
        let refusal = of_binding(|binding| binding.protocol = protocol.to_owned());
        assert_eq!(refusal, SetupError::Protocol);
    }
    assert_eq!(
        refusal(|setup| setup.scheme = Scheme::FrostSecp256k1),
        SetupError::Protocol
    );
}

#[test]
fn impossible_shapes_are_refused() {
    let changes: [fn(&mut SessionBinding); 9] = [
        |b| b.source = None,
        |b| b.threshold = 0,
        |b| b.threshold = 4,
        |b| b.participants.reverse(),
        |b| b.participants.truncate(3),
        |b| b.participants[1] = b.participants[0].clone(),
        // Somebody who neither deals nor receives.
        |b| {
            let mut idle = b.participants[3].clone();
            idle.index = party(5);
            idle.node = node(party(9));
            b.participants.push(idle);
        },
        |b| b.source.as_mut().unwrap().receivers = 2,
        |b| b.source.as_mut().unwrap().receivers = 0,
    ];
    for (number, change) in changes.into_iter().enumerate() {
        assert_eq!(of_binding(change), SetupError::Shape, "change {number}");
    }
}

#[test]
fn dealers_that_stand_twice_or_nowhere_are_refused() {
    let changes: [fn(&mut Vec<quorate_model::session::Dealer>); 7] = [
        Vec::clear,
        |dealers| dealers.reverse(),
        |dealers| dealers.truncate(1),
        |dealers| dealers[1] = dealers[0],
        |dealers| dealers[1].source_index = dealers[0].source_index,
        |dealers| dealers[1].index = party(5),
        |dealers| {
            let mut third = dealers[1];
            third.index = party(5);
            third.source_index = party(2);
            dealers.push(third);
        },
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let refusal = of_binding(|b| change(&mut b.source.as_mut().unwrap().dealers));
        assert_eq!(refusal, SetupError::Shape, "change {number}");
    }
}

#[test]
fn dealers_that_only_deal_stand_in_the_order_of_their_shares() {
    let held = Held::small();
    let mut binding = held.binding(&[1, 2], &[4, 5], 2);
    let (one, two) = (
        binding.participants[2].node.clone(),
        binding.participants[3].node.clone(),
    );
    binding.participants[2].node = two;
    binding.participants[3].node = one;
    let dealers = &mut binding.source.as_mut().unwrap().dealers;
    let first = dealers[0].source_index;
    dealers[0].source_index = dealers[1].source_index;
    dealers[1].source_index = first;
    let setup = held.setup(&binding, party(1));
    let mut rng = ChaCha20Rng::seed_from_u64(1);

    let outcome = start(setup, None, state(1), &identity(party(4)), &mut rng);

    assert_eq!(outcome.map(|_| ()), Err(SetupError::Shape));
}

#[test]
fn a_binding_of_another_committee_is_refused() {
    assert_eq!(refusal(|setup| setup.threshold = 3), SetupError::Binding);
    assert_eq!(refusal(|setup| setup.count = 4), SetupError::Binding);
    assert_eq!(of_binding(|b| b.payload_index = 1), SetupError::Binding);
    assert_eq!(
        of_binding(|b| b.source.as_mut().unwrap().receivers = 4),
        SetupError::Binding
    );
}

#[test]
fn a_party_that_does_not_take_part_is_refused() {
    for me in [BOTH, DEALER, 5] {
        assert_eq!(
            refusal(|setup| setup.me = party(me)),
            SetupError::NotParticipant
        );
    }
}

#[test]
fn missing_foreign_and_repeated_identity_keys_are_refused() {
    let changes: [fn(&mut Setup); 3] = [
        |setup| setup.roster_key_of.retain(|at, _| *at != party(DEALER)),
        |setup| {
            let key = identity(party(9)).verifying_key();
            setup.roster_key_of.insert(party(5), key);
        },
        |setup| {
            let key = setup.roster_key_of[&party(BOTH)];
            setup.roster_key_of.insert(party(DEALER), key);
        },
    ];
    for change in changes {
        assert_eq!(refusal(change), SetupError::IdentityKeys);
    }
}

#[test]
fn a_node_that_stands_twice_is_refused() {
    let held = Held::small();
    let binding = held.binding(&[1, 3], &[4, 5, 4], 2);
    let setup = held.setup(&binding, party(2));
    let mut rng = ChaCha20Rng::seed_from_u64(1);

    let outcome = start(setup, None, state(1), &identity(party(5)), &mut rng);

    assert_eq!(outcome.map(|_| ()), Err(SetupError::IdentityKeys));
}

#[test]
fn another_certificate_key_scheme_or_epoch_than_that_of_the_session_is_refused() {
    let expected = SetupError::Source(SourceError::OtherSource);

    // Whatever is changed in what the holders signed, the session names another certificate.
    let statements: [fn(&mut ReshareSource); 5] = [
        |source| source.statement.group_key[1] ^= 1,
        |source| source.statement.chain_code[0] ^= 1,
        |source| source.statement.threshold = 3,
        |source| source.statement.verifying_shares = Digest::ZERO,
        |source| source.statement.participants[0].node = node(party(9)),
    ];
    for change in statements {
        assert_eq!(refusal(|setup| change(&mut setup.source)), expected);
    }
    assert_eq!(
        of_source(|source| source.statement.key = "other".parse().unwrap()),
        expected
    );
    assert_eq!(
        of_source(|source| source.statement.scheme = Scheme::EcdsaSecp256k1),
        expected
    );
    assert_eq!(
        of_source(|source| source.statement.epoch = Epoch(7)),
        expected
    );
    for target in [0, 1] {
        assert_eq!(of_binding(|b| b.target_epoch = Epoch(target)), expected);
    }
}

#[test]
fn verifying_shares_that_the_holders_did_not_sign_are_refused() {
    let expected = SetupError::Source(SourceError::VerifyingShares);
    let other = Held::dealt(Scheme::Bip340, 2, 3, 9).source.verifying_shares;

    assert_eq!(
        refusal(|setup| setup.source.verifying_shares = other),
        expected
    );
    assert_eq!(
        refusal(|setup| setup.source.verifying_shares.truncate(2)),
        expected
    );
    // Signed, but not one for each holder in order.
    assert_eq!(
        of_source(|source| source.statement.participants.truncate(2)),
        expected
    );
    assert_eq!(
        of_source(|source| source.statement.participants.reverse()),
        expected
    );
}

#[test]
fn a_source_that_is_no_sharing_of_its_key_is_refused() {
    let of_shares = |change: fn(&mut Vec<Vec<u8>>)| {
        of_source(|source| {
            change(&mut source.verifying_shares);
            source.statement.verifying_shares = verifying_shares_hash(&source.verifying_shares);
        })
    };
    let sharing = |error| SetupError::Source(SourceError::Sharing(error));

    assert_eq!(
        of_shares(|shares| shares.swap(0, 1)),
        sharing(SharingError::Inconsistent)
    );
    assert_eq!(
        of_shares(|shares| shares[2] = shares[1].clone()),
        sharing(SharingError::Inconsistent)
    );
    assert_eq!(
        of_shares(|shares| shares[0] = vec![0; 33]),
        sharing(SharingError::BadPoint)
    );
    assert_eq!(
        of_source(|source| source.statement.threshold = 4),
        sharing(SharingError::Shape {
            threshold: 4,
            count: 3
        })
    );
}

/// What a receiver says to a session in which these nodes deal.
fn with_dealers(dealers: &[u16]) -> Result<(), SetupError> {
    let held = Held::small();
    let binding = held.binding(dealers, &[4, 5, 6], 2);
    let setup = held.setup(&binding, party(1));
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    start(setup, None, state(1), &identity(party(4)), &mut rng).map(|_| ())
}

#[test]
fn not_exactly_t_dealers_are_refused() {
    let expected = Err(SetupError::Source(SourceError::Dealers));

    assert_eq!(with_dealers(&[1, 2]), Ok(()));
    assert_eq!(with_dealers(&[1]), expected);
    assert_eq!(with_dealers(&[1, 2, 3]), expected);
}

#[test]
fn a_dealer_that_holds_nothing_or_the_share_of_another_is_refused() {
    let expected = SetupError::Source(SourceError::Dealers);

    assert_eq!(with_dealers(&[1, 9]), Err(expected));
    for claimed in [2, 4, 300] {
        let refusal = of_binding(|binding| {
            let dealers = &mut binding.source.as_mut().unwrap().dealers;
            dealers[1].source_index = PartyIndex::new(claimed).unwrap();
        });
        assert_eq!(refusal, expected, "index {claimed}");
    }
    assert_eq!(
        of_binding(|binding| binding.participants[3].node = node(party(9))),
        expected
    );
}

#[test]
fn a_share_is_brought_by_dealers_and_nobody_else() {
    assert_eq!(start_as(DEALER, |_| (), |_| None), Err(SetupError::Role));
    assert_eq!(start_as(BOTH, |_| (), |_| None), Err(SetupError::Role));
    assert_eq!(
        start_as(RECEIVER, |_| (), |held| copy(held, 1)),
        Err(SetupError::Role)
    );
}

#[test]
fn a_dealer_whose_share_is_not_the_certified_one_does_not_start() {
    let other = |held: &Held| {
        let other = held.reshare(&[1, 2], &[1, 2, 3], 2, 5);
        copy(&other, 1)
    };

    let expected = Err(SetupError::ShareMismatch);
    assert_eq!(start_as(DEALER, |_| (), other), expected);
    assert_eq!(start_as(DEALER, |_| (), |held| copy(held, 3)), expected);
    for bytes in [[0; 32], [0xff; 32]] {
        let share = Some(SigningShare::from_bytes(bytes));
        assert_eq!(start_as(DEALER, |_| (), |_| share), expected);
    }
}
