//! Whether all files that an ONNX file points to lie below its own directory.
//!
//! An ONNX file may keep a tensor's data in another file, named by a path (`TensorProto.external_data`, key `location`).
//! A model from elsewhere could so name any file of this machine. The scan walks the protobuf wire format and looks into
//! every place where ONNX (IR version 3 to 13) can hold a tensor; other fields are skipped. It builds nothing in memory.
//! Not here: whether the graph makes sense; ONNX Runtime judges that.

use std::collections::BTreeSet;
use std::path::Path;

use prost::DecodeError;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use super::{Error, confine};

/// Protobuf messages cannot be larger.
const MAX_FILE_BYTES: u64 = 2 << 30;

/// Graphs within graphs, as `If` and `Loop` have them, and the messages between.
const MAX_DEPTH: usize = 100;

/// The files that hold tensor data, as the ONNX file names them: relative to its own directory.
///
/// Fails if the file is not a protobuf message, or names a file that is not below the file's own directory.
pub(crate) fn files(path: &Path) -> Result<BTreeSet<String>, Error> {
    let bytes = read(path)?;
    let mut locations = BTreeSet::new();
    scan(Message::Model, &bytes, 0, &mut locations).map_err(|error| Error::Malformed {
        path: path.to_owned(),
        reason: error.to_string(),
    })?;
    // A bare file name has an empty parent.
    let parent = path.parent().filter(|parent| *parent != Path::new(""));
    let directory = parent.unwrap_or(Path::new("."));
    for location in &locations {
        let refused = |reason| Error::ExternalData {
            path: path.to_owned(),
            location: location.clone(),
            reason,
        };
        // ONNX Runtime takes `*/...` for an address in memory.
        if location.starts_with('*') {
            return Err(refused("this is not a file name"));
        }
        confine(directory, location).map_err(refused)?;
    }
    Ok(locations)
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let unreadable = |error: std::io::Error| Error::Read {
        reason: error.to_string(),
    };
    let n_bytes = fs_err::metadata(path).map_err(unreadable)?.len();
    if n_bytes > MAX_FILE_BYTES {
        return Err(Error::Malformed {
            path: path.to_owned(),
            reason: format!("it has {n_bytes} bytes, and protobuf allows {MAX_FILE_BYTES}"),
        });
    }
    fs_err::read(path).map_err(unreadable)
}

/// The messages of `onnx.proto` on the way to a tensor.
#[derive(Clone, Copy)]
enum Message {
    Model,
    TrainingInfo,
    Function,
    Graph,
    Node,
    Attribute,
    SparseTensor,
    Tensor,
    /// One entry of `TensorProto.external_data`.
    ExternalData,
}

impl Message {
    /// The message that a field holds, if there can be a tensor in it.
    fn field(self, tag: u32) -> Option<Self> {
        match (self, tag) {
            (Self::Model, 7) | (Self::TrainingInfo, 1 | 2) | (Self::Attribute, 6 | 11) => {
                Some(Self::Graph)
            }
            (Self::Model, 20) => Some(Self::TrainingInfo),
            (Self::Model, 25) => Some(Self::Function),
            (Self::Graph, 1) | (Self::Function, 7) => Some(Self::Node),
            (Self::Node, 5) | (Self::Function, 11) => Some(Self::Attribute),
            (Self::Graph, 15) | (Self::Attribute, 22 | 23) => Some(Self::SparseTensor),
            (Self::Graph, 5) | (Self::Attribute, 5 | 10) | (Self::SparseTensor, 1 | 2) => {
                Some(Self::Tensor)
            }
            (Self::Tensor, 13) => Some(Self::ExternalData),
            _ => None,
        }
    }
}

/// Why the file is not an ONNX model.
#[derive(Debug, thiserror::Error)]
enum Damage {
    #[error(transparent)]
    Wire(#[from] DecodeError),
    #[error("{0}")]
    Structure(&'static str),
}

fn scan(
    message: Message,
    mut bytes: &[u8],
    depth: usize,
    locations: &mut BTreeSet<String>,
) -> Result<(), Damage> {
    if depth > MAX_DEPTH {
        return Err(Damage::Structure("messages are nested too deeply"));
    }
    if matches!(message, Message::ExternalData) {
        return scan_entry(bytes, locations);
    }
    while !bytes.is_empty() {
        let (tag, wire_type) = decode_key(&mut bytes)?;
        match message.field(tag) {
            Some(inner) if wire_type == WireType::LengthDelimited => {
                scan(inner, take_field(&mut bytes)?, depth + 1, locations)?;
            }
            _ => skip_field(wire_type, tag, &mut bytes, DecodeContext::default())?,
        }
    }
    Ok(())
}

/// `StringStringEntryProto`: field 1 is the key, field 2 the value.
fn scan_entry(mut bytes: &[u8], locations: &mut BTreeSet<String>) -> Result<(), Damage> {
    let (mut key, mut value): (&[u8], &[u8]) = (b"", b"");
    while !bytes.is_empty() {
        match decode_key(&mut bytes)? {
            (1, WireType::LengthDelimited) => key = take_field(&mut bytes)?,
            (2, WireType::LengthDelimited) => value = take_field(&mut bytes)?,
            (tag, wire_type) => skip_field(wire_type, tag, &mut bytes, DecodeContext::default())?,
        }
    }
    if key == b"location" {
        let location =
            str::from_utf8(value).map_err(|_| Damage::Structure("a location is not UTF-8"))?;
        if !locations.contains(location) {
            locations.insert(location.to_owned());
        }
    }
    Ok(())
}

fn take_field<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], Damage> {
    let length = usize::try_from(decode_varint(bytes)?).unwrap_or(usize::MAX);
    let (field, rest) = bytes
        .split_at_checked(length)
        .ok_or(Damage::Structure("it is cut off"))?;
    *bytes = rest;
    Ok(field)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Failure;
    use crate::inference::test_models::{
        Proto, external_tensor, fixture, model, runtime, with_external_data,
    };
    use crate::inference::{ServedModel, SessionOptions};

    /// A model file in a directory of its own, beside which lies a file named `secret`.
    fn load(bytes: &[u8]) -> Result<ServedModel, Error> {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("model");
        fs_err::create_dir_all(&directory).unwrap();
        fs_err::write(parent.path().join("secret"), [0; 16]).unwrap();
        fs_err::write(directory.join("weights"), [0; 16]).unwrap();
        fs_err::os::unix::fs::symlink("../secret", directory.join("link")).unwrap();
        fs_err::write(directory.join("model.onnx"), bytes).unwrap();
        runtime().load_model(&directory.join("model.onnx"), &SessionOptions::default())
    }

    #[test]
    fn tensor_data_beside_the_model_loads() {
        load(&with_external_data("weights")).unwrap();
        load(&with_external_data("./weights")).unwrap();
        files(&fixture("models/ext_data/model.onnx")).unwrap();
    }

    #[test]
    fn tensor_data_outside_the_models_directory_is_refused_naming_it() {
        for location in [
            "../secret",
            "/etc/hostname",
            "./../secret",
            "link",
            "absent",
            "",
            "*/_ORT_MEM_ADDR_/*",
        ] {
            let error = load(&with_external_data(location)).err().unwrap();
            assert_eq!(error.code(), "model_external_data_refused", "{location}");
            assert!(
                error.to_string().contains(&format!("`{location}`")),
                "{error}"
            );
            assert!(error.to_string().contains("model.onnx"), "{error}");
        }
    }

    #[test]
    fn every_place_that_can_hold_a_tensor_is_looked_into() {
        let tensor = external_tensor("../secret");
        let wrap = |tags: &[u32]| {
            let mut inner = tensor.clone();
            for tag in tags.iter().rev() {
                inner = Proto::default().message(*tag, &inner);
            }
            inner
        };
        for (place, graph) in [
            ("initializer", wrap(&[5])),
            ("sparse initializer, values", wrap(&[15, 1])),
            ("sparse initializer, indices", wrap(&[15, 2])),
            ("attribute", wrap(&[1, 5, 5])),
            ("attribute list", wrap(&[1, 5, 10])),
            ("sparse attribute", wrap(&[1, 5, 22, 1])),
            ("sparse attribute list", wrap(&[1, 5, 23, 2])),
            ("graph of an `If`", wrap(&[1, 5, 6, 5])),
            ("graph list", wrap(&[1, 5, 11, 5])),
        ] {
            assert!(load(&model(&graph)).is_err_and(is_refused), "{place}");
        }
        for (place, bytes) in [
            ("training info, initialization", wrap(&[20, 1, 5])),
            ("training info, algorithm", wrap(&[20, 2, 5])),
            ("function", wrap(&[25, 7, 5, 5])),
            ("default of a function's attribute", wrap(&[25, 11, 5])),
            ("second graph, which protobuf merges", {
                let first = Proto::default().message(7, &Proto::default());
                Proto([first.0, wrap(&[7, 5]).0].concat())
            }),
        ] {
            assert!(load(&bytes.0).is_err_and(is_refused), "{place}");
        }
    }

    fn is_refused(error: Error) -> bool {
        matches!(error, Error::ExternalData { .. })
    }

    #[test]
    fn graphs_nested_without_end_are_an_error() {
        let mut graph = Proto::default();
        for _ in 0..1000 {
            let attribute = Proto::default().message(6, &graph);
            let node = Proto::default().message(5, &attribute);
            graph = Proto::default().message(1, &node);
        }
        let error = load(&model(&graph)).err().unwrap();
        assert!(error.to_string().contains("nested too deeply"), "{error}");
    }
}
