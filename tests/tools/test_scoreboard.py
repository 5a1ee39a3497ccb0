import front_picture
import scoreboard
from front_picture import Arm, Row

from reptune import metrics
from reptune.book import results


def test_each_arm_has_a_row_with_the_model_and_the_interval_of_its_records(monkeypatch):
    fields = {"method": "TF-IDF", "task": "rotten_tomatoes", "model": "none"}
    tuned = {"method": "SetFit", "task": "rotten_tomatoes", "model": "all-MiniLM-L6-v2"}
    groups = (
        ("No labels", (Row("Nothing", 2, (Arm("none", "ch02_final", fields),), "free"),)),
        ("32 labels", (Row("Pairs", 2, (Arm("small", "ch02_final", tuned, timed=False),)),)),
    )
    monkeypatch.setattr(front_picture, "GROUPS", groups)
    first, second = (
        metrics.mean_interval(results.correct("ch02_final", split="test", **one))
        for one in (fields, tuned)
    )
    assert scoreboard.scoreboard().splitlines()[2:] == [
        f"| no | Nothing | 2 | – | {first} | free |",
        f"| 32 | Pairs | 2 | all-MiniLM-L6-v2 | {second} | – |",
    ]
