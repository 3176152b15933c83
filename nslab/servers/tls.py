"""TLS without a socket, for either side of a connection, and the contexts that both sides need.

`ssl` and `cryptography` are imported where the first connection wants them: most labs have none.
"""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl

CHUNK = 65536
_DAYS = 3650


class TlsPipe:
    """One side of TLS. Raises ssl.SSLError (an OSError) as TLS fails; what is to be sent even then is in `flush`.

    What `send` and `receive` want on the wire gathers until it is taken with `flush`.
    """

    def __init__(self, context: ssl.SSLContext, server_name: str = "", *, server_side: bool = False) -> None:
        """`server_name` is what a client names in its hello, and checks unless the context is insecure."""
        import ssl

        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_side, server_hostname=server_name or None
        )
        self._wants = (ssl.SSLWantReadError, ssl.SSLWantWriteError)
        self._ended = (ssl.SSLZeroReturnError, ssl.SSLEOFError)
        self._unsent = b""
        self.secured = False
        if not server_side:
            self._advance()

    def send(self, data: bytes) -> None:
        """Encrypt these bytes, once the handshake is done."""
        self._unsent += data
        self._advance()

    def receive(self, data: bytes) -> bytes | None:
        """Take bytes from the wire (none: its end). Returns what they say, or None where the peer said it is done."""
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
        self._advance()
        heard = bytearray()
        try:
            while self.secured:
                part = self._tls.read(CHUNK)
                if not part:
                    break
                heard += part
        except self._wants:
            pass
        except self._ended:
            return bytes(heard) or None
        return bytes(heard) or (None if not data else b"")

    def finish(self) -> None:
        """Tell the peer that nothing follows (close_notify). Its own is not waited for."""
        try:
            self._tls.unwrap()
        except (*self._wants, *self._ended):
            return

    def flush(self) -> bytes:
        """Bytes for the wire."""
        return self._outgoing.read()

    def _advance(self) -> None:
        try:
            if not self.secured:
                self._tls.do_handshake()
                self.secured = True
            if self._unsent:
                self._tls.write(self._unsent)
                self._unsent = b""
        except self._wants:
            return


@functools.lru_cache(maxsize=4)
def client_context(insecure: bool, protocol: str) -> ssl.SSLContext:
    """A client's context that offers `protocol` by ALPN. `insecure` takes any certificate."""
    import ssl

    context = ssl.create_default_context()
    context.set_alpn_protocols([protocol])
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


@functools.cache
def server_context() -> ssl.SSLContext:
    """The responder's context, made once for a process, with a certificate that nobody signed but itself."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["h2", "http/1.1"])
    context.num_tickets = 0  # nobody resumes, and each would be a record more to send
    memory = os.memfd_create("certificate", os.MFD_CLOEXEC)  # OpenSSL reads certificates from files only
    with os.fdopen(memory, "wb") as file:
        file.write(_self_signed("nslab responder"))
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{memory}")
    return context


def _self_signed(name: str) -> bytes:
    """A new key and its certificate, in PEM."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=_DAYS))
        .sign(key, SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private + certificate.public_bytes(pem)
