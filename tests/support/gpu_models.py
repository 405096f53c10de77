"""Models with random weights in the shape and size of those in the GPU configurations.

Their answers are noise, but their memory and time are real. So the figures beside the values of
`serve_config.yaml` can be measured on a GPU machine without a network.
"""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

_FIRST_LETTERS = string.ascii_lowercase + string.digits


def bge_m3(folder: Path, tokenizer: Path) -> Path:
    """Make a sentence-transformers folder of BAAI/bge-m3's shape: 568 million parameters.

    `tokenizer` is a folder with any tokenizer of at most 250,002 tokens.
    """
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer
    from transformers import AutoTokenizer, XLMRobertaConfig, XLMRobertaModel

    config = XLMRobertaConfig(
        vocab_size=250_002,
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
        intermediate_size=4096,
        max_position_embeddings=8194,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
    )
    with torch.device("cuda"):
        model = XLMRobertaModel(config)
    inner = folder / "inner"
    model.to("cpu").save_pretrained(inner)
    AutoTokenizer.from_pretrained(tokenizer, model_max_length=8192).save_pretrained(inner)
    whole = SentenceTransformer(
        modules=[Transformer(str(inner), max_seq_length=8192), Pooling(1024, pooling_mode="cls")],
        device="cpu",
    )
    whole.save(str(folder / "model"))
    return folder / "model"


def sdxl_turbo(folder: Path) -> Path:
    """Make a diffusers folder of stabilityai/sdxl-turbo's shape: 3.5 billion parameters."""
    import torch
    from diffusers import (
        AutoencoderKL,
        EulerAncestralDiscreteScheduler,
        StableDiffusionXLPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    torch.set_default_dtype(torch.float16)
    try:
        with torch.device("cuda"):
            unet = UNet2DConditionModel(
                sample_size=64,
                block_out_channels=(320, 640, 1280),
                down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
                up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
                transformer_layers_per_block=(1, 2, 10),
                attention_head_dim=(5, 10, 20),
                cross_attention_dim=2048,
                addition_embed_type="text_time",
                addition_time_embed_dim=256,
                projection_class_embeddings_input_dim=2816,
                use_linear_projection=True,
            )
            vae = AutoencoderKL(
                block_out_channels=(128, 256, 512, 512),
                down_block_types=("DownEncoderBlock2D",) * 4,
                up_block_types=("UpDecoderBlock2D",) * 4,
                layers_per_block=2,
                sample_size=512,
                scaling_factor=0.13025,
                force_upcast=True,
            )
            small = CLIPTextModel(_clip(CLIPTextConfig, 768, 3072, 12, 12))
            large = CLIPTextModelWithProjection(_clip(CLIPTextConfig, 1280, 5120, 32, 20))
    finally:
        torch.set_default_dtype(torch.float32)
    pipe = StableDiffusionXLPipeline(
        unet=unet,
        vae=vae,
        text_encoder=small,
        text_encoder_2=large,
        tokenizer=_tokenizer(folder / "words"),
        tokenizer_2=_tokenizer(folder / "words"),
        scheduler=EulerAncestralDiscreteScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            timestep_spacing="trailing",
        ),
    )
    pipe.save_pretrained(folder / "model")
    return folder / "model"


def _clip(config: Any, width: int, inner: int, layers: int, heads: int) -> Any:
    return config(
        vocab_size=49_408,
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        projection_dim=width,
        max_position_embeddings=77,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )


def _tokenizer(folder: Path) -> Any:
    """Make a tokenizer that spells every word; which tokens a prompt has does not cost time."""
    from transformers import CLIPTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    letters = [*_FIRST_LETTERS, *(f"{letter}</w>" for letter in _FIRST_LETTERS)]
    words = ["<|startoftext|>", "<|endoftext|>", *letters]
    vocabulary = {word: place for place, word in enumerate(words)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    return CLIPTokenizer.from_pretrained(folder, model_max_length=77)
