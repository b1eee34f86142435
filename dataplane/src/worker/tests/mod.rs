//! Scenes over a backend in memory: control orders at one end, clients send at the other.

mod bytes;
mod chat;
mod churn;
mod closing;
mod counts;
mod fake;
mod floor_storm;
mod floors;
mod halves;
mod layers;
mod losses;
mod mixed;
mod msrp;
mod orders;
mod panic;
mod random;
mod recording;
mod reports;
mod rooms;
mod rtp;
mod secured;
mod spread;
mod start;
mod switched;
