//! Live tests: the relay's own process, real sockets, real servers. One module per subject.

#![expect(
    clippy::disallowed_methods,
    reason = "live tests run on the real clock and on real threads"
)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod calls;
mod closing;
mod codecs;
mod devices;
mod failures;
mod floors;
mod floors_wire;
mod group_baresip;
mod group_chat;
mod group_core;
mod group_demo;
mod group_history;
mod group_video;
mod groups;
mod histories;
mod interworking;
mod killed;
mod message_uids;
mod msrp;
mod msrp_browser;
mod msrp_floods;
mod msrp_hops;
mod msrp_openssl;
mod msrp_relays;
mod msrp_wire;
mod operation;
mod policies;
mod recorded;
mod servers;
mod standard;
mod streams;
mod torture;
mod video;
