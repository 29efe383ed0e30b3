//! What is wrong with given values, found and put into words.

use serde::de::DeserializeOwned;

use super::environment::variable_name;
use super::key::Key;
use super::problem::Problem;
use super::schema::{Node, Schema, Unknown};
use super::text::{HIDDEN, enumeration, literal, nearest};
use super::tree::{Given, Origin, Tree};

/// Reasons of `serde` that say less than what is said about the option anyway.
const EMPTY_REASONS: [&str; 4] = [
    "invalid type",
    "invalid value",
    "unknown variant",
    "data did not match any variant",
];

/// Why the option does not accept the value, tried alone on top of the defaults.
///
/// What is wrong further up, such as a field beside it that is missing, is not the fault of this value.
pub(super) fn rejection<T: DeserializeOwned>(given: &Given) -> Option<String> {
    let error = serde_path_to_error::deserialize::<_, T>(given.alone()).err()?;
    let is_of_value = error.path().iter().count() >= given.key.segments().len();
    is_of_value.then(|| error.inner().message().to_owned())
}

/// The problem of a value that its option does not accept.
pub(super) fn wrong_value(schema: &Schema, given: &Given, reason: &str) -> Problem {
    let Given { key, value, origin } = given;
    let message = match schema.resolve(key) {
        Err(_) => reason.to_owned(),
        Ok(node) if node.is_secret() => {
            format!(
                "`{key}` takes {}, not what is given: {HIDDEN}",
                node.wanted()
            )
        }
        Ok(node) => {
            let wanted = wanted(node);
            let empty = EMPTY_REASONS.iter().any(|empty| reason.starts_with(empty));
            let reason = if empty {
                String::new()
            } else {
                format!(": {reason}")
            };
            format!("`{key}` takes {wanted}, not `{value}`{reason}")
        }
    };
    let place = origin.place(key);
    Problem { place, message }
}

/// What the option takes, with its default as an example where a word does not say it all.
fn wanted(node: Node<'_>) -> String {
    let wanted = node.wanted();
    match node.default() {
        Some(default) if default.is_string() && node.words().is_empty() => {
            format!("{wanted} such as `{}`", literal(default))
        }
        _ => wanted,
    }
}

/// The problem of a key that leads nowhere.
pub(super) fn unknown_key(schema: &Schema, unknown: &Unknown, origin: &Origin) -> Problem {
    let Unknown { key, siblings } = unknown;
    let above = key.prefix(key.segments().len().saturating_sub(1));
    let message = match schema.resolve(&above) {
        Ok(node) if siblings.is_empty() => {
            format!("`{above}` takes {}, not a table", wanted(node))
        }
        _ => format!(
            "`{key}` is not an option; {}",
            instead(unknown, &above, origin)
        ),
    };
    let place = origin.place(key);
    Problem { place, message }
}

/// What could have been meant.
fn instead(unknown: &Unknown, above: &Key, origin: &Origin) -> String {
    let siblings = &unknown.siblings;
    let names: Vec<&str> = siblings.iter().map(String::as_str).collect();
    let name = unknown.key.segments().last().map_or("", String::as_str);
    match nearest(name, &names) {
        Some(name) => {
            let meant = above.child(name);
            let meant = match origin {
                Origin::Variable(_) => variable_name(&meant),
                Origin::Default | Origin::File { .. } | Origin::Flag => meant.to_string(),
            };
            format!("did you mean `{meant}`?")
        }
        None if above.segments().is_empty() => {
            format!("the sections are {}", enumeration(siblings, "and"))
        }
        None => format!("`{above}` has {}", enumeration(siblings, "and")),
    }
}

/// A problem for each option that must be set and is not, in every table of which something is given.
pub(super) fn missing(schema: &Schema, given: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    let root = Key::default();
    report_missing(
        schema.root(),
        &root,
        &given.to_table(),
        given,
        &mut problems,
    );
    problems
}

fn report_missing(
    node: Node<'_>,
    key: &Key,
    table: &toml::Table,
    given: &Tree,
    problems: &mut Vec<Problem>,
) {
    for name in node.required() {
        if !table.contains_key(name) {
            problems.push(Problem {
                place: place_within(given, key),
                message: format!("`{}` must be set", key.child(name)),
            });
        }
    }
    for (name, value) in table {
        if let (Some(node), Some(table)) = (node.child(name), value.as_table()) {
            report_missing(node, &key.child(name), table, given, problems);
        }
    }
}

/// The problem of values that do not go together.
pub(super) fn whole(given: &Tree, error: &serde_path_to_error::Error<toml::de::Error>) -> Problem {
    let segments = error.path().iter().filter_map(|segment| match segment {
        serde_path_to_error::Segment::Map { key } => Some(key.clone()),
        serde_path_to_error::Segment::Enum { variant } => Some(variant.clone()),
        serde_path_to_error::Segment::Seq { .. } | serde_path_to_error::Segment::Unknown => None,
    });
    let key = Key::from(segments.collect::<Vec<_>>());
    let reason = error.inner().message();
    let message = match key.segments() {
        [] => reason.to_owned(),
        _ => format!("`{key}`: {reason}"),
    };
    Problem {
        place: place_within(given, &key),
        message,
    }
}

/// The place of the first value in a table.
fn place_within(given: &Tree, key: &Key) -> String {
    let first = given.first_within(key);
    first.map_or_else(
        || "default".to_owned(),
        |given| given.origin.place(&given.key),
    )
}
