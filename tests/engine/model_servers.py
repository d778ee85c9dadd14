"""A model endpoint on loopback that speaks the OpenAI and the Anthropic protocol, whole and streamed, with faults.

    with ModelServer(text("hello")) as server:              # the same reply for every request
        ... base_url=server.openai_url ...                  # POST {openai_url}/chat/completions
        ... base_url=server.anthropic_url ...               # POST {anthropic_url}/v1/messages
        assert server.requests[0].body["messages"]

    ModelServer(status(429, retry_after=7), text("hello"))  # one after another, the last for all that follow
    ModelServer(lambda request: text(request.prompt))       # a model with a mind of its own

Only the model is made up: HTTP, the chunks, the events and the connections are real. `closed_url` is an address that
refuses connections.
"""

from __future__ import annotations

import json
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HANG_LIMIT_S = 60.0


@dataclass(frozen=True)
class Reply:
    """Say what the model answers: text, calls of tools, or a fault.

    `fault` is "" or one of hang (accepts and never answers), half (half of the answer, then the connection is cut),
    nonsense (not the protocol), status (an HTTP error with `status` and `headers`). `pause_s` is waited before each
    streamed piece; `pieces` is how many there are of text. `hold`: stop after half of the pieces until
    `ModelServer.release`.
    """

    text: str = ""
    calls: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    fault: str = ""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    input_tokens: int = 120
    output_tokens: int = 30
    pieces: int = 4
    pause_s: float = 0.0
    hold: bool = False


def text(words: str, **more: Any) -> Reply:
    """Return an answer in words."""
    return Reply(words, **more)


def output(value: Mapping[str, Any], **more: Any) -> Reply:
    """Return a structured answer: a call of the tool that the client takes its output from."""
    return Reply(calls=(("final_result", value),), **more)


def call(name: str, **arguments: Any) -> Reply:
    """Return a call of one of the client's tools."""
    return Reply(calls=((name, arguments),))


def status(code: int, *, retry_after: float | None = None) -> Reply:
    """Return an HTTP error."""
    headers = {} if retry_after is None else {"Retry-After": f"{retry_after:g}"}
    return Reply(fault="status", status=code, headers=headers)


def hang() -> Reply:
    """Return no answer, ever."""
    return Reply(fault="hang")


def half(words: str = "one two three four") -> Reply:
    """Return half of an answer."""
    return Reply(words, fault="half")


def nonsense() -> Reply:
    """Return something that is not the protocol."""
    return Reply(fault="nonsense")


@dataclass(frozen=True)
class Request:
    """Hold what a client sent."""

    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]

    @property
    def is_anthropic(self) -> bool:
        return self.path.endswith("/messages")

    @property
    def prompt(self) -> str:
        """Return all that the client said: instructions, questions, results of tools."""
        return json.dumps([self.body.get("system", ""), self.body["messages"]], ensure_ascii=False)

    @property
    def tools(self) -> list[str]:
        """Return the names of the tools that the model may call."""
        return [tool["name"] if self.is_anthropic else tool["function"]["name"] for tool in self.body.get("tools", [])]


Responder = Callable[[Request], Reply]


class ModelServer:
    """Serve replies until the `with` block ends. `gone` counts clients that went away before the end of an answer."""

    def __init__(self, *replies: Reply | Responder) -> None:
        self._replies = list(replies) or [text("hello")]
        self._lock = threading.Condition()
        self._released = threading.Event()
        self.requests: list[Request] = []
        self.active = 0
        self.most_active = 0
        self.gone = 0

    def __enter__(self) -> ModelServer:
        self._http = _Server(("127.0.0.1", 0), _Handler)
        self._http.owner = self
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._released.set()
        self._http.shutdown()
        self._http.close_connections()
        self._http.server_close()
        self._thread.join(5)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    openai_url = property(lambda self: f"{self.url}/v1")
    anthropic_url = url

    def release(self) -> None:
        """Let what hangs or is held go on."""
        self._released.set()

    def wait_for(self, is_true: Callable[[ModelServer], bool], timeout_s: float = 10.0) -> None:
        """Wait until something is true of the server. Raises AssertionError after `timeout_s`."""
        with self._lock:
            assert self._lock.wait_for(lambda: is_true(self), timeout_s), "the model's endpoint waited in vain"

    def wait_for_requests(self, count: int, timeout_s: float = 10.0) -> None:
        """Wait until that many requests have come."""
        self.wait_for(lambda server: len(server.requests) >= count, timeout_s)

    def choose(self, request: Request) -> Reply:
        with self._lock:
            number = len(self.requests)
            self.requests.append(request)
            self._lock.notify_all()
        chosen = self._replies[min(number, len(self._replies) - 1)]
        return chosen(request) if callable(chosen) else chosen

    def change(self, **by: int) -> None:
        with self._lock:
            for name, step in by.items():
                setattr(self, name, getattr(self, name) + step)
            self.most_active = max(self.most_active, self.active)
            self._lock.notify_all()

    def wait_released(self, connection: socket.socket) -> bool:
        """Wait for `release`; False when the client went away before."""
        deadline = time.monotonic() + HANG_LIMIT_S
        while time.monotonic() < deadline:
            if self._released.wait(0.02):
                return True
            readable, _, _ = select.select([connection], [], [], 0)
            if readable and not connection.recv(1, socket.MSG_PEEK):
                return False
        return True


def closed_url() -> str:
    """Return the address of a port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
    owner: ModelServer

    def __init__(self, *args: Any) -> None:
        self._open: set[socket.socket] = set()
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        for connection in list(self._open):
            self.shutdown_request(connection)

    def handle_error(self, *_: Any) -> None:
        return  # a client that went away is what some tests are about


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: Any) -> None:
        return

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        request = Request(self.path, {k.lower(): v for k, v in self.headers.items()}, body)
        owner = self.server.owner
        reply = owner.choose(request)
        owner.change(active=1)
        try:
            self._answer(owner, request, reply)
        except (BrokenPipeError, ConnectionResetError):
            owner.change(gone=1)
            self.close_connection = True
        finally:
            owner.change(active=-1)

    def _answer(self, owner: ModelServer, request: Request, reply: Reply) -> None:
        if reply.fault == "hang" and not owner.wait_released(self.connection):
            raise BrokenPipeError
        if reply.fault == "status":
            message = {"type": "error", "error": {"type": "error", "message": f"status {reply.status}"}}
            self._send(json.dumps(message), reply.status, reply.headers)
        elif reply.fault == "nonsense":
            self._send("<html>it works</html>", 200, {"Content-Type": "text/html"})
        elif request.body.get("stream"):
            self._stream(owner, reply, list((_anthropic_events if request.is_anthropic else _openai_events)(reply)))
        else:
            self._send(
                json.dumps((_anthropic_whole if request.is_anthropic else _openai_whole)(reply)), cut=reply.fault
            )

    def _send(self, body: str, code: int = 200, headers: Mapping[str, str] | None = None, *, cut: str = "") -> None:
        data = body.encode()
        self.send_response(code)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if cut == "half" else data)
        self.close_connection = self.close_connection or cut == "half"

    def _stream(self, owner: ModelServer, reply: Reply, events: list[str]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number, event in enumerate(events):
            if number == len(events) // 2:
                if reply.fault == "half":
                    self.close_connection = True
                    return
                if reply.hold and not owner.wait_released(self.connection):
                    raise BrokenPipeError
            if reply.pause_s:
                time.sleep(reply.pause_s)
            data = event.encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")


def _pieces(whole: str, count: int) -> Iterator[str]:
    size = max(1, -(-len(whole) // max(1, count)))
    for start in range(0, len(whole), size):
        yield whole[start : start + size]


def _openai_calls(reply: Reply) -> list[dict[str, Any]]:
    return [
        {"id": f"call_{n}", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
        for n, (name, arguments) in enumerate(reply.calls)
    ]


def _openai_usage(reply: Reply) -> dict[str, int]:
    total = reply.input_tokens + reply.output_tokens
    return {"prompt_tokens": reply.input_tokens, "completion_tokens": reply.output_tokens, "total_tokens": total}


def _openai_whole(reply: Reply) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": reply.text or None}
    if reply.calls:
        message["tool_calls"] = _openai_calls(reply)
    finish = "tool_calls" if reply.calls else "stop"
    choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
    return {**_OPENAI, "object": "chat.completion", "choices": [choice], "usage": _openai_usage(reply)}


_OPENAI = {"id": "chatcmpl-1", "created": 1_700_000_000, "model": "fake-model"}


def _openai_events(reply: Reply) -> Iterator[str]:
    def chunk(delta: dict[str, Any], finish: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        return f"data: {json.dumps({**_OPENAI, 'object': 'chat.completion.chunk', 'choices': [choice]})}\n\n"

    yield chunk({"role": "assistant", "content": ""})
    for piece in _pieces(reply.text, reply.pieces):
        yield chunk({"content": piece})
    for number, one in enumerate(_openai_calls(reply)):
        yield chunk({"tool_calls": [{"index": number, **one}]})
    yield chunk({}, "tool_calls" if reply.calls else "stop")
    last = {**_OPENAI, "object": "chat.completion.chunk", "choices": [], "usage": _openai_usage(reply)}
    yield f"data: {json.dumps(last)}\n\n"
    yield "data: [DONE]\n\n"


_ANTHROPIC = {"id": "msg_1", "type": "message", "role": "assistant", "model": "fake-model"}


def _anthropic_blocks(reply: Reply) -> list[dict[str, Any]]:
    said = [{"type": "text", "text": reply.text}] if reply.text else []
    return said + [
        {"type": "tool_use", "id": f"toolu_{n}", "name": name, "input": dict(arguments)}
        for n, (name, arguments) in enumerate(reply.calls)
    ]


def _anthropic_whole(reply: Reply) -> dict[str, Any]:
    usage = {"input_tokens": reply.input_tokens, "output_tokens": reply.output_tokens}
    stop = {"stop_reason": "tool_use" if reply.calls else "end_turn", "stop_sequence": None}
    return {**_ANTHROPIC, "content": _anthropic_blocks(reply), **stop, "usage": usage}


def _anthropic_events(reply: Reply) -> Iterator[str]:
    def event(kind: str, **data: Any) -> str:
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **data})}\n\n"

    usage = {"input_tokens": reply.input_tokens, "output_tokens": 1}
    start = {**_ANTHROPIC, "content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}
    yield event("message_start", message=start)
    for index, block in enumerate(_anthropic_blocks(reply)):
        if block["type"] == "text":
            yield event("content_block_start", index=index, content_block={"type": "text", "text": ""})
            for piece in _pieces(block["text"], reply.pieces):
                yield event("content_block_delta", index=index, delta={"type": "text_delta", "text": piece})
        else:
            yield event("content_block_start", index=index, content_block={**block, "input": {}})
            for piece in _pieces(json.dumps(block["input"]), 2):
                yield event(
                    "content_block_delta", index=index, delta={"type": "input_json_delta", "partial_json": piece}
                )
        yield event("content_block_stop", index=index)
    stop = {"stop_reason": "tool_use" if reply.calls else "end_turn", "stop_sequence": None}
    yield event("message_delta", delta=stop, usage={"output_tokens": reply.output_tokens})
    yield event("message_stop")
