//! Help with a wrong name: what names there are, and which one was probably meant.

use std::fmt;

/// So many names stand in a message.
const MAX_LISTED: usize = 20;

/// The names that exist where a wrong one was given. Displays as a list in backticks, cut where it is long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    names: Vec<String>,
    nearest: Option<String>,
}

impl Known {
    /// Boxed, because it is a part of errors only.
    pub(super) fn instead_of<'a>(
        wrong: &str,
        names: impl Iterator<Item = &'a str> + Clone,
    ) -> Box<Self> {
        Box::new(Self {
            nearest: nearest(wrong, names.clone()),
            names: names.map(str::to_owned).collect(),
        })
    }

    /// What was probably meant.
    pub fn hint(&self) -> Option<String> {
        let nearest = self.nearest.as_ref()?;
        Some(format!("did you mean `{nearest}`?"))
    }
}

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.names.is_empty() {
            return f.write_str("none");
        }
        let (shown, rest) = self.names.split_at(self.names.len().min(MAX_LISTED));
        write!(f, "`{}`", shown.join("`, `"))?;
        if !rest.is_empty() {
            write!(f, " and {} more", rest.len())?;
        }
        Ok(())
    }
}

/// The nearest of `known` by edit distance, if it is near enough to be a slip of the pen.
fn nearest<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
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
    fn a_long_list_is_cut() {
        let names: Vec<String> = (0..22).map(|i| i.to_string()).collect();
        let known = |n: usize| Known::instead_of("x", names[..n].iter().map(String::as_str));
        assert_eq!(known(0).to_string(), "none");
        assert_eq!(known(2).to_string(), "`0`, `1`");
        assert!(known(22).to_string().ends_with("`19` and 2 more"));
    }

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
