//! A checkpoint's chat template, rendered as transformers renders it.

use super::tokenizer::special_token;
use crate::error::{Error, Result};
use crate::io::header::one_line;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde};
use minijinja::{Environment, ErrorKind, context};
use serde::Serialize;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Steps that a template may take, many times those of a long conversation.
const FUEL: u64 = 5_000_000;

/// A turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    /// `system`, `user` or `assistant`
    pub role: String,
    pub content: String,
}

impl Message {
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self {
            role: role.into(),
            content: content.into(),
        }
    }
}

/// A Jinja template from messages to text.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    path: PathBuf,
    source: String,
    /// The special tokens that a template may name, such as `bos_token`.
    tokens: Vec<(&'static str, String)>,
}

impl ChatTemplate {
    /// The template in tokenizer_config.json: a text, or among several named ones that called `default`.
    pub fn source(config: &Value) -> Option<String> {
        let value = config.get("chat_template")?;
        let named = || {
            let all = value.as_array()?;
            all.iter()
                .find(|t| t.get("name").and_then(Value::as_str) == Some("default"))
        };
        let text = value
            .as_str()
            .or_else(|| named()?.get("template")?.as_str());
        text.map(str::to_string)
    }

    /// `source`, with the special tokens of tokenizer_config.json; `path` is what messages name.
    pub fn new(path: &Path, source: String, config: &Value) -> Self {
        const NAMES: [&str; 6] = [
            "bos_token",
            "eos_token",
            "pad_token",
            "unk_token",
            "sep_token",
            "cls_token",
        ];
        let token = |name| Some((name, special_token(config, name)?.to_string()));
        Self {
            path: path.to_path_buf(),
            source: plain_generation(&source),
            tokens: NAMES.into_iter().filter_map(token).collect(),
        }
    }

    /// The conversation as text; with the beginning of an answer where `answer` is set.
    ///
    /// # Errors
    /// [`Error::Usage`], one line, where there is no message, the template is none, or it refuses the messages.
    pub fn render(&self, messages: &[Message], answer: bool) -> Result<String> {
        if messages.is_empty() {
            return Err(Error::Usage("the conversation has no message".to_string()));
        }
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build();
        environment.set_syntax(syntax.map_err(|e| Error::Usage(one_line(&e.to_string())))?);
        environment.set_fuel(Some(FUEL));
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function(
            "raise_exception",
            |message: String| -> Result<(), minijinja::Error> {
                Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
            },
        );
        environment.add_function("strftime_now", now);
        environment.add_filter("tojson", to_json);
        for (name, token) in &self.tokens {
            environment.add_global(*name, token.as_str());
        }
        let rendered = environment.template_from_str(&self.source).and_then(|template| {
            template.render(context! { messages => Serde(messages), add_generation_prompt => answer, tools => (), documents => () })
        });
        rendered.map_err(|e| {
            let line = e
                .line()
                .map_or(String::new(), |n| format!(" (line {n} of the template)"));
            let what = one_line(e.detail().unwrap_or("it cannot be rendered"));
            let message = format!("{}: the chat template: {what}{line}", self.path.display());
            Error::Usage(message)
        })
    }
}

/// The local time, by C's format.
fn now(format: &str) -> Result<String, minijinja::Error> {
    let refused = |e: jiff::Error| {
        minijinja::Error::new(ErrorKind::InvalidOperation, format!("strftime_now: {e}"))
    };
    jiff::fmt::strtime::format(format, &jiff::Zoned::now()).map_err(refused)
}

/// JSON as Python writes it, no character of HTML escaped: `{"a": 1}`.
fn to_json(value: minijinja::Value, options: Kwargs) -> Result<minijinja::Value, minijinja::Error> {
    let indent: Option<usize> = options.get("indent")?;
    let refused = |e: &dyn std::fmt::Display| {
        minijinja::Error::new(ErrorKind::BadSerialization, format!("tojson: {e}"))
    };
    let mut out = Vec::new();
    match indent {
        Some(width) => {
            let spaces = " ".repeat(width.min(16));
            let pretty = serde_json::ser::PrettyFormatter::with_indent(spaces.as_bytes());
            let mut writer = serde_json::Serializer::with_formatter(&mut out, pretty);
            value.serialize(&mut writer).map_err(|e| refused(&e))?;
        }
        None => {
            let mut writer = serde_json::Serializer::with_formatter(&mut out, Spaced);
            value.serialize(&mut writer).map_err(|e| refused(&e))?;
        }
    }
    let text = String::from_utf8(out).map_err(|e| refused(&e))?;
    Ok(minijinja::Value::from_safe_string(text))
}

/// `, ` and `: ` between, as Python's json has them.
struct Spaced;

impl serde_json::ser::Formatter for Spaced {
    fn begin_array_value<W: ?Sized + std::io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(
        &mut self,
        out: &mut W,
    ) -> std::io::Result<()> {
        out.write_all(b": ")
    }
}

/// transformers' own tags around an answer, which leave no text, as tags that Jinja has.
fn plain_generation(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at);
        out.push_str(before);
        let end = tag.find("%}").map_or(tag.len(), |e| e + 2);
        let (tag, after) = tag.split_at(end);
        let word = tag.trim_start_matches("{%").trim_end_matches("%}");
        match word.trim_matches(['-', '+']).trim() {
            "generation" => out.push_str(&tag.replace("generation", "if true")),
            "endgeneration" => out.push_str(&tag.replace("endgeneration", "endif")),
            _ => out.push_str(tag),
        }
        rest = after;
    }
    out + rest
}
