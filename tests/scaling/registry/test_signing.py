"""Signatures: what is signed, by whom, and how every other signature is named."""

import json
import os
import shutil
import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from scaling import records
from scaling.errors import InputError, LedgerError
from scaling.registry import Ledger, Reason, keyfiles, signing
from scaling.registry.keys import Action, Statement
from scaling.registry.signing import PublicKey, Scheme, SignedHead, SigningKey, pae, ssh_files

KEYGEN = shutil.which("ssh-keygen")


@pytest.fixture
def key():
    return SigningKey.generate()


@pytest.fixture
def signed(tmp_path, key):
    """key, prediction, outcome: all signed."""
    book = Ledger(tmp_path / "ledger", key=key)
    enter(book, key)
    told = book.append("prediction", {"value": 0.5}, nonce="p")
    book.append("outcome", {"prediction": told.hash}, nonce="o")
    return book


def enter(book, key, action=Action.NEW, signer=None, **facts):
    writer = Ledger(book.folder, key=signer or key)
    if facts.pop("unsigned", False):
        writer.key = None
    return writer.append("key", Statement(action, key.public, **facts).body)


def forged(book, line, key, **changes):
    """The line with other content, rehashed, signed by `key` (None: unsigned)."""
    record = {**json.loads(line), **changes}
    content = records.canonical({k: v for k, v in record.items() if k not in ("hash", "sig")})
    record["hash"] = records.sha256(b"scaling-entry-v1\0" + content)
    record["sig"] = key.sign(content) if key else None
    return records.canonical(record) + b"\n"


def problems(book):
    return [(p.reason, p.index) for p in book.verify().problems]


def test_dsse_encoding_is_the_published_one():
    assert pae(b"hello world", "http://example.com/HelloWorld") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_ed25519_is_rfc_8032(key):
    """Test 1 of section 7.1: the key of this secret signs the empty message so."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    secret = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    known = SigningKey.of(Ed25519PrivateKey.from_private_bytes(secret))
    assert known.public.hex == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert known.private.sign(b"").hex().startswith("e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901")
    assert secret.hex()[:8] not in repr(known)


def test_a_signed_ledger(signed, key):
    report = signed.verify()
    assert report.ok and not report.warnings
    assert report.signed == {key.public.hex: 3} and report.unsigned == 0
    Ledger(signed.folder).append("amend", {})
    report = signed.verify()
    assert report.ok and report.unsigned == 1
    assert report.warnings == ("unsigned in a ledger with keys: 1 entries (3)",)


def test_a_key_that_the_ledger_does_not_know_signs_nothing(signed, tmp_path):
    before = (signed.folder / "entries.jsonl").read_bytes()
    with pytest.raises(InputError, match="was never entered"):
        Ledger(signed.folder, key=SigningKey.generate()).append("amend", {})
    with pytest.raises(InputError, match="was never entered"):
        Ledger(tmp_path / "other", key=SigningKey.generate()).append("amend", {})
    assert (signed.folder / "entries.jsonl").read_bytes() == before


def test_every_wrong_signature_is_named(signed, key):
    path = signed.folder / "entries.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    stranger = SigningKey.generate()
    sig = json.loads(lines[2])["sig"]
    order = int.from_bytes(bytes.fromhex(sig)[32:], "little") + 2**252 + 27742317777372353535851937790883648493
    malleable = sig[:64] + order.to_bytes(32, "little").hex() if order < 2**256 else "ff" * 64
    for line in (
        forged(signed, lines[2], stranger),
        lines[2].replace(sig.encode(), json.loads(lines[1])["sig"].encode()),  # of another entry
        lines[2].replace(sig.encode(), malleable.encode()),  # S + L: the same signature to a careless reader
    ):
        path.write_bytes(b"".join(lines[:2]) + line)
        (problem,) = signed.verify().problems
        assert (problem.reason, problem.index, problem.line) == (Reason.BAD_SIGNATURE, 2, 3)
        assert "unknown key, or the signature was changed" in problem.message and key.public.id in problem.message
        assert problem.offset == len(lines[0]) + len(lines[1])
    other = SigningKey.of(key.private, Scheme.SSH)  # the right key by the other scheme
    path.write_bytes(b"".join(lines[:2]) + forged(signed, lines[2], other))
    assert problems(signed) == [(Reason.BAD_SIGNATURE, 2)]


def test_flipped_bits_of_a_signed_ledger_are_named(signed):
    path = signed.folder / "entries.jsonl"
    sound = path.read_bytes()
    starts = [0, *(i + 1 for i, byte in enumerate(sound) if byte == 10)]
    with open(path, "r+b", buffering=0) as file:
        signature = sound.rindex(b'"sig":"') + 7
        for position in (*range(0, len(sound), 11), *range(signature, signature + 128)):
            for bit in (0, 4) if position >= signature else (position % 8,):
                os.pwrite(file.fileno(), bytes([sound[position] ^ 1 << bit]), position)
                problem = signed.verify().problems[0]
                os.pwrite(file.fileno(), sound[position : position + 1], position)
                index = sound[:position].count(b"\n")
                assert (problem.index, problem.offset) == (index, starts[index]), (position, bit)
    assert signed.verify().ok


def test_rotation_and_revocation(signed, key):
    new, other = SigningKey.generate(), SigningKey.generate()
    enter(signed, new, Action.ROTATE, signer=key, replaces=key.public.hex)
    with pytest.raises(InputError, match="was replaced by"):
        signed.append("amend", {})
    enter(signed, other, signer=new)
    Ledger(signed.folder, key=other).append("amend", {})
    enter(signed, other, Action.REVOKE, signer=new)
    with pytest.raises(InputError, match="was revoked in entry 6"):
        Ledger(signed.folder, key=other).append("amend", {})
    last = Ledger(signed.folder, key=new).append("amend", {})
    report = signed.verify()
    assert report.ok and not report.warnings
    assert report.signed == {key.public.hex: 4, new.public.hex: 3, other.public.hex: 1}
    path = signed.folder / "entries.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    for forger, says in ((other, "which was revoked in entry 6"), (key, f"which was replaced by {new.public.id}")):
        path.write_bytes(b"".join(lines[:-1]) + forged(signed, last.line, forger))
        (problem,) = signed.verify().problems
        assert (problem.reason, problem.index) == (Reason.BAD_SIGNATURE, 7) and says in problem.message


def test_a_lost_key_is_told_for_ever(signed, key):
    new = SigningKey.generate()
    for facts in ({}, {"unsigned": True}):
        with pytest.raises(InputError, match="without its signature, and does not say that the key was lost"):
            enter(signed, new, Action.ROTATE, replaces=key.public.hex, **facts)
    with pytest.raises(InputError, match="without the signature of a valid key"):
        enter(signed, new)
    enter(signed, new, Action.ROTATE, replaces=key.public.hex, lost=True, reason="disk died")
    Ledger(signed.folder, key=new).append("amend", {})
    report = signed.verify()
    assert report.ok
    assert [f"key {key.public.id} was lost (signed by {new.public.id})" in w for w in report.warnings] == [True]
    enter(signed, new, Action.REVOKE, unsigned=True, lost=True)
    assert "was lost (unsigned)" in signed.verify().warnings[1]
    third = SigningKey.generate()
    enter(signed, third)
    assert "begins anew" in signed.verify().warnings[2]


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"action": Action.REVOKE}, "not valid here"),
        ({"action": Action.ROTATE, "replaces": "ab" * 32}, "not valid here"),
        ({"unsigned": True}, "without the signature of a valid key"),
    ],
)
def test_a_statement_that_nobody_may_make_is_refused_and_named(signed, forge, facts, reason):
    before = (signed.folder / "entries.jsonl").read_bytes()
    with pytest.raises(InputError, match=reason):
        enter(signed, SigningKey.generate(), **facts)
    assert (signed.folder / "entries.jsonl").read_bytes() == before
    other = SigningKey.generate()
    (signed.folder / "entries.jsonl").write_bytes(
        forge(("key", Statement(Action.NEW, other.public).body), ("amend", {}))
    )
    (problem,) = signed.verify().problems
    assert (problem.reason, problem.index) == (Reason.BAD_SIGNATURE, 0) and "without its own" in problem.message


@pytest.mark.parametrize(
    "body",
    [
        {"action": "bribe"},
        {"action": "new"},
        {"action": "new", "public": "AB" * 32, "scheme": "ed25519", "v": 1},
        {"action": "new", "public": "ab" * 32, "scheme": "rsa", "v": 1},
        {"action": "new", "public": "ab" * 32, "scheme": "ed25519", "v": 2},
        {"action": "new", "public": "ab" * 32, "scheme": "ed25519", "v": True},
        {"action": "new", "public": "ab" * 32, "scheme": "ed25519", "v": 1, "lost": False},
        {"action": "new", "public": "ab" * 32, "scheme": "ed25519", "v": 1, "more": 1},
        {"action": "new", "public": "ab" * 32, "scheme": "ed25519", "v": 1, "replaces": "cd" * 32},
        {"action": "rotate", "public": "ab" * 32, "scheme": "ed25519", "v": 1},
        {"action": "rotate", "public": "ab" * 32, "scheme": "ed25519", "v": 1, "replaces": "cd"},
    ],
)
def test_a_malformed_key_entry_is_refused_and_named(tmp_path, body, forge):
    with pytest.raises(InputError, match=r"malformed|no public key"):
        Ledger(tmp_path).append("key", body)
    (tmp_path / "entries.jsonl").write_bytes(forge(("key", body)))
    assert problems(Ledger(tmp_path)) == [(Reason.BAD_SIGNATURE, 0)]


def test_the_owner_rewrites_with_the_real_key(signed, key):
    """Chain and signatures are perfect: a remembered head sees it, nothing else does."""
    held, copy = signed.head(), Ledger(signed.folder.with_name("rewritten"), key=key)
    times = [entry.time for entry in signed]
    enter(copy, key)
    told = copy.append("prediction", {"value": 0.71}, nonce="p")
    copy.append("outcome", {"prediction": told.hash}, nonce="o")
    lines, previous, written = (copy.folder / "entries.jsonl").read_bytes().splitlines(), "0" * 64, []
    for line, time in zip(lines, times, strict=True):  # back-dated to the very microsecond
        record = json.loads(line)
        body = {**record["body"], **({"prediction": json.loads(written[1])["hash"]} if len(written) == 2 else {})}
        written.append(forged(copy, line, key, time=time, prev=previous, body=body))
        previous = json.loads(written[-1])["hash"]
    (signed.folder / "entries.jsonl").write_bytes(b"".join(written))
    report = signed.verify()
    assert report.ok and not report.warnings and report.signed == {key.public.hex: 3}
    (problem,) = signed.verify([held]).problems
    assert problem.reason == Reason.HEAD_NOT_CONSISTENT and "was rewritten" in problem.message


def test_train_first_and_predict_later_gives_another_run(signed, key):
    """Nothing in the ledger sees it; the seeds do: they derive from an entry that did not exist when the run began."""
    from scaling.registry import seed_for

    trained_with = 12345
    told = signed.append("prediction", {"value": 0.71, "run": {"seed": trained_with}})
    assert signed.verify([signed.head()]).ok
    assert seed_for(told.hash, "pretrain") != trained_with
    again = Ledger(signed.folder.with_name("again"), key=key)
    enter(again, key)
    other = again.append("prediction", {"value": 0.71, "run": {"seed": seed_for(told.hash, "pretrain")}})
    assert seed_for(other.hash, "pretrain") != seed_for(told.hash, "pretrain")  # fitting the entry to the run moves it


def test_a_signed_head_has_one_spelling(signed, key):
    head = SignedHead.sign(signed.head(), key)
    assert head.text.startswith(signed.head().text + f"\n— {head.head.origin} ")
    assert SignedHead.parse(head.text) == head
    assert SignedHead.parse(signed.head().text).signatures == ()
    assert SignedHead.parse(head.text).signer([PublicKey("ab" * 32), key.public]) == key.public
    with pytest.raises(LedgerError, match="no key of this ledger made"):
        SignedHead.parse(head.text).signer([SigningKey.generate().public])
    changed = SignedHead.parse(head.text.replace("\n3\n", "\n4\n"))
    with pytest.raises(LedgerError, match="no key of this ledger made"):
        changed.signer([key.public])
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = head.text[:-3] + digits[digits.index(head.text[-3]) + 1] + "=\n"  # other unused bits, the same bytes
    for text in (head.text + "\n", head.text[:-1], other, head.text.replace("— ", "- "), head.text.replace("—", "\n—")):
        with pytest.raises(InputError, match="not a "):
            SignedHead.parse(text)


# Key files


def test_key_files(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "key.pem"
    made = keyfiles.create(path)
    assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700
    assert keyfiles.load(path).public == made.public
    with pytest.raises(InputError, match="never overwritten"):
        keyfiles.create(path)
    for mode in (0o640, 0o604, 0o660):
        path.chmod(mode)
        with pytest.raises(InputError, match=rf"open to others \(mode {mode:04o}\)\. Hint: chmod 600"):
            keyfiles.load(path)
    locked = tmp_path / "locked.pem"
    made = keyfiles.create(locked, "open sesame")
    assert b"ENCRYPTED" in locked.read_bytes()
    with pytest.raises(InputError, match=r"is encrypted.*SCALING_KEY_PASSPHRASE"):
        keyfiles.load(locked)
    assert keyfiles.load(locked, lambda path: "open sesame").public == made.public
    with pytest.raises(InputError, match="passphrase is another"):
        keyfiles.load(locked, lambda path: "wrong")
    monkeypatch.setenv(keyfiles.PASSPHRASE, "open sesame")
    assert keyfiles.load(locked).public == made.public
    for name, content in (("empty", b""), ("garbage", b"x" * 70_000), ("public", b"ssh-ed25519 AAAA\n")):
        (tmp_path / name).write_bytes(content)
        (tmp_path / name).chmod(0o600)
        with pytest.raises(InputError, match=r"could not be read as a key|longer than"):
            keyfiles.load(tmp_path / name)
    for missing in (tmp_path / "none", tmp_path):
        with pytest.raises(InputError, match=r"could not be read|not a plain file"):
            keyfiles.load(missing)


def test_the_default_key_file(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert keyfiles.default_path() == tmp_path / "scaling" / "key.pem"
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert keyfiles.default_path() == tmp_path / ".config" / "scaling" / "key.pem"


def keygen(*arguments, **options):
    return subprocess.run([KEYGEN, *map(str, arguments)], capture_output=True, text=True, check=True, **options)


@pytest.mark.skipif(not KEYGEN, reason="ssh-keygen is not installed")
@pytest.mark.parametrize("passphrase", ["", "horse battery"])
def test_an_ssh_key_signs_and_ssh_keygen_verifies(tmp_path, passphrase):
    path = tmp_path / "id"
    keygen("-q", "-t", "ed25519", "-a", "1", "-N", passphrase, "-C", "", "-f", path)
    key = keyfiles.load(path, lambda path: passphrase)
    assert key.public.scheme == Scheme.SSH
    assert key.public.ssh == (tmp_path / "id.pub").read_text().strip()
    assert key.public.fingerprint in keygen("-l", "-f", path.with_suffix(".pub")).stdout
    book = Ledger(tmp_path / "ledger", key=key)
    enter(book, key)
    told = book.append("prediction", {"value": 0.5})
    assert book.verify().ok and book.verify().signed == {key.public.hex: 2}
    for name, data in ssh_files(told.content, key.public, told.sig, "me").items():
        (tmp_path / name).write_bytes(data)
    check = ["-Y", "verify", "-f", "allowed_signers", "-I", "me", "-n", "scaling-ledger", "-s", "entry.sig"]
    assert "Good" in keygen(*check, cwd=tmp_path, input=(tmp_path / "entry").read_text()).stdout
    with pytest.raises(subprocess.CalledProcessError):
        keygen(*check, cwd=tmp_path, input=(tmp_path / "entry").read_text().replace("0.5", "0.7"))
    with pytest.raises(subprocess.CalledProcessError):
        keygen(*["other" if a == "scaling-ledger" else a for a in check], cwd=tmp_path, input=told.content.decode())
    if not passphrase:  # and what ssh-keygen signs, we would have signed so: Ed25519 has one signature of a message
        made = keygen("-Y", "sign", "-f", path, "-n", "scaling-ledger", cwd=tmp_path, input=pae(told.content).decode())
        assert made.stdout == (tmp_path / "entry.sig").read_text()


@pytest.mark.skipif(not KEYGEN, reason="ssh-keygen is not installed")
def test_another_kind_of_ssh_key_is_refused(tmp_path):
    keygen("-q", "-t", "ecdsa", "-N", "", "-f", tmp_path / "id")
    with pytest.raises(InputError, match="no Ed25519 key"):
        keyfiles.load(tmp_path / "id")
    with pytest.raises(InputError, match="ssh-keygen does not read"):
        ssh_files(b"", SigningKey.generate().public, "00" * 64, "me")


@pytest.mark.parametrize("call", ["open", "fsync", "fchmod"])
def test_a_key_that_does_not_fit_on_the_disk_leaves_no_file(tmp_path, monkeypatch, call):
    def full(*arguments, **options):
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(InputError, match="could not be written: No space left"):
            keyfiles.create(tmp_path / "key.pem")
    assert list(tmp_path.iterdir()) == []
    keyfiles.create(tmp_path / "key.pem")


def test_a_key_by_which_anyone_signs_is_no_key():
    """Ed25519's points of small order, found as multiples of the curve's points; some in their other spellings."""
    weak = {point for y in range(40) for point in torsion(y)}
    assert len(weak) == 8
    spelled = {encoded(x, y) for x, y in weak} | {(signing.P + y).to_bytes(32, "little").hex() for y in (0, 1, 3)}
    for spelling in spelled:
        with pytest.raises(InputError, match="is no public key"):
            PublicKey(spelling)
    identity = Ed25519PublicKey.from_public_bytes(bytes([1]) + bytes(31))
    identity.verify(bytes([1]) + bytes(63), b"anything")  # the attack: a signature that needs no secret
    assert not any(signing.is_weak(SigningKey.generate().public.hex) for _ in range(200))


def torsion(y):
    """L times a point of height y, L the large prime of the group's order: 8 points in all are left."""
    square = (y * y - 1) * pow(signing.D * y * y + 1, -1, signing.P) % signing.P
    x = pow(square, (signing.P + 3) // 8, signing.P)
    x = x if x * x % signing.P == square else x * pow(2, (signing.P - 1) // 4, signing.P) % signing.P
    if x * x % signing.P != square:
        return
    total, step, count = (0, 1), (x, y), 2**252 + 27742317777372353535851937790883648493
    while count:
        total, step, count = added(total, step) if count & 1 else total, added(step, step), count >> 1
    yield total
    yield -total[0] % signing.P, total[1]


def added(a, b):
    (x1, y1), (x2, y2) = a, b
    cross = signing.D * x1 * x2 * y1 * y2 % signing.P
    x3 = (x1 * y2 + x2 * y1) * pow(1 + cross, -1, signing.P) % signing.P
    y3 = (y1 * y2 + x1 * x2) * pow(1 - cross, -1, signing.P) % signing.P
    return x3, y3


def encoded(x, y):
    return (y | (x & 1) << 255).to_bytes(32, "little").hex()
