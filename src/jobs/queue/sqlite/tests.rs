//! The queue in SQLite: the contract, and what only a file has.

use std::sync::Arc;

use tempfile::TempDir;

use super::super::contract::{self, LONG, NOW, add, claim_one, complete, config, settle, some};
use super::*;
use crate::jobs::{Due, JobOutcome, Keep};

fn place(directory: &TempDir) -> Config {
    Config {
        path: directory.path().join("of/jobs.db"),
    }
}

async fn queue(directory: &TempDir) -> Arc<SqliteQueue> {
    Arc::new(open(&place(directory), &config()).await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_is_kept() {
    let directory = TempDir::new().unwrap();
    contract::run(queue(&directory).await, queue(&directory).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_job_ends_once_in_other_schedules() {
    for seed in [1, 2] {
        let directory = TempDir::new().unwrap();
        let ours: Arc<dyn JobQueue> = queue(&directory).await;
        let others: Arc<dyn JobQueue> = queue(&directory).await;
        contract::every_job_ends_once_in_any_schedule(&ours, &others, seed).await;
    }
}

#[tokio::test]
async fn jobs_and_results_are_there_after_a_restart() {
    let directory = TempDir::new().unwrap();
    let first = queue(&directory).await;
    let (ended, running, waiting) = (add(&*first).await, add(&*first).await, add(&*first).await);
    let claimed = claim_one(&*first).await;
    assert_eq!(claimed.lease.id, ended);
    settle(&*first, &claimed.lease, complete(Keep::Forever)).await;
    let claimed = claim_one(&*first).await;
    assert_eq!(claimed.lease.id, running);
    drop(first);

    let second = queue(&directory).await;
    let status = async |id| contract::get(&*second, id).await.status;
    assert_eq!(status(&ended).await, JobStatus::Complete);
    assert_eq!(status(&waiting).await, JobStatus::Queued);
    let next = claim_one(&*second).await;
    assert_eq!(next.lease.id, waiting);
    let again = claim_one(&*second).await;
    assert_eq!((again.lease.id, again.lease.attempt), (running, 2));
}

#[tokio::test]
async fn a_file_of_a_later_program_is_refused() {
    let directory = TempDir::new().unwrap();
    let first = queue(&directory).await;
    let mut write = first
        .database
        .write(database::Durability::Machine)
        .await
        .unwrap();
    sqlx::query("PRAGMA user_version = 7")
        .execute(&mut *write.sql)
        .await
        .unwrap();
    write.commit().await.unwrap();
    let error = open(&place(&directory), &config()).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("layout 7") && text.contains("jobs.db"),
        "{text}"
    );
}

#[tokio::test]
async fn a_claim_does_not_look_at_what_waits_behind_it() {
    let directory = TempDir::new().unwrap();
    let queue = queue(&directory).await;
    let mut plan = String::new();
    for row in sqlx::query("EXPLAIN QUERY PLAN SELECT seq FROM jobs WHERE token IS NULL AND due <= 1 ORDER BY due, seq LIMIT 5")
        .fetch_all(queue.database.readers())
        .await
        .unwrap()
    {
        plan += &queue.database.column::<String>(&row, "detail").unwrap();
    }
    assert!(plan.contains("jobs_waiting"), "{plan}");
    assert!(!plan.contains("TEMP B-TREE"), "{plan}");
}

#[tokio::test]
async fn old_dead_letters_make_room() {
    let directory = TempDir::new().unwrap();
    let jobs = JobsConfig {
        max_dead: std::num::NonZeroU32::new(3).unwrap(),
        ..config()
    };
    let queue = open(&place(&directory), &jobs).await.unwrap();
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(add(&queue).await);
        let claimed = claim_one(&queue).await;
        let outcome = JobOutcome::Dead {
            result: bytes::Bytes::new(),
            keep: Keep::No,
            reason: "x".to_owned(),
        };
        settle(&queue, &claimed.lease, outcome).await;
    }
    let page = queue.list(JobStatus::Dead, None, some(10)).await.unwrap();
    let left: Vec<&JobId> = page.jobs.iter().map(|job| &job.id).collect();
    assert_eq!(left, [&ids[4], &ids[3], &ids[2]]);
}

#[tokio::test]
async fn nothing_is_written_while_nothing_is_due() {
    let directory = TempDir::new().unwrap();
    let queue = queue(&directory).await;
    let id = JobId::random();
    let due = Due::After(LONG * 100);
    queue
        .enqueue(&[NewJob {
            due,
            ..contract::job(&id)
        }])
        .await
        .unwrap();
    let turn = queue
        .database
        .write(database::Durability::Process)
        .await
        .unwrap();
    assert!(queue.claim(some(1), NOW).await.unwrap().is_empty());
    drop(turn);
}
