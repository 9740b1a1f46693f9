//! Conversions of the words that several services share: enums, endorsements, signed commands,
//! refusals.

use quorate_model::{
    KeyPurpose, KeyState, PayloadKind, Reason, Refusal, Scheme,
    address::{AddressType, Network},
    command::{Endorsement, EndorsementKind, MAX_COMMAND_BYTES, MAX_ENDORSEMENTS, SignedCommand},
    operation::{CommandKind, CommandState},
    roster::Role,
    standing::StateChange,
};

use crate::{
    convert::{Malformed, bounded, known, list, name, signature},
    v1,
};

/// A value of an enum that stands for nothing in the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the value stands for nothing")]
pub struct NoValue;

/// Pairs the values of a generated enum with those of the model. A value that a newer model has
/// becomes zero on the wire, which every reader refuses.
macro_rules! enums {
    ($($wire:path => $model:ident { $($value:ident),* } $(, $open:tt)?;)*) => {$(
        impl From<$model> for $wire {
            fn from(value: $model) -> Self {
                match value {
                    $($model::$value => Self::$value,)*
                    $($open => Self::Unspecified,)?
                }
            }
        }

        impl TryFrom<$wire> for $model {
            type Error = NoValue;
            fn try_from(value: $wire) -> Result<Self, NoValue> {
                match value {
                    $(<$wire>::$value => Ok(Self::$value),)*
                    <$wire>::Unspecified => Err(NoValue),
                }
            }
        }
    )*};
}

enums! {
    v1::Scheme => Scheme { Bip340, FrostSecp256k1, Ed25519, EcdsaSecp256k1 }, _;
    v1::KeyPurpose => KeyPurpose { Transactions, Messages, Digests }, _;
    v1::KeyState => KeyState {
        PreActive, Active, Suspended, Deactivated, Compromised, Destroyed, DestroyedCompromised
    }, _;
    v1::KeyStateChange => StateChange { Suspend, Resume, Deactivate, Compromise }, _;
    v1::BitcoinNetwork => Network { Bitcoin, Testnet, Signet, Regtest };
    v1::AddressType => AddressType { P2tr, P2wpkh, P2shP2wpkh, P2pkh };
    v1::EndorsementKind => EndorsementKind { Propose, Approve, Reject, Ask }, _;
    v1::Role => Role { Admin, Client }, _;
    v1::PayloadKind => PayloadKind {
        Message, Psbt, Digest, EvmTransaction, EvmMessage, EvmTypedData, SolanaMessage
    };
    v1::command_view::Kind => CommandKind {
        CreateKey, Sign, SetKeyState, ReshareKey, DestroyKey, ChangeRoster, ReadmitNode,
        Evacuate
    }, _;
    v1::command_view::State => CommandState {
        AwaitingEndorsement, Running, Succeeded, Denied, Failed, Expired, Cancelled
    }, _;
}

impl From<&Endorsement> for v1::Endorsement {
    fn from(endorsement: &Endorsement) -> Self {
        Self {
            kind: v1::EndorsementKind::from(endorsement.kind).into(),
            principal: endorsement.principal.to_string(),
            role: v1::Role::from(endorsement.role).into(),
            signature: endorsement.signature.as_bytes().to_vec(),
        }
    }
}

pub(crate) fn endorsement(wire: v1::Endorsement) -> Result<Endorsement, Malformed> {
    Ok(Endorsement {
        kind: known::<v1::EndorsementKind, _>("endorsement.kind", wire.kind)?,
        principal: name("endorsement.principal", wire.principal)?,
        role: known::<v1::Role, _>("endorsement.role", wire.role)?,
        signature: signature("endorsement.signature", &wire.signature)?,
    })
}

impl TryFrom<v1::Endorsement> for Endorsement {
    type Error = Refusal;
    fn try_from(wire: v1::Endorsement) -> Result<Self, Refusal> {
        Ok(endorsement(wire)?)
    }
}

impl From<SignedCommand> for v1::SignedCommand {
    fn from(command: SignedCommand) -> Self {
        Self {
            endorsements: command.endorsements.iter().map(Into::into).collect(),
            command: command.bytes,
        }
    }
}

pub(crate) fn signed_command(wire: v1::SignedCommand) -> Result<SignedCommand, Malformed> {
    Ok(SignedCommand {
        bytes: bounded("command", wire.command, MAX_COMMAND_BYTES)?,
        endorsements: list(
            "endorsements",
            wire.endorsements,
            MAX_ENDORSEMENTS,
            endorsement,
        )?,
    })
}

impl TryFrom<v1::SignedCommand> for SignedCommand {
    type Error = Refusal;
    fn try_from(wire: v1::SignedCommand) -> Result<Self, Refusal> {
        Ok(signed_command(wire)?)
    }
}

impl TryFrom<v1::SubmitCommandRequest> for SignedCommand {
    type Error = Refusal;
    fn try_from(wire: v1::SubmitCommandRequest) -> Result<Self, Refusal> {
        let v1::SubmitCommandRequest {
            command,
            endorsements,
            ..
        } = wire;
        Ok(signed_command(v1::SignedCommand {
            command,
            endorsements,
        })?)
    }
}

impl From<Refusal> for v1::Refusal {
    fn from(refusal: Refusal) -> Self {
        let part = |(name, value)| v1::RefusalMetadata { name, value };
        Self {
            reason: refusal.reason.as_str().to_owned(),
            message: refusal.message,
            metadata: refusal.metadata.into_iter().map(part).collect(),
        }
    }
}

pub(crate) fn refusal(wire: v1::Refusal) -> Result<Refusal, Malformed> {
    let reason = Reason::from_text(&wire.reason)
        .ok_or_else(|| Malformed::new("refusal.reason", "no known reason"))?;
    Ok(Refusal {
        reason,
        message: wire.message,
        metadata: wire
            .metadata
            .into_iter()
            .map(|part| (part.name, part.value))
            .collect(),
    })
}

impl TryFrom<v1::Refusal> for Refusal {
    type Error = Self;
    fn try_from(wire: v1::Refusal) -> Result<Self, Self> {
        Ok(refusal(wire)?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::arbitrary;

    #[test]
    fn the_unspecified_value_of_an_enum_stands_for_nothing() {
        assert_eq!(Scheme::try_from(v1::Scheme::Unspecified), Err(NoValue));
        assert_eq!(Role::try_from(v1::Role::Unspecified), Err(NoValue));
        assert_eq!(KeyState::try_from(v1::KeyState::Unspecified), Err(NoValue));
        assert!(known::<v1::Scheme, Scheme>("scheme", 0).is_err());
        assert!(known::<v1::Scheme, Scheme>("scheme", 99).is_err());
        assert_eq!(known::<v1::Scheme, Scheme>("scheme", 1), Ok(Scheme::Bip340));
    }

    #[test]
    fn kinds_of_payload_keep_their_numbers_on_the_wire() {
        for (number, kind) in (1..).zip(PayloadKind::ALL) {
            assert_eq!(i32::from(v1::PayloadKind::from(kind)), number, "{kind}");
            assert_eq!(known::<v1::PayloadKind, _>("kind", number), Ok(kind));
        }
    }

    #[test]
    fn a_reason_outside_the_catalogue_is_refused() {
        let wire = v1::Refusal {
            reason: "NO_SUCH_REASON".to_owned(),
            ..Default::default()
        };

        let refused = Refusal::try_from(wire).unwrap_err();

        assert_eq!(refused.reason, Reason::RequestInvalid);
        assert_eq!(refused.get("field"), Some("refusal.reason"));
    }

    #[test]
    fn more_endorsements_than_allowed_are_refused_as_too_large() {
        let endorsements = vec![v1::Endorsement::default(); MAX_ENDORSEMENTS + 1];
        let wire = v1::SignedCommand {
            command: vec![1],
            endorsements,
        };

        let refused = SignedCommand::try_from(wire).unwrap_err();

        assert_eq!(refused.reason, Reason::TooLarge);
        assert_eq!(refused.get("field"), Some("endorsements"));
    }

    #[test]
    fn a_command_larger_than_allowed_is_refused_as_too_large() {
        let command = vec![0; MAX_COMMAND_BYTES + 1];
        let wire = v1::SignedCommand {
            command,
            endorsements: Vec::new(),
        };

        assert_eq!(
            SignedCommand::try_from(wire).unwrap_err().reason,
            Reason::TooLarge
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_signed_command_survives_the_wire(command in arbitrary::signed_command()) {
            let wire = v1::SignedCommand::from(command.clone());
            let submitted = v1::SubmitCommandRequest {
                command: wire.command.clone(),
                endorsements: wire.endorsements.clone(),
                ..Default::default()
            };

            prop_assert_eq!(SignedCommand::try_from(wire), Ok(command.clone()));
            prop_assert_eq!(SignedCommand::try_from(submitted), Ok(command));
        }

        #[test]
        fn a_refusal_survives_the_wire(refusal in arbitrary::refusal()) {
            let wire = v1::Refusal::from(refusal.clone());

            prop_assert_eq!(Refusal::try_from(wire), Ok(refusal));
        }
    }
}
