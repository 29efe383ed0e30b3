//! The texts inside of a pickle: escapes of protocol 0, names for messages.

use std::borrow::Cow;

use super::super::json::integer;
use crate::jobs::value::Value;

/// The text of a `UNICODE` line: Latin-1 with `\uXXXX` and `\UXXXXXXXX`; any other backslash is itself.
pub(super) fn raw_unicode(line: &[u8]) -> Option<Cow<'_, str>> {
    if line.is_ascii() && !line.contains(&b'\\') {
        return str::from_utf8(line).ok().map(Cow::Borrowed);
    }
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'\\' {
            text.push(char::from(*first));
            continue;
        }
        let Some((kind, after)) = rest.split_first() else {
            text.push('\\');
            break;
        };
        rest = after;
        let n_digits = match kind {
            b'u' => 4,
            b'U' => 8,
            other => {
                text.push('\\');
                text.push(char::from(*other));
                continue;
            }
        };
        let (digits, after) = rest.split_at_checked(n_digits)?;
        let digits = str::from_utf8(digits).ok()?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        text.push(char::from_u32(u32::from_str_radix(digits, 16).ok()?)?);
        rest = after;
    }
    Some(Cow::Owned(text))
}

/// The number of an `INT` line; `00` and `01` are booleans there.
pub(super) fn int_line(line: &[u8]) -> Option<Value> {
    match line {
        b"00" => Some(Value::Bool(false)),
        b"01" => Some(Value::Bool(true)),
        _ => integer(str::from_utf8(line).ok()?),
    }
}

/// The number of a `LONG` line, with or without Python 2's `L`.
pub(super) fn long_line(line: &[u8]) -> Option<Value> {
    let line = line.strip_suffix(b"L").unwrap_or(line);
    integer(str::from_utf8(line).ok()?)
}

/// A name out of a pickle, fit for a message: short, and without control characters.
pub(super) fn shown(name: &str) -> String {
    const MOST: usize = 64;
    let mut shown: String = name
        .chars()
        .take(MOST)
        .flat_map(char::escape_debug)
        .collect();
    if name.chars().nth(MOST).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_read_as_python_reads_them() {
        for (line, wanted) in [
            (&b"plain"[..], Some("plain")),
            (b"na\xefve", Some("naïve")),
            (b"\\u2603\\U0001f980", Some("☃🦀")),
            (b"a\\\\u2603", Some("a\\\\u2603")),
            (b"end\\", Some("end\\")),
            (b"\\n", Some("\\n")),
            (b"\\ud800", None),
            (b"\\u12", None),
            (b"\\u+123", None),
        ] {
            assert_eq!(raw_unicode(line).as_deref(), wanted, "{line:?}");
        }
    }
}
