//! What binds to what, over the demo's real feature registry.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::*;
use crate::features;
use crate::predict::plan::Width;
use crate::types::dtype::DType;
use crate::types::names::ModelVersion;
use crate::types::signature::{
    ColumnSpec, ColumnType, Graph, OutputKind, OutputSpec, Schema, Signature, TensorSpec,
};

async fn store() -> Arc<FeatureStore> {
    let repo = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("feature_repo");
    let config = features::Config {
        repo,
        ..Default::default()
    };
    Arc::new(FeatureStore::open(&config, &|_| None).await.unwrap())
}

/// A version to bind; the graph's one matrix is as wide as the signature unless said otherwise.
struct Case {
    signature: Signature,
    graph: Graph,
    tags: BTreeMap<String, String>,
    config: Config,
}

fn columns(names: &[&str]) -> Vec<ColumnSpec> {
    let column = |name: &&str| ColumnSpec {
        name: Some((*name).to_owned()),
        dtype: ColumnType::Scalar(DType::Float64),
        required: true,
    };
    names.iter().map(column).collect()
}

fn tensor(name: &str, dtype: DType, shape: &[i64]) -> TensorSpec {
    TensorSpec {
        name: Some(name.to_owned()),
        dtype,
        shape: shape.to_vec(),
    }
}

impl Case {
    fn over(names: &[&str]) -> Self {
        let width = i64::try_from(names.len()).unwrap();
        Self::new(
            Some(Schema::Columns(columns(names))),
            vec![tensor("input", DType::Float32, &[-1, width])],
        )
    }

    fn new(inputs: Option<Schema>, graph_inputs: Vec<TensorSpec>) -> Self {
        let output = OutputSpec {
            name: "out".to_owned(),
            kind: OutputKind::Tensor {
                dtype: DType::Float32,
                shape: vec![-1],
            },
        };
        Self {
            signature: Signature {
                inputs,
                ..Signature::default()
            },
            graph: Graph {
                optional: Vec::new(),
                inputs: graph_inputs,
                outputs: vec![output],
            },
            tags: BTreeMap::new(),
            config: Config::default(),
        }
    }

    fn features(mut self, features: &str) -> Self {
        self.tags
            .insert("terrarium.features".to_owned(), features.to_owned());
        self
    }

    fn config(mut self, toml: &str) -> Self {
        self.config = toml::from_str(toml).unwrap();
        self
    }

    fn optional(mut self, input: TensorSpec) -> Self {
        self.graph.optional.push(input);
        self
    }

    async fn bind(self) -> Result<ServingPlan, BindError> {
        self.bind_with(Some(store().await))
    }

    fn bind_with(self, store: Option<Arc<FeatureStore>>) -> Result<ServingPlan, BindError> {
        let models = BTreeMap::from([("m".to_owned(), self.config)]);
        let binder = PlanBinder::new(store, models, Arc::new(Metrics::new()));
        binder.bind(&Candidate {
            name: "m",
            version: ModelVersion(1),
            tags: &self.tags,
            signature: &self.signature,
            graph: &self.graph,
        })
    }

    async fn refused(self) -> (&'static str, String) {
        let error = self.bind().await.err().unwrap();
        (
            error.code(),
            format!("{error} ({})", error.hint().unwrap_or_default()),
        )
    }
}

fn sources(plan: &ServingPlan) -> Vec<Source> {
    plan.columns.iter().map(|column| column.source).collect()
}

fn read(plan: &ServingPlan) -> Vec<&str> {
    plan.online
        .iter()
        .flat_map(|online| online.names.iter())
        .map(String::as_str)
        .collect()
}

#[tokio::test]
async fn columns_bind_by_name_and_the_rest_comes_from_the_request() {
    let plan = Case::over(&["trip_km", "acc_rate", "conv_rate"])
        .features("driver_ranking_v1")
        .bind()
        .await
        .unwrap();
    assert_eq!(
        sources(&plan),
        [Source::Request, Source::Feature(1), Source::Feature(0)]
    );
    assert_eq!(
        read(&plan),
        [
            "driver_hourly_stats:conv_rate",
            "driver_hourly_stats:acc_rate"
        ],
        "and no feature more"
    );
    assert_eq!(plan.entity_names(), ["driver_id"]);
    let inputs = [
        "acc_rate",
        "conv_rate",
        "driver_hourly_stats__acc_rate",
        "driver_hourly_stats__conv_rate",
        "trip_km",
    ];
    assert_eq!(plan.input_names(), inputs);
}

#[tokio::test]
async fn a_name_in_two_views_needs_the_view_and_goes_by_its_alias() {
    let features = "trip_acceptance_v1";
    let (code, text) = Case::over(&["rating"]).features(features).refused().await;
    assert_eq!(code, "binding_ambiguous");
    assert!(
        text.contains("`rider__rating`, `driver_customer_affinity__rating`"),
        "{text}"
    );
    let plan = Case::over(&["rider__rating"])
        .features(features)
        .bind()
        .await
        .unwrap();
    assert_eq!(read(&plan), ["rider:rating"]);
    assert_eq!(
        plan.entity_names(),
        ["customer_id"],
        "keys of views that are not read are not asked for"
    );
}

#[tokio::test]
async fn a_join_key_can_be_a_model_input() {
    let features = "driver_hourly_stats:conv_rate";
    let plan = Case::over(&["driver_id", "conv_rate"])
        .features(features)
        .bind()
        .await
        .unwrap();
    assert_eq!(sources(&plan), [Source::JoinKey, Source::Feature(0)]);
}

#[tokio::test]
async fn configuration_goes_before_the_tag() {
    let case = Case::over(&["conv_rate"]).features("no_such_service");
    let plan = case
        .config("features = 'driver_hourly_stats:conv_rate'")
        .bind()
        .await
        .unwrap();
    assert_eq!(read(&plan), ["driver_hourly_stats:conv_rate"]);
}

#[tokio::test]
async fn what_cannot_be_bound_is_refused_with_a_reason() {
    let one = |features: &str| Case::over(&["conv_rate"]).features(features);
    let cases = [
        (
            one("no_such_service"),
            "feature_service_unknown",
            "no_such_service",
        ),
        (one("no_view:conv_rate"), "feature_view_unknown", "no_view"),
        (
            one("driver_hourly_stats:conv_rat"),
            "feature_unknown",
            "conv_rate",
        ),
        (
            one("driver_hourly_stats:conv_rate, x"),
            "binding_features_malformed",
            "`x`",
        ),
        (
            one("driver_profile:years_active"),
            "binding_features_unused",
            "driver_profile:years_active",
        ),
        (
            Case::over(&["home_city"]).features("driver_profile:home_city"),
            "binding_type_impossible",
            "STRING",
        ),
        (
            Case::over(&["recent_ratings"]).features("driver_profile:recent_ratings"),
            "binding_type_impossible",
            "LIST",
        ),
        (
            Case::new(
                Some(Schema::Columns(columns(&["a"]))),
                vec![tensor("input", DType::Float32, &[-1, 2])],
            ),
            "binding_width_wrong",
            "takes 2 values a row, and its columns are 1",
        ),
        (
            Case::new(
                Some(Schema::Columns(columns(&["a", "b"]))),
                vec![
                    tensor("a", DType::Float32, &[-1]),
                    tensor("c", DType::Float32, &[-1]),
                ],
            ),
            "binding_column_unknown",
            "column `b`",
        ),
        (
            Case::new(None, vec![tensor("a", DType::Binary, &[-1])]),
            "binding_type_unsupported",
            "bytes",
        ),
        (
            Case::new(None, vec![tensor("a", DType::Float32, &[])]),
            "binding_rows_missing",
            "`a`",
        ),
        (
            one("driver_ranking_v1").config("on_missing = 'default'"),
            "binding_default_missing",
            "conv_rate",
        ),
        (
            one("driver_ranking_v1").config("defaults = {trip_km = 1}"),
            "binding_default_unknown",
            "trip_km",
        ),
    ];
    for (case, code, part) in cases {
        let (actual, text) = case.refused().await;
        assert_eq!(actual, code, "{text}");
        assert!(text.contains(part), "{text}");
    }
    let error = one("driver_ranking_v1").bind_with(None).err().unwrap();
    assert_eq!(error.code(), "binding_no_feature_store");
}

#[tokio::test]
async fn one_matrix_takes_all_features_in_order_and_a_list_fills_its_length() {
    let matrix = |k| {
        Case::new(None, vec![tensor("input", DType::Float32, &[-1, k])]).features("trip_eta_v1")
    };
    let plan = matrix(7).bind().await.unwrap();
    let widths: Vec<Width> = plan.columns.iter().map(|column| column.width).collect();
    assert_eq!(widths, [Width::One, Width::List(4), Width::One, Width::One]);
    let names = [
        "driver_hourly_stats:avg_daily_trips",
        "driver_profile:recent_ratings",
        "driver_profile:years_active",
        "rider:rating",
    ];
    assert_eq!(read(&plan), names);
    let (code, _) = matrix(3).refused().await;
    assert_eq!(code, "binding_width_wrong");
}

#[tokio::test]
async fn several_graph_inputs_take_the_feature_or_request_input_of_their_name() {
    let inputs = vec![
        tensor("recent_ratings", DType::Float32, &[-1, 4]),
        tensor("years_active", DType::Int64, &[-1]),
        tensor("image", DType::Float32, &[-1, 2, 2]),
    ];
    let plan = Case::new(None, inputs)
        .features("trip_eta_v1")
        .bind()
        .await
        .unwrap();
    assert_eq!(
        sources(&plan),
        [Source::Feature(0), Source::Feature(1), Source::Request]
    );
    assert_eq!(plan.columns[2].width, Width::Rows);
}

#[tokio::test]
async fn defaults_are_found_by_every_name_of_a_feature() {
    for name in [
        "conv_rate",
        "driver_hourly_stats__conv_rate",
        "\"driver_hourly_stats:conv_rate\"",
    ] {
        let case = Case::over(&["conv_rate"]).features("driver_ranking_v1");
        let plan = case
            .config(&format!(
                "on_missing = 'default'\ndefaults = {{{name} = 0.5}}"
            ))
            .bind()
            .await
            .unwrap();
        assert_eq!(plan.defaults, [Some(Value::Double(0.5))], "{name}");
    }
}

#[tokio::test]
async fn outputs_take_the_signatures_names_where_it_has_one_for_each() {
    let mut case = Case::over(&["a"]);
    case.signature.outputs = Some(Schema::Columns(columns(&["score"])));
    assert_eq!(
        case.bind()
            .await
            .unwrap()
            .output_names()
            .collect::<Vec<_>>(),
        ["score"]
    );
    let mut case = Case::over(&["a"]);
    case.signature.outputs = Some(Schema::Columns(columns(&["score", "more"])));
    assert_eq!(
        case.bind()
            .await
            .unwrap()
            .output_names()
            .collect::<Vec<_>>(),
        ["out"]
    );
}

#[tokio::test]
async fn a_column_without_a_name_is_called_by_its_place() {
    let unnamed = |n: usize| {
        let mut columns = columns(&vec!["a"; n]);
        columns.iter_mut().for_each(|column| column.name = None);
        Some(Schema::Columns(columns))
    };
    let one = vec![tensor("input", DType::Float32, &[-1, 2])];
    let plan = Case::new(unnamed(2), one).bind().await.unwrap();
    assert_eq!(plan.input_names(), ["0", "1"]);
    let several = vec![
        tensor("a", DType::Float32, &[-1]),
        tensor("b", DType::Float32, &[-1]),
    ];
    let (code, _) = Case::new(unnamed(2), several).refused().await;
    assert_eq!(code, "binding_column_unnamed");
}

#[tokio::test]
async fn an_optional_column_that_no_input_has_is_taken_and_left_out() {
    let mut signature = columns(&["a", "b", "note"]);
    signature[2].required = false;
    let inputs = vec![
        tensor("b", DType::Float32, &[-1]),
        tensor("a", DType::Float32, &[-1]),
    ];
    let case = Case::new(Some(Schema::Columns(signature)), inputs);
    let plan = case.bind().await.unwrap();
    assert_eq!(plan.input_names(), ["a", "b", "note"]);
    let filled: usize = plan.tensors.iter().map(|tensor| tensor.columns.len()).sum();
    assert_eq!(filled, 2);
}

#[tokio::test]
async fn what_a_run_may_leave_out_is_a_column_where_it_has_rows() {
    let plan = Case::over(&["trip_km", "bonus"])
        .optional(tensor("scale", DType::Float32, &[1]))
        .optional(tensor("bias", DType::Float32, &[-1, 1]))
        .optional(tensor("acc_rate", DType::Float32, &[-1]))
        .features("driver_ranking_v1")
        .bind()
        .await;
    let plan = plan.unwrap();
    assert_eq!(plan.tensors[0].columns, 0..2, "the matrix is as without");
    let optional: Vec<_> = plan
        .optional
        .iter()
        .map(|o| o.tensor.columns.clone())
        .collect();
    assert_eq!(optional, [2..2, 2..3, 3..4]);
    assert!(plan.columns[2].optional);
    assert_eq!(plan.columns[2].source, Source::Request);
    assert_eq!(read(&plan), ["driver_hourly_stats:acc_rate"]);
    assert!(!plan.input_names().contains(&"scale"));
}

#[tokio::test]
async fn a_column_of_the_signature_named_like_an_optional_input_is_that_and_not_of_the_matrix() {
    let case = |shape: &[i64]| {
        let mut case = Case::over(&["a", "b"]);
        case.graph.inputs[0].shape = vec![-1, 1];
        case.optional(tensor("b", DType::Float32, shape))
    };
    let plan = case(&[-1, 1]).bind().await.unwrap();
    assert_eq!(plan.tensors[0].columns, 0..1);
    assert_eq!(plan.optional[0].tensor.columns, 1..2);
    assert!(!plan.columns[1].optional, "the signature wants it");
    let (code, text) = case(&[1]).refused().await;
    assert_eq!(code, "binding_rows_missing", "{text}");
    let (code, text) = case(&[-1, 2]).refused().await;
    assert_eq!(code, "binding_width_wrong", "{text}");
}
