//! What brings streams and functions together again after each step: a stream without a function is
//! taken from the near side, a function without streams is left.

use std::time::Duration;

use dataplane::api::Side;

use super::far::{Deletion, Far};
use super::parting::Left;
use crate::engine::Engine;
use crate::engine::session::{Session, Stage};
use crate::sip::{Message, Method, Name};

impl Engine {
    /// Does what a session's far side has to do after something has happened in it.
    pub(in crate::engine) fn tidy_far(&mut self, session: &mut Session) {
        let Some(mut far) = session.interworked.take() else {
            return;
        };
        self.settle_asked(&mut far);
        self.settle_deletion(session, &mut far);
        let is_settled = matches!(session.stage, Stage::Talking)
            && session.exchange.is_none()
            && far.attempt.is_none()
            && far.asked.is_empty();
        if is_settled {
            self.release_left(session, &mut far);
            self.release_orphans(session, &mut far);
            self.leave_idle_functions(session, &mut far);
        }
        let due = match far.deletion {
            Deletion::Due(at) if is_settled && far.releasing == 0 && at <= self.now => true,
            Deletion::Due(_) | Deletion::None | Deletion::Asked(_) => false,
        };
        let has_left = far.live().next().is_some();
        session.interworked = Some(far);
        if due && has_left {
            self.delete_streams(session);
            if let Some(mut far) = session.interworked.take() {
                self.settle_deletion(session, &mut far);
                session.interworked = Some(far);
            }
        }
    }

    /// Streams that no function has: they are released, and the near side is told.
    fn release_orphans(&mut self, session: &mut Session, far: &mut Far) {
        let owned = |index: usize| {
            far.lines
                .get(index)
                .is_some_and(|line| line.owner.is_some())
        };
        let streams = session.media.streams().filter(|stream| !stream.released);
        let orphans: Vec<usize> = streams
            .map(|stream| stream.index)
            .filter(|index| !owned(*index))
            .collect();
        if orphans.is_empty() {
            return;
        }
        let streams = session.media.drop_lines(&orphans);
        self.release_and_tell(session, far, streams, Left { bye: None });
    }

    /// Functions whose streams are all gone are left; one that has lost some is told.
    fn leave_idle_functions(&mut self, session: &Session, far: &mut Far) {
        let streams = session.media.streams().filter(|stream| !stream.released);
        let live: Vec<usize> = streams.map(|stream| stream.index).collect();
        for (index, line) in far.lines.iter_mut().enumerate() {
            if !live.contains(&index) {
                line.owner = None;
            }
        }
        let legs: Vec<u32> = far.live().map(|leg| leg.id).collect();
        for id in legs {
            // A session that holds no stream at all stays, as its near side wants it.
            if far.owned(id).is_empty() && !live.is_empty() {
                self.leave_function(far, id, &[]);
            } else {
                self.take_lines_back(far, id);
            }
        }
    }

    /// Tells the near side which streams are gone: a re-INVITE with their lines at port 0.
    fn delete_streams(&mut self, session: &mut Session) {
        let server = self.no_server();
        let Some(far) = session.interworked.as_mut() else {
            return;
        };
        let Some(template) = &far.template else {
            far.deletion = Deletion::None;
            return;
        };
        let mut sdp = super::describe::whole(template, far.described_lines(), session.id.0);
        far.described = far.described.next(&mut sdp);
        let mut request = Message::request(Method::Invite, far.target.clone());
        request.headers.push(Name::CSeq, "1 INVITE");
        request.set_body("application/sdp", far.described.bytes().clone());
        far.deletion = Deletion::Asked(server);
        self.watched.insert(server, None);
        self.on_offering_request(session, Side::B, server, request);
    }

    /// What the near side said to it.
    fn settle_deletion(&mut self, session: &mut Session, far: &mut Far) {
        let Deletion::Asked(server) = far.deletion else {
            return;
        };
        let Some(Some(code)) = self.watched.get(&server).copied() else {
            return;
        };
        self.watched.remove(&server);
        self.untrack_invite(session, server);
        far.deletion = match code {
            // RFC 3261 §14.1: who didn't make the Call-ID waits up to 2 s; so does who is told to.
            491 | 500 => {
                let wait_ms = 500 + self.next_mark % 150 * 10;
                let at = self.now + Duration::from_millis(wait_ms);
                self.wake_far(far.session, at);
                Deletion::Due(at)
            }
            200..300 => Deletion::None,
            _ => {
                tracing::warn!(session = far.session.0, code, "a stream's end was refused");
                Deletion::None
            }
        };
    }
}
