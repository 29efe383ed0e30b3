//! Telling a URL of a job's end: `webhook(url, job)`, itself a job, so that it outlives workers and is tried again.
//!
//! The request is signed as Standard Webhooks asks: `webhook-signature` is `v1,` and the base64 of HMAC-SHA256 of
//! `webhook-id.webhook-timestamp.body`. The id is the same in every attempt. Only configured places are told: else whoever
//! may enqueue could make the server call anything that it reaches.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Client, StatusCode, Url};
use ring::hmac;

use super::{Arguments, Error, Tasks, predict};
use crate::jobs::client::NewCall;
use crate::jobs::value::Value;
use crate::jobs::worker::Call;
use crate::jobs::{Due, JobId, WebhookConfig};
use crate::types::timestamp::Timestamp;

/// Tells URLs.
pub struct Webhooks {
    key: Option<hmac::Key>,
    allow: Vec<Url>,
    client: Client,
}

impl Webhooks {
    /// Errors: a prefix that is no URL, as text.
    pub fn new(config: &WebhookConfig) -> Result<Self, String> {
        let parse = |text: &String| match Url::parse(text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(url),
            _ => Err(format!(
                "`jobs.webhook.allow`: `{text}` is no `http` or `https` URL"
            )),
        };
        let allow = config.allow.iter().map(parse).collect::<Result<_, _>>()?;
        let client = Client::builder()
            .timeout(config.timeout)
            // Who is told was agreed on; where that leads is nobody's to change.
            .redirect(reqwest::redirect::Policy::none())
            .build();
        let secret = config.secret.as_ref();
        Ok(Self {
            key: secret.map(|secret| key(secret.reveal())),
            allow,
            client: client.map_err(|error| format!("`jobs.webhook`: {error}"))?,
        })
    }

    /// The URL, if it may be told.
    pub fn check(&self, text: &str) -> Result<Url, Error> {
        let refused = |reason| Error::WebhookRefused {
            url: text.to_owned(),
            reason,
        };
        if self.key.is_none() {
            return Err(refused("there is no secret to sign with"));
        }
        let url = Url::parse(text).map_err(|_| refused("it is no URL"))?;
        let is_below =
            |prefix: &Url| prefix.origin() == url.origin() && url.path().starts_with(prefix.path());
        if !self.allow.iter().any(is_below) {
            return Err(refused("it is not among those that may be told"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refused("it has a user name or a password"));
        }
        Ok(url)
    }

    fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> Option<String> {
        let mut message = format!("{id}.{timestamp}.").into_bytes();
        message.extend_from_slice(body);
        let tag = hmac::sign(self.key.as_ref()?, &message);
        Some(format!("v1,{}", STANDARD.encode(tag)))
    }

    async fn post(&self, url: Url, id: &str, body: Vec<u8>) -> Result<StatusCode, reqwest::Error> {
        let timestamp = Timestamp::now().as_seconds();
        let signature = self.sign(id, timestamp, &body).unwrap_or_default();
        let request = self.client.post(url);
        let request = request
            .header("content-type", "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature)
            .body(body);
        Ok(request.send().await?.status())
    }
}

impl Tasks {
    /// Leaves a job behind that tells of this one's end, if somebody asked for it.
    pub(super) async fn tell(&self, call: &Call) -> Result<(), Error> {
        if call.function != "predict" {
            return Ok(());
        }
        // What does not bind, or names a place that is not told, was refused when it ran.
        let Ok(arguments) = Arguments::bind(call, predict::PARAMETERS, 2) else {
            return Ok(());
        };
        let Ok(Some(url)) = arguments.text("webhook") else {
            return Ok(());
        };
        if self.webhooks.check(url).is_err() {
            return Ok(());
        }
        let telling = NewCall {
            // The same if the end has to be told again.
            id: JobId::new(&format!("{}:webhook:{}", call.id, millis(call.enqueued_at)))
                .unwrap_or_else(|_| JobId::random()),
            function: "webhook".to_owned(),
            args: vec![Value::from(url), Value::from(call.id.as_str())],
            kwargs: Vec::new(),
            due: Due::Now,
            expires: None,
        };
        self.client.enqueue(telling).await?;
        Ok(())
    }

    pub(super) async fn webhook(&self, call: &Call) -> Result<Value, Error> {
        let arguments = Arguments::bind(call, &["url", "job"], 2)?;
        let (url, job) = (
            arguments.required_text("url")?,
            arguments.required_text("job")?,
        );
        let unanswered = |problem: String| Error::WebhookUnanswered {
            url: url.to_owned(),
            job: job.to_owned(),
            problem,
        };
        let target = self.webhooks.check(url)?;
        // It was queued just before the result was stored.
        let wait = call.deadline.remaining() / 3;
        let view = self.client.wait(&JobId::new(job)?, wait).await?;
        let view = view.ok_or_else(|| unanswered("its result is no longer kept".to_owned()))?;
        if !view.state.is_final() {
            return Err(unanswered("it has not ended yet".to_owned()));
        }
        let body = serde_json::to_vec(&view).map_err(|error| unanswered(error.to_string()))?;
        let id = format!("{job}.{}", millis(call.enqueued_at));
        let posted = self.webhooks.post(target, &id, body).await;
        let status = posted.map_err(|error| unanswered(error.without_url().to_string()))?;
        match status.as_u16() {
            200..=299 => Ok(Value::Int(i64::from(status.as_u16()))),
            status @ (408 | 425 | 429 | 500..=599) => {
                Err(unanswered(format!("it answered {status}")))
            }
            status => Err(Error::WebhookRejected {
                url: url.to_owned(),
                job: job.to_owned(),
                status,
            }),
        }
    }
}

fn millis(moment: Timestamp) -> i64 {
    moment.as_micros() / 1000
}

/// The bytes that sign: those that the base64 behind `whsec_` stands for, else those of the text.
fn key(secret: &str) -> hmac::Key {
    let decoded = secret.strip_prefix("whsec_");
    let decoded = decoded.and_then(|encoded| STANDARD.decode(encoded).ok());
    let bytes = decoded.as_deref().unwrap_or(secret.as_bytes());
    hmac::Key::new(hmac::HMAC_SHA256, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webhooks(allow: &[&str]) -> Webhooks {
        let config = WebhookConfig {
            secret: serde_json::from_str(r#""s3cret""#).ok(),
            allow: allow.iter().map(|url| (*url).to_owned()).collect(),
            ..WebhookConfig::default()
        };
        Webhooks::new(&config).unwrap()
    }

    #[test]
    fn only_places_that_are_listed_are_told() {
        let webhooks = webhooks(&["https://api.example.com/hooks/"]);
        assert!(
            webhooks
                .check("https://api.example.com/hooks/done?x=1")
                .is_ok()
        );
        for url in [
            "https://api.example.com/other",
            "https://api.example.com/hooks/../admin",
            "http://api.example.com/hooks/done",
            "https://api.example.com:8443/hooks/done",
            "https://api.example.com.evil.org/hooks/done",
            "https://me@api.example.com/hooks/done",
            "file:///etc/passwd",
            "hooks/done",
        ] {
            assert!(webhooks.check(url).is_err(), "{url}");
        }
        assert!(
            Webhooks::new(&WebhookConfig::default())
                .unwrap()
                .check("https://a.b/")
                .is_err()
        );
        let config = WebhookConfig {
            allow: vec!["ftp://x/".to_owned()],
            ..WebhookConfig::default()
        };
        assert!(Webhooks::new(&config).is_err());
    }

    /// The example of the Standard Webhooks specification's reference libraries.
    #[test]
    fn signatures_are_those_of_standard_webhooks() {
        let webhooks = Webhooks {
            key: Some(key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")),
            allow: Vec::new(),
            client: Client::new(),
        };
        let body = br#"{"test": 2432232314}"#;
        assert_eq!(
            webhooks
                .sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body)
                .unwrap(),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }
}
