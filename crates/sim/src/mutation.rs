//! Rules that nodes break on purpose, to show that the invariants find it.

/// A rule that one node breaks on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// The same randomness after every start, so that nonces come again (P23).
    OldRandomness,
    /// A journal that says durable without an fsync (P37).
    NoFsync,
    /// A backup that is restored without its mark, so that the node does not know of it (P35).
    ForgetsRestore,
    /// A disk that keeps the files of shares that are erased (P34).
    KeepsShares,
    /// Echoes that are not compared (P15); every node breaks this one.
    #[cfg(debug_assertions)]
    SkipsEcho,
    /// Signs with any key of the name that a command gives (I4); every node breaks this one.
    #[cfg(debug_assertions)]
    IgnoresKeyId,
    /// Signs whatever state a key is in (P33).
    #[cfg(debug_assertions)]
    IgnoresState,
    /// Signs with the shares of an epoch after it has heard of a later one (P30).
    #[cfg(debug_assertions)]
    StaysBehind,
}

impl Mutation {
    /// Whether every node breaks the rule.
    pub(crate) fn is_of_all(self) -> bool {
        match self {
            Self::OldRandomness | Self::NoFsync | Self::ForgetsRestore | Self::KeepsShares => false,
            #[cfg(debug_assertions)]
            Self::IgnoresState | Self::StaysBehind => false,
            #[cfg(debug_assertions)]
            Self::SkipsEcho | Self::IgnoresKeyId => true,
        }
    }

    /// Whether only a split view shows that it is broken.
    pub(crate) fn needs_split_view(self) -> bool {
        match self {
            Self::OldRandomness | Self::NoFsync | Self::ForgetsRestore | Self::KeepsShares => false,
            #[cfg(debug_assertions)]
            Self::SkipsEcho => true,
            #[cfg(debug_assertions)]
            Self::IgnoresKeyId | Self::IgnoresState | Self::StaysBehind => false,
        }
    }

    /// Whether only a key that is reshared shows that it is broken.
    pub(crate) fn needs_reshares(self) -> bool {
        match self {
            Self::OldRandomness | Self::NoFsync | Self::ForgetsRestore | Self::KeepsShares => false,
            #[cfg(debug_assertions)]
            Self::SkipsEcho | Self::IgnoresKeyId | Self::IgnoresState => false,
            #[cfg(debug_assertions)]
            Self::StaysBehind => true,
        }
    }

    /// Whether only a node that is restored shows that it is broken.
    pub(crate) fn needs_restoring(self) -> bool {
        self == Self::ForgetsRestore
    }

    /// Whether only a key that is destroyed shows that it is broken.
    pub(crate) fn needs_ending(self) -> bool {
        self == Self::KeepsShares
    }

    /// Whether only a key that is suspended shows that it is broken.
    pub(crate) fn needs_states(self) -> bool {
        match self {
            Self::OldRandomness | Self::NoFsync | Self::ForgetsRestore | Self::KeepsShares => false,
            #[cfg(debug_assertions)]
            Self::SkipsEcho | Self::IgnoresKeyId | Self::StaysBehind => false,
            #[cfg(debug_assertions)]
            Self::IgnoresState => true,
        }
    }

    /// Whether only two keys of one name show that it is broken.
    pub(crate) fn needs_two_keys(self) -> bool {
        self.is_of_all() && !self.needs_split_view()
    }
}
