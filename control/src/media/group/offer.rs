//! A participant's offer, line by line.

use dataplane::api::BfcpTransport;

use super::{audio, leg, payloads};
use crate::media::Refused;
use crate::media::far;
use crate::media::msrp;
use crate::media::trunk::Terms;
use crate::sdp::{Flow, Kind, MediaDescription, Proto, Sdp};

/// An offer that came from a participant.
#[derive(Debug)]
pub struct Offer {
    pub(super) sdp: Sdp,
    lines: Vec<Line>,
}

/// One of its m-lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// What it carries.
    pub kind: Kind,
    /// It is offered: its port isn't 0.
    pub is_on: bool,
    /// Which way media may go, as its author says it.
    pub flow: Flow,
    /// Something of it is supported (OMD-07).
    pub is_supported: bool,
}

impl Offer {
    /// Reads a description.
    ///
    /// # Errors
    ///
    /// 488 where it can't be read.
    pub(super) fn read(sdp: &[u8], terms: &Terms) -> Result<Self, Refused> {
        let sdp = Sdp::parse(sdp).map_err(|error| Refused::not_acceptable(399, error))?;
        let lines = sdp.media().iter().map(|line| Line {
            kind: line.kind(),
            is_on: line.port() != 0,
            flow: far::flow(&sdp, line, is_held(&sdp, line)),
            is_supported: line.port() != 0 && is_supported(&sdp, line, terms),
        });
        let lines = lines.collect();
        Ok(Self { sdp, lines })
    }

    /// Its lines, in order.
    #[must_use]
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// One of its lines.
    #[must_use]
    pub fn line(&self, index: usize) -> Option<&Line> {
        self.lines.get(index)
    }

    /// What carries the floor control that is offered, if any is.
    #[must_use]
    pub fn floor_control(&self) -> Option<BfcpTransport> {
        let lines = self.sdp.media().iter().filter(|line| line.port() != 0);
        lines.filter_map(leg::offered_transport).next()
    }

    pub(super) fn source(&self, index: usize) -> Option<&MediaDescription> {
        self.sdp.media().get(index)
    }
}

/// Whether an RTP line is held in the old way.
pub(super) fn is_held(sdp: &Sdp, line: &MediaDescription) -> bool {
    line.proto() == Proto::Rtp && far::holds(sdp, line)
}

fn is_supported(sdp: &Sdp, line: &MediaDescription, terms: &Terms) -> bool {
    match (line.proto(), line.kind()) {
        (Proto::Rtp, kind) => {
            let is_plain = ["RTP/AVP", "RTP/AVPF"]
                .iter()
                .any(|proto| line.proto_text().eq_ignore_ascii_case(proto));
            let has_address = far::media_ip(sdp, line).is_ok();
            let has_format = match kind {
                Kind::Audio => !audio::read(line).0.is_empty() || !payloads::read(line).is_empty(),
                Kind::Video | Kind::Text => !payloads::read(line).is_empty(),
                Kind::Message | Kind::Application | Kind::Image | Kind::Other => false,
            };
            let is_duplex = sdp.flow(line).sends == sdp.flow(line).receives;
            let is_mixable = kind != Kind::Audio || !is_duplex || !audio::read(line).0.is_empty();
            is_plain && has_address && has_format && is_mixable && line.port_count() == 1
        }
        (Proto::Msrp { .. }, Kind::Message) => msrp::path(line).is_ok_and(|(_, hop)| {
            let is_named = !hop.transport.is_secure() || terms.fingerprint(sdp, line).is_ok();
            is_named && terms.carry(hop.transport).is_ok()
        }),
        (Proto::Bfcp { .. } | Proto::Other, Kind::Application) => {
            let transport = leg::offered_transport(line);
            transport.is_some_and(|transport| {
                let needs_certificate = transport == BfcpTransport::Tls;
                !needs_certificate || terms.settings.msrp.fingerprint.is_some()
            })
        }
        (Proto::Msrp { .. } | Proto::Bfcp { .. } | Proto::Other, _) => false,
    }
}
