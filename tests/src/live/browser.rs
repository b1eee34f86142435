//! Headless Chromium as a client, and the page that it runs.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use serde_json::Value;

use crate::live::process::{Folder, Process};
use crate::live::{find, workspace};

/// A server of one page, which takes what the page says by `POST /result`.
#[derive(Debug)]
pub struct Site {
    address: SocketAddr,
    results: Receiver<String>,
}

impl Site {
    /// Serves `tests/browser/PAGE` with `@NAME@` replaced by values.
    ///
    /// # Panics
    ///
    /// The page isn't there or no port is free.
    #[must_use]
    pub fn serve(page: &str, values: &[(&str, &str)]) -> Self {
        let file = workspace().join("tests/browser").join(page);
        let mut text = std::fs::read_to_string(file).expect("the page is there");
        for (name, value) in values {
            text = text.replace(&format!("@{name}@"), value);
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a TCP port is free");
        let address = listener.local_addr().expect("the socket is bound");
        let (say, results) = mpsc::channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A browser opens connections that it may never use.
                let (text, say) = (text.clone(), say.clone());
                std::thread::spawn(move || {
                    let _gone = answer(&stream, &text, &say);
                });
            }
        });
        Self { address, results }
    }

    /// Where it comes from, as the browser says in Origin.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What the page says, within `at_most`.
    #[must_use]
    pub fn result(&self, at_most: Duration) -> Option<Value> {
        let text = self.results.recv_timeout(at_most).ok()?;
        serde_json::from_str(&text).ok()
    }
}

/// One request, one response.
fn answer(stream: &TcpStream, page: &str, say: &Sender<String>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.take(1 << 20));
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first)?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let is_result = first.starts_with("POST /result ");
    if is_result {
        let _gone = say.send(String::from_utf8_lossy(&body).into_owned());
    }
    let (status, text) = match first.split(' ').nth(1) {
        Some("/") => ("200 OK", page),
        Some("/result") => ("200 OK", ""),
        Some(_) | None => ("404 Not Found", ""),
    };
    let mut out = stream;
    write!(
        out,
        "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{text}",
        text.len()
    )
}

/// A running browser; it ends with this value.
#[derive(Debug)]
pub struct Browser {
    process: Process,
    _folder: Folder,
}

impl Browser {
    /// Opens a site.
    ///
    /// # Panics
    ///
    /// Chromium isn't installed.
    #[must_use]
    pub fn open(site: &Site) -> Self {
        let folder = Folder::new("browser");
        let mut command = Command::new(find("chromium").expect("chromium is installed"));
        command
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--no-first-run",
            ])
            .args([
                "--disable-dev-shm-usage",
                "--disable-extensions",
                "--mute-audio",
            ])
            .arg(format!(
                "--user-data-dir={}",
                folder.path().join("user").display()
            ))
            // Without it nothing ends the browser but us: --dump-dom would wait for the page alone.
            .arg("--remote-debugging-port=0")
            .env("HOME", folder.path())
            .arg(format!("{}/", site.origin()));
        let process = Process::start("chromium", folder.path(), &mut command);
        Self {
            process,
            _folder: folder,
        }
    }

    /// What it wrote.
    #[must_use]
    pub fn output(&self) -> String {
        self.process.output()
    }
}
