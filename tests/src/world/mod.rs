//! The simulated world: one clock, a seeded network, telephones, and the relay's own engine and
//! worker between them. Thousands of sessions pass in seconds, and the same seed is the same world.
//!
//! ```text
//! phone ─▶ net (loss, delay, doubling, reordering) ─▶ engine ══ ring ══ worker ─▶ net ─▶ phone
//! ```

pub mod closing;
pub mod gathering;
pub mod meeting;
mod net;
mod phone;
mod relay;
mod script;
mod text;
mod waits;

pub use net::Weather;
pub use phone::Phone;
pub use relay::{Relay, Store};
pub use script::{Fate, Script, Who};

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use net::{Net, Parcel};

/// The world.
pub struct World {
    now: Instant,
    net: Net,
    /// The relay under test.
    pub relay: Relay,
    phones: Vec<Phone>,
    rng: StdRng,
}

impl World {
    /// A world with a relay and nobody to call.
    #[must_use]
    pub fn new(seed: u64, weather: Weather) -> Self {
        let now = Instant::now();
        Self {
            now,
            net: Net::new(seed, weather),
            relay: Relay::new(seed, now),
            phones: Vec::new(),
            rng: StdRng::seed_from_u64(seed ^ 0x5eed),
        }
    }

    /// Adds a pair of phones: the first calls the second, each as its script says.
    pub fn add_call(&mut self, script: Script) {
        let number = u16::try_from(self.phones.len() / 2).expect("calls are few");
        let start = self.now + Duration::from_millis(self.rng.random_range(0..5_000));
        let (a, b) = (phone_address(number, 1), phone_address(number, 2));
        let seed = self.rng.random();
        self.phones
            .push(Phone::caller(a, b, self.relay.sip(), (script, start, seed)));
        self.phones
            .push(Phone::callee(b, self.relay.sip(), (script, seed ^ 1)));
    }

    /// Lets time pass until nothing is due any more, or `at_most` has passed.
    pub fn run(&mut self, at_most: Duration) {
        let end = self.now + at_most;
        loop {
            self.settle();
            let phones = self.phones.iter().filter_map(Phone::poll_timeout).min();
            let next = [self.net.poll_timeout(), phones, self.relay.poll_timeout()]
                .into_iter()
                .flatten()
                .min();
            let Some(next) = next.filter(|next| *next <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            self.turn();
        }
    }

    /// The phones, callers at even places.
    #[must_use]
    pub fn phones(&self) -> &[Phone] {
        &self.phones
    }

    fn turn(&mut self) {
        while let Some(parcel) = self.net.arrived(self.now) {
            self.deliver(&parcel);
        }
        for phone in &mut self.phones {
            phone.handle_timeout(self.now);
        }
        self.relay.handle_timeout(self.now);
    }

    fn deliver(&mut self, parcel: &Parcel) {
        if parcel.to.ip() == self.relay.sip().ip() {
            self.relay.receive(self.now, parcel);
        } else if let Some(phone) = self
            .phones
            .iter_mut()
            .find(|phone| phone.ip() == parcel.to.ip())
        {
            phone.receive(self.now, parcel.to.port(), &parcel.bytes);
        }
    }

    /// Moves what everybody sent onto the net.
    fn settle(&mut self) {
        loop {
            let mut is_quiet = true;
            for parcel in self.relay.sent(self.now) {
                self.net.send(self.now, parcel);
                is_quiet = false;
            }
            for phone in &mut self.phones {
                while let Some(parcel) = phone.sent() {
                    self.net.send(self.now, parcel);
                    is_quiet = false;
                }
            }
            if is_quiet {
                return;
            }
        }
    }
}

fn phone_address(call: u16, side: u8) -> SocketAddr {
    let [high, low] = call.to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, side, high, low)), 5060)
}
