//! Nothing of what must not be kept is in an event, and both events of a call are there.

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::audit::{self, read};

struct Fixture {
    log: HttpLog,
    directory: TempDir,
}

impl Fixture {
    fn new(settings: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let text = format!(
            "redact.key = 'k'\nfile.directory = '{}'\n[http]\n{settings}",
            directory.path().display()
        );
        let config: audit::Config = toml::from_str(&text).unwrap();
        let (log, _shippers) = HttpLog::start(&config, &Metrics::new()).unwrap().unwrap();
        Self { log, directory }
    }

    fn events(&self, stream: &str) -> Vec<Value> {
        let spool = self
            .directory
            .path()
            .join("http")
            .join(stream)
            .join("spool");
        read::spooled(&spool).unwrap().map(Result::unwrap).collect()
    }

    fn request(&self, request: &Request<'_>) -> Value {
        let _ = self.log.request(&call(), request).unwrap();
        self.events("requests").pop().unwrap()
    }

    fn response(&self, status_code: u16, body: &str) -> Value {
        let response = Response {
            status_code,
            headers: &[
                ("content-type", b"application/json"),
                ("set-cookie", b"s3cr3t"),
            ],
            content: Content::Whole(body.as_bytes()),
            n_bytes: body.len() as u64,
            is_complete: true,
            took: Duration::from_micros(7),
        };
        let _ = self.log.response(&call(), &response).unwrap();
        self.events("responses").pop().unwrap()
    }

    /// Everything that is on disk.
    fn text(&self) -> String {
        let events = [self.events("requests"), self.events("responses")].concat();
        events.iter().map(|event| format!("{event}\n")).collect()
    }
}

fn call() -> Call {
    Call {
        id: Uuid::nil(),
        time: Timestamp::from_seconds(1),
        request_id: "r-1".to_owned(),
        trace_id: None,
        method: "POST".to_owned(),
        route: Some("/push".to_owned()),
        detail: Detail::Bodies,
    }
}

fn request<'a>(query: &'a str, headers: &'a [(&'a str, &'a [u8])], body: &'a str) -> Request<'a> {
    Request {
        path: "/push",
        query: Some(query),
        headers,
        content: Content::Whole(body.as_bytes()),
    }
}

const ALL: &str = "routes = {'*' = 'bodies'}";

#[test]
fn both_events_have_the_id_and_what_was_said() {
    let fixture = Fixture::new(ALL);
    let headers: [(&str, &[u8]); 4] = [
        ("content-type", b"application/json"),
        ("accept", b"a/b"),
        ("accept", b"c/d"),
        ("authorization", b"Bearer s3cr3t"),
    ];
    let event = fixture.request(&request("a=1&b=x%20y&a=2", &headers, r#"{"n": 1}"#));
    assert_eq!(
        (&event["kind"], &event["sequence"]),
        (&json!("http_request"), &json!(1))
    );
    assert_eq!(event["query"], json!({"a": ["1", "2"], "b": "x y"}));
    assert_eq!(
        event["headers"],
        json!({"content-type": "application/json", "accept": "a/b, c/d"})
    );
    assert_eq!(
        (&event["body"], &event["body_bytes"]),
        (&json!({"n": 1}), &json!(8))
    );
    let answer = fixture.response(200, r#"{"ok": true}"#);
    assert_eq!(answer["id"], event["id"]);
    assert_eq!(
        (
            &answer["status_code"],
            &answer["outcome"],
            &answer["duration_us"]
        ),
        (&json!(200), &json!("answered"), &json!(7))
    );
    assert_eq!(answer["body"], json!({"ok": true}));
    assert!(
        !fixture.text().contains("s3cr3t"),
        "only listed headers are kept"
    );
}

#[test]
fn a_secret_in_a_header_a_member_or_a_parameter_never_reaches_the_spool() {
    for (action, is_hash) in [("drop", false), ("mask", false), ("hash", true)] {
        let fixture = Fixture::new(&format!(
            "{ALL}\nheaders = ['X-Api-Key']\n[http.redact]\n'header.X-Api-Key' = '{action}'\n'body.password' = '{action}'\n'query.Token' = '{action}'\npath = '{action}'"
        ));
        let headers: [(&str, &[u8]); 1] = [("x-api-key", b"s3cr3t")];
        // However it is written.
        for query in ["token=s3cr3t", "%74oken=s3cr3t", "TOKEN=s3cr3t"] {
            for body in [
                r#"{"user": {"Password": "s3cr3t", "name": "x"}, "list": [{"password": ["s3cr3t", null]}]}"#,
                r#"{"p\u0061ssword": {"old": "s3cr3t"}}"#,
                r#"{"password": "s3cr3t", "password": "s3cr3t"}"#,
                // Members that cannot be told apart.
                "password=s3cr3t",
                r#"{"password": "s3cr3t""#,
            ] {
                let mut request = request(query, &headers, body);
                request.path = "/push/s3cr3t";
                fixture.request(&request);
                fixture.response(200, body);
            }
        }
        // An error may quote what was sent.
        fixture.response(422, r#"{"detail": "row 0: got `s3cr3t`"}"#);
        let text = fixture.text();
        assert!(!text.contains("s3cr3t"), "{action}: {text}");
        assert_eq!(text.contains("hmac-sha256:"), is_hash);
        assert!(text.contains(r#""name":"x""#), "what is no secret is kept");
        assert!(text.contains("it is no JSON, and members of bodies are redacted"));
        assert!(text.contains("errors may quote what is redacted"));
    }
}

#[test]
fn bodies_that_cannot_be_kept_say_why() {
    let fixture = Fixture::new(ALL);
    for (content, reason, n_bytes) in [
        (
            Content::Whole(b"\xff\xfe"),
            json!("it is no text"),
            json!(2),
        ),
        (Content::Whole(b""), json!(null), json!(0)),
        (Content::Unasked(Some(7)), json!(null), json!(7)),
        (
            Content::LeftOut("too long", None),
            json!("too long"),
            json!(null),
        ),
    ] {
        let mut request = request("", &[], "");
        request.content = content;
        let event = fixture.request(&request);
        assert_eq!(event["body"], Value::Null);
        assert_eq!(
            (&event["body_left_out"], &event["body_bytes"]),
            (&reason, &n_bytes)
        );
    }
    let event = fixture.request(&request("", &[], "plain text"));
    assert_eq!(event["body"], "plain text");
    let whole = Fixture::new(&format!("{ALL}\nredact = {{body = 'drop'}}"));
    let event = whole.request(&request("", &[], "plain text"));
    assert_eq!(
        event["body_left_out"],
        "it is redacted (`audit.http.redact`)"
    );
}

#[test]
fn mistakes_are_named_with_what_to_write() {
    for (text, part) in [
        ("routes = {'v1' = 'bodies'}", "such as `/v1/*`"),
        ("routes = {'/v1' = 'all'}", "unknown variant `all`"),
        ("redact = {'password' = 'drop'}", "`body.<name>`"),
        ("bodies = true", "unknown field `bodies`"),
    ] {
        let error = toml::from_str::<Config>(text).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    let text = "[http]\nroutes = {'*' = 'headers'}\nredact = {path = 'hash'}";
    let config: audit::Config = toml::from_str(text).unwrap();
    let error = HttpLog::start(&config, &Metrics::new()).err().unwrap();
    assert_eq!(
        error.to_string(),
        "`audit.http.redact` hashes `path`, and there is no key to do it with"
    );
    let nothing: audit::Config = toml::from_str("[http]\nroutes = {'*' = 'off'}").unwrap();
    assert!(HttpLog::start(&nothing, &Metrics::new()).unwrap().is_none());
}
