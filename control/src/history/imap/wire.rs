//! A connection to an IMAP server: commands out, replies in.

use std::fmt;
use std::io;
use std::time::Duration;

use imap_codec::ResponseCodec;
use imap_codec::fragmentizer::Fragmentizer;
use imap_codec::imap_types::IntoStatic;
use imap_codec::imap_types::core::Tag;
use imap_codec::imap_types::response::{Code, Data, Response, Status, StatusBody, StatusKind};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::history::store::Failure;
use crate::limits::HISTORY_REPLY_BYTES;

/// TCP, or TLS over it.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A connection. After an error it is of no use any more.
pub(super) struct Wire {
    stream: Box<dyn Stream>,
    replies: Fragmentizer,
    tag: u64,
    answer_max: Duration,
    /// What parts the levels of mailboxes, once it was asked for.
    pub(super) delimiter: Option<char>,
    /// The UIDVALIDITY that a reply told last.
    pub(super) validity: Option<u32>,
}

/// What a server says.
pub(super) enum Reply {
    /// The rest of a command may come.
    GoOn,
    /// Data, or a status that ends nothing.
    Data(Data<'static>),
    /// The command has ended.
    Done(Done),
}

/// How a command ended.
pub(super) struct Done {
    pub(super) kind: StatusKind,
    pub(super) code: Option<Code<'static>>,
    /// What it says of it, its code included.
    pub(super) text: String,
}

impl Wire {
    pub(super) fn new(stream: Box<dyn Stream>, answer_max: Duration) -> Self {
        Self {
            stream,
            replies: Fragmentizer::new(HISTORY_REPLY_BYTES),
            tag: 0,
            answer_max,
            delimiter: None,
            validity: None,
        }
    }

    /// The stream, for TLS to begin on; what was read and not used is dropped with the rest.
    pub(super) fn into_stream(self) -> Box<dyn Stream> {
        self.stream
    }

    /// Waits for the greeting.
    ///
    /// # Errors
    ///
    /// [`Failure::Out`]: the server wants nobody, or isn't one.
    pub(super) async fn greeting(&mut self) -> Result<(), Failure> {
        match self.response().await? {
            Response::Status(Status::Untagged(StatusBody {
                kind: StatusKind::Ok,
                ..
            })) => Ok(()),
            other => Err(Failure::Out(format!("no greeting but {other:?}"))),
        }
    }

    /// Sends a command and waits for its end.
    ///
    /// # Errors
    ///
    /// [`Failure::Out`]: the connection.
    pub(super) async fn command(&mut self, text: &str) -> Result<Done, Failure> {
        self.send(text).await?;
        self.done().await
    }

    /// Sends a command, or its beginning.
    ///
    /// # Errors
    ///
    /// [`Failure::Out`]: the connection.
    pub(super) async fn send(&mut self, text: &str) -> Result<(), Failure> {
        self.tag += 1;
        let line = format!("m{} {text}\r\n", self.tag);
        self.write(line.as_bytes()).await
    }

    /// Sends octets.
    ///
    /// # Errors
    ///
    /// [`Failure::Out`]: the connection.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let write = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        within(self.answer_max, write).await
    }

    /// Waits for the end of the command.
    ///
    /// # Errors
    ///
    /// [`Failure::Out`]: the connection.
    pub(super) async fn done(&mut self) -> Result<Done, Failure> {
        loop {
            match self.reply().await? {
                Reply::Done(done) => return Ok(done),
                Reply::GoOn | Reply::Data(_) => {}
            }
        }
    }

    /// Waits for what the server says next.
    ///
    /// # Errors
    ///
    /// [`Failure::Out`]: the connection, and a server that ends it.
    pub(super) async fn reply(&mut self) -> Result<Reply, Failure> {
        loop {
            match self.response().await? {
                Response::CommandContinuationRequest(_) => return Ok(Reply::GoOn),
                Response::Data(data) => return Ok(Reply::Data(data)),
                Response::Status(Status::Tagged(tagged)) => {
                    if tagged.tag.as_ref() != format!("m{}", self.tag) {
                        return Err(Failure::Out("an answer to nothing".to_owned()));
                    }
                    return Ok(Reply::Done(Done::of(tagged.body)));
                }
                Response::Status(Status::Untagged(body)) => {
                    if let Some(Code::UidValidity(validity)) = body.code {
                        self.validity = Some(validity.get());
                    }
                }
                Response::Status(Status::Bye(bye)) => {
                    return Err(Failure::Out(format!("the server ends it: {}", bye.text)));
                }
            }
        }
    }

    /// The next response that can be read. Data of extensions that nobody asked for is left out.
    async fn response(&mut self) -> Result<Response<'static>, Failure> {
        loop {
            while self.replies.progress().is_some() {
                if !self.replies.is_message_complete() {
                    continue;
                }
                if let Ok(response) = self.replies.decode_message(&ResponseCodec::default()) {
                    return Ok(response.into_static());
                }
                if self.replies.decode_tag().is_some_and(|tag| is_ours(&tag)) {
                    let bytes = self.replies.message_bytes();
                    let text = String::from_utf8_lossy(bytes).trim().to_owned();
                    return Err(Failure::Out(format!("not understood: {text}")));
                }
            }
            let mut bytes = [0; 4096];
            let read = within(self.answer_max, self.stream.read(&mut bytes)).await?;
            if read == 0 {
                return Err(Failure::Out("the server closed the connection".to_owned()));
            }
            self.replies
                .enqueue_bytes(bytes.get(..read).unwrap_or_default());
        }
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Wire").field("tag", &self.tag).finish()
    }
}

impl Done {
    fn of(body: StatusBody<'static>) -> Self {
        let code = body.code.as_ref().map(|code| match code {
            Code::Other(other) => format!("[{}] ", String::from_utf8_lossy(other.inner())),
            other => format!("[{other:?}] "),
        });
        Self {
            kind: body.kind,
            text: format!("{}{}", code.unwrap_or_default(), body.text),
            code: body.code,
        }
    }
}

/// Whether a tag is one of ours: untagged and continued replies have none.
fn is_ours(tag: &Tag<'_>) -> bool {
    tag.as_ref().starts_with('m')
}

/// A text as a quoted string; `None`: only a literal could carry it.
pub(super) fn quoted(text: &str) -> Option<String> {
    if !text.bytes().all(|b| b.is_ascii_graphic() || b == b' ') {
        return None;
    }
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
    Some(format!("\"{escaped}\""))
}

/// Waits for the network, but not for ever.
pub(super) async fn within<T>(
    at_most: Duration,
    work: impl Future<Output = io::Result<T>>,
) -> Result<T, Failure> {
    match timeout(at_most, work).await {
        Ok(done) => done.map_err(|error| Failure::Out(error.to_string())),
        Err(_) => Err(Failure::Out(format!("no answer within {at_most:?}"))),
    }
}
