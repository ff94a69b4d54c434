//! Class names.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may stop at a surprise

use cascadia::io::labels::{Labels, imagenet};

#[test]
fn imagenet_has_its_thousand_names_in_order() {
    assert_eq!(imagenet().len(), 1000);
    for (i, name) in [
        (0, "tench"),
        (1, "goldfish"),
        (207, "golden retriever"),
        (281, "tabby"),
        (954, "banana"),
        (999, "toilet tissue"),
    ] {
        assert_eq!(imagenet()[i], name);
    }
    assert!(imagenet().iter().all(|n| !n.is_empty() && n.trim() == *n));
    assert_eq!(Labels::for_classes(1000).name(207), "golden retriever");
    assert_eq!(Labels::for_classes(10).name(7), "class 7");
}

#[test]
fn a_checkpoint_may_name_its_classes() {
    let labels = Labels::from_metadata(r#"["zero", "one"]"#).unwrap();
    assert_eq!((labels.len(), labels.is_empty()), (2, false));
    assert_eq!(labels.name(1), "one");
    assert_eq!(labels.name(2), "class 2");
    assert_eq!((labels.index("one"), labels.index("two")), (Some(1), None));
    for bad in ["", "{}", "[1]", "[\"a\"", "\"a\"", "null"] {
        let line = Labels::from_metadata(bad).unwrap_err().to_string();
        assert!(line.contains("`labels`") && !line.contains('\n'), "{line}");
    }
}
