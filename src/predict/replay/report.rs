//! The comparison as one page of HTML, without anything from elsewhere.

use serde_json::Value;

const STYLE: &str = "body{font:14px sans-serif;margin:2em;max-width:70em}table{border-collapse:collapse}\
    td,th{border:1px solid #ccc;padding:.3em .6em;text-align:left}td{font-family:monospace}";

/// What a gate says of its verdict.
const GATE: [&str; 6] = [
    "outcome",
    "reason",
    "judged_at",
    "served",
    "since",
    "limits",
];
const COUNTS: [&str; 6] = [
    "n_predictions",
    "n_rows",
    "n_equal",
    "n_flips",
    "n_failed",
    "flip_rate",
];

/// `summary` is a comparison's; what a gate adds to it is shown too.
pub fn page(model: &str, summary: &Value) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Replay on {model}</title><style>{STYLE}</style>\n\
         <h1>Replay on {model}</h1>\n",
        model = escaped(model)
    );
    page.push_str("<table>");
    for name in GATE {
        if !summary[name].is_null() {
            row(&mut page, &[name, &text(&summary[name])]);
        }
    }
    for name in COUNTS {
        row(&mut page, &[name, &summary[name].to_string()]);
    }
    page.push_str("</table>\n<h2>Outputs</h2>\n<table><tr><th>output<th>values<th>different<th>p50<th>p90<th>p99<th>max</tr>");
    for (name, output) in summary["outputs"].as_object().into_iter().flatten() {
        let mut cells = vec![
            name.clone(),
            output["n_values"].to_string(),
            output["n_different"].to_string(),
        ];
        cells.extend(quantiles(&output["change"]));
        row(&mut page, &cells);
    }
    page.push_str("</table>\n<h2>Worst cases</h2>\n<table><tr><th>prediction<th>row<th>output<th>recorded<th>replayed</tr>");
    for case in summary["worst"].as_array().into_iter().flatten() {
        let cells = ["id", "row", "output", "recorded", "replayed"].map(|name| text(&case[name]));
        row(&mut page, &cells);
    }
    page.push_str("</table>\n<h2>Latency in microseconds</h2>\n<table><tr><th><th>p50<th>p90<th>p99<th>max</tr>");
    for name in ["recorded", "replayed"] {
        let mut cells = vec![name.to_owned()];
        cells.extend(quantiles(&summary["latency_us"][name]));
        row(&mut page, &cells);
    }
    page.push_str("</table>\n<h2>Failed</h2>\n<table>");
    for (code, failed) in summary["failed"].as_object().into_iter().flatten() {
        let n = failed["n_predictions"].to_string();
        row(&mut page, &[code.as_str(), &n, &text(&failed["message"])]);
    }
    page.push_str("</table>\n<h2>Not replayed</h2>\n<table>");
    for (reason, n) in summary["left_out"].as_object().into_iter().flatten() {
        row(&mut page, &[reason.clone(), n.to_string()]);
    }
    page.push_str("</table></html>\n");
    page
}

fn row<T: AsRef<str>>(page: &mut String, cells: &[T]) {
    page.push_str("<tr>");
    for cell in cells {
        page.push_str("<td>");
        page.push_str(&escaped(cell.as_ref()));
    }
    page.push_str("</tr>\n");
}

fn quantiles(values: &Value) -> [String; 4] {
    ["p50", "p90", "p99", "max"].map(|name| values[name].to_string())
}

/// A string without quotes, everything else as JSON.
fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predict::replay::Comparison;

    #[test]
    fn values_of_callers_are_no_markup() {
        let mut comparison = Comparison::default();
        comparison.leave_out("<script>alert(1)</script>".into());
        let page = page("m@<b>", &comparison.summary());
        assert!(
            !page.contains("<script>") && !page.contains("<b>"),
            "{page}"
        );
        assert!(page.contains("&lt;script&gt;"));
    }
}
