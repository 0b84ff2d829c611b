"""Private keys on disk: PKCS8 PEM of our own making, or an OpenSSH key, read only if nobody else can read them."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from scaling import records
from scaling.errors import InputError
from scaling.registry.signing import Scheme, SigningKey, as_private

PASSPHRASE = "SCALING_KEY_PASSPHRASE"  # the environment variable that may hold it
MAX_KEY_FILE = 64 * 1024
OPENSSH = b"-----BEGIN OPENSSH PRIVATE KEY-----"

Ask = Callable[[Path], str]


def default_path() -> Path:
    """The user's own key: `scaling/key.pem` in $XDG_CONFIG_HOME, else in ~/.config."""
    home = os.environ.get("XDG_CONFIG_HOME", "")
    return (Path(home) if os.path.isabs(home) else Path.home() / ".config") / "scaling" / "key.pem"


def create(path: Path, passphrase: str = "") -> SigningKey:
    """Make a key and its file (mode 0600, encrypted if there is a passphrase); a file that is there is left alone."""
    from cryptography.hazmat.primitives import serialization as s

    key = SigningKey.generate()
    lock: s.KeySerializationEncryption = (
        s.BestAvailableEncryption(passphrase.encode()) if passphrase else s.NoEncryption()
    )
    pem = key.private.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, lock)
    write_secret(path, pem)
    return key


def write_secret(path: Path, data: bytes) -> None:
    """A new file that its owner alone can read, in a folder made for its owner alone; durable before this returns."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise InputError(f"{path} is there already", "a secret is never overwritten: move it away first") from None
    except OSError as error:
        raise InputError(f"{path} could not be written: {error.strerror or error}") from error
    try:
        with os.fdopen(descriptor, "wb") as out:
            os.fchmod(out.fileno(), 0o600)  # whatever the umask
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        records.sync_folder(path.parent)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise InputError(f"{path} could not be written: {error.strerror or error}") from error


def read_secret(path: Path, what: str, limit: int = MAX_KEY_FILE) -> bytes:
    """The bytes of a file that nobody but its owner can read; refused if it is more open."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise InputError(f"{what} {path} could not be read: {error.strerror or error}") from error
    try:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            raise InputError(f"{what} {path} is not a plain file")
        if state.st_mode & 0o077:
            raise InputError(
                f"{what} {path} is open to others (mode {stat.S_IMODE(state.st_mode):04o})", f"chmod 600 {path}"
            )
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(limit + 1)
    finally:
        os.close(descriptor)
    if len(data) > limit:
        raise InputError(f"{what} {path} is longer than {limit} bytes")
    return data


def load(path: Path, ask: Ask | None = None) -> SigningKey:
    """The key of a file. Its passphrase, if it has one, comes from the environment, else from `ask`."""
    data = read_secret(path, "key file")
    ssh = data.lstrip().startswith(OPENSSH)
    private = _read(data, path, ssh, None)
    if private is None:
        given = os.environ.get(PASSPHRASE) or (ask(path) if ask else "")
        if not given:
            raise InputError(f"{path} is encrypted", f"put its passphrase into {PASSPHRASE}, or use a terminal")
        private = _read(data, path, ssh, given)
        assert private is not None
    return private


def _read(data: bytes, path: Path, ssh: bool, passphrase: str | None) -> SigningKey | None:
    """None: a passphrase is needed and none was given."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization as s

    load = s.load_ssh_private_key if ssh else s.load_pem_private_key
    try:
        private = as_private(load(data, passphrase.encode() if passphrase else None), str(path))
    except TypeError:  # how the library says that the key is encrypted
        return None
    except (ValueError, UnsupportedAlgorithm) as error:
        if ssh and passphrase is None and "encrypted" in str(error):
            return None
        reason = "its passphrase is another" if passphrase else "it holds no private key"
        raise InputError(f"{path} could not be read as a key: {reason}") from None
    return SigningKey.of(private, Scheme.SSH if ssh else Scheme.ED25519)
