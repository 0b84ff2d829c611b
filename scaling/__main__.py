"""`scaling VERB`: the command line. Each room brings its own verbs; a room is loaded only when its verb is called."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points

import click

from scaling.errors import ScalingError

GROUP = "scaling.verbs"
ORDER = ("demo", "plan", "run", "fit", "compare", "backtest", "forecast", "register", "resolve", "verify", "report", "laws")


class Verbs(click.Group):
    """Commands found among the installed entry points, imported on use."""

    @property
    def found(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=GROUP)}

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted(self.found, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))

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

    Exit codes: 0 done, 1 your input, 2 usage, 3 forecast refused (the estimate is attached), 4 ledger broken.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; every error a user can cause ends as one sentence on standard error and an exit code."""
    try:
        result = cli.main(args=arguments, prog_name="scaling", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except ScalingError as error:
        if error.estimate is not None:
            click.echo(f"estimate (not earned): {error.estimate}", err=True)
        click.echo(f"scaling: {error}", err=True)
        return error.exit_code
    except click.exceptions.Abort:
        click.echo("scaling: stopped; run the same command again to go on", err=True)
        return 130
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        click.echo(f"scaling: {error.filename or 'a file'}: {error.strerror or error}", err=True)
        return 1


if __name__ == "__main__":
    sys.exit(main())
