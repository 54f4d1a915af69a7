//! What a seed chooses: the cluster, its settings, what its programs do and what goes wrong.

use core::time::Duration;

use waypost_router::{Settings, WhenStoreIsLost};

use crate::rng::Rng;

/// All that is drawn before a story begins.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// Servers that are nodes, brokers, and servers attached to these.
    pub(super) nodes: usize,
    pub(super) brokers: usize,
    pub(super) attached: usize,
    /// A second process with the identity of the first server.
    pub(super) twin: bool,
    pub(super) settings: Settings,
    /// Shortest and longest time on a link, and in the store.
    pub(super) latency: (Duration, Duration),
    pub(super) store_latency: (Duration, Duration),
    /// How many of the addresses are used.
    pub(super) addresses: usize,
    /// How many times trouble comes and ends.
    pub(super) rounds: usize,
    /// How many things programs do in a time of trouble, and in a calm one.
    pub(super) steps: usize,
    pub(super) calm_steps: usize,
    /// How many of a hundred steps go with a fault.
    pub(super) fault_percent: usize,
    /// Longest pause between steps.
    pub(super) pause: Duration,
    /// How many of a hundred servers give clients inboxes of their own.
    pub(super) inboxes_percent: usize,
    /// Which kinds of fault there are; the others do not come in this story.
    pub(super) faults: Vec<Fault>,
    /// How many of a hundred things that programs do are connects and disconnects.
    pub(super) moves_percent: usize,
}

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Crash,
    Pause,
    Sleep,
    Cut,
    CutOneWay,
    Break,
    Slow,
    Stuck,
    StoreMode,
    StoreFailures,
    StaleReads,
    StoreLosesAll,
    StoreLosesOne,
    Unread,
    Drain,
    Retire,
}

const FAULTS: [Fault; 16] = [
    Fault::Crash,
    Fault::Pause,
    Fault::Sleep,
    Fault::Cut,
    Fault::CutOneWay,
    Fault::Break,
    Fault::Slow,
    Fault::Stuck,
    Fault::StoreMode,
    Fault::StoreFailures,
    Fault::StaleReads,
    Fault::StoreLosesAll,
    Fault::StoreLosesOne,
    Fault::Unread,
    Fault::Drain,
    Fault::Retire,
];

/// Nodes, brokers and attached servers.
const TOPOLOGIES: [(usize, usize, usize); 9] = [
    (2, 0, 0),
    (3, 0, 0),
    (4, 0, 0),
    (0, 1, 2),
    (0, 1, 4),
    (0, 2, 3),
    (0, 3, 4),
    (2, 1, 2),
    (1, 2, 3),
];

impl Plan {
    pub(super) fn draw(rng: &mut Rng) -> Self {
        let (nodes, brokers, attached) = TOPOLOGIES[rng.below(TOPOLOGIES.len())];
        let ms = Duration::from_millis;
        let latency = [
            (Duration::from_micros(50), ms(1)),
            (Duration::from_micros(100), ms(2)),
            (ms(1), ms(40)),
        ][rng.below(3)];
        let store_latency = [
            (Duration::from_micros(200), ms(3)),
            (ms(1), ms(20)),
            (ms(5), ms(80)),
        ][rng.below(3)];
        // Half of the stories have a few kinds of fault, and so more of each; the others have all of them.
        let faults = if rng.chance(50) {
            (0..2 + rng.below(3))
                .map(|_| FAULTS[rng.below(FAULTS.len())])
                .collect()
        } else {
            FAULTS.to_vec()
        };
        Self {
            nodes,
            brokers,
            attached,
            twin: rng.chance(15),
            settings: settings(rng),
            latency,
            store_latency,
            addresses: 2 + rng.below(5),
            rounds: 1 + rng.below(3),
            steps: 60 + rng.below(120),
            calm_steps: 40,
            fault_percent: [8, 12, 20][rng.below(3)],
            pause: [ms(10), ms(40), ms(200)][rng.below(3)],
            inboxes_percent: [0, 0, 50, 100][rng.below(4)],
            faults,
            moves_percent: [10, 25, 50][rng.below(3)],
        }
    }
}

fn settings(rng: &mut Rng) -> Settings {
    let mut settings = Settings::default();
    settings.seed = rng.next();
    if rng.chance(40) {
        settings.lease_term = Duration::from_secs([5, 6][rng.below(2)]);
        settings.heartbeat = settings.lease_term / 3;
    }
    if rng.chance(40) {
        settings.when_store_is_lost = WhenStoreIsLost::Fence;
    }
    if rng.chance(25) {
        settings.queue_bytes_max = 3000;
    }
    if rng.chance(25) {
        settings.inbox_bytes_max = 3000;
        settings.client_inbox_bytes_max = 1000;
    }
    if rng.chance(15) {
        settings.in_flight_max = 8;
    }
    if rng.chance(15) {
        settings.routes_max = 2;
    }
    if rng.chance(20) {
        settings.announce_per_second = 20;
    }
    settings
}
