//! Models as MLflow's URIs name them: `models:/name@alias`, `models:/name/3`, `models:/m-<id>`, `runs:/<run>/path`.

use std::fmt;
use std::str::FromStr;

use super::names::ModelVersion;

/// What a URI names. Paths below it are relative, with `/`; empty for the model itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ModelUri {
    /// `models:/name/3`.
    Version {
        name: String,
        version: ModelVersion,
        path: String,
    },
    /// `models:/name@alias`.
    Alias {
        name: String,
        alias: String,
        path: String,
    },
    /// `models:/name/latest`: the highest version.
    Latest { name: String },
    /// `models:/name/Production`: the highest version in a stage, which MLflow has deprecated.
    Stage { name: String, stage: String },
    /// `models:/m-<id>`: a logged model, registered or not.
    Logged { model_id: String, path: String },
    /// `runs:/<run>/path`: what a run has logged.
    Run { run_id: String, path: String },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a model's URI: {reason}")]
pub struct ModelUriError {
    pub text: String,
    pub reason: &'static str,
}

impl ModelUri {
    /// Whether a text is meant as such a URI, well-formed or not.
    pub fn is_meant(text: &str) -> bool {
        text.starts_with("models:") || text.starts_with("runs:")
    }

    /// The path below the model.
    pub fn path(&self) -> &str {
        match self {
            Self::Version { path, .. }
            | Self::Alias { path, .. }
            | Self::Logged { path, .. }
            | Self::Run { path, .. } => path,
            Self::Latest { .. } | Self::Stage { .. } => "",
        }
    }
}

impl FromStr for ModelUri {
    type Err = ModelUriError;

    fn from_str(text: &str) -> Result<Self, ModelUriError> {
        let error = |reason| ModelUriError {
            text: text.to_owned(),
            reason,
        };
        let forms =
            "write `models:/name@alias`, `models:/name/3`, `models:/m-...` or `runs:/run/path`";
        let (scheme, rest) = text.split_once(":/").ok_or_else(|| error(forms))?;
        if rest.starts_with('/') {
            return Err(error(
                "one slash follows the colon; profiles are not supported",
            ));
        }
        let (first, rest) = rest.split_once('/').unwrap_or((rest, ""));
        let rest = rest.trim_end_matches('/');
        if first.is_empty() {
            return Err(error(forms));
        }
        if rest.split('/').any(|part| matches!(part, "." | "..")) {
            return Err(error("the path leads outside the model"));
        }
        match scheme {
            "runs" => Ok(Self::Run {
                run_id: first.to_owned(),
                path: rest.to_owned(),
            }),
            "models" => of_model(first, rest).map_err(error),
            _ => Err(error(forms)),
        }
    }
}

fn of_model(first: &str, rest: &str) -> Result<ModelUri, &'static str> {
    if let Some((name, alias)) = first.rsplit_once('@') {
        if name.is_empty() || alias.is_empty() {
            return Err("write `models:/name@alias`");
        }
        return Ok(ModelUri::Alias {
            name: name.to_owned(),
            alias: alias.to_owned(),
            path: rest.to_owned(),
        });
    }
    let (selector, path) = rest.split_once('/').unwrap_or((rest, ""));
    // A registered model may be called `m-...` too; then something that selects a version follows.
    if is_model_id(first) && selector.parse::<u64>().is_err() {
        return Ok(ModelUri::Logged {
            model_id: first.to_owned(),
            path: rest.to_owned(),
        });
    }
    let name = first.to_owned();
    if let Ok(version) = selector.parse() {
        return Ok(ModelUri::Version {
            name,
            version: ModelVersion(version),
            path: path.to_owned(),
        });
    }
    match (selector, path) {
        ("", _) => Err("it names no version; write `models:/name@alias` or `models:/name/3`"),
        (_, path) if !path.is_empty() => Err("a path follows a version or an alias only"),
        (selector, _) if selector.eq_ignore_ascii_case("latest") => Ok(ModelUri::Latest { name }),
        (stage, _) => Ok(ModelUri::Stage {
            name,
            stage: stage.to_owned(),
        }),
    }
}

/// `m-` and 32 hexadecimal digits.
fn is_model_id(text: &str) -> bool {
    text.strip_prefix("m-").is_some_and(|digits| {
        digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
    })
}

impl fmt::Display for ModelUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version { name, version, .. } => write!(f, "models:/{name}/{version}")?,
            Self::Alias { name, alias, .. } => write!(f, "models:/{name}@{alias}")?,
            Self::Latest { name } => write!(f, "models:/{name}/latest")?,
            Self::Stage { name, stage } => write!(f, "models:/{name}/{stage}")?,
            Self::Logged { model_id, .. } => write!(f, "models:/{model_id}")?,
            Self::Run { run_id, .. } => write!(f, "runs:/{run_id}")?,
        }
        match self.path() {
            "" => Ok(()),
            path => write!(f, "/{path}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_round_trip() {
        let id = "m-0123456789abcdef0123456789abcdef";
        for text in [
            "models:/price model@champion".to_owned(),
            "models:/price-model@champion/sub/dir".to_owned(),
            "models:/price-model/3".to_owned(),
            "models:/price-model/3/sub".to_owned(),
            "models:/price-model/latest".to_owned(),
            "models:/price-model/Production".to_owned(),
            format!("models:/{id}"),
            format!("models:/{id}/sub"),
            format!("models:/{id}/7"),
            "runs:/abc/model".to_owned(),
            "runs:/abc".to_owned(),
        ] {
            assert!(ModelUri::is_meant(&text));
            assert_eq!(text.parse::<ModelUri>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn an_identifier_is_a_logged_model_unless_a_number_follows() {
        let id = "m-0123456789abcdef0123456789abcdef";
        let logged: ModelUri = format!("models:/{id}").parse().unwrap();
        assert!(matches!(logged, ModelUri::Logged { .. }));
        let version: ModelUri = format!("models:/{id}/7").parse().unwrap();
        assert!(matches!(version, ModelUri::Version { .. }));
        let version: ModelUri = "models:/m-short/7".parse().unwrap();
        assert!(matches!(version, ModelUri::Version { .. }));
    }

    #[test]
    fn latest_is_a_word_in_any_case_and_other_words_are_stages() {
        let latest: ModelUri = "models:/m/LATEST".parse().unwrap();
        assert_eq!(
            latest,
            ModelUri::Latest {
                name: "m".to_owned()
            }
        );
        let stage: ModelUri = "models:/m/staging".parse().unwrap();
        assert!(matches!(stage, ModelUri::Stage { .. }));
    }

    #[test]
    fn a_malformed_uri_says_what_to_write() {
        for (text, part) in [
            ("models:/m", "names no version"),
            ("models:/", "write"),
            ("models:name", "write"),
            ("models:/@a", "name@alias"),
            ("models:/m@", "name@alias"),
            ("models://profile/m/1", "one slash"),
            ("models:/m/Production/sub", "a path follows"),
            ("models:/m/1/../x", "outside"),
            ("runs:/../x/..", "outside"),
            ("s3:/bucket/x", "write"),
        ] {
            let error = text.parse::<ModelUri>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
