//! Text that comes token by token.

use super::Tokenizer;
use crate::error::Result;

/// Tokens that may wait for the rest of a character: a character has at most four bytes, and a tokenizer may have
/// one token for each, so that what is still no character after these never becomes one.
const PATIENCE: usize = 8;

/// Decodes tokens one by one into pieces of whole characters, which together are the text of all tokens.
///
/// A token's text may depend on those before it, so each piece is what a token adds to the text of the last few.
pub struct Stream<'a> {
    tokenizer: &'a Tokenizer,
    /// The last tokens: the first `said` of them are in earlier pieces.
    ids: Vec<u32>,
    said: usize,
}

impl<'a> Stream<'a> {
    /// A stream in which special tokens have no text.
    pub fn new(tokenizer: &'a Tokenizer) -> Self {
        Self {
            tokenizer,
            ids: Vec::new(),
            said: 0,
        }
    }

    /// The text that token `id` completes, empty where it ends inside a character.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn push(&mut self, id: u32) -> Result<String> {
        self.ids.push(id);
        let piece = self.rest()?;
        let patient = self.ids.len() - self.said < PATIENCE;
        if patient && (piece.is_empty() || piece.ends_with(char::REPLACEMENT_CHARACTER)) {
            return Ok(String::new());
        }
        self.ids.drain(..self.said);
        self.said = self.ids.len();
        Ok(piece)
    }

    /// The text that is still held back, with a replacement character for what never became one.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn finish(&mut self) -> Result<String> {
        let piece = self.rest()?;
        self.ids.clear();
        self.said = 0;
        Ok(piece)
    }

    fn rest(&self) -> Result<String> {
        let all = self.tokenizer.decode(&self.ids, true)?;
        let said = self.tokenizer.decode(&self.ids[..self.said], true)?;
        // What was said may end in a character that these tokens changed; then nothing can be taken back.
        Ok(match all.strip_prefix(said.as_str()) {
            Some(rest) => rest.to_string(),
            None => all.chars().skip(said.chars().count()).collect(),
        })
    }
}
