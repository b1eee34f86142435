//! Settings of group sessions: what holds for all of them, and the groups that are defined.

use std::time::Duration;

use serde::Deserialize;

use super::StreamKind;
use super::values;

/// What holds for all group sessions, those of ad-hoc groups included.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Controlling {
    /// The address that ad-hoc groups are begun at (RFC 5366); `None`: there are none.
    #[serde(deserialize_with = "values::unless_empty")]
    pub factory: Option<String>,
    /// The streams that a group session may have.
    pub streams: Vec<StreamKind>,
    /// Participants at a time, those that are being invited included.
    pub participants_max: usize,
    /// With fewer participants the session ends.
    pub participants_min: usize,
    /// Participants whose RTP one worker has, before further ones' goes to another; 0: all of a
    /// session is on one.
    pub members_per_worker: usize,
    /// How long an invitation is valid.
    #[serde(rename = "validity_s", deserialize_with = "values::seconds")]
    pub validity: Duration,
    /// When the inviter is answered.
    pub answer: GroupAnswer,
    /// Which streams the inviter gets.
    pub accept_set: AcceptSet,
    /// What a participant's dropping a stream means.
    pub stream_drop: StreamDrop,
    /// What becomes of a joiner whose Conversation-ID isn't the session's.
    pub join_conflict: JoinConflict,
    /// The code that a message to a group is answered with; 200 or 202.
    pub message_ack: u16,
    /// Who asks for it is told which members such a message can't be delivered to.
    pub notify_failures: bool,
    /// For how long notifications of such a message are gathered, to go as one; 0: they aren't.
    #[serde(rename = "notices_window_ms", deserialize_with = "values::millis")]
    pub notices_window: Duration,
    /// Who may add participants.
    pub add: Right,
    /// Who may remove participants.
    pub remove: Right,
    /// Who may add a stream to the session.
    pub add_streams: Right,
    /// Who may remove a stream from the session.
    pub remove_streams: Right,
    /// Who may subscribe to participant information.
    pub subscribe: Right,
    /// The session ends when who began it leaves.
    pub originator_leaves_ends: bool,
    /// Kinds of streams that a floor governs.
    pub floors: Vec<StreamKind>,
    /// Who decides who gets a floor.
    pub floor_chair: FloorChair,
    /// How many hold a floor at a time.
    pub floor_holders: u16,
    /// A holder that sends nothing for this long loses the floor; `None`: keeps it.
    #[serde(
        rename = "floor_silence_s",
        deserialize_with = "values::seconds_or_never"
    )]
    pub floor_silence: Option<Duration>,
    /// A holder has the floor for this long at most while others wait; `None`: as long as it likes.
    #[serde(rename = "floor_held_s", deserialize_with = "values::seconds_or_never")]
    pub floor_held: Option<Duration>,
    /// How long a session lasts without a refresh (RFC 4028).
    #[serde(rename = "session_expires_s", deserialize_with = "values::seconds")]
    pub session_expires: Duration,
    /// How long a participant whose media connection is lost has to offer the stream anew; then it
    /// is without that stream, or released where it has no other. `None`: for ever.
    #[serde(rename = "reconnect_s", deserialize_with = "values::seconds_or_never")]
    pub reconnect: Option<Duration>,
    /// A participant who may send audio or video, sends none for `media.silence_s` and has no
    /// other stream is released. Where a floor says who sends, silence says nothing.
    pub release_silent: bool,
    /// The least time between two notifications of one subscription.
    #[serde(rename = "notify_interval_ms", deserialize_with = "values::millis")]
    pub notify_interval: Duration,
}

impl Default for Controlling {
    fn default() -> Self {
        Self {
            factory: None,
            streams: super::Policy::default().streams,
            participants_max: 100,
            participants_min: 1,
            members_per_worker: 1000,
            validity: Duration::from_secs(180),
            answer: GroupAnswer::FirstAccept,
            accept_set: AcceptSet::FirstAccept,
            stream_drop: StreamDrop::RemoveForAllIfAuthorised,
            join_conflict: JoinConflict::ExistingWins,
            message_ack: 202,
            notify_failures: true,
            notices_window: Duration::ZERO,
            add: Right::Participants,
            remove: Right::Owners,
            add_streams: Right::Participants,
            remove_streams: Right::Owners,
            subscribe: Right::Participants,
            originator_leaves_ends: false,
            floors: Vec::new(),
            floor_chair: FloorChair::Nobody,
            floor_holders: 1,
            floor_silence: Some(Duration::from_secs(30)),
            floor_held: Some(Duration::from_secs(120)),
            session_expires: Duration::from_secs(1800),
            reconnect: Some(Duration::from_secs(32)),
            release_silent: false,
            notify_interval: Duration::from_millis(500),
        }
    }
}

/// A pre-defined group; what it doesn't say is as [`Controlling`] says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Group {
    /// Who is invited when a session begins.
    pub members: Vec<String>,
    /// Members with the rights of owners.
    pub owners: Vec<String>,
    /// Who never takes part.
    pub banned: Vec<String>,
    /// Others than members may begin sessions and join them.
    pub open: bool,
    /// Who may not send audio.
    pub audio_barred: Vec<String>,
    /// Who may not send video.
    pub video_barred: Vec<String>,
    /// Who may not send messages.
    pub message_barred: Vec<String>,
    /// Some of [`Controlling::streams`].
    #[serde(deserialize_with = "values::given")]
    pub streams: Option<Vec<StreamKind>>,
    /// See [`Controlling::participants_max`]; no more than that.
    #[serde(deserialize_with = "values::given")]
    pub participants_max: Option<usize>,
    /// See [`Controlling::participants_min`].
    #[serde(deserialize_with = "values::given")]
    pub participants_min: Option<usize>,
    /// See [`Controlling::answer`].
    #[serde(deserialize_with = "values::given")]
    pub answer: Option<GroupAnswer>,
    /// See [`Controlling::add`].
    #[serde(deserialize_with = "values::given")]
    pub add: Option<Right>,
    /// See [`Controlling::remove`].
    #[serde(deserialize_with = "values::given")]
    pub remove: Option<Right>,
    /// See [`Controlling::add_streams`].
    #[serde(deserialize_with = "values::given")]
    pub add_streams: Option<Right>,
    /// See [`Controlling::remove_streams`].
    #[serde(deserialize_with = "values::given")]
    pub remove_streams: Option<Right>,
    /// See [`Controlling::subscribe`].
    #[serde(deserialize_with = "values::given")]
    pub subscribe: Option<Right>,
    /// See [`Controlling::originator_leaves_ends`].
    #[serde(deserialize_with = "values::given")]
    pub originator_leaves_ends: Option<bool>,
    /// See [`Controlling::floors`].
    #[serde(deserialize_with = "values::given")]
    pub floors: Option<Vec<StreamKind>>,
    /// See [`Controlling::floor_chair`].
    #[serde(deserialize_with = "values::given")]
    pub floor_chair: Option<FloorChair>,
    /// See [`Controlling::floor_holders`].
    #[serde(deserialize_with = "values::given")]
    pub floor_holders: Option<u16>,
}

impl Group {
    /// What holds for this group. The provider's word stands above the group's: a stream has to be
    /// allowed by both, and no more take part than both allow.
    #[must_use]
    pub fn over(&self, base: &Controlling) -> Controlling {
        let is_allowed = |kind: &&StreamKind| {
            let own = self.streams.as_ref();
            own.is_none_or(|own| own.contains(kind))
        };
        let own_max = self.participants_max.unwrap_or(base.participants_max);
        Controlling {
            streams: base.streams.iter().filter(is_allowed).copied().collect(),
            participants_max: base.participants_max.min(own_max),
            participants_min: self.participants_min.unwrap_or(base.participants_min),
            answer: self.answer.unwrap_or(base.answer),
            add: self.add.unwrap_or(base.add),
            remove: self.remove.unwrap_or(base.remove),
            add_streams: self.add_streams.unwrap_or(base.add_streams),
            remove_streams: self.remove_streams.unwrap_or(base.remove_streams),
            subscribe: self.subscribe.unwrap_or(base.subscribe),
            originator_leaves_ends: self
                .originator_leaves_ends
                .unwrap_or(base.originator_leaves_ends),
            floors: self.floors.clone().unwrap_or_else(|| base.floors.clone()),
            floor_chair: self.floor_chair.unwrap_or(base.floor_chair),
            floor_holders: self.floor_holders.unwrap_or(base.floor_holders),
            ..base.clone()
        }
    }
}

/// Who may do something in a group session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Right {
    /// Every participant.
    Participants,
    /// The group's owners; in an ad-hoc group, who began it.
    Owners,
    /// Nobody.
    Nobody,
}

/// Who decides who gets a floor (RFC 8855 §3: the chair).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FloorChair {
    /// Nobody: who asks first gets it first.
    Nobody,
    /// Who began the session, while taking part with floor control.
    Originator,
}

/// When who begins a group session is answered (CON-28).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupAnswer {
    /// When the first invited user has accepted.
    FirstAccept,
    /// At once.
    Immediate,
}

/// Which streams who begins a group session gets (CON-17).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AcceptSet {
    /// Those that the first user who accepts takes; more when others take more.
    FirstAccept,
    /// All that the group allows.
    GroupAllowed,
}

/// What a participant's dropping a stream means (CON-15).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamDrop {
    /// It ends for all where the participant may remove it from all.
    RemoveForAllIfAuthorised,
    /// It ends for the participant alone.
    SelfOnly,
}

/// What becomes of a joiner whose Conversation-ID isn't the session's (CNV-07).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JoinConflict {
    /// The session keeps its own.
    ExistingWins,
    /// 488.
    Reject488,
}
