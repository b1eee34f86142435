//! Offers and answers that are nearly right, one after the other in one session.

use std::net::SocketAddr;
use std::sync::Arc;

use control::media::{Cema, Media, Msrp, Policy, Proposal, Settings, Toward, Trunk};
use control::sdp::Sdp;
use dataplane::api::{
    Act, Learn, LegLocal, LegSpec, MsrpLocal, MsrpSpec, MsrpTransport, Side, StreamSet,
};
use rand::RngExt;
use rand::rngs::StdRng;

use super::campaign::rounds;
use super::seeds;
use super::spoil::{noise, pick, spoilt};

fn settings(random: &mut StdRng) -> Settings {
    Settings {
        media_v4: Some("198.51.100.1".parse().unwrap()),
        media_v6: random
            .random::<bool>()
            .then(|| "2001:db8:ffff::1".parse().unwrap()),
        learn: Learn::Once {
            window_ms: 5000,
            same_ip: random.random(),
        },
        silence_ms: 0,
        msrp: msrp(random),
    }
}

/// Any settings of MSRP.
pub fn msrp(random: &mut StdRng) -> Msrp {
    let transport = *pick(random, &MsrpTransport::ALL);
    Msrp {
        carried: MsrpTransport::ALL
            .map(|transport| transport == MsrpTransport::Tcp || random.random()),
        fingerprint: random.random::<bool>().then_some([7; 32]),
        needs_fingerprint: random.random_ratio(1, 4),
        trunk: Trunk {
            cema: *pick(random, &[Cema::PassThrough, Cema::BackToBack]),
            toward: *pick(
                random,
                &[Toward::Same, Toward::Same, Toward::Only(transport)],
            ),
            match_session_id_only: random.random(),
            ..Trunk::default()
        },
        trunks: Vec::new(),
    }
}

/// What a worker would fill in.
pub fn local(leg: &LegSpec, port: u16) -> LegLocal {
    match leg {
        LegSpec::Rtp {
            local_ip, rtcp_mux, ..
        } => LegLocal::Rtp {
            rtp: SocketAddr::new(*local_ip, port),
            rtcp: SocketAddr::new(*local_ip, port + u16::from(!rtcp_mux)),
        },
        LegSpec::Msrp(MsrpSpec { local_ip, .. }) => LegLocal::Msrp(MsrpLocal {
            listen: SocketAddr::new(*local_ip, 2855),
            session_id: [b'k'; 32],
        }),
        LegSpec::Bytes { local_ip } => LegLocal::Bytes {
            listen: SocketAddr::new(*local_ip, port),
        },
        LegSpec::Bfcp(spec) => LegLocal::Bfcp {
            listen: SocketAddr::new(spec.local_ip, port),
        },
        LegSpec::Away(_) => LegLocal::Unbound,
    }
}

fn lines(sdp: &[u8]) -> usize {
    Sdp::parse(sdp)
        .map(|sdp| sdp.media_count())
        .expect("what the relay writes can be read")
}

struct Session {
    media: Media,
    /// Streams that a worker has.
    open: StreamSet,
    port: u16,
}

impl Session {
    fn open(&mut self, proposal: &mut Proposal) {
        let mut acts = proposal.take_opens();
        for act in &mut acts {
            let Act::Open(plan) = act else {
                panic!("{act:?} is to be opened");
            };
            assert!(!self.open.contains(plan.stream), "opened twice");
            self.open = self.open.with(plan.stream);
            for (leg, local_end) in plan.legs.iter().zip(&mut plan.local) {
                self.port = self.port.wrapping_add(2).max(10_000);
                *local_end = local(leg, self.port & !1);
            }
        }
        proposal.opened(acts);
    }

    fn release(&mut self, streams: StreamSet) {
        assert_eq!(self.open.0 & streams.0, streams.0, "released but not open");
        self.open = StreamSet(self.open.0 & !streams.0);
    }

    fn exchange(&mut self, random: &mut StdRng, from: Side, offer: &[u8], answers: &[Vec<u8>]) {
        let policy = Policy {
            video: random.random(),
            ..Policy::ALL
        };
        let Ok(mut proposal) = self.media.offer(from, offer, &policy) else {
            return;
        };
        self.open(&mut proposal);
        let far = proposal.offer_to_far().expect("every port is bound");
        assert!(lines(&far) >= lines(offer), "{}", offer.escape_ascii());
        let mut is_answered = false;
        for answer in answers {
            // An answer that fits is the far offer taken as it is; others are mostly refused.
            let answer = if random.random_ratio(1, 2) {
                &far[..]
            } else {
                answer
            };
            let spoilt = spoilt(random, answer, offer);
            let answer = if random.random() { answer } else { &spoilt };
            if let Ok(answered) = proposal.answer(answer) {
                if answered.offer_again {
                    let again = proposal.offer_to_far().expect("every port is bound");
                    assert_eq!(lines(&again), lines(&far));
                }
                assert_eq!(
                    lines(&answered.to_offerer),
                    lines(offer),
                    "{}",
                    offer.escape_ascii()
                );
                is_answered = true;
            }
        }
        let released = if is_answered && random.random_ratio(7, 8) {
            proposal.commit(&mut self.media)
        } else {
            proposal.abandon()
        };
        self.release(released);
        assert_eq!(self.open, self.media.live(), "{}", offer.escape_ascii());
        let _ = (self.media.restore(), self.media.streams().count());
    }
}

#[test]
fn a_negotiation_keeps_its_lines_and_loses_no_stream() {
    let all = seeds::sdp();
    rounds("media", 8000, move |random| {
        let media = Media::new(Arc::new(settings(random)), random.random());
        let mut session = Session {
            media,
            open: StreamSet::default(),
            port: 10_000,
        };
        for _ in 0..random.random_range(1..8) {
            let from = *pick(random, &Side::BOTH);
            let (one, other) = (pick(random, &all), pick(random, &all));
            let offer = match random.random_range(0..4) {
                0 => one.clone(),
                1 => noise(random, 300),
                _ => spoilt(random, one, other),
            };
            let answers: Vec<Vec<u8>> = (0..random.random_range(0..3))
                .map(|_| pick(random, &all).clone())
                .collect();
            session.exchange(random, from, &offer, &answers);
        }
    });
}
