//! The descriptions that the relay writes of itself to a participant.

use std::fmt::Write as _;
use std::net::IpAddr;

use dataplane::api::{BfcpTransport, LegLocal, MsrpTransport, RoomKind};

use super::leg::{Leg, Make};
use super::member::Slot;
use super::{Content, Rights, Room, audio, payloads};
use crate::media::msrp;
use crate::media::trunk::Terms;
use crate::sdp::{Flow, Kind};

/// What a description is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Offer,
    Answer,
}

/// The part above the m-lines.
pub(super) fn head(origin: u64, version: u64, address: IpAddr) -> String {
    let family = if address.is_ipv6() { "IP6" } else { "IP4" };
    format!(
        "v=0\r\no=- {origin} {version} IN {family} {address}\r\ns=-\r\nc=IN {family} {address}\r\nt=0 0\r\n"
    )
}

/// A line that isn't in use.
pub(super) fn off(slot: &Slot) -> String {
    let mut text = format!("m={} 0 {} {}\r\n", slot.media, slot.proto, slot.formats);
    if let Some(mid) = &slot.mid {
        let _ = write!(text, "a=mid:{mid}\r\n");
    }
    text
}

/// A line in use; `None` while its port isn't bound.
pub(super) fn on(
    slot: &Slot,
    leg: &Leg,
    room: &Room,
    role: Role,
    (rights, terms, floors): (Rights, &Terms, &[String]),
) -> Option<String> {
    let mut attributes = Vec::new();
    let (port, formats) = match (&leg.local, leg.make) {
        (LegLocal::Rtp { rtp, rtcp }, Make::Rtp { mux }) => {
            let is_muxed = match role {
                Role::Offer => true,
                Role::Answer => leg.said.mux,
            };
            if rtp.port().checked_add(1) != Some(rtcp.port()) && !mux {
                attributes.push(format!("rtcp:{}", rtcp.port()));
            }
            if is_muxed {
                attributes.push("rtcp-mux".to_owned());
            }
            let formats = match role {
                Role::Offer => offered_formats(room, &mut attributes),
                Role::Answer => answered_formats(leg, room, &mut attributes),
            };
            (rtp.port(), formats)
        }
        (LegLocal::Msrp(local), Make::Msrp(transport)) => {
            attributes.push(format!("path:{}", msrp::own_path(local, transport)?));
            write_roles(leg, transport, role, &mut attributes);
            if transport.is_secure() {
                let own = terms.settings.msrp.fingerprint.as_ref()?;
                attributes.push(format!("fingerprint:{}", msrp::fingerprint_value(own)));
            }
            if let Content::Messages(lines) = &room.content {
                attributes.extend(lines.iter().cloned());
            }
            (local.listen.port(), "*".to_owned())
        }
        (LegLocal::Bfcp { listen }, Make::Bfcp(transport)) => {
            write_setup(leg, role, &mut attributes);
            if transport == BfcpTransport::Tls {
                let own = terms.settings.msrp.fingerprint.as_ref()?;
                attributes.push(format!("fingerprint:{}", msrp::fingerprint_value(own)));
            }
            attributes.extend(floors.iter().cloned());
            return Some(line(slot, listen.port(), "*", &attributes));
        }
        _ => return None,
    };
    attributes.push(flow(leg, role, rights).name().to_owned());
    if room.floor.is_some() {
        attributes.push(format!("label:{}", room.label()));
    }
    if let Some(mid) = &slot.mid {
        attributes.push(format!("mid:{mid}"));
    }
    Some(line(slot, port, &formats, &attributes))
}

fn line(slot: &Slot, port: u16, formats: &str, attributes: &[String]) -> String {
    let mut text = format!("m={} {port} {} {formats}\r\n", slot.media, slot.proto);
    for attribute in attributes {
        let _ = write!(text, "a={attribute}\r\n");
    }
    text
}

/// The attributes of floor control for a participant (RFC 8856).
pub(super) fn floors<'a>(
    rooms: impl Iterator<Item = &'a Room> + Clone,
    member: u16,
    transport: BfcpTransport,
) -> Vec<String> {
    let mut lines = vec!["floorctrl:s-only".to_owned(), format!("userid:{member}")];
    for room in rooms.clone() {
        let RoomKind::Floors(spec) = &room.plan else {
            continue;
        };
        lines.push(format!("confid:{}", spec.conference));
        for rule in &spec.floors {
            let governed = rooms.clone().filter(|room| room.floor == Some(rule.floor));
            let labels: Vec<String> = governed.map(|room| room.label().to_string()).collect();
            let mut text = format!("floorid:{}", rule.floor.0);
            if !labels.is_empty() {
                let _ = write!(text, " mstrm:{}", labels.join(" "));
            }
            lines.push(text);
        }
    }
    let version = if transport == BfcpTransport::Udp {
        2
    } else {
        1
    };
    lines.push(format!("bfcpver:{version}"));
    lines
}

/// `a=setup` and `a=connection` of floor control.
fn write_setup(leg: &Leg, role: Role, attributes: &mut Vec<String>) {
    if leg.make == Make::Bfcp(BfcpTransport::Udp) {
        return;
    }
    write_roles(leg, MsrpTransport::Tcp, role, attributes);
    if role == Role::Offer {
        let new = if leg.is_new { "new" } else { "existing" };
        attributes.push(format!("connection:{new}"));
    }
}

/// Which way the relay's own media goes.
fn flow(leg: &Leg, role: Role, rights: Rights) -> Flow {
    let may = Flow {
        sends: rights.receives.contains(leg.stream),
        receives: rights.sends.contains(leg.stream),
    };
    match role {
        Role::Offer => may,
        Role::Answer => Flow {
            sends: may.sends && leg.wants.receives,
            receives: may.receives && leg.wants.sends,
        },
    }
}

fn offered_formats(room: &Room, attributes: &mut Vec<String>) -> String {
    match &room.content {
        Content::Mixed => {
            let (formats, event) = audio::offered();
            attributes.extend(audio::write(&formats, event));
            let noise = audio::write_noise(&formats, Some(audio::NOISE));
            attributes.extend(noise.iter().map(|(_, line)| line.clone()));
            attributes.extend(audio::write_levels([Some(1), Some(2)]));
            let numbers = formats.iter().map(|format| format.payload_type);
            let numbers = numbers.chain(noise.map(|(number, _)| number));
            join(numbers.chain(event.map(|(number, _)| number)))
        }
        Content::Payloads(known) => {
            let agreed = known.iter().filter(|payload| payload.is_agreed);
            for payload in agreed.clone() {
                write_payload(payload.payload_type, payload, attributes);
            }
            if room.kind == Kind::Video {
                attributes.push(format!("extmap:3 {}", payloads::ORIENTATION));
            }
            join(agreed.map(|payload| payload.payload_type))
        }
        Content::Messages(_) | Content::Floors(_) => String::new(),
    }
}

fn answered_formats(leg: &Leg, room: &Room, attributes: &mut Vec<String>) -> String {
    match &room.content {
        Content::Mixed => {
            attributes.extend(audio::write(&leg.said.codecs, leg.said.event));
            attributes.extend(leg.said.amr.iter().cloned());
            let noise = audio::write_noise(&leg.said.codecs, leg.said.noise);
            attributes.extend(noise.iter().map(|(_, line)| line.clone()));
            attributes.extend(audio::write_levels(leg.said.levels));
            let numbers = leg.said.codecs.iter().map(|format| format.payload_type);
            let numbers = numbers.chain(noise.map(|(number, _)| number));
            join(numbers.chain(leg.said.event.map(|(number, _)| number)))
        }
        Content::Payloads(_) => {
            let agreed = leg.agreed(room);
            for (number, format) in &agreed {
                if let Some(payload) = room.payload(*format) {
                    write_payload(*number, payload, attributes);
                }
            }
            if let Some(id) = leg.said.orientation {
                attributes.push(format!("extmap:{id} {}", payloads::ORIENTATION));
            }
            join(agreed.iter().map(|(number, _)| *number))
        }
        Content::Messages(_) | Content::Floors(_) => String::new(),
    }
}

fn write_payload(number: u8, payload: &payloads::Payload, attributes: &mut Vec<String>) {
    attributes.push(format!("rtpmap:{number} {}", payload.encoding));
    if let Some(fmtp) = &payload.fmtp {
        attributes.push(format!("fmtp:{number} {fmtp}"));
    }
    for kind in &payload.feedback {
        attributes.push(format!("rtcp-fb:{number} {kind}"));
    }
}

/// `a=setup` and `a=connection` (RFC 4145, RFC 6135).
fn write_roles(leg: &Leg, transport: MsrpTransport, role: Role, attributes: &mut Vec<String>) {
    match role {
        Role::Offer if msrp::is_web(transport) => attributes.push("setup:passive".to_owned()),
        Role::Offer => attributes.push("setup:actpass".to_owned()),
        Role::Answer => {
            if let Some(setup) = leg.said.setup {
                attributes.push(format!("setup:{}", setup.name()));
            }
            if leg.said.has_connection {
                let new = if leg.is_new { "new" } else { "existing" };
                attributes.push(format!("connection:{new}"));
            }
        }
    }
}

fn join(numbers: impl Iterator<Item = u8>) -> String {
    let numbers: Vec<String> = numbers.map(|number| number.to_string()).collect();
    numbers.join(" ")
}
