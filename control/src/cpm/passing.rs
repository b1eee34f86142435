//! What travels end to end through the back-to-back user agent, byte for byte, and what belongs
//! to one leg (CNV-05, CON-27).

use std::net::SocketAddr;

use crate::sip::{Headers, Message, Name, NameAddr, Protocol, Text};

/// Header fields that belong to one leg: to its transaction, its dialog or its hop.
const OF_ONE_LEG: &[Name] = &[
    Name::Via,
    Name::From,
    Name::To,
    Name::CallId,
    Name::CSeq,
    Name::Contact,
    Name::Route,
    Name::RecordRoute,
    Name::MaxForwards,
    Name::ContentLength,
    Name::RAck,
    // What a client's own Participating Function tells it; nobody else's history concerns it.
    Name::MessageUid,
];

/// Adds to `to` every header field of `from` that travels end to end, in order and as it came.
pub fn pass(from: &Headers, to: &mut Headers) {
    for header in from
        .iter()
        .filter(|header| !OF_ONE_LEG.contains(&header.name()))
    {
        to.push_line(header.clone());
    }
}

/// Makes the response on one leg out of the response that came on the other.
///
/// The dialog's facts are those of `request`, which it answers; the body is set by the caller.
#[must_use]
pub fn response_to(request: &Message, tag: &str, from_far: &Message, contact: &str) -> Message {
    let code = from_far.code().unwrap_or(500);
    let mut response = Message::response(request, code, from_far.reason());
    if response.to_tag().is_none() {
        response.set_to_tag(tag);
    }
    if makes_dialog(request) {
        if (300..400).contains(&code) {
            response
                .headers
                .copy_from(&from_far.headers, &[Name::Contact]);
        } else if code < 300 {
            response
                .headers
                .copy_from(&request.headers, &[Name::RecordRoute]);
            response.headers.push(Name::Contact, contact.to_owned());
        }
    }
    pass(&from_far.headers, &mut response.headers);
    response.body = from_far.body.clone();
    response
}

/// Whether a request's success carries a Contact and, outside a dialog, makes one.
fn makes_dialog(request: &Message) -> bool {
    use crate::sip::Method::{Invite, Notify, Refer, Subscribe, Update};
    matches!(
        request.method(),
        Some(Invite | Update | Subscribe | Notify | Refer)
    )
}

/// Says which service a request is for where only `P-Asserted-Service` does (S11-04): an
/// Accept-Contact with the service's ICSI, which is what clients and their core look at.
pub fn name_the_service(headers: &mut Headers) {
    let says = |name: &str| {
        headers
            .get_named(name)
            .is_some_and(|value| value.contains("icsi"))
    };
    if says("Accept-Contact") {
        return;
    }
    let Some(service) = headers
        .get_named("P-Asserted-Service")
        .filter(|value| value.contains("icsi"))
    else {
        return;
    };
    // RFC 3840 §9: inside a feature tag's value the URN's colons are percent-encoded.
    let tag = service.trim().replace(':', "%3A");
    let value = format!("*;+g.3gpp.icsi-ref=\"{tag}\"");
    headers.push_named("Accept-Contact", value);
}

/// The relay's own Contact on a leg, with the far side's feature tags: they describe the client
/// at the far end, which is who this leg talks to (RFC 3840 §9).
#[must_use]
pub fn own_contact(local: SocketAddr, protocol: Protocol, far: Option<&str>) -> String {
    let transport = match protocol {
        Protocol::Udp => "",
        Protocol::Tcp => ";transport=tcp",
    };
    let tags = far
        .and_then(|far| NameAddr::parse(far).ok())
        .map_or("", |far| far.params.as_str());
    let separator = if tags.is_empty() { "" } else { ";" };
    format!("<sip:{local}{transport}>{separator}{tags}")
}

/// Takes `100rel` out of what an INVITE without an offer supports. The far side's offer would else
/// come in a provisional response; the relay anchors the one in the 2xx (RFC 3262 §5).
pub fn without_100rel(headers: &mut Headers) {
    let is_100rel = |option: &&str| option.eq_ignore_ascii_case("100rel");
    if !headers
        .values(Name::Supported)
        .any(|option| is_100rel(&option))
    {
        return;
    }
    let others: Vec<&str> = headers
        .values(Name::Supported)
        .filter(|option| !is_100rel(option))
        .collect();
    let others = others.join(", ");
    headers.remove(Name::Supported);
    if !others.is_empty() {
        headers.push(Name::Supported, others);
    }
}

/// A From or To value with its tag replaced, or taken away.
#[must_use]
pub fn with_tag(value: &str, tag: Option<&str>) -> Text {
    let params = NameAddr::parse(value).map_or("", |address| address.params.as_str());
    // What stands before the parameters, as it came: a display name may hold `>` and `;`.
    let address = value.trim_end().strip_suffix(params).unwrap_or(value);
    let mut text = String::from(address.trim_end().trim_end_matches(';').trim_end());
    let mut rest = params;
    while !rest.is_empty() {
        let (param, next) = split_param(rest);
        rest = next;
        let name = param.split('=').next().unwrap_or("").trim();
        if !param.trim().is_empty() && !name.eq_ignore_ascii_case("tag") {
            text.push(';');
            text.push_str(param.trim());
        }
    }
    if let Some(tag) = tag {
        text.push_str(";tag=");
        text.push_str(tag);
    }
    text.into()
}

/// The first parameter and what follows its `;`, which doesn't count inside of quotes.
fn split_param(params: &str) -> (&str, &str) {
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, byte) in params.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            b';' if !is_quoted => {
                let (param, rest) = params.split_at(at);
                return (param, rest.strip_prefix(';').unwrap_or(rest));
            }
            _ => {}
        }
    }
    (params, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_replaced_and_other_parameters_stay() {
        assert_eq!(
            &*with_tag("\"A\" <sip:a@x;p=1>;tag=1;q=2", Some("z")),
            "\"A\" <sip:a@x;p=1>;q=2;tag=z"
        );
        assert_eq!(&*with_tag("sip:a@x;tag=1", None), "sip:a@x");
        assert_eq!(&*with_tag("<tel:+1555>", Some("z")), "<tel:+1555>;tag=z");
    }

    #[test]
    fn a_display_name_may_hold_anything_in_its_quotes() {
        let odd = "\"A>B; <sip:a@x>\" <sip:a@x>;tag=1;p=\"q;r\"";
        assert_eq!(
            &*with_tag(odd, Some("z")),
            "\"A>B; <sip:a@x>\" <sip:a@x>;p=\"q;r\";tag=z"
        );
        let named = "\"sip:b@10.0.0.1\" <sip:b@10.0.0.1>;isfocus";
        let own = own_contact("[::1]:5060".parse().unwrap(), Protocol::Udp, Some(named));
        assert_eq!(own, "<sip:[::1]:5060>;isfocus");
    }

    #[test]
    fn the_far_sides_feature_tags_stay_in_our_contact() {
        let far = "\"B\" <sip:b@10.0.0.1:5060;ob>;+sip.instance=\"<urn:uuid:1>\";isfocus";
        let own = own_contact("127.0.0.1:5060".parse().unwrap(), Protocol::Tcp, Some(far));
        assert_eq!(
            own,
            "<sip:127.0.0.1:5060;transport=tcp>;+sip.instance=\"<urn:uuid:1>\";isfocus"
        );
    }
}
