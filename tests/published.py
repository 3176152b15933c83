"""Manifests that others publish and people run, kept apart from the checkout: tests that need them are skipped
where they are not.

NSLAB_MANIFESTS names their folder; by default it is shared/manifests beside the checkout.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

MANIFESTS = Path(os.environ.get("NSLAB_MANIFESTS") or Path(__file__).parents[2] / "shared" / "manifests")

needs_manifests = pytest.mark.skipif(
    not MANIFESTS.is_dir(), reason="the published manifests are not beside the checkout, nor named by NSLAB_MANIFESTS"
)
