//! What we write, kept as a file, so that real Python reads it: `compat/arq/test_codec.py`.

use serde_json::json;

use super::super::codec::Objects;
use super::super::{
    Accept, ArqJob, ArqResult, Codec, FailureForm, Outcome, Raised, encode_job, encode_result,
    keys, pickle,
};
use super::{golden, hex, unhex};
use crate::jobs::value::Value;

const FILE: &str = "written.json";

fn values() -> Vec<serde_json::Value> {
    let mut written = Vec::new();
    for item in golden("pickle_values.json")["items"].as_array().unwrap() {
        if item["protocol"] != 4 || unhex(&item["hex"]).len() > 6_000 {
            continue;
        }
        let Ok(value) = pickle::decode(&unhex(&item["hex"]), Objects::Refuse, &Accept::default())
        else {
            continue;
        };
        let mut out = Vec::new();
        pickle::put_header(&mut out);
        pickle::put(&mut out, &value).unwrap();
        pickle::put_stop(&mut out);
        written.push(json!({"name": item["name"], "hex": hex(&out)}));
    }
    written
}

fn body() -> Value {
    Value::from(json!({
        "x": [1.0, 2.5, -3.25], "n": 12_345_678_901_234_i64, "big": u64::MAX, "text": "naïve ☃ \" \\ \n",
        "nested": {"a": [[1, -2], [300, 70_000]], "none": null, "yes": true},
    }))
}

fn jobs() -> Vec<serde_json::Value> {
    let job = ArqJob {
        job_try: Some(2),
        function: "predict".to_owned(),
        args: vec![Value::from("iris"), body()],
        kwargs: vec![
            ("k".to_owned(), Value::from(0.1)),
            ("n".to_owned(), Value::None),
        ],
        enqueued_at: keys::time(1_795_360_131_740),
    };
    let written = |codec: Codec| json!({"codec": codec.name(), "hex": hex(&encode_job(&job, codec).unwrap())});
    Codec::ALL.map(written).to_vec()
}

fn results() -> Vec<serde_json::Value> {
    let outcomes = [
        ("value", Outcome::Returned(body())),
        (
            "code",
            Outcome::Raised(Raised::failed("model_not_found", "no model `x`")),
        ),
        ("expired", Outcome::Raised(Raised::expired())),
        (
            "function",
            Outcome::Raised(Raised::function_not_found("it's")),
        ),
        ("retries", Outcome::Raised(Raised::retries_exceeded(5))),
        ("cancelled", Outcome::Raised(Raised::Cancelled)),
        ("timed_out", Outcome::Raised(Raised::TimedOut)),
        ("undecodable", Outcome::Raised(Raised::Undecodable)),
        ("unserializable", Outcome::Raised(Raised::unserializable())),
    ];
    let mut written = Vec::new();
    for (name, outcome) in outcomes {
        let now = keys::time(1_795_360_131_800);
        let mut result =
            ArqResult::of_unknown("id-1", keys::DEFAULT_QUEUE, 1, Raised::Cancelled, now);
        result.args = vec![Value::from("iris"), Value::Int(1)];
        result.outcome = outcome;
        for codec in Codec::ALL {
            for (form, form_name) in [(FailureForm::Text, "text"), (FailureForm::Map, "map")] {
                let bytes = encode_result(&result, codec, form).unwrap();
                written.push(json!({"name": name, "codec": codec.name(), "form": form_name, "hex": hex(&bytes)}));
            }
        }
    }
    written
}

fn written() -> serde_json::Value {
    json!({"values": values(), "jobs": jobs(), "results": results()})
}

#[test]
fn what_python_is_shown_is_what_we_write() {
    assert!(
        golden(FILE) == written(),
        "tests/fixtures/arq/{FILE} is stale: cargo test --lib rewrites_what_python_is_shown -- --ignored"
    );
}

#[test]
#[ignore = "rewrites a file of the checkout; `compat/arq` must pass afterwards"]
fn rewrites_what_python_is_shown() {
    let path = super::path(FILE);
    fs_err::write(
        path,
        serde_json::to_string_pretty(&written()).unwrap() + "\n",
    )
    .unwrap();
}
