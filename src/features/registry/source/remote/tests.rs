//! A registry server over the recorded registry. Like Feast's it takes the project out of what it hands out.

use std::future::Ready;
use std::sync::Mutex;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Request as HttpRequest, Response as HttpResponse};
use serde_yaml_ng::Value;
use tonic::Response;
use tonic::server::{Grpc as Server, UnaryService};
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;

use super::*;
use crate::features::definitions::ViewState;
use crate::features::registry::objects::text_at;
use crate::features::testing::fixture;
use crate::shutdown::Shutdown;

/// What is served, and which changes were asked for.
struct Feast {
    objects: Vec<(ObjectKind, Vec<u8>)>,
    changes: Mutex<Vec<(String, Vec<u8>)>>,
}

/// The recorded objects without `spec.project`.
fn feast() -> Feast {
    let bytes = fs_err::read(fixture("repo/registry.db")).unwrap();
    let found = Objects::of_registry(&bytes).unwrap();
    let strip = |object: Object<'_>| {
        let mut stripped = Vec::new();
        let mut reader = Reader::new(&object.bytes);
        while let Some((field, content)) = reader.field().unwrap() {
            let bytes = content.bytes(field).unwrap();
            if field != 1 {
                put_bytes(&mut stripped, field, bytes);
                continue;
            }
            let project = if object.kind == ObjectKind::Entity {
                9
            } else {
                2
            };
            put_message(&mut stripped, 1, |out| {
                let mut spec = Reader::new(bytes);
                loop {
                    let before = spec.rest();
                    let Some((field, _)) = spec.field().unwrap() else {
                        break;
                    };
                    if field != project {
                        out.extend_from_slice(&before[..before.len() - spec.rest().len()]);
                    }
                }
            });
        }
        (object.kind, stripped)
    };
    Feast {
        objects: found.objects.into_iter().map(strip).collect(),
        changes: Mutex::default(),
    }
}

impl Feast {
    fn answer(&self, method: &str, request: Vec<u8>) -> Result<Vec<u8>, Status> {
        let mut answer = Vec::new();
        if let Some((wanted, _)) = LISTS.iter().find(|(_, list)| *list == method) {
            if text_at(&request, &[1]) == Some("ride_ops") {
                for (_, bytes) in self.objects.iter().filter(|(kind, _)| kind == wanted) {
                    put_bytes(&mut answer, 1, bytes);
                }
            }
            return Ok(answer);
        }
        let get = |wanted| {
            let name = text_at(&request, &[1]).unwrap_or_default();
            let is_it = |object: &&(ObjectKind, Vec<u8>)| {
                object.0 == wanted && text_at(&object.1, &[1, 1]) == Some(name)
            };
            let found = self
                .objects
                .iter()
                .find(is_it)
                .map(|(_, bytes)| bytes.clone());
            let message = format!(
                "Exception calling application: Feature view {name} does not exist in project"
            );
            found.ok_or_else(|| Status::unknown(message))
        };
        match method {
            "ListProjects" => {
                put_message(&mut answer, 1, |out| {
                    put_message(out, 1, |out| put_bytes(out, 1, b"ride_ops"))
                });
                Ok(answer)
            }
            "GetFeatureView" => get(ObjectKind::FeatureView),
            "GetStreamFeatureView" => get(ObjectKind::StreamFeatureView),
            "ApplyMaterialization" | "ApplyFeatureView" => {
                self.changes
                    .lock()
                    .unwrap()
                    .push((method.to_owned(), request));
                Ok(answer)
            }
            other => Err(Status::unimplemented(other.to_owned())),
        }
    }
}

/// One call of one method.
struct Call(Arc<Feast>, String);

impl UnaryService<Vec<u8>> for Call {
    type Response = Vec<u8>;
    type Future = Ready<Result<Response<Vec<u8>>, Status>>;

    fn call(&mut self, request: Request<Vec<u8>>) -> Self::Future {
        std::future::ready(
            self.0
                .answer(&self.1, request.into_inner())
                .map(Response::new),
        )
    }
}

async fn call(
    State(feast): State<Arc<Feast>>,
    Path(method): Path<String>,
    request: HttpRequest<Body>,
) -> HttpResponse<tonic::body::Body> {
    Server::new(Bytes).unary(Call(feast, method), request).await
}

/// The server's address; it runs until `shutdown`.
async fn serve(feast: &Arc<Feast>, shutdown: &Shutdown) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let router = Router::new()
        .route(
            "/feast.registry.RegistryServer/{method}",
            axum::routing::post(call),
        )
        .with_state(Arc::clone(feast));
    let stop = shutdown.clone();
    shutdown.spawn("feast", async move {
        let server = tonic::transport::Server::builder().add_routes(Routes::from(router));
        let until = async move { stop.stopped().await };
        let served = server.serve_with_incoming_shutdown(TcpIncoming::from(listener), until);
        served.await.unwrap();
    });
    address
}

fn store(address: &str) -> RemoteStore {
    let mut settings = Settings::new("registry", Value::Null).unwrap();
    match Config::read(address, &mut settings, &|_| None) {
        Ok(config) => open(&config).unwrap(),
        Err(_) => panic!("{address} is an address"),
    }
}

const PROJECT: &str = "ride_ops";

#[tokio::test]
async fn a_registry_server_serves_what_its_file_holds() {
    let (feast, shutdown) = (Arc::new(feast()), Shutdown::new());
    let store = store(&serve(&feast, &shutdown).await);
    let mut file = Registry::load(&fixture("repo/registry.db"), PROJECT).unwrap();
    file.revision = String::new();
    assert_eq!(store.load(PROJECT).await.unwrap(), file);
    let error = store.load("other").await.unwrap_err().to_string();
    assert!(error.ends_with("which holds `ride_ops`"), "{error}");
    drop(store);
    shutdown.stop();
    assert!(shutdown.drain(Duration::from_secs(5)).await);
}

#[tokio::test]
async fn a_change_is_the_servers_to_record() {
    let (feast, shutdown) = (Arc::new(feast()), Shutdown::new());
    let store = store(&serve(&feast, &shutdown).await);
    let start = Timestamp::from_micros(1_500_000);
    let materialized = ViewChange::Materialized {
        start,
        end: Timestamp::from_seconds(9),
    };
    store
        .record(PROJECT, "driver_lists", materialized)
        .await
        .unwrap();
    let state = ViewChange::State(ViewState::Materializing);
    store.record(PROJECT, "driver_stream", state).await.unwrap();
    let changes = std::mem::take(&mut *feast.changes.lock().unwrap());
    let methods: Vec<&str> = changes.iter().map(|(method, _)| method.as_str()).collect();
    assert_eq!(methods, ["ApplyMaterialization", "ApplyFeatureView"]);

    let original = |name: &str| {
        let is_it = |(_, bytes): &&(ObjectKind, Vec<u8>)| text_at(bytes, &[1, 1]) == Some(name);
        feast.objects.iter().find(is_it).unwrap().1.clone()
    };
    let fields = |request: &[u8]| -> Vec<(u32, Vec<u8>)> {
        let mut reader = Reader::new(request);
        let mut fields = Vec::new();
        while let Some((field, content)) = reader.field().unwrap() {
            fields.push((field, content.bytes(field).unwrap_or(b"true").to_vec()));
        }
        fields
    };
    let encoded = |moment| {
        let mut out = Vec::new();
        change::put_moment(&mut out, moment);
        out
    };
    let expected = [
        (1, original("driver_lists")),
        (2, b"ride_ops".to_vec()),
        (3, encoded(start)),
        (4, encoded(Timestamp::from_seconds(9))),
        (5, b"true".to_vec()),
    ];
    assert_eq!(fields(&changes[0].1), expected);
    let stream = change::in_object(&original("driver_stream"), "", state, start).unwrap();
    let expected = [
        (3, stream),
        (4, b"ride_ops".to_vec()),
        (5, b"true".to_vec()),
    ];
    assert_eq!(fields(&changes[1].1), expected);

    for (view, code) in [
        ("nope", "feature_view_unknown"),
        ("fare_py", "feature_view_not_recordable"),
        ("driver_stream", "feature_registry_cannot_record"),
    ] {
        let error = store.record(PROJECT, view, materialized).await.unwrap_err();
        assert_eq!(crate::error::Failure::code(&error), code, "{error}");
    }
    drop(store);
    shutdown.stop();
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unreachable() {
    let error = store("127.0.0.1:1").load(PROJECT).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("http://127.0.0.1:1"), "{error}");
}
