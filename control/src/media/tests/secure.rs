//! MSRP over TLS and WebSockets on legs of the relay's own, and what trunks change.

use std::net::IpAddr;

use dataplane::api::{
    Act, Chunking, LegSpec, MsrpBounds, MsrpSetup, MsrpSpec, MsrpTransport, Side,
};

use super::msrp::{ANSWER, OFFER, msrp};
use super::{OWN_FINGERPRINT, Relay, crlf, settings};
use crate::config::Who;
use crate::media::{Media, Msrp, Policy, Settings, Toward, Trunk};

const ALICE_PRINT: &str = "SHA-256 \
    A1:A1:A1:A1:A1:A1:A1:A1:A1:A1:A1:A1:A1:A1:A1:A1:A1:A1:A1:A1:A1:A1:A1:A1:A1:A1:A1:A1:A1:A1:A1:A1";

fn tls(text: &str) -> String {
    text.replace("TCP/MSRP", "TCP/TLS/MSRP")
        .replace("msrp://", "msrps://")
        + "a=fingerprint:"
        + ALICE_PRINT
}

fn web(text: &str) -> String {
    text.replace(
        "192.0.2.10:2855/s3ss10n;tcp",
        "x7f3.invalid:2855/s3ss10n;ws",
    )
    .replace("203.0.113.20:5000/b0b;tcp", "x7f3.invalid:2855/b0b;ws")
}

fn toward(toward: Toward) -> Relay {
    with_trunk(Trunk {
        toward,
        ..Trunk::default()
    })
}

fn with_trunk(trunk: Trunk) -> Relay {
    Relay::with(Settings {
        msrp: Msrp {
            trunk,
            ..super::msrp()
        },
        ..settings()
    })
}

fn specs(relay: &Relay, offer: &str) -> [MsrpSpec; 2] {
    let offer = crlf(offer);
    let mut proposal = relay
        .media
        .offer(Side::A, offer.as_bytes(), &Policy::ALL)
        .unwrap();
    let opens = proposal.take_opens();
    let _ = proposal.abandon();
    let Some(Act::Open(plan)) = opens.into_iter().next() else {
        panic!("nothing to open");
    };
    plan.legs.map(|leg| match leg {
        LegSpec::Msrp(spec) => spec,
        other => panic!("no MSRP leg: {other:?}"),
    })
}

#[test]
fn tls_ends_at_the_relay_on_each_leg() {
    let mut relay = Relay::new();

    let (far, done) = relay.exchange(Side::A, &tls(OFFER), &tls(ANSWER));

    for text in [&far, &done.answer] {
        assert!(text.contains("m=message 2855 TCP/TLS/MSRP *\r\n"), "{text}");
        assert!(text.contains("a=path:msrps://198.51.100.1:2855/"), "{text}");
        assert!(
            text.contains(&format!("a=fingerprint:{OWN_FINGERPRINT}\r\n")),
            "{text}"
        );
        assert!(!text.contains("A1:A1"), "{text}");
    }
    assert_eq!(msrp(&done, Side::A).fingerprint, Some([0xa1; 32]));
    assert_eq!(msrp(&done, Side::B).fingerprint, Some([0xa1; 32]));
}

#[test]
fn each_side_of_a_session_may_have_another_transport() {
    use MsrpTransport::{Tcp, Tls, Ws, Wss};
    let offers = [
        (Tcp, OFFER.to_owned()),
        (Tls, tls(OFFER)),
        (Ws, web(OFFER)),
        (Wss, web(&tls(OFFER))),
    ];
    let answers = [
        (Tcp, ANSWER.to_owned()),
        (Tls, tls(ANSWER)),
        (Ws, web(ANSWER)),
        (Wss, web(&tls(ANSWER))),
    ];
    for (near, offer) in &offers {
        for (wanted, answer) in &answers {
            let mut relay = toward(Toward::Only(*wanted));
            assert_eq!(
                specs(&toward(Toward::Only(*wanted)), offer).map(|spec| spec.transport),
                [*near, *wanted]
            );

            let (far, done) = relay.exchange(Side::A, offer, answer);

            let written = |text: &str, transport: MsrpTransport| {
                let proto = if transport.is_secure() {
                    "TCP/TLS/MSRP"
                } else {
                    "TCP/MSRP"
                };
                let start = format!("a=path:{}://198.51.100.1:2855/", transport.scheme());
                let end = format!(";{}\r\n", transport.parameter());
                assert!(text.contains(&format!(" {proto} *\r\n")), "{text}");
                assert!(text.contains(&start) && text.contains(&end), "{text}");
                assert_eq!(
                    text.contains("a=fingerprint"),
                    transport.is_secure(),
                    "{text}"
                );
            };
            written(&far, *wanted);
            written(&done.answer, *near);
            let is_web = matches!(wanted, Ws | Wss);
            assert_eq!(far.contains("a=setup:passive\r\n"), is_web, "{far}");
            assert_eq!(msrp(&done, Side::B).setup, MsrpSetup::Passive);

            // A later offer of either side changes nothing.
            let (_, done) = relay.exchange(Side::B, answer, offer);
            assert!(done.released.is_empty() && relay.ids() == [0]);
        }
    }
}

#[test]
fn the_far_side_is_offered_what_is_as_secure_unless_told_otherwise() {
    use MsrpTransport::{Tcp, Tls};
    let relay = Relay::new();
    for (offer, far) in [
        (OFFER.to_owned(), Tcp),
        (tls(OFFER), Tls),
        (web(OFFER), Tcp),
        (web(&tls(OFFER)), Tls),
    ] {
        assert_eq!(specs(&relay, &offer)[1].transport, far, "{offer}");
    }
}

#[test]
fn a_client_that_moves_to_tls_gets_another_stream() {
    let mut relay = Relay::new();
    relay.exchange(Side::A, OFFER, ANSWER);

    let (far, done) = relay.exchange(Side::A, &tls(OFFER), &tls(ANSWER));

    assert!(far.contains("TCP/TLS/MSRP"), "{far}");
    assert_eq!(done.released.0, 1);
    assert_eq!(relay.ids(), [1]);
}

#[test]
fn websocket_protocols_in_the_m_line_are_answered_as_they_came() {
    let offer = web(&tls(OFFER)).replace("TCP/TLS/MSRP", "TCP/WSS/MSRP");

    let (far, done) = Relay::new().exchange(Side::A, &offer, &tls(ANSWER));

    assert!(far.contains("m=message 2855 TCP/TLS/MSRP *"), "{far}");
    assert!(
        done.answer.contains("m=message 2855 TCP/WSS/MSRP *"),
        "{}",
        done.answer
    );
}

#[test]
fn a_websocket_client_is_never_connected_to() {
    let passive = web(OFFER).replace("actpass", "passive");
    let refused = Relay::new().refuses(Side::A, &passive, Policy::ALL);
    assert!(refused.warning.starts_with("302"), "{}", refused.warning);

    let mut relay = toward(Toward::Only(MsrpTransport::Ws));
    let (mut proposal, _) = relay.offer(Side::A, OFFER);
    let passive = web(ANSWER).replace("setup:active", "setup:passive");
    let refused = proposal.answer(crlf(&passive).as_bytes()).unwrap_err();
    assert!(refused.warning.starts_with("302"), "{}", refused.warning);
    let _ = proposal.abandon();

    // One that says nothing connects, whoever offered.
    let silent = web(ANSWER).replace("a=setup:active", "");
    let (_, done) = toward(Toward::Only(MsrpTransport::Ws)).exchange(Side::A, OFFER, &silent);
    assert_eq!(msrp(&done, Side::B).setup, MsrpSetup::Passive);
}

#[test]
fn a_websocket_message_is_bounded() {
    let web_leg = |chunking| {
        let trunk = Trunk {
            chunking,
            ..Trunk::default()
        };
        specs(&with_trunk(trunk), &web(OFFER)).map(|spec| spec.chunking)
    };
    let at_most = |octets| Chunking::AtMost {
        octets,
        exact: false,
    };
    let as_they_come = Chunking::AsTheyCome;
    assert_eq!(web_leg(as_they_come), [at_most(8192), as_they_come]);
    assert_eq!(web_leg(at_most(2048)), [at_most(2048), at_most(2048)]);
    assert_eq!(web_leg(at_most(1 << 20)), [at_most(8192), at_most(1 << 20)]);
}

#[test]
fn fingerprints_are_read_in_any_case_and_held_to() {
    let read = |line: &str| {
        let offer = tls(OFFER).replace(&format!("a=fingerprint:{ALICE_PRINT}"), line);
        let relay = Relay::new();
        let proposal = relay
            .media
            .offer(Side::A, crlf(&offer).as_bytes(), &Policy::ALL);
        proposal.map(super::Proposal::abandon)?;
        let (_, done) = Relay::new().exchange(Side::A, &offer, &tls(ANSWER));
        Ok::<_, super::Refused>(msrp(&done, Side::A).fingerprint)
    };
    let small = format!("a=fingerprint:{}", ALICE_PRINT.to_lowercase());
    assert_eq!(read(&small), Ok(Some([0xa1; 32])));
    let behind_another = format!("a=fingerprint:SHA-1 A1:A1\na=fingerprint:{ALICE_PRINT}");
    assert_eq!(read(&behind_another), Ok(Some([0xa1; 32])));
    assert_eq!(read(""), Ok(None));
    for bad in [
        "a=fingerprint:SHA-1 A1:A1",
        "a=fingerprint:SHA-256 A1:A1",
        "a=fingerprint:SHA-256",
        &format!("a=fingerprint:{ALICE_PRINT}:A1"),
        &format!("a=fingerprint:{}", ALICE_PRINT.replace("A1:", "+1:")),
    ] {
        let refused = read(bad).unwrap_err();
        assert!(
            refused.warning.contains("fingerprint"),
            "{bad}: {}",
            refused.warning
        );
    }
}

#[test]
fn a_fingerprint_may_stand_above_the_m_lines() {
    let line = format!("a=fingerprint:{ALICE_PRINT}");
    let offer = tls(OFFER)
        .replace(&line, "")
        .replace("t=0 0", &format!("t=0 0\n{line}"));

    let (_, done) = Relay::new().exchange(Side::A, &offer, &tls(ANSWER));

    assert_eq!(msrp(&done, Side::A).fingerprint, Some([0xa1; 32]));
}

#[test]
fn a_fingerprint_can_be_required() {
    let strict = || {
        Relay::with(Settings {
            msrp: Msrp {
                needs_fingerprint: true,
                ..super::msrp()
            },
            ..settings()
        })
    };
    let bare = |text: &str| text.split("a=fingerprint").next().unwrap().to_owned();

    let refused = strict().refuses(Side::A, &bare(&tls(OFFER)), Policy::ALL);
    assert!(
        refused.warning.contains("fingerprint"),
        "{}",
        refused.warning
    );
    let mut relay = strict();
    let (mut proposal, _) = relay.offer(Side::A, &tls(OFFER));
    let refused = proposal
        .answer(crlf(&bare(&tls(ANSWER))).as_bytes())
        .unwrap_err();
    assert!(
        refused.warning.contains("fingerprint"),
        "{}",
        refused.warning
    );
    let _ = proposal.abandon();
}

#[test]
fn each_side_is_told_the_smaller_of_the_far_sides_and_our_own_max_size() {
    let bounded = |message_octets| {
        with_trunk(Trunk {
            bounds: MsrpBounds {
                message_octets,
                ..MsrpBounds::default()
            },
            ..Trunk::default()
        })
    };
    let says = |text: &str, size: &str| format!("{text}a=max-size:{size}");
    for (bound, said, told) in [
        (1000, "5000", Some("1000")),
        (1000, "500", Some("500")),
        (1000, "", Some("1000")),
        (0, "5000", Some("5000")),
    ] {
        let offer = if said.is_empty() {
            OFFER.to_owned()
        } else {
            says(OFFER, said)
        };
        let (far, done) = bounded(bound).exchange(Side::A, &offer, ANSWER);
        let line = format!("a=max-size:{}\r\n", told.unwrap_or_default());
        assert!(far.contains(&line), "{bound} {said}: {far}");
        assert_eq!(
            done.answer.contains("a=max-size:1000\r\n"),
            bound > 0,
            "{}",
            done.answer
        );
    }
    let (far, _) = Relay::new().exchange(Side::A, OFFER, ANSWER);
    assert!(!far.contains("max-size"), "{far}");
}

#[test]
fn each_side_has_its_own_trunk() {
    let who = |text: &str| vec![Who::try_from(text.to_owned()).unwrap()];
    let chunks = Trunk {
        chunking: Chunking::AtMost {
            octets: 2048,
            exact: true,
        },
        match_session_id_only: true,
        ..Trunk::default()
    };
    let settings = Settings {
        msrp: Msrp {
            trunks: vec![
                (who("old.example"), chunks),
                (who("192.0.2.0/24"), Trunk::default()),
            ],
            ..super::msrp()
        },
        ..settings()
    };
    let address: IpAddr = "192.0.2.7".parse().unwrap();
    let trunks =
        ["new.example", "sbc.OLD.example"].map(|host| settings.msrp.trunk_of(address, host));

    let media = Media::between(settings.into(), 1, trunks);
    let mut relay = Relay::new();
    relay.media = media;

    let [near, far] = specs(&relay, OFFER);
    assert_eq!(
        (near.chunking, near.match_session_id_only),
        (Chunking::AsTheyCome, false)
    );
    assert_eq!(
        (far.chunking, far.match_session_id_only),
        (chunks.chunking, true)
    );
}
