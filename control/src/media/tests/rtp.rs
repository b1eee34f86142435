use dataplane::api::{Act, LegSpec, Side};

use super::{Relay, crlf, may, rtp_remote, settings};
use crate::media::{Policy, Settings};

pub(super) const OFFER: &str = "v=0
    o=alice 1 1 IN IP4 192.0.2.10
    s=call
    c=IN IP4 192.0.2.10
    t=0 0
    m=audio 30000 RTP/AVP 104
    a=rtpmap:104 AMR-WB/16000
    a=ptime:20
    a=sendrecv
    ";
pub(super) const ANSWER: &str = "v=0
    o=bob 9 9 IN IP4 203.0.113.20
    s=-
    c=IN IP4 203.0.113.20
    t=0 0
    m=audio 50000 RTP/AVP 104
    a=rtpmap:104 AMR-WB/16000
    a=sendrecv
    ";

#[test]
fn an_audio_call_gets_the_relays_addresses_on_both_sides_and_nothing_else_changes() {
    let mut relay = Relay::new();

    let (far, done) = relay.exchange(Side::A, OFFER, ANSWER);

    let expected = "v=0
        o=- 7001 1 IN IP4 198.51.100.1
        s=call
        c=IN IP4 198.51.100.1
        t=0 0
        m=audio 20002 RTP/AVP 104
        a=rtpmap:104 AMR-WB/16000
        a=ptime:20
        a=sendrecv";
    assert_eq!(far, crlf(expected));
    let expected = "v=0
        o=- 7000 1 IN IP4 198.51.100.1
        s=-
        c=IN IP4 198.51.100.1
        t=0 0
        m=audio 20000 RTP/AVP 104
        a=rtpmap:104 AMR-WB/16000
        a=sendrecv";
    assert_eq!(done.answer, crlf(expected));
    assert!(done.released.is_empty() && done.answered.refused.is_empty());
    let acts = &done.answered.acts;
    let pair = |rtp: &str, rtcp: &str| (rtp.to_owned(), rtcp.to_owned());
    assert_eq!(
        rtp_remote(acts, 0, Side::A),
        pair("192.0.2.10:30000", "192.0.2.10:30001")
    );
    assert_eq!(
        rtp_remote(acts, 0, Side::B),
        pair("203.0.113.20:50000", "203.0.113.20:50001")
    );
    assert_eq!(may(acts, 0, Side::A), (true, true));
    assert_eq!(may(acts, 0, Side::B), (true, true));
}

#[test]
fn a_plan_names_both_legs_as_settled() {
    let relay = Relay::with(Settings {
        silence_ms: 700,
        ..settings()
    });

    let mut proposal = relay
        .media
        .offer(Side::B, crlf(OFFER).as_bytes(), &Policy::ALL)
        .unwrap();

    let opens = proposal.take_opens();
    let [Act::Open(plan)] = opens.as_slice() else {
        panic!("one stream: {opens:?}");
    };
    assert_eq!(plan.silence_ms, 700);
    for leg in &plan.legs {
        assert!(matches!(
            leg,
            LegSpec::Rtp {
                rtcp_mux: false,
                ..
            }
        ));
    }
    assert_eq!(proposal.abandon().0, 1);
}

#[test]
fn an_rtcp_address_is_used_and_replaced() {
    let offer = format!("{OFFER}a=rtcp:40000 IN IP4 192.0.2.99");
    let answer = format!("{ANSWER}a=rtcp:40001");
    let mut relay = Relay::new();

    let (far, done) = relay.exchange(Side::A, &offer, &answer);

    assert!(
        far.contains("a=rtcp:20003 IN IP4 198.51.100.1\r\n"),
        "{far}"
    );
    assert!(done.answer.contains("a=rtcp:20001\r\n"), "{}", done.answer);
    let acts = &done.answered.acts;
    assert_eq!(rtp_remote(acts, 0, Side::A).1, "192.0.2.99:40000");
    assert_eq!(rtp_remote(acts, 0, Side::B).1, "203.0.113.20:40001");
}

#[test]
fn an_rtcp_address_that_names_nothing_is_passed_over() {
    for value in [
        "9 IN IP4 0.0.0.0",
        "0",
        "x",
        "9 IN IP6 2001:db8::1",
        "9 IN IP4 233.252.0.1",
    ] {
        let offer = format!("{OFFER}a=rtcp:{value}");
        let (_, done) = Relay::new().exchange(Side::A, &offer, ANSWER);
        let (_, rtcp) = rtp_remote(&done.answered.acts, 0, Side::A);
        assert_eq!(rtcp, "192.0.2.10:30001", "{value}");
    }
}

#[test]
fn multiplexed_rtcp_is_agreed_only_when_both_sides_want_it() {
    let mux = |text: &str| format!("{text}a=rtcp-mux");

    let (far, done) = Relay::new().exchange(Side::A, &mux(OFFER), &mux(ANSWER));
    assert!(far.contains("a=rtcp-mux\r\n"));
    assert!(done.answer.contains("a=rtcp-mux\r\n"));
    let acts = &done.answered.acts;
    assert_eq!(rtp_remote(acts, 0, Side::A).1, "192.0.2.10:30000");
    assert_eq!(rtp_remote(acts, 0, Side::B).1, "203.0.113.20:50000");

    let named = format!("{}\na=rtcp:50000", mux(ANSWER));
    let (_, done) = Relay::new().exchange(Side::A, &mux(OFFER), &named);
    assert!(done.answer.contains("a=rtcp:20000\r\n"), "{}", done.answer);

    let (_, done) = Relay::new().exchange(Side::A, &mux(OFFER), ANSWER);
    assert!(!done.answer.contains("rtcp-mux"));
    assert_eq!(
        rtp_remote(&done.answered.acts, 0, Side::A).1,
        "192.0.2.10:30001"
    );

    // An answer may not bring up what was not offered.
    let (far, done) = Relay::new().exchange(Side::A, OFFER, &mux(ANSWER));
    assert!(!far.contains("rtcp-mux") && !done.answer.contains("rtcp-mux"));
    assert_eq!(
        rtp_remote(&done.answered.acts, 0, Side::B).1,
        "203.0.113.20:50001"
    );
}

#[test]
fn a_line_that_insists_on_one_port_gets_one() {
    let mux = "a=rtcp-mux\na=rtcp-mux-only";
    let offer = format!("{OFFER}{mux}");
    let mut relay = Relay::new();

    let (far, done) = relay.exchange(Side::A, &offer, &format!("{ANSWER}{mux}"));

    // The port after it isn't RTCP's, so that one is named for who can't multiplex.
    assert!(far.contains("a=rtcp:20002\r\n"), "{far}");
    assert!(!done.answer.contains("a=rtcp:"), "{}", done.answer);
}

#[test]
fn ice_bundle_and_source_filters_do_not_pass() {
    let offer = "v=0
        o=- 1 1 IN IP4 192.0.2.10
        s=-
        c=IN IP4 192.0.2.10
        t=0 0
        a=group:BUNDLE 0 1
        a=group:LS 0 1
        a=ice-options:trickle
        m=audio 30000 UDP/TLS/RTP/SAVPF 111
        a=mid:0
        a=ice-ufrag:F7gI
        a=ice-pwd:x9cml
        a=candidate:1 1 UDP 2130706431 192.0.2.10 30000 typ host
        a=end-of-candidates
        a=source-filter: incl IN IP4 * 192.0.2.10
        a=fingerprint:sha-256 AB:CD
        a=setup:actpass
        a=ssrc:1 cname:x
        m=video 0 UDP/TLS/RTP/SAVPF 96
        c=IN IP4 192.0.2.10
        a=mid:1
        a=bundle-only
        a=candidate:1 1 UDP 2130706431 192.0.2.10 30000 typ host";

    let (proposal, far) = Relay::new().offer(Side::A, offer);

    let expected = "v=0
        o=- 7001 1 IN IP4 198.51.100.1
        s=-
        c=IN IP4 198.51.100.1
        t=0 0
        a=group:LS 0 1
        m=audio 20002 UDP/TLS/RTP/SAVPF 111
        a=mid:0
        a=fingerprint:sha-256 AB:CD
        a=setup:actpass
        a=ssrc:1 cname:x
        m=video 0 UDP/TLS/RTP/SAVPF 96
        a=mid:1";
    assert_eq!(far, crlf(expected));
    assert_eq!(proposal.abandon().0, 1);
}

#[test]
fn directions_come_from_both_descriptions() {
    // Offered, answered; what A may do, what B may do.
    let cases = [
        ("sendrecv", "sendrecv", (true, true), (true, true)),
        ("sendonly", "recvonly", (true, false), (false, true)),
        ("recvonly", "sendonly", (false, true), (true, false)),
        ("sendrecv", "inactive", (false, false), (false, false)),
        ("inactive", "inactive", (false, false), (false, false)),
        // An answer that takes more than was offered gets what was offered.
        ("sendonly", "sendrecv", (true, false), (false, true)),
    ];
    for (offered, answered, a, b) in cases {
        let offer = OFFER.replace("sendrecv", offered);
        let answer = ANSWER.replace("sendrecv", answered);
        let (_, done) = Relay::new().exchange(Side::A, &offer, &answer);
        assert_eq!(
            may(&done.answered.acts, 0, Side::A),
            a,
            "{offered}/{answered}"
        );
        assert_eq!(
            may(&done.answered.acts, 0, Side::B),
            b,
            "{offered}/{answered}"
        );
    }
}

#[test]
fn a_session_level_direction_counts() {
    let offer = OFFER.replace("a=sendrecv", "");
    let offer = offer.replace("t=0 0", "t=0 0\na=sendonly");
    let answer = ANSWER.replace("sendrecv", "recvonly");

    let (_, done) = Relay::new().exchange(Side::A, &offer, &answer);

    assert_eq!(may(&done.answered.acts, 0, Side::A), (true, false));
}

#[test]
fn hold_keeps_the_ports_and_only_turns_directions() {
    let mut relay = Relay::new();
    relay.exchange(Side::A, OFFER, ANSWER);

    let hold = OFFER.replace("sendrecv", "sendonly");
    let (far, done) = relay.exchange(Side::A, &hold, &ANSWER.replace("sendrecv", "recvonly"));

    assert!(far.contains("m=audio 20002 ") && far.contains("a=sendonly\r\n"));
    assert!(far.starts_with("v=0\r\no=- 7001 2 "), "{far}");
    assert!(done.released.is_empty());
    assert_eq!(may(&done.answered.acts, 0, Side::A), (true, false));

    let (far, done) = relay.exchange(Side::A, OFFER, ANSWER);
    assert!(far.contains("m=audio 20002 ") && far.contains("a=sendrecv\r\n"));
    assert_eq!(may(&done.answered.acts, 0, Side::A), (true, true));
    assert_eq!(relay.ids(), [0]);
}

#[test]
fn the_old_hold_becomes_a_direction_and_keeps_the_known_address() {
    let mut relay = Relay::new();
    relay.exchange(Side::A, OFFER, ANSWER);

    let hold = OFFER.replace("c=IN IP4 192.0.2.10", "c=IN IP4 0.0.0.0");
    let (far, done) = relay.exchange(Side::A, &hold, &ANSWER.replace("sendrecv", "recvonly"));

    assert!(far.contains("c=IN IP4 198.51.100.1\r\n"), "{far}");
    assert!(far.contains("a=sendonly\r\n"), "{far}");
    let acts = &done.answered.acts;
    assert_eq!(may(acts, 0, Side::A), (true, false));
    assert_eq!(rtp_remote(acts, 0, Side::A).0, "192.0.2.10:30000");
}

#[test]
fn the_old_hold_of_an_ipv6_client_keeps_its_stream() {
    let mut relay = Relay::new();
    let offer = OFFER.replace("IN IP4 192.0.2.10", "IN IP6 2001:db8::10");
    let answer = ANSWER.replace("IN IP4 203.0.113.20", "IN IP6 2001:db8::20");
    relay.exchange(Side::A, &offer, &answer);

    let hold = offer.replace("c=IN IP6 2001:db8::10", "c=IN IP4 0.0.0.0");
    let (far, done) = relay.exchange(Side::A, &hold, &answer.replace("sendrecv", "recvonly"));

    assert!(far.contains("c=IN IP6 2001:db8:ffff::1\r\n"), "{far}");
    assert!(
        done.answer.contains("c=IN IP6 2001:db8:ffff::1\r\n"),
        "{}",
        done.answer
    );
    assert_eq!(
        rtp_remote(&done.answered.acts, 0, Side::A).0,
        "[2001:db8::10]:30000"
    );
    assert_eq!(relay.ids(), [0]);
}

#[test]
fn each_side_is_spoken_to_in_its_own_family() {
    let answer = ANSWER.replace("IN IP4 203.0.113.20", "IN IP6 2001:db8::20");
    let offer_6 = OFFER.replace("IN IP4 192.0.2.10", "IN IP6 2001:db8::10");

    // The far side's family isn't known yet: the offerer's is tried.
    let (far, _) = Relay::new().exchange(Side::A, &offer_6, &answer);
    assert!(far.contains("c=IN IP6 2001:db8:ffff::1\r\n"), "{far}");

    // Once B has spoken, new streams towards it are of its family, even in A's offers.
    let mut relay = Relay::new();
    let (far, _) = relay.exchange(Side::B, &offer_6, &answer);
    assert!(far.contains("c=IN IP6 2001:db8:ffff::1\r\n"), "{far}");
    let video = "m=video 30002 RTP/AVP 96";
    let both = format!("{OFFER}{video}");
    let (proposal, far) = relay.offer(Side::A, &both);
    assert!(far.contains("c=IN IP6 2001:db8:ffff::1\r\n"), "{far}");
    assert!(!far.contains("IP4"), "{far}");
    // A changed its family, so its audio needs a fresh stream beside the new video.
    assert_eq!(proposal.abandon().0, 0b110);
}

#[test]
fn a_line_of_another_family_than_its_session_gets_an_address_of_its_own() {
    let mut relay = Relay::new();
    relay.exchange(Side::B, ANSWER, OFFER);
    let offer = format!("{OFFER}m=video 30002 RTP/AVP 96\nc=IN IP6 2001:db8::10");
    let answer = format!("{ANSWER}m=video 50002 RTP/AVP 96");

    let (far, done) = relay.exchange(Side::A, &offer, &answer);

    assert!(!far.contains("IP6"), "{far}");
    let expected = crlf(
        "m=video 20004 RTP/AVP 96
        c=IN IP6 2001:db8:ffff::1",
    );
    assert!(done.answer.ends_with(&expected), "{}", done.answer);
}

#[test]
fn a_family_without_an_address_of_ours_is_refused() {
    let relay = Relay::with(Settings {
        media_v6: None,
        ..settings()
    });
    let offer = OFFER.replace("IN IP4 192.0.2.10", "IN IP6 2001:db8::10");

    let refused = relay.refuses(Side::A, &offer, Policy::ALL);

    assert_eq!(refused.code, 488);
    assert!(
        refused.warning.starts_with("301 midpath "),
        "{}",
        refused.warning
    );
}

#[test]
fn an_answer_in_a_family_that_was_not_offered_refuses_the_stream() {
    let mut relay = Relay::new();
    let (mut proposal, _) = relay.offer(Side::A, OFFER);
    let answer = ANSWER.replace("IN IP4 203.0.113.20", "IN IP6 2001:db8::20");

    let refused = proposal.answer(crlf(&answer).as_bytes()).unwrap_err();

    assert_eq!(refused.code, 488);
    assert_eq!(proposal.abandon().0, 1);
}

#[test]
fn addresses_that_nobody_can_be_reached_at_are_refused() {
    let relay = Relay::new();
    let with = |address: &str| OFFER.replace("c=IN IP4 192.0.2.10", address);

    for (address, code) in [
        ("c=IN IP4 233.252.0.1/127", "330"),
        ("c=IN IP4 host.example.com", "301"),
        ("", "301"),
    ] {
        let refused = relay.refuses(Side::A, &with(address), Policy::ALL);
        assert!(
            refused.warning.starts_with(code),
            "{address}: {}",
            refused.warning
        );
    }
    let layered = OFFER.replace("30000 RTP", "30000/2 RTP");
    let refused = relay.refuses(Side::A, &layered, Policy::ALL);
    assert!(refused.warning.starts_with("302"), "{}", refused.warning);
}
