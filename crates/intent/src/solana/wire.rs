//! The bytes of a message, read and made, and the checks that every validator makes before it
//! looks at what a message does.

use std::collections::BTreeMap;

use super::{KEY_LENGTH, refusal::SolanaRefusal};

/// The bit that tells a version from the number of signatures of a legacy message.
const VERSION_BIT: u8 = 0x80;

/// The most accounts of one message, with those that tables add: an index is one byte.
const MAX_ACCOUNTS: usize = 256;

/// The address of an account.
pub(crate) type Key = [u8; KEY_LENGTH];

/// How many of the accounts sign, and how many of those and of the others are only read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) required_signatures: u8,
    pub(crate) readonly_signed: u8,
    pub(crate) readonly_unsigned: u8,
}

/// A call of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Instruction {
    pub(crate) program: u8,
    pub(crate) accounts: Vec<u8>,
    pub(crate) data: Vec<u8>,
}

/// Accounts that stand in a table on the chain, and not in the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lookup {
    pub(crate) table: Key,
    pub(crate) writable: Vec<u8>,
    pub(crate) readonly: Vec<u8>,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// Lookups are there in version 0 and absent in the legacy form.
    pub(crate) lookups: Option<Vec<Lookup>>,
    pub(crate) header: Header,
    pub(crate) keys: Vec<Key>,
    pub(crate) blockhash: Key,
    pub(crate) instructions: Vec<Instruction>,
}

impl Message {
    /// Reads a message and nothing after it.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, SolanaRefusal> {
        let mut reader = Reader { bytes, at: 0 };
        let first = reader.byte()?;
        let (versioned, required_signatures) = match first.checked_sub(VERSION_BIT) {
            None => (false, first),
            Some(0) => (true, reader.byte()?),
            Some(version) => return Err(SolanaRefusal::UnknownVersion { version }),
        };
        let header = Header {
            required_signatures,
            readonly_signed: reader.byte()?,
            readonly_unsigned: reader.byte()?,
        };
        let keys = reader.list(Reader::key)?;
        let blockhash = reader.key()?;
        let instructions = reader.list(|reader| {
            Ok(Instruction {
                program: reader.byte()?,
                accounts: reader.bytes()?,
                data: reader.bytes()?,
            })
        })?;
        let lookup = |reader: &mut Reader<'_>| {
            Ok(Lookup {
                table: reader.key()?,
                writable: reader.bytes()?,
                readonly: reader.bytes()?,
            })
        };
        let lookups = versioned.then(|| reader.list(lookup)).transpose()?;
        reader.end()?;
        Ok(Self {
            lookups,
            header,
            keys,
            blockhash,
            instructions,
        })
    }

    /// The one encoding.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if self.lookups.is_some() {
            bytes.push(VERSION_BIT);
        }
        bytes.push(self.header.required_signatures);
        bytes.push(self.header.readonly_signed);
        bytes.push(self.header.readonly_unsigned);
        put_length(&mut bytes, self.keys.len());
        bytes.extend(self.keys.as_flattened());
        bytes.extend(self.blockhash);
        put_length(&mut bytes, self.instructions.len());
        for instruction in &self.instructions {
            bytes.push(instruction.program);
            put_bytes(&mut bytes, &instruction.accounts);
            put_bytes(&mut bytes, &instruction.data);
        }
        if let Some(lookups) = &self.lookups {
            put_length(&mut bytes, lookups.len());
            for lookup in lookups {
                bytes.extend(lookup.table);
                put_bytes(&mut bytes, &lookup.writable);
                put_bytes(&mut bytes, &lookup.readonly);
            }
        }
        bytes
    }

    /// The accounts that sign, the one that pays the fee first.
    pub(crate) fn signers(&self) -> &[Key] {
        self.keys
            .get(..usize::from(self.header.required_signatures))
            .unwrap_or(&self.keys)
    }

    /// The tables that the message takes accounts from.
    pub(crate) fn tables(&self) -> &[Lookup] {
        self.lookups.as_deref().unwrap_or_default()
    }

    /// What the network refuses whatever the message does.
    pub(crate) fn check(&self) -> Result<(), SolanaRefusal> {
        self.check_header()?;
        let mut seen = BTreeMap::new();
        for (second, key) in self.keys.iter().enumerate() {
            if let Some(first) = seen.insert(key, second) {
                return Err(SolanaRefusal::DuplicateAccount { first, second });
            }
        }
        let mut accounts = self.keys.len();
        for (table, lookup) in self.tables().iter().enumerate() {
            let added = lookup.writable.len().saturating_add(lookup.readonly.len());
            if added == 0 {
                return Err(SolanaRefusal::EmptyLookup { table });
            }
            accounts = accounts.saturating_add(added);
        }
        if accounts > MAX_ACCOUNTS {
            return Err(SolanaRefusal::TooManyAccounts { found: accounts });
        }
        if self.instructions.is_empty() {
            return Err(SolanaRefusal::NoInstructions);
        }
        self.instructions
            .iter()
            .enumerate()
            .try_for_each(|(at, instruction)| self.check_instruction(at, instruction, accounts))
    }

    fn check_header(&self) -> Result<(), SolanaRefusal> {
        let Header {
            required_signatures,
            readonly_signed,
            readonly_unsigned,
        } = self.header;
        let named = usize::from(required_signatures).saturating_add(usize::from(readonly_unsigned));
        // The first signer pays the fee, and is therefore written.
        if readonly_signed >= required_signatures || named > self.keys.len() {
            return Err(SolanaRefusal::Header {
                signatures: required_signatures,
                readonly_signed,
                readonly_unsigned,
                accounts: self.keys.len(),
            });
        }
        Ok(())
    }

    fn check_instruction(
        &self,
        at: usize,
        instruction: &Instruction,
        accounts: usize,
    ) -> Result<(), SolanaRefusal> {
        // A program stands in the message itself, and the payer of the fee is none.
        let program = usize::from(instruction.program);
        if program == 0 || program >= self.keys.len() {
            return Err(SolanaRefusal::ProgramIndex {
                instruction: at,
                index: instruction.program,
                accounts: self.keys.len(),
            });
        }
        match instruction
            .accounts
            .iter()
            .find(|index| usize::from(**index) >= accounts)
        {
            Some(index) => Err(SolanaRefusal::AccountIndex {
                instruction: at,
                index: *index,
                accounts,
            }),
            None => Ok(()),
        }
    }
}

/// What follows a length, whatever the length is; none when there is no length.
pub(super) fn skip_length(bytes: &[u8]) -> Option<&[u8]> {
    let length = bytes.iter().take(3).position(|byte| byte & 0x80 == 0)?;
    bytes.get(length.saturating_add(1)..)
}

/// Bytes that are read from the front.
struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Reader<'b> {
    fn take(&mut self, count: usize) -> Result<&'b [u8], SolanaRefusal> {
        let end = self.at.saturating_add(count);
        let taken = self
            .bytes
            .get(self.at..end)
            .ok_or(SolanaRefusal::Truncated {
                length: self.bytes.len(),
            })?;
        self.at = end;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, SolanaRefusal> {
        let length = self.bytes.len();
        let taken = self.take(1)?;
        taken
            .first()
            .copied()
            .ok_or(SolanaRefusal::Truncated { length })
    }

    fn key(&mut self) -> Result<Key, SolanaRefusal> {
        let length = self.bytes.len();
        let taken = self.take(KEY_LENGTH)?;
        Key::try_from(taken).map_err(|_| SolanaRefusal::Truncated { length })
    }

    fn bytes(&mut self) -> Result<Vec<u8>, SolanaRefusal> {
        let count = self.length()?;
        self.take(count).map(<[u8]>::to_vec)
    }

    /// Grows with what is there, and not with what the length claims.
    fn list<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T, SolanaRefusal>,
    ) -> Result<Vec<T>, SolanaRefusal> {
        let count = self.length()?;
        let mut list = Vec::new();
        for _ in 0..count {
            list.push(item(self)?);
        }
        Ok(list)
    }

    /// A compact-u16: seven bits a byte, lowest first, in the fewest bytes.
    fn length(&mut self) -> Result<usize, SolanaRefusal> {
        let at = self.at;
        let refused = SolanaRefusal::LengthForm { at };
        let mut value: usize = 0;
        for shift in [0, 7, 14] {
            let byte = self.byte()?;
            value |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                let padded = byte == 0 && shift > 0;
                let fits = u16::try_from(value).is_ok();
                return if padded || !fits {
                    Err(refused)
                } else {
                    Ok(value)
                };
            }
        }
        Err(refused)
    }

    fn end(&self) -> Result<(), SolanaRefusal> {
        match self.bytes.len().saturating_sub(self.at) {
            0 => Ok(()),
            count => Err(SolanaRefusal::TrailingBytes { count }),
        }
    }
}

fn put_bytes(bytes: &mut Vec<u8>, content: &[u8]) {
    put_length(bytes, content.len());
    bytes.extend(content);
}

fn put_length(bytes: &mut Vec<u8>, length: usize) {
    let mut rest = length;
    loop {
        #[expect(clippy::cast_possible_truncation, reason = "seven bits are kept")]
        let low = (rest & 0x7f) as u8;
        rest >>= 7;
        if rest == 0 {
            bytes.push(low);
            return;
        }
        bytes.push(low | 0x80);
    }
}
