"""`scaling VERB`: the command line. Each room brings its own verbs; a room is loaded only when its verb is called."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points

import click

from scaling.cli import STOPPED, interruptible, note
from scaling.errors import ScalingError

GROUP = "scaling.verbs"
ORDER = (
    "demo",
    "plan",
    "run",
    "fit",
    "compare",
    "backtest",
    "diagnose",
    "forecast",
    "surface",
    "watch",
    "triage",
    "versus",
    "register",
    "resolve",
    "verify",
    "scoreboard",
    "export",
    "report",
    "reveal",
    "withdraw",
    "amend",
    "prove",
    "ledger",
    "key",
    "laws",
)


class ReaderGone(Exception):
    """Nobody reads our output any more. Under its own name, click would leave with code 1."""


class Verbs(click.Group):
    """Commands found among the installed entry points, imported on use."""

    @property
    def found(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=GROUP)}

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted(self.found, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))

    def invoke(self, context: click.Context) -> object:
        try:
            return super().invoke(context)
        except BrokenPipeError:
            raise ReaderGone from None

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        point = self.found.get(name)
        return point.load() if point else None


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="scaling")
def cli() -> None:
    """Predict what a large GRPO-LoRA run will achieve, before paying for it; prove afterwards that you did.

    \b
    The whole path at once:       scaling demo
    Your own points:              scaling fit points.csv
                                  scaling forecast points.csv --at "1e23 FLOP"

    Exit codes: 0 done, 1 your input, 2 usage, 3 forecast refused (the estimate is attached) or report not
    checked, 4 ledger broken or run not repeated.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; every error a user can cause ends as one sentence on standard error and an exit code."""
    _open_standard_streams()
    try:
        with interruptible():
            return _verb(arguments)
    except (BrokenPipeError, ReaderGone):
        for stream in filter(None, (sys.stdout, sys.stderr)):
            try:
                stream.flush()
            except OSError:  # what is left has no reader: the interpreter must not try again when it ends
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return 141


def _verb(arguments: Sequence[str] | None) -> int:
    try:
        result = cli.main(args=arguments, prog_name="scaling", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except ScalingError as error:
        if error.estimate is not None:
            note(f"estimate (not earned): {error.estimate}")
        note(f"scaling: {error}")
        return error.exit_code
    except (click.exceptions.Abort, KeyboardInterrupt):
        note(STOPPED)
        return 130
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except BrokenPipeError:
        raise
    except OSError as error:
        note(f"scaling: {error.filename or 'a file'}: {error.strerror or error}")
        return 1


def _open_standard_streams() -> None:
    """Standard streams that the caller closed lead nowhere: no file of ours is ever opened under their numbers."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main())
