//! What real arq clients and workers left in Redis, in all three codecs.

use serde_json::json;

use super::super::{
    Accept, ArqJob, ArqResult, Codec, FailureForm, Outcome, Raised, decode_job, decode_result,
    encode_job, encode_result, keys,
};
use super::{golden, tagged, unhex};
use crate::jobs::value::Value;

fn args(args: &[Value], codec: Codec) -> serde_json::Value {
    let items = json!(args.iter().map(tagged).collect::<Vec<_>>());
    if codec == Codec::Pickle {
        json!({"$tuple": items})
    } else {
        items
    }
}

fn kwargs(kwargs: &[(String, Value)]) -> serde_json::Value {
    let pairs = kwargs
        .iter()
        .map(|(name, value)| (name.clone(), tagged(value)));
    serde_json::Value::Object(pairs.collect())
}

fn shown_job(job: &ArqJob, codec: Codec) -> serde_json::Value {
    json!({
        "t": job.job_try,
        "f": job.function,
        "a": args(&job.args, codec),
        "k": kwargs(&job.kwargs),
        "et": keys::millis(job.enqueued_at),
    })
}

fn shown_result(result: &ArqResult, codec: Codec) -> serde_json::Value {
    let exception = |module: &str, name: &str, args: serde_json::Value| json!({"$exc": {"module": module, "name": name, "args": args}});
    let (success, value) = match &result.outcome {
        Outcome::Returned(value) => (true, tagged(value)),
        Outcome::Raised(raised) => (
            false,
            match raised {
                Raised::Failed(text) => {
                    exception("arq.worker", "JobExecutionFailed", json!([text]))
                }
                Raised::Cancelled => exception("asyncio.exceptions", "CancelledError", json!([])),
                Raised::TimedOut => exception("builtins", "TimeoutError", json!([])),
                Raised::Undecodable => exception(
                    "arq.jobs",
                    "DeserializationError",
                    json!(["unable to deserialize job"]),
                ),
                Raised::Exception(object) => tagged(&Value::Object(object.clone())),
                Raised::Value(value) => tagged(value),
            },
        ),
    };
    json!({
        "t": result.job_try,
        "f": result.function,
        "a": args(&result.args, codec),
        "k": kwargs(&result.kwargs),
        "et": keys::millis(result.enqueued_at),
        "s": success,
        "r": value,
        "st": keys::millis(result.started_at),
        "ft": keys::millis(result.finished_at),
        "q": result.queue,
        "id": result.job_id,
    })
}

/// Checks one key; returns whether it held a job or a result.
fn check(key: &str, entry: &serde_json::Value, codec: Codec) -> bool {
    let accept = Accept::default();
    let is_job = key.starts_with(keys::JOB_PREFIX);
    if !is_job && !key.starts_with(keys::RESULT_PREFIX) {
        return false;
    }
    let (bytes, wanted) = (unhex(&entry["hex"]), &entry["decoded"]);
    if wanted.get("$undecodable").is_some() {
        assert!(decode_job(&bytes, &accept).is_err(), "{key}");
        return true;
    }
    if is_job {
        let (job, found) = decode_job(&bytes, &accept).unwrap();
        assert_eq!((found, &shown_job(&job, codec)), (codec, wanted), "{key}");
        let again = encode_job(&job, codec).unwrap();
        assert_eq!(decode_job(&again, &accept).unwrap(), (job, codec), "{key}");
        return true;
    }
    let (result, found) = decode_result(&bytes, &accept).unwrap();
    assert_eq!(
        (found, &shown_result(&result, codec)),
        (codec, wanted),
        "{key}"
    );
    assert_eq!(key, keys::result(&result.job_id));
    let again = encode_result(&result, codec, FailureForm::Text).unwrap();
    let (again, _) = decode_result(&again, &accept).unwrap();
    match &result.outcome {
        Outcome::Raised(raised @ Raised::Exception(_)) => {
            assert_eq!(
                again.outcome,
                Outcome::Raised(Raised::Failed(raised.message())),
                "{key}"
            );
        }
        _ => assert_eq!(again, result, "{key}"),
    }
    true
}

fn run(file: &str, codec: Codec) {
    let golden = golden(file);
    let scenarios = golden["scenarios"].as_array().unwrap();
    assert_eq!(scenarios.len(), 36);
    let mut n_checked = 0;
    for scenario in scenarios {
        for stage in scenario["stages"].as_array().unwrap() {
            for (key, entry) in stage["keys"].as_object().unwrap() {
                n_checked += usize::from(check(key, entry, codec));
            }
        }
    }
    assert!(n_checked > 60, "only {n_checked} jobs and results");
}

#[test]
fn pickled_jobs_and_results_of_arq_are_read() {
    run("scenarios_pickle.json", Codec::Pickle);
}

#[test]
fn msgpack_jobs_and_results_of_arq_are_read() {
    run("scenarios_msgpack.json", Codec::MsgPack);
}

#[test]
fn json_jobs_and_results_of_arq_are_read() {
    run("scenarios_json.json", Codec::Json);
}
