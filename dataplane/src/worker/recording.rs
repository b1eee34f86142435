//! Recording: whose recording a stream's is, and the way of its records to control.

use crate::api::{Act, Full, Order, Side};
use crate::limits::MSRP_RESUMES_PER_CYCLE;
use crate::net::Backend;
use crate::proto::msrp::RecordingKey;
use crate::session::{Media, SessionRef, SlotRef};

use super::Worker;

impl<B: Backend> Worker<B> {
    /// Whether an order would have more recorded while control takes nothing of it.
    pub(super) fn is_recorder_stuck(&self, order: &Order) -> bool {
        let records = |act: &Act| matches!(act, Act::Open(plan) if plan.record);
        self.msrp.relay.is_recorder_stuck() && order.acts.iter().any(records)
    }

    /// A stream of a session is recorded from now on.
    pub(super) fn record_stream(&mut self, session: SessionRef, slot: SlotRef) {
        let relay = &mut self.msrp.relay;
        let Some(session) = self.sessions.session_mut(session) else {
            return;
        };
        let id = session.id;
        let recording = *session
            .recording
            .get_or_insert_with(|| relay.begin_recording(id));
        let Some(stream) = self.streams.find_mut(slot) else {
            return;
        };
        relay.hold_recording(recording);
        stream.recording = Some(recording);
        if let Media::Msrp(legs) = &stream.media {
            for (leg, side) in legs.iter().zip(Side::BOTH) {
                relay.record_leg(leg.key, recording, (stream.id, side));
            }
        }
    }

    /// A stream or a session is gone: with the last of them its recording ends.
    pub(super) fn let_go_recording(&mut self, recording: Option<RecordingKey>) {
        if let Some(recording) = recording {
            self.msrp.relay.let_go_recording(recording);
        }
    }

    /// Hands control what was recorded, as far as it has room, and lets sources go on that waited
    /// for that.
    pub(super) fn hand_over_records(&mut self) {
        let mut is_news = false;
        while let Some(record) = self.msrp.relay.next_record() {
            if let Err(Full(record)) = self.link.record(record) {
                self.msrp.relay.return_record(record);
                break;
            }
            is_news = true;
        }
        if is_news {
            self.link.wake_control();
        }
        self.msrp.relay.resume_recorded(MSRP_RESUMES_PER_CYCLE);
    }
}
