//! Jobs over HTTP, with the embedded queue and its worker.

use serde_json::{Value, json};

use crate::support::{Answer, Server};

const PREDICT: &str = "/v1/models/driver_ranking/predict";
const JOBS: &str = "/v1/models/driver_ranking/jobs";

fn request() -> Value {
    json!({ "entities": { "driver_id": [1001, 1002, 1099] }, "inputs": { "trip_km": [3.2, 7.5, 0.1] } })
}

async fn enqueue(server: &Server, body: &Value) -> String {
    let answer = server.post(JOBS, &body.to_string()).await;
    assert_eq!(answer.status, 202, "{:?}", answer.bytes);
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(answer.headers["location"], format!("/v1/jobs/{id}"));
    id
}

async fn end(server: &Server, id: &str) -> Value {
    let answer = server.get(&format!("/v1/jobs/{id}?wait=30s")).await;
    assert_eq!(answer.status, 200, "{:?}", answer.bytes);
    answer.json()
}

fn problem(answer: &Answer) -> (u16, String) {
    (answer.status, answer.code())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queued_prediction_is_the_one_of_the_same_call_bit_for_bit() {
    let mut server = Server::start(&[]).await;
    let job = end(&server, &enqueue(&server, &request()).await).await;
    assert_eq!(
        (&job["state"], &job["success"]),
        (&json!("complete"), &json!(true))
    );
    let direct = server.post(PREDICT, &request().to_string()).await.json();
    let result = &job["result"];
    assert_eq!(result["outputs"].to_string(), direct["outputs"].to_string());
    assert_eq!(
        (&result["model"], &result["n_rows"]),
        (&direct["model"], &direct["n_rows"])
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_never_be_answered_is_not_queued() {
    let mut server = Server::start(&[]).await;
    let refused = async |path: &str, body: &str| problem(&server.post(path, body).await);
    assert_eq!(
        refused(JOBS, "{}").await,
        (400, "body_form_ambiguous".to_owned())
    );
    assert_eq!(
        refused(JOBS, r#"{"rows": []}"#).await,
        (400, "rows_empty".to_owned())
    );
    let unknown = "/v1/models/nobody/jobs";
    let body = request().to_string();
    assert_eq!(
        refused(unknown, &body).await,
        (404, "model_not_found".to_owned())
    );
    let bad = format!("{JOBS}?delay=soon");
    assert_eq!(
        refused(&bad, &body).await,
        (400, "query_parameter_malformed".to_owned())
    );
    let webhook = format!("{JOBS}?webhook=http://127.0.0.1:1/");
    assert_eq!(
        refused(&webhook, &body).await,
        (400, "job_webhook_refused".to_owned())
    );
    let jobs = server.get("/v1/jobs?state=complete").await.json();
    assert_eq!(jobs, json!({ "jobs": [], "next_cursor": null }));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_job_tells_the_code_and_message_of_http() {
    let mut server = Server::start(&[]).await;
    let body = json!({ "entities": { "driver_id": [1001] }, "inputs": { "nothing": [1] } });
    let job = end(&server, &enqueue(&server, &body).await).await;
    let direct = server.post(PREDICT, &body.to_string()).await.json();
    assert_eq!(job["success"], false);
    assert_eq!(job["error"]["code"], direct["code"]);
    assert_eq!(job["error"]["message"], direct["detail"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_is_the_jobs_id_and_good_for_one_call() {
    let mut server = Server::start(&[]).await;
    let post = async |body: &Value| {
        let headers = [("idempotency-key", "order 7/a")];
        server.call("POST", JOBS, &headers, &body.to_string()).await
    };
    for _ in 0..2 {
        let answer = post(&request()).await;
        assert_eq!(
            (answer.status, &answer.json()["id"]),
            (202, &json!("order 7/a"))
        );
        assert_eq!(answer.headers["location"], "/v1/jobs/order%207%2Fa");
    }
    let job = end(&server, "order%207%2Fa").await;
    assert_eq!(job["attempts"], 1);
    let other = json!({ "entities": { "driver_id": [1003] }, "inputs": { "trip_km": [1.0] } });
    assert_eq!(
        problem(&post(&other).await),
        (409, "idempotency_key_reused".to_owned())
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn request_id_and_trace_go_with_the_job_into_the_audit_trail() {
    let mut server = Server::start(&[]).await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    let headers = [
        ("x-request-id", "from-the-app"),
        ("traceparent", parent.as_str()),
    ];
    let answer = server
        .call("POST", JOBS, &headers, &request().to_string())
        .await;
    assert_eq!(answer.headers["x-request-id"], "from-the-app");
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    end(&server, &id).await;
    let events = server.events().await;
    let event = events
        .iter()
        .find(|event| event["surface"] == "job")
        .unwrap();
    assert_eq!(event["request_id"], "from-the-app");
    assert_eq!(event["trace_id"], trace);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_waits_can_be_aborted_and_one_that_has_ended_not() {
    let mut server = Server::start(&[]).await;
    let later = server
        .post(&format!("{JOBS}?delay=1h"), &request().to_string())
        .await;
    assert_eq!(later.json()["state"], "deferred");
    let id = later.json()["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/jobs/{id}");
    assert_eq!(server.call("DELETE", &path, &[], "").await.status, 202);
    let job = end(&server, &id).await;
    assert_eq!(job["error"]["message"], "CancelledError");
    assert_eq!(
        problem(&server.call("DELETE", &path, &[], "").await),
        (409, "job_ended".to_owned())
    );
    assert_eq!(
        problem(&server.call("DELETE", "/v1/jobs/none", &[], "").await),
        (404, "job_not_found".to_owned())
    );
    assert_eq!(
        problem(&server.get("/v1/jobs/none").await),
        (404, "job_not_found".to_owned())
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_read_page_by_page_through_all_states() {
    let mut server = Server::start(&[]).await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(enqueue(&server, &request()).await);
    }
    for id in &ids {
        end(&server, id).await;
    }
    let later = server
        .post(&format!("{JOBS}?delay=1h"), &request().to_string())
        .await;
    ids.push(later.json()["id"].as_str().unwrap().to_owned());
    let mut seen = Vec::new();
    let mut path = "/v1/jobs?limit=2".to_owned();
    loop {
        let page = server.get(&path).await.json();
        let jobs = page["jobs"].as_array().unwrap();
        seen.extend(
            jobs.iter()
                .map(|job| job["id"].as_str().unwrap().to_owned()),
        );
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/v1/jobs?limit=2&cursor={cursor}"),
            None => break,
        }
    }
    ids.sort();
    seen.sort();
    assert_eq!(seen, ids);
    let wrong = server.get("/v1/jobs?cursor=nonsense").await;
    assert_eq!(problem(&wrong), (400, "job_cursor_invalid".to_owned()));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_tell_each_state_and_end_with_the_result() {
    let mut server = Server::start(&[]).await;
    let id = enqueue(&server, &request()).await;
    let answer = server.get(&format!("/v1/jobs/{id}/events")).await;
    assert_eq!(answer.headers["content-type"], "text/event-stream");
    let text = String::from_utf8(answer.bytes.to_vec()).unwrap();
    let events: Vec<&str> = text
        .split("\n\n")
        .filter(|event| !event.is_empty())
        .collect();
    let last = events.last().unwrap();
    let (name, data) = last.split_once('\n').unwrap();
    assert_eq!(name, "event: complete");
    let job: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(
        (&job["id"], &job["result"]["n_rows"]),
        (&json!(id), &json!(3))
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_worker_in_the_server_jobs_wait() {
    let mut server = Server::start(&["jobs.worker.in_server=false"]).await;
    let id = enqueue(&server, &request()).await;
    let job = server
        .get(&format!("/v1/jobs/{id}?wait=100ms"))
        .await
        .json();
    assert_eq!(
        (&job["state"], &job["success"]),
        (&json!("queued"), &Value::Null)
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_routes_stand_in_the_openapi_document_with_a_typed_one_for_each_model() {
    let mut server = Server::start(&[]).await;
    let document = server.get("/openapi.json").await.json();
    let typed = &document["paths"]["/v1/models/driver_ranking/jobs"]["post"];
    let reference = "/requestBody/content/application~1json/schema/$ref";
    assert_eq!(
        typed.pointer(reference).unwrap(),
        "#/components/schemas/driver_ranking.Request"
    );
    for path in [
        "/v1/jobs",
        "/v1/jobs/{id}",
        "/v1/jobs/{id}/events",
        "/v1/jobs/{id}/retry",
        "/v1/models/{model}/jobs",
    ] {
        assert!(document["paths"][path].is_object(), "{path}");
    }
    server.stop().await;
}

/// A place that is told of jobs: the first time it fails. The requests that it got, heads and bodies.
async fn told_place(listener: tokio::net::TcpListener, n_requests: usize) -> Vec<(String, String)> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let mut requests = Vec::new();
    while requests.len() < n_requests {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = Vec::new();
        let (head, length) = loop {
            stream.read_buf(&mut bytes).await.unwrap();
            let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
            if let Some(end) = text.find("\r\n\r\n") {
                let length = text.split("content-length: ").nth(1).unwrap();
                let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
                break (text[..end].to_owned(), end + 4 + length);
            }
        };
        while bytes.len() < length {
            stream.read_buf(&mut bytes).await.unwrap();
        }
        let body = String::from_utf8(bytes[head.len() + 4..].to_vec()).unwrap();
        let status = if requests.is_empty() {
            "503 Busy"
        } else {
            "200 OK"
        };
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
        requests.push((head, body));
    }
    requests
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_asked_is_told_of_the_end_and_again_if_it_could_not_listen() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = format!("http://{}/hooks/", listener.local_addr().unwrap());
    let allow = format!("jobs.webhook.allow=[\"{place}\"]");
    let settings = [
        allow.as_str(),
        "jobs.webhook.secret=whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "jobs.functions.webhook.backoff=1ms",
    ];
    let mut server = Server::start(&settings).await;
    let path = format!("{JOBS}?webhook={place}done");
    let answer = server.post(&path, &request().to_string()).await;
    assert_eq!(answer.status, 202, "{:?}", answer.bytes);
    let told = tokio::time::timeout(std::time::Duration::from_secs(30), told_place(listener, 2));
    let told = told.await.unwrap();
    let header = |request: &(String, String), name: &str| {
        let line = request
            .0
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap();
        line.split_once(": ").unwrap().1.to_owned()
    };
    assert!(told[1].0.starts_with("post /hooks/done http/1.1"));
    assert_eq!(
        header(&told[0], "webhook-id"),
        header(&told[1], "webhook-id")
    );
    assert!(header(&told[1], "webhook-signature").starts_with("v1,"));
    let job: Value = serde_json::from_str(&told[1].1).unwrap();
    assert_eq!(job["id"], answer.json()["id"]);
    assert_eq!(
        (&job["state"], &job["result"]["n_rows"]),
        (&json!("complete"), &json!(3))
    );
    server.stop().await;
}
