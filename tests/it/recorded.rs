//! What real Feast and real MLflow answered for the demo (`tests/fixtures/demo`), against what a server answers.

use serde_json::{Value, json};

use crate::support::{Server, root};

/// Probabilities may differ by so much; everything else is equal to the last bit.
const CLASSIFIER_TOLERANCE: f64 = 1e-6;

/// Every recorded case, features and outputs.
pub(crate) async fn check_all(server: &Server) {
    let path = root().join("tests/fixtures/demo/expected.json");
    let expected: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let cases = expected["cases"].as_array().unwrap();
    assert!(cases.len() > 100);
    for case in cases {
        check(server, case).await;
    }
}

async fn check(server: &Server, case: &Value) {
    let model = case["model"].as_str().unwrap();
    let mut request = case["request"].clone();
    request["explain"] = json!(true);
    let answer = server.predict(model, &request.to_string()).await;
    let body = answer.json();
    assert_eq!(answer.status, 200, "{model} {request}: {body}");
    assert_eq!(body["model"]["version"], case["version"], "{model}");
    let tolerance = if model.starts_with("trip_acceptance") {
        CLASSIFIER_TOLERANCE
    } else {
        0.0
    };
    assert!(
        same(&body["outputs"], &case["outputs"], tolerance),
        "{model} {request}: {body}"
    );
    for (feature, values) in case["features"].as_object().unwrap() {
        let explained = &body["features"][feature];
        assert!(
            same(&explained["values"], values, 0.0),
            "{model} {request} {feature}: {explained}"
        );
    }
}

/// Equal to the last bit, or within `tolerance` where one is given.
fn same(actual: &Value, wanted: &Value, tolerance: f64) -> bool {
    match (actual, wanted) {
        (Value::Number(a), Value::Number(w)) => {
            let (a, w) = (a.as_f64().unwrap(), w.as_f64().unwrap());
            a == w || (a - w).abs() <= tolerance
        }
        (Value::Array(a), Value::Array(w)) => {
            a.len() == w.len() && a.iter().zip(w).all(|(a, w)| same(a, w, tolerance))
        }
        (Value::Object(a), Value::Object(w)) => {
            a.len() == w.len()
                && w.iter()
                    .all(|(key, w)| a.get(key).is_some_and(|a| same(a, w, tolerance)))
        }
        _ => actual == wanted,
    }
}
