//! Sessions whose far side is Interworking Functions, each a hand-written far end of its own.

mod closing;
mod decision;
mod modification;
mod races;

use std::sync::Arc;

use super::forks::{knowledge, register};
use super::*;
use crate::cpm::interworking;
use crate::cpm::policy::{Interworking, IwfClose, OnFailure, Policies, Streams, UserPolicy};
use crate::cpm::routing::Hop;

/// A chat, a file and a voice stream.
pub(super) const CHAT: &str = "m=message 7001 TCP/MSRP *\r\na=accept-types:*\r\na=path:msrp://127.0.0.1:7001/chat;tcp\r\na=setup:actpass\r\n";
pub(super) const FILE: &str = "m=message 7002 TCP/MSRP *\r\na=accept-types:*\r\na=path:msrp://127.0.0.1:7002/file;tcp\r\na=setup:actpass\r\na=file-selector:name:\"a b\" size:4092\r\n";
pub(super) const VOICE: &str = "m=audio 4000 RTP/AVP 0\r\na=sendrecv\r\n";

/// Interworking Functions: `sms`, `mms` and `pstn` of the settings.
pub(super) fn iwf(number: u16) -> SocketAddr {
    SocketAddr::new("127.0.0.1".parse().unwrap(), 5090 + number)
}

pub(super) fn sdp(version: u32, lines: &[&str]) -> String {
    let head = format!(
        "v=0\r\no=x 1 {version} IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    );
    head + &lines.concat()
}

/// What a function answers to an offer: its lines on ports from `port` on, those refused at 0.
pub(super) fn accept(offer: &str, port: u16, refused: &[usize]) -> String {
    let body = body_of(offer);
    let mut lines = Vec::new();
    for (at, line) in media(body).into_iter().enumerate() {
        let mut words: Vec<&str> = line.lines().next().unwrap().split(' ').collect();
        let own = port + u16::try_from(at).unwrap();
        let own = if refused.contains(&at) || words[1] == "0" {
            "0".to_owned()
        } else {
            own.to_string()
        };
        words[1] = &own;
        let mut text = words.join(" ") + "\r\n";
        if line.contains("MSRP") && own != "0" {
            text += &format!(
                "a=accept-types:*\r\na=path:msrp://127.0.0.1:{own}/far;tcp\r\na=setup:passive\r\n"
            );
        }
        lines.push(text);
    }
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    sdp(u32::from(port), &lines)
}

pub(super) fn body_of(message: &str) -> &str {
    message.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

/// The m-lines of a description, each with what is below it.
pub(super) fn media(description: &str) -> Vec<String> {
    let mut parts = description.split("\r\nm=");
    parts.next();
    parts.map(|part| format!("m={}", part.trim_end())).collect()
}

/// The kind and the port of each m-line.
pub(super) fn ports(message: &str) -> Vec<(String, u16)> {
    let lines = media(body_of(message));
    let ports = lines.iter().map(|line| {
        let mut words = line.split(' ');
        let kind = words.next().unwrap().trim_start_matches("m=").to_owned();
        (kind, words.next().unwrap().parse().unwrap())
    });
    ports.collect()
}

/// Which m-lines are in use.
pub(super) fn in_use(message: &str) -> Vec<bool> {
    ports(message).iter().map(|(_, port)| *port != 0).collect()
}

/// A far end's response with a tag and a Contact of its own.
pub(super) fn of_iwf(request: &str, number: u16, code: u16, sdp: &str) -> String {
    let reason = if code < 300 { "OK" } else { "No" };
    answer(request, code, reason, sdp)
        .replace(";tag=b\r\n", &format!(";tag=iwf{number}\r\n"))
        .replace(
            "<sip:b@127.0.0.1:5002>",
            &format!("<sip:iwf@{}>", iwf(number)),
        )
}

/// Side A's response to a request of the relay.
pub(super) fn of_a(request: &str, code: u16, sdp: &str) -> String {
    answer(request, code, "Any", sdp).replace(CONTACT_B, CONTACT_A)
}

/// A request of a function inside its dialog.
pub(super) fn by_iwf(method: &str, seq: u32, invite: &str, number: u16, sdp: &str) -> String {
    let from = format!("{};tag=iwf{number}", header(invite, "To"));
    let via = iwf(number).to_string();
    let parts = [
        from.as_str(),
        header(invite, "From"),
        header(invite, "Call-ID"),
        via.as_str(),
    ];
    let contact = format!("Contact: <sip:iwf@{via}>\r\n");
    in_dialog(method, seq, parts, &contact, sdp)
}

pub(super) fn function(name: &str, number: u16, streams: Streams) -> interworking::Function {
    let uri = format!("sip:{name}@{};lr", iwf(number));
    interworking::Function {
        name: name.to_owned(),
        hop: Hop::of(&uri).unwrap(),
        route: format!("<{uri}>").into(),
        streams,
        size_max: None,
        schemes: Vec::new(),
    }
}

pub(super) fn interworks(settings: &mut Settings, policy: Interworking) {
    settings.policies = Arc::new(Policies::new(UserPolicy {
        interworking: policy,
        ..in_path()
    }));
    let functions = ["sms", "mms", "pstn"].into_iter().zip(0..);
    let functions = functions.map(|(name, number)| function(name, number, Streams::ALL));
    settings.interworking = Arc::new(interworking::Settings {
        functions: functions.collect(),
        no_cpm: vec![420, 488, 501, 606],
        no_core: vec![404, 478, 503],
        unroutable: vec!["wv".to_owned(), "mailto".to_owned()],
    });
}

pub(super) const ALWAYS: Interworking = Interworking {
    unregistered: OnFailure::Interwork,
    no_cpm: OnFailure::Interwork,
    no_core: OnFailure::Interwork,
    scheme: OnFailure::Interwork,
    close: IwfClose::Streams,
};

/// A session between A and functions, established: what was sent in it.
pub(super) struct Call {
    pub bench: Bench,
    /// The INVITEs as the functions got them, with the function's number.
    pub invites: Vec<(u16, String)>,
    /// The 200 that A got.
    pub ok: String,
}

impl Call {
    /// The INVITE as a function got it.
    pub fn invite(&self, number: u16) -> &str {
        let found = self.invites.iter().find(|(of, _)| *of == number);
        &found.unwrap().1
    }
}

pub(super) fn invite_of(lines: &[&str]) -> String {
    invite("1", &sdp(1, lines)).replace("sip:b@127.0.0.1:5002", "wv:bob")
}

/// A bench of the role whose sessions are all interworked.
pub(super) fn interworked(role: Role, close: IwfClose) -> Bench {
    interworked_with(role, close, |_| {})
}

pub(super) fn interworked_with(
    role: Role,
    close: IwfClose,
    change: impl FnOnce(&mut Settings),
) -> Bench {
    Bench::new(|settings| {
        settings.role = role;
        interworks(settings, Interworking { close, ..ALWAYS });
        settings.registration = Some(knowledge());
        change(settings);
    })
}

/// A session with one function, which has taken all lines.
pub(super) fn call_one(bench: Bench, lines: &[&str]) -> Call {
    call_with(bench, lines, &[])
}

/// A session with two functions: the first refuses some lines, the second has taken them.
pub(super) fn call_with(mut bench: Bench, lines: &[&str], refused: &[usize]) -> Call {
    let sent = bench.give(a(), &invite_of(lines));
    let first = only(&sent, iwf(0));
    let sent = bench.give(
        iwf(0),
        &of_iwf(&first, 0, 200, &accept(&first, 6000, refused)),
    );
    assert!(
        sent.iter()
            .any(|(to, text)| *to == iwf(0) && text.starts_with("ACK")),
        "{sent:#?}"
    );
    let mut invites = vec![(0, first)];
    let mut last = sent;
    if !refused.is_empty() {
        let second = only(&last, iwf(1));
        last = bench.give(
            iwf(1),
            &of_iwf(&second, 1, 200, &accept(&second, 6100, &[])),
        );
        assert!(!has(&last, iwf(0), ""), "{last:#?}");
        invites.push((1, second));
    }
    let ok = only(&last, a());
    assert!(ok.starts_with("SIP/2.0 200"), "{ok}");
    bench.give(a(), &in_dialog_of_a("ACK", 1, &ok, "", ""));
    Call { bench, invites, ok }
}

/// The only request with a method that was sent to a far end.
pub(super) fn request(sent: &[(SocketAddr, String)], to: SocketAddr, method: &str) -> String {
    let start = format!("{method} ");
    let mut found = sent
        .iter()
        .filter(|(at, text)| *at == to && text.starts_with(&start));
    let first = found.next();
    let first = first.unwrap_or_else(|| panic!("no {method} for {to} in {sent:#?}"));
    assert!(
        found.next().is_none(),
        "several {method} for {to}: {sent:#?}"
    );
    first.1.clone()
}

/// Whether a response with a code was sent to a far end.
pub(super) fn has(sent: &[(SocketAddr, String)], to: SocketAddr, start: &str) -> bool {
    sent.iter()
        .any(|(at, text)| *at == to && text.starts_with(start))
}
