//! What every queue must do. Each backend's tests call `run` with two handles on one queue, as two processes have them.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::jobs::{
    Aborted, Claimed, Config, Cursor, Due, Enqueued, Error, Job, JobId, JobOutcome, JobQueue,
    JobStatus, Keep, Lease, LeaseState, NewJob, Settlement,
};
use crate::types::byte_size::ByteSize;
use crate::types::timestamp::Timestamp;

/// Long enough for everything that should come.
pub(super) const LONG: Duration = Duration::from_secs(20);
pub(super) const NOW: Duration = Duration::ZERO;
/// So that leases run out while a test waits.
const LEASE: Duration = Duration::from_millis(800);
const HOUR: Keep = Keep::For(Duration::from_secs(3600));

pub(super) fn config() -> Config {
    Config {
        lease: LEASE,
        max_body_size: ByteSize::from_bytes(1_000),
        max_result_size: ByteSize::from_bytes(2_000),
        ..Config::default()
    }
}

type Queue = Arc<dyn JobQueue>;

pub(super) async fn run(ours: Queue, others: Queue) {
    let queues = (&*ours, &*others);
    a_job_comes_out_as_it_went_in(queues).await;
    an_id_is_taken_until_its_result_is_gone(queues).await;
    the_longest_due_is_first(queues).await;
    what_is_due_later_waits(queues).await;
    what_expires_before_it_is_due_is_refused(queues).await;
    an_expired_job_has_no_body(queues).await;
    too_large_bodies_and_results_are_refused(queues).await;
    a_lost_lease_changes_nothing(queues).await;
    an_extended_lease_holds(queues).await;
    a_retry_counts_and_a_release_does_not(queues).await;
    a_raised_attempt_is_stored(queues).await;
    a_dead_job_has_its_reason_and_runs_again(queues).await;
    a_waiting_job_is_aborted_next(queues).await;
    a_running_job_hears_that_it_is_aborted(queues).await;
    what_ended_cannot_be_aborted(queues).await;
    lists_have_every_job_once(queues).await;
    cursors_of_others_are_refused(queues).await;
    the_report_is_there_while_it_lasts(queues).await;
    who_waits_for_work_is_woken(&ours, &others).await;
    who_waits_for_an_end_is_woken(&ours, &others).await;
    every_job_ends_once_in_any_schedule(&ours, &others, 11).await;
    assert_empty(&*ours).await;
}

pub(super) fn some(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).unwrap()
}

pub(super) fn job(id: &JobId) -> NewJob {
    NewJob {
        id: id.clone(),
        body: Bytes::from(format!("body of {id}")),
        due: Due::Now,
        expires: None,
    }
}

pub(super) async fn add(queue: &dyn JobQueue) -> JobId {
    let id = JobId::random();
    let answers = queue.enqueue(&[job(&id)]).await.unwrap();
    assert_eq!(answers, [Enqueued::New]);
    id
}

pub(super) async fn claim_one(queue: &dyn JobQueue) -> Claimed {
    let mut jobs = queue.claim(some(1), LONG).await.unwrap();
    assert_eq!(jobs.len(), 1);
    jobs.pop().unwrap()
}

pub(super) fn complete(keep: Keep) -> JobOutcome {
    JobOutcome::Complete {
        result: Bytes::from_static(b"result"),
        keep,
    }
}

pub(super) async fn settle(queue: &dyn JobQueue, lease: &Lease, outcome: JobOutcome) -> LeaseState {
    let lease = lease.clone();
    let states = queue.settle(&[Settlement { lease, outcome }]).await;
    let states = states.unwrap();
    assert_eq!(states.len(), 1);
    states[0]
}

pub(super) async fn get(queue: &dyn JobQueue, id: &JobId) -> Job {
    queue.get(id).await.unwrap().unwrap()
}

/// Nothing waits or runs any more.
async fn assert_empty(queue: &dyn JobQueue) {
    let health = queue.health().await.unwrap();
    let left = (health.n_queued, health.n_deferred, health.n_running);
    assert_eq!(left, (0, 0, 0));
    assert!(queue.claim(some(1), NOW).await.unwrap().is_empty());
}

type Queues<'a> = (&'a dyn JobQueue, &'a dyn JobQueue);

async fn a_job_comes_out_as_it_went_in((queue, other): Queues<'_>) {
    let id = add(queue).await;
    let waiting = get(other, &id).await;
    assert_eq!(waiting.status, JobStatus::Queued);
    assert_eq!(waiting.attempts, 0);
    let health = queue.health().await.unwrap();
    assert_eq!((health.n_queued, health.n_running), (1, 0));
    assert!(health.oldest_due.is_some());

    let claimed = claim_one(other).await;
    assert_eq!(claimed.lease.id, id);
    assert_eq!(claimed.lease.attempt, 1);
    assert_eq!(claimed.abort_requested, None);
    assert_eq!(claimed.body.unwrap(), job(&id).body);
    let running = get(queue, &id).await;
    assert_eq!((running.status, running.attempts), (JobStatus::Running, 1));
    assert_eq!(running.body.unwrap(), job(&id).body);
    let health = queue.health().await.unwrap();
    assert_eq!((health.n_queued, health.n_running), (0, 1));
    assert!(queue.claim(some(10), NOW).await.unwrap().is_empty());

    assert_eq!(
        settle(other, &claimed.lease, complete(HOUR)).await,
        LeaseState::Held
    );
    let ended = get(queue, &id).await;
    assert_eq!(ended.status, JobStatus::Complete);
    assert_eq!(ended.result.unwrap(), "result");
    assert!(ended.dead.is_none());
    assert_eq!(
        settle(other, &claimed.lease, complete(HOUR)).await,
        LeaseState::Lost
    );
    assert!(queue.get(&JobId::random()).await.unwrap().is_none());
}

async fn an_id_is_taken_until_its_result_is_gone((queue, other): Queues<'_>) {
    let id = add(queue).await;
    let again = || async { other.enqueue(&[job(&id)]).await.unwrap()[0] };
    assert_eq!(again().await, Enqueued::Duplicate);
    let claimed = claim_one(queue).await;
    assert_eq!(again().await, Enqueued::Duplicate);
    settle(queue, &claimed.lease, complete(HOUR)).await;
    assert_eq!(again().await, Enqueued::Duplicate);

    let id = JobId::new("weird id: ключ {x} \\ \n").unwrap();
    let [one, two] = [job(&id), job(&id)];
    let answers = queue.enqueue(&[one, two]).await.unwrap();
    assert_eq!(answers, [Enqueued::New, Enqueued::Duplicate]);
    let claimed = claim_one(other).await;
    assert_eq!(claimed.lease.id, id);
    settle(other, &claimed.lease, complete(Keep::No)).await;
    assert!(queue.get(&id).await.unwrap().is_none());
    assert_eq!(queue.enqueue(&[job(&id)]).await.unwrap(), [Enqueued::New]);
    let claimed = claim_one(queue).await;
    assert_eq!(claimed.lease.attempt, 1, "another job");
    settle(queue, &claimed.lease, complete(Keep::Forever)).await;
    assert_eq!(get(other, &id).await.status, JobStatus::Complete);
}

async fn the_longest_due_is_first((queue, other): Queues<'_>) {
    let now = Timestamp::now().as_micros();
    let mut wanted = Vec::new();
    let mut jobs = Vec::new();
    for seconds in [3, 1, 4, 2, 5] {
        let id = JobId::random();
        let due = Due::At(Timestamp::from_micros(now - seconds * 1_000_000));
        jobs.push(NewJob { due, ..job(&id) });
        wanted.push((seconds, id));
    }
    queue.enqueue(&jobs).await.unwrap();
    wanted.sort_by_key(|(seconds, _)| -seconds);
    let first = other.claim(some(2), LONG).await.unwrap();
    let rest = other.claim(some(10), LONG).await.unwrap();
    let claimed: Vec<&Claimed> = first.iter().chain(&rest).collect();
    let ids: Vec<&JobId> = claimed.iter().map(|job| &job.lease.id).collect();
    assert_eq!(ids, wanted.iter().map(|(_, id)| id).collect::<Vec<_>>());
    for job in claimed {
        settle(other, &job.lease, complete(Keep::No)).await;
    }
}

async fn what_is_due_later_waits((queue, other): Queues<'_>) {
    let delay = Duration::from_millis(150);
    let started = Instant::now();
    let (later, much_later) = (JobId::random(), JobId::random());
    let after = |id, delay| NewJob {
        due: Due::After(delay),
        ..job(id)
    };
    let jobs = [after(&later, delay), after(&much_later, LONG * 1_000)];
    queue.enqueue(&jobs).await.unwrap();
    assert_eq!(get(other, &later).await.status, JobStatus::Deferred);
    assert_eq!(other.health().await.unwrap().n_deferred, 2);
    let claimed = claim_one(other).await;
    assert_eq!(claimed.lease.id, later);
    assert!(started.elapsed() >= delay);
    settle(other, &claimed.lease, complete(Keep::No)).await;
    assert!(queue.claim(some(1), NOW).await.unwrap().is_empty());
    // A request to abort makes it due.
    assert_eq!(queue.abort(&much_later).await.unwrap(), Aborted::Requested);
    let claimed = claim_one(other).await;
    assert_eq!(claimed.lease.id, much_later);
    assert!(claimed.abort_requested.is_some());
    settle(other, &claimed.lease, complete(Keep::No)).await;
}

async fn what_expires_before_it_is_due_is_refused((queue, _): Queues<'_>) {
    let second = Duration::from_secs(1);
    let at = |timestamp: Timestamp| Due::At(timestamp);
    for (due, expires) in [
        (Due::Now, NOW),
        (Due::After(second), second),
        (Due::After(10 * second), 3 * second),
        (at(Timestamp::now().after(10 * second)), 3 * second),
    ] {
        let id = JobId::random();
        let job = NewJob {
            due,
            expires: Some(expires),
            ..job(&id)
        };
        let error = queue.enqueue(&[job]).await.unwrap_err();
        assert!(matches!(error, Error::ExpiresBeforeDue { .. }), "{error}");
        assert!(queue.get(&id).await.unwrap().is_none());
    }
    // A long time ago is now, and not expired.
    let id = JobId::random();
    let due = at(Timestamp::from_seconds(1_000_000_000));
    queue.enqueue(&[NewJob { due, ..job(&id) }]).await.unwrap();
    let claimed = claim_one(queue).await;
    assert!(claimed.body.is_some());
    settle(queue, &claimed.lease, complete(Keep::No)).await;
}

async fn an_expired_job_has_no_body((queue, other): Queues<'_>) {
    let id = JobId::random();
    let life = Duration::from_millis(20);
    let job = NewJob {
        expires: Some(life),
        ..job(&id)
    };
    queue.enqueue(&[job]).await.unwrap();
    let enqueued = Instant::now();
    while enqueued.elapsed() <= life + Duration::from_millis(5) {
        queue.health().await.unwrap();
    }
    let claimed = claim_one(other).await;
    assert_eq!(claimed.lease.id, id);
    assert!(claimed.body.is_none());
    let outcome = JobOutcome::Dead {
        result: Bytes::from_static(b"job expired"),
        keep: Keep::No,
        reason: "job expired".to_owned(),
    };
    assert_eq!(
        settle(other, &claimed.lease, outcome).await,
        LeaseState::Held
    );
    assert_eq!(get(queue, &id).await.status, JobStatus::Dead);
    let error = queue.revive(&id).await.unwrap_err();
    assert!(matches!(error, Error::Hollow { .. }), "{error}");
}

async fn too_large_bodies_and_results_are_refused((queue, _): Queues<'_>) {
    let id = JobId::random();
    let large = NewJob {
        body: vec![b'x'; 1_001].into(),
        ..job(&id)
    };
    let error = queue
        .enqueue(&[job(&JobId::random()), large])
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::TooLarge { what: "body", .. }),
        "{error}"
    );
    let id = add(queue).await;
    let claimed = claim_one(queue).await;
    assert_eq!(claimed.lease.id, id, "nothing of a refused call was added");
    let settlement = Settlement {
        lease: claimed.lease.clone(),
        outcome: JobOutcome::Complete {
            result: vec![b'x'; 2_001].into(),
            keep: HOUR,
        },
    };
    let error = queue.settle(&[settlement]).await.unwrap_err();
    assert!(
        matches!(error, Error::TooLarge { what: "result", .. }),
        "{error}"
    );
    let state = settle(queue, &claimed.lease, complete(Keep::No)).await;
    assert_eq!(state, LeaseState::Held);
}

async fn a_lost_lease_changes_nothing((queue, other): Queues<'_>) {
    let id = add(queue).await;
    let waits = add(queue).await;
    let mut jobs = queue.claim(some(1), LONG).await.unwrap();
    let lost = jobs.pop().unwrap().lease;
    assert_eq!(lost.id, id);
    let started = Instant::now();
    let next = claim_one(other).await;
    assert_eq!(next.lease.id, waits);
    assert_eq!(
        settle(other, &next.lease, complete(Keep::No)).await,
        LeaseState::Held
    );
    let again = claim_one(other).await;
    assert!(started.elapsed() >= LEASE / 2);
    assert!(
        started.elapsed() < LONG / 4,
        "a dead worker's job comes back soon"
    );
    assert_eq!((&again.lease.id, again.lease.attempt), (&id, 2));
    assert_eq!(again.body.unwrap(), job(&id).body);
    let outcomes = [
        complete(HOUR),
        JobOutcome::Retry { after: NOW },
        JobOutcome::Released,
        JobOutcome::Dead {
            result: Bytes::new(),
            keep: HOUR,
            reason: "lost".to_owned(),
        },
    ];
    for outcome in outcomes {
        assert_eq!(settle(queue, &lost, outcome).await, LeaseState::Lost);
    }
    let states = queue.extend(&[lost, again.lease.clone()]).await.unwrap();
    assert_eq!(states, [LeaseState::Lost, LeaseState::Held]);
    assert_eq!(get(queue, &id).await.status, JobStatus::Running);
    assert_eq!(
        settle(other, &again.lease, complete(Keep::No)).await,
        LeaseState::Held
    );
}

async fn an_extended_lease_holds((queue, other): Queues<'_>) {
    add(queue).await;
    let claimed = claim_one(queue).await;
    let started = Instant::now();
    while started.elapsed() < LEASE * 2 {
        let leases = [claimed.lease.clone()];
        assert_eq!(queue.extend(&leases).await.unwrap(), [LeaseState::Held]);
        assert!(other.claim(some(1), LEASE / 6).await.unwrap().is_empty());
    }
    assert_eq!(
        settle(queue, &claimed.lease, complete(Keep::No)).await,
        LeaseState::Held
    );
    assert!(queue.extend(&[]).await.unwrap().is_empty());
}

async fn a_retry_counts_and_a_release_does_not((queue, other): Queues<'_>) {
    let id = add(queue).await;
    let first = claim_one(queue).await;
    let delay = Duration::from_millis(80);
    let started = Instant::now();
    settle(queue, &first.lease, JobOutcome::Retry { after: delay }).await;
    assert_eq!(get(other, &id).await.status, JobStatus::Deferred);
    let second = claim_one(other).await;
    assert!(started.elapsed() >= delay);
    assert_eq!((&second.lease.id, second.lease.attempt), (&id, 2));
    assert_eq!(second.body.unwrap(), job(&id).body);
    let late = add(queue).await;
    settle(other, &second.lease, JobOutcome::Released).await;
    assert_eq!(get(other, &id).await.status, JobStatus::Queued);
    let third = claim_one(queue).await;
    let lease = (&third.lease.id, third.lease.attempt);
    assert_eq!(lease, (&id, 2), "in its place, ahead of {late}");
    settle(queue, &third.lease, complete(Keep::No)).await;
    let last = claim_one(queue).await;
    assert_eq!(last.lease.id, late);
    settle(queue, &last.lease, complete(Keep::No)).await;
}

async fn a_raised_attempt_is_stored((queue, other): Queues<'_>) {
    add(queue).await;
    let mut lease = claim_one(queue).await.lease;
    lease.attempt = 4;
    queue.extend(std::slice::from_ref(&lease)).await.unwrap();
    settle(queue, &lease, JobOutcome::Retry { after: NOW }).await;
    let next = claim_one(other).await;
    assert_eq!(next.lease.attempt, 5);
    settle(other, &next.lease, complete(Keep::No)).await;
}

async fn a_dead_job_has_its_reason_and_runs_again((queue, other): Queues<'_>) {
    let id = add(queue).await;
    let claimed = claim_one(queue).await;
    let died = Timestamp::now();
    let outcome = JobOutcome::Dead {
        result: Bytes::from_static(b"failure"),
        keep: HOUR,
        reason: "it burned: ключ".to_owned(),
    };
    assert_eq!(
        settle(queue, &claimed.lease, outcome).await,
        LeaseState::Held
    );
    let dead = get(other, &id).await;
    assert_eq!(dead.status, JobStatus::Dead);
    assert_eq!(dead.result.unwrap(), "failure");
    assert_eq!(dead.body.unwrap(), job(&id).body);
    let letter = dead.dead.unwrap();
    assert_eq!(letter.reason, "it burned: ключ");
    assert_eq!(letter.attempts, 1);
    let age = letter.died_at.as_micros() - died.as_micros();
    assert!(age.abs() < 10_000_000, "{age}");
    assert!(other.health().await.unwrap().n_dead >= 1);

    other.revive(&id).await.unwrap();
    let error = queue.revive(&id).await.unwrap_err();
    assert!(matches!(error, Error::NotDead { .. }), "{error}");
    let again = get(queue, &id).await;
    assert_eq!((again.status, again.attempts), (JobStatus::Queued, 0));
    let claimed = claim_one(queue).await;
    assert_eq!((&claimed.lease.id, claimed.lease.attempt), (&id, 1));
    settle(queue, &claimed.lease, complete(HOUR)).await;
    assert_eq!(get(queue, &id).await.status, JobStatus::Complete);
}

async fn a_waiting_job_is_aborted_next((queue, other): Queues<'_>) {
    let before = add(queue).await;
    let id = add(queue).await;
    let asked = Timestamp::now().as_micros();
    assert_eq!(other.abort(&id).await.unwrap(), Aborted::Requested);
    let claimed = claim_one(queue).await;
    assert_eq!(claimed.lease.id, id, "ahead of what waits");
    let requested = claimed.abort_requested.unwrap().as_micros();
    assert!((requested - asked).abs() < 10_000_000);
    settle(queue, &claimed.lease, complete(Keep::No)).await;
    // The next job of this id is another one.
    queue.enqueue(&[job(&id)]).await.unwrap();
    for wanted in [&before, &id] {
        let claimed = claim_one(queue).await;
        assert_eq!(&claimed.lease.id, wanted);
        assert_eq!(claimed.abort_requested, None);
        let running = [wanted.clone()];
        assert!(queue.aborted(&running, NOW).await.unwrap().is_empty());
        settle(queue, &claimed.lease, complete(Keep::No)).await;
    }
}

async fn a_running_job_hears_that_it_is_aborted((queue, other): Queues<'_>) {
    let ids = [add(queue).await, add(queue).await];
    let claimed = [claim_one(queue).await, claim_one(queue).await];
    let started = Instant::now();
    let hear = queue.aborted(&ids, LONG);
    let (heard, asked) = tokio::join!(hear, other.abort(&ids[1]));
    assert_eq!(asked.unwrap(), Aborted::Requested);
    assert_eq!(heard.unwrap(), [ids[1].clone()]);
    assert!(started.elapsed() < LONG / 4);
    // It stays until the job is settled, whoever heard it.
    assert_eq!(queue.aborted(&ids, NOW).await.unwrap(), [ids[1].clone()]);
    for job in claimed {
        settle(queue, &job.lease, complete(Keep::No)).await;
    }
    assert!(queue.aborted(&ids, NOW).await.unwrap().is_empty());
}

async fn what_ended_cannot_be_aborted((queue, _): Queues<'_>) {
    let id = add(queue).await;
    let claimed = claim_one(queue).await;
    settle(queue, &claimed.lease, complete(HOUR)).await;
    assert_eq!(queue.abort(&id).await.unwrap(), Aborted::TooLate);
    let unknown = JobId::random();
    assert_eq!(queue.abort(&unknown).await.unwrap(), Aborted::NotFound);
    assert!(queue.aborted(&[id, unknown], NOW).await.unwrap().is_empty());
}

async fn all_of(queue: &dyn JobQueue, status: JobStatus) -> Vec<JobId> {
    let mut ids = Vec::new();
    let mut cursor = None;
    loop {
        let page = queue.list(status, cursor.as_ref(), some(7)).await.unwrap();
        assert!(page.jobs.len() <= 7);
        assert!(page.jobs.iter().all(|job| job.status == status));
        ids.extend(page.jobs.into_iter().map(|job| job.id));
        match page.next {
            Some(next) => cursor = Some(Cursor::new(next.as_str())),
            None => return ids,
        }
    }
}

async fn lists_have_every_job_once((queue, other): Queues<'_>) {
    let ids: Vec<JobId> = (0..24).map(|_| JobId::random()).collect();
    let jobs: Vec<NewJob> = ids.iter().map(job).collect();
    queue.enqueue(&jobs).await.unwrap();
    let deferred: Vec<JobId> = (0..9).map(|_| JobId::random()).collect();
    let later = |id| NewJob {
        due: Due::After(LONG * 100),
        ..job(id)
    };
    let jobs: Vec<NewJob> = deferred.iter().map(later).collect();
    queue.enqueue(&jobs).await.unwrap();
    let sorted = |ids: &[JobId]| {
        let mut ids = ids.to_vec();
        ids.sort();
        ids
    };
    assert_eq!(
        sorted(&all_of(other, JobStatus::Queued).await),
        sorted(&ids)
    );
    assert_eq!(
        sorted(&all_of(other, JobStatus::Deferred).await),
        sorted(&deferred)
    );
    let claimed = queue.claim(some(10), LONG).await.unwrap();
    let running: Vec<JobId> = claimed.iter().map(|job| job.lease.id.clone()).collect();
    assert_eq!(running.len(), 10);
    let leases: Vec<Lease> = claimed.iter().map(|job| job.lease.clone()).collect();
    queue.extend(&leases).await.unwrap();
    assert_eq!(
        sorted(&all_of(other, JobStatus::Running).await),
        sorted(&running)
    );
    assert_eq!(all_of(other, JobStatus::Queued).await.len(), 14);
    let n_complete = all_of(other, JobStatus::Complete).await.len();
    let n_dead = all_of(other, JobStatus::Dead).await.len();
    for (i, lease) in leases.iter().enumerate() {
        let outcome = match i {
            0..=7 => complete(HOUR),
            _ => JobOutcome::Dead {
                result: Bytes::from_static(b"failure"),
                keep: HOUR,
                reason: "dead".to_owned(),
            },
        };
        assert_eq!(settle(queue, lease, outcome).await, LeaseState::Held);
    }
    let completed = all_of(other, JobStatus::Complete).await;
    assert_eq!(completed.len(), n_complete + 8);
    let dead = all_of(other, JobStatus::Dead).await;
    assert_eq!(dead.len(), n_dead + 2);
    assert!(all_of(other, JobStatus::Running).await.is_empty());
    for id in &deferred {
        queue.abort(id).await.unwrap();
    }
    drain(queue).await;
}

async fn cursors_of_others_are_refused((queue, _): Queues<'_>) {
    for status in JobStatus::ALL {
        for text in ["", "?", "eCAx", "a.b"] {
            let cursor = Cursor::new(text);
            let outcome = queue.list(status, Some(&cursor), some(1)).await;
            let error = outcome.unwrap_err();
            assert!(matches!(error, Error::CursorInvalid { .. }), "{error}");
        }
    }
}

async fn the_report_is_there_while_it_lasts((queue, other): Queues<'_>) {
    let line = "Nov-22 15:08:51 j_complete=0 j_failed=0 j_retried=0 j_ongoing=1 queued=1";
    queue.report(line, LONG).await.unwrap();
    let health = other.health().await.unwrap();
    assert_eq!(health.report.as_deref(), Some(line));
    queue
        .report("short", Duration::from_millis(1))
        .await
        .unwrap();
    let started = Instant::now();
    while other.health().await.unwrap().report.is_some() {
        assert!(started.elapsed() < LONG);
    }
}

async fn who_waits_for_work_is_woken(queue: &Queue, other: &Queue) {
    let mut waited = Vec::new();
    for _ in 0..20 {
        let started = Instant::now();
        let (claimed, _) = tokio::join!(queue.claim(some(1), LONG), add(&**other));
        waited.push(started.elapsed());
        for job in claimed.unwrap() {
            settle(&**queue, &job.lease, complete(Keep::No)).await;
        }
    }
    waited.sort();
    assert!(waited[10] < Duration::from_millis(200), "{waited:?}");
}

async fn who_waits_for_an_end_is_woken(queue: &Queue, other: &Queue) {
    let mut waited = Vec::new();
    for _ in 0..20 {
        let id = add(&**queue).await;
        let claimed = claim_one(&**queue).await;
        assert_eq!(
            queue.wait(&id, NOW).await.unwrap().unwrap().status,
            JobStatus::Running
        );
        let started = Instant::now();
        let settled = settle(&**queue, &claimed.lease, complete(HOUR));
        let (ended, _) = tokio::join!(other.wait(&id, LONG), settled);
        waited.push(started.elapsed());
        assert_eq!(ended.unwrap().unwrap().status, JobStatus::Complete);
    }
    waited.sort();
    assert!(waited[10] < Duration::from_millis(200), "{waited:?}");
    let unknown = JobId::random();
    assert!(queue.wait(&unknown, LONG).await.unwrap().is_none());
}

/// Settles everything that is due.
pub(super) async fn drain(queue: &dyn JobQueue) {
    loop {
        let jobs = queue.claim(some(100), NOW).await.unwrap();
        if jobs.is_empty() {
            return;
        }
        for job in jobs {
            settle(queue, &job.lease, complete(Keep::No)).await;
        }
    }
}

/// What became of each job, as the workers were told.
#[derive(Default)]
pub(super) struct Ledger {
    /// Settlements that held.
    ends: HashMap<JobId, usize>,
    claims: HashMap<JobId, Claims>,
}

/// How often a job was claimed, and the highest number that an attempt had.
#[derive(Debug, Default)]
struct Claims {
    n: u32,
    last_attempt: u32,
}

/// A fixed sequence that looks random.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Workers on both handles complete, retry, release, bury and forget jobs, extend leases and abort, as dice have it.
pub(super) async fn every_job_ends_once_in_any_schedule(ours: &Queue, others: &Queue, seed: u64) {
    const N_JOBS: usize = 300;
    let ids: Vec<JobId> = (0..N_JOBS).map(|_| JobId::random()).collect();
    let ledger = Mutex::new(Ledger::default());
    let feeding = async {
        let mut dice = Dice(seed);
        for chunk in ids.chunks(17) {
            let jobs: Vec<NewJob> = chunk
                .iter()
                .map(|id| NewJob {
                    due: match dice.roll(3) {
                        0 => Due::After(Duration::from_millis(dice.roll(100))),
                        _ => Due::Now,
                    },
                    ..job(id)
                })
                .collect();
            let answers = until_it_works(|| ours.enqueue(&jobs)).await;
            assert!(answers.iter().all(|answer| *answer == Enqueued::New));
            if dice.roll(2) == 0 {
                until_it_works(|| others.abort(&chunk[0])).await;
            }
        }
    };
    let work = (0..4).map(|i| {
        let queue = if i % 2 == 0 { ours } else { others };
        work(&**queue, Dice(seed * 100 + i), &ledger, N_JOBS)
    });
    futures::join!(feeding, futures::future::join_all(work));
    let ledger = ledger.into_inner().unwrap();
    for id in &ids {
        assert_eq!(ledger.ends.get(id), Some(&1), "{id} ends once");
        let job = get(&**ours, id).await;
        assert!(job.status.is_final(), "{id} is {}", job.status);
        assert!(job.result.is_some());
    }
    assert_eq!(ledger.ends.len(), ids.len());
    // Only now: a claim may be written down after the next one, if this thread stood still for as long as a lease.
    for (id, claims) in &ledger.claims {
        assert!(claims.last_attempt <= claims.n, "{id}: {claims:?}");
    }
}

/// Calls again for as long as the server is away, as a worker does.
pub(super) async fn until_it_works<T, F: Future<Output = Result<T, Error>>>(
    call: impl Fn() -> F,
) -> T {
    let started = Instant::now();
    loop {
        match call().await {
            Ok(value) => return value,
            Err(error @ (Error::Unreachable { .. } | Error::Timeout { .. })) => {
                assert!(
                    started.elapsed() < LONG,
                    "the queue did not come back: {error:?}"
                );
                tokio::task::yield_now().await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

async fn work(queue: &dyn JobQueue, mut dice: Dice, ledger: &Mutex<Ledger>, n_jobs: usize) {
    let started = Instant::now();
    let mut held = HashSet::new();
    while ledger.lock().unwrap().ends.len() < n_jobs {
        assert!(started.elapsed() < LONG * 3, "jobs are lost");
        let n = some(1 + usize::try_from(dice.roll(20)).unwrap());
        let jobs = until_it_works(|| queue.claim(n, LEASE / 4)).await;
        assert!(jobs.len() <= n.get() + 40);
        for job in jobs {
            let lease = job.lease;
            held.insert(lease.id.clone());
            {
                let mut ledger = ledger.lock().unwrap();
                assert!(lease.attempt > 0, "{lease:?}");
                let claims = ledger.claims.entry(lease.id.clone()).or_default();
                claims.n += 1;
                claims.last_attempt = claims.last_attempt.max(lease.attempt);
            }
            if dice.roll(4) == 0 {
                until_it_works(|| queue.extend(std::slice::from_ref(&lease))).await;
            }
            let outcome = match dice.roll(12) {
                // Its worker is gone.
                0 => continue,
                1 => JobOutcome::Retry {
                    after: Duration::from_millis(dice.roll(30)),
                },
                2 => JobOutcome::Released,
                3 => JobOutcome::Dead {
                    result: Bytes::from(format!("{} failed", lease.id)),
                    keep: HOUR,
                    reason: "dice".to_owned(),
                },
                _ => JobOutcome::Complete {
                    result: Bytes::from(format!("{} of {}", lease.id, lease.attempt)),
                    keep: HOUR,
                },
            };
            let is_end = matches!(
                outcome,
                JobOutcome::Complete { .. } | JobOutcome::Dead { .. }
            );
            let settlement = [Settlement { lease, outcome }];
            let states = until_it_works(|| queue.settle(&settlement)).await;
            let id = settlement[0].lease.id.clone();
            if is_end && states[0] == LeaseState::Held {
                *ledger.lock().unwrap().ends.entry(id).or_default() += 1;
            }
        }
    }
}
