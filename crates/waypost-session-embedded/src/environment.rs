//! One LMDB environment of this process, shared by every handle on the same path.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, MdbError, RoTxn, WithoutTls};
use waypost_session::{ErrorKind, StoreError};

use crate::codec::encode_clock;
use crate::directory::{self, Membership};
use crate::error::from_heed;
use crate::options::EmbeddedOptions;
use crate::writer::Writer;

/// Keys and values are bytes: [`crate::codec`] gives them their meaning.
pub(crate) type Table = Database<'static, Bytes, Bytes>;

/// The databases of an environment.
#[derive(Clone, Copy)]
pub(crate) struct Tables {
    /// address -> session
    pub(crate) sessions: Table,
    /// identity -> lease
    pub(crate) leases: Table,
    /// owner and slot -> address: what each owner holds, so that reclaiming need not look at everything
    pub(crate) held: Table,
    /// owner -> nothing: whose lease is over and whose sessions are to be reclaimed
    pub(crate) dead: Table,
    /// [`CLOCK`] -> the last incarnation or seq given
    pub(crate) meta: Table,
}

/// Key of the one counter that gives incarnations and seqs.
pub(crate) const CLOCK: &[u8] = b"clock";

const TABLES: u32 = 5;

/// The environments that this process has open, by canonical path: LMDB forbids opening one twice in a process.
static OPEN: LazyLock<Mutex<HashMap<PathBuf, Weak<Environment>>>> = LazyLock::new(Mutex::default);

pub(crate) struct Environment {
    // First, so that the writer is told to end before the rest goes.
    pub(crate) writer: Writer,
    pub(crate) env: Env<WithoutTls>,
    pub(crate) tables: Tables,
    options: EmbeddedOptions,
    _membership: Arc<Membership>,
}

impl Environment {
    /// Opens the environment in the directory `path`, or shares it with the handles that have it open already. Blocks.
    pub(crate) fn open(path: &Path, options: &EmbeddedOptions) -> Result<Arc<Self>, StoreError> {
        let dir = directory::create(path)?;
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, environment| environment.strong_count() > 0);
        if let Some(environment) = open.get(&dir).and_then(Weak::upgrade) {
            if environment.options != *options {
                return Err(StoreError::new(
                    ErrorKind::ConfigInvalid,
                    "open",
                    format!(
                        "this process has {} open with other options: use the same ones",
                        dir.display()
                    ),
                ));
            }
            return Ok(environment);
        }
        // A handle that was dropped or closed just now may still be finishing its last writes.
        if let Some(closing) = heed::env_closing_event(&dir) {
            closing.wait_timeout(options.timeout);
        }
        let environment = Arc::new(Self::open_new(&dir, options)?);
        open.insert(dir, Arc::downgrade(&environment));
        Ok(environment)
    }

    fn open_new(dir: &Path, options: &EmbeddedOptions) -> Result<Self, StoreError> {
        let membership = Arc::new(directory::join(dir, options.sync, options.timeout)?);
        let env = open_env(dir, options).map_err(|error| from_heed("open", error))?;
        env.clear_stale_readers()
            .map_err(|error| from_heed("open", error))?;
        let tables = open_tables(&env).map_err(|error| from_heed("open", error))?;
        let writer = Writer::start(env.clone(), tables, Arc::clone(&membership))?;
        Ok(Self {
            writer,
            env,
            tables,
            options: options.clone(),
            _membership: membership,
        })
    }

    /// A snapshot. Keep it short: pages that it sees cannot be used again meanwhile.
    pub(crate) fn read(&self, operation: &'static str) -> Result<RoTxn<'_, WithoutTls>, StoreError> {
        match self.env.read_txn() {
            // Processes that were killed in a read may have left the slots taken.
            Err(heed::Error::Mdb(MdbError::ReadersFull)) => {
                self.env.clear_stale_readers().and_then(|_| self.env.read_txn())
            }
            other => other,
        }
        .map_err(|error| from_heed(operation, error))
    }

    pub(crate) const fn timeout(&self) -> core::time::Duration {
        self.options.timeout
    }
}

#[expect(
    unsafe_code,
    reason = "LMDB maps a file into memory, which is sound only while nobody else changes the file: it lies in a \
              directory of its own that only this crate writes, under LMDB's locks; NO_SYNC is safe against the end of \
              a process, and data that a crash of the machine may have damaged were removed by `directory::join`"
)]
fn open_env(dir: &Path, options: &EmbeddedOptions) -> heed::Result<Env<WithoutTls>> {
    // A reader's slot belongs to the read and not to the thread: threads of a runtime come and go, and one that ends
    // while the environment is closed must not find a slot of its own there.
    let mut open = EnvOpenOptions::new().read_txn_without_tls();
    open.map_size(options.map_size_bytes)
        .max_readers(options.max_readers)
        .max_dbs(TABLES);
    // SAFETY: see above.
    unsafe {
        if !options.sync {
            open.flags(EnvFlags::NO_SYNC);
        }
        open.open(dir)
    }
}

fn open_tables(env: &Env<WithoutTls>) -> heed::Result<Tables> {
    // Reading first: creating needs the writer lock, and a process that opens what is there need not wait for it.
    if let Some(tables) = open_existing(env)? {
        return Ok(tables);
    }
    let tables = env.create_databases_and_commit(env.write_txn()?, |opener, txn| {
        let sessions = opener.create_database::<Bytes, Bytes>(txn, Some("sessions"))?;
        let leases = opener.create_database::<Bytes, Bytes>(txn, Some("leases"))?;
        let held = opener.create_database::<Bytes, Bytes>(txn, Some("held"))?;
        let dead = opener.create_database::<Bytes, Bytes>(txn, Some("dead"))?;
        let meta = opener.create_database::<Bytes, Bytes>(txn, Some("meta"))?;
        if meta.get(txn, CLOCK)?.is_none() {
            meta.put(txn, CLOCK, &encode_clock(first_clock()))?;
        }
        Ok::<_, heed::Error>(CommitOrAbort::<_, ()>::Commit((
            sessions, leases, held, dead, meta,
        )))
    })?;
    Ok(match tables {
        CommitOrAbort::Commit((sessions, leases, held, dead, meta)) => Tables {
            sessions,
            leases,
            held,
            dead,
            meta,
        },
        CommitOrAbort::Abort(()) => return Err(heed::Error::Mdb(MdbError::Invalid)),
    })
}

fn open_existing(env: &Env<WithoutTls>) -> heed::Result<Option<Tables>> {
    let tables = env.open_databases_and_commit(env.read_txn()?, |opener, txn| {
        let open = |name| opener.open_database::<Bytes, Bytes>(txn, Some(name));
        let (Some(sessions), Some(leases), Some(held), Some(dead), Some(meta)) = (
            open("sessions")?,
            open("leases")?,
            open("held")?,
            open("dead")?,
            open("meta")?,
        ) else {
            return Ok::<_, heed::Error>(CommitOrAbort::Abort(()));
        };
        Ok(CommitOrAbort::Commit((sessions, leases, held, dead, meta)))
    })?;
    Ok(match tables {
        CommitOrAbort::Commit((sessions, leases, held, dead, meta)) => Some(Tables {
            sessions,
            leases,
            held,
            dead,
            meta,
        }),
        CommitOrAbort::Abort(()) => None,
    })
}

/// Where the counter of a fresh environment starts: at the time of day, in microseconds. So incarnations and seqs go on
/// growing also when the environment before it was removed, as long as no more than a million were given a second.
fn first_clock() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_micros()).unwrap_or_default()
}
