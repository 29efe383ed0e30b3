//! `materialize(start, end, views=None)` and `materialize_incremental(end, views=None)`.

use serde_json::json;

use super::{Arguments, Error, Tasks};
use crate::features::{FeatureStore, MaterializedView};
use crate::jobs::value::Value;
use crate::jobs::worker::Call;

impl Tasks {
    pub(super) fn store(&self) -> Result<&FeatureStore, Error> {
        self.features.as_deref().ok_or(Error::NoFeatures)
    }

    pub(super) async fn materialize(&self, call: &Call) -> Result<Value, Error> {
        let arguments = Arguments::bind(call, &["start", "end", "views"], 3)?;
        let views = arguments.texts("views")?;
        let (start, end) = (arguments.moment("start")?, arguments.moment("end")?);
        let store = self.store()?;
        let views = views.as_deref();
        let done = store.materialize(views, start, end, &mut |_| {}).await?;
        Ok(shown(done))
    }

    pub(super) async fn materialize_incremental(&self, call: &Call) -> Result<Value, Error> {
        let arguments = Arguments::bind(call, &["end", "views"], 2)?;
        let views = arguments.texts("views")?;
        let end = arguments.moment("end")?;
        let store = self.store()?;
        let views = views.as_deref();
        let done = store
            .materialize_incremental(views, end, &mut |_| {})
            .await?;
        Ok(shown(done))
    }
}

fn shown(views: Vec<MaterializedView>) -> Value {
    let views = views.into_iter().map(|view| {
        json!({
            "view": view.view,
            "start": view.start.to_string(),
            "end": view.end.to_string(),
            "rows_total": view.rows_total,
            "rows_written": view.rows_written,
        })
    });
    Value::from(json!({ "views": views.collect::<Vec<_>>() }))
}
