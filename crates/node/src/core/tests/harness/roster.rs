//! Roster 1 of the harness's clusters.

use ed25519_dalek::SigningKey;
use quorate_model::{
    Digest, IdentityKey,
    roster::{CoordinatorCard, NodeCard, PinnedRoster, Principal, Role, Roster, SignedRoster},
};

use super::{coordinator, node_id, other_coordinator};

/// The roster of these nodes, one client and two admins, of whom the first has a second key.
pub(super) fn of(
    keys: &[SigningKey],
    admin: &SigningKey,
    second_admin: &SigningKey,
    phone: &SigningKey,
    client: &SigningKey,
) -> (SignedRoster, PinnedRoster) {
    let tls = |seed: u8| Digest::new([seed; 32]);
    let nodes = keys
        .iter()
        .enumerate()
        .map(|(at, key)| NodeCard {
            id: node_id(at),
            identity_key: IdentityKey::of(key),
            tls_key_hash: tls(u8::try_from(at).unwrap()),
            region: format!("region-{at}"),
            organisation: "organisation".to_owned(),
        })
        .collect();
    let principal = |id: &str, role, key, seed| Principal {
        id: format!("the-{id}").parse().unwrap(),
        person: id.to_owned(),
        roles: vec![role],
        identity_key: IdentityKey::of(key),
        tls_key_hash: tls(seed),
    };
    let roster = Roster {
        format: 1,
        version: 1,
        cluster_name: "test".to_owned(),
        parents: vec![],
        nodes,
        coordinators: vec![
            CoordinatorCard {
                id: coordinator(),
                tls_key_hash: tls(200),
            },
            CoordinatorCard {
                id: other_coordinator(),
                tls_key_hash: tls(203),
            },
        ],
        principals: vec![
            principal("admin", Role::Admin, admin, 201),
            principal("second-admin", Role::Admin, second_admin, 204),
            Principal {
                person: "admin".to_owned(),
                ..principal("phone", Role::Admin, phone, 205)
            },
            principal("client", Role::Client, client, 202),
        ],
        admin_quorum: 2,
        lifecycle_quorum: 2,
        policy_hash: Digest::ZERO,
        lifecycle_delay_seconds: None,
        drained: [].into(),
        placement: quorate_model::roster::Placement::default(),
    };
    let mut signed = SignedRoster::unsigned(&roster).unwrap();
    signed.sign(&"the-admin".parse().unwrap(), admin);
    signed.sign(&"the-second-admin".parse().unwrap(), second_admin);
    signed.sign(&"the-phone".parse().unwrap(), phone);
    let pinned = signed.verify_first().unwrap();
    (signed, pinned)
}
