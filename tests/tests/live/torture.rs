//! The MSRP torture set against the relay's own process: each case in a call of its own.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tests::live::scene::{Joined, Scene};
use tests::peers::{msrp, sdp};
use tests::torture::frames::{Frame, Reader};
use tests::torture::{Case, Names, Outcome, cases};

/// For what must come at once.
const SOON: Duration = Duration::from_secs(10);

/// The connection of far ends: bytes out, frames in.
struct Line {
    stream: TcpStream,
    reader: Reader,
    /// The first session's URIs: the relay's, the far end's.
    way: (String, String),
    marks: u32,
}

impl Line {
    /// Connects and binds each session.
    fn open(names: &Names, letters: &[char]) -> Self {
        let first = letters[0];
        let address = sdp::path_address(names.relay(first)).unwrap();
        let stream = TcpStream::connect_timeout(&address, SOON).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut line = Self {
            stream,
            reader: Reader::default(),
            way: (String::new(), String::new()),
            marks: 0,
        };
        for letter in letters.iter().rev() {
            line.way = (
                names.relay(*letter).to_owned(),
                names.far(*letter).to_owned(),
            );
            let (came, closed) = line.all();
            assert!(came.is_empty() && !closed, "{came:?}");
        }
        line
    }

    /// Everything that was on its way here: what comes before the answer to a SEND without content.
    /// Says whether the connection was closed instead.
    fn all(&mut self) -> (Vec<Frame>, bool) {
        self.marks += 1;
        let id = format!("mark.{}", self.marks);
        let (to, from) = &self.way;
        let mark = format!(
            "MSRP {id} SEND\r\nTo-Path: {to}\r\nFrom-Path: {from}\r\nMessage-ID: {id}\r\n\
             -------{id}$\r\n"
        );
        // Where the relay has closed, there is still what it wrote before.
        let _closed = self.stream.write_all(mark.as_bytes());
        self.until(Some(&id))
    }

    /// The frames up to the response to `id`, or to the end.
    fn until(&mut self, id: Option<&str>) -> (Vec<Frame>, bool) {
        let mut came = Vec::new();
        let mut bytes = [0; 16 * 1024];
        loop {
            let Ok(count @ 1..) = self.stream.read(&mut bytes) else {
                return (came, true);
            };
            came.extend(self.reader.push(&bytes[..count]).1);
            let last: Option<&Frame> = came.last();
            if last.is_some_and(|last| Some(&*last.head.id) == id.map(str::as_bytes)) {
                assert!(self.reader.is_between_frames());
                came.pop();
                return (came, false);
            }
        }
    }
}

/// A call for each pair of far ends, and what they are named there.
fn calls(scene: &mut Scene, case: &Case) -> (Vec<Joined>, Names) {
    let mut names = Names::default();
    let mut joined = Vec::new();
    for (near, far) in case.scene.near().iter().zip(case.scene.far()) {
        let [a, b] = [0, 1].map(|_| msrp::path((scene.ip(), 9).into()));
        let offer = scene.offer().message(&a, &["setup:active"]).text();
        let answer = scene.offer().message(&b, &["setup:active"]).text();
        let call = scene.call(&offer, &answer);
        names.set(*near, call.at_alice[0].attribute("path").unwrap(), &a);
        names.set(*far, call.at_bob[0].attribute("path").unwrap(), &b);
        joined.push(call);
    }
    (joined, names)
}

/// Far end a sends octets in two pieces; gathers what comes of it.
fn send(a: &mut Line, b: &mut Line, octets: &[u8], random: &mut StdRng) -> Outcome {
    let cut = random.random_range(0..=octets.len());
    for piece in [&octets[..cut], &octets[cut..]] {
        // The relay may close before it has all.
        let _closed = a.stream.write_all(piece);
        std::thread::sleep(Duration::from_millis(1));
    }
    let (answers, closes) = a.all();
    let (forwards, is_gone) = b.all();
    assert!(!is_gone, "far end b was closed");
    Outcome {
        forwards,
        answers,
        closes,
    }
}

/// Far ends in a call.
struct Play {
    joined: Vec<Joined>,
    names: Names,
    a: Line,
    b: Line,
}

impl Play {
    fn begin(scene: &mut Scene, case: &Case) -> Self {
        let (joined, names) = calls(scene, case);
        let a = Line::open(&names, case.scene.near());
        let b = Line::open(&names, case.scene.far());
        Self {
            joined,
            names,
            a,
            b,
        }
    }

    fn run(&mut self, case: &Case, [file, after]: &[Vec<u8>; 2], random: &mut StdRng) {
        let Self { names, a, b, .. } = self;
        let outcome = send(a, b, &names.rename(file), random);
        case.check(&outcome, names);
        for reply in &case.replies {
            let response = outcome.forwards[reply.to - 1].head.response_of(reply.code);
            b.stream.write_all(&response).unwrap();
        }
        if outcome.closes || !case.is_alone() {
            return;
        }
        let (came, is_gone) = b.all();
        assert!(came.is_empty() && !is_gone, "{}: {came:?}", case.name);
        let (came, _) = a.all();
        let (responses, reports): (Vec<_>, Vec<_>) =
            came.into_iter().partition(|frame| frame.head.is_response());
        case.check_reports(&reports, names);
        let mut last = send(a, b, &names.rename(after), random);
        last.answers.splice(0..0, responses);
        case.check_after(&last, names);
    }

    fn end(self, scene: &mut Scene) {
        for mut call in self.joined {
            scene.alice_hangs_up(&mut call);
        }
    }
}

#[test]
fn the_process_does_with_each_torture_file_what_the_index_says() {
    let mut scene = Scene::direct(|settings| {
        // Sessions that share a connection are on one worker.
        settings.set("media", "workers", 1);
    });
    let mut random = StdRng::seed_from_u64(1);
    // Silence takes as long as it says: without sockets it is played, there time costs nothing.
    let cases = cases().into_iter().filter(|(case, _)| case.silence_s == 0);
    let (alone, others): (Vec<_>, Vec<_>) = cases.partition(|(case, _)| case.is_alone());
    assert!(alone.len() + others.len() > 280);
    let mut shared = Play::begin(&mut scene, &others[0].0);
    for (case, files) in &others {
        shared.run(case, files, &mut random);
    }
    shared.end(&mut scene);
    for (case, files) in &alone {
        let mut own = Play::begin(&mut scene, case);
        own.run(case, files, &mut random);
        own.end(&mut scene);
    }
    scene.relay.assert_empty();
}
