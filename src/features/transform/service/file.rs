//! Columns to an Arrow IPC file and back.

use std::io::Cursor;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::compute::concat_batches;
use arrow::datatypes::{Field as ArrowField, Schema};
use arrow::error::ArrowError;
use arrow::ipc::reader::FileReader;
use arrow::ipc::writer::FileWriter;

use crate::features::arrays;
use crate::features::columns::Columns;
use crate::features::definitions::Field;
use crate::features::transform::Error;

/// The columns that are named, in one batch.
pub(super) fn encode(view: &str, fields: &[Field], input: &Columns) -> Result<Vec<u8>, Error> {
    let mut schema = Vec::with_capacity(fields.len());
    let mut columns = Vec::with_capacity(fields.len());
    let failed = |error: ArrowError| Error::Value {
        view: view.to_owned(),
        reason: error.to_string(),
    };
    for field in fields {
        let Some(column) = input.get(&field.name) else {
            return Err(Error::MissingInput {
                view: view.to_owned(),
                column: field.name.clone(),
            });
        };
        if arrays::data_type(column.value_type).is_none() {
            continue;
        }
        let array = arrays::array(column).map_err(failed)?;
        schema.push(ArrowField::new(
            &field.name,
            array.data_type().clone(),
            true,
        ));
        columns.push(array);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(input.n_rows));
    let schema = Arc::new(Schema::new(schema));
    let batch = RecordBatch::try_new_with_options(schema.clone(), columns, &options);
    let written = batch.and_then(|batch| {
        let mut writer = FileWriter::try_new(Vec::new(), &schema)?;
        writer.write(&batch)?;
        writer.into_inner()
    });
    written.map_err(failed)
}

/// All batches of the file as one.
pub(super) fn decode(bytes: &[u8]) -> Result<RecordBatch, ArrowError> {
    let reader = FileReader::try_new(Cursor::new(bytes), None)?;
    let schema = reader.schema();
    let batches = reader.collect::<Result<Vec<_>, _>>()?;
    concat_batches(&schema, &batches)
}
