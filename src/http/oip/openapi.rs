//! The routes of the Open Inference Protocol for `/openapi.json`.

use serde_json::{Map, Value, json};

pub(in crate::http) fn paths() -> Map<String, Value> {
    let mut paths = Map::new();
    for (path, summary) in [
        ("/v2", "Name, version and extensions of the server"),
        ("/v2/health/live", "The process answers"),
        ("/v2/health/ready", "There are models to predict with"),
        ("/v2/models", "The names of all models"),
        (
            "/v2/models/stats",
            "What all versions have done since the start",
        ),
    ] {
        paths.insert(
            path.to_owned(),
            json!({ "get": operation(summary, json!([])) }),
        );
    }
    for (path, parameters) in [
        ("/v2/models/{model}", json!([model()])),
        (
            "/v2/models/{model}/versions/{version}",
            json!([model(), version()]),
        ),
    ] {
        for (end, summary) in [
            ("", "What a model takes and gives"),
            ("/ready", "A model can be predicted with"),
            ("/config", "A model as Triton configures it"),
            ("/stats", "What a version has done since the start"),
        ] {
            let get = operation(summary, parameters.clone());
            paths.insert(format!("{path}{end}"), json!({ "get": get }));
        }
        paths.insert(
            format!("{path}/infer"),
            json!({ "post": infer(parameters) }),
        );
    }
    let index = operation("All registered versions and their state", json!([]));
    paths.insert("/v2/repository/index".to_owned(), json!({ "post": index }));
    for (end, summary) in [
        (
            "load",
            "Look at the model registry now, and wait for the model",
        ),
        ("unload", "Refused: what is served follows the registry"),
    ] {
        let post = operation(summary, json!([model()]));
        let path = format!("/v2/repository/models/{{model}}/{end}");
        paths.insert(path, json!({ "post": post }));
    }
    paths
}

fn model() -> Value {
    json!({ "name": "model", "in": "path", "required": true, "schema": { "type": "string" },
        "description": "`name`, `name@alias` or `name:version`" })
}

fn version() -> Value {
    json!({ "name": "version", "in": "path", "required": true, "schema": { "type": "string" },
        "description": "A number, or an alias" })
}

fn operation(summary: &str, parameters: Value) -> Value {
    json!({ "tags": ["oip"], "summary": summary, "parameters": parameters, "responses": {
        "200": { "description": "OK", "content": { "application/json": { "schema": {} } } },
        "default": failure() } })
}

fn failure() -> Value {
    json!({ "description": "What is wrong", "content": { "application/json": { "schema": {
        "type": "object", "required": ["error"], "properties": { "error": { "type": "string" } } } } } })
}

fn infer(mut parameters: Value) -> Value {
    if let Some(parameters) = parameters.as_array_mut() {
        parameters.push(json!({ "name": "Inference-Header-Content-Length", "in": "header", "schema": { "type": "integer" },
            "description": "Bytes of JSON in front of the bytes of binary tensors" }));
    }
    let tensor = |required: Value| {
        json!({ "type": "object", "required": required, "properties": {
            "name": { "type": "string" },
            "shape": { "type": "array", "items": { "type": "integer", "minimum": 0 } },
            "datatype": { "type": "string" },
            "parameters": { "type": "object" },
            "data": { "type": "array" } } })
    };
    let input = tensor(json!(["name", "shape", "datatype"]));
    let output = tensor(json!(["name", "shape", "datatype"]));
    let requested = json!({ "type": "object", "required": ["name"], "properties": {
        "name": { "type": "string" }, "parameters": { "type": "object" } } });
    let request = json!({ "type": "object", "required": ["inputs"], "properties": {
        "id": { "type": "string" }, "parameters": { "type": "object" },
        "inputs": { "type": "array", "items": input },
        "outputs": { "type": "array", "items": requested } } });
    let response = json!({ "type": "object", "required": ["model_name", "outputs"], "properties": {
        "model_name": { "type": "string" }, "model_version": { "type": "string" }, "id": { "type": "string" },
        "outputs": { "type": "array", "items": output } } });
    let bytes = json!({ "schema": { "type": "string", "format": "binary" } });
    json!({ "tags": ["oip"], "summary": "Predict with whole tensors", "parameters": parameters,
        "requestBody": { "required": true, "content": {
            "application/json": { "schema": request }, "application/octet-stream": bytes } },
        "responses": {
            "200": { "description": "The outputs", "content": {
                "application/json": { "schema": response }, "application/octet-stream": bytes } },
            "default": failure() } })
}
