//! The Open Inference Protocol over REST. Each trap of docs/oip.md that REST has is a test of that name.

use std::io::Write;

use serde_json::{Value, json};

use crate::support::{Answer, Server, copy, root};

/// A registry of models of the fixtures, and a server over it.
pub(crate) struct Fixture {
    pub(crate) server: Server,
    pub(crate) models: tempfile::TempDir,
}

pub(crate) async fn fixture(settings: &[&str]) -> Fixture {
    let models = tempfile::tempdir().unwrap();
    for model in [
        "rank3",
        "multi_tensor",
        "strings_tensor",
        "nan_out",
        "clf_on_tensor",
    ] {
        let from = root().join("tests/fixtures/mlflow/models").join(model);
        copy(&from, &models.path().join(model).join("1"));
    }
    let from = root().join("tests/fixtures/models/echo");
    copy(&from, &models.path().join("echo"));
    let path = format!("registry.local.path={}", models.path().display());
    let mut all = vec![path.as_str(), "features.repo="];
    all.extend(settings);
    let server = Server::start_bare(&all).await;
    Fixture { server, models }
}

/// As tritonclient sends it: without a Content-Type.
async fn infer(server: &Server, model: &str, body: &Value) -> Answer {
    let path = format!("/v2/models/{model}/infer");
    server.call("POST", &path, &[], &body.to_string()).await
}

async fn infer_binary(server: &Server, model: &str, head: &Value, bytes: &[u8]) -> Answer {
    let head = head.to_string();
    let length = head.len().to_string();
    let mut body = head.into_bytes();
    body.extend_from_slice(bytes);
    let path = format!("/v2/models/{model}/infer");
    let headers = [("inference-header-content-length", length.as_str())];
    server.call_bytes("POST", &path, &headers, body).await
}

fn image(shape: &[i64], data: Value) -> Value {
    json!({ "inputs": [{ "name": "img", "shape": shape, "datatype": "FP32", "data": data }] })
}

fn little(numbers: &[f32]) -> Vec<u8> {
    numbers
        .iter()
        .flat_map(|number| number.to_le_bytes())
        .collect()
}

/// The JSON and the bytes of a binary answer.
fn parts(answer: &Answer) -> (Value, Vec<u8>) {
    assert_eq!(answer.status, 200, "{:?}", answer.bytes);
    assert_eq!(answer.headers["content-type"], "application/octet-stream");
    let length: usize = answer.headers["inference-header-content-length"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    let (json, bytes) = answer.bytes.split_at(length);
    (serde_json::from_slice(json).unwrap(), bytes.to_vec())
}

#[track_caller]
fn assert_refused(answer: &Answer, status: u16, part: &str) {
    assert_eq!(answer.status, status, "{:?}", answer.bytes);
    assert_eq!(answer.headers["content-type"], "application/json");
    let body = answer.json();
    let message = body["error"].as_str().unwrap();
    assert!(message.contains(part), "no `{part}` in {message}");
}

#[tokio::test]
async fn trap_1_no_content_type_is_needed_and_any_is_taken() {
    let fixture = fixture(&[]).await;
    let body = image(&[1, 2, 3], json!([1, 2, 3, 4, 5, 6])).to_string();
    let path = "/v2/models/rank3/infer";
    for headers in [
        &[][..],
        &[("content-type", "application/json")],
        &[("content-type", "application/octet-stream")],
        &[("content-type", "application/x-www-form-urlencoded")],
    ] {
        let answer = fixture.server.call("POST", path, headers, &body).await;
        assert_eq!(answer.status, 200, "{:?}", answer.bytes);
        let body = answer.json();
        assert_eq!(body["model_name"], "rank3");
        assert_eq!(body["model_version"], "1");
        assert!(body.get("id").is_none(), "no id is made up");
        let output = json!([{ "name": "m", "datatype": "FP32", "shape": [1], "data": body["outputs"][0]["data"] }]);
        assert_eq!(body["outputs"], output);
    }
    let event = &fixture.server.events_when(4).await[0];
    assert_eq!(event["surface"], "oip");
}

#[tokio::test]
async fn trap_2_large_bodies_are_taken_up_to_the_limit() {
    let fixture = fixture(&["http.oip.max_body=3MiB"]).await;
    let head = json!({ "inputs": [{ "name": "img", "shape": [90_000, 2, 3], "datatype": "FP32",
        "parameters": { "binary_data_size": 2_160_000 } }], "parameters": { "binary_data_output": true } });
    let answer = infer_binary(&fixture.server, "rank3", &head, &vec![0; 2_160_000]).await;
    let (json, bytes) = parts(&answer);
    assert_eq!(json["outputs"][0]["shape"], json!([90_000]));
    assert_eq!(bytes.len(), 360_000);
    let answer = infer_binary(&fixture.server, "rank3", &head, &vec![0; 4 << 20]).await;
    assert_refused(&answer, 413, "http.oip.max_body");
}

fn compressed(encoding: &str, bytes: &[u8]) -> Vec<u8> {
    let level = flate2::Compression::default();
    if encoding == "gzip" {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
        encoder.write_all(bytes).unwrap();
        return encoder.finish().unwrap();
    }
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn trap_3_the_header_length_counts_decompressed_bytes_and_may_exceed_the_content_length() {
    let fixture = fixture(&["http.oip.max_body=64KiB"]).await;
    let n_bytes = 24 * 500;
    let head = json!({ "id": "x".repeat(500), "inputs": [{ "name": "img", "shape": [500, 2, 3], "datatype": "FP32",
        "parameters": { "binary_data_size": n_bytes } }], "parameters": { "binary_data_output": true } });
    let mut body = head.to_string().into_bytes();
    let length = body.len().to_string();
    body.extend(vec![0; n_bytes]);
    for encoding in ["gzip", "deflate"] {
        let sent = compressed(encoding, &body);
        assert!(sent.len() < head.to_string().len());
        let headers = [
            ("inference-header-content-length", length.as_str()),
            ("content-encoding", encoding),
            ("accept-encoding", encoding),
        ];
        let path = "/v2/models/rank3/infer";
        let answer = fixture
            .server
            .call_bytes("POST", path, &headers, sent)
            .await;
        assert_eq!(answer.status, 200, "{:?}", answer.bytes);
        assert_eq!(answer.headers["content-encoding"], encoding);
        assert!(answer.bytes.len() < 2_000, "{}", answer.bytes.len());
    }
    let path = "/v2/models/rank3/infer";
    let bomb = compressed("gzip", &vec![b' '; 10 << 20]);
    let headers = [("content-encoding", "gzip")];
    let answer = fixture
        .server
        .call_bytes("POST", path, &headers, bomb)
        .await;
    assert_refused(&answer, 413, "65536");
    let answer = fixture
        .server
        .call_bytes("POST", path, &headers, body)
        .await;
    assert_refused(&answer, 400, "not valid gzip");
    let headers = [("content-encoding", "br")];
    let answer = fixture
        .server
        .call_bytes("POST", path, &headers, Vec::new())
        .await;
    assert_refused(&answer, 501, "`br`");
}

#[tokio::test]
async fn trap_4_binary_outputs_go_with_json_inputs() {
    let fixture = fixture(&[]).await;
    let left = json!({ "name": "left", "shape": [1, 3], "datatype": "FP32", "data": [[1, 2, 3]] });
    let right = json!({ "name": "right", "shape": [1, 3], "datatype": "FP32", "data": [1, 1, 1] });
    let boost = json!({ "name": "boost", "shape": [1], "datatype": "INT64", "data": [1] });
    let mut body =
        json!({ "inputs": [left, right, boost], "parameters": { "binary_data_output": true } });
    let (all, bytes) = parts(&infer(&fixture.server, "multi_tensor", &body).await);
    assert_eq!(all["outputs"][0]["parameters"]["binary_data_size"], 4);
    assert_eq!(all["outputs"][1]["parameters"]["binary_data_size"], 12);
    assert_eq!(bytes.len(), 16);
    // Each output may say otherwise, and they come in the order asked for.
    body["outputs"] =
        json!([{ "name": "pair", "parameters": { "binary_data": false } }, { "name": "score" }]);
    let (mixed, bytes) = parts(&infer(&fixture.server, "multi_tensor", &body).await);
    assert_eq!(mixed["outputs"][0]["name"], "pair");
    assert_eq!(mixed["outputs"][0]["data"].as_array().unwrap().len(), 3);
    assert_eq!(mixed["outputs"][1]["parameters"]["binary_data_size"], 4);
    assert_eq!(bytes.len(), 4);
    body["outputs"] = json!([{ "name": "nothing" }]);
    let answer = infer(&fixture.server, "multi_tensor", &body).await;
    assert_refused(&answer, 400, "`nothing` is not an output");
}

#[tokio::test]
async fn trap_5_every_layer_answers_with_an_error_object() {
    let fixture = fixture(&[]).await;
    let server = &fixture.server;
    assert_refused(&server.get("/v2/nothing").await, 404, "/v2/nothing");
    assert_refused(&server.get("/v2/models/rank3/infer").await, 405, "GET");
    let answer = server.call("DELETE", "/v2", &[], "").await;
    assert_refused(&answer, 405, "DELETE");
    assert_refused(&server.get("/v2/models/unknown").await, 404, "`unknown`");
    assert_refused(
        &server.get("/v2/models/unknown/ready").await,
        404,
        "`unknown`",
    );
    let answer = infer(server, "unknown", &image(&[0, 2, 3], json!([]))).await;
    assert_refused(&answer, 404, "`unknown`");
    assert_refused(&infer(server, "rank3", &json!([])).await, 400, "malformed");
    let mut late = image(&[1, 2, 3], json!([1, 2, 3, 4, 5, 6]));
    late["parameters"] = json!({ "timeout": 1 });
    assert_refused(&infer(server, "rank3", &late).await, 504, "deadline");
}

#[tokio::test]
async fn trap_7_success_is_exactly_200() {
    let fixture = fixture(&[]).await;
    let server = &fixture.server;
    for path in [
        "/v2",
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/models",
        "/v2/models/stats",
        "/v2/models/rank3",
        "/v2/models/rank3/ready",
        "/v2/models/rank3/config",
        "/v2/models/rank3/stats",
        "/v2/models/rank3/versions/1",
        "/v2/models/rank3/versions/1/ready",
        "/v2/models/rank3/versions/1/config",
        "/v2/models/rank3/versions/1/stats",
    ] {
        let answer = server.get(path).await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.json().is_object(), "{path}");
    }
    assert_eq!(
        server.get("/v2/health/ready").await.json(),
        json!({ "live": true, "ready": true })
    );
    let answer = server.call("POST", "/v2/repository/index", &[], "").await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.json()[0],
        json!({ "name": "clf_on_tensor", "version": "1", "state": "READY", "reason": "" })
    );
    let answer = server
        .call("POST", "/v2/repository/models/rank3/load", &[], "{}")
        .await;
    assert_eq!(answer.status, 200, "{:?}", answer.bytes);
}

#[tokio::test]
async fn trap_8_shapes_are_checked_before_anything_is_allocated() {
    let fixture = fixture(&[]).await;
    for (shape, data, part) in [
        (json!([-1, 2, 3]), json!([]), "negative"),
        (
            json!([i64::MAX, 2, 3]),
            json!([]),
            "more elements than can be counted",
        ),
        (json!([1_i64 << 40, 0]), json!([]), "too many rows"),
        (
            json!([1_000_000_000_000_i64]),
            json!([1]),
            "1 elements where its shape [1000000000000]",
        ),
        (
            json!([1, 2, 2]),
            json!([1, 2, 3, 4]),
            "[1, 2, 2] where [-1, 2, 3] is wanted",
        ),
        (
            json!([6]),
            json!([1, 2, 3, 4, 5, 6]),
            "[6] where [-1, 2, 3] is wanted",
        ),
    ] {
        let mut body = image(&[], data);
        body["inputs"][0]["shape"] = shape;
        assert_refused(&infer(&fixture.server, "rank3", &body).await, 400, part);
    }
    let body = image(&[200_000, 0, 3], json!([]));
    assert_refused(
        &infer(&fixture.server, "rank3", &body).await,
        400,
        "too many rows",
    );
}

#[tokio::test]
async fn trap_9_a_version_is_a_number_or_an_alias() {
    let fixture = fixture(&[]).await;
    let server = &fixture.server;
    for path in ["/v2/models/rank3/versions/1", "/v2/models/rank3:1"] {
        assert_eq!(server.get(path).await.json()["name"], "rank3", "{path}");
    }
    assert_refused(
        &server.get("/v2/models/rank3/versions/7").await,
        404,
        "version 7",
    );
    assert_refused(
        &server.get("/v2/models/rank3/versions/best").await,
        404,
        "alias `best`",
    );
    assert_refused(
        &server.get("/v2/models/rank3:1/versions/1").await,
        400,
        "names a version already",
    );
}

#[tokio::test]
async fn trap_10_a_model_name_with_a_slash_is_a_model_that_is_not_there() {
    let fixture = fixture(&[]).await;
    let answer = fixture.server.get("/v2/models/a/b/ready").await;
    assert_refused(&answer, 404, "/v2/models/a/b/ready");
    let answer = fixture.server.get("/v2/models/a%2Fb/ready").await;
    assert_refused(&answer, 404, "`a/b`");
}

#[tokio::test]
async fn trap_11_the_config_leaves_out_the_rows_that_the_metadata_show() {
    let fixture = fixture(&[]).await;
    let metadata = fixture.server.get("/v2/models/rank3").await.json();
    assert_eq!(
        metadata,
        json!({ "name": "rank3", "versions": ["1"], "platform": "onnx_onnxv1",
            "inputs": [{ "name": "img", "datatype": "FP32", "shape": [-1, 2, 3] }],
            "outputs": [{ "name": "m", "datatype": "FP32", "shape": [-1] }] })
    );
    let config = fixture.server.get("/v2/models/rank3/config").await.json();
    assert_eq!(config["max_batch_size"], 100_000);
    assert_eq!(
        config["input"][0],
        json!({ "name": "img", "data_type": "TYPE_FP32", "dims": [2, 3] })
    );
    assert_eq!(config["output"][0]["dims"], json!([]));
}

#[tokio::test]
async fn trap_14_64_bit_integers_in_json_are_exact() {
    let fixture = fixture(&[]).await;
    let mut body = echoed();
    let answer = infer(&fixture.server, "echo", &body).await;
    assert_eq!(answer.status, 200, "{:?}", answer.bytes);
    for (input, output) in body["inputs"]
        .as_array()
        .unwrap()
        .iter()
        .zip(answer.json()["outputs"].as_array().unwrap())
    {
        let numbers = |value: &Value| match value {
            Value::Number(number) if number.is_f64() => json!(number.as_f64()),
            other => other.clone(),
        };
        let sent: Vec<Value> = input["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(numbers)
            .collect();
        assert_eq!(output["data"], json!(sent), "{input}");
        assert_eq!(output["datatype"], input["datatype"]);
    }
    body["inputs"][4]["data"] = json!([1.5, 2]);
    assert_refused(
        &infer(&fixture.server, "echo", &body).await,
        400,
        "1.5 is no INT64",
    );
}

/// Every datatype, with its extremes.
fn echoed() -> Value {
    let input = |name: &str, datatype: &str, data: Value| json!({ "name": name, "shape": [1, 2], "datatype": datatype, "data": data });
    json!({ "inputs": [
        input("bool", "BOOL", json!([true, false])),
        input("int8", "INT8", json!([-128, 127])),
        input("int16", "INT16", json!([i16::MIN, i16::MAX])),
        input("int32", "INT32", json!([i32::MIN, i32::MAX])),
        input("int64", "INT64", json!([i64::MIN, i64::MAX])),
        input("uint8", "UINT8", json!([0, 255])),
        input("uint16", "UINT16", json!([0, u16::MAX])),
        input("uint32", "UINT32", json!([0, u32::MAX])),
        input("uint64", "UINT64", json!([9_007_199_254_740_993_u64, u64::MAX])),
        input("fp16", "FP16", json!([0.5, "-Infinity"])),
        input("fp32", "FP32", json!([0.25, "NaN"])),
        input("fp64", "FP64", json!([0.1, "Infinity"])),
        input("text", "BYTES", json!(["", "h\u{e4}\u{1f600}"])),
    ] })
}

#[tokio::test]
async fn every_datatype_comes_back_in_both_forms() {
    let fixture = fixture(&[]).await;
    let mut body = echoed();
    body["parameters"] = json!({ "binary_data_output": true });
    let (json, bytes) = parts(&infer(&fixture.server, "echo", &body).await);
    // The same bytes as inputs give the same outputs.
    let mut head = json!({ "id": "again", "inputs": [], "outputs": [] });
    for (input, output) in body["inputs"]
        .as_array()
        .unwrap()
        .iter()
        .zip(json["outputs"].as_array().unwrap())
    {
        let size = &output["parameters"]["binary_data_size"];
        head["inputs"]
            .as_array_mut()
            .unwrap()
            .push(json!({ "name": input["name"], "shape": [1, 2],
            "datatype": input["datatype"], "parameters": { "binary_data_size": size } }));
    }
    let answer = infer_binary(&fixture.server, "echo", &head, &bytes).await;
    assert_eq!(answer.status, 200, "{:?}", answer.bytes);
    let as_json = answer.json();
    assert_eq!(as_json["id"], "again");
    assert_eq!(
        as_json["outputs"],
        infer(&fixture.server, "echo", &echoed()).await.json()["outputs"]
    );
}

#[tokio::test]
async fn trap_15_a_decompressed_body_has_a_limit_of_its_own() {
    let fixture = fixture(&["http.oip.max_body=1KiB"]).await;
    let bomb = compressed("deflate", &vec![b' '; 1 << 20]);
    let headers = [("content-encoding", "deflate")];
    let answer = fixture
        .server
        .call_bytes("POST", "/v2/models/rank3/infer", &headers, bomb)
        .await;
    assert_refused(&answer, 413, "1024 bytes");
}

#[tokio::test]
async fn a_request_that_does_not_fit_the_model_says_how() {
    let fixture = fixture(&[]).await;
    let server = &fixture.server;
    let good = image(&[1, 2, 3], json!([1, 2, 3, 4, 5, 6]));
    for (path, value, part) in [
        ("/inputs/0/name", json!("x"), "`img` is not given"),
        ("/inputs/0/datatype", json!("FP64"), "float64 where float32"),
        ("/inputs/0/datatype", json!("FP8"), "`FP8`"),
        ("/inputs/0/datatype", json!("INT64"), "int64 where float32"),
        (
            "/inputs/0/data",
            json!([1, 2]),
            "2 elements where its shape [1, 2, 3]",
        ),
        ("/inputs/0/data", json!(5), "not a list"),
        ("/inputs", json!([]), "`img` is not given"),
    ] {
        let mut body = good.clone();
        *body.pointer_mut(path).unwrap() = value;
        assert_refused(&infer(server, "rank3", &body).await, 400, part);
    }
    let mut body = good.clone();
    let more = json!({ "name": "more", "shape": [1], "datatype": "INT8", "data": [1] });
    body["inputs"].as_array_mut().unwrap().push(more);
    assert_refused(
        &infer(server, "rank3", &body).await,
        400,
        "no use for `inputs.more`",
    );
    let head = json!({ "inputs": [{ "name": "word", "shape": [1, 1], "datatype": "BYTES",
        "parameters": { "binary_data_size": 6 } }] });
    let answer = infer_binary(server, "strings_tensor", &head, b"\x09\0\0\0ab").await;
    assert_refused(&answer, 400, "should have 9 bytes, and 2 are left");
}

#[tokio::test]
async fn bare_words_of_pythons_json_are_numbers_and_answers_are_valid_json() {
    let fixture = fixture(&[]).await;
    let body =
        r#"{"inputs":[{"name":"x","shape":[3,1],"datatype":"FP32","data":[NaN,Infinity,-1.0]}]}"#;
    let answer = fixture
        .server
        .call("POST", "/v2/models/nan_out/infer", &[], body)
        .await;
    assert_eq!(answer.status, 200, "{:?}", answer.bytes);
    assert_eq!(
        answer.json()["outputs"][0]["data"],
        json!(["NaN", "Infinity", "NaN"])
    );
}

#[tokio::test]
async fn row_maps_are_a_matrix() {
    let fixture = fixture(&[]).await;
    let body = json!({ "inputs": [{ "name": "float_input", "shape": [2, 4], "datatype": "FP32",
        "data": [[1, 2, 3, 4], [5, 6, 7, 8]] }] });
    let answer = infer(&fixture.server, "clf_on_tensor", &body).await;
    assert_eq!(answer.status, 200, "{:?}", answer.bytes);
    let outputs = &answer.json()["outputs"];
    assert_eq!(outputs[1]["datatype"], "FP32");
    assert_eq!(outputs[1]["shape"][0], 2);
    let metadata = fixture.server.get("/v2/models/clf_on_tensor").await.json();
    assert_eq!(metadata["outputs"][1]["shape"], json!([-1, -1]));
}

#[tokio::test]
async fn a_body_without_json_is_the_only_input() {
    let fixture = fixture(&[]).await;
    let headers = [("inference-header-content-length", "0")];
    let call = async |model: &str, body: Vec<u8>| {
        let path = format!("/v2/models/{model}/infer");
        fixture
            .server
            .call_bytes("POST", &path, &headers, body)
            .await
    };
    let (json, bytes) = parts(&call("rank3", little(&[1.0; 12])).await);
    assert_eq!(json["outputs"][0]["shape"], json!([2]));
    assert_eq!(bytes.len(), 8);
    assert_refused(
        &call("rank3", vec![0; 25]).await,
        400,
        "25 bytes where its shape [1, 2, 3]",
    );
    assert_refused(
        &call("multi_tensor", vec![0; 4]).await,
        400,
        "this one has 3",
    );
    let (json, _) = parts(&call("strings_tensor", b"\x02\0\0\0ab".to_vec()).await);
    assert_eq!(json["outputs"][0]["shape"], json!([1, 1]));
}

#[tokio::test]
async fn a_model_with_features_lists_its_entities_and_takes_them() {
    let server = Server::start(&[]).await;
    let metadata = server.get("/v2/models/driver_ranking").await.json();
    let inputs = metadata["inputs"].as_array().unwrap();
    assert_eq!(
        inputs[0],
        json!({ "name": "driver_id", "datatype": "INT64", "shape": [-1] })
    );
    let names: Vec<&str> = inputs
        .iter()
        .map(|input| input["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["driver_id", "trip_km"]);
    let tensors: Vec<Value> = inputs
        .iter()
        .map(|input| json!({ "name": input["name"], "datatype": input["datatype"], "shape": [2],
            "data": if input["name"] == "driver_id" { json!([1001, 1002]) } else { json!([3.25, 7.5]) } }))
        .collect();
    let answer = infer(&server, "driver_ranking", &json!({ "inputs": tensors })).await;
    assert_eq!(answer.status, 200, "{:?}", answer.bytes);
    let body = r#"{"entities": {"driver_id": [1001, 1002]}, "inputs": {"trip_km": [3.25, 7.5]}}"#;
    let native = server.predict("driver_ranking", body).await.json();
    let outputs = answer.json()["outputs"].clone();
    let first = native["outputs"]
        .as_object()
        .unwrap()
        .values()
        .next()
        .unwrap();
    assert_eq!(&outputs[0]["data"], first);
    // Rows that are not there are not made.
    let mut tensors = tensors;
    tensors[1]["shape"] = json!([1_000, 0]);
    tensors[1]["data"] = json!([]);
    let answer = infer(&server, "driver_ranking", &json!({ "inputs": tensors })).await;
    assert_refused(&answer, 400, "1000 rows");
}

#[tokio::test]
async fn statistics_count_rows_and_calls_since_the_start() {
    let fixture = fixture(&[]).await;
    for rows in [1, 3] {
        let body = image(&[rows, 2, 3], json!(vec![1; rows as usize * 6]));
        assert_eq!(infer(&fixture.server, "rank3", &body).await.status, 200);
    }
    let wrong = image(&[1, 2, 2], json!([1, 2, 3, 4]));
    assert_eq!(infer(&fixture.server, "rank3", &wrong).await.status, 400);
    let stats = fixture.server.get("/v2/models/rank3/stats").await.json();
    let stats = &stats["model_stats"][0];
    assert_eq!(stats["inference_count"], 4);
    assert_eq!(stats["execution_count"], 2);
    let sizes = stats["batch_stats"].as_array().unwrap();
    let sizes = sizes
        .iter()
        .map(|size| (&size["batch_size"], &size["compute_infer"]["count"]));
    assert_eq!(
        sizes.collect::<Vec<_>>(),
        [(&json!(1), &json!(1)), (&json!(3), &json!(1))]
    );
    assert_eq!(stats["inference_stats"]["success"]["count"], 2);
    assert_eq!(stats["inference_stats"]["fail"]["count"], 1);
    assert!(
        stats["inference_stats"]["compute_infer"]["ns"]
            .as_u64()
            .unwrap()
            > 0
    );
    assert!(stats["last_inference"].as_u64().unwrap() > 1_600_000_000_000);
    let all = fixture.server.get("/v2/models/stats").await.json();
    assert_eq!(all["model_stats"].as_array().unwrap().len(), 6);
}

#[tokio::test]
async fn the_same_inputs_are_answered_without_a_run_where_a_model_keeps_answers() {
    let fixture = fixture(&["models.rank3.cache.max_bytes=1MiB"]).await;
    let server = &fixture.server;
    let body = image(&[2, 2, 3], json!(vec![0.5; 12]));
    let first = infer(server, "rank3", &body).await;
    let second = infer(server, "rank3", &body).await;
    assert_eq!((first.status, second.status), (200, 200));
    assert_eq!(first.json(), second.json());
    let other = image(&[2, 2, 3], json!(vec![0.25; 12]));
    assert_ne!(
        infer(server, "rank3", &other).await.json()["outputs"],
        first.json()["outputs"]
    );
    let stats = server.get("/v2/models/rank3/stats").await.json();
    let stats = &stats["model_stats"][0];
    assert_eq!(stats["inference_count"], 4);
    assert_eq!(stats["execution_count"], 2);
    let counts = |name: &str| stats["inference_stats"][name]["count"].as_u64().unwrap();
    assert_eq!(
        ["success", "compute_infer", "cache_hit", "cache_miss"].map(counts),
        [3, 2, 1, 2]
    );
    let cached: Vec<Value> = server
        .events_when(3)
        .await
        .iter()
        .map(|event| event["cached"].clone())
        .collect();
    assert_eq!(cached, [json!(false), json!(true), json!(false)]);
    let metrics = server.get("/metrics").await;
    let metrics = String::from_utf8(metrics.bytes.to_vec()).unwrap();
    let hits =
        r#"terrarium_inference_cache_lookups_total{model="rank3",outcome="hit",version="1"} 1"#;
    assert!(metrics.contains(hits), "{metrics}");
}

#[tokio::test]
async fn bfloat16_goes_in_and_out_as_bytes_and_as_numbers() {
    let models = tempfile::tempdir().unwrap();
    let from = root().join("tests/fixtures/models/brain");
    copy(&from, &models.path().join("brain"));
    let path = format!("registry.local.path={}", models.path().display());
    let server = Server::start_bare(&[&path, "features.repo="]).await;
    // 0.5 and 3.
    let bytes = [0x00, 0x3f, 0x40, 0x40];
    let head = json!({
        "inputs": [{ "name": "x", "shape": [1, 2], "datatype": "BF16", "parameters": { "binary_data_size": 4 } }],
        "parameters": { "binary_data_output": true },
    });
    let (answer, given) = parts(&infer_binary(&server, "brain", &head, &bytes).await);
    assert_eq!(answer["outputs"][0]["datatype"], "BF16");
    assert_eq!(given, bytes);
    let body = json!({ "inputs": [{ "name": "x", "shape": [1, 2], "datatype": "BF16", "data": [0.5, 3] }] });
    let answer = infer(&server, "brain", &body).await.json();
    assert_eq!(answer["outputs"][0]["data"], json!([0.5, 3.0]));
    let config = server.get("/v2/models/brain/config").await.json();
    assert_eq!(config["input"][0]["data_type"], "TYPE_BF16");
    let native = server
        .predict("brain", r#"{"inputs": {"x": [[0.5, 3]]}}"#)
        .await;
    assert_eq!(native.json()["outputs"]["y"], json!([[0.5, 3.0]]));
}

#[tokio::test]
async fn every_route_with_a_body_knows_how_long_its_caller_waits() {
    let fixture = fixture(&[]).await;
    for path in [
        "/v2/models/rank3/infer",
        "/v2/repository/index",
        "/v2/repository/models/rank3/load",
        "/models/rank3/invocations",
        "/v1/models/rank3/predict",
    ] {
        let headers = [
            ("x-request-timeout-ms", "soon"),
            ("content-type", "application/json"),
        ];
        let answer = fixture.server.call("POST", path, &headers, "{}").await;
        assert_eq!(answer.status, 400, "{path}: {:?}", answer.bytes);
        let body = String::from_utf8_lossy(&answer.bytes).into_owned();
        assert!(body.contains("x-request-timeout-ms"), "{path}: {body}");
    }
}

#[tokio::test]
async fn load_looks_at_the_registry_now_and_unload_is_refused() {
    let fixture = fixture(&["registry.local.poll=0s"]).await;
    let server = &fixture.server;
    assert_refused(&server.get("/v2/models/late/ready").await, 404, "`late`");
    let load = async |model: &str, body: &str| {
        let path = format!("/v2/repository/models/{model}/load");
        server.call("POST", &path, &[], body).await
    };
    assert_refused(&load("late", "").await, 404, "`late`");
    let from = root().join("tests/fixtures/mlflow/models/rank3");
    copy(&from, &fixture.models.path().join("late/1"));
    let answer = load("late", "{}").await;
    assert_eq!(answer.status, 200, "{:?}", answer.bytes);
    assert_eq!(
        server.get("/v2/models/late/ready").await.json(),
        json!({ "name": "late", "ready": true })
    );
    std::fs::create_dir_all(fixture.models.path().join("broken/1")).unwrap();
    std::fs::write(
        fixture.models.path().join("broken/1/MLmodel"),
        "flavors: {}",
    )
    .unwrap();
    assert_refused(&load("broken", "").await, 503, "`broken:1` did not load");
    let index = server
        .call("POST", "/v2/repository/index", &[], r#"{"ready": true}"#)
        .await
        .json();
    assert!(
        index
            .as_array()
            .unwrap()
            .iter()
            .all(|entry| entry["name"] != "broken")
    );
    let answer = load("late", r#"{"parameters": {"config": "{}"}}"#).await;
    assert_refused(&answer, 501, "`config`");
    let path = "/v2/repository/models/late/unload";
    let body = r#"{"parameters":{"unload_dependents":false}}"#;
    let answer = server.call("POST", path, &[], body).await;
    assert_refused(&answer, 501, "unloading `late`");
}
