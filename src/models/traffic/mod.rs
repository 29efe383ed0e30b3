//! How the calls for a model's plain name are shared out: the settings, compiled against what is loaded.
//!
//! Compiled whenever the catalog is published (`Rules::apply`), so that a call only chooses. An alias that is not
//! registered, whose version is not loaded, or whose version does not agree with the main one, is left out with the
//! reason; its keys fall to the others, and no key of the others moves. With all left out the serving rule holds.
//! Not here: what a key is, how a call is split, how a shadow runs (`predict/rollout`).

mod choice;
mod config;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use self::choice::Seed;
pub use self::config::Config;
use super::catalog::{ModelStatus, Resolved, ServedVersion, Serving, VersionState};
use crate::error::{ErrorClass, Failure};
use crate::types::names::ModelVersion;

/// Says why callers could not be served by either of two versions in turn, if so.
pub type Agree<P> = fn(&ServedVersion<P>, &ServedVersion<P>) -> Result<(), String>;

/// The traffic settings of all models.
pub struct Rules<P> {
    by_model: BTreeMap<String, Arc<Rule>>,
    agree: Agree<P>,
}

/// The settings of one model, with what outlives a publish.
struct Rule {
    config: Config,
    shadow_permits: Arc<Semaphore>,
}

impl<P> Rules<P> {
    /// `agree` compares the main version with another.
    pub fn new<'a>(
        configs: impl IntoIterator<Item = (&'a str, &'a Config)>,
        agree: Agree<P>,
    ) -> Self {
        let asked_for = configs.into_iter().filter(|(_, config)| !config.is_empty());
        let by_model = asked_for.map(|(model, config)| {
            let rule = Rule {
                config: config.clone(),
                shadow_permits: Arc::new(Semaphore::new(config.shadow_concurrency.get())),
            };
            (model.to_owned(), Arc::new(rule))
        });
        Self {
            by_model: by_model.collect(),
            agree,
        }
    }

    /// Every plain name stands for one version.
    pub(super) fn none() -> Self {
        Self {
            by_model: BTreeMap::new(),
            agree: |_, _| Ok(()),
        }
    }

    /// Compiles the traffic of a model that is about to be published.
    pub(super) fn apply(&self, status: &mut ModelStatus<P>) {
        if let Some(rule) = self.by_model.get(&*status.name) {
            let traffic = Traffic::compile(status, rule, self.agree);
            status.traffic = Some(Arc::new(traffic));
        }
    }
}

/// Tells the log which aliases take no part, unless that was so `before` as well.
pub(super) fn tell<P>(status: &ModelStatus<P>, before: Option<&ModelStatus<P>>) {
    let Some(traffic) = &status.traffic else {
        return;
    };
    let told = before.and_then(|before| before.traffic.as_ref());
    for left_out in &traffic.left_out {
        if told.is_none_or(|told| !told.left_out.contains(left_out)) {
            let code = left_out.code();
            tracing::warn!(model = %status.name, code, "{left_out}; it takes no part");
        }
    }
}

/// How the calls for one model's plain name are shared out.
pub struct Traffic<P> {
    /// In ascending order of their aliases.
    shares: Vec<Share<P>>,
    /// The share whose version the others agree with: the serving alias if it has one, else the largest.
    main: usize,
    shadows: Vec<Variant<P>>,
    left_out: Vec<LeftOut>,
    rule: Arc<Rule>,
}

/// A version that takes part in a model's traffic.
pub struct Variant<P> {
    /// Absent only for a model that has no serving alias and is served at its highest version.
    pub alias: Option<Arc<str>>,
    pub version: Arc<ServedVersion<P>>,
}

struct Share<P> {
    variant: Variant<P>,
    weight: u32,
    seed: Seed,
    /// The share that answers for this one: aliases of one version answer together, under the one of the largest weight.
    answers: usize,
}

/// A share as it is shown.
pub struct ShareStatus<'a> {
    pub alias: Option<&'a str>,
    pub version: ModelVersion,
    pub weight: u32,
    /// Of all keys, from 0 to 1.
    pub share: f64,
}

impl<P> Variant<P> {
    pub fn resolved(&self) -> Resolved<P> {
        Resolved {
            version: Arc::clone(&self.version),
            alias: self.alias.clone(),
            traffic: None,
        }
    }
}

impl<P> Traffic<P> {
    fn compile(status: &ModelStatus<P>, rule: &Arc<Rule>, agree: Agree<P>) -> Self {
        let mut left_out = Vec::new();
        let mut shares = Vec::new();
        for (alias, &weight) in &rule.config.weights {
            match find(status, alias) {
                Ok(_) if weight == 0 => {}
                Ok(variant) => shares.push(Share {
                    variant,
                    weight,
                    seed: Seed::of(&status.name, alias),
                    answers: 0,
                }),
                Err(reason) => left_out.push(reason),
            }
        }
        if let Some(main) = main_of(&shares, status) {
            let main = Arc::clone(&shares[main].variant.version);
            shares.retain(|share| match agree(&main, &share.variant.version) {
                Ok(()) => true,
                Err(difference) => {
                    left_out.push(LeftOut::disagrees(&share.variant, main.version, difference));
                    false
                }
            });
        } else if let (Ok(Serving { alias, .. }), Some(version)) =
            (&status.serving, status.served())
        {
            let variant = Variant {
                alias: alias.clone(),
                version: Arc::clone(version),
            };
            shares.push(Share {
                variant,
                weight: 1,
                seed: Seed::of(&status.name, ""),
                answers: 0,
            });
        }
        join_versions(&mut shares);
        let mut shadows = Vec::new();
        for alias in &rule.config.shadow {
            match find(status, alias) {
                Ok(variant) => shadows.push(variant),
                Err(reason) => left_out.push(reason),
            }
        }
        Self {
            main: main_of(&shares, status).unwrap_or_default(),
            shares,
            shadows,
            left_out,
            rule: Arc::clone(rule),
        }
    }

    /// What the plain name resolves to; `None` if nothing that shares in it is loaded.
    pub(super) fn resolve(self: &Arc<Self>) -> Option<Resolved<P>> {
        let main = self.shares.get(self.main)?;
        let is_plain = self.only().is_some() && self.shadows.is_empty();
        Some(Resolved {
            traffic: (!is_plain).then(|| Arc::clone(self)),
            ..main.variant.resolved()
        })
    }

    /// The version that the others agree with, and what a call meets that cannot be shared out.
    pub fn main(&self) -> usize {
        self.main
    }

    /// The one that answers everything, if there is only one.
    pub fn only(&self) -> Option<usize> {
        let first = self.shares.first()?.answers;
        let one = self.shares.iter().all(|share| share.answers == first);
        one.then_some(first)
    }

    /// The variant that a key falls to, by its place. The same for the same bytes, always.
    pub fn choose(&self, key: &[u8]) -> usize {
        let draws = self.shares.iter().map(|share| (share.seed, share.weight));
        choice::choose(draws, key).map_or(self.main, |place| self.shares[place].answers)
    }

    /// The variant at a place that `main`, `only` or `choose` gave.
    pub fn variant(&self, place: usize) -> &Variant<P> {
        &self.shares[place].variant
    }

    /// A version that shares in the traffic, by its number.
    pub fn version(&self, version: ModelVersion) -> Option<&Arc<ServedVersion<P>>> {
        let mut versions = self.shares.iter().map(|share| &share.variant.version);
        versions.find(|served| served.version == version)
    }

    /// Versions that run on every answered call.
    pub fn shadows(&self) -> &[Variant<P>] {
        &self.shadows
    }

    /// One for each shadow run that may go on at once.
    pub fn shadow_permits(&self) -> &Arc<Semaphore> {
        &self.rule.shadow_permits
    }

    pub fn shadow_timeout(&self) -> Duration {
        self.rule.config.shadow_timeout
    }

    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// All shares, in ascending order of their aliases.
    pub fn shares(&self) -> impl Iterator<Item = ShareStatus<'_>> {
        let sum: f64 = self
            .shares
            .iter()
            .map(|share| f64::from(share.weight))
            .sum();
        self.shares.iter().map(move |share| ShareStatus {
            alias: share.variant.alias.as_deref(),
            version: share.variant.version.version,
            weight: share.weight,
            share: f64::from(share.weight) / sum,
        })
    }
}

/// The loaded version of an alias.
fn find<P>(status: &ModelStatus<P>, wanted: &str) -> Result<Variant<P>, LeftOut> {
    let left_out = |reason| LeftOut {
        alias: wanted.to_owned(),
        reason,
    };
    let found = status.aliases.iter().find(|(alias, _)| **alias == *wanted);
    let (alias, version) = found.ok_or_else(|| left_out(Reason::AliasUnknown))?;
    match status.version(*version).map(|status| &status.state) {
        Some(VersionState::Loaded(served)) => Ok(Variant {
            alias: Some(Arc::clone(alias)),
            version: Arc::clone(served),
        }),
        Some(VersionState::Failed(_) | VersionState::Loading | VersionState::NotServed) | None => {
            Err(left_out(Reason::NotLoaded { version: *version }))
        }
    }
}

/// The share of the serving alias, else the first of the largest ones.
fn main_of<P>(shares: &[Share<P>], status: &ModelStatus<P>) -> Option<usize> {
    let serving = status.serving.as_ref().ok();
    let serving = serving.and_then(|serving| serving.alias.as_deref());
    let by_alias = shares.iter().position(|share| {
        let alias = share.variant.alias.as_deref();
        alias.is_some() && alias == serving
    });
    by_alias.or_else(|| largest(shares.iter().enumerate()))
}

fn largest<'a, P: 'a>(shares: impl Iterator<Item = (usize, &'a Share<P>)>) -> Option<usize> {
    let mut largest: Option<(usize, u32)> = None;
    for (place, share) in shares {
        if largest.is_none_or(|(_, weight)| share.weight > weight) {
            largest = Some((place, share.weight));
        }
    }
    largest.map(|(place, _)| place)
}

/// Lets aliases of one version answer as one, so that no call is split between them.
fn join_versions<P>(shares: &mut [Share<P>]) {
    for place in 0..shares.len() {
        let version = shares[place].variant.version.version;
        let same = shares.iter().enumerate();
        let same = same.filter(|(_, share)| share.variant.version.version == version);
        shares[place].answers = largest(same).unwrap_or(place);
    }
}

/// An alias of the traffic settings that takes no part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("alias `{alias}` of the traffic settings {reason}")]
pub struct LeftOut {
    pub alias: String,
    pub reason: Reason,
}

/// Why an alias takes no part in the traffic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    #[error("is not registered")]
    AliasUnknown,
    #[error("points to version {version}, which is not loaded")]
    NotLoaded { version: ModelVersion },
    #[error("points to version {version}, which cannot stand in for version {main}: {difference}")]
    Disagrees {
        version: ModelVersion,
        main: ModelVersion,
        difference: String,
    },
}

impl LeftOut {
    fn disagrees<P>(variant: &Variant<P>, main: ModelVersion, difference: String) -> Self {
        Self {
            alias: variant.alias.as_deref().unwrap_or_default().to_owned(),
            reason: Reason::Disagrees {
                version: variant.version.version,
                main,
                difference,
            },
        }
    }
}

impl Failure for LeftOut {
    fn class(&self) -> ErrorClass {
        ErrorClass::Unavailable
    }

    fn code(&self) -> &'static str {
        match self.reason {
            Reason::AliasUnknown => "traffic_alias_not_found",
            Reason::NotLoaded { .. } => "traffic_version_not_loaded",
            Reason::Disagrees { .. } => "traffic_versions_disagree",
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self.reason {
            Reason::AliasUnknown => {
                "set the alias in the model registry, or take it out of the traffic settings"
            }
            Reason::NotLoaded { .. } => {
                "the versions in `/v1/models` say why; `serving.versions` says which are loaded"
            }
            Reason::Disagrees { .. } => {
                "versions that share calls must take and give the same; register a model of its own, or move the serving alias"
            }
        };
        Some(hint.to_owned())
    }
}
