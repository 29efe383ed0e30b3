//! Environment variables in feature_store.yaml: Python's `os.path.expandvars` over the whole text.

/// Python's `os.path.expandvars`: one pass, unset names stay, nothing escapes a `$`.
pub(super) fn expand(text: &str, environment: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('$') {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let Some((name, length)) = variable(rest) else {
            out.push('$');
            rest = &rest[1..];
            continue;
        };
        match environment(name) {
            Some(value) => out.push_str(&value),
            None => out.push_str(&rest[..length]),
        }
        rest = &rest[length..];
    }
    out.push_str(rest);
    out
}

/// The first variable that expansion left standing.
pub(in crate::features) fn unset_variable(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("${")?;
    let (name, _) = rest.split_once('}')?;
    Some(name)
}

/// The variable that `text` begins with: its name, and the length of `$NAME` or `${NAME}`.
fn variable(text: &str) -> Option<(&str, usize)> {
    if let Some(braced) = text.strip_prefix("${") {
        let end = braced.find('}')?;
        return Some((&braced[..end], end + 3));
    }
    let plain = text.strip_prefix('$')?;
    let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    let end = plain.find(word).unwrap_or(plain.len());
    (end > 0).then(|| (&plain[..end], end + 1))
}
