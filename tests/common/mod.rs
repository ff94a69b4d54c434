//! Running the built command in a folder of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may stop at a surprise
#![allow(dead_code)]

pub mod language;

use cascadia::engine::embedded;
use cascadia::io::{preprocess::Picture, save};
use cascadia::tensor::Tensor;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a command left.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// A folder that is removed when the test ends.
pub struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// A picture of a gradient.
    pub fn picture(&self, name: &str, width: usize, height: usize) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let pixels = (0..3 * width * height).map(|i| (i / 3 % width * 7) as u8);
        let picture = Picture::new(width, height, pixels.collect()).unwrap();
        picture.save_png(&path).unwrap();
        path
    }

    /// A safetensors file.
    pub fn tensors(&self, name: &str, tensors: &[(String, Tensor)]) -> PathBuf {
        let path = self.path(name);
        save(&path, tensors, None).unwrap();
        path
    }

    /// An input for `run`.
    pub fn input(&self, name: &str, shape: &[usize]) -> PathBuf {
        let values: Vec<f32> = (0..shape.iter().product())
            .map(|i: usize| (i % 23) as f32 / 11.0 - 1.0)
            .collect();
        let x = Tensor::from_f32(shape, &values).unwrap();
        self.tensors(name, &[("x".into(), x)])
    }

    pub fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cascadia"));
        // Nothing outside is asked, nothing of the user's is touched, and Mesa has its folder.
        command
            .args(args)
            .env("HF_HUB_OFFLINE", "1")
            .env("HF_HOME", self.path(".hub"))
            .env("XDG_RUNTIME_DIR", self.folder.path())
            .env_remove("RUST_LOG")
            .stdin(Stdio::null());
        command
    }

    pub fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Ran {
        let output = self.command(args).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let ran = Ran {
            code: output.status.code(),
            out: text(&output.stdout),
            err: text(&output.stderr),
        };
        assert!(!ran.err.contains("panicked"), "{ran:?}");
        assert!(matches!(ran.code, Some(0..=2)), "{ran:?}");
        ran
    }

    /// Runs a command that can write files of so many KiB at most: beyond it writing ends, as on a full disk.
    #[cfg(unix)]
    pub fn run_short_of_room<S: AsRef<OsStr>>(&self, args: &[S], kib: usize) -> Ran {
        let program = self.command(args);
        let mut shell = Command::new("bash");
        shell
            .arg("-c")
            .arg(format!("trap '' XFSZ; ulimit -f {kib}; exec \"$0\" \"$@\""))
            .arg(program.get_program())
            .args(program.get_args());
        let set = program.get_envs().filter_map(|(k, v)| Some((k, v?)));
        let output = shell.envs(set).stdin(Stdio::null()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ran {
            code: output.status.code(),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }

    /// Runs a command that must end well.
    pub fn works<S: AsRef<OsStr>>(&self, args: &[S]) -> Ran {
        let ran = self.run(args);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran
    }

    /// Runs a command that must say what is wrong in one line, with all of `words`, and print nothing else.
    pub fn fails<S: AsRef<OsStr>>(&self, args: &[S], words: &[&str]) {
        let ran = self.run(args);
        assert!(matches!(ran.code, Some(1 | 2)), "{ran:?}");
        Self::says(&ran, words);
    }

    /// As [`Bench::fails`], with this exit code.
    pub fn refuses<S: AsRef<OsStr>>(&self, code: i32, args: &[S], words: &[&str]) {
        let ran = self.run(args);
        assert_eq!(ran.code, Some(code), "{ran:?}");
        Self::says(&ran, words);
    }

    fn says(ran: &Ran, words: &[&str]) {
        assert_eq!(ran.out, "", "{ran:?}");
        let lines: Vec<&str> = ran.err.lines().collect();
        assert!(
            matches!(lines[..], [l] if l.starts_with("error: ")),
            "{ran:#?}"
        );
        for word in words {
            assert!(ran.err.contains(word), "no `{word}` in {}", ran.err);
        }
    }
}

/// A picture that the repository carries.
pub fn fixture(name: &str) -> PathBuf {
    (Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels-tests/fixtures/images")).join(name)
}

/// The built-in model's tensors.
pub fn weights() -> Vec<(String, Tensor)> {
    let checkpoint = embedded().unwrap();
    let names: Vec<String> = checkpoint.names().map(String::from).collect();
    (names.into_iter())
        .map(|name| {
            let tensor = checkpoint.tensor(&name).unwrap();
            (name, tensor)
        })
        .collect()
}

/// The arguments of a command line without spaces in them.
pub fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(String::from).collect()
}

/// `line`, and then paths.
pub fn with(line: &str, paths: &[&Path]) -> Vec<std::ffi::OsString> {
    let line = line.split_whitespace().map(Into::into);
    line.chain(paths.iter().map(|p| p.as_os_str().to_owned()))
        .collect()
}
