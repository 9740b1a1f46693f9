//! Size limits of whole messages. A receiver cuts off what is larger before it decodes anything.

/// The largest request to the public API: a command of 4 MiB, its endorsements, and room.
pub const MAX_PUBLIC_REQUEST_BYTES: usize = 8 << 20;

/// The largest answer of the public API.
pub const MAX_PUBLIC_REPLY_BYTES: usize = 32 << 20;

/// The largest request to a node: a batch of share requests with their commands.
pub const MAX_NODE_REQUEST_BYTES: usize = 32 << 20;

/// The largest answer of a node: a page of its journal.
pub const MAX_NODE_REPLY_BYTES: usize = 32 << 20;

/// The largest evidence, in bytes.
pub const MAX_EVIDENCE_BYTES: usize = 1 << 20;
