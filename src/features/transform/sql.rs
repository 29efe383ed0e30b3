//! On-demand feature views in SQL.

use std::sync::Arc;

use super::{Error, Transform};
use crate::features::definitions::{Field, OnDemandFeatureView};

pub(super) fn compile(
    _sql: &str,
    view: &OnDemandFeatureView,
    _input: &[Field],
) -> Result<Arc<dyn Transform>, Error> {
    Err(Error::no_way(view))
}
