//! Floor control in descriptions (RFC 8856): who serves it, for which conference, and which streams
//! its floors govern.
//!
//! ```text
//! m=application 50000 TCP/TLS/BFCP *     a=floorctrl:c-only s-only     a=confid:4321  a=userid:1234
//! a=floorid:1 mstrm:10                   a=label:10 of the stream that floor 1 governs
//! ```

use std::fmt::Write as _;

use super::MediaDescription;

/// What carries BFCP (RFC 8856 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BfcpProto {
    /// `UDP/BFCP`.
    Udp,
    /// `TCP/BFCP`.
    Tcp,
    /// `TCP/TLS/BFCP`.
    TcpTls,
    /// `UDP/TLS/BFCP`: DTLS, which the relay doesn't speak.
    UdpTls,
}

/// What an end can be (RFC 8856 §5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Roles {
    /// A floor control client.
    pub client: bool,
    /// A floor control server.
    pub server: bool,
}

/// A floor and what it governs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FloorStreams {
    /// The floor (RFC 8856 §5.4).
    pub floor: u16,
    /// The labels of its streams (RFC 4574); none where the far end named none.
    pub labels: Vec<String>,
}

/// What a description says of floor control.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FloorControl {
    /// What carries it.
    pub proto: BfcpProto,
    /// What its author can be; where it says nothing, an offerer is a client and an answerer a
    /// server (RFC 8856 §5.1).
    pub roles: Option<Roles>,
    /// The conference (RFC 8856 §5.2); a server's.
    pub conference: Option<u32>,
    /// The user that the far end is (RFC 8856 §5.3); a server's.
    pub user: Option<u16>,
    /// The floors (RFC 8856 §5.4); a server's.
    pub floors: Vec<FloorStreams>,
    /// The versions that can be spoken (RFC 8856 §5.5); empty where it doesn't say.
    pub versions: Vec<u8>,
}

impl BfcpProto {
    /// The transport protocol of an m-line, if it is one of BFCP's.
    #[must_use]
    pub fn of(media: &MediaDescription) -> Option<Self> {
        let all = [Self::Udp, Self::Tcp, Self::TcpTls, Self::UdpTls];
        all.into_iter()
            .find(|proto| media.proto.eq_ignore_ascii_case(proto.name().as_bytes()))
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Udp => "UDP/BFCP",
            Self::Tcp => "TCP/BFCP",
            Self::TcpTls => "TCP/TLS/BFCP",
            Self::UdpTls => "UDP/TLS/BFCP",
        }
    }

    /// The version that is spoken over it (RFC 8855 §5.1).
    #[must_use]
    pub fn version(self) -> u8 {
        match self {
            Self::Tcp | Self::TcpTls => 1,
            Self::Udp | Self::UdpTls => 2,
        }
    }
}

impl Roles {
    /// A client, nothing else.
    pub const CLIENT: Self = Self {
        client: true,
        server: false,
    };
    /// A server, nothing else.
    pub const SERVER: Self = Self {
        client: false,
        server: true,
    };

    /// Reads `a=floorctrl`; roles that aren't known are left out. Each token is a role; "c-s" is
    /// both at a time.
    #[must_use]
    pub fn parse(value: &str) -> Self {
        let mut roles = Self::default();
        for word in value.split_ascii_whitespace() {
            match word.to_ascii_lowercase().as_str() {
                "c-only" => roles.client = true,
                "s-only" => roles.server = true,
                "c-s" => (roles.client, roles.server) = (true, true),
                _ => {}
            }
        }
        roles
    }

    /// The value of `a=floorctrl`; `None` where it is neither.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        match (self.client, self.server) {
            (true, true) => Some("c-only s-only"),
            (true, false) => Some("c-only"),
            (false, true) => Some("s-only"),
            (false, false) => None,
        }
    }
}

impl FloorControl {
    /// Reads an m-line of BFCP; `None` for another one, or where an identifier isn't a number.
    #[must_use]
    pub fn parse(media: &MediaDescription) -> Option<Self> {
        let proto = BfcpProto::of(media)?;
        let conference = media.attribute("confid").map(|value| value.trim().parse());
        let user = media.attribute("userid").map(|value| value.trim().parse());
        let floors = media.attributes("floorid").map(FloorStreams::parse);
        let versions = media.attribute("bfcpver").unwrap_or_default();
        let versions = versions.split_ascii_whitespace();
        Some(Self {
            proto,
            roles: media.attribute("floorctrl").map(Roles::parse),
            conference: conference.transpose().ok()?,
            user: user.transpose().ok()?,
            floors: floors.collect::<Option<_>>()?,
            versions: versions.filter_map(|word| word.parse().ok()).collect(),
        })
    }

    /// Whether its author can be a client of the relay, a server. Without `a=floorctrl` the author
    /// of an offer is one.
    #[must_use]
    pub fn can_be_client(&self, is_offer: bool) -> bool {
        self.roles.map_or(is_offer, |roles| roles.client)
    }

    /// Whether its author speaks the version that goes with the transport.
    #[must_use]
    pub fn speaks_version(&self) -> bool {
        self.versions.is_empty() || self.versions.contains(&self.proto.version())
    }

    /// Writes it into an m-line of its own transport protocol. Attributes of floor control that the
    /// line had are replaced; port, address, `a=setup` and `a=fingerprint` are the caller's.
    pub fn write(&self, media: &mut MediaDescription) {
        const OWN: [&str; 5] = ["floorctrl", "confid", "userid", "floorid", "bfcpver"];
        let lines = media.lines_mut();
        lines.retain_attributes(|name, _| !OWN.iter().any(|own| name.eq_ignore_ascii_case(own)));
        if let Some(roles) = self.roles.and_then(Roles::name) {
            lines.set_attribute("floorctrl", Some(roles));
        }
        if let Some(conference) = self.conference {
            lines.set_attribute("confid", Some(&conference.to_string()));
        }
        if let Some(user) = self.user {
            lines.set_attribute("userid", Some(&user.to_string()));
        }
        for floor in &self.floors {
            lines.add_attribute("floorid", Some(&floor.value()));
        }
        if !self.versions.is_empty() {
            let words: Vec<String> = self.versions.iter().map(u8::to_string).collect();
            lines.set_attribute("bfcpver", Some(&words.join(" ")));
        }
        media.proto = self.proto.name().into();
    }
}

impl FloorStreams {
    /// Reads the value of `a=floorid`. RFC 4583's examples have `m-stream`, which is taken, too.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        let mut words = value.split_ascii_whitespace();
        let floor = words.next()?.parse().ok()?;
        let mut labels = Vec::new();
        for word in words {
            // The first label follows the colon, the others spaces.
            let label = match word.split_once(':') {
                Some((name, label)) => {
                    let is_it = ["mstrm", "m-stream"]
                        .iter()
                        .any(|own| name.eq_ignore_ascii_case(own));
                    is_it.then_some(label)?
                }
                None if labels.is_empty() => return None,
                None => word,
            };
            if !label.is_empty() {
                labels.push(label.to_owned());
            }
        }
        Some(Self { floor, labels })
    }

    fn value(&self) -> String {
        let mut value = self.floor.to_string();
        for (index, label) in self.labels.iter().enumerate() {
            let before = if index == 0 { " mstrm:" } else { " " };
            // Writing to a string doesn't fail.
            let _ = write!(value, "{before}{label}");
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::super::Sdp;
    use super::*;

    /// RFC 8856 §12: the answer's server over TCP, and the streams of its floors.
    const SERVER: &str = "v=0\r\n\
        m=application 50000 TCP/TLS/BFCP *\r\n\
        a=setup:passive\r\n\
        a=connection:new\r\n\
        a=floorctrl:s-only\r\n\
        a=confid:4321\r\n\
        a=userid:1234\r\n\
        a=floorid:1 mstrm:10\r\n\
        a=floorid:2 mstrm:11 12\r\n\
        a=bfcpver:1\r\n\
        m=audio 50002 RTP/AVP 0\r\n\
        a=label:10\r\n";

    fn first(text: &str) -> MediaDescription {
        Sdp::parse(text.as_bytes()).unwrap().media()[0].clone()
    }

    fn line(proto: &str, attributes: &str) -> MediaDescription {
        first(&format!("v=0\r\nm=application 9 {proto} *\r\n{attributes}"))
    }

    #[test]
    fn a_server_of_the_rfc_is_read() {
        let floor = |floor, labels: &[&str]| FloorStreams {
            floor,
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        };
        let control = FloorControl::parse(&first(SERVER)).unwrap();
        let wanted = FloorControl {
            proto: BfcpProto::TcpTls,
            roles: Some(Roles::SERVER),
            conference: Some(4321),
            user: Some(1234),
            floors: vec![floor(1, &["10"]), floor(2, &["11", "12"])],
            versions: vec![1],
        };
        assert_eq!(control, wanted);
        assert!(!control.can_be_client(true) && control.speaks_version());
    }

    #[test]
    fn what_is_written_is_read_the_same_and_other_lines_stay() {
        let mut media = first(SERVER);
        let control = FloorControl {
            user: Some(7),
            ..FloorControl::parse(&media).unwrap()
        };
        control.write(&mut media);
        assert_eq!(FloorControl::parse(&media), Some(control));
        assert_eq!(media.attribute("setup"), Some("passive"));
        assert_eq!(media.attributes("floorid").count(), 2);
        assert_eq!(media.attributes("userid").collect::<Vec<_>>(), ["7"]);
    }

    #[test]
    fn an_offerer_without_roles_is_a_client_and_one_with_both_is_too() {
        let plain = FloorControl::parse(&line("UDP/BFCP", "")).unwrap();
        assert!(plain.can_be_client(true) && !plain.can_be_client(false));
        for both in ["c-only s-only", "c-s", "C-Only"] {
            let line = line("TCP/BFCP", &format!("a=floorctrl:{both}\r\n"));
            let control = FloorControl::parse(&line).unwrap();
            assert!(control.can_be_client(false), "{both}");
        }
    }

    #[test]
    fn the_transport_decides_on_the_version() {
        let of = |proto: &str, versions: &str| {
            let line = line(proto, &format!("a=bfcpver:{versions}\r\n"));
            FloorControl::parse(&line).unwrap().speaks_version()
        };
        assert!(of("UDP/BFCP", "2") && of("udp/bfcp", "1 2") && of("TCP/BFCP", "1"));
        assert!(!of("UDP/BFCP", "1") && !of("TCP/TLS/BFCP", "2"));
    }

    #[test]
    fn what_is_no_floor_control_is_none() {
        assert_eq!(FloorControl::parse(&line("UDP/DTLS/SCTP", "")), None);
        for broken in [
            "confid:x",
            "userid:70000",
            "floorid:",
            "floorid:1 2",
            "floorid:1 x:2",
        ] {
            let line = line("TCP/BFCP", &format!("a={broken}\r\n"));
            assert_eq!(FloorControl::parse(&line), None, "{broken}");
        }
        let alone = FloorStreams::parse("5").unwrap();
        assert_eq!((alone.floor, alone.labels.len()), (5, 0));
        assert!(FloorStreams::parse("5 m-stream:3").is_some());
    }
}
