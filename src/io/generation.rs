//! generation_config.json: how the publisher would have a model's next token chosen.

use super::json::quote_value;
use crate::error::{Error, Result};
use serde_json::Value;
use std::path::Path;

/// What generation_config.json says; `None` where it says nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Generation {
    /// Whether tokens are drawn; else the most likely is taken.
    pub do_sample: Option<bool>,
    pub temperature: Option<f32>,
    /// The number of most likely tokens that are kept; 0 keeps all.
    pub top_k: Option<u32>,
    pub top_p: Option<f32>,
    pub min_p: Option<f32>,
    pub repetition_penalty: Option<f32>,
    /// Tokens that end a text.
    pub eos: Vec<u32>,
    pub decoder_start: Option<u32>,
}

impl Generation {
    /// Reads the object `value`, which is from `path`.
    ///
    /// # Errors
    /// [`Error::File`] that names a field that is not what it should be.
    pub fn parse(path: &Path, value: &Value) -> Result<Self> {
        let number = |field: &str, least: f64, most: f64| -> Result<Option<f32>> {
            match value.get(field) {
                None | Some(Value::Null) => Ok(None),
                Some(v) => match v.as_f64().filter(|n| (least..=most).contains(n)) {
                    Some(n) => Ok(Some(n as f32)),
                    None => wrong(path, field, v, &format!("a number from {least} to {most}")),
                },
            }
        };
        let bounded = |field: &str| number(field, 0.0, 1.0);
        let do_sample = match value.get("do_sample") {
            None | Some(Value::Null) => None,
            Some(Value::Bool(b)) => Some(*b),
            Some(v) => return wrong(path, "do_sample", v, "true or false"),
        };
        Ok(Self {
            do_sample,
            temperature: number("temperature", 0.0, 1e6)?,
            top_k: ids(path, value, "top_k")?.first().copied(),
            top_p: bounded("top_p")?,
            min_p: bounded("min_p")?,
            repetition_penalty: number("repetition_penalty", 1e-6, 1e6)?,
            eos: ids(path, value, "eos_token_id")?,
            decoder_start: ids(path, value, "decoder_start_token_id")?.first().copied(),
        })
    }
}

/// One id or several, none where the field is missing or null.
fn ids(path: &Path, value: &Value, field: &str) -> Result<Vec<u32>> {
    let one = |v: &Value| v.as_u64().and_then(|n| u32::try_from(n).ok());
    match value.get(field) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(v) => {
            let all = match v {
                Value::Array(all) => all.iter().map(one).collect(),
                v => one(v).map(|id| vec![id]),
            };
            match all {
                Some(all) => Ok(all),
                None => wrong(path, field, v, "a count"),
            }
        }
    }
}

fn wrong<T>(path: &Path, field: &str, value: &Value, expected: &str) -> Result<T> {
    let message = format!("`{field}` is {}; expected {expected}", quote_value(value));
    Err(Error::file(path, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_are_read_and_faults_named() {
        let parse = |v: Value| Generation::parse(Path::new("g.json"), &v);
        let published = json!({"bos_token_id": 128000, "do_sample": true, "eos_token_id": [128001, 128009],
            "temperature": 0.6, "top_p": 0.9, "top_k": 50, "repetition_penalty": 1.05, "pad_token_id": null,
            "transformers_version": "4.40.0"});
        let all = parse(published).unwrap();
        assert_eq!(all.eos, [128001, 128009]);
        assert_eq!((all.do_sample, all.top_k), (Some(true), Some(50)));
        assert_eq!((all.temperature, all.top_p), (Some(0.6), Some(0.9)));
        assert_eq!((all.min_p, all.repetition_penalty), (None, Some(1.05)));
        assert_eq!(parse(json!({"eos_token_id": 2})).unwrap().eos, [2]);
        assert_eq!(parse(json!({})).unwrap(), Generation::default());
        for (value, field) in [
            (json!({"temperature": -1}), "temperature"),
            (json!({"temperature": "hot"}), "temperature"),
            (json!({"top_p": 1.5}), "top_p"),
            (json!({"top_k": -3}), "top_k"),
            (json!({"eos_token_id": [1, "x"]}), "eos_token_id"),
            (json!({"do_sample": 1}), "do_sample"),
            (json!({"repetition_penalty": 0}), "repetition_penalty"),
        ] {
            let message = parse(value).unwrap_err().to_string();
            assert!(
                message.contains(&format!("g.json: `{field}` is")),
                "{message}"
            );
        }
    }
}
