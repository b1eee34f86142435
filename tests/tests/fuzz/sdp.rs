//! Session descriptions: what is accepted is written as it came.

use control::sdp::Sdp;
use rand::RngExt;

use super::campaign::rounds;
use super::seeds;
use super::spoil::{noise, pick, spoilt};

/// The same description as the parser promises to keep it: CRLF at line ends, no empty lines, the
/// session's o= (the last one) in the second line, an m-line's numbers without leading zeros and
/// nothing after its last word.
fn canonical(bytes: &[u8]) -> Vec<u8> {
    let lines = bytes
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let lines: Vec<&[u8]> = lines.filter(|line| !line.is_empty()).collect();
    let media = lines
        .iter()
        .position(|line| line.starts_with(b"m="))
        .unwrap_or(lines.len());
    let (session, media) = lines.split_at(media);
    let is_origin = |line: &&&[u8]| line.starts_with(b"o=");
    let origin = session
        .iter()
        .rfind(is_origin)
        .filter(|line| line.len() > 2);
    let others = session.iter().skip(1).filter(|line| !is_origin(line));
    let all = session
        .first()
        .into_iter()
        .chain(origin)
        .chain(others)
        .chain(media);
    all.flat_map(|line| [&media_line(line), b"\r\n".as_slice()].concat())
        .collect()
}

fn media_line(line: &[u8]) -> Vec<u8> {
    let mut words: Vec<Vec<u8>> = line
        .splitn(4, |byte| *byte == b' ')
        .map(<[u8]>::to_vec)
        .collect();
    if !line.starts_with(b"m=") || words.len() < 3 {
        return line.to_vec();
    }
    let ports = words[1].split(|byte| *byte == b'/');
    let ports: Vec<Vec<u8>> = ports
        .map(|digits| digits[zeros(digits)..].to_vec())
        .collect();
    words[1] = ports.join(&b'/');
    if words.last().is_some_and(Vec::is_empty) {
        words.pop();
    }
    words.join(&b' ')
}

/// How many zeros stand before the last digit.
fn zeros(digits: &[u8]) -> usize {
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    zeros.min(digits.len().saturating_sub(1))
}

fn look(bytes: &[u8]) {
    let Ok(sdp) = Sdp::parse(bytes) else {
        return;
    };
    let written = sdp.to_bytes();
    assert_eq!(
        written.escape_ascii().to_string(),
        canonical(bytes).escape_ascii().to_string(),
        "from {}",
        bytes.escape_ascii()
    );
    assert_eq!(
        Sdp::parse(&written).as_ref(),
        Ok(&sdp),
        "{}",
        bytes.escape_ascii()
    );
    for media in sdp.media() {
        let _ = (
            sdp.connection(media),
            sdp.flow(media),
            media.kind(),
            media.proto(),
            media.port_count(),
        );
        let _ = (sdp.attribute(media, "path"), media.has("rtcp-mux"));
        let mut changed = media.disabled();
        assert_eq!(changed.port(), 0);
        changed.set_port(9);
        assert_eq!(changed.port(), 9);
        let again = sdp.with_media(vec![changed]).to_bytes();
        assert_eq!(
            Sdp::parse(&again)
                .unwrap()
                .media()
                .first()
                .map(|line| line.port()),
            Some(9)
        );
    }
}

#[test]
fn a_description_that_is_accepted_is_written_as_it_came() {
    let all = seeds::sdp();
    for bytes in &all {
        assert!(Sdp::parse(bytes).is_ok());
        look(bytes);
    }
    rounds("sdp", 1500, move |random| {
        for _ in 0..30 {
            let (one, other) = (pick(random, &all), pick(random, &all));
            look(&spoilt(random, one, other));
            if random.random_ratio(1, 4) {
                look(&[b"v=0\r\n".as_slice(), &noise(random, 200)].concat());
            }
        }
    });
}
