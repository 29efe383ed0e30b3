//! Questions to a directory of files, in process.

use std::num::NonZeroUsize;
use std::time::Duration;

use futures::StreamExt;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::audit;
use crate::error::Failure;
use crate::types::timestamp::Timestamp;

const WRITER: &str = "01a20660-5211-702b-a1a9-cd02916998be";

/// An event of two rows, a second after the one before.
fn line(n: u64) -> String {
    let id = uuid::Uuid::from_u128(u128::from(n));
    let time = Timestamp::from_seconds(1_700_000_000 + i64::try_from(n).unwrap());
    let status = if n.is_multiple_of(5) { "error" } else { "ok" };
    let (features, outputs, error) = match status {
        "ok" => (
            json!({"stats:rate": {"values": [n, null], "statuses": ["present", "not_found"],
                "event_timestamps": [Timestamp::from_seconds(1_700_000_000).to_string(), null]}}),
            json!({"label": ["a", "b"], "score": [0.25, "NaN"]}),
            Value::Null,
        ),
        _ => (
            Value::Null,
            Value::Null,
            json!({"class": "unprocessable", "code": "feature_missing", "message": "m"}),
        ),
    };
    json!({"schema_version": 1, "writer": WRITER, "sequence": n, "id": id.to_string(), "time": time.to_string(),
        "request_id": "r", "trace_id": null, "principal": null, "surface": "http",
        "model": {"name": "m", "version": "3", "alias": "champion", "requested": "m"}, "variants": null,
        "shadow_of": null, "n_rows": 2, "entities": {"driver_id": [n, 7]}, "inputs": null, "rows": null, "params": null,
        "features": features, "outputs": outputs, "status": status, "error": error, "difference": null,
        "timings_us": {"features": 1, "assemble": 2, "queue": 3, "engine": 4, "total": 10 * n}, "cached": false})
    .to_string()
}

struct Asked {
    directory: TempDir,
    archive: Archive,
}

impl Asked {
    fn of(n_events: u64, config: Config) -> Self {
        let directory = TempDir::new().unwrap();
        let lines: Vec<String> = (1..=n_events).map(|n| line(n) + "\n").collect();
        let path = directory.path().join("predictions-1.jsonl");
        fs_err::write(path, lines.concat()).unwrap();
        let mut audit = audit::Config::default();
        audit.file.directory = directory.path().to_owned();
        audit.query = config;
        Self {
            directory,
            archive: Archive::of(&audit),
        }
    }

    async fn rows_of(&self, question: Question) -> Result<Vec<Value>, Error> {
        let mut pieces = self.archive.ask(question, Format::Json).await?.pieces;
        let mut text = Vec::new();
        while let Some(piece) = pieces.next().await {
            text.extend(piece?);
        }
        let text = String::from_utf8(text).unwrap();
        Ok(text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect())
    }

    async fn rows(&self, sql: &str) -> Result<Vec<Value>, Error> {
        self.rows_of(question(sql)).await
    }

    async fn code(&self, sql: &str) -> &'static str {
        self.rows(sql).await.unwrap_err().code()
    }
}

fn question(sql: &str) -> Question {
    Question {
        sql: sql.to_owned(),
        ..Question::default()
    }
}

#[tokio::test]
async fn events_are_rows_of_predictions() {
    let asked = Asked::of(10, Config::default());
    let sql = "SELECT model, status, count(*) AS n, avg(latency_us) AS latency FROM predictions \
        GROUP BY model, status ORDER BY status";
    let rows = asked.rows(sql).await.unwrap();
    assert_eq!(
        rows,
        [
            json!({"model": "m", "status": "error", "n": 2, "latency": 75.0}),
            json!({"model": "m", "status": "ok", "n": 8, "latency": 50.0}),
        ]
    );
    let rows = asked
        .rows("SELECT * FROM predictions WHERE sequence = 5")
        .await
        .unwrap();
    assert_eq!(rows[0]["time"], "2023-11-14T22:13:25Z");
    assert_eq!(rows[0]["error_code"], "feature_missing");
    assert_eq!(rows[0]["entities"], r#"{"driver_id":[5,7]}"#);
    assert_eq!(rows[0]["features"], Value::Null);
    assert_eq!(rows[0].as_object().unwrap().len(), 35);
}

#[tokio::test]
async fn feature_values_and_outputs_are_rows_of_their_own() {
    let asked = Asked::of(5, Config::default());
    let sql = "SELECT row, feature, value, number, status, event_timestamp, age_s FROM features \
        WHERE id LIKE '%2' ORDER BY row";
    let rows = asked.rows(sql).await.unwrap();
    assert_eq!(
        rows,
        [
            json!({"row": 0, "feature": "stats:rate", "value": "2", "number": 2.0, "status": "present",
                "event_timestamp": "2023-11-14T22:13:20Z", "age_s": 2.0}),
            json!({"row": 1, "feature": "stats:rate", "value": null, "number": null, "status": "not_found",
                "event_timestamp": null, "age_s": null}),
        ]
    );
    let sql = "SELECT output, value, number FROM outputs WHERE id LIKE '%3' ORDER BY output, row";
    let rows = asked.rows(sql).await.unwrap();
    assert_eq!(
        rows,
        [
            json!({"output": "label", "value": "a", "number": null}),
            json!({"output": "label", "value": "b", "number": null}),
            json!({"output": "score", "value": "0.25", "number": 0.25}),
            json!({"output": "score", "value": "NaN", "number": null}),
        ]
    );
    let sql = "WITH f AS (SELECT id, max(number) AS rate FROM features GROUP BY id) \
        SELECT count(*) AS n, max(rate) AS rate FROM predictions p JOIN f ON p.id = f.id";
    assert_eq!(
        asked.rows(sql).await.unwrap(),
        [json!({"n": 4, "rate": 4.0})]
    );
}

#[tokio::test]
async fn only_events_of_the_range_are_seen() {
    let asked = Asked::of(10, Config::default());
    let question = Question {
        since: Some(Timestamp::from_seconds(1_700_000_003)),
        until: Some(Timestamp::from_seconds(1_700_000_006)),
        ..question("SELECT sequence FROM predictions ORDER BY 1")
    };
    let rows = asked.rows_of(question).await.unwrap();
    assert_eq!(
        rows,
        [
            json!({"sequence": 3}),
            json!({"sequence": 4}),
            json!({"sequence": 5})
        ]
    );
}

#[tokio::test]
async fn nothing_but_one_select_is_answered() {
    let asked = Asked::of(1, Config::default());
    let path = asked.directory.path().join("out.csv");
    for sql in [
        "",
        "CREATE TABLE t AS SELECT 1",
        "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'",
        "DROP TABLE predictions",
        "DELETE FROM predictions",
        "INSERT INTO predictions SELECT * FROM predictions",
        "WITH p AS (INSERT INTO predictions SELECT * FROM predictions) SELECT * FROM p",
        "SET datafusion.execution.batch_size = 1",
        "SELECT 1; SELECT 2",
        "SELECT 1 INTO t",
        "EXPLAIN SELECT 1",
        "SHOW TABLES",
        "DESCRIBE predictions",
        &format!("COPY predictions TO '{}'", path.display()),
    ] {
        assert_eq!(asked.code(sql).await, "audit_query_not_select", "{sql}");
    }
    for sql in [
        "SELECT",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM information_schema.tables",
        "SELECT * FROM nothing",
        "SELECT nothing FROM predictions",
    ] {
        assert_eq!(asked.code(sql).await, "audit_query_invalid", "{sql}");
    }
    assert!(!path.exists());
}

#[tokio::test]
async fn a_query_that_fails_half_way_says_why() {
    let asked = Asked::of(3, Config::default());
    let sql = "SELECT 1 / (sequence - 2) FROM predictions";
    let error = asked.rows(sql).await.unwrap_err();
    assert_eq!(error.code(), "audit_query_failed");
    assert!(error.to_string().contains("Divide by zero"), "{error}");
}

#[tokio::test]
async fn rows_memory_time_and_queries_are_limited() {
    let rows = Asked::of(
        10,
        Config {
            max_rows: NonZeroUsize::new(4).unwrap(),
            ..Config::default()
        },
    );
    assert_eq!(
        rows.code("SELECT id FROM predictions").await,
        "audit_query_rows"
    );
    let four = rows
        .rows("SELECT id FROM predictions LIMIT 4")
        .await
        .unwrap();
    assert_eq!(four.len(), 4);

    let memory = Asked::of(
        1,
        Config {
            memory: ByteSize::from_mebibytes(1),
            ..Config::default()
        },
    );
    let many = "SELECT count(*) FROM generate_series(1, 2000000) a JOIN generate_series(1, 2000000) b ON a.value = b.value";
    let error = memory.rows(many).await.unwrap_err();
    assert_eq!(error.code(), "audit_query_memory", "{error}");

    let late = Asked::of(
        1,
        Config {
            timeout: Duration::from_millis(200),
            ..Config::default()
        },
    );
    let endless = "SELECT count(*) FROM generate_series(1, 1000000000000) a WHERE a.value % 7 = 8";
    assert_eq!(late.code(endless).await, "audit_query_late");

    let one = Asked::of(
        1,
        Config {
            max_queries: NonZeroUsize::MIN,
            ..Config::default()
        },
    );
    let running = one.archive.ask(question(endless), Format::Json);
    let running = running.await.unwrap();
    assert_eq!(one.code("SELECT 1").await, "audit_query_busy");
    drop(running);
    // The work behind it ends, and with it its place.
    let permit = tokio::time::timeout(Duration::from_secs(30), one.archive.permits.acquire());
    drop(permit.await.unwrap().unwrap());
    assert_eq!(one.rows("SELECT 1 AS n").await.unwrap(), [json!({"n": 1})]);
}

#[tokio::test]
async fn what_is_no_event_is_left_out_and_told() {
    let asked = Asked::of(2, Config::default());
    let path = asked.directory.path().join("predictions-2.jsonl");
    fs_err::write(path, format!("no event\n{{}}\n{}\n{{\"torn", line(3))).unwrap();
    let answer = asked
        .archive
        .ask(
            question("SELECT count(*) AS n FROM predictions"),
            Format::Csv,
        )
        .await
        .unwrap();
    let left_out = answer.left_out.clone();
    let pieces: Vec<_> = answer.pieces.collect().await;
    let text: Vec<u8> = pieces.into_iter().flat_map(Result::unwrap).collect();
    assert_eq!(String::from_utf8(text).unwrap(), "n\n3\n");
    let told = left_out.told().unwrap();
    assert!(told.starts_with("left out 2 "), "{told}");
    assert!(told.ends_with("predictions-2.jsonl:1"), "{told}");
}

#[tokio::test]
async fn a_long_chain_of_terms_is_planned_or_refused_and_nothing_else() {
    let asked = Asked::of(1, Config::default());
    let chain = vec!["1"; 3_000].join("+");
    let rows = asked.rows(&format!("SELECT {chain} AS n")).await;
    if let Err(error) = rows {
        assert!(
            ["audit_query_invalid", "audit_query_late"].contains(&error.code()),
            "{error}"
        );
    }
    let deep = format!("SELECT {}1{} AS n", "(".repeat(5_000), ")".repeat(5_000));
    assert_eq!(asked.code(&deep).await, "audit_query_invalid");
    let long = format!("SELECT '{}'", "x".repeat(20_000));
    assert_eq!(asked.code(&long).await, "audit_question_malformed");
}

#[tokio::test]
async fn an_answer_is_a_table_or_arrow_too() {
    let asked = Asked::of(2, Config::default());
    let sql = "SELECT sequence, error_code, status FROM predictions ORDER BY sequence";
    let render = async |sql: &str, format| {
        let answer = asked.archive.ask(question(sql), format).await.unwrap();
        let pieces: Vec<_> = answer.pieces.collect().await;
        pieces
            .into_iter()
            .flat_map(Result::unwrap)
            .collect::<Vec<u8>>()
    };
    let table = String::from_utf8(render(sql, Format::Table).await).unwrap();
    assert_eq!(
        table,
        "SEQUENCE  ERROR_CODE  STATUS\n1                     ok\n2                     ok\n"
    );
    let none = "SELECT sequence FROM predictions WHERE sequence > 9";
    assert_eq!(render(none, Format::Table).await, b"SEQUENCE\n");
    let bytes = render(sql, Format::Arrow).await;
    let reader = arrow::ipc::reader::StreamReader::try_new(bytes.as_slice(), None).unwrap();
    let n_rows: usize = reader.map(|batch| batch.unwrap().num_rows()).sum();
    assert_eq!(n_rows, 2);
}
