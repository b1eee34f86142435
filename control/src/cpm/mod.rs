//! Which function serves a request, which procedure applies, and what travels end to end.
//!
//! Decisions only: nothing here sends, waits or keeps state.

pub mod body;
pub mod conference;
pub mod devices;
pub mod forking;
pub mod groups;
pub mod identity;
pub mod imdn;
pub mod interworking;
pub mod participating;
pub mod passing;
pub mod policy;
pub mod preferences;
pub mod referral;
pub mod reginfo;
pub mod resource_list;
pub mod routing;
pub mod third_party;
