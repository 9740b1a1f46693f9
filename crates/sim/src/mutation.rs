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

    /// What a run must hold to show that the rule is broken.
    pub(crate) fn needs(self) -> Needs {
        match self {
            Self::OldRandomness | Self::NoFsync | Self::NeverProves => Needs::Nothing,
            Self::ForgetsRestore => Needs::Restoring,
            Self::KeepsShares => Needs::Ending,
            #[cfg(debug_assertions)]
            Self::SkipsEcho => Needs::SplitView,
            #[cfg(debug_assertions)]
            Self::IgnoresKeyId => Needs::TwoKeys,
            #[cfg(debug_assertions)]
            Self::IgnoresState => Needs::States,
            #[cfg(debug_assertions)]
            Self::StaysBehind | Self::ErasesEarly => Needs::Reshares,
        }
    }

    /// Whether the disk of a node that breaks the rule counts with the others: it keeps shares as
    /// well as any, or how it does not is what is to be found.
    pub(crate) fn is_counted(self) -> bool {
        self.is_of_all() && self.needs() != Needs::SplitView
    }
}

/// What shows that a rule is broken, beside signatures and crashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Any run does.
    Nothing,
    /// A node that shows the others different things.
    SplitView,
    /// A key that is reshared.
    Reshares,
    /// A node that is restored.
    Restoring,
    /// A key that is destroyed.
    Ending,
    /// A key that is suspended.
    States,
    /// Two keys of one name.
    TwoKeys,
}
