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

/// The class that each of `names` stands for, among `classes`: all by label, else all by number, else all by
/// synset (of ImageNet-1k), else, where there are as many names as classes, by their order.
///
/// # Errors
/// [`Error::Usage`] where none of these fits, or two names are one class.
pub fn classes(names: &[String], labels: &Labels, classes: usize) -> Result<(Naming, Vec<usize>)> {
    let number = |name: &String| name.parse().ok().filter(|&i: &usize| i < classes);
    let synset =
        |name: &String| labels::synset(name).filter(|_| classes == labels::imagenet().len());
    let by_label: Option<Vec<usize>> = names.iter().map(|n| labels.index(n)).collect();
    let by_number = || names.iter().map(number).collect::<Option<Vec<_>>>();
    let by_synset = || names.iter().map(synset).collect::<Option<Vec<_>>>();
    let by_order = || (names.len() == classes).then(|| (0..classes).collect::<Vec<_>>());
    let found = (by_label.map(|c| (Naming::Labels, c)))
        .or_else(|| by_number().map(|c| (Naming::Numbers, c)))
        .or_else(|| by_synset().map(|c| (Naming::Synsets, c)))
        .or_else(|| by_order().map(|c| (Naming::Order, c)));
    let Some((naming, found)) = found else {
        let known =
            |n: &&String| labels.index(n).is_none() && number(n).is_none() && synset(n).is_none();
        let odd = names.iter().find(known).or(names.first());
        return Err(Error::Usage(format!(
            "the folder `{}` names no class of this model, by label, by number (0 to {}) or by ImageNet synset, and \
             {} folders are not its {classes} classes: rename the folders or take another --model",
            odd.map_or("", String::as_str),
            classes.saturating_sub(1),
            names.len()
        )));
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
        assert!(message(&["1", "3"], 3).contains("`3`"));
        assert!(message(&["1", "01"], 3).contains("`1` and `01`"));
        assert!(message(&["n01443537"], 10).contains("`n01443537`"));
        let more = Labels::from_metadata(r#"["a", "b", "c"]"#).unwrap();
        let past = take(&["c"], &more, 2).unwrap_err().to_string();
        assert!(past.contains("class 2"), "{past}");
    }
}
