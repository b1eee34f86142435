//! Our codecs against ffmpeg's, on speech: what one encodes the other decodes, by segmental SNR.

use std::path::Path;
use std::process::Command;

use dataplane::api::AudioCodec;
use dataplane::codec::{Decoder, Encoder};
use dataplane::limits;
use tests::live::process::Folder;
use tests::live::{needs, ogg, skip};

const SUITE: &str = "codecs with ffmpeg";
/// Milliseconds of a packet.
const PTIME_MS: u8 = 20;

/// A codec, what ffmpeg calls it, and how much like the original speech must come back.
struct Case {
    codec: AudioCodec,
    /// ffmpeg's encoder; Debian's has none of AMR, but decoders of its own.
    encoder: Option<&'static str>,
    /// The file's ending.
    file: &'static str,
    /// Options that make ffmpeg read the file.
    input: &'static [&'static str],
    /// Options for the encoder.
    output: &'static [&'static str],
    /// dB of segmental SNR, some 2 dB beneath what was measured. Opus and AMR turn the phase of low
    /// frequencies on purpose (high-pass filters), which is noise by this measure alone.
    snr: f64,
    /// Mean coherence between 250 and 3,250 Hz, which no phase changes: 1 is the same signal.
    coherence: f64,
}

const PCMU: Case = Case {
    codec: AudioCodec::Pcmu,
    encoder: Some("pcm_mulaw"),
    file: "ul",
    input: &["-f", "mulaw", "-ar", "8000"],
    output: &[],
    snr: 35.0,
    coherence: 0.99,
};

const PCMA: Case = Case {
    codec: AudioCodec::Pcma,
    encoder: Some("pcm_alaw"),
    file: "al",
    input: &["-f", "alaw", "-ar", "8000"],
    output: &[],
    snr: 35.0,
    coherence: 0.99,
};

const G722: Case = Case {
    codec: AudioCodec::G722,
    encoder: Some("g722"),
    file: "g722",
    input: &["-f", "g722"],
    output: &[],
    snr: 35.0,
    coherence: 0.99,
};

const OPUS: Case = Case {
    codec: AudioCodec::Opus {
        bitrate: 64_000,
        fec: false,
        dtx: false,
    },
    encoder: Some("libopus"),
    file: "ogg",
    input: &[],
    output: &["-b:a", "64k", "-frame_duration", "20"],
    snr: 5.0,
    coherence: 0.95,
};

/// 12.2 kbit/s.
const fn narrow(octet_aligned: bool) -> Case {
    Case {
        codec: AudioCodec::AmrNb {
            octet_aligned,
            mode: 7,
        },
        encoder: None,
        file: "amr",
        input: &[],
        output: &[],
        snr: -3.0,
        coherence: 0.9,
    }
}

/// 23.85 kbit/s.
const fn wide(octet_aligned: bool) -> Case {
    Case {
        codec: AudioCodec::AmrWb {
            octet_aligned,
            mode: 8,
        },
        encoder: None,
        file: "awb",
        input: &[],
        output: &[],
        snr: 6.0,
        coherence: 0.9,
    }
}

#[test]
fn g711_speech_passes_between_ffmpeg_and_us() {
    both_ways(&PCMU);
    both_ways(&PCMA);
}

#[test]
fn g722_speech_passes_between_ffmpeg_and_us() {
    both_ways(&G722);
}

#[test]
fn opus_speech_passes_between_ffmpeg_and_us() {
    both_ways(&OPUS);
}

#[test]
fn amr_speech_passes_between_ffmpeg_and_us_in_both_payload_formats() {
    both_ways(&narrow(true));
    both_ways(&narrow(false));
}

#[test]
fn amr_wb_speech_passes_between_ffmpeg_and_us_in_both_payload_formats() {
    both_ways(&wide(true));
    both_ways(&wide(false));
}

#[test]
fn g711_samples_are_those_of_ffmpeg_to_the_bit() {
    if !needs(SUITE, &["ffmpeg"]) {
        return;
    }
    for case in [&PCMU, &PCMA] {
        let folder = Folder::new("codecs");
        let (speech, packets) = encoded(folder.path(), case);
        let ours = folder.path().join("ours");
        std::fs::write(&ours, packets.concat()).unwrap();
        let theirs = decoded_by_ffmpeg(folder.path(), case, &ours);
        let mut decoder = Decoder::new(case.codec).unwrap();
        assert_eq!(decode(&mut decoder, &packets), theirs, "{:?}", case.codec);
        assert_eq!(speech.len(), theirs.len());
    }
}

fn both_ways(case: &Case) {
    if !needs(SUITE, &["ffmpeg"]) {
        return;
    }
    if !case.codec.is_available() {
        skip(SUITE, "built without the feature amr");
        return;
    }
    let folder = Folder::new("codecs");
    let (speech, packets) = encoded(folder.path(), case);
    let file = folder.path().join(format!("ours.{}", case.file));
    std::fs::write(&file, stored(case, &packets)).unwrap();
    let theirs = decoded_by_ffmpeg(folder.path(), case, &file);
    likeness(case, "ours to ffmpeg", &speech, &theirs);

    let mut decoder = Decoder::new(case.codec).unwrap();
    let Some(encoder) = case.encoder else {
        let ours = decode(&mut decoder, &packets);
        let alike = Case {
            snr: 20.0,
            coherence: 0.99,
            ..*case
        };
        likeness(&alike, "our decoder to ffmpeg's", &theirs, &ours);
        return;
    };
    let file = folder.path().join(format!("theirs.{}", case.file));
    let rate = case.codec.sample_rate().to_string();
    let mut arguments = vec!["-f", "s16le", "-ar", &rate, "-i", "speech", "-c:a", encoder];
    arguments.extend(case.output);
    arguments.push(file.to_str().unwrap());
    ffmpeg(folder.path(), &arguments);
    let packets = payloads(case, &std::fs::read(&file).unwrap());
    let ours = decode(&mut decoder, &packets);
    likeness(case, "ffmpeg to ours", &speech, &ours);
}

/// Speech in the folder's file `speech`, and our packets of it.
fn encoded(folder: &Path, case: &Case) -> (Vec<i16>, Vec<Vec<u8>>) {
    let rate = case.codec.sample_rate();
    let said = "flite=voice=slt:text='The relay stays in the path of each session, and hears \
                every word that both of them say, be it loud or soft.'";
    let rate_text = rate.to_string();
    let arguments = ["-f", "lavfi", "-i", said, "-ar", &rate_text, "-ac", "1"];
    ffmpeg(
        folder,
        &[&arguments[..], &["-f", "s16le", "speech"]].concat(),
    );
    let speech = samples(&std::fs::read(folder.join("speech")).unwrap());
    let mut encoder = Encoder::new(case.codec, PTIME_MS).unwrap();
    let length = usize::try_from(rate / 50).unwrap();
    let packet = |samples: &[i16]| {
        let mut out = [0; limits::CODEC_PAYLOAD_BYTES];
        let octets = encoder.encode(samples, &mut out);
        assert!(octets > 0);
        out[..octets].to_vec()
    };
    let packets: Vec<Vec<u8>> = speech.chunks_exact(length).map(packet).collect();
    let whole = packets.len() * length;
    assert!(
        whole > length * 100,
        "some seconds of speech: {whole} samples"
    );
    (speech[..whole].to_vec(), packets)
}

fn decode(decoder: &mut Decoder, packets: &[Vec<u8>]) -> Vec<i16> {
    let mut all = Vec::new();
    for packet in packets {
        let mut out = [0; limits::CODEC_SAMPLES];
        let length = decoder.decode(packet, &mut out).unwrap();
        all.extend(&out[..length]);
    }
    all
}

fn decoded_by_ffmpeg(folder: &Path, case: &Case, file: &Path) -> Vec<i16> {
    let rate = case.codec.sample_rate().to_string();
    let mut arguments = case.input.to_vec();
    arguments.extend(["-i", file.to_str().unwrap()]);
    arguments.extend(["-ar", &rate, "-ac", "1", "-f", "s16le", "decoded"]);
    ffmpeg(folder, &arguments);
    samples(&std::fs::read(folder.join("decoded")).unwrap())
}

fn ffmpeg(folder: &Path, arguments: &[&str]) {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-loglevel", "error", "-y"]);
    let output = command
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ffmpeg {arguments:?}: {said}");
}

fn samples(octets: &[u8]) -> Vec<i16> {
    let pairs = octets.chunks_exact(2);
    pairs
        .map(|pair| i16::from_le_bytes([pair[0], pair[1]]))
        .collect()
}

/// The packets in a file that ffmpeg reads.
fn stored(case: &Case, packets: &[Vec<u8>]) -> Vec<u8> {
    match case.codec {
        AudioCodec::Opus { .. } => ogg::write(packets, 960),
        AudioCodec::AmrNb { octet_aligned, .. } => amr_file(b"#!AMR\n", octet_aligned, packets),
        AudioCodec::AmrWb { octet_aligned, .. } => amr_file(b"#!AMR-WB\n", octet_aligned, packets),
        AudioCodec::Pcmu | AudioCodec::Pcma | AudioCodec::G722 => packets.concat(),
    }
}

/// The packets of a file that ffmpeg wrote.
fn payloads(case: &Case, file: &[u8]) -> Vec<Vec<u8>> {
    match case.codec {
        AudioCodec::Opus { .. } => ogg::read(file),
        _ => file.chunks_exact(160).map(<[u8]>::to_vec).collect(),
    }
}

/// Bits of the frame types (3GPP TS 26.101 table 1, TS 26.201 table 2).
const NARROW: [usize; 9] = [95, 103, 118, 134, 148, 159, 204, 244, 39];
const WIDE: [usize; 10] = [132, 177, 253, 285, 317, 365, 397, 461, 477, 40];

/// A file of single channel frames (RFC 4867 §5) from payloads of one frame each.
fn amr_file(magic: &[u8], octet_aligned: bool, packets: &[Vec<u8>]) -> Vec<u8> {
    let mut file = magic.to_vec();
    for packet in packets {
        if octet_aligned {
            assert_eq!(packet[1] & 0x83, 0, "one frame, no padding");
            file.extend(&packet[1..]);
            continue;
        }
        // CMR (4), F (1), FT (4), Q (1), then the frame.
        let bits = bits(packet);
        assert!(!bits[4], "one frame");
        file.extend(octets(&[&[false], &bits[5..10], &[false; 2]].concat()));
        let kind = if magic.len() > 6 {
            &WIDE[..]
        } else {
            &NARROW[..]
        };
        let frame_type = usize::from(octets(&bits[5..9])[0] >> 4);
        file.extend(octets(&bits[10..10 + kind[frame_type]]));
    }
    file
}

fn bits(octets: &[u8]) -> Vec<bool> {
    let of = |octet: &u8| {
        (0..8)
            .map(|bit| octet << bit & 0x80 != 0)
            .collect::<Vec<_>>()
    };
    octets.iter().flat_map(of).collect()
}

fn octets(bits: &[bool]) -> Vec<u8> {
    let octet = |bits: &[bool]| {
        let set = |(at, bit): (usize, &bool)| if *bit { 0x80 >> at } else { 0 };
        bits.iter().enumerate().map(set).sum()
    };
    bits.chunks(8).map(octet).collect()
}

/// Holds the decoded speech against the original, wherever the codec's delay has put it.
fn likeness(case: &Case, way: &str, speech: &[i16], decoded: &[i16]) {
    let codec = case.codec;
    let missing = speech.len().saturating_sub(decoded.len());
    assert!(
        missing < 2_000,
        "{codec:?}, {way}: {missing} samples are missing"
    );
    let segment = usize::try_from(codec.sample_rate() / 50).unwrap();
    let snr = |lag, step| segmental_snr(speech, decoded, (lag, step), segment);
    let best = (-700_i32..=700)
        .max_by(|a, b| snr(*a, 7).total_cmp(&snr(*b, 7)))
        .unwrap();
    let (snr, coherence) = (snr(best, 1), coherence(codec, speech, decoded, best));
    let found = format!("{codec:?}, {way}: {snr:.1} dB, {coherence:.3}, at {best} samples");
    assert!(snr >= case.snr && coherence >= case.coherence, "{found}");
}

/// The mean coherence at thirteen frequencies, over windows of 32 ms with speech in them.
fn coherence(codec: AudioCodec, speech: &[i16], decoded: &[i16], lag: i32) -> f64 {
    let rate = f64::from(codec.sample_rate());
    let window = usize::try_from(codec.sample_rate() * 4 / 125).unwrap();
    let at = |samples: &[i16], hz: f64| {
        let mut sums = (0.0, 0.0);
        for (n, sample) in (0_u32..).zip(samples) {
            let turn = std::f64::consts::TAU * f64::from(n);
            let shape = 1.0 - (turn / f64::from(u32::try_from(window).unwrap())).cos();
            let (sin, cos) = (turn * hz / rate).sin_cos();
            let value = f64::from(*sample) * shape;
            sums = (sums.0 + value * cos, sums.1 + value * sin);
        }
        sums
    };
    let mut all = 0.0;
    for step in 1..=13 {
        let hz = 250.0 * f64::from(step);
        let (mut own, mut other, mut cross) = (0.0, 0.0, (0.0, 0.0));
        for begin in (1_000..speech.len() - window - 1_000).step_by(window) {
            let moved = usize::try_from(i32::try_from(begin).unwrap() + lag).unwrap();
            let Some(decoded) = decoded.get(moved..moved + window) else {
                break;
            };
            let (a, b) = (at(&speech[begin..begin + window], hz), at(decoded, hz));
            own += a.0 * a.0 + a.1 * a.1;
            other += b.0 * b.0 + b.1 * b.1;
            cross.0 += a.0 * b.0 + a.1 * b.1;
            cross.1 += a.0 * b.1 - a.1 * b.0;
        }
        all += f64::hypot(cross.0, cross.1) / f64::sqrt(own * other + 1.0);
    }
    all / 13.0
}

/// The mean of the SNR of each 20 ms with speech in it, every `step` of them.
fn segmental_snr(speech: &[i16], decoded: &[i16], (lag, step): (i32, usize), length: usize) -> f64 {
    let (mut sum, mut count) = (0.0, 0.0);
    for (at, segment) in speech.chunks_exact(length).enumerate().step_by(step) {
        let from = i32::try_from(at * length).unwrap() + lag;
        let Some(other) = usize::try_from(from)
            .ok()
            .and_then(|from| decoded.get(from..from + length))
        else {
            continue;
        };
        let square = |value: i32| f64::from(value) * f64::from(value);
        let signal: f64 = segment.iter().map(|s| square(i32::from(*s))).sum();
        // Pauses say nothing: 40 dB beneath the overload point.
        if signal < f64::from(i32::try_from(length).unwrap()) * square(328) {
            continue;
        }
        let pairs = segment.iter().zip(other);
        let noise: f64 = pairs
            .map(|(a, b)| square(i32::from(*a) - i32::from(*b)))
            .sum();
        sum += (10.0 * (signal / noise.max(1.0)).log10()).clamp(-10.0, 60.0);
        count += 1.0;
    }
    sum / f64::max(count, 1.0)
}
