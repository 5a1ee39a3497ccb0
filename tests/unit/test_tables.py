import pandas as pd
import pytest

from reptune import data


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".jsonl"])
def test_tables_come_back_as_written(tmp_path, suffix):
    frame = pd.DataFrame({"review": ["good, or so", "bad"], "verdict": ["yes", "no"]})
    path = tmp_path / f"mine{suffix}"
    {
        ".csv": lambda: frame.to_csv(path, index=False),
        ".tsv": lambda: frame.to_csv(path, sep="\t", index=False),
        ".parquet": lambda: frame.to_parquet(path),
        ".jsonl": lambda: frame.to_json(path, orient="records", lines=True),
    }[suffix]()
    table = data.read_table(path, text="review", label="verdict")
    assert table["text"][:] == ["good, or so", "bad"] and table["label"][:] == ["yes", "no"]
    assert data.read_table(path, text="review", label=None).column_names == ["text"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text,label\n", "there are none"),
        ("", "is empty"),
        ("txt,label\na,1\n", r"no column 'text', did you mean 'txt'"),
        ("text,label\na,1\n,2\n", r"\[1\] is nan \(a missing value\)"),
        ("text,label\na,\nb,x\n", r"labels\[0\] is nan"),
        ("text,label\na,0.5\nb,1.5\n", "strings or integers"),
    ],
)
def test_bad_tables_say_what_is_wrong(tmp_path, content, message):
    path = tmp_path / "mine.csv"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        data.read_table(path)


def test_unreadable_tables_say_what_is_wrong(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.csv does not exist"):
        data.read_table(tmp_path / "none.csv")
    (tmp_path / "mine.xlsx").touch()
    with pytest.raises(ValueError, match=r"cannot read \.xlsx; save the table as one of \.csv"):
        data.read_table(tmp_path / "mine.xlsx")
    (tmp_path / "latin.csv").write_bytes("text,label\ncaf\xe9,1\n".encode("latin-1"))
    with pytest.raises(ValueError, match="save it again as UTF-8"):
        data.read_table(tmp_path / "latin.csv")
