//! How much memory the members of all groups of a core may take together.
//!
//! What a member says of itself comes in requests of up to `socket.request.max.bytes`, and there may be as many members
//! as anybody invents: only a sum bounds them. A request takes room for what it would leave behind before it is looked
//! at; whether it left that, or replaced what was there, is found when the host counts what there is and gives the
//! rest free again ([`Room::reset`]).
//!
//! Invariant: between two counts, what is taken is at least what members grew by.

use super::Coordinator;
use super::messages::Protocol;
use std::cell::Cell;
use std::rc::Rc;

/// What a name or a protocol costs besides its bytes.
const EACH: usize = 64;

/// Bytes that members may still bring. Shared by the coordinators of a core.
#[derive(Debug)]
pub struct Room {
    free: Cell<usize>,
    /// Something was taken since the last count.
    taken: Cell<bool>,
}

impl Default for Room {
    fn default() -> Room {
        Room {
            free: Cell::new(usize::MAX),
            taken: Cell::new(false),
        }
    }
}

impl Room {
    /// Takes so many bytes; false, and nothing is taken, if there are fewer.
    pub fn take(&self, bytes: usize) -> bool {
        let left = self.free.get().checked_sub(bytes);
        if let Some(left) = left.filter(|_| bytes > 0) {
            self.free.set(left);
            self.taken.set(true);
        }
        left.is_some()
    }

    /// Whether it is worth while to count again.
    pub fn was_taken_from(&self) -> bool {
        self.taken.get()
    }

    /// So many bytes are free.
    pub fn reset(&self, free: usize) {
        self.free.set(free);
        self.taken.set(false);
    }
}

/// What protocols take.
pub(super) fn of_protocols(protocols: &[Protocol]) -> usize {
    protocols
        .iter()
        .map(|p| EACH + p.name.len() + p.metadata.len())
        .sum()
}

/// What a list of names takes, and a pattern.
pub(super) fn of_names<'a>(names: impl Iterator<Item = &'a str>, pattern: &str) -> usize {
    names.map(|name| EACH + name.len()).sum::<usize>() + pattern.len()
}

impl Coordinator {
    /// The same with a bound for its members' memory.
    pub fn within(mut self, room: Rc<Room>) -> Coordinator {
        self.room = room;
        self
    }

    /// What members hold now. Costs as much as there are members and names.
    pub fn member_bytes(&self) -> usize {
        let classic = self.groups.values().flat_map(|group| group.members.values());
        let classic = classic.map(|m| of_protocols(&m.protocols) + m.assignment.len());
        let consumers = self.consumers.groups.values().flat_map(|g| g.members.values());
        let consumers = consumers.filter_map(|m| m.meta.as_ref()).map(|meta| {
            let classic = meta.classic.as_ref().map_or(0, |c| of_protocols(&c.protocols));
            of_names(meta.topics.iter().map(|name| &**name), &meta.regex) + classic
        });
        classic.sum::<usize>() + consumers.sum::<usize>()
    }
}
