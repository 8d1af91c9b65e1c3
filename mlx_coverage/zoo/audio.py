"""Speech models: Whisper, Parakeet, Voxtral (offline and streaming) and wav2vec2."""

from typing import Any

import torch
from torch import Tensor, nn

from mlx_coverage.zoo.preset import Methods, Preset, Published, Scale, Selected, Seq2SeqDecoder
from mlx_coverage.zoo.text import SMALL_DECODER

WHISPER = (
    Published(
        "openai/whisper-tiny, config.json",
        {
            "vocab_size": 51865,
            "num_mel_bins": 80,
            "d_model": 384,
            "encoder_layers": 4,
            "encoder_attention_heads": 6,
            "encoder_ffn_dim": 1536,
            "decoder_layers": 4,
            "decoder_attention_heads": 6,
            "decoder_ffn_dim": 1536,
            "max_source_positions": 1500,
            "max_target_positions": 448,
        },
    ),
)

PARAKEET = (
    Published("transformers, defaults of ParakeetTDTConfig, for nvidia/parakeet-tdt-0.6b-v3"),
    Published(
        "nvidia/parakeet-tdt-0.6b-v3, model_config.yaml",
        {
            "encoder_config": {
                "num_mel_bins": 128,
                "attention_bias": False,
                "convolution_bias": False,
                "scale_input": False,
            }
        },
    ),
)

VOXTRAL = (
    Published("transformers, defaults of VoxtralConfig, for mistralai/Voxtral-Mini-3B-2507"),
)
VOXTRAL_REALTIME = (
    Published(
        "transformers, defaults of VoxtralRealtimeConfig, for "
        "mistralai/Voxtral-Mini-4B-Realtime-2602"
    ),
)
WAV2VEC2 = (
    Published(
        "transformers, defaults of Wav2Vec2Config, documented as facebook/wav2vec2-base-960h"
    ),
)


class Predictor(nn.Module):
    """One step of Parakeet's prediction network, its state in and out."""

    decoder: Any  # transformers' class, whose parts are called by name

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, tokens: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, ...]:
        """Tokens (batch, 1) and states (layers, batch, width) to the output and new states."""
        embedded = self.decoder.embedding(tokens)
        output, (hidden, cell) = self.decoder.lstm(embedded, (hidden, cell))
        return self.decoder.decoder_projector(output), hidden, cell


class Joint(nn.Module):
    """Parakeet's joint network: the next token and how many frames to advance."""

    joint: Any

    def __init__(self, joint: nn.Module) -> None:
        super().__init__()
        self.joint = joint

    def forward(self, decoded: Tensor, encoded: Tensor) -> tuple[Tensor, Tensor]:
        """Both networks' outputs (batch, 1, width) to indices (batch, 1)."""
        logits = self.joint(decoder_hidden_states=decoded, encoder_hidden_states=encoded)
        tokens = logits[..., : self.joint.vocab_size]
        return tokens.argmax(-1), logits[..., self.joint.vocab_size :].argmax(-1)


class StreamingEncoder(nn.Module):
    """Voxtral's causal encoder on one chunk; convolution padding and keys and values are passed.

    Args:
        encoder: transformers' VoxtralRealtimeEncoder.
    """

    encoder: Any

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, features: Tensor, paddings: list[Tensor], past: list[Tensor]) -> Any:
        """Features (1, mel bins, frames) to hidden states, new paddings, keys and values."""
        from transformers import DynamicCache
        from transformers.models.voxtral_realtime import modeling_voxtral_realtime as voxtral

        padding = voxtral.VoxtralRealtimeConv1dPaddingCache()
        convolutions = (self.encoder.embedder.conv1, self.encoder.embedder.conv2)
        for convolution, values in zip(convolutions, paddings, strict=True):
            layer = voxtral.VoxtralRealtimeConv1dCacheLayer()
            layer.left_pad, layer.in_channels = convolution.left_pad, convolution.in_channels
            layer.cache, layer.is_initialized = values.clone(), True
            padding.layers[convolution.cache_key] = layer
        cache = DynamicCache()
        for number, (key, value) in enumerate(zip(past[::2], past[1::2], strict=True)):
            cache.update(key, value, number)
        result = self.encoder(
            input_features=features, past_key_values=cache, padding_cache=padding, use_cache=True
        )
        states = [state for layer in cache.layers for state in (layer.keys, layer.values)]
        paddings = [padding.layers[c.cache_key].cache for c in convolutions]
        return result.last_hidden_state, paddings, states


class RealtimeDecoder(nn.Module):
    """Voxtral's text model, conditioned on how far it may lag behind the audio."""

    model: Any

    def __init__(self, model: nn.Module, delay: int) -> None:
        super().__init__()
        self.model = model
        self.delay = delay

    def forward(self, embeddings: Tensor) -> Tensor:
        """Embeddings (1, length, width) to logits (1, length, vocabulary)."""
        body = self.model.model
        time = torch.full((1,), float(self.delay), device=embeddings.device)
        condition = body.time_embedding(time)[None]
        result = body.language_model(inputs_embeds=embeddings, t_cond=condition, use_cache=False)
        logits: Tensor = self.model.lm_head(result.last_hidden_state)
        return logits


def build_whisper(scale: Scale, numbers: dict[str, Any]) -> Methods:
    """The encoder on a window of audio, and a decoder step over the text so far."""
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    config = WhisperConfig(**numbers)
    model = scale.instantiate(WhisperForConditionalGeneration, config)
    frames = config.max_source_positions
    encode = Selected(model.get_encoder(), ("input_features",), ("last_hidden_state",))
    features = scale.floats(1, config.num_mel_bins, 2 * frames)
    encoded = scale.floats(1, frames, config.d_model)
    tokens = scale.tokens(1, scale.pick(32, 6), below=config.vocab_size)
    return {
        "encode": (encode, (features,), {}, None),
        "decode": (Seq2SeqDecoder(model), (encoded, tokens), {}, None),
    }


def build_parakeet(scale: Scale, numbers: dict[str, Any]) -> Methods:
    """Encoder with its projection, one step of the LSTM predictor, and the joint network."""
    from transformers import ParakeetForTDT, ParakeetTDTConfig

    config = ParakeetTDTConfig(**numbers)
    model = scale.instantiate(ParakeetForTDT, config)
    frames, width = scale.pick(800, 48), config.decoder_hidden_size
    features = scale.floats(1, frames, config.encoder_config.num_mel_bins)
    mask = scale.tokens(1, frames, below=1) + 1
    encode = Selected(
        model, ("input_features", "attention_mask"), ("pooler_output",), "get_audio_features"
    )
    state = (config.num_decoder_layers, 1, width)
    step = (scale.tokens(1, 1, below=config.vocab_size), scale.floats(*state), scale.floats(*state))
    both = (scale.floats(1, 1, width), scale.floats(1, 1, width))
    return {
        "encode": (encode, (features, mask), {}, None),
        "predict": (Predictor(model.decoder), step, {}, None),
        "join": (Joint(model.joint), both, {}, None),
    }


def build_voxtral(scale: Scale, numbers: dict[str, Any]) -> Methods:
    """Thirty seconds of audio to embeddings, and embeddings to logits."""
    from transformers import VoxtralConfig, VoxtralForConditionalGeneration

    config = VoxtralConfig(**numbers)
    model = scale.instantiate(VoxtralForConditionalGeneration, config)
    audio = config.audio_config
    features = scale.floats(1, audio.num_mel_bins, 2 * audio.max_source_positions)
    listen = Selected(model.model, ("input_features",), ("pooler_output",), "get_audio_features")
    write = Selected(model, ("inputs_embeds",), ("logits",), use_cache=False)
    embeddings = scale.floats(1, scale.pick(400, 12), config.text_config.hidden_size)
    return {
        "encode_audio": (listen, (features,), {}, None),
        "decode": (write, (embeddings,), {}, None),
    }


def build_voxtral_realtime(scale: Scale, numbers: dict[str, Any]) -> Methods:
    """One chunk of audio through the encoder with its state, its projection, and the decoder."""
    from transformers import VoxtralRealtimeConfig, VoxtralRealtimeForConditionalGeneration

    config = VoxtralRealtimeConfig(**numbers)
    model = scale.instantiate(VoxtralRealtimeForConditionalGeneration, config)
    audio, encoder = config.audio_config, model.model.audio_tower
    convolutions = (encoder.embedder.conv1, encoder.embedder.conv2)
    paddings = [scale.floats(1, c.in_channels, c.left_pad) for c in convolutions]
    seen = (1, audio.num_attention_heads, scale.pick(100, 6), audio.head_dim)
    past = [scale.floats(*seen) for _ in range(2 * audio.num_hidden_layers)]
    features = scale.floats(1, audio.num_mel_bins, 8)
    grouped = scale.floats(1, 1, audio.hidden_size * config.downsample_factor)
    embeddings = scale.floats(1, scale.pick(64, 6), config.text_config.hidden_size)
    decoder = RealtimeDecoder(model, config.default_num_delay_tokens)
    return {
        "encode_chunk": (StreamingEncoder(encoder), (features, paddings, past), {}, None),
        "project": (model.model.multi_modal_projector, (grouped,), {}, None),
        "decode": (decoder, (embeddings,), {}, None),
    }


def build_wav2vec2(scale: Scale, numbers: dict[str, Any]) -> Methods:
    """Samples at 16 kHz to the logits of characters."""
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

    model = scale.instantiate(Wav2Vec2ForCTC, Wav2Vec2Config(**numbers))
    samples = scale.floats(1, scale.pick(16000, 2000))
    return {"forward": (Selected(model, ("input_values",), ("logits",)), (samples,), {}, None)}


PRESETS = (
    Preset(
        "whisper-tiny", "Whisper", WHISPER,
        {
            "vocab_size": 256, "num_mel_bins": 16, "d_model": 64, "encoder_layers": 2,
            "encoder_attention_heads": 4, "encoder_ffn_dim": 128, "decoder_layers": 2,
            "decoder_attention_heads": 4, "decoder_ffn_dim": 128, "max_source_positions": 30,
            "max_target_positions": 24, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
            "decoder_start_token_id": 3,
        },
        build_whisper,
    ),
    Preset(
        "parakeet-tdt-0.6b-v3", "Parakeet", PARAKEET,
        {
            "vocab_size": 65, "blank_token_id": 64, "decoder_hidden_size": 32,
            "encoder_config": {
                "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
                "intermediate_size": 128, "num_mel_bins": 16, "subsampling_conv_channels": 8,
                "max_position_embeddings": 64,
            },
        },
        build_parakeet,
    ),
    Preset(
        "voxtral-mini-3b", "Voxtral", VOXTRAL,
        {
            "audio_token_id": 24,
            "text_config": SMALL_DECODER,
            "audio_config": {
                "vocab_size": 256, "hidden_size": 64, "intermediate_size": 256,
                "num_hidden_layers": 2, "num_attention_heads": 4, "num_mel_bins": 16,
                "max_source_positions": 32,
            },
        },
        build_voxtral,
    ),
    Preset(
        "voxtral-mini-4b-realtime", "Voxtral", VOXTRAL_REALTIME,
        {
            "text_config": {**SMALL_DECODER, "sliding_window": 8},
            "audio_config": {
                "vocab_size": 256, "hidden_size": 64, "intermediate_size": 128,
                "num_hidden_layers": 2, "num_attention_heads": 4, "num_mel_bins": 16,
                "head_dim": 16, "sliding_window": 16,
            },
        },
        build_voxtral_realtime,
    ),
    Preset(
        "wav2vec2-base", "wav2vec2", WAV2VEC2,
        {
            "vocab_size": 32, "hidden_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 4, "intermediate_size": 128, "conv_dim": [16] * 4,
            "conv_stride": [5, 2, 2, 2], "conv_kernel": [10, 3, 3, 2],
            "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4,
        },
        build_wav2vec2,
    ),
)  # fmt: skip
