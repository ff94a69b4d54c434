//! Rows of a table by token.

pub mod gather;
