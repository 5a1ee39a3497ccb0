"""The real assets, as fetched by `make test`: splits, traps, and no network once cached."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from reptune import assets, data
from reptune.data import splits as splits_module

ROOT = Path(__file__).parents[2]

# A changed split changes every number in the book: these move only with a CHANGELOG entry.
SPLIT_HASHES = {
    "rotten_tomatoes": "46fd805f97076cb3",
    "imdb": "a1512674d6e9",
    "bbc_news": "d8209fd83d77",
    "conll2003": "9fd3219904ee",
    "wnut16": "a88ad51cf9d4",
}
SIZES = {
    "rotten_tomatoes": (6398, 1066, 1066),
    "imdb": (19924, 2490, 2490),
    "bbc_news": (1435, 308, 308),
    "conll2003": (14041, 3250, 3453),
    "wnut16": (1595, 345, 345),
}


@pytest.fixture(scope="module")
def loaded():
    return {name: data.load(name) for name in data.names()}


@pytest.mark.parametrize("name", data.names())
def test_splits_are_the_pinned_ones(loaded, name):
    assert tuple(len(loaded[name][split]) for split in splits_module.SPLITS) == SIZES[name]
    assert data.split_hash(name).startswith(SPLIT_HASHES[name])


@pytest.mark.parametrize("name", ["rotten_tomatoes", "imdb", "bbc_news"])
def test_no_text_is_in_two_splits_and_labels_are_balanced(loaded, name):
    splits = loaded[name]
    assert data.overlap(splits["train"], splits["test"]) == 0
    assert data.overlap(splits["train"], splits["validation"]) == 0
    assert data.overlap(splits["validation"], splits["test"]) == 0
    for split in splits_module.SPLITS:
        labels, train = list(splits[split]["label"]), list(splits["train"]["label"])
        assert labels != sorted(labels)
        for label in set(train):
            assert labels.count(label) / len(labels) == pytest.approx(
                train.count(label) / len(train), abs=0.01
            )


def test_bbc_is_read_in_its_own_encoding(loaded):
    text = " ".join(loaded["bbc_news"]["train"]["text"])
    assert "£" in text and "Â" not in text


@pytest.mark.parametrize("name", ["conll2003", "wnut16"])
def test_tags_are_bio2(loaded, name):
    for split in splits_module.SPLITS:
        for row in loaded[name][split]:
            assert len(row["tokens"]) == len(row["ner_tags"]) > 0
            for before, tag in zip(["O", *row["ner_tags"]], row["ner_tags"], strict=False):
                assert re.fullmatch(r"O|[BI]-\S+", tag)
                if tag.startswith("I-"):
                    assert before[2:] == tag[2:]


def test_every_entity_type_of_wnut_is_in_every_split(loaded):
    types = [
        {tag[2:] for row in loaded["wnut16"][split] for tag in row["ner_tags"] if tag != "O"}
        for split in splits_module.SPLITS
    ]
    assert types[0] == types[1] == types[2] and len(types[0]) == 10


def test_conll_s_stories_are_told_apart(loaded):
    stories = {}
    for split, part in loaded["conll2003"].items():
        numbers = part["document"]
        assert set(np.diff(numbers)) == {0, 1} and numbers[0] == 0
        stories[split] = numbers[-1] + 1
    assert stories == {"train": 946, "validation": 216, "test": 231}


def test_how_much_of_conll_s_test_is_in_train(capsys):
    splits = data.load("conll2003")
    assert data.overlap(splits["train"], splits["test"]) == 132
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", [*assets.names("default"), "SmolLM2-135M-Instruct"])
def test_an_asset_takes_the_disk_that_the_registry_says(name):
    """A bundle may not bring more, so too small a number would shut an honest one out."""
    size = sum(path.stat().st_size for path in assets.get(name).rglob("*") if path.is_file())
    stated = assets.info(name).unpacked
    assert size == stated or (assets.info(name).recipe == "gguf" and 0.99 * stated < size <= stated)


def test_verify_says_what_it_compared_with():
    assert assets.verify("wnut16") == "every sha256 is right (1 file, as pinned by reptune)"
    said = assets.verify("SmolLM2-135M-Instruct")
    assert said.startswith("unchanged since its conversion (6 files, as recorded then)")
    assert said.endswith("model.safetensors has the pinned sha256")


NO_NETWORK = """
import socket, time

def refuse(*args, **kwargs):
    raise OSError("the network is cut off")

socket.getaddrinfo = socket.create_connection = refuse
waited, wait = [], time.sleep

def sleep(seconds):
    waited.append(seconds)
    wait(min(seconds, 0.01))

time.sleep = sleep
from reptune import assets

for model in ("all-MiniLM-L6-v2", "owner/model"):
    try:
        assets.resolve_model(model)
    except assets.AssetUnavailable as error:
        print(error)
print("waited", max(waited, default=0))
"""


def test_without_a_network_the_cure_is_said_at_once(tmp_path):
    """Where it took the Hub's library half a minute, in pauses of up to 8 seconds."""
    gone = ("HF_HUB_OFFLINE", "HF_ENDPOINT", "PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL")
    environment = {key: value for key, value in os.environ.items() if key not in gone}
    environment |= {"REPTUNE_CACHE": str(tmp_path / "cache"), "HF_HOME": str(tmp_path / "hf")}
    environment |= {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": "http://127.0.0.1:9/simple/"}
    command = [sys.executable, "-c", NO_NETWORK]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    asset, hub_id, waited = done.stdout.splitlines()
    assert "'all-MiniLM-L6-v2' could not be fetched: no server answers. What to do:" in asset
    assert "'owner/model' is neither an asset" in hub_id and "What to do:" in hub_id
    assert float(waited.removeprefix("waited ")) < 1


OFFLINE = """
import socket, subprocess

def refuse(*args, **kwargs):
    raise OSError("the network is cut off")

for name in ("connect", "connect_ex", "sendto"):
    setattr(socket.socket, name, refuse)
socket.getaddrinfo = socket.create_connection = refuse
subprocess.Popen = subprocess.run = refuse  # no pip either

from reptune import data
from reptune.classification import FineTunedClassifier

train = data.few_shot(data.load("rotten_tomatoes")["train"], 4, 0)
classifier = FineTunedClassifier(trainable="head", num_epochs=1)
classifier.fit(list(train["text"]), list(train["label"]))
print("probabilities", classifier.predict_proba(["a film"]).shape)
"""


def test_chapter_1_loads_with_the_network_cut_off():
    environment = {
        k: v for k, v in os.environ.items() if k not in ("HF_HUB_OFFLINE", "HF_ENDPOINT")
    }
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "probabilities (1, 2)" in done.stdout


def _pasted(page, folder, monkeypatch, capsys):
    """What a page's Python examples print, one after the other, as a reader would paste them."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)
    monkeypatch.chdir(folder)
    space, printed = {}, {}
    for block in blocks:
        exec(compile(block, page, "exec"), space)
        printed[block] = capsys.readouterr().out
    return printed


def test_the_readme_example_runs(tmp_path, monkeypatch, capsys):
    ((block, printed),) = _pasted("README.md", tmp_path, monkeypatch, capsys).items()
    assert len(block.splitlines()) <= 11
    assert "['billing' 'technical']" in printed
    assert printed.rstrip().endswith("['billing']")


def test_the_examples_on_your_own_texts_run(tmp_path, monkeypatch, capsys):
    printed = _pasted("book/own_texts.md", tmp_path, monkeypatch, capsys)
    assert len(printed) >= 9
    for name in ("FrozenClassifier", "SetFitClassifier"):
        said = next(out for block, out in printed.items() if f"{name}()" in block)
        billing, technical = map(float, re.findall(r"[\d.]+", said)[-2:])
        assert technical > billing, "'The button does nothing.' is technical"


def _lesson(chapter):
    """The sources of a chapter's cells that hold its method."""
    cells = json.loads((ROOT / "notebooks" / f"{chapter}.ipynb").read_text("utf-8"))["cells"]
    return [
        "".join(cell["source"]) for cell in cells if "lesson" in cell["metadata"].get("tags", [])
    ]


def test_chapter_1_lines_and_the_class_are_the_same_code(monkeypatch):
    """The chapter's cells, run on a few sentences, give the logits of `FineTunedClassifier`."""
    import numpy as np
    import torch
    from datasets import disable_progress_bars

    import reptune.runtime
    from reptune.classification import FineTunedClassifier
    from reptune.training import freeze

    disable_progress_bars()
    lesson = _lesson("01_supervised_classification")
    assert len(lesson) >= 5
    parts = data.load("rotten_tomatoes")
    train = data.few_shot(parts["train"], 8, 0)
    knobs = {
        "num_epochs": 2, "learning_rate": 1e-3, "batch_size": 8, "random_state": 42, "fast": False,
    }  # fmt: skip
    monkeypatch.setattr(reptune.runtime, "precision", dict)
    monkeypatch.setenv("REPTUNE_PROFILE", "quick")
    space = {
        "run": reptune.setup("01"), "reptune": reptune, "freeze": freeze,
        "MODEL": "all-MiniLM-L6-v2", "NAMES": ["negative", "positive"],
        "NUM_EPOCHS": 2, "LEARNING_RATE": 1e-3, "BATCH_SIZE": 8,
        "train": train, "validation": data.few_shot(parts["validation"], 4, 0),
    }  # fmt: skip
    for source in lesson:
        exec(source, space)
    # Evaluation draws from the global generator and so moves the next epoch's dropout;
    # the class evaluates without that side effect. Without evaluation both must agree.
    # Length grouping is a fast option, of which the class has its own, so it is off on both sides.
    space["trainer"].args.eval_strategy = "no"
    assert space["trainer"].args.train_sampling_strategy == "group_by_length"
    space["trainer"].args.train_sampling_strategy = "random"
    space["trainer"].train()
    texts = list(parts["test"]["text"][:8])
    batch = space["tokenizer"](texts, padding=True, truncation=True, return_tensors="pt")
    with torch.inference_mode():
        cells = space["model"].eval()(**batch.to(space["run"].device)).logits.cpu().numpy()
    ours = FineTunedClassifier(**knobs).fit(list(train["text"]), list(train["label"]))
    np.testing.assert_allclose(ours.logits(texts), cells, atol=1e-5)


def test_chapter_two_teaches_the_loss_of_the_package():
    """The chapter's loss over all pairs gives the value and gradient of the package's."""
    import torch

    from reptune.fewshot.contrastive import all_pairs_cosine_loss

    space = {}
    (cell,) = [one for one in _lesson("02_setfit_few_shot") if "def all_pairs_loss" in one]
    exec(cell, space)
    embeddings = torch.randn(12, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    labels = torch.tensor([0] * 7 + [1] * 5)
    cells = space["all_pairs_loss"](embeddings, labels == 1)
    ours = all_pairs_cosine_loss(embeddings, labels, balanced=True)
    torch.testing.assert_close(ours, cells)
    gradients = [torch.autograd.grad(loss, embeddings)[0] for loss in (ours, cells)]
    torch.testing.assert_close(*gradients)


def test_the_general_start_fills_gaps_in_text_it_has_not_read(loaded):
    from reptune.models.lowrank import GENERAL_START
    from reptune.models.masked import fill_mask, load_masked_lm, masked_scores
    from reptune.pretraining.packing import pack

    general = load_masked_lm("all-MiniLM-L6-v2", GENERAL_START)
    assert GENERAL_START.stat().st_size < 3e6 and not general.has_new_head
    articles = list(loaded["bbc_news"]["test"]["text"][:20])
    blocks = pack(articles, general.tokenizer, 128)
    found = masked_scores(general.model, blocks, general.tokenizer)
    assert found["accuracy"] > 0.3
    best, _ = fill_mask(general.model, "She is the [MASK] minister.", tokenizer=general.tokenizer)[
        0
    ][0]
    assert best == "prime"


def test_chapter_three_adds_thin_matrices_as_the_package_does():
    import torch

    from reptune.models.lowrank import LowRank

    (cell,) = [one for one in _lesson("03_continued_pretraining") if "class LowRank" in one]
    space = {"torch": torch}
    exec(cell.partition("\n\nlayer, states")[0], space)
    layer, states = torch.nn.Linear(6, 4), torch.randn(3, 6)
    ours, theirs = LowRank(layer, rank=2), space["LowRank"](layer, rank=2)
    weights = {"down": torch.randn(2, 6), "up": torch.randn(4, 2)}
    for one in (ours, theirs):
        one.load_state_dict(weights, strict=False)
    assert not torch.equal(ours(states), layer(states))
    torch.testing.assert_close(ours(states), theirs(states))
    assert [name for name, one in theirs.named_parameters() if one.requires_grad] == ["down", "up"]


def test_chapter_three_trains_as_the_package_does(tmp_path, monkeypatch):
    """The chapter's loop, on a tiny encoder without dropout, has the losses of the package."""
    import numpy as np
    import torch

    import reptune.runtime
    from reptune.models.masked import IGNORED, load_masked_lm, mask_tokens
    from reptune.pretraining import continue_pretraining
    from reptune.pretraining.packing import pack
    from tests import tiny

    monkeypatch.setattr(reptune.runtime, "precision", lambda: {"bf16": False, "fp16": False})
    folder = tiny.save_encoder(tmp_path / "tiny", dropout=0.0)
    texts = tiny.TEXTS * 20
    loaded = load_masked_lm(folder)
    loaded.save(tmp_path / "with head")
    knobs = {"batch_size": 4, "block_size": 16, "learning_rate": 5e-3, "num_steps": 12}
    ours = continue_pretraining(
        tmp_path / "with head", texts, tmp_path / "ours", weight_decay=0.0, random_state=42, **knobs
    )
    monkeypatch.setenv("REPTUNE_PROFILE", "quick")
    space = {
        "run": reptune.setup("03"), "np": np, "torch": torch, "mask_tokens": mask_tokens,
        "cross_entropy": torch.nn.functional.cross_entropy, "model": loaded.model.train(),
        "tokenizer": loaded.tokenizer, "blocks": pack(texts, loaded.tokenizer, 16),
        "MASK_PROBABILITY": 0.3, "NUM_STEPS": 12, "BATCH_SIZE": 4, "LEARNING_RATE": 5e-3,
    }  # fmt: skip
    lesson = _lesson("03_continued_pretraining")
    for part in ("NUM_STEPS", "def batch_of", "def take_step"):
        exec(next(cell for cell in lesson if part in cell), space)
    losses = [space["take_step"](step) for step in range(12)]
    history = json.loads((ours / "history.json").read_text("utf-8"))
    assert losses == pytest.approx([row["loss"] for row in history], abs=1e-4)
    assert losses[-1] < losses[0] and IGNORED == -100


def _cell(part):
    """The one lesson cell of chapter 4 that holds some text."""
    (cell,) = [
        cell for cell in _lesson("04_named_entity_recognition") if re.search(part, cell, re.M)
    ]
    return cell


SENTENCES = [["the", "film", "was", "unwatchable", "."], ["a", "great", "actor", "!"]] * 12
SENTENCE_TAGS = [["O", "B-MISC", "O", "B-LOC", "B-ORG"], ["O", "B-PER", "I-PER", "O"]] * 12


def test_chapter_four_scores_and_decodes_as_the_package_does():
    import numpy as np

    from reptune import metrics, tags

    rng = np.random.default_rng(0)
    names = ["O", *(f"{prefix}-{kind}" for kind in ("LOC", "PER") for prefix in "BI")]
    tagger = SimpleNamespace(classes_=np.array(names))
    space = {"np": np, "tagger": tagger, "allowed_moves": tags.allowed_moves}
    exec(_cell("^def decode").split("decoded =")[0], space)
    for _ in range(50):
        scores = np.log(rng.dirichlet(np.full(len(names), 0.5), size=rng.integers(1, 9)))
        assert space["decode"](scores) == tags.viterbi(scores, names)
    space = {}
    exec(_cell(r"read_back\[-1\]\[2\]"), space)
    assert [tags.Span(*span) for span in space["read_back"]] == tags.spans(space["tags"])
    true = ["B-PER", "I-PER", "O", "O", "B-PER", "I-PER", "O", "B-LOC", "O"]
    guess = ["B-PER", "O", "O", "O", "B-PER", "I-PER", "O", "B-PER", "O"]
    space = {"spans": tags.spans, "tags": true, "guess": guess, "words": list("abcdefghi")}
    exec(_cell("^right = true_spans & found_spans"), space)
    right, guessed, gold = (len(space[name]) for name in ("right", "found_spans", "true_spans"))
    found = metrics.entity_scores([true], [guess])
    assert found["f1"] == 2 * right / (guessed + gold) and found["recall"] == right / gold


def test_chapter_four_trains_as_the_package_does(tmp_path, monkeypatch):
    """The chapter's alignment, model and trainer give the weights of `EntityTagger`."""
    import torch
    from transformers import AutoTokenizer

    import reptune.runtime
    from reptune import metrics
    from reptune.book import schematics
    from reptune.ner import EntityTagger
    from tests import tiny

    monkeypatch.setattr(reptune.runtime, "precision", dict)
    monkeypatch.setenv("REPTUNE_PROFILE", "quick")
    folder = tiny.save_encoder(tmp_path / "tiny")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    encoded = tokenizer(SENTENCES[0], is_split_into_words=True)
    space = {
        "path": folder, "tokenizer": tokenizer, "torch": torch, "encoded": encoded,
        "words": SENTENCES[0], "tags": SENTENCE_TAGS[0], "schematics": schematics,
        "tokens": tokenizer.convert_ids_to_tokens(encoded["input_ids"]),
        "small_tokens": SENTENCES, "small_tags": SENTENCE_TAGS, "metrics": metrics,
        "held_tokens": SENTENCES, "held_tags": SENTENCE_TAGS,
        "LEARNING_RATE": 5e-3, "BATCH_SIZE": 4,
    }  # fmt: skip
    reptune.setup("04", random_state=42)
    for part in ("def labels_of", "model = ", "features = ", "arguments = ", "def tags_of"):
        exec(_cell(f"^{part}"), space)
    ours = EntityTagger(
        folder, num_epochs=1, learning_rate=5e-3, batch_size=4, max_length=32, fast=False
    ).fit(SENTENCES, SENTENCE_TAGS)
    assert ours.classes_.tolist() == space["TAGS"]
    theirs = space["model"].state_dict()
    for name, weight in ours.model_.state_dict().items():
        torch.testing.assert_close(weight, theirs[name], rtol=0, atol=1e-5, msg=name)
    best = [ours.classes_[row.argmax(axis=1)].tolist() for row in ours.predict_proba(SENTENCES)]
    assert space["plain"] == best


def test_chapter_five_scores_and_calibrates_as_the_package_does():
    """The lesson's likelihood of a whole word, and its calibration by hand."""
    import numpy as np
    import torch
    from scipy.special import softmax

    from reptune.incontext import build_prompt, calibrated
    from reptune.models.causal import load_causal_lm

    lesson = _lesson("05_in_context_learning")
    (by_hand,) = [cell for cell in lesson if "def log_likelihood" in cell]
    lm = load_causal_lm("SmolLM2-135M-Instruct")
    words = {0: "negative", 1: "not bad at all"}
    zero = build_prompt("a dull film .", [("great fun .", "positive")])
    space = {
        "lm": lm, "torch": torch, "zero": zero, "WORDS": words,
        "run": type("run", (), {"device": lm.model.device}),
    }  # fmt: skip
    exec(by_hand, space)
    found = [space["log_likelihood"](zero, word) for word in words.values()]
    scores = lm.continuation_scores([zero, zero + " "], [f" {word}" for word in words.values()])
    assert found == pytest.approx(scores[0].tolist(), abs=1e-4)

    (divide,) = [cell for cell in lesson if "by_hand = probabilities / anyway" in cell]
    rng = np.random.default_rng(0)
    raw, free = rng.normal(size=(6, 2)), rng.normal(size=(3, 2))
    space = {
        "np": np, "softmax": softmax, "calibrated": calibrated, "runs": {7: raw}, "free": free,
        "extremes": [7], "held_labels": rng.integers(0, 2, 6),
        "anyway": softmax(free, axis=1).mean(axis=0),
    }  # fmt: skip
    exec(divide, space)  # it asserts that both ways agree
    assert space["by_hand"] == pytest.approx(calibrated(raw, free))


def test_chapter_five_masks_packed_rows_as_the_package_does():
    """The lesson's mask and positions are those of the package's packed rows."""
    import torch

    from reptune.book import plots, prompting
    from reptune.models.causal import _Pack

    (cell,) = [one for one in _lesson("05_in_context_learning") if "text_of = " in one]
    space = {"torch": torch, "plots": plots, "prompting": prompting}
    exec(cell, space)
    pack = _Pack([[7, 8], [9, 10, 11]], [[1]])  # an ending of one token adds none to the row
    assert space["seen"].tolist() == (pack.mask(3, torch.device("cpu"))[0, 0] == 0).tolist()
    assert space["positions"] == [3 + position for position in pack.positions]


def test_chapter_six_trains_as_the_package_does(tmp_path):
    """The lesson's logits at the gap, and its loss, are those of `PromptTunedClassifier`."""
    import numpy as np
    import torch

    from reptune.cloze import PromptTunedClassifier
    from reptune.cloze.prompt_models import collate, label_logits, load_prompt_model
    from reptune.cloze.templates import Template, encode, word_ids
    from tests import tiny

    (cell,) = _lesson("06_prompt_based_finetuning")
    space = {"torch": torch}
    exec(cell, space)
    folder = tiny.save_masked_lm(tmp_path / "masked", dropout=0.0)
    loaded = load_prompt_model(folder)
    template, words = Template("{text} is {mask}"), {"negative": "bad", "positive": "good"}
    pieces = word_ids(words, sorted(words), loaded.tokenizer, causal=False, template=template)
    prompts = [encode(template, loaded.tokenizer, text, limit=32) for text in tiny.TEXTS]
    batch = collate(loaded, prompts)
    ours = space["gap_logits"](loaded.model, batch, torch.as_tensor(pieces))
    for fast in (True, False):
        torch.testing.assert_close(ours, label_logits(loaded, batch, pieces, fast=fast))
    tuned = PromptTunedClassifier(
        folder, template, words, adapter=None, num_steps=1, batch_size=len(tiny.TEXTS),
        fast=False, random_state=0,
    )  # fmt: skip
    tuned.fit(tiny.TEXTS, tiny.LABELS)
    targets = torch.tensor([sorted(words).index(label) for label in tiny.LABELS])
    loss = space["cloze_loss"](loaded.model, batch, torch.as_tensor(pieces), targets)
    assert tuned.history_[0]["loss"] == pytest.approx(loss.item(), abs=1e-5)
    assert np.isfinite(tuned.history_[0]["loss"])
