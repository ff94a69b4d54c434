//! Every kernel, one file each beside its shader of the same stem. [`KERNELS`] is the one list of them; tests,
//! benches and tables are derived from it.

pub mod attention;
pub mod conv;
pub mod elementwise;
pub mod embedding;
pub mod ffn;
pub mod lanes;
pub mod loss;
pub mod matmul;
pub mod norm;
pub mod optim;
pub mod reduce;
pub mod sample;

use crate::shader::Kernel;

/// Functions that kernels take by `//!use name`, in several implementations with one signature.
pub struct Lib {
    pub name: &'static str,
    pub choice: &'static str,
    /// Its file below `shaders/`.
    pub path: &'static str,
    pub source: &'static str,
}

macro_rules! libs {
    ($($name:literal: [$($choice:literal),* $(,)?]),* $(,)?) => {
        &[$($(Lib {
            name: $name,
            choice: $choice,
            path: concat!("lib/", $name, ".", $choice, ".wgsl"),
            source: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/lib/", $name, ".", $choice, ".wgsl")),
        }),*),*]
    };
}

/// Every file of `shaders/lib/`.
pub static LIBS: &[Lib] = libs! {
    "activation": ["none", "relu", "sigmoid"],
    "binary": ["add", "mul"],
    "distill": ["forward_kl", "reverse_kl", "jsd", "tv"],
    "lane_product": ["broadcast"],
    "lanes": ["one", "four"],
    "linear_store": ["plain", "add", "relu", "silu", "gelu"],
    "load_a": ["rows", "im2col", "depthwise", "gated", "mean"],
    "load_r": ["none", "rows", "parts", "depthwise"],
    "pick": ["scan"],
    "random": ["threefry"],
    "reduce": ["workgroup", "subgroup"],
    "rows_matmul": ["scalar", "coop"],
    "skinny": ["scalar", "coop", "lanes"],
    "tile_matmul": ["scalar"],
    "unary": ["relu", "sigmoid", "silu", "gelu"],
    "unary_grad": ["relu", "silu", "gelu"],
    "weight": ["f32", "f16", "q8_0", "q4_0", "coop_f16", "coop_q8_0", "coop_q4_0"],
    "wide": ["scalar", "coop", "lanes"],
    "window_attend": ["coop"],
    "window_attention": ["scalar"],
    "window_project": ["coop"],
};

/// Where element (`k`, `n`) of a matrix [_, columns] is in its blocks of 16 × 16, as `Lower::pack_blocks` lays them out.
pub(crate) const fn block_index(k: usize, n: usize, columns: usize) -> usize {
    ((k / 16 * (columns / 16) + n / 16) * 16 + n % 16) * 16 + k % 16
}

/// Every kernel.
pub static KERNELS: &[&Kernel] = &[
    &attention::cascaded_group::KERNEL,
    &attention::cascaded_group_matrix::KERNEL,
    &attention::causal_bwd_bias::KERNEL,
    &attention::causal_bwd_dkv::KERNEL,
    &attention::causal_bwd_dkv_coop::KERNEL,
    &attention::causal_bwd_dq::KERNEL,
    &attention::causal_bwd_dq_coop::KERNEL,
    &attention::causal_fwd::KERNEL,
    &attention::causal_fwd_coop::KERNEL,
    &attention::causal_stats::KERNEL,
    &attention::combine::KERNEL,
    &attention::decode::KERNEL,
    &attention::decode_coop::KERNEL,
    &attention::flash::KERNEL,
    &attention::flash_coop::KERNEL,
    &attention::lanes::KERNEL,
    &attention::rotary::KERNEL,
    &attention::turn::KERNEL,
    &attention::qkv::KERNEL,
    &conv::depthwise::KERNEL,
    &conv::direct::KERNEL,
    &conv::expand_depthwise::KERNEL,
    &conv::expand_depthwise_few::KERNEL,
    &conv::stem::KERNEL,
    &conv::stem_matrix::KERNEL,
    &elementwise::binary::KERNEL,
    &elementwise::copy::KERNEL,
    &elementwise::fill::KERNEL,
    &elementwise::gated::KERNEL,
    &elementwise::gated_bwd::KERNEL,
    &elementwise::multiply_add::KERNEL,
    &elementwise::unary::KERNEL,
    &elementwise::unary_bwd::KERNEL,
    &elementwise::window::KERNEL,
    &embedding::gather::KERNEL,
    &embedding::rows::KERNEL,
    &embedding::scatter::KERNEL,
    &ffn::depthwise_ffn::KERNEL,
    &ffn::depthwise_ffn_few::KERNEL,
    &ffn::depthwise_ffn_matrix::KERNEL,
    &loss::distill::KERNEL,
    &loss::take::KERNEL,
    &matmul::batched::KERNEL,
    &matmul::dense::KERNEL,
    &matmul::dense_coop::KERNEL,
    &matmul::dense_lanes::KERNEL,
    &matmul::gemm::KERNEL,
    &matmul::gemm_coop::KERNEL,
    &matmul::gemm_few::KERNEL,
    &matmul::gemm_small::KERNEL,
    &norm::rms_norm::KERNEL,
    &norm::rms_norm_bwd::KERNEL,
    &matmul::repack::KERNEL,
    &matmul::repack_q8_0::KERNEL,
    &matmul::skinny::KERNEL,
    &optim::adamw::KERNEL,
    &optim::clip::KERNEL,
    &optim::norm::KERNEL,
    &optim::sgd::KERNEL,
    &reduce::columns::KERNEL,
    &matmul::wide::KERNEL,
    &reduce::mean::KERNEL,
    &reduce::softmax::KERNEL,
    &sample::accept::KERNEL,
    &sample::draw::KERNEL,
    &sample::keep::KERNEL,
    &sample::overlap::KERNEL,
    &sample::transform::KERNEL,
];
