//! The closing world: one session between two clients, with both Participating Functions between
//! them, each the relay's own engine and worker.
//!
//! ```text
//! caller ─▶ net ─▶ PF-O (engine ══ worker) ─▶ net ─▶ PF-T (engine ══ worker) ─▶ net ─▶ callee
//! ```
//!
//! Every message is kept, so that what was said when can be held against the procedures.

mod checks;
mod lines;
mod party;
mod plan;
mod trace;

pub use party::{Party, Stage};
pub use plan::{Answer, Function, Part, Plan};
pub use trace::{Entry, Trace};

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use control::cpm::participating::{Role, Stay};
use control::cpm::policy::{Policies, UserPolicy};
use control::engine::Settings;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::net::{Net, Parcel};
use super::relay::Relay;

/// Where the two functions are.
pub const FUNCTIONS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)),
];
/// Where the two clients are.
pub const PARTIES: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(10, 1, 0, 1)),
    IpAddr::V4(Ipv4Addr::new(10, 2, 0, 1)),
];

/// A session as it went.
pub struct Played {
    /// What was to happen.
    pub plan: Plan,
    /// What was said.
    pub trace: Trace,
    /// The functions, as they are afterwards.
    pub functions: [Relay; 2],
    /// The clients, as they are afterwards.
    pub parties: [Party; 2],
    begun: Instant,
}

/// The world while a session goes on.
struct Stagehand {
    begun: Instant,
    now: Instant,
    net: Net,
    functions: [Relay; 2],
    parties: [Party; 2],
    trace: Trace,
}

/// Plays a session to its end, and for as long as anything of it can still be under way.
///
/// # Panics
///
/// Time does not pass.
#[must_use]
pub fn play(plan: Plan, seed: u64) -> Played {
    let mut rng = StdRng::seed_from_u64(seed ^ 0x00c1_05e0);
    let now = Instant::now();
    let addresses = PARTIES.map(|ip| SocketAddr::new(ip, 5060));
    let function = |at: usize| {
        let seed = seed.wrapping_add(u64::from(at == 1));
        let plan = plan.functions[at];
        let role = [Role::Originating, Role::Terminating][at];
        let relay = Relay::at(FUNCTIONS[at], seed, now, |settings| {
            set(settings, plan, role);
        });
        relay.with_store(plan.store)
    };
    let functions = [function(0), function(1)];
    let relays = functions.each_ref().map(Relay::sip);
    let [caller, callee] = plan.parties.clone();
    let parties = [
        Party::caller(
            addresses[0],
            addresses[1],
            &relays,
            (caller, now, rng.random()),
        ),
        Party::callee(addresses[1], (callee, rng.random())),
    ];
    let mut world = Stagehand {
        begun: now,
        now,
        net: Net::new(rng.random(), plan.weather),
        functions,
        parties,
        trace: Trace::default(),
    };
    world.run(LONGEST);
    Played {
        plan,
        trace: world.trace,
        functions: world.functions,
        parties: world.parties,
        begun: now,
    }
}

fn set(settings: &mut Settings, function: Function, role: Role) {
    settings.role = role;
    settings.bye_ack = function.bye_ack;
    settings.bye_far_deadline = function.far_deadline;
    settings.store_deadline = function.store.map(|_| STORE_DEADLINE);
    let stay = Stay {
        media_charging: function.stays,
        ..Stay::default()
    };
    let policy = UserPolicy {
        stay,
        allow_offline_storage: function.store.is_some(),
        ..UserPolicy::default()
    };
    settings.policies = Policies::new(policy).into();
}

/// How long a closing waits for its store.
pub const STORE_DEADLINE: Duration = Duration::from_secs(2);
/// Timer C, a hanging up after it, and every timer of RFC 3261 after that.
const LONGEST: Duration = Duration::from_secs(600);

impl Stagehand {
    fn run(&mut self, at_most: Duration) {
        let end = self.now + at_most;
        for _ in 0..MOMENTS_MAX {
            self.settle();
            let parties = self.parties.iter().filter_map(Party::poll_timeout).min();
            let functions = self.functions.iter().filter_map(|f| f.poll_wake(self.now));
            let next = [self.net.poll_timeout(), parties, functions.min()];
            let next = next.into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            while let Some((parcel, number)) = self.net.arrived_with_number(self.now) {
                self.deliver(&parcel, number);
                // What each one says to a message is said before the next one is heard.
                self.settle();
            }
            for party in &mut self.parties {
                party.handle_timeout(self.now);
            }
            for function in &mut self.functions {
                function.handle_timeout(self.now);
            }
        }
        panic!("time never passes\n{}", self.trace);
    }

    fn deliver(&mut self, parcel: &Parcel, number: usize) {
        let to = parcel.to;
        self.trace.arrived(number, self.begun, self.now);
        if let Some(function) = self.functions.iter_mut().find(|f| f.sip().ip() == to.ip()) {
            function.receive(self.now, parcel);
        } else if let Some(party) = self.parties.iter_mut().find(|p| p.ip() == to.ip()) {
            party.receive(self.now, to.port(), &parcel.bytes);
        }
    }

    fn settle(&mut self) {
        loop {
            let mut parcels = Vec::new();
            for function in &mut self.functions {
                parcels.extend(function.sent_with_media(self.now));
            }
            for party in &mut self.parties {
                parcels.extend(std::iter::from_fn(|| party.sent()).map(|parcel| (parcel, 0)));
            }
            if parcels.is_empty() {
                return;
            }
            for (parcel, media_open) in parcels {
                self.send(parcel, media_open);
            }
        }
    }

    fn send(&mut self, parcel: Parcel, media_open: usize) {
        let mut number = usize::MAX;
        if parcel.from.port() == 5060 {
            number = self.trace.note(Entry {
                at: self.now - self.begun,
                from: parcel.from,
                to: parcel.to,
                text: String::from_utf8_lossy(&parcel.bytes).into_owned(),
                arrived: None,
                media_open,
            });
        }
        self.net.send_numbered(self.now, parcel, number);
    }
}

const MOMENTS_MAX: usize = 200_000;
