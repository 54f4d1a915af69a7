//! The processes of a measurement: each is this program again, in a role, driven over its stdin.

mod broker;
mod nats;
mod raw;
mod redis;
mod waypost;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines, Stdin};
use tokio::task::JoinHandle;

use crate::control::{Answer, Command, Mode};
use crate::names::{Names, Pairs, Random};

/// Acked messages in flight.
pub(crate) const IN_FLIGHT: usize = 256;
/// Messages between two looks at the clock or at the wish to stop.
const BURST: usize = 64;

/// Messages between two pauses when each client is sent one.
const TOUCH_BURST: usize = 2000;

/// What a role counts.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) received: AtomicU64,
    pub(crate) sent: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) acked: AtomicU64,
    stop: AtomicBool,
}

/// Which messages to send.
#[derive(Debug)]
pub(crate) struct Work {
    from: Names,
    to: Names,
    targets: usize,
    pairs: Pairs,
    body: Bytes,
    counters: Arc<Counters>,
}

impl Work {
    fn next(&self) -> (&str, &str, &Bytes) {
        let (from, to) = self.pairs.next();
        (from, to, &self.body)
    }

    fn stops(&self) -> bool {
        self.counters.stop.load(Ordering::Relaxed)
    }
}

/// One of the two servers in one of the systems.
pub(crate) trait Server: Send + Sized + 'static {
    /// Makes the clients `from..to` addressable; returns when they are.
    fn register(
        &mut self,
        names: &Names,
        from: usize,
        to: usize,
        batched: bool,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Sends without acknowledgement; false when refused.
    fn send(&mut self, from: &str, to: &str, body: &Bytes) -> impl Future<Output = Result<bool>> + Send;

    /// Sends the next [`BURST`] messages, in the way that suits the system; how many were refused.
    fn send_burst(&mut self, work: &Work) -> impl Future<Output = Result<u64>> + Send {
        async move {
            let mut refused = 0;
            for _ in 0..BURST {
                let (from, to, body) = work.next();
                refused += u64::from(!self.send(from, to, body).await?);
            }
            Ok(refused)
        }
    }

    /// Sends what is still buffered.
    fn flush(&mut self) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }

    /// Sends with acknowledgement until told to stop; false when the system has no acknowledgement.
    fn acked(&mut self, _work: &mut Work) -> impl Future<Output = Result<bool>> + Send {
        async { Ok(false) }
    }

    /// Asks and waits for the answer.
    fn request(&mut self, from: &str, to: &str, body: &Bytes) -> impl Future<Output = Result<()>> + Send;

    /// Sends to all and says how many it reached; `None` when the system has nothing of the kind.
    fn broadcast(&mut self, _from: &str, _body: &Bytes) -> impl Future<Output = Result<Option<u64>>> + Send {
        async { Ok(None) }
    }

    /// Another handle on the same server, where takeover makes sense.
    fn second(&self) -> Option<Self> {
        None
    }

    /// How often the datastore was read.
    fn store_reads(&self) -> u64 {
        0
    }
}

/// Runs the role that the arguments name, until its stdin ends.
pub(crate) async fn run(name: &str, arguments: &[String]) -> Result<()> {
    let argument = |at: usize| -> Result<&str> {
        arguments
            .get(at)
            .map(String::as_str)
            .with_context(|| format!("the role {name} takes more arguments"))
    };
    let counters = Arc::new(Counters::default());
    match name {
        "raw-server" => {
            let (server, address) = raw::Raw::listen(Arc::clone(&counters)).await?;
            serve(server, 'b', 'a', address, counters).await
        }
        "raw-client" => {
            let server = raw::Raw::connect(argument(0)?, Arc::clone(&counters)).await?;
            serve(server, 'a', 'b', String::new(), counters).await
        }
        "nats-a" | "nats-b" => {
            let server = nats::Nats::connect(argument(0)?, Arc::clone(&counters)).await?;
            let (own, other) = sides(name);
            serve(server, own, other, String::new(), counters).await
        }
        "redis-a" | "redis-b" => {
            let (own, other) = sides(name);
            let server = redis::Redis::connect(argument(0)?, own, Arc::clone(&counters)).await?;
            serve(server, own, other, String::new(), counters).await
        }
        "waypost-a" | "waypost-b" => {
            let server =
                waypost::Waypost::start(name, argument(0)?, argument(1)?, Arc::clone(&counters)).await?;
            let (own, other) = sides(name);
            serve(server, own, other, String::new(), counters).await
        }
        "broker" => broker::run(argument(0)?, argument(1)?).await,
        other => bail!("there is no role {other}"),
    }
}

fn sides(name: &str) -> (char, char) {
    if name.ends_with("-a") {
        ('a', 'b')
    } else {
        ('b', 'a')
    }
}

/// The conductor's side of a role.
struct Line {
    lines: Lines<BufReader<Stdin>>,
}

impl Line {
    fn new() -> Self {
        Self {
            lines: BufReader::new(tokio::io::stdin()).lines(),
        }
    }

    /// `None`: the conductor has gone or wants us to end.
    async fn next(&mut self) -> Result<Option<Command>> {
        let Some(line) = self.lines.next_line().await? else {
            return Ok(None);
        };
        match serde_json::from_str(&line).with_context(|| format!("not a command: {line}"))? {
            Command::Quit => Ok(None),
            command => Ok(Some(command)),
        }
    }

    async fn answer(&mut self, answer: &Answer) -> Result<()> {
        let mut line = serde_json::to_string(answer)?;
        line.push('\n');
        let mut stdout = tokio::io::stdout();
        stdout.write_all(line.as_bytes()).await?;
        Ok(stdout.flush().await?)
    }
}

fn nanos(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// A server between two commands: here, or away in a task that sends.
enum Place<S> {
    Here(S),
    Sending(JoinHandle<(S, Result<bool>)>),
}

struct Session<S> {
    place: Option<Place<S>>,
    second: Option<S>,
    own: char,
    names: Names,
    other: char,
    others: Names,
    taken: Names,
    counters: Arc<Counters>,
    started: Instant,
    registered: usize,
}

async fn serve<S: Server>(
    server: S,
    own: char,
    other: char,
    address: String,
    counters: Arc<Counters>,
) -> Result<()> {
    let mut line = Line::new();
    line.answer(&Answer {
        address,
        ..Answer::default()
    })
    .await?;
    let mut session = Session {
        second: server.second(),
        place: Some(Place::Here(server)),
        own,
        names: Names::default(),
        other,
        others: Names::default(),
        taken: Names::default(),
        counters,
        started: Instant::now(),
        registered: 0,
    };
    while let Some(command) = line.next().await? {
        let began = Instant::now();
        let mut answer = match session.obey(command).await {
            Ok(answer) => answer,
            Err(error) => Answer {
                error: Some(format!("{error:#}")),
                ..Answer::default()
            },
        };
        if answer.took_nanos == 0 {
            answer.took_nanos = nanos(began);
        }
        session.fill(&mut answer);
        line.answer(&answer).await?;
    }
    Ok(())
}

impl<S: Server> Session<S> {
    fn fill(&self, answer: &mut Answer) {
        answer.nanos = nanos(self.started);
        answer.sent = self.counters.sent.load(Ordering::Relaxed);
        answer.refused = self.counters.refused.load(Ordering::Relaxed);
        answer.acked = self.counters.acked.load(Ordering::Relaxed);
        answer.received = self.counters.received.load(Ordering::Relaxed);
        answer.store_reads = match (&self.place, &self.second) {
            (_, Some(server)) | (Some(Place::Here(server)), None) => server.store_reads(),
            _ => 0,
        };
    }

    fn server(&mut self) -> Result<&mut S> {
        match &mut self.place {
            Some(Place::Here(server)) => Ok(server),
            _ => bail!("the server is busy sending"),
        }
    }

    fn work(&mut self, targets: usize, size: usize) -> Work {
        if self.others.len() < targets {
            self.others = Names::new(self.other, targets);
        }
        self.counters.stop.store(false, Ordering::Relaxed);
        let senders = self.names.len().min(targets);
        let mut random = Random::new(nanos(self.started));
        Work {
            from: self.names.clone(),
            to: self.others.clone(),
            targets,
            pairs: Pairs::new([&self.names, &self.others], senders, targets, &mut random),
            body: Bytes::from(vec![b'x'; size]),
            counters: Arc::clone(&self.counters),
        }
    }

    async fn obey(&mut self, command: Command) -> Result<Answer> {
        match command {
            Command::Register { count, batched } => self.register(count, batched).await,
            Command::Start { mode, targets, size } => {
                let work = self.work(targets, size);
                let Some(Place::Here(server)) = self.place.take() else {
                    bail!("the server is busy sending")
                };
                self.place = Some(Place::Sending(tokio::spawn(sends(server, work, mode))));
                Ok(Answer::default())
            }
            Command::Touch { targets } => {
                let work = self.work(targets, 1);
                touch(self.server()?, &work).await?;
                Ok(Answer::default())
            }
            Command::Stop => {
                self.counters.stop.store(true, Ordering::Relaxed);
                let Some(Place::Sending(task)) = self.place.take() else {
                    bail!("the server does not send")
                };
                let (server, result) = task.await?;
                self.place = Some(Place::Here(server));
                Ok(Answer {
                    unsupported: !result?,
                    ..Answer::default()
                })
            }
            Command::Look => Ok(Answer::default()),
            Command::RoundTrips {
                targets,
                size,
                millis,
            } => {
                let work = self.work(targets, size);
                round_trips(self.server()?, work, Duration::from_millis(millis)).await
            }
            Command::Broadcast { size, millis } => {
                let work = self.work(1, size);
                broadcasts(self.server()?, work, Duration::from_millis(millis)).await
            }
            Command::Take { count } => {
                if self.taken.len() != count {
                    self.taken = Names::new('m', count);
                }
                let Some(server) = &mut self.second else {
                    return Ok(Answer {
                        unsupported: true,
                        ..Answer::default()
                    });
                };
                server.register(&self.taken, 0, count, true).await?;
                Ok(Answer {
                    count: count as u64,
                    ..Answer::default()
                })
            }
            Command::Quit => Ok(Answer::default()),
        }
    }

    async fn register(&mut self, count: usize, batched: bool) -> Result<Answer> {
        let from = self.registered;
        if self.names.len() < count {
            self.names = Names::new(self.own, count);
        }
        let names = core::mem::take(&mut self.names);
        let began = Instant::now();
        let result = self.server()?.register(&names, from, count, batched).await;
        let took_nanos = nanos(began);
        self.names = names;
        result?;
        self.registered = count.max(from);
        Ok(Answer {
            count: (self.registered - from) as u64,
            took_nanos,
            ..Answer::default()
        })
    }
}

async fn sends<S: Server>(mut server: S, mut work: Work, mode: Mode) -> (S, Result<bool>) {
    let result = match mode {
        Mode::BestEffort => best_effort(&mut server, &mut work).await.map(|()| true),
        Mode::Acked => server.acked(&mut work).await,
    };
    (server, result)
}

async fn best_effort<S: Server>(server: &mut S, work: &mut Work) -> Result<()> {
    let counters = Arc::clone(&work.counters);
    while !work.stops() {
        let refused = server.send_burst(work).await?;
        counters.sent.fetch_add(BURST as u64, Ordering::Relaxed);
        counters.refused.fetch_add(refused, Ordering::Relaxed);
        // A system whose sends never wait must let others on this thread run.
        tokio::task::coop::consume_budget().await;
    }
    server.flush().await
}

/// Waits after some messages, so that a queue for messages whose route is not known yet does not run over.
async fn touch<S: Server>(server: &mut S, work: &Work) -> Result<()> {
    for at in 0..work.targets {
        let refused = !server.send(work.from.get(0), work.to.get(at), &work.body).await?;
        work.counters.sent.fetch_add(1, Ordering::Relaxed);
        work.counters
            .refused
            .fetch_add(u64::from(refused), Ordering::Relaxed);
        if at % TOUCH_BURST == 0 {
            server.flush().await?;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    server.flush().await
}

async fn round_trips<S: Server>(server: &mut S, work: Work, span: Duration) -> Result<Answer> {
    let mut samples = Vec::new();
    let began = Instant::now();
    while began.elapsed() < span {
        let asked = Instant::now();
        let (from, to, body) = work.next();
        server.request(from, to, body).await?;
        samples.push(nanos(asked));
    }
    samples.sort_unstable();
    let at = |per_mille: usize| {
        samples
            .get(samples.len() * per_mille / 1000)
            .copied()
            .unwrap_or_default()
    };
    Ok(Answer {
        count: samples.len() as u64,
        p50_nanos: at(500),
        p99_nanos: at(990),
        ..Answer::default()
    })
}

async fn broadcasts<S: Server>(server: &mut S, work: Work, span: Duration) -> Result<Answer> {
    let (mut count, began) = (0, Instant::now());
    while began.elapsed() < span {
        match server.broadcast(work.from.get(0), &work.body).await? {
            Some(reached) => count += reached,
            None => {
                return Ok(Answer {
                    unsupported: true,
                    ..Answer::default()
                });
            }
        }
    }
    Ok(Answer {
        count,
        took_nanos: nanos(began),
        ..Answer::default()
    })
}
