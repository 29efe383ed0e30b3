//! Whether calls on a model may be merged, tried out when a version loads.
//!
//! The graph must take and give any number of rows on the first axis of every input and output. Then some rows, made
//! from the warm-up's, are run alone and in merged runs of several sizes, and the results compared bit for bit. That
//! finds the two things that a graph does not tell: that rows influence each other (a mean over the batch), after which
//! merging is out of the question, and that a kernel rounds otherwise for several rows than for one, as matrix products
//! do on some processors. It is a trial, not a proof.
//! Not here: how calls are merged (`batcher`).

use std::time::Duration;

use half::{bf16, f16};

use super::Error;
use super::batcher::{Mode, join_rows, part, split_rows};
use super::estimate::WarmRun;
use super::pool::Lease;
use crate::types::deadline::Deadline;
use crate::types::signature::{Graph, OutputKind};
use crate::types::tensor::{Element, Output, Tensor};

/// Rows that are tried, and of a slow model.
const N_ROWS: usize = 32;
const N_ROWS_SLOW: usize = 4;
/// A model whose warm-up run takes longer is slow.
const SLOW: Duration = Duration::from_millis(10);
/// Bounds a single run. Not a matter of configuration: nobody waits for it.
const LIMIT: Duration = Duration::from_secs(600);

/// What merged runs of a model give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Merging {
    /// Each row comes out bit for bit as alone.
    Exact,
    /// Rows come out rounded otherwise than alone.
    Rounded,
    /// Something else than the rows alone give, or nothing.
    Impossible(String),
    /// The version was not warmed up, or its warm-up's inputs do not serve for a trial.
    Untried,
}

impl Merging {
    /// As far as the graph tells.
    pub(super) fn of_graph(graph: &Graph) -> Self {
        let free = |shape: &[i64]| shape.first() == Some(&-1);
        for input in &graph.inputs {
            if !free(&input.shape) {
                let name = input.name.as_deref().unwrap_or_default();
                return Self::Impossible(format!(
                    "the graph fixes the first dimension of its input `{name}`"
                ));
            }
        }
        for output in &graph.outputs {
            match &output.kind {
                OutputKind::Tensor { shape, .. } if !free(shape) => {
                    return Self::Impossible(format!(
                        "the output `{}` has not one row for each row of the inputs",
                        output.name
                    ));
                }
                OutputKind::Tensor { .. } | OutputKind::Maps => {}
            }
        }
        match graph.inputs.is_empty() {
            true => Self::Impossible("the graph has no inputs".to_owned()),
            false => Self::Untried,
        }
    }

    /// Why calls are not merged under `mode`; absent if they are.
    pub(super) fn obstacle(&self, mode: Mode) -> Option<String> {
        if mode == Mode::Off {
            return Some("`batching.mode` is `off`".to_owned());
        }
        match (self, mode) {
            (Self::Impossible(reason), _) => Some(reason.clone()),
            (Self::Rounded, Mode::Exact) => Some(
                "rows come out rounded otherwise in a merged run than alone; `batching.mode = \"always\"` merges them all the same"
                    .to_owned(),
            ),
            (Self::Untried, Mode::Exact) => Some(
                "it was not tried out whether rows come out the same in a merged run, for want of inputs that the model takes"
                    .to_owned(),
            ),
            (Self::Exact | Self::Rounded | Self::Untried, _) => None,
        }
    }
}

/// What a trial found.
pub(super) struct Trial {
    pub(super) merging: Merging,
    /// Inputs of the largest merged run, and how long that took.
    pub(super) large: Option<(Vec<Tensor>, WarmRun)>,
}

/// Runs rows like those of `example` alone and together. Blocks for as long as that takes.
pub(super) fn try_out(lease: &mut Lease, example: &[Tensor], took: Duration) -> Trial {
    let untried = Trial {
        merging: Merging::Untried,
        large: None,
    };
    let n_rows = if took > SLOW { N_ROWS_SLOW } else { N_ROWS };
    let Some(inputs) = rows_like(example, n_rows) else {
        return untried;
    };
    match compare(lease, &inputs, n_rows) {
        Ok(trial) => trial,
        Err(error) => {
            tracing::debug!(%error, "the trial of merged runs failed");
            untried
        }
    }
}

fn compare(lease: &mut Lease, inputs: &[Tensor], n_rows: usize) -> Result<Trial, Error> {
    let mut alone = Vec::with_capacity(n_rows);
    for row in 0..n_rows {
        let run = lease.run(rows_of(inputs, row, 1), Deadline::after(LIMIT))?;
        alone.push(run.outputs);
    }
    let mut merging = Merging::Exact;
    let mut large = None;
    for (start, length) in [(0, 2), (1, 3), (3, 5), (7, 8), (11, 17), (0, N_ROWS)] {
        if start + length > n_rows {
            continue;
        }
        let together = rows_of(inputs, start, length);
        let run = lease.run(together.clone(), Deadline::after(LIMIT))?;
        let wanted = &alone[start..start + length];
        match difference(run.outputs, wanted) {
            Difference::None => {}
            Difference::Rounding => merging = Merging::Rounded,
            Difference::Other(reason) => {
                merging = Merging::Impossible(reason.to_owned());
                break;
            }
        }
        // Once more: the first run of a size also finds its memory.
        let took = lease.run(together.clone(), Deadline::after(LIMIT))?.took;
        let warm_run = WarmRun {
            n_rows: length,
            took,
        };
        large = Some((together, warm_run));
    }
    Ok(Trial { merging, large })
}

fn rows_of(inputs: &[Tensor], start: usize, length: usize) -> Vec<Tensor> {
    inputs
        .iter()
        .map(|input| part(input, start, length))
        .collect()
}

/// The example's rows again and again, with floating-point numbers moved a little, so that no two rows are the same.
/// `None` if the example has not the same number of rows in every input.
fn rows_like(example: &[Tensor], n_rows: usize) -> Option<Vec<Tensor>> {
    let n_given = *example.first()?.shape().first()?;
    if n_given == 0 || example.iter().any(|e| e.shape().first() != Some(&n_given)) {
        return None;
    }
    let whole = vec![example; n_rows.div_ceil(n_given)];
    let mut inputs = join_rows(&whole)?;
    // Of a fixed seed: a version gets the same verdict each time.
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    for input in &mut inputs {
        *input = part(input, 0, n_rows);
        match input {
            Tensor::Float16(array) => {
                array.mapv_inplace(|x| f16::from_f64(noise.near(x.to_f64())));
            }
            Tensor::BFloat16(array) => {
                array.mapv_inplace(|x| bf16::from_f64(noise.near(x.to_f64())));
            }
            Tensor::Float32(array) => array.mapv_inplace(|x| noise.near(f64::from(x)) as f32),
            Tensor::Float64(array) => array.mapv_inplace(|x| noise.near(x)),
            Tensor::Bool(_)
            | Tensor::Int8(_)
            | Tensor::Int16(_)
            | Tensor::Int32(_)
            | Tensor::Int64(_)
            | Tensor::UInt8(_)
            | Tensor::UInt16(_)
            | Tensor::UInt32(_)
            | Tensor::UInt64(_)
            | Tensor::String(_) => {}
        }
    }
    Some(inputs)
}

/// Xorshift.
struct Noise(u64);

impl Noise {
    /// Within a quarter of `x`; of zero within one.
    fn near(&mut self, x: f64) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let unit = (self.0 >> 11) as f64 / (1_u64 << 52) as f64 - 1.0;
        if x == 0.0 { unit } else { x + x * unit / 4.0 }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Difference {
    None,
    Rounding,
    Other(&'static str),
}

/// Between the rows of a merged run and the same rows alone.
fn difference(together: Vec<Output>, alone: &[Vec<Output>]) -> Difference {
    let lengths = vec![1; alone.len()];
    let Some(rows) = split_rows(together, &lengths) else {
        return Difference::Other("the outputs have not one row for each row of the inputs");
    };
    let mut found = Difference::None;
    for (row, wanted) in rows.iter().zip(alone) {
        let same_count = row.len() == wanted.len();
        for (row, wanted) in row.iter().zip(wanted) {
            match of_outputs(row, wanted) {
                Difference::None if same_count => {}
                Difference::Rounding if same_count => found = Difference::Rounding,
                _ => {
                    return Difference::Other(
                        "rows of a merged run influence each other: they come out otherwise than alone",
                    );
                }
            }
        }
    }
    found
}

fn of_outputs(one: &Output, other: &Output) -> Difference {
    match (one, other) {
        (Output::Tensor(one), Output::Tensor(other)) => {
            if one.dtype() != other.dtype() || one.shape() != other.shape() {
                return Difference::Other("shape");
            }
            let pairs = one.elements().into_iter().zip(other.elements());
            worst(pairs.map(|(one, other)| of_elements(&one, &other)))
        }
        (Output::Maps(one), Output::Maps(other)) => {
            let flat = |rows: &[Vec<(String, f64)>]| rows.iter().flatten().cloned().collect();
            let (one, other): (Vec<_>, Vec<_>) = (flat(one), flat(other));
            if one.len() != other.len() || one.iter().zip(&other).any(|(a, b)| a.0 != b.0) {
                return Difference::Other("keys");
            }
            let pairs = one.iter().zip(&other);
            worst(pairs.map(|(one, other)| of_numbers(one.1, other.1)))
        }
        (Output::Tensor(_), Output::Maps(_)) | (Output::Maps(_), Output::Tensor(_)) => {
            Difference::Other("kind")
        }
    }
}

fn worst(differences: impl Iterator<Item = Difference>) -> Difference {
    let mut worst = Difference::None;
    for difference in differences {
        match difference {
            Difference::None => {}
            Difference::Rounding => worst = Difference::Rounding,
            Difference::Other(_) => return difference,
        }
    }
    worst
}

fn of_elements(one: &Element<'_>, other: &Element<'_>) -> Difference {
    match (one, other) {
        (Element::Float(one), Element::Float(other)) => of_numbers(*one, *other),
        _ if one == other => Difference::None,
        _ => Difference::Other("value"),
    }
}

fn of_numbers(one: f64, other: f64) -> Difference {
    if one.to_bits() == other.to_bits() || (one.is_nan() && other.is_nan()) {
        return Difference::None;
    }
    // Wide enough for half precision and long sums; rows that influence each other differ by more.
    let tolerance = 1e-5 + 2e-3 * one.abs().max(other.abs());
    if (one - other).abs() <= tolerance {
        Difference::Rounding
    } else {
        Difference::Other("value")
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{ArrayD, Axis, IxDyn};

    use super::*;
    use crate::inference::pool::Pool;
    use crate::inference::{Engine, Inputs};
    use crate::types::dtype::DType;
    use crate::types::signature::{OutputSpec, TensorSpec};

    struct Scripted(fn(ArrayD<f32>) -> ArrayD<f32>);

    impl Engine for Scripted {
        fn run(&mut self, inputs: Inputs) -> Result<Vec<Output>, Error> {
            match inputs.into_tensors().remove(0) {
                Tensor::Float32(array) => Ok(vec![Output::Tensor((self.0)(array).into())]),
                other => panic!("{other:?}"),
            }
        }
    }

    fn verdict(run: fn(ArrayD<f32>) -> ArrayD<f32>) -> Merging {
        let pool = Pool::new(vec![Box::new(Scripted(run))]);
        let mut lease = pool.try_claim().unwrap();
        let example = [Tensor::Float32(ArrayD::zeros(IxDyn(&[2, 3])))];
        try_out(&mut lease, &example, Duration::ZERO).merging
    }

    #[test]
    fn rows_that_stay_the_same_may_be_merged() {
        assert_eq!(verdict(|x| x * 2.0), Merging::Exact);
        assert_eq!(Merging::Exact.obstacle(Mode::Exact), None);
        assert!(Merging::Exact.obstacle(Mode::Off).is_some());
    }

    #[test]
    fn rows_that_are_rounded_otherwise_are_merged_only_on_demand() {
        let rounded = verdict(|x| match x.shape()[0] {
            1 => x,
            _ => x.mapv(|x| f32::from_bits(x.to_bits() + 1)),
        });
        assert_eq!(rounded, Merging::Rounded);
        assert!(rounded.obstacle(Mode::Exact).unwrap().contains("rounded"));
        assert_eq!(rounded.obstacle(Mode::Always), None);
    }

    #[test]
    fn rows_that_influence_each_other_are_never_merged() {
        for mixes in [
            (|x| {
                let mean = x.mean_axis(Axis(0)).unwrap();
                x - mean
            }) as fn(ArrayD<f32>) -> ArrayD<f32>,
            |x| x.sum_axis(Axis(0)),
            |mut x| {
                x.invert_axis(Axis(0));
                x
            },
        ] {
            let verdict = verdict(mixes);
            assert!(matches!(verdict, Merging::Impossible(_)), "{verdict:?}");
            assert!(verdict.obstacle(Mode::Always).is_some());
        }
    }

    #[test]
    fn a_model_that_does_not_run_on_such_rows_is_untried() {
        let verdict = verdict(|_| panic!("on purpose"));
        assert_eq!(verdict, Merging::Untried);
        assert!(verdict.obstacle(Mode::Exact).is_some());
        assert_eq!(verdict.obstacle(Mode::Always), None);
    }

    #[test]
    fn a_graph_with_a_fixed_batch_dimension_says_which_input_or_output_it_is() {
        let graph = |from: &[i64], to: &[i64]| Graph {
            optional: Vec::new(),
            inputs: vec![TensorSpec {
                name: Some("x".to_owned()),
                dtype: DType::Float32,
                shape: from.to_vec(),
            }],
            outputs: vec![OutputSpec {
                name: "y".to_owned(),
                kind: OutputKind::Tensor {
                    dtype: DType::Float32,
                    shape: to.to_vec(),
                },
            }],
        };
        assert_eq!(Merging::of_graph(&graph(&[-1, 2], &[-1])), Merging::Untried);
        for (graph, part) in [
            (graph(&[1, 2], &[-1]), "its input `x`"),
            (graph(&[-1, 2], &[1]), "the output `y`"),
            (graph(&[], &[-1]), "its input `x`"),
        ] {
            let reason = Merging::of_graph(&graph).obstacle(Mode::Always).unwrap();
            assert!(reason.contains(part), "{reason}");
        }
    }
}
