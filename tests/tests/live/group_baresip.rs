//! Three baresips in a group session: each plays a tone, and what each recorded is looked through.

use std::f64::consts::TAU;
use std::net::SocketAddr;

use tests::live::baresip::{Baresip, Part};
use tests::live::ports::Ports;
use tests::live::relay::Relay;
use tests::live::scene::LONG;
use tests::live::{eventually, needs};

const TEAM: &str = "sip:team@groups.example";
/// Samples in a second.
const RATE: u32 = 8000;
const NAMES: [&str; 3] = ["alice", "bob", "carol"];
const TONES: [u32; 3] = [400, 600, 800];
/// How loud they are played, of 32,768.
const LOUDNESS: f64 = 6000.0;

/// A tone for some seconds.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the wave stays within 6,000"
)]
fn tone(hertz: u32, seconds: u32) -> Vec<i16> {
    let wave = |at: u32| LOUDNESS * (TAU * f64::from(hertz * at) / f64::from(RATE)).sin();
    let second: Vec<i16> = (0..RATE).map(|at| wave(at) as i16).collect();
    second.repeat(usize::try_from(seconds).unwrap())
}

/// How loud a tone is in samples, among others.
fn loudness(hertz: u32, samples: &[i16]) -> f64 {
    let (mut real, mut imaginary) = (0.0, 0.0);
    for (at, sample) in (0..).zip(samples) {
        let angle = TAU * f64::from(hertz * (at % RATE)) / f64::from(RATE);
        real += f64::from(*sample) * angle.cos();
        imaginary += f64::from(*sample) * angle.sin();
    }
    let count = f64::from(u32::try_from(samples.len()).unwrap());
    f64::hypot(real, imaginary) / (count / 2.0)
}

/// The median loudness of a tone over pieces of a tenth of a second: a gap in one changes nothing.
fn heard(hertz: u32, samples: &[i16]) -> f64 {
    let pieces = samples.chunks_exact(usize::try_from(RATE / 10).unwrap());
    let mut all: Vec<f64> = pieces.map(|piece| loudness(hertz, piece)).collect();
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

fn start(number: usize, (sip, media): (SocketAddr, u16), calls: Option<SocketAddr>) -> Baresip {
    let part = Part {
        user: NAMES[number],
        sip,
        media,
        proxy: calls,
        calls: calls.map(|_| TEAM),
    };
    Baresip::start(&part, &tone(TONES[number], 180))
}

#[test]
fn upl_02_three_baresips_hear_both_others_and_not_themselves() {
    if !needs("live::group_baresip", &["baresip"]) {
        return;
    }
    let mut ports = Ports::take();
    let places: [(SocketAddr, u16); 3] = std::array::from_fn(|_| {
        let sip = SocketAddr::from(([127, 0, 0, 1], ports.pair()));
        (sip, ports.row(10))
    });
    let uris: Vec<String> = (NAMES.iter().zip(&places))
        .map(|(name, (sip, _))| format!("\"sip:{name}@{sip}\""))
        .collect();
    let relay = Relay::start_with(|settings| {
        let section = format!("group.{TEAM:?}");
        settings.set(&section, "members", format!("[{}]", uris.join(", ")));
    });
    let others = [1, 2].map(|number| start(number, places[number], None));
    for other in &others {
        assert!(other.is_ready(LONG));
    }
    let alice = start(0, places[0], Some(relay.sip));
    let [bob, carol] = others;
    let clients = [alice, bob, carol];
    let are_in = eventually(LONG, || {
        let sessions = relay.sessions();
        sessions.iter().any(|one| one["participants"] == 3)
    });
    assert!(are_in, "{:#?}", relay.sessions());
    // When everybody is in and has begun to be mixed, and before anybody leaves.
    let second = usize::try_from(RATE).unwrap();
    let begins = clients.each_ref().map(|one| one.heard().len() + second);
    let middle = 3 * second;
    for (client, begin) in clients.iter().zip(begins) {
        let is_there = eventually(LONG, || client.heard().len() >= begin + middle);
        let heard = client.heard().len();
        assert!(is_there, "{heard} samples: {}", client.output());
    }
    let recorded = clients.each_ref().map(Baresip::heard);
    for (number, (samples, begin)) in recorded.iter().zip(begins).enumerate() {
        let middle = &samples[begin..begin + middle];
        for (other, hertz) in TONES.iter().enumerate() {
            let heard = heard(*hertz, middle);
            let (who, whom) = (NAMES[number], NAMES[other]);
            if number == other {
                assert!(heard < 100.0, "{who} hears itself at {heard:.0}");
            } else {
                assert!(heard > LOUDNESS / 2.0, "{who} hears {whom} at {heard:.0}");
            }
        }
    }
    for client in clients {
        client.finish(LONG);
    }
    relay.assert_empty();
}
