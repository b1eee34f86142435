//! Where transactions live: found by a key that is never used twice.

use slab::Slab;

use crate::limits::SIP_TRANSACTIONS;

/// The low bits of a key are a place; the rest counts up: 2^44 transactions, 55 years at 10000/s.
const PLACE_BITS: u32 = 20;
const _: () = assert!(SIP_TRANSACTIONS <= 1 << PLACE_BITS);

/// Transactions of one kind.
#[derive(Debug)]
pub(super) struct Table<T> {
    slots: Slab<(u64, T)>,
    serial: u64,
    limit: usize,
}

impl<T> Table<T> {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            slots: Slab::new(),
            serial: 0,
            limit,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.slots.len() >= self.limit
    }

    /// The key that the next one put in gets.
    pub(super) fn next_key(&self) -> u64 {
        (self.serial + 1) << PLACE_BITS | self.slots.vacant_key() as u64
    }

    /// Puts one in under [`Self::next_key`]; the caller has seen that there is room.
    pub(super) fn insert(&mut self, item: T) -> u64 {
        let key = self.next_key();
        self.serial += 1;
        self.slots.insert((key, item));
        key
    }

    pub(super) fn get(&self, key: u64) -> Option<&T> {
        self.slots
            .get(place(key))
            .filter(|(at, _)| *at == key)
            .map(|(_, item)| item)
    }

    pub(super) fn get_mut(&mut self, key: u64) -> Option<&mut T> {
        self.slots
            .get_mut(place(key))
            .filter(|(at, _)| *at == key)
            .map(|(_, item)| item)
    }

    pub(super) fn remove(&mut self, key: u64) -> Option<T> {
        self.get(key)?;
        self.slots.try_remove(place(key)).map(|(_, item)| item)
    }
}

fn place(key: u64) -> usize {
    usize::try_from(key & ((1 << PLACE_BITS) - 1)).unwrap_or(usize::MAX)
}
