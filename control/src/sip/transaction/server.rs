//! Server transactions (RFC 3261 §17.2, RFC 6026 §7.1), and the 2xx that is ours to repeat (§13.3.1.4).
//!
//! ```text
//! INVITE:  Proceeding ─2xx▶ Accepted ─L▶ end             other: Trying ─1xx▶ Proceeding
//!             └─3-6xx▶ Completed ─ACK▶ Confirmed ─I▶ end            └─final▶ Completed ─J▶ end
//!                          └─H▶ end
//! ```

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::out::{Fate, Out};
use super::timers::{Ending, Owner, TRYING, Wait};
use super::{Repeat, ServerKey, TxEvent};
use crate::sip::{Flow, Message, Method};

/// One server transaction.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) key: ServerKey,
    /// What its requests are found by.
    pub(super) id: Box<str>,
    /// What the ACK for its 2xx is found by.
    pub(super) ack_id: Option<Box<str>>,
    /// Where responses go.
    pub(super) reply: Flow,
    /// The CANCEL that came for it.
    pub(super) cancel: Option<Cancelling>,
    state: State,
}

/// The transaction of a CANCEL, which is kept with its INVITE's.
#[derive(Debug)]
pub(super) struct Cancelling {
    /// The answer to it.
    pub(super) answer: Bytes,
    /// Until when it may come again (Timer J): the INVITE's transaction stays that long.
    pub(super) until: Instant,
}

#[derive(Debug)]
enum State {
    Invite(Invite),
    Other(Other),
}

#[derive(Debug)]
enum Invite {
    Proceeding {
        trying: Box<Message>,
        last: Option<Bytes>,
    },
    Completed {
        bytes: Bytes,
        interval: Duration,
    },
    Confirmed,
    /// `repeat`: the 2xx and the wait before it is sent again, while no ACK has come.
    Accepted {
        repeat: Option<(Bytes, Duration)>,
    },
}

#[derive(Debug)]
enum Other {
    Trying,
    Proceeding { bytes: Bytes },
    Completed { bytes: Bytes },
}

/// What an ACK with the INVITE's own branch is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum AckIs {
    /// The end of a refused INVITE; nobody else needs it.
    Absorbed(Fate),
    /// For a 2xx, or for nothing.
    Passed,
}

impl Server {
    pub(super) fn start(
        now: Instant,
        key: ServerKey,
        id: Box<str>,
        (request, reply): (&Message, Flow),
        out: &mut Out,
    ) -> Self {
        let state = if request.method() == Some(&Method::Invite) {
            out.wait(now, TRYING, Owner::Server(key.0), Wait::Trying);
            let trying = Box::new(Message::response(request, 100, "Trying"));
            State::Invite(Invite::Proceeding { trying, last: None })
        } else {
            State::Other(Other::Trying)
        };
        Self {
            key,
            id,
            ack_id: None,
            reply,
            cancel: None,
            state,
        }
    }

    /// Whether it is an INVITE without a final response.
    pub(super) fn is_proceeding_invite(&self) -> bool {
        matches!(self.state, State::Invite(Invite::Proceeding { .. }))
    }

    /// The request came again.
    pub(super) fn handle_again(&mut self, reply: Flow, out: &mut Out) {
        self.reply = reply;
        match &self.state {
            State::Invite(Invite::Proceeding {
                last: Some(bytes), ..
            })
            | State::Invite(Invite::Completed { bytes, .. })
            | State::Other(Other::Proceeding { bytes } | Other::Completed { bytes }) => {
                out.send_again(reply, bytes);
            }
            // RFC 6026 §7.1: in Accepted it is absorbed; the 2xx has a clock of its own.
            State::Invite(
                Invite::Proceeding { last: None, .. } | Invite::Confirmed | Invite::Accepted { .. },
            )
            | State::Other(Other::Trying) => {}
        }
    }

    pub(super) fn handle_ack(&mut self, now: Instant, out: &mut Out) -> AckIs {
        let State::Invite(state) = &mut self.state else {
            return AckIs::Passed;
        };
        match state {
            Invite::Completed { .. } => {
                *state = Invite::Confirmed;
                if self.reply.protocol.is_reliable() {
                    return AckIs::Absorbed(Fate::End);
                }
                let owner = Owner::Server(self.key.0);
                out.wait(now, out.timers.t4, owner, Wait::End(Ending::Quiet));
                AckIs::Absorbed(Fate::Stay)
            }
            Invite::Confirmed => AckIs::Absorbed(Fate::Stay),
            Invite::Proceeding { .. } | Invite::Accepted { .. } => AckIs::Passed,
        }
    }

    /// The ACK for our 2xx has come.
    pub(super) fn stop_repeating(&mut self) {
        if let State::Invite(Invite::Accepted { repeat }) = &mut self.state {
            *repeat = None;
        }
    }

    pub(super) fn send_trying(&mut self, out: &mut Out) {
        if let State::Invite(Invite::Proceeding {
            trying,
            last: last @ None,
        }) = &mut self.state
        {
            *last = Some(out.send(self.reply, trying));
        }
    }

    pub(super) fn respond(
        &mut self,
        now: Instant,
        response: &Message,
        repeat: Repeat,
        out: &mut Out,
    ) -> Fate {
        let code = response.code().unwrap_or(0);
        match &mut self.state {
            State::Invite(Invite::Proceeding { last, .. }) if code < 200 => {
                *last = Some(out.send(self.reply, response));
                Fate::Stay
            }
            State::Invite(Invite::Proceeding { .. }) => {
                self.respond_final(now, response, repeat, out)
            }
            // RFC 6026 §7.1: repeats, and the 2xx of other forks.
            State::Invite(Invite::Accepted { .. }) if (200..300).contains(&code) => {
                out.send(self.reply, response);
                Fate::Stay
            }
            State::Invite(
                Invite::Accepted { .. } | Invite::Completed { .. } | Invite::Confirmed,
            ) => Fate::Stay,
            State::Other(state @ (Other::Trying | Other::Proceeding { .. })) => {
                let bytes = out.send(self.reply, response);
                if code < 200 {
                    *state = Other::Proceeding { bytes };
                    return Fate::Stay;
                }
                *state = Other::Completed { bytes };
                self.linger(now, out)
            }
            State::Other(Other::Completed { .. }) => Fate::Stay,
        }
    }

    fn respond_final(
        &mut self,
        now: Instant,
        response: &Message,
        repeat: Repeat,
        out: &mut Out,
    ) -> Fate {
        let bytes = out.send(self.reply, response);
        let interval = out.timers.t1;
        let owner = Owner::Server(self.key.0);
        let accepted = response.code().is_some_and(|code| code < 300);
        // A 2xx is repeated end to end over any transport; another final only where it may be lost.
        let resends = if accepted {
            repeat == Repeat::Ours
        } else {
            !self.reply.protocol.is_reliable()
        };
        if resends {
            out.wait(now, interval, owner, Wait::Resend);
        }
        if accepted {
            let repeat = resends.then_some((bytes, interval));
            self.state = State::Invite(Invite::Accepted { repeat });
            out.wait(
                now,
                out.timers.transaction(),
                owner,
                Wait::End(Ending::Quiet),
            );
        } else {
            self.state = State::Invite(Invite::Completed { bytes, interval });
            out.wait(
                now,
                out.timers.transaction(),
                owner,
                Wait::End(Ending::NoAck),
            );
        }
        Fate::Stay
    }

    /// Timer J.
    fn linger(&self, now: Instant, out: &mut Out) -> Fate {
        if self.reply.protocol.is_reliable() {
            return Fate::End;
        }
        let owner = Owner::Server(self.key.0);
        out.wait(
            now,
            out.timers.transaction(),
            owner,
            Wait::End(Ending::Quiet),
        );
        Fate::Stay
    }

    /// Ends once a CANCEL that was answered can't come again.
    fn end_after_cancel(&self, now: Instant, out: &mut Out) -> Fate {
        let until = self.cancel.as_ref().map(|cancel| cancel.until);
        let Some(until) = until.filter(|until| now < *until) else {
            return Fate::End;
        };
        let owner = Owner::Server(self.key.0);
        out.wait(now, until - now, owner, Wait::End(Ending::Quiet));
        Fate::Stay
    }

    pub(super) fn handle_wait(&mut self, now: Instant, wait: Wait, out: &mut Out) -> Fate {
        let timers = out.timers;
        match (wait, &mut self.state) {
            (Wait::Trying, State::Invite(_)) => self.send_trying(out),
            (
                Wait::Resend,
                State::Invite(
                    Invite::Completed { bytes, interval }
                    | Invite::Accepted {
                        repeat: Some((bytes, interval)),
                    },
                ),
            ) => {
                *interval = timers.doubled(*interval);
                out.send_again(self.reply, bytes);
                out.wait(now, *interval, Owner::Server(self.key.0), Wait::Resend);
            }
            (Wait::End(Ending::NoAck), State::Invite(Invite::Confirmed)) => {}
            (Wait::End(_), State::Invite(Invite::Accepted { repeat: Some(_) })) => {
                out.counters.acks_missing += 1;
                out.event(TxEvent::AckMissing { key: self.key });
                return Fate::End;
            }
            (Wait::End(_), State::Invite(_)) => return self.end_after_cancel(now, out),
            (Wait::End(_), State::Other(_)) => return Fate::End,
            // What was waited for has come.
            (
                Wait::Trying | Wait::Resend | Wait::ResendCancel | Wait::Answer | Wait::Cancelled,
                State::Invite(_) | State::Other(_),
            ) => {}
        }
        Fate::Stay
    }
}
