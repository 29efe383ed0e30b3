//! Whole tensors given to the predictor, as the Open Inference Protocol gives them.

use std::sync::Arc;
use std::time::Duration;

use ndarray::{ArrayD, IxDyn};
use terrarium::app::App;
use terrarium::config::Environment;
use terrarium::error::Failure;
use terrarium::predict::Error;
use terrarium::types::deadline::Deadline;
use terrarium::types::prediction::Prediction;
use terrarium::types::request::{PredictRequest, RequestContext, RequestInputs, Surface};
use terrarium::types::tensor::{NamedTensor, Output, Tensor};
use terrarium::types::urgency::Priority;

use crate::support::{config, copy, demo, root};

/// The app over a registry of one model, or over the demo.
struct Fixture {
    app: App,
    _directory: tempfile::TempDir,
}

impl Fixture {
    async fn of(model: Option<&str>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (models, repo) = match model {
            Some(model) => {
                let models = directory.path().join("models");
                let from = root().join("tests/fixtures/mlflow/models").join(model);
                copy(&from, &models.join(model).join("1"));
                (models, std::path::PathBuf::new())
            }
            None => (
                demo().await.join("models"),
                demo().await.join("feature_repo"),
            ),
        };
        let environment = Environment::default();
        let settings = [
            format!("registry.local.path={}", models.display()),
            format!("features.repo={}", repo.display()),
            format!("audit.file.directory={}", directory.path().display()),
        ];
        let app = App::start(config(&environment, &settings), &environment)
            .await
            .unwrap();
        Self {
            app,
            _directory: directory,
        }
    }

    async fn predict(&self, model: &str, tensors: Vec<NamedTensor>) -> Result<Prediction, Error> {
        let request = PredictRequest {
            model: model.parse().unwrap(),
            inputs: RequestInputs::Tensors(tensors),
            params: None,
            deadline: Deadline::after(Duration::from_secs(10)),
            context: RequestContext {
                surface: Surface::Http,
                request_id: Arc::from("r"),
                trace_id: None,
                principal: None,
                priority: Priority::default(),
            },
        };
        self.app.api().predictor.predict(&request).await
    }
}

fn named(name: &str, tensor: Tensor) -> NamedTensor {
    NamedTensor {
        name: name.to_owned(),
        tensor: Arc::new(tensor),
    }
}

fn floats(shape: &[usize], values: &[f32]) -> Tensor {
    Tensor::Float32(ArrayD::from_shape_vec(IxDyn(shape), values.to_vec()).unwrap())
}

fn longs(values: &[i64]) -> Tensor {
    Tensor::Int64(ArrayD::from_shape_vec(IxDyn(&[values.len()]), values.to_vec()).unwrap())
}

fn shapes(prediction: &Prediction) -> Vec<(&str, Vec<usize>)> {
    let outputs = prediction.outputs.iter();
    outputs
        .map(|named| match &named.output {
            Output::Tensor(tensor) => (&*named.name, tensor.shape().to_vec()),
            Output::Maps(rows) => (&*named.name, vec![rows.len()]),
        })
        .collect()
}

#[tokio::test]
async fn tensors_reach_the_graph_in_any_order_with_their_shapes() {
    let fixture = Fixture::of(Some("multi_tensor")).await;
    let (left, right) = (floats(&[2, 3], &[1.0; 6]), floats(&[2, 3], &[0.5; 6]));
    // One value of `boost` counts for both rows: the graph's business, not ours.
    for boost in [longs(&[1, 0]), longs(&[1])] {
        let tensors = vec![
            named("boost", boost),
            named("right", right.clone()),
            named("left", left.clone()),
        ];
        let prediction = fixture.predict("multi_tensor", tensors).await.unwrap();
        assert_eq!(
            shapes(&prediction),
            [("score", vec![2]), ("pair", vec![2, 3])]
        );
    }
}

#[tokio::test]
async fn tensors_that_do_not_fit_are_refused_by_name() {
    let fixture = Fixture::of(Some("rank3")).await;
    let image = || named("img", floats(&[1, 2, 3], &[1.0; 6]));
    assert!(fixture.predict("rank3", vec![image()]).await.is_ok());
    for (tensors, code, part) in [
        (vec![], "input_missing", "img"),
        (vec![image(), image()], "column_duplicate", "img"),
        (
            vec![image(), named("x", longs(&[1]))],
            "column_unknown",
            "inputs.x",
        ),
        (vec![named("img", longs(&[1]))], "value_type_wrong", "img"),
        (
            vec![named("img", floats(&[1, 2, 2], &[1.0; 4]))],
            "tensor_shape_wrong",
            "img",
        ),
    ] {
        let error = fixture.predict("rank3", tensors).await.unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[tokio::test]
async fn entity_tensors_feed_the_features_of_a_model() {
    let fixture = Fixture::of(None).await;
    let km = floats(&[2, 1], &[3.25, 7.5]);
    let tensors = vec![
        named("driver_id", longs(&[1001, 1002])),
        named("trip_km", km),
    ];
    let prediction = fixture.predict("driver_ranking", tensors).await.unwrap();
    assert_eq!(prediction.n_rows, 2);
    assert!(prediction.features.n_features() > 0);
    let tensors = vec![
        named("driver_id", longs(&[1001, 1002])),
        named("trip_km", longs(&[1])),
    ];
    let error = fixture
        .predict("driver_ranking", tensors)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "value_length_wrong", "{error}");
}
