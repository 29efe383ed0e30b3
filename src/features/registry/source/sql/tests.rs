//! The SQL registry that Feast filled, in SQLite and, where there is a server, in Postgres.

use super::*;
use crate::features::testing::fixture;

const PROJECT: &str = "ride_ops";

/// A copy of the recorded database.
fn recorded() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registry.db");
    fs_err::copy(fixture("sql_registry.sqlite.db"), &path).unwrap();
    (directory, path)
}

fn store(path: &str) -> SqlStore {
    try_store(path).unwrap()
}

fn try_store(path: &str) -> Result<SqlStore, Error> {
    let mut settings = Settings::new("registry", serde_yaml_ng::Value::Null).unwrap();
    let config = Config::read(path, &mut settings, Path::new("/"), &mut Vec::new());
    match config {
        Ok(config) => open(&config),
        Err(_) => panic!("{path} is a URL"),
    }
}

fn materialized(start: i64) -> ViewChange {
    ViewChange::Materialized {
        start: Timestamp::from_seconds(start),
        end: Timestamp::from_seconds(1_000),
    }
}

/// Sorted by name, without what depends on when and how often it was materialized.
fn comparable(registry: &Registry) -> Registry {
    let mut registry = registry.clone();
    registry.revision = String::new();
    registry.entities.sort_by(|a, b| a.name.cmp(&b.name));
    registry
        .on_demand_feature_views
        .sort_by(|a, b| a.name.cmp(&b.name));
    registry
        .feature_services
        .sort_by(|a, b| a.name.cmp(&b.name));
    registry.feature_views.sort_by(|a, b| a.name.cmp(&b.name));
    for view in &mut registry.feature_views {
        view.materialized.clear();
        view.state = crate::features::definitions::ViewState::Unspecified;
    }
    registry
}

/// What every database must do with the recorded registry in it.
async fn holds_the_contract(store: &SqlStore) {
    let registry = store.load(PROJECT).await.unwrap();
    let file = Registry::load(&fixture("repo/registry.db"), PROJECT).unwrap();
    assert_eq!(comparable(&registry), comparable(&file));
    assert!(registry.left_out.is_empty());
    assert_eq!(registry.revision, "1795361784");
    let of =
        |registry: &Registry, view: &str| registry.feature_view(view).unwrap().materialized.len();
    assert_eq!(
        (of(&registry, "trip_pair"), of(&registry, "driver_lists")),
        (1, 0)
    );

    // Eight at once, each a transaction of its own; batch and stream views.
    let changes = (0..8).map(|i| store.record(PROJECT, "driver_lists", materialized(i)));
    for outcome in futures::future::join_all(changes).await {
        outcome.unwrap();
    }
    store
        .record(PROJECT, "driver_stream", materialized(9))
        .await
        .unwrap();
    let after = store.load(PROJECT).await.unwrap();
    assert_eq!(
        (of(&after, "driver_lists"), of(&after, "driver_stream")),
        (8, 1)
    );
    assert_eq!(comparable(&after), comparable(&registry));
    assert_ne!(
        after.revision, registry.revision,
        "feast_metadata tells of the change"
    );

    for (view, code) in [
        ("nope", "feature_view_unknown"),
        ("fare_py", "feature_view_not_recordable"),
    ] {
        let error = store
            .record(PROJECT, view, materialized(1))
            .await
            .unwrap_err();
        assert_eq!(crate::error::Failure::code(&error), code, "{error}");
    }
    let error = store.load("other").await.unwrap_err().to_string();
    assert!(error.ends_with("which holds `ride_ops`"), "{error}");
}

#[tokio::test]
async fn the_recorded_database_holds_what_the_recorded_file_holds() {
    let (_directory, path) = recorded();
    let store = store(&format!("sqlite:///{}", path.display()));
    holds_the_contract(&store).await;
}

#[tokio::test]
async fn one_row_that_does_not_decode_is_left_out() {
    let (_directory, path) = recorded();
    let url = format!("sqlite:///{}", path.display());
    let pool = sqlx::SqlitePool::connect(&url).await.unwrap();
    let break_it =
        "UPDATE feature_views SET feature_view_proto = x'ffff' WHERE feature_view_name = 'slot_fv'";
    sqlx::query(break_it).execute(&pool).await.unwrap();
    pool.close().await;
    let registry = store(&url).load(PROJECT).await.unwrap();
    assert_eq!(registry.feature_views.len(), 11);
    assert_eq!(registry.left_out[0].name, "slot_fv");
}

#[tokio::test]
async fn a_database_that_is_not_there_or_empty_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite:///{}/none.db", directory.path().display());
    let error = store(&url).load(PROJECT).await.unwrap_err();
    assert!(matches!(error, Error::Missing { .. }), "{error}");
    fs_err::write(directory.path().join("none.db"), b"").unwrap();
    let error = store(&url).load(PROJECT).await.unwrap_err();
    assert!(matches!(error, Error::Missing { .. }), "{error}");
}

#[cfg(all(feature = "test-services", feature = "postgres"))]
mod services {
    use sqlx::{AssertSqlSafe, PgPool, Row as _, SqlitePool};

    use super::*;

    /// A schema of the test's own, filled with the recorded rows. Its URL.
    #[expect(
        clippy::disallowed_methods,
        reason = "tests are told where their servers are by the environment"
    )]
    async fn filled(schema: &str) -> (PgPool, String) {
        let url =
            std::env::var("TERRARIUM_POSTGRES").expect("TERRARIUM_POSTGRES is where Postgres is");
        let joint = if url.contains('?') { '&' } else { '?' };
        let url = format!("{url}{joint}options=-csearch_path%3D{schema}");
        let pool = PgPool::connect(&url).await.unwrap();
        let run = async |sql: String| {
            sqlx::query(AssertSqlSafe(sql))
                .execute(&pool)
                .await
                .unwrap()
        };
        run(format!("DROP SCHEMA IF EXISTS {schema} CASCADE")).await;
        run(format!("CREATE SCHEMA {schema}")).await;
        let (_directory, path) = recorded();
        let sqlite = SqlitePool::connect(&format!("sqlite:///{}", path.display()))
            .await
            .unwrap();
        let tables = sqlx::query("SELECT name, sql FROM sqlite_master WHERE type = 'table'");
        for table in tables.fetch_all(&sqlite).await.unwrap() {
            let (name, sql): (String, String) = (table.get(0), table.get(1));
            run(sql.replace("BLOB", "BYTEA")).await;
            let rows = sqlx::query(AssertSqlSafe(format!("SELECT * FROM {name}")));
            for row in rows.fetch_all(&sqlite).await.unwrap() {
                let places: Vec<String> = (1..=row.len()).map(|i| format!("${i}")).collect();
                let insert = format!("INSERT INTO {name} VALUES ({})", places.join(", "));
                let mut query = sqlx::query(AssertSqlSafe(insert));
                for i in 0..row.len() {
                    use sqlx::{Column as _, TypeInfo as _, ValueRef as _};
                    let declared = row.column(i).type_info().name().to_owned();
                    let is_null = row.try_get_raw(i).unwrap().is_null();
                    query = match declared.as_str() {
                        "BLOB" if is_null => query.bind(None::<Vec<u8>>),
                        "BLOB" => query.bind(row.get::<Vec<u8>, _>(i)),
                        "INTEGER" if row.column(i).name() == "version_number" => {
                            query.bind(row.get::<i64, _>(i) as i32)
                        }
                        "INTEGER" => query.bind(row.get::<i64, _>(i)),
                        _ if is_null => query.bind(None::<String>),
                        _ => query.bind(row.get::<String, _>(i)),
                    };
                }
                query.execute(&pool).await.unwrap();
            }
        }
        (pool, url)
    }

    #[tokio::test]
    async fn a_registry_in_postgres_is_read_and_recorded_into() {
        let (pool, url) = filled("terrarium_registry_contract").await;
        let url = url.replacen("postgres://", "postgresql+psycopg://", 1);
        let url = url.replacen("postgresql://", "postgresql+psycopg://", 1);
        holds_the_contract(&store(&url)).await;
        let drop = "DROP SCHEMA terrarium_registry_contract CASCADE";
        sqlx::query(drop).execute(&pool).await.unwrap();
        let error = store(&url).load(PROJECT).await.unwrap_err();
        assert!(matches!(error, Error::Missing { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_view_that_another_transaction_holds_is_waited_for_and_then_given_up() {
        let (pool, url) = filled("terrarium_registry_held").await;
        let mut holder = pool.begin().await.unwrap();
        let hold =
            "SELECT 1 FROM feature_views WHERE feature_view_name = 'driver_lists' FOR UPDATE";
        sqlx::query(hold).execute(&mut *holder).await.unwrap();
        let url = url.replacen("postgres://", "postgresql://", 1);
        let error = store(&url)
            .record(PROJECT, "driver_lists", materialized(1))
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Contended { .. }), "{error}");
        holder.rollback().await.unwrap();
        store(&url)
            .record(PROJECT, "driver_lists", materialized(1))
            .await
            .unwrap();
        let drop = "DROP SCHEMA terrarium_registry_held CASCADE";
        sqlx::query(drop).execute(&pool).await.unwrap();
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_unreachable() {
        let store = store("postgresql://nobody@127.0.0.1:1/feast");
        let error = store.load(PROJECT).await.unwrap_err();
        let is_it = matches!(error, Error::Unreachable { .. } | Error::Timeout { .. });
        assert!(is_it, "{error}");
    }
}
