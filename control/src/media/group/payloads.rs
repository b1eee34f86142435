//! Payload formats of RTP that is forwarded: told apart by what SDP says of them, not decoded.

use dataplane::api::{VideoCodec, VideoFeedback, VideoFormat};

use super::audio;
use crate::sdp::{Kind, MediaDescription};

/// A payload format of a room.
#[derive(Debug, Clone)]
pub(super) struct Payload {
    /// Its number in who brought it's description, and in offers to the others.
    pub payload_type: u8,
    /// Its encoding with clock rate: `H264/90000`.
    pub encoding: String,
    pub fmtp: Option<String>,
    /// `a=rtcp-fb` values.
    pub feedback: Vec<String>,
    /// Nobody has refused it who was asked.
    pub is_agreed: bool,
}

impl Payload {
    /// Its clock rate, in hertz.
    pub(super) fn clock_rate(&self) -> u32 {
        let rate = self.encoding.split('/').nth(1);
        rate.and_then(|rate| rate.parse().ok()).unwrap_or(90_000)
    }

    /// Whether it is the same as one of another description: by its encoding, and where that has
    /// forms that don't understand each other, by the form (RFC 6184 §8.2.2, RFC 9628 §6).
    fn is_same(&self, encoding: &str, fmtp: Option<&str>) -> bool {
        if !self.encoding.eq_ignore_ascii_case(encoding) {
            return false;
        }
        let form = |fmtp: Option<&str>| -> (String, String, String) {
            let value = |name: &str| {
                let mut parameters = fmtp.unwrap_or_default().split(';');
                let found = parameters.find_map(|parameter| {
                    let (key, value) = parameter.split_once('=')?;
                    let is_meant = key.trim().eq_ignore_ascii_case(name);
                    is_meant.then(|| value.trim().to_ascii_lowercase())
                });
                found.unwrap_or_default()
            };
            // The profile is the first octet of profile-level-id; levels are agreed downwards.
            let profile = value("profile-level-id");
            let profile = profile.get(..2).unwrap_or_default().to_owned();
            let mode = value("packetization-mode");
            let mode = if mode.is_empty() {
                "0".to_owned()
            } else {
                mode
            };
            (profile, mode, value("profile-id"))
        };
        form(self.fmtp.as_deref()) == form(fmtp)
    }
}

/// The formats of a line, without those that repair or repeat others.
pub(super) fn read(line: &MediaDescription) -> Vec<Payload> {
    let words = line.formats_text().split_ascii_whitespace();
    let numbers = words.filter_map(|word| word.parse::<u8>().ok());
    let payloads = numbers.filter_map(|payload_type| {
        let encoding = audio::encoding(line, payload_type);
        let name = encoding.split('/').next().unwrap_or_default();
        let is_repair = REPAIR.iter().any(|other| name.eq_ignore_ascii_case(other));
        if name.is_empty() || is_repair || payload_type > 127 {
            return None;
        }
        Some(Payload {
            payload_type,
            fmtp: audio::fmtp(line, payload_type),
            feedback: feedback(line, payload_type),
            encoding,
            is_agreed: true,
        })
    });
    payloads.take(FORMATS).collect()
}

/// The formats of a line that a room has: the line's payload type, the room's number of it.
pub(super) fn shared(known: &[Payload], line: &MediaDescription) -> Vec<(u8, u16)> {
    let offered = read(line);
    let pairs = offered.iter().filter_map(|payload| {
        let mut known = known.iter().zip(0_u16..);
        let (_, number) = known.find(|(known, _)| {
            known.is_agreed && known.is_same(&payload.encoding, payload.fmtp.as_deref())
        })?;
        Some((payload.payload_type, number))
    });
    pairs.collect()
}

/// What is known of a video line's payload types.
pub(super) fn video(line: &MediaDescription) -> Vec<VideoFormat> {
    if line.kind() != Kind::Video {
        return Vec::new();
    }
    let payloads = read(line).into_iter();
    let formats = payloads.filter_map(|payload| {
        let name = payload.encoding.split('/').next().unwrap_or_default();
        let codec = match name.to_ascii_uppercase().as_str() {
            "VP8" => VideoCodec::Vp8,
            "H264" => VideoCodec::H264,
            "H265" => VideoCodec::H265,
            _ => return None,
        };
        let has = |kind: &str| payload.feedback.iter().any(|one| one == kind);
        Some(VideoFormat {
            payload_type: payload.payload_type,
            codec,
            feedback: VideoFeedback {
                nack: has("nack"),
                picture_loss: has("nack pli"),
                full_intra: has("ccm fir"),
                remb: has("goog-remb"),
            },
        })
    });
    formats.collect()
}

/// `a=rtcp-fb` of a payload type; what is for all of them counts for each (RFC 4585 §4.2).
fn feedback(line: &MediaDescription, payload_type: u8) -> Vec<String> {
    let values = line.attributes("rtcp-fb").filter_map(|value| {
        let (number, kind) = value.trim().split_once(' ')?;
        let is_meant = number == "*" || number.parse() == Ok(payload_type);
        let kind = kind.trim();
        (is_meant && FEEDBACK.contains(&kind)).then(|| kind.to_owned())
    });
    values.take(FEEDBACK.len()).collect()
}

const REPAIR: [&str; 6] = [
    "rtx",
    "red",
    "ulpfec",
    "flexfec",
    "flexfec-03",
    "telephone-event",
];
/// What travels between members (RFC 4585, RFC 5104).
const FEEDBACK: [&str; 4] = ["nack", "nack pli", "ccm fir", "goog-remb"];
/// The header extension with the orientation of video (3GPP TS 26.114 7.4.5).
pub(super) const ORIENTATION: &str = "urn:3gpp:video-orientation";
/// Formats of one room.
const FORMATS: usize = 16;
