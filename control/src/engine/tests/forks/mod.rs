//! Several devices of the invited user: who is invited, who is heard, who wins (004, CON-09).

use std::sync::Arc;

mod choice;
mod races;

use super::*;
use crate::cpm::forking::Without;
use crate::cpm::policy::ForkMode;
use crate::engine::{Registration, SubscribeWhen};

const CHAT: &str = "v=0\r\no=a 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=message 4000 TCP/MSRP *\r\na=accept-types:message/cpim\r\na=path:msrp://127.0.0.1:4000/chat;tcp\r\na=setup:active\r\n";

/// A PF-T that learns of devices.
pub(super) fn knowing(change: impl FnOnce(&mut Settings)) -> Bench {
    Bench::new(|settings| {
        settings.role = Role::Terminating;
        settings.registration = Some(knowledge());
        change(settings);
    })
}

pub(super) fn knowledge() -> Registration {
    Registration {
        trusted: Vec::new(),
        subscribe_when: SubscribeWhen::ThirdPartyRegister,
        users: Vec::new(),
        expires: Duration::from_secs(3600),
        retry: Duration::from_secs(5),
        retry_max: Duration::from_secs(600),
        users_max: 1000,
        without_gruu: Without::AcceptContact,
    }
}

fn knowing_in(mode: ForkMode) -> Bench {
    knowing(|settings| for_all(settings, |policy| policy.fork = mode))
}

/// The same, with devices: their instances and their feature tags.
pub(super) fn known(devices: &[(&str, &str)]) -> Bench {
    known_in(ForkMode::Core, devices)
}

fn known_in(mode: ForkMode, devices: &[(&str, &str)]) -> Bench {
    let mut bench = knowing_in(mode);
    for (instance, tags) in devices {
        register(&mut bench, instance, tags, 100_000);
        let subscribe = std::mem::take(&mut bench.subscribe);
        if !subscribe.is_empty() {
            bench.give(b(), &answer(&subscribe, 403, "Forbidden", ""));
        }
    }
    bench
}

fn three(mode: ForkMode) -> Bench {
    known_in(mode, &[("B1", "audio"), ("B2", "audio"), ("B3", "video")])
}

/// An INVITE to the user whose devices they are.
pub(super) fn invite_bob(branch: &str, sdp: &str) -> String {
    invite(branch, sdp)
}

/// The same from a Controlling Function (C.1.2.3): to a member of a group.
fn invite_member(branch: &str, sdp: &str) -> String {
    let focus = CONTACT_A.replace(">\r\n", ">;isfocus\r\n");
    invite(branch, sdp).replace(CONTACT_A, &focus)
}

/// The core tells that a device has registered.
pub(super) fn register(
    bench: &mut Bench,
    instance: &str,
    tags: &str,
    expires_s: u32,
) -> Vec<(SocketAddr, String)> {
    let is_short = instance.chars().all(char::is_alphanumeric);
    let urn = if is_short { "urn:uuid:" } else { "" };
    let own = format!(
        "REGISTER sip:127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK-own\r\nMax-Forwards: 70\r\n\
         From: <sip:b@127.0.0.1>;tag=own\r\nTo: <sip:b@127.0.0.1>\r\nCall-ID: own\r\nCSeq: 1 REGISTER\r\n\
         Contact: <sip:b@192.0.2.1:5060>;+sip.instance=\"<{urn}{instance}>\";{tags}\r\nContent-Length: 0\r\n\r\n"
    );
    let body = format!("--b1\r\nContent-Type: message/sip\r\n\r\n{own}\r\n--b1--\r\n");
    register_with(bench, "multipart/mixed;boundary=b1", expires_s, &body, "")
}

/// The core tells of a registration of the user, or another one.
pub(super) fn register_with(
    bench: &mut Bench,
    content_type: &str,
    expires_s: u32,
    body: &str,
    aor: &str,
) -> Vec<(SocketAddr, String)> {
    bench.told += 1;
    let n = bench.told;
    let aor = if aor.is_empty() {
        "sip:b@127.0.0.1"
    } else {
        aor
    };
    let kind = if content_type.is_empty() {
        String::new()
    } else {
        format!("Content-Type: {content_type}\r\n")
    };
    let text = format!(
        "REGISTER sip:127.0.0.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5002;branch=z9hG4bK-t{n}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:scscf.home>;tag=s\r\nTo: <{aor}>\r\nCall-ID: t{n}\r\nCSeq: 1 REGISTER\r\n\
         Contact: <sip:127.0.0.1:5002>\r\nExpires: {expires_s}\r\n{kind}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let sent = bench.give(b(), &text);
    let subscribe = sent.iter().find(|(_, text)| text.starts_with("SUBSCRIBE"));
    if let Some((_, subscribe)) = subscribe {
        bench.subscribe = subscribe.clone();
    }
    sent
}

/// The core as notifier of a subscription.
pub(super) struct Notifier {
    pub from: String,
    pub state: String,
    pub event: String,
    to: String,
    call_id: String,
    seq: u32,
}

impl Notifier {
    pub(super) fn of(subscribe: &str) -> Self {
        Self {
            from: format!("{};tag=core", header(subscribe, "To")),
            state: "active;expires=3600".to_owned(),
            event: "reg".to_owned(),
            to: header(subscribe, "From").to_owned(),
            call_id: header(subscribe, "Call-ID").to_owned(),
            seq: 0,
        }
    }

    pub(super) fn accept(&self, bench: &mut Bench, subscribe: &str) {
        let ok = with(&answer(subscribe, 200, "OK", ""), "Expires: 3600\r\n");
        bench.give(b(), &ok.replace("tag=b\r\n", "tag=core\r\n"));
    }

    pub(super) fn notify(&mut self, bench: &mut Bench, body: &str) -> Vec<(SocketAddr, String)> {
        self.seq += 1;
        let kind = if body.is_empty() {
            ""
        } else {
            "Content-Type: application/reginfo+xml\r\n"
        };
        let text = format!(
            "NOTIFY sip:127.0.0.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5002;branch=z9hG4bK-n{}\r\n\
             Max-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {} NOTIFY\r\n{CONTACT_B}\
             Event: {}\r\nSubscription-State: {}\r\n{kind}Content-Length: {}\r\n\r\n{body}",
            self.seq,
            self.from,
            self.to,
            self.call_id,
            self.seq,
            self.event,
            self.state,
            body.len()
        );
        bench.give(b(), &text)
    }

    /// The devices that the relay knows.
    pub(super) fn devices(&self, bench: &Bench) -> Vec<String> {
        let devices = &bench.engine.registrar.devices;
        let user = devices.find("sip:b@127.0.0.1");
        let devices = user
            .into_iter()
            .flat_map(|user| devices.of(user, bench.now));
        devices
            .filter_map(|device| device.instance.clone())
            .collect()
    }
}

/// A user with the device B1 whose subscription was accepted.
pub(super) fn subscribed() -> (Bench, Notifier) {
    let mut bench = knowing(|_| {});
    register(&mut bench, "B1", "audio", 100_000);
    let subscribe = bench.subscribe.clone();
    let notifier = Notifier::of(&subscribe);
    notifier.accept(&mut bench, &subscribe);
    (bench, notifier)
}

/// A reginfo document: contacts' ids, instances and states.
pub(super) fn reginfo(version: u32, state: &str, contacts: &[(&str, &str, &str)]) -> String {
    let contacts: String = contacts
        .iter()
        .map(|(id, instance, state)| {
            format!(
                "<contact id=\"{id}\" state=\"{state}\" event=\"registered\" expires=\"90000\">\
                 <uri>sip:b@192.0.2.{id}</uri><unknown-param name=\"+sip.instance\">\
                 \"&lt;urn:uuid:{instance}&gt;\"</unknown-param>\
                 <unknown-param name=\"audio\"/></contact>"
            )
        })
        .collect();
    let is_active = contacts.contains("\"active\"");
    let registered = if is_active || state == "partial" {
        "active"
    } else {
        "terminated"
    };
    format!(
        "<?xml version=\"1.0\"?><reginfo xmlns=\"urn:ietf:params:xml:ns:reginfo\" version=\"{version}\" \
         state=\"{state}\"><registration aor=\"sip:b@127.0.0.1\" id=\"r1\" state=\"{registered}\">{contacts}\
         </registration></reginfo>"
    )
}

/// All values of a header.
pub(super) fn responses(message: &str, name: &str) -> Vec<String> {
    let start = format!("{name}: ");
    let lines = message.split("\r\n\r\n").next().unwrap().split("\r\n");
    lines
        .filter_map(|line| line.strip_prefix(start.as_str()))
        .map(str::to_owned)
        .collect()
}

/// The requests of a method that were sent to the core.
fn requests(sent: &[(SocketAddr, String)], method: &str) -> Vec<String> {
    let start = format!("{method} ");
    sent.iter()
        .filter(|(to, text)| *to == b() && text.starts_with(&start))
        .map(|(_, text)| text.clone())
        .collect()
}

/// What the caller was told, without 100.
fn told(sent: &[(SocketAddr, String)]) -> Vec<String> {
    sent.iter()
        .filter(|(to, text)| *to == a() && !text.starts_with("SIP/2.0 100"))
        .map(|(_, text)| text[8..11].to_owned())
        .collect()
}

/// Another fork's response to the same INVITE, as the core passes it on.
fn of_fork(response: &str, fork: &str) -> String {
    response.replace("tag=b\r\n", &format!("tag={fork}\r\n"))
}

/// The INVITEs that the devices B1 and B2 get: their own, or the one that the core forks.
fn invited(mode: ForkMode, sent: &[(SocketAddr, String)]) -> [String; 2] {
    let invites = requests(sent, "INVITE");
    match (mode, &invites[..]) {
        (ForkMode::Core, [one]) => [one.clone(), one.clone()],
        (ForkMode::Pf, [one, two]) => [one.clone(), two.clone()],
        _ => panic!("{invites:#?}"),
    }
}

/// What B1 and B2 answer.
fn says(invites: &[String; 2], device: usize, code: u16, sdp: &str) -> String {
    of_fork(
        &answer(&invites[device], code, "Any", sdp),
        &format!("b{}", device + 1),
    )
}

type Invites = fn(&str, &str) -> String;
const MODES: [ForkMode; 2] = [ForkMode::Core, ForkMode::Pf];

fn the_devices_that_can_not_have_it_are_left_out(invite: Invites) {
    let devices = [("B1", "message"), ("B2", "+g.oma.sip-im"), ("B3", "audio")];
    let mut bench = known_in(ForkMode::Core, &devices);
    let sent = bench.give(a(), &invite("1", CHAT));
    let one = only(&sent, b());
    assert_eq!(
        responses(&one, "Reject-Contact"),
        ["*;+sip.instance=\"<urn:uuid:B3>\""],
        "{one}"
    );
    let mut bench = known_in(ForkMode::Pf, &devices);
    let invites = requests(&bench.give(a(), &invite("1", CHAT)), "INVITE");
    let accepted: Vec<_> = invites
        .iter()
        .flat_map(|invite| responses(invite, "Accept-Contact"))
        .collect();
    let only_for = |instance| format!("*;+sip.instance=\"<urn:uuid:{instance}>\";require;explicit");
    assert_eq!(accepted, [only_for("B1"), only_for("B2")]);
}

#[test]
fn frk_01_devices_that_can_not_have_the_streams_are_not_invited() {
    the_devices_that_can_not_have_it_are_left_out(invite_member);
}

#[test]
fn frk_01_a_user_may_keep_a_device_out() {
    for mode in MODES {
        let mut bench = known_in(mode, &[("B1", "audio"), ("B2", "audio")]);
        let mut policy = bench.engine.settings.policies.everybody().clone();
        policy.excluded_devices = vec!["<urn:uuid:b2>".to_owned()];
        bench.engine.set_policies(Policies::new(policy).into());
        let invite = only(&bench.give(a(), &invite_bob("1", OFFER)), b());
        assert_eq!(
            invite.contains("<urn:uuid:B2>"),
            mode == ForkMode::Core,
            "{invite}"
        );
    }
}

#[test]
fn frk_02_each_device_that_is_left_out_is_named() {
    let devices = [
        ("B1", "audio"),
        ("B2", "video"),
        ("B3", "message"),
        ("B4", ""),
    ];
    let mut bench = known(&devices);
    let invite = only(&bench.give(a(), &invite_member("1", OFFER)), b());
    let expected = ["B2", "B3"].map(|b| format!("*;+sip.instance=\"<urn:uuid:{b}>\""));
    assert_eq!(responses(&invite, "Reject-Contact"), expected, "{invite}");
    assert!(
        invite.starts_with("INVITE sip:b@127.0.0.1:5002 SIP/2.0"),
        "{invite}"
    );
}

/// What a core does with an INVITE (RFC 3841 §7.2.4): which of the devices get it.
fn routed(invite: &str, devices: &[&'static str], honours_reject: bool) -> Vec<&'static str> {
    let rejected = responses(invite, "Reject-Contact");
    let required = responses(invite, "Accept-Contact");
    let names = |values: &[String], device: &str| {
        let name = format!("<urn:uuid:{device}>");
        values.iter().any(|value| value.contains(&name))
    };
    let devices = devices.iter().copied();
    devices
        .filter(|device| !(honours_reject && names(&rejected, device)))
        .filter(|device| {
            !required
                .iter()
                .any(|value| value.ends_with("require;explicit"))
                || names(&required, device)
        })
        .collect()
}

#[test]
fn frk_03_a_core_routes_to_all_devices_but_those_left_out() {
    let devices = ["B1", "B2", "B3"];
    let mut bench = three(ForkMode::Core);
    let invite = only(&bench.give(a(), &invite_member("1", OFFER)), b());
    assert_eq!(routed(&invite, &devices, true), ["B1", "B2"]);
    assert_eq!(routed(&invite, &devices, false), devices);
    // With INVITEs of their own no core has to honour anything but Accept-Contact.
    let mut bench = three(ForkMode::Pf);
    let invites = requests(&bench.give(a(), &invite_member("1", OFFER)), "INVITE");
    let routed: Vec<_> = invites
        .iter()
        .flat_map(|invite| routed(invite, &devices, false))
        .collect();
    assert_eq!(routed, ["B1", "B2"]);
}

fn the_first_ringing_is_heard(invite: Invites, mode: ForkMode) {
    let mut bench = three(mode);
    let invites = invited(mode, &bench.give(a(), &invite("1", OFFER)));
    assert_eq!(told(&bench.give(b(), &says(&invites, 0, 180, ""))), ["180"]);
}

fn later_ringing_is_not_heard(invite: Invites, mode: ForkMode) {
    let mut bench = three(mode);
    let invites = invited(mode, &bench.give(a(), &invite("1", OFFER)));
    bench.give(b(), &says(&invites, 0, 180, ""));
    for device in [1, 0, 1] {
        let sent = bench.give(b(), &says(&invites, device, 180, ""));
        assert!(sent.is_empty(), "{sent:?}");
    }
}

#[test]
fn frk_04_the_first_ringing_is_forwarded() {
    for mode in MODES {
        the_first_ringing_is_heard(invite_member, mode);
    }
}

#[test]
fn frk_05_later_ringing_is_not() {
    for mode in MODES {
        later_ringing_is_not_heard(invite_member, mode);
    }
}

fn the_first_answer_is_forwarded(invite: Invites, mode: ForkMode) {
    let mut bench = three(mode);
    let invites = invited(mode, &bench.give(a(), &invite("1", OFFER)));
    bench.give(b(), &says(&invites, 0, 180, ""));
    bench.give(b(), &says(&invites, 1, 180, ""));
    let sent = bench.give(b(), &says(&invites, 1, 200, ANSWER));
    assert_eq!(told(&sent), ["200"], "{sent:?}");
    let ack = &requests(&sent, "ACK")[0];
    assert_eq!(header(ack, "Call-ID"), header(&invites[1], "Call-ID"));
    assert_eq!(tag_of(ack, "To"), "b2");
    // The call is that device's: a BYE of the caller reaches it.
    let to_a = only(&sent, a());
    bench.give(a(), &in_dialog_of_a("ACK", 1, &to_a, "", ""));
    let sent = bench.give(a(), &in_dialog_of_a("BYE", 2, &to_a, "", ""));
    let bye = &requests(&sent, "BYE")[0];
    assert_eq!(header(bye, "Call-ID"), header(&invites[1], "Call-ID"));
    bench.give(b(), &answer(bye, 200, "OK", ""));
    bench.assert_nothing_left();
}

#[test]
fn frk_06_the_first_answer_is_forwarded() {
    for mode in MODES {
        the_first_answer_is_forwarded(invite_member, mode);
    }
}

/// Both ring, B1 answers; gives what was sent then.
fn answered(bench: &mut Bench, invite: Invites) -> ([String; 2], Vec<(SocketAddr, String)>) {
    let invites = invited(ForkMode::Pf, &bench.give(a(), &invite("1", OFFER)));
    bench.give(b(), &says(&invites, 0, 180, ""));
    bench.give(b(), &says(&invites, 1, 180, ""));
    let sent = bench.give(b(), &says(&invites, 0, 200, ANSWER));
    (invites, sent)
}

fn the_others_are_cancelled(invite: Invites) {
    let mut bench = three(ForkMode::Pf);
    let (invites, sent) = answered(&mut bench, invite);
    let [cancel] = &requests(&sent, "CANCEL")[..] else {
        panic!("{sent:?}")
    };
    assert_eq!(header(cancel, "Call-ID"), header(&invites[1], "Call-ID"));
    assert_eq!(
        header(cancel, "Reason"),
        "SIP;cause=200;text=\"Call completed elsewhere\""
    );
}

#[test]
fn frk_07_the_others_are_cancelled_with_the_reason() {
    the_others_are_cancelled(invite_member);
    // One of which nothing was heard yet gets its CANCEL when it may (RFC 3261 §9.1).
    let mut bench = three(ForkMode::Pf);
    let invites = invited(ForkMode::Pf, &bench.give(a(), &invite_member("1", OFFER)));
    let sent = bench.give(b(), &says(&invites, 0, 200, ANSWER));
    assert!(requests(&sent, "CANCEL").is_empty(), "{sent:?}");
    let sent = bench.give(b(), &says(&invites, 1, 180, ""));
    assert_eq!(requests(&sent, "CANCEL").len(), 1, "{sent:?}");
    assert!(told(&sent).is_empty(), "{sent:?}");
}

fn a_confirmed_cancel_leaves_nothing(invite: Invites) {
    let mut bench = three(ForkMode::Pf);
    let (invites, sent) = answered(&mut bench, invite);
    let to_a = only(&sent, a());
    bench.give(a(), &in_dialog_of_a("ACK", 1, &to_a, "", ""));
    let cancel = requests(&sent, "CANCEL").remove(0);
    bench.give(b(), &answer(&cancel, 200, "OK", ""));
    let sent = bench.give(b(), &says(&invites, 1, 487, ""));
    let [ack] = &requests(&sent, "ACK")[..] else {
        panic!("{sent:?}")
    };
    assert_eq!(header(ack, "Call-ID"), header(&invites[1], "Call-ID"));
    assert!(told(&sent).is_empty(), "{sent:?}");
    bench.wait(Duration::from_secs(40));
    // The transactions of the devices that lost are gone: the session's own two dialogs are left.
    let census = bench.engine.census();
    assert_eq!((census.dialogs, census.transactions), (2, 0), "{census:?}");
    end(&mut bench, &to_a, 2);
}

#[test]
fn frk_08_a_confirmed_cancellation_is_acknowledged_and_nothing_is_left() {
    a_confirmed_cancel_leaves_nothing(invite_member);
}

fn a_late_answer_is_ended(invite: Invites, mode: ForkMode) {
    let mut bench = three(mode);
    let invites = invited(mode, &bench.give(a(), &invite("1", OFFER)));
    bench.give(b(), &says(&invites, 0, 180, ""));
    bench.give(b(), &says(&invites, 1, 180, ""));
    let sent = bench.give(b(), &says(&invites, 0, 200, ANSWER));
    let to_a = only(&sent, a());
    bench.give(a(), &in_dialog_of_a("ACK", 1, &to_a, "", ""));
    let acts = bench.acts.clone();
    let late = ANSWER.replace("m=audio 5000", "m=audio 6000");
    let sent = bench.give(b(), &says(&invites, 1, 200, &late));
    assert!(told(&sent).is_empty(), "{sent:?}");
    let (acks, byes) = (requests(&sent, "ACK"), requests(&sent, "BYE"));
    assert_eq!((acks.len(), byes.len()), (1, 1), "{sent:?}");
    for request in acks.iter().chain(&byes) {
        assert_eq!(header(request, "Call-ID"), header(&invites[1], "Call-ID"));
        assert_eq!(tag_of(request, "To"), "b2");
    }
    bench.give(b(), &answer(&byes[0], 200, "OK", ""));
    // The data plane has one stream, and nothing was changed in it.
    assert_eq!((bench.open(), &bench.acts), (1, &acts));
    assert!(
        !bench.acts.iter().any(|act| act.contains("6000")),
        "{acts:?}"
    );
    assert_eq!(bench.acts.iter().filter(|act| *act == "open").count(), 1);
    end(&mut bench, &to_a, 2);
}

#[test]
fn frk_09_an_answer_that_crosses_the_cancel_is_ended() {
    for mode in MODES {
        a_late_answer_is_ended(invite_member, mode);
    }
}

#[test]
fn frk_11_a_session_of_two_is_no_different() {
    let one_to_one: Invites = invite_bob;
    the_devices_that_can_not_have_it_are_left_out(one_to_one);
    for mode in MODES {
        the_first_ringing_is_heard(one_to_one, mode);
        later_ringing_is_not_heard(one_to_one, mode);
        the_first_answer_is_forwarded(one_to_one, mode);
        a_late_answer_is_ended(one_to_one, mode);
    }
    the_others_are_cancelled(one_to_one);
    a_confirmed_cancel_leaves_nothing(one_to_one);
}

#[test]
fn frk_11_several_devices_are_a_reason_to_stay_and_one_is_none() {
    let mut bench = knowing(|settings| for_all(settings, |policy| policy.stay = Stay::default()));
    register(&mut bench, "B1", "audio", 600);
    let sent = bench.give(a(), &invite_bob("1", OFFER));
    assert!(only(&sent, b()).contains("Record-Route"), "{sent:?}");
    register(&mut bench, "B2", "audio", 600);
    let sent = bench.give(a(), &invite_bob("2", OFFER).replace("call-a", "call-2"));
    let invite = only(&sent, b());
    assert!(
        invite.starts_with("INVITE") && !invite.contains("Record-Route"),
        "{invite}"
    );
}

#[test]
fn frk_07_a_caller_who_gives_up_cancels_all() {
    let mut bench = three(ForkMode::Pf);
    let invites = invited(ForkMode::Pf, &bench.give(a(), &invite_member("1", OFFER)));
    bench.give(b(), &says(&invites, 0, 180, ""));
    bench.give(b(), &says(&invites, 1, 180, ""));
    let sent = bench.give(a(), &invite_member("1", "").replace("INVITE", "CANCEL"));
    let cancels = requests(&sent, "CANCEL");
    assert_eq!(cancels.len(), 2, "{sent:?}");
    bench.give(a(), &ack_of_failure());
    bench.give(b(), &answer(&cancels[0], 200, "OK", ""));
    bench.give(b(), &says(&invites, 0, 487, ""));
    // The other one had answered already.
    let sent = bench.give(b(), &says(&invites, 1, 200, ANSWER));
    assert_eq!(requests(&sent, "ACK").len(), 1, "{sent:?}");
    let bye = requests(&sent, "BYE").remove(0);
    bench.give(b(), &answer(&bye, 200, "OK", ""));
    bench.assert_nothing_left();
}

#[test]
fn frk_06_a_bye_of_a_device_whose_answer_was_lost_leaves_the_others_ringing() {
    let mut bench = three(ForkMode::Pf);
    let invites = invited(ForkMode::Pf, &bench.give(a(), &invite_bob("1", OFFER)));
    let bye = in_dialog_of_b("BYE", 1, &invites[0], "", "").replace("tag=b\r\n", "tag=b1\r\n");
    let sent = bench.give(b(), &bye);
    assert!(only(&sent, b()).starts_with("SIP/2.0 200"), "{sent:?}");
    let sent = bench.give(b(), &says(&invites, 0, 200, ANSWER));
    assert!(
        told(&sent).is_empty() && requests(&sent, "BYE").len() == 1,
        "{sent:?}"
    );
    let sent = bench.give(b(), &says(&invites, 1, 200, ANSWER));
    assert_eq!(told(&sent), ["200"], "{sent:?}");
}
