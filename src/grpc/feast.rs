//! `feast.serving.ServingService` and `GrpcFeatureServer`: Feast's features over gRPC.
//!
//! `GetOnlineFeatures` gives what `POST /get-online-features` gives. `Push` and `WriteToOnlineStore` take one row.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;
use tonic::Status;

use super::messages::{
    FeatureList, FeatureVector, FeatureViewMetadata, GetFeastServingInfoRequest,
    GetFeastServingInfoResponse, GetOnlineFeaturesRequest, GetOnlineFeaturesResponse,
    GetOnlineFeaturesResponseMetadata, PushRequest, PushResponse, Timestamp,
    WriteToOnlineStoreRequest, WriteToOnlineStoreResponse,
};
use super::{Api, status};
use crate::error::Failure;
use crate::features::codec::{self, Scalar};
use crate::features::key::KeyValue;
use crate::features::retrieve::{
    Answer, EntityColumn, Error, FieldStatus, Given, GivenColumns, Naming, StoredColumn, Wanted,
};
use crate::features::write::{Frame, PushTarget};
use crate::features::{FeatureStore, InvalidValues};
use crate::types::deadline::Deadline;
use crate::types::timestamp::Timestamp as Moment;
use crate::types::value::Value;

pub(super) async fn serving_info(
    _: Arc<Api>,
    _: Deadline,
    _: GetFeastServingInfoRequest,
) -> Result<GetFeastServingInfoResponse, Status> {
    Ok(GetFeastServingInfoResponse {
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

pub(super) async fn get_online_features(
    api: Arc<Api>,
    deadline: Deadline,
    request: GetOnlineFeaturesRequest,
) -> Result<GetOnlineFeaturesResponse, Status> {
    let store = features(&api)?;
    let naming = if request.full_feature_names {
        Naming::Full
    } else {
        Naming::Short
    };
    let wanted = match (request.feature_service, request.features) {
        (Some(service), _) => Wanted::Service(service),
        (None, features) => Wanted::Features(features.unwrap_or_default().val),
    };
    // The form in which `POST /get-online-features` has it too: both find what the other has compiled.
    let text = match &wanted {
        Wanted::Service(service) => Json::from(service.as_str()).to_string(),
        Wanted::Features(features) => Json::from(features.as_slice()).to_string(),
    };
    let failed = |error: Error| status::of(&error);
    let retrieval = store
        .retrieval(&text, naming, || Ok::<_, Error>(wanted))
        .map_err(failed)?;
    let mut columns: GivenColumns<'_> = Vec::new();
    for (name, values) in request.entities.iter().chain(&request.request_context) {
        let given = values.val.iter().map(|bytes| given(name, bytes));
        columns.push((Cow::Borrowed(name), given.collect::<Result<_, _>>()?));
    }
    let answer = store
        .retrieve(&retrieval, &columns, deadline)
        .await
        .map_err(failed)?;
    response(
        &answer,
        request.include_feature_view_version_metadata,
        store.invalid_values(),
    )
}

/// Feast's `Push`: `to` has no default here. What was begun is written to its end, whoever waits.
pub(super) async fn push(
    api: Arc<Api>,
    _: Deadline,
    request: PushRequest,
) -> Result<PushResponse, Status> {
    let store = features(&api)?.clone();
    let frame = frame(request.features, request.typed_features)?;
    let to = match request.to.as_str() {
        "online" => PushTarget::Online,
        "offline" => PushTarget::Offline,
        "online_and_offline" => PushTarget::OnlineAndOffline,
        other => {
            return Err(Status::invalid_argument(format!(
                "`to` is `{other}`; it is one of `online`, `offline`, `online_and_offline`"
            )));
        }
    };
    let source = request.stream_feature_view;
    let written = async move { store.push(&source, frame, to).await };
    let written = api.shutdown.finish("push", written).await;
    done(written).map(|()| PushResponse { status: true })
}

pub(super) async fn write_to_online_store(
    api: Arc<Api>,
    _: Deadline,
    request: WriteToOnlineStoreRequest,
) -> Result<WriteToOnlineStoreResponse, Status> {
    let store = features(&api)?.clone();
    let frame = frame(request.features, request.typed_features)?;
    let view = request.feature_view_name;
    let written = async move { store.write_to_online_store(&view, frame).await };
    let written = api.shutdown.finish("write", written).await;
    done(written).map(|()| WriteToOnlineStoreResponse { status: true })
}

fn done<T>(outcome: Option<Result<T, crate::features::Error>>) -> Result<(), Status> {
    match outcome {
        Some(Ok(_)) => Ok(()),
        Some(Err(error)) => Err(status::of(&error)),
        None => Err(Status::internal("the write panicked; the log says more")),
    }
}

fn features(api: &Api) -> Result<&Arc<FeatureStore>, Status> {
    let missing =
        || Status::unavailable("this server has no feature repository (set `features.repo`)");
    api.features.as_ref().ok_or_else(missing)
}

/// One value of a request column. No key and no request data is a list here, so lists come as empty ones.
fn given<'a>(column: &str, bytes: &'a [u8]) -> Result<Given<'a>, Status> {
    let invalid = |error| {
        Status::invalid_argument(format!(
            "column `{column}` holds a value that is none: {error}"
        ))
    };
    Ok(match codec::scalar(bytes).map_err(invalid)? {
        Some(Scalar::Null) => Given::Null,
        Some(Scalar::Bytes(bytes)) => Given::Bytes(Cow::Borrowed(bytes)),
        Some(Scalar::Text(text)) => Given::Text(Cow::Borrowed(text)),
        Some(Scalar::Int(number)) => Given::Int(number),
        Some(Scalar::Double(number)) => Given::Float(number),
        Some(Scalar::Bool(value)) => Given::Bool(value),
        None => Given::List(Vec::new()),
    })
}

/// The one row of a push.
fn frame(
    texts: BTreeMap<String, String>,
    values: BTreeMap<String, Vec<u8>>,
) -> Result<Frame, Status> {
    if !texts.is_empty() && !values.is_empty() {
        let message = "only one of `features` and `typed_features` may be set, not both";
        return Err(Status::invalid_argument(message));
    }
    let mut columns = Vec::with_capacity(texts.len() + values.len());
    for (name, text) in texts {
        columns.push((name, vec![Json::String(text)]));
    }
    for (name, bytes) in values {
        let value = codec::decode(&bytes)
            .map_err(|error| Status::invalid_argument(format!("`{name}` is no value: {error}")))?;
        let value = serde_json::to_value(&value).unwrap_or_default();
        columns.push((name, vec![value]));
    }
    Ok(Frame { columns })
}

fn response(
    answer: &Answer,
    with_versions: bool,
    invalid_values: InvalidValues,
) -> Result<GetOnlineFeaturesResponse, Status> {
    let n_rows = answer.n_rows();
    let mut names = Vec::with_capacity(answer.n_columns());
    let mut results = Vec::with_capacity(answer.n_columns());
    for (name, column) in answer.entities() {
        names.push(name.to_owned());
        results.push(present(match column {
            EntityColumn::Keys(keys) => keys.iter().map(encoded_key).collect(),
            EntityColumn::Values(values) => values.iter().map(encoded).collect(),
        }));
    }
    for column in answer.stored() {
        names.push(column.name.to_owned());
        results.push(stored(&column, n_rows, invalid_values)?);
    }
    for (name, values) in answer.computed() {
        names.push(name.to_owned());
        results.push(present(values.iter().map(encoded).collect()));
    }
    let mut feature_view_metadata = Vec::new();
    if with_versions {
        for (name, version) in answer.views() {
            feature_view_metadata.push(FeatureViewMetadata {
                name: name.to_owned(),
                version: i32::try_from(version).unwrap_or(i32::MAX),
            });
        }
    }
    Ok(GetOnlineFeaturesResponse {
        metadata: Some(GetOnlineFeaturesResponseMetadata {
            feature_names: Some(FeatureList { val: names }),
            feature_view_metadata,
        }),
        results,
        status: false,
    })
}

/// A column of which every value is present, at the epoch.
fn present(values: Vec<Vec<u8>>) -> FeatureVector {
    FeatureVector {
        statuses: vec![FieldStatus::Present as i32; values.len()],
        event_timestamps: vec![Timestamp::default(); values.len()],
        values,
    }
}

fn stored(
    column: &StoredColumn<'_>,
    n_rows: usize,
    invalid_values: InvalidValues,
) -> Result<FeatureVector, Status> {
    let mut vector = FeatureVector {
        values: Vec::with_capacity(n_rows),
        statuses: Vec::with_capacity(n_rows),
        event_timestamps: Vec::with_capacity(n_rows),
    };
    for row in 0..n_rows {
        let cell = column.cell(row);
        // Asked, because the bytes go out as they are.
        let is_value = codec::is_null(cell.bytes).is_ok();
        if !is_value {
            let error = column.invalid(row);
            if invalid_values == InvalidValues::Error {
                return Err(status::of(&error));
            }
            tracing::warn!(code = error.code(), "{error}; answered as null");
        }
        let (bytes, status) = match is_value {
            true => (cell.bytes.to_vec(), cell.status),
            false => (Vec::new(), FieldStatus::Invalid),
        };
        vector.values.push(bytes);
        vector.statuses.push(status as i32);
        vector
            .event_timestamps
            .push(timestamp(column.event_timestamp(row)));
    }
    Ok(vector)
}

fn timestamp(moment: Moment) -> Timestamp {
    let micros = moment.as_micros().rem_euclid(1_000_000);
    Timestamp {
        seconds: moment.as_seconds(),
        // Below a thousand million.
        nanos: micros as i32 * 1_000,
    }
}

fn encoded(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    codec::encode(value, &mut bytes);
    bytes
}

fn encoded_key(key: &KeyValue) -> Vec<u8> {
    encoded(&match key {
        KeyValue::Bytes(bytes) => Value::Bytes(bytes.clone()),
        KeyValue::String(text) => Value::String(text.clone()),
        KeyValue::Int32(number) => Value::Int32(*number),
        KeyValue::Int64(number) => Value::Int64(*number),
        KeyValue::UnixTimestamp(seconds) => Value::UnixTimestamp(*seconds),
    })
}
