//! Files written whole or not at all.

use crate::error::{Error, Result};
use crate::tensor::{DType, Tensor};
use safetensors::{Dtype as FileDType, tensor::TensorView};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Writes `tensors`, and `metadata` if any, as a safetensors file at `path`, whole or not at all.
///
/// The file is put together in memory first. The order of the `metadata` keys in it is not fixed.
///
/// # Errors
/// [`Error::Usage`] where a name stands twice or is `__metadata__`, which the format keeps for itself; else as
/// [`write_atomically`].
pub fn save(
    path: &Path,
    tensors: &[(String, Tensor)],
    metadata: Option<&BTreeMap<String, String>>,
) -> Result<()> {
    let bytes = serialize(path, tensors, metadata)?;
    write_atomically(path, |file| file.write_all(&bytes))
}

/// The bytes of a safetensors file of `tensors`; `file` is what messages call it.
///
/// # Errors
/// As [`save`], but for the operating system's.
pub fn serialize(
    file: &Path,
    tensors: &[(String, Tensor)],
    metadata: Option<&BTreeMap<String, String>>,
) -> Result<Vec<u8>> {
    let mut seen = BTreeSet::new();
    for (name, _) in tensors {
        if name == "__metadata__" || !seen.insert(name) {
            return Err(Error::Usage(format!(
                "{}: cannot write tensor `{name}`: the name is taken",
                file.display()
            )));
        }
    }
    let refused = |e: safetensors::SafeTensorError| Error::file(file, e);
    let views = (tensors.iter())
        .map(|(name, t)| {
            let view = TensorView::new(file_dtype(t.dtype()), t.shape().to_vec(), t.bytes());
            Ok((name.as_str(), view.map_err(refused)?))
        })
        .collect::<Result<Vec<_>>>()?;
    let metadata = metadata.map(|m| m.clone().into_iter().collect());
    safetensors::serialize(views, metadata).map_err(refused)
}

/// How the names of files end that are not finished.
pub(super) const UNFINISHED: &str = ".tmp";

/// A file that is written, in a place of its own beside the one that it is for. It is removed where it is not [`Staged::put`]
/// there.
#[derive(Debug)]
pub struct Staged {
    path: PathBuf,
    target: PathBuf,
    file: NamedTempFile,
}

impl Staged {
    /// Has `write` fill a new file beside `path`. A link at `path` is followed.
    ///
    /// # Errors
    /// [`Error::Io`] where the operating system or `write` refuses; [`Error::File`] where `path` names a folder or a
    /// device. What stood at `path` is as it was.
    pub fn new(
        path: &Path,
        write: impl FnOnce(&mut BufWriter<&File>) -> std::io::Result<()>,
    ) -> Result<Self> {
        let (file, target) = begin(path)?;
        let mut writer = BufWriter::new(file.as_file());
        write(&mut writer).map_err(Error::io(path))?;
        writer.flush().map_err(Error::io(path))?;
        drop(writer);
        file.as_file().sync_all().map_err(Error::io(path))?;
        let path = path.to_path_buf();
        Ok(Self { path, target, file })
    }

    /// Puts it in its place.
    ///
    /// # Errors
    /// [`Error::Io`] where the operating system refuses; what stood there is as it was.
    pub fn put(self) -> Result<()> {
        let Self { path, target, file } = self;
        file.persist(&target)
            .map(drop)
            .map_err(|e| Error::io(path)(e.error))
    }
}

/// Has `write` fill a new file beside `path`, then puts it in the place of `path`.
///
/// Where anything fails, the new file is removed, and what stood at `path` is as it was. A link at `path` is followed.
///
/// # Errors
/// As [`Staged::new`].
pub fn write_atomically(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&File>) -> std::io::Result<()>,
) -> Result<()> {
    Staged::new(path, write)?.put()
}

/// Whether [`write_atomically`] could begin to write to `path`, for commands that work long before they write.
///
/// # Errors
/// As [`write_atomically`].
pub fn writable(path: &Path) -> Result<()> {
    begin(path).map(|_| ())
}

/// A new file, and whose place it is to take.
fn begin(path: &Path) -> Result<(NamedTempFile, PathBuf)> {
    let target = match std::fs::metadata(path) {
        // Renaming would put a file where the folder, pipe or device is.
        Ok(kind) if !kind.is_file() => {
            return Err(Error::file(
                path,
                "exists and is not a regular file; name another output",
            ));
        }
        Ok(_) => std::fs::canonicalize(path).map_err(Error::io(path))?,
        Err(_) => path.to_path_buf(),
    };
    if target.file_name().is_none() {
        return Err(Error::file(path, "is not the name of a file"));
    }
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
        _ => PathBuf::from("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".").suffix(UNFINISHED);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // As any new file's, the umask still taken off; the default would keep it from other users.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    // The operating system's own words, where the name of the unfinished file would stand between them.
    std::fs::metadata(&folder).map_err(Error::io(path))?;
    let file = builder.tempfile_in(&folder).map_err(|e| Error::Io {
        path: path.to_path_buf(),
        source: e.kind().into(),
    })?;
    Ok((file, target))
}

const fn file_dtype(dtype: DType) -> FileDType {
    match dtype {
        DType::F32 => FileDType::F32,
        DType::F16 => FileDType::F16,
        DType::BF16 => FileDType::BF16,
        DType::I64 => FileDType::I64,
        DType::U32 => FileDType::U32,
    }
}
