//! One object at one replica, as Riak keeps it: values with dots, and a clock of what has been seen (`dvv_enabled`).

/// Most replicas in a model.
pub(super) const REPLICAS_MAX: usize = 3;

/// How many writes of each replica, as their coordinator, have been seen.
pub(super) type Clock = [u8; REPLICAS_MAX];

/// A value, by its number among all that were ever written; a tombstone has none.
pub(super) type Value = Option<u16>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Sibling {
    coordinator: u8,
    count: u8,
    /// Which write of all it was, where the model keeps the newest only.
    at: u8,
    pub(super) value: Value,
}

impl Sibling {
    const fn is_seen(&self, clock: &Clock) -> bool {
        clock[self.coordinator as usize] >= self.count
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Object {
    pub(super) clock: Clock,
    pub(super) siblings: Vec<Sibling>,
}

impl Object {
    /// A write through the replica `coordinator` over what `context` has seen.
    pub(super) fn write(&mut self, coordinator: usize, context: &Clock, at: u8, value: Value) {
        self.siblings.retain(|sibling| !sibling.is_seen(context));
        raise(&mut self.clock, context);
        self.clock[coordinator] += 1;
        let count = self.clock[coordinator];
        // Fits: there are three.
        let coordinator = u8::try_from(coordinator).unwrap_or(0);
        self.siblings.push(Sibling {
            coordinator,
            count,
            at,
            value,
        });
        self.siblings.sort_unstable();
    }

    /// Takes in what another replica has.
    pub(super) fn merge(&mut self, other: &Self) {
        self.siblings
            .retain(|mine| other.siblings.contains(mine) || !mine.is_seen(&other.clock));
        for sibling in &other.siblings {
            if !self.siblings.contains(sibling) && !sibling.is_seen(&self.clock) {
                self.siblings.push(*sibling);
            }
        }
        raise(&mut self.clock, &other.clock);
        self.siblings.sort_unstable();
    }

    pub(super) fn merged(&self, other: &Self) -> Self {
        let mut merged = self.clone();
        merged.merge(other);
        merged
    }

    /// What `allow_mult=false` makes of siblings: the newest write stays.
    pub(super) fn keep_newest(&mut self) {
        let newest = self.siblings.iter().copied().max_by_key(|sibling| sibling.at);
        self.siblings = newest.into_iter().collect();
    }
}

fn raise(clock: &mut Clock, other: &Clock) {
    for (mine, theirs) in clock.iter_mut().zip(other) {
        *mine = (*mine).max(*theirs);
    }
}

#[test]
fn a_write_over_what_was_seen_replaces_it_and_others_become_siblings() {
    let mut one = Object::default();
    one.write(0, &Clock::default(), 0, Some(1));
    let mut two = one.clone();
    let seen = one.clock;
    one.write(0, &seen, 0, Some(2));
    two.write(1, &seen, 0, Some(3));
    assert_eq!(one.siblings.len(), 1);
    let both = one.merged(&two);
    assert_eq!(both, two.merged(&one));
    let values: Vec<Value> = both.siblings.iter().map(|sibling| sibling.value).collect();
    assert_eq!(values, [Some(2), Some(3)]);
    let mut resolved = both.clone();
    resolved.write(0, &both.clock, 0, None);
    assert_eq!(resolved.siblings.len(), 1);
    assert_eq!(both.merged(&resolved), resolved);
}
