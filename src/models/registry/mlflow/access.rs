//! Who we are to an MLflow server: what MLflow's own client takes from the environment and from `~/.mlflow/credentials`.
//!
//! A password wins over a token, as in MLflow's client. The credentials file is read again after each refusal, so that a
//! renewed password is found without a restart; the environment of a process cannot change.

use std::fmt;
use std::path::{Path, PathBuf};

use reqwest::{Certificate, ClientBuilder, Identity, RequestBuilder, Url};

use crate::models::registry::Error;

/// The header that chooses a workspace, where the server has that switched on.
const WORKSPACE: &str = "X-MLFLOW-WORKSPACE";

/// Larger files are no credentials.
const MAX_FILE_BYTES: u64 = 1 << 20;

#[derive(Clone)]
pub(in crate::models::registry) struct Access {
    from_environment: Credentials,
    /// Looked at where the environment says nothing.
    file: Option<PathBuf>,
    /// Of an address like `http://user:password@host`; counts where nothing else is there.
    in_address: Credentials,
    workspace: Option<String>,
    insecure: bool,
    server_certificates: Option<PathBuf>,
    client_certificate: Option<PathBuf>,
}

#[derive(Clone, PartialEq, Eq)]
pub(super) enum Credentials {
    None,
    Basic { username: String, password: String },
    Bearer(String),
}

impl Access {
    pub(super) fn read(environment: &dyn Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let given = |name: &str| environment(name).filter(|value| !value.is_empty());
        if given("MLFLOW_TRACKING_AWS_SIGV4").is_some_and(|value| is_true(&value)) {
            return Err(Error::Settings {
                option: "MLFLOW_TRACKING_AWS_SIGV4",
                reason: "requests are not signed for AWS; use a token or a password".to_owned(),
            });
        }
        let username = given("MLFLOW_TRACKING_USERNAME");
        let password = given("MLFLOW_TRACKING_PASSWORD");
        let from_environment = match (username, password, given("MLFLOW_TRACKING_TOKEN")) {
            (Some(username), Some(password), _) => Credentials::Basic { username, password },
            (_, _, Some(token)) => Credentials::Bearer(token),
            _ => Credentials::None,
        };
        Ok(Self {
            from_environment,
            in_address: Credentials::None,
            file: given("HOME").map(|home| Path::new(&home).join(".mlflow/credentials")),
            workspace: given("MLFLOW_WORKSPACE"),
            insecure: given("MLFLOW_TRACKING_INSECURE_TLS").is_some_and(|value| is_true(&value)),
            server_certificates: given("MLFLOW_TRACKING_SERVER_CERT_PATH").map(PathBuf::from),
            client_certificate: given("MLFLOW_TRACKING_CLIENT_CERT_PATH").map(PathBuf::from),
        })
    }

    /// What to send now.
    pub(super) fn credentials(&self) -> Credentials {
        if self.from_environment != Credentials::None {
            return self.from_environment.clone();
        }
        let from_file = self.file.as_deref().and_then(read_file);
        from_file.unwrap_or_else(|| self.in_address.clone())
    }

    /// Takes the user name and password that stand in an address.
    pub(super) fn or_of_address(mut self, address: &Url) -> Self {
        if let (false, Some(password)) = (address.username().is_empty(), address.password()) {
            self.in_address = Credentials::Basic {
                username: unescaped(address.username()),
                password: unescaped(password),
            };
        }
        self
    }

    /// For a server that has no business with the credentials of this one.
    pub(super) fn without_credentials(&self) -> Self {
        Self {
            from_environment: Credentials::None,
            in_address: Credentials::None,
            file: None,
            ..self.clone()
        }
    }

    pub(super) fn workspace(&self) -> Option<&str> {
        self.workspace.as_deref()
    }

    /// Whom to trust, and who we are to TLS.
    pub(super) fn secure(&self, mut client: ClientBuilder) -> Result<ClientBuilder, Error> {
        if self.insecure {
            client = client.danger_accept_invalid_certs(true);
        }
        if let Some(path) = &self.server_certificates {
            let option = "MLFLOW_TRACKING_SERVER_CERT_PATH";
            let pem = read_pem(option, path)?;
            let bundle =
                Certificate::from_pem_bundle(&pem).map_err(|error| refused(option, &error))?;
            // Only these are trusted, as by MLflow's client.
            client = client.tls_built_in_root_certs(false);
            for certificate in bundle {
                client = client.add_root_certificate(certificate);
            }
        }
        if let Some(path) = &self.client_certificate {
            let option = "MLFLOW_TRACKING_CLIENT_CERT_PATH";
            let identity = Identity::from_pem(&read_pem(option, path)?);
            client = client.identity(identity.map_err(|error| refused(option, &error))?);
        }
        Ok(client)
    }

    pub(super) fn sign(
        &self,
        request: RequestBuilder,
        credentials: &Credentials,
    ) -> RequestBuilder {
        let request = match &self.workspace {
            Some(workspace) => request.header(WORKSPACE, workspace),
            None => request,
        };
        match credentials {
            Credentials::None => request,
            Credentials::Basic { username, password } => {
                request.basic_auth(username, Some(password))
            }
            Credentials::Bearer(token) => request.bearer_auth(token),
        }
    }
}

impl fmt::Debug for Access {
    /// Without the secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("workspace", &self.workspace)
            .field("insecure", &self.insecure)
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// For messages: what kind it is and where it comes from.
    pub(super) fn describe(&self) -> &'static str {
        match self {
            Self::None => "requests without credentials",
            Self::Basic { .. } => "the user name and password",
            Self::Bearer(_) => "the token",
        }
    }
}

/// `%40` is `@`.
pub(super) fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        let escaped = match (first, behind) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)),
            _ => None,
        };
        match escaped {
            Some((high, low)) => {
                bytes.push(high << 4 | low);
                rest = &behind[2..];
            }
            None => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}

/// As MLflow reads its switches.
pub(super) fn is_true(text: &str) -> bool {
    text.eq_ignore_ascii_case("true") || text == "1"
}

fn read_pem(option: &'static str, path: &Path) -> Result<Vec<u8>, Error> {
    fs_err::read(path).map_err(|error| refused(option, &error))
}

fn refused(option: &'static str, error: &dyn std::error::Error) -> Error {
    Error::Settings {
        option,
        reason: error.to_string(),
    }
}

/// `mlflow_tracking_username` and `mlflow_tracking_password` in the section `[mlflow]`.
fn read_file(path: &Path) -> Option<Credentials> {
    if fs_err::metadata(path).ok()?.len() > MAX_FILE_BYTES {
        return None;
    }
    parse(&fs_err::read_to_string(path).ok()?)
}

fn parse(text: &str) -> Option<Credentials> {
    let (mut username, mut password) = (None, None);
    let mut is_ours = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(section) = line.strip_prefix('[') {
            is_ours = section.strip_suffix(']') == Some("mlflow");
            continue;
        }
        let Some((key, value)) = line.split_once(['=', ':']).filter(|_| is_ours) else {
            continue;
        };
        let value = value.trim().to_owned();
        match key.trim().to_ascii_lowercase().as_str() {
            "mlflow_tracking_username" => username = Some(value),
            "mlflow_tracking_password" => password = Some(value),
            _ => {}
        }
    }
    Some(Credentials::Basic {
        username: username?,
        password: password?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(variables: &[(&str, &str)]) -> Access {
        let variables: Vec<(String, String)> = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Access::read(&|name| {
            let found = variables.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.clone())
        })
        .unwrap()
    }

    fn basic(username: &str, password: &str) -> Credentials {
        Credentials::Basic {
            username: username.to_owned(),
            password: password.to_owned(),
        }
    }

    #[test]
    fn a_password_wins_over_a_token_and_half_of_one_counts_for_nothing() {
        let user = ("MLFLOW_TRACKING_USERNAME", "u");
        let password = ("MLFLOW_TRACKING_PASSWORD", "p");
        let token = ("MLFLOW_TRACKING_TOKEN", "t");
        assert!(access(&[user, password, token]).credentials() == basic("u", "p"));
        assert!(access(&[user, token]).credentials() == Credentials::Bearer("t".to_owned()));
        assert!(access(&[user]).credentials() == Credentials::None);
        assert!(access(&[("MLFLOW_TRACKING_TOKEN", "")]).credentials() == Credentials::None);
    }

    #[test]
    fn the_credentials_file_is_read_each_time_and_only_where_the_environment_is_silent() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join(".mlflow/credentials");
        fs_err::create_dir_all(file.parent().unwrap()).unwrap();
        let text = |password: &str| {
            format!(
                "[other]\nmlflow_tracking_username = x\n# [mlflow]\n[mlflow]\n\
                 MLFLOW_TRACKING_USERNAME=u\nmlflow_tracking_password : {password}\n"
            )
        };
        let home = ("HOME", home.path().to_str().unwrap());
        let from_file = access(&[home]);
        assert!(from_file.credentials() == Credentials::None);
        fs_err::write(&file, text("first")).unwrap();
        assert!(from_file.credentials() == basic("u", "first"));
        fs_err::write(&file, text("a=b")).unwrap();
        assert!(from_file.credentials() == basic("u", "a=b"));
        let from_environment = access(&[home, ("MLFLOW_TRACKING_TOKEN", "t")]);
        assert!(from_environment.credentials() == Credentials::Bearer("t".to_owned()));
    }

    #[test]
    fn secrets_are_not_printed() {
        let access = access(&[
            ("MLFLOW_TRACKING_USERNAME", "someone"),
            ("MLFLOW_TRACKING_PASSWORD", "hush"),
            ("MLFLOW_WORKSPACE", "team-a"),
        ]);
        let text = format!("{access:?}");
        assert!(text.contains("team-a") && !text.contains("hush"), "{text}");
    }

    #[test]
    fn a_certificate_that_cannot_be_read_is_named_by_its_variable() {
        let access = access(&[("MLFLOW_TRACKING_SERVER_CERT_PATH", "/nowhere/ca.pem")]);
        let error = access.secure(reqwest::Client::builder()).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("MLFLOW_TRACKING_SERVER_CERT_PATH"), "{text}");
        assert!(text.contains("/nowhere/ca.pem"), "{text}");
    }
}
