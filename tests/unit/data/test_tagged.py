import gzip
import itertools
import json
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reptune import tags
from reptune.data import tagged

cheap = settings(max_examples=100, deadline=None, database=None)

# Arbitrary text seldom holds what a rule is about; this does.
telling = st.text(
    st.sampled_from("aBé1.'’-&_ \t\n\u00a0,($\u0301\u200d\u200b\u0645👍🏽👩🚀\ue000\x00"),
    max_size=20,
)


def texts_of(text):
    return [word.text for word in tagged.split_words(text)]


@pytest.mark.parametrize("kind", ["any", "telling"])
@cheap
@given(data=st.data())
def test_words_stand_where_they_say_and_leave_out_only_whitespace(kind, data):
    text = data.draw(st.text(max_size=30) if kind == "any" else telling)
    words = tagged.split_words(text)
    free = 0
    left_out = ""
    for word in words:
        assert word.text and text[word.start : word.end] == word.text
        assert word.start >= free, "increasing, and none overlaps the one before"
        left_out += text[free : word.start]
        free = word.end
    left_out += text[free:]
    assert all(unicodedata.category(character)[0] in "ZC" for character in left_out)
    assert not any(character.isspace() for word in words for character in word.text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \t\r\n\u00a0\u2003", []),
        ("Ada wrote.", ["Ada", "wrote", "."]),
        ("the U.S. and J.R.R. Tolkien", ["the", "U.S.", "and", "J.R.R.", "Tolkien"]),
        ("U.S.'s", ["U.S.", "'s"]),
        ("Malcolm X's 'Life'", ["Malcolm", "X", "'s", "'", "Life", "'"]),
        ("1,000 U.S.A \U0001f1eb\U0001f1f7!", ["1,000", "U.S.A", "\U0001f1eb\U0001f1f7", "!"]),
        ("O'Brien", ["O'Brien"]),
        ("O’Brien’s", ["O’Brien", "’s"]),
        ("D'Arcy-Smith", ["D'Arcy-Smith"]),
        ("Rolls-Royce", ["Rolls-Royce"]),
        ("well- known -x", ["well", "-", "known", "-", "x"]),
        ("R&D, AT&T's", ["R&D", ",", "AT&T", "'s"]),
        ("a & b", ["a", "&", "b"]),
        ("$3.5m", ["$", "3.5", "m"]),
        ("1.2.3.", ["1.2.3", "."]),
        ("John's", ["John", "'s"]),
        ("they're in the '90s", ["they", "'re", "in", "the", "'", "90s"]),
        ("(@user_1)!!", ["(", "@", "user_1", ")", "!", "!"]),
        ("#tag", ["#", "tag"]),
        ("👩\u200d🚀 up", ["👩\u200d🚀", "up"]),
        ("👩🏽\u200d🚀", ["👩🏽\u200d🚀"]),
        ("👍🏽!", ["👍🏽", "!"]),
        ("👍👍", ["👍", "👍"]),
        ("❤\ufe0f1\ufe0f\u20e3", ["❤\ufe0f", "1\ufe0f\u20e3"]),
        ("cafe\u0301s", ["cafe\u0301s"]),
        ("E\u0301.U. e\u0301'Sa", ["E\u0301.U.", "e\u0301", "'Sa"]),
        ("東京 में", ["東京", "में"]),
    ],
)
def test_words_by_hand(text, expected):
    assert texts_of(text) == expected


def test_places_count_characters():
    assert tagged.split_words(" 👍🏽 Ada’s") == [("👍🏽", 1, 3), ("Ada", 4, 7), ("’s", 7, 9)]


# --- columns -------------------------------------------------------------------------------------


@pytest.fixture
def write(tmp_path):
    def to_file(content, name="mine.txt"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return to_file


ADA = {"tokens": ["Ada", "Lovelace", "wrote"], "ner_tags": ["B-PER", "I-PER", "O"]}
HI = {"tokens": ["Hi"], "ner_tags": ["O"]}


@pytest.mark.parametrize(
    "content",
    [
        "Ada B-PER\nLovelace I-PER\nwrote O\n\nHi O\n",
        "Ada\tB-PER\nLovelace\tI-PER\nwrote\tO\n\nHi\tO",
        "\n\nAda B-PER\nLovelace I-PER\nwrote O\n \n\t\n\nHi O\n\n\n",
        "Ada NNP B-NP B-PER\nLovelace NNP I-NP I-PER\nwrote VBD B-VP O\n\nHi UH O O\n",
        "-DOCSTART- -X- -X- O\n\nAda N N B-PER\nLovelace N N I-PER\nwrote V V O\n\nHi U O O\n",
        "-DOCSTART- O\nAda B-PER\nLovelace I-PER\nwrote O\n\n-DOCSTART- O\n\nHi O\n",
        "# id 1\nAda B-PER\n# more\nLovelace I-PER\nwrote O\n\n# id 2\nHi O\n",
        "Ada B-PER\r\nLovelace I-PER\r\nwrote O\r\n\r\nHi O\r\n",
        "\ufeffAda B-PER\nLovelace I-PER\nwrote O\n\nHi O\n",
        "Ada B-PER\nLovelace E-PER\nwrote O\n\nHi O\n",
        "Ada I-PER\nLovelace I-PER\nwrote O\n\nHi O\n",
    ],
    ids=[
        "two",
        "tabs",
        "blanks",
        "four",
        "docstart",
        "docstarts",
        "comments",
        "crlf",
        "bom",
        "bioes",
        "iob1",
    ],
)
def test_columns_of_every_kind_hold_the_same_sentences(write, content):
    dataset = tagged.read_columns(write(content))
    assert list(dataset) == [ADA, HI]
    assert dataset.features == tagged.tagged_dataset([], []).features


def test_columns_are_chosen_and_parted_as_asked(write):
    path = write("1\tNew York\tB-LOC\tx\n2\t# \tO\tx\n")
    assert list(tagged.read_columns(path, 1, 2, separator="\t")) == [
        {"tokens": ["New York", "#"], "ner_tags": ["B-LOC", "O"]}
    ]
    assert tagged.read_columns(path, -3, -2, separator="\t")["tokens"][0] == ["New York", "#"]


def test_a_word_may_be_a_number_sign_of_a_hashtag(write):
    path = write("#\tO\n#tag\tB-X\n")
    assert tagged.read_columns(path)["tokens"][0] == ["#", "#tag"]


def test_neighbors_in_iob1_stay_apart_and_the_scheme_can_be_said(write):
    path = write("Ada I-PER\nBob B-PER\nParis I-LOC\n")
    expected = ["B-PER", "B-PER", "B-LOC"]
    assert tagged.read_columns(path)["ner_tags"][0] == expected
    assert tagged.read_columns(path, scheme="IOB1")["ner_tags"][0] == expected
    with pytest.raises(ValueError, match=r"tags\[0\]\[0\] is 'I-PER' after 'O'"):
        tagged.read_columns(path, scheme="BIO2")


def test_singles_and_ends_in_bioes(write):
    path = write("Ada S-PER\nin O\nNew B-LOC\nYork I-LOC\nCity E-LOC\n")
    expected = ["B-PER", "O", "B-LOC", "I-LOC", "I-LOC"]
    assert tagged.read_columns(path)["ner_tags"][0] == expected


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("Ada B-PER\n\nwrote\n", {}, "mine.txt, line 3: 'wrote' holds no word and tag in columns"),
        ("# one\r\nAda O\r\nwrote\r\n", {}, "line 3: 'wrote'"),
        ("Ada O\nwrote O\n", {"tag_column": 2}, "line 1: 'Ada O' .* columns 0 and 2"),
        ("Ada O\n", {"separator": "\t"}, r"line 1: 'Ada O' .* check separator='\\t'"),
        ("Ada\tO\nwrote\t\n", {"separator": "\t"}, "line 2"),
        ("Ada\tO\n\tO\n", {"separator": "\t"}, "line 2"),
        ("", {}, "mine.txt holds no sentence"),
        ("\n \n# note\n-DOCSTART- O\n", {}, "holds no sentence"),
        (b"Ada O\nCaf\xe9 O\n", {}, "mine.txt, line 2 is not UTF-8 .*; save it again as UTF-8"),
        ("Ada B-PER\nwrote PER\n", {}, "mine.txt, line 2: 'PER' in column -1 is no tag"),
        ("Ada B-PER\nwrote 7\n", {}, "line 2: '7' in column -1 is no tag; .*Check tag_column"),
        ("Ada O\n", {"tag_column": 0}, "line 1: 'Ada O' holds no word and tag in columns 0 and 0"),
        ("Ada O\n", {"tag_column": -2}, "holds no word and tag in columns 0 and -2"),
        ("Ada O\n", {"tag_column": 1.0}, "tag_column=1.0; use a whole number"),
        ("Ada O\n", {"token_column": "word"}, "token_column='word'; use a whole number"),
        ("Ada O\n", {"token_column": True}, "token_column=True; use a whole number"),
        ("Ada O\n", {"separator": ""}, "separator=''; use a string"),
        ("Ada O\n", {"separator": 9}, "separator=9; use a string"),
        ("Ada O\n", {"scheme": ["BIO2"]}, r"scheme=\['BIO2'\] is unknown"),
        (b"Ada O\nB\0o O\n", {}, "line 2 holds a NUL character"),
        ("Ada O\n".encode("utf-16"), {}, "is UTF-16"),
        ("Ada O\n", {"scheme": "IOB"}, "scheme='IOB' is unknown; did you mean 'IOB1'"),
    ],
)
def test_columns_that_cannot_be_read_say_where(write, content, options, message):
    with pytest.raises(ValueError, match=message):
        tagged.read_columns(write(content), **options)


@pytest.mark.parametrize("read", [tagged.read_columns, tagged.read_spans])
def test_a_missing_file_is_named(tmp_path, read):
    with pytest.raises(FileNotFoundError, match=r"none\.txt does not exist; check the path"):
        read(tmp_path / "none.txt")


# --- spans ---------------------------------------------------------------------------------------


def lines(*rows):
    return "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows)


TEXT = "Ada Lovelace wrote"
ADA_SPAN = {"start": 0, "end": 12, "label": "PER"}


@pytest.mark.parametrize("span", [ADA_SPAN, [0, 12, "PER"], ADA_SPAN | {"id": 7}])
def test_spans_come_as_objects_or_lists(write, span):
    path = write(lines({"text": TEXT, "spans": [span]}, "", {"text": "Hi", "spans": []}))
    dataset = tagged.read_spans(str(path))
    assert list(dataset) == [ADA, HI]
    assert dataset.features == tagged.tagged_dataset([], []).features


def test_the_fields_may_have_other_names(write):
    row = {"data": TEXT, "entities": [{"from": 0, "to": 12, "tag": "PER"}], "text": "x"}
    names = {"text": "data", "spans": "entities", "start": "from", "end": "to", "label": "tag"}
    assert list(tagged.read_spans(write(lines(row)), **names)) == [ADA]


def test_spans_count_characters_and_may_come_in_any_order(write):
    row = {"text": "👍🏽 Ada’s Zürich", "spans": [[9, 15, "LOC"], [3, 6, "PER"]]}
    found = tagged.read_spans(write("\ufeff" + json.dumps(row, ensure_ascii=False) + "\r\n"))
    assert list(found) == [
        {"tokens": ["👍🏽", "Ada", "’s", "Zürich"], "ner_tags": ["O", "B-PER", "O", "B-LOC"]}
    ]


def test_texts_without_words_are_left_out(write):
    path = write(lines({"text": " \n", "spans": []}, {"text": "Hi", "spans": []}))
    assert list(tagged.read_spans(path)) == [HI]
    with pytest.raises(ValueError, match="holds no sentence"):
        tagged.read_spans(write(lines({"text": " ", "spans": []})))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": TEXT, "spans": [[0, 7, "PER"]]}, "0:7 .* begins or ends within a word"),
        ({"text": TEXT, "spans": [[1, 12, "PER"]]}, r"words there are \['Ada', 'Lovelace'\]"),
        ({"text": TEXT, "spans": [[0, 12, "PER"], [4, 12, "X"]]}, "overlaps another entity"),
        ({"text": TEXT, "spans": [[13, 19, "PER"]]}, "13:19 .* within the text's 18 characters"),
        ({"text": TEXT, "spans": [[-1, 3, "PER"]]}, "does not lie within the text"),
        ({"text": TEXT, "spans": [[3, 3, "PER"]]}, "does not lie within the text"),
        ("{'text': 1}", "is not JSON"),
        ("[1, 2]", r"is '\[1, 2\]'; each line must hold one JSON object"),
        ({"text": TEXT}, "has no 'spans'; its fields are text"),
        ({"spans": [], "id": 1}, "has no 'text'; its fields are spans, id"),
        ({"text": None, "spans": []}, "'text' is None; it must be a string"),
        ({"text": TEXT, "spans": [{"start": 0, "label": "PER"}]}, "the span .* lacks end"),
        ({"text": TEXT, "spans": [ADA_SPAN | {"start": False}]}, "needs whole numbers"),
        ({"text": TEXT, "spans": [[0, True, "PER"]]}, "needs whole numbers"),
        ({"text": TEXT, "spans": [["0", 12, "PER"]]}, "needs whole numbers"),
        ({"text": TEXT, "spans": [[0.0, 12, "PER"]]}, "needs whole numbers"),
        ({"text": TEXT, "spans": [[0, 12, ""]]}, "and a label"),
        ({"text": TEXT, "spans": [[0, 12, None]]}, "and a label"),
        ({"text": TEXT, "spans": [[0, 12]]}, "needs whole numbers"),
        ({"text": TEXT, "spans": ["PER"]}, "needs whole numbers"),
    ],
)
def test_spans_that_cannot_be_read_name_their_line(write, row, message):
    path = write(lines({"text": "Hi", "spans": []}, "", row))
    with pytest.raises(ValueError, match=rf"^mine\.txt, line 3.*{message}"):
        tagged.read_spans(path)


def test_spans_that_are_not_utf8_or_empty_are_refused(write):
    with pytest.raises(ValueError, match="is not UTF-8"):
        tagged.read_spans(write(b'{"text": "Caf\xe9", "spans": []}'))
    with pytest.raises(ValueError, match="holds no sentence"):
        tagged.read_spans(write(""))


@pytest.mark.parametrize(("start", "end"), [(2, 14), (1, 14), (0, 16), (2, 16), (2, 15)])
def test_spaces_at_the_ends_of_a_span_are_taken_off(start, end):
    text = " \tAda Lovelace\u00a0\n wrote"
    found = tagged.tags_from_spans(text, tagged.split_words(text), [(start, end, "PER")])
    assert found == ["B-PER", "I-PER", "O"]


def test_a_span_of_nothing_but_spaces_is_refused():
    text = "Ada   wrote"
    for span in [(3, 6, "PER"), (4, 5, "PER")]:
        with pytest.raises(ValueError):
            tagged.tags_from_spans(text, tagged.split_words(text), [span])


@pytest.mark.parametrize("kind", ["any", "telling"])
@cheap
@given(data=st.data())
def test_characters_to_tags_and_back(kind, data):
    text = data.draw(st.text(max_size=30) if kind == "any" else telling)
    words = tagged.split_words(text)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(words)), max_size=6)))
    spans = [
        (words[first].start, words[last - 1].end, data.draw(st.sampled_from(["PER", "LOC"])))
        for first, last in itertools.pairwise(cuts)
        if data.draw(st.booleans())
    ]
    row = tagged.tags_from_spans(text, words, data.draw(st.permutations(spans)))
    back = [(words[s.start].start, words[s.end - 1].end, s.type) for s in tags.spans(row)]
    assert back == spans


@pytest.mark.parametrize(
    "line, message",
    [
        ('{"text": "Ada", "spans": null}', "must be a list"),
        ('{"text": " ", "spans": [[0, 99, "X"]]}', "does not lie within"),
        ('{"text": "a b", "spans": [[1, 2, "X"]]}', "holds no word"),
    ],
)
def test_spans_that_cannot_be_are_refused_with_their_line(tmp_path, line, message):
    (tmp_path / "own.jsonl").write_text(line + "\n")
    with pytest.raises(ValueError, match=f"line 1.*{message}"):
        tagged.read_spans(tmp_path / "own.jsonl")


def test_a_word_that_looks_like_a_comment_is_kept(tmp_path):
    (tmp_path / "own.conll").write_text("# a comment\nAda B-PER\n# O\nwrote O\n")
    assert tagged.read_columns(tmp_path / "own.conll")[0]["tokens"] == ["Ada", "#", "wrote"]


@pytest.mark.parametrize("read", [tagged.read_columns, tagged.read_spans])
def test_paths_that_are_no_file(read, tmp_path):
    for path in (None, 3, b"mine.txt", ""):
        with pytest.raises(ValueError, match="pass a file's path"):
            read(path)
    with pytest.raises(ValueError, match="is a folder"):
        read(tmp_path)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read(tmp_path / "none.txt")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "a", "text": "b", "spans": []}', "the field 'text' is there more than once"),
        ("[" * 100_000, "nested too deeply"),
        ('{"text": "a\\ud800", "spans": []}', "not valid Unicode"),
        ('{"text": "a", "spans": [[0, ' + "1" * 5000 + ', "X"]]}', "Exceeds the limit"),
    ],
)
def test_odd_json_names_its_line(write, line, message):
    with pytest.raises(ValueError, match=f"mine.txt, line 1.*{message}"):
        tagged.read_spans(write(line))


def test_names_of_fields_are_strings(write):
    path = write('{"text": "a", "spans": []}')
    with pytest.raises(ValueError, match=r"spans=\['spans'\]; pass a field's name"):
        tagged.read_spans(path, spans=["spans"])


@pytest.mark.parametrize("text", [None, 3, b"Ada", ["Ada"]])
def test_only_a_string_is_cut_into_words(text):
    with pytest.raises(ValueError, match="pass one string"):
        tagged.split_words(text)
    with pytest.raises(ValueError, match="pass one string"):
        tagged.tags_from_spans(text, [], [])


@pytest.mark.parametrize(
    ("words", "spans", "message"),
    [
        (None, [], "words is None; pass a list"),
        (["Ada"], [], "'Ada' is no word of this text"),
        # Words of another text would be tagged as if they were of this one.
        (tagged.split_words("Bob wrote"), [], "is no word of this text"),
        ("right", None, "spans is None; pass a list"),
        ("right", {(0, 3, "PER"): 1}, "spans is a dict"),
        ("right", [(0, 3)], r"spans\[0\] is \(0, 3\); pass \(start, end, type\)"),
        ("right", ["PER"], "is 'PER'; pass"),
        ("right", [(0.0, 3, "PER")], "as whole numbers"),
        ("right", [(False, 3, "PER")], "as whole numbers"),
        ("right", [(0, 3, None)], "pass a type"),
        ("right", [(0, 3, "")], "pass a type"),
        ("right", [("PER", 0, 3)], "pass a type"),
    ],
)
def test_spans_and_words_of_the_wrong_kind(words, spans, message):
    words = tagged.split_words("Ada wrote") if words == "right" else words
    with pytest.raises(ValueError, match=message):
        tagged.tags_from_spans("Ada wrote", words, spans)


def test_a_compressed_file_is_read_too(tmp_path):
    path = tmp_path / "mine.conll.gz"
    path.write_bytes(gzip.compress(b"Ada B-PER\nwrote O\n"))
    assert list(tagged.read_columns(path)["ner_tags"]) == [["B-PER", "O"]]
