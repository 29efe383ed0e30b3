//! Which names a registered model and an alias may have: what MLflow refuses, and what no request could ask for.

use super::Error;

/// MLflow keeps both in columns of this many characters.
const MAX_CHARACTERS: usize = 255;

/// MLflow refuses `/` and `:`; `@` and `\` would end the name in a request or lead out of a directory.
pub(super) fn check_model(name: &str) -> Result<(), Error> {
    let reason = if name.is_empty() {
        "it is empty"
    } else if name.contains(['/', ':']) {
        "MLflow allows neither `/` nor `:` in it"
    } else if name.contains(['@', '\\']) {
        "requests name a model as `name@alias`, so it may have neither `@` nor `\\`"
    } else if name.trim() != name || name.contains(char::is_control) {
        "it has blanks at an end or control characters"
    } else if name.chars().count() > MAX_CHARACTERS {
        "it is longer than 255 characters"
    } else {
        return Ok(());
    };
    Err(Error::ModelName {
        name: name.to_owned(),
        reason,
    })
}

/// Letters, digits, `_` and `-`; `latest` and `v3` stand for versions already.
pub(super) fn check_alias(alias: &str) -> Result<(), Error> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let digits = alias.strip_prefix(['v', 'V']).unwrap_or_default();
    let reason = if alias.is_empty() {
        "it is empty"
    } else if alias.eq_ignore_ascii_case("latest") {
        "MLflow reserves it for the highest version"
    } else if !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit()) {
        "MLflow reserves `v` with a number for versions"
    } else if !alias.chars().all(is_word) {
        "it may have letters, digits, `_` and `-`"
    } else if alias.chars().count() > MAX_CHARACTERS {
        "it is longer than 255 characters"
    } else {
        return Ok(());
    };
    Err(Error::Alias {
        alias: alias.to_owned(),
        reason,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Failure;

    #[test]
    fn hostile_model_names_are_refused() {
        for name in ["", "a/b", "a:b", "../b", "a@b", "a\\b", " a", "a\n", "a\0b"] {
            let error = check_model(name).unwrap_err();
            assert_eq!(error.code(), "model_name_invalid", "{name:?}");
        }
        assert!(check_model(&"x".repeat(256)).is_err());
        for name in ["driver_ranking", "price model", "modèle", "a.b-c", "it's"] {
            check_model(name).unwrap();
        }
    }

    #[test]
    fn reserved_and_malformed_aliases_are_refused() {
        for alias in [
            "", "latest", "LATEST", "v3", "V12", "a b", "a/b", "a:b", "a@b",
        ] {
            let error = check_alias(alias).unwrap_err();
            assert_eq!(error.code(), "model_alias_invalid", "{alias:?}");
        }
        for alias in ["champion", "v", "v3a", "é", "a_b-c", "3"] {
            check_alias(alias).unwrap();
        }
    }
}
