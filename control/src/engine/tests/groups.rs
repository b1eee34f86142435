//! What a Participating Function passes on of group sessions that another server hosts, in and
//! outside of dialogs, as proxy and as B2BUA (SGN-11, LVE-02, ADD-02, REM-02, REL-04).
//!
//! A is the served client, B the Controlling Function, or the other way round.

use super::*;

const FOCUS: &str = "sip:cpm-session-77@127.0.0.1:5002";
const LIST: &str = "<resource-lists><list><entry uri=\"sip:d@x\"/></list></resource-lists>";
const OWN_ROUTE: &str = "Route: <sip:127.0.0.1:5060;lr>\r\n";

/// A session through the relay, in either mode.
struct Passed {
    bench: Bench,
    stays: bool,
    to_a: String,
    to_b: String,
    seq: u32,
}

impl Passed {
    fn new(role: Role, stays: bool) -> Self {
        let mut bench = Bench::new(|settings| {
            settings.role = role;
            for_all(settings, |policy| policy.stay.media_charging = stays);
        });
        let (to_b, to_a) = if stays {
            bench.call()
        } else {
            let to_b = only(&bench.give(a(), &invite("1", OFFER)), b());
            let to_a = only(&bench.give(b(), &answer(&to_b, 200, "OK", ANSWER)), a());
            let ack = in_dialog_of_a("ACK", 1, &to_a, OWN_ROUTE, "");
            bench.give(
                a(),
                &ack.replace("sip:127.0.0.1:5060 SIP", "sip:b@127.0.0.1:5002 SIP"),
            );
            (to_b, to_a)
        };
        Self {
            bench,
            stays,
            to_a,
            to_b,
            seq: 1,
        }
    }

    /// A request of A's in the dialog, as B gets it.
    fn by_a(&mut self, method: &str, headers: &str, body: &str) -> String {
        self.seq += 1;
        let text = if self.stays {
            in_dialog_of_a(method, self.seq, &self.to_a, headers, body)
        } else {
            let headers = format!("{OWN_ROUTE}{headers}");
            let text = in_dialog_of_a(method, self.seq, &self.to_a, &headers, body);
            text.replace("sip:127.0.0.1:5060 SIP", "sip:b@127.0.0.1:5002 SIP")
        };
        // What a list is, its own line says.
        let text = match headers.contains("Content-Type") {
            true => text.replacen("Content-Type: application/sdp\r\n", "", 1),
            false => text,
        };
        only(&self.bench.give(a(), &text), b())
    }

    /// A request of B's in the dialog, as A gets it.
    fn by_b(&mut self, method: &str, headers: &str, body: &str) -> String {
        self.seq += 1;
        let to = format!("{};tag=b", header(&self.to_b, "To"));
        let parts = [
            to.as_str(),
            header(&self.to_b, "From"),
            header(&self.to_b, "Call-ID"),
            "127.0.0.1:5002",
        ];
        let route = if self.stays { "" } else { OWN_ROUTE };
        let headers = format!("{route}{headers}");
        let text = in_dialog(method, self.seq, parts, &headers, body);
        let text = match self.stays {
            true => text,
            false => text.replace("sip:127.0.0.1:5060 SIP", "sip:a@127.0.0.1:5001 SIP"),
        };
        only(&self.bench.give(b(), &text), a())
    }

    /// A's answer, as B gets it, or the other way round.
    fn answered(&mut self, from: SocketAddr, request: &str, code: u16) -> String {
        let to = if from == a() { b() } else { a() };
        let contact = if from == a() { CONTACT_A } else { CONTACT_B };
        let text = answer(request, code, "Any", "").replace(CONTACT_B, contact);
        only(&self.bench.give(from, &text), to)
    }

    /// The dialog that a request is in, on its way to B, is the relay's own as B2BUA, else A's.
    fn assert_dialog(&self, request: &str) {
        let is_as = header(request, "Call-ID") == "call-a";
        assert_ne!(is_as, self.stays, "{request}");
    }

    fn end(mut self) {
        let bye = self.by_a("BYE", "", "");
        self.answered(b(), &bye, 200);
        self.bench.assert_nothing_left();
    }
}

/// REFER and its NOTIFYs inside of the dialog.
fn a_referral_passes_in_the_dialog(refer_to: &str) {
    for stays in [false, true] {
        let mut passed = Passed::new(Role::Originating, stays);
        let headers = format!("{CONTACT_A}{refer_to}");
        let refer = passed.by_a("REFER", &headers, "");
        assert!(
            refer.starts_with("REFER ") && refer.contains(refer_to),
            "{refer}"
        );
        passed.assert_dialog(&refer);
        let accepted = passed.answered(b(), &refer, 202);
        assert!(accepted.starts_with("SIP/2.0 202"), "{accepted}");
        let event = format!(
            "{CONTACT_B}Event: refer\r\nSubscription-State: terminated;reason=noresource\r\n\
             Content-Type: message/sipfrag\r\n"
        );
        let notify = passed.by_b("NOTIFY", &event, "");
        assert!(
            notify.contains("Subscription-State: terminated"),
            "{notify}"
        );
        let ok = passed.answered(a(), &notify, 200);
        assert!(ok.starts_with("SIP/2.0 200"), "{ok}");
        passed.end();
    }
}

/// The same outside of any dialog, by the session's identity: it is proxied, whatever the policy
/// says of sessions, and the relay stays in the path of the NOTIFYs that follow.
fn a_referral_passes_by_the_sessions_identity(refer_to: &str) {
    for stays in [false, true] {
        let mut bench = Bench::new(|settings| {
            for_all(settings, |policy| policy.stay.media_charging = stays);
        });
        let refer = format!(
            "REFER {FOCUS} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5001;branch=z9hG4bK-r\r\n\
             Max-Forwards: 70\r\nFrom: <sip:a@x>;tag=r\r\nTo: <{FOCUS}>\r\nCall-ID: refer-a\r\n\
             CSeq: 1 REFER\r\n{CONTACT_A}{refer_to}Content-Type: application/resource-lists+xml\r\n\
             Content-Length: {}\r\n\r\n{LIST}",
            LIST.len()
        );
        let passed = only(&bench.give(a(), &refer), b());
        assert!(passed.starts_with(&format!("REFER {FOCUS} ")), "{passed}");
        assert!(
            passed.contains(refer_to) && passed.ends_with(LIST),
            "{passed}"
        );
        assert_eq!(header(&passed, "Record-Route"), "<sip:127.0.0.1:5060;lr>");
        let accepted = only(&bench.give(b(), &answer(&passed, 202, "Accepted", "")), a());
        assert!(accepted.starts_with("SIP/2.0 202"), "{accepted}");
        let to = format!("{};tag=b", header(&passed, "To"));
        let parts = [to.as_str(), "<sip:a@x>;tag=r", "refer-a", "127.0.0.1:5002"];
        let event = format!("{OWN_ROUTE}Event: refer\r\nSubscription-State: active\r\n");
        let notify = in_dialog("NOTIFY", 1, parts, &event, "")
            .replace("sip:127.0.0.1:5060 SIP", "sip:a@127.0.0.1:5001 SIP");
        let notify = only(&bench.give(b(), &notify), a());
        assert!(
            notify.starts_with("NOTIFY sip:a@127.0.0.1:5001"),
            "{notify}"
        );
        let ok = answer(&notify, 200, "OK", "").replace(CONTACT_B, CONTACT_A);
        assert!(only(&bench.give(a(), &ok), b()).starts_with("SIP/2.0 200"));
        bench.assert_nothing_left();
    }
}

#[test]
fn add_02_a_request_to_add_users_passes_both_modes_in_and_outside_of_dialogs() {
    a_referral_passes_in_the_dialog("Refer-To: <sip:d@x>\r\n");
    a_referral_passes_by_the_sessions_identity(
        "Refer-To: <cid:list@x>\r\nRequire: multiple-refer\r\n",
    );
}

#[test]
fn add_02_a_list_of_users_passes_in_the_dialog_as_it_came() {
    for stays in [false, true] {
        let mut passed = Passed::new(Role::Originating, stays);
        let headers = format!(
            "{CONTACT_A}Refer-To: <cid:list@x>\r\nRequire: multiple-refer\r\n\
             Content-Type: application/resource-lists+xml\r\nContent-Disposition: recipient-list\r\n"
        );
        let refer = passed.by_a("REFER", &headers, LIST);
        assert!(refer.ends_with(LIST), "{refer}");
        for line in headers.lines().skip(1) {
            assert!(refer.contains(line), "{line} in {refer}");
        }
        passed.answered(b(), &refer, 200);
        passed.end();
    }
}

#[test]
fn rem_02_a_request_to_remove_users_passes_both_modes_in_and_outside_of_dialogs() {
    a_referral_passes_in_the_dialog("Refer-To: <sip:d@x;method=BYE>\r\n");
    a_referral_passes_by_the_sessions_identity("Refer-To: <sip:d@x;method=BYE>\r\n");
}

#[test]
fn lve_02_a_leaving_clients_bye_follows_the_sessions_path() {
    for stays in [false, true] {
        let mut passed = Passed::new(Role::Originating, stays);
        let bye = passed.by_a("BYE", "", "");
        assert!(bye.starts_with("BYE "), "{bye}");
        passed.assert_dialog(&bye);
        if stays {
            let released = passed.bench.acts.last().unwrap();
            assert!(released.starts_with("release"), "{released}");
        }
        let ok = passed.answered(b(), &bye, 200);
        assert!(ok.starts_with("SIP/2.0 200"), "{ok}");
        passed.bench.assert_nothing_left();
    }
}

#[test]
fn rel_04_the_bye_to_a_released_participant_follows_the_sessions_path() {
    let reason = "Reason: SIP;cause=200;text=\"Removed from the session\"\r\n";
    for stays in [false, true] {
        // The focus has called: the relay serves B, as terminating function.
        let mut passed = Passed::new(Role::Terminating, stays);
        let bye = passed.by_a("BYE", reason, "");
        assert!(
            bye.starts_with("BYE ") && bye.contains(reason.trim_end()),
            "{bye}"
        );
        passed.assert_dialog(&bye);
        let ok = passed.answered(b(), &bye, 200);
        assert!(ok.starts_with("SIP/2.0 200"), "{ok}");
        passed.bench.assert_nothing_left();
    }
}

#[test]
fn sgn_11_a_focus_invitation_passes_and_its_alerting_and_ok_travel_back() {
    let service = "P-Asserted-Service: urn:urn-7:3gpp-service.ims.icsi.oma.cpm.session.group\r\n";
    let contact = "Contact: <sip:cpm-session-77@127.0.0.1:5001>;isfocus\r\n";
    let group = "Referred-By: <sip:c@x>\r\nP-Asserted-Identity: <sip:team@groups.example>\r\n";
    for stays in [false, true] {
        let mut bench = Bench::new(|settings| {
            settings.role = Role::Terminating;
            for_all(settings, |policy| policy.stay.media_charging = stays);
        });
        let offer = with(&invite("1", OFFER), &format!("{service}{group}"));
        let offer = offer.replace(CONTACT_A, contact);
        let to_b = only(&bench.give(a(), &offer), b());
        for line in [service, group] {
            assert!(to_b.contains(line.trim_end()), "{line} in {to_b}");
        }
        // As B2BUA it is the client's other end, and still says what that end is.
        assert!(header(&to_b, "Contact").contains(";isfocus"), "{to_b}");
        let ringing = only(&bench.give(b(), &answer(&to_b, 180, "Ringing", "")), a());
        assert!(ringing.starts_with("SIP/2.0 180"), "{ringing}");
        let ok = only(&bench.give(b(), &answer(&to_b, 200, "OK", ANSWER)), a());
        assert!(ok.starts_with("SIP/2.0 200"), "{ok}");
    }
}
