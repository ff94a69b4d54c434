//! Files that are written whole or not at all.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may stop at a surprise

use cascadia::error::Error;
use cascadia::io::{Checkpoint, Staged, save, write_atomically};
use cascadia::tensor::{DType, Tensor};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

#[test]
fn what_is_not_put_in_its_place_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.txt");
    std::fs::write(&path, "old").unwrap();
    let staged = || Staged::new(&path, |file| file.write_all(b"new")).unwrap();
    let first = staged();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    drop(first);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
    staged().put().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"new");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn what_is_saved_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.safetensors");
    let x = Tensor::from_f32(&[2, 3], &[1.0, -2.0, 3.5, 0.0, f32::NAN, 6.0]).unwrap();
    let tensors = vec![
        ("half".to_string(), x.cast(DType::F16).unwrap()),
        ("x".to_string(), x.clone()),
        ("brain".to_string(), x.cast(DType::BF16).unwrap()),
        (
            "n".to_string(),
            Tensor::new(DType::I64, &[1], vec![1; 8]).unwrap(),
        ),
        (
            "u".to_string(),
            Tensor::new(DType::U32, &[0, 4], vec![]).unwrap(),
        ),
    ];
    let metadata = BTreeMap::from([("made".to_string(), "here".to_string())]);
    save(&path, &tensors, Some(&metadata)).unwrap();
    let c = Checkpoint::open(&path).unwrap();
    assert_eq!(c.metadata(), &metadata);
    assert_eq!(c.names().len(), tensors.len());
    for (name, tensor) in &tensors {
        assert_eq!(&c.tensor(name).unwrap(), tensor, "{name}");
    }
    // Over itself, without metadata.
    save(&path, &tensors[..1], None).unwrap();
    let c = Checkpoint::open(&path).unwrap();
    assert!(c.metadata().is_empty() && c.names().eq(["half"]));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);

    for names in [["x", "x"], ["__metadata__", "y"]] {
        let tensors = names.map(|n| (n.to_string(), x.clone()));
        let error = save(&path, &tensors, None).unwrap_err().to_string();
        assert!(error.contains("the name is taken"), "{error}");
    }
    assert!(Checkpoint::open(&path).is_ok());
}

#[test]
fn a_failed_write_leaves_what_was_there_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    let failing = |path: &Path| {
        write_atomically(path, |f| {
            f.write_all(&[1; 100_000])?;
            Err(std::io::Error::from(std::io::ErrorKind::StorageFull))
        })
    };
    assert!(matches!(failing(&path), Err(Error::Io { .. })));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    std::fs::write(&path, "before").unwrap();
    assert!(failing(&path).is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "before");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);

    let absent = folder.path().join("absent").join("out");
    let error = write_atomically(&absent, |_| Ok(()))
        .unwrap_err()
        .to_string();
    assert!(error.starts_with(&absent.display().to_string()), "{error}");
    for taken in [folder.path(), Path::new("")] {
        assert!(write_atomically(taken, |_| Ok(())).is_err(), "{taken:?}");
    }
}

#[cfg(unix)]
#[test]
fn a_device_stays_a_device_a_link_a_link_and_others_may_read() {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};
    let folder = tempfile::tempdir().unwrap();
    // As /dev/null, but a test that fails harms nothing.
    let socket = folder.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let error = write_atomically(&socket, |_| Ok(()))
        .unwrap_err()
        .to_string();
    assert!(error.contains("not a regular file"), "{error}");
    let kind = std::fs::metadata(&socket).unwrap().file_type();
    assert!(kind.is_socket());

    let (file, link) = (folder.path().join("file"), folder.path().join("link"));
    std::fs::write(&file, "before").unwrap();
    std::os::unix::fs::symlink("file", &link).unwrap();
    write_atomically(&link, |f| f.write_all(b"after")).unwrap();
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "after");

    // As any new file under this umask.
    let (new, usual) = (folder.path().join("new"), folder.path().join("usual"));
    write_atomically(&new, |f| f.write_all(b"x")).unwrap();
    std::fs::write(&usual, "x").unwrap();
    let mode = |p: &Path| std::fs::metadata(p).unwrap().permissions().mode();
    assert_eq!(mode(&new), mode(&usual));
}
