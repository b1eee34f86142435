//! Midpath under the load: its own process, sessions by SIP.

use std::net::IpAddr;
use std::time::Duration;

use tests::live::eventually;
use tests::live::relay::Relay;
use tests::peers::sdp::{self, Media, Writer};
use tests::peers::sip::{Agent, Call};

use super::session::Pair;
use super::subject::{
    self, Backend, Order, Running, Started, Target, bind, connect, own_path, pair_end_to_end,
};
use crate::rtp::host;

/// Media ports below the ones that the kernel hands out.
const PORTS: (u16, u16) = (2048, 32_767);

struct Midpath {
    relay: Relay,
    caller: Agent,
    called: Agent,
    calls: Vec<(Call, Call)>,
}

/// Starts the relay and sets up sessions through it.
///
/// # Errors
///
/// An answer has no message stream, or a session can't be bound.
pub fn start(order: &Order<'_>) -> Result<Started, String> {
    let backend = match order.contender.backend {
        Backend::Auto => "auto",
        Backend::Uring => "uring",
        Backend::Epoll => "epoll",
    };
    let relay = Relay::start_on(IpAddr::V4(order.ip), |settings| {
        settings
            .set("media", "port_first", PORTS.0)
            .set("media", "port_last", PORTS.1)
            .set("media", "workers", 1)
            .set("media", "backend", format!("\"{backend}\""))
            .set("sip", "sessions_max", 16_000)
            .set("log", "level", "\"warn\"");
        if let Some(first) = order.cores.first() {
            settings.set("media", "first_core", first);
        }
    });
    let id = relay.process().id();
    host::pin_process(id, order.cores);
    let before_kib = subject::memory_kib(id);
    let route = format!("<sip:{};lr;orig>", relay.sip);
    let mut midpath = Midpath {
        caller: Agent::udp("alice", relay.sip).via(&[route]),
        called: Agent::udp("bob", relay.sip),
        calls: Vec::with_capacity(order.sessions),
        relay,
    };
    let mut pairs = Vec::with_capacity(order.sessions);
    for _ in 0..order.sessions {
        pairs.push(midpath.session(order)?);
    }
    Ok(Started {
        running: Box::new(midpath),
        before_kib,
        pairs,
    })
}

impl Midpath {
    fn session(&mut self, order: &Order<'_>) -> Result<Pair, String> {
        let at = order
            .listener
            .local_addr()
            .map_err(|error| error.to_string())?;
        let (from_path, own) = (own_path(at), own_path(at));
        let is_cema = order.contender.target == Target::Cema;
        let describe = |path: &str, setup: &str| {
            let lines = [setup, "msrp-cema"];
            let lines = if is_cema { &lines[..] } else { &lines[..1] };
            Writer::new(at.ip()).message(path, lines).text()
        };
        let to = self.called.uri();
        let mut out = self
            .caller
            .invite(&to, &describe(&from_path, "setup:actpass"));
        let inward = self.called.incoming();
        inward.answer(&mut self.called, 200, &describe(&own, "setup:active"));
        let answer = out.established(&mut self.caller);
        let _ack = self.called.request("ACK");
        let (at_sender, at_receiver) = (stream_of(&answer.body)?, stream_of(&inward.invite.body)?);
        self.calls.push((out, inward));
        let (mut receiver, mut sender) = (connect(at_receiver.1)?, connect(at_sender.1)?);
        if is_cema {
            return pair_end_to_end(sender, receiver, (from_path, own));
        }
        bind(&mut receiver, &at_receiver.0, &own)?;
        bind(&mut sender, &at_sender.0, &from_path)?;
        Ok(Pair {
            sender,
            receiver,
            to_path: at_sender.0,
            from_path,
            own_path: own,
        })
    }
}

/// Path and address of a description's message stream.
fn stream_of(text: &str) -> Result<(String, std::net::SocketAddr), String> {
    let list = sdp::media(text);
    let stream = list.first().filter(|media: &&Media| media.port != 0);
    let path = stream.and_then(|media| media.attribute("path"));
    match (path, stream) {
        (Some(path), Some(media)) => Ok((path.to_owned(), media.address())),
        _ => Err(format!("no message stream in:\n{text}")),
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
        let empty = eventually(Duration::from_secs(10), || self.relay.sessions().is_empty());
        let status = self.relay.stop();
        match (empty, status) {
            (false, _) => Err("sessions were left after every BYE".to_owned()),
            (true, Some(status)) if status.success() => Ok(()),
            (true, status) => Err(format!("midpath ended with {status:?}")),
        }
    }
}
