//! A look at the frames of one leg, on demand: heads, and bodies where they are asked for.
//!
//! While nothing is traced it costs one look at an `Option` for each frame.

use std::collections::VecDeque;

use super::legs::{LegRef, Link};
use super::{ConnectionKey, Connections, LegKey};
use crate::api::{TracedFrame, Tracing, Way};
use crate::limits::{MSRP_TRACE_BODY_BYTES, MSRP_TRACE_FRAMES};
use crate::wire::msrp::{Flag, Head};

/// What was traced of a leg.
#[derive(Debug)]
pub(super) struct Trace {
    leg: LegRef,
    /// Octets of each body that are kept.
    body_octets: usize,
    frames: VecDeque<TracedFrame>,
}

impl Trace {
    fn add(&mut self, frame: TracedFrame) {
        if self.frames.len() >= MSRP_TRACE_FRAMES {
            self.frames.pop_front();
        }
        self.frames.push_back(frame);
    }

    /// The frame that goes this way and has not ended.
    fn open(&mut self, way: Way) -> Option<&mut TracedFrame> {
        let last = self.frames.iter_mut().rev().find(|frame| frame.way == way);
        last.filter(|frame| frame.flag.is_none())
    }
}

impl Connections {
    /// Traces a leg from now on, instead of any other, or no more; says what was traced of it.
    pub fn trace(&mut self, leg: LegKey, tracing: Tracing) -> Vec<TracedFrame> {
        let Some(leg) = self.legs.reference(leg) else {
            return Vec::new();
        };
        let old = self.trace.take_if(|trace| trace.leg == leg);
        let frames = old.map(|trace| trace.frames).unwrap_or_default();
        let body_octets = match tracing {
            Tracing::Off => return frames.into(),
            Tracing::Heads => 0,
            Tracing::Bodies(octets) => usize::try_from(octets)
                .map_or(MSRP_TRACE_BODY_BYTES, |octets| {
                    octets.min(MSRP_TRACE_BODY_BYTES)
                }),
        };
        self.trace = Some(Box::new(Trace {
            leg,
            body_octets,
            frames: VecDeque::new(),
        }));
        frames.into()
    }

    /// A head came from a connection, for one of its legs.
    pub(super) fn trace_in(&mut self, key: ConnectionKey, head: &Head<'_>, octets: &[u8]) {
        let Some(trace) = &mut self.trace else {
            return;
        };
        let state = self.legs.live(trace.leg);
        let state = state.filter(|state| state.link == Link::Bound(key));
        if let (Some(_), Some(at)) = (
            state.filter(|state| state.is_named_by(head.to_first())),
            self.latest,
        ) {
            trace.add(TracedFrame {
                at,
                way: Way::In,
                head: octets.to_vec(),
                body: Vec::new(),
                flag: None,
            });
        }
    }

    /// A head is written to a connection; whatever follows it is the front of its body.
    pub(super) fn trace_out(&mut self, to: ConnectionKey, frame: &[u8]) {
        let Some(trace) = &mut self.trace else {
            return;
        };
        let Some(leg) = self.legs.live(trace.leg) else {
            return;
        };
        let (end, body) = match memchr::memmem::find(frame, b"\r\n\r\n") {
            Some(at) => (at + 2, at + 4),
            None => {
                let dashes = memchr::memmem::rfind(frame, b"\r\n-------");
                let end = dashes.map_or(frame.len(), |at| at + 2);
                (end, end)
            }
        };
        let octets = frame.get(..end).unwrap_or_default();
        let is_its = Head::parse(octets).is_ok_and(|head| head.from_path == leg.own());
        if let (true, true, Some(at)) = (leg.link == Link::Bound(to), is_its, self.latest) {
            let rest = frame.get(body..).unwrap_or_default();
            let kept = rest.get(..trace.body_octets.min(rest.len()));
            let is_whole = end == body;
            trace.add(TracedFrame {
                at,
                way: Way::Out,
                head: octets.to_vec(),
                body: if is_whole {
                    Vec::new()
                } else {
                    kept.unwrap_or_default().to_vec()
                },
                flag: is_whole.then_some(Flag::Complete.byte()),
            });
        }
    }

    /// Octets of the body of a frame that is being traced.
    pub(super) fn trace_body(&mut self, leg: LegRef, way: Way, octets: &[u8]) {
        if let Some(trace) = self.trace.as_deref_mut().filter(|trace| trace.leg == leg) {
            let most = trace.body_octets;
            if let Some(frame) = trace.open(way) {
                let room = most.saturating_sub(frame.body.len()).min(octets.len());
                frame
                    .body
                    .extend_from_slice(octets.get(..room).unwrap_or_default());
            }
        }
    }

    /// The end of a frame that is written to a leg.
    pub(super) fn trace_end_to(&mut self, leg: LegRef, flag: Flag) {
        if let Some(trace) = self.trace.as_deref_mut().filter(|trace| trace.leg == leg)
            && let Some(frame) = trace.open(Way::Out)
        {
            frame.flag = Some(flag.byte());
        }
    }

    /// The end of a frame that came from a connection.
    pub(super) fn trace_end_from(&mut self, key: ConnectionKey, flag: Flag) {
        let Some(trace) = &mut self.trace else {
            return;
        };
        let link = self.legs.live(trace.leg).map(|leg| leg.link);
        if link == Some(Link::Bound(key))
            && let Some(frame) = trace.open(Way::In)
        {
            frame.flag = Some(flag.byte());
        }
    }
}
