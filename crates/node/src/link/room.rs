//! The memory that one coordinator may take at this node, whatever it sends and however slowly it
//! reads.
//!
//! A request waits for its room before its body is read, and what it needs is reckoned from the
//! limits of its method. Until then its bytes stay within the window of the connection.

use std::sync::Arc;

use quorate_proto::limits::CallLimits;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What the requests and answers of one link may take together.
const LINK_BYTES: usize = 224 << 20;

/// Room is counted in pieces of this size.
const PIECE_BYTES: usize = 64 << 10;

/// The room of one link. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Room(Arc<Semaphore>);

/// The room of one call; it is free again when this is dropped.
pub(super) type Taken = Option<OwnedSemaphorePermit>;

impl Room {
    pub(super) fn of_a_link() -> Self {
        Self(Arc::new(Semaphore::new(LINK_BYTES.div_euclid(PIECE_BYTES))))
    }

    /// Waits until there is room for a call of this kind, in the order of arrival.
    pub(super) async fn take(&self, limits: CallLimits) -> Taken {
        // The semaphore is never closed, and no call needs more pieces than there are.
        Arc::clone(&self.0)
            .acquire_many_owned(pieces(limits))
            .await
            .ok()
    }
}

/// A request is in memory twice while it is decoded, and so is an answer while it is encoded.
fn pieces(limits: CallLimits) -> u32 {
    let bytes = limits
        .request
        .saturating_add(limits.reply)
        .saturating_mul(2)
        .saturating_add(limits.lists);
    u32::try_from(bytes.div_ceil(PIECE_BYTES)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::{
        future::Future,
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use quorate_proto::limits::node_call;

    use super::{
        super::dial::{CONNECTION_WINDOW_BYTES, FRAME_BYTES, MAX_REQUESTS_AT_A_TIME},
        *,
    };

    /// The room of a call, if there is any at once.
    fn at_once(room: &Room, limits: CallLimits) -> Option<Taken> {
        let mut context = Context::from_waker(Waker::noop());
        match pin!(room.take(limits)).poll(&mut context) {
            Poll::Ready(taken) => Some(taken),
            Poll::Pending => None,
        }
    }

    #[test]
    fn what_a_coordinator_can_take_is_bounded() {
        // A path keeps the frame that it came in, and one that goes on in another twice as much: of
        // each request, and of each entry of HPACK's table, which has room for 107 short ones.
        let headers = (MAX_REQUESTS_AT_A_TIME as usize + 107) * 2 * FRAME_BYTES as usize;

        assert!(LINK_BYTES + CONNECTION_WINDOW_BYTES as usize + headers <= 256 << 20);
    }

    #[test]
    fn calls_wait_when_the_room_is_taken_and_go_on_when_it_is_free() {
        let room = Room::of_a_link();
        let large = node_call("/node/SignShares");
        let mut taken = Vec::new();
        while let Some(one) = at_once(&room, large) {
            assert!(one.is_some());
            taken.push(one);
        }

        assert_eq!(
            taken.len(),
            LINK_BYTES / (2 * (large.request + large.reply) + large.lists)
        );
        taken.pop();
        assert!(at_once(&room, large).is_some());
    }

    #[test]
    fn an_honest_coordinator_never_waits() {
        let room = Room::of_a_link();
        let mut taken = Vec::new();

        // Two calls for shares, eight creations, and whatever is small.
        for (method, count) in [("SignShares", 2), ("AdvanceCeremony", 8), ("GetStatus", 16)] {
            for _ in 0..count {
                taken.push(at_once(&room, node_call(method)).unwrap());
            }
        }
    }
}
