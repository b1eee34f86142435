//! The objects, against their text and as an independent reader of MIME sees them.

use mail_parser::{MessageParser, MimeHeaders};

use super::*;
use crate::history::Group;

/// The objects of a session with these records, in the order of their UIDs.
fn objects_of(facts: Facts, records: Vec<Record>) -> Vec<String> {
    let folder = tempdir().unwrap();
    let mut history = open(&settings(folder.path()));
    let session = facts.session;
    history.ask(Ask::Begin(Box::new(facts)));
    feed(&mut history, records);
    feed(&mut history, vec![record(session, RecordPart::Closed)]);
    history.ask(finish(session));
    let uid: u32 = told(&mut history).uid.unwrap().parse().unwrap();
    history.finish();
    let packs = stored(folder.path());
    assert_eq!(packs.len(), 1);
    assert_eq!(packs[0].last, uid, "the last object is the session's own");
    let uids = packs[0].first..=packs[0].last;
    let texts = uids.map(|uid| String::from_utf8(read(&packs[0], uid)).unwrap());
    texts.collect()
}

/// Replaces what is another in each run: the session's key.
fn without_key(text: &str) -> String {
    let (_, rest) = text.split_once("Message-ID: <").unwrap();
    let (key, _) = rest.split_once('.').unwrap();
    text.replace(key, "KEY")
}

const CPIM: &str = "From: <sip:anonymous@anonymous.invalid>\r\n\
    To: <sip:anonymous@anonymous.invalid>\r\nDateTime: 2026-11-21T12:00:07Z\r\n\
    NS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: Szyu23\r\n\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\r\nGrüße";

#[test]
fn hst_01_a_message_that_is_cpim_is_kept_as_it_is() {
    let records = message(7, 0, Side::A, "message/cpim", CPIM.as_bytes());
    let objects = objects_of(facts(7), records);
    assert_eq!(objects.len(), 2);
    let expected = format!(
        "From: tel:+15551\r\nTo: sip:bob@home.example\r\n\
         Date: Sat, 21 Nov 2026 12:00:07 +0000\r\nMessage-ID: <KEY.0@midpath>\r\n\
         Conversation-ID: f81d4fae-7dec\r\nContribution-ID: abcdef-7\r\n\
         Accept-Contact: *;+g.3gpp.icsi-ref=\"x\"\r\nIMDN-Message-ID: Szyu23\r\n\
         Message-Direction: sent\r\nMIME-Version: 1.0\r\nContent-Type: Message/CPIM\r\n\
         Content-Transfer-Encoding: 8bit\r\n\r\n{CPIM}"
    );
    assert_eq!(without_key(&objects[0]), expected);
}

#[test]
fn hst_01_the_session_has_an_object_of_its_own() {
    let mut facts = facts(8);
    facts.sdp = Some("v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=<&>\r\n".into());
    facts.subject = Some("Über uns".to_owned());
    facts.in_reply_to = Some("other".to_owned());
    let objects = objects_of(facts, Vec::new());
    let expected = "From: tel:+15551\r\nTo: sip:bob@home.example\r\n\
        Date: Sat, 21 Nov 2026 12:00:00 +0000\r\nSubject: =?UTF-8?B?w5xiZXIgdW5z?=\r\n\
        Message-ID: <KEY.0@midpath>\r\nConversation-ID: f81d4fae-7dec\r\n\
        Contribution-ID: abcdef-8\r\nInReplyTo-Contribution-ID: other\r\n\
        Accept-Contact: *;+g.3gpp.icsi-ref=\"x\"\r\n\
        P-Asserted-Service: urn:urn-7:3gpp-service.ims.icsi.oma.cpm.session\r\n\
        IMDN-Message-ID: KEY.0@midpath\r\nMessage-Direction: sent\r\n\
        Comments: the session ended Sat, 21 Nov 2026 12:01:00 +0000\r\nMIME-Version: 1.0\r\n\
        Content-Type: application/x-cpm-session; charset=utf-8\r\n\
        Content-Transfer-Encoding: 8bit\r\n\r\n\
        <?xml version=\"1.0\" encoding=\"UTF-8\"?><session><session-type>1-1</session-type>\r\n<sdp>\
        v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=&lt;&amp;&gt;\r\n</sdp><invited-participants>\
        sip:bob@home.example</invited-participants></session>\r\n";
    assert_eq!(without_key(&objects[0]), expected);
    let parsed = MessageParser::new().parse(objects[0].as_bytes()).unwrap();
    assert_eq!(parsed.subject(), Some("Über uns"));
}

#[test]
fn hst_01_other_content_is_wrapped_and_comes_back_unchanged() {
    let long = "x".repeat(2_000);
    for (body, encoding) in [
        ("hello", "8bit"),
        (long.as_str(), "base64"),
        ("a\nb", "base64"),
    ] {
        let records = message(9, 0, Side::B, "text/plain; charset=utf-8", body.as_bytes());
        let objects = objects_of(facts(9), records);
        let field = format!("Content-Transfer-Encoding: {encoding}\r\n");
        assert!(objects[0].contains(&field), "{}", objects[0]);
        assert!(objects[0].contains("Message-Direction: received\r\n"));
        let parsed = MessageParser::new().parse(objects[0].as_bytes()).unwrap();
        let from = parsed.header_raw("From").unwrap().trim();
        assert_eq!(from, "sip:bob@home.example");
        let content = String::from_utf8(parsed.parts[0].contents().to_vec()).unwrap();
        let (head, inner) = content.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with("From: <sip:bob@home.example>\r\nTo: <tel:+15551>\r\n"),
            "{head}"
        );
        let (kind, text) = inner.split_once("\r\n\r\n").unwrap();
        assert_eq!(kind, "Content-Type: text/plain; charset=utf-8");
        assert_eq!(text, body);
    }
}

#[test]
fn hst_01_typing_and_empty_messages_are_no_history() {
    let typing = "application/im-iscomposing+xml";
    let inside =
        "From: <a>\r\nTo: <b>\r\n\r\nContent-Type: application/im-iscomposing+xml\r\n\r\n<x/>";
    let mut records = message(10, 0, Side::A, typing, b"<isComposing/>");
    records.extend(message(10, 1, Side::A, "message/cpim", inside.as_bytes()));
    records.extend(message(10, 2, Side::B, "", b""));
    let objects = objects_of(facts(10), records);
    assert_eq!(objects.len(), 1, "{objects:?}");
    assert!(!objects[0].contains("are not stored"), "{}", objects[0]);
}

#[test]
fn hst_01_a_file_is_kept_with_what_it_is_and_comes_back_unchanged() {
    let sdp = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
        m=message 2855 TCP/MSRP *\r\na=sendonly\r\na=file-transfer-id:vBnG\r\n\
        a=file-selector:name:\"a %22 type:b.jpg\" type:image/jpeg size:600000\r\n";
    let mut facts = facts(11);
    facts.sdp = Some(sdp.into());
    // More than is ever in memory at a time, of every octet there is.
    let bytes: Vec<u8> = (0..600_000_u32)
        .map(|n| u8::try_from(n / 3 % 256).unwrap())
        .collect();
    let records = message(11, 0, Side::A, "image/jpeg", &bytes);
    let objects = objects_of(facts, records);
    let parsed = MessageParser::new().parse(objects[0].as_bytes()).unwrap();
    let kind = parsed.content_type().unwrap();
    assert_eq!(
        (kind.ctype(), kind.subtype()),
        ("multipart", Some("related"))
    );
    assert_eq!(
        kind.attribute("type"),
        Some("Application/X-CPM-File-Transfer")
    );
    assert_eq!(parsed.parts.len(), 3);
    let about = std::str::from_utf8(parsed.parts[1].contents()).unwrap();
    let cid = format!("cid:{}", parsed.parts[2].content_id().unwrap());
    assert!(about.contains(&cid), "{about}");
    assert!(about.contains("a=file-transfer-id:vBnG"), "{about}");
    assert_eq!(parsed.parts[2].attachment_name(), Some("a  type:b.jpg"));
    let kind = parsed.parts[2].content_type().unwrap();
    assert_eq!((kind.ctype(), kind.subtype()), ("image", Some("jpeg")));
    assert_eq!(parsed.parts[2].contents(), bytes);
}

#[test]
fn hst_01_in_a_group_the_message_itself_says_who_wrote_it() {
    let mut facts = facts(12);
    facts.is_sent = false;
    facts.group = Some(group(false));
    let text = CPIM.replacen("sip:anonymous@anonymous.invalid", "tel:+15552", 1);
    let mut records = message(12, 0, Side::A, "message/cpim", text.as_bytes());
    // What the served user has written is the served user's, whatever it says.
    records.extend(message(12, 1, Side::B, "message/cpim", text.as_bytes()));
    let objects = objects_of(facts, records);
    assert!(
        objects[0].starts_with("From: tel:+15552\r\nTo: tel:+15551\r\n"),
        "{}",
        objects[0]
    );
    assert!(objects[0].contains("Message-Direction: received\r\n"));
    assert!(
        objects[1].starts_with("From: tel:+15551\r\n"),
        "{}",
        objects[1]
    );
    assert!(objects[1].contains("Message-Direction: sent\r\n"));
    assert!(objects[3].contains("<session-type>Ad-Hoc</session-type>"));
}

fn group(is_defined: bool) -> Group {
    Group {
        identity: "sip:cpm-session-1@focus".to_owned(),
        is_defined,
        participants: vec!["tel:+15552".to_owned(), "sip:c&d@x".to_owned()],
    }
}

#[test]
fn hst_01_a_group_session_has_an_object_that_says_who_took_part() {
    let mut facts = facts(15);
    facts.group = Some(group(true));
    let objects = objects_of(facts, Vec::new());
    assert_eq!(objects.len(), 2);
    let expected = "From: tel:+15551\r\nTo: sip:bob@home.example\r\n\
        Date: Sat, 21 Nov 2026 12:01:00 +0000\r\nMessage-ID: <KEY.0@midpath>\r\n\
        Conversation-ID: f81d4fae-7dec\r\nContribution-ID: abcdef-15\r\n\
        Accept-Contact: *;+g.3gpp.icsi-ref=\"x\"\r\nIMDN-Message-ID: KEY.0@midpath\r\n\
        Message-Direction: sent\r\nMIME-Version: 1.0\r\n\
        Content-Type: Application/group-state-object+xml\r\n\
        Content-Transfer-Encoding: 8bit\r\n\r\n\
        <?xml version=\"1.0\" encoding=\"UTF-8\"?><groupstate timestamp=\"2026-11-21T12:01:00Z\" \
        lastfocussessionid=\"sip:cpm-session-1@focus\" group-type=\"Closed\">\r\n\
        <participant comm-addr=\"tel:+15552\"/><participant comm-addr=\"sip:c&amp;d@x\"/>\r\n\
        </groupstate>\r\n";
    assert_eq!(without_key(&objects[0]), expected);
    assert!(objects[1].contains("<session-type>Pre-Defined</session-type>"));
}

#[test]
fn hst_01_what_far_ends_write_cannot_add_a_header() {
    let evil = "x\r\nBcc: victim\r\n\r\nbody";
    let mut facts = facts(13);
    for field in [&mut facts.served_user, &mut facts.peer] {
        *field = format!("sip:a@b{evil}");
    }
    for field in [
        &mut facts.conversation_id,
        &mut facts.contribution_id,
        &mut facts.in_reply_to,
        &mut facts.subject,
        &mut facts.service,
    ] {
        *field = Some(evil.to_owned());
    }
    facts.accept_contact = vec![evil.to_owned()];
    facts.sdp = Some(format!("v=0\r\ns=]]>{evil}\0\u{1}").into());
    let records = message(13, 0, Side::A, &format!("text/plain{evil}"), b"hello");
    let objects = objects_of(facts, records);
    for object in objects {
        let (head, _) = object.split_once("\r\n\r\n").unwrap();
        assert!(!head.contains("\r\nBcc"), "{head}");
        assert!(head.lines().all(|line| line.len() < 998), "{head}");
        let parsed = MessageParser::new().parse(object.as_bytes()).unwrap();
        assert!(parsed.header("Bcc").is_none(), "{object}");
        assert!(parsed.header("Content-Type").is_some(), "{object}");
    }
}

#[test]
fn hst_01_a_message_that_is_not_whole_is_left_out_and_said_to_be() {
    let mut records = message(14, 0, Side::A, "text/plain", b"whole");
    let mut half = message(14, 1, Side::A, "text/plain", b"half");
    half.pop();
    half.push(record(
        14,
        RecordPart::End {
            message: 1,
            is_complete: false,
        },
    ));
    records.extend(half);
    let objects = objects_of(facts(14), records);
    assert_eq!(objects.len(), 2);
    assert!(
        objects[1].contains("Comments: 1 or more of this session's messages"),
        "{}",
        objects[1]
    );
}
