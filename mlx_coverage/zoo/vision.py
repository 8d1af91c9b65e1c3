"""Vision models: classifiers, encoders, segmentation and detection."""

from typing import Any

from mlx_coverage.zoo.mobilenet_v3 import SMALL_TABLE, MobileNetV3
from mlx_coverage.zoo.preset import Methods, Preset, Published, Scale, Selected

IMAGENET = {"num_labels": 1000}


def default(config: str, model: str, numbers: dict[str, Any] | None = None) -> Published:
    """A configuration class's defaults, which its documentation says are a model's numbers."""
    return Published(
        f"transformers, defaults of {config}, documented as {model}; labels: config.json",
        numbers or {},
    )


def build_image_model(
    config: str, model: str, *outputs: str, side: int | None = None, small_side: int | None = None
) -> Any:
    """A builder of a model from images (1, 3, side, side) to named outputs."""

    def build(scale: Scale, numbers: dict[str, Any]) -> Methods:
        import transformers

        configuration = getattr(transformers, config)(**numbers)
        module = scale.instantiate(getattr(transformers, model), configuration)
        size = small_side if scale.small else side
        if size is None:
            size = configuration.image_size
        height, width = size if isinstance(size, (list, tuple)) else (size, size)
        images = scale.floats(1, 3, height, width)
        return {"forward": (Selected(module, ("pixel_values",), outputs), (images,), {}, None)}

    return build


def build_clip(scale: Scale, numbers: dict[str, Any]) -> Methods:
    """Images and texts to both similarity matrices."""
    from transformers import CLIPConfig, CLIPModel

    config = CLIPConfig(**numbers)
    model = scale.instantiate(CLIPModel, config)
    tokens = scale.tokens(2, scale.pick(77, 8), below=config.text_config.vocab_size - 2)
    if scale.small:
        tokens[0, 5:] = config.text_config.eos_token_id
        tokens[1, 7:] = config.text_config.eos_token_id
    side = config.vision_config.image_size
    module = Selected(model, ("input_ids", "pixel_values"), ("logits_per_image", "logits_per_text"))
    return {"forward": (module, (tokens, scale.floats(3, 3, side, side)), {}, None)}


def build_detr(scale: Scale, numbers: dict[str, Any]) -> Methods:
    """Image and padding mask to logits and boxes."""
    from transformers import DetrConfig, DetrForObjectDetection, ResNetConfig

    rest = {name: value for name, value in numbers.items() if name != "backbone"}
    backbone = ResNetConfig(**numbers["backbone"], out_features=["stage4"])
    config = DetrConfig(backbone_config=backbone, **rest)
    model = scale.instantiate(DetrForObjectDetection, config)
    height, width = (800, 1066) if not scale.small else (64, 96)
    mask = scale.tokens(1, height, width, below=1) + 1
    module = Selected(model, ("pixel_values", "pixel_mask"), ("logits", "pred_boxes"))
    return {"forward": (module, (scale.floats(1, 3, height, width), mask), {}, None)}


def build_sam(scale: Scale, numbers: dict[str, Any]) -> Methods:
    """Image to embedding, and embedding with points to masks."""
    from transformers import SamConfig, SamModel

    config = SamConfig(**numbers)
    model = scale.instantiate(SamModel, config)
    vision = config.vision_config
    side, grid = vision.image_size, vision.image_size // vision.patch_size
    encode = Selected(model, ("pixel_values",), method="get_image_embeddings")
    decode = Selected(
        model,
        ("image_embeddings", "input_points", "input_labels"),
        ("pred_masks", "iou_scores"),
    )
    embedding = scale.floats(1, vision.output_channels, grid, grid)
    points = scale.floats(1, 1, 2, 2) * 10 + side / 2
    # The model pads labels with floats, and ExecuTorch refuses to concatenate two dtypes.
    labels = scale.tokens(1, 1, 2, below=2).float()
    return {
        "encode": (encode, (scale.floats(1, 3, side, side),), {}, None),
        "decode": (decode, (embedding, points, labels), {}, None),
    }


def build_mobilenet_v3(scale: Scale, numbers: dict[str, Any]) -> Methods:
    """Image to logits."""
    module = scale.construct(lambda: MobileNetV3(**numbers))
    side = scale.pick(224, 64)
    return {"forward": (module, (scale.floats(1, 3, side, side),), {}, None)}


SMALL_VIT = {
    "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_labels": 10,
}  # fmt: skip
SMALL_STAGES = {"depths": [1, 1, 2, 1], "hidden_sizes": [16, 24, 32, 48], "num_labels": 10}
SMALL_RESNET = {
    "embedding_size": 16, "hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 1, 1],
}  # fmt: skip

PRESETS = (
    Preset(
        "vit-base", "ViT", (default("ViTConfig", "google/vit-base-patch16-224", IMAGENET),),
        {**SMALL_VIT, "intermediate_size": 128, "image_size": 64},
        build_image_model("ViTConfig", "ViTForImageClassification", "logits"),
    ),
    Preset(
        "clip-vit-base", "CLIP",
        (
            Published(
                "transformers, defaults of CLIPTextConfig and CLIPVisionConfig, documented as "
                "openai/clip-vit-base-patch32"
            ),
        ),
        {
            "projection_dim": 32,
            "text_config": {
                "vocab_size": 256, "hidden_size": 48, "intermediate_size": 96,
                "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 16,
                "bos_token_id": 254, "eos_token_id": 255,
            },
            "vision_config": {
                "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
                "num_attention_heads": 4, "image_size": 64, "patch_size": 16,
            },
        },
        build_clip,
    ),
    Preset(
        "dinov2-base", "DINOv2",
        (
            default("Dinov2Config", "facebook/dinov2-base"),
            # The processor crops to 224: positions are interpolated.
            Published("facebook/dinov2-base, config.json", {"image_size": 518}),
        ),
        {**SMALL_VIT, "image_size": 70},
        build_image_model(
            "Dinov2Config", "Dinov2Model", "last_hidden_state", "pooler_output",
            side=224, small_side=56,
        ),
    ),
    Preset(
        "swin-tiny", "Swin",
        (default("SwinConfig", "microsoft/swin-tiny-patch4-window7-224", IMAGENET),),
        {
            "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4,
            "image_size": 32, "num_labels": 10,
        },
        build_image_model("SwinConfig", "SwinForImageClassification", "logits"),
    ),
    Preset(
        "convnext-tiny", "ConvNeXt V1",
        (default("ConvNextConfig", "facebook/convnext-tiny-224", IMAGENET),), SMALL_STAGES,
        build_image_model(
            "ConvNextConfig", "ConvNextForImageClassification", "logits", side=224, small_side=64
        ),
    ),
    Preset(
        "convnextv2-tiny", "ConvNeXt V2",
        (default("ConvNextV2Config", "facebook/convnextv2-tiny-1k-224", IMAGENET),), SMALL_STAGES,
        build_image_model(
            "ConvNextV2Config", "ConvNextV2ForImageClassification", "logits",
            side=224, small_side=64,
        ),
    ),
    Preset(
        "segformer-b0", "SegFormer",
        (
            default(
                "SegformerConfig", "nvidia/segformer-b0-finetuned-ade-512-512", {"num_labels": 150}
            ),
        ),
        {
            "depths": [1, 1, 1, 1], "hidden_sizes": [16, 32, 40, 64],
            "decoder_hidden_size": 32, "num_labels": 10,
        },
        build_image_model(
            "SegformerConfig", "SegformerForSemanticSegmentation", "logits",
            side=512, small_side=64,
        ),
    ),
    Preset(
        "detr-resnet-50", "DETR",
        (
            default("DetrConfig", "facebook/detr-resnet-50", {"num_labels": 91}),
            Published(
                "transformers, defaults of ResNetConfig, documented as microsoft/resnet-50 (the "
                "published backbone is timm's resnet50)",
                {"backbone": {}},
            ),
        ),
        {
            "backbone": SMALL_RESNET, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2,
            "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "encoder_attention_heads": 4,
            "decoder_attention_heads": 4, "num_queries": 10, "num_labels": 10,
        },
        build_detr,
    ),
    Preset(
        "yolos-base", "YOLOS",
        (default("YolosConfig", "hustvl/yolos-base", {"num_labels": 91}),),
        {
            **SMALL_VIT, "intermediate_size": 128, "image_size": [64, 96],
            "num_detection_tokens": 10,
        },
        build_image_model("YolosConfig", "YolosForObjectDetection", "logits", "pred_boxes"),
    ),
    Preset(
        "resnet-50", "ResNet", (default("ResNetConfig", "microsoft/resnet-50", IMAGENET),),
        {**SMALL_RESNET, "num_labels": 10},
        build_image_model(
            "ResNetConfig", "ResNetForImageClassification", "logits", side=224, small_side=64
        ),
    ),
    Preset(
        "mobilenet-v2", "MobileNet V2",
        (default("MobileNetV2Config", "google/mobilenet_v2_1.0_224", {"num_labels": 1001}),),
        # The depth is fixed by the class.
        {"depth_multiplier": 0.35, "image_size": 64, "num_labels": 10},
        build_image_model("MobileNetV2Config", "MobileNetV2ForImageClassification", "logits"),
    ),
    Preset(
        "mobilenet-v3-small", "MobileNet V3",
        (
            Published(
                "Howard et al. 2019, arXiv:1905.02244, Table 2",
                {"table": SMALL_TABLE, "hidden": 1024, "classes": 1000},
            ),
        ),
        {"table": SMALL_TABLE[:5], "hidden": 64, "classes": 10},
        build_mobilenet_v3,
        packages=(),
    ),
    Preset(
        "efficientnet-b0", "EfficientNet",
        (
            Published(
                "google/efficientnet-b0, config.json",
                {
                    "image_size": 224, "width_coefficient": 1.0, "depth_coefficient": 1.0,
                    "dropout_rate": 0.2, "hidden_dim": 1280, **IMAGENET,
                },
            ),
            Published("transformers, defaults of EfficientNetConfig (the table of blocks)"),
        ),
        {
            "width_coefficient": 0.25, "image_size": 64, "hidden_dim": 320, "num_labels": 10,
            # Four of seven stages; each repeats its block once.
            "kernel_sizes": [3, 3, 5, 3], "in_channels": [32, 16, 24, 40],
            "out_channels": [16, 24, 40, 80], "strides": [1, 2, 2, 2],
            "num_block_repeats": [1, 2, 2, 1], "expand_ratios": [1, 6, 6, 6],
            "depthwise_padding": [],
        },
        build_image_model("EfficientNetConfig", "EfficientNetForImageClassification", "logits"),
    ),
    Preset(
        "sam-vit-base", "SAM",
        (
            Published(
                "transformers, defaults of SamVisionConfig, SamPromptEncoderConfig and "
                "SamMaskDecoderConfig, documented as facebook/sam-vit-base"
            ),
        ),
        {
            "vision_config": {
                "hidden_size": 32, "output_channels": 32, "num_hidden_layers": 2,
                "num_attention_heads": 2, "image_size": 64, "window_size": 3,
                "global_attn_indexes": [1], "num_pos_feats": 16, "mlp_dim": 64,
            },
            "prompt_encoder_config": {
                "hidden_size": 32, "image_size": 64, "mask_input_channels": 8,
            },
            "mask_decoder_config": {
                "hidden_size": 32, "mlp_dim": 64, "num_attention_heads": 4,
                "iou_head_hidden_dim": 32,
            },
        },
        build_sam,
    ),
)  # fmt: skip
