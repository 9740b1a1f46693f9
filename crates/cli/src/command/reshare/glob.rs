//! Patterns over the names of keys.

/// Whether a name fits a pattern: `*` stands for any characters, `?` for one.
pub(crate) fn fits(pattern: &str, name: &str) -> bool {
    let mut rest = pattern.split('*');
    let Some(first) = rest.next() else {
        return name.is_empty();
    };
    let parts: Vec<&str> = rest.collect();
    let Some((last, middle)) = parts.split_last() else {
        return name.len() == first.len() && begins(name, first);
    };
    if !begins(name, first) {
        return false;
    }
    let mut left = name.get(first.len()..).unwrap_or_default();
    for part in middle {
        let starts = 0..=left.len();
        let Some(at) = starts.into_iter().find(|at| {
            let from = left.get(*at..);
            from.is_some_and(|from| begins(from, part))
        }) else {
            return false;
        };
        left = left
            .get(at.saturating_add(part.len())..)
            .unwrap_or_default();
    }
    let tail = left.len().checked_sub(last.len());
    tail.and_then(|at| left.get(at..))
        .is_some_and(|tail| begins(tail, last))
}

/// Reads a pattern: only what can stand in a name, and the two signs.
pub(crate) fn parse(text: &str) -> Result<String, String> {
    let is_known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-*?".contains(c);
    if text.is_empty() || !text.chars().all(is_known) {
        return Err(format!(
            "\"{text}\" is no pattern: use a-z, 0-9 and -, * for any characters and ? for one"
        ));
    }
    Ok(text.to_owned())
}

fn begins(text: &str, part: &str) -> bool {
    text.len() >= part.len()
        && part
            .bytes()
            .zip(text.bytes())
            .all(|(wanted, found)| wanted == b'?' || wanted == found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_a_shell() {
        for (pattern, name, expected) in [
            ("hot", "hot", true),
            ("hot", "hot-1", false),
            ("hot*", "hot", true),
            ("hot*", "hot-1", true),
            ("hot-?", "hot-1", true),
            ("hot-?", "hot-12", false),
            ("*-eu", "hot-eu", true),
            ("*-eu", "hot-eu-1", false),
            ("*", "hot", true),
            ("h*t*1", "hot-1", true),
            ("h*t*1", "hot-2", false),
            ("a*a", "a", false),
            ("*ab*ab", "xabab", true),
            ("?", "hot", false),
            ("**", "hot", true),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn what_cannot_stand_in_a_name_is_no_pattern() {
        assert!(parse("hot-*").is_ok());
        for text in ["", "Hot", "hot/1", "[ab]", "h\u{f6}t"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
