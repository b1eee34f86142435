//! Who has CEMA and who hasn't, in every combination (RFC 6714), and what changes it.

use dataplane::api::{Act, LegSpec, MsrpSetup, MsrpTransport, Remote, Side, StreamSet};

use super::{OWN_FINGERPRINT, Proposal, Relay, crlf, emitted, msrp, settings, told};
use crate::media::{Cema, Msrp, Policy, Settings, Trunk};

/// What one client would write.
#[derive(Debug, Clone, Copy)]
struct Client {
    tls: bool,
    cema: bool,
    setup: &'static str,
}

impl Client {
    fn text(&self, ip: &str, session: &str) -> String {
        let (proto, scheme, fingerprint) = if self.tls {
            let octets = vec![if session == "alice" { "a1" } else { "b2" }; 32].join(":");
            let line = format!("a=fingerprint:sha-256 {octets}");
            ("TCP/TLS/MSRP", "msrps", line)
        } else {
            ("TCP/MSRP", "msrp", String::new())
        };
        let cema = if self.cema { "a=msrp-cema" } else { "" };
        let setup = self.setup;
        crlf(&format!(
            "v=0\no=- 1 1 IN IP4 {ip}\ns=-\nc=IN IP4 {ip}\nt=0 0\nm=message 5000 {proto} *\n\
             a=path:{scheme}://{ip}:5000/{session};tcp\n{setup}\n{fingerprint}\n{cema}"
        ))
    }

    fn alice(&self) -> String {
        self.text("192.0.2.10", "alice")
    }

    fn bob(&self) -> String {
        self.text("203.0.113.20", "bob")
    }
}

const OFFERED: [&str; 4] = ["a=setup:actpass", "a=setup:active", "a=setup:passive", ""];
const ANSWERED: [&str; 3] = ["a=setup:active", "a=setup:passive", ""];

/// Every pair of an offerer and an answerer.
fn pairs() -> impl Iterator<Item = (Client, Client)> {
    let flags = [false, true];
    flags.into_iter().flat_map(move |tls| {
        flags.into_iter().flat_map(move |near| {
            flags.into_iter().flat_map(move |far| {
                OFFERED.into_iter().flat_map(move |offered| {
                    ANSWERED.into_iter().map(move |answered| {
                        let client = |cema, setup| Client { tls, cema, setup };
                        (client(near, offered), client(far, answered))
                    })
                })
            })
        })
    })
}

fn setup_of(acts: &[Act], stream: u8, side: Side) -> Option<MsrpSetup> {
    match told(acts, stream, side)? {
        (Remote::Msrp(remote), _) => Some(remote.setup),
        (Remote::Bytes { setup, .. }, _) => Some(*setup),
        (Remote::Rtp(_) | Remote::Bfcp(_), _) => None,
    }
}

/// The fingerprint that a side's leg over TLS was told to expect.
fn expected(acts: &[Act], stream: u8, side: Side) -> Option<[u8; 32]> {
    match told(acts, stream, side) {
        Some((Remote::Msrp(remote), _)) => remote.fingerprint,
        other => panic!("no MSRP far end: {other:?}"),
    }
}

fn near_connects(offered: &str) -> MsrpSetup {
    if offered == "a=setup:passive" {
        MsrpSetup::Active
    } else {
        MsrpSetup::Passive
    }
}

fn far_connects(answered: &str) -> MsrpSetup {
    if answered == "a=setup:active" {
        MsrpSetup::Passive
    } else {
        MsrpSetup::Active
    }
}

#[test]
fn each_pair_of_clients_is_joined_in_the_way_that_both_know() {
    let mut seen = 0;
    for (alice, bob) in pairs() {
        let mut relay = Relay::new();
        let (mut proposal, far) = relay.offer(Side::A, &alice.alice());
        assert_eq!(far.contains("a=msrp-cema"), alice.cema, "{alice:?}\n{far}");
        let answered = proposal.answer(bob.bob().as_bytes()).unwrap();
        let to_alice = emitted(&answered.to_offerer);
        assert_eq!(
            to_alice.contains("a=msrp-cema"),
            alice.cema,
            "{alice:?}\n{to_alice}"
        );
        assert_eq!(
            answered.offer_again,
            alice.cema && !bob.cema,
            "{alice:?} {bob:?}"
        );
        match (alice.cema, bob.cema) {
            (true, true) => {
                assert!(far.contains("://192.0.2.10:5000/alice;tcp"), "{far}");
                assert!(
                    to_alice.contains("://203.0.113.20:5000/bob;tcp"),
                    "{to_alice}"
                );
                assert!(!to_alice.contains(OWN_FINGERPRINT), "{to_alice}");
                let is_bytes = |side| {
                    matches!(
                        told(&answered.acts, 0, side),
                        Some((Remote::Bytes { .. }, _))
                    )
                };
                assert!(is_bytes(Side::A) && is_bytes(Side::B));
            }
            (true, false) => fall_back(&mut proposal, (alice, bob), answered.acts, &to_alice),
            (false, _) => {
                // One that was offered no CEMA knows none, whatever it says.
                assert!(!to_alice.contains("cema") && !far.contains("cema"));
                let acts = &answered.acts;
                assert_eq!(setup_of(acts, 0, Side::A), Some(near_connects(alice.setup)));
                assert_eq!(setup_of(acts, 0, Side::B), Some(far_connects(bob.setup)));
                assert_eq!(expected(acts, 0, Side::A), alice.tls.then_some([0xa1; 32]));
                assert_eq!(expected(acts, 0, Side::B), bob.tls.then_some([0xb2; 32]));
            }
        }
        let _ = proposal.commit(&mut relay.media);
        assert_eq!(
            relay.ids(),
            [u8::from(alice.cema && !bob.cema)],
            "{alice:?} {bob:?}"
        );
        seen += 1;
    }
    assert_eq!(seen, 96);
}

/// Bob knows no CEMA: Alice's end is joined, and Bob is offered the relay's own path.
fn fall_back(
    proposal: &mut Proposal,
    (alice, bob): (Client, Client),
    acts: Vec<Act>,
    to_alice: &str,
) {
    assert!(to_alice.contains("://198.51.100.1:2855/"), "{to_alice}");
    assert_eq!(to_alice.contains(OWN_FINGERPRINT), alice.tls, "{to_alice}");
    assert_eq!(
        setup_of(&acts, 1, Side::A),
        Some(near_connects(alice.setup))
    );
    assert_eq!(expected(&acts, 1, Side::A), alice.tls.then_some([0xa1; 32]));
    assert!(told(&acts, 1, Side::B).is_none(), "{acts:?}");

    let again = Relay::again(proposal);
    assert!(
        !again.contains("cema") && again.contains("://198.51.100.1:2855/"),
        "{again}"
    );
    assert!(again.contains("a=setup:actpass"), "{again}");
    let answered = proposal.answer(bob.bob().as_bytes()).unwrap();

    assert!(!answered.offer_again);
    assert_eq!(emitted(&answered.to_offerer), to_alice);
    assert!(
        told(&answered.acts, 1, Side::A).is_none(),
        "Alice's end is joined already"
    );
    assert_eq!(
        setup_of(&answered.acts, 1, Side::B),
        Some(far_connects(bob.setup))
    );
    assert_eq!(
        expected(&answered.acts, 1, Side::B),
        bob.tls.then_some([0xb2; 32])
    );
}

const CEMA: Client = Client {
    tls: true,
    cema: true,
    setup: "a=setup:actpass",
};
const NONE: Client = Client {
    cema: false,
    ..CEMA
};
const ACTIVE: Client = Client {
    setup: "a=setup:active",
    ..CEMA
};
const PLAIN_ACTIVE: Client = Client {
    cema: false,
    ..ACTIVE
};

/// The next version of a description.
fn changed(text: &str) -> String {
    text.replace("o=- 1 1 ", "o=- 1 2 ")
}

/// A session of Alice, who knows CEMA, and Bob, who doesn't.
fn mixed() -> Relay {
    let mut relay = Relay::new();
    let (mut proposal, _) = relay.offer(Side::A, &CEMA.alice());
    proposal.answer(PLAIN_ACTIVE.bob().as_bytes()).unwrap();
    Relay::again(&mut proposal);
    proposal.answer(PLAIN_ACTIVE.bob().as_bytes()).unwrap();
    assert_eq!(proposal.commit(&mut relay.media), StreamSet(1));
    relay
}

#[test]
fn a_mixed_session_goes_on_as_it_is_whoever_offers_next() {
    let mut relay = mixed();

    let (far, done) = relay.exchange(Side::A, &CEMA.alice(), &PLAIN_ACTIVE.bob());
    assert!(!far.contains("cema"), "{far}");
    assert!(done.answer.contains("a=msrp-cema"), "{}", done.answer);
    assert!(done.answered.acts.is_empty(), "{:?}", done.answered.acts);

    // Alice is offered what she knows; her path is hers, and c= and m= say where she is.
    let (far, done) = relay.exchange(Side::B, &NONE.bob(), &ACTIVE.alice());
    assert!(far.contains("a=msrp-cema"), "{far}");
    assert!(!done.answer.contains("cema"), "{}", done.answer);
    assert_eq!(relay.ids(), [1]);
    assert!(done.released.is_empty());
}

#[test]
fn a_session_of_two_that_know_cema_falls_back_when_one_no_longer_does() {
    let mut relay = Relay::new();
    relay.exchange(Side::A, &CEMA.alice(), &ACTIVE.bob());
    assert_eq!(relay.ids(), [0]);

    // An offer that repeats the last one is a refresh, for which nothing is opened.
    let (proposal, _) = relay.offer(Side::B, &ACTIVE.bob());
    assert_eq!(proposal.abandon(), StreamSet(0));

    let (mut proposal, far) = relay.offer(Side::B, &changed(&CEMA.bob()));
    assert!(far.contains("a=msrp-cema"), "{far}");
    assert!(
        proposal
            .answer(PLAIN_ACTIVE.alice().as_bytes())
            .unwrap()
            .offer_again
    );
    Relay::again(&mut proposal);
    let answered = proposal.answer(PLAIN_ACTIVE.alice().as_bytes()).unwrap();
    assert!(!answered.offer_again);

    assert_eq!(
        proposal.commit(&mut relay.media),
        StreamSet(1),
        "the bytes are released"
    );
    assert_eq!(relay.ids(), [2]);
}

#[test]
fn a_fallback_that_fails_leaves_the_session_as_it_was() {
    let mut relay = Relay::new();
    relay.exchange(Side::A, &CEMA.alice(), &ACTIVE.bob());

    let (mut proposal, _) = relay.offer(Side::A, &changed(&CEMA.alice()));
    proposal.answer(PLAIN_ACTIVE.bob().as_bytes()).unwrap();
    assert_eq!(proposal.abandon(), StreamSet(1 << 2));

    assert_eq!(relay.ids(), [0]);
    let restored = relay.media.restore();
    assert!(matches!(
        told(&restored, 0, Side::B),
        Some((Remote::Bytes { .. }, _))
    ));
}

#[test]
fn the_last_answer_of_several_decides() {
    let mut relay = Relay::new();
    let (mut proposal, _) = relay.offer(Side::A, &CEMA.alice());

    assert!(
        proposal
            .answer(PLAIN_ACTIVE.bob().as_bytes())
            .unwrap()
            .offer_again
    );
    let answered = proposal.answer(ACTIVE.bob().as_bytes()).unwrap();

    assert!(!answered.offer_again);
    assert!(emitted(&answered.to_offerer).contains("/bob;tcp"));
    assert_eq!(proposal.commit(&mut relay.media), StreamSet(0b10));
}

#[test]
fn where_no_room_is_left_an_answer_without_cema_is_refused_alone() {
    let line = CEMA.alice();
    let (head, line) = line.split_at(line.find("m=message").unwrap());
    let offer = format!("{head}{}", line.repeat(8));
    let bob = PLAIN_ACTIVE.bob();
    let (bob_head, bob_line) = bob.split_at(bob.find("m=message").unwrap());
    let cema_line = ACTIVE.bob();
    let cema_line = cema_line.split_at(cema_line.find("m=message").unwrap()).1;
    let answer = format!("{bob_head}{}{bob_line}", cema_line.repeat(7));

    let (_, done) = Relay::new().exchange(Side::A, &offer, &answer);

    assert!(!done.answered.offer_again);
    assert!(
        done.answer.contains("m=message 0 TCP/TLS/MSRP *"),
        "{}",
        done.answer
    );
    let refused = Relay::new()
        .offer(Side::A, &offer)
        .0
        .answer(format!("{bob_head}{}", bob_line.repeat(8)).as_bytes());
    assert_eq!(refused.unwrap_err().code, 488);
}

#[test]
fn without_a_certificate_tls_passes_but_can_not_fall_back() {
    let plain = Settings {
        msrp: Msrp::default(),
        ..settings()
    };
    let mut relay = Relay::with(plain.clone());
    relay.exchange(Side::A, &CEMA.alice(), &ACTIVE.bob());
    assert_eq!(relay.ids(), [0]);

    let mut relay = Relay::with(plain);
    let (mut proposal, _) = relay.offer(Side::A, &CEMA.alice());
    let refused = proposal.answer(PLAIN_ACTIVE.bob().as_bytes()).unwrap_err();
    assert!(refused.warning.contains("msrp-cema"), "{}", refused.warning);
    assert_eq!(proposal.abandon(), StreamSet(1));
    let refused = relay.refuses(Side::A, &NONE.alice(), Policy::ALL);
    assert!(refused.warning.starts_with("302"), "{}", refused.warning);
}

#[test]
fn back_to_back_each_leg_has_cema_where_its_client_has_it() {
    let mut relay = Relay::with(Settings {
        msrp: Msrp {
            trunk: Trunk {
                cema: Cema::BackToBack,
                ..Trunk::default()
            },
            ..msrp()
        },
        ..settings()
    });
    let behind = |text: String| text.replace("//203.0.113.20:", "//10.0.0.9:");

    let bob = behind(
        Client {
            setup: "a=setup:passive",
            ..CEMA
        }
        .bob(),
    );
    let (far, done) = relay.exchange(Side::A, &CEMA.alice(), &bob);

    assert!(
        far.contains("a=msrp-cema") && far.contains(OWN_FINGERPRINT),
        "{far}"
    );
    assert!(far.contains("a=path:msrps://198.51.100.1:2855/"), "{far}");
    assert!(done.answer.contains(OWN_FINGERPRINT), "{}", done.answer);
    // Who knows CEMA is where c= and m= say, and named by its path (RFC 6714 §4).
    match told(&done.answered.acts, 0, Side::B) {
        Some((Remote::Msrp(remote), _)) => {
            assert_eq!(remote.address, "203.0.113.20:5000".parse().unwrap());
            assert_eq!(&*remote.path, "msrps://10.0.0.9:5000/bob;tcp");
        }
        other => panic!("no MSRP far end: {other:?}"),
    }
}

#[test]
fn a_recorded_chat_is_relayed_back_to_back_though_both_sides_have_cema() {
    let mut relay = Relay::new();
    relay.media.record(true);
    let mut proposal = relay
        .media
        .offer(Side::A, CEMA.alice().as_bytes(), &Policy::ALL)
        .unwrap();
    let opens = proposal.take_opens();
    let [Act::Open(plan)] = opens.as_slice() else {
        panic!("one stream is opened: {opens:?}")
    };
    assert!(plan.record, "{plan:?}");
    let is_read = |leg: &LegSpec| matches!(leg, LegSpec::Msrp(_));
    assert!(plan.legs.iter().all(is_read), "{plan:?}");

    assert!(!proposal.abandon().is_empty());
    let (_, done) = relay.exchange(Side::A, &CEMA.alice(), &CEMA.bob());
    let [stream] = relay.ids()[..] else {
        panic!("one stream is there: {:?}", relay.ids())
    };
    for side in Side::BOTH {
        let far = told(&done.answered.acts, stream, side);
        assert!(matches!(far, Some((Remote::Msrp(_), _))), "{far:?}");
    }
    let (far, _) = relay.exchange(Side::B, &CEMA.bob(), &CEMA.alice());
    assert!(far.contains(OWN_FINGERPRINT), "it stays so: {far}");
}

#[test]
fn both_kinds_are_opened_for_a_cema_offer() {
    let relay = Relay::new();
    let mut proposal = relay
        .media
        .offer(Side::A, CEMA.alice().as_bytes(), &Policy::ALL)
        .unwrap();

    let opens = proposal.take_opens();

    let [Act::Open(bytes), Act::Open(other)] = opens.as_slice() else {
        panic!("two streams: {opens:?}");
    };
    assert!(matches!(
        bytes.legs,
        [LegSpec::Bytes { .. }, LegSpec::Bytes { .. }]
    ));
    assert!(
        other
            .legs
            .iter()
            .all(|leg| matches!(leg, LegSpec::Msrp(spec) if spec.transport == MsrpTransport::Tls))
    );
    assert_eq!(proposal.abandon(), StreamSet(0b11));
}
