"""The command line as pyproject.toml lists it, for every test of a verb."""

import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import scaling.__main__ as command


@pytest.fixture
def main(monkeypatch):
    """The verbs as pyproject.toml lists them, whatever was installed."""
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    listed = tomllib.loads(text)["project"]["entry-points"][command.GROUP]
    points = [EntryPoint(name, value, command.GROUP) for name, value in listed.items()]
    monkeypatch.setattr(command, "entry_points", lambda group: points)
    return command.main
