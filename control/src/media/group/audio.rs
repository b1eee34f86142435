//! Codecs of mixed audio in SDP (RFC 3389, RFC 3551, RFC 4733, RFC 4867, RFC 6464, RFC 6465, RFC 7587).

use dataplane::api::{AudioCodec, AudioFormat};

use crate::sdp::MediaDescription;

/// What a line says of its codecs: those that the relay decodes, in their order, and
/// telephone-event.
pub(super) fn read(line: &MediaDescription) -> (Vec<AudioFormat>, Option<(u8, u32)>) {
    let ptime_ms = ptime(line);
    let (mut formats, mut event) = (Vec::new(), None);
    for word in line.formats_text().split_ascii_whitespace() {
        let Ok(payload_type) = word.parse::<u8>() else {
            continue;
        };
        let encoding = encoding(line, payload_type);
        let mut parts = encoding.split('/');
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let rate = parts.next().and_then(|rate| rate.parse::<u32>().ok());
        let codec = match (name.as_str(), rate) {
            ("pcmu", Some(8_000)) => AudioCodec::Pcmu,
            ("pcma", Some(8_000)) => AudioCodec::Pcma,
            ("g722", Some(8_000)) => AudioCodec::G722,
            ("opus", Some(48_000)) => opus(line, payload_type),
            ("amr" | "amr-wb", Some(_)) => match amr(line, payload_type, &encoding) {
                Some(codec) if codec.is_available() => codec,
                Some(_) | None => continue,
            },
            ("telephone-event", Some(rate)) => {
                event = event.or(Some((payload_type, rate)));
                continue;
            }
            _ => continue,
        };
        if payload_type < 128 && formats.len() < FORMATS {
            formats.push(AudioFormat {
                payload_type,
                codec,
                // AMR's frames are of 20 ms.
                ptime_ms: if matches!(codec, AudioCodec::AmrNb { .. } | AudioCodec::AmrWb { .. }) {
                    ptime_ms.next_multiple_of(20)
                } else {
                    ptime_ms
                },
            });
        }
    }
    (formats, event)
}

/// The payload type of comfort noise that a line's author takes in place of G.711's silence
/// (RFC 3389 §5).
pub(super) fn noise(line: &MediaDescription) -> Option<u8> {
    let words = line.formats_text();
    let numbers = words.split_ascii_whitespace();
    let mut numbers = numbers.filter_map(|word| word.parse().ok());
    numbers.find(|number| match encoding(line, *number) {
        unnamed if unnamed.is_empty() => *number == NOISE,
        named => named.eq_ignore_ascii_case("CN/8000"),
    })
}

/// The line that names it, where a codec is there that it is for.
pub(super) fn write_noise(formats: &[AudioFormat], noise: Option<u8>) -> Option<(u8, String)> {
    let is_for = |format: &AudioFormat| matches!(format.codec, AudioCodec::Pcmu | AudioCodec::Pcma);
    let noise = noise.filter(|_| formats.iter().any(is_for))?;
    Some((noise, format!("rtpmap:{noise} CN/8000")))
}

/// What a payload type is: its `a=rtpmap`, else what RFC 3551 gives it.
pub(super) fn encoding(line: &MediaDescription, payload_type: u8) -> String {
    let mapped = line.attributes("rtpmap").find_map(|value| {
        let (number, encoding) = value.trim().split_once(' ')?;
        (number.parse() == Ok(payload_type)).then_some(encoding.trim())
    });
    let known = match payload_type {
        0 => "PCMU/8000",
        8 => "PCMA/8000",
        9 => "G722/8000",
        31 => "H261/90000",
        34 => "H263/90000",
        _ => "",
    };
    mapped.unwrap_or(known).to_owned()
}

/// A payload type's `a=fmtp`.
pub(super) fn fmtp(line: &MediaDescription, payload_type: u8) -> Option<String> {
    line.attributes("fmtp").find_map(|value| {
        let (number, parameters) = value.trim().split_once(' ')?;
        (number.parse() == Ok(payload_type)).then(|| parameters.trim().to_owned())
    })
}

/// AMR as the relay has it: one channel, without interleaving, CRC and sorting (RFC 4867 §8.1).
fn amr(line: &MediaDescription, payload_type: u8, encoding: &str) -> Option<AudioCodec> {
    let parameters = fmtp(line, payload_type).unwrap_or_default();
    let value = |name: &str| parameter(&parameters, name);
    let is_on = |name: &str| value(name) == Some("1");
    if is_on("crc") || is_on("robust-sorting") || value("interleaving").is_some() {
        return None;
    }
    let modes =
        value("mode-set").map(|set| set.split(',').filter_map(|mode| mode.trim().parse().ok()));
    let chosen = |wanted: u8, most: u8| {
        let Some(modes) = modes else {
            return Some(wanted);
        };
        let modes: Vec<u8> = modes.filter(|mode| *mode <= most).collect();
        let within = modes.iter().filter(|mode| **mode <= wanted).max();
        within.or_else(|| modes.iter().min()).copied()
    };
    let octet_aligned = is_on("octet-align");
    match encoding.to_ascii_lowercase().as_str() {
        "amr/8000" | "amr/8000/1" => Some(AudioCodec::AmrNb {
            octet_aligned,
            mode: chosen(AMR_MODE, 7)?,
        }),
        "amr-wb/16000" | "amr-wb/16000/1" => Some(AudioCodec::AmrWb {
            octet_aligned,
            mode: chosen(AMR_WB_MODE, 8)?,
        }),
        _ => None,
    }
}

/// What was said of AMR's payload types, which hold for both directions and are answered as they
/// were offered (RFC 4867 §8.3.1).
pub(super) fn amr_parameters(line: &MediaDescription, formats: &[AudioFormat]) -> Vec<String> {
    let amr = formats.iter().filter(|format| {
        matches!(
            format.codec,
            AudioCodec::AmrNb { .. } | AudioCodec::AmrWb { .. }
        )
    });
    let said = amr.filter_map(|format| {
        let number = format.payload_type;
        fmtp(line, number).map(|text| format!("fmtp:{number} {text}"))
    });
    said.collect()
}

fn parameter<'a>(parameters: &'a str, name: &str) -> Option<&'a str> {
    parameters.split(';').find_map(|parameter| {
        let (key, value) = parameter.split_once('=')?;
        key.trim()
            .eq_ignore_ascii_case(name)
            .then_some(value.trim())
    })
}

fn opus(line: &MediaDescription, payload_type: u8) -> AudioCodec {
    let parameters = fmtp(line, payload_type).unwrap_or_default();
    let value = |name: &str| parameter(&parameters, name);
    let most = value("maxaveragebitrate").and_then(|value| value.parse::<u32>().ok());
    AudioCodec::Opus {
        bitrate: most.map_or(OPUS_BITRATE, |most| most.clamp(6_000, OPUS_BITRATE)),
        fec: value("useinbandfec") == Some("1"),
        dtx: value("usedtx") == Some("1"),
    }
}

/// The packet time that the line's author wants to get, of those that can be sent.
fn ptime(line: &MediaDescription) -> u8 {
    let wanted = line.attribute("ptime");
    let wanted = wanted.and_then(|value| value.trim().parse::<u8>().ok());
    let known = [10, 20, 30, 40, 60];
    known
        .into_iter()
        .find(|known| Some(*known) == wanted)
        .unwrap_or(20)
}

/// The codecs that are offered, the best first.
pub(super) fn offered() -> (Vec<AudioFormat>, Option<(u8, u32)>) {
    let opus = AudioCodec::Opus {
        bitrate: OPUS_BITRATE,
        fec: true,
        dtx: false,
    };
    let wide = AudioCodec::AmrWb {
        octet_aligned: false,
        mode: AMR_WB_MODE,
    };
    let narrow = AudioCodec::AmrNb {
        octet_aligned: false,
        mode: AMR_MODE,
    };
    let all = [
        (96, opus),
        (97, wide),
        (9, AudioCodec::G722),
        (98, narrow),
        (8, AudioCodec::Pcma),
        (0, AudioCodec::Pcmu),
    ];
    let there = all.into_iter().filter(|(_, codec)| codec.is_available());
    let formats = there.map(|(payload_type, codec)| AudioFormat {
        payload_type,
        codec,
        ptime_ms: 20,
    });
    (formats.collect(), Some((101, 8_000)))
}

/// The attribute lines of codecs.
pub(super) fn write(formats: &[AudioFormat], event: Option<(u8, u32)>) -> Vec<String> {
    let mut lines = Vec::new();
    for AudioFormat {
        payload_type,
        codec,
        ..
    } in formats
    {
        let encoding = match codec {
            AudioCodec::Pcmu => "PCMU/8000",
            AudioCodec::Pcma => "PCMA/8000",
            AudioCodec::G722 => "G722/8000",
            AudioCodec::Opus { .. } => "opus/48000/2",
            AudioCodec::AmrNb { .. } => "AMR/8000",
            AudioCodec::AmrWb { .. } => "AMR-WB/16000",
        };
        lines.push(format!("rtpmap:{payload_type} {encoding}"));
        if matches!(codec, AudioCodec::Opus { .. }) {
            lines.push(format!("fmtp:{payload_type} useinbandfec=1"));
        }
    }
    if let Some((payload_type, rate)) = event {
        lines.push(format!("rtpmap:{payload_type} telephone-event/{rate}"));
        lines.push(format!("fmtp:{payload_type} 0-15"));
    }
    if let Some(first) = formats.first() {
        lines.push(format!("ptime:{}", first.ptime_ms));
    }
    lines
}

/// The ids of the header extensions with levels: from clients, from the mixer.
pub(super) fn levels(line: &MediaDescription) -> [Option<u8>; 2] {
    LEVELS.map(|uri| extension(line, uri))
}

/// The id of a header extension (RFC 8285 §8).
pub(super) fn extension(line: &MediaDescription, uri: &str) -> Option<u8> {
    line.attributes("extmap").find_map(|value| {
        let mut words = value.split_ascii_whitespace();
        let id = words.next()?.split('/').next()?.parse::<u8>().ok()?;
        let is_meant = words.next()?.eq_ignore_ascii_case(uri);
        (is_meant && (1..=14).contains(&id)).then_some(id)
    })
}

/// The lines that name them.
pub(super) fn write_levels(ids: [Option<u8>; 2]) -> Vec<String> {
    let named = ids.into_iter().zip(LEVELS);
    let lines = named.filter_map(|(id, uri)| Some(format!("extmap:{} {uri}", id?)));
    lines.collect()
}

const LEVELS: [&str; 2] = [
    "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
    "urn:ietf:params:rtp-hdrext:csrc-audio-level",
];
/// 12.2 kbit/s, and the 12.65 that all networks with AMR-WB have: at most, unless a mode set has
/// only higher ones.
const AMR_MODE: u8 = 7;
const AMR_WB_MODE: u8 = 2;
/// RFC 3551 table 4.
pub(super) const NOISE: u8 = 13;
/// Formats of one line.
const FORMATS: usize = 16;
/// Bits per second of speech in full bandwidth (RFC 7587 §3.1.1).
const OPUS_BITRATE: u32 = 40_000;
