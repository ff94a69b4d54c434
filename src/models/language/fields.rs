//! Fields of a JSON object, each checked as it is read.

use crate::error::{Error, Result};
use serde_json::{Map, Value};
use std::path::Path;

/// The largest count that a field may have: sizes multiply, and shapes are u32 on a device.
const MOST: u64 = 1 << 31;

/// More layers than any model has, few enough to name each.
const MOST_LAYERS: usize = 1 << 14;

/// An object, and the file that it is from.
pub struct Fields<'a> {
    path: &'a Path,
    /// What stands before a field's name in a message, such as `rope_parameters.`.
    within: &'static str,
    map: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    pub fn new(path: &'a Path, value: &'a Value) -> Result<Self> {
        let Some(map) = value.as_object() else {
            let message = "expected a JSON object of a model's configuration";
            return Err(Error::file(path, message));
        };
        let fields = Self {
            path,
            within: "",
            map,
        };
        if fields.get("quantization_config").is_some() {
            return fields.fault(
                "its weights are quantised (`quantization_config`), which is not read; expected f32, f16 or bf16, \
                 or a GGUF file",
            );
        }
        Ok(fields)
    }

    /// The object in `field`, `None` where it is missing or null.
    pub fn object(&self, field: &'static str, within: &'static str) -> Result<Option<Fields<'a>>> {
        let path = self.path;
        match self.get(field) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Fields { path, within, map })),
            Some(value) => self.wrong(field, value, "an object"),
        }
    }

    /// An error about the file.
    pub fn fault<T>(&self, message: impl std::fmt::Display) -> Result<T> {
        Err(Error::file(self.path, message))
    }

    fn wrong<T>(&self, field: &str, value: &Value, expected: &str) -> Result<T> {
        let within = self.within;
        let shown: String = value.to_string().chars().take(60).collect();
        self.fault(format_args!(
            "`{within}{field}` is {shown}; expected {expected}"
        ))
    }

    /// The value of `field`; none where it is null.
    pub fn get(&self, field: &str) -> Option<&'a Value> {
        self.map.get(field).filter(|v| !v.is_null())
    }

    fn or_missing<T>(&self, field: &str, value: Option<T>) -> Result<T> {
        let within = self.within;
        match value {
            Some(value) => Ok(value),
            None => self.fault(format_args!("`{within}{field}` is missing")),
        }
    }

    /// A count from 1 on that may be missing.
    pub fn maybe_count(&self, field: &str) -> Result<Option<usize>> {
        match self.get(field) {
            None => Ok(None),
            Some(value) => match value.as_u64().filter(|n| (1..=MOST).contains(n)) {
                Some(n) => Ok(Some(n as usize)),
                None => self.wrong(field, value, "a whole number from 1"),
            },
        }
    }

    /// A count from 1 on.
    pub fn count(&self, field: &str) -> Result<usize> {
        self.or_missing(field, self.maybe_count(field)?)
    }

    /// A number of layers that may be missing.
    pub fn maybe_layers(&self, field: &str) -> Result<Option<usize>> {
        match self.maybe_count(field)? {
            Some(n) if n > MOST_LAYERS => self.fault(format_args!(
                "`{field}` is {n}; expected at most {MOST_LAYERS} layers"
            )),
            layers => Ok(layers),
        }
    }

    /// A number of layers.
    pub fn layers(&self, field: &str) -> Result<usize> {
        self.or_missing(field, self.maybe_layers(field)?)
    }

    /// A number above 0 that may be missing.
    pub fn maybe_positive(&self, field: &str) -> Result<Option<f64>> {
        match self.get(field) {
            None => Ok(None),
            Some(value) => match value.as_f64().filter(|n| *n > 0.0 && n.is_finite()) {
                Some(n) => Ok(Some(n)),
                None => self.wrong(field, value, "a number above 0"),
            },
        }
    }

    /// A number above 0.
    pub fn positive(&self, field: &str) -> Result<f64> {
        self.or_missing(field, self.maybe_positive(field)?)
    }

    /// A flag, `default` where it is missing.
    pub fn flag(&self, field: &str, default: bool) -> Result<bool> {
        match self.get(field) {
            None => Ok(default),
            Some(Value::Bool(b)) => Ok(*b),
            Some(value) => self.wrong(field, value, "true or false"),
        }
    }

    /// Text that may be missing.
    pub fn text(&self, field: &str) -> Result<Option<&'a str>> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(value) => self.wrong(field, value, "text"),
        }
    }

    /// The ids of one token or of several, below `vocab`; none where it is missing.
    pub fn ids(&self, field: &str, vocab: usize) -> Result<Vec<u32>> {
        let one = |v: &Value| {
            let id = v.as_u64().filter(|id| *id < vocab as u64)?;
            u32::try_from(id).ok()
        };
        let Some(value) = self.get(field) else {
            return Ok(Vec::new());
        };
        let ids = match value {
            Value::Array(all) => all.iter().map(one).collect(),
            // Some publishers write -1 for none.
            value if value.as_i64() == Some(-1) => Some(Vec::new()),
            value => one(value).map(|id| vec![id]),
        };
        match ids {
            Some(ids) => Ok(ids),
            None => self.wrong(
                field,
                value,
                &format!("token ids below the vocabulary's {vocab}"),
            ),
        }
    }

    /// The id of one token; none where it is missing.
    pub fn id(&self, field: &str, vocab: usize) -> Result<Option<u32>> {
        Ok(self.ids(field, vocab)?.first().copied())
    }

    /// Positive numbers; none where the field is missing.
    pub fn positives(&self, field: &str) -> Result<Option<Vec<f64>>> {
        let Some(value) = self.get(field) else {
            return Ok(None);
        };
        let one = |v: &Value| v.as_f64().filter(|n| *n > 0.0 && n.is_finite());
        match value
            .as_array()
            .and_then(|all| all.iter().map(one).collect())
        {
            Some(all) => Ok(Some(all)),
            None => self.wrong(field, value, "numbers above 0"),
        }
    }
}
