//! JPEG to the bit as libjpeg-turbo decodes it, and so Pillow: the pixels that the public models were trained on.

use super::image::{check_size, fail};
use ::image::metadata::Orientation;
use ::image::{DynamicImage, GrayImage, ImageFormat, RgbImage};
use libjpeg_turbo_rs::{DecodeLimits, Decoder, JpegError, PixelFormat};

/// The most scans of a picture: encoders write about ten, and each takes as long as the whole picture.
const MAX_SCANS: usize = 500;

const CUT: &str = "the JPEG image is truncated or damaged: its end is missing";

/// The picture in `bytes` and how it is to be turned. `most` is what may be allocated, in bytes.
pub(super) fn decode(bytes: &[u8], most: u64) -> Result<(DynamicImage, Orientation), String> {
    let limits = DecodeLimits {
        // Sizes are checked here.
        max_width: usize::MAX,
        max_height: usize::MAX,
        max_pixels: u64::MAX,
        max_scans: MAX_SCANS,
        max_memory: Some(most),
    };
    let mut decoder = Decoder::new_with_limits(bytes, limits).map_err(describe)?;
    let header = decoder.header();
    let (width, height) = (u32::from(header.width), u32::from(header.height));
    check_size(width, height)?;
    if !is_whole(bytes) {
        return Err(CUT.into());
    }
    let format = match header.components.len() {
        1 => PixelFormat::Grayscale,
        4 => PixelFormat::Cmyk,
        _ => PixelFormat::Rgb,
    };
    // A picture whose EXIF data is broken is shown as it lies.
    let turned = decoder.exif_orientation().and_then(Orientation::from_exif);
    decoder.set_output_format(format);
    let data = decoder.decode_image().map_err(describe)?.data;
    let image = match format {
        PixelFormat::Grayscale => {
            GrayImage::from_raw(width, height, data).map(DynamicImage::ImageLuma8)
        }
        PixelFormat::Cmyk => {
            RgbImage::from_raw(width, height, rgb(&data)).map(DynamicImage::ImageRgb8)
        }
        _ => RgbImage::from_raw(width, height, data).map(DynamicImage::ImageRgb8),
    };
    let image = image.ok_or_else(|| fail(ImageFormat::Jpeg, "not all of its pixels are there"))?;
    Ok((image, turned.unwrap_or(Orientation::NoTransforms)))
}

/// Pillow's RGB of CMYK as Adobe writes it, inverted: a channel that is 255 has no ink.
fn rgb(cmyk: &[u8]) -> Vec<u8> {
    let (pixels, _) = cmyk.as_chunks::<4>();
    let light = |ink: u8, paper: u8| {
        let product = u32::from(255 - ink) * u32::from(paper) + 128;
        paper - (((product >> 8) + product) >> 8) as u8
    };
    (pixels.iter())
        .flat_map(|&[c, m, y, k]| [light(c, k), light(m, k), light(y, k)])
        .collect()
}

fn describe(error: JpegError) -> String {
    match error {
        JpegError::Unsupported(what) => {
            format!("the JPEG image is of a kind that cannot be read: {what}")
        }
        JpegError::UnexpectedEof => CUT.into(),
        JpegError::LimitExceeded { .. } => {
            format!("decoding the JPEG image takes too much ({error}); make it smaller")
        }
        other => fail(ImageFormat::Jpeg, &other.to_string()),
    }
}

/// Whether the end marker follows the first scan.
fn is_whole(bytes: &[u8]) -> bool {
    let mut at = 2;
    // Segments: 0xff, a marker, the length of what follows including itself.
    while let Some(&[mark, kind, high, low]) = bytes.get(at..).and_then(|b| b.first_chunk()) {
        match (mark, kind) {
            (0xff, 0xda) => return bytes[at..].windows(2).any(|w| w == [0xff, 0xd9]),
            (0xff, 0x01 | 0xd0..=0xd7) => at += 2,
            (0xff, 0xff) => at += 1,
            (0xff, _) => at += 2 + usize::from(u16::from_be_bytes([high, low])),
            // Bytes between segments, which decoders skip.
            _ => at += 1,
        }
    }
    false
}
