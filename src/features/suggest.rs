//! "Did you mean": the known name that is nearest to a wrong one.

/// The nearest of `known` by edit distance, if it is near enough to be a slip of the pen.
pub(super) fn nearest<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let limit = (wrong.chars().count() / 3).max(1);
    known
        .map(|name| (distance(wrong, name), name))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, name)| name.to_owned())
}

/// Levenshtein distance in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_near_name_is_suggested() {
        let known = ["driver_hourly_stats", "customer_stats", "trips"];
        let of = |wrong| nearest(wrong, known.into_iter());
        assert_eq!(
            of("driver_hourly_stat").as_deref(),
            Some("driver_hourly_stats")
        );
        assert_eq!(of("tripps").as_deref(), Some("trips"));
        assert_eq!(of("weather"), None);
    }
}
