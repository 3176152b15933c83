"""What `pip install` would install."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_wheel_has_every_module_and_schema_and_nothing_else(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--wheel-dir", str(tmp_path), str(ROOT)], check=True)
    (wheel,) = tmp_path.glob("nslab-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    packed = {name for name in names if ".dist-info/" not in name}
    files = (file for suffix in ("py", "json") for file in (ROOT / "nslab").rglob(f"*.{suffix}"))
    assert packed == {str(file.relative_to(ROOT)) for file in files}
    assert any(name.endswith("licenses/LICENSE") for name in names)
