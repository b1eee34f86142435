//! One session of the load: both ends, and when what was sent.

use std::io::{ErrorKind, Read as _};
use std::net::TcpStream;

use super::content::Content;
use super::plan::{Load, Pace};
use super::receiver::{News, Receiver};
use super::sender::Sender;
use super::tally::Tally;

/// Messages whose times are remembered; so many of one session may be on their way.
const ON_THEIR_WAY: u64 = 4096;

/// Two connections through a relay, with the session bound to both, and the paths on them.
#[derive(Debug)]
pub struct Pair {
    /// The sending end.
    pub sender: TcpStream,
    /// The receiving end.
    pub receiver: TcpStream,
    /// The To-Path of what the sender sends.
    pub to_path: String,
    /// Its own path.
    pub from_path: String,
    /// The receiver's own path.
    pub own_path: String,
}

/// One session.
#[derive(Debug)]
pub struct Session {
    /// The end that sends.
    pub sender: Sender,
    /// The end that receives.
    pub receiver: Receiver,
    /// The first message that is measured.
    pub measured_from: u64,
    /// Messages given up for lost, for the window alone.
    forgiven: u64,
    sent_at: Vec<u64>,
    /// Its connection was closed.
    pub is_closed: bool,
}

/// What both ends need from outside.
#[derive(Debug, Clone, Copy)]
pub struct World<'a> {
    /// The messages' content.
    pub content: &'a Content,
    /// The load.
    pub load: &'a Load,
}

impl Session {
    /// Session `number` over `pair`.
    ///
    /// # Errors
    ///
    /// The connections' settings can't be changed.
    pub fn new(number: usize, pair: &Pair, salt: u64) -> std::io::Result<Self> {
        let copy = |stream: &TcpStream| -> std::io::Result<TcpStream> {
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            stream.try_clone()
        };
        let paths = (pair.to_path.as_str(), pair.from_path.as_str());
        Ok(Self {
            sender: Sender::new(copy(&pair.sender)?, number, paths, salt),
            receiver: Receiver::new(copy(&pair.receiver)?, number, &pair.own_path, !salt),
            measured_from: u64::MAX,
            forgiven: 0,
            sent_at: vec![0; usize::try_from(ON_THEIR_WAY).unwrap_or(4096)],
            is_closed: false,
        })
    }

    /// Messages that were begun and are not yet both answered and delivered.
    #[must_use]
    pub fn on_their_way(&self) -> u64 {
        let both = self.sender.answered.min(self.receiver.expected);
        (self.sender.next + self.sender.due).saturating_sub(both.max(self.forgiven))
    }

    /// Gives up what is on its way, so that a session that lost something goes on.
    pub const fn forgive(&mut self) {
        self.forgiven = self.sender.next;
        self.sender.answered = self.sender.next;
    }

    /// Fills the window of a closed loop; an open one is limited by what can be remembered.
    pub fn refill(&mut self, load: &Load) {
        if let Pace::Closed { window } = load.pace {
            let room = window.saturating_sub(self.on_their_way());
            self.sender.due += room;
        }
    }

    /// No more may be on its way.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.on_their_way() >= ON_THEIR_WAY
    }

    fn slot(message: u64) -> usize {
        usize::try_from(message % ON_THEIR_WAY).unwrap_or(0)
    }

    /// Sends what is due.
    ///
    /// # Errors
    ///
    /// The connection is gone.
    pub fn pump(&mut self, world: World<'_>, now: u64, tally: &mut Tally) -> std::io::Result<u64> {
        let (sent_at, from, mut count) = (&mut self.sent_at, self.measured_from, 0);
        self.sender
            .pump(world.content, world.load, now, |message| {
                sent_at[Self::slot(message)] = now;
                tally.sent += u64::from(message >= from);
                count += 1;
            })?;
        Ok(count)
    }

    /// Reads what came for the sender.
    ///
    /// # Errors
    ///
    /// The connection is gone, or what came isn't MSRP.
    pub fn read_answers(&mut self, buffer: &mut [u8], tally: &mut Tally) -> Result<(), String> {
        let Some(length) = fill(&mut self.sender.stream, &mut self.sender.partial, buffer)? else {
            return Ok(());
        };
        let taken = self
            .sender
            .take(&buffer[..length], self.measured_from, tally)?;
        self.sender
            .partial
            .extend_from_slice(&buffer[taken..length]);
        Ok(())
    }

    /// Reads what came for the receiver and answers it; returns the messages that became whole.
    ///
    /// # Errors
    ///
    /// A connection is gone, or what came isn't MSRP.
    pub fn read_messages(
        &mut self,
        world: World<'_>,
        buffer: &mut [u8],
        now: impl Fn() -> u64,
        tally: &mut Tally,
    ) -> Result<u64, String> {
        let receiver = &mut self.receiver;
        let Some(length) = fill(&mut receiver.stream, &mut receiver.partial, buffer)? else {
            return Ok(0);
        };
        let (now, from, sent_at, mut whole) = (now(), self.measured_from, &self.sent_at, 0);
        let since = |message| now.saturating_sub(sent_at[Self::slot(message)]);
        let news = |news| match news {
            News::Begun(message, at) if message >= from => {
                let span = at.saturating_sub(sent_at[Self::slot(message)]);
                tally.first_byte.saturating_record(span);
            }
            News::Whole(message) if message >= from => {
                whole += 1;
                tally.delivered += 1;
                tally.latency.saturating_record(since(message));
            }
            News::Whole(_) => whole += 1,
            News::Begun(..) => {}
            News::Damaged => tally.damaged += 1,
        };
        let taken = receiver.take(&buffer[..length], (world.content, world.load), now, news)?;
        receiver.partial.extend_from_slice(&buffer[taken..length]);
        receiver
            .flush()
            .map_err(|error| format!("receiver: {error}"))?;
        Ok(whole)
    }
}

/// Puts what was left over and what came into `buffer`; `None`: nothing came.
fn fill(
    stream: &mut TcpStream,
    partial: &mut Vec<u8>,
    buffer: &mut [u8],
) -> Result<Option<usize>, String> {
    let left = partial.len();
    let Some(room) = buffer.get_mut(left..) else {
        return Err("half a frame fills the whole buffer".to_owned());
    };
    match stream.read(room) {
        Ok(0) => Err("the relay closed a connection".to_owned()),
        Ok(length) => {
            buffer[..left].copy_from_slice(partial);
            partial.clear();
            Ok(Some(left + length))
        }
        Err(error) if [ErrorKind::WouldBlock, ErrorKind::Interrupted].contains(&error.kind()) => {
            Ok(None)
        }
        Err(error) => Err(format!("a connection failed: {error}")),
    }
}
