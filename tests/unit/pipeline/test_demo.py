"""The page over a saved model, driven in a browser, and what it saves."""

import errno
import json
import re
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from reptune import (
    EntityTagger,
    FrozenClassifier,
    PromptTunedClassifier,
    PromptTunedRegressor,
    TfidfClassifier,
)
from reptune.pipeline import demo
from reptune.pipeline.examples import read_examples
from tests import tiny

GOOD, BAD = "<b>positive</b>", '<img src=x onerror="window.ran=1">'
HOSTILE = '<script>window.ran=1</script><img src=x onerror="window.ran=1"> good film'
SENTENCES = [text.split() for text in tiny.TEXTS]
TAGS = [["B-THING" if word in ("film", "movie") else "O" for word in row] for row in SENTENCES]
CARD = {
    "score": {"metric": "accuracy", "estimate": 0.9, "low": 0.8, "high": 0.95, "rows": 100},
    "abstention": {"threshold": 0.7},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A saved model whose labels are markup."""
    labels = [{"positive": GOOD, "negative": BAD}[label] for label in tiny.LABELS]
    model = TfidfClassifier().fit(tiny.TEXTS, labels)
    model.card_ = CARD
    return model.save(tmp_path_factory.mktemp("demo") / "model")


@pytest.fixture(scope="module")
def address(folder):
    """Where `reptune demo` shows it; Ctrl-C has to end it cleanly."""
    command = [sys.executable, "-m", "reptune.cli", "demo", str(folder), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        try:
            line = running.stderr.readline()
            found = re.search(r"http://127\.0\.0\.1:\d+", line)
            assert found, line + running.stderr.read()
            yield found[0]
            running.send_signal(signal.SIGINT)
            assert running.wait(30) == 0
            assert "Traceback" not in running.stderr.read()
        finally:
            running.kill()


@pytest.fixture
def page(browser, address):
    context = browser.new_context()
    page = context.new_page()
    page.asked = []
    page.on("request", lambda request: page.asked.append(request.url))
    page.goto(address)
    page.wait_for_selector("#text textarea", timeout=120_000)
    yield page
    context.close()


def predict(page, note: str) -> str:
    page.click("#predict")
    box = page.locator("#note textarea")
    page.wait_for_function(
        "note => document.querySelector('#note textarea').value.includes(note)", arg=note,
        timeout=60_000,
    )  # fmt: skip
    return box.input_value()


# --- in a browser --------------------------------------------------------------------------------


def test_a_text_gets_its_label_and_nothing_comes_from_elsewhere(page, address):
    page.fill("#text textarea", "good great film")
    assert predict(page, "Label:") == f"Label: {GOOD}"
    assert page.locator("#result h2").inner_text() == GOOD
    assert "accuracy 90.0% [80.0%, 95.0%] on 100 rows" in page.inner_text("body")
    assert len(page.asked) > 5
    assert not [url for url in page.asked if not url.startswith((address, "data:", "blob:"))]


def test_below_the_saved_threshold_the_page_is_not_sure(page):
    page.fill("#text textarea", "zzz")
    assert "answers from 70.0% on" in predict(page, "Not sure")


def test_what_is_typed_stays_text(page):
    dialogs = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page.fill("#text textarea", HOSTILE)
    predict(page, ":")
    page.wait_for_timeout(500)
    assert not dialogs
    assert page.evaluate("window.ran") is None
    assert page.locator("img[src=x]").count() == 0
    assert page.locator("#result b").count() == 0


def test_a_megabyte_gets_a_message(page):
    page.focus("#text textarea")
    page.keyboard.insert_text("word " * 200_000)
    assert "longer than 10,000 characters" in predict(page, "longer")
    page.fill("#text textarea", "good film")  # and the page still works
    predict(page, "Label:")


def test_a_correction_is_saved_where_train_reads_it(page, folder):
    page.fill("#text textarea", "a dull film")
    predict(page, ":")
    page.click("#right input")
    page.get_by_role("option", name=GOOD).click()
    page.click("#save")
    page.wait_for_function("document.querySelector('#note textarea').value.includes('Saved')")
    file = folder.with_name("model-corrections.jsonl")
    assert json.loads(file.read_text()) == {"text": "a dull film", "label": GOOD}
    demo.append_correction(file, {"text": "bad", "label": BAD})
    examples = read_examples(file)
    assert (examples.inputs, examples.targets) == (["a dull film", "bad"], [GOOD, BAD])


# --- without one ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client(folder):
    from starlette.testclient import TestClient

    return TestClient(demo._guarded(demo.build(folder)), base_url="http://127.0.0.1:7860")


@pytest.mark.parametrize(
    "path",
    ["/docs", "/openapi.json", "/gradio_api/info", "/gradio_api/openapi.json",
     "/gradio_api/file=/etc/passwd", "/gradio_api/proxy=http://example.com", "/monitoring"],
)  # fmt: skip
def test_nothing_but_the_page_is_served(client, path):
    assert client.get(path).status_code == 404


def test_uploads_and_large_requests_are_refused(client):
    files = {"files": ("a.txt", b"a")}
    assert client.post("/gradio_api/upload", files=files).status_code == 404
    large = client.post("/gradio_api/queue/join", content=b"x" * 300_000)
    assert large.status_code == 413


def test_another_sites_page_cannot_save_anything(client):
    post = {"url": "/gradio_api/queue/join", "content": b"{}"}
    assert client.post(**post, headers={"origin": "http://evil.example"}).status_code == 403
    assert client.post(**post, headers={"origin": "http://127.0.0.1:7860"}).status_code != 403


def test_only_this_machine_is_answered_and_the_page_may_load_nothing(client):
    answer = client.get("/")
    assert answer.status_code == 200
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert client.get("/", headers={"host": "evil.example"}).status_code == 400


def page_of(model, tmp_path):
    return demo._Page(model, tmp_path / "corrections.jsonl")


def test_a_tagger_highlights_and_takes_spans(tmp_path):
    encoder = tiny.save_encoder(tmp_path / "encoder")
    tagger = EntityTagger(model=encoder, max_length=None, num_epochs=20, learning_rate=1e-2,
                          random_state=0, device="cpu").fit(SENTENCES, TAGS)  # fmt: skip
    page = page_of(tagger, tmp_path)
    text = "a good film, a fine movie"
    parts, note, given, right = page.read(text, "")
    assert "".join(part for part, _ in parts) == text
    assert ("film", "THING") in parts and note == "2 entities"
    assert json.loads(right) == [[7, 11, "THING"], [20, 25, "THING"]]
    for typed, message in (
        ('[[7, 11, "THINK"]]', "no type 'THINK'; use THING"),
        ('[[7, 10, "THING"]]', "within a word"),
        ("[[7, 11", "not JSON"),
        ("7", "write a list"),
    ):
        assert message in page.save(text, "", typed, given)
    assert "press Predict" in page.save(f"{text}.", "", right, given)
    assert not page.file.exists()
    assert page.save(text, "", '[[7, 11, "THING"]]', given).startswith("Saved in")
    examples = read_examples(page.file, label="spans")
    assert examples.kind == "tags"
    assert examples.targets == [["O", "O", "B-THING", "O", "O", "O", "O"]]


def test_several_labels_are_saved_as_a_list(tmp_path):
    encoder = tiny.save_encoder(tmp_path / "encoder")
    labels = [["a", "b"] if "good" in text else ["a"] if "bad" in text else [] for text in
              tiny.TEXTS]  # fmt: skip
    page = page_of(FrozenClassifier(model=encoder, device="cpu").fit(tiny.TEXTS, labels), tmp_path)
    result, note, given, right = page.read("good film", "")
    assert set(result) == {"a", "b"} and note.startswith("Labels:")
    assert right == [i for i, far in enumerate(page.model.thresholds_) if
                     result["ab"[i]] >= far]  # fmt: skip
    page.save("good film", "", [1, 0], given)
    page.save("dull film", "", [], given)
    assert read_examples(page.file).targets == [["a", "b"], []]


def test_pairs_have_two_texts(tmp_path):
    masked = tiny.save_masked_lm(tmp_path / "masked")
    pairs = [(text, "the film") for text in tiny.TEXTS]
    model = PromptTunedClassifier(
        model=masked, template="{text} {mask} {text2}", num_steps=1, device="cpu",
        words={"positive": "good", "negative": "bad"},
    ).fit(pairs, tiny.LABELS)  # fmt: skip
    page = page_of(model, tmp_path)
    assert page.read("good", "")[1] == "Type a text first."
    assert page.read("good", "the film")[1].startswith("Label:")
    page.save("good", "the film", 1, None)
    page.save("bad", "the film", 0, None)
    examples = read_examples(page.file, text2="text2")
    assert examples.inputs[0] == ("good", "the film")
    assert examples.targets == ["positive", "negative"]


def test_a_number_is_shown_and_not_corrected(tmp_path):
    masked = tiny.save_masked_lm(tmp_path / "masked")
    model = PromptTunedRegressor(
        model=masked, template="{text} it was {mask} .", num_steps=1, device="cpu",
        words=("bad", "good"), low=0.0, high=5.0,
    ).fit(tiny.TEXTS, [5.0, 0.0] * 8)  # fmt: skip
    page = page_of(model, tmp_path)
    result, note, given = page.read("good", "")
    assert 0 <= float(result) <= 5 and note == "" and given == "good"
    assert demo.build(model.save(tmp_path / "model")) is not None


def test_labels_that_are_numbers_stay_numbers(tmp_path):
    page = page_of(TfidfClassifier().fit(tiny.TEXTS, [1, 0] * 8), tmp_path)
    assert page.save("good film", "", None, None) == "Choose the right label first."
    page.save("good film", "", 1, None)
    assert json.loads(page.file.read_text()) == {"text": "good film", "label": 1}


@pytest.mark.parametrize("text", ["", " \n", "x" * 10_001, "🎉" * 5_001, "a \ud800"])
def test_a_bad_text_gets_a_note_and_no_prediction(tmp_path, text):
    page = page_of(TfidfClassifier().fit(tiny.TEXTS, tiny.LABELS), tmp_path)
    result, note, *_ = page.read(text, "")
    assert result is None and len(note) > 10


def test_labels_that_look_the_same_when_cut_stay_apart():
    assert demo._different(["a", "b", "a"]) == ["a", "b", "a (2)"]


def test_corrections_of_many_at_once_are_whole_lines(tmp_path):
    file = tmp_path / "mine.jsonl"
    file.write_text('{"text": "without a line end", "label": 0}')
    rows = [{"text": "é" * 5000, "label": number} for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda row: demo.append_correction(file, row), rows))
    found = [json.loads(line)["label"] for line in file.read_text(encoding="utf-8").splitlines()]
    assert found[0] == 0 and sorted(found[1:]) == list(range(40))


def test_a_full_disk_leaves_the_corrections_as_they_were(tmp_path, monkeypatch):
    page = page_of(TfidfClassifier().fit(tiny.TEXTS, tiny.LABELS), tmp_path)
    page.save("good film", "", 1, None)
    before = page.file.read_bytes()

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(demo.os, "fsync", full)
    assert "No space left" in page.save("bad film", "", 0, None)
    assert page.file.read_bytes() == before


@pytest.mark.parametrize(
    ("chosen", "message"),
    [("{model}/mine.jsonl", "lies in the model's folder"), ("mine.csv", r"ends in \.jsonl"),
     ("{model}/../nowhere/mine.jsonl", "make its folder")],
)  # fmt: skip
def test_no_place_for_corrections(folder, chosen, message):
    with pytest.raises(ValueError, match=message):
        demo.build(folder, chosen.format(model=folder))


def test_without_gradio_the_cure_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(ValueError, match=r'pip install "reptune\[demo\]"'):
        demo.build(folder)


def test_a_port_in_use_is_said_before_the_model_is_loaded():
    with socket.socket() as taken:
        taken.bind((demo.HOST, 0))
        taken.listen()
        with pytest.raises(OSError, match="choose another with --port"):
            demo.serve("no-such-folder", taken.getsockname()[1])
