//! Pictures and their views against Pillow's, and files that are no pictures. The fixtures' maker is beside them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may stop at a surprise
#![cfg(feature = "images")]

use cascadia::error::Error;
use cascadia::io::preprocess::{Interpolation, Picture, Preprocess};
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    let folder = "kernels-tests/fixtures/images";
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(folder)
        .join(name)
}

fn open(name: &str) -> Picture {
    Picture::open(&fixture(name)).unwrap()
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(fixture(name)).unwrap()
}

/// The one line that `bytes` are refused with.
fn refused(bytes: &[u8]) -> String {
    match Picture::from_bytes(bytes, Path::new("some.png")) {
        Ok(picture) => panic!("{picture:?} was read"),
        Err(e @ Error::File { .. }) => {
            let line = e.to_string();
            assert!(line.starts_with("some.png: "), "{line}");
            assert!(!line.contains('\n') && line.len() < 250, "{line}");
            line
        }
        Err(other) => panic!("{other:?}"),
    }
}

/// The largest and the mean difference of a level.
fn difference(a: &Picture, b: &Picture) -> (u8, f64) {
    assert_eq!((a.width(), a.height()), (b.width(), b.height()));
    let each = || {
        a.pixels()
            .iter()
            .zip(b.pixels())
            .map(|(&a, &b)| a.abs_diff(b))
    };
    let sum: f64 = each().map(f64::from).sum();
    (each().max().unwrap(), sum / a.pixels().len() as f64)
}

/// That `found` differs from the fixture `want` by at most `most` levels, and `mean` on average.
fn near(found: &Picture, want: &str, most: u8, mean: f64) {
    let (largest, average) = difference(found, &open(want));
    assert!(
        largest <= most && average <= mean,
        "{want}: {largest} at most, {average} on average"
    );
}

#[test]
fn lossless_files_decode_to_pillows_pixels() {
    for name in [
        "rgb.png",
        "rgb.bmp",
        "rgb_lossless.webp",
        "rgba.png",
        "rgba_lossless.webp",
        "grey.png",
        "grey_alpha.png",
        "palette.png",
        "palette_transparent.png",
        "palette.bmp",
        "bits.png",
        "rgb16.png",
        "grey16.png",
        "animated.gif",
        "transparent.gif",
        "turned.png",
    ] {
        near(&open(name), &format!("decoded/{name}.png"), 0, 0.0);
    }
}

#[test]
fn jpeg_files_decode_to_pillows_pixels() {
    for name in [
        "soft.jpg",
        "soft_422.jpg",
        "soft_444.jpg",
        "soft_progressive.jpg",
        "soft_restarts.jpg",
        "soft_grey.jpg",
        "soft_cmyk.jpg",
        "soft_ycck.jpg",
        "hard.jpg",
    ] {
        near(&open(name), &format!("decoded/{name}.png"), 0, 0.0);
    }
}

/// Lossy WebP's decoder is not Pillow's: it differs by its rounding.
#[test]
fn lossy_webp_decodes_near_pillows_pixels() {
    for name in ["soft.webp", "soft_animated.webp"] {
        near(&open(name), &format!("decoded/{name}.png"), 1, 0.02);
    }
}

#[test]
fn every_exif_orientation_is_applied() {
    for orientation in 1..=8 {
        let name = format!("turned_{orientation}.jpg");
        near(&open(&name), &format!("decoded/{name}.png"), 0, 0.0);
    }
}

#[test]
fn views_are_pillows() {
    let cases: serde_json::Value = serde_json::from_slice(&bytes("cases.json")).unwrap();
    let cases = cases["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 21);
    for case in cases {
        let side = |i: usize| case["size"][i].as_u64().unwrap() as usize;
        let mut preprocess = Preprocess::imagenet((side(0), side(1)));
        preprocess.crop = case["crop"].as_f64().unwrap();
        preprocess.fill = case["fill"].as_bool().unwrap();
        if case["interpolation"] == "bilinear" {
            preprocess.interpolation = Interpolation::Bilinear;
        }
        let source = case["source"].as_str().unwrap();
        let found = preprocess.view(&open(source)).unwrap();
        near(&found, case["view"].as_str().unwrap(), 0, 0.0);
    }
}

#[test]
fn an_input_is_the_normalised_view() {
    let picture = open("large.png");
    let preprocess = Preprocess::imagenet((20, 33));
    let view = preprocess.view(&picture).unwrap();
    let input = preprocess.apply(&picture).unwrap();
    assert_eq!(input.shape(), [3, 20, 33]);
    let (mean, std) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
    for (i, value) in input.to_f32().into_iter().enumerate() {
        let (c, at) = (i / (20 * 33), i % (20 * 33));
        let want = (f64::from(view.pixels()[3 * at + c]) / 255.0 - mean[c]) / std[c];
        assert!(
            (f64::from(value) - want).abs() < 1e-6,
            "{i}: {value} {want}"
        );
    }
    let mut short = vec![0.0; 3 * 20 * 33 - 1];
    assert!(preprocess.write(&picture, &mut short).is_err());
}

#[test]
fn every_shape_of_picture_gives_an_input() {
    for (width, height) in [
        (1, 1),
        (1, 2),
        (2, 1),
        (65_535, 1),
        (1, 65_535),
        (3, 1000),
        (224, 224),
    ] {
        let level = |i: usize| (i % 251) as u8;
        let pixels = (0..width * height * 3).map(level).collect();
        let picture = Picture::new(width, height, pixels).unwrap();
        for size in [(1, 1), (224, 224), (2, 300), (300, 2)] {
            let mut preprocess = Preprocess::imagenet(size);
            for (crop, fill) in [(0.1, false), (0.875, false), (1.0, false), (0.0, true)] {
                (preprocess.crop, preprocess.fill) = (crop, fill);
                let view = preprocess.view(&picture).unwrap();
                assert_eq!((view.height(), view.width()), size);
            }
        }
    }
}

#[test]
fn sizes_and_crops_that_cannot_be_are_refused() {
    let picture = Picture::new(1, 1, vec![1, 2, 3]).unwrap();
    for size in [(0, 224), (224, 0), (usize::MAX, 1), (8193, 8)] {
        let error = Preprocess::imagenet(size).apply(&picture).unwrap_err();
        assert!(matches!(error, Error::Usage(_)), "{error}");
    }
    for crop in [0.0, -1.0, 1.01, f64::NAN, f64::INFINITY, 1e-300] {
        let mut preprocess = Preprocess::imagenet((8, 8));
        preprocess.crop = crop;
        let error = preprocess.apply(&picture).unwrap_err();
        assert!(error.to_string().contains("crop"), "{error}");
    }
    assert!(Picture::new(0, 0, vec![]).is_err());
    assert!(Picture::new(usize::MAX, 2, vec![0; 6]).is_err());
}

#[test]
fn what_is_no_picture_is_refused_by_name() {
    for (bytes, says) in [
        (&b""[..], "empty"),
        (b"hello, world", "not an image"),
        (b"\0\0\0\0\0\0\0\0", "not an image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"\n<?xml version='1.0'?>\n<svg/>", "SVG"),
        (b"%PDF-1.7", "PDF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
        (b"II*\0\x08\0\0\0", "Tiff"),
        (b"BM", "BMP"),
        (b"GIF89a", "GIF"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"\xff\xd8\xff\xd9", "JPEG"),
        (b"RIFF\x04\0\0\0WEBP", "WebP"),
    ] {
        let line = refused(bytes);
        assert!(line.contains(says), "{line}");
    }
}

#[test]
fn the_content_tells_the_format_not_the_name() {
    let picture = Picture::from_bytes(&bytes("rgb.bmp"), Path::new("a.jpg")).unwrap();
    assert_eq!(picture, open("rgb.png"));
}

#[test]
fn a_folder_and_a_missing_file_are_refused() {
    let error = Picture::open(&fixture("missing.png")).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
    let error = Picture::open(&fixture("")).unwrap_err().to_string();
    assert!(error.contains("found a folder"), "{error}");
}

#[test]
fn a_file_that_is_too_long_is_refused_unread() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("long.jpg");
    std::fs::write(&path, bytes("soft.jpg")).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(8 << 30).unwrap();
    let error = Picture::open(&path).unwrap_err();
    std::fs::remove_file(&path).unwrap();
    assert!(error.to_string().contains("longer than 512 MiB"), "{error}");
}

#[test]
fn truncated_files_are_refused() {
    for name in WHOLE {
        let whole = bytes(name);
        for keep in [9, 30, whole.len() / 4, whole.len() / 2, whole.len() * 3 / 4] {
            refused(&whole[..keep]);
        }
    }
    for name in ["soft.jpg", "soft_progressive.jpg", "turned_6.jpg"] {
        let whole = bytes(name);
        let line = refused(&whole[..whole.len() - 2]);
        assert!(line.contains("truncated"), "{line}");
    }
}

const WHOLE: [&str; 9] = [
    "rgb.png",
    "palette.png",
    "rgb.bmp",
    "palette.bmp",
    "transparent.gif",
    "rgb_lossless.webp",
    "soft.webp",
    "soft.jpg",
    "soft_cmyk.jpg",
];

/// Files of a few bytes that declare many pixels, or none.
#[test]
fn declared_sizes_are_checked_before_decoding() {
    for (width, height) in [
        (30_000u32, 30_000u32),
        (65_000, 65_000),
        (0, 7),
        (7, 0),
        (100_000, 1),
        (u32::MAX, u32::MAX),
    ] {
        let check = |bytes: &[u8]| {
            let line = refused(bytes);
            let declared = format!("{width} x {height} pixels are too many");
            assert!(
                width < 30_000 || height < 30_000 || width > 65_535 || line.contains(&declared),
                "{line}"
            );
        };
        let mut png = bytes("rgb.png");
        png[16..20].copy_from_slice(&width.to_be_bytes());
        png[20..24].copy_from_slice(&height.to_be_bytes());
        let crc = crc32(&png[12..29]);
        png[29..33].copy_from_slice(&crc.to_be_bytes());
        check(&png);
        let mut bmp = bytes("rgb.bmp");
        bmp[18..22].copy_from_slice(&width.to_le_bytes());
        bmp[22..26].copy_from_slice(&height.to_le_bytes());
        check(&bmp);
        let (Ok(w), Ok(h)) = (u16::try_from(width), u16::try_from(height)) else {
            continue;
        };
        let mut gif = bytes("transparent.gif");
        gif[6..8].copy_from_slice(&w.to_le_bytes());
        gif[8..10].copy_from_slice(&h.to_le_bytes());
        check(&gif);
        let mut jpeg = bytes("soft.jpg");
        let frame = jpeg.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
        jpeg[frame + 5..frame + 7].copy_from_slice(&h.to_be_bytes());
        jpeg[frame + 7..frame + 9].copy_from_slice(&w.to_be_bytes());
        check(&jpeg);
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &b| {
        (0..8).fold(crc ^ u32::from(b), |c, _| {
            (c >> 1) ^ (0xedb8_8320 * (c & 1))
        })
    })
}

/// Flipped bytes give a picture or one line, never a panic.
#[test]
fn damaged_files_do_not_panic() {
    let rounds: usize = std::env::var("DAMAGE_ROUNDS").map_or(40, |n| n.parse().unwrap());
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 20) as usize % below
    };
    for name in WHOLE.iter().chain(&[
        "rgb16.png",
        "animated.gif",
        "soft_progressive.jpg",
        "turned_6.jpg",
        "soft_animated.webp",
        "rgba_lossless.webp",
        "soft_ycck.jpg",
    ]) {
        let whole = bytes(name);
        for _ in 0..rounds {
            let mut damaged = whole.clone();
            for _ in 0..1 + random(6) {
                // Headers are where the traps are.
                let reach = if random(2) == 0 {
                    whole.len()
                } else {
                    whole.len().min(200)
                };
                damaged[random(reach)] = random(256) as u8;
            }
            let _ = Picture::from_bytes(&damaged, Path::new(name));
        }
    }
}
