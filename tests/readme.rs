//! The examples of the README are those that are built.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may stop at a surprise

use std::path::Path;

#[test]
fn the_readmes_examples_are_the_files_in_examples() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| {
        let path = root.join(path);
        std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    };
    let readme = read("README.md");
    let shown: Vec<&str> = (readme.split("```rust\n").skip(1))
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert_eq!(shown.len(), 2);
    for (shown, name) in shown.into_iter().zip(["classify", "generate"]) {
        let file = read(&format!("examples/{name}.rs"));
        // Behind what the file says of itself.
        let code = file.split_once("\n\n").map_or("", |parts| parts.1);
        assert_eq!(shown, code, "{name}");
    }
}
