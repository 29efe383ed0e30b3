//! What differs between recorded and replayed answers.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// Differences that are told one by one.
const N_WORST: usize = 10;

/// Of all predictions that were replayed.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    n_predictions: usize,
    n_rows: usize,
    /// Rows whose outputs are all equal, to the last digit.
    n_equal: usize,
    /// Rows in which a value that is no floating-point number (a label, a count) is another one.
    n_flips: usize,
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
pub(super) struct Case {
    /// Infinite where values cannot be subtracted.
    change: f64,
    id: String,
    row: usize,
    output: String,
    recorded: Value,
    replayed: Value,
}

impl Comparison {
    pub(super) fn leave_out(&mut self, reason: String) {
        *self.left_out.entry(reason).or_default() += 1;
    }

    pub(super) fn compare(&mut self, event: &Value, answer: &Value) {
        let (empty, n_rows) = (Map::new(), event["n_rows"].as_u64().unwrap_or(0));
        let recorded = event["outputs"].as_object().unwrap_or(&empty);
        let replayed = answer["outputs"].as_object().unwrap_or(&empty);
        self.n_predictions += 1;
        for (place, times) in [
            (event, &mut self.recorded_us),
            (answer, &mut self.replayed_us),
        ] {
            times.extend(place["timings_us"]["total"].as_f64());
        }
        for row in 0..usize::try_from(n_rows).unwrap_or(usize::MAX) {
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

    pub(super) fn summary(&self) -> Value {
        let outputs: Map<String, Value> = self
            .outputs
            .iter()
            .map(|(name, output)| (name.clone(), output.summary()))
            .collect();
        let worst: Vec<Value> = self.worst.iter().map(Case::summary).collect();
        json!({
            "n_predictions": self.n_predictions,
            "n_rows": self.n_rows,
            "n_equal": self.n_equal,
            "n_flips": self.n_flips,
            "flip_rate": share(self.n_flips, self.n_rows),
            "outputs": outputs,
            "worst": worst,
            "left_out": self.left_out,
            "latency_us": {"recorded": quantiles(&self.recorded_us), "replayed": quantiles(&self.replayed_us)},
        })
    }

    /// For people.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = vec![
            format!("predictions  {}", self.n_predictions),
            format!(
                "rows         {}, {} of them equal",
                self.n_rows, self.n_equal
            ),
            format!(
                "flips        {} ({:.2} %)",
                self.n_flips,
                100.0 * share(self.n_flips, self.n_rows)
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

    fn event(outputs: Value, n_rows: usize) -> Value {
        json!({"id": "one", "n_rows": n_rows, "outputs": outputs, "timings_us": {"total": 100}})
    }

    #[test]
    fn equal_answers_are_counted_as_equal_to_the_last_digit() {
        let mut comparison = Comparison::default();
        let outputs = json!({"score": [0.1, "NaN"], "label": ["a", "b"]});
        comparison.compare(&event(outputs.clone(), 2), &event(outputs, 2));
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
        comparison.compare(&event(before, 3), &event(after, 3));
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
    }

    #[test]
    fn an_output_that_is_gone_differs() {
        let mut comparison = Comparison::default();
        comparison.compare(&event(json!({"score": [0.5]}), 1), &event(json!({}), 1));
        assert_eq!(comparison.summary()["n_flips"], 1);
    }
}
