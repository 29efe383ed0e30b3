//! Files into an object store: in parts, so that none is held in memory.
//!
//! An object appears when its last part was accepted; one that was broken off leaves nothing.

use std::io::Read as _;
use std::sync::Arc;

use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, PutPayload};

use crate::models::register::package::{Content, File};
use crate::shutdown::run_blocking;

/// S3 takes 10,000 parts of at least 5 MiB.
const SMALLEST_PART: u64 = 8 << 20;
const MAX_PARTS: u64 = 10_000;

pub(super) struct Objects {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
}

impl Objects {
    pub(super) fn new(store: Arc<dyn ObjectStore>, prefix: Path) -> Self {
        Self { store, prefix }
    }

    pub(super) async fn put(
        &self,
        file: &File,
        sent: &(dyn Fn(u64) + Sync),
    ) -> Result<(), object_store::Error> {
        let key = match self.prefix.as_ref() {
            "" => Path::parse(&file.path)?,
            prefix => Path::parse(format!("{prefix}/{}", file.path))?,
        };
        let place = match &file.content {
            Content::Text(text) => {
                let text = text.clone().into_bytes();
                return self.store.put(&key, text.into()).await.map(drop);
            }
            Content::At(place) => place,
        };
        let part_bytes = SMALLEST_PART.max(file.n_bytes.div_ceil(MAX_PARTS));
        let mut open = fs_err::File::open(place).map_err(unreadable)?;
        if file.n_bytes <= part_bytes {
            let (_, bytes) = read(open, part_bytes).await?;
            return self.store.put(&key, bytes.into()).await.map(drop);
        }
        let mut upload = self.store.put_multipart(&key).await?;
        let mut n_sent = 0;
        let outcome = loop {
            let bytes = match read(open, part_bytes).await {
                Ok((file, bytes)) => {
                    open = file;
                    bytes
                }
                Err(error) => break Err(error),
            };
            if bytes.is_empty() {
                break upload.complete().await.map(drop);
            }
            n_sent += bytes.len() as u64;
            if let Err(error) = upload.put_part(PutPayload::from(bytes)).await {
                break Err(error);
            }
            sent(n_sent);
        };
        if outcome.is_err() {
            // Parts of an upload that is never ended cost money. What went wrong is said above.
            let _ = upload.abort().await;
        }
        outcome
    }
}

/// The next part; empty at the end.
async fn read(
    mut file: fs_err::File,
    n_bytes: u64,
) -> Result<(fs_err::File, Vec<u8>), object_store::Error> {
    let part = run_blocking(move || {
        let mut bytes = Vec::new();
        (&mut file).take(n_bytes).read_to_end(&mut bytes)?;
        Ok((file, bytes))
    });
    part.await
        .map_err(|error| unreadable(std::io::Error::other(error)))?
        .map_err(unreadable)
}

fn unreadable(error: std::io::Error) -> object_store::Error {
    object_store::Error::Generic {
        store: "the model's file",
        source: Box::new(error),
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    #[tokio::test]
    async fn a_file_of_several_parts_arrives_whole() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("weights");
        let bytes: Vec<u8> = (0..20_u32 << 20).map(|i| (i % 251) as u8).collect();
        fs_err::write(&place, &bytes).unwrap();
        let store = Arc::new(InMemory::new());
        let objects = Objects::new(Arc::clone(&store) as _, Path::from("a/b"));
        let file = File::at("data/weights".to_owned(), place).unwrap();
        let told = std::sync::Mutex::new(Vec::new());
        let tell = |n_sent| told.lock().unwrap().push(n_sent);
        objects.put(&file, &tell).await.unwrap();
        assert_eq!(*told.lock().unwrap(), [8 << 20, 16 << 20, 20 << 20]);
        let text = File::text("MLmodel", "a: b".to_owned());
        objects.put(&text, &tell).await.unwrap();
        let get = async |path: &str| {
            let found = store.get(&Path::from(path)).await.unwrap();
            found.bytes().await.unwrap()
        };
        assert!(get("a/b/data/weights").await == bytes);
        assert!(get("a/b/MLmodel").await == "a: b");
    }
}
