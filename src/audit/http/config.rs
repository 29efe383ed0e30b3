//! `[audit.http]`: which calls of other routes are recorded, and how much of them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::redact::Field;
use super::routes::{Detail, Pattern};
use crate::audit::redact::Action;
use crate::types::byte_size::ByteSize;

/// Calls of HTTP routes that are no predictions, recorded as two streams of events: requests and responses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "HttpAuditConfig")]
pub struct Config {
    /// The headers that are recorded, if they are there; no others are.
    pub headers: Vec<String>,
    /// A body that is larger is left out, and the event says so.
    pub max_body: ByteSize,
    /// Where spools and files are. Without it `http` in `audit.file.directory`. Sizes and durability are those of
    /// `[audit.file]` and `[audit.spool]`.
    pub directory: Option<PathBuf>,
    /// The topic of requests, where `[audit.kafka]` is set.
    pub request_topic: String,
    /// The topic of responses, where `[audit.kafka]` is set.
    pub response_topic: String,
    /// How much is recorded of which routes: `off`, `headers` or `bodies`. A route stands as in `/openapi.json`
    /// (`"/v1/jobs/{id}" = "headers"`), or by how it begins (`"/v1/*" = "bodies"`); of several the longest counts. Routes of
    /// predictions, which have events of their own, are recorded only by their whole name.
    pub routes: BTreeMap<Pattern, Detail>,
    /// What is left out of events or made unreadable in them, such as `"body.password" = "drop"`: `header.<name>`,
    /// `query.<name>`, `body.<name>` for members of that name wherever they stand in JSON, `query.*`, `body` and `path`. Hashes
    /// take `audit.redact.key`.
    pub redact: BTreeMap<Field, Action>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            headers: ["accept", "content-length", "content-type", "user-agent"]
                .map(str::to_owned)
                .to_vec(),
            max_body: ByteSize::from_bytes(16 << 10),
            directory: None,
            request_topic: "terrarium.http.requests.v1".to_owned(),
            response_topic: "terrarium.http.responses.v1".to_owned(),
            routes: BTreeMap::new(),
            redact: BTreeMap::new(),
        }
    }
}
