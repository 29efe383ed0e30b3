//! Columns from the command line: `driver_id=1001,1002` becomes a JSON column.

use serde_json::{Map, Value};

use super::Failed;

/// `NAME=VALUE[,VALUE...]` into a column: numbers, `true`, `false` and `null` as in JSON, anything else as text.
pub(super) fn columns(arguments: &[String]) -> Result<Map<String, Value>, Failed> {
    let mut columns = Map::new();
    for argument in arguments {
        let Some((name, values)) = argument.split_once('=') else {
            return Err(Failed::Start(format!(
                "`{argument}` is not a column; write `name=value` or `name=value,value`"
            )));
        };
        // As in a body, one value counts for every row.
        let column = match values.contains(',') {
            true => Value::Array(values.split(',').map(value).collect()),
            false => value(values),
        };
        if columns.insert(name.to_owned(), column).is_some() {
            return Err(Failed::Start(format!("column `{name}` is given twice")));
        }
    }
    Ok(columns)
}

fn value(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(value @ (Value::Number(_) | Value::Bool(_) | Value::Null | Value::String(_))) => value,
        _ => Value::String(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_reads_as_json_where_it_can() {
        let Ok(columns) = columns(&[
            "a=1,2.5".to_owned(),
            "b=x,null".to_owned(),
            "c=3".to_owned(),
        ]) else {
            panic!("refused")
        };
        assert_eq!(
            Value::Object(columns).to_string(),
            r#"{"a":[1,2.5],"b":["x",null],"c":3}"#
        );
    }
}
