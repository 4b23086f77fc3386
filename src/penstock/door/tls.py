"""The certificate to serve with: one that was given, or one made here for a plant without a PKI."""

import ipaddress
import os
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from penstock.errors import Misconfigured

LIFE: Final = timedelta(days=825)
"""The longest that browsers on Apple systems accept."""
REMADE_BEFORE: Final = timedelta(days=30)
_SETTLING: Final = timedelta(hours=1)


class Pair(NamedTuple):
    """A certificate and its private key, as PEM files."""

    certificate: Path
    key: Path


def certificate(setting: str, host: str, data: Path) -> Pair | None:
    """The pair that `door.tls` asks for, None for no TLS. Raises Misconfigured."""
    match setting.split(":"):
        case [""]:
            return None
        case ["self"]:
            return _self_made(host, data / "tls")
        case [certificate_path, key_path]:
            return _given(Pair(Path(certificate_path), Path(key_path)))
        case _:
            raise Misconfigured("door.tls", "is not understood", "set `self`, or CERT.pem:KEY.pem")


def _given(pair: Pair) -> Pair:
    for path in pair:
        if not os.access(path, os.R_OK):
            raise Misconfigured("door.tls", f"{path} cannot be read", "correct the path, or the file's rights")
    return pair


def _self_made(host: str, folder: Path) -> Pair:
    pair = Pair(folder / "certificate.pem", folder / "key.pem")
    names = _names(host)
    if not _is_good(pair, names):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make(pair, names)
    return pair


def _names(host: str) -> list[x509.GeneralName]:
    """localhost, this machine, and the address that is listened on."""
    hosts = {"localhost", socket.gethostname(), "127.0.0.1", "::1", host} - {"", "0.0.0.0", "::"}  # noqa: S104  # not a name
    return [_name(text) for text in sorted(hosts)]


def _name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _is_good(pair: Pair, names: list[x509.GeneralName]) -> bool:
    """Whether the pair is there, is valid for a while yet, and speaks for all *names*."""
    try:
        made = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
        serialization.load_pem_private_key(pair.key.read_bytes(), None)
        spoken_for = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound):
        return False
    return made.not_valid_after_utc - datetime.now(UTC) > REMADE_BEFORE and set(names) <= set(spoken_for)


def _make(pair: Pair, names: list[x509.GeneralName]) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "penstock")])
    now = datetime.now(UTC) - _SETTLING
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number(), now, now + LIFE)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    _write(pair.key, key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    _write(pair.certificate, made.public_bytes(pem))


def _write(path: Path, content: bytes) -> None:
    """In one stroke, and readable by nobody else from its first byte on."""
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123  # with its mode
        file.write(content)
    fresh.replace(path)
