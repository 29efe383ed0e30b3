//! Files of a directory on this machine.
//!
//! A link is followed only if it leads to a file below the directory: what a version points to was not chosen by the operator.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use async_trait::async_trait;

use crate::inference::confine;
use crate::models::registry::Error;
use crate::models::registry::cache::{
    self, Opened, Pieces, RemoteFile, Source, check_path, too_many,
};
use crate::shutdown::run_blocking;

const CHUNK_BYTES: usize = 1 << 20;

pub(super) struct Directory {
    path: PathBuf,
}

impl Directory {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }
}

#[async_trait]
impl Source for Directory {
    fn place(&self) -> String {
        self.path.display().to_string()
    }

    async fn list(&self, max_files: usize) -> Result<Vec<RemoteFile>, Error> {
        let root = self.path.clone();
        blocking(move || {
            let mut files = Vec::new();
            walk(&root, "", max_files, &mut files)?;
            Ok(files)
        })
        .await
    }

    async fn open(&self, path: &str, from: u64) -> Result<Opened, Error> {
        let (root, path) = (self.path.clone(), path.to_owned());
        blocking(move || {
            let place = confined(&root, &path)?;
            let mut file = fs_err::File::open(place).map_err(unreadable)?;
            let size = file.metadata().map_err(unreadable)?.len();
            let start = if from <= size { from } else { 0 };
            file.seek(SeekFrom::Start(start)).map_err(unreadable)?;
            Ok(Opened {
                start,
                size: Some(size),
                etag: None,
                pieces: Box::new(Reading(Some(file))),
            })
        })
        .await
    }
}

fn walk(
    root: &Path,
    below: &str,
    max_files: usize,
    files: &mut Vec<RemoteFile>,
) -> Result<(), Error> {
    let place = root.display().to_string();
    for entry in fs_err::read_dir(root.join(below)).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = match below {
            "" => name,
            below => format!("{below}/{name}"),
        };
        check_path(&place, &path)?;
        let kind = entry.file_type().map_err(unreadable)?;
        if kind.is_dir() {
            walk(root, &path, max_files, files)?;
            continue;
        }
        let target = confined(root, &path)?;
        let metadata = fs_err::metadata(target).map_err(unreadable)?;
        // Neither directories behind links nor sockets and the like.
        if metadata.is_file() {
            files.push(RemoteFile {
                path,
                size: Some(metadata.len()),
            });
        }
        if files.len() > max_files {
            return Err(too_many(&place, max_files));
        }
    }
    Ok(())
}

fn confined(root: &Path, path: &str) -> Result<PathBuf, Error> {
    confine(root, path).map_err(|reason| {
        let error = cache::Error::Refused {
            place: root.display().to_string(),
            path: path.to_owned(),
            reason,
        };
        error.into()
    })
}

struct Reading(Option<fs_err::File>);

#[async_trait]
impl Pieces for Reading {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let Some(mut file) = self.0.take() else {
            return Ok(None);
        };
        let (file, piece) = blocking(move || {
            let mut piece = vec![0; CHUNK_BYTES];
            let n_read = file.read(&mut piece).map_err(unreadable)?;
            piece.truncate(n_read);
            Ok((file, piece))
        })
        .await?;
        if piece.is_empty() {
            return Ok(None);
        }
        self.0 = Some(file);
        Ok(Some(piece))
    }
}

fn unreadable(error: std::io::Error) -> Error {
    Error::Unreadable {
        reason: error.to_string(),
    }
}

async fn blocking<T: Send + 'static>(
    step: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match run_blocking(step).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Error::Stopping),
    }
}
