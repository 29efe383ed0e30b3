//! Joins of Parquet files, and what is made of them.

use arrow::array::AsArray;
use arrow::datatypes::{Float64Type, Int64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;

async fn store() -> (TestRepo, FeatureStore) {
    let repo = pit_repo("file/registry.db", "file");
    let store = open(&repo).await;
    (repo, store)
}

#[tokio::test]
async fn files_give_what_feast_recorded() {
    let (_repo, store) = store().await;
    recorded::every_case_is_as_feasts_postgres_store_has_it(&store).await;
}

#[tokio::test]
async fn a_training_set_says_what_it_was_made_of() {
    let (repo, store) = store().await;
    let rows = || {
        entities(vec![
            ("acct_id", numbers(&[1, 99, 2])),
            ("event_timestamp", at_ten(&[0, 0, 0])),
        ])
    };
    let wanted = || features(&["pit_a:a1", "pit_b:b1"]);
    let path = repo.path("train.parquet");
    let historical = store
        .historical(request(wanted(), rows()), soon())
        .await
        .unwrap();
    let definitions = historical.schema.metadata()["terrarium.definitions"].clone();
    let mut told = Vec::new();
    let mut progress = |progress: Progress, n_rows: usize| told.push((progress, n_rows));
    let summary = historical
        .write_file(&path, FileFormat::Parquet, &mut progress)
        .await
        .unwrap();
    assert_eq!(summary.n_rows, 3);
    let nulls = summary
        .features
        .iter()
        .map(|feature| (feature.name.as_str(), feature.n_null));
    assert_eq!(nulls.collect::<Vec<_>>(), [("a1", 1), ("b1", 1)]);
    let (last, n_rows) = told.last().unwrap();
    assert_eq!((last.rows_joined, *n_rows), (3, 3));

    let file = fs_err::File::open(&path).unwrap().into_file();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let notes = reader
        .metadata()
        .file_metadata()
        .key_value_metadata()
        .unwrap()
        .clone();
    let note = |key: &str| {
        let mut notes = notes.iter();
        let found = notes.find(|note| note.key == key).unwrap();
        found.value.clone().unwrap()
    };
    assert_eq!(note("terrarium.definitions"), definitions);
    assert_eq!(
        note("terrarium.registry_revision"),
        store.registry().revision
    );
    assert_eq!(note("terrarium.features"), "pit_a:a1,pit_b:b1");
    let batch = reader.build().unwrap().next().unwrap().unwrap();
    assert_eq!(batch.column(2).as_primitive::<Int64Type>().value(0), 10);
    assert_eq!(batch.column(3).as_primitive::<Float64Type>().value(2), 3.5);

    // Another selection is another definition; the same is the same.
    let again = store
        .historical(request(wanted(), rows()), soon())
        .await
        .unwrap();
    assert_eq!(
        again.schema.metadata()["terrarium.definitions"],
        definitions
    );
    let other = store
        .historical(request(features(&["pit_a:a1"]), rows()), soon())
        .await
        .unwrap();
    assert_ne!(
        other.schema.metadata()["terrarium.definitions"],
        definitions
    );
}

#[tokio::test]
async fn a_file_that_fails_leaves_what_was_there() {
    let (repo, store) = store().await;
    let path = repo.path("train.csv");
    fs_err::write(&path, "before").unwrap();
    fs_err::remove_file(repo.path("data/pit_a.parquet")).unwrap();
    let rows = entities(vec![
        ("acct_id", numbers(&[1])),
        ("event_timestamp", at_ten(&[0])),
    ]);
    let historical = store
        .historical(request(features(&["pit_a:a1"]), rows), soon())
        .await;
    let written = match historical {
        Ok(historical) => {
            historical
                .write_file(&path, FileFormat::Csv, &mut |_, _| {})
                .await
        }
        Err(error) => Err(error),
    };
    let error = written.unwrap_err();
    assert_eq!(error.code(), "feature_source_missing");
    assert!(
        error.to_string().contains("of feature view `pit_a`"),
        "{error}"
    );
    assert_eq!(fs_err::read_to_string(&path).unwrap(), "before");
    let names = fs_err::read_dir(repo.directory.path()).unwrap();
    let hidden = names.filter(|entry| {
        entry
            .as_ref()
            .unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with(".train")
    });
    assert_eq!(hidden.count(), 0);
}

#[tokio::test]
async fn csv_is_read_as_what_the_features_want_and_written_back() {
    let (repo, store) = store().await;
    let path = repo.path("rows.csv");
    let text = "chan_code,acct_id,event_timestamp,note\n\
                web,1,2024-05-01T10:00:00Z,a\n\
                12x,1,2024-05-01T12:00:00+02:00,\n\
                007,2,2024-05-01T10:00:00Z,\"b,c\"\n";
    fs_err::write(&path, text).unwrap();
    let wanted = features(&["pit_c:c1"]);
    let types = store.entity_types(&wanted, Naming::Short).unwrap();
    let rows = Entities::of_csv(&path, &types).unwrap();
    assert_eq!(rows.schema().field(0).data_type(), &DataType::Utf8);
    let historical = store
        .historical(request(wanted, rows), soon())
        .await
        .unwrap();
    let out = repo.path("train.csv");
    let summary = historical
        .write_file(&out, FileFormat::Csv, &mut |_, _| {})
        .await
        .unwrap();
    assert_eq!((summary.n_rows, summary.features[0].n_null), (3, 1));
    assert_eq!(
        fs_err::read_to_string(out).unwrap(),
        "chan_code,acct_id,event_timestamp,note,c1\n\
         web,1,2024-05-01T10:00:00Z,a,100\n\
         12x,1,2024-05-01T10:00:00Z,,112\n\
         007,2,2024-05-01T10:00:00Z,\"b,c\",\n"
    );
}

#[tokio::test]
async fn many_rows_of_three_views_come_whole_and_in_order() {
    let (_repo, store) = store().await;
    let n = 40_000;
    let accounts: Vec<i64> = (0..n).map(|i| i % 9).collect();
    let minutes: Vec<i64> = (0..n).map(|i| i % 200).collect();
    let order: Vec<i64> = (0..n).collect();
    let rows = entities(vec![
        ("acct_id", numbers(&accounts)),
        ("event_timestamp", at_ten(&minutes)),
        ("place", numbers(&order)),
    ]);
    let wanted = features(&["pit_a:a1", "pit_b:b1", "pit_g:g1"]);
    let table = table(&store, request(wanted, rows)).await.unwrap();
    assert_eq!(table.num_rows() as i64, n);
    let places = table.column(2).as_primitive::<Int64Type>();
    assert_eq!(places.values(), &order[..]);
    let a1 = table.column(3).as_primitive::<Int64Type>();
    let g1 = table.column(5).as_primitive::<Float64Type>();
    for row in 0..n as usize {
        let (account, minute) = (accounts[row], minutes[row]);
        if account == 1 {
            let wanted = match minute {
                0..60 => Some(10),
                60..=120 => Some(111),
                _ => None,
            };
            assert_eq!(a1.is_valid(row).then(|| a1.value(row)), wanted, "{minute}");
        }
        assert_eq!(g1.value(row), if minute < 60 { 0.75 } else { 0.9 });
    }
}
