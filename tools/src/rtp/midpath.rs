//! Midpath under the load: its own process, calls by SIP.

use super::description::{place, sound};
use super::host;
use super::subject::Order;
use crate::contender::{Midpath, Running};

/// Starts the relay and calls through it; also its memory before the first call, in KiB.
///
/// # Errors
///
/// An answer has no sound.
pub fn start(order: &Order<'_>) -> Result<(Box<dyn Running>, u64), String> {
    let (contender, relay) = (order.contender, order.place.relay);
    let mut midpath = Midpath::start(relay, contender.backend, contender.workers, order.cores);
    let before = host::resident_kib(midpath.id());
    for number in 0..order.legs.len() / 2 {
        call(&mut midpath, order, number)?;
    }
    Ok((Box::new(midpath), before))
}

fn call(midpath: &mut Midpath, order: &Order<'_>, number: usize) -> Result<(), String> {
    let at = |leg: usize| sound(order.legs[leg].at.into(), order.codec, order.mux);
    let (near, far) = (2 * number, 2 * number + 1);
    let to = midpath.called.uri();
    let mut out = midpath.caller.invite(&to, &at(near));
    let inward = midpath.called.incoming();
    order.legs[far].connect(place(&inward.invite.body)?)?;
    inward.answer(&mut midpath.called, 200, &at(far));
    let answer = out.established(&mut midpath.caller);
    order.legs[near].connect(place(&answer.body)?)?;
    let _ack = midpath.called.request("ACK");
    midpath.calls.push((out, inward));
    Ok(())
}
