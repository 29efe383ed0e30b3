//! Feast's feature references: `view:feature`, `view@latest:feature`, `view@v3:feature`.

use super::Error;

/// A reference taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference {
    /// As it was written, for the comparison of full names.
    pub(super) text: String,
    /// The view's name or alias.
    pub(super) view: String,
    /// A pinned version; `None` for the current one.
    pub(super) version: Option<u32>,
    pub(super) feature: String,
}

impl Reference {
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        let Some((view, feature)) = text.split_once(':') else {
            return Err(Error::Reference {
                reference: text.to_owned(),
            });
        };
        let (view, version) = split_version(view);
        Ok(Self {
            text: text.to_owned(),
            view: view.to_owned(),
            version,
            feature: feature.to_owned(),
        })
    }

    /// The name under which the view's features appear.
    pub(super) fn effective_view(&self) -> String {
        effective(&self.view, self.version)
    }
}

/// A view with its pinned version, as Feast writes it.
pub(super) fn effective(view: &str, version: Option<u32>) -> String {
    match version {
        Some(version) => format!("{view}@v{version}"),
        None => view.to_owned(),
    }
}

/// What is no version is a part of the name.
fn split_version(view: &str) -> (&str, Option<u32>) {
    let Some((name, tag)) = view.split_once('@') else {
        return (view, None);
    };
    if tag.is_empty() || tag.eq_ignore_ascii_case("latest") {
        return (name, None);
    }
    let number = tag.strip_prefix(['v', 'V']).and_then(|n| n.parse().ok());
    match number {
        Some(number) => (name, Some(number)),
        None => (view, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_as_feast_reads_them() {
        for (text, view, version, feature) in [
            ("v:f", "v", None, "f"),
            ("v:f:g", "v", None, "f:g"),
            ("v@latest:f", "v", None, "f"),
            ("v@LATEST:f", "v", None, "f"),
            ("v@:f", "v", None, "f"),
            ("v@v2:f", "v", Some(2), "f"),
            ("v@V02:f", "v", Some(2), "f"),
            ("v@two:f", "v@two", None, "f"),
        ] {
            let reference = Reference::parse(text).unwrap();
            assert_eq!(reference.view, view, "{text}");
            assert_eq!(reference.version, version, "{text}");
            assert_eq!(reference.feature, feature, "{text}");
        }
        assert!(matches!(
            Reference::parse("v"),
            Err(Error::Reference { .. })
        ));
    }
}
