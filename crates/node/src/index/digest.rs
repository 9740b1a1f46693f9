//! The digest over all rows of an index, kept up to date row by row.
//!
//! The digest is a multiset hash: each row is hashed with a secret key of the node, and the hashes
//! are added modulo 2^256. A row that goes is subtracted, a row that comes is added, so a change
//! costs two hashes however many rows there are, and order does not matter. What leaves this module
//! is not the sum but a keyed hash over it.
//!
//! Why not less: an XOR or a sum of unkeyed hashes can be forged by someone who can choose rows
//! (linear algebra, or a generalized birthday search at about 2^32 steps). Here the hash of a row is
//! a pseudorandom value that nobody outside the node ever sees, not even through the sums, so that
//! two different sets of rows agree with a probability of about 2^-256.

use quorate_model::{
    Digest,
    tagged::{Tag, Tagged},
};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::Table;
use crate::sealing::HedgeSecret;

/// The secret that row hashes are made with.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct IndexKey([u8; 32]);

impl IndexKey {
    /// The key of a node.
    pub fn derive(secret: &HedgeSecret) -> Self {
        Self(*secret.derive("index rows 3").as_bytes())
    }

    fn row(&self, table: Table, key: &[u8], value: &[u8]) -> Sum {
        let digest = Tagged::new(Tag::IndexRow)
            .bytes(&self.0)
            .text("row")
            .number(u64::from(table.number()))
            .bytes(key)
            .bytes(value)
            .finish();
        Sum::from_digest(&digest)
    }
}

impl std::fmt::Debug for IndexKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IndexKey(redacted)")
    }
}

/// A number modulo 2^256, least significant word first.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Sum([u64; 4]);

impl Sum {
    fn from_digest(digest: &Digest) -> Self {
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(digest.as_bytes().as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        Self(words)
    }

    fn add(&mut self, other: Self) {
        let mut carry = false;
        for (word, added) in self.0.iter_mut().zip(other.0) {
            let (sum, first) = word.overflowing_add(added);
            let (sum, second) = sum.overflowing_add(u64::from(carry));
            *word = sum;
            carry = first || second;
        }
    }

    fn subtract(&mut self, other: Self) {
        let mut borrow = false;
        for (word, taken) in self.0.iter_mut().zip(other.0) {
            let (difference, first) = word.overflowing_sub(taken);
            let (difference, second) = difference.overflowing_sub(u64::from(borrow));
            *word = difference;
            borrow = first || second;
        }
    }
}

/// The multiset of rows.
#[derive(Clone, Copy, Default)]
pub(super) struct RowSet {
    sum: Sum,
    count: u64,
}

impl RowSet {
    pub(super) fn insert(&mut self, secret: &IndexKey, table: Table, key: &[u8], value: &[u8]) {
        self.sum.add(secret.row(table, key, value));
        self.count = self.count.saturating_add(1);
    }

    pub(super) fn remove(&mut self, secret: &IndexKey, table: Table, key: &[u8], value: &[u8]) {
        self.sum.subtract(secret.row(table, key, value));
        self.count = self.count.saturating_sub(1);
    }

    pub(super) fn digest(&self, secret: &IndexKey) -> Digest {
        let tagged = Tagged::new(Tag::IndexRow)
            .bytes(&secret.0)
            .text("set")
            .number(self.count);
        tagged
            .list(&self.sum.0, |tagged, word| tagged.number(*word))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_depends_on_the_rows_and_not_on_their_order_or_history() {
        let secret = IndexKey([7; 32]);
        let mut one = RowSet::default();
        one.insert(&secret, Table::Keys, b"a", b"1");
        one.insert(&secret, Table::Keys, b"b", b"2");
        let mut other = RowSet::default();
        other.insert(&secret, Table::Keys, b"b", b"2");
        other.insert(&secret, Table::Meta, b"c", b"3");
        other.insert(&secret, Table::Keys, b"a", b"1");
        other.remove(&secret, Table::Meta, b"c", b"3");

        assert_eq!(one.digest(&secret), other.digest(&secret));
    }

    #[test]
    fn another_table_key_value_or_secret_gives_another_digest() {
        let secret = IndexKey([7; 32]);
        let digest = |secret: &IndexKey, table, key: &[u8], value: &[u8]| {
            let mut rows = RowSet::default();
            rows.insert(secret, table, key, value);
            rows.digest(secret)
        };
        let first = digest(&secret, Table::Keys, b"ab", b"c");

        assert_ne!(first, digest(&secret, Table::Meta, b"ab", b"c"));
        assert_ne!(first, digest(&secret, Table::Keys, b"a", b"bc"));
        assert_ne!(first, digest(&secret, Table::Keys, b"ab", b"d"));
        assert_ne!(first, digest(&IndexKey([8; 32]), Table::Keys, b"ab", b"c"));
        assert_ne!(first, RowSet::default().digest(&secret));
    }

    #[test]
    fn sums_carry_and_borrow_over_all_words() {
        let most = Sum([u64::MAX; 4]);
        let one = Sum([1, 0, 0, 0]);

        let mut sum = most;
        sum.add(one);
        assert!(sum == Sum([0; 4]));
        sum.subtract(one);
        assert!(sum == most);
    }
}
