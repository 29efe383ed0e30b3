//! JSON as Python reads it: `NaN`, `Infinity` and numbers beyond double precision, which JSON itself has not.
//!
//! A body that is not strict JSON is rewritten once: such a literal becomes a string that begins with a character that is
//! none (U+FDD0), and the values of a body are read with that in mind. Strict bodies never come here.

use crate::types::cell::Cell;

/// Stands before the text of a literal. Unicode assigns it to nothing, ever.
const MARK: char = '\u{fdd0}';

/// The body with such literals as marked strings; `None` if it has none.
pub(super) fn marked(body: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(body).ok()?;
    let mut rewritten = String::with_capacity(text.len() + 64);
    let mut found = false;
    let mut rest = text;
    while let Some(at) =
        rest.find(|c: char| matches!(c, '"' | '-' | 'N' | 'I') || c.is_ascii_digit())
    {
        rewritten.push_str(&rest[..at]);
        rest = &rest[at..];
        let length = if rest.starts_with('"') {
            string_length(rest)
        } else {
            literal_length(rest)
        };
        let (token, after) = rest.split_at(length);
        if cell_of(token).is_some() {
            found = true;
            rewritten.extend(['"', MARK]);
            rewritten.push_str(token);
            rewritten.push('"');
        } else {
            rewritten.push_str(token);
        }
        rest = after;
    }
    rewritten.push_str(rest);
    found.then(|| rewritten.into_bytes())
}

/// What a marked string stands for.
pub(super) fn unmarked(text: &str) -> Option<Cell> {
    cell_of(text.strip_prefix(MARK)?)
}

/// A literal that only Python reads.
fn cell_of(token: &str) -> Option<Cell> {
    match token {
        "NaN" => Some(Cell::Float(f64::NAN)),
        "Infinity" => Some(Cell::Float(f64::INFINITY)),
        "-Infinity" => Some(Cell::Float(f64::NEG_INFINITY)),
        number if number.starts_with(['-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']) => {
            let value: f64 = number.parse().ok()?;
            value.is_infinite().then_some(Cell::Float(value))
        }
        _ => None,
    }
}

/// Length of the string that the text begins with, quotes included; all of it if it does not end.
fn string_length(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Length of the number or word that the text begins with; at least one.
fn literal_length(text: &str) -> usize {
    let belongs = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.' | '_');
    text.find(|c| !belongs(c)).unwrap_or(text.len()).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(body: &str) -> Vec<Cell> {
        let marked = marked(body.as_bytes()).unwrap();
        let texts: Vec<serde_json::Value> = serde_json::from_slice(&marked).unwrap();
        let texts = texts.iter().filter_map(serde_json::Value::as_str);
        texts.filter_map(unmarked).collect()
    }

    #[test]
    fn literals_of_python_are_told_from_text() {
        let cells = round_trip(r#"[NaN, 1.5, -Infinity, "NaN", "a\"NaN", Infinity, 1e999, -3]"#);
        let [Cell::Float(nan), rest @ ..] = &cells[..] else {
            panic!("{cells:?}");
        };
        assert!(nan.is_nan());
        let infinities = [f64::NEG_INFINITY, f64::INFINITY, f64::INFINITY].map(Cell::Float);
        assert_eq!(rest, infinities);
    }

    #[test]
    fn what_has_no_such_literal_is_not_rewritten() {
        for body in [
            "[1, 2",
            r#"["NaN"]"#,
            "",
            "[nan]",
            "[-]",
            "\"open",
            "[Nano]",
        ] {
            assert_eq!(marked(body.as_bytes()), None, "{body}");
        }
        assert_eq!(marked(b"\xff NaN"), None);
    }
}
