//! `KeyService`: what is known of keys, with the proofs that make it worth believing.

use std::time::Duration;

use quorate_intent::{KeyFacts, address_of_kind};
use quorate_model::{
    KeyName, KeyRecord, KeyState, NodeId, Reason, Refusal,
    address::{AddressClaim, AddressQuery, AddressStatement},
    node_api::{NodeReply, NodeRequest},
    operation::KeyView,
    roster::Roster,
};
use quorate_proto::{
    address, names,
    v1::{self, key_service_server::KeyService},
};
use tokio::task::JoinSet;
use tonic::{Request, Response, Status};

use super::{Api, invalid, page, refuse};
use crate::link::CallError;

/// Keys per question to the core, which verifies those that it has not used yet.
const KEYS_AT_ONCE: usize = 50;

/// How long a node may take to state an address.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);

/// The most bytes of certificates and proofs on one page.
const MAX_PAGE_BYTES: usize = 8 << 20;

#[tonic::async_trait]
impl KeyService for Api {
    async fn get_key(
        &self,
        request: Request<v1::GetKeyRequest>,
    ) -> Result<Response<v1::Key>, Status> {
        self.caller(&request)?;
        let name = names::parse_key(&request.into_inner().name).map_err(refuse)?;
        let key = self.known_key(name).await.map_err(refuse)?;
        Ok(Response::new(v1::Key::from(key)))
    }

    async fn attest_address(
        &self,
        request: Request<v1::AttestAddressRequest>,
    ) -> Result<Response<v1::AttestAddressResponse>, Status> {
        self.caller(&request)?;
        let query = AddressQuery::try_from(request.into_inner()).map_err(refuse)?;
        let statements = self.statements(query).await.map_err(refuse)?;
        let wire = address::statements_to_wire(&statements).map_err(refuse)?;
        Ok(Response::new(wire))
    }

    async fn list_keys(
        &self,
        request: Request<v1::ListKeysRequest>,
    ) -> Result<Response<v1::ListKeysResponse>, Status> {
        self.caller(&request)?;
        let request = request.into_inner();
        let terms = page::terms(&request.filter, &["state", "scheme"])?;
        let (state, scheme) = (page::value(&terms, "state"), page::value(&terms, "scheme"));
        let fits = |key: &KeyView| {
            state.is_none_or(|state| key.state.as_str() == state)
                && scheme.is_none_or(|scheme| key.record.scheme.as_str() == scheme)
        };
        let size = page::size(request.page_size);
        let mut after: Option<KeyName> = match request.page_token.as_str() {
            "" => None,
            token => Some(
                token
                    .parse()
                    .map_err(|_| invalid("page_token is none that this coordinator gave"))?,
            ),
        };
        let (mut keys, mut bytes) = (Vec::new(), 0usize);
        loop {
            let from = after.clone();
            let found = self
                .engine()
                .query(move |core| core.keys(from.as_ref(), KEYS_AT_ONCE))
                .await
                .map_err(refuse)?;
            if found.is_empty() {
                return Ok(Response::new(v1::ListKeysResponse {
                    keys,
                    next_page_token: String::new(),
                }));
            }
            for key in found {
                after = Some(key.record.name.clone());
                if !fits(&key) {
                    continue;
                }
                let evidence = &key.evidence;
                bytes = bytes
                    .saturating_add(evidence.certificate.len())
                    .saturating_add(evidence.proof.as_ref().map_or(0, Vec::len));
                keys.push(v1::Key::from(key));
                if keys.len() >= size || bytes >= MAX_PAGE_BYTES {
                    let next_page_token = after.map(String::from).unwrap_or_default();
                    return Ok(Response::new(v1::ListKeysResponse {
                        keys,
                        next_page_token,
                    }));
                }
            }
        }
    }
}

impl Api {
    async fn known_key(&self, name: KeyName) -> Result<KeyView, Refusal> {
        let asked = name.clone();
        let key = self.engine().query(move |core| core.key(&asked)).await?;
        key.ok_or_else(|| {
            Refusal::new(Reason::KeyUnknown, format!("there is no key \"{name}\""))
                .with("key", name)
        })
    }

    /// Statements of an address by t holders. What is false is left out, so that a node that lies
    /// does not keep callers from an address; they check every statement again.
    async fn statements(&self, query: AddressQuery) -> Result<Vec<AddressStatement>, Refusal> {
        let key = self.known_key(query.key.clone()).await?;
        let record = key.record;
        key.standing.check_receives(&record.name)?;
        if key.state == KeyState::PreActive {
            let message = format!("key \"{}\" is not active: it has no addresses", record.name);
            return Err(Refusal::new(Reason::KeyNotActive, message).with("key", record.name));
        }
        let derived = derived(&record, &query)?;
        let threshold = usize::from(record.threshold);
        let mut holders = record.participants.iter();
        let mut asked = JoinSet::new();
        let mut statements = Vec::new();
        loop {
            // As many as are missing, and another one for each that fails.
            while statements.len().saturating_add(asked.len()) < threshold
                && let Some(holder) = holders.next()
            {
                let Some(link) = self.engine().link(&holder.node) else {
                    continue;
                };
                let request = NodeRequest::AttestAddress {
                    key: query.key.clone(),
                    path: query.path.clone(),
                    kind: query.kind,
                };
                let node = holder.node.clone();
                asked.spawn(async move { (node, link.call(request, STATEMENT_TIMEOUT).await) });
            }
            let Some(answered) = asked.join_next().await else {
                break;
            };
            let Ok((node, answer)) = answered else {
                continue;
            };
            let pinned = self.engine().pinned();
            let roster = pinned.roster();
            statements.extend(true_statement(&node, answer, &derived, &record, roster));
            if statements.len() >= threshold {
                return Ok(statements);
            }
        }
        Err(too_few(&record, statements.len()))
    }
}

/// The statement of a node, if it is one of this node and true.
fn true_statement(
    node: &NodeId,
    answer: Result<NodeReply, CallError>,
    derived: &AddressClaim,
    record: &KeyRecord,
    roster: &Roster,
) -> Option<AddressStatement> {
    let statement = match answer {
        Ok(NodeReply::Address(statement)) if statement.node == *node => statement,
        Ok(_) => {
            tracing::warn!(%node, "a node answers with something else than its address");
            return None;
        }
        Err(error) => {
            tracing::debug!(%node, reason = %error, "a node states no address");
            return None;
        }
    };
    match statement.verify(derived, record, roster) {
        Ok(()) => Some(statement),
        Err(error) => {
            tracing::warn!(%node, reason = %error, "a node states a false address");
            None
        }
    }
}

/// What holders are to state.
fn derived(record: &KeyRecord, query: &AddressQuery) -> Result<AddressClaim, Refusal> {
    let address = address_of_kind(&KeyFacts::of(record), &query.path, query.kind)
        .map_err(|error| Refusal::from(&error))?;
    Ok(AddressClaim {
        key: record.name.clone(),
        epoch: record.epoch,
        certificate: record.certificate,
        path: query.path.clone(),
        kind: query.kind,
        address,
    })
}

fn too_few(record: &KeyRecord, found: usize) -> Refusal {
    let (threshold, holders) = (record.threshold, record.participants.len());
    let message = format!(
        "{found} of {holders} holders of key \"{}\" state the address, expected {threshold}",
        record.name
    );
    Refusal::new(Reason::QuorumUnavailable, message).with("key", &record.name)
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;
    use quorate_model::{
        Digest, Epoch, IdentityKey, KeyPurpose, Participant, PartyIndex, Purposes, Scheme,
        Signature,
        address::{AddressKind, AddressType, Network},
        identity::sign_digest,
        roster::NodeCard,
    };

    use super::*;

    fn identity(number: u8) -> SigningKey {
        SigningKey::from_bytes(&[number; 32])
    }

    fn node(number: u8) -> NodeId {
        format!("node-{number}").parse().unwrap()
    }

    fn roster() -> Roster {
        let card = |number: u8| NodeCard {
            id: node(number),
            identity_key: IdentityKey::of(&identity(number)),
            tls_key_hash: Digest::new([number; 32]),
            region: "region".to_owned(),
            organisation: "org".to_owned(),
        };
        Roster {
            format: 1,
            version: 1,
            cluster_name: "test".to_owned(),
            parents: vec![],
            nodes: (1..=3).map(card).collect(),
            coordinators: vec![],
            principals: vec![],
            admin_quorum: 1,
            lifecycle_quorum: 1,
            policy_hash: Digest::ZERO,
            lifecycle_delay_seconds: None,
            drained: [].into(),
            placement: quorate_model::roster::Placement::default(),
        }
    }

    fn record() -> KeyRecord {
        let generator = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
        let holder = |number: u8| Participant {
            index: PartyIndex::new(number.into()).unwrap(),
            node: node(number),
        };
        KeyRecord {
            name: "hot".parse().unwrap(),
            scheme: Scheme::EcdsaSecp256k1,
            purposes: Purposes::new(vec![KeyPurpose::Transactions]).unwrap(),
            epoch: Epoch(1),
            threshold: 2,
            participants: (1..=3).map(holder).collect(),
            group_key: hex::decode(generator).unwrap(),
            verifying_shares: vec![],
            chain_code: [7; 32],
            command: Digest::ZERO,
            certificate: Digest::new([8; 32]),
        }
    }

    fn query() -> AddressQuery {
        AddressQuery {
            key: "hot".parse().unwrap(),
            path: "m/0/5".parse().unwrap(),
            kind: AddressKind::Bitcoin {
                network: Network::Regtest,
                form: AddressType::P2wpkh,
            },
        }
    }

    fn stated(number: u8, claim: AddressClaim) -> AddressStatement {
        let mut statement = AddressStatement {
            node: node(number),
            claim,
            signature: Signature([0; 64]),
        };
        statement.signature = sign_digest(&identity(number), &statement.digest());
        statement
    }

    #[test]
    fn only_true_statements_of_the_node_that_was_asked_are_passed_on() {
        let (record, roster) = (record(), roster());
        let derived = derived(&record, &query()).unwrap();
        let mut lie = derived.clone();
        lie.address = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080".to_owned();
        let mut unsigned = stated(1, derived.clone());
        unsigned.signature.0[0] ^= 1;
        let refusal = Refusal::new(Reason::KeyNotActive, "later");
        let check = |answer| true_statement(&node(1), answer, &derived, &record, &roster);
        let address = |statement| Ok(NodeReply::Address(statement));

        let honest = stated(1, derived.clone());
        assert_eq!(check(address(honest.clone())), Some(honest));
        for worthless in [
            address(stated(1, lie)),
            address(stated(2, derived.clone())),
            address(unsigned),
            Ok(NodeReply::Done),
            Err(CallError::Refused(refusal)),
            Err(CallError::Lost),
            Err(CallError::TimedOut),
        ] {
            assert_eq!(check(worthless), None);
        }
    }

    #[test]
    fn nobody_is_asked_for_an_address_that_the_key_cannot_spend_from() {
        let mut query = query();
        query.kind = AddressKind::Solana;

        let refusal = derived(&record(), &query).unwrap_err();

        assert_eq!(refusal.reason, Reason::SchemeMismatch);
    }
}
