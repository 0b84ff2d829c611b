"""`scaling key new | show | revoke`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from scaling.cli import emit, folder_option, json_option, key_option, ledger_option, note, table

if TYPE_CHECKING:
    from scaling.registry.keys import Keyring
    from scaling.registry.signing import SigningKey

reason_option = click.option("--reason", required=True, help="Why, in a few words: it stands in the ledger.")


@click.command("new")
@key_option
@click.option("--name", default="", help="Whose key it is: a remark that nothing can prove.")
@click.option("--passphrase", is_flag=True, help="Ask for a passphrase, which the new file is encrypted with.")
@click.option("--replaces", type=click.Path(path_type=Path), help="Key file of the key it replaces, which signs that.")
@click.option("--beside", type=click.Path(path_type=Path), help="Key file of another valid key, which admits it.")
@click.option(
    "--lost", metavar="ID", help="The key it replaces is lost: the entry says so and cannot bear its signature."
)
@click.option("--reason", default="", help="Why another key is replaced.")
@folder_option
@ledger_option
@json_option
@click.pass_context
def key_new(
    context: click.Context, key: Path | None, name: str, passphrase: bool, replaces: Path | None, beside: Path | None,
    lost: str | None, reason: str, folder: Path, ledger: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Make a key file (mode 0600) unless it is there, and enter the key in the folder's ledger.

    \b
    scaling key new --name "A. Author" --folder forecast
    scaling key new --key new.pem --replaces old.pem --folder forecast
    scaling key new --key new.pem --lost 3f9c0a1b --reason "disk died" --folder forecast
    """
    from scaling.records import canonical
    from scaling.registry import Ledger, keyfiles
    from scaling.registry.entries import Kind
    from scaling.registry.keys import Action, Keyring, Statement
    from scaling.signers import ask_new_passphrase, ask_passphrase

    if sum(map(bool, (replaces, beside, lost))) > 1:
        raise click.UsageError("give one of --replaces, --beside, --lost")
    path, book = key or keyfiles.default_path(), Ledger(ledger or folder / "ledger")
    there = (book.folder / "entries.jsonl").exists()
    entering = there or any(
        context.get_parameter_source(n) is not click.core.ParameterSource.DEFAULT for n in ("folder", "ledger")
    )
    ring = book.keyring() if there else Keyring()
    file = replaces or beside
    signer = keyfiles.load(file, ask_passphrase) if file else None
    old = signer.public if signer and replaces else ring.find(lost).key if lost else None
    _check_new(ring, signer, lost, path, str(book.folder))
    canonical([name, reason])  # what no entry can hold is refused before a key is made
    book.check_ready()
    if path.exists():
        made, said = keyfiles.load(path, ask_passphrase), "found"
    else:
        made, said = keyfiles.create(path, ask_new_passphrase(passphrase)), "made"
    note(f"{said} key {made.public.id} in {path}")
    entry = None
    if made.public in ring.valid:
        note(f"it is valid in {book.folder} already, since entry {ring.periods[made.public.hex].since}")
    elif entering:
        action = Action.ROTATE if old else Action.NEW
        statement = Statement(action, made.public, old.hex if old else None, bool(lost), reason, name)
        book.key = signer or made
        entry = book.append(Kind.KEY, statement.body, nonce=f"key-{made.public.hex[:32]}")
        note(f"entered in {book.folder} as entry {entry.seq}: it signs from the next one on")
    else:
        note("enter it in a ledger: scaling key new --folder FOLDER")
    public = made.public
    emit(
        {"public": public.hex, "scheme": public.scheme, "file": str(path), "entry": entry.hash if entry else None},
        lambda: f"{public.hex}\n{public.ssh}\n{public.fingerprint}",
        as_json=as_json,
    )


def _check_new(ring: Keyring, signer: SigningKey | None, lost: str | None, path: Path, where: str) -> None:
    """Refuse before a key is made what the ledger would refuse after."""
    from scaling.errors import InputError
    from scaling.registry.keys import check_signer

    if signer is not None:
        check_signer(ring, signer.public, None, where)
    elif ring.valid and not lost and not path.exists():
        raise InputError(
            f"{where} has a valid key ({ring.valid[0].id}), and a new one needs its signature",
            "give its file: --replaces FILE or --beside FILE; or say that it is lost: --lost ID --reason ...",
        )


@click.command("show")
@key_option
@folder_option
@ledger_option
@json_option
def key_show(key: Path | None, folder: Path, ledger: Path | None, as_json: bool) -> None:
    """Say which key is yours, and which keys were valid at which entries of the ledger.

    \b
    scaling key show --folder forecast
    """
    from scaling.registry import Ledger, keyfiles
    from scaling.signers import ask_passphrase

    path = key or keyfiles.default_path()
    own = keyfiles.load(path, ask_passphrase).public if key or path.exists() else None
    book = Ledger(ledger or folder / "ledger")
    periods = list(book.keyring().periods.values()) if (book.folder / "entries.jsonl").exists() else []
    rows = [[p.key.id, p.key.scheme, p.name, p.since, p.until, p.ended or "valid", p.key.fingerprint] for p in periods]
    headers = ["key", "signs by", "name", "after entry", "to entry", "state", "fingerprint"]
    yours = f"{path}: key {own.id}\n{own.hex}\n{own.ssh}\n{own.fingerprint}" if own else f"no key in {path}"
    kept = table(headers, rows) if rows else f"no key in {book.folder}: its entries are unsigned"
    emit(
        {
            "own": own.hex if own else None,
            "file": str(path),
            "keys": [dict(zip(headers, r, strict=True)) for r in rows],
        },
        lambda: f"{yours}\n\n{kept}",
        as_json=as_json,
    )


@click.command("revoke")
@click.argument("id", required=False)
@reason_option
@click.option("--lost", is_flag=True, help="The key is lost: the entry says so and cannot bear its signature.")
@key_option
@folder_option
@ledger_option
@json_option
def key_revoke(
    id: str | None, reason: str, lost: bool, key: Path | None, folder: Path, ledger: Path | None, as_json: bool
) -> None:
    """End a key (yours, or the one named ID): what it signs later is named by `scaling verify`.

    \b
    scaling key revoke --reason "no longer used" --folder forecast
    scaling key revoke 3f9c0a1b --lost --reason "laptop stolen" --folder forecast
    """
    from scaling.errors import InputError
    from scaling.registry.entries import Kind
    from scaling.registry.keys import Action, Statement
    from scaling.signers import opened

    if not reason.strip():
        raise InputError("a revocation needs a reason", "say in a few words why: it stands in the ledger")
    book = opened(ledger or folder / "ledger", create=False, key=key)
    if book.key is None and not (lost and id):
        raise InputError("there is no valid key here to sign the revocation", "or name the lost key: ID --lost")
    ends = book.keyring().find(id).key if id else book.key.public if book.key else None
    assert ends is not None
    entry = book.append(Kind.KEY, Statement(Action.REVOKE, ends, lost=lost, reason=reason).body)
    emit(
        {"hash": entry.hash, "seq": entry.seq},
        lambda: f"key {ends.id} ends with entry {entry.seq}: {entry.hash}",
        as_json=as_json,
    )
