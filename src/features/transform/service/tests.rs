//! The client against an in-process server that plays what Feast's server answered.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};
use std::time::Duration;

use prost::Message;
use serde_json::Value as Json;
use tokio::net::TcpListener;
use tonic::codegen::Service as TowerService;
use tonic::codegen::http;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use super::*;
use crate::error::{ErrorClass, Failure};
use crate::features::definitions::{Transformation, ValueType};
use crate::features::registry::Registry;
use crate::features::testing::{fixture, recorded, unhex};
use crate::shutdown::Shutdown;
use crate::types::value::Value;

/// What the server answers next, and what it was asked.
#[derive(Debug, Default)]
struct Script {
    answers: Mutex<VecDeque<Answer>>,
    requests: Mutex<Vec<Vec<u8>>>,
}

#[derive(Debug)]
enum Answer {
    Bytes(Vec<u8>),
    Error(Code, String),
    Never,
}

/// A message as it is on the wire.
#[derive(Clone, Debug, Default, PartialEq)]
struct Raw(Vec<u8>);

impl Message for Raw {
    fn encode_raw(&self, buffer: &mut impl prost::bytes::BufMut) {
        buffer.put_slice(&self.0);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: prost::encoding::WireType,
        buffer: &mut impl prost::bytes::Buf,
        context: prost::encoding::DecodeContext,
    ) -> Result<(), prost::DecodeError> {
        // Only length-delimited fields occur.
        let mut bytes: Vec<u8> = Vec::new();
        prost::encoding::bytes::merge(wire_type, &mut bytes, buffer, context)?;
        prost::encoding::bytes::encode(tag, &bytes, &mut self.0);
        Ok(())
    }

    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}

#[derive(Clone)]
struct Played(Arc<Script>);

impl tonic::server::NamedService for Played {
    const NAME: &'static str = "feast.serving.TransformationService";
}

type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl tonic::server::UnaryService<Raw> for Played {
    type Response = Raw;
    type Future = Later<Result<tonic::Response<Raw>, Status>>;

    fn call(&mut self, request: Request<Raw>) -> Self::Future {
        self.0.requests.lock().unwrap().push(request.into_inner().0);
        let answer = self.0.answers.lock().unwrap().pop_front();
        Box::pin(async move {
            match answer {
                Some(Answer::Bytes(bytes)) => Ok(tonic::Response::new(Raw(bytes))),
                Some(Answer::Error(code, message)) => Err(Status::new(code, message)),
                Some(Answer::Never) | None => std::future::pending().await,
            }
        })
    }
}

impl TowerService<http::Request<tonic::body::Body>> for Played {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Later<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let played = self.clone();
        Box::pin(async move {
            let codec: ProstCodec<Raw, Raw> = ProstCodec::default();
            Ok(tonic::server::Grpc::new(codec).unary(played, request).await)
        })
    }
}

/// A server with these answers, until `Shutdown` is dropped with the test's runtime.
async fn play(answers: Vec<Answer>) -> (Service, Arc<Script>) {
    let script = Arc::new(Script {
        answers: Mutex::new(answers.into()),
        requests: Mutex::default(),
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = Server::builder()
        .add_service(Played(script.clone()))
        .serve_with_incoming(TcpIncoming::from(listener));
    Shutdown::new().spawn("played transformation server", async move {
        server.await.unwrap();
    });
    (Service::new(Some(address), "ride_ops"), script)
}

fn in_time() -> Deadline {
    Deadline::after(Duration::from_secs(30))
}

/// A view of the recorded registry, or one that it would be if it were there.
fn view(name: &str) -> OnDemandFeatureView {
    let registry = Registry::load(&fixture("repo/registry.db"), "ride_ops").unwrap();
    let mut view = registry.on_demand_feature_view("half_pd").unwrap().clone();
    view.name = name.to_owned();
    assert!(matches!(view.transformation, Transformation::Pandas { .. }));
    view
}

fn table(case: &Json) -> Columns {
    let columns = case["input_table"].as_object().unwrap().iter();
    let columns = columns.map(|(name, values)| {
        let value_type = match name.as_str() {
            "driver_id" | "pax" => ValueType::Int64,
            _ => ValueType::Double,
        };
        let values = values
            .as_array()
            .unwrap()
            .iter()
            .map(|json| match value_type {
                ValueType::Int64 => json.as_i64().map_or(Value::Null, Value::Int64),
                _ => json.as_f64().map_or(Value::Null, Value::Double),
            });
        Column::new(name.clone(), value_type, values.collect()).unwrap()
    });
    let columns: Vec<Column> = columns.collect();
    Columns::new(columns[0].values.len(), columns).unwrap()
}

fn answer(case: &Json) -> Answer {
    match case["response_hex"].as_str() {
        Some(hex) => Answer::Bytes(unhex(hex)),
        None => {
            assert_eq!(case["error"]["code"], "UNKNOWN");
            let details = case["error"]["details"].as_str().unwrap();
            Answer::Error(Code::Unknown, details.to_owned())
        }
    }
}

/// Same view, project and table; the layout inside an Arrow file is each writer's own.
fn assert_same_request(ours: &[u8], theirs: &[u8]) {
    let ours = TransformRequest::decode(ours).unwrap();
    let theirs = TransformRequest::decode(theirs).unwrap();
    assert_eq!(ours.view, theirs.view);
    assert_eq!(ours.project, theirs.project);
    let batch = |request: TransformRequest| {
        let file = request.input.unwrap().file.unwrap();
        assert!(file.starts_with(b"ARROW1") && file.ends_with(b"ARROW1"));
        file::decode(&file).unwrap()
    };
    let (ours, theirs) = (batch(ours), batch(theirs));
    assert_eq!(ours.columns(), theirs.columns());
    let fields = |batch: &arrow::array::RecordBatch| {
        let schema = batch.schema();
        let fields = schema.fields().iter();
        fields
            .map(|field| (field.name().clone(), field.data_type().clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(fields(&ours), fields(&theirs));
}

async fn replay(file: &str) {
    for case in recorded(file)["cases"].as_array().unwrap() {
        let (service, script) = play(vec![answer(case)]).await;
        let theirs = unhex(case["request_hex"].as_str().unwrap());
        if case["rpc"] == INFO {
            let details = service.describe(in_time()).await.unwrap().unwrap();
            assert_eq!(case["response"]["details"], details.as_str());
            assert_eq!(script.requests.lock().unwrap()[0], theirs);
            continue;
        }
        let name = case["on_demand_feature_view_name"].as_str().unwrap();
        let input = table(case);
        let compiled = service.compile(&view(name), &input.fields()).unwrap();
        let outcome = compiled.run(input.clone(), in_time()).await;
        assert_same_request(&script.requests.lock().unwrap()[0], &theirs);
        let again = TransformRequest::decode(theirs.as_slice()).unwrap();
        assert_eq!(again.encode_to_vec(), theirs);
        match case["output_table"].as_object() {
            Some(output) => {
                let columns = outcome.unwrap();
                assert_eq!(columns.n_rows, input.n_rows);
                assert_eq!(columns.columns[0].name, "half");
                let expected = output["half_pd__half"].as_array().unwrap().iter();
                let expected: Vec<Value> = expected
                    .map(|json| json.as_f64().map_or(Value::Null, Value::Double))
                    .collect();
                assert_eq!(columns.columns[0].values, expected);
            }
            None => {
                let error = outcome.unwrap_err();
                assert_eq!(error.class(), ErrorClass::Unavailable);
                let details = case["error"]["details"].as_str().unwrap();
                let end = format!("refused on-demand feature view `{name}`: Unknown, {details}");
                assert!(error.to_string().ends_with(&end), "{error}");
            }
        }
    }
}

#[tokio::test]
async fn the_recorded_questions_are_asked_and_the_answers_understood() {
    replay("transformation_grpc.json").await;
    replay("transformation/answers.json").await;
}

fn half(values: &[f64]) -> Columns {
    let column = |name: &str| {
        let values = values.iter().map(|value| Value::Double(*value)).collect();
        Column::new(name.to_owned(), ValueType::Double, values).unwrap()
    };
    Columns::new(values.len(), vec![column("f64"), column("distance_km")]).unwrap()
}

/// An answer of one column.
fn answer_of(name: &str, values: &[f64]) -> Answer {
    let mut columns = half(values);
    columns.columns[0].name = name.to_owned();
    columns.columns.truncate(1);
    let file = file::encode("half_pd", &columns.fields(), &columns).unwrap();
    let message = TransformResponse {
        output: Some(ArrowValue { file: Some(file) }),
    };
    Answer::Bytes(message.encode_to_vec())
}

#[tokio::test]
async fn an_answer_must_be_what_the_view_declares() {
    let no_file = TransformResponse { output: None }.encode_to_vec();
    let cases = [
        (answer_of("half_pd__half", &[1.0]), "gives 1 rows for 2"),
        (
            answer_of("other__half", &[1.0, 2.0]),
            "gives no column `half_pd__half`",
        ),
        (Answer::Bytes(no_file), "is no Arrow file"),
    ];
    for (answer, message) in cases {
        let (service, _script) = play(vec![answer]).await;
        let input = half(&[1.0, 2.0]);
        let compiled = service.compile(&view("half_pd"), &input.fields()).unwrap();
        let error = compiled.run(input, in_time()).await.unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
    }
}

#[tokio::test]
async fn columns_of_an_answer_become_the_declared_types() {
    let mut view = view("half_pd");
    view.features[0].value_type = ValueType::Int64;
    // Pandas makes floating point of integers beside a null.
    let (service, _script) = play(vec![answer_of("half_pd__half", &[3.0, f64::NAN])]).await;
    let input = half(&[1.0, 2.0]);
    let compiled = service.compile(&view, &input.fields()).unwrap();
    let columns = compiled.run(input.clone(), in_time()).await.unwrap();
    assert_eq!(columns.columns[0].values, [Value::Int64(3), Value::Null]);
    view.features[0].value_type = ValueType::DoubleList;
    let (service, _script) = play(vec![answer_of("half", &[3.0, 4.0])]).await;
    let compiled = service.compile(&view, &input.fields()).unwrap();
    let error = compiled.run(input, in_time()).await.unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("as Float64, which is no DOUBLE_LIST"),
        "{error}"
    );
}

#[tokio::test]
async fn a_server_that_does_not_answer_costs_no_more_than_the_deadline() {
    let (service, _script) = play(vec![Answer::Never]).await;
    let input = half(&[1.0]);
    let compiled = service.compile(&view("half_pd"), &input.fields()).unwrap();
    let deadline = Deadline::after(Duration::from_millis(50));
    let error = compiled.run(input, deadline).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::DeadlineExceeded);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let service = Service::new(Some(address.clone()), "ride_ops");
    let input = half(&[1.0]);
    let compiled = service.compile(&view("half_pd"), &input.fields()).unwrap();
    let error = compiled.run(input, in_time()).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Unavailable);
    let message = format!("transformation service {address} is not reachable");
    assert_eq!(error.to_string(), message);
    assert!(
        error
            .hint()
            .unwrap()
            .contains("feast serve_transformations")
    );
}

#[test]
fn a_feature_goes_to_the_server_under_one_name() {
    let field = |name: &str| Field {
        name: name.to_owned(),
        value_type: ValueType::Double,
    };
    let names = |input: &[Field]| -> Vec<String> {
        let sent = sent(&view("half_pd"), input);
        sent.into_iter().map(|field| field.name).collect()
    };
    let both = [
        field("f64"),
        field("driver_scalars__f64"),
        field("distance_km"),
    ];
    assert_eq!(names(&both), ["f64", "distance_km"]);
    assert_eq!(names(&both[1..]), ["driver_scalars__f64", "distance_km"]);
}

#[test]
fn an_address_is_a_host_and_a_port() {
    for (text, is_one) in [
        ("localhost:6569", true),
        ("http://localhost:6569", true),
        ("https://transform.example:443", true),
        ("localhost", false),
        ("ftp://localhost:1", false),
        ("not an address", false),
        ("", false),
    ] {
        let service = Service::new(Some(text.to_owned()), "ride_ops");
        let compiled = service.compile(&view("half_pd"), &half(&[]).fields());
        assert_eq!(compiled.is_ok(), is_one, "{text}");
    }
}
