"""The prediction ledger: an append-only, hash-chained file of entries, signed or not, with a Merkle head.

    <folder>/entries.jsonl           one entry a line (entries.py)
    <folder>/heads.jsonl             heads printed earlier, by which a cut or rewritten ledger is recognised
    <folder>/blobs/<sha256>.<suffix> large values that entries name by digest
    <folder>/torn-<ns>               what a dead append left behind
    <folder>/.index.sqlite, .stamp   where the entries of a long ledger stand (index.py); may be deleted

What it proves: entries were not edited, reordered or inserted, those that are signed were made by who held the key,
and against a head that somebody else holds, nothing was cut or rewritten. What it does not: when they were written
(the time is the writer's own), or who holds a key.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling import records
from scaling.errors import InputError, LedgerError, ScalingError
from scaling.registry import anchors, index, keys, nonces
from scaling.registry import entries as entry_format
from scaling.registry.blobs import Blobs, ListedBlobs
from scaling.registry.entries import Entry, Kind
from scaling.registry.heads import Head, Heads, Held, check_not_cut
from scaling.registry.index import Search
from scaling.registry.journal import MAX_LINE, Journal, Line, Unwritable, View, Writer, read_lines
from scaling.registry.keys import Keyring, Statement
from scaling.registry.lookup import Lookup, placed, read_at
from scaling.registry.merkle import Checkpoint
from scaling.registry.signing import SigningKey
from scaling.registry.verify import Chain, Inspection, Reason, VerifyReport

if TYPE_CHECKING:
    from scaling.fitted import Forecast
    from scaling.predictions import Measured, Question

PREFIX = re.compile(r"\A[0-9a-f]{8,64}\Z")


class Ledger:
    """A ledger in a folder, made by the first append; `create=False` refuses at once a folder that holds none."""

    def __init__(self, folder: str | Path, create: bool = True, key: SigningKey | None = None) -> None:
        """`key` signs every entry that is appended; it must be one that the ledger's key entries make valid."""
        self.folder, self.key = Path(folder), key
        self._entries = Journal(self.folder / "entries.jsonl")
        self._heads = Heads(self.folder / "heads.jsonl")
        self._blobs = Blobs(self.folder / "blobs")
        if not create and not self._entries.path.exists():
            raise self._missing()

    def append(self, kind: Kind | str, body: Mapping[str, Any], nonce: str | None = None) -> Entry:
        """Write one entry and return it once it is on disk.

        The `nonce` (128 random bits if none is given) makes a retry safe: the same nonce with the same kind and body
        returns the entry that is already there, with other content it is refused. After an error whose outcome is
        unknown (`LedgerError`), repeat the call with the nonce that its hint names.
        """
        kind, body = entry_format.read_kind(kind), _plain_body(body)
        self._check_blobs(body)
        nonces.check(nonce, kind, body)
        if not self._entries.path.exists():
            self.check_ready(kind, body, nonce)  # what is refused makes no file
        with self._entries.writing(create=True) as file:
            last = self._last_entry(file)
            with index.opened(self.folder / index.NAME, file) as places:
                made, is_new = self._made(Lookup(Search(file, places), self.folder), kind, body, nonce, last)
                if is_new:
                    retry = f"try again with nonce={made.nonce!r}: it cannot be entered twice"
                    file.write(made.line, retry=retry)
                else:
                    file.sync()
                return made

    def check_ready(
        self, kind: Kind | None = None, body: Mapping[str, Any] | None = None, nonce: str | None = None
    ) -> None:
        """Refuse what the next `append` would refuse, of the ledger and its key as they stand, and of the entry if one
        is given (but for its blobs): before anything is stored, or shown to others, for it."""
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"{self.folder} is not a folder", "name the folder of a ledger, or one to be made")
        body = _plain_body(body or {})
        nonces.check(nonce, kind, body)
        with self._looking(missing_is_empty=True) as (lookup, last):
            if kind:
                self._made(lookup, kind, body, nonce, last)
            elif self.key:
                keys.check_signer(lookup.keyring(), self.key.public, None, str(self.folder))

    def _made(
        self, lookup: Lookup, kind: Kind, body: Mapping[str, Any], nonce: str | None, last: Entry | None
    ) -> tuple[Entry, bool]:
        """The entry to be written, after every check; or (False) the one that stands already."""
        if nonce is not None and (found := lookup.of_nonce(nonce)):
            if (found.kind, records.canonical(found.body)) != (kind, records.canonical(body)):
                raise InputError(
                    f"nonce {nonce} already stands in entry {found.seq} with other content",
                    "give every entry its own nonce, or none",
                )
            return found, False
        lookup.check_references(kind, body)
        statement = Statement.of(kind, body)
        ring = lookup.keyring() if self.key or statement else Keyring()
        if self.key:
            keys.check_signer(ring, self.key.public, statement, str(self.folder))
        sign, time = self.key.sign if self.key else None, entry_format.utc_now()
        entry = entry_format.make_entry(kind, body, nonce or secrets.token_hex(16), time, last, sign)
        if len(entry.line) > MAX_LINE:
            raise InputError(
                f"entry of {len(entry.line)} bytes is longer than {MAX_LINE >> 20} MiB",
                "store the large part with put_blob and name its digest",
            )
        if statement:
            ring.follow(entry)  # refuses what nobody who may state it has signed
        return entry, True

    def keyring(self) -> Keyring:
        """The keys as the key entries state them, these entries' signatures checked (and nothing else)."""
        with self._looking(cut=True) as (lookup, _):
            return lookup.keyring()

    def alone(self, kind: Kind) -> list[Entry]:
        """The entries of one kind, each checked by itself: their links, and all other entries, are not."""
        needle = b'"kind":"%s"' % kind.encode()
        with self._reading() as (handle, size):
            lines = [line for line in read_lines(handle, size) if line.whole and needle in line.data]
        found = []
        for line in lines:
            try:
                found.append(entry_format.read_entry(line.data))
            except InputError as error:
                raise placed(line, error, self._entries.path) from None
        return [entry for entry in found if entry.kind == kind]

    def entries(self, kind: Kind | str | None = None) -> Iterator[Entry]:
        """Entries in order, read lazily, checked link by link: a bad one, or a cut, raises `LedgerError`."""
        wanted = None if kind is None else entry_format.read_kind(kind)
        chain, held = Chain(), self._heads.held()  # before the length is noted: others may go on
        newest = self._heads.newest()
        with self._reading() as (handle, size):
            for entry in self._follow(chain, read_lines(handle, size), held):
                if wanted in (None, entry.kind):
                    yield entry
        check_not_cut(newest, chain.frontier.size, self._entries.path)

    def __iter__(self) -> Iterator[Entry]:
        return self.entries()

    def find(self, prefix: str) -> Entry:
        """The one entry whose hash begins with `prefix` (8 hex digits or more); the others are not read."""
        if not PREFIX.match(prefix):
            raise InputError(f"{prefix!r:.80} is no entry hash", "give at least its first 8 lower-case hex digits")
        with self._looking() as (lookup, _):
            found = list(lookup.of_prefix(prefix))
        if not found:
            self.head()  # a broken ledger says so
        if len(found) != 1:
            what = f"means {len(found)} entries" if found else "is the hash of no entry"
            raise InputError(f"{prefix} {what} in {self.folder}", "give more digits" if found else "")
        return found[0]

    def about(self, prediction: Entry) -> list[Entry]:
        """A prediction (or commit), the entries that name it, and the anchors, in order; the others are not read."""
        with self._looking() as (lookup, _):
            return lookup.about(prediction)

    def of_recipes(self, digests: Iterable[str]) -> list[Entry]:
        """The predictions about runs by one of these recipes, or whose starts name one."""
        with self._looking() as (lookup, _):
            return lookup.of_recipes(digests)

    def newest(self, *kinds: Kind, wanted: Callable[[Entry], bool] = lambda entry: True) -> Entry | None:
        """The newest entry of one of these kinds that is `wanted`."""
        with self._looking() as (lookup, _):
            found = [next(filter(wanted, lookup.newest(kind)), None) for kind in kinds]
        if not any(found):
            self.head()  # a broken ledger says so
        return max((entry for entry in found if entry), key=lambda entry: entry.seq, default=None)

    def head(self, visit: Callable[[Entry], object] = lambda entry: None) -> Checkpoint:
        """The state of the whole ledger: number of entries and RFC 9162 root over their lines. `visit` sees each."""
        return self._read_through(visit).head

    def remember(
        self, visit: Callable[[Entry], object] = lambda entry: None, verified: VerifyReport | None = None
    ) -> Checkpoint:
        """`head()`, also noted in heads.jsonl: call it for every head that is printed or handed out.

        It continues every head that was remembered, or raises. Others may append while the ledger is read; what came
        meanwhile is read on under the lock, and counted. What was `verified` a moment ago is not read (nor visited)
        once more. Of a ledger that cannot be written the head is read only: see `remembers`.
        """
        if verified:
            verified.raise_first()
            chain = verified.chain
        else:
            chain = self._read_through(visit)
        with contextlib.suppress(Unwritable), self._existing(), self._entries.writing(create=False) as file:
            if chain.previous and not file.holds(chain.previous.line, chain.end):
                raise LedgerError(f"{self._entries.path} was changed while it was read", "run verify")
            file.sync()  # a head must not outlive the entries it counts
            behind = (replace(line, index=line.index + chain.frontier.size) for line in file.lines(chain.end))
            for entry in self._follow(chain, behind, Held(())):
                visit(entry)
            newest = self._heads.newest()
            check_not_cut(newest, chain.frontier.size, file.path)
            Held([newest] if newest else []).check(chain.frontier, file.path)
            self._heads.note(chain.head)
        return chain.head

    def remembers(self, head: Checkpoint) -> bool:
        """Whether it is the newest head that was remembered: it is not where the folder cannot be written."""
        newest = self._heads.newest()
        return newest is not None and (newest.size, newest.root) == (head.size, head.root.hex())

    def _read_through(self, visit: Callable[[Entry], object]) -> Chain:
        chain, held, newest = Chain(), self._heads.held(), self._heads.newest()
        with self._reading() as (handle, size):
            for entry in self._follow(chain, read_lines(handle, size), held):
                visit(entry)
        check_not_cut(newest, chain.frontier.size, self._entries.path)
        return chain

    def verify(
        self, heads: Iterable[Checkpoint] = (), also: Callable[[Entry], object] = lambda entry: None
    ) -> VerifyReport:
        """Check every byte: entries, chain, references, blobs; each head in heads.jsonl, in anchors and in `heads`.

        `also` is called for each entry: an `InputError` makes it a bad one. What entries say is not read here: see
        `standing.verify`.
        """
        outside = [
            Head(head.size, head.root.hex(), f"a head held outside ({head.origin})", origin=head.origin)
            for head in heads
        ]
        try:
            with self._entries.reading() as (handle, size):
                inside, bad, torn = self._heads.read()
                anchored = list(anchors.heads_in(read_lines(handle, size)))
                heads_in = [head for _, head in anchored if isinstance(head, Head)]
                inspection = Inspection([*inside, *outside, *heads_in], ListedBlobs(self._blobs.folder), also)
                handle.seek(0)
                for line in read_lines(handle, size):
                    inspection.check(line)
                for line, fault in anchored:
                    if isinstance(fault, InputError):
                        inspection.add(Reason.ANCHOR, line, fault.message)
        except FileNotFoundError:
            inside, bad, torn = self._heads.read()
            if not inside and not outside:
                raise self._missing() from None
            inspection = Inspection([*inside, *outside], self._blobs)  # nothing is left: every head says so
        for reason, messages in ((Reason.HEAD_NOT_CONSISTENT, bad), (Reason.TORN_TAIL, torn)):
            for message in messages:
                inspection.add(reason, None, message)
        inspection.warnings += self._set_aside()
        return inspection.report()

    def put_blob(self, data: bytes, suffix: str) -> str:
        """Store bytes under their SHA-256 and return it; the same bytes again change nothing."""
        return self._blobs.put(data, suffix)

    def get_blob(self, digest: str) -> bytes:
        """The bytes with this SHA-256, checked."""
        return self._blobs.get(digest)

    def register(
        self, questions: Question | Sequence[Question], forecasts: Forecast | Sequence[Forecast], **facts: Any
    ) -> Entry:
        """Append a prediction: `book.register`."""
        from scaling.registry import book  # the book is written in a ledger, embargo, remarks, standing

        return book.register(self, questions, forecasts, **facts)

    def resolve(self, receipt: Entry | str, value: Mapping[str, Measured] | float, **facts: Any) -> Entry:
        """Append a prediction's outcome: `book.resolve`."""
        from scaling.registry import book

        return book.resolve(self, receipt, value, **facts)

    def _last_entry(self, file: Writer) -> Entry | None:
        """Set a torn tail aside, then read the last entry again: nothing is chained to what is not sound."""
        self._whole_end(file)  # of a file that is none of ours nothing is set aside
        file.repair(completes=_is_next_entry)
        last = self._whole_end(file)
        check_not_cut(self._heads.newest(), last.seq + 1 if last else 0, file.path)
        return last

    @contextlib.contextmanager
    def _looking(self, missing_is_empty: bool = False, cut: bool = False) -> Iterator[tuple[Lookup, Entry | None]]:
        """To find entries while nobody writes: what an append finds, and its last entry. Nothing is changed."""
        if missing_is_empty and not self._entries.path.exists():
            check_not_cut(self._heads.newest(), 0, self._entries.path)
            yield Lookup(Search(None), self.folder), None
            return
        with self._existing(), self._entries.looking() as file:
            last = self._whole_end(file)
            if not file.torn and not cut:  # what a torn tail lacks may be its newline alone
                check_not_cut(self._heads.newest(), last.seq + 1 if last else 0, file.path)
            with index.opened(self.folder / index.NAME, file) as places:
                yield Lookup(Search(file, places), self.folder), last

    def _whole_end(self, file: View) -> Entry | None:
        line = file.last_line()
        last = read_at(file, line) if line else None
        if line and last and (line.offset == 0) != (last.seq == 0):
            raise LedgerError(
                f"{file.path}: its last entry has number {last.seq} but begins at byte {line.offset}",
                "run verify",
                index=last.seq,
                offset=line.offset,
            )
        return last

    def _check_blobs(self, body: Mapping[str, Any]) -> None:
        for digest in entry_format.blob_digests(body):
            if not self._blobs.sound(digest):
                raise InputError(f"no sound blob {digest} in {self._blobs.folder}", "store it first, with put_blob")

    def _set_aside(self) -> Iterator[str]:
        for path in sorted(self.folder.glob("torn-*")):
            with contextlib.suppress(FileNotFoundError):  # taken away meanwhile
                found = path.lstat()
                plain = f"holds {found.st_size} bytes of an append that died"
                yield f"{path.name} {plain if stat.S_ISREG(found.st_mode) else 'is no plain file: it was put there'}"

    def _follow(self, chain: Chain, lines: Iterable[Line], held: Held) -> Iterator[Entry]:
        for line in lines:
            if line.whole:
                try:
                    entry = chain.follow(line)
                except InputError as error:
                    raise placed(line, error, self._entries.path) from None
                held.check(chain.frontier, self._entries.path)
                yield entry

    @contextlib.contextmanager
    def _reading(self) -> Iterator[tuple[Any, int]]:
        with self._existing(), self._entries.reading() as opened:
            yield opened

    @contextlib.contextmanager
    def _existing(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise self._missing() from None

    def _missing(self) -> ScalingError:
        if self._heads.path.exists():
            return LedgerError(
                f"{self._entries.path} is gone, but heads of it were printed", "restore the file from a copy"
            )
        return InputError(
            f"no ledger in {self.folder} (there is no entries.jsonl)",
            "check the path; the first registered prediction makes a ledger",
        )


def _plain_body(body: Mapping[str, Any]) -> dict[str, Any]:
    """The body as its reader will get it (tuples as lists, 1e16 as the same float that comes back)."""
    if not isinstance(body, Mapping):
        raise InputError(f"an entry's body is a mapping, not {type(body).__name__}")
    plain: dict[str, Any] = records.parse(records.canonical(body), what="body")
    return plain


def _is_next_entry(tail: bytes, last: Line | None) -> bool:
    """A torn tail that lacks nothing but its newline."""
    try:
        entry_format.check_link(entry_format.read_entry(tail), entry_format.read_entry(last.data) if last else None)
    except InputError:
        return False
    return True
