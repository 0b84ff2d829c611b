"""Outside clocks: a real authority, real repositories, proofs built by the format; every forgery is named."""

import hashlib
import json
import os
import shutil
import subprocess
import threading
import zlib
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from told import told

from scaling.__main__ import main
from scaling.errors import InputError
from scaling.labels import NO_CLOCK, UNBOUND, UNCHECKED
from scaling.registry import Ledger, Reason, anchors, git_anchor, opentimestamps, rfc3161
from scaling.registry.anchors import Anchor, Clocks, Method, Standing
from scaling.registry.keys import Action, Statement
from scaling.registry.merkle import Checkpoint
from scaling.registry.signing import SigningKey

CONFIGURATION = """
[req]
distinguished_name = name
prompt = no
[name]
CN = unused
[root]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[signer]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = critical, timeStamping
[issuer]
database = index
new_certs_dir = .
rand_serial = yes
certificate = root.pem
private_key = root.key
default_md = sha256
policy = any
[any]
commonName = supplied
[authority]
serial = serial
signer_cert = signer.pem
signer_key = signer.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
accuracy = secs:1
ess_cert_id_alg = sha256
"""


class Authority:
    """A time-stamp authority of its own: a root, a certificate under it, and `openssl ts`."""

    def __init__(self, folder, name, dates=()):
        """`dates`: first and last moment of the signer's certificate, if not 30 days from now."""
        self.folder, self.name = folder, name
        folder.mkdir()
        (folder / "a.cnf").write_text(CONFIGURATION)
        for key in ("root", "signer"):
            self.run("ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", f"{key}.key")
        self.run("req", "-x509", "-new", "-key", "root.key", "-config", "a.cnf", "-extensions", "root",
                 "-subj", f"/CN={name} root", "-days", "30", "-out", "root.pem")  # fmt: skip
        self.run("req", "-new", "-key", "signer.key", "-config", "a.cnf", "-subj", f"/CN={name}", "-out", "signer.csr")
        self.run("x509", "-req", "-in", "signer.csr", "-CA", "root.pem", "-CAkey", "root.key", "-CAcreateserial",
                 "-extfile", "a.cnf", "-extensions", "signer", "-days", "30", "-out", "signer.pem")  # fmt: skip
        if dates:  # only `openssl ca` takes dates
            (folder / "index").touch()
            within = ("-startdate", dates[0], "-enddate", dates[1])
            self.run("ca", "-batch", "-config", "a.cnf", "-name", "issuer", "-extensions", "signer", "-notext", *within,
                     "-in", "signer.csr", "-out", "signer.pem")  # fmt: skip

    def run(self, *arguments):
        done = subprocess.run(["openssl", *arguments], cwd=self.folder, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def reply(self, request):
        (self.folder / "q.tsq").write_bytes(request)
        self.run("ts", "-reply", "-config", "a.cnf", "-section", "authority", "-queryfile", "q.tsq", "-out", "r.tsr")
        return (self.folder / "r.tsr").read_bytes()

    @property
    def roots(self):
        return (self.folder / "root.pem").read_bytes()


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed: no time-stamp authority to ask")
    pytest.importorskip("rfc3161_client", reason="the extra `clocks` is not installed")
    return Authority(tmp_path_factory.mktemp("tsa") / "one", "Test Authority")


@pytest.fixture(scope="module")
def stranger(authority, tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tsa") / "two", "Another")


@pytest.fixture
def stamped(book, authority):
    """The ledger with an RFC 3161 anchor entered."""
    request = rfc3161.new_request(book.head())
    return anchors.append(book, rfc3161.anchor(book, request, authority.reply(request)))


def only(book, **clocks):
    (checked,), known = anchors.check_all(book, Clocks(**clocks))
    return checked.finding, known


def test_a_timestamp_is_proven_under_its_root_and_not_without(book, stamped, authority, stranger):
    found, known = only(book, tsa_roots=authority.roots)
    assert found.standing == Standing.PROVEN and "CN=Test Authority" in found.says and "neither by whom" in found.says
    assert [k.by for k in known] == [3] and known[0].not_after == found.not_after
    assert anchors.moment(found.not_after) <= anchors.moment(stamped.time) + anchors.CLOCK_TOLERANCE
    for roots, why in ((None, "no roots were given"), (stranger.roots, "none of the roots given")):
        found, known = only(book, tsa_roots=roots)
        assert found.standing == Standing.NOT_PROVEN and why in found.says
        assert found.not_after is None and known[0].not_after is None
    assert only(book, tsa_roots=stranger.roots + authority.roots)[0].standing == Standing.PROVEN
    assert book.verify().ok


@pytest.mark.parametrize(("first", "last"), [("2020", "2021"), ("2098", "2099")])
def test_a_certificate_that_was_not_valid_then_is_told_as_that(book, authority, tmp_path, first, last):
    """And not as another authority's, or a forgery."""
    other = Authority(tmp_path / "other", "Late Authority", (f"{first}0101000000Z", f"{last}0101000000Z"))
    why = f"valid from {first}-01-01 until {last}-01-01 only, and not when"
    request = rfc3161.new_request(book.head())
    reply = other.reply(request)
    with pytest.raises(InputError, match=why):
        rfc3161.anchor(book, request, reply, tsa_roots=other.roots)
    anchors.append(book, rfc3161.anchor(book, request, reply))
    found, _ = only(book, tsa_roots=other.roots)
    assert found.standing == Standing.NOT_PROVEN and why in found.says and "forged" not in found.says


def test_a_request_is_what_openssl_reads(book, authority, tmp_path):
    head = book.head()
    (tmp_path / "q.tsq").write_bytes(rfc3161.request_bytes(head.text.encode(), 0x1234))
    text = authority.run("ts", "-query", "-in", str(tmp_path / "q.tsq"), "-text").decode()
    assert "sha256" in text and "Nonce: 0x1234" in text and "Certificate required: yes" in text
    (tmp_path / "head").write_text(head.text)
    again = authority.run("ts", "-query", "-data", str(tmp_path / "head"), "-sha256", "-cert", "-no_nonce")
    assert hashlib.sha256(head.text.encode()).digest() in again


def test_every_byte_of_a_reply_counts(book, stamped, authority):
    """A changed reply is never proven at another time or for another text. (Flips that still read as sound change
    nothing that is signed.)"""
    anchor = Anchor.from_entry(stamped)
    blobs = {d: book.get_blob(d) for d in anchor.blobs}
    right = rfc3161.check(anchor, blobs.__getitem__, authority.roots)
    digest = anchor.evidence["reply"]
    reply = blobs[digest]
    for at in range(0, len(reply), 3):
        changed = bytes([*reply[:at], reply[at] ^ 0x10, *reply[at + 1 :]])
        try:
            found = rfc3161.check(anchor, {**blobs, digest: changed}.__getitem__, authority.roots)
        except InputError:
            continue
        assert found.standing != Standing.PROVEN or found.not_after == right.not_after
    for cut in range(0, len(reply), 61):
        with pytest.raises(InputError):
            rfc3161.check(anchor, {**blobs, digest: reply[:cut]}.__getitem__, authority.roots)


def test_a_reply_must_answer_the_request(book, authority):
    request, other = (rfc3161.new_request(book.head()) for _ in range(2))
    reply = authority.reply(request)
    with pytest.raises(InputError, match="nonce or digest"):
        rfc3161.anchor(book, other, reply)
    foreign = rfc3161.request_bytes(b"another text", 7)
    with pytest.raises(InputError, match="of no head"):
        rfc3161.anchor(book, foreign, authority.reply(foreign))
    for reply in (b"", b"<html>", authority.roots):
        with pytest.raises(InputError, match="no RFC 3161 reply"):
            rfc3161.anchor(book, request, reply)
    assert not list((book.folder / "blobs").glob("*")), "nothing may be stored of what is refused"


def test_an_older_head_may_be_anchored_later(book, authority):
    request = rfc3161.new_request(book.head())
    book.append("prediction", {"value": 2})
    made = rfc3161.anchor(book, request, authority.reply(request), tsa_roots=authority.roots)
    anchors.append(book, made)
    assert made.head.size == 3
    _, known = only(book, tsa_roots=authority.roots)
    assert [k.not_after is not None for k in known] == [True, False]  # the newer one is not covered
    assert anchors.append(book, made).seq == 4  # the same evidence again is the same entry


def test_a_rewritten_ledger_does_not_keep_its_anchor(book, stamped, authority, forge, path):
    """The key's owner rewrites everything and keeps the timestamp: it is of another head."""
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    contents, nonces, times = (
        [("prediction", {"compute_flop": 1e18, "value": 0.71})],
        list("abcd"),
        [n["time"] for n in lines],
    )
    name = json.loads(forge(*contents, nonces=nonces, times=times))["hash"]
    contents += [("start", {"prediction": name}), ("outcome", {"prediction": name, "value": 0.71})]
    forged = forge(*contents, ("anchor", lines[3]["body"]), nonces=nonces, times=times)
    path.write_bytes(forged)
    (book.folder / "heads.jsonl").unlink(missing_ok=True)
    report = Ledger(book.folder).verify()
    assert [str(p.reason) for p in report.problems] == ["head not consistent"]
    assert "the anchor in entry 3" in report.problems[0].message and "rewritten" in report.problems[0].message
    found, known = only(Ledger(book.folder), tsa_roots=authority.roots)
    assert found.standing == Standing.BAD and known[0].not_after is None


def test_entries_dated_after_the_outside_clock_are_told(book, authority, path, forge):
    path.write_bytes(forge(("prediction", {"value": 1}), times=["2099-01-01T00:00:00.000000Z"]))
    late = Ledger(book.folder)
    request = rfc3161.new_request(late.head())
    anchors.append(late, rfc3161.anchor(late, request, authority.reply(request)))
    found, _ = only(late, tsa_roots=authority.roots)
    assert found.standing == Standing.PROVEN and "clock ran ahead" in found.says


@pytest.mark.parametrize(
    "change",
    [
        {"method": "astrology"},
        {"v": 2},
        {"v": True},
        {"extra": 1},
        {"head": {"origin": "o", "size": 1}},
        {"head": {"origin": "o", "size": 99, "root": "0" * 64}},
        {"head": {"origin": "two words", "size": 1, "root": "0" * 64}},
        {"head": {"origin": "o", "size": 1.5, "root": "0" * 64}},
        {"evidence": []},
        {"blobs": ["x"]},
    ],
)
def test_a_malformed_anchor_is_named(book, change):
    body = {**Anchor(Method.GIT, book.head(), {"object": "a" * 40}).body, **change}
    if "blobs" in change:
        with pytest.raises(InputError):
            book.append("anchor", body)
        return
    book.append("anchor", body)
    (problem,) = book.verify().problems
    assert problem.reason == "anchor missing or bad" and problem.index == 3


# --- git


@pytest.fixture
def repository(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    made = tmp_path / "repository"
    git(tmp_path, "init", "--quiet", str(made))
    git(made, "config", "user.name", "A")
    git(made, "config", "user.email", "a@example.org")
    return made


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A remote reached as another machine is, over ssh: the transport of git, with a shell in place of the network."""
    git(tmp_path, "init", "--quiet", "--bare", str(tmp_path / "theirs.git"))
    script = tmp_path / "ssh.sh"
    script.write_text('#!/bin/sh\nfor last; do :; done\nexec sh -c "$last"\n')
    script.chmod(0o755)
    monkeypatch.setenv("GIT_SSH", str(script))
    monkeypatch.setenv("GIT_SSH_VARIANT", "simple")
    return f"ssh://git@example.org{tmp_path}/theirs.git"


def git(folder, *arguments):
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("tag", ["", "head-3"])
def test_git_counts_only_where_somebody_else_has_it(book, repository, elsewhere, tmp_path, tag):
    alone = git_anchor.anchor(repository, book.head(), tag=tag)
    assert alone.evidence["pushed"] == [] and alone.evidence["form"] == ("tag" if tag else "commit")
    anchors.append(book, alone)
    found, _ = only(book, repository=repository)
    assert found.standing == Standing.NOT_PROVEN and "nobody else" in found.says
    ref = alone.evidence["ref"]
    git(tmp_path, "init", "--quiet", "--bare", str(tmp_path / "own.git"))
    git(repository, "remote", "add", "own", str(tmp_path / "own.git"))
    git(repository, "push", "--quiet", "own", f"{ref}:{ref}")
    found, _ = only(book, repository=repository)
    assert found.standing == Standing.NOT_PROVEN and "is on this machine" in found.says
    git(repository, "remote", "add", "theirs", elsewhere)
    git(repository, "push", "--quiet", "theirs", f"{ref}:{ref}")
    found, known = only(book, repository=repository)
    assert found.standing == Standing.PROVEN and "example.org" in found.says and "prove nothing" in found.says
    assert found.not_after is None and known[0].not_after is None  # git's dates are no clock
    assert only(book)[0].standing == Standing.NOT_PROVEN


def test_an_anchor_that_proves_nothing_does_not_silence_the_label(tmp_path, repository, elsewhere, capsys):
    """The attack: a commit pushed to nobody, between the prediction and its run. Pushed to somebody else it counts."""
    ledger = Ledger(tmp_path / "ledger")
    entry = told(ledger, None)
    at, git_at = ["--ledger", str(ledger.folder)], ["--git", str(repository)]
    assert main(["ledger", "anchor", *git_at, *at]) == 0
    assert main(["resolve", "latest", "--value", "0.5", *at]) == 0
    unchecked = UNCHECKED.format(entry.seq + 1)
    assert unchecked in capsys.readouterr().err
    for words, label in (([], unchecked), (git_at, NO_CLOCK)):
        assert main(["verify", *words, *at]) == 0 and label in capsys.readouterr().err
    for verb in (["scoreboard", str(ledger.folder)], ["export", "latest", "--to", "osf", *at]):
        assert main(verb) == 0 and unchecked in "".join(capsys.readouterr())
    git(repository, "remote", "add", "theirs", elsewhere)
    git(repository, "push", "--quiet", "theirs", "scaling-heads")
    assert main(["verify", *git_at, *at]) == 0
    said = capsys.readouterr().err
    assert UNBOUND in said and NO_CLOCK not in said and unchecked not in said


def test_an_anchor_from_before_the_prediction_says_that_it_does_not_cover_it(tmp_path, authority, capsys):
    """The attack: a head of a key alone is stamped, the prediction entered after, and the anchor shown beside it."""
    ledger = Ledger(tmp_path / "ledger")
    key = SigningKey.generate()
    ledger.key = key
    ledger.append("key", Statement(Action.NEW, key.public).body)
    ledger.key = None
    at, request, reply = ["--ledger", str(ledger.folder)], tmp_path / "q.tsq", tmp_path / "r.tsr"
    assert main(["ledger", "anchor", "--write-request", str(request), *at]) == 0
    assert "it covers no prediction" in capsys.readouterr().err
    reply.write_bytes(authority.reply(request.read_bytes()))
    entry = told(ledger, None)
    assert main(["ledger", "anchor", "--request", str(request), "--reply", str(reply), *at]) == 0
    said = f"it does not cover the newest prediction (entry {entry.seq}): its head is of the first 1 entries"
    assert said in capsys.readouterr().err
    assert main(["resolve", "latest", "--value", "0.5", *at]) == 0
    assert NO_CLOCK in capsys.readouterr().err
    assert main(["ledger", "anchor", "--write-head", str(tmp_path / "head.txt"), *at]) == 0
    assert "cover" not in capsys.readouterr().err


def test_later_heads_follow_on_the_branch_and_the_tree_is_left_alone(book, repository, elsewhere):
    git(repository, "remote", "add", "theirs", elsewhere)
    first = git_anchor.anchor(repository, book.head(), push="theirs")
    assert first.evidence["pushed"] == [elsewhere]
    assert git_anchor.anchor(repository, book.head()).evidence["object"] == first.evidence["object"]
    anchors.append(book, first)
    second = git_anchor.anchor(repository, book.head(), push="theirs")
    assert git(repository, "rev-parse", f"{second.evidence['object']}^") == first.evidence["object"]
    assert git(repository, "status", "--porcelain") == ""
    assert only(book, repository=repository)[0].standing == Standing.PROVEN  # the tip came after it


def test_a_commit_of_another_text_is_bad_and_one_not_there_proves_nothing(book, repository):
    made = git_anchor.anchor(repository, book.head())
    other = git_anchor.anchor(repository, replace(book.head(), root=bytes(32)))
    swapped = Anchor(Method.GIT, made.head, {**made.evidence, "object": other.evidence["object"]})
    found = anchors.check(book, swapped, Clocks(repository=repository))
    assert found.standing == Standing.BAD and "does not hold the head" in found.says
    gone = Anchor(Method.GIT, made.head, {**made.evidence, "object": "a" * 40})
    assert anchors.check(book, gone, Clocks(repository=repository)).standing == Standing.NOT_PROVEN
    for evidence in ({}, {**made.evidence, "object": "--upload-pack=x"}, {**made.evidence, "ref": "-x"}):
        assert anchors.check(book, Anchor(Method.GIT, made.head, evidence), Clocks()).standing == Standing.BAD


COMMANDS = {
    "core.sshCommand": "{run}; git-upload-pack {local} #",
    "core.fsmonitor": "{run}",
    "core.hooksPath": "{hooks}",
    "gpg.program": "{run}",
    "tag.gpgSign": "true",
    "commit.gpgSign": "true",
    "credential.helper": "!{run}",
    "core.askPass": "{run}",
    "core.gitProxy": "{run}",
    "core.pager": "{run}",
    "core.editor": "{run}",
    "protocol.ext.allow": "always",
    "remote.theirs.uploadpack": "{run};git-upload-pack",
    "remote.theirs.receivepack": "{run};git-receive-pack",
    "remote.theirs.promisor": "true",
    "remote.vcs.url": "x",
    "remote.vcs.vcs": "ext",
    "remote.ext.url": "ext::{run}",
    "url.ext::{run}.insteadOf": "https://example.invalid/",
    "remote.led.url": "https://example.invalid/log.git",
}


def hand_over(repository, tmp_path):
    """A repository in which everything that git lets a configuration name leaves a mark when it is run."""
    mark, script, hooks = tmp_path / "mark", tmp_path / "run.sh", tmp_path / "hooks"
    script.write_text(f"#!/bin/sh\necho $0 $* >> {mark}\nexit 1\n")
    script.chmod(0o755)
    hooks.mkdir()
    for folder in (hooks, repository / ".git" / "hooks"):
        for name in ("reference-transaction", "pre-push", "pre-commit", "post-update", "post-index-change"):
            folder.mkdir(exist_ok=True)
            (folder / name).write_bytes(script.read_bytes())
            (folder / name).chmod(0o755)
    for name, value in COMMANDS.items():
        words = {"run": script, "hooks": hooks, "local": tmp_path / "theirs.git"}
        git(repository, "config", name.format(**words), value.format(**words))
    return mark


@pytest.mark.parametrize("tag", ["", "head-3"])
def test_no_command_of_a_repository_that_was_handed_over_is_run(book, repository, elsewhere, tmp_path, tag):
    git(repository, "remote", "add", "theirs", elsewhere)
    mark = hand_over(repository, tmp_path)
    made = git_anchor.anchor(repository, book.head(), tag=tag, push="theirs")
    assert made.evidence["pushed"] == [elsewhere]
    anchors.append(book, made)
    found, _ = only(book, repository=repository)
    assert found.standing == Standing.PROVEN, found.says
    gone = Anchor(Method.GIT, made.head, {**made.evidence, "object": "a" * 40})
    assert anchors.check(book, gone, Clocks(repository=repository)).standing == Standing.NOT_PROVEN
    assert not mark.exists(), mark.read_text()


@pytest.mark.parametrize("way", ["ssh command", "other address", "twice another"])
def test_an_address_of_someone_else_that_leads_home_proves_nothing(book, repository, tmp_path, monkeypatch, way):
    """The attack: a remote of somebody else's by name, and a configuration that turns it into a folder of ours."""
    monkeypatch.setenv("GIT_SSH_COMMAND", "false")  # no network: the address itself leads nowhere
    local = tmp_path / "fake.git"
    git(tmp_path, "init", "--quiet", "--bare", str(local))
    made = git_anchor.anchor(repository, book.head(), push=str(local))
    anchors.append(book, made)
    git(repository, "remote", "add", "origin", "git@example.invalid:me/log.git")
    if way == "ssh command":
        git(repository, "config", "core.sshCommand", f"sh -c 'git-upload-pack {local}'")
    elif way == "other address":
        git(repository, "config", f"url.{local}.insteadOf", "git@example.invalid:me/log.git")
    else:
        git(repository, "remote", "set-url", "origin", "x:me/log.git")
        git(repository, "config", "url.https://example.invalid/.insteadOf", "x:")
        git(repository, "config", f"url.{local}.insteadOf", "https://example.invalid/me/log.git")
    found, _ = only(book, repository=repository)
    assert found.standing == Standing.NOT_PROVEN and "could not be asked" in found.says
    assert "is not used" in found.says


def forge_object(repository, name, kind, data):
    path = repository / ".git" / "objects" / name[:2] / name[2:]
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(zlib.compress(b"%s %d\0" % (kind.encode(), len(data)) + data))


@pytest.mark.parametrize("what", ["commit", "blob", "parent"])
def test_objects_that_do_not_have_their_hash_are_seen(book, repository, elsewhere, what):
    """The attack: an old commit of somebody else's, and here, under its name, other bytes."""
    other = git_anchor.anchor(repository, replace(book.head(), root=bytes(32)))
    git(repository, "push", "--quiet", elsewhere, git_anchor.BRANCH)
    git(repository, "remote", "add", "theirs", elsewhere)
    name = other.evidence["object"]
    git(repository, "update-ref", "-d", git_anchor.BRANCH)
    own = git_anchor.anchor(repository, book.head())
    swapped = Anchor(Method.GIT, book.head(), {**other.evidence})
    if what == "commit":
        data = subprocess.run(["git", "cat-file", "commit", own.evidence["object"]], cwd=repository,
                              capture_output=True, check=True).stdout  # fmt: skip
        forge_object(repository, name, "commit", data)
    elif what == "blob":
        forge_object(repository, git(repository, "rev-parse", f"{name}:head"), "blob", book.head().text.encode())
    else:  # the tip that they have is told to come after ours
        data = git(repository, "cat-file", "commit", name).replace(
            "author", f"parent {own.evidence['object']}\nauthor", 1
        )
        forge_object(repository, name, "commit", data.encode())
        swapped = own
    found = anchors.check(book, swapped, Clocks(repository=repository))
    assert found.standing == Standing.BAD and "does not have the bytes of its name" in found.says, found.says


@pytest.mark.parametrize(
    ("url", "elsewhere", "shown"),
    [
        ("https://user:secret@example.org/x.git", True, "https://example.org/x.git"),
        ("ssh://git@example.org/x.git", True, "ssh://git@example.org/x.git"),
        ("git@example.org:x/y.git", True, "git@example.org:x/y.git"),
        ("/srv/x.git", False, "/srv/x.git"),
        ("../x.git", False, "../x.git"),
        ("file:///srv/x.git", False, "file:///srv/x.git"),
        ("ssh://git@localhost/x.git", False, "ssh://git@localhost/x.git"),
        ("git@127.0.0.1:x.git", False, "git@127.0.0.1:x.git"),
        ("ext::sh -c x", False, "ext::sh -c x"),
        ("C:/x.git", False, "C:/x.git"),
    ],
)
def test_whose_machine_an_address_is_of(url, elsewhere, shown):
    assert git_anchor.is_elsewhere(url) == elsewhere
    assert git_anchor.without_secret(url) == shown


# --- OpenTimestamps

PENDING, BITCOIN = opentimestamps.PENDING, opentimestamps.BITCOIN


def number(value):
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def block(data):
    return number(len(data)) + data


def ots(text, steps):
    return opentimestamps.MAGIC + b"\x01\x08" + hashlib.sha256(text).digest() + steps


def attest(tag, payload):
    return b"\x00" + tag + block(payload)


CALENDAR = attest(PENDING, block(b"https://alice.btc.calendar.opentimestamps.org"))


def test_an_ots_file_leads_to_the_root_of_a_block(book):
    """Append, prepend and two hashes, computed here by hand."""
    text = book.head().text.encode()
    steps = b"\xff" + CALENDAR + b"\xf0" + block(b"salt") + b"\x08\xf1" + block(b"left") + b"\x08\x08"
    made = opentimestamps.anchor(book, ots(text, steps + attest(BITCOIN, number(358_391))))
    inner = hashlib.sha256(hashlib.sha256(text).digest() + b"salt").digest()
    root = hashlib.sha256(hashlib.sha256(b"left" + inner).digest()).digest()[::-1].hex()
    anchors.append(book, made)
    found, known = only(book)
    assert f"root {root} of Bitcoin block 358391" in found.says and "NOT verified here" in found.says
    assert "alice.btc" in found.says and found.standing == Standing.NOT_PROVEN and known[0].not_after is None
    assert book.verify().ok


def test_a_pending_ots_file_is_no_proof_yet(book):
    anchors.append(book, opentimestamps.anchor(book, ots(book.head().text.encode(), CALENDAR)))
    assert "no proof yet" in only(book)[0].says


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (lambda t: b"", "ends at byte 0"),
        (lambda t: b"x" * 100, "does not begin as one"),
        (lambda t: ots(t, CALENDAR).replace(b"\x94\x01\x08", b"\x94\x02\x08"), "version 2"),
        (lambda t: ots(t, CALENDAR).replace(b"\x94\x01\x08", b"\x94\x01\x03"), "kind 0x03"),
        (lambda t: ots(t, CALENDAR) + b"\x00", "1 bytes after its end"),
        (lambda t: ots(b"another", CALENDAR), "of no head"),
        (lambda t: ots(t, b"\x42" + CALENDAR), "unknown operation 0x42"),
        (lambda t: ots(t, b"\xf0\x00" + CALENDAR), "0 bytes"),
        (lambda t: ots(t, b"\xf0\x81\x00" + CALENDAR), "shortest form"),
        (lambda t: ots(t, b"\x08" * 300 + CALENDAR), "256 operations"),
        (lambda t: ots(t, b"\xf3" * 8 + CALENDAR), "8192 bytes"),
        (lambda t: ots(t, attest(PENDING, block(b"https://x/?q"))), "address that is none"),
        (lambda t: ots(t, attest(BITCOIN, b"\x01\x01")), "after its end"),
        (lambda t: ots(t, b"\x02" + attest(BITCOIN, b"\x01")), "20 bytes for the Merkle root"),
    ],
)
def test_a_malformed_ots_file_is_refused(book, data, says):
    with pytest.raises(InputError, match=says):
        opentimestamps.anchor(book, data(book.head().text.encode()))
    assert not list((book.folder / "blobs").glob("*"))


def test_every_cut_of_an_ots_file_is_refused(book):
    whole = ots(book.head().text.encode(), b"\x08" + CALENDAR)
    for cut in range(len(whole)):
        with pytest.raises(InputError):
            opentimestamps.read(whole[:cut])


# --- the verb


def test_the_verb_with_files_only(book, authority, tmp_path, capsys):
    at = ["--ledger", str(book.folder)]
    q, r, roots = (tmp_path / name for name in ("q.tsq", "r.tsr", "roots.pem"))
    roots.write_bytes(authority.roots)
    assert main(["ledger", "anchor", "--write-request", str(q), *at]) == 0
    assert len(list(book)) == 3
    r.write_bytes(authority.reply(q.read_bytes()))
    assert main(["ledger", "anchor", "--request", str(q), "--reply", str(r), "--tsa-roots", str(roots), *at]) == 0
    assert "proven: the authority CN=Test Authority" in capsys.readouterr().out
    head = tmp_path / "head.txt"
    assert main(["ledger", "anchor", "--write-head", str(head), *at]) == 0
    Checkpoint.parse(head.read_text())
    (tmp_path / "head.ots").write_bytes(ots(head.read_bytes(), CALENDAR))
    assert main(["ledger", "anchor", "--ots", str(tmp_path / "head.ots"), *at]) == 0
    assert len(list(book)) == 5 and book.verify().ok


def test_the_verb_asks_an_authority(book, authority, stranger, tmp_path, capsys):
    class Answers(BaseHTTPRequestHandler):
        def do_POST(self):
            assert self.headers["Content-Type"] == "application/timestamp-query"
            reply = authority.reply(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200 if self.path == "/tsr" else 503)
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, *arguments):
            pass

    (tmp_path / "other.pem").write_bytes(stranger.roots)
    at = ["--ledger", str(book.folder)]
    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        assert main(["ledger", "anchor", "--tsa", f"{address}/busy", *at]) == 1
        assert (
            main(["ledger", "anchor", "--tsa", f"{address}/tsr", "--tsa-roots", str(tmp_path / "other.pem"), *at]) == 1
        )
        assert len(list(book)) == 3
        assert main(["ledger", "anchor", "--tsa", f"{address}/tsr", *at]) == 0
        server.shutdown()
    assert len(list(book)) == 4
    assert "leads to none" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ([], 2, "give one of"),
        (["--ots", "a", "--git", "."], 2, "give one of"),
        (["--reply", "a"], 2, "belong together"),
        (["--ots", "a", "--push", "origin"], 2, "go with --git"),
        (["--ots", "missing.ots"], 1, "missing.ots"),
        (["--git", "missing"], 1, "missing"),
        (["--tsa", "ftp://example.org"], 1, "http(s) address"),
    ],
)
def test_bad_input_enters_nothing(book, tmp_path, monkeypatch, capsys, arguments, code, says):
    monkeypatch.chdir(tmp_path)
    assert main(["ledger", "anchor", *arguments, "--ledger", str(book.folder)]) == code
    err = capsys.readouterr().err
    assert says in err and "Traceback" not in err
    assert len(list(book)) == 3


@pytest.mark.parametrize(
    "spoil", [lambda p: p.unlink(), lambda p: p.write_bytes(b"torn"), lambda p: p.write_bytes(b"")]
)
@pytest.mark.parametrize("part", ["request", "reply", "proof"])
def test_lost_evidence_says_what_it_proved_and_what_to_do(book, request, tmp_path, capsys, part, spoil):
    if part == "proof":
        entry = anchors.append(book, opentimestamps.anchor(book, ots(book.head().text.encode(), CALENDAR)))
    else:
        entry = request.getfixturevalue("stamped")
    (path,) = (book.folder / "blobs").glob(f"{entry.body['evidence'][part]}.*")
    whole = path.read_bytes()
    spoil(path)
    (problem,) = book.verify().problems
    assert (problem.reason, problem.index, problem.line) == (Reason.ANCHOR, 3, 4) and problem.offset
    for words in (
        f"the {part} of this",
        f"blobs/{path.name}",
        "the first 3 entries",
        "restore the file",
        "ledger anchor --",
    ):
        assert words in problem.message
    assert main(["verify", "--ledger", str(book.folder)]) == 4
    assert "anchor missing or bad: entry 3 (line 4, byte" in capsys.readouterr().out
    path.write_bytes(whole)
    assert book.verify().ok


def test_without_the_extra_it_says_what_to_install(book, authority, monkeypatch, stamped):
    import sys

    monkeypatch.setitem(sys.modules, "rfc3161_client", None)
    found, _ = only(book)
    assert found.standing == Standing.NOT_PROVEN and "scaling[clocks]" in found.says
    with pytest.raises(InputError, match="not installed"):
        only(book, tsa_roots=authority.roots)
