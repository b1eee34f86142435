//! Offers to several functions: selection, re-attempt and merge (003 C.4.3.1).

use super::*;

fn reinvite(call: &Call, seq: u32, lines: &[&str]) -> String {
    in_dialog_of_a("INVITE", seq, &call.ok, CONTACT_A, &sdp(seq, lines))
}

fn chat() -> Call {
    call_one(interworked(Role::Originating, IwfClose::Streams), &[CHAT])
}

fn end_call(mut call: Call, functions: &[u16]) {
    let sent = call
        .bench
        .give(a(), &in_dialog_of_a("BYE", 90, &call.ok, "", ""));
    for number in functions {
        let bye = request(&sent, iwf(*number), "BYE");
        call.bench
            .give(iwf(*number), &of_iwf(&bye, *number, 200, ""));
    }
    call.bench.assert_nothing_left();
}

/// A adds a file to a chat; the first function refuses it, with 200 and port 0 or with 488.
fn a_file_is_added(code: u16) {
    let mut call = chat();
    let sent = call.bench.give(a(), &reinvite(&call, 2, &[CHAT, FILE]));
    let to_sms = request(&sent, iwf(0), "INVITE");
    assert_eq!(in_use(&to_sms), [true, true], "{to_sms}");
    assert!(
        !has(&sent, iwf(1), ""),
        "no selection before the refusal: {sent:#?}"
    );
    let body = if code == 200 {
        accept(&to_sms, 6000, &[1])
    } else {
        String::new()
    };
    let sent = call.bench.give(iwf(0), &of_iwf(&to_sms, 0, code, &body));
    assert!(!has(&sent, a(), "SIP/2.0 "), "{sent:#?}");
    let to_mms = request(&sent, iwf(1), "INVITE");
    assert!(
        !to_mms.contains("To: <wv:bob>;tag"),
        "a new dialog: {to_mms}"
    );
    assert_eq!(media(body_of(&to_mms)).len(), 1, "{to_mms}");
    assert!(to_mms.contains("a=file-selector"), "{to_mms}");
    let sent = call.bench.give(
        iwf(1),
        &of_iwf(&to_mms, 1, 200, &accept(&to_mms, 6100, &[])),
    );
    assert!(has(&sent, iwf(1), "ACK"), "{sent:#?}");
    let ok = only(&sent, a());
    assert!(ok.starts_with("SIP/2.0 200"), "{ok}");
    assert_eq!(in_use(&ok), [true, true], "{ok}");
    assert_eq!(call.bench.open(), 2);
    assert!(
        call.bench.acts.iter().any(|act| act.contains("6100")),
        "the file goes to the second function: {:?}",
        call.bench.acts
    );
    call.bench.give(a(), &in_dialog_of_a("ACK", 2, &ok, "", ""));
    end_call(call, &[0, 1]);
}

#[test]
fn iwm_02_a_modification_goes_to_the_function_of_the_session_without_selection() {
    let mut call = chat();
    let sent = call.bench.give(a(), &reinvite(&call, 2, &[CHAT, VOICE]));
    let to_sms = request(&sent, iwf(0), "INVITE");
    assert_eq!(tag_of(&to_sms, "To"), "iwf0");
    assert!(
        !has(&sent, iwf(1), "") && !has(&sent, iwf(2), ""),
        "{sent:#?}"
    );
    let sent = call.bench.give(
        iwf(0),
        &of_iwf(&to_sms, 0, 200, &accept(&to_sms, 6000, &[])),
    );
    assert_eq!(in_use(&only(&sent, a())), [true, true]);
    end_call(call, &[0]);
}

#[test]
fn iwm_01_a_modification_takes_its_way_though_the_policy_has_changed() {
    let mut call = chat();
    call.bench.engine.set_policies(Arc::default());
    Arc::make_mut(&mut call.bench.engine.settings).interworking = Arc::default();
    let sent = call.bench.give(a(), &reinvite(&call, 2, &[CHAT, VOICE]));
    let to_sms = request(&sent, iwf(0), "INVITE");
    let sent = call.bench.give(
        iwf(0),
        &of_iwf(&to_sms, 0, 200, &accept(&to_sms, 6000, &[])),
    );
    assert!(only(&sent, a()).starts_with("SIP/2.0 200"));
    end_call(call, &[0]);
}

#[test]
fn iwm_03_a_refusal_by_488_or_by_port_0_is_the_same() {
    a_file_is_added(200);
    a_file_is_added(488);
}

#[test]
fn iwm_04_the_refused_stream_alone_is_offered_to_another_function() {
    a_file_is_added(200);
}

#[test]
fn iwm_06_the_answers_of_two_functions_become_one() {
    let call = call_with(
        interworked(Role::Originating, IwfClose::Streams),
        &[VOICE, FILE, CHAT],
        &[1],
    );
    assert_eq!(
        ports(&call.ok)
            .iter()
            .map(|(kind, _)| kind.as_str())
            .collect::<Vec<_>>(),
        ["audio", "message", "message"]
    );
    assert_eq!(in_use(&call.ok), [true; 3], "{}", call.ok);
    assert_eq!(media(body_of(call.invite(1))).len(), 1);
    let acts = call.bench.acts.join("\n");
    for far in ["6000", "6100", "6002"] {
        assert!(acts.contains(far), "{far} in {acts}");
    }
    end_call(call, &[0, 1]);
}

#[test]
fn iwm_07_a_change_goes_to_the_function_that_has_the_stream() {
    let mut call = call_with(
        interworked(Role::Originating, IwfClose::Streams),
        &[CHAT, VOICE],
        &[1],
    );
    // A holds the voice stream: nothing for the chat's function.
    let held = VOICE.replace("sendrecv", "sendonly");
    let sent = call.bench.give(a(), &reinvite(&call, 2, &[CHAT, &held]));
    assert!(!has(&sent, iwf(0), ""), "{sent:#?}");
    let to_mms = request(&sent, iwf(1), "INVITE");
    assert_eq!(ports(&to_mms).len(), 1, "{to_mms}");
    assert!(to_mms.contains("a=sendonly"), "{to_mms}");
    let recv = accept(&to_mms, 6100, &[]) + "a=recvonly\r\n";
    let sent = call.bench.give(iwf(1), &of_iwf(&to_mms, 1, 200, &recv));
    let ok = only(&sent, a());
    assert_eq!(in_use(&ok), [true, true], "{ok}");
    call.bench.give(a(), &in_dialog_of_a("ACK", 2, &ok, "", ""));
    // A takes the voice stream away: its function has nothing left and is left itself.
    let gone = "m=audio 0 RTP/AVP 0\r\n";
    let sent = call.bench.give(a(), &reinvite(&call, 3, &[CHAT, gone]));
    let bye = request(&sent, iwf(1), "BYE");
    let sent = [sent, call.bench.give(iwf(1), &of_iwf(&bye, 1, 200, ""))].concat();
    let ok = request_answer(&sent, 200);
    assert_eq!(in_use(&ok), [true, false], "{ok}");
    call.bench.give(a(), &in_dialog_of_a("ACK", 3, &ok, "", ""));
    assert_eq!(call.bench.open(), 1);
    end_call(call, &[0]);
}

/// A's only final response with a code.
fn request_answer(sent: &[(SocketAddr, String)], code: u16) -> String {
    let start = format!("SIP/2.0 {code}");
    let found = sent
        .iter()
        .find(|(to, text)| *to == a() && text.starts_with(&start));
    found.unwrap_or_else(|| panic!("{sent:#?}")).1.clone()
}

#[test]
fn iwm_08_where_no_other_function_is_left_the_refusal_goes_back() {
    let mut call = chat();
    let offer = reinvite(&call, 2, &[CHAT, FILE]);
    let mut sent = call.bench.give(a(), &offer);
    for number in 0..3 {
        let to_iwf = request(&sent, iwf(number), "INVITE");
        sent = call
            .bench
            .give(iwf(number), &of_iwf(&to_iwf, number, 488, ""));
    }
    assert!(has(&sent, a(), "SIP/2.0 488"), "{sent:#?}");
    assert_eq!(call.bench.open(), 1);
    // The session is as it was: port 0 is the other way to say so.
    let sent = call.bench.give(a(), &reinvite(&call, 3, &[CHAT, FILE]));
    let mut sent = sent;
    for number in 0..3 {
        let to_iwf = request(&sent, iwf(number), "INVITE");
        let (code, body) = if number == 0 {
            (200, accept(&to_iwf, 6000, &[1]))
        } else {
            (488, String::new())
        };
        sent = call
            .bench
            .give(iwf(number), &of_iwf(&to_iwf, number, code, &body));
    }
    let ok = request_answer(&sent, 200);
    assert_eq!(in_use(&ok), [true, false], "{ok}");
    end_call(call, &[0]);
}

#[test]
fn a_function_that_refuses_all_is_followed_by_the_next() {
    let mut bench = interworked(Role::Originating, IwfClose::Streams);
    let mut sent = bench.give(a(), &invite_of(&[CHAT]));
    for number in 0..3 {
        let to_iwf = request(&sent, iwf(number), "INVITE");
        sent = bench.give(iwf(number), &of_iwf(&to_iwf, number, 486, ""));
    }
    assert!(has(&sent, a(), "SIP/2.0 486"), "{sent:#?}");
    bench.give(a(), &ack_of_failure());
    bench.assert_nothing_left();
}

#[test]
fn streams_that_different_functions_carry_are_offered_at_once() {
    let none = Streams {
        audio: false,
        video: false,
        message: false,
        application: false,
        other: false,
    };
    let mut bench = interworked_with(Role::Originating, IwfClose::Streams, |settings| {
        let mut own = interworking::Settings::clone(&settings.interworking);
        own.functions[0].streams = Streams {
            message: true,
            ..none
        };
        own.functions[1].streams = Streams {
            audio: true,
            ..none
        };
        settings.interworking = own.into();
    });
    let sent = bench.give(a(), &invite_of(&[VOICE, CHAT]));
    let chat = request(&sent, iwf(0), "INVITE");
    let voice = request(&sent, iwf(1), "INVITE");
    assert_eq!(ports(&chat)[0].0, "message");
    assert_eq!(ports(&voice)[0].0, "audio");
    bench.give(iwf(1), &of_iwf(&voice, 1, 180, ""));
    let sent = bench.give(iwf(1), &of_iwf(&voice, 1, 200, &accept(&voice, 6100, &[])));
    assert!(!has(&sent, a(), "SIP/2.0 2"), "{sent:#?}");
    let sent = bench.give(iwf(0), &of_iwf(&chat, 0, 200, &accept(&chat, 6000, &[])));
    let ok = only(&sent, a());
    assert_eq!(in_use(&ok), [true, true], "{ok}");
    let invites = vec![(0, chat), (1, voice)];
    end_call(Call { bench, invites, ok }, &[0, 1]);
}

#[test]
fn a_refresh_reaches_every_function() {
    let mut call = call_with(
        interworked(Role::Originating, IwfClose::Streams),
        &[CHAT, VOICE],
        &[1],
    );
    let same = in_dialog_of_a("INVITE", 2, &call.ok, CONTACT_A, &sdp(1, &[CHAT, VOICE]));
    let sent = call.bench.give(a(), &same);
    let mut answered = Vec::new();
    for number in [0, 1] {
        let to_iwf = request(&sent, iwf(number), "INVITE");
        // A function answers as it did: its lines where they are.
        let refused: &[usize] = if number == 0 { &[1] } else { &[] };
        let body = accept(&to_iwf, 6000 + 100 * number, refused);
        answered = call
            .bench
            .give(iwf(number), &of_iwf(&to_iwf, number, 200, &body));
    }
    let ok = only(&answered, a());
    assert_eq!(in_use(&ok), [true, true], "{ok}");
    call.bench.give(a(), &in_dialog_of_a("ACK", 2, &ok, "", ""));
    end_call(call, &[0, 1]);
}

#[test]
fn a_functions_own_offer_reaches_side_a_whole_and_the_answer_comes_back_in_part() {
    let mut call = call_with(
        interworked(Role::Originating, IwfClose::Streams),
        &[CHAT, VOICE],
        &[1],
    );
    let held = sdp(9, &["m=audio 6100 RTP/AVP 0\r\na=sendonly\r\n"]);
    let sent = call
        .bench
        .give(iwf(1), &by_iwf("INVITE", 1, call.invite(1), 1, &held));
    let to_a = request(&sent, a(), "INVITE");
    assert_eq!(in_use(&to_a), [true, true], "{to_a}");
    assert!(to_a.contains("a=sendonly"), "{to_a}");
    let recv = VOICE.replace("sendrecv", "recvonly");
    let sent = call
        .bench
        .give(a(), &of_a(&to_a, 200, &sdp(2, &[CHAT, &recv])));
    let ok = sent.iter().find(|(to, _)| *to == iwf(1)).unwrap().1.clone();
    assert!(ok.starts_with("SIP/2.0 200"), "{ok}");
    assert_eq!(ports(&ok).len(), 1, "{ok}");
    assert!(ok.contains("a=recvonly"), "{ok}");
    call.bench
        .give(iwf(1), &by_iwf("ACK", 1, call.invite(1), 1, ""));
    end_call(call, &[0, 1]);
}
