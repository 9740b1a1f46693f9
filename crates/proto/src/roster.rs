//! Conversions of rosters.

use quorate_model::{
    Refusal,
    roster::{RosterSignature, SignedRoster},
};

use crate::{
    convert::{list, name, signature},
    limits::MAX_ROSTER_SIGNATURES,
    v1,
};

impl From<SignedRoster> for v1::Roster {
    fn from(roster: SignedRoster) -> Self {
        let signature = |signed: RosterSignature| v1::RosterSignature {
            principal: signed.principal.into(),
            signature: signed.signature.as_bytes().to_vec(),
        };
        Self {
            text: roster.roster,
            signatures: roster.signatures.into_iter().map(signature).collect(),
        }
    }
}

impl TryFrom<v1::Roster> for SignedRoster {
    type Error = Refusal;
    fn try_from(wire: v1::Roster) -> Result<Self, Refusal> {
        let signatures = list(
            "signatures",
            wire.signatures,
            MAX_ROSTER_SIGNATURES,
            |signed| {
                Ok(RosterSignature {
                    principal: name("signatures.principal", signed.principal)?,
                    signature: signature("signatures.signature", &signed.signature)?,
                })
            },
        )?;
        Ok(Self {
            roster: wire.text,
            signatures,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::arbitrary;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_signed_roster_survives_the_wire(roster in arbitrary::signed_roster()) {
            let wire = v1::Roster::from(roster.clone());

            prop_assert_eq!(SignedRoster::try_from(wire), Ok(roster));
        }
    }

    #[test]
    fn a_signature_of_another_length_is_refused() {
        let signed = v1::RosterSignature {
            principal: "admin".to_owned(),
            signature: vec![0; 63],
        };
        let wire = v1::Roster {
            text: String::new(),
            signatures: vec![signed],
        };

        let refused = SignedRoster::try_from(wire).unwrap_err();

        assert_eq!(refused.get("field"), Some("signatures.signature"));
    }
}
