//! Offer and answer of one stream brought together: who is at each end, and who may send.

use dataplane::api::{Act, Direction, MsrpRemote, MsrpSetup, MsrpTransport, RtpRemote, Side};

use super::far::{self, Setup, Why};
use super::msrp;
use super::stream::{FarEnd, Make, Stream, Told};
use super::trunk::Terms;
use crate::sdp::{Flow, MediaDescription, Sdp};

/// A line of one side's description.
#[derive(Debug, Clone, Copy)]
pub(super) struct End<'a> {
    pub(super) side: Side,
    pub(super) sdp: &'a Sdp,
    pub(super) line: &'a MediaDescription,
}

/// Which ends of a stream an answer joins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ends {
    /// The offerer's and the answerer's.
    Both,
    /// The offerer's alone: the answer is to an offer that another one will replace.
    Offerer,
}

/// Joins the ends of an accepted stream, the offerer's first; the acts that tell the worker what is
/// new in it.
pub(super) fn join(
    stream: &mut Stream,
    (offered, answered): (&End<'_>, &End<'_>),
    ends: Ends,
    terms: &Terms,
) -> Result<Vec<Act>, Why> {
    let (near, far) = match stream.make {
        Make::Rtp { .. } => {
            let mux = offered.line.has("rtcp-mux") && answered.line.has("rtcp-mux");
            (offered.rtp(stream, mux)?, Some(answered.rtp(stream, mux)?))
        }
        Make::Msrp(transports) => {
            let setup = far::relay_answers(offered.setup());
            let near = offered.msrp(stream, setup, terms)?;
            let far = match ends {
                Ends::Offerer => None,
                Ends::Both => {
                    let setup = answered.setup_offered(transports[answered.side.index()])?;
                    Some(answered.msrp(stream, setup, terms)?)
                }
            };
            note_cema(stream, offered, answered);
            (near, far)
        }
        Make::Bytes { tls } => {
            let near_setup = match (tls, answered.setup()) {
                (false, _) => far::relay_answers(offered.setup()),
                // The ends chose, so that one is TLS's client and the other its server.
                (true, Some(Setup::Active)) => MsrpSetup::Active,
                (true, _) => MsrpSetup::Passive,
            };
            let far_setup = far::relay_offered(answered.setup());
            (
                offered.bytes(stream, near_setup)?,
                Some(answered.bytes(stream, far_setup)?),
            )
        }
    };
    let (near_may, far_may) = match stream.make {
        Make::Rtp { .. } | Make::Msrp(_) => {
            directions(offered.flow(stream.make), answered.flow(stream.make))
        }
        // What answers content goes the other way, so a byte leg is never one-way.
        Make::Bytes { .. } => (Direction::BOTH, Direction::BOTH),
    };
    let told = [
        (offered.side, Some(near), near_may),
        (answered.side, far, far_may),
    ];
    let acts = told.into_iter().filter_map(|(side, far, direction)| {
        let told = far.map(|far| Told { far, direction })?;
        stream.tell(side, told)
    });
    Ok(acts.collect())
}

/// Remembers who speaks CEMA. One that answers so to an offer without doesn't.
fn note_cema(stream: &mut Stream, offered: &End<'_>, answered: &End<'_>) {
    let [near, far] = [offered.side.index(), answered.side.index()];
    stream.cema[near] = Some(offered.line.has("msrp-cema"));
    let was_offered = stream.cema[far] != Some(false);
    stream.cema[far] = Some(was_offered && answered.line.has("msrp-cema"));
}

/// What each client may do: only what one wants to send and the other to receive.
fn directions(offered: Flow, answered: Flow) -> (Direction, Direction) {
    let to_answerer = offered.sends && answered.receives;
    let to_offerer = answered.sends && offered.receives;
    let near = Direction {
        may_send: to_answerer,
        may_receive: to_offerer,
    };
    let far = Direction {
        may_send: to_offerer,
        may_receive: to_answerer,
    };
    (near, far)
}

impl End<'_> {
    fn setup(&self) -> Option<Setup> {
        Setup::of(self.sdp, self.line)
    }

    /// Who connects a leg whose client answered the relay's offer over a transport.
    fn setup_offered(&self, transport: MsrpTransport) -> Result<MsrpSetup, Why> {
        match (msrp::is_web(transport), self.setup()) {
            (false, answered) => Ok(far::relay_offered(answered)),
            // A WebSocket client can't be connected to (RFC 7977 §5).
            (true, Some(Setup::Passive)) => Err(Why::Transport),
            (true, _) => Ok(MsrpSetup::Passive),
        }
    }

    /// Which way media may go, and for RTP whether the line is held in the old way.
    pub(super) fn flow(&self, make: Make) -> Flow {
        far::flow(self.sdp, self.line, self.holds(make))
    }

    /// The direction to write for a line that is held in the old way, as the relay's c-line
    /// can't say it.
    pub(super) fn flow_of_hold(&self, make: Make) -> Option<Flow> {
        self.holds(make).then(|| self.flow(make))
    }

    fn holds(&self, make: Make) -> bool {
        matches!(make, Make::Rtp { .. }) && far::holds(self.sdp, self.line)
    }

    fn is_v6(&self, stream: &Stream) -> bool {
        stream.local_ip[self.side.index()].is_ipv6()
    }

    fn rtp(&self, stream: &Stream, mux: bool) -> Result<FarEnd, Why> {
        let remote = far::rtp_remote(self.sdp, self.line, mux)?;
        if let Some(FarEnd::Rtp(known)) = stream.told(self.side).map(|told| &told.far)
            && remote.rtp.ip().is_unspecified()
        {
            // While it is held, nothing is learnt anew of where it is.
            return Ok(FarEnd::Rtp(RtpRemote { ..*known }));
        }
        if remote.rtp.is_ipv6() != self.is_v6(stream) {
            return Err(Why::Address);
        }
        Ok(FarEnd::Rtp(remote))
    }

    fn msrp(&self, stream: &Stream, setup: MsrpSetup, terms: &Terms) -> Result<FarEnd, Why> {
        let (path, hop) = msrp::path(self.line)?;
        let is_v6 = self.is_v6(stream);
        let address = match (msrp::address(self.sdp, self.line, &hop, is_v6), setup) {
            (Some(address), _) => address,
            (None, MsrpSetup::Passive) => far::nowhere(is_v6),
            (None, MsrpSetup::Active) => return Err(Why::Address),
        };
        let fingerprint = if hop.transport.is_secure() {
            terms.fingerprint(self.sdp, self.line)?
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

    fn bytes(&self, stream: &Stream, setup: MsrpSetup) -> Result<FarEnd, Why> {
        let is_v6 = self.is_v6(stream);
        let address = match (far::tcp_address(self.sdp, self.line, is_v6), setup) {
            (Some(address), _) => address,
            (None, MsrpSetup::Passive) => far::nowhere(is_v6),
            (None, MsrpSetup::Active) => return Err(Why::Address),
        };
        Ok(FarEnd::Bytes { address, setup })
    }
}
