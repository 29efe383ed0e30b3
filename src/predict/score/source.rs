//! Where rows come from and where scored ones go: one part for each file.
//!
//! Of a directory each `*.parquet` in it and below is a part, in the order of their paths; names that begin with `.` or `_`
//! are passed over. Its result lies at the same path below the destination.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::Error;
use crate::features::historical::FileFormat;

/// Rows that are to be scored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file of Parquet or CSV, or a directory of Parquet files.
    Path(PathBuf),
    /// In the Postgres of the offline store; it may only read.
    Query(String),
}

impl Source {
    /// By how the text begins.
    pub fn of(text: &str) -> Self {
        let first = text.split_whitespace().next().unwrap_or_default();
        match first.eq_ignore_ascii_case("select") || first.eq_ignore_ascii_case("with") {
            true => Self::Query(text.to_owned()),
            false => Self::Path(text.into()),
        }
    }
}

/// One file's worth of rows.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) rows: PartRows,
    pub(super) destination: PathBuf,
    pub(super) format: FileFormat,
    /// Whether a result that is there already may stand.
    pub(super) is_of_directory: bool,
}

#[derive(Debug, Clone)]
pub(super) enum PartRows {
    File {
        path: PathBuf,
        format: FileFormat,
        stamp: Stamp,
    },
    Query(String),
}

/// What a file that was changed differs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) n_bytes: u64,
    /// Nanoseconds since the epoch; zero where the file system does not tell.
    pub(super) modified: u128,
}

impl Stamp {
    fn of(path: &Path) -> Result<Self, Error> {
        let metadata = fs_err::metadata(path).map_err(|error| unreadable(path, error))?;
        let modified = metadata.modified().ok();
        let modified = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        Ok(Self {
            n_bytes: metadata.len(),
            modified: modified.map_or(0, |since| since.as_nanos()),
        })
    }
}

impl Part {
    /// The file, or the query.
    pub(super) fn source(&self) -> String {
        match &self.rows {
            PartRows::File { path, .. } => path.display().to_string(),
            PartRows::Query(query) => query.clone(),
        }
    }

    /// For messages.
    pub(super) fn file(&self) -> PathBuf {
        match &self.rows {
            PartRows::File { path, .. } => path.clone(),
            PartRows::Query(_) => PathBuf::from("the query's result"),
        }
    }
}

/// The parts of a source. Of a directory none lies outside of `confined_to`, wherever links lead. Blocks.
pub(super) fn parts(
    source: &Source,
    destination: &Path,
    confined_to: Option<&Path>,
) -> Result<Vec<Part>, Error> {
    let path = match source {
        Source::Query(query) => {
            return Ok(vec![Part {
                rows: PartRows::Query(query.clone()),
                format: result_format(destination)?,
                destination: destination.to_owned(),
                is_of_directory: false,
            }]);
        }
        Source::Path(path) => path,
    };
    let metadata = fs_err::metadata(path).map_err(|error| unreadable(path, error))?;
    if metadata.is_dir() {
        return parts_of_directory(path, destination, confined_to);
    }
    let format = FileFormat::of(path).ok_or_else(|| Error::SourceName {
        path: path.to_owned(),
    })?;
    if is_same(path, destination) {
        let path = destination.to_owned();
        return Err(Error::DestinationInSource { path });
    }
    Ok(vec![Part {
        rows: PartRows::File {
            path: path.to_owned(),
            format,
            stamp: Stamp::of(path)?,
        },
        format: result_format(destination)?,
        destination: destination.to_owned(),
        is_of_directory: false,
    }])
}

fn parts_of_directory(
    directory: &Path,
    destination: &Path,
    confined_to: Option<&Path>,
) -> Result<Vec<Part>, Error> {
    if FileFormat::of(destination).is_some() || destination.is_file() {
        return Err(Error::DestinationOfDirectory {
            source_directory: directory.to_owned(),
            path: destination.to_owned(),
        });
    }
    // What is written must not be found by the next run.
    if is_below(destination, directory) {
        let path = destination.to_owned();
        return Err(Error::DestinationInSource { path });
    }
    let root = confined_to.map(real).transpose()?;
    let mut files = Vec::new();
    collect(directory, &mut files)?;
    files.sort();
    let mut parts = Vec::with_capacity(files.len());
    for path in files {
        if let Some(root) = &root
            && !real(&path)?.starts_with(root)
        {
            return Err(Error::SourceOutside { path });
        }
        let relative = path.strip_prefix(directory).unwrap_or(&path);
        parts.push(Part {
            destination: destination.join(relative),
            format: FileFormat::Parquet,
            is_of_directory: true,
            rows: PartRows::File {
                stamp: Stamp::of(&path)?,
                format: FileFormat::Parquet,
                path,
            },
        });
    }
    match parts.is_empty() {
        true => Err(Error::SourceEmpty {
            directory: directory.to_owned(),
        }),
        false => Ok(parts),
    }
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> Result<(), Error> {
    let failed = |error| unreadable(directory, error);
    for entry in fs_err::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with(['.', '_']) {
            continue;
        }
        // A directory that is a link could lead round in a circle.
        if entry.file_type().map_err(failed)?.is_dir() {
            collect(&path, files)?;
        } else if path.is_file() && FileFormat::of(&path) == Some(FileFormat::Parquet) {
            files.push(path);
        }
    }
    Ok(())
}

fn result_format(destination: &Path) -> Result<FileFormat, Error> {
    FileFormat::of(destination).ok_or_else(|| Error::DestinationName {
        path: destination.to_owned(),
    })
}

fn real(path: &Path) -> Result<PathBuf, Error> {
    fs_err::canonicalize(path).map_err(|error| unreadable(path, error))
}

fn is_same(one: &Path, other: &Path) -> bool {
    matches!((real(one), real(other)), (Ok(one), Ok(other)) if one == other)
}

/// Whether `path`, which may not be there yet, is `directory` or lies below it.
fn is_below(path: &Path, directory: &Path) -> bool {
    let Ok(directory) = real(directory) else {
        return false;
    };
    let mut ancestors = path
        .ancestors()
        .map(|ancestor| match ancestor == Path::new("") {
            true => Path::new("."),
            false => ancestor,
        });
    let there = ancestors.find_map(|ancestor| real(ancestor).ok());
    there.is_some_and(|there| there.starts_with(&directory))
}

fn unreadable(path: &Path, error: std::io::Error) -> Error {
    Error::Read {
        path: path.to_owned(),
        error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(names: &[&str]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for name in names {
            let path = directory.path().join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, name).unwrap();
        }
        directory
    }

    #[test]
    fn a_query_is_told_from_a_path() {
        for query in [
            "SELECT 1",
            "  select *\nfrom t",
            "WITH a AS (SELECT 1) SELECT 1",
        ] {
            assert_eq!(Source::of(query), Source::Query(query.to_owned()));
        }
        for path in ["rows.parquet", "selected rows.csv", "with.csv", ""] {
            assert_eq!(Source::of(path), Source::Path(path.into()));
        }
    }

    #[test]
    fn every_parquet_file_below_a_directory_is_a_part_in_order() {
        let place = directory(&[
            "in/b.parquet",
            "in/day=2/a.parquet",
            "in/a.parquet",
            "in/_SUCCESS",
            "in/.a.parquet.x1",
            "in/_temporary/c.parquet",
            "in/notes.txt",
        ]);
        let source = Source::Path(place.path().join("in"));
        let out = place.path().join("out");
        let parts = parts(&source, &out, None).unwrap();
        let names: Vec<&Path> = parts
            .iter()
            .map(|part| part.destination.strip_prefix(&out).unwrap())
            .collect();
        let wanted = ["a.parquet", "b.parquet", "day=2/a.parquet"].map(Path::new);
        assert_eq!(names, wanted);
    }

    #[test]
    fn places_that_cannot_be_meant_are_refused() {
        let place = directory(&["in/a.parquet", "rows.csv", "rows.txt", "none/_x.parquet"]);
        let at = |name: &str| place.path().join(name);
        let ask = |from: &str, to: &str| {
            let parts = parts(&Source::Path(at(from)), &at(to), None);
            parts
                .map(|parts| parts.len())
                .map_err(|error| error.to_string())
        };
        assert_eq!(ask("in", "out"), Ok(1));
        assert_eq!(ask("rows.csv", "scores.parquet"), Ok(1));
        for (from, to, part) in [
            ("in", "out.parquet", "names a file"),
            ("in", "rows.csv", "names a file"),
            ("in", "in/scores", "read as well as written"),
            ("in", "in", "read as well as written"),
            ("rows.csv", "rows.csv", "read as well as written"),
            ("rows.csv", "scores.feather", "must end in"),
            ("rows.txt", "scores.csv", "holds no rows"),
            ("nowhere.csv", "scores.csv", "cannot be read"),
            ("none", "out", "no files"),
        ] {
            let error = ask(from, to).unwrap_err();
            assert!(error.contains(part), "{from} {to}: {error}");
        }
        let query = Source::of("SELECT 1");
        assert!(parts(&query, &at("scores"), None).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_leads_out_of_a_confined_directory_nowhere() {
        let place = directory(&["files/in/a.parquet", "secret.parquet"]);
        let at = |name: &str| place.path().join(name);
        let source = Source::Path(at("files/in"));
        let (out, root) = (at("files/out"), at("files"));
        assert!(parts(&source, &out, Some(&root)).is_ok());
        std::os::unix::fs::symlink(at("secret.parquet"), at("files/in/b.parquet")).unwrap();
        let error = parts(&source, &out, Some(&root)).unwrap_err();
        assert!(matches!(error, Error::SourceOutside { .. }), "{error}");
        assert_eq!(parts(&source, &out, None).unwrap().len(), 2);
    }
}
