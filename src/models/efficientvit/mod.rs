//! EfficientViT: between two sandwiches of depthwise convolutions and feed-forward layers, one attention whose
//! heads form a cascade, each fed its split of the features and the output of the head before.
//!
//! Liu et al., "EfficientViT: Memory Efficient Vision Transformer with Cascaded Group Attention", CVPR 2023,
//! <https://arxiv.org/abs/2305.07027>. Weights carry timm's names; maps are [batch, height, width, channels].

mod bias;
mod checkpoint;
mod config;
mod fold;

pub use checkpoint::{fits, inspect, reader};
pub use config::{Config, KEY_DIM, NAMES, WINDOW};

use crate::error::Result;
use crate::graph::{Finished, Graph, Value, Weight};
use crate::ops::{CascadedGroup, Conv, DepthwiseFfn, Expand, Head, Stem};
use fold::{Fold, classifier, conv_bias, conv_bn, position_bias};

/// The model's constants, in its own structure.
pub struct EfficientViT {
    config: Config,
    stem: Stem,
    stages: Vec<Stage>,
    head: (Weight, Weight),
}

struct Stage {
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

/// What a run of the model computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Outputs {
    /// `logits` [batch, classes].
    pub logits: bool,
    /// `stage0`, `stage1`, `stage2`: the maps at strides 16, 32, 64 as [batch, channels, height, width].
    pub stages: bool,
    /// `attention.<stage>.<block>.<head>` [batch · windows, tokens, tokens].
    pub attention: bool,
}

impl Outputs {
    /// The class scores alone.
    pub const fn logits() -> Self {
        Self {
            logits: true,
            stages: false,
            attention: false,
        }
    }
}

impl EfficientViT {
    /// The model that `config` describes.
    ///
    /// # Errors
    /// [`Error::Usage`](crate::Error::Usage) where the input's size cannot be.
    pub fn new(config: &Config) -> Result<Self> {
        let windows = config.windows()?;
        let d = config.dims[0];
        let stem = |i: usize, from: usize, to: usize| {
            let name = format!("patch_embed.conv{i}");
            conv_bn(&name, [to, from, 3, 3], 2, 1, Fold::Norm)
        };
        let heads: &[&str] = if config.distilled {
            &["head", "head_dist"]
        } else {
            &["head"]
        };
        Ok(Self {
            config: config.clone(),
            stem: Stem {
                convs: [
                    stem(1, 3, d / 8),
                    stem(2, d / 8, d / 4),
                    stem(3, d / 4, d / 2),
                    stem(4, d / 2, d),
                ],
            },
            stages: (0..3).map(|s| Stage::new(config, s, windows[s])).collect(),
            head: classifier(heads, config.classes, config.dims[2]),
        })
    }

    /// The graph of one run on `images` [batch, 3, height, width].
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) where the model does not fit together, or the batch is 0.
    pub fn graph(&self, batch: usize, outputs: Outputs) -> Result<Finished> {
        let g = Graph::new();
        let [h, w] = self.config.size;
        let images = g.input("x", &[batch, 3, h, w]);
        let mut x = {
            let _scope = g.scope("patch_embed");
            self.stem.apply(images.permute(&[0, 2, 3, 1]))
        };
        for (s, stage) in self.stages.iter().enumerate() {
            let _scope = g.scope(format_args!("stages.{s}"));
            x = stage.forward(&g, x, s, outputs.attention);
            if outputs.stages {
                g.output(format_args!("stage{s}"), x.permute(&[0, 3, 1, 2]));
            }
        }
        if outputs.logits {
            let _scope = g.scope("head");
            let (weight, bias) = &self.head;
            g.output("logits", Head { weight, bias }.apply(x));
        }
        g.finish()
    }
}

impl Stage {
    fn new(c: &Config, s: usize, window: usize) -> Self {
        let name = format!("stages.{s}");
        Self {
            merge: (s > 0)
                .then(|| Merge::new(c.dims[s - 1], c.dims[s], &format!("{name}.downsample"))),
            blocks: (0..c.depths[s])
                .map(|j| Block::new(c, s, window, &format!("{name}.blocks.{j}")))
                .collect(),
        }
    }

    fn forward<'g>(&self, g: &'g Graph, mut x: Value<'g>, s: usize, probe: bool) -> Value<'g> {
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
        let (table, spread) = position_bias(
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
                table,
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
