"""`scaling ledger anchor`, and what `scaling verify` says of anchors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scaling.cli import emit, folder_option, json_option, key_option, ledger_option, note

if TYPE_CHECKING:
    from scaling.registry import Ledger
    from scaling.registry.anchors import Anchor, Checked, Known

file_type = click.Path(path_type=Path)


@click.command()
@click.option("--tsa", metavar="URL", help="Ask this time-stamp authority (RFC 3161).")
@click.option("--write-request", type=file_type, help="Write an RFC 3161 request to this file, and enter nothing.")
@click.option("--reply", type=file_type, help="Import the authority's reply to --request.")
@click.option("--request", type=file_type, help="The request that --reply answers.")
@click.option("--tsa-roots", type=file_type, help="Roots (PEM) that the reply must lead to, else it is not entered.")
@click.option("--git", "repository", type=file_type, help="Write the head into this git repository.")
@click.option("--tag", default="", help="As this tag, not as a commit on the branch scaling-heads (with --git).")
@click.option("--push", default="", metavar="REMOTE", help="And push it there (with --git).")
@click.option("--write-head", type=file_type, help="Write the head's three lines to this file, and enter nothing.")
@click.option("--ots", type=file_type, help="Import an OpenTimestamps file made over that file.")
@key_option
@folder_option
@ledger_option
@json_option
def anchor(
    tsa: str | None, write_request: Path | None, reply: Path | None, request: Path | None, tsa_roots: Path | None,
    repository: Path | None, tag: str, push: str, write_head: Path | None, ots: Path | None, key: Path | None,
    folder: Path, ledger: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Have an outside clock see the ledger's head, so that nobody can write the entries before it later.

    The evidence is stored beside the ledger and an `anchor` entry names it; `scaling verify` says what each proves.
    With files instead of addresses no network is needed.

    \b
    scaling ledger anchor --tsa https://freetsa.org/tsr
    scaling ledger anchor --write-request head.tsq          and, when the reply is there:
    scaling ledger anchor --request head.tsq --reply head.tsr
    scaling ledger anchor --git . --push origin
    scaling ledger anchor --write-head head.txt             then: ots stamp head.txt
    scaling ledger anchor --ots head.txt.ots
    """
    from scaling.records import write_atomic
    from scaling.registry import Ledger, anchors, rfc3161
    from scaling.signers import opened

    ways = {"--tsa": tsa, "--write-request": write_request, "--reply": reply, "--git": repository,
            "--write-head": write_head, "--ots": ots}  # fmt: skip
    if sum(map(bool, ways.values())) != 1:
        raise click.UsageError(f"give one of {', '.join(ways)}")
    if bool(reply) != bool(request):
        raise click.UsageError("--reply and --request belong together")
    if (tag or push) and not repository:
        raise click.UsageError("--tag and --push go with --git")
    where = ledger or folder / "ledger"
    if target := write_request or write_head:
        head = Ledger(where, create=False).remember()
        write_atomic(target, rfc3161.new_request(head) if write_request else head.text)
        says = f"wrote {target}: over the head of {head.size} entries"
        _note_uncovered(Ledger(where, create=False), head.size)
        return emit({"file": str(target), "size": head.size, "root": head.root.hex()}, lambda: says, as_json=as_json)
    book = opened(where, create=False, key=key)
    book.check_ready()  # before anybody else is shown anything
    roots = tsa_roots.read_bytes() if tsa_roots else None
    made = _made(book, tsa, request, reply, roots, repository, tag, push, ots)
    entry = anchors.append(book, made)
    finding = anchors.check(book, made, anchors.Clocks(roots, repository))
    _note_uncovered(book, made.head.size)
    emit(
        {"hash": entry.hash, "seq": entry.seq, "anchor": made.body, "finding": finding},
        lambda: f"entered as entry {entry.seq}: {entry.hash}\n{finding.standing}: {finding.says}",
        as_json=as_json,
    )


def _note_uncovered(book: Ledger, size: int) -> None:
    """An anchor proves nothing of a prediction that is entered after its head."""
    from scaling.registry.references import PREDICTED

    newest = book.newest(*PREDICTED)
    if newest is None:
        note(f"it covers no prediction: there is none among the first {size} entries; anchor again once one is entered")
    elif newest.seq >= size:
        note(f"it does not cover the newest prediction (entry {newest.seq}): its head is of the first {size} entries")


def _made(
    book: Ledger, tsa: str | None, request: Path | None, reply: Path | None, roots: bytes | None,
    repository: Path | None, tag: str, push: str, ots: Path | None,
) -> Anchor:  # fmt: skip
    from scaling.registry import git_anchor, opentimestamps, rfc3161

    if tsa:
        rfc3161.check_ready(tsa, roots)
        question = rfc3161.new_request(book.remember())
        return rfc3161.anchor(book, question, rfc3161.ask(tsa, question), url=tsa, tsa_roots=roots)
    if request and reply:
        return rfc3161.anchor(book, request.read_bytes(), reply.read_bytes(), tsa_roots=roots)
    if repository:
        git_anchor.check_repository(repository)
        return git_anchor.anchor(repository, book.remember(), tag=tag, push=push)
    assert ots is not None
    return opentimestamps.anchor(book, ots.read_bytes())


def told(
    ledger: Ledger, tsa_roots: Path | None, repository: Path | None
) -> tuple[dict[str, Any], list[str], dict[int, bool]]:
    """What `scaling verify` says of a sound ledger's anchors: for JSON, in lines, and whether each proves anything. A
    bad one is a broken ledger."""
    from scaling.errors import LedgerError
    from scaling.registry import anchors
    from scaling.registry.entries import Kind
    from scaling.registry.verify import Reason

    roots = tsa_roots.read_bytes() if tsa_roots else None
    clocks, none = anchors.Clocks(roots, repository), anchors.Clocks()
    checked, known = anchors.check_all(ledger, clocks) if clocks != none or ledger.alone(Kind.ANCHOR) else ([], [])
    for one in checked:
        if one.finding.standing == anchors.Standing.BAD:
            raise LedgerError(f"{Reason.ANCHOR}: entry {one.entry.seq}: {one.finding.says}", index=one.entry.seq)
    return _as_json(checked, known), _lines(checked, known), anchors.verdicts(checked, clocks)


def _as_json(checked: list[Checked], known: list[Known]) -> dict[str, Any]:
    return {
        "anchors": [
            {"entry": c.entry.seq, "method": c.anchor.method, "size": c.anchor.head.size, **vars(c.finding)}
            for c in checked
        ],
        "not_after": {k.entry.hash: {"time": k.not_after, "anchor": k.by} for k in known if k.not_after},
    }


def _lines(checked: list[Checked], known: list[Known]) -> list[str]:
    lines = [f"anchor in entry {c.entry.seq}: {c.finding.standing}: {c.finding.says}" for c in checked]
    proven = [f"{k.entry.hash[:12]} existed by {k.not_after} (anchor in entry {k.by})" for k in known if k.not_after]
    if checked and not proven:
        note("no prediction was shown to have existed by a given time")
    return lines + proven
