//! Names of models on the hub.

use std::path::Path;

/// A model on the hub: `owner/name`, or `owner/name@revision`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubId {
    /// `owner/name`
    pub repo: String,
    /// A branch, a tag or a commit.
    pub revision: String,
}

impl HubId {
    /// Reads `owner/name` or `owner/name@revision` (else revision `main`); `None` where `text` cannot be one, as
    /// where it ends like a file of weights.
    pub fn parse(text: &str) -> Option<Self> {
        const FILES: [&str; 8] = [
            "safetensors",
            "bin",
            "pt",
            "pth",
            "ckpt",
            "onnx",
            "gguf",
            "json",
        ];
        let (repo, revision) = text.split_once('@').unwrap_or((text, "main"));
        let (owner, name) = repo.split_once('/')?;
        let word = |text: &str| {
            let inner = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            (1..=96).contains(&text.len())
                && text.chars().all(inner)
                && !text.starts_with(['.', '-'])
                && !text.ends_with(['.', '-'])
                && !text.contains("..")
                && !text.contains("--")
        };
        let file = Path::new(name)
            .extension()
            .is_some_and(|e| FILES.iter().any(|f| e.eq_ignore_ascii_case(f)));
        let sound = word(owner) && word(name) && !file && revision.split('/').all(word);
        sound.then(|| Self {
            repo: repo.to_string(),
            revision: revision.to_string(),
        })
    }
}

impl std::fmt::Display for HubId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.repo, self.revision)
    }
}

/// Whether `text` is to be looked for on the hub: it reads like `owner/name` and nothing is at that path.
pub fn is_hub_id(text: &str) -> bool {
    HubId::parse(text).is_some() && !Path::new(text).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_told_from_paths() {
        let id = HubId::parse("timm/efficientvit_m5.r224_in1k").unwrap();
        assert_eq!(id.to_string(), "timm/efficientvit_m5.r224_in1k@main");
        let id = HubId::parse("a/b@refs/pr/1").unwrap();
        assert_eq!(
            (id.repo.as_str(), id.revision.as_str()),
            ("a/b", "refs/pr/1")
        );
        for text in [
            "",
            "m5",
            "/",
            "a/",
            "/b",
            "a/b/c",
            "./b",
            "../b",
            "a/..",
            "a/b@",
            "a/b@..",
            "a/b@/x",
            "a b/c",
            "a\\b/c",
            "a/b\n",
            "models/m5.safetensors",
            "models/m5.PTH",
            "a--b/c",
            "~/b",
        ] {
            assert_eq!(HubId::parse(text), None, "{text:?}");
        }
        assert!(is_hub_id("owner/name"));
        assert!(!is_hub_id("src/io"), "a folder that exists");
    }
}
