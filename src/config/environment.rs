//! The environment of the process, read once.

use std::collections::BTreeMap;
use std::fmt;

use super::key::Key;

/// Variables that begin with this set options: `TERRARIUM__HTTP__LISTEN` is `http.listen`.
pub const PREFIX: &str = "TERRARIUM__";

/// Between the segments of a key in a variable's name.
const SEPARATOR: &str = "__";

/// All environment variables at one moment.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The environment of this process: the only place of the product that reads it.
    /// What is not UTF-8 is replaced, so that a wrong path fails where it is used.
    pub fn of_process() -> Self {
        let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        std::env::vars_os()
            .map(|(name, value)| (text(name), text(value)))
            .collect()
    }

    /// A variable that is no option: `ORT_DYLIB_PATH`, `MLFLOW_TRACKING_URI` and the like.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The variables that set options, in order of their names.
    pub(super) fn options(&self) -> impl Iterator<Item = Variable<'_>> {
        self.0.iter().filter_map(|(name, value)| {
            let key = name.strip_prefix(PREFIX)?;
            Some(Variable { name, key, value })
        })
    }
}

impl fmt::Debug for Environment {
    /// Names only: values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        Self(variables.into_iter().collect())
    }
}

/// A variable that sets an option.
pub(super) struct Variable<'a> {
    pub(super) name: &'a str,
    /// The name without the prefix.
    key: &'a str,
    pub(super) value: &'a str,
}

impl Variable<'_> {
    /// The segments of the key in lower case, as options are spelled.
    pub(super) fn segments(&self) -> Vec<String> {
        self.key
            .split(SEPARATOR)
            .map(str::to_ascii_lowercase)
            .collect()
    }
}

/// The variable that sets an option.
pub(super) fn variable_name(key: &Key) -> String {
    let segments: Vec<String> = key.segments().iter().map(|s| fold(s)).collect();
    format!("{PREFIX}{}", segments.join(SEPARATOR)).to_ascii_uppercase()
}

/// A name as a variable can spell it: `Driver-Ranking` and `driver_ranking` are one.
pub(super) fn fold(name: &str) -> String {
    name.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '_'
            }
        })
        .collect()
}
