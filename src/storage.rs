//! Object stores (`s3://`, `gs://`, `az://`): which variables of the environment tell how to reach one, and how it is opened.
//!
//! Credentials come from the environment variables that the store's own tools use; files under the home directory are not
//! looked at.
//! Not here: what is kept in a store (`features`, `models`).

use std::fmt;

/// Schemes, and the variables that tell how to reach their stores.
const STORES: [(&[&str], &[&str]); 3] = [
    (
        &["s3", "s3a"],
        &[
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_SESSION_TOKEN",
            "AWS_DEFAULT_REGION",
            "AWS_REGION",
            "AWS_ENDPOINT",
            "AWS_ENDPOINT_URL",
            "AWS_ENDPOINT_URL_S3",
            "AWS_ENDPOINT_URL_STS",
            "AWS_ALLOW_HTTP",
            "AWS_VIRTUAL_HOSTED_STYLE_REQUEST",
            "AWS_SKIP_SIGNATURE",
            "AWS_METADATA_ENDPOINT",
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
            "AWS_WEB_IDENTITY_TOKEN_FILE",
            "AWS_ROLE_ARN",
            "AWS_ROLE_SESSION_NAME",
            "AWS_REQUEST_PAYER",
            "AWS_SERVER_SIDE_ENCRYPTION",
            "AWS_SSE_KMS_KEY_ID",
        ],
    ),
    (
        &["gs"],
        &[
            "GOOGLE_SERVICE_ACCOUNT",
            "GOOGLE_SERVICE_ACCOUNT_PATH",
            "GOOGLE_SERVICE_ACCOUNT_KEY",
            "GOOGLE_APPLICATION_CREDENTIALS",
            "GOOGLE_BASE_URL",
            "GOOGLE_SKIP_SIGNATURE",
            "GOOGLE_ALLOW_HTTP",
        ],
    ),
    (
        &["az", "abfs", "abfss", "https"],
        &[
            "AZURE_STORAGE_ACCOUNT_NAME",
            "AZURE_STORAGE_ACCOUNT_KEY",
            "AZURE_STORAGE_ACCESS_KEY",
            "AZURE_STORAGE_SAS_TOKEN",
            "AZURE_STORAGE_ENDPOINT",
            "AZURE_STORAGE_USE_EMULATOR",
            "AZURE_CLIENT_ID",
            "AZURE_CLIENT_SECRET",
            "AZURE_TENANT_ID",
            "AZURE_AUTHORITY_HOST",
            "AZURE_FEDERATED_TOKEN_FILE",
            "AZURE_MSI_ENDPOINT",
            "AZURE_ALLOW_HTTP",
        ],
    ),
];

/// How to reach the store of one URL: names as in the environment, with their values.
#[derive(Clone, Default)]
pub struct Options(Vec<(String, String)>);

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The values are credentials.
        f.debug_list()
            .entries(self.0.iter().map(|(name, _)| name))
            .finish()
    }
}

/// Whether `url` names a place in an object store.
pub fn is_at(url: &str) -> bool {
    match url.split_once("://") {
        // An Azure blob may be named by its own address.
        Some(("https", rest)) => rest
            .split('/')
            .next()
            .is_some_and(|host| host.ends_with(".blob.core.windows.net")),
        Some((scheme, _)) => STORES.iter().any(|(schemes, _)| schemes.contains(&scheme)),
        None => false,
    }
}

impl Options {
    /// What the environment says about the store of `url`. `endpoint` names an S3 server before the environment's own.
    pub fn read(
        url: &str,
        endpoint: Option<String>,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Self {
        let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
        let mut options = Self::default();
        for (_, names) in STORES
            .iter()
            .filter(|(schemes, _)| schemes.contains(&scheme))
        {
            for name in *names {
                if let Some(value) = environment(name) {
                    options.set(name, value);
                }
            }
        }
        if scheme.starts_with("s3") {
            if let Some(endpoint) = endpoint {
                options.set("AWS_ENDPOINT_URL_S3", endpoint);
            }
            let is_plain = |(name, value): &(String, String)| {
                name.starts_with("AWS_ENDPOINT") && value.starts_with("http://")
            };
            if options.0.iter().any(is_plain) && environment("AWS_ALLOW_HTTP").is_none() {
                options.set("AWS_ALLOW_HTTP", "true".to_owned());
            }
        }
        options
    }

    /// The last value counts.
    pub fn set(&mut self, name: &str, value: String) {
        self.0.push((name.to_owned(), value));
    }
}

/// The store of a URL, and the place in it. Nothing is reached out to. Errors: in words.
#[cfg(feature = "object-store")]
pub fn open(
    url: &str,
    options: &Options,
) -> Result<
    (
        std::sync::Arc<dyn object_store::ObjectStore>,
        object_store::path::Path,
    ),
    String,
> {
    let url = url::Url::parse(url).map_err(|error| error.to_string())?;
    let options = options.0.iter().cloned();
    let opened = object_store::parse_url_opts(&url, options);
    let (store, path) = opened.map_err(|error| error.to_string())?;
    Ok((store.into(), path))
}
