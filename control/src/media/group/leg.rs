//! A participant's leg in a room: what it is made of, and what its descriptions say of it.

use std::net::IpAddr;

use dataplane::api::{
    Act, AudioFormat, BfcpRemote, BfcpSpec, BfcpTransport, Direction, LegLocal, LegSpec, MemberId,
    MemberPlan, MsrpRemote, MsrpSetup, MsrpSpec, MsrpTransport, PayloadFormat, RtpFormats,
    RtpRemote, Side, StreamId, VideoFormat,
};

use super::{Content, Rights, Room, audio, offer, payloads};
use crate::media::far::{self, Setup, Why};
use crate::media::msrp;
use crate::media::stream::FarEnd;
use crate::media::trunk::Terms;
use crate::sdp::{BfcpProto, FloorControl, Flow, MediaDescription, Proto, Sdp};

/// A leg.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each may hold with any other"
)]
pub(super) struct Leg {
    pub stream: StreamId,
    pub make: Make,
    pub local_ip: IpAddr,
    pub local: LegLocal,
    /// The worker doesn't have it yet.
    pub is_new: bool,
    /// It went with the worker that it was at: what is agreed next has one in its place.
    pub is_gone: bool,
    /// The relay has offered it, its participant hasn't.
    pub is_offered: bool,
    /// Nothing is forwarded any more, though its participant has not agreed (OMD-12).
    pub is_stopped: bool,
    /// The far end, once its description has come.
    pub far: Option<FarEnd>,
    /// What its participant wants.
    pub wants: Flow,
    pub said: Said,
    told: Option<Told>,
}

/// What it is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Make {
    Rtp { mux: bool },
    Msrp(MsrpTransport),
    Bfcp(BfcpTransport),
}

/// What its participant's description says, as far as the relay's own has to fit it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Said {
    pub codecs: Vec<AudioFormat>,
    pub event: Option<(u8, u32)>,
    /// Payload type of comfort noise.
    pub noise: Option<u8>,
    /// The lines with what AMR is to be like.
    pub amr: Vec<String>,
    /// Payload type, the room's number of the format.
    pub payloads: Vec<(u8, u16)>,
    pub levels: [Option<u8>; 2],
    pub mux: bool,
    pub feedback: bool,
    pub video: Vec<VideoFormat>,
    pub orientation: Option<u8>,
    /// What the relay writes of its own.
    pub setup: Option<Setup>,
    pub has_connection: bool,
}

/// What the worker was told.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    far: FarEnd,
    direction: Direction,
    formats: RtpFormats,
}

const BOTH: Flow = Flow {
    sends: true,
    receives: true,
};

impl Leg {
    pub(super) fn new(stream: StreamId, make: Make, local_ip: IpAddr) -> Self {
        Self {
            stream,
            make,
            local_ip,
            local: LegLocal::Unbound,
            is_new: true,
            is_gone: false,
            is_offered: false,
            is_stopped: false,
            far: None,
            wants: BOTH,
            said: Said::default(),
            told: None,
        }
    }

    /// What a line that a participant offers is to be made of.
    pub(super) fn made_for(line: &MediaDescription, terms: &Terms) -> Result<Make, Why> {
        match line.proto() {
            Proto::Rtp => Ok(Make::Rtp {
                mux: line.has("rtcp-mux"),
            }),
            Proto::Msrp { .. } => {
                let (_, hop) = msrp::path(line)?;
                terms.carry(hop.transport).map(Make::Msrp)
            }
            Proto::Bfcp { .. } | Proto::Other => offered_transport(line)
                .map(Make::Bfcp)
                .ok_or(Why::Transport),
        }
    }

    /// What a line that the relay offers is to be made of.
    pub(super) fn made_by(room: &Room, terms: &Terms) -> Result<Make, Why> {
        match room.content {
            Content::Mixed | Content::Payloads(_) => Ok(Make::Rtp { mux: false }),
            Content::Floors(transport) => Ok(Make::Bfcp(transport)),
            Content::Messages(_) => {
                let wanted = terms.transport(Side::B, MsrpTransport::Tcp);
                terms.carry(wanted).map(Make::Msrp)
            }
        }
    }

    /// A leg that the relay offers.
    pub(super) fn offered(stream: StreamId, make: Make, local_ip: IpAddr) -> Self {
        Self {
            is_offered: true,
            ..Self::new(stream, make, local_ip)
        }
    }

    /// Whether it can go on as another make.
    pub(super) fn continues(&self, make: Make) -> bool {
        match (self.make, make) {
            // Two ports serve where one would do.
            (Make::Rtp { mux: false }, Make::Rtp { .. }) => true,
            (own, other) => own == other,
        }
    }

    fn spec(&self, user: u16, terms: &Terms) -> LegSpec {
        match self.make {
            Make::Rtp { mux } => LegSpec::Rtp {
                local_ip: self.local_ip,
                rtcp_mux: mux,
                learn: terms.settings.learn,
            },
            Make::Bfcp(transport) => LegSpec::Bfcp(BfcpSpec {
                local_ip: self.local_ip,
                transport,
                user,
                is_offerer: self.is_offered,
            }),
            Make::Msrp(transport) => {
                let trunk = terms.trunk(Side::B);
                LegSpec::Msrp(MsrpSpec {
                    local_ip: self.local_ip,
                    transport,
                    match_session_id_only: trunk.match_session_id_only,
                    chunking: msrp::chunking(transport, trunk.chunking),
                    bounds: trunk.bounds,
                })
            }
        }
    }

    pub(super) fn join(
        &self,
        (member, user): (MemberId, u16),
        identity: &str,
        terms: &Terms,
    ) -> Act {
        Act::Join(MemberPlan {
            member,
            stream: self.stream,
            leg: self.spec(user, terms),
            local: LegLocal::Unbound,
            silence_ms: terms.settings.silence_ms,
            identity: matches!(self.make, Make::Msrp(_)).then(|| identity.into()),
        })
    }

    /// Takes what a description of its participant says: an offer, or the answer to the relay's.
    pub(super) fn hear(
        &mut self,
        room: &Room,
        (sdp, line): (&Sdp, &MediaDescription),
        terms: &Terms,
        is_offer: bool,
    ) -> Result<(), Why> {
        self.wants = far::flow(sdp, line, offer::is_held(sdp, line));
        let mut said = Said {
            mux: line.has("rtcp-mux"),
            feedback: line.has("rtcp-fb"),
            has_connection: line.has("connection"),
            levels: audio::levels(line),
            video: payloads::video(line),
            orientation: audio::extension(line, payloads::ORIENTATION),
            ..Said::default()
        };
        match &room.content {
            Content::Mixed => {
                (said.codecs, said.event) = audio::read(line);
                said.noise = audio::noise(line);
                said.amr = audio::amr_parameters(line, &said.codecs);
            }
            Content::Payloads(known) => said.payloads = payloads::shared(known, line),
            Content::Messages(_) | Content::Floors(_) => {}
        }
        let has_format = match room.content {
            Content::Mixed => !said.codecs.is_empty(),
            Content::Payloads(_) => !said.payloads.is_empty(),
            Content::Messages(_) | Content::Floors(_) => true,
        };
        if !has_format {
            return Err(Why::Transport);
        }
        let setup = Setup::of(sdp, line);
        let far = match self.make {
            Make::Rtp { .. } => self.rtp(sdp, line, said.mux)?,
            Make::Bfcp(_) => {
                let own = if is_offer {
                    far::relay_answers(setup)
                } else {
                    far::relay_offered(setup)
                };
                self.bfcp((sdp, line), own, terms)?
            }
            Make::Msrp(transport) => {
                let own = match (is_offer, msrp::is_web(transport)) {
                    (true, _) => far::relay_answers(setup),
                    (false, true) => MsrpSetup::Passive,
                    (false, false) => far::relay_offered(setup),
                };
                self.msrp((sdp, line), own, terms)?
            }
        };
        said.setup = Setup::answer_to(setup);
        self.said = said;
        self.far = Some(far);
        Ok(())
    }

    fn rtp(&self, sdp: &Sdp, line: &MediaDescription, mux: bool) -> Result<FarEnd, Why> {
        let remote = far::rtp_remote(sdp, line, mux)?;
        match &self.far {
            // While it is held, nothing is learnt anew of where it is.
            Some(FarEnd::Rtp(known)) if remote.rtp.ip().is_unspecified() => {
                Ok(FarEnd::Rtp(RtpRemote { ..*known }))
            }
            _ if remote.rtp.is_ipv6() != self.local_ip.is_ipv6() => Err(Why::Address),
            _ => Ok(FarEnd::Rtp(remote)),
        }
    }

    fn msrp(
        &self,
        (sdp, line): (&Sdp, &MediaDescription),
        setup: MsrpSetup,
        terms: &Terms,
    ) -> Result<FarEnd, Why> {
        let (path, hop) = msrp::path(line)?;
        let is_v6 = self.local_ip.is_ipv6();
        let address = match (msrp::address(sdp, line, &hop, is_v6), setup) {
            (Some(address), _) => address,
            (None, MsrpSetup::Passive) => far::nowhere(is_v6),
            (None, MsrpSetup::Active) => return Err(Why::Address),
        };
        let fingerprint = if hop.transport.is_secure() {
            terms.fingerprint(sdp, line)?
        } else {
            None
        };
        Ok(FarEnd::Msrp(MsrpRemote {
            path: path.into(),
            address,
            setup,
            fingerprint,
            local_path: None,
        }))
    }

    fn bfcp(
        &self,
        (sdp, line): (&Sdp, &MediaDescription),
        setup: MsrpSetup,
        terms: &Terms,
    ) -> Result<FarEnd, Why> {
        let is_v6 = self.local_ip.is_ipv6();
        let address = match (far::tcp_address(sdp, line, is_v6), setup) {
            (Some(address), _) => address,
            (None, MsrpSetup::Passive) => far::nowhere(is_v6),
            (None, MsrpSetup::Active) => return Err(Why::Address),
        };
        let fingerprint = match self.make {
            Make::Bfcp(BfcpTransport::Tls) => terms.fingerprint(sdp, line)?,
            Make::Bfcp(_) | Make::Rtp { .. } | Make::Msrp(_) => None,
        };
        Ok(FarEnd::Bfcp(BfcpRemote {
            address,
            setup,
            fingerprint,
        }))
    }

    /// What its participant may do now.
    pub(super) fn direction(&self, rights: Rights) -> Direction {
        Direction {
            may_send: self.wants.sends && rights.sends.contains(self.stream) && !self.is_stopped,
            may_receive: self.wants.receives
                && rights.receives.contains(self.stream)
                && !self.is_stopped,
        }
    }

    /// Its connection is lost: whatever is agreed next, the worker is told. RTP, which has none, is
    /// lost with the worker that has its ports.
    pub(super) fn disconnected(&mut self) {
        self.told = None;
        self.is_gone = matches!(self.make, Make::Rtp { .. });
    }

    /// The leg as it is in what is agreed next.
    pub(super) fn next(self) -> Self {
        if !self.is_gone {
            return self;
        }
        Self {
            local: LegLocal::Unbound,
            is_new: true,
            is_gone: false,
            told: None,
            ..self
        }
    }

    /// The act that tells the worker what is new of it.
    pub(super) fn connect(&mut self, room: &Room, member: MemberId, rights: Rights) -> Option<Act> {
        if self.is_gone {
            return None;
        }
        let told = Told {
            far: self.far.clone()?,
            direction: self.direction(rights),
            formats: self.formats(room),
        };
        if self.told.as_ref() == Some(&told) {
            return None;
        }
        let act = Act::ConnectMember {
            member,
            stream: self.stream,
            remote: told.far.to_remote(),
            direction: told.direction,
            formats: told.formats.clone(),
        };
        self.told = Some(told);
        Some(act)
    }

    /// The formats that are agreed.
    pub(super) fn formats(&self, room: &Room) -> RtpFormats {
        let agreed = self.agreed(room);
        let payloads = agreed.iter().map(|(payload_type, format)| PayloadFormat {
            payload_type: *payload_type,
            format: *format,
            clock_rate: room
                .payload(*format)
                .map_or(90_000, payloads::Payload::clock_rate),
        });
        RtpFormats {
            audio: self.said.codecs.clone(),
            telephone_event: self.said.event,
            comfort_noise: self.said.noise,
            payloads: payloads.collect(),
            client_level: self.said.levels[0],
            mixer_level: self.said.levels[1],
            feedback: self.said.feedback,
            video: self.said.video.clone(),
            orientation: self.said.orientation,
        }
    }

    /// Its payload types that the room still has.
    pub(super) fn agreed(&self, room: &Room) -> Vec<(u8, u16)> {
        let all = self.said.payloads.iter().copied();
        all.filter(|(_, number)| room.payload(*number).is_some_and(|known| known.is_agreed))
            .collect()
    }
}

/// What carries floor control that a client offers; `None` where the relay can't serve it.
pub(super) fn offered_transport(line: &MediaDescription) -> Option<BfcpTransport> {
    let said = FloorControl::parse(line)?;
    let transport = match said.proto {
        BfcpProto::Udp => BfcpTransport::Udp,
        BfcpProto::Tcp => BfcpTransport::Tcp,
        BfcpProto::TcpTls => BfcpTransport::Tls,
        BfcpProto::UdpTls => return None,
    };
    (said.can_be_client(true) && said.speaks_version()).then_some(transport)
}

impl Room {
    pub(super) fn payload(&self, number: u16) -> Option<&payloads::Payload> {
        match &self.content {
            Content::Payloads(known) => known.get(usize::from(number)),
            Content::Mixed | Content::Messages(_) | Content::Floors(_) => None,
        }
    }
}
