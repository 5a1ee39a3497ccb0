"""A small BERT that this book pretrains from random weights: texts, words, encoders and a file.

`ch03_lineage` and `ch03_vocabulary` say what is asked of it. All of it lies in `_build/lineage`:
what a stage makes, the next one reads, and what is there is not made again.
"""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import BertConfig, BertForMaskedLM, BertTokenizerFast

from reptune import data, meter, metrics, runtime
from reptune.book import results
from reptune.folders import write_folder
from reptune.halves import bert_config, wordpiece_tokenizer
from reptune.models.masked import load_masked_lm, masked_scores
from reptune.pretraining import continue_pretraining, fit_output_bias, pack
from reptune.pretraining.run import HISTORY
from shared.common import SEEDS, FrozenEmbeddings, fit_fields, score_fields
from shared.conditions import interval_fields
from shared.pooled import MeanPooledClassifier

FOLDER = Path(__file__).resolve().parents[2] / "_build" / "lineage"
NAME = "bert-4x256"  # in records
SIZES = {
    "hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024,
}  # fmt: skip
VOCABULARY = 8000
BLOCK, BATCH, MASKED = 128, 16, 0.2
# Geiping and Goldstein (Cramming, 2023): no dropout while a short pretraining sees every text a few
# times only; it comes back for what follows.
DROPOUT = {"pretraining": 0.0, "afterwards": 0.1}
# PyTorch's own attention on a CPU takes a third of a step at blocks of 128; the plain one, the same
# sums, takes a tenth (0.23 s against 0.16 s a step, one thread, medians of four rounds in turn).
PLAIN_ATTENTION = {"attn_implementation": "eager"}
OFFSETS = (-1, 1, -2, 2)  # what the heads of the first layer look at in the beginning
LOOKS, CHECKPOINT_STEPS = 16, 100  # a checkpoint every minute or two

# Corpora, and the data sets that they are cut from.
REVIEWS, NEWS, NEWSWIRE, SENTENCES, DOCSTRINGS = (
    "reviews", "news", "newswire", "sentences", "docstrings",
)  # fmt: skip
SOURCES = {REVIEWS: "imdb", NEWS: "bbc_news", NEWSWIRE: "conll2003", SENTENCES: "rotten_tomatoes"}
READ = (REVIEWS, NEWS, NEWSWIRE)  # by some arm; of the others only held-out text is kept
HELD_OUT_WORDS = {"validation": 12_000, "test": 30_000}

RANDOM, BASE, DOMAIN, CONTROL, TASK, BOTH, DOCUMENTED = (
    "random weights", "base", "base + news", "base + reviews", "base + CoNLL text",
    "base + news + CoNLL text", "base + docstrings",
)  # fmt: skip
# What an arm starts from (None: random weights) and what it reads there.
ARMS = {
    BASE: (None, REVIEWS),
    DOMAIN: (BASE, NEWS),
    CONTROL: (BASE, REVIEWS),
    TASK: (BASE, NEWSWIRE),
    BOTH: (DOMAIN, NEWSWIRE),
    DOCUMENTED: (BASE, DOCSTRINGS),
}
# Optimizer steps. Whatever is compared with CONTROL takes as many as CONTROL.
STEPS = {BASE: 5600, DOMAIN: 800, CONTROL: 800, TASK: 280, BOTH: 280, DOCUMENTED: 800}
OTHER_ORDER = 100  # added to the seed, so that CONTROL reads in another order than BASE did
CHOSEN_IN = {DOCUMENTED: "ch03_vocabulary"}  # the study that chose an arm's rate
LINEAGE_STUDY = "ch03_lineage"
PILOT_SEED = 41
FINE_TUNED, FROZEN = "fine-tuned", "frozen"
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # of the frozen vectors' head


# --- texts ---------------------------------------------------------------------------------------


def write_corpora() -> dict[str, dict[str, int]]:
    """Cut and clean every corpus, keep it, and return what was left out of it.

    No training text equals, nearly equals or quotes a validation or test text of any of the book's
    data sets.
    """
    loaded = {name: data.load(name) for name in data.names()}
    held = [
        text
        for splits in loaded.values()
        for split in ("validation", "test")
        for text in plain_texts(splits[split])
    ]
    counts = {}
    for name, source in SOURCES.items():
        train: list[str] = []
        if name in READ:
            train, counts[name] = data.domain_corpus(plain_texts(loaded[source]["train"]), held)
        write_corpus(name, train, *(plain_texts(loaded[source][split]) for split in HELD_OUT_WORDS))
    return counts


def plain_texts(rows: Any) -> list[str]:
    """The texts of a data set's rows; a tagged sentence's words joined by spaces."""
    if "text" in rows.column_names:
        return list(rows["text"])
    return [" ".join(words) for words in rows["tokens"]]


def write_corpus(
    name: str, train: Sequence[str], validation: Sequence[str], test: Sequence[str]
) -> None:
    """Keep a corpus: all that is trained on, and the first so many words that are not."""
    parts = {"train": list(train)}
    for split, texts in (("validation", validation), ("test", test)):
        parts[split] = first_texts(map(data.clean_markup, texts), HELD_OUT_WORDS[split])
    _write(_corpus_file(name), json.dumps(parts))
    corpus.cache_clear()


def first_texts(texts: Iterable[str], words: int) -> list[str]:
    """The first texts, until they hold so many words.

    >>> first_texts(["a b", "c", "d e"], 3)
    ['a b', 'c']
    """
    found: list[str] = []
    left = words
    for text in texts:
        if left <= 0:
            break
        found.append(text)
        left -= len(text.split())
    return found


@functools.cache
def corpus(name: str) -> dict[str, list[str]]:
    """The texts of a corpus by split, as `write_corpus` left them.

    Those of `SOURCES` are written now if they are not there: a checkout has the records of the job
    that wrote them, but not the files.

    Raises:
        SystemExit: If another study's corpus is missing.
    """
    file = _corpus_file(name)
    if name in SOURCES and not file.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(FOLDER / "corpora.lock"):  # jobs side by side want them at once
            if not file.exists():
                write_corpora()
    if not file.exists():
        raise SystemExit(f"{file} is missing; its study writes it before its first job.")
    return json.loads(file.read_text("utf-8"))


def _corpus_file(name: str) -> Path:
    return FOLDER / f"{name}.json"


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}.part")
    part.write_text(text, "utf-8")
    part.replace(file)


# --- words ---------------------------------------------------------------------------------------


def train_vocabulary(texts: Sequence[str], size: int | None = None) -> list[str]:
    """Train a lowercase WordPiece vocabulary; the same texts give the same one in every process.

    The library numbers the `##` forms of letters in the order of a hash table, which differs from
    process to process, and breaks ties between equally frequent pairs by those numbers. So the
    forms are named beforehand, in order. It merges the most frequent pair, as BPE does, where the
    original WordPiece merged the pair that raises the likelihood most.

    Args:
        texts: What to count words in.
        size: Tokens, special ones included; `None` for `VOCABULARY`.

    Returns:
        The tokens, in the order of their ids.
    """
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    core = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    core.normalizer = normalizers.BertNormalizer(lowercase=True)
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    words = Counter(
        word
        for text in texts
        for word, _ in core.pre_tokenizer.pre_tokenize_str(core.normalizer.normalize_str(text))
    )
    inner = Counter()
    for word, count in words.items():
        for letter in word[1:]:
            inner[letter] += count
    forms = sorted(f"##{letter}" for letter, count in inner.items() if count > 1)
    trainer = trainers.WordPieceTrainer(
        vocab_size=VOCABULARY if size is None else size,
        special_tokens=[*special, *forms],
        limit_alphabet=500,  # letters; those of other scripts occur a handful of times
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    ids = core.get_vocab()
    return sorted(ids, key=ids.get)


def tokenizer_of(vocabulary: Sequence[str]) -> BertTokenizerFast:
    """A lowercasing BERT tokenizer with these tokens, in the order of their ids."""
    return wordpiece_tokenizer(vocabulary, BLOCK)


@functools.cache
def vocabulary() -> tuple[str, ...]:
    """The reviews' vocabulary, trained now if it is not there."""
    file = FOLDER / "vocabulary.json"
    if not file.exists():
        _write(file, json.dumps(train_vocabulary(corpus(REVIEWS)["train"])))
    return tuple(json.loads(file.read_text("utf-8")))


def tokens_per_100_words(texts: Sequence[str], tokenizer: Any) -> float:
    """Tokens, special ones left out, per hundred words, which white space separates."""
    ids = tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
    return 100 * sum(map(len, ids)) / sum(len(text.split()) for text in texts)


# --- encoders ------------------------------------------------------------------------------------


def folder_of(arm: str, seed: int) -> Path:
    """Where an arm's encoder lies, or will."""
    return FOLDER / f"{arm.replace(' + ', '-').replace(' ', '-')}-{seed}".lower()


def encoder(arm: str, seed: int) -> Path:
    """The folder of an arm's encoder, made now if it is not there; resumes where it stopped."""
    folder = folder_of(arm, seed)
    if arm == RANDOM:
        return random_weights(folder, seed, DROPOUT["afterwards"])
    if not folder.exists():
        _, texts = ARMS[arm]
        shift = 0 if arm == BASE else OTHER_ORDER
        pretrain(start_of(arm, seed), texts, folder, STEPS[arm], rate_of(arm), seed + shift)
    set_config(folder, DROPOUT["afterwards"])  # also after a kill between the two
    return folder


def start_of(arm: str, seed: int) -> Path:
    """The folder that an arm's training starts from."""
    start, _ = ARMS[arm]
    if start is not None:
        return encoder(start, seed)
    return random_weights(folder_of("start", seed), seed, DROPOUT["pretraining"])


def pretrain(
    start: Path, texts: str, folder: Path, num_steps: int, learning_rate: float, random_state: int
) -> Path:
    """Pretrain on a corpus, looking at its held-out text as it goes."""
    parts = corpus(texts)
    return continue_pretraining(
        start, parts["train"], folder, validation=parts["validation"], num_steps=num_steps,
        block_size=BLOCK, batch_size=BATCH, learning_rate=learning_rate, mask_probability=MASKED,
        evaluations=LOOKS, checkpoint_steps=CHECKPOINT_STEPS, random_state=random_state,
        show_progress=False,
    )  # fmt: skip


def random_weights(folder: Path, seed: int, dropout: float, plain: bool = False) -> Path:
    """Write a BERT that has read nothing; its head's bias alone knows how frequent tokens are.

    The bias spares the first hundreds of steps, and no task sees it. Unless `plain`, the first
    layer's heads look at neighbors from the beginning.
    """
    if folder.exists():
        return folder
    tokenizer = tokenizer_of(vocabulary())
    with runtime.seeded(seed):
        model = BertForMaskedLM(config_of(len(tokenizer), dropout))
        if not plain:
            look_at_neighbors(model)
    some = corpus(REVIEWS)["train"][:2000]
    fit_output_bias(model, pack(some, tokenizer, BLOCK))

    def write(written: Path) -> None:
        model.save_pretrained(written)
        tokenizer.save_pretrained(written)
        set_config(written, dropout)

    return write_folder(folder, write, marker="config.json")


@torch.no_grad()
def look_at_neighbors(model: BertForMaskedLM, sharpness: float = 5.0, scale: float = 0.05) -> None:
    """Let each head of the first layer begin by looking at one neighbor; changed in place.

    A position is written as sines and cosines into as many dimensions as a head has. Turned by an
    angle per frequency they are those of a neighboring position, so a query that is turned finds
    the key of that neighbor. With the usual random weights a head must first learn which position
    is next to which, and a short pretraining ends before it has (`ch03_lineage` records both).

    Args:
        model: A BERT with weights at random.
        sharpness: How much higher a neighbor's attention score is than that of a position far away.
        scale: Of the position embeddings; those of words have 0.02.

    Source: Vaswani et al. (2017) for the turned sines; Trockman and Kolter, *Mimetic Initialization
    of Self-Attention Layers* (2023), for beginning with structure.
    """
    bert, config = model.bert, model.config
    head_size = config.hidden_size // config.num_attention_heads
    half = head_size // 2
    frequencies = torch.linspace(0.05, 3.0, half)
    positions = bert.embeddings.position_embeddings.weight
    angles = torch.arange(len(positions))[:, None] * frequencies
    positions.zero_()
    positions[:, :head_size] = scale * torch.cat([angles.sin(), angles.cos()], dim=1)
    some = torch.randint(config.vocab_size, (4, len(positions)))
    strength = bert.embeddings(some)[..., :head_size].square().sum(dim=-1).mean()
    gain = (sharpness * head_size**0.5 / strength).sqrt()
    attention = bert.encoder.layer[0].attention.self
    for head, offset in zip(range(config.num_attention_heads), OFFSETS, strict=False):
        rows = slice(head * head_size, (head + 1) * head_size)
        attention.key.weight[rows, :head_size] += gain * torch.eye(head_size)
        attention.query.weight[rows, :head_size] += gain * turn(frequencies * offset)


def turn(angles: torch.Tensor) -> torch.Tensor:
    """The matrix that takes the sines and cosines of some angles to those of larger ones.

    Args:
        angles: By how much each is larger, shape `(n,)`.

    Returns:
        Shape `(2 * n, 2 * n)`; it multiplies a column of `n` sines above `n` cosines.
    """
    sine, cosine = torch.diag(angles.sin()), torch.diag(angles.cos())
    return torch.cat([torch.cat([cosine, sine], dim=1), torch.cat([-sine, cosine], dim=1)])


def config_of(num_tokens: int, dropout: float) -> BertConfig:
    """The shape of a model with so many tokens."""
    return bert_config(num_tokens, BLOCK, dropout, **SIZES)


def set_config(folder: Path, dropout: float) -> None:
    """Write another share of dropout, and plain attention, into a model's configuration."""
    file = folder / "config.json"
    config = json.loads(file.read_text("utf-8"))
    wanted = dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), dropout)
    wanted |= PLAIN_ATTENTION
    if not wanted.items() <= config.items():  # jobs side by side read it
        _write(file, json.dumps(config | wanted, indent=2))


def rate_of(arm: str) -> float:
    """The rate with the lowest held-out loss in short runs; both runs on CoNLL text share one."""
    tried = TASK if arm == BOTH else arm
    study = CHOSEN_IN.get(arm, LINEAGE_STUDY)
    return best(study, "loss", "learning_rate", lowest=True, kind="pretraining rate", method=tried)


def best(study: str, metric: str, knob: str, lowest: bool = False, **fields: Any) -> float:
    """The value of a knob with the best mean of a metric among a study's records.

    Raises:
        SystemExit: If there is no such record.
    """
    table = results.read(study)
    for name, value in fields.items():
        table = table[table[name] == value] if name in table else table.iloc[:0]
    if table.empty:
        raise SystemExit(f"{study} has no records with {fields}; run it from its start.")
    means = table.groupby(knob)[f"metrics.{metric}"].mean()
    return float(means.idxmin() if lowest else means.idxmax())


# --- what it has learned -------------------------------------------------------------------------


def masked_loss(folder: Path, texts: Sequence[str]) -> dict[str, float]:
    """Loss and accuracy at masked positions of texts; the same positions for every encoder."""
    loaded = load_masked_lm(folder)
    blocks = pack(texts, loaded.tokenizer, BLOCK)
    return masked_scores(loaded.model, blocks, loaded.tokenizer)


def curve(arm: str, seed: int) -> list[dict[str, float]]:
    """Held-out loss of an arm's own corpus as the run went, from before its first step."""
    _, texts = ARMS[arm]
    first = masked_loss(start_of(arm, seed), corpus(texts)["validation"])
    history = json.loads((folder_of(arm, seed) / HISTORY).read_text("utf-8"))
    start = {"step": 0, **{f"eval_{name}": value for name, value in first.items()}}
    return [start, *(record for record in history if "eval_loss" in record)]


def fall(points: Sequence[dict[str, float]], share: float = 1.0) -> float:
    """By how much held-out loss has fallen at a share of the steps; negative where it rose.

    >>> points = [{"step": s, "eval_loss": loss} for s, loss in ((0, 5.0), (50, 4.5), (100, 4.0))]
    >>> fall(points), fall(points, 0.5)
    (1.0, 0.5)
    """
    reached = [point for point in points if point["step"] <= share * points[-1]["step"]]
    return points[0]["eval_loss"] - reached[-1]["eval_loss"]


def pilot(arm: str, rate: float, steps: int, plain: bool = False) -> dict[str, Any]:
    """The record fields of a short run of an arm at a rate, with its own schedule; it can resume.

    A base begins at weights of `PILOT_SEED`, `plain` ones if wanted, every other arm at the base of
    the first seed.
    """
    start = start_of(arm, PILOT_SEED if arm == BASE else SEEDS[0])
    if plain:
        folder = folder_of("plain start", PILOT_SEED)
        start = random_weights(folder, PILOT_SEED, DROPOUT["pretraining"], plain=True)
    name = f"{arm} at {rate:g}" + (" plain" if plain else "")
    folder, texts = folder_of(name, PILOT_SEED), ARMS[arm][1]
    with meter.Meter() as cost:
        if not folder.exists():
            pretrain(start, texts, folder, steps, rate, PILOT_SEED)
        scores = masked_loss(folder, corpus(texts)["validation"])
    return {
        "labels": 0, "split": "validation", "num_steps": steps, "metrics": scores,
        **fit_fields(cost),
    }  # fmt: skip


def made(arm: str, seed: int, corpora: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Make an encoder, or go on with it; yield its curve and its loss on each corpus as records."""
    folder = folder_of(arm, seed)
    resumed = folder.exists() or folder.with_name(f"{folder.name}.checkpoint").exists()
    with meter.Meter() as cost:
        encoder(arm, seed)
    shared = {"labels": 0, "split": "test", "resumed": resumed, **fit_fields(cost)}
    falls = {}
    if arm != RANDOM:
        points = curve(arm, seed)
        shared |= {"curve": points, "learning_rate": rate_of(arm), "num_steps": STEPS[arm]}
        falls = {"fall": fall(points), "fall after a quarter": fall(points, 0.25)}
    for name in corpora:
        scores = masked_loss(folder, corpus(name)["test"])
        yield {"corpus": name, "metrics": {**scores, **falls}, **shared}


def fine_tuned(folder: Path, train: tuple, held: tuple, **settings: Any) -> dict[str, Any]:
    """Fine-tune from the mean of the states, score other texts; return the fields of a record."""
    classifier = MeanPooledClassifier(str(folder), show_progress=False, **settings)
    with meter.Meter() as cost:
        classifier.fit(*train)
    correct = np.asarray(classifier.predict(held[0])) == held[1]
    return {"labels": len(train[0]), **fit_fields(cost), **score_fields(correct)}


def probed(frozen: FrozenEmbeddings, train: tuple, held: tuple, C: float) -> dict[str, Any]:
    """The same for a logistic regression on frozen vectors, each feature standardized.

    Standardizing lets one penalty mean the same in every arm, however long or alike its vectors.
    """
    head = make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=2000))
    with meter.Meter() as cost:
        head.fit(frozen.encode(train[0]), train[1])
    correct = head.predict(frozen.encode(held[0])) == held[1]
    return {"labels": len(train[0]), **fit_fields(cost), **score_fields(correct)}


# --- comparisons ---------------------------------------------------------------------------------


def compared(
    study: str, arm: str, other: str, stories: Sequence[int] | None = None, **fields: Any
) -> dict[str, float]:
    """The difference of two arms on a task: interval, each seed's own, and the check beforehand.

    Draws are taken together within a pretraining seed, since they are no lineages of their own.

    Args:
        study: Whose records.
        arm: One side.
        other: What is subtracted.
        stories: For entities, the story of each sentence; an interval draws whole stories.
        fields: What the records of both sides hold.
    """
    of_entities = stories is not None
    a, b = (by_seed(study, name, of_entities, kind="test", **fields) for name in (arm, other))
    if of_entities:
        a, b = (metrics.counts_by_document(rows, stories) for rows in (a, b))
    found = (metrics.paired_f1_interval if of_entities else metrics.paired_interval)(a, b)
    each = [
        metrics.f1_of_counts(rows.sum(axis=1)) if of_entities else rows.mean(axis=1)
        for rows in (a, b)
    ]
    return {
        **interval_fields(found),  # detectable: as far as these seeds and items tell
        **{f"seed {seed}": float(x - y) for seed, x, y in zip(SEEDS, *each, strict=True)},
        **early_falls(arm, other),
    }  # fmt: skip


def by_seed(study: str, arm: str, of_entities: bool, **fields: Any) -> np.ndarray:
    """What each pretraining seed got right.

    Returns:
        Counts of entities added over draws, `(seeds, sentences, 3)`, or shares of draws in which an
        item is right, `(seeds, items)`.
    """
    rows = []
    for seed in SEEDS:
        of_seed = {"method": arm, "random_state": seed, **fields}
        if of_entities:
            rows.append(results.counts(study, **of_seed).sum(axis=0))
        else:
            rows.append(results.correct(study, **of_seed).mean(axis=0))
    return np.stack(rows)


def early_falls(arm: str, other: str) -> dict[str, float]:
    """How far held-out loss fell in a quarter of each arm's steps, on its own kind of text.

    Means of the seeds; nothing where an arm has no curve, as random weights have none.
    """
    falls = []
    for name in (arm, other):
        table = results.read(CHOSEN_IN.get(name, LINEAGE_STUDY))
        column = "metrics.fall after a quarter"
        if column not in table:
            return {}
        falls.append(table.loc[(table["method"] == name) & (table["kind"] == "encoder"), column])
    if any(column.isna().all() for column in falls):
        return {}
    return {"early fall": float(falls[0].mean()), "early fall of other": float(falls[1].mean())}


# --- what it costs -------------------------------------------------------------------------------


def flops_per_token(masked: float = MASKED, trained: bool = True) -> float:
    """Floating-point operations per token of a block, forward and, if `trained`, backward.

    Two for each weight that a token meets, and four for each pair of positions and dimension;
    backward costs twice as much as forward. The head works on masked positions alone.
    """
    width, layers = SIZES["hidden_size"], SIZES["num_hidden_layers"]
    block = 4 * width**2 + 2 * width * SIZES["intermediate_size"]
    head = width**2 + width * VOCABULARY
    forward = 2 * (layers * block + masked * head) + 4 * layers * BLOCK * width
    return forward * (3 if trained else 1)
