//! Pairings as they are kept, shares as they are taken, and what shows of both.

use quorate_model::{Epoch, PartyIndex};

use super::{
    super::{
        Advance, DKLS23, KeyShare, KeyShareError, OtherKey, PairingState, SharePlace, StateError,
    },
    harness::Holders,
};
use crate::{
    dkg::tests::harness::party,
    sharing::{SharingError, SigningShare},
};

#[test]
fn pairings_survive_their_bytes() {
    let holders = Holders::stand_in();
    let bytes = holders.state_bytes(1);

    let read = PairingState::from_bytes(holders.engine, bytes).unwrap();

    assert_eq!(read.to_bytes().unwrap().as_slice(), bytes);
    let peers: Vec<_> = read.pairs().map(|(peer, _)| peer).collect();
    assert_eq!(peers, PartyIndex::first(5).skip(1).collect::<Vec<_>>());
}

#[test]
fn a_flipped_byte_anywhere_is_refused() {
    let holders = Holders::stand_in();
    let bytes = holders.state_bytes(1).to_vec();
    let read = |bytes: &[u8]| PairingState::from_bytes(holders.engine, bytes).map(|_| ());
    assert_eq!(read(&bytes), Ok(()));
    for at in 1..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x10;
        assert_eq!(read(&flipped), Err(StateError::Damaged), "at {at}");
    }

    let mut newer = bytes.clone();
    newer[0] = 2;
    assert_eq!(read(&newer), Err(StateError::UnknownVersion(2)));
    let mut longer = bytes.clone();
    longer.push(0);
    assert_eq!(read(&longer), Err(StateError::Damaged));
    for length in [0, 1, 32, 33, 34, bytes.len() - 1] {
        assert_eq!(read(&bytes[..length]), Err(StateError::Damaged));
    }
}

#[test]
fn pairings_of_another_engine_are_refused() {
    let bytes = Holders::stand_in().state_bytes(1);

    let read = PairingState::from_bytes(DKLS23, bytes);

    assert_eq!(read.unwrap_err(), StateError::OtherEngine);
}

#[test]
fn an_end_of_a_pairing_survives_its_bytes_and_belongs_to_its_two_holders() {
    let holders = Holders::small();
    let state = holders.pairings(1);
    assert_eq!(state.to_bytes().unwrap().as_slice(), holders.state_bytes(1));
    let (_, end) = state.pair(party(2)).unwrap();

    assert!(DKLS23.is_pair_end(party(1), party(2), end));
    for (me, peer) in [(1, 3), (3, 2), (2, 2), (1, 256)] {
        assert!(
            !DKLS23.is_pair_end(party(me), party(peer), end),
            "{me} {peer}"
        );
    }
}

#[test]
fn pairings_are_renewed_only_by_those_of_the_same_share() {
    let holders = Holders::stand_in();
    let mut state = holders.pairings(1);
    let before = state.to_bytes().unwrap();

    assert_eq!(state.renew(holders.pairings(2)), Err(OtherKey));

    assert_eq!(*state.to_bytes().unwrap(), *before);
    assert!(state.forget(party(2)));
    assert!(!state.forget(party(2)));
    assert_eq!(state.pairs().count(), 3);
    state.renew(holders.pairings(1)).unwrap();
    assert_eq!(*state.to_bytes().unwrap(), *before);
}

fn take(holders: &Holders, place: SharePlace, share: [u8; 32]) -> Result<(), KeyShareError> {
    let output = &holders.outputs[0];
    let share = SigningShare::from_bytes(share);
    KeyShare::new(place, &share, &output.group_key, &output.verifying_shares).map(|_| ())
}

#[test]
fn a_share_that_is_not_behind_its_verifying_share_is_refused() {
    let holders = Holders::stand_in();
    let place = holders.place(1);
    let own = *holders.outputs[0].share.expose();
    let mut near = own;
    near[31] ^= 1;

    assert_eq!(take(holders, place.clone(), own), Ok(()));
    let refused = [
        (near, KeyShareError::Mismatch),
        (*holders.outputs[1].share.expose(), KeyShareError::Mismatch),
        ([0; 32], KeyShareError::BadShare),
        ([0xff; 32], KeyShareError::BadShare),
    ];
    for (share, error) in refused {
        assert_eq!(take(holders, place.clone(), share), Err(error));
    }
    for me in [2, 6] {
        let elsewhere = SharePlace {
            me: party(me),
            ..place.clone()
        };
        assert_eq!(take(holders, elsewhere, own), Err(KeyShareError::Mismatch));
    }
}

#[test]
fn a_share_of_a_sharing_that_does_not_make_the_key_is_refused() {
    let holders = Holders::stand_in();
    let output = &holders.outputs[0];
    let other = |threshold| SharePlace {
        threshold,
        ..holders.place(1)
    };
    let new = |place, key: &[u8], shares: &[Vec<u8>]| {
        KeyShare::new(place, &output.share, key, shares).unwrap_err()
    };
    let inconsistent = KeyShareError::Sharing(SharingError::Inconsistent);
    let shape = |threshold, count| KeyShareError::Shape { threshold, count };
    let (key, shares) = (&output.group_key, &output.verifying_shares);
    let many = vec![shares[0].clone(); 33];

    assert_eq!(new(holders.place(1), &shares[0], shares), inconsistent);
    assert_eq!(new(other(2), key, shares), inconsistent);
    assert_eq!(new(other(1), key, shares), shape(1, 5));
    assert_eq!(new(other(6), key, shares), shape(6, 5));
    assert_eq!(new(other(2), key, &many), shape(2, 33));
}

#[test]
fn nothing_that_is_secret_shows() {
    let holders = Holders::stand_in();
    let share = holders.share(1);
    let pairings = holders.pairings(1);
    let setup = holders.signing(&share, &pairings, &[1, 2, 3], [1; 32], None);
    let mut cluster = holders.sign(&[1, 2, 3], [1; 32], None, 1);
    let machine = format!("{:?}", cluster.machines[&party(1)]);
    let set_up = format!("{:?}", holders.pair(&[1, 2], 1).machines[&party(1)]);
    let inbound = cluster.inbound(1);
    let outcome = cluster.deliver(1, &inbound);

    let key = "key: KeyName(treasury), ";
    let shown = format!("KeyShare {{ {key}me: PartyIndex(1), share: \"<redacted>\", .. }}");
    assert_eq!(format!("{share:?}"), shown);
    assert_eq!(
        format!("{setup:?}"),
        format!("Setup {{ share: {shown}, .. }}")
    );
    assert_eq!(
        format!("{pairings:?}"),
        format!("PairingState {{ {key}epoch: Epoch(1), me: PartyIndex(1), pairs: 4, .. }}")
    );
    assert_eq!(machine, "Machine { me: PartyIndex(1), round: 0, .. }");
    assert_eq!(set_up, machine);
    assert!(matches!(outcome, Advance::Running { .. }));
    let shown = format!("{outcome:?}");
    assert!(shown.contains("Machine { me: PartyIndex(1), round: 1, .. }"));
    assert!(shown.contains("Envelope { sender: 1, round: 1, length: "));
    assert!(!shown.contains("body"));
}

#[test]
fn pairings_of_another_epoch_are_not_of_the_share() {
    let holders = Holders::stand_in();
    let output = &holders.outputs[0];
    let later = SharePlace {
        epoch: Epoch(2),
        ..holders.place(1)
    };
    let share = SigningShare::from_bytes(*output.share.expose());
    let share = KeyShare::new(later, &share, &output.group_key, &output.verifying_shares).unwrap();

    assert!(!holders.pairings(1).is_of(holders.engine, &share));
    assert!(!holders.pairings(2).is_of(holders.engine, &holders.share(1)));
    assert!(!holders.pairings(1).is_of(DKLS23, &holders.share(1)));
    assert!(holders.pairings(1).is_of(holders.engine, &holders.share(1)));
}
