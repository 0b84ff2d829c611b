"""Verbs about the ledger itself: key, ledger, prove, reveal, withdraw, amend."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from scaling.anchor_verbs import anchor
from scaling.cli import (
    clean,
    emit,
    folder_option,
    json_option,
    key_option,
    ledger_option,
    lines,
    note,
    output_option,
)
from scaling.key_verbs import key_new, key_revoke, key_show, reason_option
from scaling.standing_text import note_unless_remembered

if TYPE_CHECKING:
    from scaling.registry.proofs import Proven


@click.group()
def key() -> None:
    """Keys that sign entries: make one, say which was valid when, end one.

    A key counts in a ledger from the entry that states it. Without one, entries are unsigned, and printed as such.

    \b
    scaling key new                              make your key file (and enter it, where ./forecast has a ledger)
    scaling key new --folder forecast            enter the same key in the ledger of this folder
    scaling key new --key ~/.ssh/id_ed25519      let an SSH key sign
    scaling key show
    scaling key revoke --reason "laptop stolen"
    """


for command in (key_new, key_show, key_revoke):
    key.add_command(command)


@click.group()
def ledger() -> None:
    """The ledger's head: what to give away so that nobody, its owner included, can rewrite or cut it unseen.

    \b
    scaling ledger head > head.txt                       three lines (and a signature, where a key is at hand)
    scaling ledger check --consistent-with head.txt      does the ledger still continue that head?
    scaling ledger anchor --tsa URL                      have an outside clock sign it
    """


ledger.add_command(anchor)


@ledger.command("head")
@key_option
@folder_option
@ledger_option
@json_option
def ledger_head(key: Path | None, folder: Path, ledger: Path | None, as_json: bool) -> None:
    """Print the checkpoint: origin, number of entries, Merkle root. It is remembered, and checked ever after.

    \b
    scaling ledger head --folder forecast > head.txt
    """
    from scaling.registry import proofs
    from scaling.signers import opened

    book = opened(ledger or folder / "ledger", create=False, key=key)
    signed = proofs.signed_head(book)
    note_unless_remembered(book, signed.head)
    emit(
        {"origin": signed.head.origin, "size": signed.head.size, "root": signed.head.root.hex(), "text": signed.text},
        lambda: signed.text.removesuffix("\n"),
        as_json=as_json,
    )


@ledger.command("check")
@click.option(
    "--consistent-with", "heads", type=click.Path(path_type=Path), multiple=True, required=True,
    help="A file with an earlier head, as `scaling ledger head` printed it (may be repeated).",
)  # fmt: skip
@output_option
@folder_option
@ledger_option
@json_option
def ledger_check(
    heads: tuple[Path, ...], output: Path | None, folder: Path, ledger: Path | None, as_json: bool
) -> None:
    """Prove that the ledger continues earlier heads (RFC 9162). Exit code 4 if it was cut or rewritten since.

    With -o the last of the proofs is written to a file, which `scaling verify FILE` checks without the ledger.

    \b
    scaling ledger check --consistent-with head.txt --folder forecast
    """
    from scaling.errors import InputError
    from scaling.records import read_bytes
    from scaling.registry import Ledger, proofs
    from scaling.registry.signing import MAX_HEAD, SignedHead

    book = Ledger(ledger or folder / "ledger", create=False)
    made = []
    for path in heads:
        try:
            old = SignedHead.parse(read_bytes(path, MAX_HEAD).decode())
        except ValueError:
            raise InputError(
                f"{path} holds no head: it is not text", "name what `scaling ledger head` printed"
            ) from None
        except InputError as error:
            message = error.message if str(path) in error.message else f"{path}: {error.message}"
            raise InputError(message, error.hint) from None
        made.append((path, old.head, proofs.prove_consistency(book, old)))
    lines = [f"{path}: the ledger continues this head of {old.size} entries" for path, old, _ in made]
    emit([proof for *_, proof in made], lambda: "\n".join(lines), as_json=as_json)
    if output:
        from scaling.records import canonical, write_atomic

        write_atomic(output, canonical(made[-1][2]) + b"\n")


@click.command()
@click.argument("id")
@output_option
@click.option(
    "--ssh", type=click.Path(path_type=Path), help="Also write into this folder what `ssh-keygen -Y verify` checks."
)
@key_option
@folder_option
@ledger_option
@json_option
def prove(
    id: str, output: Path | None, ssh: Path | None, key: Path | None, folder: Path, ledger: Path | None, as_json: bool
) -> None:
    """Write a proof of one entry that anyone can check without the ledger: `scaling verify FILE`.

    It holds the entry, what refers to it (start, outcome, withdrawal, ...), the keys, and the paths to the head.
    ID is the entry's hash, its first 8 digits or more, or `latest` for the newest prediction.

    \b
    scaling prove latest -o proof.json --folder forecast
    scaling verify proof.json
    """
    from scaling.registry import proofs, standing
    from scaling.registry.exported import sentences, worth
    from scaling.signers import opened

    kept = opened(ledger or folder / "ledger", create=False, key=key)
    entry = standing.entry_of(kept, id)
    proof = proofs.prove(kept, entry.hash)
    proven = proofs.check(proof)
    if ssh:
        _write_ssh(proven, ssh)
    bare = as_json or (not output and not ssh)
    emit(proof, lambda: lines(sentences(proven)), as_json=bare, output=output)
    for label in worth(proven) if bare else ():
        note(clean(label))


def _write_ssh(proven: Proven, folder: Path) -> None:
    from scaling.errors import InputError
    from scaling.records import write_atomic
    from scaling.registry.signing import NAMESPACE, ssh_files

    entry, signer = proven.entry, proven.signer
    if entry.sig is None or signer is None:
        raise InputError(f"entry {entry.seq} is unsigned: there is nothing for ssh-keygen to check")
    files = ssh_files(entry.content, signer, entry.sig, signer.id)
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        write_atomic(folder / name, data)
    note(f"cd {folder} && ssh-keygen -Y verify -f allowed_signers -I {signer.id} -n {NAMESPACE} -s entry.sig < entry")


@click.command()
@click.argument("prediction")
@key_option
@folder_option
@ledger_option
@json_option
def reveal(prediction: str, key: Path | None, folder: Path, ledger: Path | None, as_json: bool) -> None:
    """Open a prediction that was registered with --embargo: its text, numbers and draws enter the ledger.

    `scaling verify` checks that what is shown is what was sealed. PREDICTION is the hash of the sealed entry, its first
    8 digits or more, or `latest`. The secret file beside the ledger is needed.

    \b
    scaling register forecasts.json --title "the big run" --until 2027-03-01 --embargo
    scaling reveal latest
    """
    from scaling.registry import remarks
    from scaling.signers import opened

    kept = opened(ledger or folder / "ledger", create=False, key=key)
    entry = remarks.reveal(kept, prediction)
    claims = [c["id"] for c in entry.body["opened"]["claims"]]
    emit(
        {"hash": entry.hash, "seq": entry.seq, "commit": entry.body["commit"], "claims": claims},
        lambda: f"revealed in entry {entry.seq} ({len(claims)} claims): prediction {entry.body['commit']}",
        as_json=as_json,
    )


@click.command()
@click.argument("prediction")
@reason_option
@key_option
@folder_option
@ledger_option
@json_option
def withdraw(prediction: str, reason: str, key: Path | None, folder: Path, ledger: Path | None, as_json: bool) -> None:
    """Withdraw a prediction that is not resolved: it stays in the ledger, with a tombstone wherever it is shown.

    PREDICTION is the entry's hash, its first 8 digits or more, or `latest`.

    \b
    scaling withdraw 3f9c0a1b --reason "the data of rung 4 were wrong" --folder forecast
    """
    from scaling.registry import remarks
    from scaling.signers import opened

    kept = opened(ledger or folder / "ledger", create=False, key=key)
    entry = remarks.withdraw(kept, prediction, reason)
    emit(
        {"hash": entry.hash, "seq": entry.seq, "prediction": entry.prediction},
        lambda: f"withdrawn in entry {entry.seq}: prediction {entry.prediction}",
        as_json=as_json,
    )


@click.command()
@click.argument("id")
@click.option("--text", required=True, help="What was wrong, or what became known.")
@key_option
@folder_option
@ledger_option
@json_option
def amend(id: str, text: str, key: Path | None, folder: Path, ledger: Path | None, as_json: bool) -> None:
    """Add a remark to an entry: it is shown beside it, and changes nothing of it.

    ID is the hash of any entry, its first 8 digits or more, or `latest` for the newest prediction.

    \b
    scaling amend 3f9c0a1b --text "measured with 512 problems, not 1024" --folder forecast
    """
    from scaling.registry import remarks
    from scaling.signers import opened

    kept = opened(ledger or folder / "ledger", create=False, key=key)
    entry = remarks.amend(kept, id, text)
    emit(
        {"hash": entry.hash, "seq": entry.seq, "amends": entry.body["amends"]},
        lambda: f"amended in entry {entry.seq}: {entry.body['amends']}",
        as_json=as_json,
    )
