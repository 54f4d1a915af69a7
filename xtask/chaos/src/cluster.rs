//! A cluster of real processes.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::links::{Links, Place};
use crate::options::{Options, Store, Topology};
use crate::proxy::Proxy;
use crate::redis::RedisServer;
use crate::riak::RiakNodes;
use crate::server::{Broker, Launch, STORE_UNREACHABLE, Server, ServerId, Signal};
use crate::world::{World, eventually};

/// How long anything may take that has nothing to wait for but a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// How many clients are asked for in one go.
const LOCATES_MAX: usize = 2000;
/// How many processes' logs are shown, and how many lines of each.
const LOGS_MAX: usize = 10;
const LOG_LINES_MAX: usize = 8;
/// Lines of the logs that say nothing of the cluster's state.
const NOISE: [&str; 2] = ["sends without acknowledgement failed", "no link was opened"];

/// A running cluster. All of it ends with its handle.
#[derive(Debug)]
pub struct Cluster {
    world: World,
    options: Options,
    servers: Vec<Server>,
    brokers: Vec<Option<Broker>>,
    broker_endpoints: Vec<String>,
    proxies: Vec<Proxy>,
    redis: Option<RedisServer>,
    riak: Option<RiakNodes>,
    links: Links,
    cuts: Vec<(Place, Place)>,
    directory: TempDir,
    launches: usize,
}

impl Cluster {
    /// Starts everything and waits until all servers are registered.
    ///
    /// # Errors
    /// When a process does not start.
    pub fn start(options: Options) -> Result<Self> {
        let directory = TempDir::with_prefix("waypost-chaos-")?;
        let brokers = options.brokers();
        let links = Links::start(options.network, options.servers, brokers)?;
        let redis = match options.store {
            Store::Embedded | Store::Riak | Store::OneRiak => None,
            Store::Redis => Some(RedisServer::start(&links)?),
        };
        let riak = match options.store.riak_nodes() {
            0 => None,
            count => Some(RiakNodes::start(count)?),
        };
        let mut cluster = Self {
            world: World::default(),
            options: options.clone(),
            servers: Vec::new(),
            brokers: Vec::new(),
            broker_endpoints: Vec::new(),
            proxies: Vec::new(),
            redis,
            riak,
            links,
            cuts: Vec::new(),
            directory,
            launches: 0,
        };
        if options.store.riak_nodes() > 0 {
            // Replicas that were apart do not know of each other's claims.
            cluster.world.change(crate::Oracle::seqs_may_fall);
        }
        for index in 0..brokers {
            let (listen, advertise) = cluster.links.listen(Place::Broker(index))?;
            let broker = cluster.launch_broker(index, &listen, advertise.as_deref())?;
            let endpoint = broker.endpoint().to_owned();
            if options.proxies {
                cluster.proxies.push(Proxy::start(&endpoint)?);
            }
            cluster.broker_endpoints.push(endpoint);
            cluster.brokers.push(Some(broker));
        }
        for index in 0..options.servers {
            let server = cluster.launch(&format!("s{}", index + 1))?;
            cluster.servers.push(server);
        }
        for index in 0..options.servers {
            cluster.see_to_registration(index)?;
        }
        Ok(cluster)
    }

    fn arguments(&self) -> Vec<String> {
        let term = format!("{}ms", self.options.lease_term.as_millis());
        let mut arguments = vec![
            "--lease-term".to_owned(),
            term,
            "--log".to_owned(),
            "info".to_owned(),
        ];
        arguments.extend(self.options.arguments.iter().cloned());
        arguments
    }

    /// The store as a process at `place` names it.
    fn store_url(&mut self, place: Place) -> Result<String> {
        if let Some(riak) = &self.riak {
            return Ok(riak.url());
        }
        let Some(redis) = &self.redis else {
            return Ok(format!(
                "embedded:{}",
                self.directory.path().join("sessions").display()
            ));
        };
        let way = self.links.way(place, Place::Store, &redis.endpoint())?;
        Ok(way.replace("tcp://", "redis://"))
    }

    fn launch_broker(&mut self, index: usize, listen: &str, advertise: Option<&str>) -> Result<Broker> {
        let place = Place::Broker(index);
        let mut arguments = self.arguments();
        arguments.extend(["--store".to_owned(), self.store_url(place)?]);
        if let Some(location) = advertise {
            arguments.extend(["--advertise".to_owned(), location.to_owned()]);
        }
        let launch = Launch {
            links: &self.links,
            place,
            program: "waypost-broker",
            arguments,
            directory: self.directory.path().to_owned(),
        };
        let launches = &mut self.launches;
        eventually("a broker reaches the store", PATIENCE, || {
            *launches += 1;
            Broker::start(&launch, &format!("broker-{launches}"), listen)
        })
    }

    /// Starts a server of that identity, be there another one or not, that is not among [`servers`](Self::servers). `sN` is
    /// where the server of that name is, everybody else where the first is.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn launch(&mut self, identity: &str) -> Result<Server> {
        let number = identity.strip_prefix('s').and_then(|number| number.parse().ok());
        let index = number.unwrap_or(1usize).clamp(1, self.options.servers) - 1;
        let place = Place::Server(index);
        let mut arguments = self.arguments();
        let brokered = self.options.servers - self.options.brokerless;
        let program = if self.options.topology == Topology::Mesh || index >= brokered {
            arguments.extend(["--store".to_owned(), self.store_url(place)?]);
            let (listen, advertise) = self.links.listen(place)?;
            arguments.extend(["--listen".to_owned(), listen]);
            if let Some(location) = advertise {
                arguments.extend(["--advertise".to_owned(), location]);
            }
            "waypost-brokerless"
        } else {
            for (broker, endpoint) in self.broker_endpoints.iter().enumerate() {
                let endpoint = match self.proxies.get(broker) {
                    Some(proxy) => proxy.endpoint(),
                    None => self.links.way(place, Place::Broker(broker), endpoint)?,
                };
                arguments.extend(["--broker".to_owned(), endpoint]);
            }
            "waypost-server"
        };
        let launch = Launch {
            links: &self.links,
            place,
            program,
            arguments,
            directory: self.directory.path().to_owned(),
        };
        Server::start(&self.world, &launch, identity)
    }

    /// From now on nothing that any of `from` sends reaches any of `to`.
    ///
    /// # Errors
    /// When there is nothing between them that could be cut.
    pub fn cut(&mut self, from: &[Place], to: &[Place]) -> Result<()> {
        self.world.change(crate::Oracle::disturb);
        for &from in from {
            for &to in to {
                if from != to && !self.cuts.contains(&(from, to)) {
                    self.links.cut(from, to)?;
                    self.cuts.push((from, to));
                }
            }
        }
        Ok(())
    }

    /// The same both ways.
    ///
    /// # Errors
    /// When there is nothing between them that could be cut.
    pub fn part(&mut self, these: &[Place], those: &[Place]) -> Result<()> {
        self.cut(these, those)?;
        self.cut(those, these)
    }

    /// Undoes all cuts.
    ///
    /// # Errors
    /// From the system.
    pub fn mend(&mut self) -> Result<()> {
        for (from, to) in std::mem::take(&mut self.cuts) {
            self.links.mend(from, to)?;
        }
        Ok(())
    }

    /// Breaks all links to a place, and has none taken until [`mend_links`](Self::mend_links).
    ///
    /// # Errors
    /// When there is nothing before it that could do so.
    pub fn break_links(&self, to: Place) -> Result<()> {
        self.world.change(crate::Oracle::disturb);
        self.links.break_links(to)
    }

    /// Has nothing pass over any link to a place, in either direction, until [`mend_links`](Self::mend_links).
    ///
    /// # Errors
    /// When there is nothing before it that could do so.
    pub fn hold_links(&self, to: Place) -> Result<()> {
        self.world.change(crate::Oracle::disturb);
        self.links.hold_links(to)
    }

    /// Has links to a place taken, and used, again.
    pub fn mend_links(&self, to: Place) {
        self.links.mend_links(to);
    }

    /// Waits until a server has registered.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn await_registered(&self, id: ServerId) -> Result<()> {
        self.world.wait("a server registers", PATIENCE, |oracle| {
            if oracle.has_ended(id) {
                return None;
            }
            (!oracle.incarnations(id).is_empty()).then_some(())
        })
    }

    /// The oracle and waiting for it.
    #[must_use]
    pub const fn world(&self) -> &World {
        &self.world
    }

    /// The servers.
    #[must_use]
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// One of them.
    pub fn server_mut(&mut self, index: usize) -> &mut Server {
        &mut self.servers[index]
    }

    /// The brokers' endpoints.
    #[must_use]
    pub fn broker_endpoints(&self) -> &[String] {
        &self.broker_endpoints
    }

    /// The process id of a running broker.
    #[must_use]
    pub fn broker_pid(&self, index: usize) -> Option<u32> {
        Some(self.brokers.get(index)?.as_ref()?.pid())
    }

    /// The proxies in front of the brokers.
    #[must_use]
    pub fn proxies(&self) -> &[Proxy] {
        &self.proxies
    }

    /// The datastore's process.
    ///
    /// # Errors
    /// When the store is none.
    pub fn redis(&mut self) -> Result<&mut RedisServer> {
        self.redis.as_mut().context("this cluster has no redis-server")
    }

    /// The stand-in nodes of Riak.
    ///
    /// # Errors
    /// When the store is another.
    pub fn riak(&self) -> Result<&RiakNodes> {
        self.riak.as_ref().context("this cluster has no Riak nodes")
    }

    /// Starts the datastore again after it was killed, empty.
    ///
    /// # Errors
    /// When it does not start.
    pub fn restart_redis(&mut self) -> Result<()> {
        let redis = self.redis.as_mut().context("this cluster has no redis-server")?;
        redis.restart(&self.links)
    }

    /// Kills a server and starts one of the same identity in its place.
    ///
    /// # Errors
    /// When that does not start.
    pub fn restart_killed(&mut self, index: usize) -> Result<()> {
        let identity = self.servers[index].identity().to_owned();
        let server = self.launch(&identity)?;
        let id = server.id();
        self.servers[index] = server;
        self.await_registered(id)
    }

    /// The same for a moment in which the datastore may not be reached yet.
    ///
    /// # Errors
    /// When it does not start in time, or ends for another reason.
    pub fn restart_until_registered(&mut self, index: usize) -> Result<()> {
        let identity = self.servers[index].identity().to_owned();
        self.servers[index] = self.launch(&identity)?;
        self.see_to_registration(index)
    }

    /// Waits until a server has registered. One that cannot reach the store and says so by its exit code is started again, as
    /// whatever looks after it would.
    fn see_to_registration(&mut self, index: usize) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            let id = self.servers[index].id();
            let ended = self
                .world
                .wait("a server registers or ends", PATIENCE, |oracle| {
                    let ended = oracle.has_ended(id);
                    (ended || !oracle.incarnations(id).is_empty()).then_some(ended)
                })?;
            if !ended {
                return Ok(());
            }
            let status = self.servers[index].wait(PATIENCE)?;
            anyhow::ensure!(
                status.code() == Some(STORE_UNREACHABLE) && Instant::now() < until,
                "a server does not start and exits with {status}"
            );
            let identity = self.servers[index].identity().to_owned();
            self.servers[index] = self.launch(&identity)?;
        }
    }

    /// Kills a broker.
    ///
    /// # Errors
    /// From the system.
    pub fn kill_broker(&mut self, index: usize) -> Result<()> {
        self.world.change(crate::Oracle::disturb);
        if let Some(mut broker) = self.brokers[index].take() {
            broker.kill()?;
        }
        Ok(())
    }

    /// Ends a broker as an operator does; it must exit with 0.
    ///
    /// # Errors
    /// When it does not.
    pub fn stop_broker(&mut self, index: usize) -> Result<()> {
        self.world.change(crate::Oracle::disturb);
        if let Some(mut broker) = self.brokers[index].take() {
            let status = broker.terminate(PATIENCE)?;
            anyhow::ensure!(
                status.success(),
                "a broker that was asked to end exits with {status}"
            );
        }
        Ok(())
    }

    /// Starts a broker again where it was.
    ///
    /// # Errors
    /// When it does not start.
    pub fn restart_broker(&mut self, index: usize) -> Result<()> {
        let endpoint = self.broker_endpoints[index].clone();
        let (_, advertise) = self.links.listen(Place::Broker(index))?;
        self.brokers[index] = Some(self.launch_broker(index, &endpoint, advertise.as_deref())?);
        Ok(())
    }

    /// Stops or continues a broker.
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal_broker(&self, index: usize, signal: Signal) -> Result<()> {
        self.world.change(crate::Oracle::disturb);
        signal.send(self.broker_pid(index).context("that broker does not run")?)
    }

    /// Connects clients `PREFIX0` to `PREFIXcount`, one server after the other, and waits until all are; returns their
    /// names with the index of their server.
    ///
    /// # Errors
    /// When they are not connected in time.
    pub fn spread(&self, prefix: &str, count: usize) -> Result<Vec<(String, usize)>> {
        let clients: Vec<(String, usize)> = (0..count)
            .map(|i| (format!("{prefix}{i}"), i % self.servers.len()))
            .collect();
        for (client, index) in &clients {
            self.servers[*index].connect(client);
        }
        self.await_held(&clients)?;
        Ok(clients)
    }

    /// Waits until each client is held by the server of that index.
    ///
    /// # Errors
    /// When that does not come to be.
    pub fn await_held(&self, clients: &[(String, usize)]) -> Result<()> {
        self.world.wait("all clients are connected", PATIENCE, |oracle| {
            let all = clients
                .iter()
                .all(|(client, index)| oracle.holds(self.servers[*index].id(), client));
            all.then_some(())
        })
    }

    /// Waits for the outcomes of these sends and until what was delivered has been printed; adds the outcomes up.
    ///
    /// # Errors
    /// When one is missing for long.
    pub fn outcomes(&self, ids: &[u64]) -> Result<crate::Outcomes> {
        let outcomes = self
            .world
            .wait("every acked send has its outcome", PATIENCE, |oracle| {
                oracle.outcomes_of(ids)
            })?;
        self.world
            .wait("what was delivered is printed", PATIENCE, |oracle| {
                oracle.were_seen(ids).then_some(())
            })?;
        Ok(outcomes)
    }

    /// Waits for outcomes that must all be one.
    ///
    /// # Errors
    /// When one is another or missing.
    pub fn all_end(&self, ids: &[u64], outcome: &str) -> Result<()> {
        let outcomes = self.outcomes(ids)?;
        anyhow::ensure!(
            outcomes.keys().all(|key| key == outcome),
            "all of {} sends should be {outcome}: {outcomes:?}",
            ids.len()
        );
        Ok(())
    }

    /// Asks one server for many clients; the answers in their order.
    ///
    /// # Errors
    /// When answers are missing for long.
    pub fn locate(&self, by: usize, clients: &[String]) -> Result<Vec<Result<Option<String>, String>>> {
        let mut answers = Vec::with_capacity(clients.len());
        for clients in clients.chunks(LOCATES_MAX) {
            let ids: Vec<u64> = clients
                .iter()
                .map(|client| self.servers[by].locate(client))
                .collect();
            answers.extend(self.world.wait("every locate is answered", PATIENCE, |oracle| {
                ids.iter()
                    .map(|id| oracle.located(*id))
                    .collect::<Option<Vec<_>>>()
            })?);
        }
        Ok(answers)
    }

    /// Waits until nothing is under way, every client has exactly one holder, and every server locates each client at its
    /// holder; then closes the accounts.
    ///
    /// # Errors
    /// When the cluster does not come to rest in time, or a promise was broken.
    pub fn settle(&self, patience: Duration) -> Result<crate::Outcomes> {
        let until = Instant::now() + patience;
        let ids: Vec<ServerId> = self.servers.iter().map(Server::id).collect();
        self.world
            .wait("every operation has its answer", patience, |oracle| {
                let connected = ids
                    .iter()
                    .all(|id| oracle.has_ended(*id) || oracle.is_connected_up(*id));
                (oracle.owed() == 0 && connected && oracle.all_delivered_were_seen()).then_some(())
            })?;
        let mut by = 0;
        loop {
            let (clients, holders): (Vec<String>, Vec<Vec<ServerId>>) =
                self.world.oracle().held().into_iter().unzip();
            while self.world.oracle().has_ended(self.servers[by].id()) {
                by += 1;
                anyhow::ensure!(by < self.servers.len(), "no server is left");
            }
            let answers = self.locate(by, &clients)?;
            let wrong =
                clients
                    .iter()
                    .zip(holders)
                    .zip(answers)
                    .find(|((_, holders), answer)| match &holders[..] {
                        [holder] => {
                            answer.as_ref().ok().and_then(Option::as_deref)
                                != Some(&*self.identity_of(*holder))
                        }
                        _ => true,
                    });
            match wrong {
                None => {
                    by += 1;
                    if by >= self.servers.len() {
                        break;
                    }
                }
                Some(((client, holders), answer)) if Instant::now() > until => bail!(
                    "{} says that {client} is at {answer:?}; it says of itself that it is at {holders:?}\n{}",
                    self.servers[by].identity(),
                    self.world.oracle().evidence(client),
                ),
                Some(_) => {
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
        }
        self.world.change(crate::Oracle::close_accounts)
    }

    fn identity_of(&self, id: ServerId) -> String {
        self.world.oracle().identity(id).to_owned()
    }

    /// Ends all servers by `quit`; each must exit with 0 and have given every outcome.
    ///
    /// # Errors
    /// When one does not.
    pub fn finish(&mut self) -> Result<crate::Outcomes> {
        for server in &self.servers {
            server.quit();
        }
        for server in &mut self.servers {
            let status = server.wait(PATIENCE)?;
            anyhow::ensure!(status.success(), "{} exits with {status}", server.identity());
        }
        for index in 0..self.brokers.len() {
            // That everybody was asked to end breaks nothing.
            if let Some(mut broker) = self.brokers[index].take() {
                let status = broker.terminate(PATIENCE)?;
                anyhow::ensure!(status.success(), "a broker exits with {status}");
            }
        }
        let failed = self.unacked_failed();
        self.world.oracle().close_unacked(failed)?;
        self.world.change(crate::Oracle::close_accounts)
    }

    /// How many sends without acknowledgement the servers' logs say have failed.
    pub(crate) fn unacked_failed(&self) -> usize {
        let entries = std::fs::read_dir(self.directory.path())
            .into_iter()
            .flatten()
            .flatten();
        let logs = entries.filter_map(|entry| std::fs::read_to_string(entry.path()).ok());
        logs.map(|log| {
            log.lines()
                .filter(|line| line.contains("sends without acknowledgement failed"))
                .filter_map(|line| {
                    line.split("count=")
                        .nth(1)?
                        .split(' ')
                        .next()?
                        .parse::<usize>()
                        .ok()
                })
                .sum::<usize>()
        })
        .sum()
    }

    /// The last lines that the processes logged, for a failed check; without those that tell of single messages and of
    /// strangers.
    #[must_use]
    pub fn logs(&self) -> String {
        let mut logs = String::new();
        let entries = std::fs::read_dir(self.directory.path())
            .into_iter()
            .flatten()
            .flatten();
        let mut paths: Vec<_> = entries
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|kind| kind == "log"))
            .map(|path| (path.metadata().and_then(|data| data.modified()).ok(), path))
            .collect();
        paths.sort();
        for (_, path) in paths.iter().skip(paths.len().saturating_sub(LOGS_MAX)) {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let is_noise = |line: &&str| NOISE.iter().any(|part| line.contains(part));
            let lines: Vec<&str> = text.lines().filter(|line| !is_noise(line)).collect();
            logs.push_str(&format!(
                "--- {}\n",
                path.file_stem().unwrap_or_default().to_string_lossy()
            ));
            for line in lines.iter().skip(lines.len().saturating_sub(LOG_LINES_MAX)) {
                logs.push_str("  ");
                logs.push_str(line);
                logs.push('\n');
            }
        }
        logs
    }

    /// Waits until a server says that nobody holds the client.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn await_nobody(&self, by: usize, client: &str, patience: Duration) -> Result<()> {
        let clients = [client.to_owned()];
        eventually("nobody holds the client", patience, || {
            Ok(matches!(&self.locate(by, &clients)?[..], [Ok(None)]).then_some(()))
        })
    }
}
