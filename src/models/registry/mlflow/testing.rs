//! A server in this process that answers as a test says, with faults where the test wants them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::Response;
use futures::stream::{self, StreamExt as _};
use serde_json::{Value, json};

use super::rest::Patience;
use crate::shutdown::Shutdown;

/// What goes wrong with a request, instead of or within its answer.
#[derive(Debug, Clone)]
pub(super) enum Fault {
    Status(u16, Vec<(&'static str, String)>, String),
    /// No answer for as long as the test lives.
    Hang,
    /// The connection breaks after so many bytes of the body.
    CutAfter(usize),
    None,
}

#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) method: Method,
    /// With its query, escapes undone.
    pub(super) target: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

#[derive(Default)]
struct Content {
    /// By method and target.
    answers: BTreeMap<String, (u16, String, Vec<u8>)>,
    /// Bytes with an entity tag, given out with ranges; by path.
    files: BTreeMap<String, (Vec<u8>, String)>,
    /// For the next requests whose target has this in it.
    faults: VecDeque<(&'static str, Fault)>,
    asked: Vec<Asked>,
}

#[derive(Clone)]
pub(super) struct TestServer {
    pub(super) uri: String,
    content: Arc<Mutex<Content>>,
    shutdown: Shutdown,
}

impl TestServer {
    pub(super) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}", listener.local_addr().unwrap());
        let content = Arc::new(Mutex::new(Content::default()));
        let router = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&content));
        let shutdown = Shutdown::new();
        let stop = shutdown.clone();
        shutdown.spawn("test server", async move {
            tokio::select! {
                () = stop.stopped() => {}
                outcome = async { axum::serve(listener, router).await } => outcome.unwrap(),
            }
        });
        Self {
            uri,
            content,
            shutdown,
        }
    }

    /// Nothing listens any more.
    pub(super) async fn stop(&self) {
        self.shutdown.stop();
        assert!(self.shutdown.drain(Duration::from_secs(10)).await);
    }

    pub(super) fn json(&self, request: &str, body: &Value) {
        self.text(request, 200, "application/json", &body.to_string());
    }

    pub(super) fn text(&self, request: &str, status: u16, content_type: &str, body: &str) {
        let answer = (status, content_type.to_owned(), body.as_bytes().to_vec());
        let mut content = self.content.lock().unwrap();
        content.answers.insert(request.to_owned(), answer);
    }

    pub(super) fn file(&self, path: &str, bytes: &[u8], etag: &str) {
        let mut content = self.content.lock().unwrap();
        content
            .files
            .insert(path.to_owned(), (bytes.to_vec(), etag.to_owned()));
    }

    pub(super) fn fault(&self, part: &'static str, fault: Fault) {
        self.content.lock().unwrap().faults.push_back((part, fault));
    }

    /// What was asked since the last look.
    pub(super) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.content.lock().unwrap().asked)
    }

    /// The same as method and target.
    pub(super) fn targets(&self) -> Vec<String> {
        let asked = self.asked();
        let targets = asked
            .iter()
            .map(|asked| format!("{} {}", asked.method, asked.target));
        targets.collect()
    }

    /// A model directory behind the proxy.
    pub(super) fn proxied(&self, root: &str, files: &[(&str, &[u8])]) {
        let mut directories: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for (path, bytes) in files {
            let url = format!("/api/2.0/mlflow-artifacts/artifacts/{root}/{path}");
            self.file(&url, bytes, &format!("\"{path} {}\"", bytes.len()));
            let (mut directory, mut below) = (String::new(), *path);
            while let Some((name, rest)) = below.split_once('/') {
                let entries = directories.entry(directory.clone()).or_default();
                let entry = json!({"path": name, "is_dir": true});
                if !entries.contains(&entry) {
                    entries.push(entry);
                }
                directory = format!("{directory}/{name}");
                below = rest;
            }
            let entry = json!({"path": below, "is_dir": false, "file_size": bytes.len()});
            directories.entry(directory).or_default().push(entry);
        }
        for (directory, entries) in directories {
            let target = format!("GET /api/2.0/mlflow-artifacts/artifacts?path={root}{directory}");
            self.json(&target, &json!({"files": entries}));
        }
    }
}

async fn answer(
    State(content): State<Arc<Mutex<Content>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let escaped = uri.path_and_query().map_or("", |target| target.as_str());
    let target = super::access::unescaped(&escaped.replace('+', " "));
    let reply = {
        let mut content = content.lock().unwrap();
        content.asked.push(Asked {
            method: method.clone(),
            target: target.clone(),
            headers: headers.clone(),
            body,
        });
        let is_meant = |(part, _): &(&str, Fault)| target.contains(part);
        let fault = match content.faults.iter().position(is_meant) {
            Some(i) => content.faults.remove(i).unwrap().1,
            None => Fault::None,
        };
        match fault {
            Fault::Hang => None,
            Fault::Status(status, headers, body) => {
                let mut response = Response::builder().status(status);
                for (name, value) in headers {
                    response = response.header(name, value);
                }
                Some(response.body(Body::from(body)).unwrap())
            }
            Fault::CutAfter(n_bytes) => {
                Some(content.reply(&method, &target, &headers, Some(n_bytes)))
            }
            Fault::None => Some(content.reply(&method, &target, &headers, None)),
        }
    };
    match reply {
        Some(reply) => reply,
        None => std::future::pending().await,
    }
}

impl Content {
    fn reply(
        &self,
        method: &Method,
        target: &str,
        headers: &HeaderMap,
        cut_after: Option<usize>,
    ) -> Response {
        if let Some((bytes, etag)) = self.files.get(target).filter(|_| method == Method::GET) {
            return file(bytes, etag, headers, cut_after);
        }
        let (status, content_type, body) = match self.answers.get(&format!("{method} {target}")) {
            Some(answer) => answer.clone(),
            None => (404, "text/html".to_owned(), b"<h1>Not Found</h1>".to_vec()),
        };
        let response = Response::builder()
            .status(status)
            .header("content-type", content_type);
        response.body(Body::from(body)).unwrap()
    }
}

fn file(bytes: &[u8], etag: &str, headers: &HeaderMap, cut_after: Option<usize>) -> Response {
    let range = headers.get("range").map(|range| range.to_str().unwrap());
    let from = range.map(|range| range.trim_start_matches("bytes=").trim_end_matches('-'));
    let from: usize = from.map_or(0, |from| from.parse().unwrap());
    let mut response = Response::builder().header("etag", etag);
    if range.is_some() && from >= bytes.len() {
        return response
            .status(StatusCode::RANGE_NOT_SATISFIABLE)
            .header("content-range", format!("bytes */{}", bytes.len()))
            .body(Body::empty())
            .unwrap();
    }
    if range.is_some() {
        let last = bytes.len() - 1;
        response = response.status(StatusCode::PARTIAL_CONTENT).header(
            "content-range",
            format!("bytes {from}-{last}/{}", bytes.len()),
        );
    }
    let part = bytes[from..].to_vec();
    response = response.header("content-length", part.len());
    let body = match cut_after {
        None => Body::from(part),
        Some(n_bytes) => {
            let first = Bytes::from(part[..n_bytes].to_vec());
            let pieces = stream::once(async move { Ok(first) }).chain(stream::once(async {
                // What was written goes out while there is nothing to write.
                for _ in 0..10 {
                    tokio::task::yield_now().await;
                }
                Err(std::io::Error::other("cut"))
            }));
            Body::from_stream(pieces)
        }
    };
    response.body(body).unwrap()
}

/// Quick to try again and to give up.
pub(super) fn patience() -> Patience {
    Patience {
        timeout: Duration::from_secs(30),
        silence: Duration::from_secs(30),
        retries: 3,
        first_pause: Duration::from_millis(1),
        longest_pause: Duration::from_millis(5),
    }
}
