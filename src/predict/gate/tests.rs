//! Verdicts over recorded answers of `y = x`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::audit;
use crate::inference::{self, Engine, Inputs, test_models};
use crate::models::{Binder, Candidate, testing};
use crate::predict::PlanBinder;
use crate::telemetry::metrics::Metrics;
use crate::types::dtype::DType;
use crate::types::signature::{Graph, OutputKind, OutputSpec, Signature, TensorSpec};
use crate::types::tensor::{Output, Tensor};

/// `y = factor * x`, or an error for `x` above the limit.
struct Line {
    factor: f32,
    limit: f32,
}

impl Engine for Line {
    fn run(&mut self, inputs: Inputs) -> Result<Vec<Output>, inference::Error> {
        let Tensor::Float32(x) = &*inputs.required()[0] else {
            panic!("{inputs:?}")
        };
        if x.iter().any(|x| *x > self.limit) {
            return Err(inference::Error::Rejected {
                reason: "too much".to_owned(),
            });
        }
        Ok(vec![Output::Tensor(Tensor::Float32(x * self.factor))])
    }
}

fn version(number: u64, line: Line) -> Version {
    let graph = Graph {
        inputs: vec![TensorSpec {
            name: Some("x".to_owned()),
            dtype: DType::Float32,
            shape: vec![-1],
        }],
        optional: Vec::new(),
        outputs: vec![OutputSpec {
            name: "y".to_owned(),
            kind: OutputKind::Tensor {
                dtype: DType::Float32,
                shape: vec![-1],
            },
        }],
    };
    let binder = PlanBinder::new(None, BTreeMap::new(), Arc::new(Metrics::new()));
    let plan = binder.bind(&Candidate {
        name: "m",
        version: ModelVersion(number),
        tags: &BTreeMap::new(),
        signature: &Signature::default(),
        graph: &graph,
    });
    let model = test_models::served(graph, vec![Box::new(line)]);
    Arc::new(testing::version(number, plan.unwrap(), model))
}

fn straight() -> Line {
    Line {
        factor: 1.0,
        limit: f32::INFINITY,
    }
}

/// A directory of files with one event for each `x`, answered by version 1 just now.
fn recorded(xs: &[f64]) -> (TempDir, Record) {
    let directory = tempfile::tempdir().unwrap();
    let text = format!("[file]\ndirectory = '{}'", directory.path().display());
    let config: audit::Config = toml::from_str(&text).unwrap();
    let record = Record {
        trail: Trail::of(&config),
        reports: Reports::new(directory.path().join("gate")),
    };
    write(&directory, xs);
    (directory, record)
}

fn write(directory: &TempDir, xs: &[f64]) {
    let now = Timestamp::now();
    let events = xs.iter().enumerate().map(|(n, x)| {
        let event = json!({
            "id": format!("{n}"), "time": now, "surface": "http", "model": {"name": "m", "version": "1"}, "shadow_of": null,
            "n_rows": 1, "inputs": {"x": [x]}, "features": {}, "outputs": {"y": [x]}, "status": "ok",
            "timings_us": {"total": 10},
        });
        format!("{event}\n")
    });
    let text: String = events.collect();
    fs_err::write(directory.path().join("predictions-1.jsonl"), text).unwrap();
}

fn limits(text: &str) -> Config {
    let text = format!("[gate]\nreplay = '1h'\nmin_rows = 3\n{text}");
    toml::from_str::<crate::predict::Config>(&text)
        .unwrap()
        .gate
}

async fn judge(record: &Record, config: &Config, line: Line) -> Verdict {
    let candidate = version(2, line);
    record
        .clone()
        .judge(config.clone(), candidate, ModelVersion(1))
        .await
}

fn told(verdict: Verdict) -> (&'static str, String) {
    match verdict {
        Verdict::Passed(sentence) => ("passed", sentence),
        Verdict::Unjudged(sentence) => ("unjudged", sentence),
        Verdict::Refused(error) => (error.code(), error.to_string()),
        Verdict::Failed(error) => (error.code(), error.to_string()),
    }
}

#[tokio::test]
async fn changes_up_to_the_limit_pass_and_beyond_it_do_not() {
    let (_directory, record) = recorded(&[0.5, 1.0, 2.0, 64.0]);
    let within = limits("max_change = 1.0\nchange_quantile = 0.6");
    let line = |factor| Line {
        factor,
        limit: f32::INFINITY,
    };
    // The third of four is at a distance of 1.
    let (outcome, sentence) = told(judge(&record, &within, line(1.5)).await);
    assert_eq!(
        (outcome, sentence.as_str()),
        ("passed", "passed: of 4 recorded rows 0.00 % flip")
    );
    let (outcome, sentence) = told(judge(&record, &within, line(1.75)).await);
    assert_eq!(outcome, "model_gate_refused");
    assert_eq!(
        sentence,
        "output `y` changes by up to 1.5 in 0.6 of 4 recorded rows, and `max_change` is 1"
    );
    let report = record
        .reports
        .read("m", ModelVersion(2))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(report["outcome"], "refused");
    assert_eq!(report["outputs"]["y"]["change"]["max"], 48.0);
}

#[tokio::test]
async fn rows_that_are_answered_no_more_count_as_flips() {
    let (_directory, record) = recorded(&[0.5, 1.0, 2.0, 64.0]);
    let line = || Line {
        factor: 1.0,
        limit: 10.0,
    };
    let verdict = judge(&record, &limits("max_flip_rate = 0.24"), line()).await;
    assert_eq!(told(verdict).0, "model_gate_refused");
    let verdict = judge(&record, &limits("max_flip_rate = 0.25"), line()).await;
    assert_eq!(told(verdict).0, "passed");
    let report = record
        .reports
        .read("m", ModelVersion(2))
        .await
        .unwrap()
        .unwrap();
    let failed = &report["failed"]["model_inputs_refused"];
    assert_eq!(failed["n_predictions"], 1, "{report}");
}

#[tokio::test]
async fn a_refusal_stands_while_too_few_rows_are_on_record_unless_the_limits_are_others() {
    let (directory, record) = recorded(&[1.0, 2.0, 3.0]);
    let line = || Line {
        factor: 2.0,
        limit: f32::INFINITY,
    };
    let narrow = limits("max_change = 0.5");
    assert_eq!(
        told(judge(&record, &narrow, line()).await).0,
        "model_gate_refused"
    );
    write(&directory, &[1.0]);
    let (outcome, sentence) = told(judge(&record, &narrow, line()).await);
    assert_eq!(outcome, "model_gate_refused");
    assert!(
        sentence.contains("too few rows are on record to judge it anew: output `y`"),
        "{sentence}"
    );
    let (outcome, sentence) = told(judge(&record, &limits("max_change = 0.75"), line()).await);
    assert_eq!(
        (outcome, sentence.as_str()),
        (
            "unjudged",
            "passed unjudged: 1 recorded rows could be replayed, and `min_rows` is 3"
        )
    );
}

#[tokio::test]
async fn what_cannot_be_read_is_not_judged() {
    let (directory, record) = recorded(&[1.0, 2.0, 3.0]);
    let path = directory.path().join("predictions-1.jsonl");
    fs_err::remove_file(&path).unwrap();
    fs_err::create_dir(&path).unwrap();
    let verdict = judge(&record, &limits("max_change = 0.5"), straight()).await;
    assert_eq!(told(verdict).0, "model_gate_unreadable");
}

#[tokio::test]
async fn the_time_to_judge_in_is_kept_to() {
    let (_directory, record) = recorded(&[1.0, 2.0, 3.0]);
    let mut config = limits("max_change = 0.5");
    config.timeout = Duration::from_secs(60);
    let deadline = Deadline::after(Duration::ZERO);
    let (comparison, is_complete) = record
        .replay(&config, &version(2, straight()), deadline)
        .await
        .unwrap_or_else(|_| (Comparison::default(), false));
    assert_eq!((comparison.n_rows(), is_complete), (0, false));
}
