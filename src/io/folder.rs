//! Folders of pictures, and of classes.

use super::labels::{self, Labels};
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};

/// Every file in `folder` and in the folders below it, in the order of their paths. Names that begin with a dot
/// are left out, links to folders are not followed.
///
/// # Errors
/// [`Error::Io`] where a folder cannot be read.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for (path, kind) in entries(&folder)? {
            if kind.is_dir() {
                folders.push(path);
            } else if !(kind.is_symlink() && path.is_dir()) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The folders in `folder`, by name; links to folders count.
///
/// # Errors
/// [`Error::Io`] where it cannot be read.
pub fn folders(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = (entries(folder)?.into_iter())
        .map(|(path, _)| path)
        .filter(|path| path.is_dir())
        .collect();
    found.sort();
    Ok(found)
}

fn entries(folder: &Path) -> Result<Vec<(PathBuf, std::fs::FileType)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(Error::io(folder))? {
        let entry = entry.map_err(Error::io(folder))?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            let kind = entry.file_type().map_err(Error::io(entry.path()))?;
            found.push((entry.path(), kind));
        }
    }
    Ok(found)
}

/// How folders' names were taken for classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// As the classes are called.
    Labels,
    /// As the classes are numbered.
    Numbers,
    /// As WordNet numbers ImageNet's classes: `n01440764`.
    Synsets,
    /// There are as many folders as classes: in the order of their names.
    Order,
}

impl Naming {
    fn noun(self) -> &'static str {
        match self {
            Naming::Labels => "label",
            Naming::Numbers => "number",
            Naming::Synsets => "synset",
            Naming::Order => "place",
        }
    }
}

/// The class that each of `names` stands for, among `classes`: all by label, else all by number, else all by
/// synset (of ImageNet-1k), else, where there are as many names as classes and not one is any of these, by their order.
///
/// # Errors
/// [`Error::Usage`] where none of these fits, or two names are one class.
pub fn classes(names: &[String], labels: &Labels, classes: usize) -> Result<(Naming, Vec<usize>)> {
    let known = |naming: Naming, name: &String| match naming {
        Naming::Labels => labels.index(name),
        Naming::Numbers => name.parse().ok().filter(|&i: &usize| i < classes),
        Naming::Synsets => labels::synset(name).filter(|_| classes == labels::imagenet().len()),
        Naming::Order => None,
    };
    let kinds = [Naming::Labels, Naming::Numbers, Naming::Synsets];
    let all = |naming| -> Option<Vec<usize>> { names.iter().map(|n| known(naming, n)).collect() };
    let kind = |name: &String| kinds.into_iter().find(|k| known(*k, name).is_some());
    let found = kinds.into_iter().find_map(|k| Some((k, all(k)?)));
    let (naming, found) = match found {
        Some(found) => found,
        None if names.iter().any(|n| kind(n).is_some()) => return Err(mixed(names, kind)),
        None if names.len() == classes => (Naming::Order, (0..classes).collect()),
        None => {
            return Err(Error::Usage(format!(
                "the folder `{}` names no class of this model, by label, by number (0 to {}) or by ImageNet synset, \
                 and {} cannot be its {classes} classes in order: rename the folders or take another --model",
                names.first().map_or("", String::as_str),
                classes.saturating_sub(1),
                match names.len() {
                    1 => "1 folder".into(),
                    n => format!("{n} folders"),
                }
            )));
        }
    };
    let mut seen: Vec<Option<&str>> = vec![None; classes];
    for (name, &class) in names.iter().zip(&found) {
        match seen.get_mut(class) {
            Some(place) => {
                if let Some(other) = place.replace(name) {
                    return Err(Error::Usage(format!(
                        "the folders `{other}` and `{name}` are both class {class}: join them"
                    )));
                }
            }
            None => {
                return Err(Error::Usage(format!(
                    "the folder `{name}` is class {class}, and the model has {classes}: take another --model"
                )));
            }
        }
    }
    Ok((naming, found))
}

/// That some of `names` are classes, and others are none or are called by another `kind` of name.
fn mixed(names: &[String], kind: impl Fn(&String) -> Option<Naming>) -> Error {
    let one = |wanted: Option<Naming>| names.iter().find(|n| kind(n) == wanted);
    let odd: Vec<&String> = names.iter().filter(|n| kind(n).is_none()).collect();
    let examples = |of: &mut dyn Iterator<Item = String>| of.collect::<Vec<_>>().join(", ");
    let known = examples(
        &mut [Naming::Labels, Naming::Numbers, Naming::Synsets]
            .into_iter()
            .filter_map(|k| Some(format!("`{}` is a {}", one(Some(k))?, k.noun()))),
    );
    if odd.is_empty() {
        return Error::Usage(format!(
            "the folders' names are of mixed kinds ({known}): name all of them by label, by number or by synset"
        ));
    }
    let shown = examples(&mut odd.iter().take(4).map(|n| format!("`{n}`")));
    let more = match odd.len().saturating_sub(4) {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    let (folders, them) = match odd.len() {
        1 => ("the folder", "names no class of this model"),
        _ => ("the folders", "name no class of this model"),
    };
    Error::Usage(format!(
        "{folders} {shown}{more} {them}, though others do ({known}): rename or remove what is no class"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(names: &[&str], labels: &Labels, count: usize) -> Result<(Naming, Vec<usize>)> {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        classes(&names, labels, count)
    }

    #[test]
    fn folders_are_matched_by_label_number_synset_and_order() {
        let imagenet = Labels::imagenet();
        let found = |names| take(names, &imagenet, 1000).unwrap();
        assert_eq!(found(&["goldfish", "tench"]), (Naming::Labels, vec![1, 0]));
        assert_eq!(found(&["007", "12"]), (Naming::Numbers, vec![7, 12]));
        assert_eq!(
            found(&["n01443537", "n15075141"]),
            (Naming::Synsets, vec![1, 999])
        );
        let plain = Labels::default();
        let order = take(&["ant", "bee"], &plain, 2).unwrap();
        assert_eq!(order, (Naming::Order, vec![0, 1]));
        let digits = Labels::from_metadata(r#"["1", "0"]"#).unwrap();
        let named = take(&["0", "1"], &digits, 2).unwrap();
        assert_eq!(named, (Naming::Labels, vec![1, 0]), "labels before numbers");
    }

    #[test]
    fn folders_that_fit_nothing_are_named() {
        let plain = Labels::default();
        let message = |names, count| take(names, &plain, count).unwrap_err().to_string();
        assert!(message(&["ant"], 3).contains("`ant`"));
        assert!(message(&["ant"], 3).contains("and 1 folder cannot"));
        assert!(message(&["1", "3"], 3).contains("`3`"));
        assert!(message(&["1", "01"], 3).contains("`1` and `01`"));
        assert!(message(&["n01443537"], 10).contains("`n01443537`"));
        let more = Labels::from_metadata(r#"["a", "b", "c"]"#).unwrap();
        let past = take(&["c"], &more, 2).unwrap_err().to_string();
        assert!(past.contains("class 2"), "{past}");
    }

    #[test]
    fn one_misnamed_folder_does_not_make_the_others_count_by_order() {
        let digits = Labels::from_metadata(r#"["0", "1", "2"]"#).unwrap();
        for names in [["0", "2", "cat"], ["0", "1", "3"]] {
            let says = take(&names, &digits, 3).unwrap_err().to_string();
            assert!(says.contains(&format!("folder `{}`", names[2])), "{says}");
            assert!(says.contains("`0` is a label"), "{says}");
        }
        let imagenet = Labels::imagenet();
        let many = ["tench", "a", "b", "c", "d", "e"];
        let says = take(&many, &imagenet, 1000).unwrap_err().to_string();
        assert!(says.contains("`a`, `b`, `c`, `d` and 1 more"), "{says}");
        let both = take(&["281", "n01440764", "tench"], &imagenet, 1000);
        let says = both.unwrap_err().to_string();
        assert!(says.contains("mixed kinds"), "{says}");
        assert!(says.contains("`n01440764` is a synset"), "{says}");
        assert!(says.contains("`281` is a number"), "{says}");
    }
}
