//! Floors through a started relay: participants over SIP, with video by RTP and floor control by
//! clients written from RFC 8855, over datagrams, connections and TLS.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use tests::live::relay::Relay;
use tests::live::scene::LONG;
use tests::live::{eventually, needs};
use tests::peers::bfcp::{Client, Message, primitive, status};
use tests::peers::sdp::{self, Media, Writer};
use tests::peers::sip::{Agent, Call};
use tests::peers::tls::{self, Identity};

use super::floors_wire::judged;

const TEAM: &str = "sip:team@groups.example";

/// What carries floor control.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Carrier {
    Udp,
    Tcp,
    Tls,
}

enum Line {
    Datagrams(UdpSocket, SocketAddr),
    Connection(TcpStream),
}

/// Somebody who takes part.
struct Party {
    name: String,
    agent: Agent,
    call: Option<Call>,
    carrier: Carrier,
    identity: Identity,
    rtp: UdpSocket,
    rtp_to: Option<SocketAddr>,
    bfcp: UdpSocket,
    line: Option<Line>,
    client: Client,
    /// Messages that were heard and not looked at.
    news: Vec<Message>,
    /// Media that was heard: who sent it, and its number.
    heard: Vec<String>,
    said: u8,
    /// All floor control, as it was on the wire.
    wire: Vec<Vec<u8>>,
    /// Octets from the relay that are no whole message yet.
    gathered: Vec<u8>,
}

impl Party {
    fn new(name: &str, carrier: Carrier) -> Self {
        let socket = || {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket
                .set_read_timeout(Some(Duration::from_millis(5)))
                .unwrap();
            socket
        };
        Self {
            name: name.to_owned(),
            agent: Agent::udp(name, "127.0.0.1:9".parse().unwrap()),
            call: None,
            carrier,
            identity: Identity::new(),
            rtp: socket(),
            rtp_to: None,
            bfcp: socket(),
            line: None,
            client: Client::new(0, 0, carrier == Carrier::Udp),
            news: Vec::new(),
            heard: Vec::new(),
            said: 0,
            wire: Vec::new(),
            gathered: Vec::new(),
        }
    }

    /// Its description: it makes the connection, whoever offers.
    fn describe(&self) -> String {
        let port = |socket: &UdpSocket| socket.local_addr().unwrap().port();
        let (bfcp, proto) = match self.carrier {
            Carrier::Udp => (port(&self.bfcp), "UDP/BFCP"),
            Carrier::Tcp => (9, "TCP/BFCP"),
            Carrier::Tls => (9, "TCP/TLS/BFCP"),
        };
        let mut floors = format!("m=application {bfcp} {proto} *\r\na=floorctrl:c-only\r\n");
        if self.carrier != Carrier::Udp {
            floors.push_str("a=setup:active\r\na=connection:new\r\n");
        }
        if self.carrier == Carrier::Tls {
            floors.push_str(&format!(
                "a=fingerprint:{}\r\n",
                self.identity.fingerprint()
            ));
        }
        let video = format!(
            "m=video {} RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n",
            port(&self.rtp)
        );
        let own = Writer::new("127.0.0.1".parse().unwrap());
        own.lines(video).lines(floors).text()
    }

    /// Takes what the relay says of itself, as the one who offered or answered.
    fn connect(&mut self, description: &str, offered: bool) {
        let media = sdp::media(description);
        assert_eq!(media.len(), 2, "{description}");
        let (video, floors) = (&media[0], &media[1]);
        self.rtp_to = Some(video.address());
        let label = video.attribute("label").unwrap();
        assert_eq!(
            floors.attribute("floorid").unwrap(),
            format!("2 mstrm:{label}")
        );
        assert_eq!(floors.attribute("floorctrl"), Some("s-only"));
        let version = if self.carrier == Carrier::Udp {
            "2"
        } else {
            "1"
        };
        assert_eq!(floors.attribute("bfcpver"), Some(version));
        let number = |name: &str| floors.attribute(name).unwrap();
        self.client = Client::new(
            number("confid").parse().unwrap(),
            number("userid").parse().unwrap(),
            self.carrier == Carrier::Udp,
        );
        self.line = Some(match self.carrier {
            Carrier::Udp => Line::Datagrams(self.bfcp.try_clone().unwrap(), floors.address()),
            Carrier::Tcp => Line::Connection(TcpStream::connect(floors.address()).unwrap()),
            Carrier::Tls => Line::Connection(self.secure(floors, offered)),
        });
        if let Some(Line::Connection(stream)) = &self.line {
            stream
                .set_read_timeout(Some(Duration::from_millis(5)))
                .unwrap();
        }
    }

    /// RFC 8855 §7: who answered is TLS's server.
    fn secure(&self, floors: &Media, offered: bool) -> TcpStream {
        let stream = TcpStream::connect(floors.address()).unwrap();
        let secured = if offered {
            tls::client(stream, &self.identity)
        } else {
            tls::server(stream, &self.identity)
        };
        let secured = secured.unwrap();
        let announced = floors.attribute("fingerprint").unwrap();
        let shown = secured.far.expect("the relay shows its certificate");
        assert!(
            announced.eq_ignore_ascii_case(&shown),
            "{announced} {shown}"
        );
        secured.plain
    }

    fn send(&mut self, octets: Vec<u8>) {
        match self.line.as_mut().unwrap() {
            Line::Datagrams(socket, to) => {
                let _sent = socket.send_to(&octets, *to).unwrap();
            }
            Line::Connection(stream) => stream.write_all(&octets).unwrap(),
        }
        self.wire.push(octets);
    }

    /// Takes what has come, of floor control and of media.
    fn hear(&mut self) {
        let mut bytes = [0; 2048];
        let came = match self.line.as_mut().unwrap() {
            Line::Datagrams(socket, _) => socket.recv(&mut bytes).ok(),
            Line::Connection(stream) => stream.read(&mut bytes).ok(),
        };
        if let Some(octets) = came.map(|length| bytes[..length].to_vec()) {
            self.note(&octets);
            let heard = self.client.hear(&octets);
            self.news.extend(heard.messages);
            for reply in heard.replies {
                self.send(reply);
            }
        }
        if let Some(again) = self.client.resend(Instant::now()) {
            self.send(again);
        }
        self.rtp.set_nonblocking(true).unwrap();
        while let Ok(length) = self.rtp.recv(&mut bytes) {
            let is_rtcp = (192..=223).contains(&bytes[1]);
            if !is_rtcp {
                assert!(length > 14, "{length} octets of RTP");
                let (who, number) = (bytes[length - 2], bytes[length - 1]);
                self.heard.push(format!("{}{number}", char::from(who)));
            }
        }
    }

    /// Keeps what came of floor control, message by message.
    fn note(&mut self, octets: &[u8]) {
        if self.carrier == Carrier::Udp {
            self.wire.push(octets.to_vec());
            return;
        }
        self.gathered.extend_from_slice(octets);
        while let Some(length) = Message::length(&self.gathered)
            && length <= self.gathered.len()
        {
            self.wire.push(self.gathered.drain(..length).collect());
        }
    }

    /// Waits for news; what comes before it is passed over.
    fn told(&mut self, what: &str, is_it: impl Fn(&Message) -> bool) -> Message {
        let mut found = None;
        eventually(LONG, || {
            self.hear();
            while !self.news.is_empty() && found.is_none() {
                let first = self.news.remove(0);
                found = Some(first).filter(&is_it);
            }
            found.is_some()
        });
        assert!(found.is_some(), "{} isn't told: {what}", self.name);
        found.expect("it was told")
    }

    /// Asks for the floor of video: the request, and what has become of it.
    fn asks(&mut self) -> (u16, u8) {
        let (transaction, octets) = self.client.ask(&[2], 2, Instant::now());
        self.send(octets);
        self.answered(transaction)
    }

    fn gives_back(&mut self, request: u16) -> (u16, u8) {
        let (transaction, octets) = self.client.give_back(request, Instant::now());
        self.send(octets);
        self.answered(transaction)
    }

    fn answered(&mut self, transaction: u16) -> (u16, u8) {
        let answer = self.told("the answer", |one| one.transaction == transaction);
        assert_eq!(answer.primitive, primitive::FLOOR_REQUEST_STATUS);
        let info = &answer.infos()[0];
        (info.request, info.overall.0)
    }

    /// Waits until its request has become something.
    fn is(&mut self, wanted: u8) {
        self.told("its request's status", |one| {
            let is_status = one.primitive == primitive::FLOOR_REQUEST_STATUS;
            is_status && one.infos()[0].overall.0 == wanted
        });
    }

    /// Sends a picture of its own, the next number.
    fn shows(&mut self) {
        self.said += 1;
        let n = u16::from(self.said);
        let mut packet = vec![0x80, 0x80 | 96];
        packet.extend(n.to_be_bytes());
        packet.extend((u32::from(n) * 3000).to_be_bytes());
        packet.extend(0x0102_0304_u32.to_be_bytes());
        // VP8's descriptor, then a key frame's tag, start code and size (RFC 6386 §9.1).
        packet.extend([
            0x10, 0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xf0, 0x00,
        ]);
        packet.extend([self.name.as_bytes()[0], self.said]);
        let _sent = self.rtp.send_to(&packet, self.rtp_to.unwrap()).unwrap();
    }

    fn sees(&mut self, what: &str) {
        let seen = eventually(LONG, || {
            self.hear();
            self.heard.last().is_some_and(|last| last == what)
        });
        assert!(seen, "{} sees {:?}", self.name, self.heard);
    }

    fn leaves(&mut self) {
        let call = self.call.as_mut().unwrap();
        call.bye(&mut self.agent);
    }
}

/// A session of three, with a floor of video; it has lasted until everybody can ask for it.
fn meeting(carrier: Carrier, rules: &[(&str, &str)]) -> (Relay, [Party; 3]) {
    let mut parties = ["alice", "bob", "carol"].map(|name| Party::new(name, carrier));
    let uris: Vec<String> = parties.iter().map(|one| one.agent.uri()).collect();
    let relay = Relay::start_with(|settings| {
        for (key, value) in rules {
            settings.set("controlling", key, value);
        }
        let section = format!("group.{TEAM:?}");
        settings.set(&section, "members", format!("{uris:?}"));
        settings.set(&section, "floors", "[\"video\"]");
    });
    for party in &mut parties {
        party.agent.hop = relay.sip;
    }
    let [alice, bob, carol] = &mut parties;
    let own = alice.describe();
    let mut call = alice.agent.invite(TEAM, &own);
    for party in [&mut *bob, &mut *carol] {
        let invited = party.agent.incoming();
        let own = party.describe();
        invited.answer(&mut party.agent, 200, &own);
        party.agent.request("ACK");
        party.connect(&invited.invite.body, false);
        party.call = Some(invited);
    }
    let answer = call.established(&mut alice.agent);
    alice.connect(&answer.body, true);
    alice.call = Some(call);
    (relay, parties)
}

/// tshark reads all that was said of floors, and finds no error.
fn assert_judged(parties: &[Party], carrier: Carrier) {
    if needs("live::floors", &["tshark", "text2pcap"]) {
        for party in parties {
            judged(party.wire.clone(), carrier == Carrier::Udp);
        }
    }
}

/// Waits until so many pictures came of those who didn't hold the floor.
fn has_dropped(relay: &Relay, count: u32) {
    let dropped = || relay.metric(&["_dropped", "reason=\"floor\""]);
    let has_dropped = eventually(LONG, || dropped() >= f64::from(count));
    assert!(
        has_dropped && dropped() == f64::from(count),
        "{}",
        dropped()
    );
}

/// Each floor goes from hand to hand, and nobody sees a packet of who doesn't hold it.
fn goes_round(carrier: Carrier) {
    let (relay, mut parties) = meeting(carrier, &[]);
    let [alice, bob, carol] = &mut parties;
    alice.shows();
    has_dropped(&relay, 1);
    let (first, granted) = alice.asks();
    assert_eq!(granted, status::GRANTED);
    alice.shows();
    bob.sees("a2");
    carol.sees("a2");

    // Bob waits, and what he sends meanwhile isn't seen.
    let (second, waits) = bob.asks();
    assert_eq!(waits, status::ACCEPTED);
    bob.shows();
    has_dropped(&relay, 2);
    assert_eq!(alice.gives_back(first), (first, status::RELEASED));
    alice.shows();
    bob.is(status::GRANTED);
    bob.shows();
    alice.sees("b2");
    carol.sees("b2");

    // And so it goes on.
    assert_eq!(carol.asks().1, status::ACCEPTED);
    assert_eq!(bob.gives_back(second), (second, status::RELEASED));
    bob.shows();
    carol.is(status::GRANTED);
    carol.shows();
    alice.sees("c1");
    bob.sees("c1");
    let views = relay.sessions();
    assert_eq!(views[0]["streams"][0]["holders"][0], 3, "{views:#?}");

    has_dropped(&relay, 4);
    let seen = [alice, bob, carol].map(|party| {
        party.hear();
        party.heard.join(" ")
    });
    assert_eq!(seen, ["b2 c1", "a2 c1", "a2 b2"]);
    assert_judged(&parties, carrier);
    parties.iter_mut().for_each(Party::leaves);
    relay.assert_empty();
}

#[test]
fn upl_05_a_floor_goes_round_over_datagrams() {
    goes_round(Carrier::Udp);
}

#[test]
fn upl_05_a_floor_goes_round_over_connections() {
    goes_round(Carrier::Tcp);
}

#[test]
fn upl_05_a_floor_goes_round_over_tls() {
    goes_round(Carrier::Tls);
}

#[test]
fn upl_05_who_began_the_session_decides_where_the_policy_says_so() {
    let carrier = Carrier::Tcp;
    let (relay, mut parties) = meeting(carrier, &[("floor_chair", "\"originator\"")]);
    let [alice, bob, carol] = &mut parties;
    let (_, octets) = alice.client.watch(&[2], Instant::now());
    alice.send(octets);
    alice.told("the floor", |one| one.primitive == primitive::FLOOR_STATUS);

    let (request, pending) = bob.asks();
    assert_eq!(pending, status::PENDING);
    alice.told("bob's request", |one| {
        let mut infos = one.infos().into_iter();
        infos.any(|info| info.request == request && info.overall.0 == status::PENDING)
    });
    bob.shows();
    has_dropped(&relay, 1);
    let grant = (2, status::GRANTED, 0);
    let (_, octets) = alice.client.decide(request, grant, Instant::now());
    alice.send(octets);
    alice.told("that it was taken", |one| {
        one.primitive == primitive::CHAIR_ACTION_ACK
    });
    bob.is(status::GRANTED);
    bob.shows();
    carol.sees("b2");

    // And takes it away again.
    let revoke = (2, status::REVOKED, 0);
    let (_, octets) = alice.client.decide(request, revoke, Instant::now());
    alice.send(octets);
    bob.is(status::REVOKED);
    bob.shows();
    has_dropped(&relay, 2);
    carol.hear();
    assert_eq!(carol.heard, ["b2"]);
    assert_judged(&parties, carrier);
    parties.iter_mut().for_each(Party::leaves);
    relay.assert_empty();
}
