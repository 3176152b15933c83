"""Objects in protobuf, put together here by hand."""

from __future__ import annotations

import random

import pytest

from nslab.apiserver.errors import BadRequest, UnsupportedMediaType
from nslab.apiserver.rest.protobuf import decode_object


def number(value: int) -> bytes:
    octets = b""
    while value > 0x7F:
        octets += bytes([value & 0x7F | 0x80])
        value >>= 7
    return octets + bytes([value])


def message(*fields: tuple[int, bytes | str | int]) -> bytes:
    text = b""
    for key, value in fields:
        if isinstance(value, int):
            text += number(key << 3) + number(value % (1 << 64))
        else:
            octets = value.encode() if isinstance(value, str) else value
            text += number(key << 3 | 2) + number(len(octets)) + octets
    return text


def body(api_version: str, kind: str, raw: bytes) -> bytes:
    return b"k8s\0" + message((1, message((1, api_version), (2, kind))), (2, raw), (3, ""), (4, ""))


NAMED = message((1, "web"), (2, ""), (7, 0), (8, b""), (11, message((1, "app"), (2, "web"))))


def test_a_config_map():
    raw = message((1, NAMED), (2, message((1, "a"), (2, ""))), (3, message((1, "b"), (2, b"\xff"))), (4, 0))
    assert decode_object(body("v1", "ConfigMap", raw)) == {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "web", "labels": {"app": "web"}},
        "data": {"a": ""}, "binaryData": {"b": "/w=="}, "immutable": False,
    }  # fmt: skip


def test_pointers_inlined_fields_and_either_types():
    get = message((1, "/"), (2, message((1, 1), (2, 0), (3, "http"))))
    probe = message((1, message((2, get))), (2, 0), (3, 5))
    limits = message((1, message((1, "cpu"), (2, message((1, "1"))))))
    container = message((1, "app"), (2, "x"), (11, probe), (8, limits))
    volume = message((1, "tmp"), (2, message((2, b""))))
    pod = message((1, volume), (2, container), (4, 0))
    raw = message((1, NAMED), (2, message((1, 0), (3, message((2, pod))), (5, 0))))
    spec = decode_object(body("apps/v1", "Deployment", raw))["spec"]
    assert spec == {"replicas": 0, "template": {"spec": {
        "volumes": [{"name": "tmp", "emptyDir": {}}],
        "containers": [{
            "name": "app", "image": "x", "resources": {"limits": {"cpu": "1"}},
            "readinessProbe": {"httpGet": {"path": "/", "port": "http"}, "timeoutSeconds": 5},
        }],
        "terminationGracePeriodSeconds": 0,
    }}}  # fmt: skip


def test_times_and_negative_numbers():
    metadata = message((1, "web"), (8, message((1, 1_700_000_000))))
    raw = message((1, metadata), (2, -5))
    assert decode_object(body("scheduling.k8s.io/v1", "PriorityClass", raw)) == {
        "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "value": -5,
        "metadata": {"name": "web", "creationTimestamp": "2023-11-14T22:13:20Z"},
    }  # fmt: skip


def test_an_unknown_kind_is_asked_for_in_json():
    with pytest.raises(UnsupportedMediaType, match="send JSON"):
        decode_object(body("nslab.dev/v1", "Lab", b""))


def test_broken_octets_are_bad_requests_and_nothing_worse():
    whole = body("v1", "ConfigMap", message((1, NAMED), (2, message((1, "a"), (2, "b")))))
    draw = random.Random(3)
    for cut in range(len(whole)):
        attempt = bytearray(whole)
        attempt[draw.randrange(4, len(whole))] = draw.randrange(256)
        for broken in (whole[:cut], bytes(attempt), b"k8s\0" + draw.randbytes(cut)):
            try:
                decode_object(broken)
            except (BadRequest, UnsupportedMediaType):
                continue
    with pytest.raises(BadRequest):
        decode_object(b"{}")
