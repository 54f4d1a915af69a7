//! Which node has which documents.

/// As many as servers have.
pub(super) const VBUCKETS: u16 = 1024;

/// The vbucket of a key, as clients compute it: from its CRC-32.
pub(super) fn vbucket(key: &[u8]) -> u16 {
    let crc = key.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 {
                crc >> 1 ^ 0xedb8_8320
            } else {
                crc >> 1
            }
        })
    });
    let hash = u16::try_from((!crc >> 16) & 0x7fff).unwrap_or_default();
    hash % VBUCKETS
}

/// The nodes and what each of them owns. Nodes are named by their number from the start.
#[derive(Debug, Clone)]
pub(super) struct Topology {
    ports: Vec<u16>,
    /// The nodes that are in the cluster.
    members: Vec<usize>,
    /// Grows with every change.
    pub(super) revision: u64,
    /// How many buckets of this name there were before.
    pub(super) bucket: u64,
}

impl Topology {
    pub(super) fn new(ports: Vec<u16>) -> Self {
        Self {
            members: (0..ports.len()).collect(),
            ports,
            revision: 1,
            bucket: 0,
        }
    }

    /// The ports of the members, in the order of [`position`](Self::position).
    pub(super) fn ports(&self) -> Vec<u16> {
        self.members.iter().map(|node| self.ports[*node]).collect()
    }

    /// The owner's place among the members.
    pub(super) fn position(&self, vbucket: u16) -> usize {
        usize::from(vbucket) % self.members.len()
    }

    /// The node that has a vbucket.
    pub(super) fn owner(&self, vbucket: u16) -> usize {
        self.members[self.position(vbucket)]
    }

    pub(super) fn is_member(&self, node: usize) -> bool {
        self.members.contains(&node)
    }

    pub(super) fn fail_over(&mut self, node: usize) {
        if self.members.len() > 1 && self.is_member(node) {
            self.members.retain(|member| *member != node);
            self.revision += 1;
        }
    }

    /// The bucket is another one, and revisions begin anew.
    pub(super) fn create_anew(&mut self) {
        self.bucket += 1;
        self.revision = 1;
    }

    pub(super) fn rebalance_in(&mut self, node: usize) {
        if !self.is_member(node) && node < self.ports.len() {
            self.members.push(node);
            self.revision += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_vbucket_has_a_member_and_a_change_is_a_revision() {
        let mut topology = Topology::new(vec![1, 2, 3]);
        let owners = |topology: &Topology| {
            (0..VBUCKETS)
                .map(|n| topology.owner(n))
                .collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(owners(&topology), [0, 1, 2].into());
        topology.fail_over(1);
        topology.fail_over(1);
        assert_eq!((owners(&topology), topology.revision), ([0, 2].into(), 2));
        topology.rebalance_in(1);
        assert_eq!((owners(&topology), topology.revision), ([0, 1, 2].into(), 3));
        assert_eq!(topology.ports(), [1, 3, 2]);
        // The check value of CRC-32 is 0xcbf43926.
        assert_eq!(vbucket(b"123456789"), (0xcbf4 & 0x7fff) % VBUCKETS);
    }
}
