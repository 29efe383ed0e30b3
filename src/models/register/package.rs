//! A model as it will lie in a registry: files, `MLmodel`, and one fingerprint over what makes it this model.
//!
//! The fingerprint is the SHA-256 of the digests and names of all files and of `MLmodel` without the keys that name one
//! copy. Environment files do not count: what is written here names the ONNX Runtime of this machine.
//! Nothing is copied: a file is named by where it lies until a registry takes it.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use ring::digest::{Context, SHA256};

use super::Error;
use super::environment;
use super::mlmodel::{Document, Identity};
use crate::types::signature::{Graph, Signature};
use crate::types::timestamp::Timestamp;

/// A fingerprint of another kind could be mistaken for this one.
const KIND: &str = "terrarium-model-1";

/// A model ready to be registered.
#[derive(Debug, Clone)]
pub struct Package {
    pub graph: Graph,
    pub signature: Signature,
    pub signature_from: SignatureFrom,
    /// All but `MLmodel`, by path.
    pub(super) files: Vec<File>,
    pub(super) document: Document,
    fingerprint: String,
}

/// Where a signature comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureFrom {
    /// The file of `--signature`.
    Given,
    /// The `MLmodel` of a model directory.
    Model,
    Graph,
    /// The graph, with the columns of the input example.
    Example,
}

impl SignatureFrom {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Given => "as given",
            Self::Model => "from the model directory",
            Self::Graph => "inferred from the graph",
            Self::Example => "inferred from the graph and the columns of the input example",
        }
    }
}

/// One file of a model.
#[derive(Debug, Clone)]
pub struct File {
    /// Below the model's directory, with `/`.
    pub path: String,
    pub n_bytes: u64,
    pub(super) content: Content,
}

#[derive(Debug, Clone)]
pub(super) enum Content {
    At(PathBuf),
    Text(String),
}

impl File {
    pub(super) fn at(path: String, place: PathBuf) -> Result<Self, Error> {
        let metadata = fs_err::metadata(&place).map_err(Error::write("reading the model"))?;
        Ok(Self {
            path,
            n_bytes: metadata.len(),
            content: Content::At(place),
        })
    }

    pub(super) fn text(path: &str, text: String) -> Self {
        Self {
            path: path.to_owned(),
            n_bytes: text.len() as u64,
            content: Content::Text(text),
        }
    }

    /// Copies the file to where `directory` has it. Errors: of the file system.
    pub(super) fn write_below(&self, directory: &Path) -> std::io::Result<()> {
        let target = directory.join(&self.path);
        if let Some(parent) = target.parent() {
            fs_err::create_dir_all(parent)?;
        }
        match &self.content {
            Content::At(place) => {
                let mut from = fs_err::File::open(place)?;
                let mut to = fs_err::File::create(&target)?;
                std::io::copy(&mut from, &mut to)?;
                to.sync_all()
            }
            Content::Text(text) => {
                let mut to = fs_err::File::create(&target)?;
                std::io::Write::write_all(&mut to, text.as_bytes())?;
                to.sync_all()
            }
        }
    }

    fn digest(&self) -> std::io::Result<String> {
        let mut context = Context::new(&SHA256);
        match &self.content {
            Content::Text(text) => context.update(text.as_bytes()),
            Content::At(place) => {
                let mut file = fs_err::File::open(place)?;
                let mut chunk = vec![0; 1 << 20];
                loop {
                    match file.read(&mut chunk)? {
                        0 => break,
                        n_read => context.update(&chunk[..n_read]),
                    }
                }
            }
        }
        Ok(hex(context))
    }
}

impl Package {
    pub(super) fn new(
        graph: Graph,
        signature: Signature,
        signature_from: SignatureFrom,
        mut files: Vec<File>,
        document: Document,
    ) -> Result<Self, Error> {
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let fingerprint = fingerprint(&files, &document)?;
        Ok(Self {
            graph,
            signature,
            signature_from,
            files,
            document,
            fingerprint,
        })
    }

    /// 64 hexadecimal digits.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// All files, `MLmodel` last: what has no `MLmodel` is no model, however far the copying came.
    pub fn files(&self, identity: &Identity) -> Result<Vec<File>, Error> {
        let mlmodel = self.document.text(identity, Timestamp::now());
        let mlmodel = mlmodel.map_err(|reason| Error::Write {
            step: "writing `MLmodel`",
            reason,
        })?;
        let mut files = self.files.clone();
        files.push(File::text("MLmodel", mlmodel));
        Ok(files)
    }

    /// All but `MLmodel`, by path.
    pub fn file_list(&self) -> &[File] {
        &self.files
    }

    /// Writes the whole model directory, which must be empty or absent.
    pub fn write_to(&self, directory: &Path, identity: &Identity) -> Result<(), Error> {
        let failed = Error::write("writing the model directory");
        fs_err::create_dir_all(directory).map_err(&failed)?;
        if fs_err::read_dir(directory)
            .map_err(&failed)?
            .next()
            .is_some()
        {
            return Err(failed(std::io::Error::other(format!(
                "{} is not empty",
                directory.display()
            ))));
        }
        for file in self.files(identity)? {
            file.write_below(directory).map_err(&failed)?;
        }
        Ok(())
    }
}

fn fingerprint(files: &[File], document: &Document) -> Result<String, Error> {
    let failed = |reason| Error::Write {
        step: "reading the model",
        reason,
    };
    let mut context = Context::new(&SHA256);
    context.update(KIND.as_bytes());
    let is_environment = |file: &&File| environment::is_one(&file.path);
    for file in files.iter().filter(|file| !is_environment(file)) {
        let digest = file.digest().map_err(|error| failed(error.to_string()))?;
        // No path holds a line's end unescaped by its length.
        let line = format!("\n{digest} {} {}", file.path.len(), file.path);
        context.update(line.as_bytes());
    }
    context.update(b"\nMLmodel\n");
    context.update(document.content().map_err(failed)?.as_bytes());
    Ok(hex(context))
}

fn hex(context: Context) -> String {
    let digest = context.finish();
    let bytes = digest.as_ref().iter();
    bytes.map(|byte| format!("{byte:02x}")).collect()
}
