use super::{Endpoints, Failure, Output, Session, Spare, Stage};
use crate::api::TlsIdentity;
use crate::limits::{STREAM_FRAME_BYTES, TLS_OVERHEAD_BYTES, TLS_PENDING_BYTES};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

fn identity() -> TlsIdentity {
    let made = rcgen::generate_simple_self_signed(vec!["far.example".to_owned()]).unwrap();
    let key = made.signing_key.serialize_der();
    TlsIdentity::new(vec![made.cert.der().to_vec()], key)
}

/// Two sessions and what was not yet carried to them.
struct Pair {
    ends: [Session; 2],
    wires: [Vec<u8>; 2],
    heard: [Vec<u8>; 2],
    spare: Spare,
}

impl Pair {
    fn new(endpoints: &Endpoints) -> Self {
        Self {
            ends: [
                Session::connect(endpoints, "far.example").unwrap(),
                Session::accept(endpoints).unwrap(),
            ],
            wires: Default::default(),
            heard: Default::default(),
            spare: Spare::default(),
        }
    }

    /// One side takes octets; says how it stands then.
    fn feed(&mut self, side: usize, octets: &[u8]) -> Result<Stage, Failure> {
        let mut out = Output::default();
        let stage = self.ends[side].receive(octets, &mut self.spare, &mut out);
        self.heard[side].extend(out.plain);
        self.wires[1 - side].extend(out.wire);
        stage
    }

    /// Carries all, in pieces of this length.
    fn settle(&mut self, piece: usize) -> [Result<Stage, Failure>; 2] {
        let mut stages = [Ok(Stage::Handshaking); 2];
        while self.wires.iter().any(|wire| !wire.is_empty()) {
            for side in [0, 1] {
                let wire = std::mem::take(&mut self.wires[side]);
                for part in wire.chunks(piece) {
                    stages[side] = self.feed(side, part);
                    if stages[side].is_err() {
                        break;
                    }
                }
            }
        }
        stages
    }

    fn shake_hands(&mut self, piece: usize) {
        self.feed(0, &[]).unwrap();
        assert!(self.settle(piece).iter().all(Result::is_ok));
        self.say(0, b"ping");
        self.say(1, b"pong");
        assert_eq!(self.settle(piece), [Ok(Stage::Open); 2]);
        assert_eq!(self.heard, [b"pong".to_vec(), b"ping".to_vec()]);
        self.heard = Default::default();
    }

    fn say(&mut self, side: usize, plain: &[u8]) {
        let mut sealed = vec![0; STREAM_FRAME_BYTES];
        let count = self.ends[side].seal(plain, &mut sealed).unwrap();
        self.wires[1 - side].extend_from_slice(&sealed[..count]);
    }
}

#[test]
fn a_session_opens_whatever_pieces_it_comes_in() {
    let endpoints = Endpoints::new(&identity()).unwrap();
    for piece in [1, 7, 100, 16_384] {
        Pair::new(&endpoints).shake_hands(piece);
    }
}

#[test]
fn both_ends_see_the_same_certificate_as_the_api_tells() {
    let identity = identity();
    let mut pair = Pair::new(&Endpoints::new(&identity).unwrap());
    pair.shake_hands(1000);
    for end in &pair.ends {
        assert_eq!(end.certificate(), Some(identity.fingerprint()));
    }
}

#[test]
fn a_full_frame_fits_when_it_is_sealed() {
    let mut pair = Pair::new(&Endpoints::new(&identity()).unwrap());
    pair.shake_hands(1000);
    let plain = vec![7; STREAM_FRAME_BYTES - TLS_OVERHEAD_BYTES];
    pair.say(0, &plain);
    assert!(pair.wires[1].len() > plain.len());
    assert!(pair.settle(1000)[1].is_ok());
    assert_eq!(pair.heard[1], plain);
}

#[test]
fn an_end_is_told_and_nothing_is_sealed_after_it() {
    let mut pair = Pair::new(&Endpoints::new(&identity()).unwrap());
    pair.shake_hands(1000);
    let mut sealed = [0; 512];
    pair.say(0, b"last");
    let count = pair.ends[0].close(&mut sealed);
    pair.wires[1].extend_from_slice(&sealed[..count]);
    assert_eq!(pair.settle(1000)[1], Ok(Stage::Ended));
    assert_eq!(pair.heard[1], b"last");
    assert_eq!(pair.ends[0].seal(b"more", &mut sealed), None);
    assert_eq!(pair.ends[0].close(&mut sealed), 0);
}

#[test]
fn an_identity_whose_key_is_another_ones_is_refused() {
    let (one, other) = (identity(), identity());
    let mixed = TlsIdentity::new(one.chain().to_vec(), other.key().to_vec());
    assert!(Endpoints::new(&mixed).is_err());
    let garbage = TlsIdentity::new(vec![vec![1, 2, 3]], vec![4, 5]);
    assert!(Endpoints::new(&garbage).is_err());
    assert!(Endpoints::new(&TlsIdentity::new(Vec::new(), one.key().to_vec())).is_err());
}

#[test]
fn a_chain_that_is_too_long_to_keep_is_refused() {
    let one = identity();
    let mut chain = one.chain().to_vec();
    chain.resize(40, chain[0].clone());
    let long = Endpoints::new(&TlsIdentity::new(chain, one.key().to_vec())).unwrap();
    let mut pair = Pair::new(&long);
    pair.feed(0, &[]).unwrap();
    assert!(pair.settle(1000).contains(&Err(Failure)));
}

#[test]
fn random_octets_neither_panic_nor_pile_up() {
    let endpoints = Endpoints::new(&identity()).unwrap();
    let seed = 20_261_121;
    let mut random = StdRng::seed_from_u64(seed);
    let mut spare = Spare::default();
    for round in 0..300 {
        let mut session = Session::accept(&endpoints).unwrap();
        let mut out = Output::default();
        let mut sealed = [0; 512];
        for _ in 0..40 {
            let count = random.random_range(0..6000);
            let mut octets: Vec<u8> = (0..count).map(|_| random.random()).collect();
            if random.random_bool(0.7) {
                // The beginning of a record that promises much.
                let head = [
                    0x16,
                    3,
                    random.random_range(0..5),
                    random.random_range(0..0x48),
                    9,
                ];
                octets.splice(..0, head);
            }
            let result = session.receive(&octets, &mut spare, &mut out);
            assert!(
                session.pending.len() <= TLS_PENDING_BYTES,
                "seed {seed}, {round}"
            );
            if result.is_err() {
                assert!(session.receive(&octets, &mut spare, &mut out).is_err());
                session.seal(b"x", &mut sealed);
                break;
            }
        }
        session.close(&mut sealed);
        assert!(out.plain.is_empty(), "seed {seed}, {round}");
    }
}

#[test]
fn changed_records_end_a_session_and_nothing_wrong_is_heard() {
    let endpoints = Endpoints::new(&identity()).unwrap();
    let seed = 42;
    let mut random = StdRng::seed_from_u64(seed);
    for round in 0..200 {
        let mut pair = Pair::new(&endpoints);
        let early = random.random_bool(0.5);
        if !early {
            pair.shake_hands(500);
            pair.say(0, &[7; 3000]);
        } else {
            pair.feed(0, &[]).unwrap();
        }
        let wire = &mut pair.wires[1];
        let at = random.random_range(0..wire.len());
        wire[at] ^= 1 << random.random_range(0..8);
        let mut sealed = [0; 512];
        let stages = pair.settle(random.random_range(1..4000));
        let whole = pair.heard[1].len().is_multiple_of(3000);
        assert!(whole || stages[1].is_err(), "seed {seed}, round {round}");
        for end in &mut pair.ends {
            end.close(&mut sealed);
        }
    }
}
