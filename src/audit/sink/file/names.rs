//! Names of audit files.
//!
//! ```text
//! predictions-<UTC time>-<writer>-<n>.jsonl
//! date=2026-11-22/hour=17/predictions-<UTC time>-<writer>-<n>.parquet     the hour in which its events were taken up, in UTC
//! ```
//! The time is when the file was begun, and `n` counts the writer's files from 1: names of one process sort in the order in
//! which it began them.

use std::io;
use std::path::{Path, PathBuf};

use fs_err::{self as fs, File};
use uuid::Uuid;

use super::Config;
use crate::types::timestamp::Timestamp;

const PREFIX: &str = "predictions-";
pub(super) const LINES: &str = ".jsonl";
pub(super) const PARQUET: &str = ".parquet";
const DATE: &str = "date=";
const HOUR: &str = "hour=";

const MICROS_PER_HOUR: i64 = 3_600_000_000;

pub(super) fn name(
    begun: Timestamp,
    writer: Uuid,
    n_files: u64,
    suffix: &str,
) -> io::Result<String> {
    let time = time_in_name(begun)?;
    Ok(format!("{PREFIX}{time}-{writer}-{n_files}{suffix}"))
}

/// As `20261122T140000.000000Z`: sorts as text.
fn time_in_name(time: Timestamp) -> io::Result<String> {
    let time = jiff::Timestamp::from_microsecond(time.as_micros()).map_err(io::Error::other)?;
    Ok(time.strftime("%Y%m%dT%H%M%S%.6fZ").to_string())
}

/// The hour of a moment, counted from the epoch.
pub(super) fn hour(micros: i64) -> i64 {
    micros.div_euclid(MICROS_PER_HOUR)
}

/// Where the files of an hour are.
pub(super) fn hour_directory(directory: &Path, hour: i64) -> io::Result<PathBuf> {
    let micros = hour.saturating_mul(MICROS_PER_HOUR);
    let time = jiff::Timestamp::from_microsecond(micros).map_err(io::Error::other)?;
    let (date, hour) = (time.strftime("date=%Y-%m-%d"), time.strftime("hour=%H"));
    Ok(directory.join(date.to_string()).join(hour.to_string()))
}

/// The first moment of the hour that a file is for, and the first behind it, in microseconds since the epoch; `None` for a
/// file that is for any time.
pub(in super::super) fn hour_of(path: &Path) -> Option<(i64, i64)> {
    let hour = path.parent()?;
    let date = hour.parent()?.file_name()?.to_str()?.strip_prefix(DATE)?;
    let hour = hour.file_name()?.to_str()?.strip_prefix(HOUR)?;
    let begin: jiff::Timestamp = format!("{date}T{hour}:00:00Z").parse().ok()?;
    let begin = begin.as_microsecond();
    Some((begin, begin + MICROS_PER_HOUR))
}

/// The id of the process in a file's name.
pub(super) fn process_of(path: &Path) -> Option<Uuid> {
    let name = path.file_stem()?.to_str()?;
    let (_time, rest) = name.strip_prefix(PREFIX)?.split_once('-')?;
    let (writer, _n) = rest.rsplit_once('-')?;
    Uuid::try_parse(writer).ok()
}

/// All audit files of a directory, whatever their format, oldest first.
pub(in super::super) fn list(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in entries(directory)? {
        if is_audit_file(&path, LINES) {
            files.push(path);
        } else if is_directory(&path, DATE) {
            for hour in entries(&path)?.filter(|path| is_directory(path, HOUR)) {
                let of_hour = entries(&hour)?;
                files.extend(of_hour.filter(|path| is_audit_file(path, PARQUET)));
            }
        }
    }
    files.sort_by(|one, other| one.file_name().cmp(&other.file_name()));
    Ok(files)
}

fn entries(directory: &Path) -> io::Result<impl Iterator<Item = PathBuf> + use<>> {
    let entries = fs::read_dir(directory)?.map(|entry| Ok(entry?.path()));
    let entries = entries.collect::<io::Result<Vec<PathBuf>>>()?;
    Ok(entries.into_iter())
}

fn is_audit_file(path: &Path, suffix: &str) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with(PREFIX) && name.ends_with(suffix)
}

fn is_directory(path: &Path, prefix: &str) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with(prefix) && path.is_dir()
}

/// Deletes the oldest files beyond `max_files`, except those that are being written. A file too many does no harm to the
/// events, so a failure is only logged.
pub(super) fn delete_oldest(config: &Config) {
    if config.max_files == 0 {
        return;
    }
    if let Err(error) = try_delete_oldest(config) {
        tracing::warn!(%error, "old audit files could not be deleted");
    }
}

fn try_delete_oldest(config: &Config) -> io::Result<()> {
    let files = list(&config.directory)?;
    let n_surplus = files.len().saturating_sub(config.max_files);
    for path in &files[..n_surplus] {
        let is_written = File::open(path)?.try_lock().is_err();
        if is_written {
            continue;
        }
        tracing::info!(path = %path.display(), "an old audit file is deleted");
        fs::remove_file(path)?;
        if hour_of(path).is_some() {
            // An hour, and a day, that have others left stay.
            let empty = path.ancestors().skip(1).take(2);
            let _ = empty.map(fs::remove_dir).take_while(Result::is_ok).count();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_time_writer_and_hour() {
        let writer = Uuid::from_u128(7);
        let name = name(Timestamp::EPOCH, writer, 3, PARQUET).unwrap();
        assert_eq!(
            name,
            format!("predictions-19700101T000000.000000Z-{writer}-3.parquet")
        );
        // 2026-11-22T17:31:16Z
        let micros = 1_795_368_676_000_000;
        let path = hour_directory(Path::new("audit"), hour(micros))
            .unwrap()
            .join(name);
        assert!(
            path.starts_with("audit/date=2026-11-22/hour=17"),
            "{}",
            path.display()
        );
        assert_eq!(process_of(&path), Some(writer));
        let (begin, end) = hour_of(&path).unwrap();
        assert!(begin <= micros && micros < end);
        assert_eq!(hour_of(Path::new("audit/predictions-1.jsonl")), None);
        // Before the epoch the hour is the one below.
        assert_eq!(hour(-1), -1);
    }
}
