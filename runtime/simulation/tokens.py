"""Tokens: every choice of a run that was not the plain one, as a short text to paste."""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Sequence
from typing import Any

from attrs import frozen

from runtime.simulation.choices import Deviation
from runtime.simulation.errors import ReplayError
from runtime.simulation.world import World

__all__ = ["Recording", "decode", "encode"]

_VERSION = "s1-"
# What tokens are made of; the compression starts out knowing it.
_DICTIONARY = (
    b'"],["thread-2","thread-1","main",0,"thread-",0,"clock-1","worker-1",0,0,"clock!"],["'
)


@frozen
class Recording:
    """What one simulation did, as far as a replay has to know."""

    deviations: tuple[Deviation, ...]
    trace: str  # a checksum of who ran, in which order, until when

    @classmethod
    def of(cls, world: World) -> Recording:
        """Of a finished simulation."""
        path = zlib.crc32("\n".join(world.path).encode())
        whole = zlib.crc32(f"{world.steps} {world.now!r}".encode(), path)
        return cls(tuple(world.deviations), f"{whole:08x}")


def encode(recordings: Sequence[Recording]) -> str:
    """The token of a run: its simulations, in their order."""
    content = [[each.trace, [list(item) for item in each.deviations]] for each in recordings]
    text = json.dumps(content, separators=(",", ":")).encode()
    press = zlib.compressobj(9, wbits=-15, zdict=_DICTIONARY)
    packed = press.compress(text) + press.flush()
    checked = zlib.crc32(packed).to_bytes(4, "big") + packed
    return _VERSION + base64.urlsafe_b64encode(checked).rstrip(b"=").decode()


def decode(token: str) -> list[Recording]:
    """What a token says.

    Raises:
        ReplayError: it is none, or not a whole one, or of another version.
    """
    if not isinstance(token, str):
        raise ReplayError(f"a token is a text such as {_VERSION}AbC..., not {token!r}")
    text = token.strip()
    if not text.startswith(_VERSION):
        raise ReplayError(
            f"{_shortened(token)} is no token of this version of the simulation: those begin with"
            f" {_VERSION!r}"
        )
    body = text.removeprefix(_VERSION)
    try:
        checked = base64.b64decode(body + "=" * (-len(body) % 4), altchars="-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise ReplayError(
            f"the token {_shortened(token)} is damaged: {error}. Copy the whole of it"
        ) from error
    packed = checked[4:]
    if len(checked) < 4 or zlib.crc32(packed).to_bytes(4, "big") != checked[:4]:  # noqa: PLR2004
        raise ReplayError(
            f"the token {_shortened(token)} is damaged: a part of it is missing or changed (its"
            " checksum is wrong). Copy the whole of it"
        )
    unpress = zlib.decompressobj(wbits=-15, zdict=_DICTIONARY)
    try:
        return [_recording(each) for each in json.loads(unpress.decompress(packed))]
    except (zlib.error, ValueError, TypeError) as error:
        raise ReplayError(
            f"the token {_shortened(token)} holds something else than choices: {error}"
        ) from error


def _recording(content: Any) -> Recording:
    trace, deviations = content
    read = tuple(
        (str(task), int(step), int(visit), str(chosen)) for task, step, visit, chosen in deviations
    )
    return Recording(read, str(trace))


def _shortened(token: str) -> str:
    return repr(token if len(token) <= 40 else f"{token[:37]}...")  # noqa: PLR2004 - a line has room
