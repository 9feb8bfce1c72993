"""`POST /api/configuration/reload`: reads the configuration file again, and puts in force what changed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from streamgauge.errors import NotReloadable, OptionError, RestartNeeded, StreamgaugeError
from streamgauge.reloading import Reloaded
from streamgauge.web import problem

PATH: Final = "/api/configuration/reload"


def routes(reload: Callable[[], Awaitable[Reloaded]]) -> list[Route]:
    """Give the route of reloads."""

    async def run(request: Request) -> Response:  # noqa: ARG001  a route's handler takes the request
        try:
            found = await reload()
        except OptionError as exc:
            return problem.response(
                HTTPStatus.UNPROCESSABLE_ENTITY, "bad_configuration", str(exc),
                path=exc.path, problem=exc.problem, fix=exc.fix,
            )  # fmt: skip
        except RestartNeeded as exc:
            return problem.response(HTTPStatus.CONFLICT, exc.code, str(exc), keys=exc.keys)
        except NotReloadable as exc:
            return problem.response(HTTPStatus.CONFLICT, exc.code, str(exc))
        except StreamgaugeError as exc:
            return problem.response_to(exc)
        return Response(msgspec.json.encode(found), media_type="application/json")

    return [Route(PATH, run, methods=["POST"])]
