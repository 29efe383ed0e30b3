//! What librdkafka tells of its connections: the beginning and the end of an outage go to our log, once.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;

#[derive(Debug, Default)]
pub(super) struct Log(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Since when no broker is reached.
    outage: Option<Instant>,
    /// Why a connection failed, the last time; the error of a call only says that there is none.
    said: Option<String>,
}

impl Log {
    /// Why brokers are not reached, if that was ever said.
    pub(super) fn said(&self) -> Option<String> {
        self.state().said.clone()
    }

    /// A broker took something.
    pub(super) fn works(&self) {
        if self.state().outage.take().is_some() {
            tracing::info!("Kafka takes audit events again");
        }
    }

    /// Why no broker was reached for so long.
    pub(super) fn lasting(&self, limit: Duration) -> Option<String> {
        let state = self.state();
        let lasted = state.outage?.elapsed();
        if lasted < limit {
            return None;
        }
        let said = state.said.as_deref().unwrap_or("no broker is reached");
        Some(format!(
            "no broker answers for {} s: {said}",
            lasted.as_secs()
        ))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Log {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(target: "librdkafka", ?level, facility, message);
    }

    /// One broker of several may be away without harm; the others tell when the last of them is.
    fn error(&self, error: KafkaError, reason: &str) {
        let mut state = self.state();
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            state.said = Some(reason.to_owned());
            return;
        }
        if state.outage.is_none() {
            let reason = state.said.as_deref().unwrap_or(reason);
            tracing::warn!(reason, "no Kafka broker is reached");
            state.outage = Some(Instant::now());
        }
    }
}

impl ConsumerContext for Log {}

/// Of a producer that produces nothing.
impl ProducerContext for Log {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_lasts_from_the_loss_of_the_last_broker_to_the_next_report() {
        let log = Log::default();
        let error = |code| KafkaError::Global(code);
        log.error(
            error(RDKafkaErrorCode::BrokerTransportFailure),
            "one: refused",
        );
        assert_eq!(log.lasting(Duration::ZERO), None);
        log.error(
            error(RDKafkaErrorCode::AllBrokersDown),
            "1/1 brokers are down",
        );
        let lasting = log.lasting(Duration::ZERO).unwrap();
        assert_eq!(lasting, "no broker answers for 0 s: one: refused");
        assert_eq!(log.lasting(Duration::from_secs(60)), None);
        log.works();
        assert_eq!(log.lasting(Duration::ZERO), None);
    }
}
