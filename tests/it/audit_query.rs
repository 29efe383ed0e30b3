//! The audit trail asked in SQL, over HTTP and on the command line, in both formats of the files.

use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Answer, Server};

const BODY: &str =
    r#"{"entities": {"driver_id": [1001, 1002]}, "inputs": {"trip_km": [3.2, 7.5]}}"#;
const BY_STATUS: &str = "SELECT model, model_version, status, count(*) AS n, min(latency_us) > 0 AS timed \
     FROM predictions GROUP BY 1, 2, 3 ORDER BY status DESC";
/// Never ends by itself.
const ENDLESS: &str =
    "SELECT count(*) FROM generate_series(1, 1000000000000) a WHERE a.value % 7 = 8";

fn question(sql: &str) -> Value {
    json!({ "sql": sql })
}

async fn ask(server: &Server, question: &Value) -> Answer {
    server.post("/v1/audit/query", &question.to_string()).await
}

fn rows(answer: &Answer) -> Vec<Value> {
    let text = String::from_utf8(answer.bytes.to_vec()).unwrap();
    assert_eq!(answer.status, 200, "{text}");
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Two answers and a failure, all in the files.
async fn asked_server(settings: &[&str]) -> Server {
    let server = Server::start(settings).await;
    for _ in 0..2 {
        assert_eq!(server.predict("driver_ranking", BODY).await.status, 200);
    }
    assert_eq!(server.predict("nobody", BODY).await.status, 404);
    assert_eq!(server.events().await.len(), 3);
    server
}

async fn answers_are_those_of_the_events(server: &Server) {
    let answer = ask(server, &question(BY_STATUS)).await;
    assert_eq!(answer.headers["content-type"], "application/x-ndjson");
    assert_eq!(
        rows(&answer),
        [
            json!({"model": "driver_ranking", "model_version": "2", "status": "ok", "n": 2, "timed": true}),
            json!({"model": null, "model_version": null, "status": "error", "n": 1, "timed": true}),
        ]
    );
    let event = &server.events().await[0];
    let sql = format!(
        "SELECT f.value, f.number, f.status, f.age_s > 0 AS aged, o.number AS score FROM features f \
         JOIN outputs o ON o.id = f.id AND o.row = f.row WHERE f.id = '{}' \
         AND f.feature = 'driver_hourly_stats:conv_rate' ORDER BY f.row",
        event["id"].as_str().unwrap()
    );
    let found = rows(&ask(server, &question(&sql)).await);
    assert_eq!(found.len(), 2);
    for (row, found) in found.iter().enumerate() {
        let feature = &event["features"]["driver_hourly_stats:conv_rate"];
        assert_eq!(found["number"], feature["values"][row]);
        assert_eq!(found["value"], feature["values"][row].to_string());
        assert_eq!(found["status"], feature["statuses"][row]);
        assert_eq!(found["aged"], true);
        assert_eq!(found["score"], event["outputs"]["score"][row]);
    }
    let sql = "SELECT count(*) AS n FROM predictions";
    let mut past = question(sql);
    past["until"] = json!("2020-01-01T00:00:00Z");
    assert_eq!(rows(&ask(server, &past).await), [json!({"n": 0})]);
    let mut recent = question(sql);
    recent["since"] = json!("1h");
    assert_eq!(rows(&ask(server, &recent).await), [json!({"n": 3})]);
}

#[tokio::test]
async fn lines_are_asked_in_sql() {
    let server = asked_server(&[]).await;
    answers_are_those_of_the_events(&server).await;
}

#[tokio::test]
async fn parquet_is_asked_in_sql_found_by_id_and_verified() {
    let server = asked_server(&["audit.file.format=parquet", "audit.file.max_file_age=0s"]).await;
    answers_are_those_of_the_events(&server).await;
    let files = terrarium::audit::verify::files(server.audit_directory()).unwrap();
    assert!(files.is_complete());
    assert_eq!((files.writers[0].first, files.writers[0].last), (1, 3));
    let event = &server.events().await[1];
    let path = format!("/v1/predictions/{}", event["id"].as_str().unwrap());
    assert_eq!(server.get(&path).await.json(), *event);
}

#[tokio::test]
async fn what_waits_for_a_parquet_file_is_asked_in_the_spool_and_lost_by_nobody() {
    let mut server = Server::start(&["audit.file.format=parquet"]).await;
    for _ in 0..3 {
        assert_eq!(server.predict("driver_ranking", BODY).await.status, 200);
    }
    let sql = "SELECT sequence FROM predictions ORDER BY sequence";
    let mut waiting = question(sql);
    waiting["from"] = json!("spool");
    let expected = [
        json!({"sequence": 1}),
        json!({"sequence": 2}),
        json!({"sequence": 3}),
    ];
    assert_eq!(rows(&ask(&server, &waiting).await), expected);
    assert_eq!(
        rows(&ask(&server, &question(sql)).await),
        Vec::<Value>::new()
    );
    server.stop().await;
    let events = server.events().await;
    let sequences: Vec<&Value> = events.iter().map(|event| &event["sequence"]).collect();
    assert_eq!(sequences, [1, 2, 3]);
}

#[tokio::test]
async fn the_form_of_the_answer_is_as_asked_for() {
    let server = asked_server(&[]).await;
    let sql = question("SELECT status, n_rows FROM predictions ORDER BY sequence");
    let asked = async |accept| {
        let headers = [("content-type", "application/json"), ("accept", accept)];
        let body = sql.to_string();
        server
            .call("POST", "/v1/audit/query", &headers, &body)
            .await
    };
    let csv = asked("text/csv").await;
    assert_eq!(csv.bytes, "status,n_rows\nok,2\nok,2\nerror,2\n".as_bytes());
    let arrow = asked("application/vnd.apache.arrow.stream").await;
    assert_eq!(
        arrow.headers["content-type"],
        "application/vnd.apache.arrow.stream"
    );
    let reader = arrow::ipc::reader::StreamReader::try_new(&*arrow.bytes, None).unwrap();
    let n_rows: usize = reader.map(|batch| batch.unwrap().num_rows()).sum();
    assert_eq!(n_rows, 3);
}

#[tokio::test]
async fn what_cannot_be_asked_is_a_problem() {
    let server = Server::start(&["audit.query.max_rows=1"]).await;
    for (body, status, code) in [
        (
            question("DROP TABLE predictions"),
            400,
            "audit_query_not_select",
        ),
        (
            question("SELECT * FROM nothing"),
            400,
            "audit_query_invalid",
        ),
        (
            json!({"query": "SELECT 1"}),
            400,
            "audit_question_malformed",
        ),
        (
            json!({"sql": "SELECT 1", "since": "yesterday"}),
            400,
            "audit_question_malformed",
        ),
        (
            json!({"sql": "SELECT 1", "from": "topic"}),
            400,
            "audit_query_no_topic",
        ),
        (question("SELECT 1 / 0"), 422, "audit_query_failed"),
    ] {
        let refused = ask(&server, &body).await;
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (status, code),
            "{body}"
        );
    }
    let off = Server::start(&["audit.query.http=false"]).await;
    let refused = ask(&off, &question("SELECT 1")).await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (404, "audit_query_off")
    );
    let late = Server::start(&["audit.query.timeout=100ms"]).await;
    let refused = ask(&late, &question(ENDLESS)).await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (504, "audit_query_late")
    );
}

#[tokio::test]
async fn an_answer_that_fails_on_its_way_breaks_off() {
    let server = asked_server(&["audit.query.max_rows=2"]).await;
    let body = question("SELECT id FROM predictions").to_string();
    let request = format!(
        "POST /v1/audit/query HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut connection = tokio::net::TcpStream::connect(server.address())
        .await
        .unwrap();
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A connection that is reset has said as much.
    let _ = connection.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    assert!(
        !answer.ends_with("0\r\n\r\n"),
        "it ends as if it were all: {answer}"
    );
}

#[tokio::test]
async fn a_caller_who_leaves_ends_the_query() {
    let server = Server::start(&["audit.query.max_queries=1", "audit.query.timeout=10min"]).await;
    let body = question(ENDLESS).to_string();
    let request = format!(
        "POST /v1/audit/query HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut connection = tokio::net::TcpStream::connect(server.address())
        .await
        .unwrap();
    connection.write_all(request.as_bytes()).await.unwrap();
    // It must have its place before anything else asks: it and this call for the metrics are in flight.
    loop {
        let metrics = server.get("/metrics").await;
        let text = String::from_utf8_lossy(&metrics.bytes).into_owned();
        if text
            .lines()
            .any(|line| line == "terrarium_http_in_flight 2")
        {
            break;
        }
        tokio::task::yield_now().await;
    }
    status_comes(&server, 429).await;
    drop(connection);
    status_comes(&server, 200).await;
}

/// Asks something short until it is answered like this.
async fn status_comes(server: &Server, status: u16) {
    let mut every = tokio::time::interval(Duration::from_millis(5));
    for _ in 0..6_000 {
        every.tick().await;
        if ask(server, &question("SELECT 1 AS n")).await.status == status {
            return;
        }
    }
    panic!("never {status}");
}

fn terrarium(server: &Server, arguments: &[&str]) -> Output {
    let directory = server.audit_directory();
    Command::new(env!("CARGO_BIN_EXE_terrarium"))
        .args(["audit", "query"])
        .args(arguments)
        .arg("--set")
        .arg(format!("audit.file.directory={}", directory.display()))
        .current_dir(directory)
        .output()
        .unwrap()
}

#[tokio::test]
async fn the_command_line_asks_too() {
    let server = asked_server(&[]).await;
    let sql = "SELECT status, count(*) AS n FROM predictions GROUP BY status ORDER BY n";
    let table = terrarium(&server, &[sql]);
    assert!(table.status.success(), "{table:?}");
    assert_eq!(
        String::from_utf8(table.stdout).unwrap(),
        "STATUS  N\nerror   1\nok      2\n"
    );
    let lines = terrarium(&server, &[sql, "--json", "--since", "1h"]);
    assert_eq!(
        lines.stdout,
        b"{\"status\":\"error\",\"n\":1}\n{\"status\":\"ok\",\"n\":2}\n"
    );
    let csv = terrarium(&server, &[sql, "--csv", "--max-rows", "1"]);
    assert_eq!(csv.stdout, b"status,n\nerror,1\n");
    assert_eq!(csv.status.code(), Some(1));
    let told = String::from_utf8(csv.stderr).unwrap();
    assert!(told.contains("gives more than 1 rows"), "{told}");
    let refused = terrarium(&server, &["SET x = 1"]);
    assert_eq!(refused.status.code(), Some(1));
}
