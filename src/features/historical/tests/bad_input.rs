//! What is wrong with entity rows and sources is named.

use super::*;
use crate::features::write::load as frames;

async fn store() -> (TestRepo, FeatureStore) {
    let repo = pit_repo("file/registry.db", "file");
    let store = open(&repo).await;
    (repo, store)
}

async fn told(store: &FeatureStore, wanted: Wanted, entities: Entities) -> (&'static str, String) {
    let error = table(store, request(wanted, entities)).await.unwrap_err();
    (error.code(), error.to_string())
}

#[tokio::test]
async fn a_missing_column_is_named_with_its_view() {
    let (_repo, store) = store().await;
    let rows = || {
        entities(vec![
            ("acct", numbers(&[1])),
            ("event_timestamp", at_ten(&[0])),
        ])
    };
    let (code, message) = told(&store, features(&["pit_a:a1"]), rows()).await;
    assert_eq!(code, "entity_key_missing");
    assert_eq!(
        message,
        "feature view `pit_a` is joined by `acct_id`, which is no column of the entity rows; they have `acct`, `event_timestamp`"
    );
    if cfg!(feature = "datafusion") {
        let rows = entities(vec![
            ("acct_id", numbers(&[1])),
            ("event_timestamp", at_ten(&[0])),
        ]);
        let (code, message) = told(&store, features(&["pit_odfv:b_scaled"]), rows).await;
        assert_eq!(code, "request_data_missing");
        assert!(
            message.starts_with("on-demand feature view `pit_odfv` is computed from `factor`"),
            "{message}"
        );
    }
}

#[tokio::test]
async fn a_name_that_would_come_twice_is_refused() {
    let (_repo, store) = store().await;
    let rows = entities(vec![
        ("acct_id", numbers(&[1])),
        ("a1", numbers(&[1])),
        ("event_timestamp", at_ten(&[0])),
    ]);
    let (code, message) = told(&store, features(&["pit_a:a1"]), rows).await;
    assert_eq!(
        (code, message.as_str()),
        ("feature_names_collide", "column `a1` would be there twice")
    );
}

#[tokio::test]
async fn times_are_told_from_what_is_none() {
    let (_repo, store) = store().await;
    let wanted = || features(&["pit_a:a1"]);
    let text: ArrayRef = Arc::new(StringArray::from(vec!["2024-05-01"]));
    let rows = entities(vec![("acct_id", numbers(&[1])), ("event_timestamp", text)]);
    let (code, message) = told(&store, wanted(), rows).await;
    assert_eq!(code, "entity_time_invalid");
    assert!(
        message.contains("`event_timestamp` of the entity rows is Utf8"),
        "{message}"
    );
    let json = |text: &str| Entities::of_json(&frames::from_json(text.as_bytes()).unwrap());
    let error = json(
        r#"{"acct_id": [1, 2, 3], "event_timestamp": ["2024-05-01T10:00:00Z", null, "2024-05-01 10:00:00"]}"#,
    );
    assert_eq!(
        error.unwrap_err().to_string(),
        "`event_timestamp` has a time with an offset in row 0 and one without in row 2"
    );
    let error = json(r#"{"acct_id": [1], "event_timestamp": ["yesterday"]}"#).unwrap_err();
    assert_eq!(
        error.to_string(),
        "row 0 of `event_timestamp` is no time such as 2026-11-01T00:00:00Z"
    );
    let error = json(r#"{"acct_id": [1, "2"]}"#).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("row 1 is the first of another one"),
        "{error}"
    );
    let rows =
        json(r#"{"acct_id": [1, 2], "event_timestamp": ["2024-05-01T10:00:00Z", null]}"#).unwrap();
    let (code, message) = told(&store, wanted(), rows).await;
    assert_eq!(code, "entity_time_missing");
    assert!(
        message.starts_with("row 1 of the entity rows has no time"),
        "{message}"
    );
}

#[tokio::test]
async fn a_column_of_nothing_but_times_is_the_time_where_none_is_called_so() {
    let frame = frames::from_json(br#"{"id": ["7", "8"], "at": ["2024-05-01", "2024-05-02"], "n": [1, 2.5], "ok": [true, null]}"#);
    let rows = Entities::of_json(&frame.unwrap()).unwrap();
    let kinds = rows
        .schema()
        .fields()
        .iter()
        .map(|field| field.data_type().clone());
    let kinds: Vec<DataType> = kinds.collect();
    assert!(
        matches!(
            kinds[..],
            [
                DataType::Utf8,
                DataType::Timestamp(..),
                DataType::Float64,
                DataType::Boolean
            ]
        ),
        "{kinds:?}"
    );
}

#[tokio::test]
async fn a_source_that_changed_is_named_with_view_and_column() {
    let (repo, store) = store().await;
    let rows = || {
        entities(vec![
            ("acct_id", numbers(&[1])),
            ("event_timestamp", at_ten(&[0])),
        ])
    };
    let write = |columns: Vec<(&str, ArrayRef)>| {
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let file = fs_err::File::create(repo.path("data/pit_b.parquet")).unwrap();
        let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    };
    write(vec![
        ("acct_id", numbers(&[1])),
        ("event_ts", at_ten(&[0])),
        ("b2", numbers(&[1])),
    ]);
    let (code, message) = told(&store, features(&["pit_b:b1"]), rows()).await;
    assert_eq!(code, "feature_source_column_missing");
    assert!(
        message.contains("of feature view `pit_b` has no column `b1`"),
        "{message}"
    );
    let text: ArrayRef = Arc::new(StringArray::from(vec!["much"]));
    write(vec![
        ("acct_id", numbers(&[1])),
        ("event_ts", at_ten(&[0])),
        ("b1", text),
    ]);
    let (code, message) = told(&store, features(&["pit_b:b1"]), rows()).await;
    assert_eq!(code, "feature_source_type_mismatch");
    assert_eq!(
        message,
        "column `b1` of feature view `pit_b` has a value that cannot become DOUBLE"
    );
}

#[test]
fn bodies_are_read_within_their_limits() {
    let batch = RecordBatch::try_from_iter([("acct_id", numbers(&[1, 2, 3]))]).unwrap();
    let mut arrow = Vec::new();
    let mut writer =
        arrow::ipc::writer::StreamWriter::try_new(&mut arrow, &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    let mut parquet = Vec::new();
    let mut writer =
        parquet::arrow::ArrowWriter::try_new(&mut parquet, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    for max_rows in [2, 3] {
        let bodies = [
            Entities::of_arrow_body(arrow.clone().into(), max_rows, 1 << 20),
            Entities::of_parquet_body(parquet.clone().into(), max_rows, 1 << 20),
        ];
        for body in bodies {
            match max_rows {
                3 => assert_eq!(body.unwrap().n_rows(), 3),
                _ => assert_eq!(body.unwrap_err().code(), "entity_rows_too_many"),
            }
        }
    }
    let small = Entities::of_arrow_body(arrow.clone().into(), 3, 1).unwrap_err();
    assert_eq!(small.code(), "entity_rows_malformed");
    for length in 0..arrow.len() - 8 {
        let cut = arrow[..length].to_vec();
        // Between two messages a stream may end.
        let is_short = match Entities::of_arrow_body(cut.into(), 3, 1 << 20) {
            Ok(rows) => rows.n_rows() == 0,
            Err(_) => true,
        };
        assert!(is_short, "{length}");
    }
    for length in 0..parquet.len() {
        let cut = parquet[..length].to_vec();
        assert!(
            Entities::of_parquet_body(cut.into(), 3, 1 << 20).is_err(),
            "{length}"
        );
    }
}
