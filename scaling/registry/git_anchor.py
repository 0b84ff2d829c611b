"""A head written into a git repository, as a commit or a tag, and who holds it.

Git signs nothing here and its dates are the committer's own (a commit can be back-dated), so the anchor counts only
where a remote on somebody else's machine has it: then its keeper can say since when. The commit stands on a branch of
its own (`scaling-heads`); neither the working tree nor the index is touched.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from scaling.errors import InputError
from scaling.registry.anchors import Anchor, Finding, Method, Standing
from scaling.registry.merkle import Checkpoint

BRANCH = "refs/heads/scaling-heads"
FILE = "head"
PATIENCE_S = 60.0
OBJECT = re.compile(r"\A(?:[0-9a-f]{40}|[0-9a-f]{64})\Z")
REF = re.compile(r"\Arefs/(?:heads|tags)/[A-Za-z0-9][A-Za-z0-9._/-]{0,199}\Z")
SCP_LIKE = re.compile(r"\A(?:[^@/:]+@)?([^@/:]{2,}):(?!:)(?!//)")  # host:path; one letter is a drive
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
    blob = _git(repository, "hash-object", "-w", "--stdin", given=head.text)
    made = _tag(repository, tag, blob, head) if tag else _commit(repository, blob, head)
    if push:
        _git(repository, "push", "--quiet", "--end-of-options", push, f"{ref}:{ref}")
    pushed = [h.url for h in holders(repository, made, ref) if h.holds]
    evidence = {"object": made, "ref": ref, "form": "tag" if tag else "commit", "pushed": sorted(set(pushed))}
    return Anchor(Method.GIT, head, evidence)


def check_repository(repository: Path) -> None:
    _git(repository, "rev-parse", "--git-dir")


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
    if not _succeeds(repository, "cat-file", "-e", made):
        says = f"Git {form} {made[:12]}, said to hold {about}, is not in {repository}: nothing was checked."
        return Finding(Standing.NOT_PROVEN, says)
    held = _git(repository, "cat-file", "blob", f"{made}:{FILE}" if form == "commit" else f"{made}^{{blob}}")
    if held + "\n" != anchor.head.text:
        raise InputError(f"git {form} {made[:12]} in {repository} does not hold the head")
    asked = holders(repository, made, ref)
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


def holders(repository: Path, made: str, ref: str) -> list[Holder]:
    """Ask every remote of the repository for the ref: it holds the object, or a commit that came after it."""
    found = []
    for remote in _git(repository, "remote").split():
        url = _git(repository, "ls-remote", "--get-url", remote)
        shown, elsewhere = without_secret(url), is_elsewhere(url)
        try:
            answer = _git(repository, "ls-remote", "--end-of-options", url, ref).split()
        except InputError:
            found.append(Holder(shown, None, elsewhere, "could not be asked"))
            continue
        tip = answer[0] if answer else ""
        if tip in ("", made):
            found.append(Holder(shown, tip == made, elsewhere))
        elif not _succeeds(repository, "cat-file", "-e", tip):
            found.append(Holder(shown, None, elsewhere, "has a newer commit that is not here (git fetch, then again)"))
        else:
            found.append(Holder(shown, _succeeds(repository, "merge-base", "--is-ancestor", made, tip), elsewhere))
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
    tree = _git(repository, "mktree", given=f"100644 blob {blob}\t{FILE}\n")
    there = _run(repository, ("rev-parse", "--verify", "--quiet", BRANCH), None)
    old = there.stdout.strip() if there.returncode == 0 else ""
    if old and _git(repository, "rev-parse", f"{old}^{{tree}}") == tree:
        return old
    parents = ["-p", old] if old else []
    made = _git(repository, "commit-tree", tree, *parents, given=f"Head of {head.size} entries\n\n{head.text}")
    _git(repository, "update-ref", BRANCH, made, old or "0" * len(made))
    return made


def _tag(repository: Path, tag: str, blob: str, head: Checkpoint) -> str:
    message = f"Head of {head.size} entries\n\n{head.text}"
    _git(repository, "tag", "-a", "-F", "-", "--end-of-options", tag, blob, given=message)
    return _git(repository, "rev-parse", f"refs/tags/{tag}")


def _succeeds(repository: Path, *arguments: str) -> bool:
    return _run(repository, arguments, None).returncode == 0


def _git(repository: Path, *arguments: str, given: str | None = None) -> str:
    done = _run(repository, arguments, given)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        says = next((line for line in lines if line.startswith(("fatal:", "error:"))), lines[-1] if lines else "failed")
        raise InputError(f"git {arguments[0]} in {repository}: {says}")
    return done.stdout.removesuffix("\n")


def _run(repository: Path, arguments: tuple[str, ...], given: str | None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    try:
        return subprocess.run(
            ["git", "-C", str(repository), *arguments],
            input=given or "", capture_output=True, text=True, timeout=PATIENCE_S, check=False, env=environment,
        )  # fmt: skip
    except FileNotFoundError:
        raise InputError("git is not installed", "install it, or anchor in another way") from None
    except subprocess.TimeoutExpired:
        raise InputError(f"git {arguments[0]} in {repository} took longer than {PATIENCE_S:g} s") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"git {arguments[0]} in {repository} failed: {error}") from None
