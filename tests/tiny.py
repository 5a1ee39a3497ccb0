"""Tiny random models with their tokenizers, saved like any other; no network, no asset."""

from pathlib import Path

import torch
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

WORDS = (
    "good great fine nice bad awful poor dull film movie plot actor the a is was very not".split()  # noqa: SIM905
)
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
MAX_POSITIONS = 32
CAUSAL_POSITIONS = 128

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
    config = _bert(num_blocks, dropout)
    BertModel(config).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def save_masked_lm(
    folder: Path, num_blocks: int = 2, random_state: int = 0, dropout: float = 0.1
) -> Path:
    """The same with a masked-LM head."""
    torch.manual_seed(random_state)
    BertForMaskedLM(_bert(num_blocks, dropout)).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def _bert(num_blocks: int, dropout: float) -> BertConfig:
    return BertConfig(
        vocab_size=len(SPECIAL) + len(WORDS),
        hidden_size=16,
        num_hidden_layers=num_blocks,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=MAX_POSITIONS,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )


def causal_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level, as SmolLM2's: a word's piece holds the space before it."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    corpus = [f" {word}" for word in (*WORDS, "positive", "negative", "Review", "Sentiment")]
    core.train_from_iterator([*TEXTS, *corpus * 4], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<|end|>", pad_token="<|end|>", bos_token="<|end|>"
    )


def save_causal_lm(folder: Path, num_blocks: int = 2, random_state: int = 0) -> Path:
    """Write a Llama of `num_blocks` blocks of width 16 and its tokenizer to `folder`."""
    torch.manual_seed(random_state)
    tokens = causal_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokens),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=num_blocks,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CAUSAL_POSITIONS,
        initializer_range=0.3,  # so that tokens differ in likelihood
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokens.save_pretrained(folder)
    return folder
