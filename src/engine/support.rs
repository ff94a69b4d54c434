//! Which of the kernels' faster variants an adapter gets, and why not the others: read off the plans themselves.

use super::language::{self, Language, Room};
use crate::error::Result;
use crate::kernels::{KERNELS, LIBS, Lib};
use crate::models::efficientvit::{Config, EfficientViT, NAMES, Outputs};
use crate::plan::{Options, Plan};
use crate::shader::Caps;
use crate::tensor::DType;
use std::collections::BTreeSet;

/// The tokens that language models' plans are made for, and the room of their sequences.
const TOKENS: [usize; 3] = [1, 8, 512];
const ROOM: usize = 1024;

/// The batches that vision models' plans are made for.
const BATCHES: [usize; 2] = [1, 64];

/// What an adapter makes of one kernel.
#[derive(Clone, Debug)]
pub struct Support {
    /// The kernel's stem.
    pub kernel: &'static str,
    /// How many dispatches of the plans run it.
    pub dispatches: usize,
    /// Why there are none.
    pub unused: Option<&'static str>,
    /// The functions that it takes in a faster variant on some adapters.
    pub functions: Vec<Function>,
}

/// A function with a faster variant.
#[derive(Clone, Debug)]
pub struct Function {
    pub name: &'static str,
    /// The variants that the plans take.
    pub taken: Vec<&'static str>,
    /// The faster one, where no plan takes it, and why.
    pub missed: Option<(&'static str, String)>,
}

/// What `caps` make of every kernel, in the plans of EfficientViT-M0 to M5 at 224 with batches of 1 and 64, and of the
/// built-in language models for 1, 8 and 512 tokens.
///
/// # Errors
/// Where an adapter cannot run a model of batch 1 at all.
pub fn support(caps: &Caps, dtype: DType) -> Result<Vec<Support>> {
    let options = Options::new(dtype);
    let mut plans = Vec::new();
    for files in language::embedded()? {
        for rows in TOKENS {
            let room = Room::of(rows.max(ROOM));
            let all = Language::plans(&files, rows, &room, caps, &options)?;
            plans.extend(all.into_iter().map(|(_, plan)| plan));
        }
    }
    for config in NAMES.iter().filter_map(|name| Config::named(name)) {
        for batch in BATCHES {
            let graph = EfficientViT::new(&config)?.graph(batch, Outputs::logits())?;
            match Plan::new(&graph, caps, &options) {
                Ok(plan) => plans.push(plan),
                Err(e) if batch == 1 => return Err(e),
                // Batches beyond the adapter's limits are run in parts.
                Err(_) => {}
            }
        }
    }
    Ok(KERNELS
        .iter()
        .map(|k| one(k.spec.stem(), k.spec.source, &plans, caps))
        .collect())
}

fn one(kernel: &'static str, source: &str, plans: &[Plan], caps: &Caps) -> Support {
    let of: Vec<_> = (plans.iter().flat_map(|p| &p.steps))
        .map(|s| &s.dispatch)
        .filter(|d| d.kernel.stem() == kernel)
        .collect();
    // A kernel that is a faster variant as a whole.
    let whole = match kernel.rsplit(['/', '_']).next() {
        Some("lanes") => Some(Needs::Lanes),
        _ if source.contains("coop_mat") => Some(Needs::Matrices),
        _ => None,
    };
    let unused = of.is_empty().then(|| {
        let missing = whole.and_then(|n| n.missing(caps));
        missing.unwrap_or("not in these plans")
    });
    let functions = (source.lines())
        .filter(|_| !of.is_empty())
        .filter_map(|line| line.strip_prefix("//!use "))
        .filter_map(|name| {
            let fast = LIBS
                .iter()
                .find(|l| l.name == name.trim() && needs(l).is_some())?;
            let taken: BTreeSet<_> = of.iter().map(|d| d.variant.choice(fast.name)).collect();
            let missed = (!taken.contains(fast.choice)).then(|| {
                let why = needs(fast).and_then(|n| n.missing(caps));
                (
                    fast.choice,
                    why.unwrap_or("not taken by the planner").into(),
                )
            });
            Some(Function {
                name: fast.name,
                taken: taken.into_iter().collect(),
                missed,
            })
        })
        .collect();
    Support {
        kernel,
        dispatches: of.len(),
        unused,
        functions,
    }
}

/// What a variant asks of an adapter.
#[derive(Clone, Copy)]
enum Needs {
    Subgroups,
    Matrices,
    Lanes,
}

impl Needs {
    /// What of it is not there.
    fn missing(self, caps: &Caps) -> Option<&'static str> {
        match self {
            Self::Subgroups if !caps.subgroups => Some("no subgroups"),
            Self::Matrices if !caps.f16 => Some("no f16"),
            Self::Matrices if caps.coop.is_none() => {
                Some("no cooperative matrices of 16×16×16 from f16 to f32")
            }
            Self::Lanes if !caps.software => Some("no processor"),
            Self::Lanes if caps.lanes().is_none() => Some("no subgroups of one size"),
            _ => None,
        }
    }
}

fn needs(lib: &Lib) -> Option<Needs> {
    match lib.choice {
        choice if choice.starts_with("coop") => Some(Needs::Matrices),
        "lanes" | "broadcast" => None,
        _ if lib.source.contains("subgroup") => Some(Needs::Subgroups),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_poor_adapter_is_told_what_it_lacks() {
        let all = support(&Caps::default(), DType::F32).unwrap();
        assert_eq!(all.len(), KERNELS.len());
        assert!(all.iter().any(|s| s.dispatches > 0));
        let missed: Vec<&str> = (all.iter().flat_map(|s| &s.functions))
            .filter_map(|f| Some(f.missed.as_ref()?.1.as_str()))
            .collect();
        assert!(
            missed.iter().any(|why| why.starts_with("no ")),
            "{missed:?}"
        );
        let taken = all.iter().flat_map(|s| &s.functions).flat_map(|f| &f.taken);
        assert!(taken.clone().all(|t| *t != "subgroup" && *t != "coop"));
    }
}
