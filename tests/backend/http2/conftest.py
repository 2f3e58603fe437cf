"""Peers of the client's connection."""

from collections.abc import Callable, Iterator

import pytest

from support.http2_peer import Peer


@pytest.fixture
def peer() -> Iterator[Peer]:
    made = Peer()
    yield made
    made.close()


@pytest.fixture
def make_peer() -> Iterator[Callable[..., Peer]]:
    """Peers with settings."""
    made: list[Peer] = []

    def make(**settings: int) -> Peer:
        made.append(Peer(**settings))
        return made[-1]

    yield make
    for each in made:
        each.close()
