"""Stable Diffusion 1.5: the UNet and the autoencoder, from diffusers."""

from typing import Any

from mlx_coverage.zoo.preset import Methods, Preset, Published, Scale, Selected

MODEL = "stable-diffusion-v1-5/stable-diffusion-v1-5"

UNET = Published(
    f"{MODEL}, unet/config.json",
    {
        "sample_size": 64,
        "in_channels": 4,
        "out_channels": 4,
        "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        "block_out_channels": (320, 640, 1280, 1280),
        "layers_per_block": 2,
        "cross_attention_dim": 768,
        "attention_head_dim": 8,
        "norm_num_groups": 32,
    },
)

VAE = Published(
    f"{MODEL}, vae/config.json",
    {
        "sample_size": 512,
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": 4,
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "block_out_channels": (128, 256, 512, 512),
        "layers_per_block": 2,
        "norm_num_groups": 32,
    },
)


def build_unet(scale: Scale, numbers: dict[str, Any]) -> Methods:
    """Noisy latents, a time step and the text's embedding to the noise."""
    from diffusers import UNet2DConditionModel

    model = scale.construct(lambda: UNet2DConditionModel(**numbers))
    side = numbers["sample_size"]
    latents = scale.floats(2, numbers["in_channels"], side, side)
    text = scale.floats(2, scale.pick(77, 7), numbers["cross_attention_dim"])
    inputs = (latents, scale.tokens(2, below=1000), text)
    names = ("sample", "timestep", "encoder_hidden_states")
    return {"forward": (Selected(model, names, ("sample",)), inputs, {}, None)}


def build_vae(scale: Scale, numbers: dict[str, Any]) -> Methods:
    """Image to the mean and logarithmic variance of its latents, and latents to image."""
    from diffusers import AutoencoderKL

    model = scale.construct(lambda: AutoencoderKL(**numbers))
    side = numbers["sample_size"]
    down = 2 ** (len(numbers["block_out_channels"]) - 1)
    image = scale.floats(1, 3, side, side)
    latents = scale.floats(1, numbers["latent_channels"], side // down, side // down)
    encode = Selected(model, ("x",), method="_encode")
    decode = Selected(model, ("z",), ("sample",), method="decode")
    return {
        "encode": (encode, (image,), {}, None),
        "decode": (decode, (latents,), {}, None),
    }


PRESETS = (
    Preset(
        "stable-diffusion-1.5-unet", "Stable Diffusion UNet", (UNET,),
        {
            "sample_size": 8, "block_out_channels": (16, 32), "layers_per_block": 1,
            "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
            "cross_attention_dim": 24, "attention_head_dim": 2, "norm_num_groups": 8,
        },
        build_unet,
        ("diffusers",),
    ),
    Preset(
        "stable-diffusion-1.5-vae", "Stable Diffusion VAE", (VAE,),
        {
            "sample_size": 16, "block_out_channels": (16, 32), "layers_per_block": 1,
            "down_block_types": ("DownEncoderBlock2D",) * 2,
            "up_block_types": ("UpDecoderBlock2D",) * 2, "norm_num_groups": 8,
        },
        build_vae,
        ("diffusers",),
    ),
)  # fmt: skip
