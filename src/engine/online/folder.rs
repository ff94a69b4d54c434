//! The folder of several drafts: one in each subfolder, under its name.

use super::drafts::{Drafts, name};
use crate::engine::distill::WEIGHTS;
use crate::engine::language::Language;
use crate::error::{Error, Result};
use crate::io::LanguageFiles;
use std::sync::Arc;

/// The file that says what a draft is like.
const CONFIG: &str = "config.json";

impl Drafts {
    /// `e`, and the folder of the draft that it is about.
    pub(super) fn within(&self, name: &str, e: &Error) -> Error {
        let folder = self.settings.folder.clone().unwrap_or_default().join(name);
        let said = e.to_string();
        match said.strip_prefix(&folder.display().to_string()) {
            Some(rest) => Error::file(&folder, rest.trim_start_matches([':', '/', ' '])),
            None => Error::file(&folder, said),
        }
    }

    /// What the folder has that is no draft, and why.
    pub fn left_out(&self) -> &[String] {
        &self.left_out
    }

    /// What the draft of `label` is called: the folder of what it has learned, else what it begins as; `None` of what is
    /// looked up in the text.
    pub fn called(&self, label: &str) -> Option<String> {
        let saved = self.settings.folder.as_ref().map(|f| f.join(label));
        let given = match self.find(label) {
            Some(at) => self.arms[at].called(),
            None => self.base.as_ref().map(|base| base.name()),
        };
        match saved.filter(|folder| folder.join(WEIGHTS).is_file()) {
            Some(folder) => Some(folder.display().to_string()),
            None => given,
        }
    }

    /// The names of the folder's drafts.
    pub(super) fn saved(&self) -> Result<Vec<String>> {
        let Some(folder) = self.settings.folder.as_ref().filter(|f| f.is_dir()) else {
            return Ok(Vec::new());
        };
        let mut names = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(Error::io(folder))? {
            let entry = entry.map_err(Error::io(folder))?;
            let text = entry.file_name().to_string_lossy().into_owned();
            let draft = [WEIGHTS, CONFIG]
                .iter()
                .any(|f| entry.path().join(f).is_file());
            if draft && name(&text).is_ok() {
                names.push(text);
            }
        }
        names.sort();
        Ok(names)
    }

    /// The draft `name` of the folder; `None` where it has none.
    pub(super) fn read(&self, name: &str) -> Result<Option<Arc<Language>>> {
        let folder = self.settings.folder.as_ref().map(|f| f.join(name));
        let Some(folder) = folder.filter(|f| f.join(WEIGHTS).is_file() || f.join(CONFIG).is_file())
        else {
            return Ok(None);
        };
        let target = self.session.target();
        let files = Arc::new(LanguageFiles::open(&folder)?);
        let draft = Language::open(target.device(), files, target.options())?;
        Ok(Some(Arc::new(draft)))
    }
}
