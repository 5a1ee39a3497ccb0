"""Short texts from news: the headlines of the BBC's articles, by topic.

Not `headlines.py`: a module is an attribute of its package, and would hide the function
`reptune.data.headlines` once it is imported.
"""

from __future__ import annotations

from datasets import Dataset, DatasetDict

from reptune.data.catalog import load
from reptune.data.duplicates import normalize


def headlines() -> DatasetDict:
    """Return the headlines of the BBC's news articles, to be sorted into five topics.

    A headline is the first line of an article of `load("bbc_news")`, with its white space folded;
    it has 3 to 9 words. It stays in its article's split, so a model that has seen the train split
    of the articles has seen no headline of validation or test. A headline that an earlier one
    equals, case aside, is dropped: one in train, none elsewhere. Nothing is drawn at random.

    Returns:
        `train` (1,434 headlines), `validation` (308) and `test` (308) with the columns `text` (str)
        and `label` (ClassLabel: `business`, `entertainment`, `politics`, `sports`, `tech`), as
        `load("bbc_news")` has them.

    Raises:
        reptune.assets.AssetUnavailable: If the data cannot be had.

    Source: BBC News, 2,225 articles of 2004 and 2005 (Greene and Cunningham 2006); the articles are
    the BBC's, for research only. Chapter 6.

    >>> from reptune import data
    >>> test = data.headlines()["test"]
    >>> len(test), test.features["label"].names[:2]
    (308, ['business', 'entertainment'])
    """
    seen: set[str] = set()
    parts = {}
    for split, articles in load("bbc_news").items():
        rows = []
        for article in articles:
            text = " ".join(article["text"].partition("\n")[0].split())
            if normalize(text) not in seen:
                seen.add(normalize(text))
                rows.append({"text": text, "label": article["label"]})
        parts[split] = Dataset.from_list(rows, features=articles.features)
    return DatasetDict(parts)
