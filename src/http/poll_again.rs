//! Polls a future again at once when it woke itself.
//!
//! hyper hands a request's body to the handler through a channel whose two ends live in the same task: asking for the body
//! wakes the connection that is just being polled. The scheduler takes that for a yield: it queues the task anew and wakes
//! another worker, which steals it. That is two context switches and a change of core per request, for nothing.
//! Fairness: a future that keeps waking itself goes back to the scheduler after `MAX_POLLS`.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::task::AtomicWaker;
use pin_project_lite::pin_project;

const MAX_POLLS: usize = 8;

/// Nobody polls; a wake goes to the scheduler.
const IDLE: u8 = 0;
/// A poll is under way; a wake is noted.
const POLLING: u8 = 1;
/// A poll is under way and was woken.
const WOKEN: u8 = 2;

pin_project! {
    pub(super) struct PollAgain<F> {
        #[pin]
        future: F,
        wakes: Arc<Wakes>,
        waker: Waker,
    }
}

struct Wakes {
    state: AtomicU8,
    scheduler: AtomicWaker,
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let noted =
            self.state
                .compare_exchange(POLLING, WOKEN, Ordering::AcqRel, Ordering::Acquire);
        if noted == Err(IDLE) {
            self.scheduler.wake();
        }
    }
}

impl<F> PollAgain<F> {
    pub(super) fn new(future: F) -> Self {
        let wakes = Arc::new(Wakes {
            state: AtomicU8::new(IDLE),
            scheduler: AtomicWaker::new(),
        });
        Self {
            future,
            waker: Waker::from(wakes.clone()),
            wakes,
        }
    }

    pub(super) fn inner(self: Pin<&mut Self>) -> Pin<&mut F> {
        self.project().future
    }
}

impl<F: Future> Future for PollAgain<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        this.wakes.scheduler.register(context.waker());
        let mut own = Context::from_waker(this.waker);
        for _ in 0..MAX_POLLS {
            this.wakes.state.store(POLLING, Ordering::Release);
            if let Poll::Ready(output) = this.future.as_mut().poll(&mut own) {
                this.wakes.state.store(IDLE, Ordering::Release);
                return Poll::Ready(output);
            }
            if this.wakes.state.swap(IDLE, Ordering::AcqRel) == POLLING {
                return Poll::Pending;
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use super::*;

    #[derive(Default)]
    struct Counter(AtomicUsize);

    impl Wake for Counter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often the future was polled and the scheduler was woken by one poll of a future that wakes itself `n_wakes` times.
    fn polls_and_wakes(n_wakes: usize) -> (usize, usize) {
        let counter = Arc::new(Counter::default());
        let waker = Waker::from(counter.clone());
        let mut n_polls = 0;
        let future = poll_fn(|context| {
            n_polls += 1;
            if n_polls <= n_wakes {
                context.waker().wake_by_ref();
            }
            Poll::<()>::Pending
        });
        let mut future = Box::pin(PollAgain::new(future));
        let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
        assert_eq!(polled, Poll::Pending);
        drop(future);
        (n_polls, counter.0.load(Ordering::Relaxed))
    }

    #[test]
    fn a_future_that_wakes_itself_is_polled_again_and_the_scheduler_not_woken() {
        assert_eq!(polls_and_wakes(0), (1, 0));
        assert_eq!(polls_and_wakes(1), (2, 0));
        assert_eq!(polls_and_wakes(3), (4, 0));
    }

    #[test]
    fn a_future_that_keeps_waking_itself_goes_back_to_the_scheduler() {
        assert_eq!(polls_and_wakes(usize::MAX), (MAX_POLLS, 1));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_wake_from_another_thread_is_never_lost() {
        for _ in 0..1_000 {
            let (sender, receiver) = tokio::sync::oneshot::channel();
            let thread = std::thread::spawn(move || sender.send(7));
            let received = PollAgain::new(receiver);
            let received = tokio::time::timeout(Duration::from_secs(10), received).await;
            assert_eq!(received.unwrap().unwrap(), 7);
            thread.join().unwrap().unwrap();
        }
    }
}
