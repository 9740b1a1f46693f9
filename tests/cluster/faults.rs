//! Processes that die.

use crate::harness::Cluster;

#[test]
fn signing_goes_on_when_any_one_node_is_killed() {
    for victim in 0..3 {
        let cluster = Cluster::start(&[]);
        cluster.json(&["key", "create", "notes", "--scheme", "bip340", "--purpose", "messages"]);
        let name = cluster.nodes()[victim]["name"].as_str().unwrap().to_owned();

        cluster.kill_node(&name);

        for number in 0..5 {
            let text = format!("message {number}");
            let signed = cluster.json(&["sign", "message", "notes", "--text", &text]);
            let signers = signed["signers"].as_array().unwrap();
            assert_eq!(signers.len(), 2);
            assert!(signers.iter().all(|signer| *signer != name.as_str()), "{signed}");
        }
    }
}
