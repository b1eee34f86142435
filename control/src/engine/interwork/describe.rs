//! One description for the session, and a part of it for each Interworking Function.
//!
//! ```text
//! session      m0 chat   m1 audio   m2 file
//!                │          │          │
//! IWF a        m0 chat    m1 audio     m2 (port 0, refused there)
//! IWF b                                m0 file
//! ```

use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;

use crate::sdp::{MediaDescription, Sdp};

/// What a session-level line may say for all media lines (RFC 4145, RFC 8122, RFC 8842).
const OF_MEDIA: &[&str] = &["setup", "connection", "fingerprint", "tls-id"];

/// What was said last in one dialog: its o= version, and the whole.
#[derive(Debug, Clone, Default)]
pub(in crate::engine) struct Said {
    version: u64,
    bytes: Bytes,
}

impl Said {
    /// Writes a description with its version, which is a new one only where it differs from what
    /// was said last (RFC 3264 §8).
    pub(super) fn next(&self, sdp: &mut Sdp) -> Self {
        let (id, address) = origin(sdp);
        sdp.set_origin(id, self.version, address);
        let bytes = sdp.to_bytes();
        if bytes == self.bytes {
            return self.clone();
        }
        let version = self.version + 1;
        sdp.set_origin(id, version, address);
        let bytes = sdp.to_bytes();
        Self { version, bytes }
    }

    pub(super) fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

/// The part of a description that one dialog has: the lines with these numbers, those that aren't
/// in use there at port 0.
pub(super) fn part(whole: &Sdp, lines: &[usize], is_in_use: impl Fn(usize) -> bool) -> Sdp {
    let own = lines.iter().filter_map(|&index| {
        let line = whole.media().get(index)?;
        Some(if is_in_use(index) {
            line.clone()
        } else {
            line.disabled()
        })
    });
    whole.with_media(own.collect())
}

/// The lines of an offer as its answer leaves them: those that it refuses at port 0.
pub(super) fn in_force(offer: &Bytes, answer: &Sdp) -> Vec<MediaDescription> {
    let Ok(offer) = Sdp::parse(offer) else {
        return Vec::new();
    };
    let lines = offer.media().iter().zip(answer.media());
    let lines = lines.map(|(offered, answered)| match answered.port() {
        0 => offered.disabled(),
        _ => offered.clone(),
    });
    lines.collect()
}

/// A line with all that its session says for it, so that it can stand among the lines of others.
pub(super) fn alone(sdp: &Sdp, line: &MediaDescription) -> MediaDescription {
    let mut line = line.clone();
    line.lines_mut().inherit(sdp.session(), OF_MEDIA);
    line
}

/// A description of lines that stand for themselves.
pub(super) fn whole(session: &Sdp, lines: Vec<MediaDescription>, id: u64) -> Sdp {
    let mut sdp = session.with_media(lines);
    let is_of_media = |name: &str| {
        let directions = ["sendrecv", "sendonly", "recvonly", "inactive"];
        let mut names = OF_MEDIA.iter().chain(&directions);
        names.any(|other| name.eq_ignore_ascii_case(other))
    };
    sdp.session_mut()
        .retain_attributes(|name, _| !is_of_media(name));
    sdp.set_origin(id, 0, IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    sdp
}

/// The session's number and the address of an o-line that the relay wrote.
fn origin(sdp: &Sdp) -> (u64, IpAddr) {
    let text = std::str::from_utf8(sdp.origin()).unwrap_or_default();
    let mut words = text.split(' ').skip(1);
    let id = words.next().and_then(|word| word.parse().ok());
    let address = words.nth(3).and_then(|word| word.parse().ok());
    (
        id.unwrap_or(0),
        address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "v=0\r\no=- 9 4 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\na=setup:active\r\n\
                         m=message 2855 TCP/MSRP *\r\na=path:x\r\nm=audio 4000 RTP/AVP 0\r\n";

    #[test]
    fn a_part_has_its_own_lines_and_its_own_version() {
        let sdp = Sdp::parse(WHOLE.as_bytes()).unwrap();
        let mut first = part(&sdp, &[1], |_| true);
        let said = Said::default().next(&mut first);
        let text = String::from_utf8(said.bytes().to_vec()).unwrap();
        assert!(text.contains("o=- 9 1 IN IP4 10.0.0.1\r\n"), "{text}");
        assert!(text.contains("m=audio 4000"), "{text}");
        assert!(!text.contains("m=message"), "{text}");
        let again = said.next(&mut part(&sdp, &[1], |_| true));
        assert_eq!(again.bytes(), said.bytes());
        let off = said.next(&mut part(&sdp, &[1], |_| false));
        let text = String::from_utf8(off.bytes().to_vec()).unwrap();
        assert!(
            text.contains("o=- 9 2 ") && text.contains("m=audio 0"),
            "{text}"
        );
    }

    #[test]
    fn a_line_takes_along_what_its_session_says() {
        let sdp = Sdp::parse(WHOLE.as_bytes()).unwrap();
        let line = alone(&sdp, &sdp.media()[0]);
        let whole = whole(&sdp, vec![line], 7);
        let text = String::from_utf8(whole.to_bytes().to_vec()).unwrap();
        let (session, media) = text.split_once("m=").unwrap();
        assert!(!session.contains("setup"), "{text}");
        assert!(media.contains("c=IN IP4 10.0.0.1\r\n"), "{text}");
        assert!(media.contains("a=setup:active\r\n"), "{text}");
    }
}
