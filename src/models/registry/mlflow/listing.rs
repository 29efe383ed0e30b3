//! Registered models and their versions, as MLflow's search calls page them out.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::{API, Rest};
use crate::models::registry::{Error, Listing, RegisteredModel, is_model_name};
use crate::types::names::ModelVersion;

/// Most that MLflow takes for models; its default for versions.
const MODELS_PER_PAGE: &str = "1000";
const VERSIONS_PER_PAGE: &str = "10000";
/// A server that never ends is not listed.
const MAX_PAGES: usize = 1000;
/// Tags with this beginning stand on prompts, which are no models.
const PROMPT_TAG: &str = "mlflow.prompt";

/// What the last listing said of every version.
#[derive(Debug, Default)]
pub(super) struct Versions(HashMap<String, BTreeMap<ModelVersion, Known>>);

/// What matters for fetching a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    /// Tells it from another version of the same number.
    pub(super) identity: String,
    pub(super) source: String,
    status: String,
    status_message: String,
}

#[derive(Deserialize)]
struct ModelsPage {
    #[serde(default)]
    registered_models: Vec<Model>,
    #[serde(default)]
    next_page_token: String,
}

#[derive(Deserialize)]
struct VersionsPage {
    #[serde(default)]
    model_versions: Vec<Version>,
    #[serde(default)]
    next_page_token: String,
}

#[derive(Deserialize)]
struct Model {
    name: String,
    #[serde(default)]
    tags: Vec<Tag>,
    #[serde(default)]
    aliases: Vec<Alias>,
}

#[derive(Deserialize)]
struct Tag {
    key: String,
    #[serde(default)]
    value: String,
}

#[derive(Deserialize)]
struct Alias {
    alias: String,
    version: String,
}

#[derive(Deserialize)]
struct Version {
    name: String,
    version: String,
    #[serde(default)]
    creation_timestamp: i64,
    #[serde(default)]
    source: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    status_message: String,
    #[serde(default)]
    tags: Vec<Tag>,
}

#[derive(Deserialize)]
struct OneVersion {
    model_version: Version,
}

impl Versions {
    pub(super) fn get(&self, model: &str, version: ModelVersion) -> Option<&Known> {
        self.0.get(model)?.get(&version)
    }
}

impl Known {
    /// Servers that do not tell have no other.
    pub(super) fn is_ready(&self) -> bool {
        matches!(self.status.as_str(), "READY" | "")
    }

    pub(super) fn not_ready(&self, model: &str, version: ModelVersion) -> Error {
        Error::NotReady {
            model: model.to_owned(),
            version,
            status: self.status.clone(),
            message: self.status_message.clone(),
        }
    }
}

impl Version {
    fn known(&self) -> Known {
        Known {
            identity: format!("{} {}", self.creation_timestamp, self.source),
            source: self.source.clone(),
            status: self.status.clone(),
            status_message: self.status_message.clone(),
        }
    }
}

/// Everything that is registered.
pub(super) async fn read(rest: &Rest) -> Result<(Vec<Listing>, Versions), Error> {
    let models = all_models(rest).await?;
    let mut versions: HashMap<String, Vec<Version>> = HashMap::new();
    for version in all_versions(rest).await? {
        versions
            .entry(version.name.clone())
            .or_default()
            .push(version);
    }
    let mut listed = BTreeMap::new();
    let mut known = Versions::default();
    for model in models {
        let versions = versions.remove(&model.name).unwrap_or_default();
        if is_prompt(&model.tags) || versions.is_empty() {
            continue;
        }
        if !is_model_name(&model.name) {
            tracing::debug!(model = model.name, "not listed: no request can name it");
            continue;
        }
        let by_number = number(rest, versions)?;
        let details = by_number
            .iter()
            .map(|(number, version)| (*number, version.known()));
        known.0.insert(model.name.clone(), details.collect());
        listed.insert(model.name.clone(), registered(rest, model, by_number));
    }
    let listings = listed.into_iter();
    let listings = listings.map(|(name, model)| Listing { name, model });
    Ok((listings.collect(), known))
}

fn registered(
    rest: &Rest,
    model: Model,
    versions: BTreeMap<ModelVersion, Version>,
) -> Result<RegisteredModel, Error> {
    let of_model = tags(model.tags);
    let versions = versions.into_iter().map(|(number, version)| {
        let mut all = of_model.clone();
        all.extend(tags(version.tags));
        (number, all)
    });
    let versions: BTreeMap<_, _> = versions.collect();
    let mut aliases = BTreeMap::new();
    for Alias { alias, version } in model.aliases {
        let version = parse(rest, &version)?;
        if !versions.contains_key(&version) {
            return Err(Error::AliasWithoutVersion {
                model: model.name,
                alias,
                version,
            });
        }
        aliases.insert(alias, version);
    }
    Ok(RegisteredModel { versions, aliases })
}

/// One version. Errors: `UnknownVersion` if there is no such.
pub(super) async fn version(
    rest: &Rest,
    model: &str,
    version: ModelVersion,
) -> Result<Known, Error> {
    let number = version.to_string();
    let query = [("name", model), ("version", number.as_str())];
    let path = format!("{API}/model-versions/get");
    match rest.get::<OneVersion>(&path, &query).await {
        Ok(answer) => Ok(answer.model_version.known()),
        // 400 is for names that cannot be.
        Err(Error::Refused {
            status: 400 | 404, ..
        }) => Err(Error::UnknownVersion {
            model: model.to_owned(),
            version,
        }),
        Err(error) => Err(error),
    }
}

/// The highest version in a stage.
pub(super) async fn newest_in_stage(
    rest: &Rest,
    model: &str,
    stage: &str,
) -> Result<ModelVersion, Error> {
    let body = json!({"name": model, "stages": [stage]});
    let path = format!("{API}/registered-models/get-latest-versions");
    let answer: VersionsPage = rest.post(&path, &body).await?;
    let numbers = answer
        .model_versions
        .iter()
        .map(|version| parse(rest, &version.version));
    let newest = numbers.collect::<Result<Vec<_>, _>>()?.into_iter().max();
    newest.ok_or_else(|| Error::UnknownUri {
        uri: format!("models:/{model}/{stage}"),
        reason: "no version is in this stage".to_owned(),
    })
}

async fn all_models(rest: &Rest) -> Result<Vec<Model>, Error> {
    pages(
        rest,
        "registered-models/search",
        MODELS_PER_PAGE,
        |page: ModelsPage| (page.registered_models, page.next_page_token),
    )
    .await
}

async fn all_versions(rest: &Rest) -> Result<Vec<Version>, Error> {
    pages(
        rest,
        "model-versions/search",
        VERSIONS_PER_PAGE,
        |page: VersionsPage| (page.model_versions, page.next_page_token),
    )
    .await
}

async fn pages<P: DeserializeOwned, T>(
    rest: &Rest,
    call: &str,
    per_page: &str,
    take: impl Fn(P) -> (Vec<T>, String),
) -> Result<Vec<T>, Error> {
    let path = format!("{API}/{call}");
    let mut all = Vec::new();
    let mut token = String::new();
    for _ in 0..MAX_PAGES {
        let first = [("max_results", per_page)];
        let later = [("max_results", per_page), ("page_token", token.as_str())];
        let query = if token.is_empty() {
            &first[..]
        } else {
            &later[..]
        };
        let (items, next) = take(rest.get(&path, query).await?);
        all.extend(items);
        if next.is_empty() {
            return Ok(all);
        }
        token = next;
    }
    Err(Error::NotMlflow {
        origin: rest.origin().to_owned(),
        call: path,
        reason: format!("the listing has over {MAX_PAGES} pages"),
    })
}

fn number(rest: &Rest, versions: Vec<Version>) -> Result<BTreeMap<ModelVersion, Version>, Error> {
    let numbered = versions.into_iter();
    let numbered = numbered.map(|version| Ok((parse(rest, &version.version)?, version)));
    numbered.collect()
}

fn parse(rest: &Rest, version: &str) -> Result<ModelVersion, Error> {
    let number = version.parse().map_err(|_| Error::NotMlflow {
        origin: rest.origin().to_owned(),
        call: "model-versions/search".to_owned(),
        reason: format!("`{version}` is no version number"),
    })?;
    Ok(ModelVersion(number))
}

fn is_prompt(tags: &[Tag]) -> bool {
    tags.iter().any(|tag| tag.key.starts_with(PROMPT_TAG))
}

fn tags(tags: Vec<Tag>) -> BTreeMap<String, String> {
    tags.into_iter().map(|tag| (tag.key, tag.value)).collect()
}
