//! Where a backend keeps its sockets: numbered places with a generation each.
//!
//! A place that was given up is not used again before the next [`Slots::recycle`], so a batch that
//! was received before a socket was closed never speaks of its successor.

use super::SocketId;

/// Numbered places, at most a fixed count.
pub(super) struct Slots<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
    retired: Vec<u32>,
    limit: usize,
}

struct Place<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Slots<T> {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
            retired: Vec::new(),
            limit,
        }
    }

    /// Puts a value in a free place; gives it back when there is none.
    pub(super) fn insert(&mut self, value: T) -> Result<SocketId, T> {
        if let Some(index) = self.free.pop() {
            if let Some(place) = self.places.get_mut(index as usize) {
                place.value = Some(value);
            }
            return Ok(SocketId(index));
        }
        match u32::try_from(self.places.len()) {
            Ok(index) if self.places.len() < self.limit => {
                self.places.push(Place {
                    generation: 0,
                    value: Some(value),
                });
                Ok(SocketId(index))
            }
            _ => Err(value),
        }
    }

    /// Takes a value out; its place has a new generation from now on.
    pub(super) fn remove(&mut self, id: SocketId) -> Option<T> {
        let place = self.places.get_mut(id.0 as usize)?;
        let value = place.value.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.retired.push(id.0);
        Some(value)
    }

    /// Lets the places given up since the last call be used again.
    pub(super) fn recycle(&mut self) {
        self.free.append(&mut self.retired);
    }

    pub(super) fn get(&self, id: SocketId) -> Option<&T> {
        self.places.get(id.0 as usize)?.value.as_ref()
    }

    pub(super) fn get_mut(&mut self, id: SocketId) -> Option<&mut T> {
        self.places.get_mut(id.0 as usize)?.value.as_mut()
    }

    /// How often a place was given up.
    pub(super) fn generation(&self, id: SocketId) -> u32 {
        self.places.get(id.0 as usize).map_or(0, |p| p.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_given_up_rests_until_it_is_recycled() {
        let mut slots = Slots::new(2);
        let first = slots.insert('a').unwrap();
        assert_eq!(slots.remove(first), Some('a'));
        let second = slots.insert('b').unwrap();
        assert_ne!(first, second);
        assert_eq!(slots.insert('c'), Err('c'));
        slots.recycle();
        assert_eq!(slots.insert('c'), Ok(first));
        assert_eq!(slots.generation(first), 1);
    }
}
