//! A job as people and programs see it: what its bytes say, beside what its queue knows.

use serde::Serialize;
use serde_json::Value as Json;

use super::arq::{ArqJob, ArqResult, Outcome, Raised};
use super::client::NewCall;
use super::value::Value;
use super::wire::Wire;
use super::{Job, JobId, JobStatus};
use crate::types::timestamp::Timestamp;

/// A job, decoded as far as it can be.
#[derive(Debug, Clone, Serialize)]
pub struct View {
    #[serde(serialize_with = "as_text")]
    pub id: JobId,
    pub state: JobStatus,
    /// Whether it succeeded, once it has ended.
    pub success: Option<bool>,
    /// Null if the job cannot be decoded.
    pub function: Option<String>,
    pub args: Option<Json>,
    pub kwargs: Option<Json>,
    /// Attempts that began.
    pub attempts: u32,
    pub enqueued_at: Option<Timestamp>,
    /// When it may run, while it waits.
    pub due_at: Option<Timestamp>,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    /// What the function gave.
    pub result: Option<Json>,
    /// What the function failed with.
    pub error: Option<ErrorView>,
    /// Why nobody tries it again.
    pub dead: Option<DeadView>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ErrorView {
    /// As in `docs/errors.md`, where a worker of ours said it.
    pub code: Option<String>,
    pub message: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeadView {
    pub reason: String,
    pub at: Timestamp,
}

fn as_text<S: serde::Serializer>(id: &JobId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

impl View {
    pub(super) fn new(job: Job, wire: &Wire) -> Self {
        let called = job.body.as_deref();
        let called = called.and_then(|body| wire.decode(body).ok());
        let answered = job.result.as_deref();
        let answered = answered.and_then(|bytes| wire.decode_result(bytes).ok());
        let mut view = Self {
            id: job.id,
            state: job.status,
            success: None,
            function: None,
            args: None,
            kwargs: None,
            attempts: job.attempts,
            enqueued_at: None,
            due_at: job.due,
            started_at: None,
            finished_at: None,
            result: None,
            error: None,
            dead: job.dead.map(|dead| DeadView {
                reason: dead.reason,
                at: dead.died_at,
            }),
        };
        if let Some((job, _)) = called {
            view.called(job);
        }
        if let Some(result) = answered {
            view.answered(result);
        }
        view
    }

    fn called(&mut self, job: ArqJob) {
        self.function = Some(job.function);
        self.args = Some(shown(&job.args));
        self.kwargs = Some(shown_by_name(&job.kwargs));
        self.enqueued_at = Some(job.enqueued_at);
    }

    fn answered(&mut self, result: ArqResult) {
        if result.enqueued_at != Timestamp::EPOCH {
            self.function = Some(result.function);
            self.args = Some(shown(&result.args));
            self.kwargs = Some(shown_by_name(&result.kwargs));
            self.enqueued_at = Some(result.enqueued_at);
        }
        self.attempts = result.job_try;
        self.started_at = Some(result.started_at);
        self.finished_at = Some(result.finished_at);
        match result.outcome {
            Outcome::Returned(value) => {
                self.success = Some(true);
                self.result = Some(value.shown());
            }
            Outcome::Raised(raised) => {
                self.success = Some(false);
                self.error = Some(ErrorView::new(&raised));
            }
        }
    }

    /// Whether the job is that call, whoever made it: function and arguments, leaving out what comes anew with every request.
    pub fn is_call(&self, call: &NewCall) -> bool {
        let lasting = |kwargs: Option<&Json>| {
            let mut kwargs = kwargs.cloned().unwrap_or_default();
            if let Some(kwargs) = kwargs.as_object_mut() {
                kwargs.retain(|name, _| name != "request_id" && name != "traceparent");
            }
            kwargs
        };
        self.function.as_deref() == Some(call.function.as_str())
            && self.args.as_ref() == Some(&shown(&call.args))
            && lasting(self.kwargs.as_ref()) == lasting(Some(&shown_by_name(&call.kwargs)))
    }
}

fn shown(args: &[Value]) -> Json {
    Json::Array(args.iter().map(Value::shown).collect())
}

fn shown_by_name(kwargs: &[(String, Value)]) -> Json {
    let kwargs = kwargs.iter();
    Json::Object(
        kwargs
            .map(|(name, arg)| (name.clone(), arg.shown()))
            .collect(),
    )
}

impl ErrorView {
    fn new(raised: &Raised) -> Self {
        let message = raised.message();
        match raised.code() {
            Some(code) => Self {
                code: Some(code.to_owned()),
                message: message
                    .strip_prefix(code)
                    .and_then(|rest| rest.strip_prefix(": "))
                    .unwrap_or(&message)
                    .to_owned(),
            },
            None => Self {
                code: None,
                message,
            },
        }
    }
}
