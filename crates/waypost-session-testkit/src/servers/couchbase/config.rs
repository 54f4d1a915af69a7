//! What the nodes say of their cluster.

use serde_json::{Value, json};

use super::Shared;
use super::options::Manners;
use super::topology::VBUCKETS;

/// The configuration, with the bucket's part when one is selected.
pub(super) fn cluster(shared: &Shared, with_bucket: bool) -> String {
    let topology = shared.topology().clone();
    let options = &shared.options;
    let ports = topology.ports();
    let is_caves = options.manners == Manners::Caves;
    let nodes: Vec<_> = ports
        .iter()
        .map(|port| {
            // Nothing listens at `mgmt`; clients want it named, and tell nodes apart by it.
            let services = match (options.tls, options.names_management) {
                (false, true) => json!({"kv": port, "mgmt": management(*port)}),
                (false, false) => json!({"kv": port}),
                (true, true) => {
                    json!({"kvSSL": port, "mgmtSSL": management(*port), "mgmt": management(*port)})
                }
                (true, false) => json!({"kvSSL": port}),
            };
            json!({"hostname": "127.0.0.1", "services": services})
        })
        .collect();
    let mut config = json!({
        "rev": topology.revision,
        "nodesExt": nodes,
        "clusterCapabilitiesVer": [1, 0],
        "clusterCapabilities": {},
    });
    if !is_caves {
        config["revEpoch"] = json!(1);
    }
    if with_bucket {
        let places: Vec<_> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let nodes: Vec<_> = ports
            .iter()
            .map(|port| {
                json!({"hostname": format!("127.0.0.1:{}", management(*port)), "ports": {"direct": port}})
            })
            .collect();
        // Copies that nobody reads are named by CAVES.
        let copies = if is_caves { 2 } else { 1 };
        let owners: Vec<Vec<_>> = (0..VBUCKETS)
            .map(|vbucket| topology.position(vbucket))
            .map(|first| (first..first + copies).map(|copy| copy % ports.len()).collect())
            .collect();
        let mut capabilities = vec!["xattr", "nodesExt", "cccp"];
        if options.durability {
            capabilities.push("durableWrite");
        }
        if options.knows_collections {
            capabilities.push("collections");
            config["collectionsManifestUid"] = json!("1");
        }
        config["name"] = json!(options.bucket);
        config["uuid"] = json!(format!("5707e5707e5707e5707e5707{:08x}", topology.bucket));
        config["nodeLocator"] = json!("vbucket");
        config["bucketCapabilitiesVer"] = json!("");
        config["bucketCapabilities"] = json!(capabilities);
        config["nodes"] = json!(nodes);
        config["vBucketServerMap"] = json!({
            "hashAlgorithm": "CRC",
            "numReplicas": copies - 1,
            "serverList": places,
            "vBucketMap": owners,
        });
        if !options.has_vbuckets {
            config["nodeLocator"] = json!("ketama");
            config["vBucketServerMap"] = Value::Null;
        }
    }
    config.to_string()
}

/// A port of its own for each node, which nobody connects to.
const fn management(port: u16) -> u16 {
    port ^ 1
}
