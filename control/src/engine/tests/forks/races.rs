//! Devices that do anything in any order.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use super::*;

/// Devices that ring, answer, refuse, hang up and repeat themselves in any order, and a caller who
/// may give up: whatever happens, the caller hears of one of them, and nothing is left.
#[test]
fn frk_09_whatever_devices_do_the_caller_has_one_answer() {
    let mut answered_by_several = 0;
    for seed in 0..1500 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut bench = three(ForkMode::Pf);
        bench.holds_orders = random.random();
        let sent = bench.give(a(), &invite_bob("1", OFFER));
        let mut all = sent;
        if bench.holds_orders {
            all.extend(bench.do_orders());
            bench.holds_orders = random.random();
        }
        let invites = invited(ForkMode::Pf, &all);
        for _ in 0..random.random_range(3..14) {
            let device = random.random_range(0..2);
            let sent = match random.random_range(0..12) {
                0..3 => bench.give(b(), &says(&invites, device, 180, "")),
                3 => bench.give(b(), &says(&invites, device, 183, ANSWER)),
                4..8 => bench.give(b(), &says(&invites, device, 200, ANSWER)),
                8 => {
                    let code = *[302, 404, 408, 486, 500, 503, 603]
                        .choose(&mut random)
                        .unwrap();
                    bench.give(b(), &says(&invites, device, code, ""))
                }
                9 => bench.give(a(), &invite_bob("1", "").replace("INVITE", "CANCEL")),
                10 => bench.wait(Duration::from_millis(random.random_range(0..3000))),
                _ => {
                    let held = bench.do_orders();
                    bench.holds_orders = random.random();
                    held
                }
            };
            all.extend(sent);
        }
        all.extend(bench.do_orders());
        let answers = (0..2).filter(|device| {
            let id = header(&invites[*device], "Call-ID").to_owned();
            requests(&all, "ACK")
                .iter()
                .any(|ack| header(ack, "Call-ID") == id && !ack.contains("z9hG4bK-none"))
        });
        answered_by_several += usize::from(answers.count() == 2);
        check(&mut bench, &mut all, seed);
    }
    assert!(answered_by_several > 100, "only {answered_by_several}");
}

fn check(bench: &mut Bench, all: &mut Vec<(SocketAddr, String)>, seed: u64) {
    let finals = |all: &[(SocketAddr, String)]| {
        let mut finals: Vec<(String, String)> = all
            .iter()
            .filter(|(to, text)| *to == a() && text.contains("CSeq: 1 INVITE\r\n"))
            .filter(|(_, text)| text.starts_with("SIP/2.0 ") && !text.starts_with("SIP/2.0 1"))
            .map(|(_, text)| (text[8..11].to_owned(), tag_of(text, "To").to_owned()))
            .collect();
        finals.sort();
        finals.dedup();
        finals
    };
    let ringing = all
        .iter()
        .filter(|(to, text)| *to == a() && text.starts_with("SIP/2.0 180"));
    assert!(ringing.count() <= 1, "seed {seed}: {all:#?}");
    let given = finals(all);
    assert!(given.len() <= 1, "seed {seed}: {given:?}");
    if let Some((_, ok)) = all.iter().find(|(to, text)| {
        *to == a() && text.starts_with("SIP/2.0 200") && text.contains("CSeq: 1 INVITE")
    }) {
        let ack = in_dialog_of_a("ACK", 1, ok, "", "");
        bench.give(a(), &ack);
    } else {
        bench.give(a(), &ack_of_failure());
    }
    bench.engine.end_all(bench.now);
    all.extend(bench.settle());
    all.extend(bench.wait(Duration::from_secs(400)));
    assert!(finals(all).len() == 1, "seed {seed}: {:?}", finals(all));
    let census = bench.engine.census();
    let states = bench.engine.sessions_by_state();
    assert_eq!(
        census,
        crate::engine::Census::default(),
        "seed {seed}: {states:?}"
    );
    assert!(bench.engine.is_idle(), "seed {seed}: {states:?}");
    assert_eq!(bench.open(), 0, "seed {seed}: {:?}", bench.acts);
    let opened = bench.acts.iter().filter(|act| *act == "open").count();
    assert_eq!(opened, 1, "seed {seed}: {:?}", bench.acts);
}
