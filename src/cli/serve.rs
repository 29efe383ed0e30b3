//! `terrarium serve`: the server, until it is told to stop.

use tokio::signal::unix::{SignalKind, signal};

use super::Failed;
use crate::app::App;
use crate::config::{Config, Environment};
use crate::shutdown::Shutdown;

pub(super) async fn run(config: Config, environment: Environment) -> Result<(), Failed> {
    let shutdown = Shutdown::new();
    let again = stop_on_signals(&shutdown)?;
    let app = App::serve(config, &environment, &shutdown)
        .await
        .map_err(|error| Failed::Start(format!("{error:#}")))?;
    shutdown.stopped().await;
    tokio::select! {
        () = app.stop() => Ok(()),
        // Whoever asks twice does not want to wait for what is in flight.
        () = again => Err(Failed::Command(Some("stopped with requests in flight".to_owned()))),
    }
}

/// Work that takes long, until a signal ends it: then it is dropped, which puts away what it has begun, such as a file that is
/// not whole, a statement of a database or a job of a cluster. The process waits for that.
pub(super) async fn unless_stopped<T>(work: impl Future<Output = T>) -> Result<T, Failed> {
    let shutdown = Shutdown::new();
    drop(stop_on_signals(&shutdown)?);
    tokio::select! {
        done = work => Ok(done),
        () = shutdown.stopped() => Err(Failed::Command(Some("stopped before the end".to_owned()))),
    }
}

/// SIGTERM and SIGINT ask for an orderly stop. The future resolves when one of them comes a second time.
pub(super) fn stop_on_signals(
    shutdown: &Shutdown,
) -> Result<impl Future<Output = ()> + use<>, Failed> {
    let caught = |kind| {
        signal(kind).map_err(|error| Failed::Start(format!("signals cannot be caught: {error}")))
    };
    let mut terminate = caught(SignalKind::terminate())?;
    let mut interrupt = caught(SignalKind::interrupt())?;
    let (sender, again) = tokio::sync::oneshot::channel::<()>();
    let stop = shutdown.clone();
    let mut next = async move || {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    };
    // Not tracked: it may wait for a second signal while everything else is being drained.
    shutdown.spawn_untracked("signals", async move {
        let name = next().await;
        tracing::info!("{name}: stopping");
        stop.stop();
        next().await;
        drop(sender);
    });
    Ok(async move {
        let _ = again.await;
    })
}
