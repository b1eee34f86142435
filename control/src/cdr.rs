//! One line per session: what it was and why it ended.
