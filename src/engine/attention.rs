//! What a model attends to: each head's attention, drawn over the picture.

use super::Classifier;
use crate::error::{Error, Result};
use crate::io::preprocess::Picture;
use crate::models::efficientvit::Outputs;
use crate::tensor::Tensor;

/// Pixels along the longer side of a drawn tile, at most.
const TILE: usize = 224;
/// Pixels between tiles.
const GAP: usize = 4;

/// The attention of one block.
#[derive(Clone, Debug)]
pub struct BlockAttention {
    /// The block, as in `stages.0.blocks.0`.
    pub scope: String,
    /// By head: the attention that each token of the map receives, the mean over all tokens of its window that
    /// ask. Its sum is the number of windows where these are not padded.
    pub heads: Vec<Heat>,
}

/// A value for each token of a map.
#[derive(Clone, Debug, PartialEq)]
pub struct Heat {
    pub height: usize,
    pub width: usize,
    /// [height, width]
    pub values: Vec<f32>,
}

impl Classifier {
    /// The attention of every head on `picture`, in the order of the blocks.
    ///
    /// # Errors
    /// What preprocessing and running return.
    pub fn attention(&mut self, picture: &Picture) -> Result<Vec<BlockAttention>> {
        let [h, w] = self.vision.config().size;
        let view = self.preprocess.apply(picture)?;
        let x = Tensor::from_f32(&[1, 3, h, w], &view.to_f32())?;
        let outputs = Outputs {
            logits: false,
            stages: false,
            attention: true,
        };
        let mut blocks: Vec<BlockAttention> = Vec::new();
        for (name, weights) in self.vision.run(&x, outputs)? {
            let mut parts = name.split('.').skip(1);
            let (Some(stage), Some(block)) = (parts.next(), parts.next()) else {
                continue;
            };
            let scope = format!("stages.{stage}.blocks.{block}");
            let shrink = 16 << stage.parse::<u32>().unwrap_or(0).min(2);
            let heat = received(&weights, [h.div_ceil(shrink), w.div_ceil(shrink)])?;
            match blocks.last_mut() {
                Some(last) if last.scope == scope => last.heads.push(heat),
                _ => blocks.push(BlockAttention {
                    scope,
                    heads: vec![heat],
                }),
            }
        }
        Ok(blocks)
    }
}

/// `weights` [windows, tokens, tokens] (of queries over keys) as the mean that each key receives from the queries
/// of its window, on a map of `height` × `width`. Queries in a window's padding do not count.
fn received(weights: &Tensor, [height, width]: [usize; 2]) -> Result<Heat> {
    let odd = || {
        Error::Plan(format!(
            "attention {:?} is not that of a map of {height}×{width}",
            weights.shape()
        ))
    };
    let [windows, tokens, keys] = *weights.shape() else {
        return Err(odd());
    };
    let side = tokens.isqrt().max(1);
    let across = width.div_ceil(side);
    if keys != tokens || side * side != tokens || windows != height.div_ceil(side) * across {
        return Err(odd());
    }
    let data = weights.to_f32();
    let mut values = vec![0.0; height * width];
    for (window, rows) in data.chunks_exact(tokens * tokens).enumerate() {
        // Where token `t` of this window is on the map, if it is.
        let at = |t: usize| {
            let y = window / across * side + t / side;
            let x = window % across * side + t % side;
            (y < height && x < width).then_some(y * width + x)
        };
        let asking: Vec<&[f32]> = (rows.chunks_exact(tokens).enumerate())
            .filter(|(t, _)| at(*t).is_some())
            .map(|(_, row)| row)
            .collect();
        for t in 0..tokens {
            if let Some(at) = at(t) {
                let sum: f32 = asking.iter().map(|row| row[t]).sum();
                values[at] = sum / asking.len() as f32;
            }
        }
    }
    Ok(Heat {
        height,
        width,
        values,
    })
}

/// `blocks` drawn over `view`, what the network saw of the picture: a row for each block, a column for each head;
/// from dark (the least that a token of the map receives) to bright (the most).
///
/// # Errors
/// [`Error::Usage`] where there is nothing to draw.
pub fn draw(view: &Picture, blocks: &[BlockAttention]) -> Result<Picture> {
    let columns = blocks.iter().map(|b| b.heads.len()).max().unwrap_or(0);
    if columns == 0 {
        return Err(Error::Usage("the model has no attention to draw".into()));
    }
    let longer = view.width().max(view.height());
    let scale = |n: usize| (n * TILE.min(longer) / longer).max(1);
    let (tile_w, tile_h) = (scale(view.width()), scale(view.height()));
    let width = columns * (tile_w + GAP) + GAP;
    let height = blocks.len() * (tile_h + GAP) + GAP;
    let mut pixels = vec![0xFF; 3 * width * height];
    for (row, block) in blocks.iter().enumerate() {
        for (column, heat) in block.heads.iter().enumerate() {
            let top = GAP + row * (tile_h + GAP);
            let left = GAP + column * (tile_w + GAP);
            let low = heat.values.iter().copied().fold(f32::INFINITY, f32::min);
            let high = heat
                .values
                .iter()
                .copied()
                .fold(f32::NEG_INFINITY, f32::max);
            for (y, x) in (0..tile_h).flat_map(|y| (0..tile_w).map(move |x| (y, x))) {
                let v = heat.at(
                    (y as f32 + 0.5) / tile_h as f32,
                    (x as f32 + 0.5) / tile_w as f32,
                );
                let hot = bright(if high > low {
                    (v - low) / (high - low)
                } else {
                    0.0
                });
                let (from_y, from_x) = (y * view.height() / tile_h, x * view.width() / tile_w);
                let from = 3 * (from_y * view.width() + from_x);
                let to = 3 * ((top + y) * width + left + x);
                // Grey below, so that every colour is the attention's.
                let under = view.pixels()[from..from + 3].iter().map(|&v| u16::from(v));
                let under = f32::from(under.sum::<u16>() / 3);
                for c in 0..3 {
                    pixels[to + c] = (0.45 * under + 0.55 * hot[c]).round() as u8;
                }
            }
        }
    }
    Picture::new(width, height, pixels)
}

impl Heat {
    /// The value at a place of the map, 0 to 1 from the top and from the left, between the nearest four tokens.
    fn at(&self, y: f32, x: f32) -> f32 {
        let axis = |v: f32, n: usize| {
            let v = (v * n as f32 - 0.5).clamp(0.0, (n - 1) as f32);
            let low = v.floor();
            (low as usize, (low as usize + 1).min(n - 1), v - low)
        };
        let (y0, y1, fy) = axis(y, self.height);
        let (x0, x1, fx) = axis(x, self.width);
        let get = |y: usize, x: usize| self.values[y * self.width + x];
        let row = |y: usize| get(y, x0) * (1.0 - fx) + get(y, x1) * fx;
        row(y0) * (1.0 - fy) + row(y1) * fy
    }
}

/// 0 to 1 as a colour, from dark blue over red to light yellow: brightness alone tells the order, too.
fn bright(v: f32) -> [f32; 3] {
    const STOPS: [[f32; 3]; 5] = [
        [0.0, 0.0, 40.0],
        [85.0, 15.0, 110.0],
        [190.0, 55.0, 85.0],
        [250.0, 140.0, 30.0],
        [252.0, 250.0, 165.0],
    ];
    let v = v.clamp(0.0, 1.0) * 4.0;
    let i = (v as usize).min(3);
    let f = v - i as f32;
    std::array::from_fn(|c| STOPS[i][c] * (1.0 - f) + STOPS[i + 1][c] * f)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padded_windows_are_put_together() {
        // A 2×3 map in windows of 2: two windows, the second with two padded tokens (1 and 3).
        let mut data = vec![0.25; 32];
        // The second window: real queries are 0 and 2.
        data[16..20].copy_from_slice(&[0.5, 0.0, 0.5, 0.0]);
        data[20..24].copy_from_slice(&[1.0, 0.0, 0.0, 0.0]);
        data[24..28].copy_from_slice(&[0.1, 0.0, 0.9, 0.0]);
        let weights = Tensor::from_f32(&[2, 4, 4], &data).unwrap();
        let heat = received(&weights, [2, 3]).unwrap();
        let want = [0.25, 0.25, 0.3, 0.25, 0.25, 0.7];
        for (a, b) in heat.values.iter().zip(want) {
            assert!((a - b).abs() < 1e-6, "{:?}", heat.values);
        }
        assert!(received(&weights, [2, 5]).is_err());
    }

    #[test]
    fn the_hottest_token_is_the_brightest() {
        let heat = Heat {
            height: 2,
            width: 2,
            values: vec![0.1, 0.1, 0.1, 0.9],
        };
        let block = BlockAttention {
            scope: String::new(),
            heads: vec![heat],
        };
        let view = Picture::new(8, 8, vec![100; 192]).unwrap();
        let drawn = draw(&view, &[block]).unwrap();
        assert_eq!((drawn.width(), drawn.height()), (16, 16));
        let light = |y: usize, x: usize| -> u32 {
            let at = 3 * ((GAP + y) * 16 + GAP + x);
            drawn.pixels()[at..at + 3]
                .iter()
                .map(|&v| u32::from(v))
                .sum()
        };
        assert!(light(7, 7) > light(4, 4) && light(4, 4) > light(0, 0));
        assert!(draw(&view, &[]).is_err());
    }
}
