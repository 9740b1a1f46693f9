//! RLP (Yellow Paper, appendix B) in its canonical form only: the shortest header for each item,
//! no leading zeros in lengths and numbers.

use super::refusal::EvmRefusal;
use crate::amount::Amount;

/// The longest content that a one-byte header tells the length of.
const SHORT: usize = 55;

/// An item: the content of a string or of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item<'b> {
    String(&'b [u8]),
    List(&'b [u8]),
}

fn refused(problem: &'static str) -> EvmRefusal {
    EvmRefusal::Rlp { problem }
}

/// Takes the next item off the front.
pub(super) fn item<'b>(rest: &mut &'b [u8]) -> Result<Item<'b>, EvmRefusal> {
    let early = refused("it ends early");
    let (first, after) = rest.split_first().ok_or(early)?;
    let first = *first;
    if first < 0x80 {
        let (content, after) = rest.split_at_checked(1).ok_or(refused("it ends early"))?;
        *rest = after;
        return Ok(Item::String(content));
    }
    let (is_list, base) = if first < 0xc0 {
        (false, 0x80)
    } else {
        (true, 0xc0)
    };
    let code = usize::from(first.saturating_sub(base));
    let (length, after) = if code <= SHORT {
        (code, after)
    } else {
        long_length(after, code.saturating_sub(SHORT))?
    };
    let (content, after) = after
        .split_at_checked(length)
        .ok_or(refused("it ends early"))?;
    if !is_list && matches!(content, [0..=0x7f]) {
        return Err(refused("a single byte has a header that it does not need"));
    }
    *rest = after;
    Ok(if is_list {
        Item::List(content)
    } else {
        Item::String(content)
    })
}

/// A length of several bytes.
fn long_length(bytes: &[u8], count: usize) -> Result<(usize, &[u8]), EvmRefusal> {
    let (digits, after) = bytes
        .split_at_checked(count)
        .ok_or(refused("it ends early"))?;
    if digits.first() == Some(&0) {
        return Err(refused("a length has leading zeros"));
    }
    let mut length: usize = 0;
    for digit in digits {
        length = length
            .checked_mul(256)
            .and_then(|high| high.checked_add(usize::from(*digit)))
            .ok_or(refused("it ends early"))?;
    }
    if length <= SHORT {
        return Err(refused("a short length is written in the long form"));
    }
    Ok((length, after))
}

/// The items of the content of a list, at most so many.
pub(super) fn items(content: &[u8], most: usize) -> Result<Vec<Item<'_>>, EvmRefusal> {
    let mut rest = content;
    let mut found = Vec::new();
    while !rest.is_empty() {
        if found.len() == most {
            return Err(EvmRefusal::TooManyItems { most });
        }
        found.push(item(&mut rest)?);
    }
    Ok(found)
}

/// Writes a string.
pub(super) fn put_string(out: &mut Vec<u8>, content: &[u8]) {
    if let [byte @ 0..=0x7f] = content {
        out.push(*byte);
    } else {
        put_header(out, 0x80, content.len());
        out.extend(content);
    }
}

/// Writes a number: big-endian without leading zeros.
pub(super) fn put_number(out: &mut Vec<u8>, number: Amount) {
    let bytes = number.to_be_bytes();
    let start = bytes.iter().position(|byte| *byte != 0);
    put_string(
        out,
        start.and_then(|at| bytes.get(at..)).unwrap_or_default(),
    );
}

/// Writes a list around its encoded items.
pub(super) fn put_list(out: &mut Vec<u8>, items: &[u8]) {
    put_header(out, 0xc0, items.len());
    out.extend(items);
}

fn put_header(out: &mut Vec<u8>, base: u8, length: usize) {
    let byte = |value: usize| u8::try_from(value).unwrap_or(u8::MAX);
    if length <= SHORT {
        out.push(base.saturating_add(byte(length)));
        return;
    }
    let digits = length.to_be_bytes();
    let start = digits.iter().position(|digit| *digit != 0);
    let digits = start.and_then(|at| digits.get(at..)).unwrap_or_default();
    let code = digits.len().saturating_add(SHORT);
    out.push(base.saturating_add(byte(code)));
    out.extend(digits);
}
