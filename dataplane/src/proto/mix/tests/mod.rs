//! The mixer as its members hear it. The phones write and read RTP by RFC 3550's drawing.

mod churn;
mod mixing;
mod passing;
mod rig;
mod silence;
mod timing;
