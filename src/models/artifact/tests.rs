//! Model directories as MLflow wrote them, and as nobody should.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::Path;

use serde::Deserialize;
use tempfile::TempDir;

use super::*;
use crate::error::Failure;
use crate::inference::test_models::fixture;
use crate::inference::{ExecutionMode, GraphOptimization};
use crate::types::cell::Cell;
use crate::types::dtype::DType;
use crate::types::signature::{ColumnSpec, ColumnType, Schema, TensorSpec};

fn read(model: &str) -> Artifact {
    Artifact::read(&fixture("models").join(model)).unwrap()
}

fn column(name: &str, dtype: DType, required: bool) -> ColumnSpec {
    ColumnSpec {
        name: Some(name.to_owned()),
        dtype: ColumnType::Scalar(dtype),
        required,
    }
}

#[test]
fn a_model_directory_tells_all_about_the_version() {
    let artifact = read("linreg_col");
    assert_eq!(artifact.mlflow_version.as_deref(), Some("3.17.2"));
    assert_eq!(
        artifact.model_uuid.as_deref(),
        Some("f8f34094a87b4bc58b3420128dfbf3c9")
    );
    assert_eq!(
        artifact.utc_time_created.as_deref(),
        Some("2026-11-22 15:11:08.904274")
    );
    assert_eq!(artifact.n_bytes, 255);
    assert!(artifact.onnx_file.ends_with("linreg_col/model.onnx"));
    let columns = ["x0", "x1", "x2", "x3"].map(|name| column(name, DType::Float64, true));
    assert_eq!(
        artifact.signature.inputs,
        Some(Schema::Columns(columns.to_vec()))
    );
    let Some(InputExample::Frame { columns, rows }) = artifact.input_example else {
        panic!("{:?}", artifact.input_example);
    };
    assert_eq!(columns, ["x0", "x1", "x2", "x3"]);
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[0][0], Cell::Float(0.001230153371579945));
}

#[test]
fn every_recorded_directory_reads() {
    let mut n_read = 0;
    for entry in fs_err::read_dir(fixture("models")).unwrap() {
        Artifact::read(&entry.unwrap().path()).unwrap();
        n_read += 1;
    }
    assert_eq!(n_read, 23);
}

#[test]
fn a_model_without_signature_or_example_reads() {
    let artifact = read("linreg_nosig");
    assert_eq!(artifact.signature, Signature::default());
    assert_eq!(artifact.input_example, None);
    assert_eq!(artifact.session_options, SessionOptions::default());
}

#[test]
fn arrays_are_read_as_examples() {
    assert!(matches!(
        read("linreg_tensor").input_example,
        Some(InputExample::Array(_))
    ));
    let Some(InputExample::Arrays(arrays)) = read("multi_tensor").input_example else {
        panic!();
    };
    assert_eq!(
        arrays["boost"],
        Cell::List(vec![Cell::Int(0), Cell::Int(2)])
    );
}

#[test]
fn session_options_are_read_and_a_zero_counts_as_unset() {
    let options = read("linreg_params").session_options;
    assert_eq!(options.intra_op_threads, NonZeroUsize::new(1));
    assert_eq!(options.graph_optimization, GraphOptimization::All);

    let directory = with_mlmodel(
        "flavors: {onnx: {data: model.onnx, onnx_session_options: {intra_op_num_threads: 0, \
         inter_op_num_threads: 3, execution_mode: PARALLEL, graph_optimization_level: 1, \
         extra_session_config: {session.set_denormal_as_zero: 1, mlas.x: 'y'}}}}",
    );
    let options = Artifact::read(directory.path()).unwrap().session_options;
    let wanted = SessionOptions {
        intra_op_threads: None,
        inter_op_threads: NonZeroUsize::new(3),
        execution_mode: ExecutionMode::Parallel,
        graph_optimization: GraphOptimization::Basic,
        config_entries: vec![
            ("mlas.x".to_owned(), "y".to_owned()),
            ("session.set_denormal_as_zero".to_owned(), "1".to_owned()),
        ],
    };
    assert_eq!(options, wanted);
}

/// A directory with an ONNX file and the given `MLmodel`.
fn with_mlmodel(text: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs_err::copy(
        fixture("models/linreg_col/model.onnx"),
        directory.path().join("model.onnx"),
    )
    .unwrap();
    fs_err::write(directory.path().join("MLmodel"), text).unwrap();
    directory
}

fn error_of(mlmodel: &str) -> Error {
    Artifact::read(with_mlmodel(mlmodel).path()).unwrap_err()
}

#[test]
fn a_file_outside_the_directory_is_refused_naming_it() {
    for file in ["../../x", "/etc/hostname", "a/../../x"] {
        let error = error_of(&format!("flavors: {{onnx: {{data: {file}}}}}"));
        assert_eq!(error.code(), "artifact_path_refused");
        assert!(error.to_string().contains(&format!("`{file}`")), "{error}");
        assert!(error.to_string().contains("MLmodel"), "{error}");
    }
    let directory = with_mlmodel("flavors: {onnx: {data: link.onnx}}");
    let link = directory.path().join("link.onnx");
    fs_err::os::unix::fs::symlink("/etc/hostname", link).unwrap();
    let error = Artifact::read(directory.path()).unwrap_err();
    assert!(
        error.to_string().contains("a link that leads outside"),
        "{error}"
    );
}

#[test]
fn an_example_outside_the_directory_is_not_read() {
    let directory = with_mlmodel(
        "{flavors: {onnx: {data: model.onnx}}, \
         saved_input_example_info: {artifact_path: ../../../../../etc/hostname, type: ndarray}}",
    );
    assert_eq!(
        Artifact::read(directory.path()).unwrap().input_example,
        None
    );
}

#[test]
fn a_directory_without_mlmodel_is_an_error_that_names_it() {
    let directory = tempfile::tempdir().unwrap();
    let error = Artifact::read(directory.path()).unwrap_err();
    assert_eq!(error.code(), "artifact_unreadable");
    let path = directory.path().join("MLmodel");
    assert!(
        error.to_string().contains(path.to_str().unwrap()),
        "{error}"
    );
}

#[test]
fn a_malformed_mlmodel_is_an_error_that_says_where() {
    let onnx = "flavors: {onnx: {data: model.onnx}}";
    let signature = |json: &str| format!("{{{onnx}, signature: {{inputs: '{json}'}}}}");
    for (mlmodel, part) in [
        ("flavors: [".to_owned(), "line 1"),
        ("{}".to_owned(), "missing field `flavors`"),
        ("flavors: {}".to_owned(), "only none at all"),
        ("flavors: {sklearn: {}, python_function: {}}".to_owned(), "`python_function`, `sklearn`"),
        ("flavors: {onnx: {}}".to_owned(), "flavors.onnx: missing field `data`"),
        (
            "flavors: {onnx: {data: model.onnx, onnx_session_options: {execution_mode: fast}}}".to_owned(),
            "execution mode `fast`",
        ),
        (
            "flavors: {onnx: {data: model.onnx, onnx_session_options: {graph_optimization_level: 7}}}".to_owned(),
            "level 7",
        ),
        (signature("[{"), "signature inputs: EOF"),
        (signature(r#"[{"type": "decimal", "name": "a"}]"#), "`a` has the unknown type `decimal`"),
        (
            signature(r#"[{"type": "double"}, {"type": "tensor", "tensor-spec": {"dtype": "int8", "shape": [1]}}]"#),
            "an unnamed entry is a tensor among columns",
        ),
        (
            signature(r#"[{"type": "tensor", "name": "t", "tensor-spec": {"dtype": "complex64", "shape": [1]}}]"#),
            "`t` has the unknown type `complex64`",
        ),
        (
            signature(r#"[{"type": "tensor", "tensor-spec": {"dtype": "int8", "shape": [1]}}, {"type": "double", "name": "a"}]"#),
            "`a` is a `double` among tensors",
        ),
    ] {
        let error = error_of(&mlmodel);
        assert!(error.to_string().contains(part), "{error}");
        assert!(error.to_string().contains("MLmodel"), "{error}");
    }
}

#[test]
fn an_mlmodel_of_any_size_is_refused_before_it_is_read() {
    let padding = " ".repeat(5 << 20);
    let error = error_of(&padding);
    assert!(error.to_string().contains("bytes; at most"), "{error}");
}

#[derive(Deserialize)]
struct Recorded {
    inputs: Option<String>,
    outputs: Option<String>,
    params: Option<String>,
}

fn recorded_signatures() -> BTreeMap<String, Signature> {
    let text = fs_err::read_to_string(fixture("signatures.json")).unwrap();
    let entries: BTreeMap<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
    let signatures = entries
        .into_iter()
        .filter(|(name, _)| name != "numpy_and_pandas_names")
        .map(|(name, entry)| {
            let recorded: Recorded = serde_json::from_value(entry).unwrap();
            let text = mlmodel::SignatureText {
                inputs: recorded.inputs,
                outputs: recorded.outputs,
                params: recorded.params,
            };
            (name, signature::parse(&Some(text)).unwrap())
        });
    signatures.collect()
}

#[test]
fn every_recorded_column_type_is_known() {
    let signatures = recorded_signatures();
    let scalar = [
        ("c_boolean", DType::Bool),
        ("c_integer", DType::Int32),
        ("c_long", DType::Int64),
        ("c_float", DType::Float32),
        ("c_double", DType::Float64),
        ("c_string", DType::String),
        ("c_binary", DType::Binary),
        ("c_datetime", DType::Datetime),
    ];
    let wanted = scalar.map(|(name, dtype)| column(name, dtype, true));
    let columns = |name: &str| match &signatures[name].inputs {
        Some(Schema::Columns(columns)) => columns.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(columns("all_scalar_columns"), wanted);
    assert_eq!(
        columns("optional_column"),
        [
            column("a", DType::Float64, true),
            column("b", DType::Int64, false)
        ]
    );
    assert!(
        columns("unnamed_columns")
            .iter()
            .all(|column| column.name.is_none())
    );
    let nested: Vec<_> = columns("array_object_map_any")
        .into_iter()
        .map(|column| column.dtype)
        .collect();
    let words = ["array", "array", "object", "map", "any"];
    assert_eq!(
        nested,
        words.map(|word| ColumnType::Nested(word.to_owned()))
    );
}

#[test]
fn every_recorded_tensor_type_is_known() {
    let signatures = recorded_signatures();
    let Some(Schema::Tensors(tensors)) = &signatures["tensor_named"].inputs else {
        panic!();
    };
    assert_eq!(tensors.len(), 14);
    assert_eq!(tensors[0].dtype, DType::Float16);
    assert_eq!(tensors[13].dtype, DType::String);
    assert_eq!(tensors[13].shape, [-1]);
    let unnamed = TensorSpec {
        name: None,
        dtype: DType::Float32,
        shape: vec![-1, 28, 28, 1],
    };
    assert_eq!(
        signatures["tensor_unnamed"].inputs,
        Some(Schema::Tensors(vec![unnamed]))
    );
    let params = signatures["params"].params.as_ref().unwrap();
    let wanted = [
        ("a", Some(DType::Int32), false),
        ("b", Some(DType::Float64), false),
        ("c", Some(DType::String), true),
        ("d", Some(DType::Datetime), false),
        ("e", Some(DType::Bool), false),
    ];
    let actual: Vec<_> = params
        .iter()
        .map(|param| (param.name.as_str(), param.dtype, param.list))
        .collect();
    assert_eq!(actual, wanted);
}

#[test]
fn the_word_optional_of_older_mlflow_is_understood() {
    let text = mlmodel::SignatureText {
        inputs: Some(r#"[{"type": "long", "name": "a", "optional": true}]"#.to_owned()),
        ..Default::default()
    };
    let parsed = signature::parse(&Some(text)).unwrap();
    assert_eq!(
        parsed.inputs,
        Some(Schema::Columns(vec![column("a", DType::Int64, false)]))
    );
}

#[test]
fn a_path_that_is_no_directory_is_an_error() {
    assert!(Artifact::read(Path::new("/nowhere")).is_err());
}
