"""Which layer of an encoder BERTScore should compare: paraphrases against five corruptions.

Sixty-two sentences with two names each and a paraphrase of each in other words, written for this
book. A score that measures meaning puts the paraphrase above every corruption of the sentence.
Even pairs choose the layer (validation), odd ones check it (test). chrF++, word F1 and exact match
beside it. About two minutes on two cores.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from shared.common import MODEL, Job, main

from reptune import meter
from reptune.pipeline.intervals import share_interval
from reptune.pipeline.text_scores import BertScorer, answer_f1, chrf, exact_match

E5 = "multilingual-e5-small"
JOBS = [{"model": model, "task": "paraphrases", "random_state": 42} for model in (E5, MODEL)]
HALVES = {"validation": slice(0, None, 2), "test": slice(1, None, 2)}
AUXILIARIES = {"is", "was", "has", "had", "will", "can", "are", "were", "must", "should", "could"}

# A sentence with two names, and a paraphrase.
PAIRS = [
    ("Anna has lent Peter her bicycle for a week", "Peter may use Anna's bike for seven days"),
    ("Maria was taught to swim by Carlos", "Carlos gave Maria swimming lessons"),
    (
        "Omar will meet Lena at the station tonight",
        "This evening Lena gets picked up by Omar at the train stop",
    ),
    ("Ruth is taller than Simon", "Simon does not reach the height of Ruth"),
    ("Paul had sold Erik an old car", "Erik once bought a used automobile from Paul"),
    ("Nora was accused of theft by Felix", "Felix claimed that Nora stole something"),
    ("Ivan can beat Clara at chess", "In a chess game Clara loses to Ivan"),
    ("Grace has invited Tom to her wedding", "Tom got an invitation to Grace's marriage"),
    ("Diego is waiting for Helen in the rain", "Getting wet, Diego expects Helen to come"),
    ("Julia was hired by Martin last spring", "Martin gave Julia a job in April"),
    ("Kenji will cook dinner for Alice", "Alice gets an evening meal prepared by Kenji"),
    ("Sarah had warned Victor about the ice", "Victor heard from Sarah that it was slippery"),
    ("Emil is driving Rosa to the hospital", "Rosa gets a ride to the clinic from Emil"),
    ("Laura was married to Hugo for ten years", "For a decade Hugo had Laura as his wife"),
    (
        "Walter must repay Irene by Friday",
        "Irene needs her money back from Walter before the weekend",
    ),
    ("Chloe has read the letter from Oscar", "The note that Oscar wrote was seen by Chloe"),
    ("Daniel should apologize to Wendy", "Daniel owes Wendy an apology"),
    ("Frida was born before Albert", "Albert came into the world later than Frida"),
    ("George is afraid of the dog of Nina", "Nina owns a dog that scares George"),
    ("Hannah will replace Bruno as director", "Bruno's position at the top goes to Hannah"),
    ("Yusuf could hear Greta through the wall", "Greta's voice reached Yusuf from the next room"),
    ("Lucy had copied the answers of Max", "Max saw his solutions used by Lucy"),
    ("Teresa is the sister of Andrew", "Andrew has a sibling called Teresa"),
    ("Leo was visited by Monica in prison", "Monica came to see Leo while he sat in jail"),
    ("Viktor will fly to Rome with Elsa", "Elsa and Viktor take a plane to the Italian capital"),
    ("Philip has painted a portrait of Agnes", "Agnes appears in a picture made by Philip"),
    ("Tina is paid more than Robert", "Robert earns a lower salary than Tina"),
    ("Samuel was found by Edith in the garden", "Edith discovered Samuel behind the house"),
    ("Jonas must carry the suitcase of Ida", "Ida's luggage has to be taken by Jonas"),
    ("Bianca had written a song for Milo", "Milo got a piece of music composed by Bianca"),
    ("Arthur can understand Yuki without words", "Yuki need not speak for Arthur to follow"),
    ("Petra is suing Gustav over the house", "Petra takes Gustav to court about the property"),
    ("Henry was bitten by the cat of Olga", "Olga has a cat that hurt Henry with its teeth"),
    ("Mila has forgotten the birthday of Theo", "The day Theo was born slipped Mila's mind"),
    ("Ralph will teach French to Sofia", "Sofia gets lessons in a foreign language from Ralph"),
    ("Dora was rescued by Stefan from the fire", "Stefan saved Dora when the building burned"),
    ("Karl is angry with Lydia", "Lydia has made Karl furious"),
    (
        "Amir had promised Beth a new phone",
        "Beth was told by Amir that she would get another mobile",
    ),
    (
        "Vera should call Ludwig before noon",
        "It would be good if Vera phoned Ludwig in the morning",
    ),
    ("Ben was followed home by Alma", "Alma walked behind Ben all the way to his house"),
    ("Celia is older than Ramon", "Ramon is younger than Celia"),
    ("Noah has broken the window of Ingrid", "Ingrid's glass pane got smashed by Noah"),
    ("Zoe will marry Adam in June", "Adam and Zoe have a wedding planned for early summer"),
    ("Isaac could lift Pia with one arm", "Pia was light enough for Isaac to raise single-handed"),
    ("Louise had left Conrad for good", "Conrad was abandoned forever by Louise"),
    ("Marco is cutting the hair of Tessa", "Tessa gets a haircut from Marco"),
    ("Rita was elected instead of Howard", "Voters preferred Rita to Howard"),
    ("Elias must thank Joan for the help", "Joan deserves gratitude from Elias for her support"),
    ("Fiona has borrowed a tent from Gerald", "Gerald lent Fiona something to camp in"),
    ("Jakob will defend Miriam in court", "Miriam's lawyer at the trial is going to be Jakob"),
    (
        "Astrid was blamed by Norman for the delay",
        "Norman said it was the fault of Astrid that they were late",
    ),
    ("Oliver is learning the piano from Selma", "Selma gives Oliver music lessons"),
    (
        "Claire had hidden the keys from David",
        "David could not find what Claire had put away to open the door",
    ),
    (
        "Tariq can see Paula from his balcony",
        "Paula is visible to Tariq when he stands outside his flat",
    ),
    ("Gloria was defeated by Anton in the final", "Anton won the last match against Gloria"),
    ("Nils has adopted the son of Marta", "Marta's boy legally became the child of Nils"),
    (
        "Esther will move to Berlin with Igor",
        "Igor and Esther are going to live in the German capital",
    ),
    ("Ferdinand is ignoring Camille", "Camille gets no attention from Ferdinand"),
    (
        "Judith was thanked by Rafael in the speech",
        "In his address Rafael expressed gratitude to Judith",
    ),
    ("Harold must wait for Silvia", "Harold cannot start until Silvia arrives"),
    ("Linda had recommended Boris for the job", "Boris was put forward for the position by Linda"),
    ("Roland should trust Naomi", "It would be wise for Roland to believe in Naomi"),
]


def shuffled(words: list[str], row: int) -> list[str]:
    """The same words in another order."""
    order = np.random.default_rng(row).permutation(len(words))
    moved = [words[place] for place in order]
    return moved if moved != words else moved[::-1]


def swapped(words: list[str], paraphrase: str) -> list[str]:
    """The sentence with its two names exchanged: those capitalized words the paraphrase has too."""
    first, second = names(words, paraphrase)
    other = {first: second, second: first}
    return [other.get(word, word) for word in words]


def names(words: list[str], paraphrase: str) -> list[str]:
    """The two names in a sentence, in their order."""
    return [word for word in words if word[0].isupper() and word in paraphrase.replace("'", " ")]


def negated(words: list[str]) -> list[str]:
    """The sentence with "not" after its auxiliary."""
    place = next(place for place, word in enumerate(words) if word in AUXILIARIES)
    return [*words[: place + 1], "not", *words[place + 1 :]]


def corruptions() -> dict[str, list[str]]:
    """For each kind, the corrupted sentence of each pair."""
    split = [sentence.split() for sentence, _ in PAIRS]
    pairs = list(zip(split, (paraphrase for _, paraphrase in PAIRS), strict=True))
    kinds = {
        "words shuffled": [shuffled(words, row) for row, words in enumerate(split)],
        "names swapped": [swapped(words, paraphrase) for words, paraphrase in pairs],
        "negated": [negated(words) for words in split],
        "unrelated": [split[(row + 7) % len(split)] for row in range(len(split))],
        "second half missing": [words[: len(words) // 2] for words in split],
    }
    return {kind: [f"{' '.join(words)}." for words in rows] for kind, rows in kinds.items()}


def texts() -> dict[str, list[str]]:
    """What is scored against the sentences: paraphrases and corruptions."""
    return {"paraphrase": [f"{paraphrase}." for _, paraphrase in PAIRS], **corruptions()}


def by_layer(scorer: BertScorer, references: list[str], scored: list[str]) -> dict[str, np.ndarray]:
    """BERTScore's F at every layer."""
    layers = range(scorer.num_layers + 1)
    found = scorer.score_by_layer(references, scored, layers)
    return {f"BERTScore, layer {layer}": scores.f1 for layer, scores in found.items()}


def by_letters(references: list[str], scored: list[str]) -> dict[str, np.ndarray]:
    """The scores that need no model."""
    return {
        "chrF++": chrf(references, scored),
        "word F1": answer_f1(references, scored),
        "exact match": exact_match(references, scored).astype(float),
    }


def fields(scores: dict[str, np.ndarray], half: slice) -> dict[str, Any]:
    """How often the paraphrase is above each corruption, as record fields."""
    above = {
        kind: scores["paraphrase"][half] > values[half]
        for kind, values in scores.items()
        if kind != "paraphrase"
    }
    shares = {kind: share_interval(right) for kind, right in above.items()}
    means = {f"score, {kind}": float(values[half].mean()) for kind, values in scores.items()}
    return {
        "metrics": {
            "mean": float(np.mean([share.estimate for share in shares.values()])),
            **{kind: share.estimate for kind, share in shares.items()},
            **means,
        },
        "intervals": {kind: [share.low, share.high] for kind, share in shares.items()},
        "items": len(next(iter(above.values()))),
    }


def run(job: Job) -> Iterator[dict[str, Any]]:
    """Score everything with a model at every layer; beside the first model, the letters' scores."""
    references = [f"{sentence}." for sentence, _ in PAIRS]
    kinds = texts()
    scorer = BertScorer(job["model"])
    measures: list[Callable] = [lambda *rows: by_layer(scorer, *rows)]
    measures += [by_letters] if job["model"] == E5 else []
    for measure in measures:
        with meter.Meter() as cost:
            flat = measure(
                references * len(kinds), [text for rows in kinds.values() for text in rows]
            )
        for method, values in flat.items():
            scores = dict(zip(kinds, values.reshape(len(kinds), -1), strict=True))
            for split, half in HALVES.items():
                yield {
                    "method": method,
                    "labels": 0,
                    "split": split,
                    "seconds": {"score": round(cost.seconds, 2)},
                    "peak_memory_mb": round(cost.peak_memory_mb),
                    **fields(scores, half),
                }


if __name__ == "__main__":
    main(__file__, JOBS, run)
