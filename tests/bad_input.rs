//! What a user may get wrong: one clear line, an exit code that is not zero, nothing half-written, no panic.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may stop at a surprise

mod common;

use cascadia::tensor::{DType, Tensor};
use common::{Bench, fixture, weights, with, words};
use std::path::Path;

/// The start of a PNG image of 8-bit RGB that says it is of this size.
fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut ihdr = b"IHDR".to_vec();
    ihdr.extend(width.to_be_bytes());
    ihdr.extend(height.to_be_bytes());
    ihdr.extend([8, 2, 0, 0, 0]);
    let mut crc = u32::MAX;
    for byte in &ihdr {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
        }
    }
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\x0d".to_vec();
    png.extend(ihdr);
    png.extend((!crc).to_be_bytes());
    png.extend(b"\0\0\0\x10IDAT");
    png
}

/// A safetensors file with this header, and this many bytes of data.
fn hostile(header: &str, data: usize) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.resize(file.len() + data, 0);
    file
}

#[test]
fn pictures_that_are_none() {
    let bench = Bench::new();
    let whole = std::fs::read(fixture("rgb.png")).unwrap();
    for (name, bytes, says) in [
        ("empty.png", Vec::new(), "empty"),
        (
            "truncated.png",
            whole[..whole.len() / 2].to_vec(),
            "truncated",
        ),
        ("huge.png", png_header(30_000, 30_000), "30000 x 30000"),
        ("notes.png", b"notes".to_vec(), "not an image"),
        ("flat.png", png_header(0, 7), ""),
    ] {
        let path = bench.file(name, &bytes);
        bench.fails(&with("classify --size 32", &[&path]), &[name, says]);
    }
    bench.fails(
        &with("classify", &[&bench.path("nowhere.png")]),
        &["nowhere.png"],
    );
    std::fs::create_dir(bench.path("folder")).unwrap();
    bench.fails(
        &with("classify", &[&bench.path("folder")]),
        &["folder", "no files"],
    );
}

#[test]
fn a_folder_with_some_of_each() {
    let bench = Bench::new();
    let whole = std::fs::read(fixture("rgb.png")).unwrap();
    bench.picture("all/dot.png", 1, 1);
    bench.picture("all/line.png", 1, 20_000);
    bench.file("all/whole.png", &whole);
    bench.file("all/empty.png", b"");
    bench.file("all/truncated.png", &whole[..whole.len() / 2]);
    bench.file("all/huge.png", &png_header(30_000, 30_000));
    bench.file("all/notes.txt", b"notes");
    let ran = bench.run(&with("classify --size 32", &[&bench.path("all")]));
    assert_eq!(ran.code, Some(1), "{ran:?}");
    for good in ["dot.png", "line.png", "whole.png"] {
        assert!(
            ran.out.contains(good) && !ran.err.contains(good),
            "{good}: {ran:?}"
        );
    }
    let errors: Vec<&str> = ran
        .err
        .lines()
        .filter(|l| l.starts_with("error: "))
        .collect();
    assert_eq!((ran.out.lines().count(), errors.len()), (3, 4), "{ran:?}");
    for bad in ["empty.png", "truncated.png", "huge.png", "notes.txt"] {
        assert!(errors.iter().any(|l| l.contains(bad)), "{bad}: {ran:?}");
    }
}

/// Pipes and sockets would be waited for.
#[test]
#[cfg(unix)]
fn what_is_no_file_is_named_and_the_others_are_read() {
    let bench = Bench::new();
    bench.picture("set/3/whole.png", 4, 4);
    let pipe = bench.path("set/3/pipe.png");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let _listener = std::os::unix::net::UnixListener::bind(bench.path("set/3/socket.png")).unwrap();
    for command in ["classify --size 32", "evaluate --size 32"] {
        let ran = bench.run(&with(command, &[&bench.path("set")]));
        assert_eq!(ran.code, Some(1), "{ran:?}");
        for bad in ["pipe.png", "socket.png"] {
            let says = format!("{bad}: expected an image file, found neither a file nor a folder");
            assert!(ran.err.contains(&says), "{ran:?}");
        }
        assert!(!ran.out.is_empty(), "{ran:?}");
    }
}

#[test]
fn sizes_and_counts_that_cannot_be() {
    let bench = Bench::new();
    let picture = fixture("rgb.png");
    for (line, says) in [
        ("classify --batch 0", "--batch 0"),
        ("classify --batch -1", "-1"),
        ("classify --size 0", "0×0"),
        ("classify --size 15", "15×15"),
        ("classify --size 64x8", "64×8"),
        ("classify --size 99999", "99999×99999"),
        ("classify --size big", "big"),
        ("classify --top-k 0", "--top-k 0"),
        ("classify --dtype f64", "f64"),
        ("classify --frobnicate", "--frobnicate"),
        ("classify --limit-invocations 1", "--limit-invocations 1"),
        (
            "classify --size 512 --limit-binding 65536",
            "beyond the 65536",
        ),
    ] {
        bench.fails(&with(line, &[&picture]), &[says]);
    }
    for (line, says) in [
        ("plan m0 --batch 0 --portable", "--batch 0"),
        (
            "plan m0 --batch 18446744073709551615 --portable",
            "too many",
        ),
        ("plan m0 --size 8192 --portable", "use a smaller input size"),
        ("plan m0 --size 15 --portable", "15×15"),
        ("plan m6 --portable", "no model `m6`"),
        ("profile m0 --batch 0", "--batch 0"),
        ("profile m0 --batch 1000000", "smaller batch"),
        ("profile m0 --runs 0", "--runs 0"),
        ("run --model m0", "--input"),
        ("plan m5 --limit-binding 1000000", "the weight `"),
        ("plan", "no MODEL to plan"),
        ("plan --batch 4", "or --tokens N"),
        ("devices --limit-binding 100", "--limit-binding 100"),
        ("launch", "launch"),
    ] {
        bench.fails(&words(line), &[says]);
    }
}

#[test]
fn models_and_adapters_that_are_not_there() {
    let bench = Bench::new();
    let picture = fixture("rgb.png");
    for (line, says) in [
        ("classify --adapter no-such-adapter", "`no-such-adapter`"),
        (
            "classify --model nowhere.safetensors",
            "no model `nowhere.safetensors`",
        ),
        ("classify --model m5", "HF_HUB_OFFLINE"),
        ("classify --model owner/name", "owner/name"),
        ("classify --model kernels-tests", "model.safetensors"),
    ] {
        bench.fails(&with(line, &[&picture]), &[says]);
    }
    bench.fails(
        &words("devices --adapter no-such-adapter"),
        &["no-such-adapter", "there are:"],
    );
    for adapter in cascadia::device::adapters().iter().filter(|a| !a.caps.f16) {
        let mut args = with(
            "classify --dtype f16 --adapter",
            &[Path::new(&adapter.name)],
        );
        args.push(picture.clone().into());
        bench.fails(&args, &["no f16", "--dtype f32"]);
    }
    #[cfg(target_os = "linux")]
    {
        let mut none = bench.command(&["devices"]);
        none.env("VK_DRIVER_FILES", "/nowhere.json")
            .env("VK_ICD_FILENAMES", "/nowhere.json");
        let output = none.output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(
            text.starts_with("error: no GPU adapter was found"),
            "{text}"
        );
    }
}

#[test]
fn weights_that_do_not_fit() {
    let bench = Bench::new();
    let x = bench.input("x.safetensors", &[1, 3, 16, 16]);
    let out = bench.path("out/logits.safetensors");
    std::fs::create_dir(bench.path("out")).unwrap();
    let run = |weights: &Path, extra: &str, says: &[&str]| {
        let mut args = with(&format!("run {extra} --weights"), &[weights]);
        args.extend(with("--input", &[&x]));
        args.extend(with("--output", &[&out]));
        bench.fails(&args, says);
        let left = std::fs::read_dir(bench.path("out")).unwrap().count();
        assert_eq!(left, 0, "{says:?}: something was written");
    };
    let all = weights();
    let named = |name: &str| all.iter().position(|t| t.0 == name).unwrap();
    let at = named("stages.1.blocks.0.mixer.m.attn.proj.1.conv.weight");
    let (name, tensor) = &all[at];
    type Change<'a> = &'a dyn Fn(&mut Vec<(String, Tensor)>);
    let variant = |file: &str, change: Change<'_>| {
        let mut tensors = all.clone();
        change(&mut tensors);
        bench.tensors(file, &tensors)
    };
    let missing = variant("missing", &|t| drop(t.remove(at)));
    run(&missing, "", &["missing: ", name]);
    let extra = variant("extra", &|t| t.push(("head.more".into(), tensor.clone())));
    run(&extra, "", &["unknown: `head.more`"]);
    let misshapen = variant("misshapen", &|t| {
        t[at].1 = Tensor::from_f32(&[2, 3], &[0.0; 6]).unwrap();
    });
    run(&misshapen, "", &["misshapen: ", name, "[2, 3]"]);
    let integers = variant("integers", &|t| {
        let bytes = vec![0; 8 * tensor.len()];
        t[at].1 = Tensor::new(DType::I64, tensor.shape(), bytes).unwrap();
    });
    run(&integers, "", &["of a wrong type", name, "I64"]);
    for bad in [f32::NAN, f32::INFINITY] {
        let broken = variant("broken", &|t| {
            let mut values = tensor.to_f32();
            values[7] = bad;
            t[at].1 = Tensor::from_f32(tensor.shape(), &values).unwrap();
        });
        run(&broken, "", &[name, &format!("{bad}"), "element 7"]);
    }
    let none = variant("none", &|t| {
        let head = named("head.linear.weight");
        t[head].1 = Tensor::from_f32(&[0, 192], &[]).unwrap();
    });
    run(&none, "", &["head.linear.weight"]);
    let whole = bench.tensors("whole", &all);
    run(&whole, "--model m5", &["contradicts the weights", "M0"]);
    run(&whole, "--model other/name", &["m0 to m5"]);
    let bytes = std::fs::read(&whole).unwrap();
    let truncated = bench.file("truncated", &bytes[..bytes.len() - 100]);
    run(&truncated, "", &["truncated"]);
}

#[test]
fn files_that_are_no_safetensors() {
    let bench = Bench::new();
    let picture = fixture("rgb.png");
    let one = |name: &str, from: usize, to: usize| {
        format!(r#""{name}":{{"dtype":"F32","shape":[2],"data_offsets":[{from},{to}]}}"#)
    };
    let overlap = format!("{{{},{}}}", one("a", 0, 8), one("b", 4, 12));
    for (name, bytes) in [
        ("empty", Vec::new()),
        ("short", vec![1, 2, 3]),
        ("endless", u64::MAX.to_le_bytes().to_vec()),
        ("long", hostile("{}", 0)[..9].to_vec()),
        ("text", hostile("not JSON", 0)),
        ("deep", hostile(&"[".repeat(100_000), 0)),
        ("overlap", hostile(&overlap, 12)),
        ("beyond", hostile(&format!("{{{}}}", one("a", 0, 8)), 4)),
        ("more", hostile(&format!("{{{}}}", one("a", 0, 8)), 12)),
        (
            "overflow",
            hostile(
                r#"{"a":{"dtype":"F32","shape":[4294967295,4294967295,4294967295],"data_offsets":[0,8]}}"#,
                8,
            ),
        ),
        ("nothing", hostile("{}", 0)),
        ("picture", std::fs::read(&picture).unwrap()),
    ] {
        let path = bench.file(name, &bytes);
        let args = with("classify --model", &[&path, &picture]);
        bench.fails(&args, &[name]);
    }
}

#[test]
fn inputs_and_outputs_of_run() {
    let bench = Bench::new();
    let weights = bench.tensors("w.safetensors", &weights());
    let run = |input: &Path, output: &Path, says: &[&str]| {
        let mut args = with("run --weights", &[&weights]);
        args.extend(with("--input", &[input]));
        args.extend(with("--output", &[output]));
        bench.fails(&args, says);
    };
    let out = bench.path("out.safetensors");
    for shape in [
        &[0, 3, 16, 16][..],
        &[1, 4, 16, 16],
        &[3, 16, 16],
        &[1, 3, 0, 16],
        &[1, 3, 8, 64],
    ] {
        let x = bench.input("x.safetensors", shape);
        run(&x, &out, &[]);
    }
    let half = Tensor::from_f32(&[1, 3, 16, 16], &[0.5; 768])
        .unwrap()
        .cast(DType::F16)
        .unwrap();
    run(
        &bench.tensors("half", &[("x".into(), half.clone())]),
        &out,
        &["half", "float32", "F16"],
    );
    run(
        &bench.tensors("other", &[("images".into(), half)]),
        &out,
        &["`x`", "`images`"],
    );
    run(&bench.path("nowhere"), &out, &["nowhere"]);
    assert!(!out.exists());

    let x = bench.input("x.safetensors", &[1, 3, 16, 16]);
    run(&x, &bench.path("no/such/folder/out"), &["no/such/folder"]);
    std::fs::create_dir(bench.path("taken")).unwrap();
    run(&x, &bench.path("taken"), &["taken", "not a regular file"]);
    // What stood at the output before stays when a run fails.
    std::fs::write(&out, "as it was").unwrap();
    run(&bench.path("nowhere"), &out, &[]);
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "as it was");

    let picture = fixture("rgb.png");
    let drawn = bench.path("no/such/folder/a.png");
    let ran = bench.run(&with(
        "classify --size 32",
        &[&picture, "--attention".as_ref(), &drawn],
    ));
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.err.contains("error: ") && ran.err.contains("no/such/folder"),
        "{ran:?}"
    );
    bench.fails(
        &with("classify --attention a.png", &[&picture, &picture]),
        &["--attention draws over one picture"],
    );
    let page = bench.path("no/such/page.html");
    bench.fails(
        &with("profile m0 --size 16 --runs 1 --html", &[&page]),
        &["page.html"],
    );
}

#[test]
fn folders_that_are_no_classes() {
    let bench = Bench::new();
    bench.picture("set/ant/a.png", 4, 4);
    bench.fails(
        &with("evaluate", &[&bench.path("set")]),
        &["`ant`", "names no class"],
    );
    bench.fails(
        &with("evaluate", &[&bench.path("set/ant")]),
        &["a folder for each class"],
    );
    bench.fails(&with("evaluate", &[&bench.path("nowhere")]), &["nowhere"]);
    std::fs::create_dir_all(bench.path("bare/3")).unwrap();
    bench.fails(&with("evaluate", &[&bench.path("bare")]), &["no files"]);
}
