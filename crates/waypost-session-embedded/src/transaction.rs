//! A write transaction with the counter that gives incarnations and seqs.

use heed::{Env, RwTxn, WithoutTls};
use waypost_session::ErrorKind;
use waypost_types::{Incarnation, Owner, Seq};

use crate::codec::{Corrupt, decode_clock, encode_clock, owner_key};
use crate::environment::{CLOCK, Tables};
use crate::error::Failure;

/// Last number that the counter gives, and the greatest that is accepted from outside: far enough from the end of a u64
/// that nothing needs to think of overflow.
pub(crate) const CLOCK_MAX: u64 = 1 << 62;

/// Everything that is written until [`commit`](Self::commit); dropped, it was nothing.
pub(crate) struct Transaction<'e> {
    env: &'e Env<WithoutTls>,
    pub(crate) txn: RwTxn<'e>,
    pub(crate) tables: Tables,
    /// For keys that are looked up or written, to allocate once.
    pub(crate) key: Vec<u8>,
    /// The same for values.
    pub(crate) value: Vec<u8>,
    clock: Option<Clock>,
}

#[derive(Clone, Copy)]
struct Clock {
    value: u64,
    stored: u64,
}

impl<'e> Transaction<'e> {
    /// Waits until no other process writes.
    pub(crate) fn begin(env: &'e Env<WithoutTls>, tables: Tables) -> Result<Self, heed::Error> {
        Ok(Self {
            env,
            txn: env.write_txn()?,
            tables,
            key: Vec::new(),
            value: Vec::new(),
            clock: None,
        })
    }

    /// Makes everything visible at once, to every process.
    pub(crate) fn commit(mut self) -> Result<(), heed::Error> {
        if let Some(clock) = self.clock
            && clock.value != clock.stored
        {
            self.tables
                .meta
                .put(&mut self.txn, CLOCK, &encode_clock(clock.value))?;
        }
        self.txn.commit()
    }

    fn clock(&mut self) -> Result<&mut Clock, Failure> {
        if self.clock.is_none() {
            let stored = self
                .tables
                .meta
                .get(&self.txn, CLOCK)?
                .ok_or(Corrupt("counter"))?;
            let value = decode_clock(stored)?;
            self.clock = Some(Clock { value, stored: value });
        }
        self.clock.as_mut().ok_or_else(|| Corrupt("counter").into())
    }

    fn next(&mut self) -> Result<u64, Failure> {
        let clock = self.clock()?;
        if clock.value >= CLOCK_MAX {
            return Err(Failure::Operation(
                ErrorKind::LimitExceeded,
                "all incarnations and seqs are used up: start with a new directory".to_owned(),
            ));
        }
        clock.value += 1;
        Ok(clock.value)
    }

    /// An incarnation greater than every one before.
    pub(crate) fn next_incarnation(&mut self) -> Result<Incarnation, Failure> {
        self.next().map(Incarnation)
    }

    /// A seq greater than every one before.
    pub(crate) fn next_seq(&mut self) -> Result<Seq, Failure> {
        self.next().map(Seq)
    }

    /// Takes note of a number that this environment may not have given (a caller remembers it from one that was lost):
    /// it gives greater ones from now on.
    pub(crate) fn advance_past(&mut self, number: u64) -> Result<(), Failure> {
        let clock = self.clock()?;
        if number <= CLOCK_MAX {
            clock.value = clock.value.max(number);
        }
        Ok(())
    }

    /// Refuses what makes the file fuller once an eighth of it alone is left. That part is for what frees room (releases,
    /// reclaiming) and for renewals, all of which need fresh pages themselves: pages are copied when they change.
    pub(crate) fn ask_for_room(&self) -> Result<(), Failure> {
        let tables = &self.tables;
        let mut used_bytes = 0;
        for table in [tables.sessions, tables.held, tables.leases, tables.dead] {
            let stat = table.stat(&self.txn)?;
            let pages = stat.branch_pages + stat.leaf_pages + stat.overflow_pages;
            used_bytes += pages * stat.page_size as usize;
        }
        let map_bytes = self.env.info().map_size;
        if used_bytes <= map_bytes - map_bytes / 8 {
            return Ok(());
        }
        Err(Failure::Operation(
            ErrorKind::LimitExceeded,
            format!(
                "the data file is nearly full: open it with a map_size of more than {map_bytes} in every process"
            ),
        ))
    }

    /// Puts the owner, whose lease is over, on the list of those to reclaim.
    pub(crate) fn bury(&mut self, owner: &Owner) -> Result<(), Failure> {
        owner_key(&mut self.key, owner.identity.as_str(), owner.incarnation);
        self.tables.dead.put(&mut self.txn, &self.key, &[])?;
        Ok(())
    }
}
