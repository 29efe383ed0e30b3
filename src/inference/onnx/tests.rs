//! Sessions against results recorded from onnxruntime, and files that must not load.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use ndarray::{ArrayD, IxDyn, ShapeBuilder};
use serde::Deserialize;
use serde_json::Value;

use crate::error::{ErrorClass, Failure};
use crate::inference::onnx::{Library, Machine};
use crate::inference::test_models::{BFLOAT16, COMPLEX64, FLOAT, FLOAT16, fixture, runtime, unary};
use crate::inference::{Arena, Engine, Error, Provider, SessionOptions, library};
use crate::types::dtype::DType;
use crate::types::signature::{Graph, OutputKind};
use crate::types::tensor::{Output, Tensor};

#[derive(Deserialize)]
struct Recorded {
    outputs: Vec<RecordedOutput>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct RecordedOutput {
    name: String,
}

#[derive(Deserialize)]
struct Case {
    feed: BTreeMap<String, Recording>,
    outputs: BTreeMap<String, Recording>,
}

#[derive(Deserialize)]
struct Recording {
    #[serde(default)]
    dtype: String,
    #[serde(default)]
    shape: Vec<usize>,
    values: Value,
}

fn leaves(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().flat_map(leaves).collect(),
        leaf => vec![leaf],
    }
}

fn number(value: &Value) -> f64 {
    match value.as_str() {
        Some("NaN") => f64::NAN,
        Some("Infinity") => f64::INFINITY,
        Some("-Infinity") => f64::NEG_INFINITY,
        _ => value.as_f64().unwrap(),
    }
}

fn tensor(recording: &Recording) -> Tensor {
    fn array<T>(recording: &Recording, convert: impl Fn(&Value) -> T) -> ArrayD<T> {
        let elements = leaves(&recording.values).into_iter().map(convert).collect();
        ArrayD::from_shape_vec(IxDyn(&recording.shape), elements).unwrap()
    }
    match recording.dtype.as_str() {
        "float32" => Tensor::Float32(array(recording, |v| number(v) as f32)),
        "float64" => Tensor::Float64(array(recording, number)),
        "int64" => Tensor::Int64(array(recording, |v| v.as_i64().unwrap())),
        "int32" => Tensor::Int32(array(recording, |v| v.as_i64().unwrap() as i32)),
        "bool" => Tensor::Bool(array(recording, |v| v.as_bool().unwrap())),
        "object" => Tensor::String(array(recording, |v| v.as_str().unwrap().to_owned())),
        other => panic!("{other}"),
    }
}

/// The recording and the library are of the same version, so floats must be equal; NaN equals NaN.
fn assert_same(actual: &Output, recording: &Recording, place: &str) {
    let wanted = serde_json::to_string(&recording.values).unwrap();
    let wanted: Value = serde_json::from_str(&wanted).unwrap();
    let mut actual_json = serde_json::to_value(actual).unwrap();
    if let (Output::Tensor(tensor), [_, 1]) = (actual, recording.shape.as_slice()) {
        assert_eq!(tensor.shape(), recording.shape, "{place}");
        // `Output` gives `[N, 1]` as scalars.
        let rows = actual_json.as_array().unwrap();
        actual_json = rows.iter().map(|row| vec![row.clone()]).collect();
    }
    let (actual, wanted) = (leaves(&actual_json), leaves(&wanted));
    assert_eq!(actual.len(), wanted.len(), "{place}");
    for (actual, wanted) in actual.iter().zip(wanted) {
        assert_eq!(*actual, wanted, "{place}");
    }
}

#[test]
fn every_recorded_model_gives_the_recorded_outputs() {
    let text = fs_err::read_to_string(fixture("expected_session_run.json")).unwrap();
    let recorded: BTreeMap<String, Recorded> = serde_json::from_str(&text).unwrap();
    let mut n_compared = 0;
    for (name, recorded) in recorded {
        let path = fixture("models").join(&name).join("model.onnx");
        let (graph, mut engine) = open(&path).unwrap();
        for case in recorded.cases {
            let inputs = graph.inputs.iter().map(|input| {
                let name = input.name.as_ref().unwrap();
                tensor(&case.feed[name])
            });
            let outputs = engine.run(inputs.collect::<Vec<_>>().into()).unwrap();
            assert_eq!(outputs.len(), recorded.outputs.len());
            for (output, spec) in outputs.iter().zip(&recorded.outputs) {
                let place = format!("{name}/{}", spec.name);
                assert_same(output, &case.outputs[&spec.name], &place);
                n_compared += 1;
            }
        }
    }
    assert!(n_compared >= 30, "{n_compared}");
}

fn library() -> Library {
    Library::load(&library::find(None, None)).unwrap()
}

fn machine(arena: Arena) -> Machine {
    Machine {
        arena,
        providers: vec![Provider::Cpu],
    }
}

fn open(path: &Path) -> Result<(Graph, impl Engine + use<>), Error> {
    library().open(path, &SessionOptions::default(), &machine(Arena::Keep))
}

fn open_bytes(bytes: &[u8]) -> Result<(Graph, impl Engine + use<>), Error> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.onnx");
    fs_err::write(&path, bytes).unwrap();
    open(&path)
}

#[test]
fn the_graph_is_described_in_its_own_order() {
    let (graph, _) = open(&fixture("models/clf_on_col/model.onnx")).unwrap();
    assert_eq!(graph.inputs[0].name.as_deref(), Some("float_input"));
    assert_eq!(graph.inputs[0].shape, [-1, 4]);
    let kinds: Vec<_> = graph.outputs.iter().map(|output| &output.kind).collect();
    let labels = OutputKind::Tensor {
        dtype: DType::Int64,
        shape: vec![-1],
    };
    assert_eq!(kinds, [&labels, &OutputKind::Maps]);
}

#[test]
fn every_element_type_passes_through_unchanged() {
    fn array<T: Clone>(values: [T; 2]) -> ArrayD<T> {
        ArrayD::from_shape_vec(IxDyn(&[2]), values.to_vec()).unwrap()
    }
    for (element_type, input) in [
        (FLOAT, Tensor::Float32(array([f32::MIN, 0.1]))),
        (2, Tensor::UInt8(array([0, u8::MAX]))),
        (3, Tensor::Int8(array([i8::MIN, i8::MAX]))),
        (4, Tensor::UInt16(array([0, u16::MAX]))),
        (5, Tensor::Int16(array([i16::MIN, i16::MAX]))),
        (6, Tensor::Int32(array([i32::MIN, i32::MAX]))),
        (7, Tensor::Int64(array([i64::MIN, i64::MAX]))),
        (8, Tensor::String(array(["".to_owned(), "é".to_owned()]))),
        (9, Tensor::Bool(array([false, true]))),
        (FLOAT16, Tensor::Float16(array([f16::MIN, f16::EPSILON]))),
        (
            BFLOAT16,
            Tensor::BFloat16(array([bf16::MIN, bf16::EPSILON])),
        ),
        (11, Tensor::Float64(array([f64::MIN, 0.1]))),
        (12, Tensor::UInt32(array([0, u32::MAX]))),
        (13, Tensor::UInt64(array([0, u64::MAX]))),
    ] {
        let (graph, mut engine) =
            open_bytes(&unary("Identity", element_type, &[-1], &[-1])).unwrap();
        assert_eq!(graph.inputs[0].dtype, input.dtype());
        let outputs = engine.run(vec![input.clone()].into()).unwrap();
        assert_eq!(outputs, [Output::Tensor(input)]);
    }
}

#[test]
fn a_column_major_input_is_read_in_its_logical_order() {
    let (_, mut engine) = open_bytes(&unary("Identity", FLOAT, &[-1, 2], &[-1, 2])).unwrap();
    let columns = vec![1.0_f32, 3.0, 2.0, 4.0];
    let input = ArrayD::from_shape_vec(IxDyn(&[2, 2]).f(), columns).unwrap();
    assert!(!input.is_standard_layout());
    let outputs = engine
        .run(vec![Tensor::Float32(input.clone())].into())
        .unwrap();
    assert_eq!(outputs, [Output::Tensor(Tensor::Float32(input))]);
}

#[test]
fn no_rows_give_no_rows() {
    let (_, mut engine) = open_bytes(&unary("Identity", FLOAT, &[-1, 2], &[-1, 2])).unwrap();
    let input = Tensor::Float32(ArrayD::zeros(IxDyn(&[0, 2])));
    let outputs = engine.run(vec![input.clone()].into()).unwrap();
    assert_eq!(outputs, [Output::Tensor(input)]);
}

#[test]
fn inputs_that_do_not_fit_are_refused_with_the_reason_and_the_engine_stays_usable() {
    let (_, mut engine) = open_bytes(&unary("Identity", FLOAT, &[-1, 2], &[-1, 2])).unwrap();
    let good = Tensor::Float32(ArrayD::zeros(IxDyn(&[1, 2])));
    for (inputs, part) in [
        (vec![], "0 tensors are given where the graph takes 1"),
        (vec![good.clone(), good.clone()], "2 tensors are given"),
        (
            vec![Tensor::Float32(ArrayD::zeros(IxDyn(&[1, 3])))],
            "Expected: 2",
        ),
        (
            vec![Tensor::Float64(ArrayD::zeros(IxDyn(&[1, 2])))],
            "double",
        ),
    ] {
        let error = engine.run(inputs.into()).unwrap_err();
        assert_eq!(error.class(), ErrorClass::InvalidInput);
        assert!(error.to_string().contains(part), "{error}");
    }
    assert!(engine.run(vec![good].into()).is_ok());
}

#[test]
fn text_with_a_nul_is_refused() {
    let (_, mut engine) = open_bytes(&unary("Identity", 8, &[-1], &[-1])).unwrap();
    let text = ArrayD::from_elem(IxDyn(&[1]), "a\0b".to_owned());
    let error = engine.run(vec![Tensor::String(text)].into()).unwrap_err();
    assert!(error.to_string().contains("input `x`"), "{error}");
    assert_eq!(error.class(), ErrorClass::InvalidInput);
}

#[test]
fn an_element_type_that_is_not_served_is_refused_at_load_naming_the_tensor() {
    let bytes = unary("Identity", COMPLEX64, &[-1], &[-1]);
    let error = open_bytes(&bytes).err().unwrap();
    assert_eq!(error.class(), ErrorClass::Unavailable);
    // ONNX Runtime may have no kernel for it either.
    if error.code() != "model_file_invalid" {
        assert_eq!(error.code(), "model_unsupported");
        assert!(
            error.to_string().contains("input `x` is of type"),
            "{error}"
        );
    }
}

#[test]
fn a_damaged_file_is_an_error_that_names_it() {
    let whole = fs_err::read(fixture("models/linreg_col/model.onnx")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.onnx");
    for bytes in [
        &whole[..whole.len() / 2],
        b"",
        b"not onnx at all",
        &unary("NoSuchOp", FLOAT, &[-1], &[-1]),
    ] {
        fs_err::write(&path, bytes).unwrap();
        let error = runtime()
            .load_model(&path, &SessionOptions::default())
            .err()
            .unwrap();
        assert_eq!(error.code(), "model_file_invalid", "{error}");
        assert!(error.to_string().contains("model.onnx"), "{error}");
    }
}

#[test]
fn outputs_are_the_same_whatever_becomes_of_the_memory() {
    let path = fixture("models/rank3/model.onnx");
    let mut outputs = Vec::new();
    for arena in [Arena::Keep, Arena::Shrink, Arena::Off] {
        let (_, mut engine) = library()
            .open(&path, &SessionOptions::default(), &machine(arena))
            .unwrap();
        for _ in 0..2 {
            let image = ArrayD::from_elem(IxDyn(&[3, 2, 3]), 1.5_f32);
            outputs.push(engine.run(vec![Tensor::Float32(image)].into()).unwrap());
        }
    }
    assert!(outputs.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn a_provider_that_the_library_has_not_leaves_the_rest() {
    let wanted = [Provider::Openvino, Provider::Tensorrt, Provider::Cpu];
    let config = crate::inference::Config {
        providers: wanted.to_vec(),
        ..Default::default()
    };
    let machine = library().machine(&config);
    assert_eq!(machine.providers.last(), Some(&Provider::Cpu));
    let path = fixture("models/rank3/model.onnx");
    let opened = library().open(&path, &SessionOptions::default(), &machine);
    assert!(opened.is_ok());
    // Named though it is not there: it is said, and the CPU runs the model.
    let machine = Machine {
        arena: Arena::Keep,
        providers: vec![Provider::Cuda],
    };
    let (_, mut engine) = library()
        .open(&path, &SessionOptions::default(), &machine)
        .unwrap();
    let image = ArrayD::from_elem(IxDyn(&[1, 2, 3]), 1.0_f32);
    assert!(engine.run(vec![Tensor::Float32(image)].into()).is_ok());
}

#[test]
fn settings_that_reach_outside_the_session_are_ignored() {
    for key in [
        "session.model_external_initializers_file_folder_path",
        "session.load_model_format",
        "session.optimized_model_external_initializers_file_name",
        "ep.context_file_path",
    ] {
        assert!(!super::stays_in_session(key), "{key}");
    }
    for key in [
        "session.set_denormal_as_zero",
        "optimization.disable_specified_optimizers",
    ] {
        assert!(super::stays_in_session(key), "{key}");
    }
}

#[test]
fn an_absent_library_is_an_error_that_names_every_place_and_the_command() {
    let path = PathBuf::from("/nowhere/libonnxruntime.so");
    let error = super::connect(&library::Place::File(path)).err().unwrap();
    assert!(
        error.to_string().contains("`/nowhere/libonnxruntime.so`"),
        "{error}"
    );
    let looked_at = vec!["/a/libonnxruntime.so".into(), "libonnxruntime.so".into()];
    let error = Error::LibraryMissing { looked_at };
    assert!(
        error
            .to_string()
            .contains("`/a/libonnxruntime.so`, `libonnxruntime.so`"),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("`dev/onnxruntime`"));
}

#[test]
fn the_version_is_that_of_the_library() {
    assert!(
        library().version().starts_with("1."),
        "{}",
        library().version()
    );
}
