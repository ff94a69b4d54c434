//! A folder that one process writes to.

use crate::error::{Error, Result};
use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

/// The file that is locked; it stays, as removing it would let two processes lock two files of its name.
const NAME: &str = ".lock";

/// A folder locked for one process, as long as this lives: the operating system ends the lock with the process, however
/// that ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Locks `folder`, which is made where it is not there, and removes what a process that was killed while it wrote has
    /// left beside its files.
    ///
    /// # Errors
    /// [`Error::File`] where another process, or another lock of this one, has it; [`Error::Io`] where the operating
    /// system refuses.
    pub fn of(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let path = folder.join(NAME);
        let file = (OpenOptions::new().create(true).truncate(false).write(true))
            .open(&path)
            .map_err(Error::io(&path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::file(
                    folder,
                    "is being written to by another process; wait for it to end, or name another folder",
                ));
            }
            Err(TryLockError::Error(e)) => return Err(Error::io(&path)(e)),
        }
        let entries = std::fs::read_dir(folder).map_err(Error::io(folder))?;
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with('.') && name.ends_with(super::save::UNFINISHED) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::{Lock, NAME};

    #[test]
    fn a_folder_is_locked_once_and_cleared_of_what_was_not_finished() -> crate::Result<()> {
        let base = tempfile::tempdir().map_err(crate::Error::io("tmp"))?;
        let folder = base.path().join("a/b");
        let lock = Lock::of(&folder)?;
        let refused = Lock::of(&folder).map(|_| ()).map_err(|e| e.to_string());
        assert!(refused.is_err_and(|e| e.contains("another process") && !e.contains('\n')));
        for name in [".x1.tmp", "kept.tmp", "model.safetensors"] {
            std::fs::write(folder.join(name), b"1").map_err(crate::Error::io("tmp"))?;
        }
        drop(lock);
        let _lock = Lock::of(&folder)?;
        let mut left: Vec<_> = (std::fs::read_dir(&folder).map_err(crate::Error::io("tmp"))?)
            .flatten()
            .map(|e| e.file_name().to_string_lossy().into_owned())
            .collect();
        left.sort();
        assert_eq!(left, [NAME, "kept.tmp", "model.safetensors"]);
        Ok(())
    }
}
