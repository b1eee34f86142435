//! The server: a few connections, one request each, and an answer in time or a 503.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header::{CONNECTION, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, Sleep, sleep, timeout};

use super::{Question, RunState, SessionView, Unloaded, metrics};
use crate::limits::{
    ADMIN_ANSWER_SECONDS, ADMIN_CONNECTION_SECONDS, ADMIN_CONNECTIONS, ADMIN_QUESTIONS,
};

/// The run loop's end of the operator's door. Dropping it makes every answer a 503.
#[derive(Debug)]
pub struct Door {
    /// What the door wants to know.
    pub questions: mpsc::Receiver<Question>,
    /// Where it is bound.
    pub address: SocketAddr,
}

/// Binds the door and serves it on the runtime that this is called on.
///
/// # Errors
///
/// When the address can't be bound.
pub async fn serve(listen: SocketAddr) -> io::Result<Door> {
    let listener = TcpListener::bind(listen).await?;
    let address = listener.local_addr()?;
    let (ask, questions) = mpsc::channel(ADMIN_QUESTIONS);
    let app = Router::new()
        .route("/", get(index))
        .route("/health", get(health))
        .route("/sessions", get(sessions))
        .route("/metrics", get(counters))
        .route("/reload", post(reload))
        .layer(map_response(last))
        .with_state(Asker { ask });
    let narrow = Narrow {
        listener,
        places: Arc::new(Semaphore::new(ADMIN_CONNECTIONS)),
    };
    tokio::spawn(async move {
        if let Err(error) = axum::serve(narrow, app).await {
            tracing::warn!(%error, "the operator's door is closed");
        }
    });
    Ok(Door { questions, address })
}

#[derive(Clone)]
struct Asker {
    ask: mpsc::Sender<Question>,
}

impl Asker {
    /// Puts a question and waits for its answer.
    async fn answer<T>(
        &self,
        question: impl FnOnce(oneshot::Sender<T>) -> Question,
    ) -> Result<T, Unanswered> {
        let (reply, answer) = oneshot::channel();
        self.ask.try_send(question(reply)).map_err(|_| Unanswered)?;
        match timeout(Duration::from_secs(ADMIN_ANSWER_SECONDS), answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) | Err(_) => Err(Unanswered),
        }
    }
}

/// The run loop has too much to do, or has ended.
struct Unanswered;

impl IntoResponse for Unanswered {
    fn into_response(self) -> Response {
        let text = "the relay did not answer in time\n";
        (
            StatusCode::SERVICE_UNAVAILABLE,
            [(CONNECTION, "close")],
            text,
        )
            .into_response()
    }
}

/// Ends the connection after its answer, so that nobody keeps a place.
async fn last(mut response: Response) -> Response {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
    response
}

async fn index() -> &'static str {
    "Midpath: /health /sessions /metrics, POST /reload\n"
}

async fn health(State(asker): State<Asker>) -> Result<Response, Unanswered> {
    let health = asker.answer(Question::Health).await?;
    let status = match health.state {
        RunState::Serving => StatusCode::OK,
        RunState::Draining => StatusCode::SERVICE_UNAVAILABLE,
    };
    Ok((status, Json(health)).into_response())
}

async fn sessions(State(asker): State<Asker>) -> Result<Json<Vec<SessionView>>, Unanswered> {
    asker.answer(Question::Sessions).await.map(Json)
}

async fn counters(State(asker): State<Asker>) -> Result<Response, Unanswered> {
    let text = metrics::encode(&asker.answer(Question::Metrics).await?);
    Ok(([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}

async fn reload(State(asker): State<Asker>) -> Result<Response, Unanswered> {
    Ok(match asker.answer(Question::Reload).await? {
        Ok(reloaded) => Json(reloaded).into_response(),
        Err(unloaded) => {
            let text = match unloaded {
                Unloaded::NoFile => "the relay was started without a file\n".to_owned(),
                Unloaded::Wrong(complaint) => complaint + "\n",
            };
            (StatusCode::CONFLICT, text).into_response()
        }
    })
}

/// A listener with a few places: who comes when all are taken waits in the kernel's queue.
struct Narrow {
    listener: TcpListener,
    places: Arc<Semaphore>,
}

impl Listener for Narrow {
    type Io = Guest;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Guest, SocketAddr) {
        loop {
            let Ok(place) = Arc::clone(&self.places).acquire_owned().await else {
                // Only a closed semaphore has no permits to come, and nobody closes this one.
                std::future::pending::<()>().await;
                continue;
            };
            let (stream, address) = Listener::accept(&mut self.listener).await;
            let guest = Guest {
                stream,
                leave: Box::pin(sleep(Duration::from_secs(ADMIN_CONNECTION_SECONDS))),
                _place: place,
            };
            return (guest, address);
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection with a place and a time to leave, so that a slow one doesn't keep its place.
struct Guest {
    stream: TcpStream,
    leave: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

impl Guest {
    fn check_time(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.leave.as_mut().poll(context) {
            Poll::Ready(()) => {
                // A sleep must not be polled again once it has ended.
                let soon = Instant::now() + Duration::from_millis(1);
                self.leave.as_mut().reset(soon);
                Err(io::ErrorKind::TimedOut.into())
            }
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Guest {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check_time(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Guest {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check_time(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
