//! An interworked session of the real relay: two Interworking Functions, of which the first refuses
//! the voice, so that chat and voice go to different far ends.

use std::time::Duration;

use tests::live::ports::Ports;
use tests::live::relay::Relay;
use tests::live::scene::{LONG, join};
use tests::peers::msrp::{Listener, Outgoing};
use tests::peers::sdp::{self, Writer};
use tests::peers::sip::Agent;
use tests::peers::{rtp, sip};

/// Two functions, which stand before the relay does.
fn functions() -> [Agent; 2] {
    let nowhere = "127.0.0.1:9".parse().unwrap();
    ["sms", "pstn"].map(|name| Agent::udp(name, nowhere))
}

fn relay(functions: &mut [Agent; 2]) -> Relay {
    let listed = functions.each_ref().map(|function| {
        let (name, at) = (function.uri(), function.address());
        format!("{{ name = \"{name}\", route = \"sip:{at};lr\" }}")
    });
    let relay = Relay::start_with(|settings| {
        settings
            .set("policy", "interwork_scheme", "\"interwork\"")
            .set("interworking", "iwf", format!("[{}]", listed.join(", ")));
    });
    for function in functions {
        function.hop = relay.sip;
    }
    relay
}

fn uses(message: &sip::Message) -> Vec<bool> {
    let lines = sdp::media(&message.body);
    lines.iter().map(|line| line.port != 0).collect()
}

#[test]
fn iwm_06_chat_and_voice_reach_the_functions_that_have_taken_them() {
    let mut functions = functions();
    let relay = relay(&mut functions);
    let [mut sms, mut pstn] = functions;
    let mut alice = Agent::udp("alice", relay.sip).via(&[relay.route()]);
    let ip = relay.sip.ip();
    let mut ports = Ports::take();
    let mut voices = [(0xA11C_E000, 0xB0B0_0000), (0xB0B0_0000, 0xA11C_E000)]
        .map(|names| rtp::Peer::bind(ip, ports.pair(), names));
    let (chat_a, chat_b) = (Listener::bind(ip), Listener::bind(ip));

    let offer = Writer::new(ip)
        .message(chat_a.path(), &["setup:active"])
        .audio(voices[0].port())
        .text();
    let mut a = alice.invite("wv:bob", &offer);
    let at_sms = sms.incoming();
    assert_eq!(uses(&at_sms.invite), [true, true]);
    let refuses_voice = Writer::new(ip)
        .message(chat_b.path(), &["setup:passive"])
        .dropped("audio", "RTP/AVP", "0")
        .text();
    at_sms.answer(&mut sms, 200, &refuses_voice);
    sms.request("ACK");
    let mut at_pstn = pstn.incoming();
    assert_eq!(uses(&at_pstn.invite), [true], "the voice alone");
    let voice = Writer::new(ip).audio(voices[1].port()).text();
    at_pstn.answer(&mut pstn, 200, &voice);
    pstn.request("ACK");
    let ok = a.established(&mut alice);
    assert_eq!(uses(&ok), [true, true]);

    let (told_a, told_sms) = (sdp::media(&ok.body), sdp::media(&at_sms.invite.body));
    let told_pstn = sdp::media(&at_pstn.invite.body);
    let remote = told_sms[0].attribute("path").unwrap();
    let bob = chat_b.accept(remote, None, LONG).unwrap();
    let chat = join(&chat_a, &told_a[0], None);
    chat.send(&Outgoing::text("hello")).unwrap();
    assert_eq!(bob.messages(1, LONG)[0].text, b"hello");
    voices[0].aim(told_a[1].address());
    voices[1].aim(told_pstn[0].address());
    for voice in &mut voices {
        voice.talk();
    }
    for voice in &voices {
        assert!(voice.hears(20, LONG));
    }
    assert_eq!(relay.open_media_ports().len(), 4);

    // The voice's function leaves: the chat stays.
    for voice in &voices {
        voice.be_silent();
    }
    at_pstn.send_bye(&mut pstn);
    assert_eq!(pstn.response("BYE").code(), Some(200));
    assert!(relay.open_media_ports().is_empty());
    let request = alice.request("INVITE");
    assert_eq!(uses(&request), [true, false]);
    let keeps = Writer::new(ip)
        .message(chat_a.path(), &["setup:active"])
        .dropped("audio", "RTP/AVP", "0")
        .text();
    a.accept(&mut alice, &request, &keeps);
    alice.request("ACK");
    bob.send(&Outgoing::text("still here")).unwrap();
    assert_eq!(chat.messages(1, LONG)[0].text, b"still here");

    a.send_bye(&mut alice);
    let bye = sms.request("BYE");
    sms.answer(&bye, 200, &[], "");
    assert_eq!(alice.response("BYE").code(), Some(200));
    assert!(chat.is_closed(LONG) && bob.is_closed(LONG));
    pstn.hears_nothing(Duration::from_millis(100));
    relay.assert_empty();
}
