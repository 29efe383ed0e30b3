//! Which routes are recorded, and how much of their calls.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize, Serializer};

/// How much of a call is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "HttpAuditDetail")]
pub enum Detail {
    /// Nothing.
    Off,
    /// Everything but bodies.
    Headers,
    /// Bodies too, as far as `max_body` and `redact` allow.
    Bodies,
}

/// Routes whose calls have prediction events.
const PREDICTIONS: [&str; 6] = [
    "/v1/models/{model}/predict",
    "/invocations",
    "/models/{model}/invocations",
    "/v2/models/{model}/infer",
    "/v2/models/{model}/versions/{version}/infer",
    "/v1/models/{model}/jobs",
];

/// A route, or how routes begin.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pattern(String);

#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is no route: write it as in `/openapi.json`, such as `/v1/jobs/{{id}}`, or how routes begin, such as `/v1/*`"
)]
pub struct PatternError(String);

impl Pattern {
    /// How matching routes begin, if it is no whole name.
    fn beginning(&self) -> Option<&str> {
        self.0.strip_suffix('*')
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let name = text.strip_suffix('*').unwrap_or(text);
        let is_one = text == "*" || name.starts_with('/');
        // `{*file}` is how a route takes the rest of a path.
        let has_star = name.replace("{*", "").contains('*');
        match is_one && !has_star && !text.contains(char::is_whitespace) {
            true => Ok(Self(text.to_owned())),
            false => Err(PatternError(text.to_owned())),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Pattern {
    fn schema_name() -> Cow<'static, str> {
        "HttpAuditPattern".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

/// The configured routes, ready to be looked up.
#[derive(Debug)]
pub(super) struct Routes {
    whole: HashMap<String, Detail>,
    /// The longest first.
    beginnings: Vec<(String, Detail)>,
}

impl Routes {
    pub(super) fn new(routes: &BTreeMap<Pattern, Detail>) -> Self {
        let (mut whole, mut beginnings) = (HashMap::new(), Vec::new());
        for (pattern, detail) in routes {
            match pattern.beginning() {
                Some(beginning) => beginnings.push((beginning.to_owned(), *detail)),
                None => {
                    whole.insert(pattern.0.clone(), *detail);
                }
            }
        }
        beginnings.sort_by_key(|(beginning, _)| std::cmp::Reverse(beginning.len()));
        Self { whole, beginnings }
    }

    /// Where no route is, the path decides.
    pub(super) fn detail(&self, route: Option<&str>, path: &str) -> Detail {
        let name = route.unwrap_or(path);
        if let Some(detail) = self.whole.get(name) {
            return *detail;
        }
        if PREDICTIONS.contains(&name) {
            return Detail::Off;
        }
        let mut beginnings = self.beginnings.iter();
        let found = beginnings.find(|(beginning, _)| name.starts_with(beginning.as_str()));
        found.map_or(Detail::Off, |(_, detail)| *detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(text: &str) -> Routes {
        let routes: BTreeMap<Pattern, Detail> = toml::from_str(text).unwrap();
        Routes::new(&routes)
    }

    #[test]
    fn the_longest_beginning_counts_and_a_whole_name_before_it() {
        let routes = routes(
            "'*' = 'headers'\n'/v1/*' = 'bodies'\n'/v1/jobs/*' = 'off'\n'/v1/jobs/{id}' = 'headers'",
        );
        for (route, detail) in [
            ("/push", Detail::Headers),
            ("/v1/models", Detail::Bodies),
            ("/v1/jobs/{id}/events", Detail::Off),
            ("/v1/jobs/{id}", Detail::Headers),
        ] {
            assert_eq!(routes.detail(Some(route), "/x"), detail, "{route}");
        }
        assert_eq!(routes.detail(None, "/v1/nothing"), Detail::Bodies);
    }

    #[test]
    fn predictions_are_recorded_only_by_their_whole_name() {
        let all = routes("'*' = 'bodies'");
        for route in PREDICTIONS {
            assert_eq!(all.detail(Some(route), "/x"), Detail::Off, "{route}");
        }
        let one = routes("'/invocations' = 'headers'");
        assert_eq!(
            one.detail(Some("/invocations"), "/invocations"),
            Detail::Headers
        );
        assert_eq!(one.detail(Some("/ping"), "/ping"), Detail::Off);
    }

    #[test]
    fn what_is_no_route_is_an_error_that_says_what_to_write() {
        for text in ["v1/models", "", "/v1/*/jobs", "/v1 /x", "**"] {
            let error = text.parse::<Pattern>().unwrap_err().to_string();
            assert!(error.contains("such as `/v1/*`"), "{error}");
        }
        for text in ["/", "*", "/v1/*", "/docs/{*file}"] {
            assert_eq!(text.parse::<Pattern>().unwrap().to_string(), text);
        }
    }
}
