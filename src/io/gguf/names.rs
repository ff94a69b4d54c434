//! llama.cpp's names of tensors as the published checkpoints have them, and its order of the rows of q and k.

/// The published name of what a GGUF file calls `name`, or `None` where the models have no such tensor.
pub fn published(name: &str) -> Option<String> {
    let plain = match name {
        "token_embd.weight" => "model.embed_tokens.weight",
        "output_norm.weight" => "model.norm.weight",
        "output.weight" => "lm_head.weight",
        _ => {
            let (layer, rest) = name.strip_prefix("blk.")?.split_once('.')?;
            let (part, kind) = rest.split_once('.')?;
            let part = match part {
                "attn_norm" => "input_layernorm",
                "ffn_norm" => "post_attention_layernorm",
                "attn_q" => "self_attn.q_proj",
                "attn_k" => "self_attn.k_proj",
                "attn_v" => "self_attn.v_proj",
                "attn_output" => "self_attn.o_proj",
                "ffn_gate" => "mlp.gate_proj",
                "ffn_up" => "mlp.up_proj",
                "ffn_down" => "mlp.down_proj",
                _ => return None,
            };
            let sound =
                layer.bytes().all(|b| b.is_ascii_digit()) && ["weight", "bias"].contains(&kind);
            return sound.then(|| format!("model.layers.{layer}.{part}.{kind}"));
        }
    };
    Some(plain.to_string())
}

/// Whether llama.cpp's converter reorders the rows of the tensor that is published as `name`.
pub fn reordered(architecture: &str, name: &str) -> bool {
    architecture == "llama"
        && [".self_attn.q_proj.", ".self_attn.k_proj."]
            .iter()
            .any(|part| name.contains(part))
}

/// Rows in the published order. For its rotary embedding of neighbours, llama.cpp puts row i and row i + D/2 of each
/// head (D rows) side by side; the published order has the pairs half a head apart.
///
/// `rows` is rows of `row_bytes` bytes, whole heads of `head_dim` rows.
pub fn restore(rows: &[u8], row_bytes: usize, head_dim: usize) -> Vec<u8> {
    let half = head_dim / 2;
    let mut out = Vec::with_capacity(rows.len());
    for head in rows.chunks(head_dim * row_bytes) {
        for at in 0..head_dim {
            let from = 2 * (at % half) + at / half;
            out.extend_from_slice(&head[from * row_bytes..(from + 1) * row_bytes]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_published_ones() {
        for (file, name) in [
            ("token_embd.weight", Some("model.embed_tokens.weight")),
            ("output.weight", Some("lm_head.weight")),
            (
                "blk.11.attn_norm.weight",
                Some("model.layers.11.input_layernorm.weight"),
            ),
            (
                "blk.0.attn_q.bias",
                Some("model.layers.0.self_attn.q_proj.bias"),
            ),
            (
                "blk.0.ffn_down.weight",
                Some("model.layers.0.mlp.down_proj.weight"),
            ),
            ("blk.x.ffn_down.weight", None),
            ("blk.0.ffn_down.scale", None),
            ("rope_freqs.weight", None),
            ("", None),
        ] {
            assert_eq!(published(file).as_deref(), name, "{file}");
        }
    }

    #[test]
    fn rows_return_to_halves() {
        // The converter: reshape (heads, 2, D/2), swap the last two.
        let (heads, dim, row) = (3, 8, 2);
        let published: Vec<u8> = (0..heads * dim * row).map(|i| i as u8).collect();
        let mut file = Vec::new();
        for head in 0..heads {
            for pair in 0..dim / 2 {
                for side in 0..2 {
                    let at = (head * dim + side * dim / 2 + pair) * row;
                    file.extend_from_slice(&published[at..at + row]);
                }
            }
        }
        assert_ne!(file, published);
        assert_eq!(restore(&file, row, dim), published);
    }
}
