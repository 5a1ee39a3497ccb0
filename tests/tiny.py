"""A tiny random encoder with its tokenizer, saved like any other model; no network, no asset."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

WORDS = (
    "good great fine nice bad awful poor dull film movie plot actor the a is was very not".split()  # noqa: SIM905
)
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
MAX_POSITIONS = 32

GOOD = [
    "the film is good", "a great movie", "the plot was fine", "very nice actor", "good good plot",
    "the actor is great", "a fine film", "nice movie",
]  # fmt: skip
BAD = [
    "the film is bad", "an awful movie", "the plot was poor", "very dull actor", "bad bad plot",
    "the actor is awful", "a poor film", "dull movie",
]  # fmt: skip
TEXTS = [text for pair in zip(GOOD, BAD, strict=True) for text in pair]
LABELS = ["positive", "negative"] * len(GOOD)


def tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {word: index for index, word in enumerate([*SPECIAL, *WORDS])}
    core = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    core.normalizer = normalizers.BertNormalizer(lowercase=True)
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    names = dict(zip(("pad", "unk", "cls", "sep", "mask"), SPECIAL, strict=True))
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        model_max_length=MAX_POSITIONS,
        **{f"{name}_token": token for name, token in names.items()},
    )


def save_encoder(
    folder: Path, num_blocks: int = 3, random_state: int = 0, dropout: float = 0.1
) -> Path:
    """Write a BERT of `num_blocks` blocks of width 16 and its tokenizer to `folder`."""
    torch.manual_seed(random_state)
    config = BertConfig(
        vocab_size=len(SPECIAL) + len(WORDS),
        hidden_size=16,
        num_hidden_layers=num_blocks,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=MAX_POSITIONS,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    BertModel(config).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder
