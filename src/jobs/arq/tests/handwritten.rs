//! Jobs and results that were written without arq, and what real workers and clients made of them.

use serde_json::json;

use super::super::{
    Accept, ArqResult, Codec, DecodeError, FailureForm, Outcome, Raised, decode_job, decode_result,
    encode_job, encode_result,
};
use super::{golden, tagged, unhex};
use crate::jobs::value::Value;

fn codec(item: &serde_json::Value) -> Codec {
    match item["codec"].as_str().unwrap() {
        "pickle" => Codec::Pickle,
        "msgpack" | "msgpack_exc" => Codec::MsgPack,
        "json" | "json_exc" => Codec::Json,
        other => panic!("{other}"),
    }
}

fn pinned(item: &serde_json::Value) -> Accept {
    Accept {
        codec: Some(codec(item)),
        ..Accept::default()
    }
}

/// What a client would raise, in the tags of the golden data.
fn raised(raised: &Raised) -> serde_json::Value {
    let exception = |module: &str, name: &str, args: serde_json::Value| json!({"$exc": {"module": module, "name": name, "args": args}});
    match raised {
        Raised::Failed(text) => exception("arq.worker", "JobExecutionFailed", json!([text])),
        Raised::Cancelled => exception("asyncio.exceptions", "CancelledError", json!([])),
        Raised::TimedOut => exception("builtins", "TimeoutError", json!([])),
        Raised::Undecodable => exception(
            "arq.jobs",
            "DeserializationError",
            json!(["unable to deserialize job"]),
        ),
        Raised::Exception(object) => tagged(&Value::Object(object.clone())),
        Raised::Value(value) => exception("arq.jobs", "SerializationError", json!([tagged(value)])),
    }
}

#[test]
fn results_are_read_as_real_clients_read_them() {
    let golden = golden("handwritten_results.json");
    let items = golden["items"].as_array().unwrap();
    assert!(items.len() > 50);
    for item in items {
        let place = format!("{} in {}", item["name"], item["codec"]);
        let decoded = decode_result(&unhex(&item["hex"]), &pinned(item));
        // We record a class that the client cannot import; a client fails as a whole.
        let is_undecodable =
            item.get("info_raises").is_some() && item["name"] != "exc_unknown_class";
        assert_eq!(decoded.is_err(), is_undecodable, "{place}: {decoded:?}");
        let Ok((result, codec_found)) = decoded else {
            continue;
        };
        assert_eq!(codec_found, codec(item), "{place}");
        match (&result.outcome, item["name"].as_str().unwrap()) {
            (Outcome::Returned(value), _) => assert_eq!(tagged(value), item["returns"], "{place}"),
            (Outcome::Raised(Raised::Exception(object)), "exc_unknown_class") => {
                assert!(!object.name.is_empty(), "{place}");
            }
            // A client takes what is no `Exception` for a value.
            (Outcome::Raised(exception), "exc_baseexception") => {
                assert_eq!(
                    raised(exception),
                    item["raises"]["$exc"]["args"][0],
                    "{place}"
                );
            }
            // The decoder of that client knows the builtin classes; for us a map is a failure with a type.
            (Outcome::Raised(exception), "exc_value") => {
                assert_eq!(
                    *exception,
                    Raised::failed("ValueError", "x must have 4 columns"),
                    "{place}"
                );
            }
            (Outcome::Raised(exception), _) => {
                assert_eq!(raised(exception), item["raises"], "{place}")
            }
        }
    }
}

#[test]
fn jobs_and_the_results_of_a_real_worker_agree() {
    for item in golden("handwritten_jobs.json")["items"].as_array().unwrap() {
        let place = format!("{} in {}", item["job_id"], item["codec"]);
        let (Some(job_hex), Some(result_hex)) = (item.get("job_hex"), item.get("result_hex"))
        else {
            continue;
        };
        let (job, job_codec) = decode_job(&unhex(job_hex), &Accept::default()).unwrap();
        let (result, result_codec) = decode_result(&unhex(result_hex), &Accept::default()).unwrap();
        assert_eq!(
            (job_codec, result_codec),
            (codec(item), codec(item)),
            "{place}"
        );
        assert_eq!(job.function, result.function, "{place}");
        assert_eq!(
            (&job.args, &job.kwargs),
            (&result.args, &result.kwargs),
            "{place}"
        );
        assert_eq!(job.enqueued_at, result.enqueued_at, "{place}");
        assert_eq!(result.job_id, item["job_id"].as_str().unwrap(), "{place}");
        let encoded = encode_job(&job, job_codec).unwrap();
        assert_eq!(
            decode_job(&encoded, &Accept::default()).unwrap(),
            (job, job_codec),
            "{place}"
        );
        if let Outcome::Returned(value) = &result.outcome {
            assert_eq!(tagged(value), item["returns"], "{place}");
        }
    }
}

#[test]
fn a_pinned_codec_refuses_the_others() {
    let golden = golden("handwritten_jobs.json");
    let item = golden["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|item| item["codec"] == "json")
        .unwrap();
    let accept = Accept {
        codec: Some(Codec::MsgPack),
        ..Accept::default()
    };
    let error = decode_job(&unhex(&item["job_hex"]), &accept).unwrap_err();
    assert!(matches!(
        error,
        DecodeError::CodecRefused {
            found: Codec::Json,
            wanted: Codec::MsgPack
        }
    ));
}

fn failures() -> Vec<Raised> {
    vec![
        Raised::failed("model_not_found", "no model is called `x`"),
        Raised::expired(),
        Raised::function_not_found("nope"),
        Raised::retries_exceeded(5),
        Raised::Cancelled,
        Raised::TimedOut,
        Raised::Undecodable,
        Raised::unserializable(),
    ]
}

#[test]
fn failures_are_read_as_they_were_written() {
    let now = crate::jobs::arq::keys::time(1_795_360_131_740);
    for failure in failures() {
        for codec in Codec::ALL {
            for form in [FailureForm::Text, FailureForm::Map] {
                let result = ArqResult::of_unknown("id", "arq:queue", 1, failure.clone(), now);
                let bytes = encode_result(&result, codec, form).unwrap();
                let (read, _) = decode_result(&bytes, &Accept::default()).unwrap();
                let Outcome::Raised(read) = read.outcome else {
                    panic!("{failure:?} is read as success");
                };
                // A text with a code stays a text: a client of another worker could have written it.
                let is_text =
                    codec != Codec::Pickle && form == FailureForm::Text && failure.code().is_some();
                if is_text {
                    assert_eq!(read, Raised::Value(Value::from(failure.message())));
                    assert_eq!(read.code(), failure.code());
                } else {
                    assert_eq!(read, failure, "{codec} {form:?}");
                }
            }
        }
    }
}

#[test]
fn the_class_of_a_foreign_exception_is_never_written() {
    let pickle = b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R.";
    let object = super::super::pickle::decode(
        pickle,
        super::super::codec::Objects::Record,
        &Accept::default(),
    );
    let Ok(Value::Object(object)) = object else {
        panic!("no record");
    };
    let now = crate::jobs::arq::keys::time(0);
    let result = ArqResult::of_unknown("id", "q", 1, Raised::Exception(object.clone()), now);
    let bytes = encode_result(&result, Codec::Pickle, FailureForm::Text).unwrap();
    let (read, _) = decode_result(&bytes, &Accept::default()).unwrap();
    assert_eq!(
        read.outcome,
        Outcome::Raised(Raised::Failed("system: id".to_owned()))
    );
    let value = Value::List(vec![Value::Object(object)]);
    let result = ArqResult {
        outcome: Outcome::Returned(value),
        ..result
    };
    let error = encode_result(&result, Codec::Pickle, FailureForm::Text).unwrap_err();
    assert_eq!(
        error.to_string(),
        "an object of class `system` cannot be written as pickle"
    );
}

#[test]
fn a_job_without_a_field_or_with_a_wrong_one_is_refused() {
    for (text, wanted) in [
        (
            r#"{"t":null,"f":"x","a":[],"k":{}}"#,
            "the job has no field `et`",
        ),
        (
            r#"{"f":"x","a":[],"k":{},"et":0}"#,
            "the job has no field `t`",
        ),
        (
            r#"{"t":null,"f":1,"a":[],"k":{},"et":0}"#,
            "field `f` of the job is of type int; wanted is text",
        ),
        (
            r#"{"t":null,"f":"x","a":{},"k":{},"et":0}"#,
            "field `a` of the job is of type dict; wanted is a list",
        ),
        (
            r#"{"t":null,"f":"x","a":[],"k":[],"et":0}"#,
            "field `k` of the job is of type list; wanted is a map",
        ),
        (
            r#"{"t":"1","f":"x","a":[],"k":{},"et":0}"#,
            "field `t` of the job is of type str; wanted is an integer or nothing",
        ),
        (
            r#"{"t":1,"f":"x","a":[],"k":{},"et":NaN}"#,
            "field `et` of the job is of type float; wanted is a number of milliseconds",
        ),
    ] {
        let error = decode_job(text.as_bytes(), &Accept::default()).unwrap_err();
        assert_eq!(error.to_string(), wanted);
    }
}
