//! Stages: blocks of two sandwiches around one attention, and what halves the map between them.

use super::config::{Config, KEY_DIM};
use super::fold::{Fold, conv_bias, conv_bn, position_bias};
use crate::graph::{Graph, Value};
use crate::ops::{CascadedGroup, Conv, DepthwiseFfn, Expand};

pub(super) struct Stage {
    merge: Option<Merge>,
    blocks: Vec<Block>,
}

/// Halves the map between stages ("subsample block"): a sandwich half, an inverted residual, a sandwich half.
struct Merge {
    before: DepthwiseFfn,
    expand: Expand,
    project: Conv,
    after: DepthwiseFfn,
}

/// The sandwich: token interaction and feed-forward on both sides of one attention.
struct Block {
    before: DepthwiseFfn,
    mixer: CascadedGroup,
    after: DepthwiseFfn,
}

impl Stage {
    pub fn new(c: &Config, s: usize, window: usize) -> Self {
        let name = format!("stages.{s}");
        Self {
            merge: (s > 0)
                .then(|| Merge::new(c.dims[s - 1], c.dims[s], &format!("{name}.downsample"))),
            blocks: (0..c.depths[s])
                .map(|j| Block::new(c, s, window, &format!("{name}.blocks.{j}")))
                .collect(),
        }
    }

    pub fn forward<'g>(&self, g: &'g Graph, mut x: Value<'g>, s: usize, probe: bool) -> Value<'g> {
        if let Some(merge) = &self.merge {
            let _scope = g.scope("downsample");
            x = merge.forward(x);
        }
        for (j, block) in self.blocks.iter().enumerate() {
            let _scope = g.scope(format_args!("blocks.{j}"));
            let (y, attention) = block.forward(x);
            x = y;
            if probe {
                for (i, a) in attention.into_iter().enumerate() {
                    g.output(format_args!("attention.{s}.{j}.{i}"), a);
                }
            }
        }
        x
    }
}

impl Merge {
    fn new(from: usize, to: usize, name: &str) -> Self {
        let inner = format!("{name}.patchmerge");
        let wide = 4 * from;
        let conv = |i: usize, shape, stride, groups| {
            conv_bn(
                &format!("{inner}.conv{i}"),
                shape,
                stride,
                groups,
                Fold::Norm,
            )
        };
        Self {
            before: sandwich(&format!("{name}.res1.0"), &format!("{name}.res1.1"), from),
            expand: Expand {
                widen: conv(1, [wide, from, 1, 1], 1, 1),
                reduce: conv(2, [wide, 1, 3, 3], 2, wide),
                squeeze: conv_bias(&format!("{inner}.se.fc1"), from, wide),
                excite: conv_bias(&format!("{inner}.se.fc2"), wide, from),
            },
            project: conv(3, [to, wide, 1, 1], 1, 1),
            after: sandwich(&format!("{name}.res2.0"), &format!("{name}.res2.1"), to),
        }
    }

    fn forward<'g>(&self, x: Value<'g>) -> Value<'g> {
        let x = self.before.apply(x);
        let x = self.expand.apply(x, &self.project);
        self.after.apply(x)
    }
}

impl Block {
    fn new(c: &Config, s: usize, window: usize, name: &str) -> Self {
        let (width, heads) = (c.dims[s], c.heads[s]);
        let d = width / heads;
        let attn = format!("{name}.mixer.m.attn");
        let spread = position_bias(
            &format!("{attn}.attention_biases"),
            heads,
            c.tables[s],
            window,
        );
        let dws = |i: usize, fold| {
            let side = c.kernels[i];
            conv_bn(
                &format!("{attn}.dws.{i}"),
                [KEY_DIM, 1, side, side],
                1,
                KEY_DIM,
                fold,
            )
        };
        Self {
            before: sandwich(&format!("{name}.dw0"), &format!("{name}.ffn0"), width),
            mixer: CascadedGroup {
                window,
                key_dim: KEY_DIM,
                qkv: (0..heads)
                    .map(|i| {
                        let shape = [2 * KEY_DIM + d, d, 1, 1];
                        conv_bn(&format!("{attn}.qkvs.{i}"), shape, 1, 1, Fold::Norm)
                    })
                    .collect(),
                q: (0..heads).map(|i| dws(i, Fold::Norm)).collect(),
                q_scaled: (0..heads).map(|i| dws(i, Fold::Scale)).collect(),
                spread,
                project: conv_bn(
                    &format!("{attn}.proj.1"),
                    [width, width, 1, 1],
                    1,
                    1,
                    Fold::Norm,
                ),
            },
            after: sandwich(&format!("{name}.dw1"), &format!("{name}.ffn1"), width),
        }
    }

    fn forward<'g>(&self, x: Value<'g>) -> (Value<'g>, Vec<Value<'g>>) {
        let x = self.before.apply(x);
        let (x, attention) = self.mixer.apply(x);
        (self.after.apply(x), attention)
    }
}

/// `x + dw(x)`, then `x + ffn(x)`: the two residuals that always come together.
fn sandwich(dw: &str, ffn: &str, width: usize) -> DepthwiseFfn {
    let depthwise = |fold| conv_bn(&format!("{dw}.m"), [width, 1, 3, 3], 1, width, fold);
    DepthwiseFfn {
        depthwise: depthwise(Fold::Norm),
        with_identity: depthwise(Fold::Identity),
        expand: conv_bn(
            &format!("{ffn}.m.pw1"),
            [2 * width, width, 1, 1],
            1,
            1,
            Fold::Norm,
        ),
        project: conv_bn(
            &format!("{ffn}.m.pw2"),
            [width, 2 * width, 1, 1],
            1,
            1,
            Fold::Norm,
        ),
    }
}
