//! A CSV body into a frame of text, read as pandas reads it: the first line names the columns. No I/O.

use std::collections::{HashMap, HashSet};

use super::failure::Refusal;
use super::room::Room;
use crate::types::cell::Cell;
use crate::types::request::{Cells, ColumnPlace, RequestColumn};
use crate::types::scoring::{Frame, FrameSource};

/// Texts that mean that there is no value.
const MISSING: [&str; 18] = [
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN",
    "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan",
];

pub(super) fn frame(body: &[u8]) -> Result<Frame, Refusal> {
    if let Err(error) = std::str::from_utf8(body) {
        return Err(Refusal::bad_request(format!(
            "Invalid input. Ensure that input is a valid UTF-8 encoded string. Error: '{error}'"
        )));
    }
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(body);
    let names = names(reader.headers().map_err(|error| unreadable(&error))?);
    if names.is_empty() {
        return Err(unreadable(&"No columns to parse from file"));
    }
    let mut columns: Vec<Vec<Cell>> = vec![Vec::new(); names.len()];
    let room = Room::of(body);
    let mut n_rows = 0;
    for record in reader.records() {
        let record = record.map_err(|error| unreadable(&error))?;
        if record.len() > names.len() {
            return Err(unreadable(&format_args!(
                "Error tokenizing data. Expected {} fields in row {n_rows}, saw {}",
                names.len(),
                record.len()
            )));
        }
        room.check(n_rows + 1, names.len())?;
        for (place, column) in columns.iter_mut().enumerate() {
            column.push(match record.get(place) {
                Some(text) if !is_missing(text) => Cell::Text(text.to_owned()),
                _ => Cell::Null,
            });
        }
        n_rows += 1;
    }
    let columns = names
        .into_iter()
        .zip(columns)
        .map(|(name, cells)| RequestColumn {
            place: ColumnPlace::Rows,
            name,
            cells: Cells::List(cells),
        });
    Ok(Frame {
        columns: columns.collect(),
        n_rows,
        named: true,
        source: FrameSource::Csv,
    })
}

fn is_missing(text: &str) -> bool {
    MISSING.contains(&text) || text == "null"
}

/// A name that comes again gets a number, as pandas numbers it.
fn names(header: &csv::StringRecord) -> Vec<String> {
    let mut names: Vec<String> = Vec::with_capacity(header.len());
    let mut taken: HashSet<String> = HashSet::with_capacity(header.len());
    // The number that each name had last: all below it are taken for good.
    let mut numbers: HashMap<String, usize> = HashMap::new();
    for (place, text) in header.iter().enumerate() {
        let name = match text {
            "" => format!("Unnamed: {place}"),
            text => text.to_owned(),
        };
        let mut unique = name.clone();
        while !taken.insert(unique.clone()) {
            let n = numbers.entry(name.clone()).or_default();
            *n += 1;
            unique = format!("{name}.{n}");
        }
        names.push(unique);
    }
    names
}

fn unreadable(reason: &dyn std::fmt::Display) -> Refusal {
    Refusal::bad_request(format!(
        "Failed to parse input as a Pandas DataFrame. Ensure that the input is a valid CSV-formatted Pandas DataFrame produced using the `pandas.DataFrame.to_csv()` method. Error: '{reason}'"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(body: &str) -> Vec<(String, String)> {
        let frame = frame(body.as_bytes()).unwrap();
        let columns = frame.columns.into_iter();
        columns
            .map(|column| match column.cells {
                Cells::List(cells) => (column.name, serde_json::to_string(&cells).unwrap()),
                Cells::Scalar(cell) => panic!("{cell:?}"),
            })
            .collect()
    }

    #[test]
    fn cells_are_text_or_nothing() {
        for (body, wanted) in [
            (
                "a,b\n1,x\n\n2,\n",
                [("a", r#"["1","2"]"#), ("b", r#"["x",null]"#)],
            ),
            (
                "a,b\r\n\"1,5\",NA\r\n",
                [("a", r#"["1,5"]"#), ("b", "[null]")],
            ),
            ("a,a\n1,2\n", [("a", r#"["1"]"#), ("a.1", r#"["2"]"#)]),
            ("a,b\n1\n", [("a", r#"["1"]"#), ("b", "[null]")]),
            ("a,b\n", [("a", "[]"), ("b", "[]")]),
        ] {
            let wanted = wanted.map(|(name, cells)| (name.to_owned(), cells.to_owned()));
            assert_eq!(columns(body), wanted, "{body}");
        }
    }

    #[test]
    fn many_columns_of_one_name_are_numbered_in_no_time() {
        let header = vec!["a"; 50_000].join(",");
        let names = columns(&format!("{header}\n"));
        assert_eq!(names[49_999].0, "a.49999");
        let taken = columns("a.1,a,a,a,,\n").into_iter().map(|(name, _)| name);
        let wanted = ["a.1", "a", "a.2", "a.3", "Unnamed: 4", "Unnamed: 5"];
        assert_eq!(taken.collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn a_few_bytes_do_not_make_a_large_table() {
        let names: Vec<String> = (0..20_000).map(|n| n.to_string()).collect();
        let body = format!("{}\n{}", names.join(","), "1\n".repeat(20_000));
        let refusal = frame(body.as_bytes()).unwrap_err();
        assert!(refusal.message().contains("nulls"), "{refusal:?}");
    }

    #[test]
    fn what_is_no_table_is_refused() {
        for (body, part) in [
            (&b""[..], "No columns to parse"),
            (b"a\n1,2\n", "Expected 1 fields in row 0, saw 2"),
            (b"a\n\xff\n", "UTF-8"),
        ] {
            let refusal = frame(body).unwrap_err().message().to_owned();
            assert!(refusal.contains(part), "{refusal}");
        }
    }
}
