//! The pair of models that the crate carries.

use crate::error::Result;
use crate::io::{LanguageFiles, Parts};

macro_rules! asset {
    ($read:ident, $file:literal) => {
        $read!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/assets/language/",
            $file
        ))
    };
}

/// The built-in target and draft (`assets/language/README.md`).
///
/// # Errors
/// [`crate::Error::File`] where the crate was built with damaged files.
pub fn embedded() -> Result<[LanguageFiles; 2]> {
    let one = |name, weights: &[u8], config, tokenizer, tokenizer_config, generation| {
        LanguageFiles::from_parts(Parts {
            name,
            weights: weights.to_vec(),
            config: Some(config),
            tokenizer: Some(tokenizer),
            tokenizer_config: Some(tokenizer_config),
            generation: Some(generation),
        })
    };
    Ok([
        one(
            "the built-in target",
            asset!(include_bytes, "target/model.safetensors"),
            asset!(include_str, "target/config.json"),
            asset!(include_str, "target/tokenizer.json"),
            asset!(include_str, "target/tokenizer_config.json"),
            asset!(include_str, "target/generation_config.json"),
        )?,
        one(
            "the built-in draft",
            asset!(include_bytes, "draft/model.safetensors"),
            asset!(include_str, "draft/config.json"),
            asset!(include_str, "draft/tokenizer.json"),
            asset!(include_str, "draft/tokenizer_config.json"),
            asset!(include_str, "draft/generation_config.json"),
        )?,
    ])
}
