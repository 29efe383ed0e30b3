//! OpenAPI 3.1 at `/openapi.json`, made from what is served right now, and Swagger UI at `/docs`.
//!
//! One typed predict operation per served model, from its serving plan and graph, beside the general routes.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use axum::http::{Response, StatusCode};
use serde_json::{Map, Value, json};

use super::Api;
use crate::models::ServedVersion;
use crate::models::traffic::Traffic;
use crate::predict::{ColumnDescription, Description, RequestDataDescription, ServingPlan};
use crate::types::dtype::DType;
use crate::types::signature::{OutputKind, OutputSpec};

pub(super) async fn document(State(api): State<Arc<Api>>) -> Response<Body> {
    let body = of(&api).to_string();
    let mut response = Response::new(Body::from(body));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

pub(super) async fn redirect() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    response
        .headers_mut()
        .insert(LOCATION, HeaderValue::from_static("/docs/index.html"));
    response
}

pub(super) async fn swagger_ui(Path(file): Path<String>) -> Response<Body> {
    let config = Arc::new(utoipa_swagger_ui::Config::from("/openapi.json"));
    let (status, bytes, kind) = match utoipa_swagger_ui::serve(&file, config) {
        Ok(Some(file)) => (StatusCode::OK, file.bytes.into_owned(), file.content_type),
        Ok(None) => (StatusCode::NOT_FOUND, Vec::new(), "text/plain".to_owned()),
        Err(error) => {
            tracing::error!(file, %error, "Swagger UI file cannot be served");
            (
                StatusCode::INTERNAL_SERVER_ERROR,
                Vec::new(),
                "text/plain".to_owned(),
            )
        }
    };
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    if let Ok(kind) = HeaderValue::from_str(&kind) {
        response.headers_mut().insert(CONTENT_TYPE, kind);
    }
    response
}

/// The document for what is served at this moment.
fn of(api: &Api) -> Value {
    let mut paths = general_paths();
    paths.extend(super::mlflow::openapi_paths());
    paths.extend(super::oip::openapi_paths());
    paths.extend(super::jobs::openapi::paths());
    let mut schemas = general_schemas();
    schemas.extend(super::jobs::openapi::schemas());
    if api.features.is_some() {
        paths.extend(super::feast::openapi_paths());
        let historical = super::historical::openapi_path();
        paths.insert("/v1/features/historical".to_owned(), historical);
    }
    for status in api.predictor.models().models() {
        let Some(model) = status.served() else {
            continue;
        };
        let name = component_name(&model.name);
        let plan = model.plan.describe();
        schemas.insert(format!("{name}.Request"), request_schema(&plan));
        schemas.insert(format!("{name}.Response"), response_schema(model));
        let mut operation = predict_operation(model, &name, &plan);
        if let Some(traffic) = &status.traffic {
            operation["post"]["description"] = json!(describe_traffic(traffic));
        }
        let queued = super::jobs::openapi::enqueue(
            &format!("enqueue_{name}"),
            &format!("Queue a prediction with {}", model.name),
            operation["post"]["requestBody"].clone(),
        );
        paths.insert(format!("/v1/models/{}/jobs", model.name), queued);
        paths.insert(format!("/v1/models/{}/predict", model.name), operation);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Terrarium",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Features and models, served. One operation for each model that is served now.",
        },
        "paths": paths,
        "components": { "schemas": schemas },
    })
}

/// Component names allow letters, digits, `.`, `-` and `_`.
fn component_name(model: &str) -> String {
    model
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') {
                c
            } else {
                '_'
            }
        })
        .collect()
}

// One model.

fn predict_operation(model: &ServedVersion<ServingPlan>, name: &str, plan: &Description) -> Value {
    let entities: Vec<&str> = plan
        .entities
        .iter()
        .map(|entity| entity.name.as_str())
        .collect();
    let by = if entities.is_empty() {
        String::new()
    } else {
        format!(" by {}", entities.join(", "))
    };
    json!({ "post": {
        "tags": ["predict"],
        "operationId": format!("predict_{name}"),
        "summary": format!("Predict with {}{by}", model.name),
        "description": format!("Version {} serves now.", model.version),
        "requestBody": { "required": true, "content": { "application/json": {
            "schema": reference(&format!("{name}.Request")),
            "example": example(plan),
        }}},
        "responses": responses(reference(&format!("{name}.Response"))),
    }})
}

fn describe_traffic(traffic: &Traffic<ServingPlan>) -> String {
    let percent = |share: f64| (share * 100.0).round();
    let shares = traffic.shares().map(|share| match share.alias {
        Some(alias) => format!("{} ({alias}, {} %)", share.version, percent(share.share)),
        None => format!("{} ({} %)", share.version, percent(share.share)),
    });
    let shares: Vec<String> = shares.collect();
    format!(
        "Shared out by entity key. Versions now: {}.",
        shares.join(", ")
    )
}

fn request_schema(plan: &Description) -> Value {
    let entities = plan
        .entities
        .iter()
        .map(|entity| (entity.name.clone(), entity_schema(&entity.value_type)));
    let entities: Map<String, Value> = entities.collect();
    let mut inputs = Map::new();
    for column in plan
        .columns
        .iter()
        .filter(|column| column.source != "entity")
    {
        for name in column.overrides.iter().chain([&column.name]) {
            inputs.insert(name.clone(), input_schema(column));
        }
    }
    let mut required: Vec<&str> = plan
        .columns
        .iter()
        .filter(|c| c.required)
        .map(|c| c.name.as_str())
        .collect();
    for field in &plan.request_data {
        if !required.contains(&field.name.as_str()) {
            required.push(&field.name);
        }
        inputs
            .entry(field.name.clone())
            .or_insert_with(|| request_data_schema(field));
    }
    let mut columns_form = json!({
        "type": "object", "title": "Columns", "additionalProperties": false,
        "properties": {
            "inputs": { "type": "object", "additionalProperties": false, "required": required,
                "properties": columns(&inputs) },
            "params": { "type": "object" },
            "explain": { "type": "boolean", "default": false },
        },
    });
    let mut row = inputs.clone();
    if !entities.is_empty() {
        columns_form["properties"]["entities"] = json!({ "type": "object", "additionalProperties": false, "properties": columns(&entities) });
        row.extend(entities);
    }
    json!({ "oneOf": [columns_form, {
        "type": "object", "title": "Rows", "required": ["rows"], "additionalProperties": false,
        "properties": {
            "rows": { "type": "array", "minItems": 1, "items": {
                "type": "object", "required": required, "properties": row, "additionalProperties": false } },
            "params": { "type": "object" },
            "explain": { "type": "boolean", "default": false },
        },
    }]})
}

/// A list with one value per row, or one value for every row.
fn columns(items: &Map<String, Value>) -> Map<String, Value> {
    let column =
        |schema: &Value| json!({ "anyOf": [{ "type": "array", "items": schema }, schema] });
    items
        .iter()
        .map(|(name, schema)| (name.clone(), column(schema)))
        .collect()
}

fn entity_schema(value_type: &str) -> Value {
    match value_type {
        "INT32" => json!({ "type": ["integer", "string"], "format": "int32" }),
        "INT64" | "UNIX_TIMESTAMP" => json!({ "type": ["integer", "string"], "format": "int64" }),
        _ => json!({ "type": ["string", "integer"] }),
    }
}

fn input_schema(column: &ColumnDescription) -> Value {
    let element = element_schema(column.dtype);
    let mut schema = if column.list {
        json!({ "type": "array" })
    } else {
        element
    };
    if let Some(feature) = &column.feature {
        schema["description"] = json!(format!("Overrides the feature `{feature}`"));
    }
    schema
}

fn request_data_schema(field: &RequestDataDescription) -> Value {
    let json_type = match field.value_type {
        "INT32" | "INT64" | "UNIX_TIMESTAMP" => "integer",
        "FLOAT" | "DOUBLE" => "number",
        "BOOL" => "boolean",
        _ => "string",
    };
    json!({ "type": [json_type, "null"],
        "description": format!("On-demand features are computed from it: {}", field.views.join(", ")) })
}

fn element_schema(dtype: DType) -> Value {
    match dtype {
        dtype if dtype.is_float() => json!({ "type": ["number", "null"] }),
        other => json!({ "type": other.json_type() }),
    }
}

fn response_schema(model: &ServedVersion<ServingPlan>) -> Value {
    let outputs: Map<String, Value> = model
        .plan
        .output_names()
        .zip(&model.model.graph().outputs)
        .map(|(name, output)| {
            (
                name.to_owned(),
                json!({ "type": "array", "items": output_schema(output) }),
            )
        })
        .collect();
    let names: Vec<&String> = outputs.keys().collect();
    json!({
        "type": "object", "required": ["id", "model", "n_rows", "outputs"],
        "properties": {
            "id": { "type": "string", "format": "uuid" },
            "model": reference("Model"),
            "variants": reference("Variants"),
            "n_rows": { "type": "integer", "minimum": 1 },
            "outputs": { "type": "object", "required": names, "properties": outputs },
            "features": reference("Features"),
            "timings_us": reference("Timings"),
        },
    })
}

fn output_schema(output: &OutputSpec) -> Value {
    let number =
        json!({ "type": ["number", "string"], "description": "NaN and infinities are strings" });
    match &output.kind {
        OutputKind::Maps => json!({ "type": "object", "additionalProperties": number }),
        OutputKind::Tensor { dtype, shape } => {
            let element = if dtype.is_float() {
                number
            } else {
                json!({ "type": dtype.json_type() })
            };
            match shape[..] {
                [] | [_] | [_, 1] => element,
                [_, _] => json!({ "type": "array", "items": element }),
                _ => json!({ "type": "array" }),
            }
        }
    }
}

fn example(plan: &Description) -> Value {
    let entity = |value_type: &str| {
        if value_type == "STRING" {
            json!(["c-1"])
        } else {
            json!([1])
        }
    };
    let entities: Map<String, Value> = plan
        .entities
        .iter()
        .map(|e| (e.name.clone(), entity(&e.value_type)))
        .collect();
    let inputs = plan
        .columns
        .iter()
        .filter(|column| column.required)
        .map(|column| {
            let value = match column.dtype.json_type() {
                "boolean" => json!([true]),
                "string" => json!(["text"]),
                "integer" => json!([1]),
                _ if column.list => json!([[1.0]]),
                _ => json!([1.0]),
            };
            (column.name.clone(), value)
        });
    let mut inputs: Map<String, Value> = inputs.collect();
    for field in &plan.request_data {
        let value = match field.value_type {
            "BOOL" => json!([true]),
            "FLOAT" | "DOUBLE" => json!([1.0]),
            "INT32" | "INT64" | "UNIX_TIMESTAMP" => json!([1]),
            _ => json!(["text"]),
        };
        inputs.entry(field.name.clone()).or_insert(value);
    }
    json!({ "entities": entities, "inputs": inputs })
}

// What is there for every model.

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn responses(schema: Value) -> Value {
    let problem = |description: &str| {
        json!({ "description": description,
            "content": { "application/problem+json": { "schema": reference("Problem") } } })
    };
    json!({
        "200": { "description": "The answer", "content": { "application/json": { "schema": schema } } },
        "400": problem("The request is not valid"),
        "404": problem("There is no such model"),
        "413": problem("The body or the number of rows is over the limit"),
        "422": problem("A feature that must be there is missing or stale"),
        "429": problem("Too much to do"),
        "503": problem("The model, the online store or the audit log is not available"),
        "504": problem("Out of time"),
    })
}

fn general_paths() -> Map<String, Value> {
    let json_of = |summary: &str, schema: Value, tag: &str| {
        json!({ "get": { "tags": [tag], "summary": summary, "responses": {
            "200": { "description": "OK", "content": { "application/json": { "schema": schema } } } } } })
    };
    let model = json!([{ "name": "model", "in": "path", "required": true, "schema": { "type": "string" },
        "description": "`name`, `name@alias` or `name:version`" }]);
    let mut show = json_of(
        "One model: versions, signature, serving plan",
        json!({ "type": "object" }),
        "models",
    );
    show["get"]["parameters"] = model.clone();
    let mut predict = json!({ "post": { "tags": ["predict"], "summary": "Predict with any model or version",
        "parameters": model,
        "requestBody": { "required": true, "content": { "application/json": { "schema": { "type": "object" } } } },
        "responses": responses(json!({ "type": "object" })) } });
    predict["post"]["operationId"] = json!("predict");
    let mut recorded = json_of(
        "The audit event of a prediction",
        json!({ "type": "object" }),
        "predict",
    );
    recorded["get"]["parameters"] = json!([{ "name": "id", "in": "path", "required": true,
        "schema": { "type": "string", "format": "uuid" }, "description": "`id` of an answer" }]);
    let mut gate_report = json_of(
        "What a version answered to recorded predictions, compared with what was answered",
        json!({ "type": "object" }),
        "models",
    );
    gate_report["get"]["parameters"] = json!([
        { "name": "model", "in": "path", "required": true, "schema": { "type": "string" } },
        { "name": "version", "in": "path", "required": true, "schema": { "type": "integer" } },
    ]);
    let text = |summary: &str| {
        json!({ "get": { "tags": ["health"], "summary": summary, "responses": {
            "200": { "description": "OK", "content": { "text/plain": { "schema": { "type": "string" } } } } } } })
    };
    let paths = [
        ("/v1/webhooks/mlflow", webhook_operation()),
        (
            "/v1/models",
            json_of(
                "All models and their state",
                json!({ "type": "object" }),
                "models",
            ),
        ),
        ("/v1/models/{model}", show),
        ("/v1/models/{model}/predict", predict),
        ("/v1/models/{model}/versions/{version}/gate", gate_report),
        ("/v1/predictions/{id}", recorded),
        ("/v1/audit/query", super::queries::openapi_path()),
        (
            "/healthz",
            json_of(
                "The process is alive",
                json!({ "type": "object" }),
                "health",
            ),
        ),
        (
            "/readyz",
            json_of(
                "Ready to serve; 503 with the reasons if not",
                json!({ "type": "object" }),
                "health",
            ),
        ),
        ("/metrics", text("Prometheus metrics")),
    ];
    paths
        .into_iter()
        .map(|(path, item)| (path.to_owned(), item))
        .collect()
}

fn webhook_operation() -> Value {
    let header = |name: &str, description: &str| {
        json!({ "name": name, "in": "header", "required": true,
        "schema": { "type": "string" }, "description": description })
    };
    let problem = |description: &str| {
        json!({ "description": description,
            "content": { "application/problem+json": { "schema": reference("Problem") } } })
    };
    json!({ "post": { "tags": ["models"], "operationId": "mlflow_webhook",
        "summary": "MLflow tells that its registry has changed; it is looked at again",
        "parameters": [
            header("X-MLflow-Delivery-Id", "The same in every attempt"),
            header("X-MLflow-Timestamp", "Unix seconds of the first attempt"),
            header("X-MLflow-Signature", "`v1,` and the base64 of HMAC-SHA256 of `id.timestamp.body`"),
        ],
        "requestBody": { "required": true, "content": { "application/json": { "schema": {
            "type": "object", "required": ["entity"], "properties": {
                "entity": { "type": "string" }, "action": { "type": "string" },
                "timestamp": { "type": "string", "format": "date-time" }, "data": { "type": "object" } } } } } },
        "responses": {
            "200": { "description": "Taken", "content": { "application/json": { "schema": {
                "type": "object", "required": ["status"], "properties": {
                    "status": { "enum": ["accepted", "ignored", "repeated"] } } } } } },
            "400": problem("It is signed and no event"),
            "401": problem("The signature is wrong, or the timestamp is from another time"),
            "404": problem("No secret is configured"),
            "413": problem("The body is over the limit"),
        } } })
}

fn general_schemas() -> Map<String, Value> {
    let list = |items: Value| json!({ "type": "array", "items": items });
    let schemas = [
        (
            "Model",
            json!({ "type": "object", "required": ["name", "version", "alias"], "properties": {
                "name": { "type": "string" }, "version": { "type": "string" }, "alias": { "type": ["string", "null"] } } }),
        ),
        (
            "Variants",
            json!({ "type": "array", "description":
                "Only where versions share the model's traffic and several answered: which rows each of them",
                "items": { "type": "object", "required": ["version", "alias", "rows"], "properties": {
                    "version": { "type": "string" }, "alias": { "type": ["string", "null"] },
                    "rows": list(json!({ "type": "integer", "minimum": 0 })) } } }),
        ),
        (
            "Features",
            json!({ "type": "object", "description": "Only with `explain`; by `view:feature`",
                "additionalProperties": { "type": "object", "properties": {
                    "values": list(json!({})),
                    "statuses": list(json!({ "enum":
                        ["present", "null", "not_found", "outside_max_age", "overridden", "default", "not_used"] })),
                    "event_timestamps": list(json!({ "type": ["string", "null"], "format": "date-time" })),
                    "ages_s": list(json!({ "type": ["number", "null"] })) } } }),
        ),
        (
            "Timings",
            json!({ "type": "object", "description": "Only with `explain`; microseconds by step",
                "additionalProperties": { "type": "integer" } }),
        ),
        (
            "Problem",
            json!({ "type": "object", "required": ["type", "title", "status", "detail", "code", "request_id"],
                "properties": {
                    "type": { "type": "string", "format": "uri" }, "title": { "type": "string" },
                    "status": { "type": "integer" }, "detail": { "type": "string" },
                    "code": { "type": "string" }, "hint": { "type": "string" },
                    "request_id": { "type": "string" } } }),
        ),
    ];
    schemas
        .into_iter()
        .map(|(name, schema)| (name.to_owned(), schema))
        .collect()
}
