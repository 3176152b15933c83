"""Every kind of fault, told word for word: errors/CASE.yaml is read and errors/CASE.txt is what the user sees.

`NSLAB_REGENERATE=1` writes the texts anew; read the difference before committing it.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nslab.api.decode import decode
from nslab.errors import ManifestError

ERRORS = Path(__file__).parent / "errors"


def told(file: str) -> str:
    """What a user sees on stderr of a file: its faults, or the warnings of one without any."""
    try:
        lines = list(decode([file]).warnings)
    except ManifestError as error:
        lines = error.faults
    return "".join(f"{line}\n" for line in lines)


@pytest.mark.parametrize("case", sorted(path.stem for path in ERRORS.glob("*.yaml")))
def test_faults_are_told_word_for_word(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ERRORS)
    golden = ERRORS / f"{case}.txt"
    text = told(f"{case}.yaml")
    if os.environ.get("NSLAB_REGENERATE") == "1":
        golden.write_text(text)
    assert text == golden.read_text()
