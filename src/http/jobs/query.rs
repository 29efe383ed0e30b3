//! Query parameters: each at most once, none that is not known.

use std::num::NonZeroUsize;
use std::time::Duration;

use super::Error;

/// The parameters of one request.
pub(super) struct Query(Vec<(&'static str, String)>);

impl Query {
    pub(super) fn parse(query: Option<&str>, known: &[&'static str]) -> Result<Self, Error> {
        let mut parameters: Vec<(&'static str, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            let Some(name) = known.iter().find(|known| **known == name) else {
                return Err(Error::Query {
                    name: "a query parameter",
                    actual: name.into_owned(),
                    wanted: "one that the operation has; /docs lists them",
                });
            };
            if parameters.iter().any(|(given, _)| given == name) {
                return Err(Error::Query {
                    name,
                    actual: value.into_owned(),
                    wanted: "one value, not a second",
                });
            }
            parameters.push((name, value.into_owned()));
        }
        Ok(Self(parameters))
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(given, _)| *given == name);
        found.map(|(_, value)| value.as_str())
    }

    /// A time span no longer than `limit`; zero if it is not given.
    pub(super) fn duration(
        &self,
        name: &'static str,
        limit: Duration,
        wanted: &'static str,
    ) -> Result<Option<Duration>, Error> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        match humantime::parse_duration(text) {
            Ok(duration) if duration <= limit => Ok(Some(duration)),
            _ => Err(Error::Query {
                name,
                actual: text.to_owned(),
                wanted,
            }),
        }
    }

    pub(super) fn limit(&self, default: NonZeroUsize) -> Result<NonZeroUsize, Error> {
        let Some(text) = self.text("limit") else {
            return Ok(default);
        };
        let number = text.parse::<NonZeroUsize>().ok();
        number
            .filter(|number| number.get() <= 1000)
            .ok_or_else(|| Error::Query {
                name: "limit",
                actual: text.to_owned(),
                wanted: "a number from 1 to 1000",
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_that_are_not_known_or_come_twice_are_refused() {
        let query = |text| Query::parse(Some(text), &["wait", "limit"]);
        assert_eq!(query("wait=5s&limit=7").unwrap().text("wait"), Some("5s"));
        for bad in ["wiat=5s", "wait=5s&wait=6s"] {
            assert!(query(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn time_spans_have_a_limit() {
        let minute = Duration::from_secs(60);
        let wait = |text| {
            let query = Query::parse(Some(text), &["wait"])?;
            query.duration("wait", minute, "a time span of at most 60s, such as 5s")
        };
        assert_eq!(
            wait("wait=250ms").unwrap(),
            Some(Duration::from_millis(250))
        );
        assert_eq!(wait("").unwrap(), None);
        for bad in ["wait=61s", "wait=5", "wait=", "wait=-1s"] {
            assert!(wait(bad).is_err(), "{bad}");
        }
    }
}
