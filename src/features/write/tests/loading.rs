//! Files as frames.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, Decimal128Array, Float32Array, Int32Array, ListArray, RecordBatch,
    StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::Int64Type;

use super::super::load::{CsvFrames, from_arrow, from_json, from_json_lines};
use super::*;

fn column(frame: &Frame, name: &str) -> Json {
    Json::Array(frame.column(name).unwrap().to_vec())
}

#[test]
fn json_comes_as_rows_lines_or_columns() {
    let columns = from_json(br#"{"a": [1, null], "b": ["x", "y"]}"#).unwrap();
    for text in [
        r#"[{"a": 1, "b": "x"}, {"b": "y"}]"#,
        r#"{"df": {"a": [1, null], "b": ["x", "y"]}, "push_source_name": "p"}"#,
    ] {
        assert_eq!(from_json(text.as_bytes()).unwrap(), columns);
    }
    let lines = from_json_lines(b"{\"a\": 1, \"b\": \"x\"}\n{\"b\": \"y\"}\n").unwrap();
    assert_eq!(lines, columns);
    for (text, message) in [
        ("{", "not JSON"),
        (
            "7",
            "neither a list of rows nor an object of columns; it is a single value",
        ),
        (
            "[7]",
            "neither a list of rows nor an object of columns; row 0 is no object",
        ),
        (
            r#"{"a": 7}"#,
            "neither a list of rows nor an object of columns; column `a` is no list",
        ),
    ] {
        assert_eq!(from_json(text.as_bytes()).unwrap_err().to_string(), message);
    }
}

#[tokio::test]
async fn csv_cells_are_read_by_what_their_columns_are_for() {
    let repo = TestRepo::ride_ops();
    let store = repo.open().await;
    let types = store.push_columns("driver_live_push").unwrap();
    let text = "driver_id,event_ts,created_ts,speed,zone,hits\n\
                1,2024-03-05T10:00:00Z,1709856000000000000,1.5,007,3\n\
                2,2024-03-05T11:00:00Z,1709856000000000001,,\"a,\"\"b\",x\n\
                3,2024-03-05T12:00:00Z,1709856000000000002,2,,4\n";
    let frames = CsvFrames::new(text.as_bytes(), &types, 2).unwrap();
    let frames: Vec<Frame> = frames.map(Result::unwrap).collect();
    assert_eq!(frames.len(), 2);
    assert_eq!(column(&frames[0], "zone"), json!(["007", "a,\"b"]));
    assert_eq!(column(&frames[0], "speed"), json!([1.5, null]));
    assert_eq!(column(&frames[0], "hits"), json!([3, "x"]));
    assert_eq!(
        column(&frames[0], "created_ts")[0],
        1_709_856_000_000_000_000_i64
    );
    assert_eq!(
        column(&frames[1], "event_ts"),
        json!(["2024-03-05T12:00:00Z"])
    );
    assert_eq!(frames[1].n_rows().unwrap(), 1);
    let uneven = CsvFrames::new("a,b\n1\n".as_bytes(), &types, 2).unwrap();
    assert_eq!(
        uneven.map(Result::unwrap_err).next().unwrap().to_string(),
        "not CSV"
    );
}

#[tokio::test]
async fn parquet_columns_push_like_the_same_json() {
    let repo = TestRepo::ride_ops();
    let store = repo.open().await;
    let micros = TimestampMicrosecondArray::from(vec![1_709_632_800_250_000]);
    let batch = RecordBatch::try_from_iter([
        ("driver_id", Arc::new(Int32Array::from(vec![7])) as ArrayRef),
        (
            "event_ts",
            Arc::new(micros.clone().with_timezone("UTC")) as ArrayRef,
        ),
        ("created_ts", Arc::new(micros.clone()) as ArrayRef),
        ("f32", Arc::new(Float32Array::from(vec![0.1])) as ArrayRef),
        (
            "f64",
            Arc::new(
                Decimal128Array::from(vec![150])
                    .with_precision_and_scale(5, 2)
                    .unwrap(),
            ),
        ),
        ("i64", Arc::new(Int32Array::from(vec![3]))),
        ("i32", Arc::new(Int32Array::from(vec![4]))),
        (
            "flag",
            Arc::new(arrow::array::BooleanArray::from(vec![true])),
        ),
        ("label", Arc::new(StringArray::from(vec!["w"]))),
        ("blob", Arc::new(BinaryArray::from(vec![&[0_u8, 255][..]]))),
        ("seen_at", Arc::new(micros)),
    ])
    .unwrap();
    let types = store.write_columns("driver_scalars").unwrap();
    let frame = from_arrow(&batch, &types).unwrap();
    assert_eq!(
        column(&frame, "event_ts"),
        json!(["2024-03-05T10:00:00.250000000Z"])
    );
    store
        .write_to_online_store("driver_scalars", frame)
        .await
        .unwrap();
    let cells = stored(&repo, "driver_scalars", &driver(7)).await;
    assert_eq!(cells["f32"].0, "35cdcccc3d");
    assert_eq!(cells["f64"].1, "1.5");
    assert_eq!(cells["blob"].0, "0a0200ff");
    assert_eq!(cells["seen_at"].0, "40a0da9baf06");
    assert_eq!(cells["i64"].2, 1_709_632_800);
}

#[tokio::test]
async fn lists_keep_their_items() {
    let repo = TestRepo::ride_ops();
    let store = repo.open().await;
    let lists = ListArray::from_iter_primitive::<Int64Type, _, _>([
        Some(vec![Some(1), None]),
        None,
        Some(vec![]),
    ]);
    let batch = RecordBatch::try_from_iter([("l_i64", Arc::new(lists) as ArrayRef)]).unwrap();
    let types = store.write_columns("driver_lists").unwrap();
    let frame = from_arrow(&batch.slice(0, 3), &types).unwrap();
    assert_eq!(column(&frame, "l_i64"), json!([[1, null], null, []]));
    let sliced = from_arrow(&batch.slice(1, 2), &types).unwrap();
    assert_eq!(column(&sliced, "l_i64"), json!([null, []]));
}
