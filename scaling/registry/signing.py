"""Ed25519 signatures of entries and of heads: what is signed, by which scheme, and how others check it.

An entry's signature is 64 bytes over a message made from PAE = DSSE pre-authentication encoding of JCS(all but hash and
sig). A key signs by one scheme, which its key entry states:

    ed25519  the message is the PAE
    sshsig   the message is "SSHSIG" || namespace || "" || "sha512" || SHA-512(PAE), each after its length (OpenSSH's
             PROTOCOL.sshsig): `ssh-keygen -Y verify` checks it, see `ssh_files`

A head is signed as C2SP signed-note does it: the three lines, an empty one, and "— <name> <base64>" below, by plain
Ed25519 for both schemes (its text cannot pass for an SSHSIG blob).

Sources: github.com/secure-systems-lab/dsse/blob/master/protocol.md; openssh PROTOCOL.sshsig; c2sp.org/signed-note.
"""

from __future__ import annotations

import base64
import binascii
import enum
import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from scaling.errors import InputError, LedgerError
from scaling.registry.entries import HEX64
from scaling.registry.merkle import Checkpoint

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

PAYLOAD_TYPE = "application/vnd.scaling.entry.v1+json"
NAMESPACE = "scaling-ledger"  # of SSH signatures: a signature made for anything else never passes for one of ours
P = 2**255 - 19  # Ed25519's field
D = -121665 * pow(121666, -1, P) % P  # and its curve: -x^2 + y^2 = 1 + D x^2 y^2
NOTE_ED25519 = b"\x01"  # C2SP signed-note's number of the algorithm
MAX_HEAD = 2**20  # bytes of a file that holds one
SHORT = 16  # hex digits of a public key that name it


class Scheme(enum.StrEnum):
    ED25519 = "ed25519"
    SSH = "sshsig"


@dataclass(frozen=True)
class PublicKey:
    """32 bytes, as 64 lower-case hex digits, and the one scheme by which they sign entries."""

    hex: str
    scheme: Scheme = Scheme.ED25519

    def __post_init__(self) -> None:
        if not isinstance(self.hex, str) or not HEX64.match(self.hex):
            raise InputError(f"{self.hex!r:.80} is no public key", "64 lower-case hex digits are needed")
        if is_weak(self.hex):
            raise InputError(f"{self.hex} is no public key: it is a point by which anyone can sign anything")

    @property
    def id(self) -> str:
        return self.hex[:SHORT]

    @property
    def ssh(self) -> str:
        """The key as OpenSSH writes it in one line."""
        return "ssh-ed25519 " + base64.b64encode(_ssh_key(self.hex)).decode()

    @property
    def fingerprint(self) -> str:
        """What `ssh-keygen -l` prints for it."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(_ssh_key(self.hex)).digest()).decode().rstrip("=")

    def signed(self, content: bytes, sig: str) -> bool:
        """Whether `sig` is this key's signature of an entry's content."""
        return self._checks(message(content, self.scheme), bytes.fromhex(sig))

    def _checks(self, data: bytes, signature: bytes) -> bool:
        from cryptography.exceptions import InvalidSignature

        try:
            _loaded(self.hex).verify(signature, data)
        except InvalidSignature:
            return False
        return True


@lru_cache(maxsize=64)
def is_weak(public: str) -> bool:
    """Whether a public key is one of Ed25519's eight points of small order, or not written as its point is (RFC 8032).

    8 Q = 0 by y alone: y = 1 (order 1), y = -1 (order 2), y = 0 (order 4), D y^4 + 2 y^2 = 1 (order 8, doubled: y = 0).
    """
    y = int.from_bytes(bytes.fromhex(public), "little") & (1 << 255) - 1
    return y >= P or y in (0, 1, P - 1) or (D * y**4 + 2 * y * y - 1) % P == 0


@dataclass(frozen=True)
class SigningKey:
    """A private key in memory, never printed, and the public half it signs for."""

    private: Ed25519PrivateKey
    public: PublicKey

    def __repr__(self) -> str:
        return f"SigningKey({self.public.id})"

    @classmethod
    def of(cls, private: Ed25519PrivateKey, scheme: Scheme = Scheme.ED25519) -> SigningKey:
        return cls(private, PublicKey(private.public_key().public_bytes_raw().hex(), scheme))

    @classmethod
    def generate(cls) -> SigningKey:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return cls.of(Ed25519PrivateKey.generate())

    def sign(self, content: bytes) -> str:
        """The signature of an entry's content, as its `sig` holds it."""
        return self.private.sign(message(content, self.public.scheme)).hex()


def pae(content: bytes, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """DSSE v1: "DSSEv1" SP LEN(type) SP type SP LEN(body) SP body; lengths in ASCII decimal."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(content), content)


def message(content: bytes, scheme: Scheme) -> bytes:
    """The bytes that Ed25519 signs for an entry's content."""
    if scheme == Scheme.ED25519:
        return pae(content)
    parts = (NAMESPACE.encode(), b"", b"sha512", hashlib.sha512(pae(content)).digest())
    return b"SSHSIG" + b"".join(map(_string, parts))


def ssh_files(content: bytes, key: PublicKey, sig: str, identity: str) -> dict[str, bytes]:
    """The three files by which OpenSSH checks an entry signed by an SSH key, by name:

    ssh-keygen -Y verify -f allowed_signers -I IDENTITY -n scaling-ledger -s entry.sig < entry
    """
    if key.scheme != Scheme.SSH:
        raise InputError(f"key {key.id} signs by {key.scheme}, which ssh-keygen does not read", "use an SSH key")
    signature = _string(b"ssh-ed25519") + _string(bytes.fromhex(sig))
    fields = (_ssh_key(key.hex), NAMESPACE.encode(), b"", b"sha512", signature)
    blob = b"SSHSIG" + (1).to_bytes(4, "big") + b"".join(map(_string, fields))
    text = base64.b64encode(blob).decode()
    lines = [text[i : i + 70] for i in range(0, len(text), 70)]
    armored = "\n".join(["-----BEGIN SSH SIGNATURE-----", *lines, "-----END SSH SIGNATURE-----", ""])
    signers = f'{identity} namespaces="{NAMESPACE}" {key.ssh}\n'
    return {"entry": pae(content), "entry.sig": armored.encode(), "allowed_signers": signers.encode()}


@dataclass(frozen=True)
class SignedHead:
    """A checkpoint with the signatures below it (key name, 4-byte hash of the key, signature); there may be none."""

    head: Checkpoint
    signatures: tuple[tuple[str, bytes, bytes], ...] = ()

    @classmethod
    def sign(cls, head: Checkpoint, key: SigningKey | None) -> SignedHead:
        if key is None:
            return cls(head)
        name = head.origin
        return cls(head, ((name, _note_hash(name, key.public.hex), key.private.sign(head.text.encode())),))

    @property
    def text(self) -> str:
        lines = [f"— {name} {base64.b64encode(tag + sig).decode()}\n" for name, tag, sig in self.signatures]
        return self.head.text + ("\n" + "".join(lines) if lines else "")

    @classmethod
    def parse(cls, text: str) -> SignedHead:
        """Read it back; any other spelling of the same head or signature is refused (base64 has several)."""
        body, empty, notes = text.partition("\n\n")
        head = Checkpoint.parse(body + "\n" if empty else text)
        found = []
        for line in notes.splitlines():
            match = re.fullmatch(r"— ([^\s+]+) ([A-Za-z0-9+/=]+)", line)
            try:
                raw = base64.b64decode(match[2], validate=True) if match else b""
            except binascii.Error:
                raw = b""
            if not match or len(raw) < 5:
                raise InputError(f"not a signature of a head: {line[:120]!r}")
            found.append((match[1], raw[:4], raw[4:]))
        signed = cls(head, tuple(found))
        if signed.text != text:
            raise InputError("not a checkpoint: its signatures are not written as they should be")
        return signed

    def signer(self, keys: list[PublicKey]) -> PublicKey | None:
        """Which of the keys signed this head (None: it is unsigned). A signature by none of them is an error."""
        for name, tag, sig in self.signatures:
            for key in keys:
                if tag == _note_hash(name, key.hex) and key._checks(self.head.text.encode(), sig):
                    return key
        if self.signatures:
            raise LedgerError(
                f"the head of {self.head.size} entries bears a signature that no key of this ledger made",
                "it was changed, or signed by a key that was never entered",
            )
        return None


def _note_hash(name: str, public: str) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + NOTE_ED25519 + bytes.fromhex(public)).digest()[:4]


def _string(data: bytes) -> bytes:
    """SSH's wire format of a string: its length in four bytes, then its bytes."""
    return len(data).to_bytes(4, "big") + data


def _ssh_key(public: str) -> bytes:
    return _string(b"ssh-ed25519") + _string(bytes.fromhex(public))


@lru_cache(maxsize=64)
def _loaded(public: str) -> Ed25519PublicKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    return Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))


def as_private(loaded: Any, where: str) -> Ed25519PrivateKey:
    """The key if it is of the one kind that signs here."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if not isinstance(loaded, Ed25519PrivateKey):
        raise InputError(f"{where} is no Ed25519 key", "make one with `scaling key new` or `ssh-keygen -t ed25519`")
    return loaded
