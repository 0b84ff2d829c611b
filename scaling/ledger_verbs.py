"""Verbs about the ledger itself: key, ledger, prove, reveal, withdraw, amend."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from scaling.anchor_verbs import anchor
from scaling.cli import emit, folder_option, json_option, note, output_option, table
from scaling.verbs import key_option, ledger_option

if TYPE_CHECKING:
    from scaling.registry.keys import Keyring
    from scaling.registry.proofs import Proven
    from scaling.registry.signing import SigningKey

reason_option = click.option("--reason", required=True, help="Why, in a few words: it stands in the ledger.")


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


@key.command("new")
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


@key.command("show")
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


@key.command("revoke")
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
    from scaling.registry.signing import SignedHead
    from scaling.signers import opened

    book = opened(ledger or folder / "ledger", create=False, key=key)
    signed = SignedHead.sign(book.remember(), book.key)
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
    from scaling.registry import Ledger, proofs
    from scaling.registry.signing import SignedHead

    book = Ledger(ledger or folder / "ledger", create=False)
    made = []
    for path in heads:
        try:
            old = SignedHead.parse(path.read_bytes().decode())
        except ValueError:
            raise InputError(
                f"{path} holds no head: it is not text", "name what `scaling ledger head` printed"
            ) from None
        except InputError as error:
            raise InputError(f"{path}: {error.message}", error.hint) from None
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
    from scaling.registry import book, proofs
    from scaling.registry.exported import sentences
    from scaling.signers import opened

    kept = opened(ledger or folder / "ledger", create=False, key=key)
    entry = book.entry_of(kept, id)
    proof = proofs.prove(kept, entry.hash)
    proven = proofs.check(proof)
    if ssh:
        _write_ssh(proven, ssh)
    emit(proof, lambda: "\n".join(sentences(proven)), as_json=as_json or (not output and not ssh), output=output)


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
    from scaling.registry import book
    from scaling.signers import opened

    entry = book.reveal(opened(ledger or folder / "ledger", create=False, key=key), prediction)
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
    from scaling.registry import book
    from scaling.signers import opened

    entry = book.withdraw(opened(ledger or folder / "ledger", create=False, key=key), prediction, reason)
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
    from scaling.registry import book
    from scaling.signers import opened

    entry = book.amend(opened(ledger or folder / "ledger", create=False, key=key), id, text)
    emit(
        {"hash": entry.hash, "seq": entry.seq, "amends": entry.body["amends"]},
        lambda: f"amended in entry {entry.seq}: {entry.body['amends']}",
        as_json=as_json,
    )
