//! The shipper against a sink that fails in every way that one can.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::audit::sink::PATIENCE;
use crate::audit::spool::RECORD_HEADER;
use crate::telemetry::metrics::Metrics;
use crate::types::byte_size::ByteSize;

/// Fails every so many calls; 0 for never.
#[derive(Default, Clone, Copy)]
struct Failing {
    connect: usize,
    send: usize,
    delivered: usize,
}

/// Has what it delivered; acknowledges half of a batch at a time.
#[derive(Default, Clone)]
struct FakeSink {
    failing: Failing,
    n_connects: Arc<AtomicUsize>,
    n_sends: Arc<AtomicUsize>,
    n_delivers: Arc<AtomicUsize>,
    n_sent_bytes: Arc<AtomicUsize>,
    is_stalled: bool,
    /// Of every delivery.
    takes: Duration,
    /// The most events that were sent and not delivered.
    most_sent: Arc<AtomicUsize>,
    /// Sent since the last `connect` and not delivered.
    sent: Arc<Mutex<Vec<Offset>>>,
    delivered: Arc<Mutex<Vec<Offset>>>,
}

impl FakeSink {
    fn fails(counter: &AtomicUsize, every: usize) -> Result<(), sink::Error> {
        let n = counter.fetch_add(1, Ordering::Relaxed) + 1;
        match every > 0 && n.is_multiple_of(every) {
            true => Err(sink::Error {
                place: "nowhere".to_owned(),
                source: "on purpose".into(),
            }),
            false => Ok(()),
        }
    }

    fn sequences(&self) -> Vec<u64> {
        let delivered = self.delivered.lock().unwrap();
        delivered.iter().map(|offset| offset.sequence).collect()
    }
}

#[async_trait]
impl AuditSink for FakeSink {
    fn name(&self) -> &'static str {
        "fake"
    }

    async fn connect(&mut self) -> Result<(), sink::Error> {
        self.sent.lock().unwrap().clear();
        Self::fails(&self.n_connects, self.failing.connect)
    }

    async fn send(&mut self, batch: Batch) -> Result<(), sink::Error> {
        Self::fails(&self.n_sends, self.failing.send)?;
        self.n_sent_bytes
            .fetch_add(batch.n_bytes(), Ordering::Relaxed);
        let offsets = batch.events().iter().map(|event| event.offset);
        let mut sent = self.sent.lock().unwrap();
        sent.extend(offsets);
        self.most_sent.fetch_max(sent.len(), Ordering::Relaxed);
        Ok(())
    }

    async fn delivered(&mut self) -> Result<Offset, sink::Error> {
        if self.is_stalled {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(self.takes).await;
        tokio::task::yield_now().await;
        Self::fails(&self.n_delivers, self.failing.delivered)?;
        let mut sent = self.sent.lock().unwrap();
        let n = sent.len().div_ceil(2);
        let now: Vec<Offset> = sent.drain(..n).collect();
        let last = *now.last().unwrap();
        self.delivered.lock().unwrap().extend(now);
        Ok(last)
    }
}

struct Fixture {
    _directory: TempDir,
    appender: Arc<Mutex<Appender>>,
    metrics: Metrics,
    sink: FakeSink,
    shipper: Option<Shipper>,
}

impl Fixture {
    fn new(sink: FakeSink) -> Self {
        Self::with(sink, 2_000)
    }

    fn with(sink: FakeSink, segment_size: u64) -> Self {
        let directory = TempDir::new().unwrap();
        let config = spool::Config {
            segment_size: ByteSize::from_bytes(segment_size),
            ..spool::Config::default()
        };
        let spool = spool::open(&config, directory.path(), Uuid::now_v7(), "fake");
        let (appender, reader) = spool.unwrap();
        let appender = Arc::new(Mutex::new(appender));
        let metrics = Metrics::new();
        let shipper = Shipper::new(
            reader,
            Arc::clone(&appender),
            Box::new(sink.clone()),
            metrics.audit(),
        );
        Self {
            _directory: directory,
            appender,
            metrics,
            sink,
            shipper: Some(shipper),
        }
    }

    fn append(&self, n: usize, n_bytes: usize) {
        for _ in 0..n {
            let mut record = vec![b'x'; RECORD_HEADER + n_bytes];
            let _ = self.appender.lock().unwrap().append(&mut record).unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn events_arrive_in_order_and_at_least_once_whatever_fails() {
    for failing in [
        Failing::default(),
        Failing {
            connect: 2,
            ..Failing::default()
        },
        Failing {
            send: 3,
            ..Failing::default()
        },
        Failing {
            delivered: 4,
            ..Failing::default()
        },
        Failing {
            connect: 3,
            send: 5,
            delivered: 2,
        },
    ] {
        let mut fixture = Fixture::new(FakeSink {
            failing,
            ..FakeSink::default()
        });
        fixture.append(50, 100);
        let shipper = fixture.shipper.take().unwrap();
        let delivery = shipper.delivery();
        let shipping = shipper.start_on(Handle::current(), None);
        for _ in 0..5 {
            fixture.append(30, 100);
            tokio::time::sleep(Duration::from_millis(7)).await;
        }
        while !delivery.is_shipped() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        drop(shipping);
        let mut sequences = fixture.sink.sequences();
        if failing.send + failing.delivered == 0 {
            assert_eq!(sequences.len(), 200, "once");
        }
        // Whatever came again begins where it was not acknowledged, and goes on from there.
        let mut next = 1;
        for sequence in &sequences {
            assert!(*sequence <= next, "{sequence} before {next}");
            next = next.max(sequence + 1);
        }
        sequences.sort_unstable();
        sequences.dedup();
        assert_eq!(sequences, (1..=200).collect::<Vec<u64>>());
        let text = fixture.metrics.render();
        assert!(text.contains("terrarium_audit_shipped_total"), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_is_not_there_at_the_start_is_tried_again_and_everything_waits() {
    // The first five times.
    let sink = FakeSink::default();
    sink.n_connects.store(0, Ordering::Relaxed);
    let mut fixture = Fixture::new(FakeSink {
        failing: Failing {
            connect: 1,
            ..Failing::default()
        },
        ..sink
    });
    fixture.append(3, 100);
    let shipper = fixture.shipper.take().unwrap();
    let delivery = shipper.delivery();
    let shipping = shipper.start_on(Handle::current(), None);
    while fixture.sink.n_connects.load(Ordering::Relaxed) < 5 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let failure = delivery.failure().unwrap();
    assert!(failure.contains("nowhere: on purpose"), "{failure}");
    assert!(!delivery.is_shipped());
    assert!(
        !shipping.finish(Duration::from_secs(2)).await,
        "still not there"
    );
    assert!(fixture.sink.sequences().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_delivers_nothing_gets_little() {
    let stalled = FakeSink {
        is_stalled: true,
        ..FakeSink::default()
    };
    let mut fixture = Fixture::with(stalled, 4 << 20);
    fixture.append(30_000, 1_000);
    let shipping = fixture
        .shipper
        .take()
        .unwrap()
        .start_on(Handle::current(), None);
    let n_sent = || fixture.sink.n_sent_bytes.load(Ordering::Relaxed);
    while n_sent() == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // A sink that is away sends at once whatever it took when it is back.
    assert!(n_sent() <= BATCH_BYTES, "{}", n_sent());
    drop(shipping);
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_delivers_gets_more_at_once_as_long_as_that_helps() {
    let mut fixture = Fixture::with(
        FakeSink {
            takes: Duration::from_millis(300),
            ..FakeSink::default()
        },
        4 << 20,
    );
    fixture.append(30_000, 1_000);
    let shipper = fixture.shipper.take().unwrap();
    let delivery = shipper.delivery();
    let shipping = shipper.start_on(Handle::current(), None);
    while !delivery.is_shipped() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let most_bytes = fixture.sink.most_sent.load(Ordering::Relaxed) * 1_000;
    let window = *fixture.sink.window().end();
    assert!(
        (window / 2..=window + BATCH_BYTES).contains(&most_bytes),
        "{most_bytes}"
    );
    drop(shipping);
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_takes_events_and_says_nothing_is_told_of_and_keeps_them() {
    let mut fixture = Fixture::new(FakeSink {
        is_stalled: true,
        ..FakeSink::default()
    });
    fixture.append(3, 100);
    let shipper = fixture.shipper.take().unwrap();
    let delivery = shipper.delivery();
    let shipping = shipper.start_on(Handle::current(), None);
    tokio::time::sleep(PATIENCE / 2).await;
    assert_eq!(delivery.failure(), None);
    tokio::time::sleep(PATIENCE).await;
    let failure = delivery.failure().unwrap();
    assert!(
        failure.contains("`fake` has not answered for 15s"),
        "{failure}"
    );
    // What comes meanwhile waits, and is no sign of life.
    fixture.append(3, 100);
    tokio::time::sleep(PATIENCE).await;
    assert_eq!(fixture.sink.n_sends.load(Ordering::Relaxed), 1);
    assert_eq!(fixture.sink.n_connects.load(Ordering::Relaxed), 1);
    assert!(delivery.failure().is_some());
    drop(shipping);
}

#[tokio::test(start_paused = true)]
async fn what_a_process_did_not_ship_the_next_one_does() {
    let directory = TempDir::new().unwrap();
    let config = spool::Config::default();
    let open = || spool::open(&config, directory.path(), Uuid::now_v7(), "fake").unwrap();
    let (mut appender, reader) = open();
    for _ in 0..5 {
        let mut record = vec![b'x'; RECORD_HEADER + 10];
        let _ = appender.append(&mut record).unwrap();
    }
    drop((appender, reader));
    let sink = FakeSink::default();
    let mut n_tries = 0;
    while sink.sequences().is_empty() {
        // A process that another test is just starting may hold the lock for a moment.
        n_tries += 1;
        assert!(n_tries < 1_000);
        let (appender, reader) = open();
        let appender = Arc::new(Mutex::new(appender));
        let metrics = Metrics::new().audit();
        let shipper = Shipper::new(reader, appender, Box::new(sink.clone()), metrics);
        let shipping = shipper.start_on(Handle::current(), None);
        assert!(shipping.finish(Duration::from_secs(60)).await);
    }
    assert_eq!(sink.sequences(), [1, 2, 3, 4, 5]);
    assert_eq!(fs_err::read_dir(directory.path()).unwrap().count(), 0);
}
