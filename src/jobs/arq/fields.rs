//! The fields of a decoded job or result.

use super::{DecodeError, keys};
use crate::jobs::value::Value;
use crate::types::timestamp::Timestamp;

/// The fields of a decoded map, each of which is taken once.
pub(super) struct Fields {
    of: &'static str,
    pairs: Vec<(Value, Value)>,
}

impl Fields {
    pub(super) fn of(of: &'static str, value: Value) -> Result<Self, DecodeError> {
        match value {
            Value::Dict(pairs) => Ok(Self { of, pairs }),
            other => Err(DecodeError::FieldType {
                of,
                field: "",
                found: other.type_name().to_owned(),
                wanted: "a map",
            }),
        }
    }

    pub(super) fn take_if_any(&mut self, field: &'static str) -> Option<Value> {
        let mut pairs = self.pairs.iter_mut();
        let (_, value) = pairs.find(|(key, _)| key.as_str() == Some(field))?;
        Some(std::mem::take(value))
    }

    pub(super) fn take(&mut self, field: &'static str) -> Result<Value, DecodeError> {
        let of = self.of;
        self.take_if_any(field)
            .ok_or(DecodeError::FieldMissing { of, field })
    }

    fn misfit<T>(
        &self,
        field: &'static str,
        found: &Value,
        wanted: &'static str,
    ) -> Result<T, DecodeError> {
        Err(DecodeError::FieldType {
            of: self.of,
            field,
            found: format!("of type {}", found.type_name()),
            wanted,
        })
    }

    pub(super) fn text(&mut self, field: &'static str) -> Result<String, DecodeError> {
        match self.take(field)? {
            Value::Str(text) => Ok(text),
            other => self.misfit(field, &other, "text"),
        }
    }

    pub(super) fn flag(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        match self.take(field)? {
            Value::Bool(flag) => Ok(flag),
            other => self.misfit(field, &other, "a boolean"),
        }
    }

    /// Milliseconds; fractions are cut.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "saturates, and is far outside any calendar then"
    )]
    pub(super) fn time(&mut self, field: &'static str) -> Result<Timestamp, DecodeError> {
        match self.take(field)? {
            Value::Int(millis) => Ok(keys::time(millis)),
            Value::Float(millis) if millis.is_finite() => Ok(keys::time(millis as i64)),
            other => self.misfit(field, &other, "a number of milliseconds"),
        }
    }

    /// A try of zero or less asks for nothing; one beyond `u32` is as far beyond any limit as the largest.
    pub(super) fn job_try(&mut self) -> Result<Option<u32>, DecodeError> {
        match self.take("t")? {
            Value::None => Ok(None),
            Value::Int(job_try) if job_try <= 0 => Ok(None),
            Value::Int(job_try) => Ok(Some(u32::try_from(job_try).unwrap_or(u32::MAX))),
            other => self.misfit("t", &other, "an integer or nothing"),
        }
    }

    pub(super) fn args(&mut self) -> Result<Vec<Value>, DecodeError> {
        match self.take("a")? {
            Value::List(args) | Value::Tuple(args) => Ok(args),
            other => self.misfit("a", &other, "a list"),
        }
    }

    pub(super) fn kwargs(&mut self) -> Result<Vec<(String, Value)>, DecodeError> {
        let pairs = match self.take("k")? {
            Value::Dict(pairs) => pairs,
            other => return self.misfit("k", &other, "a map"),
        };
        let mut kwargs = Vec::with_capacity(pairs.len());
        for (name, value) in pairs {
            match name {
                Value::Str(name) => kwargs.push((name, value)),
                other => return self.misfit("k", &other, "a map whose keys are text"),
            }
        }
        Ok(kwargs)
    }
}
