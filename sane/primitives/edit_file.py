"""sane-edit-file: change a part of a text file on a target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from sane.errors import UsageError
from sane.primitives._replace import replace_file
from sane.primitives._script import backup_path
from sane.primitives.read_file import read_file
from sane.transports.context import Context
from sane.verbs.registry import verb

Operation = Literal["replace", "insert", "delete", "append"]
LIMIT_BYTES = 16 << 20
WORDS = {"replace": "OLD NEW", "insert": "LINE TEXT", "delete": "LINE, FROM-TO or TEXT", "append": "TEXT"}


@dataclass(frozen=True, slots=True)
class EditedFile:
    """Answer what an edit did; `status` is edited or unchanged, `diff` is unified."""

    status: str
    path: str
    operation: str
    backup_path: str | None
    diff: str
    size_bytes: int


@verb(access="write", destructive=True, idempotent=False, example="sane-edit-file ssh:web1 /etc/app.conf replace v1 v2")
async def edit_file(
    context: Context,
    target: Annotated[str, "where"],
    path: Annotated[str, "the file; `~/` is the target's home"],
    operation: Annotated[Operation, "replace OLD NEW; insert LINE TEXT; delete LINE, FROM-TO or TEXT; append TEXT"],
    what: Annotated[list[str], "what the operation needs; lines count from 1, insert puts TEXT before LINE"],
    *,
    once: Annotated[bool, "refuse to replace OLD unless it occurs exactly once"] = False,
    backup: Annotated[bool, "keep the old file in /var/tmp"] = True,
    timeout_s: Annotated[float, "how long it may take"] = 60.0,
) -> EditedFile:
    """Replace, insert, delete or append text in a file, atomically, and show the difference.

    OLD and TEXT are literal. The file must still be the one that was read when the new one takes its place.
    Raises UsageError when the operation does not fit the file, RemoteError when the target refuses.
    """
    now = await read_file(context, target, path, limit_bytes=LIMIT_BYTES, timeout_s=timeout_s)
    if now.truncated or now.encoding != "utf-8":
        raise UsageError(f"{path} is {'larger than 16 MB' if now.truncated else 'no UTF-8 text'} and can't be edited")
    after = edited(now.content, operation, what, once=once)
    if after == now.content:
        return EditedFile("unchanged", now.path, operation, None, "", now.size_bytes)
    data = after.encode("utf-8", "surrogateescape")
    fields = await replace_file(
        context,
        target,
        path,
        data,
        display=f"sane-edit-file {path} {operation}",
        backup=backup,
        before_sha256=now.sha256,
        timeout_s=timeout_s,
    )
    diff = _unified_diff(now.content, after, path)
    return EditedFile("edited", now.path, operation, backup_path(path, fields), diff, len(data))


def edited(text: str, operation: Operation, what: list[str], *, once: bool = False) -> str:
    """Return the text after an operation. Raises UsageError when it does not fit."""
    wanted = 2 if operation in ("replace", "insert") else 1
    if len(what) != wanted:
        raise UsageError(
            f"{operation} needs {WORDS[operation]}, got {len(what)} argument{'s' * (len(what) != 1)}",
            hint="Give each as one argument: in a shell, quote what holds blanks.",
        )
    if operation == "replace":
        return _replaced(text, what[0], what[1], once)
    if operation == "append":
        return _with_end(text) + _with_end(what[0])
    lines = _lines_of(text)
    if operation == "insert":
        return _inserted(lines, what[0], what[1])
    return _deleted(lines, what[0])


def _replaced(text: str, old: str, new: str, once: bool) -> str:
    if not old:
        raise UsageError("the text to replace is empty")
    count = text.count(old)
    if count == 0:
        raise UsageError("the text to replace does not occur in the file")
    if once and count > 1:
        raise UsageError(f"the text to replace occurs {count} times", hint="Give more of what is around it.")
    return text.replace(old, new)


def _lines_of(text: str) -> list[str]:
    """Return the lines as editors, grep and sed count them: `splitlines` also parts at form feeds, U+2028 and more."""
    *lines, rest = text.split("\n")
    return [f"{line}\n" for line in lines] + ([rest] if rest else [])


def _with_end(text: str) -> str:
    return text if not text or text.endswith("\n") else text + "\n"


def _inserted(lines: list[str], where: str, text: str) -> str:
    if not where.isdecimal() or not 1 <= int(where) <= len(lines) + 1:
        raise UsageError(f"line must be 1 to {len(lines) + 1}, got '{where}'")
    before = lines[: int(where) - 1]
    return _with_end("".join(before)) + _with_end(text) + "".join(lines[int(where) - 1 :])


def _deleted(lines: list[str], what: str) -> str:
    first, dash, last = what.partition("-")
    if first.isdecimal() and (not dash or last.isdecimal()):
        start, end = int(first), int(last) if dash else int(first)
        if not 1 <= start <= end <= len(lines):
            raise UsageError(f"lines must be within 1 to {len(lines)}, got '{what}'")
        return "".join(lines[: start - 1] + lines[end:])
    if not what:
        raise UsageError("the text of the lines to delete is empty")
    kept = [line for line in lines if what not in line]
    if len(kept) == len(lines):
        raise UsageError(f"no line holds '{what}'")
    return "".join(kept)


def _unified_diff(before: str, after: str, path: str) -> str:
    import difflib

    lines = difflib.unified_diff(
        _lines_of(before),
        _lines_of(after),
        f"a/{path.lstrip('/')}",
        f"b/{path.lstrip('/')}",
    )
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)
