//! TLS to Redis: redis-py's `ssl` options.
//!
//! Certificates are read once, when the store is opened, so that a wrong path is a mistake in the settings and not an outage.
//! One thing differs from redis-py: `ssl_ca_certs` takes the place of the system's certificate authorities and does not add
//! to them.

use redis::{Client, ClientTlsConfig, ConnectionAddr, RedisResult, TlsCertificates};

use super::config::Address;
use super::options::{Value, invalid};
use crate::features::repo::Problem;

#[derive(Clone)]
pub(super) struct Tls {
    /// `ssl_cert_reqs=none`: any certificate will do.
    insecure: bool,
    check_hostname: bool,
    /// Where they are not all the system's own.
    certificates: Option<TlsCertificates>,
}

impl Tls {
    pub(super) fn address(&self, address: &Address) -> RedisResult<ConnectionAddr> {
        // Without a provider rustls takes the only one that is compiled in, and another crate may bring a second.
        // An error says that there is one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let plain = ConnectionAddr::TcpTls {
            host: address.host.clone(),
            port: address.port,
            insecure: self.insecure,
            tls_params: None,
        };
        let mut addr = match &self.certificates {
            None => plain,
            Some(certificates) => Client::build_with_tls(plain, certificates.clone())?
                .get_connection_info()
                .addr()
                .clone(),
        };
        addr.set_danger_accept_invalid_hostnames(!self.check_hostname);
        Ok(addr)
    }
}

/// The `ssl` options read so far.
#[derive(Default)]
pub(super) struct TlsOptions {
    on: bool,
    insecure: bool,
    any_hostname: bool,
    ca_certs: Option<String>,
    ca_data: Option<String>,
    certfile: Option<String>,
    keyfile: Option<String>,
}

impl TlsOptions {
    pub(super) fn take(
        &mut self,
        name: &str,
        value: &Value,
        notes: &mut Vec<String>,
    ) -> Result<(), Problem> {
        match name {
            "ssl" => {
                self.on = value.is_on();
                if matches!(value, Value::Text(text) if text.eq_ignore_ascii_case("false")) {
                    notes.push(
                        "feature_store.yaml: `ssl=False` of `online_store.connection_string` is text, and so counts as true, as in Feast; write `ssl=false`"
                            .to_owned(),
                    );
                }
            }
            "ssl_cert_reqs" => {
                self.insecure = match value.text(name)?.as_deref() {
                    None | Some("none" | "0") => true,
                    // For a client Python's `optional` asks for the same as `required`.
                    Some("required" | "optional" | "1" | "2") => false,
                    Some(_) => {
                        return Err(invalid(name, "must be `none`, `optional` or `required`"));
                    }
                };
            }
            "ssl_check_hostname" => self.any_hostname = !value.is_on(),
            "ssl_ca_certs" => self.ca_certs = value.text(name)?,
            "ssl_ca_data" => self.ca_data = value.text(name)?,
            "ssl_certfile" => self.certfile = value.text(name)?,
            "ssl_keyfile" => self.keyfile = value.text(name)?,
            // To leave these out would make the connection less safe than it was meant to be, or fail without a reason.
            "ssl_ca_path" | "ssl_password" | "ssl_validate_ocsp" | "ssl_validate_ocsp_stapled"
                if value.is_on() =>
            {
                return Err(Problem::Unsupported(format!(
                    "`{name}` of `online_store.connection_string`"
                )));
            }
            _ => notes.push(format!(
                "feature_store.yaml: `{name}` of `online_store.connection_string` has no effect here"
            )),
        }
        Ok(())
    }

    /// Reads the certificates; `None` without `ssl`.
    pub(super) fn load(&self, notes: &mut Vec<String>) -> Result<Option<Tls>, Problem> {
        if !self.on {
            let given = [&self.ca_certs, &self.ca_data, &self.certfile, &self.keyfile];
            if given.iter().any(|option| option.is_some()) {
                notes.push(
                    "feature_store.yaml: the certificates of `online_store.connection_string` have no effect without `ssl=true`"
                        .to_owned(),
                );
            }
            return Ok(None);
        }
        let tls = Tls {
            insecure: self.insecure,
            check_hostname: !self.any_hostname,
            certificates: self.certificates()?,
        };
        let nowhere = Address {
            host: "localhost".to_owned(),
            port: 0,
        };
        match tls.address(&nowhere) {
            Ok(_) => Ok(Some(tls)),
            Err(error) => Err(Problem::Invalid(format!(
                "the certificates of `online_store.connection_string` cannot be used: {error}"
            ))),
        }
    }

    fn certificates(&self) -> Result<Option<TlsCertificates>, Problem> {
        let client_tls = match (&self.certfile, &self.keyfile) {
            (None, None) => None,
            (None, Some(_)) => {
                return Err(invalid("ssl_keyfile", "needs `ssl_certfile` beside it"));
            }
            (Some(certificate), key) => Some(ClientTlsConfig {
                client_cert: read("ssl_certfile", certificate)?,
                client_key: read("ssl_keyfile", key.as_ref().unwrap_or(certificate))?,
            }),
        };
        let root_cert = match (&self.ca_certs, &self.ca_data) {
            (None, None) => None,
            (Some(path), None) => Some(read("ssl_ca_certs", path)?),
            (None, Some(data)) => Some(data.clone().into_bytes()),
            (Some(path), Some(data)) => {
                let mut bytes = read("ssl_ca_certs", path)?;
                bytes.push(b'\n');
                bytes.extend_from_slice(data.as_bytes());
                Some(bytes)
            }
        };
        if client_tls.is_none() && root_cert.is_none() {
            return Ok(None);
        }
        Ok(Some(TlsCertificates {
            client_tls,
            root_cert,
        }))
    }
}

fn read(option: &str, path: &str) -> Result<Vec<u8>, Problem> {
    fs_err::read(path).map_err(|error| {
        Problem::Invalid(format!(
            "`{option}` of `online_store.connection_string` cannot be read: {error}"
        ))
    })
}
