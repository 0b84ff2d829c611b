"""Timestamps of RFC 3161: a time-stamp authority signs that it saw a digest at a time by its clock.

    TimeStampReq = SEQUENCE { 1, { SHA-256, SHA-256(text) }, nonce, certReq TRUE }        (RFC 3161 section 2.4.1)

A request is fixed by the digest and the nonce, so it is written here byte by byte, and a stored one is compared with
what it must be. Replies are read, and their signatures checked, by the package rfc3161-client (extra `clocks`).
"""

from __future__ import annotations

import hashlib
import secrets
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from scaling.errors import InputError
from scaling.registry.anchors import SUFFIXES, Anchor, Finding, Method, Standing, head_of_digest, written
from scaling.registry.merkle import Checkpoint

if TYPE_CHECKING:
    from scaling.registry.ledger import Ledger

MAX_REPLY = 2**20
PATIENCE_S = 30.0
SHA256_OID = "2.16.840.1.101.3.4.2.1"
SHA256_ALGORITHM = bytes.fromhex("300d06096086480165030402010500")  # SEQUENCE { OID SHA256_OID, NULL }
GRANTED = 0


@dataclass(frozen=True)
class Reply:
    """What a reply says. `time`: not later than this, by the authority's clock and its stated accuracy."""

    imprint: bytes
    nonce: int | None
    time: str
    name: str
    whole: Any


def request_bytes(text: bytes, nonce: int) -> bytes:
    """The DER bytes of a request for a timestamp of `text` that asks for the authority's certificate."""
    imprint = _tagged(0x30, SHA256_ALGORITHM + _tagged(0x04, hashlib.sha256(text).digest()))
    return _tagged(0x30, b"\x02\x01\x01" + imprint + _integer(nonce) + b"\x01\x01\xff")


def new_request(head: Checkpoint) -> bytes:
    return request_bytes(head.text.encode(), secrets.randbits(63) | 1 << 63)


def check_ready(url: str, tsa_roots: bytes | None) -> None:
    """Refuse before anybody is asked what would be refused after."""
    if not url.startswith(("https://", "http://")):
        raise InputError(f"{url!r:.200} is not the address of a time-stamp authority", "give an http(s) address")
    _library()
    if tsa_roots is not None:
        read_roots(tsa_roots)


def ask(url: str, request: bytes) -> bytes:
    """Send a request to an authority over HTTP (RFC 3161 section 3.4) and return its reply, unread."""
    check_ready(url, None)
    try:
        asked = urllib.request.Request(url, request, {"Content-Type": "application/timestamp-query"})
        with urllib.request.urlopen(asked, timeout=PATIENCE_S) as answer:
            reply: bytes = answer.read(MAX_REPLY + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise InputError(
            f"{url} gave no timestamp: {reason}",
            "try another authority, or write the request with --write-request and import the reply",
        ) from None
    return reply


def anchor(ledger: Ledger, request: bytes, reply: bytes, *, url: str = "", tsa_roots: bytes | None = None) -> Anchor:
    """The anchor of a request and its reply, stored as blobs. A reply that is not sound is refused before that."""
    if len(reply) > MAX_REPLY:
        raise InputError(f"the reply is longer than {MAX_REPLY >> 10} KiB", "this is no RFC 3161 reply")
    answer = _read(reply)
    head = head_of_digest(ledger, answer.imprint, "the timestamp")
    _inspect(head.text.encode(), request, answer)
    if tsa_roots is not None and (why := _unsigned(head.text.encode(), answer, read_roots(tsa_roots))):
        raise InputError(f"the timestamp's signature does not hold under the roots given: {why}")
    stored = {
        "request": ledger.put_blob(request, SUFFIXES["request"]),
        "reply": ledger.put_blob(reply, SUFFIXES["reply"]),
    }
    return Anchor(Method.RFC3161, head, {**stored, "url": url}, tuple(sorted(stored.values())))


def check(anchor: Anchor, blob: Callable[[str], bytes], tsa_roots: bytes | None) -> Finding:
    """Check the stored reply for the anchor's head; PROVEN only where its signature leads to one of the roots."""
    try:
        request, reply = (blob(str(anchor.evidence[name])) for name in ("request", "reply"))
    except KeyError:
        raise InputError("its evidence names no request and reply") from None
    about = f"the head of {anchor.head.size} entries"
    try:
        _library()
    except InputError as error:
        return Finding(Standing.NOT_PROVEN, f"A stored RFC 3161 reply about {about} was not read: {error}.")
    answer = _read(reply)
    _inspect(anchor.text, request, answer)
    time, name = answer.time, answer.name
    if tsa_roots is None:
        return Finding(
            Standing.NOT_PROVEN,
            f"A reply that names {name} says that {about} existed by {time}, but nothing is proven: its signature was "
            "not checked, because no roots were given (--tsa-roots FILE).",
        )
    if why := _unsigned(anchor.text, answer, read_roots(tsa_roots)):
        return Finding(
            Standing.NOT_PROVEN,
            f"A reply that names {name} says that {about} existed by {time}, but nothing is proven: {why}.",
        )
    return Finding(
        Standing.PROVEN,
        f"{name}, under the roots given, signed that {about} existed by {time} by its clock, which proves that they "
        "were not written later, and proves neither by whom nor how long before.",
        time,
    )


def _inspect(text: bytes, request: bytes, answer: Reply) -> None:
    """The reply answers this request about this text."""
    if answer.imprint != hashlib.sha256(text).digest():
        raise InputError("the timestamp is of another text than the head")
    if answer.nonce is None or answer.nonce < 0 or request != request_bytes(text, answer.nonce):
        raise InputError("the reply does not answer the request: nonce or digest are other ones")


def _unsigned(text: bytes, answer: Reply, roots: list[Any]) -> str:
    """Why the reply is not signed for this text by a certificate, valid then and made for timestamps, under `roots`;
    "" if it is."""
    library = _library()
    try:
        if roots and library.VerifierBuilder(roots=roots).build().verify_message(answer.whole, text):
            return ""
    except (library.VerificationError, ValueError):
        pass
    return _unfit(answer) or "its signature leads to none of the roots given, so it is of another authority, or forged"


def _unfit(answer: Reply) -> str:
    """What is wrong with the certificate that it names, whoever issued it."""
    certificate, made = _certificate(answer.whole), answer.whole.tst_info.gen_time
    if certificate is None:
        return "the certificate that it names does not come with it"
    first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not first <= made <= last:
        valid = f"from {first:%Y-%m-%d} until {last:%Y-%m-%d}"
        return f"the certificate that it names was valid {valid} only, and not when it was made"
    return ""


def read_roots(pem: bytes) -> list[Any]:
    _library()
    from cryptography import x509

    try:
        return list(dict.fromkeys(x509.load_pem_x509_certificates(pem)))
    except ValueError:
        raise InputError("the roots are no PEM certificates", "give the authority's root certificates as PEM") from None


def _read(reply: bytes) -> Reply:
    library = _library()
    try:
        answer = library.decode_timestamp_response(reply)
        if answer.status != GRANTED:
            raise InputError(f"the authority refused (status {answer.status})", "ask another one")
        told = answer.tst_info
        if told.message_imprint.hash_algorithm.dotted_string != SHA256_OID:
            raise InputError("the timestamp is not of a SHA-256 digest", "ask for SHA-256")
        latest = told.gen_time + _accuracy(told.accuracy)
        return Reply(bytes(told.message_imprint.message), told.nonce, written(latest), _signer(answer), answer)
    except (ValueError, OverflowError, TypeError) as error:  # the library reads parts of it only when asked for them
        raise InputError(f"this is no RFC 3161 reply: {str(error)[:120]}") from None


def _accuracy(stated: Any) -> timedelta:
    seconds, millis, micros = (getattr(stated, name, 0) or 0 for name in ("seconds", "millis", "micros"))
    return timedelta(seconds=seconds, milliseconds=millis, microseconds=micros)


def _signer(answer: Any) -> str:
    one = _certificate(answer)
    return f"the authority {one.subject.rfc4514_string()}" if one else "an authority"


def _certificate(answer: Any) -> Any:
    """The one that it names as its signer's, if it comes with it."""
    from cryptography import x509

    (info,) = answer.signed_data.signer_infos
    for der in answer.signed_data.certificates:
        one = x509.load_der_x509_certificate(der)
        if (one.issuer, one.serial_number) == (info.issuer, info.serial_number):
            return one
    return None


def _library() -> Any:
    try:
        import rfc3161_client
    except ImportError:
        raise InputError(
            "RFC 3161 replies are read by the package rfc3161-client, which is not installed",
            "pip install 'scaling[clocks]'",
        ) from None
    return rfc3161_client


def _tagged(tag: int, content: bytes) -> bytes:
    """DER of a tag and fewer than 128 bytes."""
    return bytes([tag, len(content)]) + content


def _integer(value: int) -> bytes:
    return _tagged(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))
