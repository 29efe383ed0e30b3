//! Downloads that break off, files that are damaged, names that lead elsewhere.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use tempfile::TempDir;

use super::*;
use crate::error::Failure;

/// Files in memory that may break off, change or lie.
#[derive(Default)]
struct Shelf {
    files: BTreeMap<String, Vec<u8>>,
    etag: String,
    /// So many downloads end after this many bytes.
    cuts: Mutex<Vec<usize>>,
    announces: Option<u64>,
    /// Path and offset of every download.
    opened: Mutex<Vec<(String, u64)>>,
    n_listings: AtomicUsize,
}

impl Shelf {
    fn of(files: &[(&str, &[u8])]) -> Self {
        let files = files.iter();
        Self {
            files: files
                .map(|(path, bytes)| ((*path).to_owned(), bytes.to_vec()))
                .collect(),
            etag: "1".to_owned(),
            ..Self::default()
        }
    }

    fn cut(self, cuts: &[usize]) -> Self {
        *self.cuts.lock().unwrap() = cuts.to_vec();
        self
    }

    fn opened(&self) -> Vec<(String, u64)> {
        std::mem::take(&mut *self.opened.lock().unwrap())
    }
}

struct Slices(Vec<Result<Vec<u8>, RegistryError>>);

#[async_trait]
impl Pieces for Slices {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, RegistryError> {
        match self.0.is_empty() {
            true => Ok(None),
            false => self.0.remove(0).map(Some),
        }
    }
}

#[async_trait]
impl Source for Shelf {
    fn place(&self) -> String {
        "shelf".to_owned()
    }

    async fn list(&self, _: usize) -> Result<Vec<RemoteFile>, RegistryError> {
        self.n_listings.fetch_add(1, Ordering::Relaxed);
        tokio::task::yield_now().await;
        let files = self.files.iter();
        Ok(files
            .map(|(path, bytes)| RemoteFile {
                path: path.clone(),
                size: self
                    .announces
                    .or(Some(bytes.len() as u64))
                    .filter(|size| *size != 0),
            })
            .collect())
    }

    async fn open(&self, path: &str, from: u64) -> Result<Opened, RegistryError> {
        self.opened.lock().unwrap().push((path.to_owned(), from));
        let bytes = &self.files[path];
        let start = usize::try_from(from).unwrap().min(bytes.len());
        let rest = &bytes[start..];
        let cut = self.cuts.lock().unwrap().pop();
        let pieces = match cut {
            None => rest.chunks(3).map(|piece| Ok(piece.to_vec())).collect(),
            Some(end) => vec![
                Ok(rest[..end.min(rest.len())].to_vec()),
                Err(RegistryError::Unreachable {
                    origin: "shelf".to_owned(),
                    reason: "cut".to_owned(),
                }),
            ],
        };
        Ok(Opened {
            start: start as u64,
            size: Some(bytes.len() as u64),
            etag: Some(self.etag.clone()),
            pieces: Box::new(Slices(pieces)),
        })
    }
}

const LIMITS: Limits = Limits {
    max_size: ByteSize::from_mebibytes(1),
    max_files: 10,
};

fn cache(directory: &TempDir) -> Cache {
    Cache::new(directory.path(), "registry", LIMITS)
}

fn version(number: u64) -> Entry {
    Entry::Version("price-model".to_owned(), ModelVersion(number))
}

const MODEL: [(&str, &[u8]); 3] = [
    ("MLmodel", b"flavors: {}"),
    ("model.onnx", b"0123456789"),
    ("sub/dir/weights.data", b"weights"),
];

/// All files below, with their content.
fn content(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(next) = directories.pop() {
        for entry in fs_err::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let name = path.strip_prefix(directory).unwrap().display().to_string();
            assert!(
                fs_err::symlink_metadata(&path).unwrap().is_file(),
                "no links"
            );
            found.insert(name, fs_err::read(&path).unwrap());
        }
    }
    found
}

fn of(files: &[(&str, &[u8])]) -> BTreeMap<String, Vec<u8>> {
    Shelf::of(files).files
}

#[tokio::test]
async fn a_version_is_fetched_once_and_found_without_its_source() {
    let directory = tempfile::tempdir().unwrap();
    let shelf = Shelf::of(&MODEL);
    assert_eq!(
        cache(&directory).find(&version(1), None).await.unwrap(),
        None
    );
    let files = cache(&directory)
        .fetch(&version(1), "a", &shelf)
        .await
        .unwrap();
    assert_eq!(content(&files), of(&MODEL));
    assert!(files.is_absolute());
    assert_eq!(shelf.opened().len(), 3);
    // Another process, another day.
    let later = cache(&directory);
    assert_eq!(
        later.find(&version(1), None).await.unwrap(),
        Some(files.clone())
    );
    assert_eq!(later.fetch(&version(1), "a", &shelf).await.unwrap(), files);
    assert!(shelf.opened().is_empty());
    let elsewhere = Cache::new(directory.path(), "another registry", LIMITS);
    assert_eq!(elsewhere.find(&version(1), None).await.unwrap(), None);
}

#[tokio::test]
async fn another_version_of_the_same_number_is_not_taken_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let cache = cache(&directory);
    cache
        .fetch(&version(1), "a", &Shelf::of(&MODEL))
        .await
        .unwrap();
    assert_eq!(cache.find(&version(1), Some("b")).await.unwrap(), None);
    let other: [(&str, &[u8]); 1] = [("MLmodel", b"other")];
    let files = cache
        .fetch(&version(1), "b", &Shelf::of(&other))
        .await
        .unwrap();
    assert_eq!(content(&files), of(&other));
}

#[tokio::test]
async fn a_download_that_breaks_off_goes_on_where_it_stopped() {
    let directory = tempfile::tempdir().unwrap();
    let only: [(&str, &[u8]); 1] = [("MLmodel", b"0123456789")];
    let shelf = Shelf::of(&only).cut(&[2, 0, 4]);
    let files = cache(&directory)
        .fetch(&version(1), "a", &shelf)
        .await
        .unwrap();
    assert_eq!(content(&files), of(&only));
    let offsets: Vec<u64> = shelf.opened().into_iter().map(|(_, from)| from).collect();
    assert_eq!(offsets, [0, 4, 4, 6]);
}

#[tokio::test]
async fn what_has_come_survives_the_process_and_a_changed_file_begins_anew() {
    for (etag, offsets) in [("1", vec![4]), ("2", vec![4, 0])] {
        let directory = tempfile::tempdir().unwrap();
        let only: [(&str, &[u8]); 1] = [("MLmodel", b"0123456789")];
        let broken = Shelf::of(&only).cut(&[0, 0, 0, 4]);
        let error = cache(&directory)
            .fetch(&version(1), "a", &broken)
            .await
            .unwrap_err();
        assert_eq!(error.code(), "model_registry_unreachable");
        assert_eq!(
            cache(&directory).find(&version(1), None).await.unwrap(),
            None
        );
        let mut shelf = Shelf::of(&only);
        shelf.etag = etag.to_owned();
        let files = cache(&directory)
            .fetch(&version(1), "a", &shelf)
            .await
            .unwrap();
        assert_eq!(content(&files), of(&only));
        let opened: Vec<u64> = shelf.opened().into_iter().map(|(_, from)| from).collect();
        assert_eq!(opened, offsets);
        let left = fs_err::read_dir(directory.path().join("partial"))
            .unwrap()
            .count();
        assert_eq!(left, 0, "nothing of it stays");
    }
}

#[tokio::test]
async fn a_file_that_two_processes_fetch_comes_whole_to_both() {
    let directory = tempfile::tempdir().unwrap();
    let shelf = Shelf::of(&MODEL);
    // The caches do not know of each other.
    let (first, second) = (cache(&directory), cache(&directory));
    let (entry, other) = (version(1), version(2));
    let (one, two) = tokio::join!(
        first.fetch(&entry, "a", &shelf),
        second.fetch(&other, "a", &shelf)
    );
    assert_eq!(content(&one.unwrap()), of(&MODEL));
    assert_eq!(content(&two.unwrap()), of(&MODEL));
}

#[tokio::test]
async fn whoever_comes_second_waits_for_the_first() {
    let directory = tempfile::tempdir().unwrap();
    let (cache, shelf, entry) = (cache(&directory), Shelf::of(&MODEL), version(1));
    let calls = (0..8).map(|_| cache.fetch(&entry, "a", &shelf));
    for files in futures::future::join_all(calls).await {
        assert_eq!(content(&files.unwrap()), of(&MODEL));
    }
    assert_eq!(shelf.n_listings.load(Ordering::Relaxed), 1);
    assert_eq!(shelf.opened().len(), 3);
}

#[tokio::test]
async fn a_damaged_file_is_found_and_fetched_anew_alone() {
    let directory = tempfile::tempdir().unwrap();
    let (cache, shelf) = (cache(&directory), Shelf::of(&MODEL));
    let files = cache.fetch(&version(1), "a", &shelf).await.unwrap();
    for damage in [&b"9876543210"[..], b"short", b""] {
        shelf.opened();
        // In place: the content that the version shares is damaged too.
        fs_err::write(files.join("model.onnx"), damage).unwrap();
        assert_eq!(cache.find(&version(1), None).await.unwrap(), None);
        cache.fetch(&version(1), "a", &shelf).await.unwrap();
        assert_eq!(content(&files), of(&MODEL));
        assert_eq!(shelf.opened(), [("model.onnx".to_owned(), 0)]);
    }
    fs_err::remove_file(files.join("model.onnx")).unwrap();
    fs_err::os::unix::fs::symlink("MLmodel", files.join("model.onnx")).unwrap();
    assert_eq!(
        cache.find(&version(1), None).await.unwrap(),
        None,
        "a link is no file"
    );
    fs_err::write(files.parent().unwrap().join(MANIFEST), "{").unwrap();
    assert_eq!(cache.find(&version(1), None).await.unwrap(), None);
    cache.fetch(&version(1), "a", &shelf).await.unwrap();
    assert_eq!(content(&files), of(&MODEL));
}

#[tokio::test]
async fn a_manifest_that_names_files_elsewhere_is_none() {
    let directory = tempfile::tempdir().unwrap();
    let cache = cache(&directory);
    let files = cache
        .fetch(&version(1), "a", &Shelf::of(&MODEL))
        .await
        .unwrap();
    let path = files.parent().unwrap().join(MANIFEST);
    let text = fs_err::read_to_string(&path).unwrap();
    fs_err::write(&path, text.replace("\"MLmodel\"", "\"../manifest.json\"")).unwrap();
    assert_eq!(cache.find(&version(1), None).await.unwrap(), None);
}

#[tokio::test]
async fn equal_contents_lie_here_once() {
    let directory = tempfile::tempdir().unwrap();
    let cache = cache(&directory);
    let first = cache
        .fetch(&version(1), "a", &Shelf::of(&MODEL))
        .await
        .unwrap();
    let second = cache
        .fetch(&version(2), "b", &Shelf::of(&MODEL))
        .await
        .unwrap();
    let inode = |files: &Path| fs_err::metadata(files.join("model.onnx")).unwrap().ino();
    assert_eq!(inode(&first), inode(&second));
}

#[tokio::test]
async fn names_that_lead_elsewhere_are_refused_before_anything_is_written() {
    for path in [
        "../evil",
        "/etc/evil",
        "a/../../evil",
        "a\\..\\evil",
        "a\0b",
        "MLmodel/x",
    ] {
        let directory = tempfile::tempdir().unwrap();
        let shelf = Shelf::of(&[("MLmodel", b"x"), (path, b"x")]);
        let error = cache(&directory)
            .fetch(&version(1), "a", &shelf)
            .await
            .unwrap_err();
        assert_eq!(error.code(), "artifact_path_refused", "{path}: {error}");
        assert!(shelf.opened().is_empty(), "{path}");
        assert!(content(directory.path()).is_empty(), "{path}");
    }
}

#[tokio::test]
async fn a_place_without_a_model_is_not_downloaded() {
    let directory = tempfile::tempdir().unwrap();
    for files in [&[][..], &[("passwd", &b"x"[..])]] {
        let shelf = Shelf::of(files);
        let error = cache(&directory)
            .fetch(&version(1), "a", &shelf)
            .await
            .unwrap_err();
        assert_eq!(error.code(), "artifact_missing");
        assert!(shelf.opened().is_empty());
    }
}

#[tokio::test]
async fn limits_hold_whether_sizes_are_announced_or_not() {
    let directory = tempfile::tempdir().unwrap();
    let small = |max_size, max_files| {
        let max_size = ByteSize::from_bytes(max_size);
        Cache::new(
            directory.path(),
            "r",
            Limits {
                max_size,
                max_files,
            },
        )
    };
    let error = small(20, 10)
        .fetch(&version(1), "a", &Shelf::of(&MODEL))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "artifact_too_large");
    assert!(error.to_string().contains("28 bytes"), "{error}");
    assert!(
        error
            .to_string()
            .contains("`registry.mlflow.max_size` is 20B"),
        "{error}"
    );
    let error = small(100, 2)
        .fetch(&version(1), "a", &Shelf::of(&MODEL))
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("`registry.mlflow.max_files` is 2"),
        "{error}"
    );
    let mut silent = Shelf::of(&MODEL);
    silent.announces = Some(0);
    for limit in [5, 20] {
        let error = small(limit, 10)
            .fetch(&version(1), "a", &silent)
            .await
            .unwrap_err();
        assert_eq!(error.code(), "artifact_too_large", "{limit}: {error}");
    }
    small(28, 3).fetch(&version(1), "a", &silent).await.unwrap();
}

#[tokio::test]
async fn a_file_of_another_size_than_announced_is_damaged() {
    let directory = tempfile::tempdir().unwrap();
    for size in [9, 12] {
        let mut shelf = Shelf::of(&[("MLmodel", b"0123456789")]);
        shelf.announces = Some(size);
        let error = cache(&directory)
            .fetch(&version(1), "a", &shelf)
            .await
            .unwrap_err();
        let code = if size < 10 {
            "artifact_too_large"
        } else {
            "artifact_damaged"
        };
        assert_eq!(error.code(), code, "{error}");
        assert_eq!(
            cache(&directory).find(&version(1), None).await.unwrap(),
            None
        );
    }
}

#[tokio::test]
async fn what_no_version_needs_is_freed_and_the_rest_stays() {
    let directory = tempfile::tempdir().unwrap();
    let cache = cache(&directory);
    let name = || "price-model".to_owned();
    let kept = cache
        .fetch(&version(2), "a", &Shelf::of(&MODEL))
        .await
        .unwrap();
    let gone: [(&str, &[u8]); 2] = [("MLmodel", b"flavors: {}"), ("model.onnx", b"old")];
    let old = cache
        .fetch(&version(1), "a", &Shelf::of(&gone))
        .await
        .unwrap();
    let other = Cache::new(directory.path(), "another registry", LIMITS);
    let others = other
        .fetch(&version(1), "a", &Shelf::of(&MODEL))
        .await
        .unwrap();
    let count = || content(&directory.path().join("files")).len();
    assert_eq!(count(), 4);
    cache.collect(&[(name(), ModelVersion(2))]).await.unwrap();
    assert!(!old.exists());
    assert_eq!(count(), 4, "young contents may be about to be used");
    let content_of_old = ring::digest::digest(&ring::digest::SHA256, b"old");
    let content_of_old = place_of(&cache.files(), &manifest::hex(content_of_old.as_ref()));
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(7200);
    let file = fs_err::File::options()
        .write(true)
        .open(&content_of_old)
        .unwrap();
    file.file().set_modified(long_ago).unwrap();
    cache.collect(&[(name(), ModelVersion(2))]).await.unwrap();
    assert_eq!(count(), 3);
    assert_eq!(content(&kept), of(&MODEL));
    assert_eq!(content(&others), of(&MODEL));
    assert!(cache.find(&version(2), None).await.unwrap().is_some());
}

#[tokio::test]
async fn a_cache_that_cannot_be_written_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs_err::write(&file, "").unwrap();
    let cache = Cache::new(&file.join("cache"), "r", LIMITS);
    let error = cache
        .fetch(&version(1), "a", &Shelf::of(&MODEL))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "model_cache_unwritable");
    assert!(error.hint().unwrap().contains("`registry.mlflow.cache`"));
}

#[test]
fn every_name_has_its_own_directory() {
    let long = "x".repeat(256);
    let longer = "x".repeat(257);
    let names = [
        "a",
        "A",
        "a.b",
        "a_b",
        "a b",
        "a/b",
        "..",
        ".",
        "",
        "ä",
        "ö",
        &long,
        &longer,
        "price model",
        "price_model",
    ];
    let directories: BTreeSet<_> = names.iter().map(|name| directory_name(name)).collect();
    assert_eq!(directories.len(), names.len());
    for name in directories {
        assert!(
            name.len() < 200 && !name.starts_with('.') || name.starts_with(".e3b0"),
            "{name}"
        );
        assert!(!name.contains('/'));
    }
}
