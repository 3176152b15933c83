"""`nslab doctor`: what this kernel and host have of what a lab needs, what they lack, and the remedy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from nslab.cli import columns
from nslab.cli.options import output_option

if TYPE_CHECKING:
    from nslab.linux.features import Feature

HEADINGS = ("FEATURE", "STATE", "NEEDED FOR", "REMEDY")


@click.command()
@output_option("table", "json")
def doctor(output: str) -> int:
    """Say what this kernel and host have and lack for a lab. Exits with 4 where something required is missing."""
    from nslab.errors import FeatureError
    from nslab.linux.features import probe_features

    features = probe_features()
    if output == "json":
        from dataclasses import asdict

        from nslab.cli.output import print_json

        print_json([asdict(feature) for feature in features])
    else:
        click.echo(report(features), nl=False)
    return FeatureError.exit_code if any(feature.required and not feature.present for feature in features) else 0


def report(features: Sequence[Feature]) -> str:
    """The table, and one line of judgement below it."""
    rows = [
        (feature.name, state(feature), feature.needed_for, "" if feature.present else feature.remedy)
        for feature in features
    ]
    missing = [feature.name for feature in features if feature.required and not feature.present]
    verdict = f"A lab cannot run here: {', '.join(missing)} missing." if missing else "Labs can run here."
    return f"{columns.table(HEADINGS, rows)}\n{verdict}\n"


def state(feature: Feature) -> str:
    """`present`, with its version or value; `MISSING` where it is required, else `absent`."""
    if feature.present:
        return f"present ({feature.detail})" if feature.detail else "present"
    return "MISSING" if feature.required else "absent"
