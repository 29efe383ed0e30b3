//! How a failed job looks to its client.
//!
//! arq's client raises what unpickles to an exception; anything else it wraps in a `SerializationError`. So a pickle
//! carries one of four exceptions, each of a class that every process with arq in it can import. MessagePack and
//! JSON carry no exceptions: there a failure is a text `<type>: <message>`, or, for clients with a decoder for it, a
//! map `{"__exc__": <type>, "msg": <message>}` ([`FailureForm`]).

use super::{Codec, EncodeError, pickle};
use crate::jobs::value::{Object, Value};

/// Why a job has no value.
#[derive(Debug, Clone, PartialEq)]
pub enum Raised {
    /// `arq.worker.JobExecutionFailed` with this text; what we raise for every failure of a job itself.
    Failed(String),
    /// `asyncio.CancelledError`: the job was aborted.
    Cancelled,
    /// `TimeoutError`: the job took longer than it may.
    TimedOut,
    /// `arq.jobs.DeserializationError`: the bytes were no job.
    Undecodable,
    /// An exception of another class. It is read and never written: it would be written as a failure.
    Exception(Box<Object>),
    /// A value in place of an exception.
    Value(Value),
}

const FAILED: (&str, &str) = ("arq.worker", "JobExecutionFailed");
const CANCELLED: (&str, &str) = ("asyncio.exceptions", "CancelledError");
const TIMED_OUT: (&str, &str) = ("builtins", "TimeoutError");
const UNDECODABLE: (&str, &str) = ("arq.jobs", "DeserializationError");
const UNDECODABLE_TEXT: &str = "unable to deserialize job";

/// How failures are written in MessagePack and JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FailureForm {
    /// `"<type>: <message>"`: any client shows it, inside of a `SerializationError`.
    #[default]
    Text,
    /// `{"__exc__": "<type>", "msg": "<message>"}`, for clients that decode it.
    Map,
}

impl Raised {
    /// The failure of a job with one of our error codes.
    pub fn failed(code: &str, message: &str) -> Self {
        Self::Failed(format!("{code}: {message}"))
    }

    /// What arq says of a job whose key has expired.
    pub fn expired() -> Self {
        Self::Failed("job expired".to_owned())
    }

    /// What arq says of a function that its worker does not have.
    pub fn function_not_found(function: &str) -> Self {
        Self::Failed(format!("function {} not found", python_repr(function)))
    }

    /// What arq says after the last try.
    pub fn retries_exceeded(max_tries: u32) -> Self {
        Self::Failed(format!("max {max_tries} retries exceeded"))
    }

    /// What arq says of a result that it cannot write.
    pub fn unserializable() -> Self {
        Self::Value(Value::from("unable to serialize result"))
    }

    /// The code of a failure that `failed` made: `code: message`.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Failed(text) | Self::Value(Value::Str(text)) => split(text).map(|(code, _)| code),
            _ => None,
        }
    }

    /// The type and the message that a person reads.
    pub fn message(&self) -> String {
        match self {
            Self::Failed(text) => text.clone(),
            Self::Cancelled => CANCELLED.1.to_owned(),
            Self::TimedOut => TIMED_OUT.1.to_owned(),
            Self::Undecodable => UNDECODABLE_TEXT.to_owned(),
            Self::Exception(object) => object.to_string(),
            Self::Value(Value::Str(text)) => text.clone(),
            Self::Value(value) => value.shown().to_string(),
        }
    }

    /// Reads what a result without success has in place of a value.
    pub(super) fn decode(value: Value, codec: Codec) -> Self {
        match value {
            Value::Object(object) => Self::of_object(object),
            Value::Str(text) if codec != Codec::Pickle => Self::of_text(text),
            value if codec != Codec::Pickle => Self::of_map(value),
            value => Self::Value(value),
        }
    }

    fn of_object(object: Box<Object>) -> Self {
        let text = match object.args.as_slice() {
            [] => None,
            [Value::Str(text)] => Some(text.clone()),
            _ => return Self::Exception(object),
        };
        match (object.module.as_str(), object.name.as_str(), text) {
            (module, name, Some(text)) if (module, name) == FAILED => Self::Failed(text),
            ("asyncio.exceptions" | "asyncio", "CancelledError", _) => Self::Cancelled,
            ("builtins" | "asyncio.exceptions" | "asyncio", "TimeoutError", None) => Self::TimedOut,
            (module, name, Some(text))
                if (module, name) == UNDECODABLE && text == UNDECODABLE_TEXT =>
            {
                Self::Undecodable
            }
            _ => Self::Exception(object),
        }
    }

    /// The inverse of `text`. Other texts stay values, as a Python client sees them.
    fn of_text(text: String) -> Self {
        if text == CANCELLED.1 {
            return Self::Cancelled;
        }
        if text == TIMED_OUT.1 {
            return Self::TimedOut;
        }
        match text.split_once(": ") {
            Some((kind, UNDECODABLE_TEXT)) if kind == UNDECODABLE.1 => Self::Undecodable,
            Some((kind, message)) if kind == FAILED.1 => Self::Failed(message.to_owned()),
            _ => Self::Value(Value::Str(text)),
        }
    }

    fn of_map(value: Value) -> Self {
        let Some(kind) = value.get("__exc__").and_then(Value::as_str) else {
            return Self::Value(value);
        };
        let message = value.get("msg").and_then(Value::as_str).unwrap_or_default();
        match kind {
            "CancelledError" => Self::Cancelled,
            "TimeoutError" if message.is_empty() => Self::TimedOut,
            "JobExecutionFailed" => Self::Failed(message.to_owned()),
            "DeserializationError" if message == UNDECODABLE_TEXT => Self::Undecodable,
            _ => Self::Failed(format!("{kind}: {message}")),
        }
    }

    /// Type and message, for the codecs without exceptions.
    fn parts(&self) -> (String, String) {
        match self {
            Self::Failed(text) => match split(text) {
                Some((code, message)) => (code.to_owned(), message.to_owned()),
                None => (FAILED.1.to_owned(), text.clone()),
            },
            Self::Cancelled => (CANCELLED.1.to_owned(), String::new()),
            Self::TimedOut => (TIMED_OUT.1.to_owned(), String::new()),
            Self::Undecodable => (UNDECODABLE.1.to_owned(), UNDECODABLE_TEXT.to_owned()),
            Self::Exception(_) | Self::Value(_) => {
                let text = self.message();
                match split(&text) {
                    Some((code, message)) => (code.to_owned(), message.to_owned()),
                    None => (FAILED.1.to_owned(), text),
                }
            }
        }
    }

    /// Appends what stands in place of the value.
    pub(super) fn put(
        &self,
        out: &mut Vec<u8>,
        codec: Codec,
        form: FailureForm,
    ) -> Result<(), EncodeError> {
        if let Self::Value(value) = self {
            return codec.put(out, value);
        }
        if codec == Codec::Pickle {
            let text = self.message();
            let ((module, name), arg) = match self {
                Self::Cancelled => (CANCELLED, None),
                Self::TimedOut => (TIMED_OUT, None),
                Self::Undecodable => (UNDECODABLE, Some(UNDECODABLE_TEXT)),
                Self::Failed(_) | Self::Exception(_) | Self::Value(_) => {
                    (FAILED, Some(text.as_str()))
                }
            };
            pickle::put_exception(out, module, name, arg);
            return Ok(());
        }
        let (kind, message) = self.parts();
        let value = match form {
            FailureForm::Text if message.is_empty() => Value::Str(kind),
            FailureForm::Text => Value::Str(format!("{kind}: {message}")),
            FailureForm::Map => Value::Dict(vec![
                (Value::from("__exc__"), Value::Str(kind)),
                (Value::from("msg"), Value::Str(message)),
            ]),
        };
        codec.put(out, &value)
    }
}

/// `code: message`, where the code is one word.
fn split(text: &str) -> Option<(&str, &str)> {
    let (code, message) = text.split_once(": ")?;
    let is_word = code.starts_with(|c: char| c.is_ascii_alphabetic())
        && code.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_word.then_some((code, message))
}

/// As Python's `repr` quotes a text: single quotes, unless there are only single ones inside.
fn python_repr(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    let mut repr = String::from(quote);
    for c in text.chars() {
        match c {
            '\\' => repr.push_str("\\\\"),
            '\n' => repr.push_str("\\n"),
            '\r' => repr.push_str("\\r"),
            '\t' => repr.push_str("\\t"),
            c if c == quote => {
                repr.push('\\');
                repr.push(c);
            }
            c if c.is_control() => repr.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => repr.push(c),
        }
    }
    repr.push(quote);
    repr
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_as_python_quotes_them() {
        for (name, wanted) in [
            ("x", "'x'"),
            ("it's", "\"it's\""),
            ("'\"", "'\\'\"'"),
            ("a\nb\u{1}\\", "'a\\nb\\x01\\\\'"),
            ("naïve", "'naïve'"),
        ] {
            assert_eq!(python_repr(name), wanted);
        }
    }

    #[test]
    fn only_a_word_before_a_colon_is_a_code() {
        assert_eq!(
            Raised::failed("model_not_found", "model `x`: no").code(),
            Some("model_not_found")
        );
        assert_eq!(Raised::expired().code(), None);
        assert_eq!(Raised::Failed("not a code: x".to_owned()).code(), None);
    }
}
