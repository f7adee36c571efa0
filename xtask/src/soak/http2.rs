//! Clients of HTTP/2, with TLS and without, while binaries and deployments change.
//!
//! A connection that is told to leave finishes its streams, and another one is made in its place: that is no failure, and
//! nor is a stream that the gateway says it has not looked at (RFC 9113 6.8), which is asked for again. A stream that is
//! reset, cut short or answered wrongly is one, and so is a connection that is refused, or ends without a word.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{join, join_all};
use h2::client::SendRequest;
use h2::{Reason, RecvStream};
use http::{Method, Request};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::streams::whole_stream;
use super::{PORT, TLS_PORT};
use crate::Outcome;

/// Connections of each kind, plain and encrypted.
const CONNECTIONS: usize = 2;
/// Streams of each connection at a time that ask and are answered at once, that upload, and that read events.
const ASKING: usize = 6;
const UPLOADING: usize = 2;
const READING: usize = 2;
/// The parts of an upload, and the pause between two.
const PARTS: usize = 8;
const PART: &[u8] = &[b'x'; 4096];
const PAUSE: Duration = Duration::from_millis(20);
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(10);

const UPLOAD: &str = "export async function length(request: Request): Promise<Response> {
  return new Response(`${(await request.text()).length}`);
}
";

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// What became of the streams.
#[derive(Default)]
pub(super) struct Counts {
    asked: AtomicU64,
    uploads: AtomicU64,
    events: AtomicU64,
    moved: AtomicU64,
    again: AtomicU64,
    failed: AtomicU64,
}

impl Counts {
    /// One line about them; an error when one failed, when something was not tried, or fewer connections than `stops` were
    /// told to leave.
    pub(super) fn conclude(&self, stops: usize) -> Outcome {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        println!(
            "HTTP/2: {} requests, {} uploads, {} streams of events; {} connections told to leave, {} streams asked again; {} failed",
            of(&self.asked),
            of(&self.uploads),
            of(&self.events),
            of(&self.moved),
            of(&self.again),
            of(&self.failed),
        );
        if of(&self.failed) > 0 {
            return Err("streams or connections of HTTP/2 failed".to_owned());
        }
        match [&self.asked, &self.uploads, &self.events].map(of).contains(&0)
            || of(&self.moved) < stops as u64
        {
            true => Err("HTTP/2 was not put to the test".to_owned()),
            false => Ok(()),
        }
    }

    fn fail(&self, what: &str, error: &Failed) {
        eprintln!("HTTP/2, {what}: {error}");
        self.failed.fetch_add(1, Ordering::Relaxed);
    }
}

/// Adds to a project what is uploaded to.
pub(super) fn routes(project: &Path) -> std::io::Result<()> {
    std::fs::write(project.join("modules/length.ts"), UPLOAD)?;
    let handler = json!({ "export": "length", "module": "$import(./modules/length)" });
    let paths = json!({ "/soak/length": { "post": { "x-polygate-route": { "handler": handler } } } });
    let routes = json!({ "openapi": "3.1.0", "info": { "title": "soak", "version": "1" }, "paths": paths });
    std::fs::write(project.join("config/length.oas.json"), routes.to_string())
}

/// Keeps connections busy until `over`.
pub(super) fn load(tls: &Arc<ClientConfig>, over: &AtomicBool, counts: &Counts) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return counts.fail("the runtime", &error.into()),
    };
    let kinds = [None, Some(tls)];
    let clients =
        kinds.into_iter().flat_map(|tls| std::iter::repeat_n(tls, CONNECTIONS)).map(|tls| async move {
            while !over.load(Ordering::Relaxed) {
                if let Err(error) = connection(tls, over, counts).await {
                    counts.fail("a connection", &error);
                    tokio::time::sleep(PAUSE).await;
                }
            }
        });
    runtime.block_on(join_all(clients));
}

/// One connection, until it is told to leave.
async fn connection(
    tls: Option<&Arc<ClientConfig>>,
    over: &AtomicBool,
    counts: &Counts,
) -> Result<(), Failed> {
    let port = if tls.is_some() { TLS_PORT } else { PORT };
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    match tls {
        None => streams(stream, over, counts).await,
        Some(config) => {
            let name = ServerName::try_from("localhost")?;
            streams(TlsConnector::from(config.clone()).connect(name, stream).await?, over, counts).await
        }
    }
}

/// What a stream is for.
#[derive(Clone, Copy)]
enum Errand {
    Ask,
    Upload,
    Read,
}

async fn streams<T: AsyncRead + AsyncWrite + Unpin>(
    stream: T,
    over: &AtomicBool,
    counts: &Counts,
) -> Result<(), Failed> {
    let (client, connection) = h2::client::handshake(stream).await?;
    let errands = [(Errand::Ask, ASKING), (Errand::Upload, UPLOADING), (Errand::Read, READING)];
    let errands = errands.into_iter().flat_map(|(errand, count)| std::iter::repeat_n(errand, count));
    let streams: Vec<_> = errands.map(|errand| stay(client.clone(), errand, over, counts)).collect();
    // With the last sender the connection ends.
    drop(client);
    let (ended, told) = join(connection, join_all(streams)).await;
    counts.moved.fetch_add(u64::from(told.contains(&true)), Ordering::Relaxed);
    // It ends in order after a GOAWAY without blame, and when nobody needs it any more.
    Ok(ended?)
}

/// Runs one errand after the other until there is no more to be had on this connection. Says whether it was told to leave.
async fn stay(mut client: SendRequest<Bytes>, errand: Errand, over: &AtomicBool, counts: &Counts) -> bool {
    while !over.load(Ordering::Relaxed) {
        client = match client.ready().await {
            Ok(client) => client,
            Err(error) if is_farewell(&error) => return true,
            Err(error) => {
                counts.fail("a connection", &error.into());
                return false;
            }
        };
        let done = tokio::time::timeout(PATIENCE, run(&mut client, errand)).await;
        let (count, what) = match errand {
            Errand::Ask => (&counts.asked, "a request"),
            Errand::Upload => (&counts.uploads, "an upload"),
            Errand::Read => (&counts.events, "a stream of events"),
        };
        match done {
            Ok(Ok(())) => _ = count.fetch_add(1, Ordering::Relaxed),
            Ok(Err(error)) if error.downcast_ref().is_some_and(is_farewell) => {
                counts.again.fetch_add(1, Ordering::Relaxed);
            }
            Ok(Err(error)) => counts.fail(what, &error),
            Err(_) => counts.fail(what, &"it takes too long".into()),
        }
    }
    false
}

/// Whether the gateway has said goodbye without blame before it looked at the stream: others end as they would have.
fn is_farewell(error: &h2::Error) -> bool {
    error.is_go_away() && error.is_remote() && error.reason() == Some(Reason::NO_ERROR)
}

async fn run(client: &mut SendRequest<Bytes>, errand: Errand) -> Result<(), Failed> {
    let (method, path) = match errand {
        Errand::Ask => (Method::GET, "/hello/Ada"),
        Errand::Upload => (Method::POST, "/soak/length"),
        Errand::Read => (Method::GET, "/soak/events"),
    };
    let head = Request::builder().method(method).uri(format!("http://localhost{path}")).body(())?;
    let (response, mut upload) = client.send_request(head, !matches!(errand, Errand::Upload))?;
    if matches!(errand, Errand::Upload) {
        for part in 1..=PARTS {
            upload.send_data(Bytes::from_static(PART), part == PARTS)?;
            tokio::time::sleep(PAUSE).await;
        }
    }
    let response = response.await?;
    let status = response.status();
    let text = text(response.into_body()).await?;
    let is_right = match errand {
        Errand::Ask => text.starts_with(r#"{"hello":"Ada","#) && text.ends_with('}'),
        Errand::Upload => text == (PARTS * PART.len()).to_string(),
        Errand::Read => text == whole_stream(),
    };
    if status == 200 && is_right { Ok(()) } else { Err(format!("answered with {status}: {text}").into()) }
}

async fn text(mut body: RecvStream) -> Result<String, Failed> {
    let mut text = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        text.extend_from_slice(&data);
    }
    Ok(String::from_utf8(text)?)
}
