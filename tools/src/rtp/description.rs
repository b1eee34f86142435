//! The little SDP (RFC 8866) that a call needs: one line of sound.

use std::net::SocketAddr;

use super::packet::Codec;

/// A description of sound at `at`; with `mux`, RTCP shares its port and nothing else will do
/// (RFC 8858).
#[must_use]
pub fn sound(at: SocketAddr, codec: Codec, mux: bool) -> String {
    let (ip, port) = (at.ip(), at.port());
    let (kind, rtpmap) = (codec.payload_type(), codec.rtpmap());
    format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP {kind}\r\na=rtpmap:{kind} {rtpmap}\r\na=ptime:20\r\n\
         a=sendrecv\r\n{}",
        if mux {
            "a=rtcp-mux\r\na=rtcp-mux-only\r\n"
        } else {
            ""
        }
    )
}

/// Where the first sound of a description is received.
///
/// # Errors
///
/// It says no address or refuses the sound.
pub fn place(sdp: &str) -> Result<SocketAddr, String> {
    let after = |prefix: &str| sdp.lines().find_map(|line| line.strip_prefix(prefix));
    let ip = after("c=IN IP4 ").and_then(|rest| rest.trim().parse().ok());
    let port = after("m=audio ").and_then(|rest| rest.split(' ').next()?.parse().ok());
    match (ip, port) {
        (Some(ip), Some(port)) if port != 0 => Ok(SocketAddr::new(ip, port)),
        _ => Err(format!("no address for sound in:\n{sdp}")),
    }
}

#[cfg(test)]
mod tests {
    use super::{place, sound};
    use crate::rtp::packet::Codec;

    #[test]
    fn a_description_says_where_its_sound_is() {
        let at = "127.0.0.1:4000".parse().unwrap();
        assert_eq!(place(&sound(at, Codec::Opus, true)), Ok(at));
    }

    #[test]
    fn refused_sound_is_an_error() {
        let at = "127.0.0.1:0".parse().unwrap();
        assert!(place(&sound(at, Codec::G711, false)).is_err());
    }
}
