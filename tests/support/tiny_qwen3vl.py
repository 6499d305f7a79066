"""Make a tiny Qwen3-VL with random weights: `python tiny_qwen3vl.py FOLDER`, in the environment of vLLM.

The architecture, tokenizer, chat template and processor are those of the real ones; 0.7 million parameters instead of 8
billion.  Its words are noise: what can be tested with it is everything but what the model says.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    Qwen2TokenizerFast,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
)
from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor
from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor

# Of Qwen3-VL's tokenizer, in its order.
SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
    "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
TEXTS = (
    "Describe what is happening in this video frame. Pay attention to people's emotions and body language.",
    "You are a careful observer. What colour is the circle in this image? Answer with one word: yes or no.",
    'user system assistant {"name": "red", "count": 3, "objects": [true, false]} <1.5 seconds>',
)
# What Qwen3-VL's own template makes of plain messages with images.
TEMPLATE = """
{%- for message in messages -%}
{{ '<|im_start|>' + message.role + '\\n' }}
{%- if message.content is string -%}{{ message.content }}
{%- else -%}
{%- for part in message.content -%}
{%- if part.type in ('image', 'image_url') -%}{{ '<|vision_start|><|image_pad|><|vision_end|>' }}
{%- elif part.type == 'video' -%}{{ '<|vision_start|><|video_pad|><|vision_end|>' }}
{%- else -%}{{ part.text }}{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{ '<|im_end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}
"""
MIN_PIXELS, MAX_PIXELS = 32 * 32, 512 * 512
WIDTH = 64


def main(folder: Path) -> None:
    with TemporaryDirectory(dir=folder.parent) as scratch:
        made = Path(scratch) / "model"
        tokenizer = _tokenizer()
        _processor(tokenizer).save_pretrained(made)
        _model(tokenizer).save_pretrained(made)
        made.rename(folder)


def _tokenizer() -> Qwen2TokenizerFast:
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=480, initial_alphabet=alphabet, special_tokens=[], show_progress=False)
    raw.train_from_iterator(TEXTS * 50, trainer)
    learned = json.loads(raw.to_str())["model"]
    merges = [tuple(one) if isinstance(one, list) else tuple(one.split(" ")) for one in learned["merges"]]
    tokenizer = Qwen2TokenizerFast(
        vocab=learned["vocab"], merges=merges, unk_token=SPECIAL[0], eos_token="<|im_end|>", pad_token=SPECIAL[0]
    )
    tokenizer.add_special_tokens({"additional_special_tokens": list(SPECIAL)})
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def _processor(tokenizer: Qwen2TokenizerFast) -> Qwen3VLProcessor:
    patches = {"patch_size": 16, "merge_size": 2, "temporal_patch_size": 2}
    size = {"shortest_edge": MIN_PIXELS, "longest_edge": MAX_PIXELS}
    images = Qwen2VLImageProcessor(**patches, size=size, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    return Qwen3VLProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        video_processor=Qwen3VLVideoProcessor(**patches),
        chat_template=TEMPLATE,
    )


def _model(tokenizer: Qwen2TokenizerFast) -> Qwen3VLForConditionalGeneration:
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in SPECIAL}
    end, pad = ids["<|im_end|>"], ids["<|endoftext|>"]
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": (len(tokenizer) + 63) // 64 * 64, "hidden_size": WIDTH, "intermediate_size": 128,
            "num_hidden_layers": 4, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32,
            "max_position_embeddings": 32_768, "rms_norm_eps": 1e-6, "tie_word_embeddings": True,
            "attention_bias": False, "bos_token_id": pad, "eos_token_id": end, "pad_token_id": pad,
            # The sections are halves of a head, in the real model's proportion.
            "rope_parameters": {
                "rope_type": "default", "rope_theta": 5_000_000.0,
                "mrope_interleaved": True, "mrope_section": [6, 5, 5],
            },
        },
        vision_config={
            "depth": 3, "hidden_size": WIDTH, "intermediate_size": 128, "num_heads": 2, "in_channels": 3,
            "patch_size": 16, "spatial_merge_size": 2, "temporal_patch_size": 2, "out_hidden_size": WIDTH,
            "num_position_embeddings": 256, "deepstack_visual_indexes": [0, 1, 2], "hidden_act": "gelu_pytorch_tanh",
        },
        image_token_id=ids["<|image_pad|>"], video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"], vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(0)
    model = Qwen3VLForConditionalGeneration(config).to(torch.bfloat16)
    model.generation_config = GenerationConfig(eos_token_id=[end, pad], pad_token_id=pad)
    return model


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
