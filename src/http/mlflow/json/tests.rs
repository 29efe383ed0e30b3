//! Bodies decoded, and what is said of those that are none.

use super::*;

fn payload(body: &str) -> Payload {
    decode(body.as_bytes()).unwrap().payload
}

fn columns(payload: &Payload) -> Vec<(&str, String)> {
    let columns = match payload {
        Payload::Frame(frame) => &frame.columns,
        Payload::Named { columns, .. } => columns,
        other => panic!("{other:?}"),
    };
    let columns = columns.iter();
    columns
        .map(|column| match &column.cells {
            Cells::List(cells) => (&*column.name, serde_json::to_string(cells).unwrap()),
            Cells::Scalar(cell) => (&*column.name, serde_json::to_string(cell).unwrap()),
        })
        .collect()
}

#[test]
fn every_form_says_the_same_columns() {
    let wanted = [("a", "[1,2]".to_owned()), ("b", r#"["x",null]"#.to_owned())];
    for body in [
        r#"{"dataframe_split": {"columns": ["a", "b"], "index": [7, 8], "data": [[1, "x"], [2, null]]}}"#,
        r#"{"dataframe_split": {"data": [[1, "x"], [2, null]], "columns": ["a", "b"]}}"#,
        r#"{"dataframe_records": [{"a": 1, "b": "x"}, {"b": null, "a": 2}]}"#,
        r#"{"dataframe_records": [{"a": 1, "b": "x"}, {"a": 2}]}"#,
        r#"{"inputs": [{"a": 1, "b": "x"}, {"a": 2, "b": null}]}"#,
        r#"{"instances": [{"a": 1, "b": "x"}, {"a": 2, "b": null}]}"#,
        r#"{"inputs": {"a": [1, 2], "b": ["x", null]}}"#,
        r#"{"inputs": {"a": 9, "a": [1, 2], "b": ["x", null]}, "other": {"c": 1}}"#,
    ] {
        assert_eq!(columns(&payload(body)), wanted, "{body}");
    }
}

#[test]
fn a_column_that_comes_up_late_is_null_before() {
    let frame = payload(r#"{"dataframe_records": [{"a": 1}, {"b": 2}, {"a": 3}]}"#);
    let wanted = [
        ("a", "[1,null,3]".to_owned()),
        ("b", "[null,2,null]".to_owned()),
    ];
    assert_eq!(columns(&frame), wanted);
    // `instances` leave it to the model whether lengths may differ.
    let named = payload(r#"{"instances": [{"a": 1}, {"b": 2}, {"a": 3}]}"#);
    assert_eq!(columns(&named)[0], ("a", "[1,3]".to_owned()));
}

#[test]
fn a_frame_without_columns_is_named_by_place() {
    let Payload::Frame(frame) = payload(r#"{"dataframe_split": {"data": [[1, 2], [3]]}}"#) else {
        panic!("no frame");
    };
    assert!(!frame.named);
    let wanted = [("0", "[1,3]".to_owned()), ("1", "[2,null]".to_owned())];
    assert_eq!(columns(&Payload::Frame(frame)), wanted);
}

#[test]
fn lists_and_single_values_are_arrays() {
    for (body, wanted) in [
        (
            r#"{"inputs": [[1, 2.5], [true, "x"]]}"#,
            "[[1,2.5],[true,\"x\"]]",
        ),
        (r#"{"instances": 1.5}"#, "1.5"),
        (r#"{"inputs": []}"#, "[]"),
        (r#"{"inputs": [NaN, -Infinity]}"#, r#"["NaN","-Infinity"]"#),
    ] {
        let Payload::Array(cell) = payload(body) else {
            panic!("{body}");
        };
        assert_eq!(serde_json::to_string(&cell).unwrap(), wanted);
    }
}

#[test]
fn a_refusal_says_what_mlflow_says() {
    for (body, part) in [
        ("{}", "Received dictionary with input fields: []"),
        (
            r#"{"rows": []}"#,
            "Received dictionary with input fields: []",
        ),
        (
            r#"{"inputs": [1], "instances": [1]}"#,
            "Received dictionary with input fields: ['inputs', 'instances']",
        ),
        ("[[1]]", "Received a list."),
        ("3", "Received unexpected input type '<class 'int'>."),
        ("", "valid JSON formatted string"),
        (r#"{"inputs": [1,2"#, "valid JSON formatted string"),
        (
            r#"{"dataframe_split": [1]}"#,
            "must be a dictionary. Got list.",
        ),
        (
            r#"{"dataframe_split": {"columns": ["a"]}}"#,
            "Got {'columns'}.",
        ),
        (
            r#"{"dataframe_split": {"data": [], "foo": 1}}"#,
            "Got {'data', 'foo'}.",
        ),
        (
            r#"{"dataframe_split": {"columns": ["a", "b"], "data": [[1]]}}"#,
            "2 columns passed, passed data had 1 columns",
        ),
        (
            r#"{"dataframe_split": {"columns": ["a", "a"], "data": [[1, 2]]}}"#,
            "'a' is given twice",
        ),
        (
            r#"{"dataframe_records": {"a": 1}}"#,
            "list of records. Got dictionary.",
        ),
        (r#"{"dataframe_records": [1]}"#, "in 'records' format"),
        (r#"{"inputs": [{"a": 1}, 2]}"#, "`inputs` cannot be read"),
    ] {
        let refusal = decode(body.as_bytes()).unwrap_err().message().to_owned();
        assert!(refusal.contains(part), "{body}: {refusal}");
    }
}

#[test]
fn a_call_of_a_language_model_keeps_its_fields() {
    let body = r#"{"messages": [{"role": "user"}], "n": 1}"#;
    let wanted = Payload::Other(vec!["messages".to_owned(), "n".to_owned()]);
    assert_eq!(payload(body), wanted);
}

#[test]
fn a_few_bytes_do_not_make_a_large_table() {
    let fields: Vec<String> = (0..20_000).map(|n| format!("\"{n}\":1")).collect();
    let rows = ",{}".repeat(20_000);
    let records = format!("[{{{}}}{rows}]", fields.join(","));
    let names: Vec<String> = (0..20_000).map(|n| format!("\"{n}\"")).collect();
    let cells = vec!["1"; 20_000].join(",");
    let rows = ",[]".repeat(20_000);
    for body in [
        format!("{{\"dataframe_records\": {records}}}"),
        format!("{{\"inputs\": {records}}}"),
        format!(
            "{{\"dataframe_split\": {{\"columns\": [{}], \"data\": [[{cells}]{rows}]}}}}",
            names.join(",")
        ),
    ] {
        let refusal = decode(body.as_bytes()).unwrap_err();
        assert!(refusal.message().contains("nulls"), "{refusal:?}");
    }
    // Nothing is filled up here.
    assert!(decode(format!("{{\"instances\": {records}}}").as_bytes()).is_ok());
}
