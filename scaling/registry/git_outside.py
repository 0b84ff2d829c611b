"""Git without a repository's own word: what its configuration names (ssh commands, hooks, helpers, other addresses for
an address) is neither run nor followed, and its objects are believed by their hashes alone.

Remotes are asked, and pushed to, from an empty repository of ours that borrows the other's objects. The user's own
configuration is used for a push (it may need a password) and for no answer that a finding rests on.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scaling.errors import InputError

PATIENCE_S = 60.0
MAX_OBJECT = 2**20
MAX_COMMITS = 20_000
SCP_LIKE = re.compile(r"\A(?:[^@/:]+@)?([^@/:]{2,}):(?!:)(?!//)")  # host:path; one letter is a drive
# GIT_... variables that are of the repository that we were called in
BELONGS = ("DIR", "WORK_TREE", "INDEX_FILE", "OBJECT_DIRECTORY", "ALTERNATE_OBJECT_DIRECTORIES", "COMMON_DIR",
           "CONFIG", "CONFIG_PARAMETERS", "CONFIG_COUNT", "TEMPLATE_DIR", "NAMESPACE", "REPLACE_REF_BASE",
           "SHALLOW_FILE", "GRAFT_FILE", "EXEC_PATH")  # fmt: skip
NO_COMMANDS = ("core.hooksPath=" + os.devnull, "core.fsmonitor=false", "tag.gpgSign=false", "commit.gpgSign=false",
               "core.commitGraph=false", "core.pager=cat")  # fmt: skip
REACHES = {"GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh"}
EMPTY = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_SYSTEM": os.devnull, "GIT_CONFIG_GLOBAL": os.devnull, **REACHES}


@dataclass(frozen=True)
class Outside:
    """Our empty repository. `objects` of the other are read by hash."""

    repository: Path
    place: Path

    def tip(self, address: str, ref: str) -> str:
        """Where the ref stands at this address, asked with an empty configuration; "": it has none."""
        answer = git(self.place, "ls-remote", "--end-of-options", self.absolute(address), ref, more=EMPTY).split()
        return answer[0] if answer else ""

    def push(self, address: str, made: str, ref: str) -> None:
        git(self.place, "push", "--quiet", "--end-of-options", self.absolute(address), f"{made}:{ref}", more=REACHES)

    def absolute(self, address: str) -> str:
        if "://" in address or SCP_LIKE.match(address):
            return address
        done = run(self.repository, ("rev-parse", "--show-toplevel"), b"")
        top = Path(os.fsdecode(done.stdout).removesuffix("\n")) if done.returncode == 0 else self.repository
        return str(top.resolve() / address)

    def objects(self, names: Sequence[str]) -> dict[str, tuple[str, bytes]]:
        """Hash -> (type, bytes) of those that are there; one whose bytes have another hash is an error."""
        asked = "".join(f"{name}\n" for name in names).encode()
        sizes = run(self.place, ("cat-file", "--batch-check"), asked, EMPTY).stdout.decode().splitlines()
        for line in sizes:
            if line.split()[-1].isdigit() and int(line.split()[-1]) > MAX_OBJECT:
                raise InputError(f"git object {line.split()[0][:12]} is larger than {MAX_OBJECT >> 20} MiB")
        answer, found, at = run(self.place, ("cat-file", "--batch"), asked, EMPTY).stdout, {}, 0
        while at < len(answer):
            end = answer.index(b"\n", at)
            name, kind, *size = answer[at:end].decode().split()
            at = end + 1
            if not size:
                continue  # "missing"
            data = answer[at : at + int(size[0])]
            at += len(data) + 1
            if object_name(kind, data, len(name)) != name:
                raise InputError(f"git object {name[:12]} in {self.repository} does not have the bytes of its name")
            found[name] = (kind, data)
        return found

    def object(self, name: str) -> tuple[str, bytes] | None:
        return self.objects([name]).get(name)

    def descends(self, tip: str, made: str) -> bool | None:
        """Whether `made` is a commit before `tip`; None: the commits between them are not here."""
        listed = run(self.place, ("rev-list", f"--max-count={MAX_COMMITS}", "--end-of-options", tip), b"", EMPTY)
        commits = self.objects([tip, *listed.stdout.decode().split()])
        seen, ahead, missing = set(), [tip], False
        while ahead:
            name = ahead.pop()
            if name == made:
                return True
            if name in seen:
                continue
            seen.add(name)
            if name not in commits:
                missing = True
                continue
            header = commits[name][1].partition(b"\n\n")[0].decode("utf-8", "replace")
            ahead += re.findall(r"^parent ([0-9a-f]+)$", header, flags=re.M)
        return None if missing else False


@contextlib.contextmanager
def outside(repository: Path) -> Iterator[Outside]:
    objects = Path(git(repository, "rev-parse", "--git-path", "objects"))
    form = git(repository, "rev-parse", "--show-object-format")
    with tempfile.TemporaryDirectory(prefix="scaling-git-") as folder:
        place = Path(folder) / "asks.git"
        git(Path(folder), "init", "--quiet", "--bare", "--template=", f"--object-format={form}", str(place), more=EMPTY)
        (place / "objects" / "info").mkdir(exist_ok=True)
        (place / "objects" / "info" / "alternates").write_text(f"{(repository / objects).resolve()}\n")
        yield Outside(repository, place)


def addresses(repository: Path, key: str = "url") -> dict[str, list[str]]:
    """Remote -> its addresses as they are written, in the order of the configuration."""
    done = run(repository, ("config", "--null", "--get-regexp", rf"^remote\..*\.{key}$"), b"")
    found: dict[str, list[str]] = {}
    for item in os.fsdecode(done.stdout).split("\0")[:-1]:
        name, _, address = item.partition("\n")
        found.setdefault(name.removeprefix("remote.").removesuffix(f".{key}"), []).append(address)
    return found


def object_name(kind: str, data: bytes, digits: int) -> str:
    """The hash that git gives an object: SHA-1, or SHA-256 in repositories of that format."""
    digest = hashlib.sha1 if digits == 40 else hashlib.sha256
    return digest(b"%s %d\0" % (kind.encode(), len(data)) + data).hexdigest()


def git(folder: Path, *arguments: str, given: str = "", more: Mapping[str, str] | None = None) -> str:
    """What git says, without its newline; refused with git's own reason."""
    done = run(folder, arguments, given.encode(), more)
    if done.returncode:
        lines = [line for line in done.stderr.decode("utf-8", "replace").splitlines() if line.strip()]
        says = next((line for line in lines if line.startswith(("fatal:", "error:"))), lines[-1] if lines else "failed")
        raise InputError(f"git {arguments[0]} in {folder}: {says}")
    return os.fsdecode(done.stdout).removesuffix("\n")


def run(
    folder: Path, arguments: Sequence[str], given: bytes, more: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    kept = {k: v for k, v in os.environ.items() if k.removeprefix("GIT_") not in BELONGS or not k.startswith("GIT_")}
    said = {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C", "GIT_ALLOW_PROTOCOL": "none",
            "GIT_NO_REPLACE_OBJECTS": "1", "GIT_NO_LAZY_FETCH": "1"}  # fmt: skip
    options = [word for option in NO_COMMANDS for word in ("-c", option)]
    try:
        return subprocess.run(
            ["git", *options, "-C", str(folder), *arguments],
            input=given, capture_output=True, timeout=PATIENCE_S, check=False, env={**kept, **said, **(more or {})},
        )  # fmt: skip
    except FileNotFoundError:
        raise InputError("git is not installed", "install it, or anchor in another way") from None
    except subprocess.TimeoutExpired:
        raise InputError(f"git {arguments[0]} in {folder} took longer than {PATIENCE_S:g} s") from None
    except OSError as error:
        raise InputError(f"git {arguments[0]} in {folder} failed: {error}") from None
