//! Client transactions (RFC 3261 §17.1, RFC 6026 §7.2) and the CANCEL of an INVITE (§9.1).
//!
//! ```text
//! INVITE:  Calling ─1xx▶ Proceeding ─2xx▶ Accepted ─M▶ end        other: Trying ─1xx▶ Proceeding
//!             └──────────────┴─3-6xx▶ Completed ─D▶ end                    └─final▶ Completed ─K▶ end
//! ```

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::out::{Fate, Out};
use super::timers::{Ending, Owner, Wait};
use super::{ClientKey, TxEvent};
use crate::limits;
use crate::sip::{Flow, Message, Method, Name, Protocol, Text};

/// One client transaction.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) key: ClientKey,
    pub(super) flow: Flow,
    pub(super) branch: Text,
    /// As sent.
    pub(super) request: Message,
    /// Whether the user still wants to hear of it.
    pub(super) wanted: bool,
    state: State,
}

#[derive(Debug)]
enum State {
    Invite(Invite),
    Other(Other),
}

#[derive(Debug)]
enum Invite {
    /// `cancel`: to be cancelled once a provisional response has come.
    Calling {
        bytes: Bytes,
        interval: Duration,
        cancel: Option<Vec<Text>>,
    },
    Proceeding {
        cancel: Cancel,
    },
    Completed {
        ack: Bytes,
    },
    Accepted,
}

#[derive(Debug)]
enum Cancel {
    No,
    Sent { bytes: Bytes, interval: Duration },
    Answered,
}

#[derive(Debug)]
enum Other {
    Trying { bytes: Bytes, interval: Duration },
    Proceeding { bytes: Bytes },
    Completed,
}

impl Client {
    /// Sends the request and waits for its answer.
    pub(super) fn start(
        now: Instant,
        key: ClientKey,
        branch: Text,
        (request, flow): (Message, Flow),
        out: &mut Out,
    ) -> Self {
        let bytes = out.send(flow, &request);
        let interval = out.timers.t1;
        if !flow.protocol.is_reliable() {
            out.wait(now, interval, Owner::Client(key.0), Wait::Resend);
        }
        out.wait(
            now,
            out.timers.transaction(),
            Owner::Client(key.0),
            Wait::Answer,
        );
        let state = match request.method() {
            Some(Method::Invite) => State::Invite(Invite::Calling {
                bytes,
                interval,
                cancel: None,
            }),
            _ => State::Other(Other::Trying { bytes, interval }),
        };
        Self {
            key,
            flow,
            branch,
            request,
            wanted: true,
            state,
        }
    }

    /// Whether no datagram can carry its request: nobody will ever answer it.
    pub(super) fn is_too_long(&self) -> bool {
        let (State::Invite(Invite::Calling { bytes, .. })
        | State::Other(Other::Trying { bytes, .. })) = &self.state
        else {
            return false;
        };
        self.flow.protocol == Protocol::Udp && bytes.len() > limits::SIP_DATAGRAM_BYTES
    }

    /// Whether it has heard nothing yet.
    pub(super) fn is_unanswered(&self) -> bool {
        match &self.state {
            State::Invite(Invite::Calling { .. }) | State::Other(Other::Trying { .. }) => true,
            State::Invite(
                Invite::Proceeding { .. } | Invite::Completed { .. } | Invite::Accepted,
            )
            | State::Other(Other::Proceeding { .. } | Other::Completed) => false,
        }
    }

    pub(super) fn handle_response(
        &mut self,
        now: Instant,
        response: Message,
        out: &mut Out,
    ) -> Fate {
        let code = response.code().unwrap_or(0);
        match &self.state {
            State::Invite(_) => self.invite_response(now, code, response, out),
            State::Other(_) => self.other_response(now, code, response, out),
        }
    }

    fn invite_response(
        &mut self,
        now: Instant,
        code: u16,
        response: Message,
        out: &mut Out,
    ) -> Fate {
        let State::Invite(state) = &mut self.state else {
            return Fate::Stay;
        };
        match state {
            Invite::Calling { .. } | Invite::Proceeding { .. } if code < 200 => {
                if let Invite::Calling { cancel, .. } = state {
                    let cancel = cancel.take();
                    *state = Invite::Proceeding { cancel: Cancel::No };
                    if let Some(reasons) = cancel {
                        self.send_cancel(now, &reasons, out);
                    }
                }
                if code > 100 {
                    self.tell(
                        TxEvent::Response {
                            key: self.key,
                            response,
                        },
                        out,
                    );
                }
                Fate::Stay
            }
            Invite::Calling { .. } | Invite::Proceeding { .. } => {
                self.invite_final(now, code, response, out)
            }
            Invite::Completed { ack } => {
                if code >= 300 {
                    out.counters.retransmissions_in += 1;
                    out.send_again(self.flow, ack);
                }
                Fate::Stay
            }
            Invite::Accepted => {
                if (200..300).contains(&code) {
                    self.tell(
                        TxEvent::Response {
                            key: self.key,
                            response,
                        },
                        out,
                    );
                }
                Fate::Stay
            }
        }
    }

    fn invite_final(&mut self, now: Instant, code: u16, response: Message, out: &mut Out) -> Fate {
        if code < 300 {
            self.state = State::Invite(Invite::Accepted);
            self.end_after(now, out.timers.transaction(), out);
            self.tell(
                TxEvent::Response {
                    key: self.key,
                    response,
                },
                out,
            );
            return Fate::Stay;
        }
        let ack = out.send(self.flow, &ack_of(&self.request, &response));
        self.tell(
            TxEvent::Response {
                key: self.key,
                response,
            },
            out,
        );
        if self.flow.protocol.is_reliable() {
            return Fate::End;
        }
        self.state = State::Invite(Invite::Completed { ack });
        self.end_after(now, out.timers.transaction(), out);
        Fate::Stay
    }

    fn other_response(
        &mut self,
        now: Instant,
        code: u16,
        response: Message,
        out: &mut Out,
    ) -> Fate {
        let State::Other(state) = &mut self.state else {
            return Fate::Stay;
        };
        match state {
            Other::Trying { bytes, .. } | Other::Proceeding { bytes } if code < 200 => {
                let bytes = bytes.clone();
                *state = Other::Proceeding { bytes };
                if code > 100 {
                    self.tell(
                        TxEvent::Response {
                            key: self.key,
                            response,
                        },
                        out,
                    );
                }
                Fate::Stay
            }
            Other::Trying { .. } | Other::Proceeding { .. } => {
                self.state = State::Other(Other::Completed);
                self.tell(
                    TxEvent::Response {
                        key: self.key,
                        response,
                    },
                    out,
                );
                if self.flow.protocol.is_reliable() {
                    return Fate::End;
                }
                self.end_after(now, out.timers.t4, out);
                Fate::Stay
            }
            Other::Completed => {
                out.counters.retransmissions_in += 1;
                Fate::Stay
            }
        }
    }

    /// The response to our CANCEL. It says only that the CANCEL arrived.
    pub(super) fn handle_cancel_response(&mut self, code: u16) {
        if let State::Invite(Invite::Proceeding {
            cancel: cancel @ Cancel::Sent { .. },
        }) = &mut self.state
            && code >= 200
        {
            *cancel = Cancel::Answered;
        }
    }

    pub(super) fn handle_wait(&mut self, now: Instant, wait: Wait, out: &mut Out) -> Fate {
        let timers = out.timers;
        let owner = Owner::Client(self.key.0);
        match (wait, &mut self.state) {
            (
                Wait::Resend,
                State::Invite(Invite::Calling {
                    bytes, interval, ..
                }),
            ) => {
                // Timer A doubles without a bound until timer B.
                *interval *= 2;
                out.send_again(self.flow, bytes);
                out.wait(now, *interval, owner, Wait::Resend);
            }
            (Wait::Resend, State::Other(Other::Trying { bytes, interval })) => {
                *interval = timers.doubled(*interval);
                out.send_again(self.flow, bytes);
                out.wait(now, *interval, owner, Wait::Resend);
            }
            (Wait::Resend, State::Other(Other::Proceeding { bytes })) => {
                out.send_again(self.flow, bytes);
                out.wait(now, timers.t2, owner, Wait::Resend);
            }
            (
                Wait::ResendCancel,
                State::Invite(Invite::Proceeding {
                    cancel: Cancel::Sent { bytes, interval },
                }),
            ) => {
                *interval = timers.doubled(*interval);
                out.send_again(self.flow, bytes);
                out.wait(now, *interval, owner, Wait::ResendCancel);
            }
            (Wait::Answer, State::Invite(Invite::Calling { .. }))
            | (Wait::Answer, State::Other(Other::Trying { .. } | Other::Proceeding { .. }))
            | (Wait::Cancelled, State::Invite(Invite::Proceeding { .. })) => {
                out.counters.timeouts += 1;
                self.tell(TxEvent::Timeout { key: self.key }, out);
                return Fate::End;
            }
            (Wait::End(_), _) => return Fate::End,
            // What was waited for has come.
            (
                Wait::Trying | Wait::Resend | Wait::ResendCancel | Wait::Answer | Wait::Cancelled,
                _,
            ) => {}
        }
        Fate::Stay
    }

    pub(super) fn cancel(&mut self, now: Instant, reasons: &[Text], out: &mut Out) {
        match &mut self.state {
            State::Invite(Invite::Calling { cancel, .. }) => *cancel = Some(reasons.to_vec()),
            State::Invite(Invite::Proceeding { cancel: Cancel::No }) => {
                self.send_cancel(now, reasons, out);
            }
            State::Invite(
                Invite::Proceeding { .. } | Invite::Completed { .. } | Invite::Accepted,
            )
            | State::Other(_) => {}
        }
    }

    fn send_cancel(&mut self, now: Instant, reasons: &[Text], out: &mut Out) {
        let bytes = out.send(self.flow, &cancel_of(&self.request, reasons));
        let interval = out.timers.t1;
        let owner = Owner::Client(self.key.0);
        if !self.flow.protocol.is_reliable() {
            out.wait(now, interval, owner, Wait::ResendCancel);
        }
        out.wait(now, out.timers.transaction(), owner, Wait::Cancelled);
        self.state = State::Invite(Invite::Proceeding {
            cancel: Cancel::Sent { bytes, interval },
        });
    }

    /// The request could not be sent.
    pub(super) fn fail(&self, out: &mut Out) {
        out.counters.transport_failures += 1;
        self.tell(TxEvent::TransportFailed { key: self.key }, out);
    }

    fn end_after(&self, now: Instant, after: Duration, out: &mut Out) {
        out.wait(
            now,
            after,
            Owner::Client(self.key.0),
            Wait::End(Ending::Quiet),
        );
    }

    fn tell(&self, event: TxEvent, out: &mut Out) {
        if self.wanted {
            out.event(event);
        }
    }
}

/// The ACK for a final response that is not a 2xx (RFC 3261 §17.1.1.3).
fn ack_of(invite: &Message, response: &Message) -> Message {
    let mut ack = hop_request(invite, Method::Ack);
    if let Some(to) = response.headers.text(Name::To) {
        ack.headers.set(Name::To, to);
    }
    ack
}

/// The CANCEL of a request (RFC 3261 §9.1, Reason by RFC 3326).
fn cancel_of(invite: &Message, reasons: &[Text]) -> Message {
    let mut cancel = hop_request(invite, Method::Cancel);
    for reason in reasons {
        cancel.headers.push(Name::Reason, reason.clone());
    }
    cancel
}

/// A request that travels with the INVITE's own branch.
fn hop_request(invite: &Message, method: Method) -> Message {
    let number = invite.cseq_parts().map_or(0, |(number, _)| number);
    let mut request = Message::request(
        method.clone(),
        invite.request_uri().unwrap_or("").to_owned(),
    );
    if let Some(via) = invite.headers.values(Name::Via).next() {
        request.headers.push(Name::Via, via.to_owned());
    }
    request.headers.copy_from(
        &invite.headers,
        &[Name::Route, Name::From, Name::To, Name::CallId],
    );
    request
        .headers
        .push(Name::CSeq, format!("{number} {method}"));
    request.headers.push(Name::MaxForwards, "70");
    request
}
