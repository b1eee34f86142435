//! Somebody who reads a mailbox (RFC 3501), with simple string code.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A connection on which a user is logged in.
#[derive(Debug)]
pub struct Reader {
    stream: BufReader<TcpStream>,
}

/// A message of a mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// Its UID.
    pub uid: u32,
    /// All of it.
    pub text: String,
}

impl Reader {
    /// Logs in.
    ///
    /// # Panics
    ///
    /// The server isn't there or refuses it.
    #[must_use]
    pub fn login(server: SocketAddr, user: &str, password: &str) -> Self {
        let stream = TcpStream::connect(server).expect("the server is there");
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .expect("a time can be set");
        let mut reader = Self {
            stream: BufReader::new(stream),
        };
        let _greeting = reader.line();
        let password = password.replace('\\', "\\\\").replace('"', "\\\"");
        let answer = reader.ask(&format!("LOGIN \"{user}\" \"{password}\""));
        assert!(answer.contains("a OK"), "{answer}");
        reader
    }

    /// The names of all mailboxes.
    ///
    /// # Panics
    ///
    /// The server ends the connection.
    pub fn mailboxes(&mut self) -> Vec<String> {
        let answer = self.ask("LIST \"\" \"*\"");
        let lines = answer.lines().filter(|line| line.starts_with("* LIST"));
        let name = |line: &str| {
            line.rsplit(" \"/\" ")
                .next()
                .map(|name| name.replace('"', ""))
        };
        lines.filter_map(name).collect()
    }

    /// All messages of a mailbox.
    ///
    /// # Panics
    ///
    /// It can't be read.
    pub fn mails(&mut self, mailbox: &str) -> Vec<Mail> {
        let answer = self.ask(&format!("EXAMINE \"{mailbox}\""));
        assert!(answer.contains("a OK"), "{answer}");
        if answer.contains("* 0 EXISTS") {
            return Vec::new();
        }
        self.send("UID FETCH 1:* (UID BODY.PEEK[])");
        let mut mails = Vec::new();
        loop {
            let line = self.line();
            if line.starts_with("a ") {
                return mails;
            }
            let Some((head, octets)) = line.trim_end().trim_end_matches('}').rsplit_once('{')
            else {
                continue;
            };
            let uid = head.split("UID ").nth(1).expect("a UID");
            let uid = uid.split(' ').next().and_then(|uid| uid.parse().ok());
            let mut text = vec![0; octets.parse().expect("a length")];
            self.stream.read_exact(&mut text).expect("a literal");
            mails.push(Mail {
                uid: uid.expect("a number"),
                text: String::from_utf8_lossy(&text).into_owned(),
            });
        }
    }

    fn ask(&mut self, command: &str) -> String {
        self.send(command);
        let mut answer = String::new();
        loop {
            let line = self.line();
            answer.push_str(&line);
            if line.starts_with("a ") {
                return answer;
            }
        }
    }

    fn send(&mut self, command: &str) {
        let line = format!("a {command}\r\n");
        let sent = self.stream.get_mut().write_all(line.as_bytes());
        sent.expect("the server listens");
    }

    fn line(&mut self) -> String {
        let mut line = Vec::new();
        let read = self.stream.read_until(b'\n', &mut line);
        assert!(read.is_ok_and(|octets| octets > 0), "the server is gone");
        String::from_utf8_lossy(&line).into_owned()
    }
}
