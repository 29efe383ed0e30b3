//! What the names of one model stand for: what the registry wants where that is loaded, else what served before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::wish::Wish;
use crate::models::catalog::{Behind, Serving};
use crate::types::names::ModelVersion;

/// What the names of one model stand for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Places {
    /// Absent where the registry could never say.
    pub(super) serving: Option<Serving>,
    pub(super) aliases: BTreeMap<Arc<str>, ModelVersion>,
}

/// The outcome of choosing.
pub(super) struct Chosen {
    pub(super) places: Places,
    pub(super) behind: Vec<Behind>,
    /// Versions that served before, are wanted in place of one that failed, and are not loaded.
    pub(super) stand_ins: BTreeSet<ModelVersion>,
}

/// What is known of a version when its name is placed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    Loaded,
    Failed,
    Nothing,
}

impl Places {
    /// `self` is what the names stood for when that was last a loaded version.
    /// `is_held`: the version must not take the plain name, nor the alias that it goes by, in place of what they stood for.
    pub(super) fn choose(
        &self,
        wish: &Wish,
        known: impl Fn(ModelVersion) -> Known,
        is_held: impl Fn(ModelVersion) -> bool,
    ) -> Chosen {
        let serving = wish.serving.as_ref().ok();
        let serving_alias = serving.and_then(|serving| serving.alias.as_deref());

        let mut chosen = Chosen {
            places: Self::default(),
            behind: Vec::new(),
            stand_ins: BTreeSet::new(),
        };
        for (alias, wanted) in &wish.registered.aliases {
            let alias: Arc<str> = Arc::from(alias.as_str());
            let before = self.aliases.get(&alias).copied();
            let before = before.filter(|_| wish.followed.contains(&alias));
            let is_held = serving_alias == Some(&*alias) && is_held(*wanted);
            let version = chosen.place(*wanted, before, is_held, &known);
            if version != *wanted {
                chosen.behind.push(Behind {
                    alias: Some(Arc::clone(&alias)),
                    wanted: *wanted,
                    served: version,
                });
            }
            chosen.places.aliases.insert(alias, version);
        }
        if let Ok(serving) = &wish.serving {
            let before = self.serving.as_ref().map(|before| before.version);
            let is_held = is_held(serving.version);
            let version = chosen.place(serving.version, before, is_held, &known);
            let of_alias = serving
                .alias
                .as_ref()
                .and_then(|a| chosen.places.aliases.get(a));
            if version != serving.version && of_alias != Some(&version) {
                chosen.behind.push(Behind {
                    alias: None,
                    wanted: serving.version,
                    served: version,
                });
            }
            let alias = serving.alias.clone();
            chosen.places.serving = Some(Serving { version, alias });
        }
        chosen
    }

    /// What to remember: places that stand for loaded versions; of the others what was remembered before.
    pub(super) fn remember(&mut self, chosen: &Self, is_loaded: impl Fn(ModelVersion) -> bool) {
        self.aliases
            .retain(|alias, _| chosen.aliases.contains_key(alias));
        for (alias, version) in &chosen.aliases {
            if is_loaded(*version) {
                self.aliases.insert(Arc::clone(alias), *version);
            }
        }
        match &chosen.serving {
            Some(serving) if is_loaded(serving.version) => self.serving = Some(serving.clone()),
            Some(_) => {}
            None => self.serving = None,
        }
    }
}

impl Chosen {
    fn place(
        &mut self,
        wanted: ModelVersion,
        before: Option<ModelVersion>,
        is_held: bool,
        known: &impl Fn(ModelVersion) -> Known,
    ) -> ModelVersion {
        let Some(before) = before.filter(|before| *before != wanted) else {
            return wanted;
        };
        match (known(wanted), known(before)) {
            (Known::Loaded, Known::Loaded) if is_held => before,
            (Known::Loaded, Known::Nothing) if is_held => {
                self.stand_ins.insert(before);
                before
            }
            (Known::Loaded, _) => wanted,
            (Known::Failed | Known::Nothing, Known::Loaded) => before,
            (Known::Failed, Known::Nothing) => {
                self.stand_ins.insert(before);
                wanted
            }
            (Known::Failed, Known::Failed) | (Known::Nothing, _) => wanted,
        }
    }
}
