"""The memory of JSON: bounded for one request, and large ones are read one at a time."""

import gc

import gevent
import pytest

from wsgiapp.errors import Overloaded, TooLarge
from wsgiapp.web import document_memory
from wsgiapp.web.document_memory import SMALL_BYTES, DocumentMemory

FAR = 30.0


def test_small_ones_never_wait() -> None:
    large = DocumentMemory()
    large.charge(SMALL_BYTES + 1)
    others = [DocumentMemory() for _ in range(10)]
    for other in others:
        other.charge(SMALL_BYTES)
    large.close()
    assert gc.isenabled()


def test_large_ones_have_their_turns() -> None:
    first, second = DocumentMemory(), DocumentMemory()
    first.charge(2 * SMALL_BYTES)
    assert not gc.isenabled(), "it would go through the document again and again"
    waiting = gevent.spawn(second.charge, 2 * SMALL_BYTES)
    gevent.sleep(0.01)
    assert not waiting.ready()
    first.charge(-2 * SMALL_BYTES)
    waiting.get(timeout=FAR)
    third = gevent.spawn(first.charge, 2 * SMALL_BYTES)
    gevent.sleep(0.01)
    assert not third.ready()
    second.close()
    second.close()
    third.get(timeout=FAR)
    first.close()
    assert gc.isenabled()


def test_what_is_too_large_is_rejected() -> None:
    memory = DocumentMemory(3 * SMALL_BYTES)
    memory.charge(2 * SMALL_BYTES)
    with pytest.raises(TooLarge, match="body: its JSON would take more than 12,582,912 bytes of memory; send fewer"):
        memory.charge(2 * SMALL_BYTES)
    memory.close()
    with DocumentMemory(3 * SMALL_BYTES).alone(100 * SMALL_BYTES):
        pass
    next_one = DocumentMemory()
    next_one.charge(2 * SMALL_BYTES)
    next_one.close()


def test_one_whose_turn_does_not_come_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document_memory, "WAIT_SECONDS", 0.01)
    first = DocumentMemory()
    monkeypatch.setattr(document_memory._local, "turn", document_memory.BoundedSemaphore(1), raising=False)
    first.charge(2 * SMALL_BYTES)
    with pytest.raises(Overloaded, match="other large requests are being read"):
        DocumentMemory().charge(2 * SMALL_BYTES)
    first.close()
