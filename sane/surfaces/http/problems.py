"""Errors as `application/problem+json`, with the code and hint that every surface shows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse

from sane.errors import STATUS, SaneError, UnavailableError

MEDIA_TYPE = "application/problem+json"
CODES = {404: "not_found", 405: "method", 413: "too_large", 415: "media_type", 422: "invalid"}

HINTS = {
    404: "See /openapi.json for the paths.",
    405: "See /openapi.json for the methods.",
    415: "Send the header Content-Type: application/json (curl: -H 'Content-Type: application/json').",
}


JSON_HINT = "Check what is sent with a JSON parser; a shell may have changed its quotes."


def problem(
    status: int, code: str, message: str, hint: str = "", headers: Mapping[str, str] | None = None, **more: Any
) -> JSONResponse:
    """Return a problem response; `more` are further fields of it."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "code": code}
    return JSONResponse(
        {**body, "detail": message, "hint": hint, **more}, status, headers=dict(headers or {}), media_type=MEDIA_TYPE
    )


def problem_of(error: SaneError) -> JSONResponse:
    """Return the response that an error of sane means, by `sane.errors.STATUS`."""
    status, headers = STATUS[error.code][1], dict[str, str]()
    if isinstance(error, UnavailableError):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s or 1)))
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return problem(status, error.code, error.message, error.hint, headers)


def problem_of_status(status: int, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return the response for an error of HTTP itself: no such path, no such method, no such media type."""
    return problem(status, CODES.get(status, "usage"), detail, HINTS.get(status, ""), headers)


def problem_of_fields(errors: list[Any]) -> JSONResponse:
    """Return 422 with what is wrong in which field; what was sent is not repeated."""
    if errors and errors[0]["type"] == "json_invalid":
        return problem(422, "invalid", f"the body is not JSON, from character {errors[0]['loc'][-1] + 1} on", JSON_HINT)
    wrong = [{"field": ".".join(map(str, error["loc"])), "message": error["msg"]} for error in errors[:20]]
    first = wrong[0] if wrong else {"field": "body", "message": "is wrong"}
    return problem(
        422, "invalid", f"{first['field']}: {first['message']}", "See /openapi.json for the fields.", errors=wrong
    )
