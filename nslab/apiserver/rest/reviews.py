"""Reviews: questions that are POSTed and answered at once, with nothing stored. `kubectl auth` asks them.

Whoever gets as far as the API may do everything in it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from nslab.api.objects import Body
from nslab.apiserver.rest.messages import Request, Response, answered
from nslab.apiserver.rest.protobuf import PROTOBUF

USER: Final = {"username": "nslab", "groups": ["system:masters", "system:authenticated"]}

_EVERYTHING: Final = {
    "incomplete": False,
    "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
    "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
}

REVIEWS: Final[dict[str, dict[str, str]]] = {
    "authentication.k8s.io/v1": {"selfsubjectreviews": "SelfSubjectReview"},
    "authorization.k8s.io/v1": {
        "selfsubjectaccessreviews": "SelfSubjectAccessReview",
        "selfsubjectrulesreviews": "SelfSubjectRulesReview",
        "subjectaccessreviews": "SubjectAccessReview",
    },
}
"""The kind of each, by apiVersion and plural. None of them is namespaced."""

_ANSWERS: Final[dict[str, Callable[[], Body]]] = {
    "SelfSubjectReview": lambda: {"userInfo": USER},
    "SelfSubjectAccessReview": lambda: {"allowed": True},
    "SelfSubjectRulesReview": lambda: _EVERYTHING,
    "SubjectAccessReview": lambda: {"allowed": True},
}


def review(request: Request) -> Response | None:
    """The answer to a review, None where the path is none. Raises as Request.object."""
    root, _, rest = request.path.strip("/").partition("/")
    api_version, _, plural = rest.rpartition("/")
    kind = REVIEWS.get(api_version, {}).get(plural) if root == "apis" else None
    if kind is None:
        return None
    asked = {} if request.media_type == PROTOBUF else request.object()  # whatever it asks for: it is allowed
    return answered({**asked, "apiVersion": api_version, "kind": kind, "status": _ANSWERS[kind]()}, 201)
