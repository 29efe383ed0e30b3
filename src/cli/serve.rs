//! `terrarium serve`: the server, until it is told to stop.

use tokio::signal::unix::{SignalKind, signal};

use super::Failed;
use crate::app::App;
use crate::config::{Config, Environment};
use crate::shutdown::Shutdown;
use crate::telemetry::logging;

pub(super) async fn run(config: Config, environment: Environment) -> Result<(), Failed> {
    logging::init(&config.log).map_err(|error| Failed::start(&error))?;
    let shutdown = Shutdown::new();
    stop_on_signals(&shutdown)
        .map_err(|error| Failed::Start(format!("signals cannot be caught: {error}")))?;
    let app = App::serve(config, &environment, &shutdown)
        .await
        .map_err(|error| Failed::Start(error.to_string()))?;
    shutdown.stopped().await;
    app.stop().await;
    Ok(())
}

/// SIGTERM and SIGINT ask for an orderly stop.
fn stop_on_signals(shutdown: &Shutdown) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = shutdown.clone();
    shutdown.spawn("signals", async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
            _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
            () = stop.stopped() => {}
        }
        stop.stop();
    });
    Ok(())
}
