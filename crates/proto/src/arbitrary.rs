//! Values of the model for property tests.

use proptest::{
    array::{uniform16, uniform32},
    collection::{btree_set, vec},
    option,
    prelude::*,
    sample::select,
};
use quorate_model::{
    CommandId, CoordinatorId, DerivationPath, Digest, Epoch, KeyId, KeyName, KeyPurpose, KeyState,
    NodeId, Nonce32, Participant, PartyIndex, Payload, PayloadKind, PrincipalId, Purposes, Reason,
    Refusal, Scheme, SessionBinding, SessionPreimage, SessionSource, Signature, TicketId,
    UnixMillis,
    certificate::PreparedStatement,
    command::{Command, CommandBody, CreateKey, Endorsement, EndorsementKind, Sign, SignedCommand},
    evacuation::Evacuate,
    life::{KeyLife, MAX_PERIOD_S, Predecessor},
    node_api::{
        Aborted, AuditPage, CeremonyReply, ClockState, KeyListing, NodeReply, NodeRequest,
        NodeStatus, PairingReply, Prepared, ShareBatch, SignedItem, SigningReply, SigningRequest,
        TimeAttestation,
    },
    path::{FIRST_HARDENED, MAX_STEPS},
    quarantine::Readmission,
    roster::{Role, RosterSignature, SignedRoster, Successor},
    session::Dealer,
    share::{
        Commitments, SetEntry, SetOfSigners, ShareItem, ShareReceipt, ShareRequest, ShareStatement,
        Ticket, TicketBatch,
    },
};
use uuid::Uuid;

mod addresses;
mod destruction;
mod quarantine;
mod resharing;
mod rosters;
mod states;
mod views;

pub(crate) use addresses::{address, address_statement};
use destruction::{destroy_command, destruction, destruction_receipt};
use quarantine::{heads, quarantine, readmit_command};
use resharing::{
    activation_receipt, erase_certificate, erase_receipt, reshare_command, reshare_from,
};
use rosters::roster_receipt;
pub(crate) use rosters::roster_view;
use states::{set_key_state, standing, state_receipt};
pub(crate) use views::{command_view, key_view, node_view};

const NAME: &str = "[a-z][a-z0-9-]{0,20}[a-z0-9]";

fn named<T: TryFrom<String> + std::fmt::Debug>() -> impl Strategy<Value = T> {
    NAME.prop_map(|text| T::try_from(text).ok().expect("the pattern makes names"))
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..40)
}

fn digest() -> impl Strategy<Value = Digest> {
    uniform32(any::<u8>()).prop_map(Digest::new)
}

fn nonce() -> impl Strategy<Value = Nonce32> {
    uniform32(any::<u8>()).prop_map(Nonce32)
}

fn signature() -> impl Strategy<Value = Signature> {
    vec(any::<u8>(), 64).prop_map(|bytes| Signature::from_slice(&bytes).unwrap())
}

fn time() -> impl Strategy<Value = UnixMillis> {
    any::<u64>().prop_map(UnixMillis)
}

fn epoch() -> impl Strategy<Value = Epoch> {
    any::<u32>().prop_map(Epoch)
}

fn index() -> impl Strategy<Value = PartyIndex> {
    (1..=u16::MAX).prop_map(|number| PartyIndex::new(number).unwrap())
}

fn scheme() -> impl Strategy<Value = Scheme> {
    select(Scheme::ALL.to_vec())
}

fn state() -> impl Strategy<Value = KeyState> {
    select(vec![
        KeyState::PreActive,
        KeyState::Active,
        KeyState::Suspended,
        KeyState::Deactivated,
        KeyState::Compromised,
    ])
}

fn purposes() -> impl Strategy<Value = Purposes> {
    proptest::sample::subsequence(KeyPurpose::ALL.to_vec(), 1..=3)
        .prop_map(|purposes| Purposes::new(purposes).unwrap())
}

fn command_id() -> impl Strategy<Value = CommandId> {
    uniform16(any::<u8>()).prop_map(|bytes| CommandId(Uuid::from_bytes(bytes)))
}

pub(crate) fn refusal() -> impl Strategy<Value = Refusal> {
    let metadata = vec(("[a-z_]{1,8}", ".{0,12}"), 0..4);
    (select(Reason::ALL.to_vec()), ".{0,40}", metadata).prop_map(|(reason, message, metadata)| {
        Refusal {
            reason,
            message,
            metadata,
        }
    })
}

fn endorsement() -> impl Strategy<Value = Endorsement> {
    let kinds = vec![
        EndorsementKind::Propose,
        EndorsementKind::Approve,
        EndorsementKind::Reject,
        EndorsementKind::Ask,
    ];
    let roles = vec![Role::Admin, Role::Client];
    (
        select(kinds),
        named::<PrincipalId>(),
        select(roles),
        signature(),
    )
        .prop_map(|(kind, principal, role, signature)| Endorsement {
            kind,
            principal,
            role,
            signature,
        })
}

pub(crate) fn signed_command() -> impl Strategy<Value = SignedCommand> {
    (bytes(), vec(endorsement(), 0..4)).prop_map(|(bytes, endorsements)| SignedCommand {
        bytes,
        endorsements,
    })
}

pub(crate) fn signed_roster() -> impl Strategy<Value = SignedRoster> {
    let signed =
        (named::<PrincipalId>(), signature()).prop_map(|(principal, signature)| RosterSignature {
            principal,
            signature,
        });
    let successor = signed_command().prop_map(Successor);
    (".{0,80}", vec(signed, 0..4), vec(successor, 0..3)).prop_map(
        |(roster, signatures, successors)| SignedRoster {
            roster,
            signatures,
            successors,
        },
    )
}

/// A plan that makes sense for a key of this name.
fn life(key: KeyName) -> impl Strategy<Value = KeyLife> {
    let before = (named::<KeyName>(), uniform32(any::<u8>())).prop_map(|(key, id)| Predecessor {
        key,
        key_id: KeyId(id),
    });
    let period = || option::of(1..=MAX_PERIOD_S);
    let destination = "[a-z0-9]{3,8}:[a-zA-Z0-9]{1,32}:[a-zA-Z0-9.%-]{1,60}";
    let destination = destination.prop_map(|text| text.parse().expect("an account of CAIP-10"));
    let evacuation = btree_set(destination, 0..4);
    (option::of(before), period(), period(), evacuation)
        .prop_map(
            |(replaces, cryptoperiod_s, refresh_s, evacuation)| KeyLife {
                replaces,
                cryptoperiod_s,
                refresh_s,
                evacuation: evacuation.into_iter().collect(),
            },
        )
        .prop_filter("the plan makes sense", move |life| life.check(&key).is_ok())
}

fn body() -> impl Strategy<Value = CommandBody> {
    let create = (
        named::<KeyName>(),
        scheme(),
        any::<u16>(),
        vec(named::<NodeId>(), 0..6),
        purposes(),
        any::<bool>(),
    )
        .prop_flat_map(|create| {
            let key = create.0.clone();
            (Just(create), life(key))
        })
        .prop_map(
            |((key, scheme, threshold, nodes, purposes, accept_fragile), life)| {
                CommandBody::CreateKey(CreateKey {
                    key,
                    scheme,
                    threshold,
                    nodes,
                    purposes,
                    accept_fragile,
                    life,
                })
            },
        );
    let payload = (
        select(PayloadKind::ALL.to_vec()),
        bytes(),
        any::<bool>(),
        path(),
    )
        .prop_map(|(kind, bytes, allow_high_fee, path)| Payload {
            kind,
            bytes,
            allow_high_fee,
            path,
        });
    let sign = (named::<KeyName>(), digest(), vec(payload, 1..5))
        .prop_map(|(key, id, payloads)| Sign {
            key,
            key_id: KeyId::of(&id),
            payloads,
        })
        .boxed();
    let evacuate = (sign.clone(), "[a-z][a-z ]{0,40}")
        .prop_map(|(sign, reason)| CommandBody::Evacuate(Evacuate { sign, reason }));
    let sign = sign.prop_map(CommandBody::Sign);
    let set = set_key_state().prop_map(CommandBody::SetKeyState);
    prop_oneof![
        create,
        sign,
        evacuate,
        set,
        reshare_command(),
        destroy_command(),
        readmit_command()
    ]
}

pub(crate) fn command() -> impl Strategy<Value = Command> {
    (digest(), digest(), command_id(), time(), time(), body()).prop_map(
        |(cluster, roster, id, created, expires, body)| Command {
            cluster,
            roster,
            id,
            created,
            expires,
            body,
        },
    )
}

fn commitments() -> impl Strategy<Value = Commitments> {
    (bytes(), bytes()).prop_map(|(hiding, binding)| Commitments { hiding, binding })
}

fn ticket_id() -> impl Strategy<Value = TicketId> {
    uniform16(any::<u8>()).prop_map(TicketId)
}

fn set() -> impl Strategy<Value = SetOfSigners> {
    let entry =
        (index(), ticket_id(), commitments()).prop_map(|(signer, ticket, commitments)| SetEntry {
            signer,
            ticket,
            commitments,
        });
    vec(entry, 0..4).prop_map(|entries| SetOfSigners { entries })
}

fn statement() -> impl Strategy<Value = ShareStatement> {
    let item =
        (digest(), digest(), uniform32(any::<u8>())).prop_map(|(signing_set, message, share)| {
            ShareItem {
                signing_set,
                message,
                share,
            }
        });
    (
        named::<NodeId>(),
        any::<u64>(),
        digest(),
        digest(),
        named::<KeyName>(),
        epoch(),
        vec(item, 0..3),
    )
        .prop_map(
            |(node, sequence, record, command, key, epoch, items)| ShareStatement {
                node,
                sequence,
                record,
                command,
                key,
                epoch,
                items,
            },
        )
}

fn receipt() -> impl Strategy<Value = ShareReceipt> {
    (statement(), vec(digest(), 0..3), signature()).prop_map(|(statement, batch, signature)| {
        ShareReceipt {
            statement,
            batch,
            signature,
        }
    })
}

fn attestation() -> impl Strategy<Value = TimeAttestation> {
    (named::<NodeId>(), nonce(), time(), signature()).prop_map(
        |(node, challenge, time, signature)| TimeAttestation {
            node,
            challenge,
            time,
            signature,
        },
    )
}

fn path() -> impl Strategy<Value = DerivationPath> {
    vec(0..FIRST_HARDENED, 0..=MAX_STEPS)
        .prop_map(|steps| DerivationPath::new(steps).expect("drawn within bounds"))
}

fn attempt() -> impl Strategy<Value = [u8; 16]> {
    uniform16(any::<u8>())
}

fn party() -> impl Strategy<Value = PartyIndex> {
    (1..=32_u16).prop_map(|number| PartyIndex::new(number).unwrap())
}

fn request_in_rounds() -> impl Strategy<Value = NodeRequest> {
    let signing = (
        signed_command(),
        named::<KeyName>(),
        epoch(),
        any::<u32>(),
        vec(party(), 0..4),
    )
        .prop_map(|(command, key, epoch, item, signers)| SigningRequest {
            command,
            key,
            epoch,
            item,
            signers,
        });
    let round = (attempt(), any::<u8>(), vec(bytes(), 0..4), any::<bool>());
    prop_oneof![
        (attempt(), bytes(), vec(party(), 0..4)).prop_map(|(attempt, certificate, holders)| {
            NodeRequest::BeginPairing {
                attempt,
                certificate,
                holders,
            }
        }),
        (attempt(), signing)
            .prop_map(|(attempt, request)| NodeRequest::BeginSigning { attempt, request }),
        round.prop_map(|(attempt, round, envelopes, signs)| if signs {
            NodeRequest::AdvanceSigning {
                attempt,
                round,
                envelopes,
            }
        } else {
            NodeRequest::AdvancePairing {
                attempt,
                round,
                envelopes,
            }
        }),
    ]
}

pub(crate) fn request() -> impl Strategy<Value = NodeRequest> {
    let share = (
        signed_command(),
        named::<KeyName>(),
        epoch(),
        vec(set(), 0..3),
    )
        .prop_map(|(command, key, epoch, items)| ShareRequest {
            command,
            key,
            epoch,
            items,
        });
    prop_oneof![
        nonce().prop_map(|nonce| NodeRequest::Status { nonce }),
        (option::of(named()), any::<u32>())
            .prop_map(|(after, limit)| NodeRequest::ListKeys { after, limit }),
        (scheme(), any::<u32>())
            .prop_map(|(scheme, count)| NodeRequest::MakeTickets { scheme, count }),
        vec(share, 0..3).prop_map(|requests| NodeRequest::SignShares { requests }),
        signed_command().prop_map(|command| NodeRequest::Validate { command }),
        (
            attempt(),
            signed_command(),
            epoch(),
            option::of(reshare_from())
        )
            .prop_map(|(attempt, command, epoch, source)| {
                NodeRequest::BeginCeremony {
                    attempt,
                    command,
                    epoch,
                    source,
                }
            }),
        (attempt(), any::<u8>(), vec(bytes(), 0..4)).prop_map(|(attempt, round, envelopes)| {
            NodeRequest::AdvanceCeremony {
                attempt,
                round,
                envelopes,
            }
        }),
        (bytes(), set()).prop_map(|(certificate, set)| NodeRequest::ProveKey { certificate, set }),
        (named(), epoch(), bytes(), bytes()).prop_map(|(key, epoch, certificate, proof)| {
            NodeRequest::ActivateKey {
                key,
                epoch,
                certificate,
                proof,
            }
        }),
        vec(erase_certificate(), 0..3).prop_map(|erasures| NodeRequest::EraseEpochs { erasures }),
        bytes().prop_map(|evidence| NodeRequest::RecordEvidence { evidence }),
        (any::<u64>(), any::<u32>())
            .prop_map(|(from, limit)| NodeRequest::ReadAudit { from, limit }),
        nonce().prop_map(|challenge| NodeRequest::AttestTime { challenge }),
        vec(attestation(), 0..3).prop_map(|attestations| NodeRequest::ConfirmTime { attestations }),
        address().prop_map(|(key, path, kind)| NodeRequest::AttestAddress { key, path, kind }),
        signed_command().prop_map(|command| NodeRequest::SetKeyState { command }),
        signed_command().prop_map(|command| NodeRequest::DestroyKey { command }),
        signed_command().prop_map(|command| NodeRequest::ChangeRoster { command }),
        digest().prop_map(|since| NodeRequest::ListRosters { since }),
        (status(), option::of(named())).prop_map(|(status, after)| NodeRequest::AttestHeads {
            status: Box::new(status),
            after,
        }),
        (vec(heads(), 0..3), option::of(signed_command())).prop_map(|(attestations, command)| {
            NodeRequest::Readmit {
                attestations,
                command,
            }
        }),
        request_in_rounds(),
    ]
}

fn status() -> impl Strategy<Value = NodeStatus> {
    let clock = option::of(nonce()).prop_map(|challenge| {
        challenge.map_or(ClockState::Confirmed, |challenge| ClockState::Suspect {
            challenge,
        })
    });
    (
        (
            named::<NodeId>(),
            nonce(),
            attempt(),
            ".{0,10}",
            any::<u32>(),
        ),
        (
            digest(),
            any::<u64>(),
            digest(),
            time(),
            clock,
            option::of(quarantine()),
            signature(),
        ),
    )
        .prop_map(|((node, nonce, boot, version, pid), rest)| {
            let (roster, journal_sequence, journal_head, time, clock, quarantine, signature) = rest;
            NodeStatus {
                node,
                nonce,
                boot,
                version,
                pid,
                roster,
                journal_sequence,
                journal_head,
                time,
                clock,
                quarantine,
                signature,
            }
        })
}

fn tickets() -> impl Strategy<Value = TicketBatch> {
    let ticket =
        (ticket_id(), commitments()).prop_map(|(id, commitments)| Ticket { id, commitments });
    (
        named::<NodeId>(),
        named::<CoordinatorId>(),
        scheme(),
        attempt(),
        vec(ticket, 0..4),
        signature(),
    )
        .prop_map(
            |(node, coordinator, scheme, boot, tickets, signature)| TicketBatch {
                node,
                coordinator,
                scheme,
                boot,
                tickets,
                signature,
            },
        )
}

fn participants() -> impl Strategy<Value = Vec<Participant>> {
    vec(
        (index(), named()).prop_map(|(index, node)| Participant { index, node }),
        0..4,
    )
}

fn session_source() -> impl Strategy<Value = SessionSource> {
    let dealer = (index(), index()).prop_map(|(index, source_index)| Dealer {
        index,
        source_index,
    });
    (epoch(), digest(), vec(dealer, 0..4), any::<u16>()).prop_map(
        |(epoch, certificate, dealers, receivers)| SessionSource {
            epoch,
            certificate,
            dealers,
            receivers,
        },
    )
}

fn prepared() -> impl Strategy<Value = Prepared> {
    let binding = (
        (
            ".{0,8}",
            digest(),
            digest(),
            named::<KeyName>(),
            option::of(session_source()),
            epoch(),
        ),
        (any::<u16>(), participants(), digest(), any::<u32>()),
    )
        .prop_map(
            |((protocol, cluster, roster, key, source, target_epoch), rest)| {
                let (threshold, participants, command, payload_index) = rest;
                SessionBinding {
                    protocol,
                    cluster,
                    roster,
                    key,
                    source,
                    target_epoch,
                    threshold,
                    participants,
                    command,
                    payload_index,
                }
            },
        );
    let session = (binding, vec(nonce(), 0..4))
        .prop_map(|(binding, nonces)| SessionPreimage { binding, nonces });
    (
        session,
        prepared_statement(),
        vec(bytes(), 0..4),
        signature(),
    )
        .prop_map(
            |(session, statement, verifying_shares, signature)| Prepared {
                session,
                statement,
                verifying_shares,
                signature,
            },
        )
}

fn prepared_statement() -> impl Strategy<Value = PreparedStatement> {
    (
        (
            digest(),
            digest(),
            digest(),
            named::<KeyName>(),
            scheme(),
            purposes(),
            epoch(),
        ),
        (
            option::of((epoch(), digest())),
            any::<u16>(),
            participants(),
            bytes(),
        ),
        (digest(), uniform32(any::<u8>()), digest()),
    )
        .prop_map(|(first, second, third)| {
            let (session, roster, command, key, scheme, purposes, epoch) = first;
            let (source, threshold, participants, group_key) = second;
            let (verifying_shares, chain_code, transcript) = third;
            PreparedStatement {
                session,
                roster,
                command,
                key,
                scheme,
                purposes,
                epoch,
                source,
                threshold,
                participants,
                group_key,
                verifying_shares,
                chain_code,
                transcript,
            }
        })
}

fn aborted() -> impl Strategy<Value = Aborted> {
    (".{0,20}", vec(named::<NodeId>(), 0..3), option::of(bytes())).prop_map(
        |(message, culprits, evidence)| Aborted {
            message,
            culprits,
            evidence,
        },
    )
}

fn reply_in_rounds() -> impl Strategy<Value = NodeReply> {
    let signed = (vec(any::<u8>(), 0..=65), receipt())
        .prop_map(|(signature, receipt)| SignedItem { signature, receipt });
    prop_oneof![
        (
            any::<u8>(),
            vec(bytes(), 0..4),
            any::<bool>(),
            option::of(aborted())
        )
            .prop_map(|(round, envelopes, paired, aborted)| {
                NodeReply::Pairing(PairingReply {
                    round,
                    envelopes,
                    paired,
                    aborted,
                })
            }),
        (any::<u8>(), vec(bytes(), 0..4), option::of(signed)).prop_map(
            |(round, envelopes, signed)| {
                NodeReply::Signing(SigningReply {
                    round,
                    envelopes,
                    signed,
                })
            }
        ),
    ]
}

fn ceremony() -> impl Strategy<Value = CeremonyReply> {
    (
        any::<u8>(),
        vec(bytes(), 0..4),
        option::of(prepared()),
        option::of(aborted()),
    )
        .prop_map(|(round, envelopes, prepared, aborted)| CeremonyReply {
            round,
            envelopes,
            prepared,
            aborted,
        })
}

pub(crate) fn reply() -> impl Strategy<Value = NodeReply> {
    let listing = (
        named(),
        state(),
        epoch(),
        option::of(bytes()),
        option::of(bytes()),
        standing(),
        (option::of(bytes()), epoch(), any::<bool>(), destruction()),
        (option::of(time()), option::of(time())),
    )
        .prop_map(
            |(key, state, epoch, certificate, proof, standing, rest, times)| {
                let (birth, next_epoch, keeps_old, destruction) = rest;
                let (activated, used) = times;
                KeyListing {
                    key,
                    state,
                    epoch,
                    certificate,
                    proof,
                    birth,
                    next_epoch,
                    keeps_old,
                    standing,
                    destruction,
                    activated,
                    used,
                }
            },
        );
    let outcome = prop_oneof![statement().prop_map(Ok), refusal().prop_map(Err)];
    prop_oneof![
        status().prop_map(NodeReply::Status),
        roster_receipt().prop_map(NodeReply::RosterChanged),
        vec(signed_command(), 0..3).prop_map(NodeReply::Rosters),
        vec(listing, 0..3).prop_map(NodeReply::Keys),
        tickets().prop_map(NodeReply::Tickets),
        (vec(outcome, 0..4), signature()).prop_map(|(outcomes, signature)| {
            NodeReply::Shares(ShareBatch {
                outcomes,
                signature,
            })
        }),
        Just(NodeReply::Done),
        ceremony().prop_map(NodeReply::Ceremony),
        receipt().prop_map(NodeReply::Proved),
        activation_receipt().prop_map(NodeReply::Activated),
        vec(
            prop_oneof![erase_receipt().prop_map(Ok), refusal().prop_map(Err)],
            0..3
        )
        .prop_map(NodeReply::Erased),
        (vec(bytes(), 0..4), any::<u64>())
            .prop_map(|(records, durable)| NodeReply::Audit(AuditPage { records, durable })),
        attestation().prop_map(NodeReply::Time),
        address_statement().prop_map(NodeReply::Address),
        state_receipt().prop_map(NodeReply::StateSet),
        destruction_receipt().prop_map(NodeReply::Destruction),
        heads().prop_map(NodeReply::Heads),
        vec(named(), 0..3).prop_map(|missing| NodeReply::Readmission(Readmission { missing })),
        reply_in_rounds(),
    ]
}
