//! The time from a BYE in to the BYE out, seen from outside: two clients of their own beside a load.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tests::live::relay::Relay;
use tests::peers::sdp::Writer;
use tests::peers::sip::Agent;

/// Calls that are made one after the other until it is stopped.
pub struct Probe {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Histogram<u64>>,
}

/// What was measured, in microseconds.
pub struct Byes(Histogram<u64>);

impl Probe {
    /// Starts to call through a relay; `is_terminating`: the called client is the served one.
    #[must_use]
    pub fn start(relay: &Relay, is_terminating: bool) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let side = if is_terminating { "" } else { ";orig" };
        let route = format!("<sip:{};lr{side}>", relay.sip);
        let alice = Agent::udp("alice", relay.sip).via(&[route]);
        let bob = Agent::udp("bob", relay.sip);
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || measure(alice, bob, &stopped));
        Self { stop, thread }
    }

    /// Ends the last call and gives what was measured.
    ///
    /// # Panics
    ///
    /// A call went wrong.
    #[must_use]
    pub fn stop(self) -> Byes {
        self.stop.store(true, Ordering::Relaxed);
        Byes(
            self.thread
                .join()
                .expect("every call of the probe goes well"),
        )
    }
}

fn measure(mut alice: Agent, mut bob: Agent, stop: &AtomicBool) -> Histogram<u64> {
    let mut times = Histogram::new_with_bounds(1, 60_000_000, 3).expect("the bounds are in order");
    let target = bob.uri();
    while !stop.load(Ordering::Relaxed) {
        let sdp = |port| Writer::new(alice.address().ip()).audio(port).text();
        let (offer, answer) = (sdp(9_000), sdp(9_002));
        let mut call = alice.invite(&target, &offer);
        let called = bob.incoming();
        called.answer(&mut bob, 200, &answer);
        call.established(&mut alice);
        bob.request("ACK");
        thread::sleep(Duration::from_millis(10));
        let begin = Instant::now();
        call.send_bye(&mut alice);
        let bye = bob.expect("this call's BYE", |message| {
            message.is_request("BYE") && message.field("Call-ID") == called.id()
        });
        times.saturating_record(u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX));
        bob.answer(&bye, 200, &[], "");
        let answer = alice.expect("the answer to this call's BYE", |message| {
            message.code().is_some_and(|code| code >= 200)
                && message.method() == "BYE"
                && message.field("Call-ID") == call.id()
        });
        assert_eq!(answer.code(), Some(200), "{}", answer.text());
    }
    times
}

impl Byes {
    /// Calls that were made.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.0.len()
    }

    /// The figures as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "count": self.0.len(),
            "p50_us": self.0.value_at_quantile(0.5),
            "p99_us": self.0.value_at_quantile(0.99),
            "max_us": self.0.max(),
        })
    }
}

impl fmt::Display for Byes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "from BYE in to BYE out, {} calls beside the load: p50 {} µs, p99 {} µs, at most {} µs",
            self.0.len(),
            self.0.value_at_quantile(0.5),
            self.0.value_at_quantile(0.99),
            self.0.max(),
        )
    }
}
