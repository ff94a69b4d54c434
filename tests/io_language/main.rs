//! The files of language models: what is read, and one line for each that is not sound.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may stop at a surprise

mod folders;
mod gguf;
mod gguf_hostile;
#[cfg(feature = "cli")]
mod hub;
#[cfg(feature = "text")]
mod text;
#[cfg(feature = "text")]
mod text_gguf;
mod write;
