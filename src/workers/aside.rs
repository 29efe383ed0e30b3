//! Threads for work beside the requests, which take little from them where cores are scarce.
//!
//! On Linux such a thread stands back: the scheduler gives it a smaller share than a thread that answers requests, and so do
//! those that it starts. It always gets its share, so nothing waits for ever. Elsewhere it is a thread like others.

use std::io;
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

use crate::memory::IDLE_THREAD;

/// An event loop on a thread that stands back. Its blocking tasks run on threads that do so, too.
///
/// Dropped, it ends with whatever it is at.
#[derive(Debug)]
pub struct Aside {
    runtime: Handle,
    end: CancellationToken,
}

impl Aside {
    /// Errors: the system refuses the thread or its event queue.
    pub fn start(name: &str, nice: i32) -> io::Result<Self> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .thread_name(name)
            .thread_keep_alive(IDLE_THREAD)
            .build()?;
        let aside = Self {
            runtime: runtime.handle().clone(),
            end: CancellationToken::new(),
        };
        let end = aside.end.clone();
        let run = move || {
            stand_back(nice);
            runtime.block_on(end.cancelled());
            // What is blocked must not keep the thread from ending.
            runtime.shutdown_background();
        };
        thread::Builder::new().name(name.to_owned()).spawn(run)?;
        Ok(aside)
    }

    pub fn runtime(&self) -> &Handle {
        &self.runtime
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

/// Gives this thread, and those that it will start, a smaller share of the cores: `nice` as in nice(2), 0 to 19. One that has
/// less already keeps that.
#[cfg(target_os = "linux")]
pub fn stand_back(nice: i32) {
    // To Linux a thread is a process with an id of its own.
    let own = rustix::thread::gettid();
    let now = rustix::process::getpriority_process(Some(own)).unwrap_or_default();
    if let Err(error) = rustix::process::setpriority_process(Some(own), nice.max(now)) {
        tracing::debug!(%error, "work beside the requests has the priority of everything else");
    }
}

#[cfg(not(target_os = "linux"))]
pub fn stand_back(_: i32) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn tasks_and_blocking_work_of_it_stand_back_and_nobody_else_does() {
        let nice = || {
            let own = rustix::thread::gettid();
            rustix::process::getpriority_process(Some(own)).unwrap()
        };
        let before = nice();
        let wanted = (before + 3).min(19);
        let aside = Aside::start("test", wanted).unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        aside.runtime().spawn(async move {
            let blocking = crate::shutdown::run_blocking(nice).await.unwrap();
            sender.send([nice(), blocking]).unwrap();
        });
        assert_eq!(receiver.recv().unwrap(), [wanted, wanted]);
        assert_eq!(nice(), before);
    }
}
