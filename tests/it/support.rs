//! A server in this process on a free port, over a copy of the demo, and a client that speaks plain HTTP.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tempfile::TempDir;
use terrarium::app::App;
use terrarium::config::{Config, Environment, Sources};
use terrarium::features::FeatureStore;
use terrarium::shutdown::Shutdown;
use terrarium::types::timestamp::Timestamp;
use tokio::sync::OnceCell;

pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A copy of the demo, its features loaded into the embedded online store; made once for all tests.
pub(crate) async fn demo() -> &'static Path {
    static DEMO: OnceCell<PathBuf> = OnceCell::const_new();
    DEMO.get_or_init(|| async {
        let directory = own_directory();
        for part in ["feature_repo", "features", "models"] {
            copy(&root().join(part), &directory.join(part));
        }
        let config = terrarium::features::Config {
            repo: directory.join("feature_repo"),
            ..Default::default()
        };
        materialize(&FeatureStore::open(&config, &|_| None).await.unwrap()).await;
        directory
    })
    .await
}

/// A directory of this process below the build's own, since what a `static` holds is never dropped; those of processes
/// that are gone are removed.
fn own_directory() -> PathBuf {
    let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for entry in std::fs::read_dir(parent).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let Some(pid) = name.strip_prefix("demo-") else {
            continue;
        };
        if !Path::new("/proc").join(pid).exists() {
            // Another process may be about to do the same.
            let _ = std::fs::remove_dir_all(path);
        }
    }
    parent.join(format!("demo-{}", std::process::id()))
}

/// Loads everything that the demo has into its online store.
pub(crate) async fn materialize(store: &FeatureStore) {
    let (start, end) = (
        Timestamp::from_seconds(1_790_812_800),
        Timestamp::from_seconds(1_796_083_200),
    );
    store
        .materialize(None, start, end, &mut |_| {})
        .await
        .unwrap();
}

/// The configuration of settings as on the command line, and nothing else.
pub(crate) fn config(environment: &Environment, settings: &[String]) -> Config {
    let nowhere = tempfile::tempdir().unwrap();
    let sources = Sources {
        file: None,
        directory: nowhere.path(),
        environment,
        flags: settings,
    };
    terrarium::config::load(&sources).unwrap().config
}

/// Copies a directory; data of an earlier run stays behind.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (source, name) = {
            let entry = entry.unwrap();
            (entry.path(), entry.file_name())
        };
        if source.is_dir() {
            if name != "data" && name != "__pycache__" {
                copy(&source, &to.join(name));
            }
        } else {
            std::fs::copy(&source, to.join(name)).unwrap();
        }
    }
}

pub(crate) struct Server {
    app: Option<App>,
    shutdown: Shutdown,
    address: std::net::SocketAddr,
    grpc_address: std::net::SocketAddr,
    audit: TempDir,
    _jobs: TempDir,
    client: Client<HttpConnector, Full<Bytes>>,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: hyper::HeaderMap,
    pub(crate) bytes: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes)
            .unwrap_or_else(|error| panic!("{error}: {:?}", self.bytes))
    }

    /// The `code` of a problem document.
    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

impl Server {
    /// Over the demo, with further settings as on the command line.
    pub(crate) async fn start(settings: &[&str]) -> Self {
        let demo = demo().await;
        let repo = format!("features.repo={}", demo.join("feature_repo").display());
        let models = format!("registry.local.path={}", demo.join("models").display());
        let mut all = vec![repo.as_str(), models.as_str()];
        all.extend(settings);
        Self::start_bare(&all).await
    }

    /// Over nothing but the settings.
    pub(crate) async fn start_bare(settings: &[&str]) -> Self {
        let (audit, jobs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut all: Vec<String> = settings
            .iter()
            .map(|setting| (*setting).to_owned())
            .collect();
        all.push("http.listen=127.0.0.1:0".to_owned());
        all.push("http.grpc_listen=127.0.0.1:0".to_owned());
        all.push(format!("audit.file.directory={}", audit.path().display()));
        let queue = jobs.path().join("jobs.db");
        all.push(format!("jobs.sqlite.path={}", queue.display()));
        let environment = Environment::default();
        let config = config(&environment, &all);
        let shutdown = Shutdown::new();
        let app = App::serve(config, &environment, &shutdown).await.unwrap();
        let address = app.address().unwrap();
        let grpc_address = app.grpc_address().unwrap();
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self {
            app: Some(app),
            shutdown,
            address,
            grpc_address,
            audit,
            _jobs: jobs,
            client,
        }
    }

    pub(crate) fn address(&self) -> std::net::SocketAddr {
        self.address
    }

    pub(crate) fn grpc_address(&self) -> std::net::SocketAddr {
        self.grpc_address
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &[], "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> Answer {
        self.call("POST", path, &[("content-type", "application/json")], body)
            .await
    }

    pub(crate) async fn predict(&self, model: &str, body: &str) -> Answer {
        self.post(&format!("/v1/models/{model}/predict"), body)
            .await
    }

    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        self.call_bytes(method, path, headers, body.as_bytes().to_vec())
            .await
    }

    pub(crate) async fn call_bytes(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Answer {
        let mut request = hyper::Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::from(body)).unwrap();
        let response = self.client.request(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            bytes,
        }
    }

    /// The queue of this server.
    pub(crate) fn jobs(&self) -> &terrarium::jobs::Client {
        let app = self.app.as_ref().unwrap();
        &app.api().jobs.as_ref().unwrap().client
    }

    pub(crate) fn audit_directory(&self) -> &Path {
        self.audit.path()
    }

    /// The audit events so far, in order, once they are shipped.
    pub(crate) async fn events(&self) -> Vec<Value> {
        let mut every = tokio::time::interval(Duration::from_millis(5));
        for _ in 0..2_000 {
            let audit = self.app.as_ref().map(|app| app.api().predictor.audit());
            if audit.is_none_or(|audit| audit.is_shipped()) {
                break;
            }
            every.tick().await;
        }
        let events = terrarium::audit::read::events(self.audit.path()).unwrap();
        events.collect::<Result<_, _>>().unwrap()
    }

    /// The events once there are `n` of them, polled for until a deadline.
    pub(crate) async fn events_when(&self, n: usize) -> Vec<Value> {
        let mut every = tokio::time::interval(Duration::from_millis(5));
        for _ in 0..2_000 {
            every.tick().await;
            let events = self.events().await;
            if events.len() >= n {
                return events;
            }
        }
        self.events().await
    }

    /// What `/readyz` says once its status is this, polled for until a deadline.
    pub(crate) async fn ready_when(&self, status: &str) -> Value {
        let mut every = tokio::time::interval(Duration::from_millis(5));
        for _ in 0..2_000 {
            every.tick().await;
            let ready = self.get("/readyz").await.json();
            if ready["status"] == status {
                return ready;
            }
        }
        panic!("never {status}: {}", self.get("/readyz").await.json());
    }

    /// Stops in order; the audit directory stays readable.
    pub(crate) async fn stop(&mut self) {
        self.shutdown.stop();
        if let Some(app) = self.app.take() {
            app.stop().await;
        }
    }
}
