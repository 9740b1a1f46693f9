//! Derivation paths: which child of a group key signs (P26).
//!
//! Only non-hardened steps exist. A hardened one needs the whole private key, and there is none.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// The most steps of a path (P26).
pub const MAX_STEPS: usize = 10;

/// The first index that BIP-32 calls hardened.
pub const FIRST_HARDENED: u32 = 1 << 31;

/// Steps from the group key to a child, as in BIP-32: at most [`MAX_STEPS`], none hardened. Without
/// steps it names the group key itself.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DerivationPath(Vec<u32>);

/// A path that cannot be derived.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// Not the form of a path.
    #[error(
        "\"{0}\" is no derivation path: expected m, or m/ and numbers with / between them, as m/0/5"
    )]
    Syntax(String),
    /// A hardened step.
    #[error(
        "the derivation path has the hardened index {0}: only non-hardened ones, below \
         {FIRST_HARDENED} and without ' or h, can be derived from a shared key"
    )]
    Hardened(String),
    /// Too many steps.
    #[error("the derivation path has {0} steps, expected at most {MAX_STEPS}")]
    TooLong(usize),
}

impl DerivationPath {
    /// The path of the group key itself.
    pub const ROOT: Self = Self(Vec::new());

    /// Checks the length, and that no step is hardened.
    pub fn new(steps: Vec<u32>) -> Result<Self, PathError> {
        if steps.len() > MAX_STEPS {
            return Err(PathError::TooLong(steps.len()));
        }
        match steps.iter().find(|step| **step >= FIRST_HARDENED) {
            Some(step) => Err(PathError::Hardened(step.to_string())),
            None => Ok(Self(steps)),
        }
    }

    /// The steps in order.
    pub fn steps(&self) -> &[u32] {
        &self.0
    }

    /// Whether it names the group key itself.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for DerivationPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("m")?;
        self.0.iter().try_for_each(|step| write!(f, "/{step}"))
    }
}

impl fmt::Debug for DerivationPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for DerivationPath {
    type Err = PathError;
    fn from_str(text: &str) -> Result<Self, PathError> {
        let syntax = || PathError::Syntax(text.chars().take(80).collect());
        let mut parts = text.split('/');
        if parts.next() != Some("m") {
            return Err(syntax());
        }
        let mut steps = Vec::new();
        for part in parts {
            if steps.len() == MAX_STEPS {
                return Err(PathError::TooLong(
                    text.split('/').count().saturating_sub(1),
                ));
            }
            let digits = part.trim_end_matches(['\'', 'h', 'H']);
            let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            // One form per path: no sign, no leading zero.
            if !is_number || (digits.len() > 1 && digits.starts_with('0')) {
                return Err(syntax());
            }
            let hardened = || PathError::Hardened(part.chars().take(20).collect());
            if digits.len() != part.len() {
                return Err(hardened());
            }
            let step: u32 = part.parse().map_err(|_| hardened())?;
            if step >= FIRST_HARDENED {
                return Err(hardened());
            }
            steps.push(step);
        }
        Ok(Self(steps))
    }
}

impl Serialize for DerivationPath {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if s.is_human_readable() {
            s.collect_str(self)
        } else {
            self.0.serialize(s)
        }
    }
}

impl<'de> Deserialize<'de> for DerivationPath {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        if d.is_human_readable() {
            String::deserialize(d)?.parse().map_err(D::Error::custom)
        } else {
            Self::new(Vec::deserialize(d)?).map_err(D::Error::custom)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_read_from_its_one_form() {
        for (text, steps) in [
            ("m", vec![]),
            ("m/0", vec![0]),
            ("m/0/5", vec![0, 5]),
            ("m/2147483647", vec![FIRST_HARDENED - 1]),
        ] {
            let path: DerivationPath = text.parse().unwrap();

            assert_eq!(path.steps(), steps);
            assert_eq!(path.to_string(), text);
            assert_eq!(DerivationPath::new(steps), Ok(path));
        }
    }

    #[test]
    fn what_is_no_path_is_refused_as_what_it_is() {
        let parse = |text: &str| text.parse::<DerivationPath>();
        for text in [
            "", "0/5", "M/0", "m/", "m//1", "m/+1", "m/01", "m/x", "m/0/", "/0", "m/ 1",
        ] {
            assert_eq!(
                parse(text),
                Err(PathError::Syntax(text.to_owned())),
                "{text}"
            );
        }
        for (text, step) in [
            ("m/44'", "44'"),
            ("m/0/1h", "1h"),
            ("m/2147483648", "2147483648"),
            ("m/99999999999", "99999999999"),
        ] {
            assert_eq!(parse(text), Err(PathError::Hardened(step.to_owned())));
        }
        assert_eq!(
            parse("m/1/1/1/1/1/1/1/1/1/1/1"),
            Err(PathError::TooLong(11))
        );
        assert_eq!(
            DerivationPath::new(vec![0; 11]),
            Err(PathError::TooLong(11))
        );
    }

    #[test]
    fn no_encoding_smuggles_a_path_past_its_checks() {
        let hardened = postcard::to_allocvec(&vec![FIRST_HARDENED]).unwrap();
        let long = postcard::to_allocvec(&vec![0_u32; 11]).unwrap();
        let good = postcard::to_allocvec(&vec![7_u32]).unwrap();

        assert!(postcard::from_bytes::<DerivationPath>(&hardened).is_err());
        assert!(postcard::from_bytes::<DerivationPath>(&long).is_err());
        let read: DerivationPath = postcard::from_bytes(&good).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), "\"m/7\"");
        assert_eq!(
            serde_json::from_str::<DerivationPath>("\"m/7\"").unwrap(),
            read
        );
    }
}
