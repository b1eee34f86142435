//! Registration information and third-party REGISTERs of any kind: the device table takes what can
//! be read, and never more than its maximum.

use std::time::{Duration, Instant};

use bytes::Bytes;
use control::cpm::devices::Devices;
use control::cpm::reginfo::RegInfo;
use control::cpm::third_party::{ThirdParty, Told};
use control::limits;
use control::sip::Message;
use rand::RngExt;

use super::campaign::rounds;
use super::seeds::crlf;
use super::spoil::{pick, spoilt};

const REGINFO: &str = r#"<?xml version="1.0"?>
<reginfo xmlns="urn:ietf:params:xml:ns:reginfo" xmlns:gr="urn:ietf:params:xml:ns:gruuinfo" version="1" state="full">
<registration aor="sip:b@home.example" id="a7" state="active">
<contact id="76" state="active" event="registered" expires="3600" q="0.8"><uri>sip:b@192.0.2.1:5060</uri>
<unknown-param name="+sip.instance">"&lt;urn:uuid:B1&gt;"</unknown-param><unknown-param name="audio"/>
<gr:pub-gruu uri="sip:b@home.example;gr=urn:uuid:B1"/></contact>
<contact id="77" state="terminated" event="expired"><uri>sip:b@192.0.2.2</uri></contact>
</registration>
<registration aor="tel:+1555" id="a8" state="active"><contact id="78" state="active"><uri>sip:b@192.0.2.3</uri></contact></registration>
<registration aor="sip:c@home.example" id="a9" state="terminated"/>
</reginfo>"#;

const PARTIAL: &str = r#"<reginfo xmlns="urn:ietf:params:xml:ns:reginfo" version="2" state="partial">
<registration aor="sip:c@home.example" id="a9" state="active">
<contact id="80" state="active" expires="0"><uri>sip:b@192.0.2.4</uri></contact>
<contact id="76" state="terminated"><uri>sip:b@192.0.2.1:5060</uri></contact></registration></reginfo>"#;

const REGISTER: &str = "REGISTER sip:pf.home.example SIP/2.0
    Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK-t
    From: <sip:scscf.home.example>;tag=s
    To: <sip:b@home.example>
    Call-ID: t
    CSeq: 1 REGISTER
    Contact: <sip:scscf.home.example>
    Expires: 600
    Content-Type: multipart/mixed;boundary=b1

    --b1
    Content-Type: message/sip

    REGISTER sip:home.example SIP/2.0
    Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK-o
    From: <sip:b@home.example>;tag=o
    To: <sip:b@home.example>
    Call-ID: o
    CSeq: 1 REGISTER
    Contact: <sip:b@192.0.2.1>;+sip.instance=\"<urn:uuid:B1>\";audio;expires=60, <sip:b@192.0.2.2>;expires=0

    --b1
    Content-Type: message/sip

    SIP/2.0 200 OK
    Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK-o
    From: <sip:b@home.example>;tag=o
    To: <sip:b@home.example>;tag=r
    Call-ID: o
    CSeq: 1 REGISTER
    P-Associated-URI: <sip:b@home.example>, <tel:+1555>
    Contact: <sip:b@192.0.2.1>;+sip.instance=\"<urn:uuid:B1>\";pub-gruu=\"sip:b@home.example;gr=x\"

    --b1--
    ";

const ADDRESSES: [&str; 3] = ["sip:b@home.example", "sip:c@home.example", "tel:+1555"];

#[test]
fn whatever_is_told_of_registrations_the_table_keeps_its_bounds() {
    let begun = Instant::now();
    let documents = [REGINFO.as_bytes().to_vec(), PARTIAL.as_bytes().to_vec()];
    let register = crlf(REGISTER).into_bytes();
    rounds("registration", 400, move |random| {
        let mut devices = Devices::new(2);
        let mut now = begun;
        for _ in 0..30 {
            now += Duration::from_secs(random.random_range(0..600));
            let Some(mut user) = devices.find_or_add(pick::<&str>(random, &ADDRESSES)) else {
                continue;
            };
            if random.random() {
                let one = pick(random, &documents).clone();
                let document = if random.random_ratio(1, 3) {
                    one
                } else {
                    spoilt(random, &one, &documents[0])
                };
                if let Ok(info) = RegInfo::parse(&document) {
                    user = devices.apply(user, &info, now).0;
                }
            } else {
                let text = spoilt(random, &register, &documents[0]);
                let told = Message::parse(Bytes::from(text));
                let told = told.ok().and_then(|message| ThirdParty::of(&message, now));
                match told.map(|told| told.told) {
                    Some(Told::All(all)) => {
                        devices.clear(user);
                        all.into_iter()
                            .for_each(|one| devices.registered(user, one));
                    }
                    Some(Told::Changes { come, gone }) => {
                        for one in &gone {
                            devices.deregistered(user, one);
                        }
                        come.into_iter()
                            .for_each(|one| devices.registered(user, one));
                    }
                    Some(Told::Nothing) | None => {}
                }
            }
            assert!(devices.users() <= 2);
            assert!(devices.of(user, now).count() <= limits::DEVICES_PER_USER);
            for device in devices.of(user, now) {
                let texts = [
                    Some(&device.contact),
                    device.instance.as_ref(),
                    device.gruu.as_ref(),
                ];
                for text in texts.into_iter().flatten() {
                    assert!(!text.contains(['\r', '\n', '<', '>', '"', ' ']), "{text:?}");
                }
            }
            if random.random_ratio(1, 4) && !devices.expire(user, now) {
                devices.remove(user);
                assert!(devices.next_expiry(user).is_none());
            }
        }
    });
}
