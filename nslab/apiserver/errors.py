"""The errors of the Kubernetes API: each is a `Status` object, with its HTTP code, reason and details.

The classes bear the names that Kubernetes gives to the reasons (k8s.io/apimachinery/pkg/apis/meta/v1 StatusReason).
"""
# ruff: noqa: N818  # these are Kubernetes' names

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from nslab.api import kinds
from nslab.api.objects import Body
from nslab.errors import NslabError


class StatusError(NslabError):
    """Base of the API's errors. `details` are the Status object's; `code` and `reason` belong to the class."""

    code: ClassVar[int] = 500
    reason: ClassVar[str] = "InternalError"

    def __init__(self, message: str, *, details: Body | None = None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.details = details

    def status(self) -> Body:
        """The `Status` object that a client gets."""
        body: Body = {
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        }  # fmt: skip
        return {**body, "details": self.details} if self.details else body


class BadRequest(StatusError):
    """The request makes no sense: broken JSON, a parameter of the wrong type, a name that is not the path's."""

    code = 400
    reason = "BadRequest"


class Unauthorized(StatusError):
    """The request bears no token, or a wrong one."""

    code = 401
    reason = "Unauthorized"


class Forbidden(StatusError):
    """The request asks for what nobody may do."""

    code = 403
    reason = "Forbidden"


class NotFound(StatusError):
    """There is no such object, or no such path."""

    code = 404
    reason = "NotFound"
    exit_code = 6


class MethodNotAllowed(StatusError):
    """The path exists, and does not have this verb."""

    code = 405
    reason = "MethodNotAllowed"


class NotAcceptable(StatusError):
    """No form of the answer is one that the client accepts."""

    code = 406
    reason = "NotAcceptable"


class AlreadyExists(StatusError):
    """An object of this kind, namespace and name exists."""

    code = 409
    reason = "AlreadyExists"


class Conflict(StatusError):
    """The object is not the one that the client saw: its resourceVersion or uid is another."""

    code = 409
    reason = "Conflict"


class Gone(StatusError):
    """The resourceVersion is older than the window of remembered changes: list again."""

    code = 410
    reason = "Expired"


class TooLarge(StatusError):
    """The body is larger than the limit."""

    code = 413
    reason = "RequestEntityTooLarge"


class UnsupportedMediaType(StatusError):
    """The body is of a media type that is not read."""

    code = 415
    reason = "UnsupportedMediaType"


class Invalid(StatusError):
    """The object breaks rules of its kind; `details.causes` has one for each, with its field."""

    code = 422
    reason = "Invalid"
    exit_code = 3


class TooManyRequests(StatusError):
    """Not now: a PodDisruptionBudget forbids it."""

    code = 429
    reason = "TooManyRequests"


def details(kind: str, name: str, *, uid: str = "", causes: Sequence[Body] = ()) -> Body:
    """`details` of a Status about an object; by Kubernetes' habit their `kind` is the resource, not the kind."""
    row = kinds.by_name(kind)[0]
    found: Body = {"name": name, "group": row.group, "kind": row.plural, "uid": uid, "causes": list(causes)}
    return {key: value for key, value in found.items() if value}


def qualified(kind: str) -> str:
    """`deployments.apps`, as messages name a resource."""
    row = kinds.by_name(kind)[0]
    return f"{row.plural}.{row.group}" if row.group else row.plural


def not_found(kind: str, name: str) -> NotFound:
    return NotFound(f'{qualified(kind)} "{name}" not found', details=details(kind, name))


def already_exists(kind: str, name: str) -> AlreadyExists:
    return AlreadyExists(f'{qualified(kind)} "{name}" already exists', details=details(kind, name))


def conflict(kind: str, name: str, message: str) -> Conflict:
    text = f'Operation cannot be fulfilled on {qualified(kind)} "{name}": {message}'
    return Conflict(text, details=details(kind, name))


def invalid(kind: str, name: str, causes: Sequence[Body]) -> Invalid:
    """The refusal of an object for all of `causes` (reason, message, field)."""
    row = kinds.by_name(kind)[0]
    told = [f"{cause['field']}: {cause['message']}" for cause in causes]
    text = told[0] if len(told) == 1 else f"[{', '.join(told)}]"
    about = details(kind, name, causes=causes) | {"kind": kind}  # here it is the kind, in Kubernetes too
    return Invalid(f'{kind}{"." + row.group if row.group else ""} "{name}" is invalid: {text}', details=about)
