"""What a teacher writes in a study of chapter 7, kept on the disk: a killed job does not ask again.

Unlike what lies in `studies/data/generated/`, this is a cache, and may be removed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from reptune import meter
from reptune.assets import cache_dir
from reptune.prompt2model.cache import Journal
from reptune.prompt2model.teachers import LocalTeacher


def replies(
    study: str, teacher: LocalTeacher, prompts: Sequence[str], **how: Any
) -> tuple[list[str], float]:
    """What a teacher goes on with, and the seconds that it took when it was written.

    Args:
        study: Its name, a folder of the cache.
        teacher: Loaded only where something is to be written, before the clock runs.
        prompts: What it reads.
        how: What else `LocalTeacher.generate` takes, a seed if the temperature is not 0.
    """
    digest = hashlib.sha256(json.dumps(list(prompts)).encode()).hexdigest()
    key = {"teacher": teacher.key, "prompts": digest, **how}
    with Journal(cache_dir() / "studies" / study, key) as journal:
        if (record := journal.get("replies")) is None:
            _ = teacher.lm
            with meter.Meter() as cost:
                texts = teacher.generate(prompts, **how)
            record = {"texts": texts, "seconds": cost.seconds}
            journal.add("replies", record)
    return record["texts"], record["seconds"]
