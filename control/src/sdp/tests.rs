use std::net::IpAddr;

use super::{Flow, Kind, MediaDescription, Proto, Sdp, SdpError};
use crate::limits::{SDP_BYTES, SDP_LINES, SDP_MEDIA};

const FULL: &str = "v=0\r\n\
    o=jdoe 3724394400 3724394405 IN IP4 198.51.100.1\r\n\
    s=Call to John Smith\r\n\
    i=SDP Offer #1\r\n\
    u=http://www.jdoe.example.com/home.html\r\n\
    e=Jane Doe <jane@jdoe.example.com>\r\n\
    p=+1 617 555-6011\r\n\
    c=IN IP4 198.51.100.1\r\n\
    b=X-YZ:odd 128\r\n\
    y=an unknown letter\r\n\
    t=0 0\r\n\
    r=7d 1h 0 25h\r\n\
    z=3730928400 -1h 3749680800 0\r\n\
    a=setup:actpass\r\n\
    m=audio 49170/2 RTP/AVP 0 96\r\n\
    a=rtpmap:96 AMR-WB/16000\r\n\
    i=after an attribute\r\n\
    k=clear:x\r\n\
    a=sendonly\r\n\
    m=x-new 0 FOO/BAR  two  spaces\r\n\
    x=odd too\r\n";

fn line(value: &str) -> MediaDescription {
    let text = format!("v=0\r\nm={value}\r\n");
    Sdp::parse(text.as_bytes()).unwrap().media()[0].clone()
}

#[test]
fn a_description_is_written_as_it_came() {
    let sdp = Sdp::parse(FULL.as_bytes()).unwrap();

    assert_eq!(std::str::from_utf8(&sdp.to_bytes()).unwrap(), FULL);
    assert_eq!(sdp.media_count(), 2);
}

#[test]
fn bytes_of_another_charset_are_kept() {
    let text = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=caf\xe9\r\na=title:\xff\xfe\r\n";

    let sdp = Sdp::parse(text).unwrap();

    assert_eq!(sdp.to_bytes().as_ref(), text);
    assert_eq!(sdp.session().attribute("title"), None);
}

#[test]
fn bare_line_feeds_and_a_missing_last_one_are_read() {
    let sdp = Sdp::parse(b"v=0\ns=-\n\nt=0 0\nm=audio 4000 RTP/AVP 0").unwrap();

    let expected = "v=0\r\ns=-\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";
    assert_eq!(std::str::from_utf8(&sdp.to_bytes()).unwrap(), expected);
}

#[test]
fn a_malformed_description_is_refused_with_its_line() {
    let refused = |text: &[u8]| Sdp::parse(text).unwrap_err();

    assert_eq!(refused(b""), SdpError::Version);
    assert_eq!(refused(b"s=-\r\n"), SdpError::Version);
    assert_eq!(refused(b"v=1\r\n"), SdpError::Version);
    assert_eq!(refused(b"v=0\r\nno equals\r\n"), SdpError::Line(2));
    assert_eq!(refused(b"v=0\r\ns=a\0b\r\n"), SdpError::Line(2));
    assert_eq!(refused(b"v=0\r\ns=a\rb\r\n"), SdpError::Line(2));
    assert_eq!(refused(b"v=0\r\nS=a\r\n"), SdpError::Line(2));
    for media in [
        "",
        "audio",
        "audio 1",
        "audio x RTP/AVP 0",
        "audio 65536 RTP/AVP 0",
    ] {
        let text = format!("v=0\r\ns=-\r\nm={media}\r\n");
        assert_eq!(refused(text.as_bytes()), SdpError::Media(3), "m={media}");
    }
}

#[test]
fn a_description_beyond_its_limits_is_refused() {
    let long = format!("v=0\r\ns={}\r\n", "x".repeat(SDP_BYTES));
    let lines = format!("v=0\r\n{}", "a=x\r\n".repeat(SDP_LINES));
    let media = |count| format!("v=0\r\n{}", "m=audio 0 RTP/AVP 0\r\n".repeat(count));

    assert_eq!(Sdp::parse(long.as_bytes()), Err(SdpError::TooLong));
    assert_eq!(Sdp::parse(lines.as_bytes()), Err(SdpError::TooManyLines));
    assert!(Sdp::parse(media(SDP_MEDIA).as_bytes()).is_ok());
    let too_many = Sdp::parse(media(SDP_MEDIA + 1).as_bytes());
    assert_eq!(too_many, Err(SdpError::TooManyMedia));
}

#[test]
fn kinds_and_protocols_are_told_apart() {
    assert_eq!(line("audio 1 RTP/AVP 0").kind(), Kind::Audio);
    assert_eq!(line("MESSAGE 1 TCP/MSRP *").kind(), Kind::Message);
    assert_eq!(line("x-new 1 FOO 0").kind(), Kind::Other);
    for proto in [
        "RTP/AVP",
        "RTP/AVPF",
        "RTP/SAVP",
        "RTP/SAVPF",
        "UDP/TLS/RTP/SAVPF",
    ] {
        assert_eq!(line(&format!("audio 1 {proto} 0")).proto(), Proto::Rtp);
    }
    let proto = |text: &str| line(&format!("message 1 {text} *")).proto();
    assert_eq!(proto("tcp/msrp"), Proto::Msrp { tls: false });
    assert_eq!(proto("TCP/TLS/MSRP"), Proto::Msrp { tls: true });
    assert_eq!(proto("TCP/BFCP"), Proto::Bfcp { tls: false });
    assert_eq!(proto("TCP/TLS/BFCP"), Proto::Bfcp { tls: true });
    for other in ["UDP/BFCP", "udptl", "TCP/RTP/AVP", "UDP/DTLS/SCTP"] {
        assert_eq!(proto(other), Proto::Other, "{other}");
    }
}

#[test]
fn what_the_media_says_goes_before_what_the_session_says() {
    let text = "v=0\r\nc=IN IP4 192.0.2.1/127\r\na=inactive\r\na=setup:active\r\n\
        m=audio 1 RTP/AVP 0\r\n\
        m=audio 2 RTP/AVP 0\r\nc=IN IP6 2001:db8::1\r\na=sendonly\r\na=setup:passive\r\n\
        m=audio 3 RTP/AVP 0\r\nc=IN IP4 host.example.com\r\na=recvonly\r\n";
    let sdp = Sdp::parse(text.as_bytes()).unwrap();
    let [first, second, third] = [0, 1, 2].map(|index| &sdp.media()[index]);

    let ip = |line| sdp.connection(line).unwrap().ip;
    assert_eq!(ip(first), Some("192.0.2.1".parse::<IpAddr>().unwrap()));
    assert_eq!(ip(second), Some("2001:db8::1".parse::<IpAddr>().unwrap()));
    assert!(sdp.connection(second).unwrap().is_v6);
    assert_eq!(ip(third), None);
    assert_eq!(sdp.flow(first).name(), "inactive");
    assert_eq!(sdp.flow(second).name(), "sendonly");
    assert_eq!(sdp.flow(third).name(), "recvonly");
    assert_eq!(sdp.attribute(first, "setup"), Some("active"));
    assert_eq!(sdp.attribute(second, "setup"), Some("passive"));
}

#[test]
fn an_address_of_the_wrong_family_is_none() {
    let sdp = Sdp::parse(b"v=0\r\nc=IN IP4 2001:db8::1\r\nm=audio 1 RTP/AVP 0\r\n").unwrap();

    assert_eq!(sdp.connection(&sdp.media()[0]).unwrap().ip, None);
}

#[test]
fn a_change_stays_in_its_place_and_takes_doubles_away() {
    let text = "v=0\r\nm=message 9 TCP/MSRP *\r\ni=title\r\na=path:one\r\na=sendonly\r\n\
        a=x\r\na=path:two\r\na=inactive\r\n";
    let mut media = Sdp::parse(text.as_bytes()).unwrap().media()[0].clone();

    media.lines_mut().set_attribute("path", Some("three"));
    media.lines_mut().set_attribute("new", None);
    media.set_connection("192.0.2.9".parse().unwrap());
    media.set_port(7);
    media.set_flow(Flow {
        sends: true,
        receives: true,
    });

    let sdp = Sdp::parse(b"v=0\r\n").unwrap().with_media(vec![media]);
    let expected = "v=0\r\nm=message 7 TCP/MSRP *\r\ni=title\r\nc=IN IP4 192.0.2.9\r\n\
        a=path:three\r\na=sendrecv\r\na=x\r\na=new\r\n";
    assert_eq!(std::str::from_utf8(&sdp.to_bytes()).unwrap(), expected);
}

#[test]
fn no_bytes_make_the_reader_panic_and_what_it_reads_it_writes_alike() {
    use rand::{RngExt, SeedableRng, TryRng, rngs::StdRng};

    let seed = rand::rngs::SysRng.try_next_u64().unwrap();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    for _ in 0..20_000 {
        let mut bytes = FULL.as_bytes().to_vec();
        for _ in 0..random.random_range(0..6) {
            let place = random.random_range(0..bytes.len());
            match random.random_range(0..3) {
                0 => bytes[place] = random.random(),
                1 => bytes.truncate(place.max(1)),
                _ => bytes.insert(place, random.random()),
            }
        }
        if let Ok(sdp) = Sdp::parse(&bytes) {
            let written = sdp.to_bytes();
            let again = Sdp::parse(&written).unwrap();
            assert_eq!(again.to_bytes(), written);
        }
    }
}

#[test]
fn a_sign_is_no_part_of_a_port() {
    for ports in ["+4000", "4000/+2", "-1", "4000/"] {
        let text = format!("v=0\r\nm=audio {ports} RTP/AVP 0\r\n");
        assert_eq!(
            Sdp::parse(text.as_bytes()),
            Err(SdpError::Media(2)),
            "{ports}"
        );
    }
}
