"""What every test starts from."""

import signal

import pytest

# A shell's background job, as many CI runners are, ignores SIGINT, and so would every process that a test starts: then
# Ctrl-C cannot be tested.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first: they would keep one process busy at the end, and the other waiting."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)
