//! Queries and plans on columns, against what Feast computes.

use std::time::Duration;

use serde_json::Value as Json;

use super::super::{Inputs, OnDemandConfig, Transform, Transforms};
use super::*;
use crate::error::{ErrorClass, Failure};
use crate::features::columns::{Column, Columns};
use crate::features::definitions::{Transformation, ValueType};
use crate::features::registry::Registry;
use crate::features::testing::{TestRepo, fixture, recorded, unhex};
use crate::types::deadline::Deadline;
use crate::types::value::{List, TextKind, Value};

fn in_time() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}

fn field(name: &str, value_type: ValueType) -> Field {
    Field {
        name: name.to_owned(),
        value_type,
    }
}

fn column(name: &str, value_type: ValueType, values: Vec<Value>) -> Column {
    Column::new(name.to_owned(), value_type, values).unwrap()
}

fn view(features: &[Field]) -> OnDemandFeatureView {
    OnDemandFeatureView {
        name: "odfv".to_owned(),
        features: features.to_vec(),
        sources: Vec::new(),
        transformation: Transformation::Python {
            source: String::new(),
        },
        write_to_online_store: false,
        singleton: false,
        entities: Vec::new(),
        join_keys: Vec::new(),
        disabled: false,
        version: 0,
        description: String::new(),
    }
}

/// Two rows: numbers, text, a time, nulls.
fn table() -> Columns {
    let columns = vec![
        column(
            "f64",
            ValueType::Double,
            vec![Value::Double(1.5), Value::Null],
        ),
        column(
            "i64",
            ValueType::Int64,
            vec![Value::Int64(7), Value::Int64(0)],
        ),
        column(
            "i32",
            ValueType::Int32,
            vec![Value::Int32(2), Value::Int32(4)],
        ),
        column(
            "Name",
            ValueType::String,
            vec![Value::String("Ab".to_owned()), Value::Null],
        ),
        column(
            "at",
            ValueType::UnixTimestamp,
            vec![
                Value::UnixTimestamp(1_700_000_000),
                Value::UnixTimestamp(i64::MIN),
            ],
        ),
    ];
    Columns::new(2, columns).unwrap()
}

fn compile(text: &str, features: &[Field]) -> Result<Arc<dyn Transform>, Error> {
    sql(text, &view(features), &table().fields())
}

async fn run(text: &str, value_type: ValueType) -> Result<Vec<Value>, Error> {
    let compiled = compile(text, &[field("o", value_type)])?;
    let mut columns = compiled.run(table(), in_time()).await?;
    assert_eq!(columns.n_rows, 2);
    assert_eq!(columns.fields(), [field("o", value_type)]);
    Ok(columns.columns.remove(0).values)
}

/// What a query that does not compile is told.
fn refusal(text: &str) -> String {
    let error = compile(text, &[field("o", ValueType::Double)]).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Unavailable);
    error.to_string()
}

#[tokio::test]
async fn numbers_widen_to_what_the_view_declares() {
    let doubles = |a, b| vec![Value::Double(a), Value::Double(b)];
    let sum = run("SELECT i64 + i32 AS o FROM input", ValueType::Double).await;
    assert_eq!(sum.unwrap(), doubles(9.0, 4.0));
    let half = run("SELECT i64 / 2.0 AS o FROM input", ValueType::Float).await;
    assert_eq!(half.unwrap(), [Value::Float(3.5), Value::Float(0.0)]);
    let narrow = run("SELECT i64 * 3 AS o FROM input", ValueType::Int32).await;
    assert_eq!(narrow.unwrap(), [Value::Int32(21), Value::Int32(0)]);
    let constant = run("SELECT 1 AS o FROM input", ValueType::Int32).await;
    assert_eq!(constant.unwrap(), [Value::Int32(1), Value::Int32(1)]);
    let with = run(
        "WITH a AS (SELECT f64 * 2 AS d, i64 FROM input) SELECT d + i64 AS o FROM a",
        ValueType::Double,
    );
    assert_eq!(with.await.unwrap(), [Value::Double(10.0), Value::Null]);
}

#[tokio::test]
async fn nulls_are_nulls_and_so_is_a_time_that_feast_stores_as_a_number() {
    let null = run("SELECT f64 + 1 AS o FROM input", ValueType::Double).await;
    assert_eq!(null.unwrap(), [Value::Double(2.5), Value::Null]);
    let later = run(
        "SELECT at + INTERVAL '1 hour' AS o FROM input",
        ValueType::UnixTimestamp,
    );
    let later = later.await.unwrap();
    assert_eq!(later, [Value::UnixTimestamp(1_700_003_600), Value::Null]);
    let known = run("SELECT at IS NOT NULL AS o FROM input", ValueType::Bool).await;
    assert_eq!(known.unwrap(), [Value::Bool(true), Value::Bool(false)]);
}

#[tokio::test]
async fn names_count_as_they_are_written() {
    let lower = run("SELECT LOWER(Name) AS o FROM input", ValueType::String).await;
    assert_eq!(
        lower.unwrap(),
        [Value::String("ab".to_owned()), Value::Null]
    );
    assert!(refusal("SELECT name AS o FROM input").contains("name"));
}

#[tokio::test]
async fn the_clock_is_read_at_each_run() {
    let compiled = compile(
        "SELECT CAST(now() AS BIGINT) AS o FROM input",
        &[field("o", ValueType::Int64)],
    )
    .unwrap();
    let before = jiff::Timestamp::now().as_microsecond();
    let columns = compiled.run(table(), in_time()).await.unwrap();
    let Value::Int64(now) = columns.columns[0].values[0] else {
        panic!("{columns:?}")
    };
    assert!((before..=jiff::Timestamp::now().as_microsecond()).contains(&now));
    for expression in [
        "at < now() - INTERVAL '1 day'",
        "extract(epoch FROM now()) - extract(epoch FROM at) > 86400",
    ] {
        let text = format!("SELECT {expression} AS o FROM input");
        let is_old = run(&text, ValueType::Bool).await.unwrap();
        assert_eq!(is_old, [Value::Bool(true), Value::Null], "{expression}");
    }
    let today = run(
        "SELECT current_date > DATE '2024-01-01' AS o FROM input",
        ValueType::Bool,
    );
    assert_eq!(today.await.unwrap(), [Value::Bool(true), Value::Bool(true)]);
}

#[test]
fn what_does_not_keep_rows_is_refused() {
    for (text, why) in [
        (
            "SELECT f64 AS o FROM input WHERE f64 > 0",
            "WHERE drops rows",
        ),
        (
            "SELECT avg(f64) AS o FROM input",
            "an aggregate or DISTINCT merges rows",
        ),
        (
            "SELECT max(f64) AS o FROM input GROUP BY i64",
            "an aggregate or DISTINCT merges rows",
        ),
        (
            "SELECT DISTINCT f64 AS o FROM input",
            "an aggregate or DISTINCT merges rows",
        ),
        (
            "SELECT avg(f64) OVER () AS o FROM input",
            "a row depends on others",
        ),
        (
            "SELECT f64 AS o FROM input ORDER BY f64",
            "ORDER BY changes the order",
        ),
        ("SELECT f64 AS o FROM input LIMIT 1", "LIMIT drops rows"),
        (
            "SELECT a.f64 AS o FROM input a, input b",
            "makes other rows",
        ),
        (
            "SELECT f64 AS o FROM input UNION ALL SELECT f64 FROM input",
            "makes other rows",
        ),
        (
            "SELECT unnest([1.0, 2.0]) AS o FROM input",
            "makes other rows",
        ),
        (
            "SELECT (SELECT max(f64) FROM input) AS o FROM input",
            "subquery",
        ),
        ("SELECT 1.0 AS o", "write FROM input"),
    ] {
        let message = refusal(text);
        assert!(message.contains(why), "{text}: {message}");
    }
}

#[test]
fn a_query_reads_input_and_nothing_else() {
    for (text, why) in [
        ("SELECT * FROM 'secrets.parquet'", "there is no table"),
        (
            "SELECT * FROM read_csv('secrets.csv')",
            "Table Functions are not supported",
        ),
        (
            "SELECT * FROM other",
            "there is no table `other`; the only one is `input`",
        ),
        (
            "SELECT * FROM generate_series(1, 1000000)",
            "Table Functions are not supported",
        ),
        (
            "CREATE TABLE t AS SELECT * FROM input",
            "it is not a SELECT",
        ),
        (
            "INSERT INTO input SELECT * FROM input",
            "it is not a SELECT",
        ),
        ("DROP TABLE input", "it is not a SELECT"),
        ("COPY input TO 'out.parquet'", "it is not one SELECT"),
        (
            "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION 'x.csv'",
            "it is not one SELECT",
        ),
        (
            "SELECT f64 AS o FROM input; DROP TABLE input",
            "it is not one SELECT",
        ),
        ("SET a = 1", "it is not a SELECT"),
        ("", "it is not one SELECT"),
        ("SELECT nope AS o FROM input", "nope"),
        ("SELECT f64 + AS o FROM input", "SQL"),
        ("SELECT nope(f64) AS o FROM input", "nope"),
        ("SELECT $1 AS o FROM input", "placeholder"),
    ] {
        let message = refusal(text);
        assert!(
            message.to_lowercase().contains(&why.to_lowercase()),
            "{text}: {message}"
        );
    }
}

#[test]
fn the_result_must_have_the_views_columns_in_its_types() {
    let error = compile(
        "SELECT f64 AS out FROM input",
        &[field("o", ValueType::Double)],
    );
    assert_eq!(
        error.unwrap_err().to_string(),
        "the SQL of on-demand feature view `odfv` gives no column `o`, which the view declares; it gives `out`"
    );
    for (expression, value_type, actual) in [
        ("Name", ValueType::Double, "Utf8"),
        ("f64", ValueType::Int64, "Float64"),
        ("i64", ValueType::String, "Int64"),
        ("i64", ValueType::Bool, "Int64"),
        ("f64", ValueType::UnixTimestamp, "Float64"),
        ("f64", ValueType::DoubleList, "Float64"),
        ("f64", ValueType::Map, "Float64"),
        ("f64", ValueType::ScalarMap, "Float64"),
    ] {
        let text = format!("SELECT {expression} AS o FROM input");
        let error = compile(&text, &[field("o", value_type)]).unwrap_err();
        let message = format!(
            "gives column `o` as {actual}, which is no {}",
            value_type.name()
        );
        assert!(error.to_string().ends_with(&message), "{error}");
        assert!(error.hint().is_some());
    }
}

#[tokio::test]
async fn a_value_that_cannot_be_computed_is_the_callers_error() {
    for (text, value_type, why) in [
        (
            "SELECT i32 / i64 AS o FROM input",
            ValueType::Int64,
            "Divide by zero",
        ),
        (
            "SELECT i64 * 1000000000000 AS o FROM input",
            ValueType::Int32,
            "feature `o`",
        ),
        (
            "SELECT CAST(Name AS DOUBLE) AS o FROM input",
            ValueType::Double,
            "Ab",
        ),
    ] {
        let error = run(text, value_type).await.unwrap_err();
        assert_eq!(error.class(), ErrorClass::InvalidInput, "{error}");
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[tokio::test]
async fn input_is_looked_up_by_name_and_checked() {
    let compiled = compile(
        "SELECT f64 AS o FROM input",
        &[field("o", ValueType::Double)],
    )
    .unwrap();
    let only = Columns::new(
        1,
        vec![column("f64", ValueType::Double, vec![Value::Double(2.0)])],
    );
    let columns = compiled.run(only.unwrap(), in_time()).await.unwrap();
    assert_eq!(columns.columns[0].values, [Value::Double(2.0)]);
    let error = compiled
        .run(Columns::default(), in_time())
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "input column `f64` of on-demand feature view `odfv` is absent"
    );
    let wrong = Columns::new(
        1,
        vec![column("f64", ValueType::Int64, vec![Value::Int64(2)])],
    );
    let error = compiled.run(wrong.unwrap(), in_time()).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Internal);
}

#[tokio::test]
async fn no_rows_and_many_rows_are_as_many_rows() {
    let compiled = compile(
        "SELECT i64 + 1 AS o, 2 AS p FROM input",
        &[field("p", ValueType::Int64), field("o", ValueType::Int64)],
    )
    .unwrap();
    for n_rows in [0, 1, 4_095, 4_096, 4_097, 20_000] {
        let values = (0..n_rows).map(Value::Int64).collect();
        let n = usize::try_from(n_rows).unwrap();
        let input = Columns::new(n, vec![column("i64", ValueType::Int64, values)]).unwrap();
        let output = compiled.run(input, in_time()).await.unwrap();
        assert_eq!(output.n_rows, n);
        assert_eq!(output.columns[0].name, "p");
        let expected: Vec<Value> = (1..=n_rows).map(Value::Int64).collect();
        assert_eq!(output.columns[1].values, expected);
    }
}

#[tokio::test]
async fn a_past_deadline_stops_the_computation() {
    let compiled = compile(
        "SELECT f64 AS o FROM input",
        &[field("o", ValueType::Double)],
    )
    .unwrap();
    let error = compiled
        .run(table(), Deadline::after(Duration::ZERO))
        .await
        .unwrap_err();
    assert_eq!(error.class(), ErrorClass::DeadlineExceeded);
}

/// Two values of each type and a null, as Feast would have stored them.
fn all_types() -> Vec<Column> {
    use ValueType as T;
    let text = |kind, text: &str| Value::Text(kind, text.to_owned());
    let texts = |texts: &[&str]| {
        texts
            .iter()
            .map(|&text| text.to_owned())
            .collect::<Vec<_>>()
    };
    let map = || {
        vec![
            ("a".to_owned(), Value::Int64(1)),
            ("b".to_owned(), Value::Double(0.5)),
        ]
    };
    let nested = || {
        vec![
            Value::List(List::Int64(vec![1, 2])),
            Value::List(List::String(texts(&["x"]))),
        ]
    };
    let types = [
        (T::Bytes, Value::Bytes(vec![0, 255])),
        (T::String, Value::String("café ☃".to_owned())),
        (T::Int32, Value::Int32(i32::MIN)),
        (T::Int64, Value::Int64(i64::MAX)),
        (T::Double, Value::Double(0.1)),
        (T::Float, Value::Float(f32::MIN_POSITIVE)),
        (T::Bool, Value::Bool(true)),
        (T::UnixTimestamp, Value::UnixTimestamp(-2)),
        (
            T::BytesList,
            Value::List(List::Bytes(vec![vec![1], vec![]])),
        ),
        (T::StringList, Value::List(List::String(texts(&["a", ""])))),
        (T::Int32List, Value::List(List::Int32(vec![1, -1]))),
        (T::Int64List, Value::List(List::Int64(vec![]))),
        (T::DoubleList, Value::List(List::Double(vec![1.5]))),
        (T::FloatList, Value::List(List::Float(vec![1.5, 2.5]))),
        (T::BoolList, Value::List(List::Bool(vec![true, false]))),
        (
            T::UnixTimestampList,
            Value::List(List::UnixTimestamp(vec![0, i64::MIN])),
        ),
        (T::BytesSet, Value::Set(List::Bytes(vec![vec![1]]))),
        (T::StringSet, Value::Set(List::String(texts(&["a", "b"])))),
        (T::Int32Set, Value::Set(List::Int32(vec![3]))),
        (T::Int64Set, Value::Set(List::Int64(vec![3, 4]))),
        (T::DoubleSet, Value::Set(List::Double(vec![0.25]))),
        (T::FloatSet, Value::Set(List::Float(vec![0.25]))),
        (T::BoolSet, Value::Set(List::Bool(vec![true]))),
        (
            T::UnixTimestampSet,
            Value::Set(List::UnixTimestamp(vec![9])),
        ),
        (T::Json, text(TextKind::Json, r#"{"a": [1]}"#)),
        (
            T::Uuid,
            text(TextKind::Uuid, "9f2c1f0e-0000-4000-8000-000000000001"),
        ),
        (
            T::TimeUuid,
            text(TextKind::TimeUuid, "9f2c1f0e-0000-1000-8000-000000000001"),
        ),
        (T::Decimal, text(TextKind::Decimal, "12.50")),
        (
            T::JsonList,
            Value::TextList(TextKind::Json, texts(&["1", "[]"])),
        ),
        (T::UuidList, Value::TextList(TextKind::Uuid, texts(&["u"]))),
        (
            T::TimeUuidList,
            Value::TextList(TextKind::TimeUuid, texts(&["t"])),
        ),
        (
            T::DecimalList,
            Value::TextList(TextKind::Decimal, texts(&["0.10"])),
        ),
        (T::UuidSet, Value::TextSet(TextKind::Uuid, texts(&["u"]))),
        (
            T::TimeUuidSet,
            Value::TextSet(TextKind::TimeUuid, texts(&["t"])),
        ),
        (
            T::DecimalSet,
            Value::TextSet(TextKind::Decimal, texts(&["0.10"])),
        ),
        (T::Map, Value::Map(map())),
        (T::MapList, Value::MapList(vec![map(), vec![]])),
        (T::Struct, Value::Struct(map())),
        (T::StructList, Value::StructList(vec![map()])),
        (T::ValueList, Value::Values(nested())),
        (T::ValueSet, Value::ValueSet(nested())),
    ];
    let columns = types.into_iter().map(|(value_type, value)| {
        let name = format!("c{}", value_type as i32);
        column(&name, value_type, vec![value.clone(), Value::Null, value])
    });
    columns.collect()
}

#[tokio::test]
async fn every_value_type_goes_in_and_comes_out_as_it_was() {
    let columns = all_types();
    let input = Columns::new(3, columns).unwrap();
    let fields = input.fields();
    let compiled = sql("SELECT * FROM input", &view(&fields), &fields).unwrap();
    let output = compiled.run(input.clone(), in_time()).await.unwrap();
    for (column, expected) in output.columns.iter().zip(&input.columns) {
        assert_eq!(column, expected);
    }
    // Computed, and not only handed on.
    for expected in &input.columns {
        let text = format!("SELECT coalesce({0}, {0}) AS {0} FROM input", expected.name);
        let compiled = sql(&text, &view(&[expected.field()]), &fields).unwrap();
        let output = compiled.run(input.clone(), in_time()).await.unwrap();
        assert_eq!(output.columns[0], *expected);
    }
}

#[tokio::test]
async fn a_type_that_arrow_has_no_form_of_is_no_column() {
    let zoned = Value::ZonedTimestamp {
        seconds: 60,
        zone: "Europe/Berlin".to_owned(),
    };
    let input = Columns::new(
        1,
        vec![
            column("raw", ValueType::ScalarMap, vec![Value::ScalarMap(vec![1])]),
            column("zoned", ValueType::ZonedTimestamp, vec![zoned]),
        ],
    )
    .unwrap();
    let at = field("o", ValueType::UnixTimestamp);
    let text = "SELECT zoned AS o FROM input";
    let compiled = sql(text, &view(&[at]), &input.fields()).unwrap();
    let output = compiled.run(input.clone(), in_time()).await.unwrap();
    assert_eq!(output.columns[0].values, [Value::UnixTimestamp(60)]);
    let any = field("o", ValueType::String);
    let error = sql("SELECT raw AS o FROM input", &view(&[any]), &input.fields());
    assert!(error.unwrap_err().to_string().contains("raw"));
}

fn ride_ops() -> Registry {
    Registry::load(&fixture("repo/registry.db"), "ride_ops").unwrap()
}

/// The functions of `tests/fixtures/feast/repo/features.py` in SQL.
fn declared() -> Vec<(&'static str, &'static str)> {
    vec![
        (
            "fare_py",
            "SELECT f64 * distance_km + pax AS fare, coalesce(label, 'None') || ':' || pax AS tag FROM input",
        ),
        ("isum_single", "SELECT i64 + i32 AS i_sum FROM input"),
        (
            "half_pd",
            "SELECT driver_scalars__f64 / 2 + distance_km AS half FROM input",
        ),
        (
            "rev_written",
            "SELECT revenue / nullif(visitors, 0) AS rev_per_visit FROM input",
        ),
    ]
}

/// The columns of a view's input from what the request and the store hold; what is not named is null.
fn input_of(inputs: &Inputs, known: &[(&str, Vec<Value>)], n_rows: usize) -> Columns {
    let columns = inputs.fields.iter().map(|field| {
        let plain = field.name.rsplit("__").next().unwrap();
        let values = known.iter().find(|(name, _)| *name == plain);
        let values = values.map_or_else(|| vec![Value::Null; n_rows], |(_, values)| values.clone());
        column(&field.name, field.value_type, values)
    });
    Columns::new(n_rows, columns.collect()).unwrap()
}

#[tokio::test]
async fn the_recorded_views_in_sql_give_the_recorded_values() {
    let registry = ride_ops();
    let request = [
        (
            "distance_km",
            vec![Value::Double(3.0), Value::Double(4.5), Value::Double(3.0)],
        ),
        (
            "pax",
            vec![Value::Int64(1), Value::Int64(2), Value::Int64(1)],
        ),
    ];
    // Drivers 1001, 1002 and one that is not there.
    let stored = [
        (
            "f64",
            vec![Value::Double(2.5), Value::Double(-0.0), Value::Null],
        ),
        ("i64", vec![Value::Int64(42), Value::Null, Value::Null]),
        ("i32", vec![Value::Int32(7), Value::Null, Value::Null]),
        (
            "label",
            vec![
                Value::String("café ☃".to_owned()),
                Value::String(String::new()),
                Value::Null,
            ],
        ),
        (
            "revenue",
            vec![Value::Double(10.0), Value::Double(1.0), Value::Null],
        ),
        (
            "visitors",
            vec![Value::Int32(4), Value::Int32(0), Value::Null],
        ),
    ];
    let known: Vec<_> = request.into_iter().chain(stored).collect();
    let answers: Vec<(&str, Vec<Value>)> = vec![
        (
            "fare",
            vec![Value::Double(8.5), Value::Double(2.0), Value::Null],
        ),
        (
            "tag",
            ["café ☃:1", ":2", "None:1"]
                .map(|text| Value::String(text.to_owned()))
                .to_vec(),
        ),
        ("i_sum", vec![Value::Int64(49), Value::Null, Value::Null]),
        (
            "half",
            vec![Value::Double(4.25), Value::Double(4.5), Value::Null],
        ),
        (
            "rev_per_visit",
            vec![Value::Double(2.5), Value::Null, Value::Null],
        ),
    ];
    for (name, text) in declared() {
        let view = registry.on_demand_feature_view(name).unwrap();
        let inputs = Inputs::of(view, &registry).unwrap();
        let compiled = sql(text, view, &inputs.fields).unwrap();
        let input = input_of(&inputs, &known, 3);
        let output = compiled.run(input, in_time()).await.unwrap();
        for column in output.columns {
            let (_, expected) = answers
                .iter()
                .find(|(name, _)| *name == column.name)
                .unwrap();
            assert_eq!(column.values, *expected, "{name}:{}", column.name);
        }
    }
}

#[test]
fn the_input_has_entities_request_data_and_features_under_both_names() {
    let registry = ride_ops();
    let view = registry.on_demand_feature_view("half_pd").unwrap();
    let inputs = Inputs::of(view, &registry).unwrap();
    let names: Vec<&str> = inputs
        .fields
        .iter()
        .map(|field| field.name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "driver_id",
            "distance_km",
            "pax",
            "f64",
            "driver_scalars__f64"
        ]
    );
    assert_eq!(inputs.entities, [field("driver_id", ValueType::Int64)]);
    assert_eq!(inputs.request[1], field("pax", ValueType::Int64));
    let [source] = inputs.sources.as_slice() else {
        panic!("{:?}", inputs.sources)
    };
    assert_eq!(source.plain, [Some("f64".to_owned())]);
    assert_eq!(source.full, ["driver_scalars__f64"]);
}

#[tokio::test]
async fn a_repository_is_checked_as_a_whole() {
    let repo = TestRepo::ride_ops();
    let mut config = repo.config();
    let open = |config: super::super::Config| async move {
        let none = |_: &str| None;
        crate::features::FeatureStore::open(&config, &none)
            .await
            .unwrap()
    };
    let problems = open(config.clone()).await.check_on_demand();
    let codes: Vec<&str> = problems.iter().map(Failure::code).collect();
    assert_eq!(codes, ["on_demand_uncomputable"; 4]);
    let first = &problems[0];
    assert_eq!(
        first.to_string(),
        "on-demand feature view `fare_py` (mode `python`) cannot be computed here: its function is Python, and no SQL is declared for it"
    );
    let hint = first.hint().unwrap();
    for way in [
        "[features.on_demand.fare_py]",
        "transformation_service",
        "substrait",
    ] {
        assert!(hint.contains(way), "{hint}");
    }
    for (name, text) in declared() {
        let sql = text.to_owned();
        config
            .on_demand
            .insert(name.to_owned(), OnDemandConfig { sql });
    }
    assert!(open(config.clone()).await.check_on_demand().is_empty());
    let sql = "SELECT 1 AS fare FROM input".to_owned();
    config
        .on_demand
        .insert("fare_p".to_owned(), OnDemandConfig { sql });
    let problems = open(config.clone()).await.check_on_demand();
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].code(), "on_demand_invalid");
    assert_eq!(
        problems[0].hint().as_deref(),
        Some("did you mean `fare_py`?")
    );
    config.on_demand.clear();
    config.transformation_service = Some("localhost:6569".to_owned());
    let problems = open(config.clone()).await.check_on_demand();
    assert_eq!(
        problems.len(),
        3,
        "pandas mode is for the service: {problems:?}"
    );
    config.transformation_service = Some("ftp://localhost".to_owned());
    assert_eq!(open(config).await.check_on_demand().len(), 4);
}

fn json_value(json: &Json, kind: ValueType) -> Value {
    match (json, kind) {
        (Json::Null, _) => Value::Null,
        (json, ValueType::Double) => Value::Double(json.as_f64().unwrap()),
        (json, ValueType::Float) => Value::Float(json.as_f64().unwrap() as f32),
        (json, ValueType::Int64) => Value::Int64(json.as_i64().unwrap()),
        (json, ValueType::Int32) => Value::Int32(i32::try_from(json.as_i64().unwrap()).unwrap()),
        (json, ValueType::Bool) => Value::Bool(json.as_bool().unwrap()),
        (json, _) => Value::String(json.as_str().unwrap().to_owned()),
    }
}

/// The input of the recorded plans, in the types of the feature store.
fn recorded_input(document: &Json) -> Columns {
    let types = [
        ("f64", ValueType::Double),
        ("i64", ValueType::Int64),
        ("i32", ValueType::Int32),
        ("f32", ValueType::Float),
        ("flag", ValueType::Bool),
        ("label", ValueType::String),
    ];
    let columns = types.map(|(name, value_type)| {
        let values = document["input"][name].as_array().unwrap().iter();
        column(
            name,
            value_type,
            values.map(|json| json_value(json, value_type)).collect(),
        )
    });
    Columns::new(3, columns.to_vec()).unwrap()
}

fn feast_type(name: &str) -> ValueType {
    match name {
        "double" => ValueType::Double,
        "float" => ValueType::Float,
        "bool" => ValueType::Bool,
        "string" => ValueType::String,
        _ => ValueType::Int64,
    }
}

#[tokio::test]
async fn recorded_plans_give_what_feast_computes_with_them() {
    let document = recorded("substrait/plans.json");
    let input = recorded_input(&document);
    let changes_rows = ["filter", "aggregate", "limit", "sort"];
    let mut n_equal = 0;
    for case in document["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let Some(plan) = case["plan_hex"].as_str().map(unhex) else {
            continue;
        };
        let Some(output) = case["output"].as_object() else {
            continue;
        };
        let features = output.iter().map(|(name, column)| {
            let kind = column["type"].as_str().unwrap();
            field(name, feast_type(kind))
        });
        let features: Vec<Field> = features.collect();
        let compiled = substrait(&plan, &view(&features), &input.fields());
        if changes_rows.contains(&name) {
            let message = compiled.unwrap_err().to_string();
            assert!(message.ends_with("in its order"), "{name}: {message}");
            continue;
        }
        let computed = compiled
            .unwrap()
            .run(input.clone(), in_time())
            .await
            .unwrap();
        for (column, feature) in computed.columns.iter().zip(&features) {
            let expected = output[&feature.name]["values"].as_array().unwrap().iter();
            let expected: Vec<Value> = expected
                .map(|json| json_value(json, feature.value_type))
                .collect();
            assert_eq!(column.values, expected, "{name}:{}", feature.name);
        }
        n_equal += 1;
    }
    assert_eq!(n_equal, 15);
}

/// Feast's engine has no such functions; here they work.
#[tokio::test]
async fn plans_with_more_functions_than_feasts_engine_has_run_too() {
    let document = recorded("substrait/plans.json");
    let input = recorded_input(&document);
    let cases = document["cases"].as_array().unwrap();
    let plan = |name: &str| {
        let case = cases.iter().find(|case| case["name"] == name).unwrap();
        unhex(case["plan_hex"].as_str().unwrap())
    };
    let text = |text: &str| Value::String(text.to_owned());
    for (name, feature, values) in [
        (
            "between",
            field("o", ValueType::Bool),
            [Value::Bool(true), Value::Bool(false), Value::Null],
        ),
        (
            "text",
            field("o", ValueType::String),
            [text("AB"), text(""), Value::Null],
        ),
        (
            "text",
            field("p", ValueType::String),
            [text("ab"), text(""), Value::Null],
        ),
        (
            "like",
            field("o", ValueType::Bool),
            [Value::Bool(true), Value::Bool(false), Value::Null],
        ),
        (
            "like",
            field("q", ValueType::Bool),
            [Value::Bool(true), Value::Bool(false), Value::Null],
        ),
        (
            "modulus",
            field("o", ValueType::Int64),
            [Value::Int64(3), Value::Int64(0), Value::Null],
        ),
    ] {
        let compiled = substrait(&plan(name), &view(&[feature]), &input.fields()).unwrap();
        let computed = compiled.run(input.clone(), in_time()).await.unwrap();
        assert_eq!(computed.columns[0].values, values, "{name}");
    }
}

#[test]
fn a_plan_that_does_not_fit_the_view_is_refused() {
    let document = recorded("substrait/plans.json");
    let plan = unhex(document["cases"][1]["plan_hex"].as_str().unwrap());
    let of = |plan: &[u8], input: &[Field]| {
        substrait(plan, &view(&[field("o", ValueType::Double)]), input)
            .unwrap_err()
            .to_string()
    };
    let message = of(&plan, &[field("f64", ValueType::Double)]);
    assert!(message.contains("reads column `i64`"), "{message}");
    assert!(of(&plan[..plan.len() / 2], &[]).contains("does not decode"));
    assert!(of(b"", &[]).contains("it has 0 relations"));
    // Cut and flipped bytes are refused or give a plan, and never more than that.
    for i in 0..plan.len() {
        let mut broken = plan.clone();
        broken[i] ^= 0x15;
        let input = recorded_input(&document);
        let _ = substrait(
            &broken,
            &view(&[field("o", ValueType::Double)]),
            &input.fields(),
        );
    }
}

#[test]
fn the_ways_have_an_order() {
    let registry = ride_ops();
    let mut view = registry.on_demand_feature_view("half_pd").unwrap().clone();
    let inputs = Inputs::of(&view, &registry).unwrap();
    let repo = TestRepo::ride_ops();
    let mut config = repo.config();
    let settings =
        crate::features::repo::Repo::load(&config.repo, &config.feature_store_yaml, &|_: &str| {
            None
        })
        .unwrap();
    let sql = "SELECT nope AS half FROM input".to_owned();
    config
        .on_demand
        .insert("half_pd".to_owned(), OnDemandConfig { sql });
    config.transformation_service = Some("localhost:6569".to_owned());
    let compile = |config: &super::super::Config, view: &OnDemandFeatureView| {
        Transforms::open(config, &settings).compile(view, &inputs.fields)
    };
    let error = compile(&config, &view).unwrap_err().to_string();
    assert!(
        error.starts_with("the SQL of on-demand feature view `half_pd`"),
        "{error}"
    );
    config.on_demand.clear();
    assert!(compile(&config, &view).is_ok(), "pandas, and a service");
    view.transformation = Transformation::Substrait { plan: vec![1] };
    let error = compile(&config, &view).unwrap_err().to_string();
    assert!(error.starts_with("the Substrait plan of"), "{error}");
    view.transformation = Transformation::Other("ray".to_owned());
    let error = compile(&config, &view).unwrap_err().to_string();
    assert!(
        error.contains("(mode `ray`) cannot be computed here"),
        "{error}"
    );
}
