//! The bytes of a file, read at need, or of an array in memory.

use crate::error::{Error, Result};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Bytes that are read in pieces.
///
/// A file is read, not mapped: under a map a file that another process cuts short stops the program.
pub(super) struct Bytes {
    path: PathBuf,
    held: Held,
    len: u64,
}

enum Held {
    Memory(Vec<u8>),
    /// Seeking and reading are one step, so that several threads may read.
    File(Mutex<File>),
}

impl Bytes {
    /// Opens the file at `path`, which messages expect to be `what`, such as `a safetensors file`; `ending` is what
    /// the name of one ends in.
    ///
    /// # Errors
    /// [`Error::Io`] where it cannot be opened, [`Error::File`] where it is no regular file.
    pub fn open(path: &Path, what: &str, ending: &str) -> Result<Self> {
        let file = open(path, what, ending)?;
        let len = file.metadata().map_err(Error::io(path))?.len();
        Ok(Self {
            path: path.to_path_buf(),
            held: Held::File(Mutex::new(file)),
            len,
        })
    }

    /// `bytes`; `name` is what messages call them.
    pub fn memory(name: impl Into<PathBuf>, bytes: Vec<u8>) -> Self {
        Self {
            path: name.into(),
            len: bytes.len() as u64,
            held: Held::Memory(bytes),
        }
    }

    /// Where they are from, or the name given to [`Bytes::memory`].
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many there were when it was opened.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// A copy of `bytes` bytes from byte `from` on. An allocation that fails is an error, not an abort.
    ///
    /// # Errors
    /// [`Error::File`] where they do not fit into memory or the file has become shorter, [`Error::Io`] where it
    /// cannot be read.
    pub fn read(&self, from: u64, bytes: u64) -> Result<Vec<u8>> {
        let shorter = || {
            Error::file(
                &self.path,
                "the file became shorter while it was read; try again when nothing writes to it",
            )
        };
        if from.checked_add(bytes).is_none_or(|end| end > self.len) {
            return Err(shorter());
        }
        let mut out = Vec::new();
        let room = usize::try_from(bytes).is_ok_and(|n| out.try_reserve_exact(n).is_ok());
        if !room {
            let message = format!("its {bytes} bytes from {from} on do not fit into memory");
            return Err(Error::file(&self.path, message));
        }
        match &self.held {
            Held::Memory(all) => out.extend(&all[from as usize..(from + bytes) as usize]),
            Held::File(file) => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                file.seek(SeekFrom::Start(from))
                    .map_err(Error::io(&self.path))?;
                (&mut *file)
                    .take(bytes)
                    .read_to_end(&mut out)
                    .map_err(Error::io(&self.path))?;
            }
        }
        if out.len() as u64 != bytes {
            return Err(shorter());
        }
        Ok(out)
    }
}

/// Opens the file at `path`, as [`Bytes::open`]; a pipe, a socket or a device is refused, not waited for.
pub(super) fn open(path: &Path, what: &str, ending: &str) -> Result<File> {
    // Asked before it is opened: opening a pipe would wait for its writer.
    let kind = std::fs::metadata(path).map_err(Error::io(path))?;
    if !kind.is_file() {
        let found = if kind.is_dir() {
            format!("a folder; name the {ending} file in it")
        } else {
            "neither a file nor a folder".to_string()
        };
        return Err(Error::file(path, format!("expected {what}, found {found}")));
    }
    File::open(path).map_err(Error::io(path))
}

/// A line about a file, made an error that names the file.
pub(super) trait OrFile<T> {
    fn or_file(self, path: &Path) -> Result<T>;
}

impl<T> OrFile<T> for Result<T, String> {
    fn or_file(self, path: &Path) -> Result<T> {
        self.map_err(|message| Error::file(path, message))
    }
}
