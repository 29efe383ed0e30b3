//! `[models.<name>.batching]`: which waiting calls become one run.

use std::num::NonZeroUsize;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How calls of one model that wait are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Which models' calls are merged.
    pub mode: Mode,
    /// Most rows of a merged run. A single call may have more.
    pub max_rows: NonZeroUsize,
    /// How long a call waits for others although an engine is free. Zero: only calls that wait for an engine anyway are
    /// merged, and a server that has little to do answers no later for it.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String", extend("format" = "duration"))]
    pub max_wait: Duration,
    /// With so many rows nobody waits for more, whatever `max_wait` says. Without it as many as `max_rows`.
    pub preferred_rows: Option<NonZeroUsize>,
}

/// Which models' calls are merged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Those that give the same rows, bit for bit, in a merged run as alone; that is tried out when a version loads.
    #[default]
    Exact,
    /// Also those whose rows come out rounded in another way in a merged run.
    Always,
    /// None.
    Off,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            max_rows: const { NonZeroUsize::new(256).unwrap() },
            max_wait: Duration::ZERO,
            preferred_rows: None,
        }
    }
}

impl Config {
    /// From how many rows on nobody waits for more.
    pub(super) fn enough_rows(&self) -> usize {
        let max_rows = self.max_rows.get();
        self.preferred_rows
            .map_or(max_rows, |rows| rows.get().min(max_rows))
    }
}
