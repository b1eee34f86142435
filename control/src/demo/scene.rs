//! What the two clients do: a call with voice, chat and a file, and voice without a relay beside it.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::client::{Client, Far};
use super::error::DemoError;
use super::msrp::{Chunk, Digest, End, Inbox};
use super::report::{Counted, Report};
use super::rtp::{Flow, Mouth, listen, listen_for_reports, since, speak};
use super::{now, pause, random, sip};

/// Octets of the file.
pub(super) const FILE_BYTES: usize = 5 * 1024 * 1024;
/// Octets of one of its chunks.
const CHUNK_BYTES: usize = 8 * 1024;
/// Chunks that may wait for their answers.
const CHUNKS_OPEN: usize = 16;
/// Time between two chat messages of a client.
const CHAT: Duration = Duration::from_millis(100);
/// How long the ACK may take.
const PATIENCE: Duration = Duration::from_secs(8);
/// Time between two looks at the figures.
const LOOK: Duration = Duration::from_millis(200);
/// What is under way when the clients stop sending has this long to arrive.
const TAIL: Duration = Duration::from_millis(300);

/// What there is to see while it plays.
#[derive(Debug)]
pub(super) struct Played {
    pub(super) passed: Duration,
    pub(super) voice: [Arc<Flow>; 2],
    pub(super) chat: [Arc<Inbox>; 2],
    pub(super) file: Arc<Inbox>,
}

/// Plays a call through a proxy, or straight from client to client.
pub(super) fn play(
    proxy: Option<SocketAddr>,
    length: Duration,
    mut look: impl FnMut(&Played),
) -> Result<Report, DemoError> {
    let stops = Stops::default();
    let played = Call::make(proxy, &stops).and_then(|call| call.play(length, &stops, &mut look));
    // A call that failed half way has left threads behind.
    stops.silent.store(true, Ordering::Relaxed);
    stops.all.store(true, Ordering::Relaxed);
    stops.callee.store(true, Ordering::Relaxed);
    played
}

/// What the clients' threads look at.
#[derive(Debug, Default)]
struct Stops {
    /// Nothing new is sent.
    silent: Arc<AtomicBool>,
    /// Media is no longer received.
    all: Arc<AtomicBool>,
    /// The callee answers no longer.
    callee: Arc<AtomicBool>,
}

/// A call that is up.
struct Call {
    alice: Client,
    bob: Client,
    /// Where the other side is: as Alice sees it, as Bob sees it.
    far: [Far; 2],
    caller: sip::Caller,
    callee: JoinHandle<Result<(), DemoError>>,
    setup: Duration,
}

impl Call {
    fn make(proxy: Option<SocketAddr>, stops: &Stops) -> Result<Self, DemoError> {
        let (alice, bob) = (Client::new("alice")?, Client::new("bob")?);
        let socket = sip_socket()?;
        let callee_address = socket.local_addr().map_err(DemoError::doing("SIP"))?;
        let (callee, called) = be_called(&bob, socket, Arc::clone(&stops.callee))?;
        let mut caller = sip::Caller::new(sip_socket()?, callee_address, proxy)?;
        let begin = now();
        let answer = caller.invite(&alice.offer(FILE_BYTES)?)?;
        let setup = now() - begin;
        let seen_by_bob = called
            .recv_timeout(PATIENCE)
            .map_err(|_| DemoError::late("the ACK at the callee"))?;
        Ok(Self {
            far: [Far::read(&answer)?, seen_by_bob],
            alice,
            bob,
            caller,
            callee,
            setup,
        })
    }

    fn play(
        mut self,
        length: Duration,
        stops: &Stops,
        look: &mut impl FnMut(&Played),
    ) -> Result<Report, DemoError> {
        let talked = self.talk(length, stops, look);
        stops.silent.store(true, Ordering::Relaxed);
        // The call is ended whatever became of the talk; what went wrong first is told.
        let hung_up = self.caller.bye();
        stops.callee.store(true, Ordering::Relaxed);
        let called = join(self.callee);
        let (played, counted) = talked?;
        hung_up?;
        called??;
        Report::new(&played, self.setup, counted)
    }

    /// Voice, chat and the file, until the time is up.
    fn talk(
        &self,
        length: Duration,
        stops: &Stops,
        look: &mut impl FnMut(&Played),
    ) -> Result<(Played, Counted), DemoError> {
        let zero = now();
        let [chat_a, chat_b, file_a, file_b] = self.join_messages(zero)?;
        let straight = Flow::new()?;
        let mut played = Played {
            passed: Duration::ZERO,
            voice: [Flow::new()?, Flow::new()?],
            chat: [Arc::clone(&chat_a.inbox), Arc::clone(&chat_b.inbox)],
            file: Arc::clone(&file_b.inbox),
        };
        let voices = self.start_voice(&played.voice, &straight, zero, stops)?;
        let chats = [
            start_chat(chat_a, zero, stops)?,
            start_chat(chat_b, zero, stops)?,
        ];
        let sender = start_file(file_a, length / 3)?;
        while played.passed < length {
            pause(LOOK.min(length - played.passed));
            played.passed = now() - zero;
            look(&played);
        }
        let (file_a, file) = join(sender)?;
        stops.silent.store(true, Ordering::Relaxed);
        let [chat_a, chat_b] = chats.map(join);
        let ((chat_a, sent_a), (chat_b, sent_b)) = (chat_a?, chat_b?);
        pause(TAIL);
        let reported = Arc::clone(&file_a.inbox);
        for end in [chat_a, chat_b, file_a, file_b] {
            end.close();
        }
        stops.all.store(true, Ordering::Relaxed);
        voices.into_iter().try_for_each(join)?;
        let counted = Counted {
            straight,
            chat_sent: [sent_a?, sent_b?],
            file: file?,
            reported,
        };
        Ok((played, counted))
    }

    /// Makes the connections of all MSRP streams: Alice's chat, Bob's chat, Alice's file, Bob's.
    fn join_messages(&self, zero: Instant) -> Result<[End; 4], DemoError> {
        let [from_alice, from_bob] = &self.far;
        let ports = [
            (&self.alice.chat, &from_alice.chat),
            (&self.bob.chat, &from_bob.chat),
            (&self.alice.file, &from_alice.file),
            (&self.bob.file, &from_bob.file),
        ];
        let mut ends: [Option<End>; 4] = [const { None }; 4];
        // Who connects comes first: a connection that was made can be taken later.
        for connects in [true, false] {
            for (end, (port, far)) in ends.iter_mut().zip(ports) {
                if far.connect == connects {
                    *end = Some(End::join(port, far, zero)?);
                }
            }
        }
        let ends = ends.map(|end| end.ok_or_else(|| DemoError::late("an MSRP connection")));
        let [chat_a, chat_b, file_a, file_b] = ends;
        let mut ends = [chat_a?, chat_b?, file_a?, file_b?];
        for (end, (_, far)) in ends.iter_mut().zip(ports) {
            if far.connect {
                end.bind()?;
            }
        }
        for end in &mut ends {
            end.settle(0)?;
        }
        Ok(ends)
    }

    /// Starts voice both ways, and straight from a socket to another one.
    fn start_voice(
        &self,
        voice: &[Arc<Flow>; 2],
        straight: &Arc<Flow>,
        zero: Instant,
        stops: &Stops,
    ) -> Result<Vec<JoinHandle<()>>, DemoError> {
        let [flow_a, flow_b] = voice;
        let [from_alice, from_bob] = &self.far;
        let (mouth, ear) = (sip_socket()?, sip_socket()?);
        let to = ear.local_addr().map_err(DemoError::doing("RTP"))?;
        let mouths = vec![
            speaking(&self.alice, from_alice, flow_a)?,
            speaking(&self.bob, from_bob, flow_b)?,
            Mouth {
                rtp: mouth,
                to,
                rtcp: None,
                flow: Arc::clone(straight),
            },
        ];
        let ear_of = |socket: UdpSocket, flow: &Arc<Flow>| {
            listen(socket, Arc::clone(flow), zero, Arc::clone(&stops.all))
        };
        let reports_of = |client: &Client, flow: &Arc<Flow>| {
            listen_for_reports(
                copy(&client.rtcp)?,
                Arc::clone(flow),
                Arc::clone(&stops.all),
            )
        };
        Ok(vec![
            ear_of(copy(&self.bob.rtp)?, flow_a)?,
            ear_of(copy(&self.alice.rtp)?, flow_b)?,
            ear_of(ear, straight)?,
            reports_of(&self.bob, flow_a)?,
            reports_of(&self.alice, flow_b)?,
            speak(mouths, zero, Arc::clone(&stops.silent))?,
        ])
    }
}

fn speaking(client: &Client, far: &Far, flow: &Arc<Flow>) -> Result<Mouth, DemoError> {
    Ok(Mouth {
        rtp: copy(&client.rtp)?,
        to: far.rtp,
        rtcp: Some((copy(&client.rtcp)?, far.rtcp)),
        flow: Arc::clone(flow),
    })
}

fn copy(socket: &UdpSocket) -> Result<UdpSocket, DemoError> {
    socket.try_clone().map_err(DemoError::doing("RTP"))
}

fn sip_socket() -> Result<UdpSocket, DemoError> {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(DemoError::doing("a socket"))
}

/// A thread that can end with an error.
type Answering = JoinHandle<Result<(), DemoError>>;

/// Starts the callee; what it was told about the caller comes out of the channel.
fn be_called(
    bob: &Client,
    socket: UdpSocket,
    stop: Arc<AtomicBool>,
) -> Result<(Answering, Receiver<Far>), DemoError> {
    let (tell, called) = channel();
    let bob = Client {
        name: bob.name,
        rtp: copy(&bob.rtp)?,
        rtcp: copy(&bob.rtcp)?,
        chat: bob.chat.copy()?,
        file: bob.file.copy()?,
    };
    let serve = move || {
        let answer = |offer: &str| {
            let far = Far::read(offer)?;
            Ok((bob.answer(&far)?, far))
        };
        sip::be_called(&socket, bob.name, &stop, answer, &tell)
    };
    let thread = thread::Builder::new()
        .name("demo-callee".to_owned())
        .spawn(serve)
        .map_err(DemoError::doing("a thread"))?;
    Ok((thread, called))
}

/// A thread that gives an end of a stream back, and what came of it.
type Sending<T> = JoinHandle<(End, Result<T, DemoError>)>;

/// Sends chat messages until it is told to stop, and says how many.
fn start_chat(mut end: End, zero: Instant, stops: &Stops) -> Result<Sending<u64>, DemoError> {
    let silent = Arc::clone(&stops.silent);
    let chat = move || {
        let sent = chat(&mut end, zero, &silent);
        (end, sent)
    };
    thread::Builder::new()
        .name("demo-chat".to_owned())
        .spawn(chat)
        .map_err(DemoError::doing("a thread"))
}

fn chat(end: &mut End, zero: Instant, silent: &AtomicBool) -> Result<u64, DemoError> {
    let mut sent = 0;
    while !silent.load(Ordering::Relaxed) {
        let message = format!("{:016x}", random());
        let text = format!("message {sent}, sent at {}", since(zero));
        end.send_chunk(&Chunk {
            message: &message,
            kind: "text/plain",
            first: 1,
            total: text.len(),
            body: text.as_bytes(),
            last: true,
            report: false,
        })?;
        end.settle(0)?;
        sent += 1;
        pause(CHAT);
    }
    Ok(sent)
}

/// Sends the file after a while.
fn start_file(mut end: End, after: Duration) -> Result<Sending<(Digest, Duration)>, DemoError> {
    let send = move || {
        pause(after);
        let sent = send_file(&mut end);
        (end, sent)
    };
    thread::Builder::new()
        .name("demo-file".to_owned())
        .spawn(send)
        .map_err(DemoError::doing("a thread"))
}

/// Sends the file, and says what its digest is and how long it took until all was acknowledged.
fn send_file(end: &mut End) -> Result<(Digest, Duration), DemoError> {
    let bytes = file();
    let mut digest = Digest::new();
    digest.add(&bytes);
    let message = format!("{:016x}", random());
    let begin = now();
    let mut first = 1;
    for body in bytes.chunks(CHUNK_BYTES) {
        end.send_chunk(&Chunk {
            message: &message,
            kind: "application/octet-stream",
            first,
            total: bytes.len(),
            body,
            last: first + body.len() > bytes.len(),
            report: true,
        })?;
        first += body.len();
        end.settle(CHUNKS_OPEN)?;
    }
    end.settle(0)?;
    Ok((digest, now() - begin))
}

/// Octets without a pattern; another file each time.
fn file() -> Vec<u8> {
    let mut state = random() | 1;
    let mut bytes = Vec::with_capacity(FILE_BYTES);
    while bytes.len() < FILE_BYTES {
        // xorshift64: any octet may come, so also those that look like the end of a frame.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(FILE_BYTES);
    bytes
}

fn join<T>(thread: JoinHandle<T>) -> Result<T, DemoError> {
    let failed = |_| DemoError::unexpected("the end of a client's thread", "a panic");
    thread.join().map_err(failed)
}
