from reptune.data import duplicates


def row(row_id, text, stratum="a"):
    return duplicates.Row(str(row_id), text, stratum, {"text": text, "label": 0})


def test_equal_texts_are_kept_once_and_contradictions_dropped():
    rows = [row(0, "Same  text"), row(1, "same text"), row(2, "torn", "a"), row(3, "Torn", "b")]
    assert [r.row_id for r in duplicates.deduplicate(rows)] == ["0"]


def test_near_duplicates_are_dropped():
    story = " ".join(f"word{i}" for i in range(60))
    late = story + " and one more sentence at the end of it"
    other = " ".join(f"other{i}" for i in range(60))
    rows = [row(0, story), row(1, late), row(2, other)]
    assert [r.row_id for r in duplicates.drop_near_duplicates(rows)] == ["0", "2"]
