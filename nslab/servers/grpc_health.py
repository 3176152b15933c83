"""The two messages of the gRPC health checking protocol (grpc/health/v1/health.proto), encoded by hand."""

from __future__ import annotations

CHECK_PATH = "/grpc.health.v1.Health/Check"
WATCH_PATH = "/grpc.health.v1.Health/Watch"
SERVING = 1
OK, UNIMPLEMENTED = "0", "12"
"""Of gRPC's status codes, those that the probe knows (grpc/doc/statuscodes.md)."""

_SERVING_STATUS = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")


def frame(message: bytes) -> bytes:
    """A message as gRPC over HTTP/2 sends it: uncompressed, behind its length."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def health_request(service: str) -> bytes:
    """HealthCheckRequest{service}, framed. `service` has at most 16383 bytes."""
    name = service.encode()
    if not name:
        return frame(b"")
    size = bytes([len(name)]) if len(name) < 128 else bytes([len(name) & 127 | 128, len(name) >> 7])
    return frame(b"\x0a" + size + name)


def health_response(status: int) -> bytes:
    """HealthCheckResponse{status}, framed."""
    return frame(b"\x08" + bytes([status]))


def serving_status(body: bytes) -> str:
    """The name of the ServingStatus in `body`, a framed HealthCheckResponse; UNKNOWN where it says none."""
    number = body[6] if body[5:6] == b"\x08" and len(body) == 7 else 0
    return _SERVING_STATUS[number] if number < len(_SERVING_STATUS) else str(number)
