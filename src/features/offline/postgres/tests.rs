//! What needs a Postgres server, at `TERRARIUM_POSTGRES` (postgres://user:password@host:port/database). Each test has a
//! schema of its own.

use std::fmt::Write as _;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimestampMicrosecondType};
use futures::TryStreamExt;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use super::super::contract::{self, Backend, SourceRow, row, source_rows};
use super::super::{Column, SourceKind, contract_history};
use super::*;
use crate::features::definitions::{Field, ValueType};
use crate::features::settings::Settings;

/// A schema with a table `t` and the store that reads it.
struct Served {
    url: String,
    schema: String,
    store: PostgresStore,
}

impl Served {
    async fn new() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "where the test's Postgres is, is not configuration"
        )]
        let url = std::env::var("TERRARIUM_POSTGRES").unwrap();
        let schema = format!("Test{}", uuid::Uuid::now_v7().simple());
        let rest = url.strip_prefix("postgres://").unwrap();
        let (account, place) = rest.split_once('@').unwrap();
        let (user, password) = account.split_once(':').unwrap();
        let (address, database) = place.split_once('/').unwrap();
        let (host, port) = address.split_once(':').unwrap();
        let yaml = format!(
            "{{host: {host}, port: {port}, database: {database}, user: {user}, password: {password}, \
             db_schema: '\"{schema}\"', sslmode: disable}}"
        );
        let yaml = serde_yaml_ng::from_str(&yaml).unwrap();
        let mut settings = Settings::new("offline_store", yaml).unwrap();
        let config = Config::take("offline_store", &mut settings).unwrap();
        let served = Self {
            url,
            schema,
            store: PostgresStore {
                config,
                statement: Statement::default(),
            },
        };
        let schema = &served.schema;
        served.run(&format!("CREATE SCHEMA \"{schema}\"")).await;
        served
    }

    async fn run(&self, sql: &str) {
        let mut connection = PgConnection::connect(&self.url).await.unwrap();
        let sql = format!("SET search_path TO \"{}\"; {sql}", self.schema);
        connection
            .execute(sqlx::raw_sql(AssertSqlSafe(sql)))
            .await
            .unwrap();
    }

    async fn clean_up(&self) {
        self.run(&format!("DROP SCHEMA \"{}\" CASCADE", self.schema))
            .await;
    }

    /// Looks, until a deadline, whether a statement that names this schema is at work.
    async fn is_running(&self, wanted: bool) {
        let mut connection = PgConnection::connect(&self.url).await.unwrap();
        let sql = format!(
            "SELECT count(*) > 0 FROM pg_stat_activity \
             WHERE state = 'active' AND pid <> pg_backend_pid() AND query LIKE '%COPY%{}%'",
            self.schema
        );
        let mut every = tokio::time::interval(std::time::Duration::from_millis(20));
        for _ in 0..1_500 {
            every.tick().await;
            let row = connection
                .fetch_one(AssertSqlSafe(sql.clone()))
                .await
                .unwrap();
            if sqlx::Row::get::<bool, _>(&row, 0) == wanted {
                return;
            }
        }
        panic!("is it running? never {wanted}");
    }

    async fn pulled(&self, pull: PullLatest) -> Result<Vec<RecordBatch>, Error> {
        self.store
            .pull_latest(pull)
            .await?
            .batches
            .try_collect()
            .await
    }
}

fn table(name: &str) -> SourceKind {
    SourceKind::Postgres {
        query: String::new(),
        table: name.to_owned(),
    }
}

fn query(sql: &str) -> SourceKind {
    SourceKind::Postgres {
        query: sql.to_owned(),
        table: String::new(),
    }
}

fn sql_of(rows: &[SourceRow]) -> String {
    let mut sql = "DROP TABLE IF EXISTS t; CREATE TABLE t (acct bigint, chan text, event_ts timestamptz, created_ts timestamp, v bigint);"
        .to_owned();
    for rows in rows.chunks(1_000) {
        sql.push_str("INSERT INTO t VALUES ");
        for (i, row) in rows.iter().enumerate() {
            let number =
                |value: Option<i64>| value.map_or("NULL".to_owned(), |value| value.to_string());
            let moment = |value: Option<i64>| match value {
                None => "NULL".to_owned(),
                Some(micros) => format!("timestamp 'epoch' + {micros} * interval '1 microsecond'"),
            };
            let chan = row
                .chan
                .map_or("NULL".to_owned(), |chan| format!("'{chan}'"));
            let comma = if i == 0 { "" } else { "," };
            let (acct, v) = (number(row.acct), number(row.v));
            let (event, created) = (moment(row.event), moment(row.created));
            write!(
                sql,
                "{comma}({acct}, {chan}, ({event}) AT TIME ZONE 'UTC', {created}, {v})"
            )
            .unwrap();
        }
        sql.push(';');
    }
    sql
}

#[async_trait]
impl Backend for Served {
    async fn pull(&self, rows: &[SourceRow], pull: PullLatest) -> Result<Latest, Error> {
        self.run(&sql_of(rows)).await;
        self.store.pull_latest(pull).await
    }

    async fn join(&self, rows: &[SourceRow], join: PointInTime) -> Result<Joined, Error> {
        self.run(&sql_of(rows)).await;
        self.store.point_in_time(join).await
    }

    fn kind(&self) -> SourceKind {
        table("t")
    }
}

#[tokio::test]
async fn postgres_keeps_the_contract() {
    let mut served = Served::new().await;
    contract::run(&served).await;
    for statement in STATEMENTS {
        served.store.statement = statement;
        contract_history::run(&served).await;
    }
    served.clean_up().await;
}

const STATEMENTS: [Statement; 3] = [Statement::Cheapest, Statement::Lateral, Statement::Window];

#[tokio::test]
async fn postgres_joins_as_a_naive_loop() {
    let mut served = Served::new().await;
    let mut runner = TestRunner::deterministic();
    let cases = (
        source_rows(),
        contract_history::entity_rows(),
        contract_history::rules(),
    );
    for _ in 0..24 {
        let (rows, entities, rules) = cases.new_tree(&mut runner).unwrap().current();
        for statement in STATEMENTS {
            served.store.statement = statement;
            contract_history::agrees_with_the_naive_loop(&served, rules, &rows, &entities).await;
        }
    }
    served.clean_up().await;
}

#[tokio::test]
async fn a_join_that_nobody_wants_ends_in_the_database() {
    let served = Served::new().await;
    served.run(&sql_of(&[row(1, 5, None, 1)])).await;
    let sql = format!("SELECT *, pg_sleep(600) AS {} FROM t", served.schema);
    let entities = contract_history::entities(&[contract_history::entity(1, 9)]);
    let join = contract_history::join(query(&sql), contract_history::BY_ACCT, entities);
    let mut batches = served.store.point_in_time(join).await.unwrap().batches;
    tokio::select! {
        batch = batches.try_next() => panic!("{batch:?}"),
        () = served.is_running(true) => {}
    }
    drop(batches);
    served.is_running(false).await;
    served.clean_up().await;
}

#[tokio::test]
async fn postgres_agrees_with_the_oracle() {
    let served = Served::new().await;
    let mut runner = TestRunner::deterministic();
    for n_keys in [0, 1, 2, 1, 2] {
        let rows = source_rows().new_tree(&mut runner).unwrap().current();
        contract::agrees_with_the_oracle(&served, n_keys, &rows).await;
    }
    served.clean_up().await;
}

#[tokio::test]
async fn a_query_is_a_source_whatever_it_ends_with() {
    let served = Served::new().await;
    served
        .run(&sql_of(&[row(1, 5, None, 1), row(2, 5, None, 2)]))
        .await;
    for sql in [
        "SELECT * FROM t WHERE acct > 1",
        "SELECT * FROM t WHERE acct > 1; ",
        "SELECT * FROM t WHERE acct > 1 -- not 1",
    ] {
        let batches = served
            .pulled(contract::pull(query(sql), 1, (0, 9)))
            .await
            .unwrap();
        assert_eq!(batches[0].num_rows(), 1, "{sql}");
    }
    served.clean_up().await;
}

#[tokio::test]
async fn a_table_may_name_its_schema_and_a_missing_one_is_told() {
    let served = Served::new().await;
    served.run(&sql_of(&[row(1, 5, None, 1)])).await;
    let named = format!("\"{}\".t", served.schema);
    let batches = served
        .pulled(contract::pull(table(&named), 1, (0, 9)))
        .await
        .unwrap();
    assert_eq!(batches[0].num_rows(), 1);
    let error = served
        .pulled(contract::pull(table("nothing"), 1, (0, 9)))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Missing { .. }), "{error}");
    let error = served
        .pulled(contract::pull(table("t; DROP TABLE t"), 1, (0, 9)))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("which is not a name"), "{error}");
    served.clean_up().await;
}

#[tokio::test]
async fn every_type_comes_as_the_arrow_type_that_features_are_made_of() {
    let served = Served::new().await;
    let columns = [
        ("a", "boolean", "true", ValueType::Bool, DataType::Boolean),
        ("b", "smallint", "-3", ValueType::Int32, DataType::Int16),
        ("c", "real", "1.5", ValueType::Float, DataType::Float32),
        (
            "d",
            "numeric",
            "1234.50",
            ValueType::Double,
            DataType::Float64,
        ),
        (
            "e",
            "numeric",
            "1234.50",
            ValueType::Decimal,
            DataType::Utf8,
        ),
        (
            "f",
            "numeric(30,0)",
            "12345678901234567",
            ValueType::Int64,
            DataType::Int64,
        ),
        (
            "g",
            "jsonb",
            "'{\"a\": 1}'",
            ValueType::Json,
            DataType::Utf8,
        ),
        (
            "h",
            "uuid",
            "'0199c0de-0000-7000-8000-000000000001'",
            ValueType::Uuid,
            DataType::Utf8,
        ),
        (
            "i",
            "bytea",
            "'\\x00ff'",
            ValueType::Bytes,
            DataType::Binary,
        ),
        (
            "j",
            "date",
            "'2026-11-01'",
            ValueType::UnixTimestamp,
            DataType::Date32,
        ),
        ("k", "inet", "'10.0.0.1'", ValueType::String, DataType::Utf8),
        ("l", "char(4)", "'ab'", ValueType::String, DataType::Utf8),
    ];
    let mut create =
        "CREATE TABLE t (acct bigint, event_ts timestamp, created_ts timestamptz".to_owned();
    let mut values = "(1, '1970-01-01', 'infinity'".to_owned();
    let mut pull = contract::pull(table("t"), 1, (0, 9));
    pull.features.clear();
    for (name, sql_type, value, value_type, _) in &columns {
        write!(create, ", {name} {sql_type}").unwrap();
        write!(values, ", {value}").unwrap();
        let field = Field {
            name: (*name).to_owned(),
            value_type: *value_type,
        };
        pull.features.push(Column {
            name: field.name.clone(),
            field,
        });
    }
    let nulls = values.split(", ").enumerate().map(|(i, _)| match i {
        0 => "(2",
        1 => "'1970-01-01'",
        _ => "NULL",
    });
    let nulls = nulls.collect::<Vec<_>>().join(", ");
    served.run(&format!("{create}, xs double precision[], ys numeric[]); INSERT INTO t VALUES {values}, '{{1,NULL,2.5}}', '{{1.5}}'), {nulls}, NULL, NULL);")).await;
    for (name, value_type) in [("xs", ValueType::DoubleList), ("ys", ValueType::DoubleList)] {
        let field = Field {
            name: name.to_owned(),
            value_type,
        };
        pull.features.push(Column {
            name: name.to_owned(),
            field,
        });
    }
    let batches = served.pulled(pull).await.unwrap();
    let batch = &batches[0];
    assert_eq!(batch.num_rows(), 2);
    for (i, (name, _, _, value_type, wanted)) in columns.iter().enumerate() {
        let column = batch.column(1 + i);
        assert_eq!(column.data_type(), wanted, "{name}");
        let values = crate::features::convert::values(column, *value_type)
            .unwrap()
            .unwrap();
        assert_ne!(values[0], crate::types::value::Value::Null, "{name}");
        assert!(column.is_null(1), "{name}");
    }
    assert_eq!(
        batch.column(4).as_primitive::<Float64Type>().value(0),
        1234.5
    );
    assert_eq!(batch.column(5).as_string::<i32>().value(0), "1234.50");
    assert_eq!(
        batch.column(6).as_primitive::<Int64Type>().value(0),
        12_345_678_901_234_567
    );
    assert_eq!(batch.column(7).as_string::<i32>().value(0), "{\"a\": 1}");
    assert_eq!(batch.column(11).as_string::<i32>().value(0), "10.0.0.1/32");
    assert_eq!(batch.column(13).as_list::<i32>().value(0).len(), 3);
    assert_eq!(
        batch
            .column(14)
            .as_list::<i32>()
            .value(0)
            .as_primitive::<Float64Type>()
            .value(0),
        1.5
    );
    // An infinite moment is none.
    assert!(
        batch
            .column(16)
            .as_primitive::<TimestampMicrosecondType>()
            .is_null(0)
    );
    served.clean_up().await;
}

#[tokio::test]
async fn keys_that_are_equal_in_the_store_are_one() {
    let served = Served::new().await;
    served
        .run(
            "CREATE TABLE t (acct double precision, chan text, event_ts date, created_ts timestamptz, v int); \
             INSERT INTO t VALUES (1.0, 'a', '1970-01-01', NULL, 1), (1.5, 'a', '1970-01-02', NULL, 2), (-1, 'A', '1970-01-02', NULL, 3)",
        )
        .await;
    let day = 86_400_000_000;
    let batches = served
        .pulled(contract::pull(table("t"), 1, (0, 2 * day)))
        .await
        .unwrap();
    let keys = batches[0].column(0).as_primitive::<Int64Type>();
    assert_eq!(keys.values(), &[-1, 1]);
    let times = batches[0]
        .column(2)
        .as_primitive::<TimestampMicrosecondType>();
    assert_eq!(times.values(), &[day, day]);
    served.clean_up().await;
}
