//! The deliveries that real MLflow sent, and what becomes of those that it did not.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::*;
use crate::error::ErrorClass;
use crate::inference::test_models::fixture;

#[derive(Deserialize)]
struct Recorded {
    attempt: u32,
    received_at: f64,
    secret: Option<String>,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Recorded {
    fn all() -> Vec<Self> {
        let text = fs_err::read_to_string(fixture("webhooks/deliveries.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    fn headers(&self) -> HeaderMap {
        let headers = self.headers.iter();
        let headers = headers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        headers.collect()
    }

    fn received_at(&self) -> Timestamp {
        Timestamp::from_micros((self.received_at * 1e6) as i64)
    }

    fn send(&self, to: &Webhook) -> Result<Outcome, Error> {
        to.receive(&self.headers(), self.body.as_bytes(), self.received_at())
    }
}

fn webhook(secret: &str) -> Webhook {
    let config: models::Webhook = toml::from_str(&format!("secret = '{secret}'")).unwrap();
    Webhook::new(&config, Handle::default())
}

/// A delivery of the secret `k`, signed at second 1000.
fn signed(body: &str) -> HeaderMap {
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"k");
    let tag = hmac::sign(&key, format!("id-1.1000.{body}").as_bytes());
    let signature = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, tag);
    let headers = [
        ("x-mlflow-delivery-id", "id-1".to_owned()),
        ("x-mlflow-timestamp", "1000".to_owned()),
        ("x-mlflow-signature", format!("v1,{signature}")),
    ];
    let headers = headers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
    headers.into_iter().collect()
}

const EVENT: &str = r#"{"entity": "model_version_alias", "action": "created", "data": {}}"#;

#[test]
fn every_recorded_delivery_with_a_signature_verifies_and_retries_are_repeats() {
    let mut webhooks: BTreeMap<String, Webhook> = BTreeMap::new();
    let mut taken = 0;
    for recorded in Recorded::all() {
        let Some(secret) = recorded.secret.clone() else {
            let error = recorded.send(&webhook("k")).unwrap_err();
            assert_eq!(error.code(), "webhook_signature_wrong");
            continue;
        };
        let webhook = webhooks
            .entry(secret.clone())
            .or_insert_with(|| webhook(&secret));
        let wanted = match recorded.attempt {
            1 => Outcome::Accepted,
            _ => Outcome::Repeated,
        };
        assert_eq!(recorded.send(webhook).unwrap(), wanted);
        taken += 1;
    }
    assert_eq!(taken, 21);
}

#[test]
fn a_retry_of_a_delivery_that_was_not_taken_is_taken() {
    let all = Recorded::all();
    let last = all.iter().rfind(|recorded| recorded.attempt == 4).unwrap();
    let webhook = webhook(last.secret.as_deref().unwrap());
    assert_eq!(last.send(&webhook).unwrap(), Outcome::Accepted);
}

#[test]
fn a_changed_byte_another_secret_and_a_changed_header_are_refused() {
    let (webhook, now) = (webhook("k"), Timestamp::from_seconds(1000));
    let good = signed(EVENT);
    let refused = |headers: &HeaderMap, body: &str| {
        let error = webhook.receive(headers, body.as_bytes(), now).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Unauthenticated, "{error}");
        error.to_string()
    };
    let other = EVENT.replace("created", "deleted");
    assert!(refused(&good, &other).contains("does not fit"));
    for (name, value, reason) in [
        ("x-mlflow-delivery-id", "id-2", "does not fit"),
        ("x-mlflow-delivery-id", "", "empty or too long"),
        ("x-mlflow-timestamp", "1001", "does not fit"),
        ("x-mlflow-signature", "v2,AAAA", "version `v1`"),
        ("x-mlflow-signature", "v1,?", "not base64"),
        ("x-mlflow-signature", "v1,", "does not fit"),
    ] {
        let mut headers = good.clone();
        headers.insert(name, value.parse().unwrap());
        assert!(refused(&headers, EVENT).contains(reason), "{name}: {value}");
    }
    for name in good.keys() {
        let mut headers = good.clone();
        headers.remove(name);
        assert!(refused(&headers, EVENT).contains("is missing"), "{name}");
    }
    assert_eq!(
        webhook.seen.lock().unwrap().len(),
        0,
        "what was refused is not remembered"
    );
    assert!(webhook.receive(&good, EVENT.as_bytes(), now).is_ok());
}

#[test]
fn a_delivery_from_another_time_is_refused() {
    let webhook = webhook("k");
    for (now, is_good) in [(699, false), (700, true), (1300, true), (1301, false)] {
        *webhook.seen.lock().unwrap() = Seen::default();
        let now = Timestamp::from_seconds(now);
        let outcome = webhook.receive(&signed(EVENT), EVENT.as_bytes(), now);
        match outcome {
            Ok(outcome) => assert!(is_good && outcome == Outcome::Accepted),
            Err(error) => assert!(!is_good && error.code() == "webhook_stale", "{error}"),
        }
    }
}

#[test]
fn other_events_are_ignored_and_what_is_no_event_is_an_error() {
    let now = Timestamp::from_seconds(1000);
    for (body, outcome) in [
        (r#"{"entity": "prompt"}"#, Some(Outcome::Ignored)),
        (
            r#"{"entity": "of_the_future", "x": [1]}"#,
            Some(Outcome::Ignored),
        ),
        (r#"{"entity": "registered_model"}"#, Some(Outcome::Accepted)),
        (r#"{"action": "created"}"#, None),
        ("[]", None),
        ("", None),
    ] {
        let given = webhook("k").receive(&signed(body), body.as_bytes(), now);
        match given {
            Ok(given) => assert_eq!(Some(given), outcome, "{body}"),
            Err(error) => assert!(
                outcome.is_none() && error.code() == "webhook_malformed",
                "{error}"
            ),
        }
    }
}

#[test]
fn without_a_secret_nothing_is_taken() {
    let webhook = Webhook::new(&models::Webhook::default(), Handle::default());
    let now = Timestamp::from_seconds(1000);
    let error = webhook.receive(&signed(EVENT), EVENT.as_bytes(), now);
    let error = error.unwrap_err();
    assert_eq!(
        (error.class(), error.code()),
        (ErrorClass::NotFound, "webhook_disabled")
    );
}
