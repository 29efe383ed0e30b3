//! Threads that serve connections, each with an event loop of its own.
//!
//! A request that stays on one thread pays for no hand-over: its connection, its replies from Redis and its wake-ups belong to
//! the same loop, and no idle thread is woken to look for work. The price: a request that computes for long holds up the other
//! connections of its thread, so those go to the shared runtime (`Shutdown::elsewhere`), where any thread takes over.
//!
//! Busy polling: for a moment after an event the thread looks for the next one instead of going to sleep, because a core that
//! halts takes longer to wake than most requests take. Between two looks it lets other threads have the core. While many
//! connections have something to say in each turn it does not: then their waits overlap anyway. Nor does it while it has work
//! and shares its core with others that have: no core halts then, and each look takes a turn from somebody. Nor does it while
//! threads compute for calls (`computing`): the looks would take the core from what is waited for.
//!
//! What computes for long stands back: an event loop that has something to say interrupts it, so that short calls, and refusals,
//! do not wait for a model that takes milliseconds.
//! Stop: `Workers::finish` waits for the last connection; the threads end when the `Workers` are dropped.
//! `aside` has the threads for work that is not a request, `own` one for a future that computes for long.

mod aside;
mod own;

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::memory::IDLE_THREAD;

pub use self::aside::{Aside, stand_back};
pub use self::own::{is_own_thread, on_own_thread};

/// More events than this between two looks are many connections at work.
const BUSY_EVENTS: u64 = 4;
/// A look that comes so late says that another thread computed on this core meanwhile.
const LOST_CORE: Duration = Duration::from_millis(1);
/// How long there is no busy polling after that.
const PAUSE: Duration = Duration::from_millis(100);
/// A look that comes so late, and finds more than one event, says that other threads and this one share the core's time.
const SHARED_CORE: Duration = Duration::from_micros(50);
/// How long there is no busy polling after that.
const SHORT_PAUSE: Duration = Duration::from_millis(5);

/// How far blocking work of a worker, such as a long run of a model, stands back.
const LONG_WORK: i32 = 8;

/// Threads that compute for calls now.
static COMPUTING: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static THREAD: Thread = const { Thread {
        index: Cell::new(0),
        n_events: Cell::new(0),
        sleeper: Cell::new(None),
    } };
}

/// What a thread knows of itself.
struct Thread {
    index: Cell<usize>,
    /// Since it began.
    n_events: Cell<u64>,
    /// Of the busy poll, while it waits for an event.
    sleeper: Cell<Option<Waker>>,
}

/// Which event loop this thread belongs to: 0 for the shared runtime, then the workers from 1.
pub fn index() -> usize {
    THREAD.with(|thread| thread.index.get())
}

/// As many as there are cores for this process.
pub fn default_count() -> NonZeroUsize {
    static N_CORES: LazyLock<NonZeroUsize> =
        LazyLock::new(|| thread::available_parallelism().unwrap_or(NonZeroUsize::MIN));
    *N_CORES
}

/// Something for each event loop, so that what it holds wakes nobody else.
#[derive(Debug)]
pub struct PerWorker<T>(Vec<T>);

impl<T> PerWorker<T> {
    /// One for the shared runtime and one for each worker of the default count; more workers share.
    pub fn new(make: impl Fn() -> T) -> Self {
        let n = default_count().get() + 1;
        Self(std::iter::repeat_with(make).take(n).collect())
    }

    /// What belongs to this thread.
    pub fn here(&self) -> &T {
        &self.0[index() % self.0.len()]
    }
}

/// Says that something happened on this thread, so that its next sleep is put off.
pub fn event() {
    THREAD.with(|thread| {
        thread.n_events.set(thread.n_events.get().wrapping_add(1));
        if let Some(sleeper) = thread.sleeper.take() {
            sleeper.wake();
        }
    });
}

/// A thread that computes for calls, for as long as this is kept.
#[must_use = "nobody computes any more when this is dropped"]
#[derive(Debug)]
pub struct Computing(());

/// Says that this thread computes for calls that wait for it, so that no event loop polls busily meanwhile.
pub fn computing() -> Computing {
    COMPUTING.fetch_add(1, Ordering::Relaxed);
    Computing(())
}

impl Drop for Computing {
    fn drop(&mut self) {
        COMPUTING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The threads. They end when this is dropped, with whatever they are at.
pub struct Workers {
    workers: Vec<Worker>,
    tasks: TaskTracker,
    end: CancellationToken,
}

struct Worker {
    runtime: Handle,
    n_tasks: Arc<AtomicUsize>,
}

impl Workers {
    /// Starts `n` threads that look for the next event for `busy_poll` before they sleep; zero for not at all.
    ///
    /// Errors: the system refuses a thread or an event queue.
    pub fn start(n: NonZeroUsize, busy_poll: Duration) -> io::Result<Self> {
        let end = CancellationToken::new();
        let mut workers = Vec::with_capacity(n.get());
        for index in 1..=n.get() {
            let runtime = Builder::new_current_thread()
                .enable_all()
                .thread_keep_alive(IDLE_THREAD)
                // Those for blocking work: the event loop's own is not one that the runtime starts.
                .on_thread_start(|| stand_back(LONG_WORK))
                .build()?;
            workers.push(Worker {
                runtime: runtime.handle().clone(),
                n_tasks: Arc::default(),
            });
            let end = end.clone();
            let run = move || {
                THREAD.with(|thread| thread.index.set(index));
                if !busy_poll.is_zero() {
                    // A task, not the main future: waking it from its own thread costs no system call.
                    runtime.spawn(poll_busily(busy_poll));
                }
                runtime.block_on(end.cancelled());
            };
            let name = format!("worker-{index}");
            thread::Builder::new().name(name).spawn(run)?;
        }
        Ok(Self {
            workers,
            tasks: TaskTracker::new(),
            end,
        })
    }

    /// Runs a task on the worker that has the fewest.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let n_tasks = |worker: &&Worker| worker.n_tasks.load(Ordering::Relaxed);
        let Some(worker) = self.workers.iter().min_by_key(n_tasks) else {
            return;
        };
        let counted = Counted::new(&worker.n_tasks);
        let task = async move {
            let _counted = counted;
            task.await;
        };
        self.tasks.spawn_on(task, &worker.runtime);
    }

    /// Waits until every task has ended.
    pub async fn finish(self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

/// One task of a worker, for as long as it lives.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(n: &Arc<AtomicUsize>) -> Self {
        n.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(n))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Keeps the thread of a worker awake for `limit` after each event.
async fn poll_busily(limit: Duration) {
    let mut poll = BusyPoll::new(limit, Instant::now());
    loop {
        let next = poll.next(n_events(), Instant::now());
        let next = match COMPUTING.load(Ordering::Relaxed) {
            0 => next,
            _ => Next::GiveWay,
        };
        match next {
            Next::Look => {
                thread::yield_now();
                tokio::task::yield_now().await;
            }
            Next::GiveWay => {
                thread::yield_now();
                sleep().await;
                poll.woke(Instant::now());
            }
            Next::Sleep => {
                sleep().await;
                poll.woke(Instant::now());
            }
        }
    }
}

fn n_events() -> u64 {
    THREAD.with(|thread| thread.n_events.get())
}

/// Until the next event. The thread sleeps if all other tasks wait, too.
async fn sleep() {
    let mut slept = false;
    poll_fn(|context| {
        if slept {
            return Poll::Ready(());
        }
        slept = true;
        THREAD.with(|thread| thread.sleeper.set(Some(context.waker().clone())));
        Poll::Pending
    })
    .await;
}

/// When to look again and when to sleep.
struct BusyPoll {
    limit: Duration,
    n_events: u64,
    /// The last look.
    looked: Instant,
    /// The last look that found something.
    found: Instant,
    /// Until when others need the core more.
    paused: Instant,
}

#[derive(Debug, PartialEq, Eq)]
enum Next {
    Look,
    /// Others have work for this core: they come first, then what has happened meanwhile.
    GiveWay,
    Sleep,
}

impl BusyPoll {
    fn new(limit: Duration, now: Instant) -> Self {
        Self {
            limit,
            n_events: 0,
            looked: now,
            found: now,
            paused: now,
        }
    }

    /// Who slept did not lose the core.
    fn woke(&mut self, now: Instant) {
        self.looked = now;
    }

    /// `n_events` since the thread began.
    fn next(&mut self, n_events: u64, now: Instant) -> Next {
        let n_new = n_events.wrapping_sub(self.n_events);
        let away = now - self.looked;
        (self.n_events, self.looked) = (n_events, now);
        match n_new {
            // Somebody computes on this core, who would not be interrupted for a thread that only looks.
            0 if away > LOST_CORE => self.paused = now + PAUSE,
            0 => {}
            1 => self.found = now,
            _ => {
                self.found = now;
                if away > SHARED_CORE {
                    self.paused = self.paused.max(now + SHORT_PAUSE);
                }
            }
        }
        if now < self.paused {
            return Next::GiveWay;
        }
        let is_idle = now - self.found >= self.limit;
        match is_idle || n_new > BUSY_EVENTS {
            true => Next::Sleep,
            false => Next::Look,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_micros(20);

    fn micros(n: u64) -> Duration {
        Duration::from_micros(n)
    }

    #[test]
    fn a_worker_looks_for_the_next_event_until_the_limit() {
        let start = Instant::now();
        let mut poll = BusyPoll::new(LIMIT, start);
        assert_eq!(poll.next(1, start + micros(5)), Next::Look);
        assert_eq!(poll.next(1, start + micros(24)), Next::Look);
        assert_eq!(poll.next(2, start + micros(25)), Next::Look);
        assert_eq!(poll.next(2, start + micros(44)), Next::Look);
        assert_eq!(poll.next(2, start + micros(45)), Next::Sleep);
        assert_eq!(poll.next(3, start + micros(10_000)), Next::Look);
    }

    #[test]
    fn a_worker_with_many_events_at_once_does_not_look_for_more() {
        let start = Instant::now();
        let mut poll = BusyPoll::new(LIMIT, start);
        assert_eq!(poll.next(BUSY_EVENTS, start), Next::Look);
        assert_eq!(poll.next(2 * BUSY_EVENTS + 1, start), Next::Sleep);
    }

    #[test]
    fn a_worker_that_lost_its_core_while_it_looked_sleeps_for_a_while() {
        let start = Instant::now();
        let mut poll = BusyPoll::new(micros(10_000), start);
        assert_eq!(poll.next(1, start), Next::Look);
        let back = start + LOST_CORE + micros(1);
        assert_eq!(poll.next(1, back), Next::GiveWay);
        assert_eq!(poll.next(2, back + micros(100)), Next::GiveWay);
        assert_eq!(poll.next(3, back + PAUSE), Next::Look);
    }

    #[test]
    fn a_worker_that_shares_its_core_and_has_work_does_not_look_for_more() {
        let start = Instant::now();
        let mut poll = BusyPoll::new(micros(10_000), start);
        let back = start + SHARED_CORE + micros(1);
        // A single caller waits for the answer, and its next request comes soon.
        assert_eq!(poll.next(1, back), Next::Look);
        let again = back + SHARED_CORE + micros(1);
        assert_eq!(poll.next(3, again), Next::GiveWay);
        assert_eq!(poll.next(4, again + micros(10)), Next::GiveWay);
        poll.woke(again + SHORT_PAUSE);
        assert_eq!(poll.next(6, again + SHORT_PAUSE), Next::Look);
    }

    #[tokio::test]
    async fn tasks_go_to_the_worker_with_the_fewest_and_end_before_finish_does() {
        let workers = Workers::start(const { NonZeroUsize::new(3).unwrap() }, LIMIT).unwrap();
        let (sender, mut indices) = tokio::sync::mpsc::channel(3);
        let release = CancellationToken::new();
        for _ in 0..3 {
            let (sender, release) = (sender.clone(), release.clone());
            workers.spawn(async move {
                sender.send(index()).await.unwrap();
                release.cancelled().await;
                event();
            });
        }
        let mut seen = Vec::new();
        for _ in 0..3 {
            seen.push(indices.recv().await.unwrap());
        }
        seen.sort_unstable();
        assert_eq!(seen, [1, 2, 3]);
        let counts: Vec<_> = workers.workers.iter().map(|w| w.n_tasks.clone()).collect();
        release.cancel();
        workers.finish().await;
        assert!(counts.iter().all(|n| n.load(Ordering::Relaxed) == 0));
        assert_eq!(index(), 0);
    }

    #[tokio::test]
    #[cfg(target_os = "linux")]
    async fn blocking_work_of_a_worker_stands_back_and_its_event_loop_does_not() {
        let nice = || {
            let own = rustix::thread::gettid();
            rustix::process::getpriority_process(Some(own)).unwrap()
        };
        let before = nice();
        let workers = Workers::start(NonZeroUsize::MIN, LIMIT).unwrap();
        let (sender, receiver) = tokio::sync::oneshot::channel();
        workers.spawn(async move {
            let blocking = crate::shutdown::run_blocking(nice).await.unwrap();
            sender.send([nice(), blocking]).unwrap();
        });
        let wanted = [before, LONG_WORK.max(before)];
        assert_eq!(receiver.await.unwrap(), wanted);
    }

    #[tokio::test]
    async fn an_event_wakes_the_busy_poll_of_its_own_thread() {
        let workers = Workers::start(NonZeroUsize::MIN, LIMIT).unwrap();
        let (sender, receiver) = tokio::sync::oneshot::channel();
        workers.spawn(async move {
            let sleeps = || {
                THREAD.with(|thread| {
                    let sleeper = thread.sleeper.take();
                    let sleeps = sleeper.is_some();
                    thread.sleeper.set(sleeper);
                    sleeps
                })
            };
            while !sleeps() {
                tokio::task::yield_now().await;
            }
            event();
            sender.send(sleeps()).unwrap();
        });
        assert!(!receiver.await.unwrap());
    }
}
