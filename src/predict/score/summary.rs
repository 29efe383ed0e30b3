//! What became of the rows, counted.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::calls::Answers;
use crate::error::Failure;
use crate::features::historical;
use crate::types::feature::FeatureRows;
use crate::types::prediction::ServedBy;

/// The column that says why a row was not answered, by the code of the failure.
pub const ERROR_COLUMN: &str = "score_error";

/// How far it is, for a progress bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Files that are done, and all of them.
    pub files_done: usize,
    pub n_files: usize,
    /// Rows that are scored, and that are to be scored as far as that is known.
    pub rows_done: u64,
    pub n_rows: u64,
    /// How far the join of the present file is, before its first row came out of it.
    pub sources: Option<historical::Progress>,
}

/// All files together.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    pub model: Model,
    /// Rows that were scored now, those that could not be answered among them.
    pub n_rows: u64,
    pub n_failed: u64,
    /// By the code of the failure.
    pub failed: BTreeMap<String, Failed>,
    /// `view:feature` to statuses to how many rows have it with that status.
    pub features: BTreeMap<String, BTreeMap<Cow<'static, str>, u64>>,
    /// Files whose result was there already.
    pub n_skipped: usize,
    pub files: Vec<FileSummary>,
    pub rows_per_call: usize,
    pub seconds: f64,
    pub rows_per_second: f64,
}

#[derive(Debug, Clone, Serialize)]
pub struct Model {
    pub name: String,
    pub version: String,
    pub alias: Option<String>,
}

/// Rows that failed for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failed {
    pub n_rows: u64,
    /// The file of the first of them.
    pub file: String,
    /// What was said of it; rows count from 0 within their file.
    pub message: String,
}

/// One file.
#[derive(Debug, Clone, Serialize)]
pub struct FileSummary {
    pub source: String,
    pub path: PathBuf,
    pub skipped: bool,
    /// Where its features came from: `offline`, `online`, `given` or `none`.
    pub features: &'static str,
    pub n_rows: u64,
    /// Null where it was skipped.
    pub n_failed: Option<u64>,
    pub sha256: Option<String>,
    pub n_bytes: Option<u64>,
}

impl Summary {
    pub(super) fn new(served_by: &ServedBy, rows_per_call: usize) -> Self {
        Self {
            model: Model {
                name: served_by.name.to_string(),
                version: served_by.version.to_string(),
                alias: served_by.alias.as_deref().map(str::to_owned),
            },
            n_rows: 0,
            n_failed: 0,
            failed: BTreeMap::new(),
            features: BTreeMap::new(),
            n_skipped: 0,
            files: Vec::new(),
            rows_per_call,
            seconds: 0.0,
            rows_per_second: 0.0,
        }
    }

    pub(super) fn add(&mut self, file: FileSummary, counts: Counts) {
        self.n_skipped += usize::from(file.skipped);
        if !file.skipped {
            self.n_rows += file.n_rows;
        }
        self.n_failed += counts.n_failed;
        for (code, failed) in counts.failed {
            let known = self.failed.entry(code.into_owned());
            let known = known.or_insert_with(|| Failed {
                n_rows: 0,
                file: file.source.clone(),
                message: failed.message,
            });
            known.n_rows += failed.n_rows;
        }
        for (feature, statuses) in counts.features {
            let known = self.features.entry(feature).or_default();
            for (status, n_rows) in statuses {
                *known.entry(status).or_default() += n_rows;
            }
        }
        self.files.push(file);
    }

    pub(super) fn took(&mut self, took: Duration) {
        self.seconds = took.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let n_rows = self.n_rows as f64;
        self.rows_per_second = match self.seconds > 0.0 {
            true => n_rows / self.seconds,
            false => 0.0,
        };
    }
}

/// Counts of one file, or of some of its calls.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Counts {
    pub(super) n_rows: u64,
    pub(super) n_failed: u64,
    failed: BTreeMap<Cow<'static, str>, FirstFailed>,
    features: BTreeMap<String, BTreeMap<Cow<'static, str>, u64>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct FirstFailed {
    n_rows: u64,
    message: String,
}

impl Counts {
    pub(super) fn of(answers: &Answers) -> Self {
        let mut counts = Self::default();
        counts.add(answers);
        counts
    }

    /// Those of later rows as well.
    pub(super) fn extend(&mut self, later: Self) {
        self.n_rows += later.n_rows;
        self.n_failed += later.n_failed;
        for (code, failed) in later.failed {
            match self.failed.get_mut(&code) {
                Some(known) => known.n_rows += failed.n_rows,
                None => drop(self.failed.insert(code, failed)),
            }
        }
        for (feature, statuses) in later.features {
            let known = self.features.entry(feature).or_default();
            for (status, n_rows) in statuses {
                *known.entry(status).or_default() += n_rows;
            }
        }
    }

    fn add(&mut self, answers: &Answers) {
        for part in &answers.parts {
            self.n_rows += part.n_rows as u64;
            match &part.outcome {
                Ok(prediction) => self.add_features(&prediction.features),
                Err(error) => {
                    self.n_failed += part.n_rows as u64;
                    let first = self.failed.entry(error.code().into());
                    let first = first.or_insert_with(|| FirstFailed {
                        n_rows: 0,
                        message: error.to_string(),
                    });
                    first.n_rows += part.n_rows as u64;
                }
            }
        }
    }

    /// What was said of the first row of the most frequent failure.
    pub(super) fn first_failure(&self) -> Option<&str> {
        let most = self.failed.values().max_by_key(|failed| failed.n_rows);
        most.map(|failed| failed.message.as_str())
    }

    fn add_features(&mut self, features: &FeatureRows) {
        for (place, name) in features.names.iter().enumerate() {
            if !self.features.contains_key(name) {
                self.features.insert(name.clone(), BTreeMap::new());
            }
            let Some(statuses) = self.features.get_mut(name) else {
                continue;
            };
            for cell in features.column(place) {
                *statuses.entry(cell.status.as_str().into()).or_default() += 1;
            }
        }
    }
}
