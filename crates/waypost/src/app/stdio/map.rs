//! Tables that are looked up a few times for each line: the standard library's own hasher is a good part of a line's time.

use foldhash::fast::RandomState;

pub(super) type Map<K, V> = std::collections::HashMap<K, V, RandomState>;
pub(super) type Set<K> = std::collections::HashSet<K, RandomState>;
