//! A server or a broker in a process of its own, driven over stdin.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::time::MissedTickBehavior;
use waypost::{Address, Broker, ClientEvents, Event, Outcome, Peer, Settings, store_registry};

use crate::control::{Answer, Command};

/// Clients connected by one call.
const BATCH: usize = 10_000;
/// Acked messages in flight at full speed.
const IN_FLIGHT: usize = 256;
/// Acked messages in flight at the most for a flood that nobody answers.
const FLOOD_MAX: usize = 4096;
/// Acked messages in flight at the most for a load; what is due beyond that waits, which its latency tells.
const LOAD_MAX: usize = 8192;
/// How often messages that are due are sent.
const TICK: Duration = Duration::from_millis(1);

/// `broker QUEUE STORE`, `mesh QUEUE IDENTITY STORE` or `attached QUEUE IDENTITY BROKER`; `QUEUE` is the bound of a link's queue.
pub(crate) async fn run(arguments: &[String]) -> Result<()> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["broker", queue, store] => {
            let store = store_registry().open(store).await?;
            let broker = Broker::builder(store)
                .settings(settings(queue)?)
                .listen("tcp://127.0.0.1:0")
                .start()
                .await?;
            say(&Answer {
                address: broker.listen_urls().first().cloned().unwrap_or_default(),
                ..Answer::default()
            })
            .await?;
            let mut lines = BufReader::new(tokio::io::stdin()).lines();
            while lines.next_line().await?.is_some() {
                say(&Answer::default()).await?;
            }
            Ok(())
        }
        ["mesh", queue, identity, store] => {
            let store = store_registry().open(store).await?;
            let builder = Peer::mesh(store).listen("tcp://127.0.0.1:0");
            serve(identity, builder.settings(settings(queue)?)).await
        }
        ["attached", queue, identity, broker] => {
            serve(identity, Peer::attached(&[broker]).settings(settings(queue)?)).await
        }
        _ => bail!("there is no role {words:?}"),
    }
}

fn settings(queue: &str) -> Result<Settings> {
    let mut settings = Settings::default();
    settings.queue_bytes_max = queue.parse()?;
    settings.frame_bytes_max = settings.frame_bytes_max.min(settings.queue_bytes_max);
    Ok(settings)
}

async fn say(answer: &Answer) -> Result<()> {
    let line = serde_json::to_string(answer)? + "\n";
    let mut stdout = tokio::io::stdout();
    stdout.write_all(line.as_bytes()).await?;
    Ok(stdout.flush().await?)
}

async fn serve(identity: &str, builder: waypost::PeerBuilder) -> Result<()> {
    let (peer, mut events) = builder.start().await?;
    tokio::spawn(async move { while !matches!(events.recv().await, None | Some(Event::Closed)) {} });
    peer.register_identity(identity).await?;
    say(&Answer::default()).await?;
    let mut unread = Vec::new();
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let began = Instant::now();
        let mut answer = match obey(&peer, serde_json::from_str(&line)?, &mut unread).await {
            Ok(answer) => answer,
            Err(error) => Answer {
                error: Some(format!("{error:#}")),
                ..Answer::default()
            },
        };
        answer.took_micros = micros(began.elapsed());
        say(&answer).await?;
    }
    Ok(())
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

async fn obey(peer: &Peer, command: Command, unread: &mut Vec<ClientEvents>) -> Result<Answer> {
    match command {
        Command::Connect { prefix, count } => {
            let names = (0..count)
                .map(|i| Address::new(&format!("{prefix}{i}")))
                .collect::<Result<Vec<_>, _>>()?;
            for batch in names.chunks(BATCH) {
                for result in peer.connect_clients(batch).await {
                    result?;
                }
            }
        }
        Command::Ignore { client } => {
            unread.push(peer.client_events(&client)?.context("not a client here")?);
        }
        Command::Capacity { to, count, millis } => return capacity(peer, &to, count, millis).await,
        Command::Load {
            to,
            count,
            per_second,
            millis,
        } => {
            let pace = Pace {
                per_second,
                millis,
                size: 64,
                in_flight_max: LOAD_MAX,
                waits: true,
            };
            return paced(peer, &to, count, &pace).await;
        }
        Command::Flood {
            to,
            count,
            per_second,
            size,
            millis,
        } => {
            let pace = Pace {
                per_second,
                millis,
                size,
                in_flight_max: FLOOD_MAX,
                waits: false,
            };
            return paced(peer, &to, count, &pace).await;
        }
        Command::Ping => {}
    }
    Ok(Answer::default())
}

async fn capacity(peer: &Peer, to: &str, count: usize, millis: u64) -> Result<Answer> {
    let names: Vec<String> = (0..count).map(|i| format!("{to}{i}")).collect();
    let body = Bytes::from_static(&[b'x'; 64]);
    let mut flying = FuturesUnordered::new();
    let mut next = names.iter().cycle();
    let mut one = || {
        let name = next.next().map_or("", String::as_str);
        peer.send_acked("bystander", name, body.clone())
    };
    flying.extend((0..IN_FLIGHT).map(|_| one()));
    let until = Instant::now() + Duration::from_millis(millis);
    let mut answer = Answer::default();
    while let Some(outcome) = flying.next().await {
        answer.sent += 1;
        answer.delivered += u64::from(outcome? == Outcome::Delivered);
        if Instant::now() < until {
            flying.push(one());
        }
    }
    Ok(answer)
}

struct Pace {
    per_second: u64,
    millis: u64,
    size: usize,
    in_flight_max: usize,
    /// For room, and for all answers in the end; what is due while there is no room is left out otherwise.
    waits: bool,
}

/// Latencies count from when a message was due, so that a sender which is held up does not look quick.
async fn paced(peer: &Peer, to: &str, count: usize, pace: &Pace) -> Result<Answer> {
    let names: Vec<String> = (0..count).map(|i| format!("{to}{i}")).collect();
    let body = Bytes::from(vec![b'x'; pace.size]);
    let began = Instant::now();
    let span = Duration::from_millis(pace.millis);
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut flying = FuturesUnordered::new();
    let mut latencies: Vec<u64> = Vec::new();
    let mut answer = Answer::default();
    let mut next = names.iter().cycle();
    let step = Duration::from_secs(1) / u32::try_from(pace.per_second.max(1))?;
    let mut due = began;
    loop {
        tokio::select! {
            Some((due, outcome)) = flying.next() => {
                let delivered = matches!(outcome, Ok(Outcome::Delivered));
                answer.delivered += u64::from(delivered);
                latencies.push(micros(Instant::now().duration_since(due)));
            }
            _ = tick.tick() => {
                let now = Instant::now();
                let all_sent = due.duration_since(began) >= span;
                if now.duration_since(began) >= span && (!pace.waits || (all_sent && flying.is_empty())) {
                    break;
                }
                while due <= now && due.duration_since(began) < span {
                    let has_room = flying.len() < pace.in_flight_max;
                    if !has_room && pace.waits {
                        break;
                    }
                    if has_room {
                        let name = next.next().map_or("", String::as_str);
                        let (due, sent) = (due, peer.send_acked("bystander", name, body.clone()));
                        flying.push(async move { (due, sent.await) });
                        answer.sent += 1;
                    }
                    due += step;
                }
            }
        }
    }
    latencies.sort_unstable();
    let at = |per_mille: usize| {
        latencies
            .get(latencies.len() * per_mille / 1000)
            .copied()
            .unwrap_or_default()
    };
    (answer.p50_micros, answer.p99_micros) = (at(500), at(990));
    answer.max_micros = latencies.last().copied().unwrap_or_default();
    Ok(answer)
}
