//! The routes of MLflow's scoring protocol for `/openapi.json`.

use serde_json::{Map, Value, json};

pub(in crate::http) fn paths() -> Map<String, Value> {
    let mut one = score("Score with the only model, or the one of `http.mlflow.model`");
    one["post"]["operationId"] = json!("invocations");
    let mut named = score("Score with a model: `name`, `name@alias` or `name:version`");
    named["post"]["operationId"] = json!("model_invocations");
    named["post"]["parameters"] = json!([{
        "name": "model", "in": "path", "required": true, "schema": { "type": "string" } }]);
    let paths = [
        ("/invocations", one),
        ("/models/{model}/invocations", named),
        ("/ping", text("A model can be scored", "application/json")),
        (
            "/version",
            text(
                "The MLflow version whose protocol this is",
                "application/json",
            ),
        ),
    ];
    paths
        .into_iter()
        .map(|(path, item)| (path.to_owned(), item))
        .collect()
}

fn score(summary: &str) -> Value {
    let list = || json!({ "type": "array" });
    let split = json!({
        "type": "object", "required": ["data"], "additionalProperties": false,
        "properties": { "columns": list(), "index": list(), "data": { "type": "array", "items": list() } } });
    let values = json!({ "description": "An object of lists, a list of objects, nested lists, or one value" });
    let form = |name: &str, schema: Value| {
        json!({ "type": "object", "title": name, "required": [name],
            "properties": { name: schema, "params": { "type": "object" } } })
    };
    let body = json!({ "oneOf": [
        form("dataframe_split", split),
        form("dataframe_records", json!({ "type": "array", "items": { "type": "object" } })),
        form("instances", values.clone()),
        form("inputs", values),
    ] });
    let exception = json!({ "type": "object", "properties": {
        "error_code": { "type": "string" }, "message": { "type": "string" },
        "sqlstate": { "type": "string" }, "error_class": { "type": "string" } } });
    let failure = |description: &str| json!({ "description": description, "content": { "application/json": { "schema": exception } } });
    json!({ "post": {
        "tags": ["mlflow"],
        "summary": summary,
        "requestBody": { "required": true, "content": {
            "application/json": { "schema": body },
            "text/csv": { "schema": { "type": "string" } },
        }},
        "responses": {
            "200": { "description": "One object per row of a table, or one array per output",
                "content": { "application/json": { "schema": {
                    "type": "object", "required": ["predictions"], "properties": { "predictions": {} } } } } },
            "400": failure("The body does not fit the model"),
            "404": failure("There is no such model"),
            "413": failure("The body or the number of rows is over the limit"),
            "415": { "description": "Neither JSON nor CSV in UTF-8" },
            "429": failure("Too much to do"),
            "503": failure("The model is not available"),
            "504": { "description": "Out of time" },
        },
    }})
}

fn text(summary: &str, content_type: &str) -> Value {
    json!({ "get": { "tags": ["mlflow"], "summary": summary, "responses": {
        "200": { "description": "OK", "content": { content_type: { "schema": {} } } } } } })
}
