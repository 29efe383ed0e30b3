//! Settings, and what needs a Postgres server, at `TERRARIUM_POSTGRES` (postgres://user:password@host:port/database): each
//! of those tests has a project and a schema of its own.

use super::super::contract::soon;
use super::*;
use crate::features::repo::Problem;

fn read(yaml: &str) -> Result<(Config, Vec<String>), String> {
    let mut notes = Vec::new();
    match Config::read(serde_yaml_ng::from_str(yaml).unwrap(), &mut notes) {
        Ok(config) => Ok((config, notes)),
        Err(Problem::Setting(error)) => Err(error.to_string()),
        Err(Problem::Invalid(message)) => Err(message),
        Err(Problem::Unsupported(what)) => Err(format!("{what} is not supported")),
    }
}

#[test]
fn feasts_settings_are_read_and_what_has_no_effect_is_told() {
    let yaml = "{host: db, database: d, user: u, password: secret-word, db_schema: online, max_conn: 3, \
                conn_type: pool, min_conn: 1, vector_enabled: false}";
    let (config, notes) = read(yaml).unwrap();
    assert_eq!(config.max_connections.get(), 3);
    assert_eq!(config.schema, "online");
    assert_eq!(format!("{config:?}"), "Config(\"postgres at db:5432/d\")");
    assert_eq!(
        notes,
        ["conn_type", "min_conn"]
            .map(|key| format!("feature_store.yaml: `online_store.{key}` has no effect here"))
    );
}

#[test]
fn settings_that_cannot_be_are_named() {
    for (yaml, message) in [
        (
            "{host: h, database: d, user: u}",
            "`online_store.password` is missing",
        ),
        (
            "{host: h, database: d, user: u, password: p, max_conn: 0}",
            "`online_store.max_conn: 0` is not a number of connections",
        ),
        (
            "{host: h, database: d, user: u, password: p, vector_enabled: true}",
            "`online_store.vector_enabled: true` is not supported",
        ),
        (
            "{host: h, database: d, user: u, password: p, enable_openai_compatible_store: true}",
            "`online_store.enable_openai_compatible_store: true` is not supported",
        ),
    ] {
        assert_eq!(read(yaml).unwrap_err(), message);
    }
}

fn at(address: std::net::SocketAddr) -> PostgresStore {
    let yaml = format!(
        "{{host: {}, port: {}, database: d, user: u, password: p, sslmode: disable}}",
        address.ip(),
        address.port()
    );
    connect(&read(&yaml).unwrap().0, "p")
}

#[tokio::test]
async fn a_server_that_is_gone_is_told_at_once() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let store = at(listener.local_addr().unwrap());
    drop(listener);
    for _ in 0..5 {
        let error = store.ping(soon()).await.unwrap_err();
        assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_server_that_hangs_costs_a_few_requests_their_time_and_the_others_none() {
    // Connections wait in the listener's queue, and nobody says a word to them.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let store = at(listener.local_addr().unwrap());
    let in_a_moment = || Deadline::after(std::time::Duration::from_millis(30));
    for _ in 0..3 {
        let error = store.ping(in_a_moment()).await.unwrap_err();
        assert!(matches!(error, Error::Timeout { .. }), "{error:?}");
    }
    let probe = store.ping(soon());
    tokio::pin!(probe);
    assert!(futures::poll!(&mut probe).is_pending());
    let error = store.ping(soon()).await.unwrap_err();
    assert!(matches!(error, Error::NotAnswering { .. }), "{error:?}");
}

#[test]
fn a_name_is_cut_where_postgres_cuts_it() {
    assert_eq!(cut("short"), "short");
    assert_eq!(cut(&"x".repeat(70)).len(), 63);
    let wide = format!("{}ü", "x".repeat(62));
    assert_eq!(cut(&wide), "x".repeat(62));
}

#[cfg(feature = "test-services")]
mod services {
    use sqlx::{AssertSqlSafe, Connection as _, Executor as _, Row as _};

    use super::super::super::contract::{self, OldRows, keys, row, soon, view};
    use super::*;
    use crate::types::timestamp::Timestamp;
    use crate::types::value::Value;

    struct Served {
        url: String,
        schema: String,
        store: Arc<PostgresStore>,
    }

    impl Served {
        /// The schema is not made: the first write does that.
        fn new() -> Self {
            #[expect(
                clippy::disallowed_methods,
                reason = "where the test's Postgres is, is not configuration"
            )]
            let url = std::env::var("TERRARIUM_POSTGRES").unwrap();
            let schema = format!("test{}", uuid::Uuid::now_v7().simple());
            let rest = url.strip_prefix("postgres://").unwrap();
            let (account, place) = rest.split_once('@').unwrap();
            let (user, password) = account.split_once(':').unwrap();
            let (address, database) = place.split_once('/').unwrap();
            let (host, port) = address.split_once(':').unwrap();
            let yaml = format!(
                "{{host: {host}, port: {port}, database: {database}, user: {user}, password: {password}, \
                 db_schema: {schema}, sslmode: disable, max_conn: 4}}"
            );
            let store = Arc::new(connect(&read(&yaml).unwrap().0, "p"));
            Self { url, schema, store }
        }

        async fn connection(&self) -> PgConnection {
            let mut connection = PgConnection::connect(&self.url).await.unwrap();
            let path = format!("SET search_path TO {}", self.schema);
            connection.execute(AssertSqlSafe(path)).await.unwrap();
            connection
        }

        async fn run(&self, sql: &str) {
            let mut connection = self.connection().await;
            connection
                .execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned())))
                .await
                .unwrap();
        }

        async fn read_one(&self, name: &str, feature: &str) -> Result<Option<Value>, Error> {
            let group = KeyGroup {
                views: vec![view(name, &[feature])],
            };
            let lookup = self.store.prepare(&[group]);
            let mut answer = lookup.read(&[keys(&[b"k"])], soon()).await?;
            Ok(answer.remove(0).remove(0).map(|stored| stored.value))
        }

        async fn clean_up(&self) {
            self.run(&format!("DROP SCHEMA {} CASCADE", self.schema))
                .await;
        }
    }

    #[tokio::test]
    async fn postgres_keeps_the_contract() {
        let served = Served::new();
        contract::run(served.store.clone(), OldRows::Replace).await;
        served.clean_up().await;
    }

    #[tokio::test]
    async fn a_view_that_was_never_written_says_to_materialize() {
        let served = Served::new();
        for name in ["trips", "trips\"; '% ünï"] {
            let error = served.read_one(name, "a").await.unwrap_err();
            assert!(
                matches!(&error, Error::NotMaterialized { view, .. } if view == name),
                "{error:?}"
            );
        }
        // Of two views the one that is missing is named, also where its name begins as the other's does.
        served
            .store
            .write(&view("trips", &["a"]), &[])
            .await
            .unwrap();
        assert_eq!(served.read_one("trips", "a").await.unwrap(), None);
        let views = ["trips", "trips_v2"]
            .map(|name| view(name, &["a"]))
            .to_vec();
        let lookup = served.store.prepare(&[KeyGroup { views }]);
        let error = lookup.read(&[keys(&[b"k"])], soon()).await.unwrap_err();
        assert!(
            matches!(&error, Error::NotMaterialized { view, .. } if view == "trips_v2"),
            "{error:?}"
        );
        served.clean_up().await;
    }

    #[tokio::test]
    async fn lost_connections_are_made_anew_within_the_request() {
        let served = Served::new();
        let rows = [row(b"k", 1, vec![Value::Int64(1)])];
        served.store.write(&view("v", &["a"]), &rows).await.unwrap();
        for _ in 0..3 {
            served
                .run(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                     WHERE application_name = 'terrarium' AND query LIKE '%p_v%' AND pid <> pg_backend_pid()",
                )
                .await;
            let value = served.read_one("v", "a").await.unwrap();
            assert_eq!(value, Some(Value::Int64(1)));
        }
        served.clean_up().await;
    }

    #[tokio::test]
    async fn moments_keep_their_microseconds_and_text_its_column() {
        let served = Served::new();
        let moment = Timestamp::from_micros(1_709_856_000_123_457);
        let mut row = row(
            b"k",
            0,
            vec![Value::Double(1e16), Value::String("a\0b".into())],
        );
        row.event_timestamp = moment;
        row.created_timestamp = Some(Timestamp::from_micros(-1));
        let view = view("v", &["a", "b"]);
        served.store.write(&view, &[row]).await.unwrap();
        let mut connection = served.connection().await;
        let sql =
            "SELECT value_text, event_ts::text, created_ts::text FROM p_v ORDER BY feature_name";
        let stored = connection.fetch_all(sql).await.unwrap();
        let text = |i: usize, column: usize| stored[i].get_unchecked::<String, _>(column);
        assert_eq!(text(0, 0), "1e+16");
        assert_eq!(text(1, 0), "ab");
        assert_eq!(text(0, 1), "2024-03-08 00:00:00.123457+00");
        assert_eq!(text(0, 2), "1969-12-31 23:59:59.999999+00");
        let group = KeyGroup { views: vec![view] };
        let lookup = served.store.prepare(&[group]);
        let answer = lookup.read(&[keys(&[b"k"])], soon()).await.unwrap();
        let read = answer[0][1].as_ref().unwrap();
        assert_eq!(read.event_timestamp, moment);
        assert_eq!(read.value, Value::String("a\0b".into()));
        served.clean_up().await;
    }

    #[tokio::test]
    async fn writers_of_the_same_rows_in_another_order_do_not_block_each_other() {
        let served = Served::new();
        let view = view("v", &["a", "b", "c"]);
        let names: Vec<String> = (0..3_000).map(|i| format!("key-{i}")).collect();
        let rows = |number| {
            let row = |name: &String| row(name.as_bytes(), 1, vec![Value::Int64(number); 3]);
            names.iter().map(row).collect::<Vec<_>>()
        };
        let mut writes = Vec::new();
        for number in 0..6 {
            let mut rows = rows(number);
            if number % 2 == 0 {
                rows.reverse();
            }
            let (store, view) = (served.store.clone(), view.clone());
            writes.push(async move { store.write(&view, &rows).await });
        }
        for written in futures::future::join_all(writes).await {
            assert_eq!(written.unwrap(), 3_000);
        }
        served.clean_up().await;
    }

    #[tokio::test]
    async fn a_deleted_view_whose_name_is_cut_takes_no_other_with_it() {
        let served = Served::new();
        let long = "x".repeat(70);
        let views = ["one", "two"].map(|end| view(&format!("{long}{end}"), &[end]));
        for view in &views {
            let rows = [row(b"k", 1, vec![Value::Int64(1)])];
            served.store.write(view, &rows).await.unwrap();
        }
        let layout = KeyLayout::entityless(crate::features::key::KeyVersion::V3);
        let n_keys = served.store.delete_view(&views[0], &layout).await.unwrap();
        assert_eq!(n_keys, 1);
        let gone = served.read_one(&views[0].name, "one").await.unwrap();
        let kept = served.read_one(&views[1].name, "two").await.unwrap();
        assert_eq!((gone, kept), (None, Some(Value::Int64(1))));
        served.clean_up().await;
    }
}
