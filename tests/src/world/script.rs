//! What happens in a call, and how it ended.

/// What happens in a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Script {
    /// It is answered, both talk, and one side hangs up.
    Talk {
        /// The caller changes its media (hold, and on again) in between.
        reinvite: bool,
        /// Who hangs up.
        hangs_up: Who,
    },
    /// It is refused with this code.
    Refuse(u16),
    /// The caller gives up while it rings.
    GiveUp,
    /// Nobody is there at all.
    Nobody,
}

/// Who does something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// The caller.
    Caller,
    /// The callee.
    Callee,
    /// Both, at about the same time.
    Both,
}

/// How a call ended for a phone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It was answered and has ended with a BYE of either side.
    Ended,
    /// Its INVITE got this final response.
    Refused(u16),
    /// No answer to what it sent: only a network that loses all may do that.
    Unanswered,
}
