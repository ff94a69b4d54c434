//! Picture files: PNG, JPEG, WebP, GIF and BMP to 8-bit RGB, as Pillow's `convert("RGB")` gives it.
//!
//! The format is told by the content, never by the name of the file. What becomes RGB, and how:
//!
//! | in the file | here |
//! |---|---|
//! | grey, palette, 1 to 8 bits | each pixel's colour |
//! | alpha, transparent colour | dropped; the colour below it stays, as Pillow does |
//! | 16 bits a channel | the high byte, as Pillow does for RGB; not for grey, which Pillow clips at 255: a white picture |
//! | CMYK and YCCK JPEG | taken as Adobe writes them, inverted, as Pillow does; no colour profile is applied |
//! | EXIF orientation | applied, as Pillow's `ImageOps.exif_transpose` |
//! | GIF, APNG, animated WebP | the first frame |
//! | GIF whose first frame is not as large as its canvas | the canvas: what the frame leaves uncovered is black, where Pillow takes the background colour; what goes beyond is cut, where Pillow makes the canvas larger |
//!
//! All else gives exactly Pillow's pixels, but for lossy WebP: its decoder is another than Pillow's, whose rounding may
//! differ by a level.

use super::preprocess::Picture;
use super::quiet::quietly;
use super::{bytes, jpeg, write_atomically};
use crate::error::{Error, Result};
use ::image::metadata::Orientation;
use ::image::{
    DynamicImage, ImageDecoder, ImageEncoder, ImageError, ImageFormat, ImageReader, Limits,
};
use std::io::{Cursor, Read};
use std::path::Path;

/// The most pixels that a file may declare: the size above which Pillow warns of a decompression bomb.
pub const MAX_PIXELS: u64 = 89_478_485;

/// The most pixels along one side, which is also the most that JPEG and GIF can hold.
pub const MAX_SIDE: u32 = 65_535;

/// The longest file that is read.
const MAX_FILE_BYTES: u64 = 512 << 20;

/// What a decoder may allocate: [`MAX_PIXELS`] at 8 bytes fit.
const MAX_DECODED_BYTES: u64 = 1 << 30;

/// Bytes at the start of a file that tell its format.
const HEAD_BYTES: u64 = 256;

const EXPECTED: &str = "expected a PNG, JPEG, WebP, GIF or BMP image";

impl Picture {
    /// Reads and decodes the picture in the file at `path`, upright.
    ///
    /// A file that is not a picture is refused after its first bytes, a picture above [`MAX_PIXELS`] or
    /// [`MAX_SIDE`] before it is decoded.
    ///
    /// # Errors
    /// [`Error::Io`] where the file cannot be read, [`Error::File`] where it is no regular file, or not a whole picture
    /// of a known format.
    pub fn open(path: &Path) -> Result<Self> {
        let mut file = bytes::open(path, "an image file", "image")?;
        let length = file.metadata().map_or(0, |m| m.len());
        let mut bytes = Vec::new();
        (&mut file)
            .take(HEAD_BYTES)
            .read_to_end(&mut bytes)
            .map_err(Error::io(path))?;
        let format = format(&bytes).map_err(|message| Error::file(path, message))?;
        if length > MAX_FILE_BYTES {
            return Err(Error::file(path, too_long()));
        }
        bytes.reserve(length as usize);
        file.take(MAX_FILE_BYTES)
            .read_to_end(&mut bytes)
            .map_err(Error::io(path))?;
        decode(&bytes, format).map_err(|message| Error::file(path, message))
    }

    /// Decodes the picture in `bytes`, upright. `name` is what an error calls it.
    ///
    /// # Errors
    /// [`Error::File`] where `bytes` are not a whole picture of a known format.
    pub fn from_bytes(bytes: &[u8], name: &Path) -> Result<Self> {
        format(bytes)
            .and_then(|format| decode(bytes, format))
            .map_err(|message| Error::file(name, message))
    }

    /// Writes the picture to `path` as PNG, whole or not at all.
    ///
    /// # Errors
    /// As [`write_atomically`].
    pub fn save_png(&self, path: &Path) -> Result<()> {
        let side = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let (width, height) = (side(self.width()), side(self.height()));
        write_atomically(path, |file| {
            ::image::codecs::png::PngEncoder::new(file)
                .write_image(
                    self.pixels(),
                    width,
                    height,
                    ::image::ExtendedColorType::Rgb8,
                )
                .map_err(std::io::Error::other)
        })
    }
}

/// The format of a file that starts with `head`, or what to say of it.
fn format(head: &[u8]) -> Result<ImageFormat, String> {
    use ImageFormat::{Bmp, Gif, Jpeg, Png, WebP};
    if head.is_empty() {
        return Err(format!("the file is empty; {EXPECTED}"));
    }
    match ::image::guess_format(head) {
        Ok(format @ (Png | Jpeg | WebP | Gif | Bmp)) => Ok(format),
        Ok(other) => Err(format!("{EXPECTED}, found {other:?}; convert it to PNG")),
        Err(_) => Err(match known(head) {
            Some(kind) => format!("{EXPECTED}, found {kind}; convert it to PNG"),
            None => format!("not an image; {EXPECTED}"),
        }),
    }
}

/// Names some formats that people take for one of ours.
fn known(head: &[u8]) -> Option<&'static str> {
    let brand = |names: &[&[u8]]| {
        head.get(4..8) == Some(b"ftyp") && head.get(8..12).is_some_and(|b| names.contains(&b))
    };
    let text = head.trim_ascii_start();
    let holds = |word: &[u8]| head.windows(word.len()).any(|w| w == word);
    if head.starts_with(b"%PDF") {
        Some("a PDF")
    } else if brand(&[b"heic", b"heix", b"hevc", b"mif1", b"msf1"]) {
        Some("HEIC")
    } else if head.starts_with(b"\xff\x0a") || head.starts_with(b"\0\0\0\x0cJXL ") {
        Some("JPEG XL")
    } else if head.starts_with(b"\0\0\0\x0cjP  ") || head.starts_with(b"\xff\x4f\xff\x51") {
        Some("JPEG 2000")
    } else if text.starts_with(b"<svg") || (text.starts_with(b"<?xml") && holds(b"<svg")) {
        Some("SVG")
    } else {
        None
    }
}

fn too_long() -> String {
    let most = MAX_FILE_BYTES >> 20;
    format!("the file is longer than {most} MiB, the most that is read; make the image smaller")
}

fn decode(bytes: &[u8], format: ImageFormat) -> Result<Picture, String> {
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(too_long());
    }
    // A file that a decoder's author did not think of may end it in a panic.
    let decoded = quietly(|| match format {
        ImageFormat::Jpeg => jpeg::decode(bytes, MAX_DECODED_BYTES),
        _ => decode_other(bytes, format),
    });
    let (mut image, orientation) =
        decoded.unwrap_or_else(|| Err(fail(format, "the decoder failed")))?;
    if orientation != Orientation::NoTransforms {
        image = DynamicImage::ImageRgb8(rgb(image)?);
        image.apply_orientation(orientation);
    }
    let image = rgb(image)?;
    let (width, height) = image.dimensions();
    Picture::new(width as usize, height as usize, image.into_raw()).map_err(|e| e.to_string())
}

fn decode_other(bytes: &[u8], format: ImageFormat) -> Result<(DynamicImage, Orientation), String> {
    let fail = |e: ImageError| describe(format, &e);
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(fail)?;
    let (width, height) = decoder.dimensions();
    check_size(width, height)?;
    // A picture whose EXIF data is broken is shown as it lies.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let image = DynamicImage::from_decoder(decoder).map_err(fail)?;
    Ok((image, orientation))
}

pub(super) fn check_size(width: u32, height: u32) -> Result<(), String> {
    if width == 0 || height == 0 {
        return Err(format!("the image has no pixels ({width} x {height})"));
    }
    if width > MAX_SIDE || height > MAX_SIDE || u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(format!(
            "{width} x {height} pixels are too many: at most {MAX_PIXELS}, and {MAX_SIDE} a side; make the image smaller"
        ));
    }
    Ok(())
}

/// The image as 8-bit RGB, in the memory that it has where it fits.
fn rgb(image: DynamicImage) -> Result<::image::RgbImage, String> {
    let (width, height) = (image.width(), image.height());
    let high = |v: u16| (v >> 8) as u8;
    let data = match image {
        DynamicImage::ImageRgb8(image) => return Ok(image),
        DynamicImage::ImageRgba8(image) => {
            let mut data = image.into_raw();
            for i in 1..data.len() / 4 {
                data.copy_within(4 * i..4 * i + 3, 3 * i);
            }
            data.truncate(data.len() / 4 * 3);
            data
        }
        DynamicImage::ImageLuma8(image) => image.iter().flat_map(|&v| [v; 3]).collect(),
        DynamicImage::ImageLumaA8(image) => image.pixels().flat_map(|p| [p.0[0]; 3]).collect(),
        DynamicImage::ImageLuma16(image) => image.iter().flat_map(|&v| [high(v); 3]).collect(),
        DynamicImage::ImageLumaA16(image) => {
            image.pixels().flat_map(|p| [high(p.0[0]); 3]).collect()
        }
        DynamicImage::ImageRgb16(image) => image.iter().map(|&v| high(v)).collect(),
        DynamicImage::ImageRgba16(image) => {
            let pixels = image.pixels();
            pixels
                .flat_map(|p| [high(p.0[0]), high(p.0[1]), high(p.0[2])])
                .collect()
        }
        other => return Err(format!("{:?} pixels cannot be read", other.color())),
    };
    ::image::RgbImage::from_raw(width, height, data)
        .ok_or_else(|| format!("the decoder did not fill {width} x {height} pixels"))
}

fn name(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Png => "PNG",
        ImageFormat::Jpeg => "JPEG",
        ImageFormat::WebP => "WebP",
        ImageFormat::Gif => "GIF",
        _ => "BMP",
    }
}

/// That the image is damaged, in one line.
pub(super) fn fail(format: ImageFormat, what: &str) -> String {
    let line: Vec<&str> = what.split_whitespace().collect();
    format!("the {} image is damaged: {}", name(format), line.join(" "))
}

/// One line about what a decoder found.
fn describe(format: ImageFormat, error: &ImageError) -> String {
    let name = name(format);
    match error {
        ImageError::Limits(_) => format!(
            "decoding the {name} image takes more than {} MiB; make it smaller",
            MAX_DECODED_BYTES >> 20
        ),
        ImageError::IoError(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
            format!("the {name} image is truncated or damaged: its end is missing")
        }
        ImageError::Unsupported(what) => {
            let line = what.to_string();
            let line: Vec<&str> = line.split_whitespace().collect();
            format!(
                "the {name} image is of a kind that cannot be read: {}",
                line.join(" ")
            )
        }
        other => fail(format, &other.to_string()),
    }
}
