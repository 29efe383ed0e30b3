//! Wiring only: configuration to backends to predictor to servers; the order of start and stop.
//!
//! Start: features, ONNX Runtime, audit log, job queue, sockets, then the models, then the worker; what is missing before
//! the sockets are bound ends the process, a model that does not load stops only itself.
//! Stop: not ready, stop accepting and claiming, finish what is in flight, hand back the jobs that take too long, ship the
//! audit events that are left.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::TcpListener;

use crate::audit::http::HttpLog;
use crate::audit::recent::Trail;
use crate::audit::{AuditLog, Shipper, Shipping};
use crate::config::{Config, Environment};
use crate::error::{Failure, with_causes};
use crate::features::FeatureStore;
use crate::features::registry::RegistryChanges;
use crate::features::repo::Repo;
use crate::grpc;
use crate::http::{self, Api};
use crate::inference::Runtime;
use crate::jobs;
use crate::jobs::worker::{self, Worker};
use crate::memory;
use crate::models::registry::ModelRegistry;
use crate::models::{self, Choice, Policy, Watcher};
use crate::predict::gate::{Record, Reports};
use crate::predict::{self, Models, PlanBinder, Predictor};
use crate::shutdown::Shutdown;
use crate::tasks::{Tasks, Webhooks};
use crate::telemetry::metrics::Metrics;
use crate::workers::{self, Workers};

/// Everything that runs.
pub struct App {
    api: Arc<Api>,
    shutdown: Shutdown,
    drain_timeout: Duration,
    /// Bring audit events from the spools to the sinks; end after everything that leaves any.
    shipping: Vec<Shipping>,
    ship_timeout: Duration,
    address: Option<SocketAddr>,
    grpc_address: Option<SocketAddr>,
}

impl App {
    /// Opens everything but the socket and loads the models: for commands that need the predictor once.
    pub async fn start(config: Config, environment: &Environment) -> Result<Self> {
        let features = open_features(&config, environment).await?;
        Box::pin(Self::start_over(config, environment, features)).await
    }

    /// The same, and an online store on this machine need not be there: for commands that may do without.
    pub async fn start_offline(config: Config, environment: &Environment) -> Result<Self> {
        let features = open_feature_repo(&config, environment).await?;
        Box::pin(Self::start_over(config, environment, features)).await
    }

    async fn start_over(
        config: Config,
        environment: &Environment,
        features: Option<Arc<FeatureStore>>,
    ) -> Result<Self> {
        let parts = Parts::over(features, &config, environment, None).await?;
        let (api, mut watcher, shippers) = parts.assemble(&config, Shutdown::new(), None, None)?;
        let app = Self::of(api, shippers, &config, None)?;
        watcher.start().await;
        warn_of_unknown(&watcher.catalog(), &config);
        Ok(app)
    }

    /// Serves until `shutdown` is told to stop. Returns once every model was tried.
    pub async fn serve(
        config: Config,
        environment: &Environment,
        shutdown: &Shutdown,
    ) -> Result<Self> {
        let parts = Parts::open(&config, environment, Some(record(&config))).await?;
        let (listener, address) = bind(config.http.listen, "http.listen").await?;
        let grpc = match config.http.grpc_listen {
            Some(address) => Some(bind(address, "http.grpc_listen").await?),
            None => None,
        };
        let jobs = open_jobs(&config, shutdown).await?;
        let http_audit = HttpLog::start(&config.audit, &parts.metrics);
        let http_audit = http_audit.map_err(|error| explained(&error))?;
        let (api, watcher, shippers) =
            parts.assemble(&config, shutdown.clone(), Some(jobs), http_audit)?;
        let mut app = Self::of(api, shippers, &config, Some(address))?;
        let worker = match config.jobs.worker.in_server {
            true => Some(app.worker(&config)?),
            false => None,
        };
        app.spawn_server(listener)?;
        tracing::info!("listening on http://{address} (Swagger UI at http://{address}/docs)");
        if let Some((listener, address)) = grpc {
            app.spawn_grpc(listener);
            app.grpc_address = Some(address);
            tracing::info!("gRPC listening on {address}");
        }
        if app.come_up(watcher, &config).await {
            app.verify_features(&config);
            if let Some(worker) = worker {
                app.outlast(&config);
                shutdown.spawn("worker", worker.run());
            }
        }
        Ok(app)
    }

    /// Runs jobs until `shutdown` is told to stop, and answers nobody. Returns once every model was tried.
    pub async fn work(
        config: Config,
        environment: &Environment,
        shutdown: &Shutdown,
    ) -> Result<Self> {
        let parts = Parts::open(&config, environment, Some(record(&config))).await?;
        let jobs = open_jobs(&config, shutdown).await?;
        let (api, watcher, shippers) =
            parts.assemble(&config, shutdown.clone(), Some(jobs), None)?;
        let mut app = Self::of(api, shippers, &config, None)?;
        let worker = app.worker(&config)?;
        if app.come_up(watcher, &config).await {
            app.outlast(&config);
            shutdown.spawn("worker", worker.run());
        }
        Ok(app)
    }

    /// Scores what a cluster asks this process for, until `shutdown` is told to stop. Returns once every model was tried.
    #[cfg(feature = "cluster")]
    pub async fn execute(
        config: Config,
        environment: &Environment,
        shutdown: &Shutdown,
    ) -> Result<Self> {
        let features = open_feature_repo(&config, environment).await?;
        let parts = Parts::over(features, &config, environment, None).await?;
        let (api, watcher, shippers) = parts.assemble(&config, shutdown.clone(), None, None)?;
        let app = Self::of(api, shippers, &config, None)?;
        app.come_up(watcher, &config).await;
        Ok(app)
    }

    /// Loads the models and follows what changes; `false` if the process was told to stop meanwhile.
    async fn come_up(&self, mut watcher: Watcher<PlanBinder>, config: &Config) -> bool {
        let shutdown = &self.shutdown;
        if let Some(features) = &self.api.features {
            features.watch(shutdown, self.api.metrics.feature_registry());
            for error in features.check_on_demand() {
                tracing::warn!(code = error.code(), "{error}");
            }
        }
        let changes = self.api.features.as_ref().map(|store| store.subscribe());
        tokio::select! {
            () = watcher.start() => {}
            () = shutdown.stopped() => return false,
        }
        warn_of_unknown(&watcher.catalog(), config);
        let readiness = self.api.predictor.models().readiness();
        tracing::info!(
            loaded = readiness.n_loaded,
            failed = readiness.failed.len(),
            "models are loaded"
        );
        if let Some(changes) = changes {
            follow(changes, watcher.handle(), shutdown);
        }
        shutdown.spawn("model watcher", watcher.run(shutdown.clone()));
        shutdown.spawn("memory", memory::give_back(shutdown.clone()));
        true
    }

    /// Holds the online store against the offline store from time to time, if the configuration says so.
    fn verify_features(&self, config: &Config) {
        if let Some(features) = &self.api.features {
            let metrics = self.api.metrics.feature_skew();
            features.verify_regularly(&config.features.verify, metrics, &self.shutdown);
        }
    }

    /// What runs the jobs of the queue.
    fn worker(&self, config: &Config) -> Result<Worker> {
        let api = &self.api;
        let jobs = api.jobs.as_ref().context("there is no job queue")?;
        let tasks = Tasks {
            predictor: api.predictor.clone(),
            features: api.features.clone(),
            max_rows: config.http.max_rows.get(),
            client: jobs.client.clone(),
            webhooks: Arc::clone(&jobs.webhooks),
            files: config.jobs.files.clone(),
        };
        let parts = worker::Parts {
            client: jobs.client.clone(),
            handler: Arc::new(tasks),
            config: &config.jobs,
            metrics: api.metrics.jobs(),
            shutdown: self.shutdown.clone(),
        };
        Worker::new(parts).map_err(|error| explained(&error))
    }

    /// The worker has its time to stop, and then the queue has to hear of it.
    fn outlast(&mut self, config: &Config) {
        let longest = config.jobs.worker.drain_timeout + Duration::from_secs(5);
        self.drain_timeout = self.drain_timeout.max(longest);
    }

    fn of(
        api: Arc<Api>,
        shippers: Vec<Shipper>,
        config: &Config,
        address: Option<SocketAddr>,
    ) -> Result<Self> {
        let shipping = shippers.into_iter().map(Shipper::start);
        let shipping = shipping.collect::<std::io::Result<_>>();
        Ok(Self {
            shutdown: api.shutdown.clone(),
            api,
            drain_timeout: config.http.drain_timeout,
            shipping: shipping.context("cannot ship audit events")?,
            ship_timeout: config.audit.drain_timeout,
            address,
            grpc_address: None,
        })
    }

    fn spawn_server(&self, listener: TcpListener) -> Result<()> {
        let config = &self.api.config;
        let n_workers = config.workers.unwrap_or_else(workers::default_count);
        let workers = Workers::start(n_workers, config.busy_poll)
            .with_context(|| format!("cannot start {n_workers} threads (`http.workers`)"))?;
        let router = http::router(Arc::clone(&self.api));
        let server = http::serve(listener, workers, router, self.shutdown.clone());
        self.shutdown.spawn("http", server);
        Ok(())
    }

    fn spawn_grpc(&self, listener: TcpListener) {
        let api = grpc::Api {
            features: self.api.features.clone(),
            predictor: self.api.predictor.clone(),
            registry: self.api.registry.clone(),
            ready: self.api.ready,
            max_message: self.api.config.max_body.as_usize(),
            max_oip_message: self.api.config.oip.max_body.as_usize(),
            max_rows: self.api.config.max_rows.get(),
            request_timeout: self.api.config.request_timeout,
            shutdown: self.shutdown.clone(),
        };
        self.shutdown
            .spawn("grpc", grpc::serve(listener, Arc::new(api)));
    }

    pub fn api(&self) -> &Arc<Api> {
        &self.api
    }

    /// The address listened on.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// The address that gRPC listens on.
    pub fn grpc_address(&self) -> Option<SocketAddr> {
        self.grpc_address
    }

    /// Stops in order; requests in flight have `http.drain_timeout` to finish, then audit events `audit.drain_timeout` to
    /// be shipped.
    pub async fn stop(self) {
        self.shutdown.stop();
        if !self.shutdown.drain(self.drain_timeout).await {
            tracing::warn!(limit = ?self.drain_timeout, "requests were still in flight when the time to stop was over");
        }
        let finish = self
            .shipping
            .into_iter()
            .map(|shipping| shipping.finish(self.ship_timeout));
        let finished = futures::future::join_all(finish).await;
        if finished.contains(&false) {
            tracing::warn!(limit = ?self.ship_timeout, "audit events are left in the spool; they are shipped at the next start");
        }
        tracing::info!("stopped");
    }
}

/// A socket, and the address that it really has.
async fn bind(address: SocketAddr, option: &str) -> Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address} (`{option}`)"))?;
    let address = listener.local_addr().context("the socket has no address")?;
    Ok((listener, address))
}

/// What the predictor is made of, opened.
struct Parts {
    features: Option<Arc<FeatureStore>>,
    watcher: Watcher<PlanBinder>,
    metrics: Arc<Metrics>,
}

impl Parts {
    /// `record`: recorded predictions that versions are warmed up and judged by.
    async fn open(
        config: &Config,
        environment: &Environment,
        record: Option<Record>,
    ) -> Result<Self> {
        let features = open_features(config, environment).await?;
        Self::over(features, config, environment, record).await
    }

    async fn over(
        features: Option<Arc<FeatureStore>>,
        config: &Config,
        environment: &Environment,
        record: Option<Record>,
    ) -> Result<Self> {
        let runtime = open_runtime(config, environment)?;
        tracing::info!("ONNX Runtime {}", runtime.version());
        let variable = |name: &str| environment.get(name).map(str::to_owned);
        // It may be named by MLflow's variables alone; what it polls and where it caches goes with it.
        let named = config.registry.resolved(&variable);
        let named = named.map_err(|error| explained(&error))?;
        let registry = match features {
            Some(_) => named.connect_optional(&variable),
            None => named.connect(&variable),
        };
        let registry = registry.map_err(|error| explained(&error))?;
        tracing::info!("model registry: {}", registry.location());
        let metrics = Arc::new(Metrics::new());
        let mut binder = PlanBinder::new(
            features.clone(),
            config.models.clone(),
            Arc::clone(&metrics),
        );
        if let Some(record) = record {
            binder = binder.with_record(record);
        }
        let loader = models::Loader::new(registry, runtime, binder, policy(config))
            .with_traffic(predict::traffic_rules(&config.models));
        let settings = models::Settings {
            poll: named.poll(),
            cache: named.cache_dir().map(Into::into),
            metrics: metrics.models(),
        };
        // A registry that is not there keeps the server from starting, unless there is what served last.
        let watcher = Watcher::open(loader, settings).await;
        let watcher = watcher.map_err(|error| explained(&error))?;
        if watcher.is_empty() {
            tracing::warn!("there are no models; features alone are served");
        }
        Ok(Self {
            features,
            watcher,
            metrics,
        })
    }

    fn assemble(
        self,
        config: &Config,
        shutdown: Shutdown,
        jobs: Option<http::jobs::Jobs>,
        http_audit: Option<(HttpLog, [Shipper; 2])>,
    ) -> Result<(Arc<Api>, Watcher<PlanBinder>, Vec<Shipper>)> {
        let (audit, shipper) =
            AuditLog::start(&config.audit, &self.metrics).map_err(|error| explained(&error))?;
        let mut shippers = vec![shipper];
        let http_audit = http_audit.map(|(log, of_http)| {
            shippers.extend(of_http);
            Arc::new(log)
        });
        let watcher = self.watcher;
        let api = Api {
            config: config.http.clone(),
            predictor: Predictor::new(
                watcher.catalog(),
                self.features.clone(),
                Arc::new(audit),
                Arc::clone(&self.metrics),
                shutdown.clone(),
            ),
            features: self.features,
            metrics: self.metrics,
            shutdown,
            ready: config.serving.ready,
            jobs,
            materializing: http::Materializing::default(),
            historical: http::historical::Joins::new(&config.http.historical),
            registry: watcher.handle(),
            http_audit,
            gates: record(config).reports,
            webhook: http::Webhook::new(&config.serving.webhook, watcher.handle()),
        };
        Ok((Arc::new(api), watcher, shippers))
    }
}

/// The recorded predictions of this server, and where the reports of gates are.
fn record(config: &Config) -> Record {
    Record {
        trail: Trail::of(&config.audit),
        reports: Reports::new(config.audit.file.directory.join("gate")),
    }
}

/// The job queue, and who may be told of the ends of jobs.
async fn open_jobs(config: &Config, shutdown: &Shutdown) -> Result<http::jobs::Jobs> {
    let client = open_queue(config, shutdown).await?;
    let webhooks = Webhooks::new(&config.jobs.webhook).map_err(|error| anyhow::anyhow!(error))?;
    tracing::info!("jobs: {}", client.describe());
    Ok(http::jobs::Jobs {
        client,
        webhooks: Arc::new(webhooks),
    })
}

/// The job queue of the configuration.
pub async fn open_queue(config: &Config, shutdown: &Shutdown) -> Result<jobs::Client> {
    let client = jobs::open(&config.jobs, shutdown).await;
    client.map_err(|error| explained(&error))
}

/// The feature store, ready to be read: an online store on this machine must be there.
pub async fn open_features(
    config: &Config,
    environment: &Environment,
) -> Result<Option<Arc<FeatureStore>>> {
    let store = open_feature_repo(config, environment).await?;
    if let Some(store) = &store {
        check_online_store(store).await?;
    }
    Ok(store)
}

/// The feature store, if there is a feature repository: the configured one must be there, the default one may.
pub async fn open_feature_repo(
    config: &Config,
    environment: &Environment,
) -> Result<Option<Arc<FeatureStore>>> {
    let variable = |name: &str| environment.get(name).map(str::to_owned);
    let offline = &config.offline;
    let config = &config.features;
    let may_be_absent = config.is_default_repo() && !Repo::is_in(&variable);
    if config.repo.as_os_str().is_empty() || (may_be_absent && !config.repo.exists()) {
        tracing::warn!(
            "no feature repository: only models that take all inputs from the request can be served"
        );
        return Ok(None);
    }
    let store = FeatureStore::open_with(config, offline, &variable)
        .await
        .map_err(|error| explained(&error))?;
    let described = store.describe();
    tracing::info!("{described}");
    for note in &described.notes {
        tracing::info!("feature repository: {note}");
    }
    Ok(Some(Arc::new(store)))
}

/// A store on this machine that is not there is a mistake; one across the network may come back.
async fn check_online_store(store: &FeatureStore) -> Result<()> {
    match store.ping().await {
        Ok(()) => Ok(()),
        Err(error) if store.is_local() => Err(explained(&error)),
        Err(error) => {
            tracing::warn!(
                code = error.code(),
                "{error}; predictions with features fail until it is back"
            );
            Ok(())
        }
    }
}

/// The ONNX Runtime library.
pub fn open_runtime(config: &Config, environment: &Environment) -> Result<Runtime> {
    let path = environment.get("ORT_DYLIB_PATH").map(Into::into);
    Runtime::load(&config.inference, path).map_err(|error| explained(&error))
}

/// The registry of models.
pub fn open_registry(config: &Config, environment: &Environment) -> Result<Arc<dyn ModelRegistry>> {
    let variable = |name: &str| environment.get(name).map(str::to_owned);
    let registry = config.registry.connect(&variable);
    registry.map_err(|error| explained(&error))
}

/// Which versions are served: the settings for all models, and what is set for single ones.
pub fn policy(config: &Config) -> Policy {
    let models = config.models.iter().map(|(name, model)| {
        let choice = Choice {
            version: model.version,
            alias: model.alias.clone(),
            followed: model.traffic.aliases().map(str::to_owned).collect(),
        };
        (name.clone(), choice)
    });
    Policy {
        config: config.serving.clone(),
        models: models.collect(),
    }
}

/// Has the models bound anew each time the feature registry changes, until the process stops.
fn follow(mut changes: RegistryChanges, handle: models::Handle, shutdown: &Shutdown) {
    let stop = shutdown.clone();
    shutdown.spawn("feature changes", async move {
        loop {
            tokio::select! {
                () = stop.stopped() => return,
                change = changes.next() => match change {
                    Some(_) => handle.features_changed(),
                    None => return,
                }
            }
        }
    });
}

/// Settings for models that the registry does not have: most likely a slip of the pen.
fn warn_of_unknown(catalog: &Models, config: &Config) {
    let is_unknown = |name: &str| catalog.model(name).is_err();
    for name in config.models.keys().filter(|name| is_unknown(name)) {
        tracing::warn!(
            "`[models.{name}]` is configured, and there is no such model in the registry"
        );
    }
    let listed = config.serving.versions.names();
    for name in listed.filter(|name| is_unknown(name)) {
        tracing::warn!(
            "`serving.versions` names `{name}`, and there is no such model in the registry"
        );
    }
}

/// The failure with its causes and its hint, on one line.
fn explained(failure: &dyn Failure) -> anyhow::Error {
    let text = with_causes(failure);
    match failure.hint() {
        Some(hint) => anyhow::anyhow!("{text} ({hint})"),
        None => anyhow::anyhow!("{text}"),
    }
}
