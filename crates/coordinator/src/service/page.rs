//! Pages: their size, their filter, and where they go on.

pub(super) use quorate_proto::limits::MAX_PUBLIC_PAGE as MAX_PAGE;
use tonic::Status;

use super::invalid;

/// The items on a page when the caller leaves it to the server.
const DEFAULT_PAGE: usize = 100;

/// How many items a page has.
pub(super) fn size(asked: u32) -> usize {
    match usize::try_from(asked) {
        Ok(0) => DEFAULT_PAGE,
        Ok(size) => size.min(MAX_PAGE),
        Err(_) => MAX_PAGE,
    }
}

/// Reads `field=value` terms, separated by spaces, each field at most once.
pub(super) fn terms<'a>(
    filter: &'a str,
    known: &[&str],
) -> Result<Vec<(&'a str, &'a str)>, Status> {
    let mut terms: Vec<(&str, &str)> = Vec::new();
    for term in filter.split_whitespace() {
        let (field, value) = term
            .split_once('=')
            .filter(|(field, value)| known.contains(field) && !value.is_empty())
            .filter(|(field, _)| terms.iter().all(|(earlier, _)| earlier != field))
            .ok_or_else(|| {
                invalid(format!(
                    "the filter may hold {}, each once",
                    known.join("=..., ")
                ))
            })?;
        terms.push((field, value));
    }
    Ok(terms)
}

/// The value of a field.
pub(super) fn value<'a>(terms: &[(&str, &'a str)], field: &str) -> Option<&'a str> {
    terms
        .iter()
        .find(|(found, _)| *found == field)
        .map(|(_, value)| *value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_bounded() {
        assert_eq!([0, 1, 1_000, 5_000].map(size), [100, 1, 1_000, 1_000]);
    }

    #[test]
    fn filters_hold_known_fields_once_and_nothing_else() {
        let known = ["state", "key"];
        let good = terms("state=RUNNING key=vault", &known).unwrap();

        assert_eq!(value(&good, "key"), Some("vault"));
        assert_eq!(value(&good, "other"), None);
        for bad in ["colour=red", "state", "state=", "state=A state=B"] {
            assert!(terms(bad, &known).is_err(), "{bad}");
        }
        assert!(terms("", &known).unwrap().is_empty());
    }
}
