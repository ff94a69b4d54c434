//! Attention: EfficientViT's within windows, and that of language models over a cache of keys and values.

pub mod cached;
pub mod cascaded_group;
pub mod cascaded_group_matrix;
pub mod causal;
pub mod causal_bwd_bias;
pub mod causal_bwd_dkv;
pub mod causal_bwd_dkv_coop;
pub mod causal_bwd_dq;
pub mod causal_bwd_dq_coop;
pub mod causal_fwd;
pub mod causal_fwd_coop;
pub mod causal_stats;
pub mod combine;
pub mod decode;
pub mod decode_coop;
pub mod flash;
pub mod flash_coop;
pub mod lanes;
pub mod qkv;
pub mod rotary;
pub mod turn;
