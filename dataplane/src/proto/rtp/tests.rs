use super::*;

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

const OPEN: Learn = Learn::Once {
    window_ms: 1000,
    same_ip: false,
};

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[expect(clippy::disallowed_methods, reason = "a time to begin with")]
fn start() -> Instant {
    Instant::now()
}

#[test]
fn an_address_is_learnt_once_and_others_are_refused_from_then_on() {
    let now = start();
    let mut source = Source::default();
    let (named, behind, stray) = (
        address("10.0.0.1:4000"),
        address("192.0.2.1:9"),
        address("192.0.2.2:9"),
    );
    assert!(!source.admit(now, named), "nobody is named yet");
    source.connect(now, named, OPEN);
    assert_eq!(source.target(), Some(named));
    assert!(source.admit(now, behind));
    assert_eq!(source.target(), Some(behind));
    assert!(!source.admit(now, stray));
    assert!(!source.admit(now, named));
}

#[test]
fn only_the_named_address_passes_after_the_window() {
    let now = start();
    let mut source = Source::default();
    let named = address("10.0.0.1:4000");
    source.connect(now, named, OPEN);
    let late = now + ms(1001);
    assert!(!source.admit(late, address("192.0.2.1:9")));
    assert!(source.admit(late, named));
}

#[test]
fn only_another_port_is_learnt_where_the_ip_must_be_the_same() {
    let now = start();
    let mut source = Source::default();
    let learn = Learn::Once {
        window_ms: 0,
        same_ip: true,
    };
    source.connect(now, address("10.0.0.1:4000"), learn);
    assert!(!source.admit(now, address("10.0.0.2:4000")));
    assert!(source.admit(now + ms(1_000_000), address("10.0.0.1:5000")));
}

#[test]
fn a_second_connect_to_the_same_address_keeps_the_way_out_and_learns_again() {
    let now = start();
    let mut source = Source::default();
    let (named, old, new) = (
        address("10.0.0.1:4000"),
        address("192.0.2.1:9"),
        address("192.0.2.1:10"),
    );
    source.connect(now, named, OPEN);
    assert!(source.admit(now, old));
    source.connect(now, named, OPEN);
    assert_eq!(source.target(), Some(old));
    let mut moved = source;
    assert!(moved.admit(now, new));
    assert_eq!(moved.target(), Some(new));
    assert!(
        !source.admit(now + ms(2000), new),
        "the window closed with nothing new learnt"
    );
    assert!(source.admit(now + ms(2000), old));
    source.connect(now, address("10.0.0.9:4000"), OPEN);
    assert_eq!(source.target(), Some(address("10.0.0.9:4000")));
}

#[test]
fn never_means_that_only_the_named_address_passes() {
    let now = start();
    let mut source = Source::default();
    source.connect(now, address("10.0.0.1:4000"), Learn::Never);
    assert!(!source.admit(now, address("10.0.0.1:4001")));
    assert!(source.admit(now, address("10.0.0.1:4000")));
}

fn header(ssrc: u32, seq: u16) -> Header {
    Header {
        seq: Seq(seq),
        ssrc: Ssrc(ssrc),
        header_len: 12,
        payload_len: 0,
    }
}

fn lost(packets: &[(u32, u16)]) -> u64 {
    let mut loss = Loss::default();
    for (ssrc, seq) in packets {
        loss.received(&header(*ssrc, *seq));
    }
    loss.lost()
}

#[test]
fn what_never_came_is_lost_and_what_came_late_is_not() {
    assert_eq!(lost(&[]), 0);
    assert_eq!(lost(&[(1, 10), (1, 11), (1, 14)]), 2);
    assert_eq!(lost(&[(1, 10), (1, 12), (1, 11)]), 0);
    assert_eq!(lost(&[(1, 65_534), (1, 1)]), 2, "across the wrap");
    assert_eq!(lost(&[(1, 10), (1, 10), (1, 10)]), 0, "duplicates");
}

#[test]
fn a_new_ssrc_begins_anew_and_keeps_what_was_lost() {
    assert_eq!(lost(&[(1, 10), (1, 12), (2, 500), (2, 501)]), 1);
}

#[test]
fn a_jump_counts_only_once_two_packets_agree() {
    assert_eq!(lost(&[(1, 10), (1, 30_000), (1, 11)]), 0);
    assert_eq!(lost(&[(1, 10), (1, 30_000), (1, 30_001), (1, 30_003)]), 1);
}

#[test]
fn silence_is_found_once_and_so_is_its_end() {
    let now = start();
    let mut silence = Silence::default();
    assert_eq!(
        silence.look(now + ms(9000), ms(100)),
        None,
        "not listened to"
    );
    silence.listen(now, true);
    assert_eq!(silence.look(now + ms(99), ms(100)), None);
    assert_eq!(silence.look(now + ms(100), ms(100)), Some(Change::Silent));
    silence.told(Change::Silent);
    assert_eq!(silence.look(now + ms(200), ms(100)), None);
    silence.heard(now + ms(300));
    assert_eq!(silence.look(now + ms(310), ms(100)), Some(Change::Heard));
    silence.told(Change::Heard);
    assert_eq!(silence.look(now + ms(320), ms(100)), None);
}
