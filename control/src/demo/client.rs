//! One of the two clients: its sockets, what it offers and what it answers.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use super::error::DemoError;
use super::{random, sdp};

/// How many pairs of ports are tried for RTP and RTCP.
const PORT_TRIES: usize = 64;

/// A client before its session.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) name: &'static str,
    pub(super) rtp: UdpSocket,
    pub(super) rtcp: UdpSocket,
    pub(super) chat: Port,
    pub(super) file: Port,
}

/// Where a client can be connected to for one MSRP stream.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) listener: TcpListener,
    pub(super) path: String,
}

/// Where the other side of a session is, as its SDP says.
#[derive(Debug)]
pub(super) struct Far {
    pub(super) rtp: SocketAddr,
    pub(super) rtcp: SocketAddr,
    pub(super) chat: FarPath,
    pub(super) file: FarPath,
}

/// The other side of an MSRP stream.
#[derive(Debug)]
pub(super) struct FarPath {
    pub(super) path: String,
    /// This client makes the connection.
    pub(super) connect: bool,
}

impl Client {
    pub(super) fn new(name: &'static str) -> Result<Self, DemoError> {
        let (rtp, rtcp) = media_sockets()?;
        Ok(Self {
            name,
            rtp,
            rtcp,
            chat: Port::open()?,
            file: Port::open()?,
        })
    }

    /// What it offers: voice, chat, and a file of some octets to send.
    pub(super) fn offer(&self, file_bytes: usize) -> Result<String, DemoError> {
        let selector = format!(
            "a=sendonly\r\na=file-selector:name:\"demo.bin\" type:application/octet-stream \
             size:{file_bytes}\r\na=file-transfer-id:{:016x}\r\n",
            random()
        );
        self.describe(["actpass", "actpass"], &selector)
    }

    /// What it answers to an offer.
    pub(super) fn answer(&self, far: &Far) -> Result<String, DemoError> {
        let setup = |far: &FarPath| if far.connect { "active" } else { "passive" };
        let setups = [setup(&far.chat), setup(&far.file)];
        self.describe(setups, "a=recvonly\r\n")
    }

    fn describe(&self, setups: [&str; 2], file: &str) -> Result<String, DemoError> {
        let local = self.rtp.local_addr().map_err(DemoError::doing("RTP"))?;
        let [chat_setup, file_setup] = setups;
        let (host, port) = (local.ip(), local.port());
        Ok(format!(
            "v=0\r\no={} {} 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n\
             m=audio {port} RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\na=sendrecv\r\n{}{}{file}",
            self.name,
            random() >> 1,
            self.chat.describe(chat_setup, "text/plain")?,
            self.file.describe(file_setup, "application/octet-stream")?,
        ))
    }
}

impl Port {
    fn open() -> Result<Self, DemoError> {
        let doing = "a listener for MSRP";
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(DemoError::doing(doing))?;
        let address = listener.local_addr().map_err(DemoError::doing(doing))?;
        let path = format!("msrp://{address}/{:016x}{:016x};tcp", random(), random());
        Ok(Self { listener, path })
    }

    /// The same listener for another thread.
    pub(super) fn copy(&self) -> Result<Self, DemoError> {
        let listener = self.listener.try_clone();
        Ok(Self {
            listener: listener.map_err(DemoError::doing("MSRP"))?,
            path: self.path.clone(),
        })
    }

    fn describe(&self, setup: &str, types: &str) -> Result<String, DemoError> {
        let address = self
            .listener
            .local_addr()
            .map_err(DemoError::doing("MSRP"))?;
        Ok(format!(
            "m=message {} TCP/MSRP *\r\na=accept-types:{types}\r\na=setup:{setup}\r\na=path:{}\r\n",
            address.port(),
            self.path
        ))
    }
}

impl Far {
    /// Reads it out of an offer or an answer.
    pub(super) fn read(text: &str) -> Result<Self, DemoError> {
        let sections = sdp::sections(text)?;
        let [audio, chat, file] = sections.as_slice() else {
            let came = format!("{} of them", sections.len());
            return Err(DemoError::unexpected("three m-lines", &came));
        };
        if audio.media != "audio" || audio.address.port() == 0 {
            let came = format!("m={} {}", audio.media, audio.address.port());
            return Err(DemoError::unexpected("m=audio with a port", &came));
        }
        let next = audio.address.port().saturating_add(1);
        let rtcp = match (audio.attribute("rtcp"), audio.attribute("rtcp-mux")) {
            (_, Some(_)) => audio.address.port(),
            (Some(value), None) => value
                .split(' ')
                .next()
                .unwrap_or_default()
                .parse()
                .unwrap_or(next),
            (None, None) => next,
        };
        Ok(Self {
            rtp: audio.address,
            rtcp: SocketAddr::new(audio.address.ip(), rtcp),
            chat: FarPath::read(chat)?,
            file: FarPath::read(file)?,
        })
    }
}

impl FarPath {
    fn read(section: &sdp::Section) -> Result<Self, DemoError> {
        let path = section
            .attribute("path")
            .filter(|path| path.starts_with("msrp://"));
        match path {
            Some(path) if section.media == "message" && section.address.port() != 0 => Ok(Self {
                path: path.to_owned(),
                // Who offers both, or nothing, or to be connected to, is connected to.
                connect: section.attribute("setup") != Some("active"),
            }),
            _ => {
                let came = format!("m={} {}", section.media, section.address.port());
                Err(DemoError::unexpected(
                    "m=message with a port and a path",
                    &came,
                ))
            }
        }
    }
}

/// An even port for RTP and the odd one after it for RTCP (RFC 3550 §11).
fn media_sockets() -> Result<(UdpSocket, UdpSocket), DemoError> {
    let doing = "a pair of ports for RTP";
    for _ in 0..PORT_TRIES {
        let rtp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(DemoError::doing(doing))?;
        let port = rtp.local_addr().map_err(DemoError::doing(doing))?.port();
        if port % 2 == 1 {
            continue;
        }
        if let Ok(rtcp) = UdpSocket::bind((Ipv4Addr::LOCALHOST, port + 1)) {
            return Ok((rtp, rtcp));
        }
    }
    Err(DemoError::late(doing))
}
