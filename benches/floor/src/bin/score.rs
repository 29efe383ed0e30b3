//! The floor of batch scoring: the columns of a Parquet file as they are, and `session.run` over them in batches of one size. A
//! session on each core, each with row groups to itself. No checks, no result file, no audit; what is wrong panics.
//!
//! `score MODEL LIBRARY ROWS BATCH_ROWS`: the model's ONNX file (one input, a column of the file for each of its columns), ONNX
//! Runtime's library, the Parquet file. Prints the seconds that it took, and the sum of each row's last number in the last output.

use std::error::Error;
use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Float32Type;
use ort::environment::Environment;
use ort::session::Session;
use ort::value::TensorRef;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Box<dyn Error>> {
    let [model, library, rows, batch_rows] =
        <[String; 4]>::try_from(std::env::args().skip(1).collect::<Vec<_>>())
            .map_err(|_| "usage: score MODEL LIBRARY ROWS BATCH_ROWS")?;
    let batch_rows: usize = batch_rows.parse()?;
    let environment = ort::init_from(library)?.build()?;
    let started = Instant::now();
    let metadata = ArrowReaderMetadata::load(&File::open(&rows)?, ArrowReaderOptions::new())?;
    let n_groups = metadata.metadata().num_row_groups();
    let next = AtomicUsize::new(0);
    let sum: f64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..std::thread::available_parallelism().map_or(1, usize::from))
            .map(|_| {
                scope.spawn(|| {
                    let mut session = session(&environment, Path::new(&model)).expect("a session");
                    let mut sum = 0.0;
                    loop {
                        let group = next.fetch_add(1, Ordering::Relaxed);
                        if group >= n_groups {
                            return sum;
                        }
                        sum += row_group(&mut session, &rows, &metadata, group, batch_rows)
                            .expect("a row group");
                    }
                })
            })
            .collect();
        let sums = threads
            .into_iter()
            .map(|thread| thread.join().expect("a thread"));
        sums.sum()
    });
    println!("{:.6} {sum}", started.elapsed().as_secs_f64());
    Ok(())
}

fn session(environment: &Environment, model: &Path) -> ort::Result<Session> {
    Session::builder(environment)?
        .with_intra_threads(1)?
        .with_inter_threads(1)?
        .commit_from_file(model)
}

fn row_group(
    session: &mut Session,
    rows: &str,
    metadata: &ArrowReaderMetadata,
    group: usize,
    batch_rows: usize,
) -> Result<f64, Box<dyn Error>> {
    let reader =
        ParquetRecordBatchReaderBuilder::new_with_metadata(File::open(rows)?, metadata.clone())
            .with_row_groups(vec![group])
            .with_batch_size(batch_rows)
            .build()?;
    let mut matrix = Vec::new();
    let mut sum = 0.0;
    for batch in reader {
        let batch = batch?;
        fill(&mut matrix, &batch);
        let shape = [batch.num_rows(), batch.num_columns()];
        let input = TensorRef::from_array_view((shape, matrix.as_slice()))?;
        let outputs = session.run(ort::inputs![input])?;
        let (_, scores) = outputs[outputs.len() - 1].try_extract_tensor::<f32>()?;
        let rows = scores.chunks_exact(scores.len() / batch.num_rows());
        sum += rows.map(|row| f64::from(row[row.len() - 1])).sum::<f64>();
    }
    Ok(sum)
}

/// Columns to rows.
fn fill(matrix: &mut Vec<f32>, batch: &RecordBatch) {
    let n_columns = batch.num_columns();
    matrix.clear();
    matrix.resize(batch.num_rows() * n_columns, 0.0);
    for (place, column) in batch.columns().iter().enumerate() {
        let values = column.as_primitive::<Float32Type>().values();
        for (row, value) in values.iter().enumerate() {
            matrix[row * n_columns + place] = *value;
        }
    }
}
