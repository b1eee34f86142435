//! Cameras that send frames of VP8 that show nothing (RFC 7741), and screens that know whose they are.

use super::SEATS;

/// RTP's payload type.
pub(super) const PAYLOAD_TYPE: u8 = 97;
/// Steps of RTP's clock from one frame to the next: 15 in a second at 90 kHz.
pub(super) const FRAME_STEPS: u32 = 6_000;
/// Octets of a frame.
const FRAME_BYTES: usize = 300;
/// Where a frame says whose it is and which: behind the descriptor and a key frame's head.
const TAG: usize = 1 + 10;

/// Who is filmed.
#[derive(Debug)]
pub(super) struct Camera {
    number: usize,
    frames: u32,
    /// The next frame is a key frame: somebody asked for one.
    is_asked: bool,
    /// Key frames that were asked for.
    pub(super) asked: u64,
}

impl Camera {
    pub(super) fn new(number: usize) -> Self {
        Self {
            number,
            frames: 0,
            is_asked: true,
            asked: 0,
        }
    }

    /// The next frame's payload.
    pub(super) fn frame(&mut self) -> Vec<u8> {
        let mut payload = vec![0; FRAME_BYTES];
        let is_key = std::mem::take(&mut self.is_asked);
        // RFC 7741 §4.2: a partition begins; §4.3: bit 0 is clear in key frames alone, whose start
        // code follows.
        let head: &[u8] = if is_key {
            &[0x10, 0x50, 0, 0, 0x9d, 0x01, 0x2a, 64, 0, 64, 0]
        } else {
            &[0x10, 0x51, 0, 0]
        };
        let whose = u8::try_from(self.number).unwrap_or(u8::MAX);
        let tag = [[whose].as_slice(), &self.frames.to_be_bytes()].concat();
        for (at, octets) in [(0, head), (TAG, &tag)] {
            let place = payload.iter_mut().skip(at);
            place.zip(octets).for_each(|(to, from)| *to = *from);
        }
        self.frames += 1;
        payload
    }

    /// Reads RTCP: a Picture Loss Indication (RFC 4585 §6.3.1) or a Full Intra Request (RFC 5104
    /// §4.3.1) makes the next frame a key frame.
    pub(super) fn take_feedback(&mut self, mut packets: &[u8]) {
        while let [first, kind, high, low, ..] = packets {
            if *kind == 206 && matches!(first & 0x1f, 1 | 4) {
                self.is_asked = true;
                self.asked += 1;
            }
            let length = 4 + 4 * usize::from(u16::from_be_bytes([*high, *low]));
            packets = packets.get(length..).unwrap_or_default();
        }
    }
}

/// What was seen.
#[derive(Debug, Clone, Default)]
pub(super) struct Screen {
    /// Frames of each one.
    pub(super) seen: [u64; SEATS],
    /// Times that another one was shown than before.
    pub(super) switches: u64,
    /// Frames that a decoder couldn't have shown, as what they count on didn't come.
    pub(super) broken: u64,
    last: Option<(usize, u32)>,
}

impl Screen {
    /// Takes a packet's payload; whose it is.
    pub(super) fn show(&mut self, payload: &[u8]) -> Option<usize> {
        let is_key = payload.get(1)? & 1 == 0;
        let whose = usize::from(*payload.get(TAG)?);
        let frame = payload.get(TAG + 1..TAG + 5)?.try_into().ok()?;
        let frame = u32::from_be_bytes(frame);
        let follows = self.last == Some((whose, frame.wrapping_sub(1)));
        if !is_key && !follows {
            self.broken += 1;
        }
        if self.last.is_none_or(|(before, _)| before != whose) {
            self.switches += 1;
        }
        self.last = Some((whose, frame));
        *self.seen.get_mut(whose)? += 1;
        Some(whose)
    }
}

#[cfg(test)]
mod tests {
    use super::{Camera, Screen};

    #[test]
    fn a_frame_that_counts_on_one_that_did_not_come_is_broken() {
        let (mut camera, mut screen) = (Camera::new(1), Screen::default());
        let frames: Vec<Vec<u8>> = (0..4).map(|_| camera.frame()).collect();
        assert_eq!(screen.show(&frames[0]), Some(1), "the first is a key frame");
        assert_eq!(screen.show(&frames[1]), Some(1));
        assert_eq!((screen.broken, screen.switches), (0, 1));
        screen.show(&frames[3]);
        assert_eq!((screen.broken, screen.seen[1]), (1, 3));
    }

    #[test]
    fn a_picture_that_is_asked_for_is_a_key_frame() {
        let (mut camera, mut screen) = (Camera::new(0), Screen::default());
        let _first = camera.frame();
        // A receiver report, and a FIR behind it.
        camera.take_feedback(&[
            0x80, 201, 0, 1, 0, 0, 0, 1, 0x84, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0,
        ]);
        assert_eq!(camera.asked, 1);
        screen.show(&camera.frame());
        assert_eq!(screen.broken, 0);
        screen.show(&Camera::new(1).frame());
        assert_eq!((screen.broken, screen.switches), (0, 2));
    }
}
