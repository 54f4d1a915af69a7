//! Real executables through everything that may happen to them, held against the promises.

mod fencing;
mod hostile;
mod isolation;
mod leaving;
mod lines;
mod moves;
mod neighbours;
mod outages;
mod partitions;
mod sends;

use std::time::Duration;

use anyhow::{Error, Result};
use waypost_chaos::{Cluster, Options, Store, Topology, report};

/// How long a cluster may take to come to rest on a busy machine.
const REST: Duration = Duration::from_secs(30);
/// How long leases last.
const TERM: Duration = Duration::from_secs(2);

/// Plays a scenario on a fresh cluster, and shows the processes' logs when it fails.
#[track_caller]
fn play(options: Options, scenario: impl FnOnce(&mut Cluster) -> Result<()>) {
    let mut cluster = Cluster::start(options).unwrap_or_else(|error| panic!("{error:?}"));
    let failed = |error: &Error, logs: &str| {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or_default();
        let repeat = format!("cargo test -p waypost-chaos --test scenarios -- --exact {name}");
        panic!("{}", report(error, &repeat, "", logs));
    };
    if let Err(error) = scenario(&mut cluster) {
        failed(&error, &cluster.logs());
    }
    if let Err(error) = cluster.finish() {
        failed(&error.context("at the end"), &cluster.logs());
    }
}

fn mesh(store: Store) -> Options {
    Options::new(Topology::Mesh, store)
}

fn broker(store: Store) -> Options {
    Options::new(Topology::Brokers(1), store)
}

/// Two brokers and two servers attached to them, and two servers of the mesh.
fn mixed(store: Store) -> Options {
    Options {
        servers: 4,
        brokerless: 2,
        ..Options::new(Topology::Brokers(2), store)
    }
}

/// One test for each cluster that a scenario is played on.
macro_rules! on {
    ($scenario:path: $($name:ident = $options:expr;)+) => {
        $(#[test]
        fn $name() {
            crate::play($options, $scenario);
        })+
    };
}
use on;

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }
}

/// A few seconds of everything at once.
mod random {
    use std::time::Duration;

    use waypost_chaos::{Options, Store, Topology, run};

    use crate::mixed;
    use crate::partitions::{apart, proxied};

    fn everything(topology: Topology, store: Store) {
        survive(proxied(Options::new(topology, store)));
    }

    fn survive(options: Options) {
        run(options, 1, Duration::from_secs(10)).unwrap_or_else(|error| panic!("{error}"));
    }

    #[test]
    fn a_mesh_survives_everything_at_once() {
        everything(Topology::Mesh, Store::Embedded);
    }

    #[test]
    fn a_mesh_on_redis_survives_everything_at_once() {
        everything(Topology::Mesh, Store::Redis);
    }

    #[test]
    fn a_mesh_on_riak_survives_everything_at_once() {
        everything(Topology::Mesh, Store::Riak);
    }

    #[test]
    fn a_mesh_on_the_only_riak_node_survives_everything_at_once() {
        everything(Topology::Mesh, Store::OneRiak);
    }

    #[test]
    fn two_brokers_on_riak_survive_everything_at_once() {
        everything(Topology::Brokers(2), Store::Riak);
    }

    #[test]
    fn two_brokers_survive_everything_at_once() {
        everything(Topology::Brokers(2), Store::Redis);
    }

    #[test]
    fn a_mixed_cluster_survives_everything_at_once() {
        survive(proxied(mixed(Store::Redis)));
    }

    #[test]
    fn a_mixed_cluster_survives_everything_at_once_in_namespaces() {
        survive(apart(mixed(Store::Redis)));
    }
}
