//! For tests: a package from a path, an order, a listener that does not listen.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Order, Package, Progress, Source};
use crate::inference::test_models::runtime;
use crate::models::{BindError, Binder, Candidate};

/// Takes whatever comes.
pub(super) struct Anything;

impl Binder for Anything {
    type Plan = ();

    fn bind(&self, _: &Candidate<'_>) -> Result<(), BindError> {
        Ok(())
    }
}

pub(super) fn source(path: &Path) -> Source {
    Source {
        path: path.to_owned(),
        signature: None,
        input_example: None,
    }
}

pub(super) fn open(path: &Path, example: Option<&Path>) -> Package {
    let source = Source {
        input_example: example.map(Path::to_owned),
        ..source(path)
    };
    source.open(&runtime()).unwrap().package
}

/// With a run, and with the alias `champion`.
pub(super) fn order(name: &str) -> Order {
    Order {
        name: name.to_owned(),
        alias: Some("champion".to_owned()),
        tags: BTreeMap::new(),
        description: None,
        experiment: "tests".to_owned(),
        run: true,
        user: None,
        force: false,
    }
}

pub(super) fn quiet() -> Progress {
    Progress::new(|_| {})
}
