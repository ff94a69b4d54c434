//! From a picture to a network's input: the evaluation transform of timm and torchvision.

pub use super::resample::Interpolation;
use super::resample::{Axis, resize};
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// The most pixels along a side of a network's input.
const MAX_INPUT_SIDE: usize = 8192;

/// An 8-bit RGB picture: rows from the top, pixels from the left, three bytes a pixel, at least one pixel.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl Picture {
    /// A picture of `pixels` [height, width, 3].
    ///
    /// # Errors
    /// [`Error::Tensor`] where there is no pixel, or `pixels` is not exactly that many bytes.
    pub fn new(width: usize, height: usize, pixels: Vec<u8>) -> Result<Self> {
        let want = width.checked_mul(height).and_then(|n| n.checked_mul(3));
        if pixels.is_empty() || want != Some(pixels.len()) {
            return Err(Error::Tensor(format!(
                "an RGB picture of {width} x {height} pixels does not fit {} bytes of data",
                pixels.len()
            )));
        }
        Ok(Self {
            width,
            height,
            pixels,
        })
    }

    /// Pixels in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The number of rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The bytes [height, width, 3].
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }
}

impl std::fmt::Debug for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Picture({} x {})", self.width, self.height)
    }
}

/// How a picture becomes an input: resized as Pillow does, antialiased, cropped, scaled to 0..1, normalised.
///
/// The steps and their rounding are those of timm 1.0's `transforms_imagenet_eval` in its `center` mode: the target is
/// `size / crop`, rounded down. A square target is torchvision's `Resize` of the shorter side, whose long side is
/// rounded down; another is timm's `ResizeKeepRatio`, which covers the target and rounds both sides to nearest even.
/// Then torchvision's `CenterCrop`, which rounds half a pixel to the even one.
///
/// Only the pixels that the crop keeps are computed, so that a picture of one pixel by many thousands costs no more
/// than another.
#[derive(Clone, Debug, PartialEq)]
pub struct Preprocess {
    /// Height and width of the input, in pixels.
    pub size: (usize, usize),
    /// The share of the resized picture's shorter side that the crop keeps, 0.1 to 1.
    pub crop: f64,
    /// Stretch the whole picture to `size` instead, whatever its shape; `crop` is ignored.
    pub fill: bool,
    pub interpolation: Interpolation,
    /// Subtracted from red, green and blue after they are scaled to 0..1.
    pub mean: [f32; 3],
    /// Divides red, green and blue after that.
    pub std: [f32; 3],
}

impl Preprocess {
    /// The transform of the public ImageNet checkpoints: bicubic, crop 0.875, ImageNet's mean and standard deviation.
    pub fn imagenet(size: (usize, usize)) -> Self {
        Self {
            size,
            crop: 0.875,
            fill: false,
            interpolation: Interpolation::Bicubic,
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.224, 0.225],
        }
    }

    /// The network's input for `picture`: f32 [3, H, W].
    ///
    /// # Errors
    /// [`Error::Usage`] where `size` or `crop` are out of range.
    pub fn apply(&self, picture: &Picture) -> Result<Tensor> {
        let (height, width) = self.size;
        let mut values = vec![0.0; 3 * self.pixels()?];
        self.write(picture, &mut values)?;
        Tensor::from_f32(&[3, height, width], &values)
    }

    /// Writes the network's input for `picture` to `out` [3, H, W], one image of a batch.
    ///
    /// # Errors
    /// [`Error::Usage`] as [`Preprocess::apply`], [`Error::Tensor`] where `out` has another length.
    pub fn write(&self, picture: &Picture, out: &mut [f32]) -> Result<()> {
        let plane = self.pixels()?;
        if out.len() != 3 * plane {
            return Err(Error::Tensor(format!(
                "an input of 3 x {} x {} does not fit {} elements",
                self.size.0,
                self.size.1,
                out.len()
            )));
        }
        let view = self.view(picture)?;
        let (pixels, _) = view.pixels.as_chunks::<3>();
        for (c, out) in out.chunks_exact_mut(plane).enumerate() {
            let levels: [f32; 256] =
                std::array::from_fn(|v| (v as f32 / 255.0 - self.mean[c]) / self.std[c]);
            for (out, pixel) in out.iter_mut().zip(pixels) {
                *out = levels[usize::from(pixel[c])];
            }
        }
        Ok(())
    }

    /// What the network sees of `picture`: resized and cropped to `size`, before it is normalised.
    ///
    /// # Errors
    /// [`Error::Usage`] where `size` or `crop` are out of range.
    pub fn view(&self, picture: &Picture) -> Result<Picture> {
        self.pixels()?;
        let (to_height, to_width) = self.resized(picture);
        let axis = |from, to, len| Axis {
            from,
            to,
            start: middle(to, len),
            len,
        };
        let x = axis(picture.width, to_width, self.size.1);
        let y = axis(picture.height, to_height, self.size.0);
        let pixels = resize(&picture.pixels, self.interpolation, x, y);
        Picture::new(x.len, y.len, pixels)
    }

    /// Height and width of the whole of `picture` when it is resized, at least `size`.
    fn resized(&self, picture: &Picture) -> (usize, usize) {
        let (height, width) = self.size;
        if self.fill {
            return self.size;
        }
        let target = |n: usize| (n as f64 / self.crop).floor();
        let (target_h, target_w) = (target(height), target(width));
        let (from_h, from_w) = (picture.height, picture.width);
        if target_h == target_w {
            let short = target_h as usize;
            // In 64 bits: as exact as the reference's division of whole numbers.
            let long = |long: usize, by: usize| (short as u64 * long as u64 / by as u64) as usize;
            return if from_w <= from_h {
                (long(from_h, from_w), short)
            } else {
                (short, long(from_w, from_h))
            };
        }
        let ratio = (from_h as f64 / target_h).min(from_w as f64 / target_w);
        let to =
            |n: usize, least: usize| ((n as f64 / ratio).round_ties_even() as usize).max(least);
        (to(from_h, height), to(from_w, width))
    }

    /// Pixels of the input, where `size` and `crop` are in range.
    fn pixels(&self) -> Result<usize> {
        let (height, width) = self.size;
        let sides = 1..=MAX_INPUT_SIDE;
        if !sides.contains(&height) || !sides.contains(&width) {
            return Err(Error::Usage(format!(
                "an input of {height} x {width} pixels cannot be: each side takes 1 to {MAX_INPUT_SIDE}"
            )));
        }
        if !self.fill && !(0.1..=1.0).contains(&self.crop) {
            return Err(Error::Usage(format!(
                "a crop of {} cannot be: it is a share of the picture, 0.1 to 1",
                self.crop
            )));
        }
        Ok(height * width)
    }
}

/// Where the middle `len` of `from` pixels start; half a pixel goes to the even one.
fn middle(from: usize, len: usize) -> usize {
    let rest = from.saturating_sub(len);
    rest / 2 + usize::from(rest % 4 == 3)
}
