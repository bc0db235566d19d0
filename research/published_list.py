"""Which networks of packages are measured: the smallest published variants, at small sizes."""

from __future__ import annotations

from typing import Any

from research.published_packages import Network

# Of keras-cv-attention-models: families by the side of the images.
_ATTENTION = {
    64: (
        "botnet.BotNet26T",
        "convnext.ConvNeXtTiny",
        "convnext.ConvNeXtV2Atto",
        "fasternet.FasterNetT0",
        "fbnetv3.FBNetV3B",
        "ghostnet.GhostNet_050",
        "ghostnet.GhostNetV2_100",
        "halonet.HaloNet26T",
        "lcnet.LCNet050",
        "mlp_mixer.MLPMixerS32",
        "mobilenetv3.MobileNetV3Small050",
        "nfnets.ECA_NFNetL0",
        "regnet.RegNetZB16",
        "resnest.ResNest50",
        "resnet_deep.ResNet50D",
        "tinynet.TinyNetE",
        "vanillanet.VanillaNet5",
        "gated_mlp.GMLPTiny16",
        "repvit.RepViT_M09",
    ),
    128: (
        "beit.ViTTinyPatch16",
        "caformer.CAFormerS18",
        "cmt.CMTTiny",
        "coat.CoaTLiteTiny",
        "coatnet.CoAtNet0",
        "davit.DaViT_T",
        "edgenext.EdgeNeXt_XX_Small",
        "efficientformer.EfficientFormerL1",
        "efficientvit_b.EfficientViT_B0",
        "efficientvit_m.EfficientViT_M0",
        "fastvit.FastViT_T8",
        "gcvit.GCViT_XXTiny",
        "hornet.HorNetTiny",
        "iformer.IFormerSmall",
        "levit.LeViT128S",
        "maxvit.MaxViT_Tiny",
        "mobilevit.MobileViT_XXS",
        "mobilevit.MobileViT_V2_050",
        "nat.NAT_Mini",
        "pvt.PVT_V2B0",
        "swin_transformer_v2.SwinTransformerV2Tiny_window8",
        "swin_transformer_v2.SwinTransformerV2Tiny_ns",
        "tinyvit.TinyViT_5M",
        "uniformer.UniformerSmall32",
        "volo.VOLO_d1",
        "efficientdet.EfficientDetD0",
        "yolox.YOLOXNano",
        "yolor.YOLOR_CSP",
        "yolov7.YOLOV7_Tiny",
        "yolov8.YOLOV8_N",
        "yolo_nas.YOLO_NAS_S",
    ),
}
_UNETS: dict[str, dict[str, Any]] = {
    "unet_2d": {},
    "vnet_2d": {"pool": False, "unpool": False},
    "unet_plus_2d": {},
    "r2_unet_2d": {},
    "att_unet_2d": {},
    "resunet_a_2d": {"dilation_num": [1, 3]},
    "u2net_2d": {"filter_num_down": [8, 16, 16, 16]},
    "unet_3plus_2d": {"filter_num_down": [8, 16, 32, 64]},
    "transunet_2d": {"embed_dim": 32, "num_mlp": 64, "num_heads": 4, "num_transformer": 2},
    "swin_unet_2d": {
        "filter_num_begin": 16,
        "depth": 3,
        "stack_num_down": 2,
        "stack_num_up": 2,
        "patch_size": (2, 2),
        "num_heads": [2, 4, 4],
        "window_size": [4, 2, 2],
        "num_mlp": 32,
    },
}
_FILTERS = {"unet_2d", "vnet_2d", "unet_plus_2d", "r2_unet_2d", "att_unet_2d", "resunet_a_2d", "transunet_2d"}
_TCN: tuple[dict[str, Any], ...] = (
    {"nb_filters": 32, "dilations": (1, 2, 4, 8)},
    {"nb_filters": 32, "dilations": (1, 2, 4, 8), "use_batch_norm": True, "padding": "same", "return_sequences": False},
)


def _all() -> list[Network]:
    found: list[Network] = []
    for name in ("resnet18", "seresnet18"):
        found.append(Network("image-classifiers", name, (64, 64, 3)))
    for name, backbone in (
        ("Unet", "resnet18"),
        ("Unet", "seresnet18"),
        ("Unet", "efficientnetb0"),
        ("FPN", "mobilenetv2"),
        ("Linknet", "resnet18"),
        ("PSPNet", "resnet18"),
    ):
        size = 96 if name == "PSPNet" else 64
        found.append(Network("segmentation-models", name, (size, size, 3), {"backbone": backbone}))
    for name, options in _UNETS.items():
        more = {"filter_num": [8, 16, 32, 64], **options} if name in _FILTERS else options
        found.append(Network("keras-unet-collection", name, (64, 64, 3), more))
    found += [Network("efficientnet", name, (64, 64, 3)) for name in ("EfficientNetB0",)]
    for name in ("EfficientNetV2B0", "EfficientNetV1B0"):
        found.append(Network("keras-efficientnet-v2", name, (64, 64, 3)))
    found.append(Network("keras-tcn", "TCN", (64, 8), _TCN[0]))
    found.append(Network("keras-tcn", "TCN", (64, 8), _TCN[1]))
    for name, size in (("build_pnet", 24), ("build_rnet", 24), ("build_onet", 48)):
        found.append(Network("mtcnn", name, (size, size, 3)))
    found.append(Network("vit-keras", "vit_b32", (64, 64, 3), {"pretrained": False, "pretrained_top": False}))
    found += [Network("keras-resnet", name, (64, 64, 3)) for name in ("ResNet2D18",)]
    for backbone in ("mobilenet128_0.25",):
        found.append(Network("keras-retinanet", "retinanet", (128, 128, 3), {"backbone": backbone}))
    for name in ("unet.unet_mini", "unet.unet", "segnet.segnet", "fcn.fcn_8"):
        found.append(Network("keras-segmentation", name, (64, 64, 3)))
    for name in ("vanilla_unet", "custom_unet", "satellite_unet"):
        # Without padding, less than this leaves nothing of an image.
        size = 188 if name == "vanilla_unet" else 64
        found.append(Network("keras-unet", name, (size, size, 3)))
    for size, names in _ATTENTION.items():
        found += [Network("keras-cv-attention-models", name, (size, size, 3)) for name in names]
    # Each of its convolutions in groups is 32 of their own: thousands of layers.
    found.append(Network("image-classifiers", "seresnext50", (64, 64, 3)))
    return found


NETWORKS = {network.key: network for network in _all()}
