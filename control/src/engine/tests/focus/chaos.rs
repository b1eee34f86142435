//! Whatever participants and the worker do, in whatever order: nothing is left of it.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::*;

const MEDIA: [&str; 3] = [AUDIO, VIDEO, CHAT];

/// One thing that somebody does.
fn step(scene: &mut Scene, random: &mut StdRng, waiting: &mut Vec<(&'static str, String)>) -> Seen {
    let name = *NAMES.choose(random).unwrap();
    let lines: Vec<&str> = MEDIA
        .into_iter()
        .filter(|_| random.random_bool(0.6))
        .collect();
    let is_in = scene.dialogs.contains_key(name);
    match random.random_range(0..14_u8) {
        0 | 1 => scene.invite(name, TEAM, "", &sdp(&lines)),
        2 if is_in => {
            let identity = scene.dialogs[name].contact.clone();
            scene.invite(name, &identity, "", &sdp(&lines))
        }
        3 if is_in => scene.inside(name, "BYE", "", ""),
        4 | 5 if is_in => scene.inside(name, "INVITE", "", &sdp(&lines)),
        6 if is_in => scene.inside(name, "UPDATE", "", ""),
        7 if is_in => {
            let other = uri(NAMES.choose(random).unwrap());
            let how = ["", ";method=BYE"].choose(random).unwrap();
            let headers = format!("Refer-To: <{other}{how}>\r\n");
            scene.inside(name, "REFER", &headers, "")
        }
        8 if is_in => {
            let identity = scene.dialogs[name].contact.clone();
            let headers = "Event: conference\r\n";
            let text = scene.request_text("SUBSCRIBE", (name, &identity), headers, "");
            scene.give(name, &text)
        }
        9 if is_in => scene.ack(name, 1),
        10 => scene.wait(random.random_range(0..20)),
        11 => {
            scene.bench.holds_orders = !scene.bench.holds_orders;
            if scene.bench.holds_orders {
                return Seen::new();
            }
            let sent = scene.bench.do_orders();
            scene.seen(sent)
        }
        _ if !waiting.is_empty() => {
            let at = random.random_range(0..waiting.len());
            let (name, request) = waiting.swap_remove(at);
            let code = *[180, 200, 200, 200, 486, 488, 491, 481, 603]
                .choose(random)
                .unwrap();
            let body = if request.starts_with("INVITE") && code == 200 {
                let barred = *["audio", "video", "message", "none"]
                    .choose(random)
                    .unwrap();
                accept_some(&request, |kind| kind != barred)
            } else {
                String::new()
            };
            scene.answers(name, &request, code, &body)
        }
        _ => Seen::new(),
    }
}

#[test]
fn whatever_participants_do_nothing_is_left() {
    for seed in 0..60 {
        eprintln!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let mut scene = Scene::with(&["alice", "bob", "carol", "dave"], |_, group| {
            group.open = true;
            group.remove = Some(config::Right::Participants);
            group.remove_streams = Some(config::Right::Participants);
        });
        let mut waiting = Vec::new();
        for _ in 0..120 {
            let seen = step(&mut scene, &mut random, &mut waiting);
            waiting.extend(
                seen.into_iter()
                    .filter(|(_, what, _)| ["INVITE", "BYE", "NOTIFY"].contains(&what.as_str()))
                    .map(|(name, _, text)| (name, text)),
            );
        }
        scene.bench.holds_orders = false;
        scene.bench.do_orders();
        let now = scene.bench.now;
        scene.bench.engine.end_all(now);
        scene.bench.settle();
        scene.wait(200);
        scene.bench.assert_nothing_left();
    }
}
