//! A group session in the world: the relay's own engine and worker as Controlling Function, and
//! guests who come, leave, add and remove one another, change what they use and watch, over a
//! network that loses, doubles and delays.
//!
//! When the network has been fair for long enough, everybody's view must be the same: what each
//! guest knows of itself, what the notifications of each subscription add up to, and how many the
//! relay counts.

mod guest;
mod lines;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use control::config;
use control::cpm::groups::Groups;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::net::{Net, Weather};
use super::relay::Relay;
use guest::Act;
pub use guest::Guest;
pub use view::View;

/// The group's address.
pub const GROUP: &str = "sip:team@groups.example";

/// What is to happen.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Guests there are.
    pub guests: usize,
    /// Of those: members, who are invited when a session begins.
    pub members: usize,
    /// Things that each does.
    pub acts: usize,
    /// For how long.
    pub lasts: Duration,
    /// What the network does meanwhile.
    pub weather: Weather,
}

/// A gathering as it goes.
pub struct Gathering {
    now: Instant,
    net: Net,
    /// The relay.
    pub relay: Relay,
    /// The guests.
    pub guests: Vec<Guest>,
    rng: StdRng,
}

/// How many agree: a session without anybody is one that all agree on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Agreed {
    /// Those who take part.
    pub participants: usize,
    /// Those who were told who takes part, and would be of changes.
    pub watchers: usize,
}

impl Agreed {
    /// Adds another gathering's.
    pub fn add(&mut self, other: Self) {
        self.participants += other.participants;
        self.watchers += other.watchers;
    }
}

fn place(guest: usize) -> SocketAddr {
    let [high, low] = u16::try_from(guest).expect("guests are few").to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 3, high, low)), 5060)
}

impl Gathering {
    /// Plays a plan, then fair weather until nothing is under way.
    #[must_use]
    pub fn play(plan: Plan, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let now = Instant::now();
        let relay = Relay::at(RELAY, rng.random(), now, |settings| {
            settings.groups = groups(plan).into();
        });
        let guest = |at| Guest::new(place(at), relay.sip(), rng.random());
        let guests: Vec<Guest> = (0..plan.guests).map(guest).collect();
        let mut gathering = Self {
            now,
            net: Net::new(rng.random(), plan.weather),
            guests,
            relay,
            rng,
        };
        gathering.plan(plan);
        gathering.run(plan.lasts);
        gathering.net.set_weather(Weather::FAIR);
        gathering.run(SETTLING);
        gathering
    }

    fn plan(&mut self, plan: Plan) {
        let length = u64::try_from(plan.lasts.as_millis()).unwrap_or(u64::MAX);
        for at in 0..plan.guests {
            for _ in 0..plan.acts {
                let other = self.rng.random_range(0..plan.guests);
                let act = match self.rng.random_range(0..12_u8) {
                    0..3 => Act::Join,
                    3 => Act::Leave,
                    4..7 => Act::Modify,
                    7 => Act::Add(other),
                    8 => Act::Remove(other),
                    _ => Act::Watch,
                };
                let when = Duration::from_millis(self.rng.random_range(0..length));
                self.guests[at].plan(self.now + when, act);
            }
        }
    }

    /// Everybody's view is the same; says how many take part, and how many of all guests watch.
    ///
    /// # Panics
    ///
    /// When it isn't.
    pub fn assert_agreed(&self) -> Agreed {
        let present = self.guests.iter().filter_map(|guest| {
            let media = guest.media()?;
            Some((guest.uri(), media))
        });
        let present: BTreeMap<String, Vec<String>> = present.collect();
        assert_eq!(
            self.relay.participants(),
            present.len(),
            "those who take part: {present:?}\n{}",
            self.relay.leftovers()
        );
        let mut watchers = 0;
        for guest in &self.guests {
            let Some(view) = guest.view() else { continue };
            assert_eq!(view.connected(), present, "as {} knows it", guest.uri());
            assert!(view.others().is_empty(), "{:?}", view.others());
            watchers += 1;
        }
        Agreed {
            participants: present.len(),
            watchers,
        }
    }

    /// Everybody leaves; then nothing is left.
    ///
    /// # Panics
    ///
    /// When something is.
    pub fn end(&mut self) {
        for guest in &mut self.guests {
            let when = Duration::from_millis(self.rng.random_range(0..3_000));
            guest.plan(self.now + when, Act::Leave);
        }
        self.run(SETTLING);
        assert!(self.relay.is_idle(), "{}", self.relay.leftovers());
        assert_eq!(self.relay.media_sockets(), 0);
        let mut waiting = BTreeSet::new();
        for guest in self.guests.iter().filter(|guest| !guest.is_quiet()) {
            waiting.insert(guest.uri());
        }
        assert!(waiting.is_empty(), "{waiting:?} wait for something");
    }

    fn run(&mut self, at_most: Duration) {
        let end = self.now + at_most;
        loop {
            self.settle();
            let guests = self.guests.iter().filter_map(Guest::poll_timeout).min();
            let relay = self.relay.poll_wake(self.now);
            let next = [self.net.poll_timeout(), guests, relay];
            let next = next.into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            while let Some(parcel) = self.net.arrived(self.now) {
                if parcel.to.ip() == self.relay.sip().ip() {
                    self.relay.receive(self.now, &parcel);
                } else if let Some(guest) = self
                    .guests
                    .iter_mut()
                    .find(|guest| guest.ip() == parcel.to.ip())
                {
                    guest.receive(self.now, parcel.to.port(), &parcel.bytes);
                }
            }
            for guest in &mut self.guests {
                guest.handle_timeout(self.now);
            }
            self.relay.handle_timeout(self.now);
        }
    }

    fn settle(&mut self) {
        loop {
            let mut parcels = self.relay.sent(self.now);
            for guest in &mut self.guests {
                parcels.extend(std::iter::from_fn(|| guest.sent()));
            }
            if parcels.is_empty() {
                return;
            }
            for parcel in parcels {
                self.net.send(self.now, parcel);
            }
        }
    }
}

fn groups(plan: Plan) -> Groups {
    let base = config::Controlling {
        validity: Duration::from_secs(20),
        remove: config::Right::Participants,
        remove_streams: config::Right::Participants,
        ..config::Controlling::default()
    };
    let group = config::Group {
        members: (0..plan.members)
            .map(|at| guest::uri_of(place(at)))
            .collect(),
        open: true,
        ..config::Group::default()
    };
    Groups::new(&base, &BTreeMap::from([(GROUP.to_owned(), group)]))
}

const RELAY: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
/// Invitations end, requests time out, and every transaction after that.
const SETTLING: Duration = Duration::from_secs(150);
