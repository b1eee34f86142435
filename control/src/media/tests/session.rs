use std::sync::Arc;

use dataplane::api::{Side, StreamSet};
use dataplane::limits::STREAMS_PER_SESSION;

use super::rtp::{ANSWER, OFFER};
use super::{Relay, crlf, emitted, rtp_remote, settings};
use crate::media::{Media, Policy};

const VIDEO: &str = "m=video 30002 RTP/AVP 96\na=rtpmap:96 H264/90000\n";
const VIDEO_ANSWER: &str = "m=video 50002 RTP/AVP 96\na=rtpmap:96 H264/90000\n";

fn both() -> (String, String) {
    (format!("{OFFER}{VIDEO}"), format!("{ANSWER}{VIDEO_ANSWER}"))
}

#[test]
fn an_unchanged_refresh_opens_nothing_says_the_same_and_tells_no_leg_anything() {
    let mut relay = Relay::new();
    let (far, done) = relay.exchange(Side::A, OFFER, ANSWER);
    let bound = relay.bound;

    let (far_again, done_again) = relay.exchange(Side::A, OFFER, ANSWER);

    assert_eq!(far_again, far);
    assert_eq!(done_again.answer, done.answer);
    assert!(done_again.answered.acts.is_empty());
    assert!(done_again.released.is_empty());
    assert_eq!(relay.bound, bound);
}

#[test]
fn a_version_grows_by_one_with_each_change_and_counts_per_side() {
    let mut relay = Relay::new();
    relay.exchange(Side::A, OFFER, ANSWER);

    let (far, done) = relay.exchange(Side::A, &OFFER.replace("s=call", "s=talk"), ANSWER);

    assert!(far.contains("o=- 7001 2 "), "{far}");
    assert!(done.answer.contains("o=- 7000 1 "), "{}", done.answer);
}

#[test]
fn a_version_that_was_refused_is_not_used_for_something_else() {
    let mut relay = Relay::new();
    relay.exchange(Side::A, OFFER, ANSWER);
    let (proposal, far) = relay.offer(Side::A, &OFFER.replace("s=call", "s=first"));
    assert!(far.contains("o=- 7001 2 "), "{far}");
    assert!(proposal.abandon().is_empty());

    let (proposal, far) = relay.offer(Side::A, &OFFER.replace("s=call", "s=second"));

    assert!(far.contains("o=- 7001 3 "), "{far}");
    assert!(proposal.abandon().is_empty());
}

#[test]
fn a_stream_is_added_and_dropped_at_its_place() {
    let mut relay = Relay::new();
    relay.exchange(Side::A, OFFER, ANSWER);
    let (offer, answer) = both();

    let (far, done) = relay.exchange(Side::A, &offer, &answer);
    assert!(
        far.contains("m=audio 20002 ") && far.contains("m=video 20006 "),
        "{far}"
    );
    assert!(done.released.is_empty());
    assert_eq!(relay.ids(), [0, 1]);

    // B drops the audio.
    let offer = answer.replace("m=audio 50000", "m=audio 0");
    let answer = both().0.replace("m=audio 30000", "m=audio 0");
    let (far, done) = relay.exchange(Side::B, &offer, &answer);
    assert!(far.contains("m=audio 0 RTP/AVP 104\r\n"), "{far}");
    assert!(far.contains("m=video 20004 "), "{far}");
    assert_eq!(done.released, StreamSet(0b01));
    assert_eq!(relay.ids(), [1]);
    let ended: Vec<_> = relay.media.streams().filter(|view| view.released).collect();
    assert_eq!((ended.len(), ended[0].id.0, ended[0].index), (1, 0, 0));
}

#[test]
fn a_tail_that_a_new_offer_leaves_out_is_dropped() {
    let mut relay = Relay::new();
    let (offer, answer) = both();
    relay.exchange(Side::A, &offer, &answer);

    let answer = answer.replace("m=video 50002", "m=video 0");
    let (far, done) = relay.exchange(Side::A, OFFER, &answer);

    assert!(far.contains("m=video 0 RTP/AVP 96\r\n"), "{far}");
    assert!(
        !done.answer.contains("m=video"),
        "one line for each offered line"
    );
    assert_eq!(done.released, StreamSet(0b10));
    assert_eq!(relay.ids(), [0]);
}

#[test]
fn a_slot_used_again_gets_a_stream_of_its_own() {
    let mut relay = Relay::new();
    relay.exchange(Side::A, OFFER, ANSWER);
    let other = |text: &str| text.replace("m=audio", "m=video");

    let (far, done) = relay.exchange(Side::A, &other(OFFER), &other(ANSWER));

    assert!(far.contains("m=video 20006 "), "{far}");
    assert_eq!(done.released, StreamSet(0b01));
    assert_eq!(relay.ids(), [1]);
}

#[test]
fn a_barred_stream_is_offered_and_answered_at_port_0() {
    let mut relay = Relay::new();
    let (offer, answer) = both();
    let policy = Policy {
        video: false,
        ..Policy::ALL
    };

    let (mut proposal, far) = relay.offer_within(Side::A, &offer, policy);
    // A far side that takes the barred stream all the same doesn't get it.
    let answered = proposal.answer(crlf(&answer).as_bytes()).unwrap();

    assert!(far.ends_with("m=video 0 RTP/AVP 96\r\n"), "{far}");
    let answer = emitted(&answered.to_offerer);
    assert!(answer.ends_with("m=video 0 RTP/AVP 96\r\n"), "{answer}");
    assert!(answer.contains("m=audio 20000 "), "{answer}");
    assert!(proposal.commit(&mut relay.media).is_empty());
    assert_eq!(relay.media.live(), StreamSet(1));
}

#[test]
fn an_offer_of_which_nothing_is_allowed_is_refused() {
    let relay = Relay::new();
    let policy = Policy {
        audio: false,
        ..Policy::ALL
    };

    let refused = relay.refuses(Side::A, OFFER, policy);

    assert_eq!(refused.code, 488);
    assert_eq!(refused.warning, "304 midpath \"Media type not available\"");
    let refused = relay.refuses(Side::A, "nonsense", Policy::ALL);
    assert_eq!(refused.code, 488);
    assert!(refused.warning.starts_with("399 midpath "));
}

#[test]
fn a_bar_that_came_later_ends_the_stream_at_the_next_offer() {
    let mut relay = Relay::new();
    let (offer, answer) = both();
    relay.exchange(Side::A, &offer, &answer);
    let policy = Policy {
        video: false,
        ..Policy::ALL
    };

    let (mut proposal, _) = relay.offer_within(Side::A, &offer, policy);
    proposal
        .answer(crlf(&answer.replace("m=video 50002", "m=video 0")).as_bytes())
        .unwrap();

    assert_eq!(proposal.commit(&mut relay.media), StreamSet(0b10));
}

#[test]
fn streams_beyond_the_limit_are_refused_alone() {
    let mut relay = Relay::new();
    let offer = format!("{OFFER}{}", VIDEO.repeat(STREAMS_PER_SESSION));

    let (proposal, far) = relay.offer(Side::A, &offer);

    assert_eq!(far.matches("m=").count(), STREAMS_PER_SESSION + 1);
    assert_eq!(far.matches("m=video 0 ").count(), 1);
    assert_eq!(proposal.abandon(), StreamSet(0xff));
}

#[test]
fn names_of_streams_are_not_used_again_soon() {
    let mut relay = Relay::new();
    for turn in 0..40 {
        let (proposal, _) = relay.offer(Side::A, OFFER);
        assert_eq!(proposal.abandon(), StreamSet(1 << (turn % 32)));
    }
}

#[test]
fn a_refused_stream_is_released_at_the_end_as_another_fork_may_take_it() {
    let mut relay = Relay::new();
    let (offer, answer) = both();
    let (mut proposal, _) = relay.offer(Side::A, &offer);
    let audio_only = answer.replace("m=video 50002", "m=video 0");

    let early = proposal.answer(crlf(&audio_only).as_bytes()).unwrap();
    assert_eq!(early.refused, StreamSet(0b10));
    assert!(emitted(&early.to_offerer).contains("m=video 0 "));

    let other = answer.replace("203.0.113.20", "203.0.113.77");
    let second = proposal.answer(crlf(&other).as_bytes()).unwrap();
    assert!(second.refused.is_empty());
    assert_eq!(rtp_remote(&second.acts, 0, Side::B).0, "203.0.113.77:50000");
    assert_eq!(rtp_remote(&second.acts, 1, Side::B).0, "203.0.113.77:50002");
    assert!(emitted(&second.to_offerer).contains("o=- 7000 2 "));

    let last = proposal.answer(crlf(&audio_only).as_bytes()).unwrap();
    assert_eq!(rtp_remote(&last.acts, 0, Side::B).0, "203.0.113.20:50000");
    assert_eq!(proposal.commit(&mut relay.media), StreamSet(0b10));
    assert_eq!(relay.ids(), [0]);
}

#[test]
fn an_answer_that_says_the_same_again_tells_nothing() {
    let mut relay = Relay::new();
    let (mut proposal, _) = relay.offer(Side::A, OFFER);
    let early = proposal.answer(crlf(ANSWER).as_bytes()).unwrap();

    let last = proposal.answer(crlf(ANSWER).as_bytes()).unwrap();

    assert_eq!(last.to_offerer, early.to_offerer);
    assert!(last.acts.is_empty());
    assert!(proposal.commit(&mut relay.media).is_empty());
}

#[test]
fn a_failed_change_leaves_the_streams_and_can_be_undone() {
    let mut relay = Relay::new();
    relay.exchange(Side::A, OFFER, ANSWER);
    let (offer, answer) = both();
    let moved = offer.replace("m=audio 30000", "m=audio 31000");

    let (mut proposal, _) = relay.offer(Side::A, &moved);
    let answered = proposal.answer(crlf(&answer).as_bytes()).unwrap();
    assert_eq!(rtp_remote(&answered.acts, 0, Side::A).0, "192.0.2.10:31000");
    assert_eq!(proposal.abandon(), StreamSet(0b10));

    assert_eq!(relay.ids(), [0]);
    let undone = relay.media.restore();
    assert_eq!(rtp_remote(&undone, 0, Side::A).0, "192.0.2.10:30000");
    assert_eq!(rtp_remote(&undone, 0, Side::B).0, "203.0.113.20:50000");
}

#[test]
fn an_answer_that_does_not_fit_is_refused_and_a_better_one_may_follow() {
    let mut relay = Relay::new();
    let (mut proposal, _) = relay.offer(Side::A, OFFER);
    let misfits = [
        "not a description".to_owned(),
        format!("{ANSWER}{VIDEO_ANSWER}"),
        ANSWER.replace("m=audio", "m=video"),
        ANSWER.replace("RTP/AVP", "TCP/MSRP"),
        "v=0\ns=-".to_owned(),
    ];
    for misfit in misfits {
        let refused = proposal.answer(crlf(&misfit).as_bytes()).unwrap_err();
        assert_eq!(refused.code, 488, "{misfit}");
    }

    assert!(proposal.answer(crlf(ANSWER).as_bytes()).is_ok());
    assert!(proposal.commit(&mut relay.media).is_empty());
}

#[test]
fn a_far_side_that_takes_nothing_is_passed_on() {
    let mut relay = Relay::new();
    let answer = ANSWER.replace("m=audio 50000", "m=audio 0");

    let (_, done) = relay.exchange(Side::A, OFFER, &answer);

    assert!(done.answer.contains("m=audio 0 RTP/AVP 104\r\n"));
    assert_eq!(done.released, StreamSet(1));
    assert!(relay.media.live().is_empty());
}

#[test]
fn a_proposal_without_an_answer_changes_nothing() {
    let mut relay = Relay::new();
    relay.exchange(Side::A, OFFER, ANSWER);
    let (proposal, _) = relay.offer(Side::A, &both().0);

    assert_eq!(proposal.commit(&mut relay.media), StreamSet(0b10));

    assert_eq!(relay.ids(), [0]);
}

#[test]
fn a_proposal_whose_ports_are_not_bound_offers_nothing() {
    let media = Media::new(Arc::new(settings()), 1);
    let mut proposal = media
        .offer(Side::A, crlf(OFFER).as_bytes(), &Policy::ALL)
        .unwrap();

    assert_eq!(proposal.offer_to_far().unwrap_err().code, 500);
    assert!(proposal.abandon().is_empty(), "nothing was ordered yet");
}

#[test]
fn a_late_offer_is_relayed_the_other_way() {
    let mut relay = Relay::new();

    let (far, done) = relay.exchange(Side::B, ANSWER, OFFER);

    assert!(
        far.contains("o=- 7000 1 ") && far.contains("m=audio 20000 "),
        "{far}"
    );
    assert!(done.answer.contains("o=- 7001 1 "), "{}", done.answer);
    assert_eq!(
        rtp_remote(&done.answered.acts, 0, Side::A).0,
        "192.0.2.10:30000"
    );
}
