"""Every error of the API: its stable code, HTTP status, text, and what the caller can do.

API, pages and admin take their wording from here. docs/api.md shows the same table.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """One kind of error. Codes and statuses never change their meaning; texts may."""

    code: str
    status: int
    text: str
    """A format string, with a name in braces for each value."""
    advice: str


class CodedError(Exception):
    """A refused request, with its error code. The message is shown to the caller.

    A subclass may set `kind`; it is then raised with only the values for the placeholders of its
    text.
    """

    kind: ClassVar[ErrorCode | None] = None

    def __init__(
        self,
        kind: ErrorCode | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        **values: Any,
    ) -> None:
        chosen = kind or self.kind
        if chosen is None:
            raise TypeError("a CodedError needs a kind")
        super().__init__(chosen.text.format(**values))
        self.error_code = chosen
        self.headers = dict(headers or {})


ERROR_CODES: dict[str, ErrorCode] = {}


def _define(code: str, status: int, text: str, advice: str) -> ErrorCode:
    found = ERROR_CODES[code] = ErrorCode(code, status, text, advice)
    return found


SIGN_AGAIN = "Sign the request again, with the present time as the nonce."
CHECK_KEY = "Check the API key: `Authorization: Bearer cpk_…`."
WAIT = "Wait as long as `Retry-After` says, then repeat the request."

# Default error of each HTTP status, used when no specific code applies.
BAD_REQUEST = _define("bad_request", 400, "Bad Request", "Correct the request.")
UNAUTHORIZED = _define("unauthorized", 401, "Unauthorized", CHECK_KEY)
FORBIDDEN = _define("forbidden", 403, "Forbidden", "Ask an operator for the permission.")
NOT_FOUND = _define("not_found", 404, "Not Found", "Check the address against `/openapi.json`.")
METHOD_NOT_ALLOWED = _define(
    "method_not_allowed", 405, "Method Not Allowed", "Use a method that `Allow` names."
)
REQUEST_TIMEOUT = _define(
    "request_timeout", 408, "The request came too slowly.", "Send it again, without pauses."
)
CONFLICT = _define("conflict", 409, "Conflict", "Read the present state, then decide.")
PRECONDITION_FAILED = _define(
    "precondition_failed",
    412,
    "The image has changed since the state that If-Match names",
    "Read the present state with its `ETag`, then decide.",
)
BODY_TOO_LARGE = _define(
    "body_too_large",
    413,
    "The body is larger than the {limit} bytes that are accepted.",
    "Send less: `.dockerignore` leaves files out.",
)
UNSUPPORTED_MEDIA_TYPE = _define(
    "unsupported_media_type",
    415,
    "Unsupported Media Type",
    "Use the `Content-Type` that `/openapi.json` names.",
)
RANGE_NOT_SATISFIABLE = _define(
    "range_not_satisfiable",
    416,
    "Range Not Satisfiable",
    "Ask for bytes below the size in `Content-Range`.",
)
INVALID = _define(
    "invalid",
    422,
    "Fields or parameters are wrong: `detail` lists each of them",
    "Correct what `loc` names.",
)
TOO_MANY_REQUESTS = _define("too_many_requests", 429, "Too Many Requests", WAIT)
HEADERS_TOO_LARGE = _define(
    "headers_too_large",
    431,
    "A line of the request's headers is too long.",
    "Send shorter headers.",
)
INTERNAL_ERROR = _define(
    "internal_error",
    500,
    "Internal Server Error",
    "Give the id in `detail` to an operator: it is in the log.",
)
UNAVAILABLE = _define("unavailable", 503, "Service Unavailable", WAIT)
NO_DISK = _define("no_disk", 507, "There is no room for the body.", "Tell an operator.")

# Authentication and permissions. The texts are those of the reference server.
CREDENTIALS_MISSING = _define(
    "credentials_missing", 401, "Can't find a user with that api key in our db :(", CHECK_KEY
)
CREDENTIALS_MALFORMED = _define(
    "credentials_malformed", 401, "Missing or invalid authorization header(s)", CHECK_KEY
)
KEY_UNKNOWN = _define(
    "key_unknown",
    401,
    "Invalid token or user not found",
    "The key is wrong, expired or revoked: create another.",
)
TOKEN_INVALID = _define("token_invalid", 401, "Invalid token.", CHECK_KEY)
NONCE_INVALID = _define("nonce_invalid", 401, "Invalid nonce!", SIGN_AGAIN)
SIGNATURE_MALFORMED = _define(
    "signature_malformed",
    401,
    "Invalid signature: it is not hexadecimal",
    "Send the 64 bytes as 128 hexadecimal digits, without `0x`.",
)
SIGNATURE_WRONG = _define(
    "signature_wrong",
    401,
    "Invalid request signature for hotkey {hotkey}",
    "Check what is signed: see the authentication guide.",
)
SIGNATURE_USED = _define(
    "signature_used",
    401,
    "This signature was used before: sign each request again",
    SIGN_AGAIN,
)
HOTKEY_UNKNOWN = _define(
    "hotkey_unknown",
    401,
    "Could not find user with hotkey: {hotkey}",
    "Ask an operator to enter the hotkey at your account.",
)
INSUFFICIENT_SCOPE = _define(
    "insufficient_scope",
    401,
    "This API key lacks the scope {scope}",
    "Use a key with that scope.",
)
NOT_YOUR_NAME = _define(
    "not_your_name",
    401,
    "Cannot make images for users other than yourself!",
    "Send your own user name, or leave it out.",
)
OPERATORS_ONLY = _define(
    "operators_only",
    401,
    "Only operators protect images, or take the protection off",
    "Ask an operator.",
)
CSRF_FAILED = _define(
    "csrf_failed",
    403,
    "CSRF Failed: {reason}",
    "Send the session's `X-CSRFToken`, or use an API key.",
)

# Images, builds, logs.
IMAGE_NOT_FOUND = _define(
    "image_not_found",
    404,
    "Image not found, or does not belong to you",
    "Check the reference with `GET /images/`.",
)
TAG_MISSING = _define(
    "tag_missing",
    404,
    "Image not found: add a tag, as in {name}:TAG",
    "Changes need an id or a tag; only reading works without.",
)
ATTEMPT_NOT_FOUND = _define(
    "attempt_not_found",
    404,
    "There is no attempt {number} of this image",
    "List them with `GET /images/{ref}/builds`.",
)
LOG_GONE = _define("log_gone", 404, "The log was deleted with its image", "Nothing.")
NAME_TAKEN = _define(
    "name_taken",
    409,
    "Image with name={name!r} and tag={tag!r} already exists",
    "Use another tag, or delete the image first.",
)
NOTHING_UNDER_WAY = _define(
    "nothing_under_way",
    409,
    "There is no build to cancel: the last one has ended",
    "Nothing: the build has ended.",
)
BUILD_UNDER_WAY = _define(
    "build_under_way",
    409,
    "A build is under way: cancel it, or wait for its end",
    "Cancel it, or wait for its end.",
)
CONTEXT_GONE = _define(
    "context_gone",
    409,
    "The context of the last build is no longer stored: send the image again",
    "Send it again with `POST /images/`.",
)
IMAGE_PROTECTED = _define(
    "image_protected",
    409,
    "The image is protected: an operator has to take the protection off first",
    "Ask an operator.",
)
QUOTA_EXCEEDED = _define(
    "quota_exceeded", 429, "The limit of {limit} builds per 24 hours is used up.", WAIT
)
STORAGE_EXCEEDED = _define(
    "storage_exceeded",
    403,
    "Your images take {used} MiB of {limit} MiB in the registry: delete some of them first",
    "Delete images, or ask an operator for more room; `GET /users/me/storage` tells how much is "
    "used.",
)
UPLOADS_EXCEEDED = _define(
    "uploads_exceeded",
    429,
    "You are sending too much at once; try again when that has arrived.",
    WAIT,
)
SERVER_BUSY = _define(
    "server_busy", 503, "Too many bodies are being received; try again in a moment.", WAIT
)

# Keys and logos.
KEY_NOT_FOUND = _define(
    "key_not_found",
    404,
    "API key not found, or does not belong to you",
    "List them with `GET /api_keys/`.",
)
KEY_NAME_TAKEN = _define(
    "key_name_taken",
    409,
    "An API key named {name!r} exists: delete that one, or use another name",
    "Delete that key, or use another name.",
)
LOGO_NOT_FOUND = _define("logo_not_found", 404, "Logo not found", "Upload it again.")
LOGO_TOO_LARGE = _define(
    "logo_too_large", 413, "A logo takes at most {limit} bytes", "Send a smaller picture."
)
LOGOS_EXCEEDED = _define(
    "logos_exceeded", 429, "You may only send {limit} logos per 24 hours.", WAIT
)

IDEMPOTENCY_KEY_REUSED = _define(
    "idempotency_key_reused",
    409,
    "This Idempotency-Key was used for another request",
    "Use a new key for each request.",
)

# Webhooks.
WEBHOOK_NOT_FOUND = _define(
    "webhook_not_found",
    404,
    "Webhook not found, or does not belong to you",
    "List them with `GET /webhooks/`.",
)
TOO_MANY_WEBHOOKS = _define(
    "too_many_webhooks", 409, "You have {limit} webhooks: delete one first", "Delete one."
)
TEST_WAITING = _define(
    "test_waiting", 409, "A test is waiting to be sent already", "See the webhook's deliveries."
)

# Transient outages.
DATABASE_AWAY = _define(
    "database_away", 503, "The database is unavailable; try again in a moment.", WAIT
)
STORAGE_AWAY = _define(
    "storage_away",
    503,
    "The file storage is unavailable; try again in a moment.",
    WAIT,
)

_GENERIC = {
    each.status: each
    for each in (
        *(BAD_REQUEST, UNAUTHORIZED, FORBIDDEN, NOT_FOUND, METHOD_NOT_ALLOWED, REQUEST_TIMEOUT),
        *(
            CONFLICT,
            PRECONDITION_FAILED,
            BODY_TOO_LARGE,
            UNSUPPORTED_MEDIA_TYPE,
            RANGE_NOT_SATISFIABLE,
            INVALID,
        ),
        *(TOO_MANY_REQUESTS, HEADERS_TOO_LARGE, INTERNAL_ERROR, UNAVAILABLE, NO_DISK),
    )
}


def generic_code(status: int) -> ErrorCode:
    """The default error of an HTTP status: that of 400 or 500 if the status has none of its own."""
    if status in _GENERIC:
        return _GENERIC[status]
    server = status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return _GENERIC[500 if server else 400]


def error_body(kind: ErrorCode, detail: Any = None) -> dict[str, Any]:
    """The JSON body of an error response. `detail` replaces the text of `kind`."""
    return {"detail": kind.text if detail is None else detail, "code": kind.code}
