# Copied from workers/_shared/badinput.py by `make sync-workers`: edit it there.
"""The one error that a caller can cause."""

from __future__ import annotations


class BadInputError(ValueError):
    """What is wrong with a job, as one sentence for its caller."""
