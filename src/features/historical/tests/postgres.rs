//! Joins in Postgres, at `TERRARIUM_POSTGRES`; each test has a schema of its own.

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use super::*;
use crate::features::testing::fixture;
use crate::features::verify;
use crate::types::timestamp::Timestamp;

struct Served {
    url: String,
    schema: String,
    repo: TestRepo,
}

impl Served {
    async fn new() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "where the test's Postgres is, is not configuration"
        )]
        let url = std::env::var("TERRARIUM_POSTGRES").unwrap();
        let schema = format!("pit{}", uuid::Uuid::now_v7().simple());
        let rest = url.strip_prefix("postgres://").unwrap();
        let (account, place) = rest.split_once('@').unwrap();
        let (user, password) = account.split_once(':').unwrap();
        let (address, database) = place.split_once('/').unwrap();
        let (host, port) = address.split_once(':').unwrap();
        let offline_store = format!(
            "{{type: postgres, host: {host}, port: {port}, database: {database}, user: {user}, \
             password: {password}, db_schema: {schema}, sslmode: disable}}"
        );
        let repo = pit_repo("pg/registry.db", &offline_store);
        let tables = fs_err::read_to_string(fixture("pit_repo/postgres.sql")).unwrap();
        let tables = tables.replace("public.", &format!("{schema}."));
        let served = Self { url, schema, repo };
        served
            .run(&format!("CREATE SCHEMA {}; {tables}", served.schema))
            .await;
        served
    }

    async fn run(&self, sql: &str) {
        let mut connection = PgConnection::connect(&self.url).await.unwrap();
        let sql = AssertSqlSafe(sql.to_owned());
        connection.execute(sqlx::raw_sql(sql)).await.unwrap();
    }

    async fn clean_up(&self) {
        self.run(&format!("DROP SCHEMA {} CASCADE", self.schema))
            .await;
    }
}

#[tokio::test]
async fn postgres_gives_what_feast_recorded() {
    let served = Served::new().await;
    let store = open(&served.repo).await;
    recorded::every_case_is_as_feasts_postgres_store_has_it(&store).await;
    // With an index the other statement is the cheaper one.
    let schema = &served.schema;
    for table in ["pit_a", "pit_b", "pit_c", "pit_d"] {
        let index = format!("CREATE INDEX ON {schema}.{table} (acct_id, event_ts DESC)");
        served.run(&index).await;
    }
    recorded::every_case_is_as_feasts_postgres_store_has_it(&store).await;
    served.clean_up().await;
}

#[tokio::test]
async fn entity_rows_may_be_a_query_that_reads() {
    let served = Served::new().await;
    let store = open(&served.repo).await;
    let query = "SELECT a AS acct_id, timestamptz '2024-05-01 12:00:00+02' AS at, 1.5 AS n, NULL::text AS note \
                 FROM generate_series(1, 3) AS a -- and no more";
    let rows = store.query_entities(query).await.unwrap();
    assert_eq!(rows.n_rows(), 3);
    let table = table(&store, request(features(&["pit_a:a1"]), rows))
        .await
        .unwrap();
    let a1 = table
        .column(4)
        .as_any()
        .downcast_ref::<Int64Array>()
        .unwrap();
    assert_eq!(a1.iter().collect::<Vec<_>>(), [Some(10), Some(20), None]);
    let n = table
        .column(2)
        .as_any()
        .downcast_ref::<Float64Array>()
        .unwrap();
    assert_eq!(n.value(0), 1.5);
    for query in [
        "SELECT 1; SELECT 2",
        "SELECT 1) TO STDOUT; DROP TABLE pit_a; COPY (SELECT 1",
        "WITH gone AS (DELETE FROM pit_a RETURNING acct_id) SELECT * FROM gone",
        "SELECT * FROM nowhere",
    ] {
        let error = store.query_entities(query).await.unwrap_err();
        assert_eq!(error.code(), "entity_query_failed", "{query}: {error}");
    }
    served.clean_up().await;
}

#[tokio::test]
async fn what_was_materialized_from_postgres_equals_it_until_the_table_changes() {
    let served = Served::new().await;
    let store = open(&served.repo).await;
    let (start, end) = (Timestamp::EPOCH, Timestamp::from_seconds(1_800_000_000));
    let done = store.materialize(None, start, end, &mut |_| {}).await;
    done.unwrap();
    let request = verify::Request {
        scope: verify::Scope::All,
        sample: std::num::NonZeroUsize::new(100).unwrap(),
        seed: 1,
        tolerance: 0.0,
        entities: None,
    };
    let report = store.verify(&request).await.unwrap();
    assert_eq!(report.failed().count(), 0, "{report:?}");
    assert!(
        report.n_compared() >= 15 && report.n_mismatched() == 0,
        "{report:?}"
    );

    let schema = &served.schema;
    served
        .run(&format!(
            "UPDATE {schema}.pit_b SET b1 = b1 + 1 WHERE acct_id = 2"
        ))
        .await;
    let report = store.verify(&request).await.unwrap();
    let differ = report.features().filter(|(_, own)| own.n_mismatched > 0);
    let differ: Vec<(&str, &str)> = differ
        .map(|(view, own)| (view, own.feature.as_str()))
        .collect();
    assert_eq!(differ, [("pit_b", "b1")]);

    served.run(&format!("DROP TABLE {schema}.pit_b")).await;
    let report = store.verify(&request).await.unwrap();
    let failed: Vec<(&str, &str)> = report
        .failed()
        .map(|(view, error)| (view, error.code()))
        .collect();
    assert_eq!(failed, [("pit_b", "feature_source_missing")]);
    served.clean_up().await;
}
