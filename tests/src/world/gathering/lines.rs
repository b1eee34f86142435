//! A guest's descriptions.

use std::net::IpAddr;

use rand::RngExt;
use rand::rngs::StdRng;

/// The media lines of a dialog, in order: what each carries, and whether it is on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Lines(Vec<(String, bool)>);

const KINDS: [&str; 3] = ["audio", "video", "message"];

/// The lines of a message's body.
pub(super) fn read(text: &str) -> Lines {
    let body = text.split("\r\n\r\n").nth(1).unwrap_or_default();
    let lines = body.lines().filter_map(|line| line.strip_prefix("m="));
    let lines = lines.map(|line| {
        let mut words = line.split(' ');
        let kind = words.next().unwrap_or_default().to_owned();
        (kind, words.next() != Some("0"))
    });
    Lines(lines.collect())
}

impl Lines {
    /// At least one line.
    pub fn some(random: &mut StdRng) -> Self {
        let kinds = KINDS.into_iter();
        let kinds = kinds.filter(|kind| *kind == "message" || random.random());
        Self(kinds.map(|kind| (kind.to_owned(), true)).collect())
    }

    /// The same with one line switched, or another one.
    pub fn changed(&self, random: &mut StdRng) -> Self {
        let mut lines = self.0.clone();
        let kind = KINDS[random.random_range(0..KINDS.len())];
        match lines.iter_mut().find(|(own, _)| own == kind) {
            Some((_, is_on)) => *is_on = !*is_on,
            None => lines.push((kind.to_owned(), true)),
        }
        if lines.iter().all(|(_, is_on)| !is_on)
            && let Some((_, is_on)) = lines.first_mut()
        {
            *is_on = true;
        }
        Self(lines)
    }

    /// An answer that takes all, or nearly all.
    pub fn accepted(mut self, random: &mut StdRng) -> Self {
        for (kind, is_on) in &mut self.0 {
            *is_on &= kind == "message" || random.random_ratio(7, 8);
        }
        self
    }

    /// What was offered, as the answer leaves it.
    pub fn answered(mut self, answer: &Self) -> Self {
        for (own, theirs) in self.0.iter_mut().zip(&answer.0) {
            own.1 &= theirs.1;
        }
        self
    }

    /// What an offer that was refused does not take away.
    pub fn kept(mut self, offer: &Self) -> Self {
        for (own, theirs) in self.0.iter_mut().zip(&offer.0) {
            own.1 &= theirs.1;
        }
        self
    }

    /// What is on, in alphabetical order.
    pub fn used(&self) -> Vec<String> {
        let on = self.0.iter().filter(|(_, is_on)| *is_on);
        let mut on: Vec<String> = on.map(|(kind, _)| kind.clone()).collect();
        on.sort();
        on
    }

    pub fn write(&self, ip: IpAddr, version: u32) -> String {
        let mut text =
            format!("v=0\r\no=g 1 {version} IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n");
        for (kind, is_on) in &self.0 {
            let (port, rest) = match kind.as_str() {
                "audio" => (4000, "RTP/AVP 0\r\n".to_owned()),
                "video" => (4010, "RTP/AVP 97\r\na=rtpmap:97 VP8/90000\r\n".to_owned()),
                _ => {
                    let path = format!("a=path:msrp://{ip}:4020/abcd;tcp\r\n");
                    let rest = "TCP/MSRP *\r\na=setup:active\r\na=accept-types:message/cpim\r\n";
                    (4020, format!("{rest}{path}"))
                }
            };
            let port = if *is_on { port } else { 0 };
            text.push_str(&format!("m={kind} {port} {rest}"));
        }
        text
    }
}
