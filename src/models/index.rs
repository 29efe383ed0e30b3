//! The registry's versions in one list, with how each stands here.

use std::sync::Arc;

use super::catalog::{ModelCatalog, VersionState};
use crate::types::names::ModelVersion;

/// A registered version. States are Triton's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub name: Arc<str>,
    /// Empty where the registry could say nothing about the model.
    pub version: String,
    /// `READY`, `LOADING` or `UNAVAILABLE`.
    pub state: &'static str,
    /// Why it is not ready; empty if it is.
    pub reason: String,
}

impl<P> ModelCatalog<P> {
    /// All registered versions by name and number, or only those that answer.
    pub fn index(&self, only_ready: bool) -> Vec<Entry> {
        let mut entries = Vec::new();
        for model in self.models() {
            let mut add = |version: String, state: &'static str, reason: String| {
                if !only_ready || state == "READY" {
                    entries.push(Entry {
                        name: Arc::clone(&model.name),
                        version,
                        state,
                        reason,
                    });
                }
            };
            if let (Err(failure), true) = (&model.serving, model.versions.is_empty()) {
                add(String::new(), "UNAVAILABLE", failure.to_string());
            }
            for status in &model.versions {
                let (state, reason) = match &status.state {
                    VersionState::Loaded(_) => ("READY", String::new()),
                    VersionState::Loading => ("LOADING", String::new()),
                    VersionState::Failed(failure) => ("UNAVAILABLE", failure.to_string()),
                    VersionState::NotServed => {
                        ("UNAVAILABLE", "no alias or setting wants it".to_owned())
                    }
                };
                add(status.version.to_string(), state, reason);
            }
        }
        entries
    }

    /// The versions of a model that answer, in ascending order.
    pub fn loaded_versions_of(&self, name: &str) -> Vec<String> {
        let Ok(model) = self.model(name) else {
            return Vec::new();
        };
        let loaded = model
            .versions
            .iter()
            .filter(|status| matches!(status.state, VersionState::Loaded(_)));
        let loaded: Vec<ModelVersion> = loaded.map(|status| status.version).collect();
        loaded.iter().map(ToString::to_string).collect()
    }
}
