//! `[serving.webhook]`: what a delivery must carry to be believed.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::types::secret::Secret;

/// Deliveries by which MLflow tells of changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Webhook {
    /// The secret that the webhook was created with in MLflow. Without one no delivery is taken.
    pub secret: Option<Secret>,
    /// How far a delivery's timestamp may be from this machine's clock. MLflow's last attempt comes about two minutes
    /// after the first, with the timestamp of the first.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String", extend("format" = "duration"))]
    pub tolerance: Duration,
}

impl Default for Webhook {
    fn default() -> Self {
        Self {
            secret: None,
            tolerance: Duration::from_secs(300),
        }
    }
}
