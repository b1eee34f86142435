//! Which streams a session gets when it begins: what the served user may have, what the far side
//! takes (OFR).

use super::*;

pub(super) const AUDIO: &str =
    "m=audio 4000 RTP/AVP 8 0 101\r\na=rtpmap:101 telephone-event/8000\r\n";
pub(super) const AUDIO_B: &str =
    "m=audio 5000 RTP/AVP 8 101\r\na=rtpmap:101 telephone-event/8000\r\n";
pub(super) const VIDEO: &str = "m=video 4008 RTP/AVP 34 31\r\n";
pub(super) const VIDEO_B: &str = "m=video 5008 RTP/AVP 31\r\n";
pub(super) const CHAT: &str = "m=message 4004 TCP/MSRP *\r\na=accept-types:message/cpim\r\n\
                    a=path:msrp://127.0.0.1:4004/a1;tcp\r\na=setup:active\r\n";
pub(super) const CHAT_B: &str = "m=message 5004 TCP/MSRP *\r\na=accept-types:message/cpim\r\n\
                      a=path:msrp://127.0.0.1:5004/b1;tcp\r\na=setup:passive\r\n";

/// A description with these media lines.
pub(super) fn sdp(version: u32, media: &[&str]) -> String {
    format!(
        "v=0\r\no=- 9 {version} IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n{}",
        media.concat()
    )
}

/// A media line at port 0.
pub(super) fn off(media: &str) -> String {
    let line = media.split("\r\n").next().unwrap();
    let mut words: Vec<&str> = line.split(' ').collect();
    words[1] = "0";
    format!("{}\r\n", words.join(" "))
}

/// The kinds of a message's media lines in their order, those at port 0 in brackets.
pub(super) fn kinds(message: &str) -> String {
    let lines = message
        .split("\r\n")
        .filter_map(|line| line.strip_prefix("m="));
    let kinds = lines.map(|line| {
        let mut words = line.split(' ');
        let kind = words.next().unwrap();
        match words.next().unwrap() {
            "0" => format!("({kind})"),
            _ => kind.to_owned(),
        }
    });
    kinds.collect::<Vec<_>>().join(" ")
}

/// A session for these descriptions: the INVITE as B got it, the 200 as A got it.
pub(super) fn session(bench: &mut Bench, offer: &[&str], answered: &[&str]) -> (String, String) {
    let to_b = only(&bench.give(a(), &invite("1", &sdp(1, offer))), b());
    let sent = bench.give(b(), &answer(&to_b, 200, "OK", &sdp(1, answered)));
    let to_a = only(&sent, a());
    bench.give(a(), &in_dialog_of_a("ACK", 1, &to_a, "", ""));
    (to_b, to_a)
}

fn without_video(settings: &mut Settings) {
    for_all(settings, |policy| policy.streams.video = false);
}

#[test]
fn ofr_01_an_invite_without_an_offer_is_refused_relayed_or_proxied_as_it_is_switched() {
    let mut bench = Bench::new(|_| {});
    let refused = only(&bench.give(a(), &invite("1", "")), a());
    assert!(refused.starts_with("SIP/2.0 488"), "{refused}");

    let mut bench = Bench::new(|settings| settings.late_offer = LateOffer::Relay);
    let to_b = only(&bench.give(a(), &invite("1", "")), b());
    assert_eq!(kinds(&to_b), "");
    let late = answer(&to_b, 200, "OK", &sdp(1, &[AUDIO_B]));
    let to_a = only(&bench.give(b(), &late), a());
    assert!(to_a.contains("c=IN IP4 127.0.0.9"), "{to_a}");

    let mut bench =
        Bench::new(|settings| for_all(settings, |policy| policy.stay = Stay::default()));
    let to_b = only(&bench.give(a(), &invite("1", "")), b());
    assert!(to_b.contains("Call-ID: call-a\r\n"), "{to_b}");
}

/// Also the answer of a far side that takes the barred stream all the same is held to.
#[test]
fn ofr_03_a_barred_stream_is_offered_to_nobody_and_refused_in_its_place() {
    for barred_first in [false, true] {
        let mut bench = Bench::new(without_video);
        let (mut offer, mut answered) = ([CHAT, VIDEO], [CHAT_B.to_owned(), off(VIDEO)]);
        if barred_first {
            offer.reverse();
            answered.reverse();
        }
        let (to_b, to_a) = session(&mut bench, &offer, &answered.each_ref().map(String::as_str));
        let expected = if barred_first {
            "(video) message"
        } else {
            "message (video)"
        };
        assert_eq!(kinds(&to_b), expected, "{to_b}");
        assert_eq!(kinds(&to_a), expected, "{to_a}");
        assert_eq!(bench.open(), 1);
        end(&mut bench, &to_a, 2);
    }
}

#[test]
fn ofr_04_an_offer_of_barred_streams_alone_is_refused_with_the_reason() {
    let mut bench = Bench::new(without_video);
    let sent = bench.give(a(), &invite("1", &sdp(1, &[VIDEO])));
    let refused = only(&sent, a());
    assert!(refused.starts_with("SIP/2.0 488"), "{refused}");
    assert!(header(&refused, "Warning").starts_with("304 "), "{refused}");
    assert!(sent.iter().all(|(to, _)| *to == a()), "{sent:?}");
    assert!(bench.acts.is_empty(), "{:?}", bench.acts);
    bench.give(a(), &ack_of_failure());
    bench.assert_nothing_left();
}

#[test]
fn ofr_06_only_accepted_streams_have_legs_and_an_offer_of_which_none_is_taken_fails() {
    let mut bench = Bench::new(|_| {});
    let (_, to_a) = session(&mut bench, &[AUDIO, CHAT], &[&off(AUDIO), CHAT_B]);
    assert_eq!(bench.open(), 1, "{:?}", bench.acts);
    assert_eq!(kinds(&to_a), "(audio) message");
    end(&mut bench, &to_a, 2);

    let mut bench = Bench::new(|_| {});
    let to_b = only(&bench.give(a(), &invite("1", &sdp(1, &[AUDIO, CHAT]))), b());
    let sent = bench.give(b(), &answer(&to_b, 488, "Not Acceptable Here", ""));
    assert!(only(&sent, a()).starts_with("SIP/2.0 488"), "{sent:?}");
    bench.give(a(), &ack_of_failure());
    bench.assert_nothing_left();
}

#[test]
fn ofr_07_a_success_says_which_streams_are_accepted() {
    let mut bench = Bench::new(|_| {});
    let (_, to_a) = session(&mut bench, &[AUDIO, VIDEO], &[AUDIO_B, VIDEO_B]);
    assert!(to_a.starts_with("SIP/2.0 200"), "{to_a}");
    assert_eq!(kinds(&to_a), "audio video");
    assert!(to_a.contains("c=IN IP4 127.0.0.9\r\n"), "{to_a}");
    end(&mut bench, &to_a, 2);
}

#[test]
fn ofr_08_the_offerer_is_given_exactly_what_the_far_side_accepted() {
    let taken = [
        ([true, false, false], "audio (message) (video)"),
        ([false, true, false], "(audio) message (video)"),
        ([true, true, true], "audio message video"),
    ];
    for (taken, expected) in taken {
        let mut bench = Bench::new(|_| {});
        let lines = [AUDIO_B, CHAT_B, VIDEO_B];
        let answered: Vec<String> = lines
            .iter()
            .zip(taken)
            .map(|(line, takes)| if takes { (*line).to_owned() } else { off(line) })
            .collect();
        let answered: Vec<&str> = answered.iter().map(String::as_str).collect();
        let (_, to_a) = session(&mut bench, &[AUDIO, CHAT, VIDEO], &answered);
        assert_eq!(kinds(&to_a), expected);
        let accepted = taken.iter().filter(|takes| **takes).count();
        assert_eq!(bench.open() as usize, accepted, "{:?}", bench.acts);
        end(&mut bench, &to_a, 2);
    }
}

#[test]
fn ofr_10_the_order_of_streams_and_formats_is_kept_end_to_end() {
    let mut bench = Bench::new(|_| {});
    let (to_b, to_a) = session(
        &mut bench,
        &[VIDEO, CHAT, AUDIO],
        &[VIDEO_B, CHAT_B, AUDIO_B],
    );
    assert_eq!(kinds(&to_b), "video message audio");
    assert_eq!(kinds(&to_a), "video message audio");
    assert!(to_b.contains(" RTP/AVP 34 31\r\n"), "{to_b}");
    assert!(to_b.contains(" RTP/AVP 8 0 101\r\n"), "{to_b}");
    assert!(to_a.contains(" RTP/AVP 8 101\r\n"), "{to_a}");
    assert!(to_b.contains("a=accept-types:message/cpim\r\n"), "{to_b}");
    end(&mut bench, &to_a, 2);
}

/// The formats' order and the characteristics are the client's to change.
#[test]
fn ofr_10_characteristics_are_negotiated_anew_inside_the_session() {
    let mut bench = Bench::new(|_| {});
    let (_, to_a) = session(&mut bench, &[AUDIO], &[AUDIO_B]);
    let other = AUDIO.replace("8 0 101", "0 8 101");
    let offer = in_dialog_of_a("INVITE", 2, &to_a, CONTACT_A, &sdp(2, &[&other]));
    let reinvite = only(&bench.give(a(), &offer), b());
    assert!(reinvite.contains(" RTP/AVP 0 8 101\r\n"), "{reinvite}");
    let ok = answer(&reinvite, 200, "OK", &sdp(2, &[AUDIO_B]));
    bench.give(b(), &ok);
    bench.give(a(), &in_dialog_of_a("ACK", 2, &to_a, "", ""));
    end(&mut bench, &to_a, 3);
}

#[test]
fn con_11_a_subset_of_the_streams_forces_the_relay_into_the_media_path() {
    let mut bench = Bench::new(|settings| {
        for_all(settings, |policy| {
            policy.stay = Stay::default();
            policy.streams.video = false;
        });
    });
    let to_b = only(
        &bench.give(a(), &invite("1", &sdp(1, &[AUDIO, VIDEO]))),
        b(),
    );
    assert!(!to_b.contains("call-a"), "{to_b}");
    assert_eq!(kinds(&to_b), "audio (video)");
}

#[test]
fn con_12_lines_left_out_at_the_end_are_at_port_0_in_offers_and_answers() {
    let mut bench = Bench::new(|_| {});
    let (_, to_a) = session(&mut bench, &[AUDIO, CHAT], &[AUDIO_B]);
    assert_eq!(kinds(&to_a), "audio (message)");
    assert_eq!(bench.open(), 1);
    let more = in_dialog_of_a("INVITE", 2, &to_a, CONTACT_A, &sdp(2, &[AUDIO, CHAT]));
    let reinvite = only(&bench.give(a(), &more), b());
    bench.give(
        b(),
        &answer(&reinvite, 200, "OK", &sdp(2, &[AUDIO_B, CHAT_B])),
    );
    bench.give(a(), &in_dialog_of_a("ACK", 2, &to_a, "", ""));
    assert_eq!(bench.open(), 2);
    let less = in_dialog_of_a("INVITE", 3, &to_a, CONTACT_A, &sdp(3, &[AUDIO]));
    let reinvite = only(&bench.give(a(), &less), b());
    assert_eq!(kinds(&reinvite), "audio (message)");
    let answered = sdp(3, &[AUDIO_B, &off(CHAT_B)]);
    let ok = only(
        &bench.give(b(), &answer(&reinvite, 200, "OK", &answered)),
        a(),
    );
    assert_eq!(kinds(&ok), "audio", "a line for each of the offer's: {ok}");
    bench.give(a(), &in_dialog_of_a("ACK", 3, &to_a, "", ""));
    assert_eq!(bench.open(), 1);
    end(&mut bench, &to_a, 4);
}

#[test]
fn con_26_a_session_of_two_has_no_session_identity() {
    let mut bench = Bench::new(|_| {});
    let (to_b, to_a) = session(&mut bench, &[AUDIO, CHAT], &[AUDIO_B, CHAT_B]);
    for message in [&to_b, &to_a] {
        let contact = header(message, "Contact");
        assert!(contact.starts_with("<sip:"), "{message}");
        assert!(!contact.contains("isfocus"), "{message}");
        assert!(!contact.contains("cpm-session-"), "{message}");
    }
    end(&mut bench, &to_a, 2);
}
