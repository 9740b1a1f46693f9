//! Unsigned transactions: legacy with EIP-155, EIP-2930, EIP-1559, EIP-4844 and EIP-7702.
//!
//! What is signed is the hash of the unsigned encoding, type byte first; so the encoding is
//! everything, and there is one for each transaction. Those of EIP-7702 are read to be shown, and
//! no key signs them: what they carry puts code in the place of accounts.

use super::{
    address::{self, EvmAddress},
    keccak256,
    refusal::EvmRefusal,
    rlp::{Item, item, items, put_list, put_number, put_string},
};
use crate::amount::Amount;

/// The most entries of an access list, keys of one entry, and blobs: far beyond what fits a block.
pub const MAX_LIST_ITEMS: usize = 8192;

/// The largest chain id for which a legacy signature can be written (EIP-2294).
const MAX_CHAIN_ID: u64 = u64::MAX / 2 - 36;

/// The fields of a signature.
const SIGNATURE_FIELDS: usize = 3;

/// The version of blob hashes.
const BLOB_VERSION: u8 = 1;

/// An unsigned transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvmTransaction {
    /// The chain.
    pub chain_id: u64,
    /// How many transactions the sender has sent before.
    pub nonce: u64,
    /// The type, and what it says about fees.
    pub fees: EvmFees,
    /// The most gas that is used.
    pub gas_limit: u64,
    /// The account that is called; none creates a contract.
    pub to: Option<EvmAddress>,
    /// How much of the coin goes to it.
    pub value: Amount,
    /// The data of the call, or the code that creates the contract.
    pub input: Vec<u8>,
    /// The accounts and slots that are announced; legacy transactions have none.
    pub access_list: Vec<EvmAccess>,
}

/// The type of a transaction, and what it says about fees. Prices are for one unit of gas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EvmFees {
    /// A legacy transaction.
    Legacy {
        /// The price.
        gas_price: u128,
    },
    /// EIP-2930, type 1.
    AccessList {
        /// The price.
        gas_price: u128,
    },
    /// EIP-1559, type 2.
    Dynamic {
        /// The most for whoever makes the block.
        max_priority_fee: u128,
        /// The most in all.
        max_fee: u128,
    },
    /// EIP-4844, type 3.
    Blob {
        /// The most for whoever makes the block.
        max_priority_fee: u128,
        /// The most in all.
        max_fee: u128,
        /// The most for one unit of blob gas.
        max_blob_fee: u128,
        /// The hashes of the blobs.
        hashes: Vec<[u8; 32]>,
    },
    /// EIP-7702, type 4.
    SetCode {
        /// The most for whoever makes the block.
        max_priority_fee: u128,
        /// The most in all.
        max_fee: u128,
        /// What accounts allow, signed by them.
        authorizations: Vec<EvmAuthorization>,
    },
}

/// The word of an account that it is to run the code of another (EIP-7702).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvmAuthorization {
    /// The chain on which it counts; 0 stands for all.
    pub chain_id: Amount,
    /// The account whose code is run; zero ends that.
    pub address: EvmAddress,
    /// How many transactions and authorizations the account has sent before.
    pub nonce: u64,
    /// Which of two points the signature was made with.
    pub y_parity: u8,
    /// The signature of the account. It is not verified: the account follows from it.
    pub r: Amount,
    /// Its other half.
    pub s: Amount,
}

/// An entry of an access list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvmAccess {
    /// The account.
    pub address: EvmAddress,
    /// Its slots.
    pub keys: Vec<[u8; 32]>,
}

impl EvmTransaction {
    /// Reads a transaction from its one unsigned encoding.
    ///
    /// # Errors
    ///
    /// When the bytes are something else, or a transaction that is refused for every key.
    pub fn decode(bytes: &[u8]) -> Result<Self, EvmRefusal> {
        if bytes.first() == Some(&4) {
            return Err(EvmRefusal::AuthorizationList);
        }
        Self::read(bytes)
    }

    /// The same to show it: also one of EIP-7702, which no key signs.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, EvmRefusal> {
        let transaction = match bytes.split_first() {
            Some((0xc0.., _)) => legacy(&fields_of(bytes)?)?,
            Some((1, list)) => typed(1, 8, list)?,
            Some((2, list)) => typed(2, 9, list)?,
            Some((3, list)) => typed(3, 11, list)?,
            Some((4, list)) => typed(4, 10, list)?,
            Some(_) | None => return Err(EvmRefusal::UnknownType),
        };
        transaction.check()?;
        if transaction.encode() != bytes {
            return Err(EvmRefusal::NotCanonical);
        }
        Ok(transaction)
    }

    /// The type byte; 0 stands for legacy, which has none.
    pub const fn type_number(&self) -> u8 {
        match self.fees {
            EvmFees::Legacy { .. } => 0,
            EvmFees::AccessList { .. } => 1,
            EvmFees::Dynamic { .. } => 2,
            EvmFees::Blob { .. } => 3,
            EvmFees::SetCode { .. } => 4,
        }
    }

    /// What no chain takes, or what would be unsafe.
    ///
    /// # Errors
    ///
    /// The first rule that the transaction breaks.
    pub fn check(&self) -> Result<(), EvmRefusal> {
        if self.chain_id == 0 {
            return Err(EvmRefusal::ChainIdZero);
        }
        if self.chain_id > MAX_CHAIN_ID {
            return Err(EvmRefusal::ChainIdTooLarge);
        }
        if self.nonce == u64::MAX {
            return Err(EvmRefusal::NonceTooLarge);
        }
        match &self.fees {
            EvmFees::Legacy { .. } | EvmFees::AccessList { .. } => Ok(()),
            EvmFees::Dynamic {
                max_priority_fee,
                max_fee,
            } => check_priority(*max_priority_fee, *max_fee),
            EvmFees::Blob {
                max_priority_fee,
                max_fee,
                hashes,
                ..
            } => {
                check_priority(*max_priority_fee, *max_fee)?;
                self.check_blobs(hashes)
            }
            EvmFees::SetCode {
                max_priority_fee,
                max_fee,
                authorizations,
            } => {
                // No chain takes one without either.
                if authorizations.is_empty() || self.to.is_none() {
                    return Err(EvmRefusal::AuthorizationList);
                }
                check_priority(*max_priority_fee, *max_fee)
            }
        }
    }

    fn check_blobs(&self, hashes: &[[u8; 32]]) -> Result<(), EvmRefusal> {
        if self.to.is_none() {
            return Err(EvmRefusal::BlobCreation);
        }
        if hashes.is_empty() {
            return Err(EvmRefusal::NoBlobs);
        }
        match hashes
            .iter()
            .position(|hash| hash.first() != Some(&BLOB_VERSION))
        {
            Some(index) => Err(EvmRefusal::BlobVersion { index }),
            None => Ok(()),
        }
    }

    /// The one unsigned encoding, whose hash is signed.
    pub fn encode(&self) -> Vec<u8> {
        let mut fields = self.fields();
        if self.type_number() == 0 {
            put_number(&mut fields, self.chain_id.into());
            put_string(&mut fields, &[]);
            put_string(&mut fields, &[]);
        }
        self.envelope(&fields)
    }

    /// The encoding with a signature, as it goes to the network: `y_parity` tells which of two
    /// points the signature was made with. Nothing is verified.
    pub fn encode_signed(&self, y_parity: bool, r: &[u8; 32], s: &[u8; 32]) -> Vec<u8> {
        let mut fields = self.fields();
        let parity = u128::from(y_parity);
        // EIP-155 for legacy transactions; the chain id stands among the fields of all others.
        let v = if self.type_number() == 0 {
            u128::from(self.chain_id)
                .saturating_mul(2)
                .saturating_add(35)
                .saturating_add(parity)
        } else {
            parity
        };
        put_number(&mut fields, v.into());
        put_number(&mut fields, Amount::from_be_bytes(*r));
        put_number(&mut fields, Amount::from_be_bytes(*s));
        self.envelope(&fields)
    }

    /// What both encodings begin with.
    fn fields(&self) -> Vec<u8> {
        let mut fields = Vec::new();
        let number = |fields: &mut Vec<u8>, value: u128| put_number(fields, value.into());
        if self.type_number() != 0 {
            number(&mut fields, self.chain_id.into());
        }
        number(&mut fields, self.nonce.into());
        match self.fees {
            EvmFees::Legacy { gas_price } | EvmFees::AccessList { gas_price } => {
                number(&mut fields, gas_price);
            }
            EvmFees::Dynamic {
                max_priority_fee,
                max_fee,
            }
            | EvmFees::Blob {
                max_priority_fee,
                max_fee,
                ..
            }
            | EvmFees::SetCode {
                max_priority_fee,
                max_fee,
                ..
            } => {
                number(&mut fields, max_priority_fee);
                number(&mut fields, max_fee);
            }
        }
        number(&mut fields, self.gas_limit.into());
        let to = self.to.as_ref().map(EvmAddress::as_bytes);
        put_string(
            &mut fields,
            to.map(<[u8; 20]>::as_slice).unwrap_or_default(),
        );
        put_number(&mut fields, self.value);
        put_string(&mut fields, &self.input);
        if self.type_number() != 0 {
            self.put_access_list(&mut fields);
        }
        if let EvmFees::Blob {
            max_blob_fee,
            hashes,
            ..
        } = &self.fees
        {
            number(&mut fields, *max_blob_fee);
            put_words(&mut fields, hashes);
        }
        if let EvmFees::SetCode { authorizations, .. } = &self.fees {
            put_authorizations(&mut fields, authorizations);
        }
        fields
    }

    /// The list of the fields behind the type byte.
    fn envelope(&self, fields: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        if self.type_number() != 0 {
            bytes.push(self.type_number());
        }
        put_list(&mut bytes, fields);
        bytes
    }

    fn put_access_list(&self, fields: &mut Vec<u8>) {
        let mut list = Vec::new();
        for access in &self.access_list {
            let mut entry = Vec::new();
            put_string(&mut entry, access.address.as_bytes());
            put_words(&mut entry, &access.keys);
            put_list(&mut list, &entry);
        }
        put_list(fields, &list);
    }

    /// The digest that the sender signs.
    pub fn signing_hash(&self) -> [u8; 32] {
        keccak256(&self.encode())
    }
}

fn check_priority(priority: u128, max: u128) -> Result<(), EvmRefusal> {
    if priority > max {
        return Err(EvmRefusal::PriorityAboveMax);
    }
    Ok(())
}

fn put_authorizations(out: &mut Vec<u8>, authorizations: &[EvmAuthorization]) {
    let mut list = Vec::new();
    for authorization in authorizations {
        let mut entry = Vec::new();
        put_number(&mut entry, authorization.chain_id);
        put_string(&mut entry, authorization.address.as_bytes());
        put_number(&mut entry, authorization.nonce.into());
        put_number(&mut entry, u64::from(authorization.y_parity).into());
        put_number(&mut entry, authorization.r);
        put_number(&mut entry, authorization.s);
        put_list(&mut list, &entry);
    }
    put_list(out, &list);
}

fn put_words(out: &mut Vec<u8>, words: &[[u8; 32]]) {
    let mut list = Vec::new();
    for word in words {
        put_string(&mut list, word);
    }
    put_list(out, &list);
}

/// The fields of the one list that the bytes are.
fn fields_of(bytes: &[u8]) -> Result<Vec<Item<'_>>, EvmRefusal> {
    let mut rest = bytes;
    let Item::List(content) = item(&mut rest)? else {
        return Err(EvmRefusal::Rlp {
            problem: "it is no list",
        });
    };
    if !rest.is_empty() {
        return Err(EvmRefusal::TrailingBytes { count: rest.len() });
    }
    items(content, 32)
}

fn legacy(fields: &[Item<'_>]) -> Result<EvmTransaction, EvmRefusal> {
    let mut fields = Fields(fields.iter());
    match fields.0.as_slice() {
        [_, _, _, _, _, _] => return Err(EvmRefusal::ChainIdMissing),
        [_, _, _, _, _, _, _, Item::String([]), Item::String([])] => {}
        [_, _, _, _, _, _, _, _, _] => return Err(EvmRefusal::AlreadySigned),
        other => {
            return Err(EvmRefusal::FieldCount {
                found: other.len(),
                expected: 9,
            });
        }
    }
    Ok(EvmTransaction {
        nonce: fields.small("nonce")?,
        fees: EvmFees::Legacy {
            gas_price: fields.price("gasPrice")?,
        },
        gas_limit: fields.small("gasLimit")?,
        to: fields.destination()?,
        value: fields.number("value")?,
        input: fields.string("data")?.to_vec(),
        chain_id: fields.chain_id()?,
        access_list: Vec::new(),
    })
}

fn typed(number: u8, expected: usize, list: &[u8]) -> Result<EvmTransaction, EvmRefusal> {
    let items = fields_of(list)?;
    if items.len() == expected.saturating_add(SIGNATURE_FIELDS) {
        return Err(EvmRefusal::AlreadySigned);
    }
    if items.len() != expected {
        return Err(EvmRefusal::FieldCount {
            found: items.len(),
            expected,
        });
    }
    let mut fields = Fields(items.iter());
    let chain_id = fields.chain_id()?;
    let nonce = fields.small("nonce")?;
    let first_price = fields.price(if number == 1 {
        "gasPrice"
    } else {
        "maxPriorityFeePerGas"
    })?;
    let max_fee = match number {
        1 => first_price,
        _ => fields.price("maxFeePerGas")?,
    };
    let gas_limit = fields.small("gasLimit")?;
    let to = fields.destination()?;
    let value = fields.number("value")?;
    let input = fields.string("data")?.to_vec();
    let access_list = fields.access_list()?;
    let fees = match number {
        1 => EvmFees::AccessList {
            gas_price: first_price,
        },
        2 => EvmFees::Dynamic {
            max_priority_fee: first_price,
            max_fee,
        },
        4 => EvmFees::SetCode {
            max_priority_fee: first_price,
            max_fee,
            authorizations: fields.authorizations()?,
        },
        _ => EvmFees::Blob {
            max_priority_fee: first_price,
            max_fee,
            max_blob_fee: fields.price("maxFeePerBlobGas")?,
            hashes: fields.words("blobVersionedHashes")?,
        },
    };
    Ok(EvmTransaction {
        chain_id,
        nonce,
        fees,
        gas_limit,
        to,
        value,
        input,
        access_list,
    })
}

/// The fields that are still to be read.
struct Fields<'f, 'b>(std::slice::Iter<'f, Item<'b>>);

impl<'b> Fields<'_, 'b> {
    fn string(&mut self, field: &'static str) -> Result<&'b [u8], EvmRefusal> {
        match self.0.next() {
            Some(Item::String(content)) => Ok(content),
            _ => Err(malformed(field, "expected a string")),
        }
    }

    fn list(&mut self, field: &'static str) -> Result<Vec<Item<'b>>, EvmRefusal> {
        match self.0.next() {
            Some(Item::List(content)) => items(content, MAX_LIST_ITEMS),
            _ => Err(malformed(field, "expected a list")),
        }
    }

    fn number(&mut self, field: &'static str) -> Result<Amount, EvmRefusal> {
        let digits = self.string(field)?;
        if digits.first() == Some(&0) {
            return Err(malformed(field, "the number has leading zeros"));
        }
        Amount::from_be_slice(digits).ok_or(malformed(field, "the number exceeds 256 bits"))
    }

    fn small(&mut self, field: &'static str) -> Result<u64, EvmRefusal> {
        let number = self.number(field)?;
        u64::try_from(number).map_err(|_| malformed(field, "the number exceeds 64 bits"))
    }

    fn chain_id(&mut self) -> Result<u64, EvmRefusal> {
        let number = self.number("chainId")?;
        u64::try_from(number).map_err(|_| EvmRefusal::ChainIdTooLarge)
    }

    fn price(&mut self, field: &'static str) -> Result<u128, EvmRefusal> {
        let number = self.number(field)?;
        u128::try_from(number).map_err(|_| malformed(field, "the price exceeds 128 bits"))
    }

    fn destination(&mut self) -> Result<Option<EvmAddress>, EvmRefusal> {
        match self.string("to")? {
            [] => Ok(None),
            bytes => address_of("to", bytes).map(Some),
        }
    }

    fn words(&mut self, field: &'static str) -> Result<Vec<[u8; 32]>, EvmRefusal> {
        let items = self.list(field)?;
        let mut fields = Fields(items.iter());
        let word = |_| {
            let word = fields.string(field)?.try_into();
            word.map_err(|_| malformed(field, "expected 32 bytes"))
        };
        (0..items.len()).map(word).collect()
    }

    fn access_list(&mut self) -> Result<Vec<EvmAccess>, EvmRefusal> {
        let field = "accessList";
        let entry = |entry: Item<'b>| {
            let Item::List(content) = entry else {
                return Err(malformed(field, "expected a list"));
            };
            let parts = items(content, 3)?;
            if parts.len() != 2 {
                return Err(malformed(field, "expected an address and a list of keys"));
            }
            let mut parts = Fields(parts.iter());
            Ok(EvmAccess {
                address: address_of(field, parts.string(field)?)?,
                keys: parts.words(field)?,
            })
        };
        self.list(field)?.into_iter().map(entry).collect()
    }

    fn authorizations(&mut self) -> Result<Vec<EvmAuthorization>, EvmRefusal> {
        let entry = |entry: Item<'b>| match entry {
            Item::List(content) => authorization(content),
            Item::String(_) => Err(malformed("authorizationList", "expected a list")),
        };
        let entries = self.list("authorizationList")?;
        entries.into_iter().map(entry).collect()
    }
}

fn authorization(content: &[u8]) -> Result<EvmAuthorization, EvmRefusal> {
    let field = "authorizationList";
    let parts = items(content, 7)?;
    if parts.len() != 6 {
        return Err(malformed(
            field,
            "expected chain id, address, nonce, parity, r and s",
        ));
    }
    let mut parts = Fields(parts.iter());
    Ok(EvmAuthorization {
        chain_id: parts.number(field)?,
        address: address_of(field, parts.string(field)?)?,
        nonce: parts.small(field)?,
        y_parity: u8::try_from(parts.small(field)?)
            .map_err(|_| malformed(field, "the parity exceeds 8 bits"))?,
        r: parts.number(field)?,
        s: parts.number(field)?,
    })
}

fn address_of(field: &'static str, bytes: &[u8]) -> Result<EvmAddress, EvmRefusal> {
    let bytes: [u8; address::LENGTH] = bytes
        .try_into()
        .map_err(|_| malformed(field, "an address has 20 bytes"))?;
    Ok(EvmAddress::new(bytes))
}

const fn malformed(field: &'static str, problem: &'static str) -> EvmRefusal {
    EvmRefusal::Field { field, problem }
}
