//! The switch, with packets made by hand, and receivers that look at all that they get.

mod continuity;
mod feedback;
mod random;
mod scene;
mod showing;

pub(crate) use scene::{rtp, start};
