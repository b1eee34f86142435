//! What a message must have before a transaction is made of it (RFC 3261 §8.1.1, §8.2, §18.1.2).

use std::fmt::Write as _;

use crate::sip::uri::Scheme;
use crate::sip::via::Via;
use crate::sip::{Flow, Message, Method, Name, NameAddr, ParseError, Protocol, Uri};

/// Headers that may stand only once (RFC 3261 §7.3.1).
const SINGLE: [Name; 8] = [
    Name::From,
    Name::To,
    Name::CallId,
    Name::CSeq,
    Name::MaxForwards,
    Name::ContentType,
    Name::SessionExpires,
    Name::Event,
];

/// Whether a request has what all requests must have.
pub(super) fn request(request: &Message) -> Result<(), ParseError> {
    addressed(request)?;
    for via in request.headers.values(Name::Via).skip(1) {
        Via::parse(via)?;
    }
    for name in SINGLE {
        if request.headers.all(name).nth(1).is_some() {
            return Err(ParseError::Repeated(name));
        }
    }
    let (_, method) = request
        .cseq_parts()
        .ok_or(ParseError::Malformed(Name::CSeq))?;
    if request.method().map(Method::as_str) != Some(method) {
        return Err(ParseError::CSeqMethod);
    }
    if let Some(hops) = request.headers.get(Name::MaxForwards)
        && (hops.parse::<u8>().is_err() || hops.starts_with('+'))
    {
        return Err(ParseError::Malformed(Name::MaxForwards));
    }
    let uri = Uri::parse(request.request_uri().unwrap_or(""))?;
    if matches!(uri.scheme, Scheme::Sip | Scheme::Sips) && uri.host.is_empty() {
        return Err(ParseError::Uri);
    }
    Ok(())
}

/// Whether it can be answered: what a response copies is there and can be read.
pub(super) fn addressed(request: &Message) -> Result<(), ParseError> {
    let headers = &request.headers;
    let via = headers
        .values(Name::Via)
        .next()
        .ok_or(ParseError::Missing(Name::Via))?;
    Via::parse(via)?;
    for name in [Name::From, Name::To] {
        let value = headers.get(name).ok_or(ParseError::Missing(name))?;
        NameAddr::parse(value).map_err(|_| ParseError::Malformed(name))?;
    }
    match headers.get(Name::CallId) {
        None => return Err(ParseError::Missing(Name::CallId)),
        Some(id) if id.is_empty() || id.contains([' ', '\t']) => {
            return Err(ParseError::Malformed(Name::CallId));
        }
        Some(_) => {}
    }
    headers
        .get(Name::CSeq)
        .map(|_| ())
        .ok_or(ParseError::Missing(Name::CSeq))
}

/// Writes what the request's transaction is found by (RFC 3261 §17.2.3). ACK and CANCEL get
/// the id of their INVITE.
pub(super) fn write_id(id: &mut String, request: &Message) {
    id.clear();
    let method = match request.method() {
        Some(Method::Ack | Method::Cancel) | None => "INVITE",
        Some(method) => method.as_str(),
    };
    let top = request.headers.values(Name::Via).next().unwrap_or("");
    let via = Via::parse(top).ok();
    let written = match via.and_then(|via| Some((via, via.unique_branch()?))) {
        Some((via, branch)) => {
            write!(
                id,
                "{branch}\n{}:{}\n{method}",
                via.host,
                via.port.unwrap_or(5060)
            )
        }
        // An RFC 2543 client: its branch, if any, doesn't name the transaction.
        None => write!(
            id,
            "\n{}\n{}\n{}\n{}\n{top}\n{method}",
            request.request_uri().unwrap_or(""),
            request.from_tag().unwrap_or(""),
            request.call_id(),
            request.cseq_parts().map_or(0, |(number, _)| number),
        ),
    };
    debug_assert!(written.is_ok(), "writing to a String can't fail");
}

/// Writes what the ACK for a 2xx is found by: the dialog and the number of the INVITE. The tag of
/// To is the response's own.
pub(super) fn write_ack_id(id: &mut String, message: &Message) {
    id.clear();
    let written = write!(
        id,
        "{}\n{}\n{}\n{}",
        message.call_id(),
        message.to_tag().unwrap_or(""),
        message.from_tag().unwrap_or(""),
        message.cseq_parts().map_or(0, |(number, _)| number),
    );
    debug_assert!(written.is_ok(), "writing to a String can't fail");
}

/// Where responses to the request go (RFC 3261 §18.2.2, RFC 3581 §4).
pub(super) fn reply_flow(request: &Message, flow: Flow) -> Flow {
    if flow.protocol == Protocol::Tcp {
        return flow;
    }
    let via = request
        .headers
        .values(Name::Via)
        .next()
        .and_then(|via| Via::parse(via).ok());
    match via {
        Some(via) if via.params.get("rport").is_none() => {
            let mut reply = flow;
            reply.remote.set_port(via.port.unwrap_or(5060));
            reply
        }
        _ => flow,
    }
}
