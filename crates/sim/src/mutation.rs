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
    /// Is silent whenever it is asked for the proof of a share (I8).
    NeverProves,
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
    /// Erases the shares of earlier epochs when it prepares one, without an erase certificate (P29);
    /// every node breaks this one.
    #[cfg(debug_assertions)]
    ErasesEarly,
}

impl Mutation {
    /// Whether every node breaks the rule.
    pub(crate) fn is_of_all(self) -> bool {
        match self {
            Self::OldRandomness
            | Self::NoFsync
            | Self::ForgetsRestore
            | Self::KeepsShares
            | Self::NeverProves => false,
            #[cfg(debug_assertions)]
            Self::IgnoresState | Self::StaysBehind => false,
            #[cfg(debug_assertions)]
            Self::SkipsEcho | Self::IgnoresKeyId | Self::ErasesEarly => true,
        }
    }

    /// Whether only a split view shows that it is broken.
    pub(crate) fn needs_split_view(self) -> bool {
        match self {
            Self::OldRandomness
            | Self::NoFsync
            | Self::ForgetsRestore
            | Self::KeepsShares
            | Self::NeverProves => false,
            #[cfg(debug_assertions)]
            Self::SkipsEcho => true,
            #[cfg(debug_assertions)]
            Self::IgnoresKeyId | Self::IgnoresState | Self::StaysBehind | Self::ErasesEarly => {
                false
            }
        }
    }

    /// Whether only a key that is reshared shows that it is broken.
    pub(crate) fn needs_reshares(self) -> bool {
        match self {
            Self::OldRandomness
            | Self::NoFsync
            | Self::ForgetsRestore
            | Self::KeepsShares
            | Self::NeverProves => false,
            #[cfg(debug_assertions)]
            Self::SkipsEcho | Self::IgnoresKeyId | Self::IgnoresState => false,
            #[cfg(debug_assertions)]
            Self::StaysBehind | Self::ErasesEarly => true,
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
            Self::OldRandomness
            | Self::NoFsync
            | Self::ForgetsRestore
            | Self::KeepsShares
            | Self::NeverProves => false,
            #[cfg(debug_assertions)]
            Self::SkipsEcho | Self::IgnoresKeyId | Self::StaysBehind | Self::ErasesEarly => false,
            #[cfg(debug_assertions)]
            Self::IgnoresState => true,
        }
    }

    /// Whether only two keys of one name show that it is broken.
    pub(crate) fn needs_two_keys(self) -> bool {
        match self {
            Self::OldRandomness
            | Self::NoFsync
            | Self::ForgetsRestore
            | Self::KeepsShares
            | Self::NeverProves => false,
            #[cfg(debug_assertions)]
            Self::IgnoresState | Self::StaysBehind | Self::SkipsEcho | Self::ErasesEarly => false,
            #[cfg(debug_assertions)]
            Self::IgnoresKeyId => true,
        }
    }

    /// Whether the disk of a node that breaks the rule counts with the others: it keeps shares as
    /// well as any, or how it does not is what is to be found.
    pub(crate) fn is_counted(self) -> bool {
        self.is_of_all() && !self.needs_split_view()
    }
}
