"""A head written into a git repository, as a commit or a tag, and who holds it.

Git signs nothing here and its dates are the committer's own (a commit can be back-dated), so the anchor counts only
where a remote on somebody else's machine has it: then its keeper can say since when. The commit stands on a branch of
its own (`scaling-heads`); neither the working tree nor the index is touched. A repository may be handed over by whom it
speaks for, so nothing is believed or run that it says of itself (git_outside.py).
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from scaling.errors import InputError
from scaling.registry.anchors import Anchor, Finding, Method, Standing
from scaling.registry.git_outside import SCP_LIKE, Outside, addresses, git, outside, run
from scaling.registry.merkle import Checkpoint

BRANCH = "refs/heads/scaling-heads"
FILE = "head"
OBJECT = re.compile(r"\A(?:[0-9a-f]{40}|[0-9a-f]{64})\Z")
REF = re.compile(r"\Arefs/(?:heads|tags)/[A-Za-z0-9][A-Za-z0-9._/-]{0,199}\Z")
HERE = {"", "localhost", "127.0.0.1", "::1", "0.0.0.0"}


@dataclass(frozen=True)
class Holder:
    """A remote that was asked for the anchor. `holds` is None where it could not be asked (`why`)."""

    url: str
    holds: bool | None
    elsewhere: bool
    why: str = ""


def anchor(repository: Path, head: Checkpoint, *, tag: str = "", push: str = "") -> Anchor:
    """Write the head into the repository (and push it to a remote); record which remotes have it."""
    check_repository(repository)
    ref = f"refs/tags/{tag}" if tag else BRANCH
    if not REF.match(ref):
        raise InputError(f"{tag!r:.80} is no name for a tag")
    blob = git(repository, "hash-object", "-w", "--stdin", given=head.text)
    made = _tag(repository, tag, blob, head) if tag else _commit(repository, blob, head)
    with outside(repository) as asks:
        if push:
            named = addresses(repository, "pushurl").get(push) or addresses(repository).get(push) or [push]
            asks.push(named[0], made, ref)
        pushed = [h.url for h in holders(asks, made, ref) if h.holds]
    evidence = {"object": made, "ref": ref, "form": "tag" if tag else "commit", "pushed": sorted(set(pushed))}
    return Anchor(Method.GIT, head, evidence)


def check_repository(repository: Path) -> None:
    git(repository, "rev-parse", "--git-dir")


def check(anchor: Anchor, repository: Path | None) -> Finding:
    """Check that the repository's object holds the head's text, and ask its remotes whether they have it."""
    made, ref, form = (anchor.evidence.get(name) for name in ("object", "ref", "form"))
    if not (isinstance(made, str) and OBJECT.match(made) and isinstance(ref, str) and REF.match(ref)):
        raise InputError("its evidence names no git object and ref")
    if form not in ("commit", "tag"):
        raise InputError("its evidence is neither a commit nor a tag")
    about = f"the head of {anchor.head.size} entries"
    if repository is None:
        return Finding(
            Standing.NOT_PROVEN,
            f"Git {form} {made[:12]} is said to hold {about}, which was not checked (name the repository: --git).",
        )
    with outside(repository) as asks:
        if asks.object(made) is None:
            says = f"Git {form} {made[:12]}, said to hold {about}, is not in {repository}: nothing was checked."
            return Finding(Standing.NOT_PROVEN, says)
        if _held(asks, made, form) != anchor.text:
            raise InputError(f"git {form} {made[:12]} in {repository} does not hold the head")
        asked = holders(asks, made, ref)
    others = [h.url for h in asked if h.holds and h.elsewhere]
    if others:
        return Finding(
            Standing.PROVEN,
            f"Git {form} {made[:12]} holds {about} and {' and '.join(others)} has it now, so that its keeper can say "
            "since when; git's own dates prove nothing.",
        )
    why = [f"{h.url} is on this machine" for h in asked if h.holds]
    why += [f"{h.url} {h.why or 'does not have it'}" for h in asked if not h.holds]
    return Finding(
        Standing.NOT_PROVEN,
        f"Git {form} {made[:12]} holds {about}, which proves nothing, for it was pushed to nobody else "
        f"({'; '.join(why) or 'there is no remote'}) and git's dates can be set at will.",
    )


def _held(asks: Outside, made: str, form: str) -> bytes | None:
    """The bytes under a commit's FILE, or under a tag; each object on the way has the hash it goes by."""
    kind, data = asks.object(made) or ("", b"")
    if kind != form:
        return None
    first, _, name = data.partition(b"\n")[0].decode("ascii", "replace").partition(" ")
    if first == "tree":
        entry = b"100644 %s\0" % FILE.encode()
        tree = (asks.object(name) or ("", b""))[1]
        raw = tree.removeprefix(entry)
        name = raw.hex() if tree.startswith(entry) and len(raw) * 2 == len(made) else ""
    found = asks.object(name) if OBJECT.match(name) else None
    return found[1] if found and found[0] == "blob" else None


def holders(asks: Outside, made: str, ref: str) -> list[Holder]:
    """Ask every remote of the repository for the ref: it holds the object, or a commit that came after it."""
    found = []
    for address in dict.fromkeys(a for named in addresses(asks.repository).values() for a in named):
        shown, elsewhere = without_secret(address), is_elsewhere(address)
        try:
            tip = asks.tip(address, ref)
        except InputError:
            found.append(Holder(shown, None, elsewhere, "could not be asked (by its address alone: what git's settings "
                                "say of it is not used)"))  # fmt: skip
            continue
        if tip in ("", made):
            found.append(Holder(shown, tip == made, elsewhere))
        elif OBJECT.match(tip) and (after := asks.descends(tip, made)) is not None:
            found.append(Holder(shown, after, elsewhere))
        else:
            found.append(Holder(shown, None, elsewhere, "has a newer commit that is not here (git fetch, then again)"))
    return found


def is_elsewhere(url: str) -> bool:
    """Whether a git address is of another machine than this: a path, `file:` or this host's own name is not."""
    if "://" in url:
        scheme, host = urlsplit(url).scheme, urlsplit(url).hostname or ""
        return scheme in ("https", "http", "ssh", "git", "git+ssh") and not _here(host)
    match = SCP_LIKE.match(url)
    return bool(match) and not _here(match.group(1) if match else "")


def without_secret(url: str) -> str:
    """The address as it may be shown and stored: user and password of a web address are left out."""
    parts = urlsplit(url) if "://" in url else None
    if parts is None or "@" not in parts.netloc:
        return url
    user = parts.username if parts.scheme.endswith("ssh") else None
    return parts._replace(netloc=(f"{user}@" if user else "") + parts.netloc.rpartition("@")[2]).geturl()


def _here(host: str) -> bool:
    name = host.lower().rstrip(".")
    return name in HERE or name.startswith("127.") or name in {socket.gethostname().lower(), socket.getfqdn().lower()}


def _commit(repository: Path, blob: str, head: Checkpoint) -> str:
    """A commit of the head's text on its own branch, after the one before. The same head again is the same commit."""
    tree = git(repository, "mktree", given=f"100644 blob {blob}\t{FILE}\n")
    there = run(repository, ("rev-parse", "--verify", "--quiet", BRANCH), b"")
    old = there.stdout.decode().strip() if there.returncode == 0 else ""
    if old and git(repository, "rev-parse", f"{old}^{{tree}}") == tree:
        return old
    parents = ["-p", old] if old else []
    made = git(repository, "commit-tree", tree, *parents, given=f"Head of {head.size} entries\n\n{head.text}")
    git(repository, "update-ref", BRANCH, made, old or "0" * len(made))
    return made


def _tag(repository: Path, tag: str, blob: str, head: Checkpoint) -> str:
    message = f"Head of {head.size} entries\n\n{head.text}"
    git(repository, "tag", "-a", "-F", "-", "--end-of-options", tag, blob, given=message)
    return git(repository, "rev-parse", f"refs/tags/{tag}")
