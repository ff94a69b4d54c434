//! Rows of a table by token.

pub mod gather;
pub mod rows;
pub mod scatter;
