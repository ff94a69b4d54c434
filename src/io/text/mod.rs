//! Text in and out: tokenizers, chat templates, and text that comes token by token.

mod chat;
mod stream;
mod tokenizer;

pub use chat::{ChatTemplate, Message};
pub use stream::Stream;
pub use tokenizer::Tokenizer;
