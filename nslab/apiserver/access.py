"""Who may talk to a lab's API over TCP, and how they know it: a token, certificates, the port, the kubeconfig.

The token goes over TLS only; the certificate is signed by an authority that is made for the lab and whose key is
forgotten at once. All lies in the lab's state directory, readable by its owner alone, and is kept over restarts, so
that a kubeconfig goes on to work.

    ca.crt  server.crt  server.key  token  port
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

HOST = "127.0.0.1"
_YEARS = 10


@dataclass(frozen=True, slots=True)
class Access:
    """What a server and its clients share. `ca` is the authority's certificate in PEM."""

    directory: Path
    token: str
    ca: str

    def context(self) -> ssl.SSLContext:
        """The TLS server's side."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.directory / "server.crt", self.directory / "server.key")
        context.set_alpn_protocols(["http/1.1"])
        return context

    def listen(self) -> socket.socket:
        """A listening socket on the loopback, on the port of the last time if that is free."""
        remembered = self.directory / "port"
        port = 0
        with suppress(OSError, ValueError):
            port = int(remembered.read_text())
        try:
            listening = socket.create_server((HOST, port))
        except OSError:  # somebody else has it by now
            listening = socket.create_server((HOST, 0))
        _write(remembered, str(listening.getsockname()[1]))
        return listening


def access(directory: Path, hosts: Sequence[str] = ()) -> Access:
    """The access kept in `directory`, made there first where it is not complete: then the server's certificate holds
    for these names and addresses beside those of the loopback."""
    names = ("ca.crt", "server.crt", "server.key", "token")
    if not all((directory / name).is_file() for name in names):
        _make(directory, hosts)
    return Access(directory, (directory / "token").read_text(), (directory / "ca.crt").read_text())


def kubeconfig(lab: str, address: str, granted: Access, namespace: str = "default") -> str:
    """A kubeconfig file (in JSON, which is YAML) for the API at HOST:PORT, with one context, named `nslab-LAB`."""
    from base64 import b64encode

    name = f"nslab-{lab}"
    cluster = {
        "server": f"https://{address}",
        "certificate-authority-data": b64encode(granted.ca.encode()).decode(),
    }
    content = {
        "apiVersion": "v1", "kind": "Config", "current-context": name,
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": {"token": granted.token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": namespace}}],
    }  # fmt: skip
    return json.dumps(content, indent=2) + "\n"


def _write(path: Path, content: str) -> None:
    """Replace the file as a whole, readable by its owner alone from its first moment."""
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(content)
    os.rename(temporary, path)


def _make(directory: Path, hosts: Sequence[str]) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    authority_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = _certificate("nslab authority", authority_key.public_key(), authority_key, None, ())
    server = _certificate("nslab", server_key.public_key(), authority_key, authority, hosts)
    pem = serialization.Encoding.PEM
    key = server_key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    _write(directory / "ca.crt", authority.public_bytes(pem).decode())
    _write(directory / "server.crt", server.public_bytes(pem).decode())
    _write(directory / "server.key", key.decode())
    _write(directory / "token", secrets.token_urlsafe(32))


def _certificate(
    name: str, key: ec.EllipticCurvePublicKey, signer: ec.EllipticCurvePrivateKey, issuer: x509.Certificate | None,
    hosts: Sequence[str],
) -> x509.Certificate:
    """A certificate of `key`: the authority's own without `issuer`, else one of a server on the loopback and at these
    `hosts`."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    leaf = issuer is not None
    builder = (
        x509.CertificateBuilder(issuer.subject if issuer else subject, subject, key, x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=365 * _YEARS))
        .add_extension(x509.BasicConstraints(ca=not leaf, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .add_extension(_key_usage(leaf), critical=True)
    )
    if leaf:
        names = [_general_name(host) for host in ("localhost", "kubernetes", HOST, *hosts)]
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        builder = builder.add_extension(usage, critical=False)
    return builder.sign(signer, SHA256())


def _general_name(host: str) -> x509.GeneralName:
    from ipaddress import ip_address

    from cryptography import x509

    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _key_usage(leaf: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=leaf, key_cert_sign=not leaf, crl_sign=not leaf, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
        decipher_only=False,
    )  # fmt: skip
