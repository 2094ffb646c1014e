//! Whether the filesystem has room: the low-space watermarks, with hysteresis.
//!
//! A pure machine. The store feeds [`SpaceWatch::observe`] with what the filesystem says and with the bytes it still
//! has to drain: those are promised, so they count as taken.
//!
//! Invariants: the state rises at a limit and falls only when the limit is exceeded by the hysteresis.

use crate::env::Space;

/// How much room there is, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Room {
    /// Enough.
    #[default]
    Enough,
    /// Produce stops.
    Low,
    /// Only deletion runs.
    None,
}

/// The limits, in percent of the filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpaceLimits {
    /// Below: [`Room::Low`].
    pub low_percent: u8,
    /// Below: [`Room::None`].
    pub none_percent: u8,
    /// Points above a limit at which it is lifted.
    pub hysteresis_percent: u8,
}

/// The watermarks' state.
#[derive(Debug, Clone, Copy)]
pub struct SpaceWatch {
    limits: SpaceLimits,
    room: Room,
    space: Space,
}

impl SpaceWatch {
    /// Starts with enough room.
    pub fn new(limits: SpaceLimits) -> Self {
        Self {
            limits,
            room: Room::Enough,
            space: Space { free: 0, total: 0 },
        }
    }

    /// The room as of the last observation.
    pub fn room(&self) -> Room {
        self.room
    }

    /// The last observation.
    pub fn space(&self) -> Space {
        self.space
    }

    /// Takes an observation; `promised` bytes will be written whatever happens. Returns the room now.
    pub fn observe(&mut self, space: Space, promised: u64) -> Room {
        self.space = space;
        let free = space.free.saturating_sub(promised);
        let below = |percent: u8| u128::from(free) * 100 < u128::from(space.total) * u128::from(percent);
        let SpaceLimits {
            low_percent,
            none_percent,
            hysteresis_percent,
        } = self.limits;
        let lift = |percent: u8| percent.saturating_add(hysteresis_percent);
        self.room = if below(none_percent) || (self.room == Room::None && below(lift(none_percent))) {
            Room::None
        } else if below(low_percent) || (self.room >= Room::Low && below(lift(low_percent))) {
            Room::Low
        } else {
            Room::Enough
        };
        self.room
    }

    /// The filesystem refused an allocation: there is no room, whatever it says about free blocks.
    pub fn exhausted(&mut self) {
        self.room = Room::None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch() -> SpaceWatch {
        SpaceWatch::new(SpaceLimits {
            low_percent: 5,
            none_percent: 2,
            hysteresis_percent: 1,
        })
    }

    fn free(free: u64) -> Space {
        Space { free, total: 1000 }
    }

    #[test]
    fn limits_rise_at_once_and_fall_with_hysteresis() {
        let mut w = watch();
        let seen: Vec<Room> = [60, 50, 49, 55, 60, 49, 19, 25, 30, 59, 60]
            .iter()
            .map(|&f| w.observe(free(f), 0))
            .collect();
        use Room::{Enough, Low, None};
        assert_eq!(
            seen,
            [
                Enough, Enough, Low, Low, Enough, Low, None, None, Low, Low, Enough
            ]
        );
    }

    #[test]
    fn promised_bytes_count_as_taken() {
        let mut w = watch();
        assert_eq!(w.observe(free(100), 60), Room::Low);
        assert_eq!(w.observe(free(100), 200), Room::None);
    }

    #[test]
    fn a_refused_allocation_stops_all_until_room_is_seen() {
        let mut w = watch();
        w.exhausted();
        assert_eq!(w.room(), Room::None);
        assert_eq!(w.observe(free(500), 0), Room::Enough);
    }

    #[test]
    fn an_unknown_filesystem_size_never_stops_produce() {
        assert_eq!(watch().observe(Space { free: 0, total: 0 }, 5), Room::Enough);
    }
}
