//! The routes of Feast's API for `/openapi.json`.

use serde_json::{Map, Value, json};

pub(in crate::http) fn paths() -> Map<String, Value> {
    let text = || json!({ "type": "string" });
    let flag = || json!({ "type": "boolean", "default": false });
    let texts = || json!({ "type": "array", "items": text() });
    let frame = || {
        json!({ "type": "object", "additionalProperties": { "type": "array" },
        "description": "Columns of equal length: join keys, features, event timestamp and, where the source has one, created timestamp" })
    };
    let views = || json!({ "type": ["array", "null"], "items": text(), "description": "None: all that are kept online" });
    let online = object(
        &["entities"],
        json!({
            "entities": { "type": "object", "additionalProperties": { "type": "array" },
                "description": "Join keys, or entity names, and request data: one value per row" },
            "features": { "type": "array", "items": text(), "description": "`view:feature`" },
            "feature_service": { "type": ["string", "null"] },
            "full_feature_names": flag(),
            "include_feature_view_version_metadata": flag(),
        }),
    );
    let columns = object(
        &["results", "metadata"],
        json!({
            "results": { "type": "array", "items": object(&["values", "statuses"], json!({
                "values": { "type": "array" },
                "statuses": { "type": "array", "items": { "enum":
                    ["INVALID", "PRESENT", "NULL_VALUE", "NOT_FOUND", "OUTSIDE_MAX_AGE"] } },
                "event_timestamps": { "type": "array", "items": { "type": "string", "format": "date-time" } } })) },
            "metadata": object(&["feature_names"], json!({
                "feature_names": texts(), "feature_view_metadata": { "type": "array", "items": { "type": "object" } } })),
        }),
    );
    let push = object(
        &["push_source_name", "df"],
        json!({
        "push_source_name": text(), "df": frame(),
        "to": { "enum": ["online", "offline", "online_and_offline"], "default": "online" } }),
    );
    let write = object(
        &["feature_view_name", "df"],
        json!({ "feature_view_name": text(), "df": frame() }),
    );
    let materialize = object(
        &[],
        json!({
        "start_ts": { "type": ["string", "null"] }, "end_ts": { "type": ["string", "null"] },
        "feature_views": views(), "disable_event_timestamp": flag(), "version": { "type": ["string", "null"] } }),
    );
    let incremental = object(
        &["end_ts"],
        json!({
        "end_ts": text(), "feature_views": views(), "version": { "type": ["string", "null"] } }),
    );
    let null = json!({ "type": "null" });
    let mut materialize = post(
        "Materialize a range of time to the online store",
        materialize,
        Some(null.clone()),
    );
    let mut incremental = post(
        "Materialize from where each view was left",
        incremental,
        Some(null.clone()),
    );
    for operation in [&mut materialize, &mut incremental] {
        operation["post"]["parameters"] = json!([query_flag("async"), query_flag("force")]);
        operation["post"]["responses"]["202"] = json!({ "description": "Accepted (`async`)" });
        operation["post"]["responses"]["409"] = json!({ "description": "A view is being materialized already (`async` without `force`)" });
    }
    let paths = [
        (
            "/get-online-features",
            post(
                "Features of entity rows, column by column",
                online,
                Some(columns),
            ),
        ),
        (
            "/push",
            post("Write rows to the views of a push source", push, None),
        ),
        (
            "/write-to-online-store",
            post("Write rows to one view", write, Some(null)),
        ),
        ("/materialize", materialize),
        ("/materialize-incremental", incremental),
        (
            "/health",
            json!({ "get": { "tags": ["feast"], "summary": "There is a registry to answer from",
            "responses": { "200": { "description": "OK" }, "503": { "description": "No features" } } } }),
        ),
    ];
    paths
        .into_iter()
        .map(|(path, item)| (path.to_owned(), item))
        .collect()
}

fn object(required: &[&str], properties: Value) -> Value {
    json!({ "type": "object", "required": required, "properties": properties })
}

fn query_flag(name: &str) -> Value {
    json!({ "name": name, "in": "query", "schema": { "type": "boolean", "default": false } })
}

fn post(summary: &str, body: Value, answer: Option<Value>) -> Value {
    let ok = match answer {
        Some(schema) => {
            json!({ "description": "OK", "content": { "application/json": { "schema": schema } } })
        }
        None => json!({ "description": "OK" }),
    };
    let error = |description: &str| json!({ "description": description, "content": { "application/json": { "schema": {} } } });
    json!({ "post": { "tags": ["feast"], "summary": summary,
        "requestBody": { "required": true, "content": { "application/json": { "schema": body } } },
        "responses": {
            "200": ok,
            "404": error("There is no such view, service or entity"),
            "422": error("The body is not as it should be"),
            "500": error("Any other mistake, as in Feast"),
            "503": error("The online store is not available"),
            "504": error("Out of time"),
        } } })
}
