//! Loading: default, then file, then environment, then flags; the later source wins.
//!
//! Every value is tried alone on top of the defaults, so that all that are wrong are reported and not only the first.
//! Text from the environment and from flags is taken as a TOML value where the option accepts that, else as a string.

use std::io;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use super::check;
use super::environment::{Environment, fold};
use super::file::ConfigFile;
use super::key::Key;
use super::problem::{Error, Problem};
use super::schema::{Node, Schema, Unknown};
use super::text::HIDDEN;
use super::tree::{Given, Origin, Tree};

/// Taken from the current directory where no file is named.
pub const DEFAULT_FILE: &str = "terrarium.toml";

/// Where a configuration comes from.
#[derive(Debug, Clone, Copy)]
pub struct Sources<'a> {
    /// From `--config`: must exist.
    pub file: Option<&'a Path>,
    /// Where `DEFAULT_FILE` is looked for when no file is named; the empty path is the current directory.
    pub directory: &'a Path,
    pub environment: &'a Environment,
    /// From `--set`: `http.listen=127.0.0.1:9`.
    pub flags: &'a [String],
}

/// A configuration, and where each value comes from.
#[derive(Debug)]
pub struct Loaded<T> {
    pub config: T,
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// All values in order of declaration, secrets hidden.
    pub(super) shown: Json,
    pub(super) given: Tree,
}

/// Merges all sources. Errors with every problem there is.
pub fn load<T>(sources: &Sources<'_>) -> Result<Loaded<T>, Error>
where
    T: Serialize + DeserializeOwned + JsonSchema,
{
    let mut loader = Loader::<T>::new();
    let path = loader.take_file(sources)?;
    for variable in sources.environment.options() {
        let key = loader.key_of_variable(&variable.segments());
        let origin = Origin::Variable(variable.name.to_owned());
        loader.take_text(key, variable.value, origin);
    }
    for flag in sources.flags {
        match parse_flag(flag) {
            Ok((key, value)) => loader.take_text(key, value, Origin::Flag),
            Err(problem) => loader.problems.push(problem),
        }
    }
    loader.finish(path)
}

/// The file that is read: the named one, else the default one where there is one.
fn find_file(sources: &Sources<'_>) -> Result<Option<(PathBuf, ConfigFile)>, Error> {
    let path = match sources.file {
        Some(path) => path.to_owned(),
        None => sources.directory.join(DEFAULT_FILE),
    };
    match ConfigFile::read(&path) {
        Ok(file) => Ok(Some((path, file))),
        Err(error) if error.kind() == io::ErrorKind::NotFound && sources.file.is_none() => Ok(None),
        Err(source) => Err(Error::Read { source }),
    }
}

/// `section.field=value`.
fn parse_flag(flag: &str) -> Result<(Key, &str), Problem> {
    let parts = flag.split_once('=');
    let parsed = parts.and_then(|(key, value)| Some((parse_key(key)?, value)));
    parsed.ok_or_else(|| Problem {
        // Only the key: the value may be a secret.
        place: format!("--set {}", parts.map_or(flag, |(key, _)| key)),
        message: "write `--set section.field=value`".to_owned(),
    })
}

/// A dotted key, with quotes where TOML has them.
fn parse_key(text: &str) -> Option<Key> {
    let value = toml::Value::Table(toml::from_str(&format!("{text} = 0")).ok()?);
    let (key, origin) = (Key::default(), Origin::Flag);
    let mut leaves = Given { key, value, origin }.leaves();
    let leaf = leaves.pop()?;
    leaves.is_empty().then_some(leaf.key)
}

/// Collects values and problems on the way to a configuration.
struct Loader<T> {
    schema: Schema,
    given: Tree,
    problems: Vec<Problem>,
    config: PhantomData<T>,
}

impl<T> Loader<T>
where
    T: Serialize + DeserializeOwned + JsonSchema,
{
    fn new() -> Self {
        Self {
            schema: Schema::of::<T>(),
            given: Tree::default(),
            problems: Vec::new(),
            config: PhantomData,
        }
    }

    fn take_file(&mut self, sources: &Sources<'_>) -> Result<Option<PathBuf>, Error> {
        let Some((path, file)) = find_file(sources)? else {
            return Ok(None);
        };
        let contents = file.contents();
        self.problems.extend(contents.problems);
        for given in contents.given {
            match self.schema.resolve(&given.key) {
                Ok(_) => self.take(given),
                Err(unknown) => {
                    let origin = contents.origins.get(&unknown.key).unwrap_or(&given.origin);
                    self.report_unknown(&unknown, origin);
                }
            }
        }
        Ok(Some(path))
    }

    fn key_of_variable(&self, segments: &[String]) -> Key {
        self.schema.resolve_folded(segments, |above, segment| {
            let mut below = self.given.iter().filter(|given| given.key.is_within(above));
            below.find_map(|given| {
                let name = given.key.segments().get(above.segments().len())?;
                (fold(name) == segment).then(|| name.clone())
            })
        })
    }

    /// Takes a value that is text in its source.
    fn take_text(&mut self, key: Key, text: &str, origin: Origin) {
        let node = match self.schema.resolve(&key) {
            Ok(node) => node,
            Err(unknown) => return self.report_unknown(&unknown, &origin),
        };
        let given = |value| Given {
            key: key.clone(),
            value,
            origin: origin.clone(),
        };
        let as_string = given(toml::Value::from(text));
        let Ok(value) = text.parse::<toml::Value>() else {
            return self.take(as_string);
        };
        if value.is_table() && node.is_table() {
            for leaf in given(value).leaves() {
                match self.schema.resolve(&leaf.key) {
                    Ok(_) => self.take(leaf),
                    Err(unknown) => self.report_unknown(&unknown, &leaf.origin),
                }
            }
            return;
        }
        let as_toml = given(value);
        let fits = check::rejection::<T>(&as_toml).is_none();
        self.take(if fits { as_toml } else { as_string });
    }

    /// Takes a value whose key is known.
    fn take(&mut self, given: Given) {
        match check::rejection::<T>(&given) {
            None => self.given.set(given),
            Some(reason) => {
                let problem = check::wrong_value(&self.schema, &given, &reason);
                self.problems.push(problem);
            }
        }
    }

    fn report_unknown(&mut self, unknown: &Unknown, origin: &Origin) {
        let problem = check::unknown_key(&self.schema, unknown, origin);
        // A table that is not known is one problem, however much stands in it.
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    fn finish(mut self, file: Option<PathBuf>) -> Result<Loaded<T>, Error> {
        if self.problems.is_empty() {
            self.problems = check::missing(&self.schema, &self.given);
        }
        if !self.problems.is_empty() {
            return Err(Error::Invalid(self.problems));
        }
        let config: T = serde_path_to_error::deserialize(self.given.to_table())
            .map_err(|error| Error::Invalid(vec![check::whole(&self.given, &error)]))?;
        let mut shown = serde_json::to_value(&config).map_err(|source| Error::Show { source })?;
        hide_secrets(self.schema.root(), &mut shown);
        Ok(Loaded {
            config,
            file,
            shown,
            given: self.given,
        })
    }
}

fn hide_secrets(node: Node<'_>, value: &mut Json) {
    if node.is_secret() && !value.is_null() {
        *value = HIDDEN.into();
        return;
    }
    for (name, below) in value.as_object_mut().into_iter().flatten() {
        if let Some(node) = node.child(name) {
            hide_secrets(node, below);
        }
    }
}
