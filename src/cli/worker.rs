//! `terrarium worker`: runs jobs until it is told to stop.

use super::{Failed, serve};
use crate::app::App;
use crate::config::{Config, Environment};
use crate::shutdown::Shutdown;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Run so many jobs at once [default: `jobs.worker.concurrency`]
    #[arg(long, value_name = "N")]
    concurrency: Option<std::num::NonZeroUsize>,
    /// Take jobs from this queue in Redis [default: `jobs.redis.queue`]
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,
}

pub(super) async fn run(
    args: Args,
    mut config: Config,
    environment: Environment,
) -> Result<(), Failed> {
    if let Some(concurrency) = args.concurrency {
        config.jobs.worker.concurrency = concurrency;
    }
    if let Some(queue) = args.queue {
        let Some(redis) = &mut config.jobs.redis else {
            return Err(Failed::Start(
                "`--queue` names a queue in Redis, and none is configured (set `jobs.redis.url`)"
                    .to_owned(),
            ));
        };
        redis.queue = queue;
    }
    let shutdown = Shutdown::new();
    let again = serve::stop_on_signals(&shutdown)?;
    let app = App::work(config, &environment, &shutdown)
        .await
        .map_err(|error| Failed::Start(format!("{error:#}")))?;
    shutdown.stopped().await;
    tokio::select! {
        () = app.stop() => Ok(()),
        // Whoever asks twice does not want to wait for what runs: its leases run out.
        () = again => Err(Failed::Command(Some("stopped with jobs running".to_owned()))),
    }
}
