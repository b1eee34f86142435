//! Frames towards a WebSocket's far end: each MSRP frame is one message.
//!
//! ```text
//! MSRP frame   ├──────────────────────────────────┤├─────┤
//! buffers      │ h payload │ h payload │ h payload  h pay │     h: header, 2 or 4 octets
//! FIN                 0           0           1       1
//! ```
//!
//! A message goes out in fragments, so that no MSRP frame has to be gathered as a whole; the far
//! end's script sees it in one piece all the same (RFC 6455 §5.4).

use crate::frame::{Frame, Pool};
use crate::wire::msrp::{Framer, Shared, Step};

/// What is being sent.
#[derive(Debug, Default)]
pub(super) struct Sender {
    /// Where MSRP frames end.
    framer: Framer,
    /// Where the header of the fragment begins that is being filled.
    open: Option<usize>,
    /// Whether fragments of the message went out before.
    is_continued: bool,
}

impl Sender {
    /// Appends what fits of `octets` to a buffer of `capacity`, which began empty, and says how
    /// much that was; 0: it is full.
    pub(super) fn append(
        &mut self,
        pool: &mut Pool,
        (frame, capacity): (&mut Frame, usize),
        octets: &[u8],
        shared: &mut Shared,
    ) -> usize {
        let room = capacity.saturating_sub(frame.len());
        let room = match self.open {
            Some(_) => room,
            None => room.saturating_sub(HEADER_BYTES),
        };
        if room == 0 {
            return 0;
        }
        if self.open.is_none() {
            self.open = Some(frame.len());
            pool.append(frame, &[0; HEADER_BYTES]);
        }
        let octets = octets.get(..room).unwrap_or(octets);
        let (count, has_ended) = self.up_to_end(octets, shared);
        pool.append(frame, octets.get(..count).unwrap_or_default());
        if has_ended {
            self.close_fragment(pool, frame, true);
        }
        count
    }

    /// Makes a buffer fit to be sent: what is open in it is continued in the next one.
    pub(super) fn cut(&mut self, pool: &mut Pool, frame: &mut Frame) {
        self.close_fragment(pool, frame, false);
    }

    /// How many of the octets belong to the MSRP frame being sent, and whether it ends with them.
    fn up_to_end(&mut self, octets: &[u8], shared: &mut Shared) -> (usize, bool) {
        let mut rest = octets;
        while let Ok(Some(step)) = self.framer.next(&mut rest, shared) {
            if matches!(step, Step::End(_)) {
                return (octets.len() - rest.len(), true);
            }
        }
        // The relay's own frames keep the grammar.
        (octets.len(), false)
    }

    fn close_fragment(&mut self, pool: &mut Pool, frame: &mut Frame, is_final: bool) {
        let Some(at) = self.open.take() else {
            return;
        };
        let opcode = if self.is_continued { CONTINUED } else { BINARY };
        let first = if is_final { FINAL | opcode } else { opcode };
        self.is_continued = !is_final;
        let mut len = frame.len();
        let count = len - (at + HEADER_BYTES).min(len);
        let bytes = pool.bytes_mut(frame);
        match u8::try_from(count) {
            Ok(short) if short < LENGTH_16 => {
                // RFC 6455 §5.2: a length is written in the shortest way.
                bytes.copy_within((at + HEADER_BYTES).min(len).., at + SHORT_HEADER_BYTES);
                write(bytes, at, [first, short]);
                len -= HEADER_BYTES - SHORT_HEADER_BYTES;
            }
            Ok(_) | Err(_) => {
                let [high, low] = u16::try_from(count).unwrap_or(u16::MAX).to_be_bytes();
                write(bytes, at, [first, LENGTH_16, high, low]);
            }
        }
        pool.set_range(frame, 0, len);
    }
}

fn write<const N: usize>(bytes: &mut [u8], at: usize, header: [u8; N]) {
    if let Some(to) = bytes.get_mut(at..at + N) {
        to.copy_from_slice(&header);
    }
}

/// The header of a fragment from 126 to 65,535 octets: more than a buffer holds.
const HEADER_BYTES: usize = 4;
/// The header of a shorter one.
const SHORT_HEADER_BYTES: usize = 2;
const FINAL: u8 = 0x80;
const CONTINUED: u8 = 0;
const BINARY: u8 = 2;
/// Says that the length follows in 16 bits.
const LENGTH_16: u8 = 126;
