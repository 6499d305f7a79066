"""What follows from the table of tasks: nothing else lists them."""

from __future__ import annotations

import json

from vidctl import spec
from vidctl.cli import COMMANDS
from vidctl.kinds import KINDS
from vidctl.spec.project import Defaults


def test_specs_settings_and_commands_know_every_task():
    schema = json.dumps(spec.json_schema())

    assert json.dumps(list(KINDS)) in schema
    assert json.dumps([kind.official for kind in KINDS.values() if kind.official]) in schema
    assert list(KINDS) == list(Defaults.model_fields) == [name for name in COMMANDS if name in KINDS]
