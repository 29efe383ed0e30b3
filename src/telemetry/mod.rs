//! What the process tells about itself: log lines on stderr, metrics for Prometheus.
//!
//! Not here: the audit trail (`audit`), and the route that hands out the metrics (`http`).

pub mod logging;
pub mod metrics;
mod runs;
pub mod statistics;
