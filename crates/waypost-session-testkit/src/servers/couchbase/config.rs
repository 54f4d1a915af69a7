//! What the node says of its cluster: one node, one bucket.

use serde_json::json;

/// Enough that keys are spread, few enough that the text is short.
const VBUCKETS: usize = 64;

pub(super) fn cluster(port: u16, bucket: Option<&str>) -> String {
    let mut config = json!({
        "rev": 1,
        "revEpoch": 1,
        "nodesExt": [{
            "thisNode": true,
            // Nothing listens at `mgmt`; clients want it named.
            "services": {"kv": port, "mgmt": 8091},
        }],
        "clusterCapabilitiesVer": [1, 0],
        "clusterCapabilities": {},
    });
    if let Some(name) = bucket {
        let place = format!("127.0.0.1:{port}");
        config["name"] = json!(name);
        config["uuid"] = json!("5707e5707e5707e5707e5707e5707e57");
        config["nodeLocator"] = json!("vbucket");
        config["bucketCapabilitiesVer"] = json!("");
        config["bucketCapabilities"] = json!(["collections", "durableWrite", "xattr", "nodesExt", "cccp"]);
        config["collectionsManifestUid"] = json!("1");
        config["nodes"] = json!([{"hostname": "127.0.0.1:8091", "ports": {"direct": port}}]);
        config["vBucketServerMap"] = json!({
            "hashAlgorithm": "CRC",
            "numReplicas": 0,
            "serverList": [place],
            "vBucketMap": vec![[0]; VBUCKETS],
        });
    }
    config.to_string()
}
