//! How jobs and results are written: the codec of our own jobs, what is accepted of others', the form of failures.

use std::sync::Arc;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::arq::{self, Accept, ArqJob, ArqResult, Codec, DecodeError, EncodeError, FailureForm};

/// The codec of jobs that we enqueue. A result is in the codec of its job.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "JobCodec")]
pub enum CodecName {
    /// Python's, and what arq's clients and workers take without further settings.
    Pickle,
    #[default]
    Msgpack,
    Json,
}

impl From<CodecName> for Codec {
    fn from(name: CodecName) -> Self {
        match name {
            CodecName::Pickle => Self::Pickle,
            CodecName::Msgpack => Self::MsgPack,
            CodecName::Json => Self::Json,
        }
    }
}

/// How failures look in the codecs that have no exceptions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "JobFailureForm")]
pub enum FailureName {
    /// `"code: message"`.
    #[default]
    Text,
    /// `{"__exc__": "code", "msg": "message"}`.
    Map,
}

impl From<FailureName> for FailureForm {
    fn from(name: FailureName) -> Self {
        match name {
            FailureName::Text => Self::Text,
            FailureName::Map => Self::Map,
        }
    }
}

/// What one queue's jobs are written in.
#[derive(Debug, Clone)]
pub struct Wire {
    codec: Codec,
    accept: Accept,
    form: FailureForm,
    /// What results say that their queue is.
    queue: Arc<str>,
}

impl Wire {
    pub fn new(codec: CodecName, form: FailureName, queue: &str, max_bytes: usize) -> Self {
        Self {
            codec: codec.into(),
            accept: Accept {
                max_bytes,
                ..Accept::default()
            },
            form: form.into(),
            queue: queue.into(),
        }
    }

    pub(super) fn codec(&self) -> Codec {
        self.codec
    }

    pub(super) fn queue(&self) -> &str {
        &self.queue
    }

    pub(super) fn decode(&self, bytes: &[u8]) -> Result<(ArqJob, Codec), DecodeError> {
        arq::decode_job(bytes, &self.accept)
    }

    pub(super) fn encode(&self, job: &ArqJob) -> Result<Bytes, EncodeError> {
        arq::encode_job(job, self.codec).map(Bytes::from)
    }

    pub(super) fn decode_result(&self, bytes: &[u8]) -> Result<ArqResult, DecodeError> {
        arq::decode_result(bytes, &self.accept).map(|(result, _)| result)
    }

    pub(super) fn encode_result(
        &self,
        result: &ArqResult,
        codec: Codec,
    ) -> Result<Bytes, EncodeError> {
        arq::encode_result(result, codec, self.form).map(Bytes::from)
    }
}
