//! The client: typed verbs over the public API. Every answer that matters is verified before the
//! caller sees it.

mod epochs;

use std::{sync::Arc, time::Duration};

use quorate_model::{
    CommandId, DerivationPath, NodeId, Payload, Reason, Refusal,
    address::{AddressKind, AddressQuery},
    command::{CommandBody, CreateKey, EndorsementKind, Sign, SignedCommand},
    evacuation::Evacuate,
    ids::KeyId,
    node_api::AuditPage,
    operation::{CommandOutcome, CommandState, CommandView, NodeView},
    roster::PinnedRoster,
};

use self::epochs::{MOST_FETCHES, Renewed};
use crate::{
    address::{self, AttestedAddress},
    command::{CommandOptions, CommandTimes, Prepared},
    error::ClientError,
    identity::Identity,
    key::{CertifiedKey, KeyReference, ListedKey, check_purposes},
    profile::Profile,
    roster::Rosters,
    signed::Signed,
    transport::Transport,
    verify::VerificationError,
};

/// A connection to a cluster as one principal. Clones share it.
#[derive(Clone, Debug)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    identity: Identity,
    rosters: Rosters,
    default_threshold: Option<u16>,
    transport: Transport,
    renewed: Renewed,
}

impl Client {
    /// Connects to the first coordinator of the profile that answers. `timeout` bounds this and
    /// each later call.
    pub async fn connect(
        profile: &Profile,
        identity: Identity,
        timeout: Duration,
    ) -> Result<Self, ClientError> {
        let roster = profile.roster().clone();
        if roster.roster().principal(&identity.card().id) != Some(identity.card()) {
            return Err(ClientError::NotInRoster(identity.card().id.to_string()));
        }
        let transport = Transport::connect(
            &profile.settings().coordinators,
            roster.roster(),
            identity.tls(),
            timeout,
        )
        .await?;
        let default_threshold = profile.settings().defaults.threshold;
        Ok(Self(Arc::new(Inner {
            identity,
            rosters: Rosters::new(roster),
            default_threshold,
            transport,
            renewed: Renewed::default(),
        })))
    }

    /// The rosters as far as this client has followed them, from the pinned one on.
    pub fn roster(&self) -> Arc<PinnedRoster> {
        self.0.rosters.roster()
    }

    pub(crate) fn rosters(&self) -> &Rosters {
        &self.0.rosters
    }

    /// The identity that this client speaks as.
    pub fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// The profile's threshold for new keys.
    pub fn default_threshold(&self) -> Option<u16> {
        self.0.default_threshold
    }

    /// Makes a command that creates a key, and endorses it.
    ///
    /// # Errors
    ///
    /// [`Reason::ShapeInvalid`] and [`Reason::RequestInvalid`] for a key that cannot be made,
    /// [`Reason::PurposeMismatch`] for a purpose that keys of the scheme sign nothing for, and
    /// [`Reason::NodeUnknown`], [`Reason::NodeDrained`] or [`Reason::PlacementViolated`] for a
    /// committee that the roster does not allow. Where the roster may have changed since, see
    /// [`Client::refresh_roster`].
    pub fn prepare_create_key(
        &self,
        create: &CreateKey,
        options: &CommandOptions,
    ) -> Result<Prepared, ClientError> {
        let shape = create.check_shape();
        shape.map_err(|error| Refusal::new(Reason::ShapeInvalid, error.to_string()))?;
        check_purposes(create.scheme, &create.purposes)?;
        let life = create.life.check(&create.key);
        life.map_err(|error| Refusal::new(Reason::RequestInvalid, error.to_string()))?;
        quorate_intent::check_destinations(create).map_err(|error| Refusal::from(&error))?;
        let roster = self.roster();
        roster
            .roster()
            .check_committee(&create.nodes, create.threshold)?;
        Ok(self.prepare(CommandBody::CreateKey(create.clone()), options))
    }

    /// Makes a command that signs, and endorses it. What the key cannot sign is refused here.
    pub fn prepare_sign(
        &self,
        key: &CertifiedKey,
        payloads: Vec<Payload>,
        options: &CommandOptions,
    ) -> Result<Prepared, ClientError> {
        quorate_intent::decode_all(&payloads, &key.facts())
            .map_err(|error| Refusal::from(&error))?;
        let sign = Sign {
            key: key.record().name.clone(),
            key_id: key.record().id(),
            payloads,
        };
        Ok(self.prepare(CommandBody::Sign(sign), options))
    }

    /// Makes a command that has a key whose time is over move what it holds to where its creation
    /// says, and endorses it (P33). It takes the admin quorum.
    ///
    /// # Errors
    ///
    /// [`Reason::KeyNotRetired`] for a key in use, [`Reason::KeyDestroyed`],
    /// [`Reason::DestinationNotPinned`] where something goes elsewhere, [`Reason::PayloadRefused`] for
    /// what is no transaction or does more than move, and whatever the key cannot sign.
    pub fn prepare_evacuation(
        &self,
        key: &CertifiedKey,
        payloads: Vec<Payload>,
        reason: &str,
        options: &CommandOptions,
    ) -> Result<Prepared, ClientError> {
        key.check_evacuates()?;
        let decoded = quorate_intent::decode_all(&payloads, &key.facts())
            .map_err(|error| without_high_fee(Refusal::from(&error)))?;
        let pinned = &key.life().evacuation;
        quorate_intent::check_evacuation(&payloads, &decoded, &key.facts(), pinned)
            .map_err(|error| Refusal::from(&error))?;
        let evacuate = Evacuate {
            sign: Sign {
                key: key.record().name.clone(),
                key_id: key.record().id(),
                payloads,
            },
            reason: reason.to_owned(),
        };
        evacuate.check()?;
        Ok(self.prepare(CommandBody::Evacuate(evacuate), options))
    }

    pub(crate) fn transport(&self) -> &Transport {
        &self.0.transport
    }

    pub(crate) fn prepare(&self, body: CommandBody, options: &CommandOptions) -> Prepared {
        Prepared::new(&self.roster(), &self.0.identity, body, options)
    }

    /// Hands a command over and answers with how it stands at once.
    pub async fn submit(&self, prepared: &Prepared) -> Result<CommandView, ClientError> {
        let view = self
            .0
            .transport
            .submit(prepared.signed(), Some(Duration::ZERO))
            .await?;
        expect_same(prepared, view)
    }

    /// Hands a command over and waits until it has succeeded.
    pub async fn carry_out(&self, prepared: &Prepared) -> Result<CommandView, ClientError> {
        let view = self.0.transport.submit(prepared.signed(), None).await?;
        let view = expect_same(prepared, view)?;
        if view.state == CommandState::Running {
            return Err(ClientError::TimedOut(self.0.transport.timeout()));
        }
        succeeded(&view)?;
        Ok(view)
    }

    /// Asks the nodes that it takes whether they would carry a command out, and does nothing. What is
    /// sent is a question under this principal's name and no proposal, so that nobody who keeps it has
    /// the command carried out.
    pub async fn validate(&self, prepared: &Prepared) -> Result<(), ClientError> {
        let role = prepared.command().body.role();
        let mut question = SignedCommand {
            bytes: prepared.signed().bytes.clone(),
            endorsements: Vec::new(),
        };
        let word = self.identity().endorse(
            &question,
            &self.roster().cluster(),
            EndorsementKind::Ask,
            role,
        );
        question.endorsements.push(word);
        let view = self.0.transport.validate(&question).await?;
        match view.error {
            Some(refusal) => Err(refusal.into()),
            None => Ok(()),
        }
    }

    /// Follows a command until it ends, whatever its end.
    pub async fn follow(
        &self,
        view: CommandView,
        report: &mut dyn FnMut(&CommandView),
    ) -> Result<CommandView, ClientError> {
        if view.state != CommandState::Running {
            return Ok(view);
        }
        self.0.transport.follow(view, report).await
    }

    /// Follows a command until it has succeeded.
    pub async fn wait(
        &self,
        view: CommandView,
        report: &mut dyn FnMut(&CommandView),
    ) -> Result<CommandView, ClientError> {
        let (id, digest) = (view.id, view.digest);
        let view = self.follow(view, report).await?;
        if view.id != id || view.digest != digest {
            return Err(VerificationError::OtherOutcome("it is another command's").into());
        }
        succeeded(&view)?;
        Ok(view)
    }

    /// Creates a key, and trusts it only after its certificate and proof have been verified.
    pub async fn create_key(
        &self,
        create: CreateKey,
        options: &CommandOptions,
    ) -> Result<CertifiedKey, ClientError> {
        let prepared = self.prepare_create_key(&create, options)?;
        self.carry_out(&prepared).await?;
        self.created_key(&prepared).await
    }

    /// The verified key that a command has created: exactly as it was commanded.
    pub async fn created_key(&self, prepared: &Prepared) -> Result<CertifiedKey, ClientError> {
        let CommandBody::CreateKey(create) = &prepared.command().body else {
            return Err(
                Refusal::new(Reason::RequestInvalid, "the command does not create a key").into(),
            );
        };
        self.key(&KeyReference {
            name: create.key.clone(),
            id: Some(KeyId::of(&prepared.digest())),
        })
        .await
    }

    /// Signs payloads, all or nothing, and returns what was verified.
    pub async fn sign(
        &self,
        key: &CertifiedKey,
        payloads: Vec<Payload>,
        options: &CommandOptions,
    ) -> Result<Signed, ClientError> {
        let prepared = self.prepare_sign(key, payloads, options)?;
        let view = self.carry_out(&prepared).await?;
        self.signed(key, &prepared, &view).await
    }

    /// Verifies what a command that signs came to. Where it was signed in a later epoch than the
    /// caller's, the key is fetched and verified again.
    pub async fn signed(
        &self,
        key: &CertifiedKey,
        prepared: &Prepared,
        view: &CommandView,
    ) -> Result<Signed, ClientError> {
        let mut key = key.clone();
        if let Some(CommandOutcome::Signed(outcome)) = &view.outcome {
            key = self.at_least(&key, outcome.epoch).await?;
        }
        Signed::verify(&key, prepared, view, &self.0.rosters.receipts())
    }

    /// A key whose certificate holds, in whatever state it is.
    ///
    /// # Errors
    ///
    /// [`VerificationError::OtherKeyId`] when the caller knows the id and another key is shown.
    pub async fn look_up(&self, key: &KeyReference) -> Result<ListedKey, ClientError> {
        let view = self.0.transport.key(&key.name).await?;
        let listed = self
            .verified(|roster| ListedKey::verify(&view, roster))
            .await?;
        key.check(listed.record())?;
        Ok(listed)
    }

    /// A key that is active and proven.
    ///
    /// # Errors
    ///
    /// [`VerificationError::OtherKeyId`] when the caller knows the id and another key is shown;
    /// [`VerificationError::NotServed`] when the caller knows none, and fewer nodes of the roster hold
    /// the key than sign with it.
    pub async fn key(&self, key: &KeyReference) -> Result<CertifiedKey, ClientError> {
        let listed = self.look_up(key).await?;
        key.check_served(listed.record(), &self.roster())?;
        listed
            .certified()
            .ok_or_else(|| ClientError::NotActive(key.name.clone()))
    }

    /// An address of a key, derived here from its certificate, which at least as many holders as
    /// sign have stated alike. What the key could not spend is refused.
    ///
    /// # Errors
    ///
    /// A refusal with [`Reason::QuorumUnavailable`] where too few holders state it;
    /// [`ClientError::Unverified`] where a statement is not true.
    pub async fn address(
        &self,
        key: &CertifiedKey,
        path: &DerivationPath,
        kind: AddressKind,
    ) -> Result<AttestedAddress, ClientError> {
        let mut key = key.clone();
        let mut fetches = 0..MOST_FETCHES;
        loop {
            key.check_receives()?;
            let claim = address::derive(&key, path, kind)?;
            let query = AddressQuery {
                key: claim.key.clone(),
                path: path.clone(),
                kind,
            };
            let statements = self.0.transport.statements(&query).await?;
            // Holders state it in the epoch that is in use, and change over one after another.
            let mut epochs = statements.iter().map(|one| one.claim.epoch);
            if epochs.any(|epoch| epoch != claim.epoch) && fetches.next().is_some() {
                key = self.renew(key.record()).await?;
                continue;
            }
            return AttestedAddress::verify(claim, key.record(), &self.roster(), statements);
        }
    }

    /// Every key, each verified. That none is left out is the coordinator's word.
    pub async fn list_keys(&self) -> Result<Vec<ListedKey>, ClientError> {
        let views = self.0.transport.keys().await?;
        self.verified(|roster| {
            let verify = |view| ListedKey::verify(view, roster);
            views
                .iter()
                .map(verify)
                .collect::<Result<_, VerificationError>>()
        })
        .await
    }

    /// The nodes as the coordinator sees them.
    pub async fn list_nodes(&self) -> Result<Vec<NodeView>, ClientError> {
        self.0.transport.nodes().await
    }

    /// A command as the coordinator tells it.
    pub async fn command(&self, id: CommandId) -> Result<CommandView, ClientError> {
        self.0.transport.command(id).await
    }

    /// The times of a command that the coordinator knows; none if it knows no such command. Whoever
    /// makes a command with them has [`Prepared::check_times`] look at it.
    ///
    /// # Errors
    ///
    /// [`VerificationError::CommandTimes`] when a command with these times would live for longer
    /// than any lives by default, or is not made yet.
    pub async fn command_times(&self, id: CommandId) -> Result<Option<CommandTimes>, ClientError> {
        match self.command(id).await {
            Ok(view) => {
                let times = CommandTimes {
                    created: view.created,
                    expires: view.expires,
                };
                // What a coordinator says here is about to be signed.
                if !times.are_ordinary() {
                    return Err(VerificationError::CommandTimes(id).into());
                }
                Ok(Some(times))
            }
            Err(error) if error.reason() == Some(Reason::CommandUnknown) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A page of a node's journal from a sequence on.
    pub async fn read_audit(
        &self,
        node: &NodeId,
        from: u64,
        limit: u32,
    ) -> Result<AuditPage, ClientError> {
        self.0.transport.audit(node, from, limit).await
    }

    /// The evidence against nodes that the coordinator holds, with the node that it names.
    pub async fn list_evidence(&self) -> Result<Vec<(NodeId, Vec<u8>)>, ClientError> {
        self.0.transport.evidence().await
    }
}

/// The success of a command, or why it has none.
pub fn succeeded(view: &CommandView) -> Result<(), ClientError> {
    if view.state == CommandState::Succeeded {
        return Ok(());
    }
    if view.state == CommandState::AwaitingEndorsement {
        return Err(ClientError::Waiting(view.id));
    }
    Err(ClientError::Ended {
        id: view.id,
        state: view.state,
        refusal: view.error.clone(),
    })
}

/// Elsewhere a high fee may be accepted; here it never is.
fn without_high_fee(mut refusal: Refusal) -> Refusal {
    if refusal.reason == Reason::FeeTooHigh {
        "the fee is above 10 % of the inputs or 0.1 BTC, and an evacuation accepts no high fee: lower it"
            .clone_into(&mut refusal.message);
    }
    refusal
}

fn expect_same(prepared: &Prepared, view: CommandView) -> Result<CommandView, ClientError> {
    if view.id == prepared.id() && view.digest == prepared.digest() {
        return Ok(view);
    }
    Err(VerificationError::OtherOutcome("it is another command's").into())
}
