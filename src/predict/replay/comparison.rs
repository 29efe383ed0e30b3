//! What differs between recorded and replayed answers.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::Answer;
use crate::error::Failure;

/// Differences that are told one by one.
const N_WORST: usize = 10;
/// Reasons to leave predictions out that are told one by one.
const MOST_REASONS: usize = 50;

/// Of all predictions that were replayed.
#[derive(Debug, Default)]
pub struct Comparison {
    n_predictions: usize,
    n_rows: usize,
    /// Rows whose outputs are all equal, to the last digit.
    n_equal: usize,
    /// Rows in which a value that is no floating-point number (a label, a count) is another one, and those that failed.
    n_flips: usize,
    /// Rows that were answered before and are not now.
    n_failed: usize,
    /// By code: how many predictions, and what the first of them was told.
    failed: BTreeMap<&'static str, (usize, String)>,
    outputs: BTreeMap<String, Output>,
    worst: Vec<Case>,
    /// Why predictions were not replayed, and how many.
    left_out: BTreeMap<String, usize>,
    recorded_us: Vec<f64>,
    replayed_us: Vec<f64>,
}

/// One output over all rows.
#[derive(Debug, Default)]
struct Output {
    n_values: usize,
    n_different: usize,
    /// Distances of numbers, one for each row.
    changes: Vec<f64>,
}

/// One value that differs.
#[derive(Debug, Clone)]
struct Case {
    /// Infinite where values cannot be subtracted.
    change: f64,
    id: String,
    row: usize,
    output: String,
    recorded: Value,
    replayed: Value,
}

impl Comparison {
    pub(in crate::predict) fn leave_out(&mut self, mut reason: String) {
        if self.left_out.len() >= MOST_REASONS && !self.left_out.contains_key(&reason) {
            "for other reasons".clone_into(&mut reason);
        }
        *self.left_out.entry(reason).or_default() += 1;
    }

    /// The version fails on what was answered before: every row of it flips.
    pub(super) fn failed(&mut self, event: &Value, failure: &dyn Failure) {
        let n_rows = rows_of(event);
        self.n_predictions += 1;
        self.n_rows += n_rows;
        self.n_flips += n_rows;
        self.n_failed += n_rows;
        let told = self.failed.entry(failure.code());
        let (n, _) = told.or_insert_with(|| (0, failure.to_string()));
        *n += 1;
    }

    pub(super) fn compare(&mut self, event: &Value, answer: &Answer) {
        let empty = Map::new();
        let recorded = event["outputs"].as_object().unwrap_or(&empty);
        let replayed = &answer.outputs;
        self.n_predictions += 1;
        self.recorded_us
            .extend(event["timings_us"]["total"].as_f64());
        self.replayed_us.push(answer.took.as_micros() as f64);
        for row in 0..rows_of(event) {
            let (mut is_equal, mut is_flip) = (true, false);
            for (name, values) in recorded {
                let before = &values[row];
                let after = replayed
                    .get(name)
                    .map_or(&Value::Null, |values| &values[row]);
                let output = self.outputs.entry(name.clone()).or_default();
                output.n_values += 1;
                let change = change(before, after);
                output
                    .changes
                    .extend(change.filter(|change| change.is_finite()));
                if before == after {
                    continue;
                }
                is_equal = false;
                is_flip |= change.is_none();
                output.n_different += 1;
                self.worst.push(Case {
                    change: change.unwrap_or(f64::INFINITY),
                    id: event["id"].as_str().unwrap_or_default().to_owned(),
                    row,
                    output: name.clone(),
                    recorded: before.clone(),
                    replayed: after.clone(),
                });
            }
            self.n_rows += 1;
            self.n_equal += usize::from(is_equal);
            self.n_flips += usize::from(is_flip);
        }
        self.worst
            .sort_by(|one, other| other.change.total_cmp(&one.change));
        self.worst.truncate(N_WORST);
    }

    pub fn n_predictions(&self) -> usize {
        self.n_predictions
    }

    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// From 0 to 1; zero of no rows.
    pub fn flip_rate(&self) -> f64 {
        share(self.n_flips, self.n_rows)
    }

    /// The largest change that this share of an output's rows stays within, and of which output; `None` without numbers.
    pub fn change_within(&self, share: f64) -> Option<(&str, f64)> {
        let changes = self.outputs.iter().filter_map(|(name, output)| {
            let mut sorted = output.changes.clone();
            sorted.sort_by(f64::total_cmp);
            let last = sorted.len().checked_sub(1)?;
            let at = (last as f64 * share).ceil() as usize;
            Some((name.as_str(), sorted[at.min(last)]))
        });
        changes.max_by(|(_, one), (_, other)| one.total_cmp(other))
    }

    pub fn left_out(&self) -> &BTreeMap<String, usize> {
        &self.left_out
    }

    /// As JSON; `report::page` makes a page of it.
    pub fn summary(&self) -> Value {
        let outputs: Map<String, Value> = self
            .outputs
            .iter()
            .map(|(name, output)| (name.clone(), output.summary()))
            .collect();
        let worst: Vec<Value> = self.worst.iter().map(Case::summary).collect();
        let failed = self.failed.iter().map(|(code, (n, message))| {
            let told = json!({"n_predictions": n, "message": message});
            ((*code).to_owned(), told)
        });
        let failed: Map<String, Value> = failed.collect();
        json!({
            "n_predictions": self.n_predictions,
            "n_rows": self.n_rows,
            "n_equal": self.n_equal,
            "n_flips": self.n_flips,
            "n_failed": self.n_failed,
            "flip_rate": self.flip_rate(),
            "outputs": outputs,
            "worst": worst,
            "failed": failed,
            "left_out": self.left_out,
            "latency_us": {"recorded": quantiles(&self.recorded_us), "replayed": quantiles(&self.replayed_us)},
        })
    }

    /// For people.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![
            format!("predictions  {}", self.n_predictions),
            format!(
                "rows         {}, {} of them equal",
                self.n_rows, self.n_equal
            ),
            format!(
                "flips        {} ({:.2} %)",
                self.n_flips,
                100.0 * self.flip_rate()
            ),
        ];
        for (name, output) in &self.outputs {
            let changes = quantiles(&output.changes);
            lines.push(format!(
                "output {name}: {} of {} differ, change {changes}",
                output.n_different, output.n_values
            ));
        }
        for case in &self.worst {
            lines.push(format!(
                "  {} row {} {}: {} -> {}",
                case.id, case.row, case.output, case.recorded, case.replayed
            ));
        }
        for (code, (n, message)) in &self.failed {
            lines.push(format!("failed: {n}, {code}: {message}"));
        }
        for (reason, n) in &self.left_out {
            lines.push(format!("not replayed: {n}, {reason}"));
        }
        lines.push(format!(
            "latency_us   recorded {}",
            quantiles(&self.recorded_us)
        ));
        lines.push(format!(
            "             replayed {}",
            quantiles(&self.replayed_us)
        ));
        lines
    }
}

impl Output {
    fn summary(&self) -> Value {
        json!({
            "n_values": self.n_values,
            "n_different": self.n_different,
            "change": quantiles(&self.changes),
        })
    }
}

impl Case {
    fn summary(&self) -> Value {
        json!({
            "id": self.id, "row": self.row, "output": self.output,
            "recorded": self.recorded, "replayed": self.replayed,
        })
    }
}

/// How far two values are from each other, lists and maps by their farthest parts; `None` where one is no floating-point number and
/// they differ.
fn change(before: &Value, after: &Value) -> Option<f64> {
    match (before, after) {
        (before, after) if before == after => Some(0.0),
        (Value::Number(before), Value::Number(after)) if before.is_f64() && after.is_f64() => {
            Some((before.as_f64()? - after.as_f64()?).abs())
        }
        (Value::Array(before), Value::Array(after)) if before.len() == after.len() => {
            let parts = before.iter().zip(after);
            parts
                .map(|(before, after)| change(before, after))
                .try_fold(0.0, farther)
        }
        (Value::Object(before), Value::Object(after)) if before.len() == after.len() => {
            let parts = before.iter();
            parts
                .map(|(name, before)| change(before, after.get(name)?))
                .try_fold(0.0, farther)
        }
        _ => None,
    }
}

fn farther(so_far: f64, change: Option<f64>) -> Option<f64> {
    Some(so_far.max(change?))
}

fn rows_of(event: &Value) -> usize {
    usize::try_from(event["n_rows"].as_u64().unwrap_or(0)).unwrap_or(0)
}

fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}

/// Median, 90th, 99th percentile and the largest; null for none.
fn quantiles(values: &[f64]) -> Value {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(&largest) = sorted.last() else {
        return Value::Null;
    };
    let at = |percent: usize| sorted[(sorted.len() - 1) * percent / 100];
    json!({"p50": at(50), "p90": at(90), "p99": at(99), "max": largest})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(outputs: &Value, n_rows: usize) -> Value {
        json!({"id": "one", "n_rows": n_rows, "outputs": outputs, "timings_us": {"total": 100}})
    }

    fn answer(outputs: &Value) -> Answer {
        Answer {
            outputs: outputs.as_object().unwrap().clone(),
            took: std::time::Duration::from_micros(50),
        }
    }

    #[test]
    fn equal_answers_are_counted_as_equal_to_the_last_digit() {
        let mut comparison = Comparison::default();
        let outputs = json!({"score": [0.1, "NaN"], "label": ["a", "b"]});
        comparison.compare(&event(&outputs, 2), &answer(&outputs));
        let summary = comparison.summary();
        assert_eq!(
            (&summary["n_rows"], &summary["n_equal"]),
            (&json!(2), &json!(2))
        );
        assert_eq!(summary["outputs"]["score"]["change"]["max"], 0.0);
        assert!(summary["worst"].as_array().unwrap().is_empty());
    }

    #[test]
    fn flips_changes_and_worst_cases_are_told() {
        let mut comparison = Comparison::default();
        let before = json!({"score": [0.5, 0.5, 0.5], "label": ["a", "a", "a"], "p": [{"x": 0.5}, {"x": 0.5}, {"x": 0.5}]});
        let after = json!({"score": [0.5, 0.75, 0.5], "label": ["a", "b", "a"], "p": [{"x": 0.5}, {"x": 0.5}, {"x": 0.25}]});
        comparison.compare(&event(&before, 3), &answer(&after));
        comparison.leave_out("because".into());
        let summary = comparison.summary();
        assert_eq!(
            (&summary["n_equal"], &summary["n_flips"]),
            (&json!(1), &json!(1))
        );
        assert_eq!(summary["outputs"]["score"]["n_different"], 1);
        assert_eq!(summary["outputs"]["score"]["change"]["max"], 0.25);
        assert_eq!(summary["outputs"]["p"]["change"]["max"], 0.25);
        assert_eq!(summary["worst"][0]["output"], "label");
        assert_eq!(summary["left_out"]["because"], 1);
        assert_eq!(summary["latency_us"]["recorded"]["p50"], 100.0);
        assert_eq!(summary["latency_us"]["replayed"]["p50"], 50.0);
        assert_eq!(comparison.flip_rate(), 1.0 / 3.0);
        assert_eq!(comparison.change_within(1.0), Some(("score", 0.25)));
        assert_eq!(
            comparison.change_within(0.0).map(|(_, change)| change),
            Some(0.0)
        );
    }

    #[test]
    fn rows_that_are_answered_no_more_flip_all() {
        let mut comparison = Comparison::default();
        let outputs = json!({"score": [0.5, 0.5]});
        comparison.compare(&event(&outputs, 2), &answer(&outputs));
        let error = crate::predict::Error::InputMissing {
            name: "x".to_owned(),
        };
        comparison.failed(&event(&outputs, 2), &error);
        let summary = comparison.summary();
        assert_eq!(
            (comparison.flip_rate(), &summary["n_failed"]),
            (0.5, &json!(2))
        );
        assert_eq!(summary["failed"]["input_missing"]["n_predictions"], 1);
    }

    #[test]
    fn an_output_that_is_gone_differs() {
        let mut comparison = Comparison::default();
        comparison.compare(&event(&json!({"score": [0.5]}), 1), &answer(&json!({})));
        assert_eq!(comparison.summary()["n_flips"], 1);
    }
}
