//! `score(model, source, destination, ...)`: entity rows of a file in, a model's outputs as a file out.
//!
//! Of a directory a job that runs twice scores what is left; a single file is renamed into its place when it is whole.

use serde_json::json;

use super::{Arguments, Error, Tasks};
use crate::jobs::value::Value;
use crate::jobs::worker::Call;
use crate::predict::score::{Audited, FeaturesFrom, Request, Source};
use crate::types::names::ModelRef;
use crate::types::request::{RequestContext, Surface};
use crate::types::urgency::Priority;

const PARAMETERS: &[&str] = &[
    "model",
    "source",
    "destination",
    "features",
    "with_features",
    "rows_per_call",
    "audit_rows",
    "again",
];

impl Tasks {
    pub(super) async fn score(&self, call: &Call) -> Result<Value, Error> {
        let arguments = Arguments::bind(call, PARAMETERS, 3)?;
        let model = arguments.required_text("model")?.parse::<ModelRef>();
        let model = model.map_err(|error| arguments.wrong(error.to_string()))?;
        let source = arguments.required_text("source")?;
        let destination = arguments.required_text("destination")?;
        let rows_per_call = arguments.count("rows_per_call")?;
        let request = Request {
            model,
            source: Source::Path(self.file(source)?),
            destination: self.file(destination)?,
            features: features(&arguments)?,
            with_features: arguments.flag("with_features")?,
            rows_per_call,
            again: arguments.flag("again")?,
            audited: match arguments.flag("audit_rows")? {
                true => Audited::Calls,
                false => Audited::Files,
            },
            confined_to: self.files.clone(),
            deadline: call.deadline,
            context: RequestContext {
                surface: Surface::Job,
                request_id: RequestContext::request_id_of(Some(call.id.as_str())),
                trace_id: None,
                principal: None,
                priority: Priority::Low,
            },
        };
        let summary = self.predictor.score(&request, &mut |_| {}).await?;
        Ok(Value::from(json!(summary)))
    }
}

fn features(arguments: &Arguments<'_>) -> Result<Option<FeaturesFrom>, Error> {
    match arguments.text("features")? {
        None => Ok(None),
        Some("offline") => Ok(Some(FeaturesFrom::Offline)),
        Some("online") => Ok(Some(FeaturesFrom::Online)),
        Some(other) => Err(arguments.wrong(format!(
            "`features` is `{other}`, and neither `offline` nor `online`"
        ))),
    }
}
