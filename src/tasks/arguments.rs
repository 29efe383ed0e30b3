//! The arguments of a call by the names of the function's parameters, as Python binds them.

use std::num::NonZeroUsize;

use super::Error;
use crate::jobs::value::Value;
use crate::jobs::worker::Call;
use crate::types::timestamp::Timestamp;

/// What a call gives for each parameter.
pub(super) struct Arguments<'a> {
    function: &'a str,
    bound: Vec<(&'static str, &'a Value)>,
}

impl<'a> Arguments<'a> {
    /// Binds the arguments to the parameters: the first `n_positional` of them may be given without a name.
    pub(super) fn bind(
        call: &'a Call,
        parameters: &'static [&'static str],
        n_positional: usize,
    ) -> Result<Self, Error> {
        let wrong = |problem: String| Error::Arguments {
            function: call.function.clone(),
            problem,
        };
        if call.args.len() > n_positional {
            let n_given = call.args.len();
            return Err(wrong(format!(
                "it takes {n_positional} arguments by position, and {n_given} are given"
            )));
        }
        let positional = parameters.iter().copied().zip(&call.args);
        let mut bound: Vec<(&'static str, &Value)> = positional.collect();
        for (name, value) in &call.kwargs {
            let Some(parameter) = parameters.iter().find(|parameter| **parameter == name) else {
                let known = parameters.join("`, `");
                return Err(wrong(format!(
                    "it has no parameter `{name}`; there are `{known}`"
                )));
            };
            if bound.iter().any(|(other, _)| other == parameter) {
                return Err(wrong(format!("`{name}` is given twice")));
            }
            bound.push((parameter, value));
        }
        Ok(Self {
            function: &call.function,
            bound,
        })
    }

    /// `None` where it is not given, or is Python's `None`.
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        let found = self.bound.iter().find(|(bound, _)| *bound == name);
        let value = found.map(|(_, value)| *value);
        value.filter(|value| **value != Value::None)
    }

    pub(super) fn required(&self, name: &str) -> Result<&'a Value, Error> {
        self.get(name)
            .ok_or_else(|| self.wrong(format!("`{name}` is missing")))
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>, Error> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        match value.as_str() {
            Some(text) => Ok(Some(text)),
            None => Err(self.wrong(format!("`{name}` is no text but {}", value.type_name()))),
        }
    }

    pub(super) fn required_text(&self, name: &str) -> Result<&'a str, Error> {
        self.required(name)?;
        Ok(self.text(name)?.unwrap_or_default())
    }

    /// `False` where it is not given.
    pub(super) fn flag(&self, name: &str) -> Result<bool, Error> {
        match self.get(name) {
            None => Ok(false),
            Some(Value::Bool(value)) => Ok(*value),
            Some(value) => {
                Err(self.wrong(format!("`{name}` is no bool but {}", value.type_name())))
            }
        }
    }

    /// A whole number of at least 1.
    pub(super) fn count(&self, name: &str) -> Result<Option<NonZeroUsize>, Error> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let number = value.shown();
        let count = number
            .as_u64()
            .and_then(|number| usize::try_from(number).ok());
        match count.and_then(NonZeroUsize::new) {
            Some(count) => Ok(Some(count)),
            None => Err(self.wrong(format!(
                "`{name}` is `{number}`, and no whole number of at least 1"
            ))),
        }
    }

    /// A list of texts.
    pub(super) fn texts(&self, name: &str) -> Result<Option<Vec<String>>, Error> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let texts = value.as_items().map(|items| {
            let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
            texts.collect::<Option<Vec<String>>>()
        });
        match texts.flatten() {
            Some(texts) => Ok(Some(texts)),
            None => Err(self.wrong(format!("`{name}` is no list of texts"))),
        }
    }

    /// A moment: RFC 3339 or a datetime of Python's; without an offset it is in UTC.
    pub(super) fn moment(&self, name: &str) -> Result<Timestamp, Error> {
        let value = self.required(name)?;
        let text = match value.shown() {
            serde_json::Value::String(text) => text.replacen(' ', "T", 1),
            other => other.to_string(),
        };
        let instant = text.parse::<jiff::Timestamp>().or_else(|error| {
            let civil = text.parse::<jiff::civil::DateTime>().map_err(|_| error)?;
            civil
                .to_zoned(jiff::tz::TimeZone::UTC)
                .map(|zoned| zoned.timestamp())
        });
        match instant {
            Ok(instant) => Ok(Timestamp::from_micros(instant.as_microsecond())),
            Err(_) => Err(self.wrong(format!(
                "`{name}` is `{text}`, and no moment such as 2026-11-01T00:00:00Z"
            ))),
        }
    }

    pub(super) fn wrong(&self, problem: String) -> Error {
        Error::Arguments {
            function: self.function.to_owned(),
            problem,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::jobs::JobId;
    use crate::types::deadline::Deadline;

    fn call(args: &[&str], kwargs: &[(&str, &str)]) -> Call {
        let kwargs = kwargs.iter();
        Call {
            id: JobId::random(),
            function: "f".to_owned(),
            args: args.iter().map(|arg| Value::from(*arg)).collect(),
            kwargs: kwargs
                .map(|(name, arg)| ((*name).to_owned(), Value::from(*arg)))
                .collect(),
            attempt: 1,
            enqueued_at: Timestamp::EPOCH,
            deadline: Deadline::after(Duration::from_secs(1)),
        }
    }

    const PARAMETERS: &[&str] = &["a", "b", "c"];

    #[test]
    fn arguments_bind_as_in_python() {
        let call = call(&["1"], &[("c", "3")]);
        let arguments = Arguments::bind(&call, PARAMETERS, 2).unwrap();
        assert_eq!(arguments.required_text("a").unwrap(), "1");
        assert_eq!(arguments.text("b").unwrap(), None);
        assert_eq!(arguments.text("c").unwrap(), Some("3"));
    }

    #[test]
    fn what_does_not_bind_says_why() {
        let problem = |args: &[&str], kwargs: &[(&str, &str)]| {
            let call = call(args, kwargs);
            Arguments::bind(&call, PARAMETERS, 2)
                .and_then(|arguments| arguments.required("b").map(drop))
                .unwrap_err()
                .to_string()
        };
        assert!(problem(&["1", "2", "3"], &[]).contains("takes 2 arguments by position, and 3"));
        assert!(problem(&["1"], &[("a", "2")]).contains("`a` is given twice"));
        assert!(problem(&[], &[("d", "2")]).contains("no parameter `d`"));
        assert!(problem(&["1"], &[]).contains("`b` is missing"));
    }

    #[test]
    fn moments_without_an_offset_are_in_utc() {
        for text in [
            "2026-11-01T00:00:00Z",
            "2026-11-01T00:00:00",
            "2026-11-01 01:00:00+01:00",
        ] {
            let call = call(&[text], &[]);
            let arguments = Arguments::bind(&call, PARAMETERS, 2).unwrap();
            assert_eq!(
                arguments.moment("a").unwrap().to_string(),
                "2026-11-01T00:00:00Z",
                "{text}"
            );
        }
    }
}
