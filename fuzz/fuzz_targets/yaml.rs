//! A file of somebody else's: whatever it is, its tree stays within the limits, has each key once, and an error is one
//! printable line at a place in the file.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use promferry::config::yaml::{self, DISCOVERY_FILE, Kind, Limits, Node};

/// Values, bytes of text, and depth of a tree.
fn measure(node: &Node) -> (usize, usize, usize) {
    let sum = |all: &mut dyn Iterator<Item = (usize, &Node)>| {
        all.fold((1, 0, 1), |(nodes, text, depth), (key, child)| {
            let (more_nodes, more_text, below) = measure(child);
            (nodes + more_nodes, text + more_text + key, depth.max(below + 1))
        })
    };
    match &node.kind {
        Kind::Null => (1, 0, 0),
        Kind::Scalar { text, .. } => (1, text.len(), 0),
        Kind::Sequence(items) => sum(&mut items.iter().map(|item| (0, item))),
        Kind::Mapping(entries) => {
            let mut keys: Vec<&str> = entries.iter().map(|entry| entry.key.as_str()).collect();
            keys.sort_unstable();
            keys.dedup();
            assert_eq!(keys.len(), entries.len(), "a key stands twice");
            sum(&mut entries.iter().map(|entry| (entry.key.len(), &entry.value)))
        }
    }
}

fn read(data: &[u8], limits: &Limits) {
    match yaml::parse(&Arc::from("file"), data, limits) {
        Ok(None) => {}
        Ok(Some(root)) => {
            let (nodes, text_bytes, depth) = measure(&root);
            assert!(nodes <= limits.nodes_max, "{nodes} values");
            assert!(text_bytes <= 2 * limits.input_bytes_max, "{text_bytes} bytes of text");
            assert!(depth <= limits.depth_max, "{depth} levels");
        }
        Err(problem) => {
            let said = problem.to_string();
            assert!(!said.chars().any(char::is_control), "{said:?}");
            let lines = data.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count() + 1;
            assert!(problem.at.line as usize <= lines + 1, "{said}");
        }
    }
}

fuzz_target!(|data: &[u8]| {
    read(data, &DISCOVERY_FILE);
    // Small enough for a fuzzer to come to.
    read(data, &Limits { input_bytes_max: 512, depth_max: 4, nodes_max: 32 });
});
