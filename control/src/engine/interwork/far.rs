//! What is kept of an interworked session's far side.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use dataplane::api::SessionId;

use super::describe::Said;
use crate::cpm::interworking;
use crate::sdp::{MediaDescription, Sdp};
use crate::sip::{ClientKey, Dialog, Flow, Message, ServerKey, Text};

/// The far side of an interworked session. To the rest of the session it is one far end, on side
/// B; behind it are the dialogs with the Interworking Functions, each with streams of its own.
///
/// ```text
///                       ┌─ IWF a: lines 0, 1
/// A ── session ── far ──┤
///                       └─ IWF b: line 2
/// ```
pub(in crate::engine) struct Far {
    pub session: SessionId,
    /// The functions that there are: those of its beginning (IWM-01).
    pub settings: Arc<interworking::Settings>,
    /// The address that is invited.
    pub target: Text,
    /// Its tag, as the far end that the session sees.
    pub tag: Text,
    /// The session's INVITE to it, as that of a dialog.
    pub invite: Option<Message>,
    pub legs: Vec<Leg>,
    pub next_leg: u32,
    /// The Call-IDs of the functions' dialogs, for the session's record.
    pub call_ids: Vec<Text>,
    /// The session's m-lines.
    pub lines: Vec<Line>,
    /// The session's offer to it that isn't answered yet.
    pub attempt: Option<Attempt>,
    /// The session's other requests to it that aren't answered yet.
    pub passed: Vec<Passed>,
    /// Requests sent to the functions.
    pub sent: Vec<Sent>,
    /// Offers of the functions that aren't answered yet.
    pub asked: Vec<Asked>,
    /// Functions that have left and whose BYE is not answered yet.
    pub leaving: Vec<(u32, ServerKey, Message)>,
    /// Its responses that the session has not been given yet.
    pub ready: VecDeque<(ClientKey, Message)>,
    /// Its last description, as the session knows it.
    pub described: Said,
    /// The last description's part above its m-lines.
    pub template: Option<Sdp>,
    pub deletion: Deletion,
    /// Orders that release streams whose function is gone: the near side is told after them.
    pub releasing: usize,
}

/// A dialog with an Interworking Function.
pub(in crate::engine) struct Leg {
    pub id: u32,
    /// Which one, by its index in the settings.
    pub function: usize,
    pub call_id: Text,
    pub local_tag: Text,
    pub flow: Flow,
    /// Once its INVITE is answered.
    pub dialog: Option<Dialog>,
    /// The session's m-line of each m-line of the dialog.
    pub lines: Vec<usize>,
    /// What it was told last.
    pub said: Said,
    /// The lines of that, those that it refused at port 0.
    pub in_force: Vec<MediaDescription>,
    /// The session's m-lines that it has taken.
    pub held: Vec<usize>,
    /// A BYE was sent or has come.
    pub is_over: bool,
}

/// One m-line of the session.
#[derive(Clone)]
pub(in crate::engine) struct Line {
    /// The leg that has its stream.
    pub owner: Option<u32>,
    /// What its far end said of it last.
    pub answer: MediaDescription,
}

/// An offer of the session to the far side, on its way to the functions.
pub(in crate::engine) struct Attempt {
    pub client: ClientKey,
    pub request: Message,
    pub offer: Sdp,
    /// It makes the session.
    pub is_first: bool,
    /// The functions that were asked for each line.
    pub asked: Vec<Vec<usize>>,
    /// The success whose header fields travel to the near side.
    pub success: Option<Message>,
    /// The last refusal.
    pub refusal: Option<Message>,
    /// Nobody else is asked any more.
    pub is_over: bool,
    /// A function kept its streams as they were, which isn't what was offered.
    pub is_void: bool,
    /// Provisional responses that were passed on.
    pub told: Vec<u16>,
    /// When the near side has waited long enough.
    pub due: Instant,
}

/// A request of the session without an offer, on its way to the functions.
pub(in crate::engine) struct Passed {
    pub client: ClientKey,
    pub request: Message,
    pub best: Option<Message>,
}

/// A request to a function.
pub(in crate::engine) struct Sent {
    pub client: ClientKey,
    pub leg: u32,
    pub what: What,
}

/// What a request to a function is for.
pub(in crate::engine) enum What {
    /// A part of the attempt's offer.
    Offer {
        /// What holds again if it is refused.
        before: Option<Before>,
    },
    /// A request of the session.
    Passed(ClientKey),
    /// Lines that are no longer used are taken back.
    Removal,
}

/// A leg before an offer inside its dialog.
pub(in crate::engine) struct Before {
    pub said: Said,
    pub lines: usize,
    /// The offer only adds lines.
    pub is_addition: bool,
}

/// An offer of a function, on its way to the near side.
pub(in crate::engine) struct Asked {
    pub server: ServerKey,
    pub leg: u32,
    /// What holds again if it is refused.
    pub leg_lines: Vec<usize>,
    pub lines: Vec<Line>,
}

/// The re-INVITE that tells the near side which streams are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Deletion {
    /// The near side knows.
    None,
    /// It is to be told, not before this.
    Due(Instant),
    /// It is being told.
    Asked(ServerKey),
}

impl Far {
    pub(super) fn new(
        session: SessionId,
        (target, tag): (Text, Text),
        settings: Arc<interworking::Settings>,
    ) -> Self {
        Self {
            session,
            settings,
            target,
            tag,
            invite: None,
            legs: Vec::new(),
            next_leg: 0,
            call_ids: Vec::new(),
            lines: Vec::new(),
            attempt: None,
            passed: Vec::new(),
            sent: Vec::new(),
            asked: Vec::new(),
            leaving: Vec::new(),
            ready: VecDeque::new(),
            described: Said::default(),
            template: None,
            deletion: Deletion::None,
            releasing: 0,
        }
    }

    pub(super) fn leg(&self, id: u32) -> Option<&Leg> {
        self.legs.iter().find(|leg| leg.id == id)
    }

    pub(super) fn leg_mut(&mut self, id: u32) -> Option<&mut Leg> {
        self.legs.iter_mut().find(|leg| leg.id == id)
    }

    /// The leg of a dialog, by its names.
    pub(super) fn leg_of(&self, call_id: &str, local_tag: &str) -> Option<u32> {
        let mut legs = self.legs.iter();
        let found = legs.find(|leg| *leg.call_id == *call_id && *leg.local_tag == *local_tag);
        found.map(|leg| leg.id)
    }

    /// The legs that are in the session.
    pub(in crate::engine) fn live(&self) -> impl Iterator<Item = &Leg> {
        self.legs.iter().filter(|leg| leg.is_live())
    }

    /// The lines whose streams a leg has.
    pub(super) fn owned(&self, leg: u32) -> Vec<usize> {
        let lines = self.lines.iter().enumerate();
        let own = lines.filter(|(_, line)| line.owner == Some(leg));
        own.map(|(index, _)| index).collect()
    }

    /// The leg is out of the session: its streams have no far end.
    pub(super) fn disown(&mut self, leg: u32) {
        for line in &mut self.lines {
            if line.owner == Some(leg) {
                line.owner = None;
            }
        }
    }

    /// The lines as the far end that the session sees would describe them.
    pub(super) fn described_lines(&self) -> Vec<MediaDescription> {
        let lines = self.lines.iter().map(|line| match line.owner {
            Some(_) => line.answer.clone(),
            None => line.answer.disabled(),
        });
        lines.collect()
    }

    pub(super) fn take_sent(&mut self, client: ClientKey) -> Option<Sent> {
        let at = self.sent.iter().position(|sent| sent.client == client)?;
        Some(self.sent.swap_remove(at))
    }

    /// Whether a part of the attempt's offer is still with a function.
    pub(super) fn is_offering(&self) -> bool {
        let mut sent = self.sent.iter();
        sent.any(|sent| matches!(sent.what, What::Offer { .. }))
    }
}

impl Leg {
    /// Whether it is in the session.
    pub(super) fn is_live(&self) -> bool {
        self.dialog.is_some() && !self.is_over
    }
}
