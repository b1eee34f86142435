//! What a function asks inside its dialog: offers become offers of the whole far side, and their
//! answers are cut back to the function's part.

use dataplane::api::Side;

use super::describe;
use super::far::{Asked, Far, Line};
use crate::cpm::body;
use crate::engine::Engine;
use crate::engine::session::Session;
use crate::limits;
use crate::sdp::Sdp;
use crate::sip::{Flow, Message, Method, ServerKey};

impl Engine {
    /// A request of a function, where the session is interworked; gives it back where it isn't.
    pub(in crate::engine) fn on_function_request(
        &mut self,
        session: &mut Session,
        key: ServerKey,
        request: Message,
        flow: Flow,
    ) {
        let Some(mut far) = session.interworked.take() else {
            return;
        };
        let leg = far.leg_of(request.call_id(), request.to_tag().unwrap_or_default());
        let checked = leg.map_or(Err(481), |leg| check(&mut far, leg, &request, flow));
        let is_bye = request.method() == Some(&Method::Bye);
        let passed = match (leg, checked) {
            (Some(leg), Ok(())) if is_bye => {
                self.on_function_bye(session, &mut far, leg, (key, request))
            }
            (Some(leg), Ok(())) => self.on_function_offer(&mut far, leg, (key, request)),
            (_, Err(500)) => {
                self.reply(key, &request, 500, "Server Internal Error");
                None
            }
            (_, Err(_)) | (None, Ok(())) => {
                self.counters.unknown_dialogs += 1;
                self.reply(key, &request, 481, "Call/Transaction Does Not Exist");
                None
            }
        };
        session.interworked = Some(far);
        if let Some((key, request)) = passed {
            self.on_checked_request(session, Side::B, key, request);
        }
    }

    /// A function's request that is no BYE, as one of the whole far side.
    fn on_function_offer(
        &mut self,
        far: &mut Far,
        leg: u32,
        (key, mut request): (ServerKey, Message),
    ) -> Option<(ServerKey, Message)> {
        if let Some(dialog) = far.leg_mut(leg).and_then(|leg| leg.dialog.as_mut()) {
            let offers = matches!(request.method(), Some(Method::Invite | Method::Update));
            if offers {
                dialog.refresh_target(&request);
            }
        }
        let Some(sdp) = body::sdp(&request) else {
            // The near side's offer would be one to all functions.
            if request.method() == Some(&Method::Invite) && far.live().count() > 1 {
                self.reply(key, &request, 488, "Not Acceptable Here");
                return None;
            }
            return Some((key, request));
        };
        if far.attempt.is_some() || !far.asked.is_empty() {
            self.reply(key, &request, 491, "Request Pending");
            return None;
        }
        let offer = Sdp::parse(&sdp).ok();
        let before = far
            .leg(leg)
            .map(|leg| (leg.lines.clone(), far.lines.clone()));
        let (Some(offer), Some((leg_lines, lines))) = (offer, before) else {
            self.reply(key, &request, 488, "Not Acceptable Here");
            return None;
        };
        if !take_offer(far, leg, &offer) {
            self.reply(key, &request, 488, "Not Acceptable Here");
            return None;
        }
        far.asked.push(Asked {
            server: key,
            leg,
            leg_lines,
            lines,
        });
        self.watched.insert(key, None);
        let id = far.session.0;
        let mut whole = describe::whole(&offer, far.described_lines(), id);
        far.described = far.described.next(&mut whole);
        request.body = body::replace_sdp(&request, far.described.bytes());
        Some((key, request))
    }

    /// Gives a side the response to its request; a function the part that concerns it.
    pub(in crate::engine) fn respond_in(
        &mut self,
        session: &mut Session,
        server: ServerKey,
        mut response: Message,
    ) {
        cut(session, server, &mut response);
        self.respond(server, response);
    }

    /// Takes note of how the offers of functions ended: a refused one leaves all as it was.
    pub(super) fn settle_asked(&mut self, far: &mut Far) {
        for at in (0..far.asked.len()).rev() {
            let server = far.asked[at].server;
            let Some(Some(code)) = self.watched.get(&server).copied() else {
                continue;
            };
            self.watched.remove(&server);
            let asked = far.asked.swap_remove(at);
            if code >= 300 {
                far.lines = asked.lines;
                if let Some(leg) = far.leg_mut(asked.leg) {
                    leg.lines = asked.leg_lines;
                } else {
                    far.disown(asked.leg);
                }
            }
        }
    }
}

/// Cuts a response to a function's offer back to the function's part.
fn cut(session: &mut Session, server: ServerKey, response: &mut Message) {
    let Some(far) = session.interworked.as_mut() else {
        return;
    };
    let asked = far.asked.iter().find(|asked| asked.server == server);
    let Some(leg) = asked.map(|asked| asked.leg) else {
        return;
    };
    let sdp = body::sdp(response).and_then(|sdp| Sdp::parse(&sdp).ok());
    let owned = far.owned(leg);
    let (Some(sdp), Some(leg)) = (sdp, far.leg_mut(leg)) else {
        return;
    };
    let mut part = describe::part(&sdp, &leg.lines, |index| owned.contains(&index));
    leg.in_force = part.media().to_vec();
    leg.held.clone_from(&owned);
    leg.said = leg.said.next(&mut part);
    response.body = body::replace_sdp(response, leg.said.bytes());
}

/// Checks that a request belongs to a leg's dialog and is in order; else the code to answer.
fn check(far: &mut Far, leg: u32, request: &Message, flow: Flow) -> Result<(), u16> {
    let dialog = far.leg_mut(leg).and_then(|leg| leg.dialog.as_mut());
    let dialog = dialog.filter(|dialog| request.from_tag() == Some(dialog.remote_tag.as_str()));
    let dialog = dialog.ok_or(481_u16)?;
    dialog.check_seq(request).map_err(|_| 500_u16)?;
    if flow.connection != 0 {
        dialog.flow = flow;
    }
    Ok(())
}

/// Takes over a function's offer; whether it fits its dialog.
fn take_offer(far: &mut Far, id: u32, offer: &Sdp) -> bool {
    let Some(leg) = far.legs.iter_mut().find(|leg| leg.id == id) else {
        return false;
    };
    let added = offer.media_count().saturating_sub(leg.lines.len());
    if far.lines.len() + added > limits::SDP_MEDIA {
        return false;
    }
    for line in offer.media().iter().skip(leg.lines.len()) {
        leg.lines.push(far.lines.len());
        far.lines.push(Line {
            owner: None,
            answer: line.disabled(),
        });
    }
    // What an offer leaves out at its end is not in use (CON-12).
    let own = leg.lines.iter().enumerate();
    let own: Vec<(usize, usize)> = own.map(|(place, index)| (place, *index)).collect();
    for (place, index) in own {
        let offered = offer.media().get(place).filter(|line| line.port() != 0);
        let Some(line) = far.lines.get_mut(index) else {
            continue;
        };
        match (line.owner, offered) {
            (Some(owner), _) if owner != id => {}
            (_, Some(offered)) => {
                line.owner = Some(id);
                line.answer = describe::alone(offer, offered);
            }
            (_, None) => line.owner = None,
        }
    }
    true
}
