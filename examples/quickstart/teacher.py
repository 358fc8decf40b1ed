"""An OpenAI-compatible server on loopback around the zero-shot classifier: the quickstart's teacher.

It speaks the part of the protocol that distillery uses: chat completions with usage and logprobs, and the list of
models. The classifier reads the last user message; a large model would also read the system message.

The first line of output is the base URL. It appears before the model is loaded; until then calls wait.
"""

from __future__ import annotations

import argparse
import asyncio
import hmac
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from answering import MODEL, BadRequest, Speaker, completion, parse_request

if TYPE_CHECKING:
    from aiohttp import web
    from batching import Batcher

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def make_app(batcher: Batcher, api_key: str | None) -> web.Application:
    """Return the aiohttp application."""
    from aiohttp import web

    speaker = Speaker(batcher.categories)

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("Authorization", "")
        if api_key is not None and not hmac.compare_digest(given.encode(), f"Bearer {api_key}".encode()):
            return _error(401, "invalid_api_key", "the API key is missing or wrong")
        try:
            return await handler(request)
        except BadRequest as error:
            return _error(400, "invalid_request_error", str(error))

    async def complete(http: web.Request) -> web.Response:
        try:
            body = await http.json()
        except ValueError:
            raise BadRequest("the body is not JSON") from None
        request = parse_request(body)
        prompt_tokens = sum(batcher.count(message["content"]) for message in request.messages)
        judgement = await batcher.judge(request.user)
        return web.json_response(completion(request, *speaker.answer(request, judgement), prompt_tokens))

    async def models(_: web.Request) -> web.Response:
        return web.json_response(
            {"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "example"}]}
        )

    app = web.Application(middlewares=[guard])
    app.router.add_post("/v1/chat/completions", complete)
    app.router.add_get("/v1/models", models)
    return app


def _error(status: int, code: str, message: str) -> web.Response:
    from aiohttp import web

    return web.json_response({"error": {"message": message, "type": code, "code": code}}, status=status)


async def serve(listening: socket.socket, workers: int, api_key: str | None, until_stdin_ends: bool) -> None:
    """Load the model and answer until cancelled, or until standard input ends: the parent is gone then."""
    # Imported late: the URL is out and calls wait in the socket while torch loads.
    from aiohttp import web
    from batching import Batcher
    from weights import find_model
    from zero_shot import ZeroShot

    batcher = Batcher(ZeroShot(find_model()), workers)
    runner = web.AppRunner(make_app(batcher, api_key), access_log=None)
    await runner.setup()
    await web.SockSite(runner, listening).start()
    print("ready", flush=True)
    try:
        if until_stdin_ends:
            await _end_of_stdin()
        else:
            await asyncio.Event().wait()
    finally:
        await runner.cleanup()
        batcher.close()


async def _end_of_stdin() -> None:
    """Return when whoever holds the other end of the pipe has closed it or is gone."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    while await reader.read(4096):
        pass


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one (default)")
    parser.add_argument(
        "--workers", type=int, default=2, help="batches computed at once, one core each (default 2)"
    )
    parser.add_argument("--api-key-env", metavar="NAME", help="demand the key in this environment variable")
    parser.add_argument("--until-stdin-ends", action="store_true", help="end when standard input is closed")
    options = parser.parse_args()
    api_key = os.environ[options.api_key_env] if options.api_key_env else None
    listening = socket.create_server((options.host, options.port), backlog=512)
    print(f"http://{options.host}:{listening.getsockname()[1]}/v1", flush=True)
    try:
        asyncio.run(serve(listening, options.workers, api_key, options.until_stdin_ends))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
