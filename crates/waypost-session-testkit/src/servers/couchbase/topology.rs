//! Which node has which documents.

/// Enough that keys are spread, few enough that the configuration is short.
pub(super) const VBUCKETS: u16 = 64;

/// The nodes and what each of them owns. Nodes are named by their number from the start.
#[derive(Debug, Clone)]
pub(super) struct Topology {
    ports: Vec<u16>,
    /// The nodes that are in the cluster.
    members: Vec<usize>,
    /// Grows with every change.
    pub(super) revision: u64,
}

impl Topology {
    pub(super) fn new(ports: Vec<u16>) -> Self {
        Self {
            members: (0..ports.len()).collect(),
            ports,
            revision: 1,
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

    pub(super) fn is_owner(&self, node: usize, vbucket: u16) -> bool {
        vbucket < VBUCKETS && self.members[self.position(vbucket)] == node
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

    pub(super) fn rebalance_in(&mut self, node: usize) {
        if !self.is_member(node) && node < self.ports.len() {
            self.members.push(node);
            self.revision += 1;
        }
    }
}
