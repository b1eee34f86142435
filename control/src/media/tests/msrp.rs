use dataplane::api::{Act, LegSpec, MsrpRemote, MsrpSetup, MsrpSpec, Remote, Side, StreamSet};

use super::{Done, Relay, crlf, emitted, may, msrp as msrp_settings, settings, told};
use crate::media::{Msrp, Policy, Settings, Trunk};

pub(super) const OFFER: &str = "v=0
    o=- 1 1 IN IP4 192.0.2.10
    s=-
    c=IN IP4 192.0.2.10
    t=0 0
    m=message 2855 TCP/MSRP *
    a=accept-types:message/cpim application/im-iscomposing+xml
    a=path:msrp://192.0.2.10:2855/s3ss10n;tcp
    a=setup:actpass
    a=connection:new
    a=sendrecv
    ";
pub(super) const ANSWER: &str = "v=0
    o=- 9 9 IN IP4 203.0.113.20
    s=-
    c=IN IP4 203.0.113.20
    t=0 0
    m=message 9 TCP/MSRP *
    a=accept-types:message/cpim
    a=path:msrp://203.0.113.20:5000/b0b;tcp
    a=setup:active
    a=connection:new
    a=sendrecv
    ";

pub(super) fn with_cema(text: &str) -> String {
    format!("{text}a=msrp-cema")
}

fn with_tls(text: &str) -> String {
    text.replace("TCP/MSRP", "TCP/TLS/MSRP")
        .replace("msrp://", "msrps://")
        + "a=fingerprint:SHA-256 AA:BB\na=msrp-cema"
}

pub(super) fn msrp(done: &Done, side: Side) -> &MsrpRemote {
    match told(&done.answered.acts, 0, side) {
        Some((Remote::Msrp(remote), _)) => remote,
        other => panic!("no MSRP far end: {other:?}"),
    }
}

pub(super) fn bytes(done: &Done, side: Side) -> (String, MsrpSetup) {
    match told(&done.answered.acts, 0, side) {
        Some((Remote::Bytes { address, setup }, _)) => (address.to_string(), *setup),
        other => panic!("no byte leg: {other:?}"),
    }
}

#[test]
fn a_chat_gets_a_path_of_the_relays_own_on_each_side() {
    let mut relay = Relay::new();

    let (far, done) = relay.exchange(Side::A, OFFER, ANSWER);

    let expected = "v=0
        o=- 7001 1 IN IP4 198.51.100.1
        s=-
        c=IN IP4 198.51.100.1
        t=0 0
        m=message 2855 TCP/MSRP *
        a=accept-types:message/cpim application/im-iscomposing+xml
        a=path:msrp://198.51.100.1:2855/bkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk;tcp
        a=setup:actpass
        a=connection:new
        a=sendrecv";
    assert_eq!(far, crlf(expected));
    let expected = "v=0
        o=- 7000 1 IN IP4 198.51.100.1
        s=-
        c=IN IP4 198.51.100.1
        t=0 0
        m=message 2855 TCP/MSRP *
        a=accept-types:message/cpim
        a=path:msrp://198.51.100.1:2855/akkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk;tcp
        a=setup:passive
        a=connection:new
        a=sendrecv";
    assert_eq!(done.answer, crlf(expected));
    let near = msrp(&done, Side::A);
    assert_eq!(&*near.path, "msrp://192.0.2.10:2855/s3ss10n;tcp");
    assert_eq!(near.address, "192.0.2.10:2855".parse().unwrap());
    assert_eq!(near.setup, MsrpSetup::Passive);
    let far = msrp(&done, Side::B);
    assert_eq!(far.address, "203.0.113.20:5000".parse().unwrap());
    assert_eq!(far.setup, MsrpSetup::Passive);
}

#[test]
fn who_connects_follows_setup_on_each_leg() {
    use MsrpSetup::{Active, Passive};

    // Offered, answered to the offerer, who connects towards it.
    let near = [
        ("a=setup:active", "a=setup:passive", Passive),
        ("a=setup:actpass", "a=setup:passive", Passive),
        ("a=setup:passive", "a=setup:active", Active),
        ("a=setup:holdconn", "a=setup:holdconn", Passive),
        ("", "", Passive),
    ];
    for (offered, answered, setup) in near {
        let offer = OFFER.replace("a=setup:actpass", offered);
        let (far, done) = Relay::new().exchange(Side::A, &offer, ANSWER);
        assert!(far.contains("a=setup:actpass\r\n"), "{far}");
        if answered.is_empty() {
            assert!(!done.answer.contains("a=setup"), "{}", done.answer);
        } else {
            assert!(done.answer.contains(&crlf(answered)), "{}", done.answer);
        }
        assert_eq!(msrp(&done, Side::A).setup, setup, "{offered}");
    }
    // Answered by the far side, who connects towards it.
    let far = [
        ("a=setup:active", Passive),
        ("a=setup:passive", Active),
        ("", Active),
    ];
    for (answered, setup) in far {
        let answer = ANSWER.replace("a=setup:active", answered);
        let (_, done) = Relay::new().exchange(Side::A, OFFER, &answer);
        assert_eq!(msrp(&done, Side::B).setup, setup, "{answered}");
    }
}

#[test]
fn a_path_through_relays_is_kept_whole_and_its_first_hop_is_connected_to() {
    let path = "msrp://203.0.113.99:8888/relay;tcp msrp://bob.example.com:5000/b0b;tcp";
    let answer = ANSWER
        .replace("msrp://203.0.113.20:5000/b0b;tcp", path)
        .replace("setup:active", "setup:passive");

    let (_, done) = Relay::new().exchange(Side::A, OFFER, &answer);

    let far = msrp(&done, Side::B);
    assert_eq!(&*far.path, path);
    assert_eq!(far.address, "203.0.113.99:8888".parse().unwrap());
}

#[test]
fn a_path_with_a_name_is_connected_to_at_the_address_of_the_line() {
    let answer = ANSWER
        .replace("//203.0.113.20:5000", "//bob.example.com:5000")
        .replace("m=message 9", "m=message 5001")
        .replace("setup:active", "setup:passive");

    let (_, done) = Relay::new().exchange(Side::A, OFFER, &answer);

    let far = msrp(&done, Side::B);
    assert_eq!(far.address, "203.0.113.20:5001".parse().unwrap());
}

#[test]
fn ipv6_hosts_stand_in_brackets() {
    let offer = OFFER
        .replace("IN IP4 192.0.2.10", "IN IP6 2001:db8::10")
        .replace("//192.0.2.10:", "//[2001:db8::10]:");
    let answer = ANSWER
        .replace("IN IP4 203.0.113.20", "IN IP6 2001:db8::20")
        .replace("//203.0.113.20:", "//[2001:db8::20]:");

    let (far, done) = Relay::new().exchange(Side::A, &offer, &answer);

    assert!(
        far.contains("a=path:msrp://[2001:db8:ffff::1]:2855/"),
        "{far}"
    );
    let near = msrp(&done, Side::A);
    assert_eq!(near.address, "[2001:db8::10]:2855".parse().unwrap());
}

#[test]
fn a_line_without_a_sound_path_is_refused() {
    let relay = Relay::new();
    let path = "msrp://192.0.2.10:2855/s3ss10n;tcp";
    for bad in [
        "msrp://192.0.2.10/s3ss10n;tcp",
        "http://192.0.2.10:2855/s3ss10n;tcp",
        "msrp://192.0.2.10:2855/;tcp",
        "msrp://192.0.2.10:2855/s3ss10n;udp",
        "msrp://192.0.2.10:2855/a;tcp nonsense",
        "msrps://192.0.2.10:2855/s3ss10n;tcp",
        "",
    ] {
        let refused = relay.refuses(Side::A, &OFFER.replace(path, bad), Policy::ALL);
        assert!(
            refused.warning.starts_with("399 midpath \"MSRP path"),
            "{bad}"
        );
    }
}

#[test]
fn cema_passes_the_path_and_the_fingerprint_and_relays_bytes() {
    let mut relay = Relay::new();

    let (far, done) = relay.exchange(Side::A, &with_cema(OFFER), &with_cema(ANSWER));

    assert!(far.contains("m=message 40001 TCP/MSRP *\r\n"), "{far}");
    assert!(
        far.contains("a=path:msrp://192.0.2.10:2855/s3ss10n;tcp\r\n"),
        "{far}"
    );
    assert!(
        far.contains("a=setup:actpass\r\n") && far.contains("a=msrp-cema\r\n"),
        "{far}"
    );
    let answer = &done.answer;
    assert!(
        answer.contains("m=message 40000 TCP/MSRP *\r\n"),
        "{answer}"
    );
    assert!(
        answer.contains("a=path:msrp://203.0.113.20:5000/b0b;tcp\r\n"),
        "{answer}"
    );
    assert!(answer.contains("a=setup:passive\r\n") && answer.contains("a=msrp-cema\r\n"));
    assert_eq!(
        bytes(&done, Side::A),
        ("192.0.2.10:2855".to_owned(), MsrpSetup::Passive)
    );
    assert_eq!(bytes(&done, Side::B).1, MsrpSetup::Passive);
}

#[test]
fn cema_with_tls_lets_the_ends_choose_who_is_the_client() {
    let offer = with_tls(OFFER);
    for (answered, near, far) in [
        ("active", MsrpSetup::Active, MsrpSetup::Passive),
        ("passive", MsrpSetup::Passive, MsrpSetup::Active),
    ] {
        let answer = with_tls(ANSWER)
            .replace("setup:active", &format!("setup:{answered}"))
            .replace("m=message 9", "m=message 5000");

        let (to_far, done) = Relay::new().exchange(Side::A, &offer, &answer);

        assert!(
            to_far.contains("a=fingerprint:SHA-256 AA:BB\r\n"),
            "{to_far}"
        );
        assert!(
            to_far.contains("a=path:msrps://192.0.2.10:2855/"),
            "{to_far}"
        );
        assert!(done.answer.contains(&format!("a=setup:{answered}\r\n")));
        assert_eq!(bytes(&done, Side::A).1, near);
        assert_eq!(bytes(&done, Side::B).1, far);
    }
}

#[test]
fn byte_legs_are_never_one_way() {
    let offer = with_cema(OFFER).replace("sendrecv", "sendonly");
    let answer = with_cema(ANSWER).replace("sendrecv", "recvonly");

    let (far, done) = Relay::new().exchange(Side::A, &offer, &answer);

    assert!(far.contains("a=sendonly\r\n"), "{far}");
    assert_eq!(may(&done.answered.acts, 0, Side::B), (true, true));
}

#[test]
fn a_chat_that_began_back_to_back_stays_so() {
    let mut relay = Relay::new();
    relay.exchange(Side::A, OFFER, ANSWER);

    let (far, done) = relay.exchange(Side::B, &with_cema(ANSWER), OFFER);

    assert!(!far.contains("cema") && far.contains("akkkkk"), "{far}");
    assert!(done.answer.contains("a=msrp-cema"), "{}", done.answer);
    assert!(done.released.is_empty());
    assert_eq!(relay.ids(), [0]);
}

#[test]
fn a_chat_that_loses_cema_gets_a_stream_of_another_make() {
    let mut relay = Relay::new();
    relay.exchange(Side::A, &with_cema(OFFER), &with_cema(ANSWER));

    let (far, done) = relay.exchange(Side::A, OFFER, ANSWER);

    assert!(far.contains("a=path:msrp://198.51.100.1:2855/"), "{far}");
    assert_eq!(done.released, StreamSet(1));
    assert_eq!(relay.ids(), [2]);
}

#[test]
fn a_new_path_is_told_to_the_same_stream() {
    let mut relay = Relay::new();
    let (before, _) = relay.exchange(Side::A, OFFER, ANSWER);

    let (far, done) = relay.exchange(Side::A, &OFFER.replace("s3ss10n", "an0ther"), ANSWER);

    assert_eq!(far, before);
    assert_eq!(
        &*msrp(&done, Side::A).path,
        "msrp://192.0.2.10:2855/an0ther;tcp"
    );
    assert!(told(&done.answered.acts, 0, Side::B).is_none());
}

#[test]
fn bfcp_over_tcp_is_relayed_as_bytes_and_over_udp_refused() {
    let line = "m=application 50000 TCP/BFCP *
        a=setup:passive
        a=connection:new
        a=floorctrl:s-only
        a=floorid:1 mstrm:10";
    let head = "v=0\ns=-\nc=IN IP4 192.0.2.10\nt=0 0\n";
    let offer = format!("{head}{line}");
    let answer = offer
        .replace("s-only", "c-only")
        .replace("passive", "active");

    let (far, done) = Relay::new().exchange(Side::A, &offer, &answer);
    assert!(far.contains("m=application 40001 TCP/BFCP *\r\n"), "{far}");
    assert!(far.contains("a=setup:actpass\r\n") && far.contains("a=floorid:1 mstrm:10\r\n"));
    assert!(
        done.answer.contains("a=setup:active\r\n"),
        "{}",
        done.answer
    );
    assert_eq!(
        bytes(&done, Side::A),
        ("192.0.2.10:50000".to_owned(), MsrpSetup::Active)
    );
    assert_eq!(bytes(&done, Side::B).1, MsrpSetup::Passive);

    let udp = offer.replace("TCP/BFCP", "UDP/BFCP");
    let refused = Relay::new().refuses(Side::A, &udp, Policy::ALL);
    assert!(refused.warning.starts_with("302"), "{}", refused.warning);
}

#[test]
fn a_connection_attribute_is_answered_only_where_offered() {
    let bare = |text: &str| text.replace("a=connection:new", "");

    let (_, done) = Relay::new().exchange(Side::A, &bare(OFFER), ANSWER);
    assert!(!done.answer.contains("a=connection"), "{}", done.answer);
    let (_, done) = Relay::new().exchange(Side::A, OFFER, &bare(ANSWER));
    assert!(
        done.answer.contains("a=connection:new\r\n"),
        "{}",
        done.answer
    );
}

#[test]
fn settings_reach_the_plan() {
    let relay = Relay::with(Settings {
        msrp: Msrp {
            trunk: Trunk {
                match_session_id_only: true,
                ..Trunk::default()
            },
            ..msrp_settings()
        },
        ..settings()
    });
    let mut proposal = relay
        .media
        .offer(Side::A, crlf(OFFER).as_bytes(), &Policy::ALL)
        .unwrap();

    let opens = proposal.take_opens();

    let [Act::Open(plan)] = opens.as_slice() else {
        panic!("one stream: {opens:?}");
    };
    assert!(plan.legs.iter().all(|leg| matches!(
        leg,
        LegSpec::Msrp(MsrpSpec {
            match_session_id_only: true,
            ..
        })
    )));
    assert_eq!(proposal.abandon(), StreamSet(1));
}

#[test]
fn a_refused_chat_shows_no_address_of_the_other_side() {
    let offer = format!("{OFFER}m=audio 30000 RTP/AVP 0");
    let answer = format!(
        "{}m=audio 50000 RTP/AVP 0",
        ANSWER.replace("m=message 9", "m=message 0")
    );
    let mut relay = Relay::new();

    let (mut proposal, _) = relay.offer(Side::A, &offer);
    let answered = proposal.answer(crlf(&answer).as_bytes()).unwrap();

    let text = emitted(&answered.to_offerer);
    assert!(!text.contains("203.0.113.20"), "{text}");
    assert_eq!(proposal.commit(&mut relay.media), StreamSet(1));
}
