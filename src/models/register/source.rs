//! What a user points to: an ONNX file with the tensor data beside it, or a directory in MLflow model format.

use std::path::{Component, Path, PathBuf};

use super::environment;
use super::example::{self, Example};
use super::mlmodel::Document;
use super::onnx;
use super::package::{File, Package, SignatureFrom};
use super::signature::{self, Stated};
use super::{Error, infer};
use crate::inference::{Runtime, ServedModel, SessionOptions, confine, external_data_files};
use crate::models::artifact::Artifact;
use crate::types::signature::{Graph, Schema};

/// What the ONNX file is called in a directory that is written here, as by MLflow.
const ONNX_FILE: &str = "model.onnx";

/// More is no model.
const MAX_FILES: usize = 10_000;

/// Files in a model directory that are about a copy of it, or that a registry keeps for itself.
const NOT_THE_MODEL: [&str; 3] = ["MLmodel", "registered_model_meta", "tags.yaml"];

/// What to register.
#[derive(Debug, Clone)]
pub struct Source {
    /// An ONNX file, or a directory with `MLmodel`.
    pub path: PathBuf,
    /// A JSON file; comes before what the directory says.
    pub signature: Option<PathBuf>,
    /// A JSON file; comes before what the directory has.
    pub input_example: Option<PathBuf>,
}

/// A model that was opened, and is ready to be tried and registered.
pub struct Opened {
    pub package: Package,
    /// Everything about the files that a trial needs.
    pub(super) artifact: Artifact,
    pub(super) model: ServedModel,
}

impl Source {
    /// Reads all files and loads the graph. Takes as long as that takes: call it off the async workers.
    ///
    /// Errors: what is missing or broken, and a signature that the graph contradicts.
    pub fn open(&self, runtime: &Runtime) -> Result<Opened, Error> {
        let invalid = |reason: &str| Error::Source {
            path: self.path.clone(),
            reason: reason.to_owned(),
        };
        if self.path.is_dir() {
            if !self.path.join("MLmodel").is_file() {
                return Err(invalid("there is no `MLmodel` file in this directory"));
            }
            return self.open_directory(runtime);
        }
        match fs_err::metadata(&self.path) {
            Ok(metadata) if metadata.is_file() => self.open_file(runtime),
            Ok(_) => Err(invalid("this is neither a file nor a directory")),
            Err(error) => Err(invalid(&format!("cannot be read: {}", error.kind()))),
        }
    }

    fn open_file(&self, runtime: &Runtime) -> Result<Opened, Error> {
        let options = SessionOptions::default();
        let model = runtime.load_model(&self.path, &options)?;
        let directory = self.path.parent().unwrap_or(Path::new(""));
        let mut files = vec![File::at(ONNX_FILE.to_owned(), self.path.clone())?];
        for location in external_data_files(&self.path)? {
            files.push(tensor_data(&self.path, directory, &location)?);
        }
        let written = onnx::written(&self.path);
        let mut document = Document::of_onnx(ONNX_FILE, written.onnx_release());
        let example = self.example()?;
        if let Some(example) = &example {
            add_example(example, &mut files, &mut document);
        }
        document.set_size(files.iter().map(|file| file.n_bytes).sum());
        let (stated, from) = self.state(None, model.graph(), example.as_ref())?;
        document.set_signature(&stated);
        add_environment(&mut files, written.onnx_release(), runtime.version());
        let artifact = Artifact {
            directory: directory.to_owned(),
            onnx_file: self.path.clone(),
            n_bytes: files[0].n_bytes,
            session_options: options,
            signature: stated.signature.clone(),
            input_example: example.map(|example| example.parsed),
            mlflow_version: None,
            model_uuid: None,
            utc_time_created: None,
        };
        let graph = model.graph().clone();
        let package = Package::new(graph, stated.signature, from, files, document)?;
        Ok(Opened {
            package,
            artifact,
            model,
        })
    }

    fn open_directory(&self, runtime: &Runtime) -> Result<Opened, Error> {
        let mut artifact = Artifact::read(&self.path)?;
        let model = runtime.load_model(&artifact.onnx_file, &artifact.session_options)?;
        let mlmodel = self.path.join("MLmodel");
        let text = fs_err::read_to_string(&mlmodel).map_err(Error::write("reading the model"))?;
        let mut document = Document::parse(&text).map_err(|reason| Error::Source {
            path: mlmodel,
            reason,
        })?;
        let mut files = walk(&self.path)?;
        let example = self.example()?;
        if let Some(example) = &example {
            files.retain(|file| ![example::FILE, example::SERVING_FILE].contains(&&*file.path));
            add_example(example, &mut files, &mut document);
        }
        let own = artifact.signature.inputs.is_some().then(|| Stated {
            signature: artifact.signature.clone(),
            ..Stated::default()
        });
        let (stated, from) = self.state(own, model.graph(), example.as_ref())?;
        // A side that the directory states is there already, in its own words.
        document.set_signature(&stated);
        let written = onnx::written(&artifact.onnx_file);
        add_environment(&mut files, written.onnx_release(), runtime.version());
        artifact.signature = stated.signature.clone();
        if let Some(example) = example {
            artifact.input_example = Some(example.parsed);
        }
        let graph = model.graph().clone();
        let package = Package::new(graph, stated.signature, from, files, document)?;
        Ok(Opened {
            package,
            artifact,
            model,
        })
    }

    /// The signature that counts, held against the graph.
    fn state(
        &self,
        own: Option<Stated>,
        graph: &Graph,
        example: Option<&Example>,
    ) -> Result<(Stated, SignatureFrom), Error> {
        let (stated, from) = match (&self.signature, own) {
            (Some(path), _) => (read_signature(path)?, SignatureFrom::Given),
            (None, Some(own)) => (own, SignatureFrom::Model),
            (None, None) => {
                let columns = example.and_then(Example::columns);
                let stated = Stated::of(infer::infer(graph, columns));
                let from = match (&stated.signature.inputs, columns) {
                    (Some(Schema::Columns(_)), Some(_)) => SignatureFrom::Example,
                    _ => SignatureFrom::Graph,
                };
                (stated, from)
            }
        };
        signature::check(&stated.signature, graph)
            .map_err(|reason| Error::Contradiction { reason })?;
        Ok((stated, from))
    }

    fn example(&self) -> Result<Option<Example>, Error> {
        let Some(path) = &self.input_example else {
            return Ok(None);
        };
        let invalid = |reason| Error::Example {
            path: path.clone(),
            reason,
        };
        let text = fs_err::read_to_string(path).map_err(|error| invalid(error.to_string()))?;
        Example::parse(&text).map(Some).map_err(invalid)
    }
}

fn read_signature(path: &Path) -> Result<Stated, Error> {
    let invalid = |reason| Error::Signature {
        path: path.to_owned(),
        reason,
    };
    let text = fs_err::read_to_string(path).map_err(|error| invalid(error.to_string()))?;
    Stated::parse(&text).map_err(invalid)
}

/// A file of tensor data at the same place beside the ONNX file.
fn tensor_data(onnx: &Path, directory: &Path, location: &str) -> Result<File, Error> {
    let parts = Path::new(location).components();
    let parts: Vec<&str> = parts
        .filter(|part| *part != Component::CurDir)
        .filter_map(|part| part.as_os_str().to_str())
        .collect();
    let path = parts.join("/");
    let own = [
        ONNX_FILE,
        "MLmodel",
        environment::CONDA,
        environment::PYTHON_ENV,
    ];
    let own = own.into_iter().chain([
        environment::REQUIREMENTS,
        example::FILE,
        example::SERVING_FILE,
    ]);
    if own.into_iter().any(|own| own == path) {
        return Err(Error::Source {
            path: onnx.to_owned(),
            reason: format!(
                "its tensor data lies in `{path}`, which is a file of the model format"
            ),
        });
    }
    File::at(path, directory.join(location))
}

fn add_example(example: &Example, files: &mut Vec<File>, document: &mut Document) {
    files.push(File::text(example::FILE, example.text.clone()));
    files.push(File::text(
        example::SERVING_FILE,
        example.serving_text.clone(),
    ));
    document.set_example(example.kind);
}

/// The environment files that are not there yet.
fn add_environment(files: &mut Vec<File>, onnx_release: &str, onnxruntime: &str) {
    for (path, text) in environment::files(onnx_release, onnxruntime) {
        if files.iter().any(|file| file.path == path) {
            continue;
        }
        files.push(File::text(path, text));
    }
}

/// All files of a model directory. None may lie elsewhere behind a link.
fn walk(root: &Path) -> Result<Vec<File>, Error> {
    let failed = Error::write("reading the model");
    let refused = |path: &Path, reason: &str| Error::Source {
        path: path.to_owned(),
        reason: reason.to_owned(),
    };
    let mut files = Vec::new();
    let mut waiting = vec![String::new()];
    while let Some(folder) = waiting.pop() {
        for entry in fs_err::read_dir(root.join(&folder)).map_err(&failed)? {
            let entry = entry.map_err(&failed)?;
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
                return Err(refused(&entry.path(), "its name is not UTF-8"));
            };
            let path = match folder.as_str() {
                "" => name,
                folder => format!("{folder}/{name}"),
            };
            if NOT_THE_MODEL.contains(&path.as_str()) {
                continue;
            }
            let place = confine(root, &path).map_err(|reason| refused(&entry.path(), reason))?;
            if place.is_dir() {
                // A link to a folder above would never end.
                if entry.path().is_symlink() {
                    return Err(refused(&entry.path(), "this is a link to a folder"));
                }
                waiting.push(path);
            } else {
                files.push(File::at(path, place)?);
            }
            if files.len() + waiting.len() > MAX_FILES {
                return Err(refused(root, "it has over 10,000 files"));
            }
        }
    }
    Ok(files)
}
