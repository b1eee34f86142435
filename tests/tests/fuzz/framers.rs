//! The two framers: however a stream is cut, the same comes out of it.

use control::sip::stream::{Frame, FrameError as SipError, StreamFramer};
use dataplane::wire::msrp::{Flag, FrameError, Framer, Head, Shared, Step, TransactionId};
use rand::RngExt;
use rand::rngs::StdRng;

use super::campaign::rounds;
use super::scene;
use super::seeds;
use super::spoil::{noise, pick, pieces, spoil};

fn sip_frames(pieces: &[&[u8]]) -> Vec<Result<Frame, SipError>> {
    let mut framer = StreamFramer::default();
    let mut frames = Vec::new();
    for piece in pieces {
        framer.push(piece);
        while let Some(frame) = framer.next() {
            let is_error = frame.is_err();
            frames.push(frame);
            if is_error {
                return frames;
            }
        }
    }
    frames
}

/// Messages one after the other, each with its right Content-Length, some with line ends between.
fn sip_stream(random: &mut StdRng) -> Vec<u8> {
    let mut stream = Vec::new();
    for _ in 0..random.random_range(1..4) {
        let body = noise(random, 100);
        let name = pick(random, &["Content-Length", "l", "CONTENT-LENGTH ", "l\t"]);
        let head = format!(
            "OPTIONS sip:a SIP/2.0\r\nTo: x\r\n{name}: {}\r\n\r\n",
            body.len()
        );
        stream.extend_from_slice(head.as_bytes());
        stream.extend_from_slice(&body);
        if random.random() {
            stream
                .extend_from_slice(pick(random, &["\r\n", "\r\n\r\n", "\r\n\r\n\r\n"]).as_bytes());
        }
    }
    stream
}

#[test]
fn a_sip_stream_gives_the_same_messages_however_it_is_cut() {
    let all = seeds::sip();
    rounds("sip framer", 3000, move |random| {
        let mut stream = sip_stream(random);
        if random.random() {
            let other = if random.random() {
                pick(random, &all).clone()
            } else {
                noise(random, 500)
            };
            spoil(random, &mut stream, &other);
        }
        let whole = sip_frames(&[&stream]);
        let cut = pieces(random, &stream);
        assert_eq!(sip_frames(&cut), whole, "{}", stream.escape_ascii());
        if stream.len() < 1000 {
            let (front, back) = stream.split_at(random.random_range(0..=stream.len()));
            assert_eq!(
                sip_frames(&[front, back]),
                whole,
                "{}",
                stream.escape_ascii()
            );
        }
    });
}

/// A part of a frame, with the body in one piece.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Head(Vec<u8>, bool),
    Body(Vec<u8>),
    End(Flag),
    Broken(FrameError),
}

fn msrp_parts(pieces: &[&[u8]], guard: Option<TransactionId>) -> (Vec<Part>, usize) {
    let (mut framer, mut shared) = (Framer::new(), Shared::default());
    let (mut parts, mut collisions) = (Vec::new(), 0);
    for piece in pieces {
        let mut input = *piece;
        loop {
            let before = input.len();
            let step = match framer.next(&mut input, &mut shared) {
                Ok(Some(step)) => step,
                Ok(None) => break,
                Err(error) => {
                    parts.push(Part::Broken(error));
                    return (parts, collisions);
                }
            };
            collisions += usize::from(matches!(step, Step::Collision(_)));
            let is_head = matches!(step, Step::Head { .. });
            match (step, parts.last_mut()) {
                (Step::Head { octets, body }, _) => {
                    let _ = Head::parse(octets);
                    parts.push(Part::Head(octets.to_vec(), body));
                }
                (Step::Body(octets) | Step::Collision(octets), Some(Part::Body(body))) => {
                    body.extend_from_slice(octets);
                }
                (Step::Body(octets) | Step::Collision(octets), _) => {
                    parts.push(Part::Body(octets.to_vec()));
                }
                (Step::End(flag), _) => parts.push(Part::End(flag)),
            }
            assert!(input.len() <= before);
            if let (true, Some(guard)) = (is_head, guard) {
                framer.guard(guard);
            }
        }
    }
    // What may still become an end line is held back: how much differs with nothing.
    (parts, collisions)
}

#[test]
fn an_msrp_stream_gives_the_same_parts_however_it_is_cut() {
    rounds("msrp framer", 6000, |random| {
        let mut stream: Vec<u8> = (0..random.random_range(1..4))
            .flat_map(|_| scene::frame(random, 'a'))
            .collect();
        if random.random() {
            let other = if random.random() {
                scene::frame(random, 'b')
            } else {
                noise(random, 500)
            };
            spoil(random, &mut stream, &other);
        }
        let guard = random
            .random_ratio(1, 2)
            .then(|| TransactionId::new(b"guard").unwrap());
        let whole = msrp_parts(&[&stream], guard);
        let bytewise: Vec<&[u8]> = stream.chunks(1).collect();
        if stream.len() < 4000 {
            assert_eq!(
                msrp_parts(&bytewise, guard),
                whole,
                "{}",
                stream.escape_ascii()
            );
        }
        let cut = pieces(random, &stream);
        assert_eq!(msrp_parts(&cut, guard), whole, "{}", stream.escape_ascii());
    });
}

#[test]
fn a_valid_msrp_frame_is_framed_as_it_was_made() {
    rounds("msrp frames", 6000, |random| {
        let id = scene::id(random);
        let body = scene::body(random, &id);
        let flag = *pick(random, &[Flag::Complete, Flag::More, Flag::Aborted]);
        let head = format!("MSRP {id} SEND\r\nTo-Path: x\r\n");
        let mut stream = format!("{head}\r\n").into_bytes();
        stream.extend_from_slice(&body);
        stream.extend_from_slice(
            format!("\r\n-------{id}{}\r\n", char::from(flag.byte())).as_bytes(),
        );
        let mut expected = vec![
            Part::Head(head.into_bytes(), true),
            Part::Body(body),
            Part::End(flag),
        ];
        expected.retain(|part| *part != Part::Body(Vec::new()));
        let cut = pieces(random, &stream);
        assert_eq!(
            msrp_parts(&cut, None).0,
            expected,
            "{}",
            stream.escape_ascii()
        );
    });
}
