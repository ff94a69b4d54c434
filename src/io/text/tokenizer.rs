//! Text to tokens and back, by the published tokenizer.

use super::{ChatTemplate, Message, Stream};
use crate::error::{Error, Result};
use crate::io::header::{one_line, quote};
use crate::io::quiet::quietly;
use serde_json::Value;
use std::path::{Path, PathBuf};
use tokenizers::Tokenizer as Inner;

/// A tokenizer as published, with the tokens that begin and end a text and its chat template.
pub struct Tokenizer {
    path: PathBuf,
    inner: Inner,
    config: Value,
    template: Option<ChatTemplate>,
}

impl Tokenizer {
    /// A tokenizer from the bytes of tokenizer.json and what tokenizer_config.json says (null where there is none).
    /// `template` is the file of the chat template, which takes the place of the configuration's. `path` is what
    /// messages name.
    ///
    /// # Errors
    /// [`Error::File`] where the bytes are no tokenizer. A chat template that is at fault is no error before it is
    /// used.
    pub fn new(path: &Path, json: &[u8], config: Value, template: Option<String>) -> Result<Self> {
        // The crate panics on some text that is not JSON, and on merges into tokens that are not there.
        let value = crate::io::json::parse(path, json)?;
        if let Some(merge) = lost_merge(&value) {
            let message = format!("merge {} gives no token of the vocabulary", quote(&merge));
            return Err(Error::file(path, message));
        }
        let inner = guarded(|| {
            let mut inner = Inner::from_bytes(json)?;
            // Published files may carry how their maker cut and filled batches; a prompt is neither cut nor filled.
            inner.with_truncation(None)?.with_padding(None);
            Ok(inner)
        });
        let inner =
            inner.map_err(|e| Error::file(path, format!("cannot be read as a tokenizer: {e}")))?;
        let template = (template.or_else(|| ChatTemplate::source(&config)))
            .map(|source| ChatTemplate::new(path, source, &config));
        Ok(Self {
            path: path.to_path_buf(),
            inner,
            config,
            template,
        })
    }

    /// Where it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tokens of `text`; with the special tokens that the tokenizer's own template puts around a text where
    /// `special` is set.
    ///
    /// # Errors
    /// [`Error::Usage`] where the tokenizer refuses the text.
    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>> {
        match guarded(|| self.inner.encode_fast(text, special)) {
            Ok(encoding) => Ok(encoding.get_ids().to_vec()),
            Err(e) => Err(self.refused("the text", &e)),
        }
    }

    /// [`Tokenizer::encode`] without special tokens, of each of many texts, on all cores.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_all(&self, texts: &[impl AsRef<str> + Sync]) -> Result<Vec<Vec<u32>>> {
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        // Neighbours are of about the same length: each core takes some of all.
        let share = |core: usize| {
            let own = texts.iter().skip(core).step_by(cores);
            own.map(|text| self.encode(text.as_ref(), false))
                .collect::<Result<Vec<_>>>()
        };
        let shares = std::thread::scope(|scope| {
            let all: Vec<_> = (0..cores)
                .map(|core| scope.spawn(move || share(core)))
                .collect();
            let joined = all.into_iter().map(|one| one.join());
            (joined.map(|one| one.unwrap_or_else(|panic| std::panic::resume_unwind(panic))))
                .collect::<Result<Vec<_>>>()
        })?;
        let mut shares: Vec<_> = shares.into_iter().map(Vec::into_iter).collect();
        let turns = (0..texts.len()).filter_map(|i| shares[i % cores].next());
        Ok(turns.collect())
    }

    /// [`Tokenizer::encode`] with special tokens, of a prompt.
    ///
    /// # Errors
    /// [`Error::Usage`] where the text is empty or has no tokens.
    pub fn prompt(&self, text: &str) -> Result<Vec<u32>> {
        let ids = self.encode(text, true)?;
        if text.is_empty() || ids.is_empty() {
            let message = "the prompt is empty; expected text that has at least one token";
            return Err(Error::Usage(message.to_string()));
        }
        Ok(ids)
    }

    /// The text of `ids`, without that of special tokens where `skip_special` is set. An id that has no token, as
    /// those have that only fill an embedding up, has no text.
    ///
    /// # Errors
    /// [`Error::Usage`] where the tokenizer refuses them.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        guarded(|| self.inner.decode(ids, skip_special)).map_err(|e| self.refused("the tokens", &e))
    }

    /// A decoder of tokens that come one by one.
    pub fn stream(&self) -> Stream<'_> {
        Stream::new(self)
    }

    /// The number of tokens, those added to the model's own among them.
    pub fn vocabulary(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The token `id`, as the vocabulary writes it.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The id of `token`, as the vocabulary writes it.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The id of the token that begins a text, where the tokenizer's configuration names one.
    pub fn bos(&self) -> Option<u32> {
        self.named("bos_token")
    }

    /// The id of the token that ends a text.
    pub fn eos(&self) -> Option<u32> {
        self.named("eos_token")
    }

    /// The id of the token that fills a batch.
    pub fn pad(&self) -> Option<u32> {
        self.named("pad_token")
    }

    fn named(&self, field: &str) -> Option<u32> {
        self.id(special_token(&self.config, field)?)
    }

    /// The chat template, where there is one.
    pub fn template(&self) -> Option<&ChatTemplate> {
        self.template.as_ref()
    }

    /// The tokens of a conversation in the chat template, up to where the next answer begins.
    ///
    /// # Errors
    /// [`Error::Usage`] where there is no template, no message, or the template refuses the messages.
    pub fn chat(&self, messages: &[Message]) -> Result<Vec<u32>> {
        let Some(template) = &self.template else {
            let message = format!(
                "{}: there is no chat template (`chat_template` of tokenizer_config.json, or chat_template.jinja)",
                self.path.display()
            );
            return Err(Error::Usage(message));
        };
        // The template writes the special tokens itself.
        self.encode(&template.render(messages, true)?, false)
    }

    /// Checks that a model whose embedding has `rows` rows has one for each token. It may have more: publishers fill
    /// embeddings up to round sizes.
    ///
    /// # Errors
    /// [`Error::Usage`] that names the last token.
    pub fn within(&self, rows: usize) -> Result<()> {
        let all = self.inner.get_vocab(true);
        match all.into_iter().max_by_key(|(_, id)| *id) {
            Some((token, id)) if id as usize >= rows => Err(Error::Usage(format!(
                "{}: token {id} is {}, but the model's embedding has {rows} rows: the tokenizer is another model's",
                self.path.display(),
                quote(&token)
            ))),
            _ => Ok(()),
        }
    }

    /// Checks that `other` has the same token for each id, as target and draft must.
    ///
    /// # Errors
    /// [`Error::Usage`] that names the first id that differs.
    pub fn agree(&self, other: &Tokenizer) -> Result<()> {
        let most = |t: &Tokenizer| t.inner.get_vocab(true).into_values().max();
        let last = most(self).max(most(other)).unwrap_or_default();
        for id in 0..=last {
            let (mine, theirs) = (self.token(id), other.token(id));
            if mine != theirs {
                let shown =
                    |t: &Option<String>| t.as_ref().map_or("none".to_string(), |t| quote(t));
                return Err(Error::Usage(format!(
                    "the vocabularies differ: token {id} is {} in {} ({} tokens) and {} in {} ({} tokens); a draft \
                     needs its target's vocabulary",
                    shown(&mine),
                    self.path.display(),
                    self.vocabulary(),
                    shown(&theirs),
                    other.path.display(),
                    other.vocabulary()
                )));
            }
        }
        Ok(())
    }

    fn refused(&self, what: &str, error: &str) -> Error {
        let path = self.path.display();
        Error::Usage(format!("{path}: the tokenizer refuses {what}: {error}"))
    }
}

/// What `call` of the tokenizers crate returns; one line where it fails, and where it panics, as it does on some
/// files that it does not check.
fn guarded<T>(call: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    match quietly(call) {
        Some(result) => result.map_err(|e| one_line(&e.to_string())),
        None => Err("its file is damaged (the tokenizers crate stopped at it)".to_string()),
    }
}

/// The first pair of a byte-pair model whose merge is no token.
fn lost_merge(tokenizer: &Value) -> Option<String> {
    let model = tokenizer.get("model")?;
    let vocab = model.get("vocab")?.as_object()?;
    if (model.get("continuing_subword_prefix")).is_some_and(|p| !p.is_null() && p != "") {
        return None;
    }
    let merged = |merge: &Value| match merge {
        Value::String(text) => text.split_once(' ').map(|(a, b)| format!("{a}{b}")),
        pair => Some(format!(
            "{}{}",
            pair.get(0)?.as_str()?,
            pair.get(1)?.as_str()?
        )),
    };
    let all = model.get("merges")?.as_array()?;
    all.iter()
        .filter_map(merged)
        .find(|m| !vocab.contains_key(m))
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (path, tokens) = (self.path.display(), self.vocabulary());
        write!(f, "Tokenizer({path}, {tokens} tokens)")
    }
}

/// A special token of tokenizer_config.json: text, or an object with `content`.
pub(super) fn special_token<'a>(config: &'a Value, field: &str) -> Option<&'a str> {
    let value = config.get(field)?;
    value.as_str().or_else(|| value.get("content")?.as_str())
}
