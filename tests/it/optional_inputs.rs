//! Graph inputs that a call may leave out, through each protocol.
//!
//! `optional_inputs` is `(x * scale + offset) * gain` with 2, 0.5 and 1 for what is left out; `optional_columns` is
//! `y = a + b`, `z = c`, with 0.5 for `b`, whose signature calls `b` and `c` optional.

use bytes::Bytes;
use serde_json::{Value, json};
use terrarium::grpc::oip::messages as pb;

use crate::oip_grpc;
use crate::support::{Answer, Server, copy, root};

struct Fixture {
    server: Server,
    _models: tempfile::TempDir,
}

impl Fixture {
    async fn new(settings: &[&str]) -> Self {
        let models = tempfile::tempdir().unwrap();
        for model in ["optional_inputs", "optional_columns"] {
            let from = root().join("tests/fixtures/models").join(model);
            copy(&from, &models.path().join(model));
        }
        let path = format!("registry.local.path={}", models.path().display());
        let mut all = vec![path.as_str(), "features.repo="];
        all.extend(settings);
        Self {
            server: Server::start_bare(&all).await,
            _models: models,
        }
    }

    async fn infer(&self, model: &str, inputs: Value) -> Answer {
        let body = json!({ "inputs": inputs }).to_string();
        let path = format!("/v2/models/{model}/infer");
        self.server.call("POST", &path, &[], &body).await
    }

    /// The elements of an output, or the error.
    async fn output(&self, model: &str, inputs: Value, output: usize) -> Value {
        let answer = self.infer(model, inputs).await.json();
        match answer["outputs"][output]["data"].clone() {
            Value::Null => answer["error"].clone(),
            data => data,
        }
    }

    async fn invoke(&self, model: &str, body: Value) -> Value {
        let path = format!("/models/{model}/invocations");
        self.server.post(&path, &body.to_string()).await.json()
    }
}

fn tensor(name: &str, shape: &[usize], data: &[f64]) -> Value {
    json!({ "name": name, "datatype": "FP32", "shape": shape, "data": data })
}

fn double(name: &str, data: &[f64]) -> Value {
    json!({ "name": name, "datatype": "FP64", "shape": [data.len(), 1], "data": data })
}

#[tokio::test]
async fn an_oip_call_may_leave_out_what_the_graph_does_without_and_may_give_it() {
    let fixture = Fixture::new(&[]).await;
    let x = || tensor("x", &[2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let scale = || tensor("scale", &[1], &[10.0]);
    let offset = || tensor("offset", &[2, 1], &[1.0, 2.0]);
    let gain = || tensor("gain", &[1], &[3.0]);
    for (inputs, wanted) in [
        (json!([x()]), [2.5, 4.5, 6.5, 8.5]),
        (json!([scale(), x()]), [10.5, 20.5, 30.5, 40.5]),
        (json!([x(), offset()]), [3.0, 5.0, 8.0, 10.0]),
        (json!([gain(), x()]), [7.5, 13.5, 19.5, 25.5]),
        (
            json!([offset(), gain(), x(), scale()]),
            [33.0, 63.0, 96.0, 126.0],
        ),
    ] {
        assert_eq!(
            fixture.output("optional_inputs", inputs, 0).await,
            json!(wanted)
        );
    }
}

#[tokio::test]
async fn optional_inputs_that_do_not_fit_are_refused_by_name() {
    let fixture = Fixture::new(&[]).await;
    let x = || tensor("x", &[1, 2], &[1.0, 2.0]);
    let mut long = tensor("scale", &[1], &[1.0]);
    long["datatype"] = json!("FP64");
    for (inputs, part) in [
        (json!([tensor("scale", &[1], &[1.0])]), "`x`"),
        (json!([x(), tensor("scale", &[2], &[1.0, 2.0])]), "scale"),
        (
            json!([x(), tensor("offset", &[1, 2], &[1.0, 2.0])]),
            "offset",
        ),
        (json!([x(), tensor("gain", &[1, 1], &[1.0])]), "gain"),
        (json!([x(), long]), "scale"),
        (
            json!([x(), tensor("shift", &[1], &[1.0])]),
            "x, gain, scale, offset",
        ),
    ] {
        let answer = fixture.infer("optional_inputs", inputs).await;
        assert_eq!(answer.status, 400);
        let error = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(error.contains(part), "{error}");
    }
}

#[tokio::test]
async fn metadata_lists_optional_inputs_and_says_that_they_are() {
    let fixture = Fixture::new(&[]).await;
    let server = &fixture.server;
    let optional = json!({ "optional": true });
    let metadata = server.get("/v2/models/optional_inputs").await.json();
    assert_eq!(
        metadata["inputs"],
        json!([
            { "name": "x", "datatype": "FP32", "shape": [-1, 2] },
            { "name": "gain", "datatype": "FP32", "shape": [1], "parameters": optional },
            { "name": "scale", "datatype": "FP32", "shape": [1], "parameters": optional },
            { "name": "offset", "datatype": "FP32", "shape": [-1, 1], "parameters": optional },
        ])
    );
    let config = server.get("/v2/models/optional_inputs/config").await.json();
    // Not every input has rows.
    assert_eq!(config["max_batch_size"], 0);
    let flags = config["input"].as_array().unwrap().iter();
    let flags: Vec<&Value> = flags.map(|input| &input["optional"]).collect();
    assert_eq!(
        flags,
        [&Value::Null, &json!(true), &json!(true), &json!(true)]
    );

    let of = oip_grpc::model("optional_inputs");
    let metadata: pb::ModelMetadataResponse = oip_grpc::call(server, "ModelMetadata", of.clone())
        .await
        .unwrap();
    let flags = metadata.inputs.iter().map(|input| {
        let flag = input.parameters.get("optional")?;
        flag.parameter_choice.clone()
    });
    let yes = Some(pb::ParameterChoice::Bool(true));
    assert_eq!(
        flags.collect::<Vec<_>>(),
        [None, yes.clone(), yes.clone(), yes]
    );
    let config: pb::ModelConfigResponse = oip_grpc::call(server, "ModelConfig", of).await.unwrap();
    let flags = config.config.unwrap().input.into_iter();
    assert_eq!(
        flags.map(|input| input.optional).collect::<Vec<_>>(),
        [false, true, true, true]
    );

    let metadata = server.get("/v2/models/optional_columns").await.json();
    let inputs = metadata["inputs"].as_array().unwrap();
    let listed: Vec<(&str, bool)> = inputs
        .iter()
        .map(|input| {
            (
                input["name"].as_str().unwrap(),
                input["parameters"] == optional,
            )
        })
        .collect();
    assert_eq!(listed, [("a", false), ("c", true), ("b", true)]);
}

#[tokio::test]
async fn optional_inputs_go_over_grpc_too() {
    let fixture = Fixture::new(&[]).await;
    let raw = |numbers: &[f32]| {
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes());
        Bytes::from(bytes.collect::<Vec<u8>>())
    };
    let input = |name: &str, shape: &[i64]| pb::InferTensor {
        name: name.to_owned(),
        datatype: "FP32".to_owned(),
        shape: shape.to_vec(),
        ..Default::default()
    };
    let mut request = pb::ModelInferRequest {
        model_name: "optional_inputs".to_owned(),
        inputs: vec![input("x", &[1, 2])],
        raw_input_contents: vec![raw(&[1.0, 2.0])],
        ..Default::default()
    };
    let server = &fixture.server;
    let answer = |request: pb::ModelInferRequest| async move {
        let answer: pb::ModelInferResponse =
            oip_grpc::call(server, "ModelInfer", request).await.unwrap();
        answer.raw_output_contents[0].clone()
    };
    assert_eq!(answer(request.clone()).await, raw(&[2.5, 4.5]));
    request.inputs.push(input("gain", &[1]));
    request.raw_input_contents.push(raw(&[2.0]));
    assert_eq!(answer(request).await, raw(&[5.0, 9.0]));
}

#[tokio::test]
async fn a_body_without_json_is_the_only_input_that_is_required() {
    let fixture = Fixture::new(&[]).await;
    let bytes = [1.0_f32, 2.0].map(f32::to_le_bytes).concat();
    let headers = [("inference-header-content-length", "0")];
    let path = "/v2/models/optional_inputs/infer";
    let answer = fixture.server.call_bytes("POST", path, &headers, bytes);
    let answer = answer.await;
    assert_eq!(answer.status, 200);
    let wanted = [2.5_f32, 4.5].map(f32::to_le_bytes).concat();
    assert!(answer.bytes.ends_with(&wanted));
}

#[tokio::test]
async fn a_predict_call_may_give_optional_inputs_that_have_rows() {
    let fixture = Fixture::new(&[]).await;
    for (inputs, wanted) in [
        (json!({ "x": [[1, 2], [3, 4]] }), [[2.5, 4.5], [6.5, 8.5]]),
        (
            json!({ "x": [[1, 2], [3, 4]], "offset": [[1], [2]] }),
            [[3.0, 5.0], [8.0, 10.0]],
        ),
    ] {
        let body = json!({ "inputs": inputs }).to_string();
        let answer = fixture.server.predict("optional_inputs", &body).await;
        assert_eq!(answer.json()["outputs"]["y"], json!(wanted));
    }
    let body = json!({ "inputs": { "x": [[1, 2]], "scale": [3] } }).to_string();
    let refused = fixture.server.predict("optional_inputs", &body).await;
    assert_eq!(refused.status, 400);
    assert_eq!(refused.json()["code"], "column_unknown");

    for (row, y, z) in [
        (json!({ "a": 1 }), json!([1.5]), json!(["NaN"])),
        (
            json!({ "a": 1, "b": 2, "c": 3 }),
            json!([3.0]),
            json!([3.0]),
        ),
    ] {
        let body = json!({ "rows": [row] }).to_string();
        let answer = fixture.server.predict("optional_columns", &body).await;
        let outputs = &answer.json()["outputs"];
        assert_eq!((&outputs["y"], &outputs["z"]), (&y, &z));
    }
}

#[tokio::test]
async fn a_scoring_call_may_leave_out_optional_columns_and_arrays() {
    let fixture = Fixture::new(&[]).await;
    let without = json!({ "inputs": { "x": [[1.0, 2.0]] } });
    let with = json!({ "inputs": { "x": [[1.0, 2.0]], "scale": [4.0], "gain": [0.5] } });
    let answer = fixture.invoke("optional_inputs", without).await;
    assert_eq!(answer, json!({ "predictions": { "y": [[2.5, 4.5]] } }));
    let answer = fixture.invoke("optional_inputs", with).await;
    assert_eq!(answer, json!({ "predictions": { "y": [[2.25, 4.25]] } }));

    for (row, y) in [
        (json!({ "a": 1.0, "c": 0.0 }), 1.5),
        (json!({ "a": 1.0, "b": 2.0, "c": 0.0 }), 3.0),
    ] {
        let body = json!({ "dataframe_records": [row] });
        let answer = fixture.invoke("optional_columns", body).await;
        assert_eq!(answer["predictions"][0]["y"], json!(y), "{answer}");
    }
}

#[tokio::test]
async fn an_oip_call_may_leave_out_an_input_whose_column_the_signature_calls_optional() {
    let fixture = Fixture::new(&[]).await;
    let model = "optional_columns";
    let (a, b, c) = (
        double("a", &[1.0, 2.0]),
        double("b", &[3.0, 4.0]),
        double("c", &[5.0, 6.0]),
    );
    assert_eq!(
        fixture.output(model, json!([a]), 0).await,
        json!([1.5, 2.5])
    );
    assert_eq!(
        fixture.output(model, json!([a]), 1).await,
        json!(["NaN", "NaN"])
    );
    assert_eq!(
        fixture.output(model, json!([b, a, c]), 0).await,
        json!([4.0, 6.0])
    );
    assert_eq!(
        fixture.output(model, json!([b, a, c]), 1).await,
        json!([5.0, 6.0])
    );
}

#[tokio::test]
async fn answers_are_kept_apart_by_optional_inputs() {
    let setting = "models.optional_inputs.cache.max_bytes=1MiB";
    let fixture = Fixture::new(&[setting]).await;
    let x = || tensor("x", &[1, 2], &[1.0, 2.0]);
    let of = |name: &str| json!([x(), tensor(name, &[1], &[3.0])]);
    for _ in 0..2 {
        for (inputs, wanted) in [
            (json!([x()]), [2.5, 4.5]),
            (of("scale"), [3.5, 6.5]),
            (of("gain"), [7.5, 13.5]),
        ] {
            assert_eq!(
                fixture.output("optional_inputs", inputs, 0).await,
                json!(wanted)
            );
        }
    }
    let stats = fixture.server.get("/v2/models/optional_inputs/stats").await;
    assert_eq!(stats.json()["model_stats"][0]["execution_count"], 3);
}
