//! EfficientViT: between two sandwiches of depthwise convolutions and feed-forward layers, one attention whose
//! heads form a cascade, each fed its split of the features and the output of the head before.
//!
//! Liu et al., "EfficientViT: Memory Efficient Vision Transformer with Cascaded Group Attention", CVPR 2023,
//! <https://arxiv.org/abs/2305.07027>. Weights carry timm's names; maps are [batch, height, width, channels].

mod bias;
mod block;
mod checkpoint;
mod config;
mod fold;
mod names;

pub use checkpoint::{fits, inspect, reader};
pub use config::{Config, KEY_DIM, NAMES, WINDOW};

use crate::error::Result;
use crate::graph::{Finished, Graph, Weight};
use crate::ops::{Head, Stem};
use block::Stage;
use fold::{Fold, classifier, conv_bn};

/// The model's constants, in its own structure.
pub struct EfficientViT {
    config: Config,
    stem: Stem,
    stages: Vec<Stage>,
    head: (Weight, Weight),
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
