//! Closing modes (CLO-04): two relays in a row, each as a proxy, as a B2BUA that answers BYE when
//! the far side has, and as one that answers at once.

use std::time::Duration;

use tests::live::relay::Relay;
use tests::live::scene::LONG;
use tests::peers::sdp::Writer;
use tests::peers::sip::Agent;

/// How a relay closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Proxy,
    Late,
    Early,
}

const MODES: [Mode; 3] = [Mode::Proxy, Mode::Late, Mode::Early];

fn relay(mode: Mode, role: &str) -> Relay {
    Relay::start_with(|settings| {
        settings.set("sip", "role", format!("{role:?}"));
        match mode {
            Mode::Proxy => settings.proxy(),
            Mode::Late => settings.set("sip", "bye_ack", r#""after_far_end""#),
            Mode::Early => settings.set("sip", "bye_ack", r#""immediate""#),
        };
    })
}

/// One call through both; `reversed`: the called side ends it.
fn close(modes: (Mode, Mode), reversed: bool) {
    let (first, second) = (relay(modes.0, "originating"), relay(modes.1, "terminating"));
    let routes = [
        format!("<sip:{};lr;orig>", first.sip),
        format!("<sip:{};lr>", second.sip),
    ];
    let mut alice = Agent::udp("alice", first.sip).via(&routes);
    let mut bob = Agent::udp("bob", second.sip);
    let sdp = |port| Writer::new(first.sip.ip()).audio(port).text();
    let mut a = alice.invite(&bob.uri(), &sdp(9000));
    let mut b = bob.incoming();
    b.answer(&mut bob, 200, &sdp(9002));
    a.established(&mut alice);
    bob.request("ACK");
    for (mode, relay) in [(modes.0, &first), (modes.1, &second)] {
        assert_eq!(
            relay.open_media_ports().is_empty(),
            mode == Mode::Proxy,
            "{modes:?}"
        );
    }

    let (near, far) = if reversed {
        (&mut bob, &mut alice)
    } else {
        (&mut alice, &mut bob)
    };
    let call = if reversed { &mut b } else { &mut a };
    call.send_bye(near);
    let bye = far.request("BYE");
    // The far side keeps its answer back: who has an answer now got it from a relay.
    let early = modes.0 == Mode::Early || modes.1 == Mode::Early;
    let patience = if early {
        LONG
    } else {
        Duration::from_millis(300)
    };
    let at_once = near.within(patience, |message| message.method() == "BYE");
    assert_eq!(at_once.is_some(), early, "{modes:?}, reversed: {reversed}");
    far.answer(&bye, 200, &[], "");
    let answer = at_once.unwrap_or_else(|| near.response("BYE"));
    assert_eq!(answer.code(), Some(200), "{modes:?}, reversed: {reversed}");

    first.assert_empty();
    second.assert_empty();
    for side in [&mut alice, &mut bob] {
        side.hears_nothing(Duration::from_millis(100));
    }
    for relay in [first, second] {
        let status = relay.stop();
        assert!(
            status.is_some_and(|status| status.success()),
            "{modes:?}: {status:?}"
        );
    }
}

#[test]
fn every_pair_of_closing_modes_ends_without_a_dangling_dialog() {
    for first in MODES {
        for second in MODES {
            close((first, second), false);
        }
    }
}

#[test]
fn every_pair_of_closing_modes_ends_when_the_called_side_hangs_up() {
    for first in MODES {
        for second in MODES {
            close((first, second), true);
        }
    }
}
