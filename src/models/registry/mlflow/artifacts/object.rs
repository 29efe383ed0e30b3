//! Files of an object store: everything below a prefix.

use crate::models::registry::cache::Source;
use crate::storage::Options;

/// Why there is no client.
pub(super) enum Unopened {
    #[cfg_attr(
        feature = "object-store",
        expect(dead_code, reason = "this build has the client")
    )]
    NotBuilt,
    #[cfg_attr(
        not(feature = "object-store"),
        expect(dead_code, reason = "this build has no client")
    )]
    Failed(String),
}

#[cfg(not(feature = "object-store"))]
pub(super) fn open(_: &str, _: &Options) -> Result<Box<dyn Source>, Unopened> {
    Err(Unopened::NotBuilt)
}

#[cfg(feature = "object-store")]
pub(super) fn open(url: &str, options: &Options) -> Result<Box<dyn Source>, Unopened> {
    let opened = crate::storage::open(url, options);
    let (store, prefix) = opened.map_err(Unopened::Failed)?;
    Ok(Box::new(client::Objects::new(store, prefix, url)))
}

#[cfg(feature = "object-store")]
mod client {
    use std::sync::Arc;

    use async_trait::async_trait;
    use futures::StreamExt as _;
    use futures::stream::BoxStream;
    use object_store::path::Path;
    use object_store::{GetOptions, GetRange, GetResult, ObjectStore};

    use crate::models::registry::Error;
    use crate::models::registry::cache::{self, Opened, Pieces, RemoteFile, Source, too_many};

    pub(super) struct Objects {
        store: Arc<dyn ObjectStore>,
        prefix: Path,
        url: String,
    }

    impl Objects {
        pub(super) fn new(store: Arc<dyn ObjectStore>, prefix: Path, url: &str) -> Self {
            Self {
                store,
                prefix,
                url: url.trim_end_matches('/').to_owned(),
            }
        }

        fn failed(&self, error: &object_store::Error) -> Error {
            failed(&self.url, error)
        }

        async fn get(
            &self,
            path: &Path,
            range: Option<GetRange>,
        ) -> Result<GetResult, object_store::Error> {
            let options = GetOptions {
                range,
                ..GetOptions::default()
            };
            self.store.get_opts(path, options).await
        }
    }

    #[async_trait]
    impl Source for Objects {
        fn place(&self) -> String {
            self.url.clone()
        }

        async fn list(&self, max_files: usize) -> Result<Vec<RemoteFile>, Error> {
            let prefix = format!("{}/", self.prefix);
            let mut objects = self.store.list(Some(&self.prefix));
            let mut files = Vec::new();
            while let Some(object) = objects.next().await {
                let object = object.map_err(|error| self.failed(&error))?;
                let key = object.location.as_ref();
                // An object at the prefix itself is what some tools leave for a directory.
                let Some(path) = key
                    .strip_prefix(&prefix)
                    .or_else(|| self.prefix.as_ref().is_empty().then_some(key))
                else {
                    continue;
                };
                files.push(RemoteFile {
                    path: path.to_owned(),
                    size: Some(object.size),
                });
                if files.len() > max_files {
                    return Err(too_many(&self.url, max_files));
                }
            }
            Ok(without_markers(files))
        }

        async fn open(&self, path: &str, from: u64) -> Result<Opened, Error> {
            let key = match self.prefix.as_ref() {
                "" => path.to_owned(),
                prefix => format!("{prefix}/{path}"),
            };
            let key = Path::parse(&key).map_err(|error| self.failed(&error.into()))?;
            let mut found = match from {
                0 => self.get(&key, None).await,
                from => self.get(&key, Some(GetRange::Offset(from))).await,
            };
            if from > 0 && found.is_err() {
                // There may be nothing behind the offset any more.
                found = self.get(&key, None).await;
            }
            let found = found.map_err(|error| self.failed(&error))?;
            Ok(Opened {
                start: found.range.start,
                size: Some(found.meta.size),
                etag: found.meta.e_tag.clone(),
                pieces: Box::new(Streaming {
                    url: self.url.clone(),
                    stream: found.into_stream(),
                }),
            })
        }
    }

    /// Empty objects that stand for directories.
    fn without_markers(files: Vec<RemoteFile>) -> Vec<RemoteFile> {
        let is_above = |marker: &str, path: &str| {
            path.strip_prefix(marker)
                .is_some_and(|rest| rest.starts_with('/'))
        };
        let is_marker = |file: &RemoteFile| {
            file.size == Some(0) && files.iter().any(|other| is_above(&file.path, &other.path))
        };
        let kept = files.iter().filter(|file| !is_marker(file));
        kept.cloned().collect()
    }

    struct Streaming {
        url: String,
        stream: BoxStream<'static, object_store::Result<hyper::body::Bytes>>,
    }

    #[async_trait]
    impl Pieces for Streaming {
        async fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
            match self.stream.next().await {
                None => Ok(None),
                Some(Ok(piece)) => Ok(Some(Vec::from(piece))),
                Some(Err(error)) => Err(failed(&self.url, &error)),
            }
        }
    }

    fn failed(url: &str, error: &object_store::Error) -> Error {
        let error = cache::Error::Store {
            place: url.to_owned(),
            reason: error.to_string(),
        };
        error.into()
    }

    #[cfg(test)]
    mod tests {
        use object_store::ObjectStoreExt as _;
        use object_store::memory::InMemory;

        use super::*;

        #[tokio::test]
        async fn everything_below_the_prefix_is_listed_and_read_from_any_offset() {
            let store = InMemory::new();
            for (key, bytes) in [
                ("models/1", ""),
                ("models/1/MLmodel", "flavors"),
                ("models/1/code", ""),
                ("models/1/code/a b.py", "x"),
                ("models/10/MLmodel", "other"),
            ] {
                store.put(&Path::from(key), bytes.into()).await.unwrap();
            }
            let source = Objects::new(Arc::new(store), Path::from("models/1"), "s3://b/models/1/");
            let mut files = source.list(10).await.unwrap();
            files.sort_by(|a, b| a.path.cmp(&b.path));
            let paths: Vec<_> = files.iter().map(|file| file.path.as_str()).collect();
            assert_eq!(paths, ["MLmodel", "code/a b.py"]);
            assert!(source.list(1).await.is_err());
            let mut opened = source.open("MLmodel", 3).await.unwrap();
            assert_eq!((opened.start, opened.size), (3, Some(7)));
            assert_eq!(opened.pieces.next().await.unwrap().unwrap(), b"vors");
            let opened = source.open("MLmodel", 99).await.unwrap();
            assert_eq!(opened.start, 0, "nothing is behind the end");
            let error = source.open("nope", 0).await.err().unwrap().to_string();
            assert!(error.contains("s3://b/models/1 cannot be read"), "{error}");
        }
    }
}
