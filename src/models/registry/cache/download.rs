//! One file on its way into the cache: streamed to disk, hashed on the way, taken up again where it broke off.
//!
//! ```text
//! partial/<sha256 of place and path>        the bytes that have come, locked while they come
//! partial/<sha256 of place and path>.etag   which bytes they are: `If` the server says another, the file begins anew
//! ```
//! A file that another process is fetching at the same moment is fetched beside it, without a way to take it up again.

use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ring::digest::{Context, SHA256};

use super::manifest::{KeptFile, digest, hashed, hex};
use super::source::{Opened, Source};
use super::{Cache, Error as Damage};
use crate::models::registry::Error;
use crate::shutdown::run_blocking;
use crate::types::byte_size::ByteSize;

/// Pieces are gathered up to this before they are written.
const WRITE_BYTES: usize = 1 << 20;
/// A download that brings nothing so many times in a row is given up.
const MAX_FRUITLESS: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// What is known before a file comes.
pub(super) struct Wanted<'a> {
    pub(super) path: &'a str,
    pub(super) size: Option<u64>,
    /// What the version may still grow by.
    pub(super) budget: u64,
}

/// Brings one file into `files/`. Cancel safe: what has come stays for the next attempt.
pub(super) async fn fetch(
    cache: &Cache,
    source: &dyn Source,
    wanted: &Wanted<'_>,
) -> Result<KeptFile, Error> {
    let partial = cache.partial(&source.place(), wanted.path);
    let mut arriving = blocking(move || Arriving::open(partial)).await?;
    let mut n_fruitless = 0;
    loop {
        let before = arriving.n_bytes;
        let outcome;
        (arriving, outcome) = transfer(arriving, source, wanted).await?;
        let error = match outcome {
            Ok(()) => break,
            Err(error) => error,
        };
        n_fruitless = if arriving.n_bytes > before {
            1
        } else {
            n_fruitless + 1
        };
        if n_fruitless >= MAX_FRUITLESS || !is_passing(&error) {
            return Err(error);
        }
        tracing::debug!(file = wanted.path, at = arriving.n_bytes, %error, "taking up a download again");
        tokio::time::sleep(FIRST_PAUSE * 2_u32.pow(n_fruitless)).await;
    }
    let (root, path) = (cache.files(), wanted.path.to_owned());
    blocking(move || arriving.keep(&root, path)).await
}

/// Whether a download may do better when it is taken up again.
fn is_passing(error: &Error) -> bool {
    match error {
        Error::Unreachable { .. } | Error::Silent { .. } | Error::Failing { .. } => true,
        Error::Files(damage) => matches!(damage, Damage::Damaged { .. } | Damage::Store { .. }),
        _ => false,
    }
}

/// Brings what is still missing. The outer error is of the disk.
async fn transfer(
    mut arriving: Arriving,
    source: &dyn Source,
    wanted: &Wanted<'_>,
) -> Result<(Arriving, Result<(), Error>), Error> {
    let mut opened = match source.open(wanted.path, arriving.n_bytes).await {
        Ok(opened) => opened,
        Err(error) => return Ok((arriving, Err(error))),
    };
    if !arriving.continues(&opened) {
        let had_bytes = arriving.n_bytes > 0;
        arriving = blocking(move || arriving.begin_anew()).await?;
        if opened.start > 0 {
            opened = match source.open(wanted.path, 0).await {
                Ok(opened) if opened.start == 0 => opened,
                Ok(_) => {
                    return Ok((
                        arriving,
                        Err(damaged(source, wanted, "the start is missing")),
                    ));
                }
                Err(error) => return Ok((arriving, Err(error))),
            };
        }
        if had_bytes {
            tracing::debug!(
                file = wanted.path,
                "a download begins anew: the file has changed"
            );
        }
    }
    let etag = opened.etag.clone();
    arriving = blocking(move || arriving.remember(etag)).await?;
    let mut waiting = Vec::new();
    let end = loop {
        let piece = opened.pieces.next().await;
        let (is_last, failure) = match piece {
            Ok(Some(piece)) => {
                waiting.extend_from_slice(&piece);
                (false, None)
            }
            Ok(None) => (true, None),
            Err(error) => (true, Some(error)),
        };
        if waiting.len() >= WRITE_BYTES || is_last {
            let full = std::mem::take(&mut waiting);
            arriving = blocking(move || arriving.write(&full)).await?;
            if arriving.n_bytes > wanted.budget {
                return Ok((arriving, Err(too_large(source, wanted))));
            }
        }
        if is_last {
            break failure;
        }
    };
    if let Some(error) = end {
        return Ok((arriving, Err(error)));
    }
    let whole = wanted.size.or(opened.size);
    let complaint = match whole {
        Some(size) if size != arriving.n_bytes => {
            let reason = format!(
                "it has {} bytes, and {size} were announced",
                arriving.n_bytes
            );
            Err(damaged(source, wanted, &reason))
        }
        _ => Ok(()),
    };
    // More than there is cannot be mended by adding to it.
    if complaint.is_err() && whole.is_some_and(|size| arriving.n_bytes > size) {
        arriving = blocking(move || arriving.begin_anew()).await?;
    }
    Ok((arriving, complaint))
}

fn damaged(source: &dyn Source, wanted: &Wanted<'_>, reason: &str) -> Error {
    let error = Damage::Damaged {
        place: source.place(),
        path: wanted.path.to_owned(),
        reason: reason.to_owned(),
    };
    error.into()
}

fn too_large(source: &dyn Source, wanted: &Wanted<'_>) -> Error {
    let error = Damage::TooLarge {
        place: source.place(),
        what: format!("more than that with `{}`", wanted.path),
        option: "max_size",
        limit: format!("less by {}", ByteSize::from_bytes(wanted.budget)),
    };
    error.into()
}

/// A file that is not whole yet.
struct Arriving {
    file: fs_err::File,
    path: PathBuf,
    /// Not for a file that no later attempt will find.
    etag_path: Option<PathBuf>,
    etag: Option<String>,
    n_bytes: u64,
    /// Of all bytes so far.
    context: Context,
}

impl Arriving {
    fn open(path: PathBuf) -> Result<Self, Damage> {
        if let Some(parent) = path.parent() {
            fs_err::create_dir_all(parent).map_err(Damage::unwritable)?;
        }
        let open = |path: &Path| {
            let mut options = fs_err::OpenOptions::new();
            let options = options.read(true).write(true).create(true);
            options
                .truncate(false)
                .open(path)
                .map_err(Damage::unwritable)
        };
        let mut file = open(&path)?;
        if file.try_lock().is_err() {
            let own = path.with_extension(uuid::Uuid::now_v7().simple().to_string());
            return Ok(Self {
                file: open(&own)?,
                path: own,
                etag_path: None,
                etag: None,
                n_bytes: 0,
                context: Context::new(&SHA256),
            });
        }
        let mut context = Context::new(&SHA256);
        let n_bytes = digest(&mut file, &mut context).map_err(Damage::unwritable)?;
        let etag_path = path.with_extension("etag");
        Ok(Self {
            file,
            etag: fs_err::read_to_string(&etag_path).ok(),
            etag_path: Some(etag_path),
            path,
            n_bytes,
            context,
        })
    }

    /// Whether the bytes to come belong behind those that are here.
    fn continues(&self, opened: &Opened) -> bool {
        opened.start == self.n_bytes && (self.n_bytes == 0 || opened.etag == self.etag)
    }

    fn begin_anew(mut self) -> Result<Self, Damage> {
        self.file.set_len(0).map_err(Damage::unwritable)?;
        self.file
            .seek(SeekFrom::Start(0))
            .map_err(Damage::unwritable)?;
        self.n_bytes = 0;
        self.context = Context::new(&SHA256);
        Ok(self)
    }

    fn remember(mut self, etag: Option<String>) -> Result<Self, Damage> {
        if let Some(path) = self.etag_path.as_ref().filter(|_| self.etag != etag) {
            match &etag {
                Some(etag) => fs_err::write(path, etag).map_err(Damage::unwritable)?,
                None => remove(path)?,
            }
        }
        self.etag = etag;
        Ok(self)
    }

    fn write(mut self, bytes: &[u8]) -> Result<Self, Damage> {
        self.file.write_all(bytes).map_err(Damage::unwritable)?;
        self.context.update(bytes);
        self.n_bytes += bytes.len() as u64;
        Ok(self)
    }

    /// Moves the whole file to the place that its content has, unless the same lies there already.
    fn keep(self, root: &Path, path: String) -> Result<KeptFile, Damage> {
        let kept = KeptFile {
            path,
            size: self.n_bytes,
            sha256: hex(self.context.finish().as_ref()),
        };
        let place = place_of(root, &kept.sha256);
        if kept.is_intact(&place) {
            remove(&self.path)?;
        } else {
            self.file.sync_all().map_err(Damage::unwritable)?;
            if let Some(parent) = place.parent() {
                fs_err::create_dir_all(parent).map_err(Damage::unwritable)?;
            }
            fs_err::rename(&self.path, place).map_err(Damage::unwritable)?;
        }
        if let Some(path) = &self.etag_path {
            remove(path)?;
        }
        Ok(kept)
    }
}

/// Where a content lies.
pub(super) fn place_of(root: &Path, sha256: &str) -> PathBuf {
    root.join(&sha256[..2]).join(sha256)
}

impl Cache {
    /// Where a file lies while it comes.
    pub(super) fn partial(&self, place: &str, path: &str) -> PathBuf {
        self.root
            .join("partial")
            .join(hashed(&format!("{place}\n{path}")))
    }

    /// Where contents lie.
    pub(super) fn files(&self) -> PathBuf {
        self.root.join("files")
    }
}

/// It need not be there.
fn remove(path: &Path) -> Result<(), Damage> {
    match fs_err::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Damage::unwritable(error))
        }
        _ => Ok(()),
    }
}

/// Runs a step of the disk's off the async workers.
pub(super) async fn blocking<T: Send + 'static>(
    step: impl FnOnce() -> Result<T, Damage> + Send + 'static,
) -> Result<T, Error> {
    match run_blocking(step).await {
        Ok(outcome) => outcome.map_err(Error::from),
        Err(_) => Err(Error::Stopping),
    }
}
