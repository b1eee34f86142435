//! Valid messages that fuzzing begins with.

use std::fs;
use std::path::{Path, PathBuf};

/// A folder of this crate.
pub fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The torture messages of RFC 4475, and messages of a session as it is relayed.
pub fn sip() -> Vec<Vec<u8>> {
    let files = fs::read_dir(folder("vectors/rfc4475")).unwrap();
    let mut paths: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() > 40, "the vectors are there");
    let mut all: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    all.extend(SIP.iter().map(|text| crlf(text).into_bytes()));
    all
}

/// Session descriptions of all kinds.
pub fn sdp() -> Vec<Vec<u8>> {
    SDP.iter().map(|text| crlf(text).into_bytes()).collect()
}

/// The lines of a literal, each ended by CRLF.
pub fn crlf(text: &str) -> String {
    text.lines()
        .map(|line| format!("{}\r\n", line.trim_start()))
        .collect()
}

const SIP: &[&str] = &[
    "INVITE sip:bob@example.com SIP/2.0
    Via: SIP/2.0/UDP 192.0.2.10:5060;rport;branch=z9hG4bK776
    Max-Forwards: 70
    Route: <sip:192.0.2.1;lr>, <sip:pcscf.example.com;lr>
    From: \"Alice\" <sip:alice@example.com>;tag=1928
    To: <tel:+4912345>
    Call-ID: a84b4c76e66710
    CSeq: 314159 INVITE
    Contact: <sip:alice@192.0.2.10:5060>;+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session\"
    Accept-Contact: *;+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session\";require;explicit
    Supported: timer, 100rel
    Session-Expires: 1800;refresher=uac
    Conversation-ID: f81d4fae-7dec-11d0-a765-00a0c91e6bf6
    Content-Type: multipart/mixed;boundary=\"b1\"
    Content-Length: 204

    --b1
    Content-Type: application/sdp

    v=0
    o=- 1 1 IN IP4 192.0.2.10
    s=-
    c=IN IP4 192.0.2.10
    t=0 0
    m=audio 4000 RTP/AVP 0
    --b1
    Content-Type: message/cpim

    From: <sip:a@x>

    hello
    --b1--",
    "SIP/2.0 183 Session Progress
    v: SIP/2.0/TCP [2001:db8::1]:5060;branch=z9hG4bK1;received=2001:db8::9, SIP/2.0/UDP 192.0.2.10
    f: <sip:a@x>;tag=1
    t: \"B, \\\"the\\\" one\" <sip:b@x;transport=tcp?Subject=x>;tag=2
    i: 1@x
    CSeq: 1 INVITE
    Record-Route: <sip:r1;lr>,<sip:r2;lr>
    Require: 100rel
    RSeq: 9021
    m: <sip:b@192.0.2.20>
    l: 0
    ",
    "BYE sip:alice@192.0.2.10 SIP/2.0
    Via: SIP/2.0/UDP 192.0.2.20;branch=z9hG4bK5
    Max-Forwards: 70
    From: <sip:bob@x>;tag=2
    To: <sip:alice@x>;tag=1
    Call-ID: a84b4c76e66710
    CSeq: 2 BYE
    Reason: SIP;cause=200;text=\"Call completed elsewhere\"
    Content-Length: 0
    ",
];

const SDP: &[&str] = &[
    "v=0
    o=- 1 1 IN IP4 192.0.2.10
    s=-
    c=IN IP4 192.0.2.10
    t=0 0
    m=audio 4000 RTP/AVP 0 101
    a=rtpmap:101 telephone-event/8000
    a=sendrecv
    m=video 4002 RTP/SAVPF 97
    c=IN IP4 192.0.2.11
    a=rtcp:4009 IN IP4 192.0.2.12
    a=rtcp-mux
    a=recvonly",
    "v=0
    o=alice 7 9 IN IP4 192.0.2.10
    s=cpm
    c=IN IP4 192.0.2.10
    t=0 0
    a=sendrecv
    m=message 2855 TCP/MSRP *
    a=accept-types:message/cpim
    a=path:msrp://192.0.2.10:2855/s1;tcp
    a=setup:actpass
    m=message 9 TCP/TLS/MSRP *
    a=path:msrps://192.0.2.10:9/s2;tcp
    a=setup:active
    a=msrp-cema
    a=fingerprint:SHA-256 00:11
    a=file-selector:name:\"a b\" size:12
    m=application 0 TCP/BFCP *",
    "v=0
    o=- 1 1 IN IP6 2001:db8::10
    s=-
    t=0 0
    b=AS:64
    m=audio 4000/2 RTP/AVP 8
    c=IN IP6 2001:db8::10
    i=title
    m=image 4444 udptl t38
    c=IN IP6 host.example
    m=message 5000 TCP/MSRP *
    c=IN IP6 2001:db8::10
    a=path:msrp://[2001:db8::10]:5000/s3;tcp msrp://relay.example:1/x;tcp",
];
