"""What more tagged sentences buy: four methods, a handful to 2,000, validation F1, three seeds.

The column for all sentences is `ch04_final`'s.
"""

from collections.abc import Iterator

from shared.common import MODEL, SEEDS, Job, main
from shared.entities import BASELINES, NEWSWIRE, chosen, few, measure, some, tagger

SENTENCES = (100, 500, 2000)
PER_TYPE = (5, 10, 50)  # sentences for each of the four types
DRAWS = [("sentences", count) for count in SENTENCES] + [("a type", count) for count in PER_TYPE]
# With few sentences a pass is a handful of steps: show small sets as many sentences as this.
SENTENCES_SEEN, MAX_EPOCHS = 6000, 30


def run(job: Job) -> Iterator[dict]:
    """One method on one draw; baselines on all draws of a seed."""
    seed = job["random_state"]
    if job["method"] == "fine-tuned":
        train = draw(job["drawn_by"], job["drawn"], seed)
        model = tagger(seed, num_epochs=epochs(len(train[0])))
        for record in measure(model, train, NEWSWIRE, "validation"):
            yield {**record, "labels": len(train[0]), "num_epochs": model.num_epochs}
        return
    for drawn_by, drawn in DRAWS:
        train = draw(drawn_by, drawn, seed)
        model = BASELINES[job["method"]]()
        for record in measure(model, train, NEWSWIRE, "validation"):
            yield {**record, "drawn_by": drawn_by, "drawn": drawn, "labels": len(train[0])}


def draw(drawn_by: str, count: int, random_state: int) -> tuple:
    """So many sentences at random, or so many for each type of entity."""
    pick = {"sentences": some, "a type": few}[drawn_by]
    return pick(NEWSWIRE, count, random_state)


def epochs(count: int) -> int:
    """Passes over so many sentences."""
    return min(MAX_EPOCHS, max(chosen()["num_epochs"], round(SENTENCES_SEEN / count)))


def all_jobs() -> Iterator[Job]:
    """Seed by seed, the longest first."""
    for seed in SEEDS:
        common = {"task": NEWSWIRE, "random_state": seed, "split": "validation"}
        for method in reversed(BASELINES):
            model = MODEL if "frozen" in method else "none"
            yield {"method": method, "model": model, **common}
        for drawn_by, drawn in DRAWS:
            fields = {"drawn_by": drawn_by, "drawn": drawn}
            yield {"method": "fine-tuned", "model": MODEL, **common, **fields}


if __name__ == "__main__":
    main(__file__, all_jobs(), run)
