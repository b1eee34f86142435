//! What most scenes share: a relay, two clients and the media that they agree on.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::live::kamailio::Core;
use crate::live::ports::Ports;
use crate::live::relay::{Relay, Settings};
use crate::peers::msrp::{Listener, Pace, Peer};
use crate::peers::rtp;
use crate::peers::sdp::{self, Media, Writer};
use crate::peers::sip::{Agent, Call};

/// For what must come but may take its time on a busy host.
pub const LONG: Duration = Duration::from_secs(60);

/// A relay with a client on each side.
#[derive(Debug)]
pub struct Scene {
    /// The calling client.
    pub alice: Agent,
    /// The called client.
    pub bob: Agent,
    /// What Alice calls.
    pub target: String,
    _core: Option<Core>,
    /// The relay.
    pub relay: Relay,
    /// Ports for the clients.
    pub ports: Ports,
}

impl Scene {
    /// Alice sends to the relay, which sends to Bob by the Request-URI.
    pub fn direct(change: impl FnOnce(&mut Settings)) -> Self {
        Self::beside(Relay::start_with(change))
    }

    /// The same beside a relay that runs.
    #[must_use]
    pub fn beside(relay: Relay) -> Self {
        let route = format!("<sip:{};lr;orig>", relay.sip);
        let alice = Agent::udp("alice", relay.sip).via(&[route]);
        let bob = Agent::udp("bob", relay.sip);
        let target = bob.uri();
        Self {
            alice,
            bob,
            target,
            _core: None,
            relay,
            ports: Ports::take(),
        }
    }

    /// Alice sends to Kamailio, which leads the call through the relay and back, and to Bob.
    pub fn through_core(change: impl FnOnce(&mut Settings)) -> Self {
        let relay = Relay::start_with(change);
        let mut ports = Ports::take();
        let mut bob = Agent::udp("bob", relay.sip);
        let core = Core::start(&mut ports, Some(relay.sip), &[("bob", &bob.uri())]);
        bob.hop = core.sip;
        let alice = Agent::udp("alice", core.sip);
        let target = format!("sip:bob@{}", core.sip);
        Self {
            alice,
            bob,
            target,
            _core: Some(core),
            relay,
            ports,
        }
    }

    /// The address that all of them use.
    #[must_use]
    pub const fn ip(&self) -> IpAddr {
        self.relay.sip.ip()
    }

    /// A G.711 peer for each side that knows the other's voice.
    pub fn voices(&mut self) -> (rtp::Peer, rtp::Peer) {
        let (a, b) = (self.ports.pair(), self.ports.pair());
        let (alice, bob) = (0xA11C_E000, 0xB0B0_0000);
        (
            rtp::Peer::bind(self.ip(), a, (alice, bob)),
            rtp::Peer::bind(self.ip(), b, (bob, alice)),
        )
    }

    /// Two voices that talk to each other directly.
    pub fn voices_alone(&mut self) -> (rtp::Peer, rtp::Peer) {
        let (one, other) = (self.ports.pair(), self.ports.pair());
        let pair = (
            rtp::Peer::bind(self.ip(), one, (other.into(), one.into())),
            rtp::Peer::bind(self.ip(), other, (one.into(), other.into())),
        );
        pair.0.aim(SocketAddr::new(self.ip(), other));
        pair.1.aim(SocketAddr::new(self.ip(), one));
        pair
    }

    /// Sets up a call with these offers and answers; Bob rings first.
    pub fn call(&mut self, offer: &str, answer: &str) -> Joined {
        let mut a = self.alice.invite(&self.target, offer);
        let b = self.bob.incoming();
        b.answer(&mut self.bob, 180, "");
        b.answer(&mut self.bob, 200, answer);
        let response = a.established(&mut self.alice);
        self.bob.request("ACK");
        let at_bob = sdp::media(&b.invite.body);
        Joined {
            at_alice: sdp::media(&response.body),
            at_bob,
            a,
            b,
        }
    }

    /// A call with audio alone, both sides talking.
    pub fn audio_call(&mut self) -> (Joined, rtp::Peer, rtp::Peer) {
        let (mut a, mut b) = self.voices();
        let joined = self.call(
            &self.offer().audio(a.port()).text(),
            &self.offer().audio(b.port()).text(),
        );
        a.aim(joined.at_alice[0].address());
        b.aim(joined.at_bob[0].address());
        a.talk();
        b.talk();
        (joined, a, b)
    }

    /// An empty description of this scene's address.
    #[must_use]
    pub fn offer(&self) -> Writer {
        Writer::new(self.ip())
    }

    /// Ends the call from Alice's side.
    pub fn alice_hangs_up(&mut self, joined: &mut Joined) {
        joined.a.send_bye(&mut self.alice);
        joined.b.bye_answered(&mut self.bob);
        assert_eq!(self.alice.response("BYE").code(), Some(200));
    }

    /// Ends the call from Bob's side.
    pub fn bob_hangs_up(&mut self, joined: &mut Joined) {
        joined.b.send_bye(&mut self.bob);
        joined.a.bye_answered(&mut self.alice);
        assert_eq!(self.bob.response("BYE").code(), Some(200));
    }
}

/// A call that stands, and what each side was told of the other's media.
#[derive(Debug)]
pub struct Joined {
    /// Alice's side.
    pub a: Call,
    /// Bob's side.
    pub b: Call,
    /// The answer that Alice got.
    pub at_alice: Vec<Media>,
    /// The offer that Bob got.
    pub at_bob: Vec<Media>,
}

/// The MSRP ends of both clients, bound to their sessions.
#[derive(Debug)]
pub struct Chat {
    /// Alice's end.
    pub alice: Peer,
    /// Bob's end.
    pub bob: Peer,
}

impl Chat {
    /// Sets up a call with a message stream as the last m-line after `audio` streams.
    pub fn call(scene: &mut Scene, voices: Option<(u16, u16)>, bob_pace: Pace) -> (Joined, Self) {
        let (a, b) = (Listener::bind(scene.ip()), Listener::bind(scene.ip()));
        let (mut offer, mut answer) = (scene.offer(), scene.offer());
        if let Some((alice, bob)) = voices {
            (offer, answer) = (offer.audio(alice), answer.audio(bob));
        }
        let offer = offer.message(a.path(), &["setup:actpass"]).text();
        let answer = answer.message(b.path(), &["setup:active"]).text();
        let joined = scene.call(&offer, &answer);
        let last = |media: &[Media]| media.last().expect("there is a message stream").clone();
        let (at_alice, at_bob) = (last(&joined.at_alice), last(&joined.at_bob));
        let bob = join(&b, &at_bob, bob_pace);
        let alice = join(&a, &at_alice, None);
        (joined, Self { alice, bob })
    }

    /// Says that neither side saw anything against RFC 4975.
    pub fn assert_clean(&self) {
        assert_eq!(
            (self.alice.refused(), self.alice.problems()),
            (vec![], vec![])
        );
        assert_eq!((self.bob.refused(), self.bob.problems()), (vec![], vec![]));
    }
}

/// Connects to what the SDP says: the relay is passive towards clients.
///
/// # Panics
///
/// The relay isn't passive or doesn't answer the bind.
#[must_use]
pub fn join(own: &Listener, remote: &Media, pace: Pace) -> Peer {
    assert_ne!(
        remote.attribute("setup"),
        Some("active"),
        "the relay must be passive: {remote:?}"
    );
    let path = remote
        .attribute("path")
        .expect("a message stream has a path");
    assert_eq!(
        sdp::path_address(path),
        Some(remote.address()),
        "no CEMA: path and c/m agree"
    );
    let peer = Peer::connect(own.path(), path, pace).expect("the relay listens");
    peer.bind().expect("the relay answers the bind");
    peer
}

/// The port of an address that nobody listens on.
pub fn nobody(scene: &mut Scene) -> SocketAddr {
    SocketAddr::new(scene.ip(), scene.ports.pair())
}
