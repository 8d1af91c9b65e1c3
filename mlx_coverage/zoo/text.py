"""Language models: decoders without a cache (prefill), encoders, and T5."""

from typing import Any

from mlx_coverage.zoo.preset import Methods, Preset, Published, Scale, Selected, Seq2SeqDecoder

SMALL_DECODER = {
    "vocab_size": 256,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}

LLAMA = Published(
    "meta-llama/Llama-3.2-1B, config.json",
    {
        "vocab_size": 128256,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True,
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 500000.0,
            "factor": 32.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
    },
)


def publish_qwen3(
    model: str, hidden: int, intermediate: int, layers: int, heads: int
) -> tuple[Published, ...]:
    """The numbers that the sizes of Qwen 3 share, and those in which they differ."""
    return (
        Published(
            f"{model}, config.json",
            {
                "vocab_size": 151936,
                "hidden_size": hidden,
                "intermediate_size": intermediate,
                "num_hidden_layers": layers,
                "num_attention_heads": heads,
                "num_key_value_heads": 8,
                "head_dim": 128,
                "max_position_embeddings": 40960,
                "rms_norm_eps": 1e-6,
                "tie_word_embeddings": True,
                "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0},
            },
        ),
    )


PHI_4_MINI = Published(
    "microsoft/Phi-4-mini-instruct, config.json",
    {
        "vocab_size": 200064,
        "hidden_size": 3072,
        "intermediate_size": 8192,
        "num_hidden_layers": 32,
        "num_attention_heads": 24,
        "num_key_value_heads": 8,
        "max_position_embeddings": 131072,
        "original_max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "sliding_window": 262144,
        "tie_word_embeddings": True,
        "pad_token_id": 199999,
        "bos_token_id": 199999,
        "eos_token_id": 199999,
        "rope_parameters": {
            "rope_type": "longrope",
            "rope_theta": 10000.0,
            "partial_rotary_factor": 0.75,
            "original_max_position_embeddings": 4096,
            "short_factor": [1.0] * 48,
            "long_factor": [
                1.0, 1.118320672, 1.250641126, 1.398617824, 1.564103225, 1.74916897,
                1.956131817, 2.187582649, 2.446418898, 2.735880826, 3.059592084, 3.421605075,
                3.826451687, 4.279200023, 4.785517845, 5.351743533, 5.984965424, 6.693110555,
                7.485043894, 8.370679318, 9.36110372, 10.4687158, 11.70738129, 13.09260651,
                14.64173252, 16.37415215, 18.31155283, 20.47818807, 22.90118105, 25.61086418,
                28.64115884, 32.03, 32.1, 32.13, 32.23, 32.6, 32.61, 32.64, 32.66, 32.7, 32.71,
                32.93, 32.97, 33.28, 33.49, 33.5, 44.16, 47.77,
            ],
        },
    },
)  # fmt: skip

GEMMA_3_1B = Published(
    "google/gemma-3-1b-it, config.json",
    {
        "vocab_size": 262144,
        "hidden_size": 1152,
        "intermediate_size": 6912,
        "num_hidden_layers": 26,
        "num_attention_heads": 4,
        "num_key_value_heads": 1,
        "head_dim": 256,
        "max_position_embeddings": 32768,
        "query_pre_attn_scalar": 256,
        "rms_norm_eps": 1e-6,
        "sliding_window": 512,
        "rope_parameters": {
            "full_attention": {"rope_type": "default", "rope_theta": 1000000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
        },
    },
)

GEMMA_3_4B = (
    Published(
        "google/gemma-3-4b-it, config.json",
        {
            "mm_tokens_per_image": 256,
            "text_config": {
                "hidden_size": 2560,
                "intermediate_size": 10240,
                "num_hidden_layers": 34,
                "sliding_window": 1024,
                "rope_parameters": {
                    "full_attention": {
                        "rope_type": "linear",
                        "factor": 8.0,
                        "rope_theta": 1000000.0,
                    },
                    "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
                },
            },
            "vision_config": {
                "hidden_size": 1152,
                "intermediate_size": 4304,
                "num_hidden_layers": 27,
                "num_attention_heads": 16,
                "image_size": 896,
                "patch_size": 14,
                "vision_use_head": False,
            },
        },
    ),
    Published("transformers, defaults of Gemma3TextConfig (heads, vocabulary, epsilon)"),
)

QWEN_3_5_MOE = Published(
    "transformers, defaults of Qwen3_5MoeTextConfig, documented as Qwen/Qwen3.5-35B-A3B"
)

BERT = Published("transformers, defaults of BertConfig, documented as bert-base-uncased")
GPT2 = Published("transformers, defaults of GPT2Config, documented as openai-community/gpt2")
T5 = Published("transformers, defaults of T5Config, documented as google-t5/t5-small")


def build_decoder(kind: str, head: str = "ForCausalLM", **options: Any) -> Any:
    """A builder of a causal language model: token ids to logits, the whole sequence at once."""

    def build(scale: Scale, numbers: dict[str, Any]) -> Methods:
        import transformers

        config = getattr(transformers, f"{kind}Config")(**numbers)
        name = kind.removesuffix("Text") + head
        model = scale.instantiate(getattr(transformers, name), config, **options)
        module = Selected(model, ("input_ids",), ("logits",), use_cache=False)
        tokens = scale.tokens(1, scale.pick(128, 12), below=config.vocab_size)
        return {"forward": (module, (tokens,), {}, None)}

    return build


def build_gemma3(scale: Scale, numbers: dict[str, Any]) -> Methods:
    """Image to soft tokens, and embeddings to logits."""
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    config = Gemma3Config(**numbers)
    model = scale.instantiate(Gemma3ForConditionalGeneration, config)
    side = config.vision_config.image_size
    see = Selected(model.model, ("pixel_values",), ("pooler_output",), "get_image_features")
    write = Selected(model, ("inputs_embeds",), ("logits",), use_cache=False)
    embeddings = scale.floats(1, scale.pick(300, 12), config.text_config.hidden_size)
    return {
        "encode_image": (see, (scale.floats(1, 3, side, side),), {}, None),
        "decode": (write, (embeddings,), {}, None),
    }


def build_bert(scale: Scale, numbers: dict[str, Any]) -> Methods:
    """Token ids and a mask to the last hidden state and the pooled one."""
    from transformers import BertConfig, BertModel

    config = BertConfig(**numbers)
    module = Selected(
        scale.instantiate(BertModel, config),
        ("input_ids", "attention_mask"),
        ("last_hidden_state", "pooler_output"),
    )
    tokens = scale.tokens(2, scale.pick(128, 12), below=config.vocab_size)
    mask = tokens.new_ones(tokens.shape)
    mask[1, -3:] = 0
    return {"forward": (module, (tokens, mask), {}, None)}


def build_t5(scale: Scale, numbers: dict[str, Any]) -> Methods:
    """The encoder, and a decoder step over the whole target so far."""
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(**numbers)
    model = scale.instantiate(T5ForConditionalGeneration, config)
    length = scale.pick(128, 12)
    encode = Selected(model.encoder, ("input_ids",), ("last_hidden_state",))
    decode = Seq2SeqDecoder(model)
    encoded = scale.floats(1, length, config.d_model)
    target = scale.tokens(1, length // 2, below=config.vocab_size)
    source = scale.tokens(1, length, below=config.vocab_size)
    return {
        "encode": (encode, (source,), {}, None),
        "decode": (decode, (encoded, target), {}, None),
    }


PRESETS = (
    Preset("llama-3.2-1b", "Llama", (LLAMA,), SMALL_DECODER, build_decoder("Llama")),
    *(
        Preset(f"qwen3-{size}", "Qwen 3", published, SMALL_DECODER, build_decoder("Qwen3"))
        for size, published in {
            "0.6b": publish_qwen3("Qwen/Qwen3-0.6B", 1024, 3072, 28, 16),
            "1.7b": publish_qwen3("Qwen/Qwen3-1.7B", 2048, 6144, 28, 16),
            "4b": publish_qwen3("Qwen/Qwen3-4B", 2560, 9728, 36, 32),
        }.items()
    ),
    Preset(
        "phi-4-mini", "Phi-4 mini", (PHI_4_MINI,),
        {
            **{name: size for name, size in SMALL_DECODER.items() if name != "head_dim"},
            # Heads of 16, of which 12 rotate: 6 factors.
            "rope_parameters": {"short_factor": [1.0] * 6, "long_factor": [1.0, 1.2, 2, 4, 8, 16]},
        },
        build_decoder("Phi3"),
    ),
    Preset(
        "gemma-3-1b", "Gemma 3 text", (GEMMA_3_1B,),
        # Six layers: five with a sliding window, and one without.
        {**SMALL_DECODER, "num_hidden_layers": 6, "num_key_value_heads": 1, "sliding_window": 8},
        build_decoder("Gemma3Text"),
    ),
    Preset(
        "gemma-3-4b", "Gemma 3 text and vision", GEMMA_3_4B,
        {
            "mm_tokens_per_image": 4,
            "image_token_index": 250,
            "boi_token_index": 251,
            "eoi_token_index": 252,
            "text_config": {**SMALL_DECODER, "num_hidden_layers": 6, "sliding_window": 8},
            "vision_config": {
                "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
                "num_attention_heads": 2, "image_size": 56,
            },
        },
        build_gemma3,
    ),
    Preset(
        "qwen3.5-35b-a3b", "Qwen 3.5 MoE", (QWEN_3_5_MOE,),
        {
            **{name: size for name, size in SMALL_DECODER.items() if name != "intermediate_size"},
            "num_hidden_layers": 2, "layer_types": ["linear_attention", "full_attention"],
            "moe_intermediate_size": 32,
            "shared_expert_intermediate_size": 32, "num_experts": 8, "num_experts_per_tok": 2,
            "linear_key_head_dim": 16, "linear_value_head_dim": 16,
            "linear_num_key_heads": 2, "linear_num_value_heads": 4,
            "rope_parameters": {
                "rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5,
                "mrope_section": [2, 1, 1],
            },
        },
        build_decoder("Qwen3_5MoeText", experts_implementation="batched_mm"),
    ),
    Preset(
        "bert-base", "BERT", (BERT,),
        {
            "vocab_size": 256, "hidden_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 4, "intermediate_size": 128, "max_position_embeddings": 64,
        },
        build_bert,
    ),
    Preset(
        "gpt2", "GPT-2", (GPT2,),
        {
            "vocab_size": 256, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 64,
            "bos_token_id": 1, "eos_token_id": 2,
        },
        build_decoder("GPT2", "LMHeadModel"),
    ),
    Preset(
        "t5-small", "T5", (T5,),
        {
            "vocab_size": 256, "d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2,
            "num_heads": 4,
        },
        build_t5,
    ),
)  # fmt: skip
