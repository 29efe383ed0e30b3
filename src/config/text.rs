//! Small text for messages and printing: TOML literals, the nearest of some names.

use serde_json::Value as Json;

/// What stands where a secret would.
pub(super) const HIDDEN: &str = "(hidden)";

/// A JSON value as TOML writes it in one line.
pub(super) fn literal(value: &Json) -> String {
    toml::Value::try_from(value).map_or_else(|_| value.to_string(), |value| value.to_string())
}

/// `a`, `b` and `c`, each in backticks.
pub(super) fn enumeration(names: &[String], last_word: &str) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.as_slice() {
        [] => String::new(),
        [name] => name.clone(),
        [names @ .., last] => format!("{} {last_word} {last}", names.join(", ")),
    }
}

/// The name that is most like `name`, if one is at all.
pub(super) fn nearest<'a>(name: &str, names: &[&'a str]) -> Option<&'a str> {
    let tolerated = name.chars().count().div_ceil(3);
    names
        .iter()
        .map(|other| (edit_distance(name, other), *other))
        .filter(|(distance, _)| *distance <= tolerated)
        .min()
        .map(|(_, other)| other)
}

/// Levenshtein's: how many letters are put in, taken out or changed.
fn edit_distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut distances: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = i;
        distances[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let changed = diagonal + usize::from(a != *b);
            diagonal = distances[j + 1];
            distances[j + 1] = changed.min(diagonal + 1).min(distances[j] + 1);
        }
    }
    distances[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_a_slip_of_the_finger_away() {
        let names = ["listen", "max_body", "max_rows"];
        assert_eq!(nearest("lisen", &names), Some("listen"));
        assert_eq!(nearest("max-row", &names), Some("max_rows"));
        assert_eq!(nearest("port", &names), None);
    }

    #[test]
    fn edit_distance_counts_letters() {
        for (from, to, distance) in [("", "", 0), ("abc", "", 3), ("kitten", "sitting", 3)] {
            assert_eq!(edit_distance(from, to), distance);
        }
    }
}
