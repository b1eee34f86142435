//! Which room a stream becomes, and what the descriptions of it say.

use super::*;
use crate::media::{Msrp, Refused, Trunk};

fn settings() -> Arc<Settings> {
    Arc::new(Settings {
        media_v4: Some("127.0.0.9".parse().unwrap()),
        media_v6: None,
        learn: dataplane::api::Learn::Never,
        silence_ms: 0,
        msrp: Msrp::default(),
    })
}

fn sdp(lines: &str) -> String {
    format!("v=0\r\no=a 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n{lines}")
}

#[test]
fn upl_13_media_type_direction_and_floor_decide_what_becomes_of_a_stream() {
    let both = Flow {
        sends: true,
        receives: true,
    };
    let one = Flow {
        receives: false,
        ..both
    };
    let msrp = Proto::Msrp { tls: false };
    let kind = |kind, proto, flow| room_kind(kind, proto, flow, None);
    assert!(matches!(
        kind(Kind::Audio, Proto::Rtp, both),
        Some(RoomKind::Mix(_))
    ));
    assert_eq!(kind(Kind::Audio, Proto::Rtp, one), Some(RoomKind::Forward));
    assert_eq!(
        kind(Kind::Video, Proto::Rtp, both),
        Some(RoomKind::Switch { follows: None })
    );
    assert_eq!(kind(Kind::Video, Proto::Rtp, one), Some(RoomKind::Forward));
    assert_eq!(
        kind(Kind::Message, msrp, both),
        Some(RoomKind::FanOut(FanSpec::default()))
    );
    assert_eq!(kind(Kind::Image, Proto::Other, both), None);
    let mut rooms = Rooms::new(settings(), Vec::new());
    let media = MemberMedia::new(&rooms, Trunk::default(), (1, 1));
    let offer = sdp("m=audio 4000 RTP/AVP 0\r\n");
    let offer = media.read(offer.as_bytes()).unwrap();
    let gated = rooms
        .open(&offer, 0, MemberId(1), Some(FloorId(1)))
        .unwrap();
    assert_eq!(rooms.find(gated).unwrap().floor, Some(FloorId(1)));
    let plans = rooms.plans(rooms.all());
    assert!(matches!(&plans[..], [Act::OpenRoom(plan)] if plan.floor == Some(FloorId(1))));
}

/// Binds what a draft needs.
fn bind(draft: &mut Draft, member: MemberId) {
    let mut joins = draft.joins(member, "<sip:x@y>");
    for (act, port) in joins.iter_mut().zip([30_000_u16, 30_010, 30_020]) {
        let Act::Join(plan) = act else { continue };
        plan.local = match plan.leg {
            dataplane::api::LegSpec::Rtp { local_ip, .. } => dataplane::api::LegLocal::Rtp {
                rtp: (local_ip, port).into(),
                rtcp: (local_ip, port + 1).into(),
            },
            dataplane::api::LegSpec::Msrp(spec) => {
                dataplane::api::LegLocal::Msrp(dataplane::api::MsrpLocal {
                    listen: (spec.local_ip, 2855).into(),
                    session_id: [b'x'; 32],
                })
            }
            dataplane::api::LegSpec::Bfcp(spec) => dataplane::api::LegLocal::Bfcp {
                listen: (spec.local_ip, port).into(),
            },
            dataplane::api::LegSpec::Bytes { .. } | dataplane::api::LegSpec::Away(_) => continue,
        };
    }
    draft.opened(member, &joins);
}

const ALL: Rights = Rights {
    sends: StreamSet::ALL,
    receives: StreamSet::ALL,
};

const THREE: &str = "m=audio 4000 RTP/AVP 9 18 0 101\r\na=rtpmap:101 telephone-event/8000\r\n\
    a=extmap:3 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\na=rtcp-mux\r\n\
    m=video 4010 RTP/AVP 97 98\r\na=rtpmap:97 H264/90000\r\na=fmtp:97 profile-level-id=42e01f;packetization-mode=1\r\n\
    a=rtpmap:98 VP8/90000\r\n\
    m=message 4020 TCP/MSRP *\r\na=path:msrp://127.0.0.1:4020/abc;tcp\r\na=setup:active\r\na=accept-types:message/cpim\r\n";

/// A session that a participant has begun with a description: its rooms, its media, its answer.
fn begun(lines: &str) -> (Rooms, MemberMedia, String) {
    let mut rooms = Rooms::new(settings(), Vec::new());
    let mut media = MemberMedia::new(&rooms, Trunk::default(), (1, 1));
    let offer = media.read(sdp(lines).as_bytes()).unwrap();
    let fates: Vec<_> = (0..offer.lines().len())
        .map(|index| rooms.open(&offer, index, MemberId(1), None))
        .collect();
    let mut draft = media.draft_answer(&rooms, &offer, &fates);
    bind(&mut draft, MemberId(1));
    let answer = media.answer(&rooms, draft, ALL).unwrap();
    (rooms, media, String::from_utf8(answer.to_vec()).unwrap())
}

#[test]
fn an_answer_has_the_offerers_numbers_and_only_what_is_understood() {
    let (_, media, answer) = begun(THREE);
    for line in [
        "m=audio 30000 RTP/AVP 9 0 101",
        "a=rtcp-mux",
        "a=rtpmap:9 G722/8000",
        "a=extmap:3 urn:ietf:params:rtp-hdrext:ssrc-audio-level",
        "m=video 30010 RTP/AVP 97 98",
        "a=fmtp:97 profile-level-id=42e01f;packetization-mode=1",
        "m=message 2855 TCP/MSRP *",
        "a=setup:passive",
        "a=accept-types:message/cpim",
    ] {
        assert!(
            answer.contains(&format!("{line}\r\n")),
            "{line} in {answer}"
        );
    }
    assert!(!answer.contains("18"), "{answer}");
    assert_eq!(media.used().0, 0b111);
}

/// A build has it with the feature of that name.
fn has_amr() -> bool {
    let amr = dataplane::api::AudioCodec::AmrNb {
        octet_aligned: false,
        mode: 7,
    };
    amr.is_available()
}

#[test]
fn amr_is_answered_as_it_was_offered_where_the_relay_has_it() {
    let (rooms, mut media, answer) = begun(
        "m=audio 4000 RTP/AVP 100 101 102 103 8\r\na=rtpmap:100 AMR-WB/16000\r\n\
         a=fmtp:100 mode-set=0,1,2,8;octet-align=1\r\na=rtpmap:101 AMR/8000/1\r\n\
         a=rtpmap:102 AMR/8000\r\na=fmtp:102 crc=1\r\na=rtpmap:103 AMR-WB/16000/2\r\n",
    );
    let connects = media.reconnect(&rooms, (MemberId(1), ALL));
    let Some(Act::ConnectMember { formats, .. }) = connects.first() else {
        panic!("{connects:?}")
    };
    let formats = &formats.audio;
    if !has_amr() {
        assert!(answer.contains("RTP/AVP 8\r\n"), "{answer}");
        assert_eq!(formats.len(), 1);
        return;
    }
    assert!(answer.contains("RTP/AVP 100 101 8\r\n"), "{answer}");
    assert!(answer.contains("a=fmtp:100 mode-set=0,1,2,8;octet-align=1\r\n"));
    let codecs: Vec<_> = formats.iter().map(|format| format.codec).collect();
    let wide = dataplane::api::AudioCodec::AmrWb {
        octet_aligned: true,
        mode: 2,
    };
    let narrow = dataplane::api::AudioCodec::AmrNb {
        octet_aligned: false,
        mode: 7,
    };
    assert_eq!(codecs[..2], [wide, narrow]);
}

#[test]
fn comfort_noise_is_answered_to_who_names_it_beside_g711() {
    for (offered, answered) in [
        ("RTP/AVP 8 13", Some("RTP/AVP 8 13")),
        ("RTP/AVP 9 13", None),
        ("RTP/AVP 8", None),
        (
            "RTP/AVP 9 0 98\r\na=rtpmap:98 CN/8000",
            Some("RTP/AVP 9 0 98"),
        ),
        ("RTP/AVP 8 13\r\na=rtpmap:13 other/8000", None),
    ] {
        let (_, _, answer) = begun(&format!("m=audio 4000 {offered}\r\n"));
        let says_so = answer.contains(" CN/8000\r\n");
        assert_eq!(says_so, answered.is_some(), "{offered}: {answer}");
        let line = answered.unwrap_or("m=audio");
        assert!(answer.contains(line), "{offered}: {answer}");
    }
}

#[test]
fn another_participant_is_offered_the_same_rooms_and_its_answer_tells_the_worker() {
    let (mut rooms, _, _) = begun(THREE);
    let b = MemberId(2);
    let mut media = MemberMedia::new(&rooms, Trunk::default(), (2, 2));
    let mut draft = media.draft_offer(&rooms, rooms.all());
    assert!(media.offer(&rooms, &draft, ALL).is_none(), "not bound yet");
    bind(&mut draft, b);
    let offer = media.offer(&rooms, &draft, ALL).unwrap();
    let offer = String::from_utf8(offer.to_vec()).unwrap();
    assert!(
        offer.contains(if has_amr() {
            "m=audio 30000 RTP/AVP 96 97 9 98 8 0 13 101\r\n"
        } else {
            "m=audio 30000 RTP/AVP 96 9 8 0 13 101\r\n"
        }),
        "{offer}"
    );
    assert!(offer.contains("a=setup:actpass"), "{offer}");
    let answer = sdp(
        "m=audio 5000 RTP/AVP 96\r\na=rtpmap:96 opus/48000/2\r\na=sendonly\r\n\
        m=video 5010 RTP/AVP 100\r\na=rtpmap:100 VP8/90000\r\n\
        m=message 0 TCP/MSRP *\r\n",
    );
    let settled = media
        .settle(&rooms, draft, answer.as_bytes(), (b, ALL))
        .unwrap();
    assert_eq!(settled.leaves.0, 0b100);
    assert_eq!(settled.connects.len(), 2);
    let Act::ConnectMember { direction, .. } = &settled.connects[0] else {
        panic!("{settled:?}");
    };
    assert!(direction.may_send && !direction.may_receive);
    let Act::ConnectMember { formats, .. } = &settled.connects[1] else {
        panic!("{settled:?}");
    };
    assert_eq!(
        (formats.payloads[0].payload_type, formats.payloads[0].format),
        (100, 1)
    );
    rooms.narrow(&media);
    let c = MemberMedia::new(&rooms, Trunk::default(), (3, 3));
    let h264 = sdp("m=video 6000 RTP/AVP 97\r\na=rtpmap:97 H264/90000\r\n");
    let h264 = c.read(h264.as_bytes()).unwrap();
    assert_eq!(rooms.matching(&h264, 0, StreamSet::default()), None);
}

#[test]
fn one_who_sends_alone_is_answered_recvonly_and_the_others_are_offered_sendonly() {
    let (rooms, _, _) = begun("m=audio 4000 RTP/AVP 0\r\na=sendonly\r\n");
    let room = rooms.iter().next().unwrap();
    assert_eq!(room.plan, RoomKind::Forward);
    let mut media = MemberMedia::new(&rooms, Trunk::default(), (2, 2));
    let mut draft = media.draft_offer(&rooms, rooms.all());
    bind(&mut draft, MemberId(2));
    let flow = room.flow_of(MemberId(2));
    let rights = Rights {
        sends: if flow.sends {
            rooms.all()
        } else {
            StreamSet::default()
        },
        receives: if flow.receives {
            rooms.all()
        } else {
            StreamSet::default()
        },
    };
    let offer = media.offer(&rooms, &draft, rights).unwrap();
    assert!(String::from_utf8_lossy(&offer).contains("a=sendonly"));
}

#[test]
fn omd_07_a_stream_with_no_codec_that_is_known_is_not_supported() {
    let rooms = Rooms::new(settings(), Vec::new());
    let media = MemberMedia::new(&rooms, Trunk::default(), (1, 1));
    let unknown =
        sdp("m=audio 4000 RTP/AVP 18\r\nm=audio 4000 RTP/SAVP 0\r\nm=application 9 UDP/X y\r\n");
    let offer = media.read(unknown.as_bytes()).unwrap();
    assert!(offer.lines().iter().all(|line| !line.is_supported));
    let nonsense: Result<Offer, Refused> = media.read(b"nonsense");
    assert_eq!(nonsense.unwrap_err().code, 488);
}

#[test]
fn the_floors_of_a_session_are_offered_with_what_they_govern() {
    let mut rooms = Rooms::new(settings(), Vec::new());
    let media = MemberMedia::new(&rooms, Trunk::default(), (1, 1));
    let lines = "m=audio 4000 RTP/AVP 0\r\nm=application 9 TCP/BFCP *\r\na=setup:active\r\n\
        a=connection:new\r\na=floorctrl:c-only\r\n";
    let offer = media.read(sdp(lines).as_bytes()).unwrap();
    let audio = rooms
        .open(&offer, 0, MemberId(1), Some(FloorId(1)))
        .unwrap();
    let floors = rooms.open_floors(77, vec![rule()], offer.floor_control());
    let floors = floors.unwrap();
    assert_eq!(
        rooms.matching(&offer, 1, StreamSet::default()),
        Some(floors)
    );
    let draft = media.draft_answer(&rooms, &offer, &[Some(audio), Some(floors)]);
    let joins = draft.joins(MemberId(1), "<sip:x@y>");
    assert!(joins.iter().any(|act| matches!(
        act,
        Act::Join(plan) if matches!(plan.leg, dataplane::api::LegSpec::Bfcp(spec) if spec.user == 1)
    )));
    let mut media = MemberMedia::new(&rooms, Trunk::default(), (5, 2));
    let mut draft = media.draft_offer(&rooms, rooms.all());
    bind(&mut draft, MemberId(5));
    let offer = media.offer(&rooms, &draft, ALL).unwrap();
    let offer = String::from_utf8(offer.to_vec()).unwrap();
    for line in [
        "a=label:10",
        "m=application 30010 TCP/BFCP *",
        "a=setup:actpass",
        "a=floorctrl:s-only",
        "a=confid:77",
        "a=userid:5",
        "a=floorid:1 mstrm:10",
        "a=bfcpver:1",
    ] {
        assert!(offer.contains(&format!("{line}\r\n")), "{line} in {offer}");
    }
    let answer =
        sdp("m=audio 5000 RTP/AVP 0\r\nm=application 5002 TCP/BFCP *\r\na=setup:passive\r\n");
    let settled = media.settle(&rooms, draft, answer.as_bytes(), (MemberId(5), ALL));
    let connects = settled.unwrap().connects;
    assert!(connects.iter().any(|act| matches!(
        act,
        Act::ConnectMember { remote: dataplane::api::Remote::Bfcp(remote), .. }
            if remote.address.port() == 5002
    )));
}

#[test]
fn floors_over_tls_are_held_to_their_certificates_and_offered_over_tls() {
    let line = "m=application 9 TCP/TLS/BFCP *\r\na=setup:active\r\na=connection:new\r\n\
        a=floorctrl:c-only\r\n";
    let certificate = format!("a=fingerprint:SHA-256 {}\r\n", ["AB"; 32].join(":"));
    let lines = format!("m=audio 4000 RTP/AVP 0\r\n{line}{certificate}");
    let none = Rooms::new(settings(), Vec::new());
    let without = MemberMedia::new(&none, Trunk::default(), (1, 1));
    let offer = without.read(sdp(&lines).as_bytes()).unwrap();
    assert!(
        !offer.lines()[1].is_supported,
        "the relay has no certificate"
    );

    let mut own = settings();
    let msrp = Msrp {
        fingerprint: Some([7; 32]),
        ..Msrp::default()
    };
    Arc::get_mut(&mut own).unwrap().msrp = msrp;
    let mut rooms = Rooms::new(own, Vec::new());
    let mut media = MemberMedia::new(&rooms, Trunk::default(), (1, 1));
    let offer = media.read(sdp(&lines).as_bytes()).unwrap();
    let audio = rooms.open(&offer, 0, MemberId(1), Some(FloorId(1)));
    let floors = rooms.open_floors(77, vec![rule()], offer.floor_control());
    let mut draft = media.draft_answer(&rooms, &offer, &[audio, floors]);
    let tls = |draft: &Draft, member| {
        let joins = draft.joins(MemberId(member), "<sip:x@y>");
        let mut specs = joins.iter().filter_map(|act| match act {
            Act::Join(plan) => Some(&plan.leg),
            _ => None,
        });
        specs.find_map(|leg| match leg {
            dataplane::api::LegSpec::Bfcp(spec) => Some((spec.transport, spec.is_offerer)),
            _ => None,
        })
    };
    assert_eq!(tls(&draft, 1), Some((BfcpTransport::Tls, false)));
    bind(&mut draft, MemberId(1));
    let connects = draft.connects(&rooms, MemberId(1), ALL);
    assert!(connects.iter().any(|act| matches!(
        act,
        Act::ConnectMember { remote: dataplane::api::Remote::Bfcp(remote), .. }
            if remote.fingerprint == Some([0xab; 32])
    )));
    let answer = media.answer(&rooms, draft, ALL).unwrap();
    let answer = String::from_utf8(answer.to_vec()).unwrap();
    assert!(answer.contains("TCP/TLS/BFCP *\r\n") && answer.contains("a=fingerprint:"));

    let other = MemberMedia::new(&rooms, Trunk::default(), (2, 2));
    let draft = other.draft_offer(&rooms, rooms.all());
    assert_eq!(tls(&draft, 2), Some((BfcpTransport::Tls, true)));
}

fn rule() -> FloorRule {
    FloorRule {
        floor: FloorId(1),
        chair: None,
        holders: 1,
        silence_ms: 0,
        held_max_ms: 0,
    }
}
