//! The routes of jobs in the OpenAPI document.

use serde_json::{Map, Value, json};

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn problem(description: &str) -> Value {
    json!({ "description": description,
        "content": { "application/problem+json": { "schema": reference("Problem") } } })
}

fn parameter(place: &str, name: &str, schema: Value, description: &str) -> Value {
    json!({ "name": name, "in": place, "required": place == "path", "schema": schema, "description": description })
}

fn text(place: &str, name: &str, description: &str) -> Value {
    parameter(place, name, json!({ "type": "string" }), description)
}

fn job_id() -> Value {
    text("path", "id", "The job's id")
}

/// The routes that are there for every model.
pub(in crate::http) fn paths() -> Map<String, Value> {
    let mut queue = enqueue(
        "enqueue_predict",
        "Queue a prediction with any model or version",
        json!({
        "required": true, "content": { "application/json": { "schema": { "type": "object" } } } }),
    );
    let model = text("path", "model", "`name`, `name@alias` or `name:version`");
    if let Some(parameters) = queue["post"]["parameters"].as_array_mut() {
        parameters.insert(0, model);
    }
    let one = json!({
        "get": { "tags": ["jobs"], "operationId": "show_job", "summary": "A job with its result",
            "parameters": [job_id(), text("query", "wait", "Wait for its end so long, up to `60s`, such as `5s`")],
            "responses": {
                "200": answer("The job as it is now", reference("Job")),
                "404": problem("There is no such job, or its result is no longer kept"),
                "503": problem("The job queue cannot be reached") } },
        "delete": { "tags": ["jobs"], "operationId": "abort_job", "summary": "Abort a job, be it queued or running",
            "parameters": [job_id()],
            "responses": {
                "202": answer("Its worker ends it", json!({ "type": "object" })),
                "404": problem("There is no such job"),
                "409": problem("It has ended already") } },
    });
    let retry = json!({ "post": { "tags": ["jobs"], "operationId": "retry_job",
        "summary": "Queue a dead job again, as if it were new", "parameters": [job_id()],
        "responses": {
            "202": answer("It is queued", json!({ "type": "object" })),
            "404": problem("There is no dead job of that id") } } });
    let events = json!({ "get": { "tags": ["jobs"], "operationId": "follow_job",
        "summary": "Server-sent events: one for each state of the job, the last with its result",
        "parameters": [job_id()],
        "responses": {
            "200": { "description": "`event` is the state, `data` the job", "content": {
                "text/event-stream": { "schema": { "type": "string" } } } },
            "404": problem("There is no such job") } } });
    let states = json!({ "enum": ["queued", "running", "deferred", "dead", "complete"] });
    let list = json!({ "get": { "tags": ["jobs"], "operationId": "list_jobs", "summary": "Jobs, page by page",
        "parameters": [
            parameter("query", "state", states, "Jobs of one state; without it all, state by state"),
            text("query", "cursor", "`next_cursor` of the page before"),
            parameter("query", "limit", json!({ "type": "integer", "minimum": 1, "maximum": 1000, "default": 100 }),
                "Most jobs of a page; there may be fewer, or none, and yet a next one"),
        ],
        "responses": {
            "200": answer("A page", json!({ "type": "object", "required": ["jobs", "next_cursor"], "properties": {
                "jobs": { "type": "array", "items": reference("Job") },
                "next_cursor": { "type": ["string", "null"] } } })),
            "400": problem("The state, the cursor or the limit is none") } } });
    let paths = [
        ("/v1/models/{model}/jobs", queue),
        ("/v1/jobs", list),
        ("/v1/jobs/{id}", one),
        ("/v1/jobs/{id}/retry", retry),
        ("/v1/jobs/{id}/events", events),
    ];
    paths
        .into_iter()
        .map(|(path, item)| (path.to_owned(), item))
        .collect()
}

fn answer(description: &str, schema: Value) -> Value {
    json!({ "description": description, "content": { "application/json": { "schema": schema } } })
}

/// The operation that queues predictions, of one model or of any.
pub(in crate::http) fn enqueue(operation: &str, summary: &str, body: Value) -> Value {
    json!({ "post": {
        "tags": ["jobs"], "operationId": operation, "summary": summary,
        "parameters": [
            text("header", "Idempotency-Key", "The job's id; the same call may be sent again with it"),
            text("header", "X-Request-Id", "Goes with the job"),
            text("header", "traceparent", "W3C trace context; goes with the job"),
            text("query", "delay", "Not before so long, such as `90s`"),
            text("query", "expires", "Not at all once it has waited so long"),
            text("query", "webhook", "Is told of the end with a signed POST; see `jobs.webhook`"),
        ],
        "requestBody": body,
        "responses": {
            "202": { "description": "Queued, or was already",
                "headers": { "Location": { "schema": { "type": "string" }, "description": "`/v1/jobs/{id}`" } },
                "content": { "application/json": { "schema": {
                    "type": "object", "required": ["id", "state"], "properties": {
                        "id": { "type": "string" }, "state": { "type": "string" } } } } } },
            "400": problem("The request is not valid"),
            "404": problem("There is no such model"),
            "409": problem("The key belongs to another call"),
            "413": problem("The body or the number of rows is over the limit"),
            "503": problem("The job queue cannot be reached") },
    } })
}

pub(in crate::http) fn schemas() -> Map<String, Value> {
    let moment = json!({ "type": ["string", "null"], "format": "date-time" });
    let job = json!({ "type": "object", "required": ["id", "state", "attempts"], "properties": {
        "id": { "type": "string" },
        "state": { "enum": ["queued", "running", "deferred", "dead", "complete"] },
        "success": { "type": ["boolean", "null"], "description": "Once it has ended" },
        "function": { "type": ["string", "null"] },
        "args": { "type": ["array", "null"], "items": {} },
        "kwargs": { "type": ["object", "null"] },
        "attempts": { "type": "integer" },
        "enqueued_at": moment, "due_at": moment, "started_at": moment, "finished_at": moment,
        "result": { "description": "What the function gave: of `predict`, the answer of a predict call" },
        "error": { "type": ["object", "null"], "properties": {
            "code": { "type": ["string", "null"] }, "message": { "type": "string" } } },
        "dead": { "type": ["object", "null"], "properties": {
            "reason": { "type": "string" }, "at": { "type": "string", "format": "date-time" } } },
    } });
    Map::from_iter([("Job".to_owned(), job)])
}
