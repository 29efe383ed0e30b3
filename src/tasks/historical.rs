//! `historical_features(entities, out, ...)`: entity rows of a file in, a training set as a file out.
//!
//! The result is renamed into its place when it is whole, so that a job that runs twice leaves one file.

use serde_json::json;

use super::{Arguments, Error, Tasks};
use crate::features::historical::{Entities, EntityTypes, FileFormat, Request};
use crate::features::retrieve::{Naming, Wanted};
use crate::jobs::value::Value;
use crate::jobs::worker::Call;
use crate::shutdown::run_blocking;

const PARAMETERS: &[&str] = &[
    "entities",
    "out",
    "features",
    "service",
    "full_feature_names",
    "filter_by_created_timestamp",
];

impl Tasks {
    pub(super) async fn historical_features(&self, call: &Call) -> Result<Value, Error> {
        let arguments = Arguments::bind(call, PARAMETERS, 4)?;
        let wanted = wanted(&arguments)?;
        let naming = match arguments.flag("full_feature_names")? {
            true => Naming::Full,
            false => Naming::Short,
        };
        let filter_by_created_timestamp = arguments.flag("filter_by_created_timestamp")?;
        let store = self.store()?;
        let types = store.entity_types(&wanted, naming)?;
        let (from, to) = (
            arguments.required_text("entities")?,
            arguments.required_text("out")?,
        );
        let entities = self.entities(from, types).await?;
        let format = format_of(to)?;
        let to = self.file(to)?;
        let request = Request {
            wanted,
            naming,
            entities,
            filter_by_created_timestamp,
        };
        let joined = store.historical(request, call.deadline).await?;
        let notes = joined.schema.metadata().clone();
        let summary = joined.write_file(&to, format, &mut |_, _| {}).await?;
        let features = summary.features.iter();
        let features =
            features.map(|feature| json!({ "feature": feature.name, "n_null": feature.n_null }));
        Ok(Value::from(json!({
            "out": arguments.required_text("out")?,
            "n_rows": summary.n_rows,
            "features": features.collect::<Vec<_>>(),
            "metadata": notes,
        })))
    }

    async fn entities(&self, path: &str, types: EntityTypes) -> Result<Entities, Error> {
        let format = format_of(path)?;
        let file = self.file(path)?;
        let read = move || match format {
            FileFormat::Csv => Entities::of_csv(&file, &types),
            FileFormat::Parquet => {
                Entities::of_parquet(&file).map_err(crate::features::historical::Error::Entities)
            }
        };
        let read = run_blocking(read).await;
        Ok(read.map_err(crate::features::historical::Error::Panicked)??)
    }
}

fn wanted(arguments: &Arguments<'_>) -> Result<Wanted, Error> {
    match (arguments.text("service")?, arguments.texts("features")?) {
        (Some(service), None) => Ok(Wanted::Service(service.to_owned())),
        (None, Some(features)) => Ok(Wanted::Features(features)),
        _ => Err(arguments.wrong("either `features` or `service` is needed".to_owned())),
    }
}

fn format_of(path: &str) -> Result<FileFormat, Error> {
    FileFormat::of(path.as_ref()).ok_or_else(|| Error::File {
        path: path.to_owned(),
        problem: "its name ends neither in `.parquet` nor in `.csv`".to_owned(),
    })
}
