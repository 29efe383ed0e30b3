//! What a verification found.

use crate::features::Error;
use crate::types::timestamp::Timestamp;
use crate::types::value::Value;

/// Of each feature at most so many mismatches are shown.
pub(super) const MAX_EXAMPLES: usize = 3;

#[derive(Debug)]
pub struct Report {
    pub views: Vec<ViewReport>,
    pub not_verified: Vec<NotVerified>,
}

/// A view of which nothing was compared, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotVerified {
    pub view: String,
    pub reason: String,
}

#[derive(Debug)]
pub struct ViewReport {
    pub view: String,
    pub outcome: Result<ViewSkew, Error>,
}

/// One view, held against its source.
#[derive(Debug, Clone, PartialEq)]
pub struct ViewSkew {
    /// Entity keys that were looked for.
    pub n_sampled: usize,
    /// Of these, keys that the online store does not have.
    pub n_not_online: usize,
    /// Of these, keys that materializing should have left there: each feature of them is a mismatch.
    pub n_missed: usize,
    /// In the order of the view.
    pub features: Vec<FeatureSkew>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct FeatureSkew {
    pub feature: String,
    pub n_compared: usize,
    pub n_mismatched: usize,
    /// The first mismatches, three at most.
    pub examples: Vec<Mismatch>,
}

/// One feature of one entity, online and offline.
#[derive(Debug, Clone, PartialEq)]
pub struct Mismatch {
    /// Join keys and their values, in the order of the view.
    pub entity_key: Vec<(String, Value)>,
    /// Of the online row; of the offline row where there is none online.
    pub event_timestamp: Timestamp,
    pub online: Side,
    pub offline: Side,
}

/// What one of the stores has.
#[derive(Debug, Clone, PartialEq)]
pub enum Side {
    /// Online, no such row or no such feature in it; offline, no row at that time.
    Missing,
    /// Also null.
    Value(Value),
    /// Bytes that are no feature value.
    Invalid,
}

impl Report {
    pub fn n_compared(&self) -> usize {
        self.features().map(|(_, feature)| feature.n_compared).sum()
    }

    pub fn n_mismatched(&self) -> usize {
        let counts = self.features().map(|(_, feature)| feature.n_mismatched);
        counts.sum()
    }

    /// Every feature that was verified, with its view.
    pub fn features(&self) -> impl Iterator<Item = (&str, &FeatureSkew)> {
        self.verified()
            .flat_map(|(view, skew)| skew.features.iter().map(move |feature| (view, feature)))
    }

    /// The views that could be read.
    pub fn verified(&self) -> impl Iterator<Item = (&str, &ViewSkew)> {
        let views = self.views.iter();
        views.filter_map(|view| Some((view.view.as_str(), view.outcome.as_ref().ok()?)))
    }

    /// The views that could not be read.
    pub fn failed(&self) -> impl Iterator<Item = (&str, &Error)> {
        let views = self.views.iter();
        views.filter_map(|view| Some((view.view.as_str(), view.outcome.as_ref().err()?)))
    }
}

impl FeatureSkew {
    pub fn n_equal(&self) -> usize {
        self.n_compared - self.n_mismatched
    }
}

impl Side {
    /// `present`, `null`, `missing` or `invalid`.
    pub fn status(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Invalid => "invalid",
            Self::Value(Value::Null) => "null",
            Self::Value(_) => "present",
        }
    }
}
