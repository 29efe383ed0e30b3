//! Splits against a naive oracle, and shadows that are slow, fail or are too many.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use ndarray::ArrayD;
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::route::{Part, Shared};
use super::*;
use crate::audit::{self, AuditLog};
use crate::error::Failure;
use crate::features::{self, FeatureStore};
use crate::inference::{self, Engine, test_models};
use crate::models::testing;
use crate::models::{Binder, Candidate, ModelCatalog, ServedVersion};
use crate::predict::config::{OnMissing, OnStale};
use crate::predict::plan::{PlannedColumn, PlannedTensor, Slot, Source, Width};
use crate::predict::scoring::Scorer;
use crate::predict::{PlanBinder, Read, ServingPlan};
use crate::shutdown::Shutdown;
use crate::telemetry::metrics::Metrics;
use crate::types::cell::Cell;
use crate::types::deadline::Deadline;
use crate::types::dtype::DType;
use crate::types::feature::{FeatureCell, FeatureRows, FeatureStatus};
use crate::types::names::ModelVersion;
use crate::types::prediction::Layout;
use crate::types::request::{
    Cells, ColumnPlace, RequestColumn, RequestColumns, RequestContext, RequestInputs, Surface,
};
use crate::types::signature::{
    ColumnSpec, ColumnType, Graph, OutputKind, OutputSpec, Schema, Signature, TensorSpec,
};
use crate::types::tensor::{Output, Tensor};
use crate::types::timestamp::Timestamp;
use crate::types::urgency::Priority;
use crate::types::value::Value;

/// `y = factor * x`; before that it does what the test wants.
struct Line {
    factor: f32,
    before: Box<dyn FnMut() -> Result<(), inference::Error> + Send>,
}

impl Engine for Line {
    fn run(&mut self, inputs: inference::Inputs) -> Result<Vec<Output>, inference::Error> {
        (self.before)()?;
        let inputs = inputs.into_tensors();
        let [Tensor::Float32(x)] = &inputs[..] else {
            panic!("{inputs:?}")
        };
        Ok(vec![Output::Tensor(Tensor::Float32(x * self.factor))])
    }
}

fn line(factor: f32) -> Line {
    Line {
        factor,
        before: Box::new(|| Ok(())),
    }
}

fn failing() -> Line {
    let reason = "on purpose".to_owned();
    Line {
        factor: 0.0,
        before: Box::new(move || {
            Err(inference::Error::Rejected {
                reason: reason.clone(),
            })
        }),
    }
}

/// An engine whose every run waits for a word of the test.
fn held(factor: f32) -> (Line, Sender<()>) {
    let (sender, receiver): (Sender<()>, Receiver<()>) = channel();
    let receiver = Mutex::new(receiver);
    let before = move || {
        // An error: the test is over, and nothing need be held up.
        let _ = receiver
            .lock()
            .unwrap()
            .recv_timeout(Duration::from_secs(30));
        Ok(())
    };
    let line = Line {
        factor,
        before: Box::new(before),
    };
    (line, sender)
}

/// One request column `x`, one output `y`.
fn plan(metrics: &Metrics, version: u64) -> ServingPlan {
    let column = PlannedColumn {
        name: "x".to_owned(),
        declared: DType::Float32,
        source: Source::Request,
        optional: false,
        width: Width::One,
    };
    let tensor = PlannedTensor {
        name: "x".to_owned(),
        dtype: DType::Float32,
        columns: 0..1,
        row_shape: Vec::new(),
    };
    let slot = Slot {
        columns: vec![0],
        ..Slot::default()
    };
    ServingPlan {
        optional: Vec::new(),
        online: None,
        selection: None,
        defaults: Vec::new(),
        on_missing: OnMissing::Null,
        on_stale: OnStale::Serve,
        columns: vec![column],
        tensors: vec![tensor],
        slots: HashMap::from([("x".to_owned(), slot)]),
        outputs: vec!["y".into()],
        graph_outputs: vec!["y".into()],
        scoring: Scorer::new(&Signature::default(), &graph()),
        fixed_rows: None,
        metrics: metrics.model("m", ModelVersion(version)),
    }
}

fn graph() -> Graph {
    Graph {
        optional: Vec::new(),
        inputs: vec![TensorSpec {
            name: Some("x".to_owned()),
            dtype: DType::Float32,
            shape: vec![-1],
        }],
        outputs: vec![OutputSpec {
            name: "y".to_owned(),
            kind: OutputKind::Tensor {
                dtype: DType::Float32,
                shape: vec![-1],
            },
        }],
    }
}

/// The model `m`: version 1 is `champion`, 2 `challenger`, 3 `canary`.
struct Bench {
    predictor: Predictor,
    metrics: Arc<Metrics>,
    audit: TempDir,
    shutdown: Shutdown,
}

impl Bench {
    fn start(traffic: &str, engines: Vec<Line>) -> Self {
        let config: Config = toml::from_str(&format!("traffic = {{{traffic}}}")).unwrap();
        let metrics = Arc::new(Metrics::new());
        let rules = traffic_rules(&BTreeMap::from([("m".to_owned(), config)]));
        let models = ModelCatalog::with_traffic(Arc::new(rules));
        let numbered = engines.into_iter().zip(1..);
        let versions = numbered.map(|(engine, number)| {
            let model = test_models::served(graph(), vec![Box::new(engine)]);
            testing::version(number, plan(&metrics, number), model)
        });
        let versions: Vec<ServedVersion<ServingPlan>> = versions.collect();
        let aliases = [("champion", 1), ("challenger", 2), ("canary", 3)];
        let n_versions = versions.len();
        testing::publish(&models, versions, &aliases[..n_versions]);
        let audit = tempfile::tempdir().unwrap();
        let mut config = audit::Config::default();
        config.file.directory = audit.path().to_owned();
        let (log, _) = AuditLog::start(&config, &metrics).unwrap();
        let shutdown = Shutdown::new();
        let predictor = Predictor::new(
            Arc::new(models),
            None,
            Arc::new(log),
            Arc::clone(&metrics),
            shutdown.clone(),
        );
        Self {
            predictor,
            metrics,
            audit,
            shutdown,
        }
    }

    async fn predict(&self, x: Vec<Cell>) -> Result<Prediction, Error> {
        self.predictor.predict(&request(x)).await
    }

    fn traffic(&self) -> Arc<Traffic> {
        let resolved = self
            .predictor
            .models()
            .resolve(&"m".parse().unwrap())
            .unwrap();
        resolved.traffic.unwrap()
    }

    /// Answers with the given rows for each of the traffic's aliases.
    async fn split(
        &self,
        request: &PredictRequest,
        rows: &[(&str, Vec<usize>)],
    ) -> Result<Prediction, Error> {
        let traffic = self.traffic();
        let aliases: Vec<String> = traffic
            .shares()
            .filter_map(|s| s.alias.map(str::to_owned))
            .collect();
        let mut parts: Vec<Part> = rows
            .iter()
            .map(|(alias, rows)| Part {
                place: aliases.iter().position(|own| own == alias).unwrap(),
                rows: rows.clone(),
            })
            .collect();
        parts.sort_by_key(|part| part.place);
        let record = self.predictor.audit().open(request).unwrap();
        let RequestInputs::Columns(columns) = &request.inputs else {
            panic!("the request has no columns");
        };
        let shared = Shared {
            columns: Cow::Borrowed(columns),
            layout: Layout::Table,
            parts,
        };
        split::serve(&self.predictor, record, request, &traffic, &shared).await
    }

    fn events(&self) -> Vec<Json> {
        let events = audit::read::spooled(&self.audit.path().join("spool")).unwrap();
        events.collect::<Result<_, _>>().unwrap()
    }

    /// Waits until there are as many events; runs of other tasks go on meanwhile.
    async fn events_when(&self, n: usize) -> Vec<Json> {
        for _ in 0..1_000_000 {
            let events = self.events();
            if events.len() >= n {
                return events;
            }
            tokio::task::yield_now().await;
        }
        panic!("there are {:?}", self.events())
    }

    fn has_metric(&self, line: &str) -> bool {
        self.metrics.render().lines().any(|other| other == line)
    }
}

fn request(x: Vec<Cell>) -> PredictRequest {
    let column = RequestColumn {
        place: ColumnPlace::Inputs,
        name: "x".to_owned(),
        cells: Cells::List(x),
    };
    PredictRequest {
        model: "m".parse().unwrap(),
        inputs: RequestInputs::Columns(RequestColumns::new(vec![column], 1_000).unwrap()),
        params: None,
        deadline: Deadline::after(Duration::from_secs(30)),
        context: RequestContext {
            surface: Surface::Http,
            request_id: "r-1".into(),
            trace_id: None,
            principal: None,
            priority: Priority::default(),
        },
    }
}

fn numbers(x: &[f32]) -> Vec<Cell> {
    x.iter().map(|x| Cell::Float(f64::from(*x))).collect()
}

fn y(prediction: &Prediction) -> Vec<f32> {
    let Output::Tensor(Tensor::Float32(array)) = &prediction.outputs[0].output else {
        panic!("{prediction:?}")
    };
    array.iter().copied().collect()
}

const EVEN: &str = "champion = 1, challenger = 1, canary = 1";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_split_call_gives_each_row_what_its_version_gives_alone(rows in prop::collection::vec((0..3usize, -8..8i8), 2..40)) {
        const ALIASES: [(&str, f32); 3] = [("champion", 1.0), ("challenger", 2.0), ("canary", 3.0)];
        let mut parts: Vec<(&str, Vec<usize>)> = Vec::new();
        for (place, (alias, _)) in ALIASES.iter().enumerate() {
            let of_alias = (0..rows.len()).filter(|row| rows[*row].0 == place);
            let of_alias: Vec<usize> = of_alias.collect();
            if !of_alias.is_empty() {
                parts.push((alias, of_alias));
            }
        }
        let x: Vec<f32> = rows.iter().map(|(_, x)| f32::from(*x)).collect();
        let wanted: Vec<f32> = rows.iter().map(|(place, x)| ALIASES[*place].1 * f32::from(*x)).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let bench = Bench::start(EVEN, vec![line(1.0), line(2.0), line(3.0)]);
            let prediction = bench.split(&request(numbers(&x)), &parts).await.unwrap();
            assert_eq!(y(&prediction), wanted);
            assert_eq!(prediction.n_rows, rows.len());
            let mut told: Vec<(String, Vec<usize>)> = Vec::new();
            for variant in &prediction.variants {
                told.push((variant.served_by.alias.as_deref().unwrap().to_owned(), variant.rows.clone()));
            }
            parts.sort();
            let parts: Vec<(String, Vec<usize>)> = parts.into_iter().map(|(alias, rows)| (alias.to_owned(), rows)).collect();
            assert_eq!(told, parts);
            let most = parts.iter().map(|(_, rows)| rows.len()).max().unwrap();
            let of_model = prediction.variants.iter().find(|v| v.served_by == prediction.served_by).unwrap();
            assert_eq!(of_model.rows.len(), most);
            assert_eq!(bench.events().len(), 1);
        });
    }

    #[test]
    fn every_row_of_a_route_is_there_once(n_rows in 1..200usize) {
        let bench = Bench::start(EVEN, vec![line(1.0), line(2.0), line(3.0)]);
        // Without entities the request id is the key, so that all rows fall to one version.
        let request = request(vec![Cell::Int(1); n_rows]);
        let route = route::route(&bench.traffic(), &request);
        prop_assert!(matches!(route, Route::One(_)), "{route:?}");
    }
}

#[tokio::test]
async fn a_split_call_is_one_event_and_counts_for_each_version() {
    let bench = Bench::start(EVEN, vec![line(1.0), line(2.0)]);
    let request = request(numbers(&[1.0, 2.0, 3.0]));
    let rows = [("champion", vec![0]), ("challenger", vec![1, 2])];
    let prediction = bench.split(&request, &rows).await.unwrap();
    let events = bench.events();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["id"], prediction.id.to_string());
    assert_eq!(events[0]["outputs"], json!({"y": [1.0, 4.0, 6.0]}));
    assert_eq!(events[0]["model"]["version"], "2");
    assert_eq!(
        events[0]["variants"],
        json!([
            {"version": "2", "alias": "challenger", "rows": [1, 2]},
            {"version": "1", "alias": "champion", "rows": [0]},
        ])
    );
    for line in [
        r#"terrarium_predict_requests_total{code="ok",model="m",version="1"} 1"#,
        r#"terrarium_predict_requests_total{code="ok",model="m",version="2"} 1"#,
        r#"terrarium_predict_rows_total{model="m",version="1"} 1"#,
        r#"terrarium_predict_rows_total{model="m",version="2"} 2"#,
    ] {
        assert!(bench.has_metric(line), "{line}");
    }
}

#[tokio::test]
async fn a_split_call_fails_as_one_and_names_the_callers_row_and_the_version() {
    let bench = Bench::start(EVEN, vec![line(1.0), line(2.0)]);
    let far = Cell::Text("far".to_owned());
    let request = request(vec![Cell::Int(0), Cell::Int(1), Cell::Int(2), far]);
    let rows = [("champion", vec![0, 2]), ("challenger", vec![1, 3])];
    let error = bench.split(&request, &rows).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "row 3 of column `x`: string where float32 is wanted"
    );
    let events = bench.events();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["model"]["version"], "2");
    assert_eq!(events[0]["error"]["code"], "value_type_wrong");
    assert!(bench.has_metric(
        r#"terrarium_predict_requests_total{code="value_type_wrong",model="m",version="2"} 1"#
    ));
    assert!(
        bench.has_metric(r#"terrarium_predict_requests_total{code="ok",model="m",version="1"} 0"#)
    );
}

#[tokio::test]
async fn a_call_without_entities_is_sticky_by_its_request_id() {
    let bench = Bench::start("champion = 1, challenger = 1", vec![line(1.0), line(2.0)]);
    let mut met = BTreeMap::new();
    for id in 0..40 {
        let mut request = request(numbers(&[1.0, 1.0]));
        request.context.request_id = format!("r-{id}").into();
        let first = bench.predictor.predict(&request).await.unwrap();
        let again = bench.predictor.predict(&request).await.unwrap();
        assert_eq!(first.served_by, again.served_by);
        assert!(first.variants.is_empty());
        *met.entry(first.served_by.version).or_insert(0) += 1;
    }
    assert_eq!(met.len(), 2, "{met:?}");
}

#[tokio::test]
async fn versions_whose_outputs_do_not_go_together_are_both_named() {
    let bench = Bench::start(EVEN, vec![line(1.0), line(2.0)]);
    let of = |place: usize| bench.traffic().variant(place).resolved();
    let variant = |place, rows| crate::types::prediction::VariantRows {
        served_by: crate::predict::served_by(&of(place)),
        rows,
    };
    let one = bench.predict(numbers(&[1.0])).await.unwrap();
    let mut other = one.clone();
    other.served_by.version = ModelVersion(9);
    other.outputs[0].output = Output::Tensor(Tensor::Float64(ArrayD::zeros(vec![1])));
    let variants = [variant(0, vec![0]), variant(1, vec![1])];
    let error = merge::merge(&variants, &[one.clone(), other.clone()]).unwrap_err();
    assert_eq!(error.code(), "traffic_versions_disagree");
    let versions = format!("versions {} and 9", one.served_by.version);
    assert!(error.to_string().contains(&versions), "{error}");
    other.outputs[0].name = "z".into();
    assert!(merge::merge(&variants, &[one, other]).is_err());
}

#[tokio::test]
async fn a_feature_that_only_one_version_takes_is_not_used_by_the_other() {
    let bench = Bench::start(EVEN, vec![line(1.0), line(2.0)]);
    let with = |prediction: &Prediction, names: &[&str]| {
        let mut prediction = prediction.clone();
        prediction.features = feature_rows(names, 1);
        prediction
    };
    let one = bench.predict(numbers(&[1.0])).await.unwrap();
    let variants = [vec![1], vec![0]].map(|rows| crate::types::prediction::VariantRows {
        served_by: one.served_by.clone(),
        rows,
    });
    let answers = [with(&one, &["v:a"]), with(&one, &["v:b", "v:a"])];
    let features = merge::merge(&variants, &answers).unwrap().features;
    assert_eq!(features.names[..], ["v:a", "v:b"]);
    let statuses: Vec<&str> = features
        .cells
        .iter()
        .map(|cell| cell.status.as_str())
        .collect();
    assert_eq!(statuses, ["present", "present", "present", "not_used"]);
}

fn feature_rows(names: &[&str], n_rows: usize) -> FeatureRows {
    let cell = FeatureCell {
        value: Value::Float(0.5),
        status: FeatureStatus::Present,
        event_timestamp: Some(Timestamp::EPOCH),
    };
    FeatureRows {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        n_rows,
        cells: vec![cell; names.len() * n_rows],
        read_at: Timestamp::EPOCH,
    }
}

#[tokio::test]
async fn a_shadow_tells_the_audit_log_how_far_it_is_from_the_answer() {
    let bench = Bench::start("shadow = 'challenger'", vec![line(1.0), line(1.5)]);
    let prediction = bench.predict(numbers(&[2.0, 0.0, -4.0])).await.unwrap();
    assert_eq!(y(&prediction), [2.0, 0.0, -4.0]);
    assert_eq!(prediction.served_by.version, ModelVersion(1));
    let events = bench.events_when(2).await;
    let (served, shadow) = (&events[0], &events[1]);
    assert_eq!(served["shadow_of"], Json::Null);
    assert_eq!(shadow["shadow_of"], served["id"]);
    assert_eq!(shadow["model"]["version"], "2");
    assert_eq!(shadow["model"]["alias"], "challenger");
    assert_eq!(shadow["outputs"], json!({"y": [3.0, 0.0, -6.0]}));
    assert_eq!(
        shadow["difference"],
        json!({"y": {"max_abs": 2.0, "n_rows": 2}})
    );
    assert!(bench.has_metric(r#"terrarium_shadow_runs_total{code="ok",model="m",version="2"} 1"#));
    assert!(
        bench.has_metric(r#"terrarium_predict_requests_total{code="ok",model="m",version="2"} 0"#)
    );
    // Addressed by its alias a call has no shadow.
    let mut direct = request(numbers(&[1.0]));
    direct.model = "m@champion".parse().unwrap();
    bench.predictor.predict(&direct).await.unwrap();
    assert!(bench.shutdown.drain(Duration::from_secs(30)).await);
    assert_eq!(bench.events().len(), 3);
}

#[tokio::test]
async fn a_slow_shadow_holds_up_no_answer_and_one_too_many_is_dropped() {
    let (shadow, go_on) = held(2.0);
    let traffic = "shadow = 'challenger', shadow_concurrency = 1";
    let bench = Bench::start(traffic, vec![line(1.0), shadow]);
    for x in [1.0, 2.0, 3.0] {
        // Each is answered while the first one's shadow still runs.
        let prediction = bench.predict(numbers(&[x])).await.unwrap();
        assert_eq!(y(&prediction), [x]);
    }
    assert!(
        bench.has_metric(r#"terrarium_shadow_runs_total{code="dropped",model="m",version="2"} 2"#)
    );
    assert_eq!(bench.events().len(), 3);
    // The drain waits for the run, as long as it may.
    assert!(!bench.shutdown.drain(Duration::ZERO).await);
    go_on.send(()).unwrap();
    assert!(bench.shutdown.drain(Duration::from_secs(30)).await);
    let events = bench.events();
    assert_eq!(events.len(), 4);
    assert_eq!(events[3]["shadow_of"], events[0]["id"]);
    assert_eq!(events[3]["outputs"], json!({"y": [2.0]}));
}

#[tokio::test]
async fn a_shadow_has_a_deadline_of_its_own() {
    let (shadow, go_on) = held(2.0);
    let traffic = "shadow = 'challenger', shadow_timeout = '20ms'";
    let bench = Bench::start(traffic, vec![line(1.0), shadow]);
    bench.predict(numbers(&[1.0])).await.unwrap();
    let events = bench.events_when(2).await;
    drop(go_on);
    assert_eq!(events[1]["shadow_of"], events[0]["id"]);
    assert_eq!(events[1]["error"]["code"], "deadline_exceeded");
}

#[tokio::test]
async fn a_failing_shadow_is_an_event_and_nothing_else() {
    let bench = Bench::start(
        "shadow = ['challenger', 'canary']",
        vec![line(1.0), failing(), line(1.0)],
    );
    let prediction = bench.predict(numbers(&[1.0])).await.unwrap();
    assert_eq!(y(&prediction), [1.0]);
    assert!(bench.shutdown.drain(Duration::from_secs(30)).await);
    let events = bench.events();
    assert_eq!(events.len(), 3);
    assert_eq!(events[0]["status"], "ok");
    let failed = events
        .iter()
        .find(|event| event["status"] == "error")
        .unwrap();
    assert_eq!(failed["error"]["code"], "model_inputs_refused");
    assert_eq!(failed["shadow_of"], events[0]["id"]);
    assert!(bench.has_metric(
        r#"terrarium_shadow_runs_total{code="model_inputs_refused",model="m",version="2"} 1"#
    ));
    assert!(bench.has_metric(r#"terrarium_shadow_runs_total{code="ok",model="m",version="3"} 1"#));
}

#[tokio::test]
async fn a_failed_call_and_one_that_the_shadow_itself_answered_are_not_shadowed() {
    let bench = Bench::start("shadow = 'challenger'", vec![failing(), line(1.0)]);
    assert!(bench.predict(numbers(&[1.0])).await.is_err());
    assert!(bench.shutdown.drain(Duration::from_secs(30)).await);
    assert_eq!(bench.events().len(), 1);

    let bench = Bench::start(
        "challenger = 1, shadow = 'challenger'",
        vec![line(1.0), line(2.0)],
    );
    let prediction = bench.predict(numbers(&[1.0])).await.unwrap();
    assert_eq!(prediction.served_by.version, ModelVersion(2));
    assert!(bench.shutdown.drain(Duration::from_secs(30)).await);
    assert_eq!(bench.events().len(), 1);
}

#[tokio::test]
async fn a_shadow_cut_off_by_the_end_of_the_process_leaves_its_event() {
    let (shadow, go_on) = held(2.0);
    let bench = Bench::start("shadow = 'challenger'", vec![line(1.0), shadow]);
    let traffic = bench.traffic();
    let request = request(numbers(&[1.0]));
    let record = bench
        .predictor
        .audit()
        .open_shadow(&request, uuid::Uuid::nil())
        .unwrap();
    let model = traffic.shadows()[0].resolved();
    let run = bench
        .predictor
        .run(&request, &model, record.id(), Read::Store);
    assert!(tokio::time::timeout(Duration::ZERO, run).await.is_err());
    drop(record);
    drop(go_on);
    assert_eq!(bench.events()[0]["error"]["code"], "cancelled");
}

/// A plan over the demo's real feature registry.
async fn feature_plan(service: &str, columns: &[&str]) -> ServingPlan {
    let repo = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("feature_repo");
    let config = features::Config {
        repo,
        ..Default::default()
    };
    let store = Arc::new(FeatureStore::open(&config, &|_| None).await.unwrap());
    let binder = PlanBinder::new(Some(store), BTreeMap::new(), Arc::new(Metrics::new()));
    let column = |name: &&str| ColumnSpec {
        name: Some((*name).to_owned()),
        dtype: ColumnType::Scalar(DType::Float64),
        required: true,
    };
    let mut graph = graph();
    graph.inputs[0].shape = vec![-1, i64::try_from(columns.len()).unwrap()];
    let plan = binder.bind(&Candidate {
        name: "m",
        version: ModelVersion(1),
        tags: &BTreeMap::from([("terrarium.features".to_owned(), service.to_owned())]),
        signature: &Signature {
            inputs: Some(Schema::Columns(columns.iter().map(column).collect())),
            ..Signature::default()
        },
        graph: &graph,
    });
    plan.unwrap()
}

#[tokio::test]
async fn a_shadow_takes_over_the_features_that_were_read_where_it_wants_no_others() {
    let columns = ["conv_rate", "acc_rate", "avg_daily_trips"];
    let all = feature_plan("driver_ranking_v1", &columns).await;
    let some = feature_plan("driver_hourly_stats:acc_rate", &columns[1..2]).await;
    let other = feature_plan("driver_profile:years_active", &["years_active"]).await;
    let names = Arc::clone(&all.online.as_ref().unwrap().names);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut read = feature_rows(&names, 2);
    for (place, cell) in read.cells.iter_mut().enumerate() {
        cell.value = Value::Int64(i64::try_from(place).unwrap());
    }
    let ids = RequestColumn {
        place: ColumnPlace::Entities,
        name: "driver_id".to_owned(),
        cells: Cells::List(vec![Cell::Int(1001), Cell::Int(1002)]),
    };
    let mut request = request(Vec::from([Cell::Int(1)]));
    let entities = RequestColumns::new(vec![ids], 10).unwrap();
    request.inputs = RequestInputs::Columns(entities.clone());

    let bench = Bench::start("shadow = 'challenger'", vec![line(1.0), line(2.0)]);
    let mut prediction = bench.predict(numbers(&[1.0])).await.unwrap();
    prediction.features = read;
    let model = test_models::served(graph(), Vec::new());
    let mut answered = Answered::of(
        request.clone(),
        prediction,
        vec![Arc::new(testing::version(1, all, model))],
    );

    let call = some.fit(&entities).unwrap();
    let taken = answered.features(&some, &call).unwrap();
    assert_eq!(taken.names[..], ["driver_hourly_stats:acc_rate"]);
    let acc_rate = names
        .iter()
        .position(|name| name.ends_with("acc_rate"))
        .unwrap();
    let values = [acc_rate, 3 + acc_rate].map(|place| Value::Int64(i64::try_from(place).unwrap()));
    assert_eq!(
        [&taken.cells[0].value, &taken.cells[1].value],
        [&values[0], &values[1]]
    );

    // Another feature was not read.
    assert!(
        answered
            .features(&other, &other.fit(&entities).unwrap())
            .is_none()
    );
    // One that the request overrode for the answer, and does not override here, was not read either.
    answered.set_status(acc_rate, FeatureStatus::Overridden);
    assert!(answered.features(&some, &call).is_none());
}
