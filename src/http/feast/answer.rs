//! An answer as Feast's JSON, in one pass into one buffer. No I/O.

use super::text::{EPOCH, put_items, put_key, put_stored, put_text, put_timestamp, put_value};
use crate::features::InvalidValues;
use crate::features::retrieve::{Answer, EntityColumn, Error, FieldStatus, StoredColumn};

/// What was written, and what could not be.
pub(super) struct Written {
    pub(super) body: Vec<u8>,
    pub(super) n_invalid: usize,
    /// The first value whose bytes are none.
    pub(super) first_invalid: Option<Error>,
}

pub(super) fn write(
    answer: &Answer,
    with_versions: bool,
    invalid_values: InvalidValues,
) -> Result<Written, Error> {
    let mut writer = Writer::new(answer, invalid_values);
    writer.out.extend_from_slice(b"{\"results\":[");
    for (_, column) in answer.entities() {
        writer.begin_column();
        match column {
            EntityColumn::Keys(keys) => put_items(&mut writer.out, keys, put_key),
            EntityColumn::Values(values) => put_items(&mut writer.out, values, put_value),
        }
        writer.end_present();
    }
    for column in answer.stored() {
        writer.stored(&column)?;
    }
    for (_, values) in answer.computed() {
        writer.begin_column();
        put_items(&mut writer.out, values, put_value);
        writer.end_present();
    }
    writer
        .out
        .extend_from_slice(b"],\"metadata\":{\"feature_names\":[");
    let entities = answer.entities().map(|(name, _)| name);
    let stored = answer.stored().map(|column| column.name);
    let computed = answer.computed().map(|(name, _)| name);
    for (i, name) in entities.chain(stored).chain(computed).enumerate() {
        if i > 0 {
            writer.out.push(b',');
        }
        put_text(&mut writer.out, name);
    }
    writer.out.push(b']');
    if with_versions {
        writer.versions();
    }
    writer.out.extend_from_slice(b"}}");
    Ok(writer.finish())
}

struct Writer<'a> {
    answer: &'a Answer,
    invalid_values: InvalidValues,
    out: Vec<u8>,
    /// What is the same in many columns is written once: `PRESENT` in every row, the epoch in every row, and the event
    /// timestamps of each view.
    present: Vec<u8>,
    epochs: Vec<u8>,
    times: Vec<Vec<u8>>,
    statuses: Vec<FieldStatus>,
    n_invalid: usize,
    first_invalid: Option<Error>,
}

impl<'a> Writer<'a> {
    fn new(answer: &'a Answer, invalid_values: InvalidValues) -> Self {
        let n_rows = answer.n_rows();
        // A number, a status and a timestamp take about so many bytes.
        let size = 128 + answer.n_columns() * (64 + n_rows * 48);
        Self {
            answer,
            invalid_values,
            out: Vec::with_capacity(size),
            present: repeated(b"\"PRESENT\"", n_rows),
            epochs: repeated(EPOCH, n_rows),
            times: Vec::new(),
            statuses: Vec::with_capacity(n_rows),
            n_invalid: 0,
            first_invalid: None,
        }
    }

    fn begin_column(&mut self) {
        if self.out.last() == Some(&b'}') {
            self.out.push(b',');
        }
        self.out.extend_from_slice(b"{\"values\":");
    }

    /// The end of a column of which every value is present, at the epoch.
    fn end_present(&mut self) {
        self.out.extend_from_slice(b",\"statuses\":");
        self.out.extend_from_slice(&self.present);
        if self.answer.n_rows() > 0 {
            self.out.extend_from_slice(b",\"event_timestamps\":");
            self.out.extend_from_slice(&self.epochs);
        }
        self.out.push(b'}');
    }

    fn stored(&mut self, column: &StoredColumn<'_>) -> Result<(), Error> {
        self.begin_column();
        self.statuses.clear();
        let mut all_present = true;
        self.out.push(b'[');
        for row in 0..self.answer.n_rows() {
            if row > 0 {
                self.out.push(b',');
            }
            let cell = column.cell(row);
            let mut status = cell.status;
            if put_stored(&mut self.out, cell.bytes).is_err() {
                status = self.invalid(column.invalid(row))?;
            }
            all_present &= status == FieldStatus::Present;
            self.statuses.push(status);
        }
        self.out.extend_from_slice(b"],\"statuses\":");
        if all_present {
            self.out.extend_from_slice(&self.present);
        } else {
            put_items(&mut self.out, &self.statuses, |out, status| {
                out.push(b'"');
                out.extend_from_slice(status.name().as_bytes());
                out.push(b'"');
            });
        }
        self.out.extend_from_slice(b",\"event_timestamps\":");
        self.put_times(column);
        self.out.push(b'}');
        Ok(())
    }

    /// A value whose bytes are none.
    #[cold]
    fn invalid(&mut self, error: Error) -> Result<FieldStatus, Error> {
        match self.invalid_values {
            InvalidValues::Error => Err(error),
            InvalidValues::Null => {
                self.out.extend_from_slice(b"null");
                self.n_invalid += 1;
                self.first_invalid.get_or_insert(error);
                Ok(FieldStatus::Invalid)
            }
        }
    }

    fn put_times(&mut self, column: &StoredColumn<'_>) {
        if self.times.len() <= column.view {
            self.times.resize_with(column.view + 1, Vec::new);
        }
        let times = &mut self.times[column.view];
        if times.is_empty() {
            times.push(b'[');
            for row in 0..self.answer.n_rows() {
                if row > 0 {
                    times.push(b',');
                }
                put_timestamp(times, column.event_timestamp(row));
            }
            times.push(b']');
        }
        self.out.extend_from_slice(times);
    }

    fn versions(&mut self) {
        if self.answer.views().next().is_none() {
            return;
        }
        self.out.extend_from_slice(b",\"feature_view_metadata\":[");
        for (i, (name, version)) in self.answer.views().enumerate() {
            self.out
                .extend_from_slice(if i > 0 { b",{\"name\":" } else { b"{\"name\":" });
            put_text(&mut self.out, name);
            if version > 0 {
                self.out
                    .extend_from_slice(format!(",\"version\":{version}").as_bytes());
            }
            self.out.push(b'}');
        }
        self.out.push(b']');
    }

    fn finish(self) -> Written {
        Written {
            body: self.out,
            n_invalid: self.n_invalid,
            first_invalid: self.first_invalid,
        }
    }
}

/// A JSON array of `n` times the same.
fn repeated(item: &[u8], n: usize) -> Vec<u8> {
    let mut array = Vec::with_capacity(2 + n * (item.len() + 1));
    array.push(b'[');
    for i in 0..n {
        if i > 0 {
            array.push(b',');
        }
        array.extend_from_slice(item);
    }
    array.push(b']');
    array
}
