"""The parts of the pipeline before training: sizes, vocabulary, noise schedule.

Only training imports this module, so its libraries are imported at the top.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from tokenizers import Tokenizer, models, trainers
from tokenizers.pre_tokenizers import ByteLevel, WhitespaceSplit
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from deployments.images.scenes.captions import words
from deployments.images.scenes.drawing import PICTURE_PX

if TYPE_CHECKING:
    from pathlib import Path

PROMPT_TOKENS = 32
_LATENT_PX = 16
_LATENT_CHANNELS = 4
_TEXT_WIDTH = 128
_WORD_END = "</w>"
_START, _END = "<|startoftext|>", "<|endoftext|>"


def tokenizer() -> CLIPTokenizer:
    """Make the tokenizer: each word of our captions is one token, any other text is bytes."""
    alphabet = sorted(ByteLevel.alphabet())
    learner = Tokenizer(models.BPE(end_of_word_suffix=_WORD_END))
    learner.pre_tokenizer = WhitespaceSplit()
    learner.train_from_iterator(
        words(), trainers.BpeTrainer(vocab_size=10_000, end_of_word_suffix=_WORD_END)
    )
    merges = [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"]]
    tokens = [*alphabet, *(letter + _WORD_END for letter in alphabet)]
    tokens += dict.fromkeys(first + second for first, second in merges)
    tokens += [_START, _END]
    return CLIPTokenizer(
        vocab={token: number for number, token in enumerate(tokens)},
        merges=merges,
        model_max_length=PROMPT_TOKENS,
    )


def text_encoder(vocabulary: CLIPTokenizer) -> CLIPTextModel:
    """Make the text encoder for a tokenizer."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(vocabulary),
            hidden_size=_TEXT_WIDTH,
            intermediate_size=3 * _TEXT_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=PROMPT_TOKENS,
            bos_token_id=vocabulary.bos_token_id,
            eos_token_id=vocabulary.eos_token_id,
            pad_token_id=vocabulary.pad_token_id,
            projection_dim=_TEXT_WIDTH,
        )
    )


def autoencoder() -> AutoencoderKL:
    """Make the autoencoder: (3, 128, 128) in -1..1 to (4, 16, 16) and back."""
    channels = (16, 32, 48, 64)
    return AutoencoderKL(
        block_out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        layers_per_block=1,
        latent_channels=_LATENT_CHANNELS,
        norm_num_groups=4,
        sample_size=PICTURE_PX,
        mid_block_add_attention=False,
        force_upcast=False,
    )


def denoiser() -> UNet2DConditionModel:
    """Make the network that predicts the velocity of noisy latents under a prompt."""
    channels = (48, 72, 88)
    return UNet2DConditionModel(
        sample_size=_LATENT_PX,
        in_channels=_LATENT_CHANNELS,
        out_channels=_LATENT_CHANNELS,
        block_out_channels=channels,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=_TEXT_WIDTH,
        attention_head_dim=4,  # heads, despite the name
        norm_num_groups=8,
        # Besides, a summary of the prompt steers every layer: most of what is asked is global.
        addition_embed_type="text",
        addition_embed_type_num_heads=4,
        resnet_time_scale_shift="scale_shift",
    )


def scheduler() -> DDIMScheduler:
    """Make the noise schedule: it ends in pure noise, else no picture could be all dark."""
    return DDIMScheduler(
        beta_schedule="linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        steps_offset=1,
    )


def pipeline(
    vae: AutoencoderKL,
    text: CLIPTextModel,
    vocabulary: CLIPTokenizer,
    unet: UNet2DConditionModel,
) -> StableDiffusionPipeline:
    """Put the parts together; pictures pass no safety checker, since they are only shapes."""
    whole = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=vocabulary,
        unet=unet,
        scheduler=scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    whole.set_progress_bar_config(disable=True)
    return whole


def save(whole: StableDiffusionPipeline, folder: Path) -> None:
    """Write a pipeline directory with half-precision weights; `whole` becomes half precision."""
    whole.to(dtype=torch.float16)
    whole.save_pretrained(folder, safe_serialization=True)
