//! Requests over one connection that is opened again when it is lost.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A whole request may take this long; the host keeps a post waiting for 10 s at most.
const LIMIT: Duration = Duration::from_secs(30);

/// The longest body of a reply.
const REPLY: usize = 64 * 1024;

/// A host, and the connection that requests to it share.
pub(super) struct Exchange {
    authority: String,
    sender: Option<SendRequest<Full<Bytes>>>,
}

/// A whole reply.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

impl Exchange {
    pub(super) fn new(authority: &str) -> Self {
        Self { authority: authority.to_owned(), sender: None }
    }

    /// Sends a request and reads the whole reply. A connection that was idle may have been closed by the
    /// host: then it is made once more.
    pub(super) async fn ask(
        &mut self,
        method: Method,
        path: &str,
        session: Option<&str>,
        body: Bytes,
    ) -> io::Result<Reply> {
        let was_idle = self.sender.is_some();
        let first = self.once(&method, path, session, body.clone()).await;
        match first {
            Err(_) if was_idle => self.once(&method, path, session, body).await,
            other => other,
        }
    }

    async fn once(
        &mut self,
        method: &Method,
        path: &str,
        session: Option<&str>,
        body: Bytes,
    ) -> io::Result<Reply> {
        let mut sender = match self.sender.take().filter(|sender| !sender.is_closed()) {
            Some(sender) => sender,
            None => connect(&self.authority).await?,
        };
        let request = request(&self.authority, method, path, session, body)?;
        let asked = async {
            sender.ready().await?;
            let response = sender.send_request(request).await?;
            let status = response.status();
            Ok::<_, hyper::Error>((status, Limited::new(response.into_body(), REPLY)))
        };
        let (status, body) = timeout(LIMIT, asked).await?.map_err(io::Error::other)?;
        let body = timeout(LIMIT, body.collect()).await?.map_err(io::Error::other)?;
        self.sender = Some(sender);
        Ok(Reply { status, body: body.to_bytes() })
    }
}

/// Opens a connection; a task drives it until it ends.
pub(super) async fn connect(authority: &str) -> io::Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(authority).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "HTTP connection ended");
        }
    });
    Ok(sender)
}

/// A request with what each has.
pub(super) fn request(
    authority: &str,
    method: &Method,
    path: &str,
    session: Option<&str>,
    body: Bytes,
) -> io::Result<Request<Full<Bytes>>> {
    let mut builder = Request::builder().method(method.clone()).uri(path).header(HOST, authority);
    if let Some(session) = session {
        builder = builder.header("X-Session-Id", session);
    }
    builder = builder.header(CONTENT_TYPE, "application/json");
    builder.body(Full::new(body)).map_err(io::Error::other)
}

/// The head of a streamed reply in time; its body may go on for ever.
pub(super) async fn stream(
    authority: &str,
    request: Request<Full<Bytes>>,
) -> io::Result<(Response<Incoming>, SendRequest<Full<Bytes>>)> {
    let mut sender = timeout(LIMIT, connect(authority)).await??;
    let response = timeout(LIMIT, sender.send_request(request)).await?;
    Ok((response.map_err(io::Error::other)?, sender))
}

/// What a refusal says, for people.
pub(super) fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(body).chars().take(200).collect()
}
