//! A language model as it is published: a folder of files, one GGUF file, or a model of the hub.

use super::checkpoint::Checkpoint;
use super::generation::Generation;
use super::gguf::Gguf;
use super::json;
use super::shards::Shards;
#[cfg(feature = "text")]
use super::text::Tokenizer;
use super::weights::Weights;
use crate::error::{Error, Result};
use serde_json::Value;
use std::path::{Path, PathBuf};

const CONFIG: &str = "config.json";
const GENERATION: &str = "generation_config.json";
#[cfg(feature = "text")]
const TOKENIZER: &str = "tokenizer.json";
#[cfg(feature = "text")]
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";

/// The files of a language model. Weights are read when they are asked for, the tokenizer when it is.
#[derive(Debug)]
pub struct LanguageFiles {
    /// The folder, the file or the name that messages call it.
    pub path: PathBuf,
    /// What messages about [`LanguageFiles::config`] name.
    pub config_path: PathBuf,
    /// config.json, or what it would say.
    pub config: Value,
    pub generation: Generation,
    pub weights: Weights,
    /// In memory: tokenizer.json and tokenizer_config.json.
    parts: Option<(Vec<u8>, Value)>,
    /// In memory: generation_config.json.
    said: Option<Vec<u8>>,
    /// The folder of the tokenizer, where that is not the weights'.
    beside: Option<PathBuf>,
}

/// A model in memory, such as one that a program carries.
pub struct Parts<'a> {
    /// What messages call it.
    pub name: &'a str,
    /// The file of weights: safetensors, or GGUF.
    pub weights: Vec<u8>,
    /// config.json; none where the weights are a GGUF file, which says it itself.
    pub config: Option<&'a str>,
    /// tokenizer.json
    pub tokenizer: Option<&'a str>,
    /// tokenizer_config.json
    pub tokenizer_config: Option<&'a str>,
    /// generation_config.json
    pub generation: Option<&'a str>,
}

impl LanguageFiles {
    /// Opens a folder with config.json and safetensors files (see [`Shards::open`]), or a GGUF file, which a folder
    /// may also hold as its only one.
    ///
    /// # Errors
    /// [`Error::File`] and [`Error::Io`], one line: a file that is missing or not what it should be.
    pub fn open(path: &Path) -> Result<Self> {
        if !path.is_dir() {
            let named = path
                .extension()
                .is_some_and(|e| e.eq_ignore_ascii_case("gguf"));
            if !named && path.is_file() {
                let message =
                    "expected the folder of a language model (with config.json), or a .gguf file";
                return Err(Error::file(path, message));
            }
            return Self::of_gguf(path, Gguf::open(path)?);
        }
        let config_path = path.join(CONFIG);
        if !config_path.exists() {
            let all = entries(path)?;
            let mut ggufs = (all.iter()).filter(|p| p.extension().is_some_and(|e| e == "gguf"));
            return match (ggufs.next(), ggufs.next()) {
                (Some(file), None) => Self::of_gguf(file, Gguf::open(file)?),
                (Some(_), Some(_)) => Err(Error::file(
                    path,
                    "has several .gguf files; name one of them",
                )),
                (None, _) => Err(Error::file(
                    path,
                    format!("has no {CONFIG}: not a language model's folder"),
                )),
            };
        }
        let config = json::read(&config_path)?;
        let generation = Self::generation(path)?;
        let weights = Weights::Safetensors(Shards::open(path)?);
        Ok(Self {
            path: path.to_path_buf(),
            config_path,
            config,
            generation,
            weights,
            parts: None,
            said: None,
            beside: None,
        })
    }

    /// A model in memory.
    ///
    /// # Errors
    /// As [`LanguageFiles::open`].
    pub fn from_parts(parts: Parts) -> Result<Self> {
        let path = PathBuf::from(parts.name);
        let said = |text: Option<&str>, file: &str| match text {
            Some(text) => json::parse(&path.join(file), text.as_bytes()),
            None => Ok(Value::Null),
        };
        let config = said(parts.config, CONFIG)?;
        let tokenizer_config = said(parts.tokenizer_config, "tokenizer_config.json")?;
        let mut files = if parts.weights.starts_with(b"GGUF") {
            Self::of_gguf(&path, Gguf::from_bytes(&path, parts.weights)?)?
        } else {
            let weights = Checkpoint::from_bytes(&path, parts.weights)?;
            Self {
                config_path: path.join(CONFIG),
                path,
                config: Value::Null,
                generation: Generation::default(),
                weights: Weights::Safetensors(Shards::single(weights)),
                parts: None,
                said: None,
                beside: None,
            }
        };
        if !config.is_null() {
            files.config = config;
        }
        if let Some(text) = parts.generation {
            let path = files.path.join(GENERATION);
            files.generation = Generation::parse(&path, &json::parse(&path, text.as_bytes())?)?;
            files.said = Some(text.as_bytes().to_vec());
        }
        files.parts = (parts.tokenizer).map(|t| (t.as_bytes().to_vec(), tokenizer_config));
        Ok(files)
    }

    /// A model with the configuration in the file `config`, the tokenizer of the folder `tokenizer`, and the safetensors
    /// file in memory that `weights` makes of the configuration.
    ///
    /// # Errors
    /// As [`LanguageFiles::open`], and those of `weights`.
    pub fn made(
        config: &Path,
        tokenizer: &Path,
        weights: impl FnOnce(&Value) -> Result<Vec<u8>>,
    ) -> Result<Self> {
        let value = json::read(config)?;
        let weights = Checkpoint::from_bytes(config, weights(&value)?)?;
        Ok(Self {
            path: config.to_path_buf(),
            config_path: config.to_path_buf(),
            config: value,
            generation: Generation::default(),
            weights: Weights::Safetensors(Shards::single(weights)),
            parts: None,
            said: None,
            beside: Some(tokenizer.to_path_buf()),
        })
    }

    /// What stands beside the weights in such a model's folder: config.json and, where there are some, the files of the
    /// tokenizer and of generation, by name.
    ///
    /// # Errors
    /// [`Error::Io`] where a file cannot be read; [`Error::File`] where a GGUF file's tokenizer is none.
    pub fn companions(&self) -> Result<Vec<(&'static str, Vec<u8>)>> {
        const OTHERS: [&str; 8] = [
            CONFIG,
            GENERATION,
            "tokenizer.json",
            "tokenizer_config.json",
            "special_tokens_map.json",
            "tokenizer.model",
            "chat_template.jinja",
            "chat_template.json",
        ];
        let own = |value: &Value| value.to_string().into_bytes();
        if let Some((tokenizer, config)) = &self.parts {
            let said = self.said.iter().map(|said| (GENERATION, said.clone()));
            return Ok([
                (CONFIG, own(&self.config)),
                (OTHERS[2], tokenizer.clone()),
                (OTHERS[3], own(config)),
            ]
            .into_iter()
            .chain(said)
            .collect());
        }
        let file = match &self.weights {
            Weights::Gguf(file) => file,
            Weights::Safetensors(_) if self.beside.is_none() && !self.path.is_dir() => {
                return Ok(vec![(CONFIG, own(&self.config))]);
            }
            Weights::Safetensors(_) => {
                let mut out = Vec::new();
                for name in OTHERS {
                    let path = match (name, &self.beside) {
                        (CONFIG, _) => self.config_path.clone(),
                        // What it says is of the tokenizer's model, not of this one.
                        (GENERATION, Some(_)) => continue,
                        (_, folder) => folder.as_ref().unwrap_or(&self.path).join(name),
                    };
                    if path.exists() {
                        out.push((name, std::fs::read(&path).map_err(Error::io(&path))?));
                    }
                }
                return Ok(out);
            }
        };
        Ok(vec![
            (CONFIG, own(&self.config)),
            (OTHERS[2], own(&file.tokenizer()?)),
            (OTHERS[3], own(&file.tokenizer_config())),
        ])
    }

    fn of_gguf(path: &Path, file: Gguf) -> Result<Self> {
        Ok(Self {
            path: path.to_path_buf(),
            config_path: path.to_path_buf(),
            config: file.config().clone(),
            generation: match path.parent() {
                Some(folder) => Self::generation(folder)?,
                None => Generation::default(),
            },
            weights: Weights::Gguf(Box::new(file)),
            parts: None,
            said: None,
            beside: None,
        })
    }

    fn generation(folder: &Path) -> Result<Generation> {
        let path = folder.join(GENERATION);
        match json::read_if_there(&path)? {
            Some(value) => Generation::parse(&path, &value),
            None => Ok(Generation::default()),
        }
    }

    /// The tokenizer: tokenizer.json of the folder (for a GGUF file, of its folder), else what the GGUF file says.
    /// `None` where there is no tokenizer.json and the weights are no GGUF file: tokens then go by their ids.
    ///
    /// # Errors
    /// [`Error::File`] and [`Error::Io`] where the files are not what they should be.
    #[cfg(feature = "text")]
    pub fn tokenizer(&self) -> Result<Option<Tokenizer>> {
        if let Some((json, config)) = &self.parts {
            return Tokenizer::new(&self.path.join(TOKENIZER), json, config.clone(), None)
                .map(Some);
        }
        let folder = match (&self.beside, &self.weights) {
            (Some(folder), _) => folder,
            (None, Weights::Safetensors(_)) => self.path.as_path(),
            (None, Weights::Gguf(_)) => self.path.parent().unwrap_or(Path::new("")),
        };
        let path = folder.join(TOKENIZER);
        if path.exists() {
            let config = json::read_if_there(&folder.join(TOKENIZER_CONFIG))?.unwrap_or_default();
            let template = template(folder)?;
            return Tokenizer::new(&path, &json::bytes(&path)?, config, template).map(Some);
        }
        match &self.weights {
            Weights::Safetensors(_) => Ok(None),
            Weights::Gguf(file) => {
                let json = file.tokenizer()?.to_string();
                let config = file.tokenizer_config();
                Tokenizer::new(&self.path, json.as_bytes(), config, None).map(Some)
            }
        }
    }

    /// The files of model `id` of the hub (see [`super::hub::Hub::fetch`]); those that not every model has are
    /// fetched where it has them.
    ///
    /// # Errors
    /// [`Error::Hub`] where the hub does not deliver, and as [`LanguageFiles::open`].
    #[cfg(feature = "cli")]
    pub fn fetch(
        hub: &super::hub::Hub,
        id: &str,
        progress: &mut dyn super::hub::Progress,
    ) -> Result<Self> {
        // Where the revision moves on meanwhile, the later files are in the folder of another commit.
        const TRIES: usize = 3;
        for _ in 0..TRIES {
            let config = hub.fetch(id, CONFIG, progress)?;
            let Some(folder) = config.parent() else {
                return Err(Error::file(&config, "has no folder"));
            };
            let whole = Self::fetch_rest(hub, id, folder, progress)?;
            if whole && hub.fetch(id, CONFIG, progress)? == config {
                return Self::open(folder);
            }
        }
        let message = format!("{id}: its files changed while they were fetched: try again");
        Err(Error::Hub(message))
    }

    /// Fetches all but config.json, which is in `folder`; whether they came to be there.
    #[cfg(feature = "cli")]
    fn fetch_rest(
        hub: &super::hub::Hub,
        id: &str,
        folder: &Path,
        progress: &mut dyn super::hub::Progress,
    ) -> Result<bool> {
        use super::shards::{INDEX, WHOLE, index_map};
        let optional = [
            GENERATION,
            TOKENIZER,
            TOKENIZER_CONFIG,
            "chat_template.jinja",
            "chat_template.json",
        ];
        for file in optional {
            hub.fetch_if_there(id, file, progress)?;
        }
        let Some(index) = hub.fetch_if_there(id, INDEX, progress)? else {
            return Ok(hub.fetch(id, WHOLE, progress)?.parent() == Some(folder));
        };
        let files: std::collections::BTreeSet<String> = index_map(&index)?.into_values().collect();
        for file in files {
            if hub.fetch(id, &file, progress)?.parent() != Some(folder) {
                return Ok(false);
            }
        }
        Ok(index.parent() == Some(folder))
    }
}

/// The files of a folder, sorted.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(Error::io(folder))? {
        out.push(entry.map_err(Error::io(folder))?.path());
    }
    out.sort();
    Ok(out)
}

/// The chat template that stands in a file of its own.
#[cfg(feature = "text")]
fn template(folder: &Path) -> Result<Option<String>> {
    let jinja = folder.join("chat_template.jinja");
    if jinja.exists() {
        return match String::from_utf8(json::bytes(&jinja)?) {
            Ok(text) => Ok(Some(text)),
            Err(e) => Err(Error::file(
                &jinja,
                format!("is not UTF-8: {}", e.utf8_error()),
            )),
        };
    }
    let json = json::read_if_there(&folder.join("chat_template.json"))?;
    Ok(json.and_then(|v| v.get("chat_template")?.as_str().map(str::to_string)))
}
