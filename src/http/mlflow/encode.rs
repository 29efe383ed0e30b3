//! A prediction as MLflow's scoring server answers it. No I/O.
//!
//! Arrays are answered whole, by output name. A table is answered row by row, and there MLflow flattens each output into
//! a column: `[N]` and `[N, 1]` give one value per row, but a wider output gives more rows than were asked for, or fails
//! beside one that is not. Such an output is one list per row here, unless `strict` asks for what MLflow does.
//! NaN and infinities are written bare, as Python reads and writes them; JSON itself has no such numbers.

use half::{bf16, f16};

use super::failure::Refusal;
use crate::types::prediction::{Layout, NamedOutput, Prediction};
use crate::types::tensor::{Output, Tensor, with_array};

pub(super) fn answer(prediction: &Prediction, strict: bool) -> Result<Vec<u8>, Refusal> {
    let mut out = Vec::with_capacity(256);
    out.extend_from_slice(b"{\"predictions\": ");
    match prediction.layout {
        Layout::Arrays => arrays(&prediction.outputs, &mut out),
        Layout::Table => table(&prediction.outputs, prediction.n_rows, strict, &mut out)?,
    }
    out.push(b'}');
    Ok(out)
}

fn arrays(outputs: &[NamedOutput], out: &mut Vec<u8>) {
    let mut separator = b'{';
    for named in outputs {
        out.push(separator);
        separator = b',';
        text(&named.name, out);
        out.push(b':');
        match &named.output {
            Output::Maps(rows) => list(rows.iter(), out, |row, out| map(row, out)),
            Output::Tensor(tensor) => Column::whole(tensor).write(0, out),
        }
    }
    if separator == b'{' {
        out.push(b'{');
    }
    out.push(b'}');
}

fn table(
    outputs: &[NamedOutput],
    n_rows: usize,
    strict: bool,
    out: &mut Vec<u8>,
) -> Result<(), Refusal> {
    let by_row = !strict
        && outputs
            .iter()
            .all(|named| named.output.n_rows() == Some(n_rows));
    let mut columns = Vec::with_capacity(outputs.len());
    for named in outputs {
        let mut key = Vec::with_capacity(named.name.len() + 3);
        text(&named.name, &mut key);
        key.push(b':');
        let cells = match &named.output {
            Output::Maps(rows) => Cells::Maps(rows),
            Output::Tensor(tensor) if by_row => Cells::Tensor(Column::by_row(tensor)),
            Output::Tensor(tensor) => Cells::Tensor(Column::flat(tensor)),
        };
        columns.push((key, cells));
    }
    let n_items = match columns.first() {
        Some((_, cells)) => cells.len(),
        None => 0,
    };
    if columns.iter().any(|(_, cells)| cells.len() != n_items) {
        return Err(Refusal::bad_request(
            "Encountered an unexpected error while evaluating the model. All arrays must be of the same length: MLflow flattens every output into a column (without `http.mlflow.strict` each row has a list)",
        ));
    }
    list(0..n_items, out, |row, out| {
        let mut separator = b'{';
        for (key, cells) in &columns {
            out.push(separator);
            separator = b',';
            out.extend_from_slice(key);
            match cells {
                Cells::Maps(rows) => map(&rows[row], out),
                Cells::Tensor(column) => column.write(row, out),
            }
        }
        out.push(b'}');
    });
    Ok(())
}

/// One output as the column of a table.
enum Cells<'a> {
    Maps(&'a [Vec<(String, f64)>]),
    Tensor(Column<'a>),
}

impl Cells<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Maps(rows) => rows.len(),
            Self::Tensor(column) => column.n_items,
        }
    }
}

/// A tensor cut into items of one shape.
struct Column<'a> {
    tensor: &'a Tensor,
    n_items: usize,
    /// The shape of an item; empty for a single value.
    item: &'a [usize],
}

impl<'a> Column<'a> {
    /// The whole tensor as the only item.
    fn whole(tensor: &'a Tensor) -> Self {
        Self {
            tensor,
            n_items: 1,
            item: tensor.shape(),
        }
    }

    /// Each element is an item.
    fn flat(tensor: &'a Tensor) -> Self {
        Self {
            tensor,
            n_items: tensor.len(),
            item: &[],
        }
    }

    /// Each row is an item; one of a single element is that element.
    fn by_row(tensor: &'a Tensor) -> Self {
        let (n_items, item) = match tensor.shape() {
            [n_rows, item @ ..] => (*n_rows, item),
            [] => (1, &[][..]),
        };
        let is_single = item.iter().product::<usize>() == 1;
        Self {
            tensor,
            n_items,
            item: if is_single { &[] } else { item },
        }
    }

    fn write(&self, index: usize, out: &mut Vec<u8>) {
        let width: usize = self.item.iter().product();
        with_array!(self.tensor, array => match array.as_slice() {
            Some(elements) => nested(&elements[index * width..(index + 1) * width], self.item, out),
            // Engines give row-major arrays; another layout is copied into it first.
            None => {
                let array = array.as_standard_layout();
                let elements = array.as_slice().unwrap_or_default();
                nested(&elements[index * width..(index + 1) * width], self.item, out);
            }
        });
    }
}

/// Row-major elements as nested lists of the given shape.
fn nested<T: Json>(elements: &[T], shape: &[usize], out: &mut Vec<u8>) {
    match shape {
        [] => match elements {
            [only, ..] => only.json(out),
            [] => out.extend_from_slice(b"null"),
        },
        [_] => list(elements.iter(), out, |element, out| element.json(out)),
        [n, inner @ ..] => {
            let width: usize = inner.iter().product();
            list(0..*n, out, |i, out| {
                nested(&elements[i * width..(i + 1) * width], inner, out);
            });
        }
    }
}

fn list<T>(items: impl Iterator<Item = T>, out: &mut Vec<u8>, write: impl Fn(T, &mut Vec<u8>)) {
    out.push(b'[');
    for (place, item) in items.enumerate() {
        if place > 0 {
            out.push(b',');
        }
        write(item, out);
    }
    out.push(b']');
}

fn map(entries: &[(String, f64)], out: &mut Vec<u8>) {
    out.push(b'{');
    for (place, (key, value)) in entries.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        text(key, out);
        out.push(b':');
        value.json(out);
    }
    out.push(b'}');
}

fn text(text: &str, out: &mut Vec<u8>) {
    plain(&text, out);
}

/// Writing into memory fails only for values that JSON has not, of which none comes here.
fn plain<T: serde::Serialize>(value: &T, out: &mut Vec<u8>) {
    let written = serde_json::to_writer(&mut *out, value);
    debug_assert!(written.is_ok());
}

/// An element as MLflow writes it.
trait Json {
    fn json(&self, out: &mut Vec<u8>);
}

impl Json for f64 {
    fn json(&self, out: &mut Vec<u8>) {
        if self.is_finite() {
            plain(self, out);
        } else if self.is_nan() {
            out.extend_from_slice(b"NaN");
        } else if *self > 0.0 {
            out.extend_from_slice(b"Infinity");
        } else {
            out.extend_from_slice(b"-Infinity");
        }
    }
}

impl Json for f32 {
    fn json(&self, out: &mut Vec<u8>) {
        f64::from(*self).json(out);
    }
}

impl Json for f16 {
    fn json(&self, out: &mut Vec<u8>) {
        self.to_f64().json(out);
    }
}

impl Json for bf16 {
    fn json(&self, out: &mut Vec<u8>) {
        self.to_f64().json(out);
    }
}

macro_rules! plain_elements {
    ($($type:ty),*) => {
        $(impl Json for $type {
            fn json(&self, out: &mut Vec<u8>) {
                plain(self, out);
            }
        })*
    };
}

plain_elements!(bool, i8, i16, i32, i64, u8, u16, u32, u64, String);

#[cfg(test)]
mod tests {
    use ndarray::{ArrayD, IxDyn};

    use super::*;

    fn floats(shape: &[usize]) -> Output {
        let n = u16::try_from(shape.iter().product::<usize>()).unwrap();
        let values = (0..n).map(f32::from).collect();
        Output::Tensor(Tensor::Float32(
            ArrayD::from_shape_vec(IxDyn(shape), values).unwrap(),
        ))
    }

    fn rows(outputs: &[(&str, Output)], n_rows: usize, strict: bool) -> Result<String, String> {
        let outputs: Vec<NamedOutput> = named(outputs);
        let mut out = Vec::new();
        table(&outputs, n_rows, strict, &mut out).map_err(|error| error.message().to_owned())?;
        Ok(String::from_utf8(out).unwrap())
    }

    fn named(outputs: &[(&str, Output)]) -> Vec<NamedOutput> {
        let outputs = outputs.iter().map(|(name, output)| NamedOutput {
            name: (*name).into(),
            output: output.clone(),
        });
        outputs.collect()
    }

    #[test]
    fn a_table_has_a_value_per_row() {
        let maps = Output::Maps(vec![vec![("0".into(), 0.5)], vec![("0".into(), 1.5)]]);
        for (output, wanted) in [
            (floats(&[2]), r#"[{"y":0.0},{"y":1.0}]"#),
            (floats(&[2, 1]), r#"[{"y":0.0},{"y":1.0}]"#),
            (floats(&[2, 1, 1]), r#"[{"y":0.0},{"y":1.0}]"#),
            (maps, r#"[{"y":{"0":0.5}},{"y":{"0":1.5}}]"#),
        ] {
            for strict in [false, true] {
                assert_eq!(rows(&[("y", output.clone())], 2, strict).unwrap(), wanted);
            }
        }
        assert_eq!(rows(&[("y", floats(&[0, 2]))], 0, false).unwrap(), "[]");
    }

    #[test]
    fn a_wide_output_is_a_list_per_row_and_strictly_more_rows() {
        let wide = [("y", floats(&[2, 2]))];
        assert_eq!(
            rows(&wide, 2, false).unwrap(),
            r#"[{"y":[0.0,1.0]},{"y":[2.0,3.0]}]"#
        );
        assert_eq!(
            rows(&wide, 2, true).unwrap(),
            r#"[{"y":0.0},{"y":1.0},{"y":2.0},{"y":3.0}]"#
        );
    }

    #[test]
    fn outputs_of_unequal_length_are_refused_only_strictly() {
        let both = [("a", floats(&[1])), ("b", floats(&[1, 2]))];
        assert_eq!(
            rows(&both, 1, false).unwrap(),
            r#"[{"a":0.0,"b":[0.0,1.0]}]"#
        );
        let refusal = rows(&both, 1, true).unwrap_err();
        assert!(
            refusal.contains("All arrays must be of the same length"),
            "{refusal}"
        );
    }

    #[test]
    fn an_output_that_is_not_by_row_is_answered_as_mlflow_answers_it() {
        assert_eq!(
            rows(&[("sum", floats(&[]))], 3, false).unwrap(),
            r#"[{"sum":0.0}]"#
        );
        assert_eq!(
            rows(&[("y", floats(&[2]))], 1, false).unwrap(),
            r#"[{"y":0.0},{"y":1.0}]"#
        );
    }

    #[test]
    fn arrays_keep_their_shape() {
        let mut out = Vec::new();
        arrays(
            &named(&[
                ("a", floats(&[2, 1])),
                ("b", floats(&[1, 2, 2])),
                ("c", floats(&[])),
            ]),
            &mut out,
        );
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"a":[[0.0],[1.0]],"b":[[[0.0,1.0],[2.0,3.0]]],"c":0.0}"#
        );
    }

    #[test]
    fn numbers_that_json_has_not_are_bare() {
        let values = vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.5];
        let tensor = Tensor::Float64(ArrayD::from_shape_vec(IxDyn(&[4]), values).unwrap());
        let mut out = Vec::new();
        Column::whole(&tensor).write(0, &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "[NaN,Infinity,-Infinity,0.5]"
        );
    }
}
