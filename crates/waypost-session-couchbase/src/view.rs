//! What a node says of its cluster: who the nodes are, and whether that is newer than what was known.

use serde_json::Value;
use waypost_session::Host;

/// Nodes beyond these are not asked.
const NODES_MAX: usize = 64;

/// One revision of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClusterView {
    /// Another bucket of the same name has another.
    bucket: String,
    revision: (i64, i64),
    /// Not so for buckets of the kind `memcached`.
    pub(crate) has_vbuckets: bool,
    /// Where the nodes are that have documents, by the names that they give themselves.
    pub(crate) nodes: Vec<Host>,
}

impl ClusterView {
    /// Reads the configuration that the node at `asked` gave; `None` when it is none.
    pub(crate) fn parse(json: &[u8], asked: &Host, tls: bool) -> Option<Self> {
        let config: Value = serde_json::from_slice(json).ok()?;
        let number = |name: &str| config[name].as_i64();
        let service = if tls { "kvSSL" } else { "kv" };
        let node = |node: &Value| {
            let port = node["services"][service].as_u64()?;
            // Without a name, or with a placeholder for one, it is the one that was asked.
            let name = node["hostname"]
                .as_str()
                .filter(|name| !name.is_empty() && !name.starts_with('$'));
            Some(Host {
                name: name.unwrap_or(&asked.name).to_owned(),
                port: u16::try_from(port).ok(),
            })
        };
        Some(Self {
            bucket: config["uuid"].as_str().unwrap_or_default().to_owned(),
            has_vbuckets: config["nodeLocator"]
                .as_str()
                .is_none_or(|locator| locator == "vbucket"),
            revision: (number("revEpoch").unwrap_or(0), number("rev")?),
            nodes: config["nodesExt"]
                .as_array()?
                .iter()
                .filter_map(node)
                .take(NODES_MAX)
                .collect(),
        })
    }

    /// Whether a client that knows `known` has fallen behind.
    pub(crate) fn supersedes(&self, known: &Self) -> bool {
        self.bucket != known.bucket || self.revision > known.revision
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, port: u16) -> Host {
        Host {
            name: name.to_owned(),
            port: Some(port),
        }
    }

    #[test]
    fn a_configuration_names_the_nodes_and_its_revision() {
        let json =
            br#"{"rev":7,"revEpoch":2,"uuid":"b","nodesExt":[{"services":{"kv":1,"kvSSL":2},"hostname":"n1"},
            {"services":{"kv":3},"hostname":"$HOST"},{"services":{"mgmt":9}},{"services":{"kv":4},"hostname":""}]}"#;
        let asked = host("me", 5);
        let view = ClusterView::parse(json, &asked, false).unwrap();
        assert_eq!(view.nodes, [host("n1", 1), host("me", 3), host("me", 4)]);
        assert_eq!(
            ClusterView::parse(json, &asked, true).unwrap().nodes,
            [host("n1", 2)]
        );
        for broken in [
            &b""[..],
            b"[]",
            b"{}",
            b"{\"rev\":1}",
            b"{\"rev\":1,\"nodesExt\":{}}",
        ] {
            assert_eq!(ClusterView::parse(broken, &asked, false), None);
        }
    }

    #[test]
    fn a_later_revision_or_another_bucket_is_newer() {
        let view = |epoch: i64, rev: i64, bucket: &str| ClusterView {
            bucket: bucket.to_owned(),
            revision: (epoch, rev),
            has_vbuckets: true,
            nodes: Vec::new(),
        };
        let known = view(1, 5, "b");
        assert!(view(1, 6, "b").supersedes(&known) && view(2, 1, "b").supersedes(&known));
        assert!(view(1, 1, "c").supersedes(&known));
        assert!(!view(1, 5, "b").supersedes(&known) && !view(1, 4, "b").supersedes(&known));
    }
}
