//! Batch scoring: files of entity rows in, files with the model's outputs out.
//!
//! ```text
//! parts       a file, a query, or each file of a directory                  source
//!   rows      with features joined at each row's time, or as they came       file
//!   calls     of so many rows each, several after each other on a task,
//!             answered by `Predictor::run`                                   calls, cells, plain
//!   table     entity columns, features, outputs, why a row has none          layout, outputs
//! result      written under another name, audited, then named                file
//! ```
//! Invariants:
//! - a row takes the serving plan, the assembling and the engines of a request: the same call gives the same bits;
//! - a row that cannot be answered has nulls and a reason, and takes nothing from the others;
//! - memory follows the calls that are under way, not the file;
//! - one audit event is written for each result before it has its name;
//! - a part of a directory whose result is there and was made of the same is not scored again.
//!
//! Calls stand back behind those of callers who wait (`Priority::Low`), and do not count in the metrics of predictions.
//! Not here: `/invocations`, which MLflow calls scoring (`scoring`); who asks (`cli`, `tasks`).

mod calls;
mod cells;
#[cfg(feature = "cluster")]
pub mod cluster;
mod error;
mod file;
mod fingerprint;
mod layout;
mod outputs;
mod plain;
mod source;
mod summary;
#[cfg(test)]
mod tests;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use futures::FutureExt;
use futures::future::BoxFuture;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

pub use self::error::Error;
use self::file::Scorer;
pub use self::source::Source;
use self::source::{Part, PartRows, parts};
pub use self::summary::{ERROR_COLUMN, Failed, FileSummary, Model, Progress, Summary};
use super::{Predictor, ServingPlan, served_by};
use crate::features::historical::FileFormat;
use crate::models::Resolved;
use crate::shutdown::run_blocking;
use crate::types::deadline::Deadline;
use crate::types::names::ModelRef;
use crate::types::request::RequestContext;

/// Rows that a model is run on at once, unless it is said otherwise: few enough for the caches of a core, and for an engine to
/// be soon free for who else waits for it.
const ROWS_PER_CALL: usize = 1_024;
/// Rows whose calls are made one after the other on a task of their own.
const ROWS_PER_TASK: usize = 8 * ROWS_PER_CALL;
/// Of all columns that the model takes, together: it bounds the memory.
const VALUES_PER_TASK: usize = 1 << 18;

/// What is to be scored, by what, and where results go.
#[derive(Debug, Clone)]
pub struct Request {
    /// One version: the calls of a plain name that several share cannot be scored.
    pub model: ModelRef,
    pub source: Source,
    /// A file, or of a directory's files a directory.
    pub destination: PathBuf,
    /// Without it: none where columns stand in for all of them, else joined where the rows have a time, else online.
    pub features: Option<FeaturesFrom>,
    /// Also write the features as the model was given them, as `view__feature`.
    pub with_features: bool,
    /// 1,024 without it. A graph that fixes its number of rows gets that many.
    pub rows_per_call: Option<NonZeroUsize>,
    /// Score the parts of a directory also whose results are there.
    pub again: bool,
    pub audited: Audited,
    /// Below which the files of a directory must lie, wherever links lead.
    pub confined_to: Option<PathBuf>,
    /// Of the whole work.
    pub deadline: Deadline,
    /// Of the audit events.
    pub context: RequestContext,
}

/// Where features come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeaturesFrom {
    /// The views' sources: as they were at each row's time.
    Offline,
    /// The online store: as they are now.
    Online,
}

impl FeaturesFrom {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Online => "online",
        }
    }
}

/// Which audit events are left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audited {
    /// One for each result.
    Files,
    /// And one for each call, with its rows, features and outputs.
    Calls,
}

impl Predictor {
    /// Scores all parts, one after the other. What was finished stays when a later one fails.
    ///
    /// Errors: those of `Error`; a result whose audit event cannot be written gets no name while `audit.on_failure` is
    /// `refuse`. Dropping the future leaves finished results, and no half ones.
    pub async fn score(
        &self,
        request: &Request,
        tell: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Summary, Error> {
        let began = Instant::now();
        let model = Arc::new(self.one_version(&request.model)?);
        let plan = &model.version.plan;
        let rows_per_call = request
            .rows_per_call
            .map_or(ROWS_PER_CALL, NonZeroUsize::get);
        let rows_per_call = plan.fixed_rows.unwrap_or(rows_per_call);
        let parts = listed(request).await?;
        let mut progress = Progress {
            n_files: parts.len(),
            n_rows: n_rows(&parts).await?,
            ..Progress::default()
        };
        let mut summary = Summary::new(&served_by(&model), rows_per_call);
        let scorer = Scorer {
            predictor: self,
            model,
            request,
            rows_per_call,
        };
        for part in &parts {
            let scored: BoxFuture<'_, _> = scorer.part(part, &mut progress, tell).boxed();
            let (file, counts) = scored.await?;
            progress.files_done += 1;
            tell(progress);
            summary.add(file, counts);
        }
        summary.took(began.elapsed());
        Ok(summary)
    }

    /// The version that answers all rows.
    fn one_version(&self, reference: &ModelRef) -> Result<Resolved<ServingPlan>, Error> {
        let resolved = self.models.resolve(reference);
        let resolved = resolved.map_err(super::Error::from)?;
        match &resolved.traffic {
            None => Ok(resolved),
            // What shadows see is what callers ask.
            Some(traffic) => match traffic.only() {
                Some(only) => Ok(traffic.variant(only).resolved()),
                None => Err(Error::SharedModel {
                    model: reference.to_string(),
                }),
            },
        }
    }
}

async fn listed(request: &Request) -> Result<Vec<Part>, Error> {
    let (source, destination) = (request.source.clone(), request.destination.clone());
    let confined_to = request.confined_to.clone();
    let parts = run_blocking(move || parts(&source, &destination, confined_to.as_deref())).await;
    parts.map_err(Error::Panicked)?
}

/// Rows of all Parquet files, by their footers; of CSV and queries it turns out.
async fn n_rows(parts: &[Part]) -> Result<u64, Error> {
    let files = parts.iter().filter_map(|part| match &part.rows {
        PartRows::File {
            path,
            format: FileFormat::Parquet,
            ..
        } => Some(path.clone()),
        PartRows::File { .. } | PartRows::Query(_) => None,
    });
    let files: Vec<PathBuf> = files.collect();
    let count = move || {
        let footers = files.iter().filter_map(|path| {
            // What is wrong with a file is told when its turn comes.
            let file = fs_err::File::open(path).ok()?.into_file();
            let builder = ParquetRecordBatchReaderBuilder::try_new(file).ok()?;
            u64::try_from(builder.metadata().file_metadata().num_rows()).ok()
        });
        footers.sum()
    };
    run_blocking(count).await.map_err(Error::Panicked)
}
