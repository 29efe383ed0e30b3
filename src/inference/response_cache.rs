//! `[models.<name>.cache]`: outputs of a model version by the exact inputs of its engine.
//!
//! Inputs are compared byte for byte, types and shapes included, and they are what the engine gets: features are read for
//! every call, so an answer is as fresh as without a cache. Each loaded version has a cache of its own, which goes with it.
//! Bounded in bytes of inputs and outputs; what is asked for seldom makes room first. Calls with the same new inputs at
//! the same moment all run.
//! Not here: whether a model may be cached; one that draws random numbers must not.

use std::sync::Arc;
use std::time::Instant;

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Inputs;
use crate::telemetry::metrics::CacheMetrics;
use crate::types::byte_size::ByteSize;
use crate::types::oip::encode_raw;
use crate::types::tensor::{Output, Tensor};

/// What an entry takes beside its inputs and outputs, about.
const OVERHEAD: usize = 128;

/// Whether answers of a model are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Most bytes of inputs and outputs that are kept for each loaded version of the model; a call with the same inputs
    /// is answered from them without a run. Without it none are kept. Not for a model that draws random numbers.
    pub max_bytes: Option<ByteSize>,
}

pub(super) struct ResponseCache {
    entries: Cache<Box<[u8]>, Entry, ByBytes>,
    metrics: CacheMetrics,
}

/// The inputs of a call, as an entry is found by them.
pub(super) struct Key(Box<[u8]>);

#[derive(Clone)]
struct Entry {
    outputs: Arc<[Output]>,
    n_bytes: u64,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<Box<[u8]>, Entry> for ByBytes {
    fn weight(&self, _: &Box<[u8]>, entry: &Entry) -> u64 {
        entry.n_bytes
    }
}

impl ResponseCache {
    /// `None` where nothing is to be kept.
    pub(super) fn new(config: Config, metrics: CacheMetrics) -> Option<Self> {
        let max_bytes = config.max_bytes?.as_bytes();
        // Decides how much is set aside before the first entry, not how many there may be.
        let about = usize::try_from(max_bytes / 4096).unwrap_or(usize::MAX);
        Some(Self {
            entries: Cache::with_weighter(about.clamp(16, 65_536), max_bytes, ByBytes),
            metrics,
        })
    }

    /// The outputs for these inputs, or under what to keep them; neither for inputs that are too large to be kept.
    pub(super) fn find(&self, inputs: &Inputs) -> Result<Vec<Output>, Option<Key>> {
        let start = Instant::now();
        let n_bytes: usize = inputs.iter().map(bytes_of).sum();
        if n_bytes as u64 > self.entries.shard_capacity() {
            self.metrics.missed(start.elapsed());
            return Err(None);
        }
        let key = key_of(inputs, n_bytes);
        match self.entries.get(&key) {
            Some(entry) => {
                let outputs = entry.outputs.to_vec();
                self.metrics.hit(start.elapsed());
                Ok(outputs)
            }
            None => {
                self.metrics.missed(start.elapsed());
                Err(Some(Key(key)))
            }
        }
    }

    pub(super) fn keep(&self, Key(key): Key, outputs: &[Output]) {
        let n_bytes = key.len() + outputs.iter().map(output_bytes).sum::<usize>() + OVERHEAD;
        let entry = Entry {
            outputs: outputs.into(),
            n_bytes: n_bytes as u64,
        };
        self.entries.insert(key, entry);
        self.metrics.set_bytes(self.entries.weight());
    }
}

impl Drop for ResponseCache {
    fn drop(&mut self) {
        self.metrics.set_bytes(0);
    }
}

/// Type and shape say where an input ends, so that no two lists of inputs have the same bytes.
fn key_of(inputs: &Inputs, n_bytes: usize) -> Box<[u8]> {
    let n_inputs = inputs.required().len() + inputs.optional().len();
    let mut key = Vec::with_capacity(n_bytes + 64 * n_inputs);
    for input in inputs.required() {
        push(&mut key, input);
    }
    for (place, input) in inputs.optional() {
        key.extend_from_slice(&place.to_le_bytes());
        push(&mut key, input);
    }
    key.into_boxed_slice()
}

fn push(key: &mut Vec<u8>, input: &Tensor) {
    key.push(input.dtype() as u8);
    key.push(input.shape().len() as u8);
    for size in input.shape() {
        key.extend_from_slice(&size.to_le_bytes());
    }
    encode_raw(input, key);
}

fn bytes_of(tensor: &Tensor) -> usize {
    match tensor {
        Tensor::String(array) => array.iter().map(|text| text.len() + 24).sum(),
        other => other.len() * other.dtype().n_bytes().unwrap_or(1),
    }
}

fn output_bytes(output: &Output) -> usize {
    match output {
        Output::Tensor(tensor) => bytes_of(tensor),
        Output::Maps(rows) => {
            let entries = rows.iter().flatten();
            entries.map(|(key, _)| key.len() + 32).sum::<usize>() + 24 * rows.len()
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{ArrayD, IxDyn};

    use super::*;
    use crate::telemetry::metrics::QueueMetrics;

    fn cache(max_bytes: u64) -> ResponseCache {
        let config = Config {
            max_bytes: Some(ByteSize::from_bytes(max_bytes)),
        };
        ResponseCache::new(config, QueueMetrics::default().cache).unwrap()
    }

    fn find(cache: &ResponseCache, inputs: &[Tensor]) -> Result<Vec<Output>, Option<Key>> {
        cache.find(&inputs.to_vec().into())
    }

    fn floats(shape: &[usize], of: f32) -> Tensor {
        Tensor::Float32(ArrayD::from_elem(IxDyn(shape), of))
    }

    fn texts(of: &[&str]) -> Tensor {
        let of: Vec<String> = of.iter().map(|text| (*text).to_owned()).collect();
        Tensor::String(ArrayD::from_shape_vec(IxDyn(&[of.len()]), of).unwrap())
    }

    #[test]
    fn only_the_very_same_inputs_are_found() {
        let cache = cache(1 << 20);
        let inputs = [floats(&[1, 2], 0.0), texts(&["a", "b"])];
        let answer = [Output::Tensor(floats(&[1], 7.0))];
        let key = find(&cache, &inputs).unwrap_err().unwrap();
        cache.keep(key, &answer);
        assert_eq!(find(&cache, &inputs).ok().unwrap(), answer);
        for other in [
            [floats(&[2, 1], 0.0), texts(&["a", "b"])],
            [floats(&[1, 2], -0.0), texts(&["a", "b"])],
            [floats(&[1, 2], 0.0), texts(&["ab", ""])],
            [texts(&["a", "b"]), floats(&[1, 2], 0.0)],
        ] {
            assert!(find(&cache, &other).is_err(), "{other:?}");
        }
        assert_eq!((cache.metrics.n_hits(), cache.metrics.n_misses()), (1, 5));
    }

    #[test]
    fn the_bytes_that_are_kept_are_bounded() {
        let cache = cache(64 * 1024);
        for n in 0..10_000_u16 {
            let inputs = [floats(&[1, 16], f32::from(n))];
            if let Err(Some(key)) = find(&cache, &inputs) {
                cache.keep(key, &[Output::Tensor(floats(&[1, 16], 1.0))]);
            }
            assert!(cache.entries.weight() <= 64 * 1024);
        }
        assert!(cache.entries.len() > 100, "{}", cache.entries.len());
        // What cannot be kept is not even looked for.
        assert!(
            find(&cache, &[floats(&[1_000_000], 0.0)])
                .unwrap_err()
                .is_none()
        );
    }

    #[test]
    fn without_bytes_there_is_no_cache() {
        let metrics = QueueMetrics::default().cache;
        assert!(ResponseCache::new(Config::default(), metrics).is_none());
    }
}
