//! Floor control: bytes that are nearly right, random meetings against a slow obvious model, and
//! meetings whose datagrams are lost, doubled and late.

use std::time::Duration;

use dataplane::api::{FloorId, FloorRule, FloorSpec};
use dataplane::proto::floor::Floors;
use dataplane::wire::bfcp::{
    Attributes, Carrier, Framer, Head, Reassembly, Step, unknown_mandatory,
};
use rand::RngExt;
use rand::rngs::StdRng;
use std::time::Instant;
use tests::peers::bfcp::{Attribute, Client, Message, attribute, primitive, status};
use tests::world::meeting::{CONFERENCE, Meeting, floor, member, user};

use super::campaign::rounds;
use super::spoil::{noise, pieces, spoil};

const CLIENTS: usize = 5;

fn any_floors(random: &mut StdRng, count: u16) -> Vec<u16> {
    let all = (1..=count).filter(|_| random.random_ratio(1, 2));
    let floors: Vec<u16> = all.collect();
    if floors.is_empty() { vec![1] } else { floors }
}

/// A valid message of a client.
fn valid(random: &mut StdRng, client: &mut Client) -> Message {
    let id = random.random_range(0..6);
    let number = |kind| Attribute::number(kind, id);
    let status = Attribute::octets(attribute::REQUEST_STATUS, &[random.random_range(0..9), 1]);
    let status = Attribute::group(attribute::FLOOR_REQUEST_STATUS, 1, vec![status]);
    let attributes = vec![
        Attribute::number(attribute::FLOOR_ID, random.random_range(1..4)),
        number(attribute::FLOOR_REQUEST_ID),
        Attribute::octets(attribute::PRIORITY, &[random.random_range(0..8) << 5, 0]),
        Attribute::octets(attribute::PARTICIPANT_PROVIDED_INFO, "Grüße".as_bytes()),
        Attribute::group(attribute::FLOOR_REQUEST_INFORMATION, id, vec![status]),
    ];
    client.message(random.random_range(1..18), attributes)
}

#[test]
fn floor_control_takes_any_bytes_and_answers_with_messages() {
    rounds("floor bytes", 2000, |random| {
        let chaired = FloorRule {
            chair: Some(member(0)),
            ..floor(1)
        };
        let spec = FloorSpec {
            conference: CONFERENCE,
            floors: vec![chaired, floor(2)],
        };
        let mut floors = Floors::new(&spec);
        let mut clients: Vec<Client> = (0..2)
            .map(|who| Client::new(CONFERENCE, user(who), who == 1))
            .collect();
        for (who, carrier) in [Carrier::Reliable, Carrier::Unreliable]
            .into_iter()
            .enumerate()
        {
            floors.join(member(who), user(who), carrier).unwrap();
        }
        let (mut now, mut out) = (Instant::now(), Vec::new());
        for _ in 0..30 {
            let who = random.random_range(0..2);
            let mut octets = valid(random, &mut clients[who]).encode();
            if random.random_ratio(1, 4) {
                let other = noise(random, 60);
                spoil(random, &mut octets, &other);
            }
            floors.receive(member(who), &octets, now);
            now += Duration::from_millis(random.random_range(0..800));
            if floors.poll_timeout().is_some_and(|at| at <= now) {
                floors.handle_timeout(now);
            }
            while floors.poll_transmit(now, &mut out).is_some() {
                let read = Message::decode(&out);
                assert!(read.is_ok(), "{read:?}");
            }
            for floor in [1, 2] {
                assert!(floors.holders(FloorId(floor)).len() <= 1);
            }
        }
    });
}

#[test]
fn attributes_fragments_and_streams_of_any_bytes_end() {
    rounds("bfcp bytes", 3000, |random| {
        let mut client = Client::new(1, 2, true);
        let message = valid(random, &mut client);
        let words = random.random_range(1..6);
        let mut parts = Reassembly::default();
        for mut datagram in message.encode_in(words) {
            if random.random_ratio(1, 4) {
                let other = noise(random, 60);
                spoil(random, &mut datagram, &other);
            }
            if let Ok((head, part)) = Head::of_datagram(&datagram) {
                parts.add(head, part);
                let _ = unknown_mandatory(Attributes::new(part), &mut |_| {});
            }
        }
        let mut stream = [message.encode(), message.encode()].concat();
        let other = noise(random, 60);
        spoil(random, &mut stream, &other);
        let read = |pieces: &[&[u8]]| {
            let (mut framer, mut all) = (Framer::default(), Vec::new());
            for piece in pieces {
                let mut rest = *piece;
                while let Some(step) = framer.next(&mut rest) {
                    match step {
                        Step::Message(head, payload) => all.push((head, payload.to_vec())),
                        Step::TooLong(_) => return all,
                    }
                }
            }
            all
        };
        let whole = read(&[&stream]);
        assert_eq!(read(&pieces(random, &stream)), whole);
    });
}

/// A request as the model has it.
#[derive(Debug, Clone)]
struct Want {
    id: u16,
    who: usize,
    floors: Vec<u16>,
    priority: u8,
    is_granted: bool,
}

/// The floors, the slow obvious way: all wishes in the order of their arrival.
#[derive(Debug, Default)]
struct Model {
    wants: Vec<Want>,
}

impl Model {
    fn holders(&self, floor: u16) -> Vec<usize> {
        let wants = self.wants.iter();
        let its = wants.filter(|want| want.is_granted && want.floors.contains(&floor));
        let mut holders: Vec<usize> = its.map(|want| want.who).collect();
        holders.sort_unstable();
        holders
    }

    /// Who comes first gets its floors, and nobody passes who waits for the same one.
    fn settle(&mut self, rules: &[FloorRule]) {
        let mut taken: Vec<usize> = rules
            .iter()
            .map(|rule| self.holders(rule.floor.0).len())
            .collect();
        let mut order: Vec<usize> = (0..self.wants.len()).collect();
        order.sort_by_key(|at| std::cmp::Reverse(self.wants[*at].priority));
        for at in order {
            let want = &mut self.wants[at];
            if want.is_granted {
                continue;
            }
            let places: Vec<usize> = want
                .floors
                .iter()
                .map(|floor| usize::from(floor - 1))
                .collect();
            let is_free = |place: &usize| taken[*place] < usize::from(rules[*place].holders);
            want.is_granted = places.iter().all(is_free);
            places.iter().for_each(|place| taken[*place] += 1);
        }
    }

    fn overlaps(&self, who: usize, floors: &[u16]) -> bool {
        let mut own = self.wants.iter().filter(|want| want.who == who);
        own.any(|want| want.floors.iter().any(|floor| floors.contains(floor)))
    }

    fn agree(&self, meeting: &Meeting, rules: &[FloorRule]) {
        for rule in rules {
            let mut holders = meeting.holders(rule.floor.0);
            holders.sort_unstable();
            assert!(holders.len() <= usize::from(rule.holders));
            assert_eq!(holders, self.holders(rule.floor.0), "{self:?}");
        }
    }
}

fn any_rules(random: &mut StdRng) -> Vec<FloorRule> {
    let rule = |id| FloorRule {
        holders: random.random_range(1..4),
        ..floor(id)
    };
    (1..=3).map(rule).collect()
}

/// Somebody asks for something, or gives something back.
fn act(random: &mut StdRng, meeting: &mut Meeting, model: &mut Model, rules: &[FloorRule]) {
    let who = random.random_range(0..CLIENTS);
    let own: Vec<u16> = model
        .wants
        .iter()
        .filter(|want| want.who == who)
        .map(|want| want.id)
        .collect();
    if !own.is_empty() && random.random_ratio(1, 2) {
        let id = own[random.random_range(0..own.len())];
        let at = model.wants.iter().position(|want| want.id == id).unwrap();
        let want = model.wants.remove(at);
        let answer = meeting.call(who, |client, now| client.give_back(id, now));
        let status = if want.is_granted {
            status::RELEASED
        } else {
            status::CANCELLED
        };
        assert_eq!(answer.infos()[0].overall, (status, 0));
    } else {
        let (floors, priority) = (any_floors(random, 3), random.random_range(0..8));
        let answer = meeting.call(who, |client, now| client.ask(&floors, priority, now));
        if model.overlaps(who, &floors) {
            assert_eq!(answer.error(), Some(8));
        } else {
            // What isn't assigned is normal (RFC 8855 §5.2.4).
            let priority = if priority > 4 { 2 } else { priority };
            let info = &answer.infos()[0];
            model.wants.push(Want {
                id: info.request,
                who,
                floors,
                priority,
                is_granted: false,
            });
            model.settle(rules);
            let is_granted = model.wants.last().unwrap().is_granted;
            let due = if is_granted {
                status::GRANTED
            } else {
                status::ACCEPTED
            };
            assert_eq!(info.overall.0, due, "{model:?}");
        }
    }
    model.settle(rules);
}

#[test]
fn random_meetings_go_as_the_model_says() {
    rounds("floor meetings", 300, |random| {
        let rules = any_rules(random);
        let mut meeting = Meeting::new(rules.clone(), CLIENTS, random.random());
        let mut model = Model::default();
        for _ in 0..60 {
            if random.random_ratio(1, 10) {
                let who = random.random_range(0..CLIENTS);
                meeting.floors.lost(member(who), meeting.now);
                model.wants.retain(|want| want.who != who);
                model.settle(&rules);
            } else {
                act(random, &mut meeting, &mut model, &rules);
            }
            model.agree(&meeting, &rules);
        }
    });
}

/// What a client was told of its requests last.
fn last_told(heard: &[Message], user: u16) -> Vec<(u16, u8, u8)> {
    let mut last: Vec<(u16, u8, u8)> = Vec::new();
    let mut ended = Vec::new();
    let is_status = |message: &&Message| message.primitive == primitive::FLOOR_REQUEST_STATUS;
    for info in heard.iter().filter(is_status).flat_map(Message::infos) {
        assert_eq!(info.beneficiary, user);
        // What is sent again, as its acknowledgement was lost, may come after the end.
        if ended.contains(&info.request) {
            continue;
        }
        if info.overall.0 > status::GRANTED {
            ended.push(info.request);
        }
        last.retain(|(id, ..)| *id != info.request);
        last.push((info.request, info.overall.0, info.overall.1));
    }
    last.retain(|(_, status, _)| *status <= status::GRANTED);
    last.sort_unstable();
    last
}

#[test]
fn meetings_over_a_bad_network_end_as_the_model_says() {
    rounds("floor storms", 150, |random| {
        let rules = any_rules(random);
        let mut meeting = Meeting::new(rules.clone(), CLIENTS, true);
        meeting.storm(random.random());
        let mut model = Model::default();
        for _ in 0..40 {
            act(random, &mut meeting, &mut model, &rules);
            if meeting.floors.counts().lost > 0 {
                // Whom four messages in a row don't reach is given up: nothing more is known of it.
                return;
            }
            model.agree(&meeting, &rules);
        }
        // What waits to be told is told one after the other, each acknowledged.
        meeting.run(Duration::from_secs(120));
        if meeting.floors.counts().lost > 0 {
            return;
        }
        for who in 0..CLIENTS {
            let query = |client: &mut Client, now| client.say(primitive::USER_QUERY, vec![], now);
            let answer = meeting.call(who, query);
            let mut known: Vec<_> = answer
                .infos()
                .iter()
                .map(|info| (info.request, info.overall.0, info.overall.1))
                .collect();
            known.sort_unstable();
            assert_eq!(last_told(&meeting.heard[who], user(who)), known);
        }
    });
}
