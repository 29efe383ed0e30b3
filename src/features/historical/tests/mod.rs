//! What Feast recorded, on every store that joins; and what is wrong with requests.

mod bad_input;
mod files;
#[cfg(all(feature = "postgres", feature = "test-services"))]
mod postgres;
mod recorded;

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    Array, ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    TimestampNanosecondArray,
};
use arrow::datatypes::DataType;
use futures::TryStreamExt;
use serde_json::Value as Json;

use super::*;
use crate::error::Failure;
use crate::features::testing::TestRepo;
use crate::features::transform::OnDemandConfig;

/// The point-in-time repository that Feast's results were recorded from.
fn pit_repo(registry: &str, offline_store: &str) -> TestRepo {
    let yaml = format!(
        "project: ride_ops_pit\nregistry: registry.db\nonline_store:\n  path: online.db\noffline_store: {offline_store}\n"
    );
    TestRepo::new("pit_repo", registry, &yaml)
}

async fn open(repo: &TestRepo) -> FeatureStore {
    let mut config = repo.config();
    if cfg!(feature = "datafusion") {
        // The view is a Python function in Feast.
        let sql = "SELECT b1 * factor AS b_scaled FROM input".to_owned();
        config
            .on_demand
            .insert("pit_odfv".to_owned(), OnDemandConfig { sql });
    }
    let utc = |name: &str| (name == "TZ").then(|| "UTC".to_owned());
    FeatureStore::open(&config, &utc).await.unwrap()
}

fn features(names: &[&str]) -> Wanted {
    Wanted::Features(names.iter().map(|&name| name.to_owned()).collect())
}

fn request(wanted: Wanted, entities: Entities) -> Request {
    Request {
        wanted,
        naming: Naming::Short,
        entities,
        filter_by_created_timestamp: false,
    }
}

fn entities(columns: Vec<(&str, ArrayRef)>) -> Entities {
    let columns = columns.into_iter().map(|(name, array)| (name, array, true));
    let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    Entities::of_batches(batch.schema(), vec![batch])
}

fn numbers(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

/// 2024-05-01T10:00:00Z and so many minutes.
fn at_ten(minutes: &[i64]) -> ArrayRef {
    let micros = |minutes: &i64| 1_714_557_600_000_000 + minutes * 60_000_000;
    let times: Vec<i64> = minutes.iter().map(micros).collect();
    Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC"))
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}

async fn table(store: &FeatureStore, request: Request) -> Result<RecordBatch, Error> {
    let historical = store.historical(request, soon()).await?;
    let schema = historical.schema.clone();
    let batches: Vec<RecordBatch> = historical.batches.try_collect().await?;
    Ok(arrow::compute::concat_batches(&schema, &batches).unwrap())
}
