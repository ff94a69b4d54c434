//! Drafts that learn while they serve, as a user runs them: several of one target, a folder that another process has, a
//! disk that is full, and a kill while a draft is saved.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may stop at a surprise

mod common;

use cascadia::device::{Device, Options, adapters};
use cascadia::engine::distill::{Settings, Trainer};
use cascadia::engine::language::Language;
use cascadia::io::{Checkpoint, LanguageFiles, Lock};
use cascadia::plan;
use cascadia::tensor::DType;
use common::language::{but, llama, tensors};
use common::{Bench, Ran, with, words};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

const WEIGHTS: &str = "model.safetensors";

/// A target and its draft, and the beginning of a command line with them.
fn pair(bench: &Bench) -> (Vec<std::ffi::OsString>, PathBuf) {
    let config = but(llama(), "max_position_embeddings", 256.into());
    let target = bench.whole("target", &config);
    let draft = bench.whole("draft", &but(config, "intermediate_size", 32.into()));
    let line = "generate --dtype f32 --prompt x --max-new 12 --draft-len 3 --target";
    (with(line, &[&target]), draft)
}

fn plus(line: &[std::ffi::OsString], more: &str, paths: &[&Path]) -> Vec<std::ffi::OsString> {
    [line, &with(more, paths)].concat()
}

fn json(ran: &Ran) -> serde_json::Value {
    serde_json::from_str(&ran.out).unwrap()
}

#[test]
fn several_drafts_are_routed_and_saved_apart() {
    let bench = Bench::new();
    let (target, draft) = pair(&bench);
    let line = plus(&target, "--draft", &[&draft]);
    let folder = bench.path("drafts");
    let plain = json(&bench.works(&plus(&line, "--json", &[])));
    assert_eq!(plain["draft"], serde_json::Value::Null);
    let learns = plus(&line, "--json --adapt --label sql --drafts", &[&folder]);
    let first = json(&bench.works(&learns));
    assert_eq!(first["tokens"], plain["tokens"]);
    assert_eq!(
        (&first["draft"], &first["labelled"]),
        (&"sql".into(), &true.into())
    );
    let file = Checkpoint::open(&folder.join("sql").join(WEIGHTS)).unwrap();
    assert_eq!(
        file.metadata().get("cascadia.version"),
        Some(&"1".to_string())
    );
    assert!(!folder.join("base").exists());
    // Without a label those that were never tried come first, arm zero first of all; what it was is told.
    for name in ["ngram", "base", "sql"] {
        let ran = bench.works(&plus(&line, "--drafts", &[&folder]));
        let told = format!("drafted by `{name}` by what was measured");
        assert!(ran.err.contains(&told), "{told}: {ran:?}");
    }
    let ran = bench.works(&plus(&line, "--label sql --drafts", &[&folder]));
    assert!(ran.err.contains("drafted by `sql` as labelled"), "{ran:?}");
    // Drafts by name, without a folder.
    let mut named = target.clone();
    for name in ["rust", "math"] {
        let mut pair: std::ffi::OsString = format!("{name}=").into();
        pair.push(&draft);
        named.extend(["--draft".into(), pair]);
    }
    let ran = json(&bench.works(&plus(&named, "--json --label math", &[])));
    assert_eq!(
        (&ran["draft"], &ran["tokens"]),
        (&"math".into(), &plain["tokens"])
    );

    let fails = |args: &[std::ffi::OsString], said: &[&str]| bench.fails(args, said);
    let nowhere = bench.path("nowhere");
    fails(
        &plus(&line, "--drafts", &[&nowhere]),
        &["nowhere", "no folder of drafts"],
    );
    assert!(!nowhere.exists());
    fails(
        &plus(&line, "--label no --drafts", &[&folder]),
        &["no draft `no`", "ngram, base, sql"],
    );
    fails(
        &plus(&named, "--label rest", &[]),
        &["no draft `rest`", "ngram, rust, math"],
    );
    fails(
        &plus(&line, "--adapt --label a/b --drafts", &[&folder]),
        &["`a/b` cannot be"],
    );
    fails(
        &plus(&line, "--draft", &[&draft]),
        &["there is one already", "sql="],
    );
    fails(&plus(&named, "--draft ../x=y", &[]), &["../x=y"]);
    fails(&plus(&line, "--draft b=none", &[]), &["b=none", "no name"]);
    fails(&plus(&line, "--draft-memory 3G", &[]), &["several drafts"]);
    fails(
        &plus(&line, "--draft-memory 3T --drafts", &[&folder]),
        &["`3T`"],
    );
    let small = plus(&line, "--label sql --draft-memory 10K --drafts", &[&folder]);
    fails(&small, &["draft `base` takes", "10240"]);
    let both = plus(&named, "--adapt --save-draft", &[&folder]);
    fails(&both, &["--drafts DIR"]);
    // What is no draft is left out, what does not go with the target is named.
    let broken = bench.file("drafts/broken/config.json", b"{");
    let ran = bench.works(&plus(&line, "--label sql --drafts", &[&folder]));
    assert!(ran.err.contains("left out: ") && ran.err.contains("broken"));
    let told = format!("drafts by {} as `sql`", folder.join("sql").display());
    assert!(ran.err.contains(&told), "{told}: {ran:?}");
    std::fs::remove_dir_all(broken.parent().unwrap()).unwrap();
    bench.whole("drafts/odd", &but(llama(), "vocab_size", 64.into()));
    fails(
        &plus(&line, "--label sql --drafts", &[&folder]),
        &["drafts/odd", "vocabulary"],
    );
    std::fs::remove_dir_all(folder.join("odd")).unwrap();
    std::fs::write(folder.join("routing.json"), "[]").unwrap();
    fails(
        &plus(&line, "--drafts", &[&folder]),
        &["routing.json", "remove it"],
    );
}

#[test]
fn a_folder_that_another_process_writes_to_is_refused() {
    let bench = Bench::new();
    let (target, draft) = pair(&bench);
    let line = plus(&target, "--draft", &[&draft]);
    let folder = bench.path("saved");
    let lock = Lock::of(&folder).unwrap();
    for flag in ["--adapt --save-draft", "--adapt --drafts"] {
        bench.fails(
            &plus(&line, flag, &[&folder]),
            &["saved", "another process"],
        );
    }
    // Those that stay as they are can be read meanwhile.
    let ran = bench.works(&plus(&line, "--label base --drafts", &[&folder]));
    assert!(ran.err.contains("drafted by `base` as labelled"), "{ran:?}");
    drop(lock);
    bench.works(&plus(&line, "--adapt --save-draft", &[&folder]));
    assert!(folder.join(WEIGHTS).is_file());
}

#[test]
fn how_acceptance_goes_and_what_is_dropped_is_told() {
    let bench = Bench::new();
    let (target, draft) = pair(&bench);
    let line = plus(&target, "--draft", &[&draft]);
    let at = line.iter().position(|word| word == "12").unwrap();
    let mut line = line;
    line[at] = "140".into();
    let top = "--adapt --stats --adapt-top-p 0.5 --adapt-positions all";
    let ran = bench.works(&plus(&line, top, &[]));
    let told: Vec<&str> = ran
        .err
        .lines()
        .filter(|l| l.starts_with("after "))
        .collect();
    assert_eq!(told.len(), 2, "{ran:?}");
    for (line, tokens) in told.iter().zip([64, 128]) {
        assert!(
            line.contains(" tokens: accepted ") && line.contains("Σ min(p, q) "),
            "{line}"
        );
        let found: usize = line.split(' ').nth(1).unwrap().parse().unwrap();
        assert!((tokens..tokens + 4).contains(&found), "{line}");
    }
    let dropped = ran.err.lines().find(|l| l.contains("dropped probability"));
    let dropped = dropped.unwrap_or_else(|| panic!("{ran:?}"));
    // Of noise nearly all tokens are as likely as others: half of them are kept, at 4 bytes instead of 4 for each.
    let numbers: Vec<f64> = (dropped.split([' ', ',', ';']))
        .filter_map(|word| word.parse().ok())
        .collect();
    let [rows, bytes, whole, mean, most, tv, tv_most] = numbers[..] else {
        panic!("{dropped}");
    };
    assert!(rows >= 100.0 && whole == rows * 4.0 * 2048.0, "{dropped}");
    assert!(bytes < 0.6 * whole && mean > 0.4, "{dropped}");
    assert!(
        mean <= most && most <= 0.5 && tv <= mean + 0.002 && tv <= tv_most,
        "{dropped}"
    );
    // The draft's own texts.
    let own = "--adapt --stats --adapt-source student";
    let ran = bench.works(&plus(&line, own, &[]));
    assert!(ran.err.contains("now version 1, from "), "{ran:?}");
    // Additions alone, at a rate of its own.
    let low = "--adapt --stats --adapt-interval 1 --adapt-rank 2 --adapt-lr 1e-3";
    let ran = bench.works(&plus(&line, low, &[]));
    assert!(ran.err.contains("now version 1, from "), "{ran:?}");
    // Not before so many answers.
    let later = "--adapt --stats --adapt-interval 2";
    let ran = bench.works(&plus(&line, later, &[]));
    assert!(!ran.err.contains("now version 1"), "{ran:?}");
    for (wrong, said) in [
        ("--adapt --adapt-rank 0", "rank 0"),
        ("--adapt --adapt-rank 100000", "rank"),
        ("--adapt --adapt-lr -1", "-1"),
        ("--adapt --adapt-lr nan", "NaN"),
        ("--adapt --adapt-interval 0", "0"),
        ("--adapt --adapt-top-p 1.5", "1.5"),
        ("--adapt --adapt-source both", "student"),
        ("--adapt-top-p 0.9", "--adapt"),
    ] {
        bench.fails(&plus(&line, wrong, &[]), &[said]);
    }
}

#[test]
#[cfg(unix)]
fn a_full_disk_leaves_the_draft_that_is_there() {
    let bench = Bench::new();
    let (target, draft) = pair(&bench);
    let line = plus(&target, "--json --draft", &[&draft]);
    let folder = bench.path("saved");
    let line = plus(&line, "--adapt --save-draft", &[&folder]);
    let first = json(&bench.works(&line));
    let before = std::fs::read(folder.join(WEIGHTS)).unwrap();
    let ran = bench.run_short_of_room(&line, before.len() / 1024 * 9 / 10);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let (again, err) = (json(&ran), &ran.err);
    assert_eq!(again["tokens"], first["tokens"]);
    let said: Vec<&str> = err
        .lines()
        .filter(|l| l.contains("was not saved"))
        .collect();
    assert_eq!(said.len(), 1, "{err}");
    assert!(
        said[0].contains("saved") && said[0].contains(WEIGHTS),
        "{err}"
    );
    assert!(std::fs::read(folder.join(WEIGHTS)).unwrap() == before);
    let left = std::fs::read_dir(&folder).unwrap().flatten();
    assert!(
        !left
            .map(|e| e.file_name())
            .any(|n| n.to_string_lossy().ends_with(".tmp"))
    );
    // A folder that is not there yet gets no part of a draft.
    let other = bench.path("other");
    let mut anew = line.clone();
    anew.pop();
    anew.push(other.clone().into());
    let ran = bench.run_short_of_room(&anew, before.len() / 1024 * 9 / 10);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let left = std::fs::read_dir(&other).unwrap().flatten();
    assert_eq!(left.map(|e| e.file_name()).collect::<Vec<_>>(), [".lock"]);
    // With room again, it goes on from there.
    bench.works(&line);
    let file = Checkpoint::open(&folder.join(WEIGHTS)).unwrap();
    assert_eq!(
        file.metadata().get("cascadia.version"),
        Some(&"2".to_string())
    );
}

/// Where the process that is killed saves to, and the draft that it saves.
const KILLED: &str = "CASCADIA_TEST_KILLED";

/// Saves versions 1, 2, … of a draft without an end, where a test asked for it: it is killed.
#[test]
fn saves_until_it_is_killed() {
    let Some(folder) = std::env::var_os(KILLED).map(PathBuf::from) else {
        return;
    };
    let device = Device::open(&Options {
        adapter: adapters().first().map(|a| a.name.clone()),
        ..Options::default()
    })
    .unwrap();
    let files = Arc::new(LanguageFiles::open(&folder.with_file_name("draft")).unwrap());
    let draft = Language::open(&device, files, &plan::Options::new(DType::F32)).unwrap();
    let trainer = Trainer::new(&Arc::new(draft), Settings::default()).unwrap();
    let _lock = Lock::of(&folder).unwrap();
    for version in 1u64.. {
        let lineage = [("cascadia.version".to_string(), version.to_string())];
        trainer.save(&folder, &BTreeMap::from(lineage)).unwrap();
        println!("\nsaved {version}");
        std::io::stdout().flush().unwrap();
    }
}

#[test]
fn a_kill_while_a_draft_is_saved_leaves_one_that_is_whole() {
    let bench = Bench::new();
    let weights = tensors(&llama());
    bench.whole("draft", &llama());
    let folder = bench.path("saved");
    let mut leftovers = 0;
    for round in 0..8u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(words(
                "--exact saves_until_it_is_killed --nocapture --test-threads 1",
            ))
            .env(KILLED, &folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut saved = || {
            let version = |l: std::io::Result<String>| l.ok()?.strip_prefix("saved ")?.parse().ok();
            lines.by_ref().find_map(version)
        };
        let first: u64 = saved().unwrap_or_else(|| panic!("the child saves nothing"));
        assert_eq!(first, 1);
        // It has the folder as long as it lives.
        let refused = Lock::of(&folder).map(drop).unwrap_err().to_string();
        assert!(refused.contains("another process"), "{refused}");
        std::thread::sleep(Duration::from_micros(round * 3571 % 20_000));
        child.kill().unwrap();
        child.wait().unwrap();
        let mut last = first;
        while let Some(version) = saved() {
            last = version;
        }
        leftovers += std::fs::read_dir(&folder)
            .unwrap()
            .flatten()
            .filter(|e| e.file_name().to_string_lossy().ends_with(".tmp"))
            .count();
        let _lock = Lock::of(&folder).unwrap();
        let entries = std::fs::read_dir(&folder).unwrap().flatten();
        assert!(
            !entries
                .map(|e| e.file_name())
                .any(|n| n.to_string_lossy().ends_with(".tmp"))
        );
        // Whole, and no older than what was said to be saved.
        let file = Checkpoint::open(&folder.join(WEIGHTS)).unwrap();
        let version: u64 = file.metadata()["cascadia.version"].parse().unwrap();
        assert!(
            version == last || version == last + 1,
            "{version} after {last}"
        );
        for (name, tensor) in &weights {
            assert_eq!(&file.tensor(name).unwrap(), tensor, "{name}");
        }
        assert!(
            LanguageFiles::open(&folder)
                .unwrap()
                .tokenizer()
                .unwrap()
                .is_some()
        );
    }
    println!("{leftovers} unfinished files were left by 8 kills, and removed");
}
