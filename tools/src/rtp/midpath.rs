//! Midpath under the load: its own process, calls by SIP.

use std::net::IpAddr;
use std::time::Duration;

use tests::live::relay::Relay;
use tests::peers::sip::{Agent, Call};

use super::description::{place, sound};
use super::host;
use super::subject::{Backend, Order, Running};

/// Media ports below the ones that the kernel hands out: enough for 7,000 calls.
const PORTS: (u16, u16) = (2048, 32_767);

struct Midpath {
    relay: Relay,
    caller: Agent,
    called: Agent,
    calls: Vec<(Call, Call)>,
}

/// Starts the relay and calls through it; also its memory before the first call, in KiB.
///
/// # Errors
///
/// An answer has no sound.
pub fn start(order: &Order<'_>) -> Result<(Box<dyn Running>, u64), String> {
    let backend = match order.contender.backend {
        Backend::Auto => "auto",
        Backend::Uring => "uring",
        Backend::Epoll => "epoll",
    };
    let relay = Relay::start_on(IpAddr::V4(order.place.relay), |settings| {
        settings
            .set("media", "port_first", PORTS.0)
            .set("media", "port_last", PORTS.1)
            .set("media", "workers", order.contender.workers)
            .set("media", "backend", format!("\"{backend}\""))
            .set("sip", "sessions_max", 16_000)
            .set("log", "level", "\"warn\"");
        // Worker n takes core first_core + n: the last cores, as `Cores::share` hands them out.
        if let Some(first) = order.cores.first() {
            settings.set("media", "first_core", first);
        }
    });
    let id = relay.process().id();
    host::pin_process(id, order.cores);
    let before = host::resident_kib(id);
    let route = format!("<sip:{};lr;orig>", relay.sip);
    let mut midpath = Midpath {
        caller: Agent::udp("alice", relay.sip).via(&[route]),
        called: Agent::udp("bob", relay.sip),
        calls: Vec::with_capacity(order.legs.len() / 2),
        relay,
    };
    for call in 0..order.legs.len() / 2 {
        midpath.call(order, call)?;
    }
    Ok((Box::new(midpath), before))
}

impl Midpath {
    fn call(&mut self, order: &Order<'_>, number: usize) -> Result<(), String> {
        let at = |leg: usize| sound(order.legs[leg].at.into(), order.codec, order.mux);
        let (near, far) = (2 * number, 2 * number + 1);
        let to = self.called.uri();
        let mut out = self.caller.invite(&to, &at(near));
        let inward = self.called.incoming();
        order.legs[far].connect(place(&inward.invite.body)?)?;
        inward.answer(&mut self.called, 200, &at(far));
        let answer = out.established(&mut self.caller);
        order.legs[near].connect(place(&answer.body)?)?;
        let _ack = self.called.request("ACK");
        self.calls.push((out, inward));
        Ok(())
    }
}

impl Running for Midpath {
    fn id(&self) -> u32 {
        self.relay.process().id()
    }

    fn end(mut self: Box<Self>) -> Result<(), String> {
        for (out, inward) in &mut self.calls {
            out.send_bye(&mut self.caller);
            let _bye = inward.bye_answered(&mut self.called);
            let answer = self.caller.response("BYE");
            if answer.code() != Some(200) {
                return Err(format!("BYE was answered with {}", answer.start));
            }
        }
        let empty =
            tests::live::eventually(Duration::from_secs(10), || self.relay.sessions().is_empty());
        let status = self.relay.stop();
        match (empty, status) {
            (false, _) => Err("sessions were left after every BYE".to_owned()),
            (true, Some(status)) if status.success() => Ok(()),
            (true, status) => Err(format!("midpath ended with {status:?}")),
        }
    }
}
