//! The as-of join: for every entity row the newest source row of its key that is not later than its time.
//!
//! ```text
//! entity rows  grouped by key, the distinct times of a key in order: slots
//! source rows  as they come, in any order; each is laid into the first slot of its key at or after its moment,
//!              where the newest one stays
//! end          along the slots of a key the newest so far is handed on; what is older than `ttl` is dropped
//! ```
//! A source row is looked up once and never sorted. Of the source, at most one row per slot is kept (while it goes on up to
//! twice as many), so memory follows the entity rows and not the source; `n_bytes` tells how much it is.
//!
//! The moment of a row is its event timestamp; where rows must have been known (`Created::MustBeKnown`) it is the later of
//! event and created timestamp, and the newest is still the one with the greatest event timestamp: among the rows whose
//! moment is not later than the time, which is what the slots up to it hold. Of rows that are equally new the first in the
//! source stays, as in materialization: the first that comes, or the least `SOURCE_ORDER` where rows say theirs because they
//! come in any order.
//! Not here: reading (`join`), the types of keys and times (`canonical`, `history`).

pub(super) mod join;
mod kept;
mod keys;
#[cfg(test)]
mod tests;

use arrow::array::{
    Array, ArrayRef, AsArray, PrimitiveArray, RecordBatch, TimestampMicrosecondArray,
};
use arrow::datatypes::{FieldRef, Schema, SchemaRef, TimestampMicrosecondType, UInt64Type};
use arrow::error::ArrowError;
use std::cmp::Ordering;
use std::sync::Arc;

use self::kept::{Kept, NOWHERE, Place};
use self::keys::{Groups, NO_GROUP};
use super::BATCH_ROWS;
use super::history::times;

/// How rows are chosen, and which columns the source's rows have: keys, features, the event timestamp, then what else it has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) n_keys: usize,
    /// Whether rows have a created timestamp.
    pub(super) has_created: bool,
    /// Whether it has to be before the entity row's time.
    pub(super) needs_created: bool,
    /// Whether the last column is `SOURCE_ORDER`.
    pub(super) has_order: bool,
    /// How old a row may be, in microseconds.
    pub(super) ttl: Option<i64>,
}

/// A chunk of entity rows on its way through a source.
pub(super) struct AsOf {
    rules: Rules,
    groups: Groups,
    /// Slots `first_slots[g]..first_slots[g + 1]` are those of group `g`.
    first_slots: Vec<u32>,
    /// Of each slot; ascending within a group.
    times: Vec<i64>,
    /// Of each entity row; `NO_SLOT` where a key is null.
    slots: Vec<u32>,
    best: Vec<Best>,
    /// Of the best rows, where the source has created timestamps.
    created: Vec<Option<i64>>,
    /// The same of their places in the source, where rows say them.
    order: Vec<u64>,
    kept: Kept,
}

impl Rules {
    /// Where the event timestamp is, of so many columns.
    fn first_time(&self, n_columns: usize) -> usize {
        n_columns - 1 - usize::from(self.has_created) - usize::from(self.has_order)
    }
}

const NO_SLOT: u32 = u32::MAX;

/// The newest row of a slot so far.
#[derive(Debug, Clone, Copy)]
struct Best {
    event: i64,
    place: Place,
}

impl AsOf {
    /// `chunk` has the keys and the time (`PointInTime::asked`); fewer rows than 2^32.
    pub(super) fn new(rules: Rules, chunk: &RecordBatch) -> Result<Self, ArrowError> {
        let n_keys = rules.n_keys;
        let (groups, group_of_row) = Groups::of(&chunk.columns()[..n_keys], chunk.num_rows())?;
        let at = times(chunk);
        let mut order: Vec<u32> = (0..chunk.num_rows() as u32)
            .filter(|&row| group_of_row[row as usize] != NO_GROUP)
            .collect();
        order.sort_unstable_by_key(|&row| (group_of_row[row as usize], at[row as usize]));
        let mut slots = vec![NO_SLOT; chunk.num_rows()];
        let mut first_slots = Vec::with_capacity(groups.len() + 1);
        let mut slot_times: Vec<i64> = Vec::new();
        let mut last = NO_GROUP;
        for row in order {
            let (group, time) = (group_of_row[row as usize], at[row as usize]);
            if group != last {
                first_slots.push(slot_times.len() as u32);
                last = group;
                slot_times.push(time);
            } else if slot_times.last() != Some(&time) {
                slot_times.push(time);
            }
            slots[row as usize] = slot_times.len() as u32 - 1;
        }
        first_slots.push(slot_times.len() as u32);
        let nothing = Best {
            event: 0,
            place: NOWHERE,
        };
        let if_there = |is_there: bool| if is_there { slot_times.len() } else { 0 };
        Ok(Self {
            rules,
            groups,
            first_slots,
            best: vec![nothing; slot_times.len()],
            created: vec![None; if_there(rules.has_created)],
            order: vec![0; if_there(rules.has_order)],
            times: slot_times,
            slots,
            kept: Kept::default(),
        })
    }

    /// Takes source rows as `Canonical` gives them, without null keys.
    pub(super) fn push(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        let micros = |at: usize| -> &PrimitiveArray<TimestampMicrosecondType> {
            batch.column(at).as_primitive()
        };
        let has_created = !self.created.is_empty();
        let has_order = !self.order.is_empty();
        let first_time = self.rules.first_time(batch.num_columns());
        let events = micros(first_time);
        let created = has_created.then(|| micros(first_time + 1));
        let order = has_order.then(|| {
            let last = batch.num_columns() - 1;
            batch.column(last).as_primitive::<UInt64Type>().values()
        });
        let groups = self
            .groups
            .find(&batch.columns()[..self.rules.n_keys], batch.num_rows())?;
        let this = self.kept.next();
        let mut touched: Vec<u32> = Vec::new();
        for (row, &group) in groups.iter().enumerate() {
            if group == NO_GROUP {
                continue;
            }
            let event = events.value(row);
            let created = created
                .filter(|created| created.is_valid(row))
                .map(|created| created.value(row));
            let moment = match (self.rules.needs_created, created) {
                (false, _) => event,
                (true, Some(created)) => event.max(created),
                (true, None) => continue,
            };
            let Some(slot) = self.slot(group, moment, event) else {
                continue;
            };
            let best = &mut self.best[slot];
            let is_newer = best.place == NOWHERE || {
                let before = self.created.get(slot).copied().flatten();
                match (event, created).cmp(&(best.event, before)) {
                    Ordering::Greater => true,
                    Ordering::Equal => order.is_some_and(|order| order[row] < self.order[slot]),
                    Ordering::Less => false,
                }
            };
            if !is_newer {
                continue;
            }
            if best.place.batch != this {
                touched.push(slot as u32);
            }
            best.event = event;
            best.place = Place {
                batch: this,
                row: row as u32,
            };
            if has_created {
                self.created[slot] = created;
            }
            if let Some(order) = order {
                self.order[slot] = order[row];
            }
        }
        self.keep(batch, first_time, touched)
    }

    /// The first slot of the group at or after the moment, unless the row is too old for it, and so for all after it.
    fn slot(&self, group: u32, moment: i64, event: i64) -> Option<usize> {
        let start = self.first_slots[group as usize] as usize;
        let end = self.first_slots[group as usize + 1] as usize;
        let slot = start + self.times[start..end].partition_point(|&time| time < moment);
        (slot < end && self.is_young(slot, event)).then_some(slot)
    }

    fn is_young(&self, slot: usize, event: i64) -> bool {
        self.rules
            .ttl
            .is_none_or(|ttl| event >= self.times[slot].saturating_sub(ttl))
    }

    /// Copies the features of the rows that are the newest of these slots, so that the batch can go.
    fn keep(
        &mut self,
        batch: &RecordBatch,
        first_time: usize,
        touched: Vec<u32>,
    ) -> Result<(), ArrowError> {
        if touched.is_empty() {
            return Ok(());
        }
        let rows = touched
            .iter()
            .map(|&slot| self.best[slot as usize].place.row);
        let features = &batch.columns()[self.rules.n_keys..first_time];
        self.kept.add(features, rows.collect())?;
        for (row, &slot) in touched.iter().enumerate() {
            self.best[slot as usize].place.row = row as u32;
        }
        if self.kept.wants_cleaning() {
            self.compact()?;
        }
        Ok(())
    }

    fn compact(&mut self) -> Result<(), ArrowError> {
        let places = self.best.iter_mut().map(|best| &mut best.place);
        self.kept.compact(places)
    }

    /// Bytes of the source rows that are kept.
    pub(super) fn n_bytes(&mut self, limit: usize) -> Result<usize, ArrowError> {
        if self.kept.n_bytes() > limit {
            self.compact()?;
        }
        Ok(self.kept.n_bytes())
    }

    /// One row for each entity row, in their order: features, then the event timestamp. `source` is the schema of the
    /// batches that were pushed.
    pub(super) fn finish(mut self, source: &Schema) -> Result<Answers, ArrowError> {
        self.hand_on();
        let n_keys = self.rules.n_keys;
        let features = source.fields().iter().skip(n_keys);
        let n_features = self.rules.first_time(source.fields().len()) - n_keys;
        // An entity row for which nothing is found has nulls, also where the source has none.
        let nullable = |field: &FieldRef| Arc::new(field.as_ref().clone().with_nullable(true));
        let mut fields: Vec<_> = features.take(n_features).map(nullable).collect();
        let batches = self.kept.finish(&fields)?;
        fields.push(Arc::new(arrow::datatypes::Field::new(
            "event_timestamp",
            super::canonical::MICROS,
            true,
        )));
        Ok(Answers {
            schema: Arc::new(Schema::new(fields)),
            batches,
            slots: self.slots,
            best: self.best,
            next: 0,
        })
    }

    /// What a slot has not got itself it has from the slot before it, if that is not too old by then.
    fn hand_on(&mut self) {
        for group in self.first_slots.windows(2) {
            let mut newest: Option<usize> = None;
            for slot in group[0] as usize..group[1] as usize {
                let has_own = self.best[slot].place != NOWHERE;
                match newest {
                    Some(before) if !has_own || !self.is_newer(slot, before) => {
                        self.best[slot] = self.best[before];
                        if let Some(created) = self.created.get(before).copied() {
                            self.created[slot] = created;
                        }
                    }
                    _ if has_own => newest = Some(slot),
                    _ => {}
                }
            }
        }
        for slot in 0..self.best.len() {
            if !self.is_young(slot, self.best[slot].event) {
                self.best[slot].place = NOWHERE;
            }
        }
    }

    /// Whether the best of a slot is newer than that of one before it. They differ, or their moments could not.
    fn is_newer(&self, slot: usize, before: usize) -> bool {
        let age = |slot: usize| {
            let created = self.created.get(slot).copied().flatten();
            (self.best[slot].event, created)
        };
        age(slot) > age(before)
    }
}

/// The joined rows, batch by batch.
pub(super) struct Answers {
    schema: SchemaRef,
    batches: Vec<Vec<ArrayRef>>,
    slots: Vec<u32>,
    best: Vec<Best>,
    next: usize,
}

impl Iterator for Answers {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let end = (self.next + BATCH_ROWS).min(self.slots.len());
        if self.next == end {
            return None;
        }
        let rows = self.next..end;
        self.next = end;
        let best = self.slots[rows].iter().map(|&slot| match slot {
            NO_SLOT => None,
            slot => Some(self.best[slot as usize]).filter(|best| best.place != NOWHERE),
        });
        let best: Vec<Option<Best>> = best.collect();
        Some(self.batch(&best))
    }
}

impl Answers {
    fn batch(&self, best: &[Option<Best>]) -> Result<RecordBatch, ArrowError> {
        // The last batch is one row of nulls.
        let missing = (self.batches.len() - 1, 0);
        let places = best.iter().map(|best| match best {
            Some(best) => (best.place.batch as usize, best.place.row as usize),
            None => missing,
        });
        let places: Vec<(usize, usize)> = places.collect();
        let n_features = self.schema.fields().len() - 1;
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(n_features + 1);
        for feature in 0..n_features {
            columns.push(kept::interleaved(&self.batches, feature, &places)?);
        }
        let events = best.iter().map(|best| best.map(|best| best.event));
        let events: TimestampMicrosecondArray = events.collect();
        columns.push(Arc::new(events));
        RecordBatch::try_new(self.schema.clone(), columns)
    }
}
