//! SQL over the tables: a plan that only reads, run on threads of its own, that take nothing from those that answer requests.
//!
//! One statement, a SELECT, is planned; whatever would change or read anything else than the tables is refused before it is
//! planned, and once more in the plan. There are no other tables, no files and no settings to reach.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use datafusion::error::DataFusionError;
use datafusion::execution::context::{SQLOptions, SessionContext};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{SendableRecordBatchStream, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;
use datafusion::prelude::SessionConfig;
use datafusion::sql::parser::{DFParser, Statement};
use datafusion::sql::sqlparser::ast::{Query, SetExpr, Statement as Sql};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::render::Renderer;
use super::scan::Scan;
use super::table::{TABLES, Table};
use super::{Answer, Archive, Error, Format, LeftOut, Question};
use crate::types::byte_size::ByteSize;
use crate::types::deadline::Deadline;

/// Threads of a query: one reads, one computes.
const THREADS: usize = 2;
/// Batches of the answer that wait for the client.
const WAITING: usize = 2;
/// Rows of a batch, unless they are very wide.
const BATCH_ROWS: usize = 4_096;
/// A longer query is refused; what it may nest fits onto the stack of a thread of so many bytes.
const MAX_SQL: usize = 16 * 1024;
const STACK: usize = 256 << 20;
/// What a query may put into the system's temporary directory.
const SPILL: ByteSize = ByteSize::from_mebibytes(1024);

/// What a query may take.
#[derive(Debug, Clone, Copy)]
struct Limits {
    timeout: Duration,
    deadline: Deadline,
    max_rows: usize,
    memory: ByteSize,
}

/// The first error of ours: DataFusion would wrap it out of sight.
#[derive(Debug, Clone, Default)]
pub(super) struct Blame(Arc<Mutex<Option<Error>>>);

impl Blame {
    pub(super) fn first(&self, error: Error) {
        let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert(error);
    }

    fn take(&self) -> Option<Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

pub(super) async fn ask(
    archive: &Archive,
    question: Question,
    format: Format,
    permit: OwnedSemaphorePermit,
) -> Result<Answer, Error> {
    let config = &archive.config;
    if question.sql.len() > MAX_SQL {
        return Err(Error::Question {
            name: "sql",
            reason: format!("it has more than {MAX_SQL} bytes"),
        });
    }
    let timeout = question.timeout.unwrap_or(config.timeout);
    let limits = Limits {
        timeout,
        deadline: Deadline::after(timeout),
        max_rows: question.max_rows.unwrap_or(config.max_rows.get()),
        memory: config.memory,
    };
    let question = Arc::new(question);
    let left_out = LeftOut::default();
    let scan = Scan::of(archive, question.clone(), left_out.clone())?;
    let (sender, receiver) = mpsc::channel(WAITING);
    let (begin, begun) = oneshot::channel();
    let work = Work {
        sql: question.sql.clone(),
        format,
        scan,
        left_out: left_out.clone(),
        limits,
        blame: Blame::default(),
        sender,
    };
    let run = move || work.run(begin, permit);
    let thread = thread::Builder::new().name("audit-query".to_owned());
    thread
        .stack_size(STACK)
        .spawn(run)
        .map_err(|error| Error::Stopped {
            reason: error.to_string(),
        })?;
    // It is bound by the deadline on its side, unless a step of the plan never lets go.
    let begun = tokio::time::timeout_at(limits.deadline.instant(), begun).await;
    let late = || Error::Late {
        limit: limits.timeout,
    };
    match begun.map_err(|_| late())? {
        Ok(planned) => planned?,
        Err(_) => return Err(panicked()),
    }
    Ok(Answer {
        pieces: pieces(receiver, limits),
        left_out,
    })
}

fn panicked() -> Error {
    Error::Stopped {
        reason: "its thread panicked".to_owned(),
    }
}

/// A piece of the answer, or its end.
type Piece = Option<Result<Vec<u8>, Error>>;

/// What comes until the end is told; no later than the deadline, and nothing behind an error.
fn pieces(
    receiver: mpsc::Receiver<Piece>,
    limits: Limits,
) -> BoxStream<'static, Result<Vec<u8>, Error>> {
    let next = move |state: Option<mpsc::Receiver<Piece>>| async move {
        let mut receiver = state?;
        let received = tokio::time::timeout_at(limits.deadline.instant(), receiver.recv()).await;
        match received {
            Ok(Some(Some(Ok(piece)))) => Some((Ok(piece), Some(receiver))),
            Ok(Some(Some(Err(error)))) => Some((Err(error), None)),
            Ok(Some(None)) => None,
            Ok(None) => Some((Err(panicked()), None)),
            Err(_) => {
                let limit = limits.timeout;
                Some((Err(Error::Late { limit }), None))
            }
        }
    };
    // Whoever has seen the end may look again.
    stream::unfold(Some(receiver), next).fuse().boxed()
}

/// A query at work.
struct Work {
    sql: String,
    format: Format,
    scan: Scan,
    left_out: LeftOut,
    limits: Limits,
    blame: Blame,
    sender: mpsc::Sender<Piece>,
}

impl Work {
    /// Plans, tells whether it can, runs. In a runtime of its own, until all is sent or nobody listens.
    ///
    /// Its place is free before the end is told, so that who asks one query after the other always finds one.
    fn run(self, begin: oneshot::Sender<Result<(), Error>>, permit: OwnedSemaphorePermit) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("audit-query")
            .thread_stack_size(STACK)
            .enable_all()
            .build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => {
                let reason = error.to_string();
                // Whoever asked may have left.
                let _ = begin.send(Err(Error::Stopped { reason }));
                return;
            }
        };
        runtime.block_on(async {
            let started = match self.start().await {
                Ok(started) => started,
                Err(error) => {
                    drop(permit);
                    let _ = begin.send(Err(error));
                    return;
                }
            };
            if begin.send(Ok(())).is_ok() {
                let end = self.give(started).await.err();
                drop(permit);
                let _ = self.sender.send(end.map(Err)).await;
            }
        });
        // Readers that still wait for a disk or a broker end by themselves: nobody takes what they read.
        runtime.shutdown_background();
    }

    async fn start(&self) -> Result<SendableRecordBatchStream, Error> {
        let context = self.session().map_err(|error| self.failed(error))?;
        let plan = plan(&context, &self.sql).await?;
        let physical = async {
            let plan = context.state().create_physical_plan(&plan).await?;
            execute_stream(plan, context.task_ctx())
        };
        physical.await.map_err(|error| self.failed(error))
    }

    fn session(&self) -> Result<SessionContext, DataFusionError> {
        let disk = DiskManagerBuilder::default()
            .with_mode(DiskManagerMode::OsTmpDirectory)
            .with_max_temp_directory_size(SPILL.as_bytes());
        let memory = self.limits.memory.as_usize();
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(FairSpillPool::new(memory)))
            .with_disk_manager_builder(disk)
            .build_arc()?;
        let mut config = SessionConfig::new()
            .with_target_partitions(THREADS)
            .with_batch_size(BATCH_ROWS)
            // Kept back for merging what was spilled.
            .with_sort_spill_reservation_bytes(memory / 16)
            .with_information_schema(false);
        let options = config.options_mut();
        // Times that a query makes are the same moments everywhere.
        options.execution.time_zone = Some("UTC".to_owned());
        // Text has one Arrow type here, not two.
        options.sql_parser.map_string_types_to_utf8view = false;
        let state = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(runtime)
            .with_default_features()
            .build();
        let context = SessionContext::new_with_state(state);
        for (name, rows) in TABLES {
            let table = Table {
                rows,
                scan: self.scan.clone(),
                left_out: self.left_out.clone(),
                blame: self.blame.clone(),
            };
            context.register_table(name, Arc::new(table))?;
        }
        Ok(context)
    }

    /// Sends the answer, within its limits; its beginning with the first batch, so that who fails at once has told nothing.
    async fn give(&self, mut batches: SendableRecordBatchStream) -> Result<(), Error> {
        let mut renderer = Renderer::new(self.format, &batches.schema())?;
        let mut piece = renderer.begin()?;
        let mut n_rows = 0;
        loop {
            let next = tokio::select! {
                next = tokio::time::timeout_at(self.limits.deadline.instant(), batches.next()) => next,
                // Also a plan that gives nothing for long ends when its client does.
                () = self.sender.closed() => return Ok(()),
            };
            let limit = self.limits.timeout;
            let Some(batch) = next.map_err(|_| Error::Late { limit })? else {
                break;
            };
            let batch = batch.map_err(|error| self.failed(error))?;
            let room = self.limits.max_rows - n_rows;
            let fitting = batch.slice(0, batch.num_rows().min(room));
            n_rows += fitting.num_rows();
            piece.extend(renderer.batch(&fitting)?);
            if !piece.is_empty() && !self.send(std::mem::take(&mut piece)).await {
                return Ok(());
            }
            if batch.num_rows() > room {
                let limit = self.limits.max_rows;
                return Err(Error::Rows { limit });
            }
        }
        piece.extend(renderer.end()?);
        if !piece.is_empty() {
            self.send(piece).await;
        }
        Ok(())
    }

    async fn send(&self, piece: Vec<u8>) -> bool {
        self.sender.send(Some(Ok(piece))).await.is_ok()
    }

    fn failed(&self, error: DataFusionError) -> Error {
        if let Some(cause) = self.blame.take() {
            return cause;
        }
        let limit = self.limits.memory;
        match error.find_root() {
            DataFusionError::ResourcesExhausted(_) => Error::Memory { limit },
            root => Error::Failed {
                reason: reason(root),
            },
        }
    }
}

/// The plan of one SELECT.
async fn plan(context: &SessionContext, sql: &str) -> Result<LogicalPlan, Error> {
    let failed = |error: DataFusionError| Error::Plan {
        reason: reason(&error),
    };
    let mut statements = DFParser::parse_sql(sql).map_err(failed)?;
    let refused = |found: &str| Error::NotASelect {
        found: found.to_owned(),
    };
    let statement = match (statements.pop_front(), statements.is_empty()) {
        (None, _) => return Err(refused("empty")),
        (Some(_), false) => return Err(refused("several statements")),
        (Some(Statement::Statement(statement)), true) => statement,
        (Some(_), true) => return Err(refused("no SELECT")),
    };
    match &*statement {
        Sql::Query(query) if only_reads(query) => {}
        _ => return Err(refused("no SELECT")),
    }
    let planned = context
        .state()
        .statement_to_plan(Statement::Statement(statement))
        .await;
    let plan = planned.map_err(failed)?;
    SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false)
        .with_allow_statements(false)
        .verify_plan(&plan)
        .map_err(|_| refused("no SELECT"))?;
    Ok(plan)
}

/// Whether neither the query nor anything that it names writes.
fn only_reads(query: &Query) -> bool {
    let with = query.with.iter().flat_map(|with| &with.cte_tables);
    with.into_iter().all(|table| only_reads(&table.query)) && set_only_reads(&query.body)
}

fn set_only_reads(body: &SetExpr) -> bool {
    match body {
        SetExpr::Select(select) => select.into.is_none(),
        SetExpr::Query(query) => only_reads(query),
        SetExpr::SetOperation { left, right, .. } => set_only_reads(left) && set_only_reads(right),
        SetExpr::Values(_) => true,
        _ => false,
    }
}

/// Without the prefixes and the hints that are for programmers.
fn reason(error: &DataFusionError) -> String {
    let text = error.strip_backtrace();
    let prefixes = [
        "Error during planning: ",
        "Execution error: ",
        "Schema error: ",
        "SQL error: ",
    ];
    let text = prefixes
        .iter()
        .find_map(|prefix| text.strip_prefix(prefix))
        .unwrap_or(&text);
    text.trim_end_matches('.').to_owned()
}
