//! Object stores as plans name them: opened when a plan needs them, with the credentials of this process.
//!
//! A source may have a server of its own (`s3_endpoint_override`). Plans name a store by scheme and bucket alone, so such a
//! server stands before the bucket, in hexadecimal: `s3://<server>@<bucket>`.

use std::sync::Arc;

use datafusion::error::{DataFusionError, Result};
use datafusion::execution::object_store::{
    DefaultObjectStoreRegistry, ObjectStoreRegistry, ObjectStoreUrl,
};
use datafusion::object_store::ObjectStore;
use url::Url;

use super::super::files::places::Place;

/// Of a runtime that decodes plans.
#[derive(Debug, Default)]
pub(crate) struct Stores {
    known: DefaultObjectStoreRegistry,
}

impl ObjectStoreRegistry for Stores {
    fn register_store(
        &self,
        url: &Url,
        store: Arc<dyn ObjectStore>,
    ) -> Option<Arc<dyn ObjectStore>> {
        self.known.register_store(url, store)
    }

    fn get_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        if let Ok(store) = self.known.get_store(url) {
            return Ok(store);
        }
        let bucket = format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default());
        let server = server(url.username());
        let place = Place::at(&bucket, server.as_deref()).map_err(DataFusionError::External)?;
        let store = place.store.ok_or_else(|| {
            DataFusionError::Plan(format!("{bucket} is no place in an object store"))
        })?;
        self.known.register_store(url, Arc::clone(&store));
        Ok(store)
    }
}

/// How a plan names the store of a place.
pub(in super::super) fn url(place: &Place) -> Result<ObjectStoreUrl> {
    let Some(server) = &place.server else {
        return Ok(place.url.clone());
    };
    let hexadecimal: String = server.bytes().map(|byte| format!("{byte:02x}")).collect();
    let bucket = place
        .url
        .as_str()
        .replacen("://", &format!("://{hexadecimal}@"), 1);
    ObjectStoreUrl::parse(bucket)
}

fn server(hexadecimal: &str) -> Option<String> {
    let digits = hexadecimal.as_bytes().chunks(2);
    let bytes = digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    let bytes: Option<Vec<u8>> = bytes.collect();
    String::from_utf8(bytes?)
        .ok()
        .filter(|server| !server.is_empty())
}

#[cfg(test)]
#[cfg(feature = "object-store")]
mod tests {
    use super::*;

    #[test]
    fn a_server_of_a_source_is_part_of_the_name_of_its_store() {
        let server = "http://127.0.0.1:9000";
        let place = Place::at("s3://lake/trips", Some(server)).unwrap();
        let named = url(&place).unwrap();
        let parsed: &Url = named.as_ref();
        assert_eq!(parsed.host_str(), Some("lake"));
        assert_eq!(super::server(parsed.username()).as_deref(), Some(server));
        let plain = Place::at("s3://lake/trips", None).unwrap();
        assert_eq!(url(&plain).unwrap().as_str(), "s3://lake/");
        let stores = Stores::default();
        assert!(stores.get_store(parsed).is_ok());
        assert!(
            stores
                .get_store(&Url::parse("ftp://lake/").unwrap())
                .is_err()
        );
    }
}
