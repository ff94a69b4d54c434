//! Finding a model's weights: carried by the crate, on the disk, or on the hub.

use crate::error::{Error, Result};
use crate::io::Checkpoint;
#[cfg(feature = "cli")]
use crate::io::hub::{self, Progress};
#[cfg(feature = "cli")]
use crate::models::efficientvit::Config;
#[cfg(feature = "cli")]
use std::path::Path;
use std::sync::Arc;

/// The file of a model's weights, on the hub and in a folder.
#[cfg(feature = "cli")]
const FILE: &str = "model.safetensors";

/// The model that the crate carries: EfficientViT-M0 for handwritten digits.
///
/// # Errors
/// [`Error::File`] where the crate was built with a damaged file.
pub fn embedded() -> Result<Arc<Checkpoint>> {
    let bytes = include_bytes!("../../assets/digits/efficientvit_m0_digits.safetensors");
    let name = "efficientvit_m0_digits (built in)";
    Checkpoint::from_bytes(name, bytes.to_vec()).map(Arc::new)
}

/// The weights that `text` names:
///
/// | `text` | weights |
/// |---|---|
/// | none | [`embedded`] |
/// | `m0` to `m5`, `efficientvit_m0` … | the public checkpoint `timm/efficientvit_m0.r224_in1k` … of the hub |
/// | a file | that file |
/// | a folder | `model.safetensors` in it |
/// | `owner/name`, `owner/name@revision` | `model.safetensors` of that model of the hub |
///
/// # Errors
/// [`Error::Usage`] where `text` names nothing, [`Error::Hub`] where the hub does not deliver, and what reading
/// the file returns.
#[cfg(feature = "cli")]
pub fn find(text: Option<&str>, progress: &mut dyn Progress) -> Result<Arc<Checkpoint>> {
    let Some(text) = text else {
        return embedded();
    };
    let path = Path::new(text);
    let file = if let Some(name) = Config::named(text).and_then(|c| c.name()) {
        hub::fetch(
            &format!("timm/efficientvit_{name}.r224_in1k"),
            FILE,
            progress,
        )?
    } else if path.is_dir() {
        path.join(FILE)
    } else if path.exists() {
        path.to_path_buf()
    } else if hub::is_hub_id(text) {
        hub::fetch(text, FILE, progress)?
    } else {
        return Err(Error::Usage(format!(
            "there is no model `{text}`: expected m0 to m5, a .safetensors file that exists, a folder with \
             {FILE}, or a model of the hub such as timm/efficientvit_m5.r224_in1k"
        )));
    };
    Checkpoint::open(&file).map(Arc::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::efficientvit::inspect;

    #[test]
    fn the_embedded_model_is_m0_with_ten_classes() {
        let checkpoint = embedded().unwrap();
        let config = inspect(&checkpoint).unwrap();
        assert_eq!((config.name(), config.classes), (Some("m0"), 10));
    }

    #[cfg(feature = "cli")]
    #[test]
    fn what_names_no_model_is_refused_without_asking_anyone() {
        for text in ["", "m6", "nowhere.safetensors", "a/b/c", "/nowhere/m0"] {
            let message = find(Some(text), &mut ()).unwrap_err().to_string();
            assert!(
                message.contains(&format!("no model `{text}`")),
                "{text}: {message}"
            );
        }
    }
}
