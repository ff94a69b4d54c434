//! One WGSL file + one variant = one module's text, with a map back to the files it came from.

use super::unroll::{Line, unroll};
use super::{KernelSpec, Variant};
use crate::error::{Error, Result};
use crate::kernels::LIBS;
use crate::tensor::DType;
use std::fmt::Write;

/// How a kernel's `params` reach it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ParamsIn {
    /// Immediates (push constants), natively.
    Immediates,
    /// A uniform buffer at group 1, where there are no immediates.
    Uniform,
}

/// Which compiler the text is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// naga, natively. It rejects `enable subgroups;`.
    Native(ParamsIn),
    /// A browser. It demands `enable subgroups;`, and params are in a uniform buffer.
    Web,
}

/// A module's text, and for each of its lines the file and line that it came from.
#[derive(Clone, Debug)]
pub struct Composed {
    pub text: String,
    pub lines: Vec<(&'static str, u32)>,
}

impl Composed {
    fn push(&mut self, line: &str, file: &'static str, number: u32) {
        self.text.push_str(line);
        self.text.push('\n');
        self.lines.push((file, number));
    }

    /// `line` (from 1) of the composed text as `shaders/<file>:<line>`.
    pub fn origin(&self, line: u32) -> String {
        match self.lines.get(line.saturating_sub(1) as usize) {
            Some((file, n)) => format!("shaders/{file}:{n}"),
            None => format!("composed text:{line}"),
        }
    }
}

/// The text of `kernel` as `variant` for `target`.
///
/// # Errors
/// [`Error::Shader`] where the variant names a constant that the file's variant block lacks, or a choice that
/// does not exist or was not made.
pub fn compose(kernel: &KernelSpec, variant: &Variant, target: Target) -> Result<Composed> {
    let fail = |what: String| {
        Err(Error::Shader(format!(
            "shaders/{}: {what} (variant {variant})",
            kernel.path
        )))
    };
    let mut out = Composed {
        text: String::with_capacity(kernel.source.len() + 512),
        lines: Vec::new(),
    };
    if variant.elem == DType::F16 {
        out.push("enable f16;", "generated", 1);
    }
    let mut libs: Vec<(&'static str, &'static str)> = Vec::new();
    // What a library uses comes after what the kernel uses, each once.
    let mut sources = vec![kernel.source];
    while let Some(source) = sources.pop() {
        for name in source.lines().filter_map(|l| l.strip_prefix("//!use ")) {
            let choice = variant.choice(name.trim());
            match (LIBS.iter()).find(|l| l.name == name.trim() && l.choice == choice) {
                Some(lib) if libs.iter().any(|known| known.0 == lib.path) => {}
                Some(lib) => {
                    libs.push((lib.path, lib.source));
                    sources.push(lib.source);
                }
                None => {
                    return fail(format!(
                        "`//!use {name}` has no implementation called {choice:?}"
                    ));
                }
            }
        }
    }
    let uses = |word: &str| kernel.source.contains(word) || libs.iter().any(|l| l.1.contains(word));
    if target == Target::Web && uses("subgroup") {
        out.push("enable subgroups;", "generated", 2);
    }
    if uses("coop_mat") {
        out.push("enable wgpu_cooperative_matrix;", "generated", 3);
    }
    if !kernel.params.is_empty() {
        out.push(
            match target {
                Target::Native(ParamsIn::Immediates) => "var<immediate> params: Params;",
                _ => "@group(1) @binding(0) var<uniform> params: Params;",
            },
            "generated",
            4,
        );
    }
    let mut found = vec![false; variant.consts.len()];
    let mut in_block = false;
    for (i, line) in kernel.source.lines().enumerate() {
        let number = i as u32 + 1;
        if line.starts_with("// variant ---") {
            in_block = true;
        } else if line.starts_with("// ---") {
            in_block = false;
        } else if in_block && line.starts_with("alias elem ") {
            out.push(
                &format!("alias elem = {};", variant.elem),
                kernel.path,
                number,
            );
            continue;
        } else if in_block && let Some(rest) = line.strip_prefix("const ") {
            let name = rest.split([' ', ':', '=']).next().unwrap_or_default();
            if let Some(at) = variant.consts.iter().position(|c| c.0 == name) {
                found[at] = true;
                let mut text = String::new();
                let _ = write!(text, "const {name} = {};", variant.consts[at].1);
                out.push(&text, kernel.path, number);
                continue;
            }
        }
        out.push(line, kernel.path, number);
    }
    if let Some(missing) = found.iter().position(|f| !f) {
        return fail(format!(
            "its variant block has no constant `{}`",
            variant.consts[missing].0
        ));
    }
    for (path, source) in libs {
        for (i, line) in source.lines().enumerate() {
            out.push(line, path, i as u32 + 1);
        }
    }
    let lines: Vec<Line> = (out.text.lines().zip(&out.lines))
        .map(|(text, (file, line))| (text.to_string(), *file, *line))
        .collect();
    let mut whole = Composed {
        text: String::with_capacity(out.text.len() * 2),
        lines: Vec::new(),
    };
    match unroll(lines) {
        Ok(lines) => lines
            .iter()
            .for_each(|(text, file, line)| whole.push(text, file, *line)),
        Err((what, file, line)) => {
            return fail(format!("shaders/{file}:{line}: `//!unroll`: {what}"));
        }
    }
    Ok(whole)
}
