use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::{Agent, host};

const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9);

fn call_and_bye(mut alice: Agent, mut bob: Agent) {
    let mut call = alice.invite(&bob.uri(), "v=0\r\n");
    let mut heard = bob.incoming();
    assert_eq!(heard.invite.body, "v=0\r\n");
    heard.answer(&mut bob, 180, "");
    heard.answer(&mut bob, 200, "v=1\r\n");
    assert_eq!(alice.response_of("INVITE", 180).body, "");
    assert_eq!(call.established(&mut alice).body, "v=1\r\n");
    bob.request("ACK");
    heard.send_bye(&mut bob);
    call.bye_answered(&mut alice);
    assert_eq!(bob.response("BYE").code(), Some(200));
    bob.hears_nothing(Duration::from_millis(20));
}

#[test]
fn two_clients_call_each_other_over_udp() {
    let bob = Agent::udp("bob", NOWHERE);
    call_and_bye(Agent::udp("alice", bob.address()), bob);
}

#[test]
fn two_clients_call_each_other_over_tcp() {
    let bob = Agent::tcp("bob", NOWHERE);
    call_and_bye(Agent::tcp("alice", bob.address()), bob);
}

#[test]
fn a_cancelled_call_ends_with_487() {
    let mut bob = Agent::udp("bob", NOWHERE);
    let mut alice = Agent::udp("alice", bob.address());
    let call = alice.invite(&bob.uri(), "");
    let heard = bob.incoming();
    call.cancel(&mut alice);
    let cancel = bob.request("CANCEL");
    bob.answer(&cancel, 200, &[], "");
    heard.answer(&mut bob, 487, "");
    assert_eq!(alice.response("CANCEL").code(), Some(200));
    assert_eq!(call.failed(&mut alice).code(), Some(487));
    bob.request("ACK");
}

#[test]
fn a_copy_of_a_request_is_answered_again_and_not_seen_again() {
    let mut bob = Agent::udp("bob", NOWHERE);
    let mut alice = Agent::udp("alice", bob.address());
    let call = alice.invite(&bob.uri(), "");
    let heard = bob.incoming();
    heard.answer(&mut bob, 486, "");
    alice.send(&call.invite);
    bob.hears_nothing(Duration::from_millis(50));
    assert_eq!(bob.retransmissions(), 1);
    assert_eq!(call.failed(&mut alice).code(), Some(486));
}

#[test]
fn a_host_is_read_from_any_uri() {
    assert_eq!(
        host("sip:bob@127.0.0.1:5061;transport=udp").unwrap().port(),
        5061
    );
    assert_eq!(host("sip:127.0.0.1;lr").unwrap().port(), 5060);
    assert_eq!(
        host("sip:bob@[::1]:5061").unwrap().to_string(),
        "[::1]:5061"
    );
    assert_eq!(host("sip:bob@example.com"), None);
}
