//! A worker that binds at once, and two sides that talk through the relay.

mod cema;
mod msrp;
mod random;
mod rtp;
mod secure;
mod session;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use dataplane::api::{
    Act, Direction, Learn, LegLocal, LegSpec, MsrpLocal, MsrpSpec, Remote, Side, StreamId,
    StreamPlan, StreamSet,
};

use super::{Answered, Media, Msrp, Policy, Proposal, Refused, Settings};
use crate::sdp::{Proto, Sdp};

const RELAY_4: &str = "198.51.100.1";
const RELAY_6: &str = "2001:db8:ffff::1";

fn settings() -> Settings {
    Settings {
        media_v4: Some(RELAY_4.parse().unwrap()),
        media_v6: Some(RELAY_6.parse().unwrap()),
        learn: Learn::Once {
            window_ms: 5000,
            same_ip: false,
        },
        silence_ms: 0,
        msrp: msrp(),
    }
}

/// TCP and TLS with a certificate of our own, and WebSockets.
fn msrp() -> Msrp {
    Msrp {
        carried: [true; 4],
        fingerprint: Some([0xab; 32]),
        ..Msrp::default()
    }
}

const OWN_FINGERPRINT: &str = "SHA-256 AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB";

/// The relay under test, with a worker's ports.
struct Relay {
    media: Media,
    bound: u16,
}

impl Relay {
    fn new() -> Self {
        Self::with(settings())
    }

    fn with(settings: Settings) -> Self {
        Self {
            media: Media::new(Arc::new(settings), 7000),
            bound: 0,
        }
    }

    /// An offer whose new streams are bound, and what the far side is offered.
    fn offer(&mut self, from: Side, offer: &str) -> (Proposal, String) {
        self.offer_within(from, offer, Policy::ALL)
    }

    fn offer_within(&mut self, from: Side, offer: &str, policy: Policy) -> (Proposal, String) {
        let mut proposal = self
            .media
            .offer(from, crlf(offer).as_bytes(), &policy)
            .unwrap();
        let mut acts = proposal.take_opens();
        assert!(proposal.take_opens().is_empty(), "opens are given once");
        for act in &mut acts {
            self.bind(act);
        }
        proposal.opened(acts);
        let far = emitted(&proposal.offer_to_far().unwrap());
        (proposal, far)
    }

    fn refuses(&self, from: Side, offer: &str, policy: Policy) -> Refused {
        let proposal = self.media.offer(from, crlf(offer).as_bytes(), &policy);
        proposal.map(Proposal::abandon).unwrap_err()
    }

    /// A whole exchange: what the far side was offered, what the offerer was answered.
    fn exchange(&mut self, from: Side, offer: &str, answer: &str) -> (String, Done) {
        let (mut proposal, far) = self.offer(from, offer);
        let answered = proposal.answer(crlf(answer).as_bytes()).unwrap();
        let to_offerer = emitted(&answered.to_offerer);
        let released = proposal.commit(&mut self.media);
        let done = Done {
            answer: to_offerer,
            answered,
            released,
        };
        (far, done)
    }

    fn bind(&mut self, act: &mut Act) {
        let Act::Open(plan) = act else {
            panic!("only opens are to be bound");
        };
        let StreamPlan { legs, local, .. } = plan;
        for (spec, local) in legs.iter().zip(local) {
            *local = self.bind_leg(spec);
        }
    }

    fn bind_leg(&mut self, spec: &LegSpec) -> LegLocal {
        let turn = self.bound;
        self.bound += 1;
        match spec {
            LegSpec::Rtp {
                local_ip, rtcp_mux, ..
            } => {
                let rtp = SocketAddr::new(*local_ip, 20_000 + 2 * turn);
                let rtcp = SocketAddr::new(*local_ip, rtp.port() + u16::from(!rtcp_mux));
                LegLocal::Rtp { rtp, rtcp }
            }
            LegSpec::Msrp(MsrpSpec { local_ip, .. }) => {
                let mut session_id = [b'k'; 32];
                session_id[0] = b'a' + u8::try_from(turn % 26).unwrap();
                let listen = SocketAddr::new(*local_ip, 2855);
                LegLocal::Msrp(MsrpLocal { listen, session_id })
            }
            LegSpec::Bytes { local_ip } => LegLocal::Bytes {
                listen: SocketAddr::new(*local_ip, 40_000 + turn),
            },
            LegSpec::Bfcp(spec) => LegLocal::Bfcp {
                listen: SocketAddr::new(spec.local_ip, 40_000 + turn),
            },
            LegSpec::Away(_) => LegLocal::Unbound,
        }
    }

    /// Writes what the far side is offered anew, after an answer without CEMA.
    fn again(proposal: &mut Proposal) -> String {
        emitted(&proposal.offer_to_far().unwrap())
    }

    fn ids(&self) -> Vec<u8> {
        let live = self.media.streams().filter(|stream| !stream.released);
        live.map(|stream| stream.id.0).collect()
    }
}

/// What an exchange led to.
struct Done {
    answer: String,
    answered: Answered,
    released: StreamSet,
}

/// The lines of a literal, without its indentation, ended by CRLF.
fn crlf(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(|line| format!("{line}\r\n")).collect()
}

/// The text of a description that the relay wrote, with what must hold for every one.
fn emitted(bytes: &[u8]) -> String {
    let text = std::str::from_utf8(bytes).unwrap().to_owned();
    let sdp = Sdp::parse(bytes).unwrap();
    sdp_types::Session::parse(bytes).expect("an independent reader takes it");
    for line in sdp.media() {
        let connection = sdp.connection(line).expect("every line has an address");
        let ip = connection.ip.unwrap();
        assert!(is_ours(ip), "{ip} is not the relay's:\n{text}");
        if let Proto::Msrp { tls } = line.proto()
            && line.port() != 0
            && !line.has("msrp-cema")
        {
            let scheme = if tls { "msrps" } else { "msrp" };
            let start = format!("{scheme}://{}/", SocketAddr::new(ip, line.port()));
            let path = line.attribute("path").unwrap();
            assert!(
                path.starts_with(&start),
                "path differs from c= and m=:\n{text}"
            );
            let own = tls.then_some(OWN_FINGERPRINT);
            assert_eq!(line.attribute("fingerprint"), own, "not our own:\n{text}");
        }
    }
    text
}

fn is_ours(ip: IpAddr) -> bool {
    ip == RELAY_4.parse::<IpAddr>().unwrap() || ip == RELAY_6.parse::<IpAddr>().unwrap()
}

/// What a leg was last told by some acts.
fn told(acts: &[Act], stream: u8, side: Side) -> Option<(&Remote, Direction)> {
    acts.iter().rev().find_map(|act| match act {
        Act::Connect {
            stream: id,
            side: whose,
            remote,
            direction,
        } if *id == StreamId(stream) && *whose == side => Some((remote, *direction)),
        _ => None,
    })
}

fn rtp_remote(acts: &[Act], stream: u8, side: Side) -> (String, String) {
    match told(acts, stream, side) {
        Some((Remote::Rtp(remote), _)) => (remote.rtp.to_string(), remote.rtcp.to_string()),
        other => panic!("no RTP far end: {other:?}"),
    }
}

/// May send, may receive.
fn may(acts: &[Act], stream: u8, side: Side) -> (bool, bool) {
    let (_, direction) = told(acts, stream, side).expect("the leg was told something");
    (direction.may_send, direction.may_receive)
}
