//! The one thread of this process that writes: it takes all writes that wait and commits them together.
//!
//! A thread of its own because LMDB's writer lock is shared by all processes and waits for as long as another one writes.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use heed::{Env, MdbError, WithoutTls};
use tokio::sync::{mpsc, oneshot};
use waypost_session::{ErrorKind, StoreError};

use crate::directory::Membership;
use crate::environment::Tables;
use crate::error::{Failure, from_file, from_heed};
use crate::transaction::Transaction;

/// Most writes that wait in the queue; more wait outside of it for room.
const QUEUE_JOBS_MAX: usize = 128;
/// Most entries (about) that one transaction takes, so that nobody waits long for its end.
const GROUP_ENTRIES_MAX: usize = 8192;
/// LMDB's lock is not fair: a process that asks for it again at once has it before those who waited wake up. So after this
/// long of writing without a pause, a busy one waits ...
const TURN: Duration = Duration::from_millis(5);
/// ... for so long, in which the others wake up.
const TURN_PAUSE: Duration = Duration::from_micros(100);
/// How often the reader slots of killed processes are looked for.
const STALE_READERS_EVERY: Duration = Duration::from_secs(30);

/// A write that waits. It may be done more than once: when a transaction fails, each of its writes is tried by itself.
trait Job: Send {
    /// How many entries it writes, about.
    fn entries(&self) -> usize;
    /// Whether somebody still waits for the answer. A write that nobody waits for is not done: its caller has been told
    /// long ago that it failed.
    fn is_wanted(&self) -> bool;
    /// Writes, and keeps the answer. An error means that the whole transaction is lost.
    fn write(&mut self, transaction: &mut Transaction<'_>) -> Result<(), heed::Error>;
    /// Gives the answer that was kept, or this error.
    fn answer(self: Box<Self>, outcome: Result<(), StoreError>);
    fn operation(&self) -> &'static str;
}

struct Write<F, T> {
    operation: &'static str,
    entries: usize,
    work: F,
    result: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<F, T> Job for Write<F, T>
where
    F: FnMut(&mut Transaction<'_>) -> Result<T, Failure> + Send,
    T: Send,
{
    fn entries(&self) -> usize {
        self.entries
    }

    fn is_wanted(&self) -> bool {
        !self.reply.is_closed()
    }

    fn write(&mut self, transaction: &mut Transaction<'_>) -> Result<(), heed::Error> {
        let result = match (self.work)(transaction) {
            Ok(answer) => Ok(answer),
            Err(Failure::Transaction(error)) => return Err(error),
            Err(failure @ Failure::Operation(..)) => Err(failure.into_error(self.operation)),
        };
        self.result = Some(result);
        Ok(())
    }

    fn answer(self: Box<Self>, outcome: Result<(), StoreError>) {
        let answer = match (outcome, self.result) {
            (Err(error), _) => Err(error),
            (Ok(()), Some(result)) => result,
            (Ok(()), None) => return,
        };
        // Nobody may be waiting any more.
        let _ = self.reply.send(answer);
    }

    fn operation(&self) -> &'static str {
        self.operation
    }
}

/// A write that nobody waits for. `G` is dropped when it is done or given up.
struct Post<F, G> {
    operation: &'static str,
    work: F,
    _guard: G,
}

impl<F, G> Job for Post<F, G>
where
    F: FnMut(&mut Transaction<'_>) -> Result<(), Failure> + Send,
    G: Send,
{
    fn entries(&self) -> usize {
        1
    }

    fn is_wanted(&self) -> bool {
        true
    }

    fn write(&mut self, transaction: &mut Transaction<'_>) -> Result<(), heed::Error> {
        match (self.work)(transaction) {
            Err(Failure::Transaction(error)) => Err(error),
            Ok(()) | Err(Failure::Operation(..)) => Ok(()),
        }
    }

    fn answer(self: Box<Self>, _: Result<(), StoreError>) {}

    fn operation(&self) -> &'static str {
        self.operation
    }
}

/// The way to the thread.
pub(crate) struct Writer {
    jobs: mpsc::Sender<Box<dyn Job>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    pub(crate) fn start(
        env: Env<WithoutTls>,
        tables: Tables,
        membership: Arc<Membership>,
    ) -> Result<Self, StoreError> {
        let (jobs, queue) = mpsc::channel(QUEUE_JOBS_MAX);
        let thread = thread::Builder::new()
            .name("waypost-lmdb".to_owned())
            .spawn(move || {
                run(&env, tables, queue);
                drop(env);
                // Others may remove the files only after they are closed here.
                drop(membership);
            })
            .map_err(|error| from_file("open", "cannot start the writing thread", error))?;
        Ok(Self {
            jobs,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Does `work` in a transaction, with others' work, and answers when it is committed. `entries` is how many records
    /// it writes, about.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        operation: &'static str,
        entries: usize,
        timeout: Duration,
        work: impl FnMut(&mut Transaction<'_>) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Write {
            operation,
            entries,
            work,
            result: None,
            reply,
        });
        let deadline = tokio::time::Instant::now() + timeout;
        match tokio::time::timeout_at(deadline, self.jobs.send(job)).await {
            Err(_) => return Err(timed_out(operation).with_may_have_applied(false)),
            Ok(Err(_)) => return Err(ended(operation).with_may_have_applied(false)),
            Ok(Ok(())) => {}
        }
        match tokio::time::timeout_at(deadline, answer).await {
            Err(_) => Err(timed_out(operation)),
            Ok(Err(_)) => Err(ended(operation).with_may_have_applied(true)),
            Ok(Ok(answer)) => answer,
        }
    }

    /// Does `work` before any write that comes after this call, if there is room in the queue: for what can also be done
    /// another time. `guard` is dropped when it is done or given up.
    pub(crate) fn post(
        &self,
        operation: &'static str,
        guard: impl Send + 'static,
        work: impl FnMut(&mut Transaction<'_>) -> Result<(), Failure> + Send + 'static,
    ) {
        // The one who sees the need again posts it again.
        let _ = self.jobs.try_send(Box::new(Post {
            operation,
            work,
            _guard: guard,
        }));
    }

    /// Ends the thread once it has done what waits, and returns it to be joined.
    pub(crate) fn end(self) -> Option<JoinHandle<()>> {
        drop(self.jobs);
        self.thread.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

fn timed_out(operation: &'static str) -> StoreError {
    StoreError::new(
        ErrorKind::Timeout,
        operation,
        "the writer lock was not free in time: is a process that uses the store stopped, or the disk stuck?",
    )
}

fn ended(operation: &'static str) -> StoreError {
    StoreError::new(
        ErrorKind::Unavailable,
        operation,
        "the writing thread has ended: open the store again",
    )
}

fn run(env: &Env<WithoutTls>, tables: Tables, mut queue: mpsc::Receiver<Box<dyn Job>>) {
    let mut stale_readers_at = Instant::now() + STALE_READERS_EVERY;
    let mut turn_began = Instant::now();
    while let Some(first) = queue.blocking_recv() {
        if turn_began.elapsed() >= TURN {
            thread::sleep(TURN_PAUSE);
            turn_began = Instant::now();
        }
        let mut entries = first.entries();
        let mut group = vec![first];
        while entries < GROUP_ENTRIES_MAX
            && let Ok(next) = queue.try_recv()
        {
            entries += next.entries();
            group.push(next);
        }
        match commit_together(env, tables, group) {
            Ok(()) => {}
            // What failed may be due to one write alone: each gets a transaction of its own.
            Err(Lost {
                group, retry: true, ..
            }) if group.len() > 1 => {
                for job in group {
                    if let Err(lost) = commit_together(env, tables, vec![job]) {
                        refuse(lost);
                    }
                }
            }
            Err(lost) => refuse(lost),
        }
        if Instant::now() >= stale_readers_at {
            // Costs pages that stay in use for longer, if it fails; the next one may succeed.
            let _ = env.clear_stale_readers();
            stale_readers_at = Instant::now() + STALE_READERS_EVERY;
        }
    }
}

/// A transaction that did not come to be.
struct Lost {
    group: Vec<Box<dyn Job>>,
    error: heed::Error,
    /// Certainly nothing of it was applied.
    retry: bool,
}

fn commit_together(env: &Env<WithoutTls>, tables: Tables, mut group: Vec<Box<dyn Job>>) -> Result<(), Lost> {
    let mut transaction = match Transaction::begin(env, tables) {
        Ok(transaction) => transaction,
        Err(error) => {
            return Err(Lost {
                group,
                error,
                retry: true,
            });
        }
    };
    // Only now: beginning may have waited for another process for longer than the callers did.
    group.retain(|job| job.is_wanted());
    for job in &mut group {
        if let Err(error) = job.write(&mut transaction) {
            return Err(Lost {
                group,
                error,
                retry: true,
            });
        }
    }
    if let Err(error) = transaction.commit() {
        // A full map is found before the commit's last step, which alone makes the transaction visible.
        let retry = matches!(error, heed::Error::Mdb(MdbError::MapFull | MdbError::TxnFull));
        return Err(Lost { group, error, retry });
    }
    for job in group {
        job.answer(Ok(()));
    }
    Ok(())
}

fn refuse(Lost { group, error, retry }: Lost) {
    for job in group {
        let answer = from_heed(job.operation(), copy(&error)).with_may_have_applied(!retry);
        job.answer(Err(answer));
    }
}

/// The same error for one more caller.
fn copy(error: &heed::Error) -> heed::Error {
    match error {
        heed::Error::Mdb(error) => heed::Error::Mdb(*error),
        heed::Error::Io(error) => heed::Error::Io(match error.raw_os_error() {
            Some(code) => std::io::Error::from_raw_os_error(code),
            None => std::io::Error::from(error.kind()),
        }),
        heed::Error::Encoding(error) | heed::Error::Decoding(error) => {
            heed::Error::Encoding(error.to_string().into())
        }
        heed::Error::EnvAlreadyOpened => heed::Error::EnvAlreadyOpened,
    }
}
