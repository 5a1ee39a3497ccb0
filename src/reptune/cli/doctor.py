"""`reptune doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from reptune.cli.common import AsJson, emit


def doctor(
    as_json: AsJson = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Do not ask whether a package index answers.")
    ] = False,
) -> None:
    """Say what this machine has, what is missing, and how to get it.

    It ends with exit code 1 where something that is needed is missing.

    \b
    Example:
      reptune doctor --offline
    """
    from reptune.pipeline.doctor import examine

    findings = examine(offline=offline)
    usable = all(finding.ok is not False for finding in findings)
    width = max(len(finding.name) for finding in findings)
    lines = []
    for name, value, ok, cure in findings:
        mark = {True: "ok     ", False: "MISSING", None: "       "}[ok]
        lines.append(f"{mark} {name:<{width}}  {value}")
        if cure:
            lines.append(f"{'':{width + 10}}→ {cure}")
    lines.append("Ready." if usable else "Something that is needed is missing; see MISSING above.")
    found = {"usable": usable, "findings": [finding._asdict() for finding in findings]}
    emit(found, "\n".join(lines), as_json)
    if not usable:
        raise typer.Exit(1)
