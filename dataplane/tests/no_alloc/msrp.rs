//! A SEND and its response are relayed without taking memory.

use std::time::{Duration, Instant};

use dataplane::proto::msrp::{Config, ConnectionKey, Connections, Egress, Leg, LegKey, Verdict};
use dataplane::stats::Stats;

use crate::taken;

/// Keeps the last octets written to each of two connections, without growing.
struct Kept {
    bytes: [Vec<u8>; 2],
}

impl Egress for Kept {
    fn write(&mut self, to: ConnectionKey, bytes: &[u8]) {
        let kept = &mut self.bytes[to.0 as usize];
        assert!(kept.len() + bytes.len() <= kept.capacity());
        kept.extend_from_slice(bytes);
    }

    fn is_full(&self, _to: ConnectionKey) -> bool {
        false
    }
}

fn leg(relay: &mut Connections, letter: u8) -> LegKey {
    let id = char::from(letter).to_string().repeat(32);
    let path = format!("msrp://192.0.2.1:2855/{id};tcp");
    let session_id = [letter; 32];
    let leg = Leg {
        session_id,
        local_path: &path,
        match_session_id_only: false,
    };
    relay.add_leg(leg).expect("there is room for two legs")
}

#[test]
fn a_send_and_its_response_take_no_memory() {
    let config = Config {
        transactions: 64,
        timeout: Duration::from_secs(30),
    };
    let (mut relay, mut stats, now) = (
        Connections::new(config, 1),
        Stats::default(),
        Instant::now(),
    );
    let (a, b) = (leg(&mut relay, b'a'), leg(&mut relay, b'b'));
    relay.join(a, b);
    relay.set_remote(a, "msrp://a.example:7000/far;tcp", None);
    relay.set_remote(b, "msrp://b.example:7000/far;tcp", None);
    let mut out = Kept {
        bytes: [Vec::with_capacity(65_536), Vec::with_capacity(65_536)],
    };
    let from = relay.connected(now, a, &mut out).unwrap();
    let to = relay.connected(now, b, &mut out).unwrap();
    let send = format!(
        "MSRP tid1 SEND\r\nTo-Path: msrp://192.0.2.1:2855/{};tcp\r\n\
         From-Path: msrp://a.example:7000/far;tcp\r\nMessage-ID: 1234\r\n\
         Byte-Range: 1-1024/1024\r\nContent-Type: text/plain\r\n\r\n{}\r\n-------tid1$\r\n",
        "a".repeat(32),
        "x".repeat(1024),
    );
    let mut answer = Vec::with_capacity(1024);
    let mut before = 0;
    for round in 0..2000 {
        if round == 100 {
            before = taken();
        }
        out.bytes.iter_mut().for_each(Vec::clear);
        // In two pieces, at a place that moves through the head, the body and the end line.
        let (front, back) = send.as_bytes().split_at(round % send.len());
        for piece in [front, back] {
            let verdict = relay.receive(now, from, piece, &mut out, &mut stats);
            assert_eq!(verdict, Verdict::Continue);
        }
        let id = out.bytes[to.0 as usize]
            .split(|b| *b == b' ')
            .nth(1)
            .unwrap();
        answer.clear();
        for part in [
            b"MSRP ",
            id,
            b" 200 OK\r\nTo-Path: msrp://a:1/x;tcp\r\nFrom-Path: msrp://a:1/x;tcp\r\n-------",
            id,
            b"$\r\n",
        ] {
            answer.extend_from_slice(part);
        }
        let verdict = relay.receive(now, to, &answer, &mut out, &mut stats);
        assert_eq!(verdict, Verdict::Continue);
    }
    assert_eq!(taken() - before, 0);
    assert_eq!((stats.msrp_delivered, stats.msrp_open), (2000, 0));
}
