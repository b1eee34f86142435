//! Midpath under the load: its own process, sessions by SIP.

use tests::peers::sdp::{self, Media, Writer};

use super::session::Pair;
use super::subject::{self, Order, Started, Target, bind, connect, own_path, pair_end_to_end};
use crate::contender::{Midpath, Running as _};

/// Starts the relay and sets up sessions through it.
///
/// # Errors
///
/// An answer has no message stream, or a session can't be bound.
pub fn start(order: &Order<'_>) -> Result<Started, String> {
    let mut midpath = Midpath::start(order.ip, order.contender.backend, 1, order.cores);
    let before_kib = subject::memory_kib(midpath.id());
    let mut pairs = Vec::with_capacity(order.sessions);
    for _ in 0..order.sessions {
        pairs.push(session(&mut midpath, order)?);
    }
    Ok(Started {
        running: Box::new(midpath),
        before_kib,
        pairs,
    })
}

fn session(midpath: &mut Midpath, order: &Order<'_>) -> Result<Pair, String> {
    let at = order
        .listener
        .local_addr()
        .map_err(|error| error.to_string())?;
    let (from_path, own) = (own_path(at), own_path(at));
    let is_cema = order.contender.target == Target::Cema;
    let describe = |path: &str, setup: &str| {
        let lines = [setup, "msrp-cema"];
        let lines = if is_cema { &lines[..] } else { &lines[..1] };
        Writer::new(at.ip()).message(path, lines).text()
    };
    let to = midpath.called.uri();
    let mut out = midpath
        .caller
        .invite(&to, &describe(&from_path, "setup:actpass"));
    let inward = midpath.called.incoming();
    inward.answer(&mut midpath.called, 200, &describe(&own, "setup:active"));
    let answer = out.established(&mut midpath.caller);
    let _ack = midpath.called.request("ACK");
    let (at_sender, at_receiver) = (stream_of(&answer.body)?, stream_of(&inward.invite.body)?);
    midpath.calls.push((out, inward));
    let (mut receiver, mut sender) = (connect(at_receiver.1)?, connect(at_sender.1)?);
    if is_cema {
        return pair_end_to_end(sender, receiver, (from_path, own));
    }
    bind(&mut receiver, &at_receiver.0, &own)?;
    bind(&mut sender, &at_sender.0, &from_path)?;
    Ok(Pair {
        sender,
        receiver,
        to_path: at_sender.0,
        from_path,
        own_path: own,
    })
}

/// Path and address of a description's message stream.
fn stream_of(text: &str) -> Result<(String, std::net::SocketAddr), String> {
    let list = sdp::media(text);
    let stream = list.first().filter(|media: &&Media| media.port != 0);
    let path = stream.and_then(|media| media.attribute("path"));
    match (path, stream) {
        (Some(path), Some(media)) => Ok((path.to_owned(), media.address())),
        _ => Err(format!("no message stream in:\n{text}")),
    }
}
