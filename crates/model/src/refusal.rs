//! The catalogue of refusals: every reason for which a caller's request is not carried out.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The class of a reason, named after the gRPC status that carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The request itself is wrong.
    InvalidArgument,
    /// The thing asked for does not exist.
    NotFound,
    /// The thing to be made exists.
    AlreadyExists,
    /// The caller may not.
    PermissionDenied,
    /// The caller is not known.
    Unauthenticated,
    /// The state does not allow it.
    FailedPrecondition,
    /// The attempt was broken off.
    Aborted,
    /// Too few machines answer.
    Unavailable,
    /// A bound is reached.
    ResourceExhausted,
    /// The time ran out.
    DeadlineExceeded,
    /// A bug.
    Internal,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $code:ident, $retry:literal;)*) => {
        /// Why a request is refused. The texts are stable.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The stable text, as `ErrorInfo.reason` carries it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The class of the reason.
            pub const fn code(self) -> Code {
                match self { $(Self::$name => Code::$code,)* }
            }

            /// Whether the same request may succeed later without a change of state by a person.
            pub const fn is_retryable(self) -> bool {
                match self { $(Self::$name => $retry,)* }
            }

            /// The reason with this text.
            pub fn from_text(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$name),)* _ => None }
            }
        }
    };
}

reasons! {
    /// The bytes are no command.
    CommandUndecodable = "COMMAND_UNDECODABLE", InvalidArgument, false;
    /// The command is for another cluster.
    WrongCluster = "WRONG_CLUSTER", InvalidArgument, false;
    /// The command was made under a roster that this node does not hold.
    RosterBehind = "ROSTER_BEHIND", FailedPrecondition, true;
    /// The roster is none that may follow the one before it.
    RosterInvalid = "ROSTER_INVALID", InvalidArgument, false;
    /// Another roster follows the same one and is in force here.
    RosterForked = "ROSTER_FORKED", FailedPrecondition, false;
    /// The committee breaks a placement rule of the roster.
    PlacementViolated = "PLACEMENT_VIOLATED", FailedPrecondition, false;
    /// The node receives no further share.
    NodeDrained = "NODE_DRAINED", FailedPrecondition, false;
    /// The node holds shares of keys that are not destroyed.
    NodeHoldsShares = "NODE_HOLDS_SHARES", FailedPrecondition, false;
    /// The command id is bound to other bytes.
    RequestIdReused = "REQUEST_ID_REUSED", InvalidArgument, false;
    /// The command is past its expiry.
    CommandExpired = "COMMAND_EXPIRED", FailedPrecondition, false;
    /// The command's times are not allowed.
    CommandTimeInvalid = "COMMAND_TIME_INVALID", InvalidArgument, false;
    /// An admin forbade the command.
    CommandRejected = "COMMAND_REJECTED", PermissionDenied, false;
    /// An endorsement does not hold.
    EndorsementInvalid = "ENDORSEMENT_INVALID", PermissionDenied, false;
    /// A principal is not in the roster.
    PrincipalUnknown = "PRINCIPAL_UNKNOWN", PermissionDenied, false;
    /// The caller's role does not carry the command.
    RoleMissing = "ROLE_MISSING", PermissionDenied, false;
    /// The caller's TLS key is not in the roster.
    CallerUnknown = "CALLER_UNKNOWN", Unauthenticated, false;
    /// No key has this name.
    KeyUnknown = "KEY_UNKNOWN", NotFound, false;
    /// A key with this name exists.
    KeyExists = "KEY_EXISTS", AlreadyExists, false;
    /// The command names another key of the same name.
    KeyIdMismatch = "KEY_ID_MISMATCH", FailedPrecondition, false;
    /// The state of the key does not allow it.
    KeyNotActive = "KEY_NOT_ACTIVE", FailedPrecondition, true;
    /// The key is suspended.
    KeySuspended = "KEY_SUSPENDED", FailedPrecondition, false;
    /// The key is deactivated.
    KeyDeactivated = "KEY_DEACTIVATED", FailedPrecondition, false;
    /// The key is reported as compromised.
    KeyCompromised = "KEY_COMPROMISED", FailedPrecondition, false;
    /// A later command about the state of the key was heard, or one that cannot be undone.
    StateOutdated = "STATE_OUTDATED", FailedPrecondition, false;
    /// Too few persons have endorsed the command.
    EndorsementsMissing = "ENDORSEMENTS_MISSING", FailedPrecondition, false;
    /// The key's purposes do not cover the payload.
    PurposeMismatch = "PURPOSE_MISMATCH", FailedPrecondition, false;
    /// The scheme cannot sign the payload.
    SchemeMismatch = "SCHEME_MISMATCH", InvalidArgument, false;
    /// The payload does not decode.
    PayloadUndecodable = "PAYLOAD_UNDECODABLE", InvalidArgument, false;
    /// The payload decodes but must not be signed.
    PayloadRefused = "PAYLOAD_REFUSED", InvalidArgument, false;
    /// The fee is high and the command does not allow it.
    FeeTooHigh = "FEE_TOO_HIGH", FailedPrecondition, false;
    /// The threshold or the list of nodes does not make a key.
    ShapeInvalid = "SHAPE_INVALID", InvalidArgument, false;
    /// A node is not in the roster.
    NodeUnknown = "NODE_UNKNOWN", NotFound, false;
    /// The command id names no command.
    CommandUnknown = "COMMAND_UNKNOWN", NotFound, false;
    /// The signing set is malformed or does not hold this node's ticket.
    SigningSetInvalid = "SIGNING_SET_INVALID", InvalidArgument, false;
    /// The ticket is spent, expired or never was.
    TicketUnknown = "TICKET_UNKNOWN", Aborted, true;
    /// A node cannot read its share of the key.
    ShareUnavailable = "SHARE_UNAVAILABLE", FailedPrecondition, true;
    /// Another epoch is in force.
    EpochChanged = "EPOCH_CHANGED", Aborted, true;
    /// The epoch number is taken by an earlier attempt.
    EpochTaken = "EPOCH_TAKEN", Aborted, true;
    /// A peer broke the protocol.
    PeerMisbehaved = "PEER_MISBEHAVED", Aborted, true;
    /// The ceremony is unknown here, or idle for too long.
    SessionUnknown = "SESSION_UNKNOWN", Aborted, true;
    /// Too many ceremonies at a time.
    SessionLimit = "SESSION_LIMIT", ResourceExhausted, true;
    /// Too much work at a time.
    Overloaded = "OVERLOADED", ResourceExhausted, true;
    /// A list or a message is larger than allowed.
    TooLarge = "TOO_LARGE", InvalidArgument, false;
    /// A protocol message or certificate does not hold.
    ProtocolViolation = "PROTOCOL_VIOLATION", InvalidArgument, false;
    /// The node does not trust its clock.
    ClockSuspect = "CLOCK_SUSPECT", FailedPrecondition, true;
    /// Fewer nodes answer than must sign.
    QuorumUnavailable = "QUORUM_UNAVAILABLE", Unavailable, true;
    /// The node is going down.
    ShuttingDown = "SHUTTING_DOWN", Unavailable, true;
    /// The time that the caller gave is over.
    TimedOut = "TIMED_OUT", DeadlineExceeded, true;
    /// The request is malformed in a way that has no reason of its own.
    RequestInvalid = "REQUEST_INVALID", InvalidArgument, false;
    /// A bug; the detail is in the log.
    Invariant = "INVARIANT", Internal, false;
    /// A peer failed a consistency check: the node does nothing more with it.
    PairBanned = "PAIR_BANNED", FailedPrecondition, true;
    /// The key is destroyed, and its name is never used again.
    KeyDestroyed = "KEY_DESTROYED", FailedPrecondition, false;
    /// A key that is still in use is not destroyed.
    KeyNotRetired = "KEY_NOT_RETIRED", FailedPrecondition, false;
    /// The destruction was not announced here, was withdrawn, or has lapsed.
    DestructionNotAnnounced = "DESTRUCTION_NOT_ANNOUNCED", FailedPrecondition, false;
    /// The delay between announcement and confirmation is not over at this node.
    DestructionTooEarly = "DESTRUCTION_TOO_EARLY", FailedPrecondition, true;
    /// The pairings with some peers must be set up before the node signs with them.
    PairingsUnready = "PAIRINGS_UNREADY", Aborted, true;
    /// The node was restored from a backup, and the others have not told it yet what it missed.
    NodeQuarantined = "NODE_QUARANTINED", FailedPrecondition, true;
    /// The backup was restored once already, on this machine or another.
    BackupRestoredTwice = "BACKUP_RESTORED_TWICE", FailedPrecondition, false;
    /// The payload moves something to where the creation of the key does not let it go.
    DestinationNotPinned = "DESTINATION_NOT_PINNED", PermissionDenied, false;
}

impl Reason {
    /// Whether a command that was refused for this reason stays refused (P8). Everything else is
    /// judged afresh each time.
    pub const fn is_final(self) -> bool {
        matches!(
            self,
            Self::CommandExpired | Self::CommandRejected | Self::RequestIdReused
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A refusal: a reason, a sentence for people, and the variable parts for machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// What is wrong, what was expected and what to do.
    pub message: String,
    /// Every variable part of the message, by name.
    pub metadata: Vec<(String, String)>,
}

impl Refusal {
    /// A refusal with a message.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            metadata: Vec::new(),
        }
    }

    /// Adds a variable part.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl fmt::Display) -> Self {
        self.metadata.push((name.to_owned(), value.to_string()));
        self
    }

    /// The variable part with this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.metadata
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_distinct_and_lead_back_to_their_reasons() {
        for reason in Reason::ALL {
            assert_eq!(Reason::from_text(reason.as_str()), Some(*reason));
        }
    }
}
