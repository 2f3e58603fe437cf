"""Native threads: what they return or raise, and what of it stays in memory."""

import gc
import weakref

from wsgiapp.errors import InvalidField
from wsgiapp.inference.native_threads import NativeThreads


class Picture:
    """What can be watched."""


def fail(picture: Picture) -> None:
    raise InvalidField("img", "not an image")


def test_a_failed_picture_does_not_stay_until_the_collector_comes() -> None:
    threads = NativeThreads(1)
    threads.run(len, b"")
    picture = Picture()
    watched = weakref.ref(picture)
    gc.disable()
    try:
        said = ""
        try:
            threads.run(fail, picture)
        except InvalidField as exc:
            said = str(exc)
        threads.run(len, b"")  # the thread forgets its last task
        del picture
        assert said == "img: not an image" and watched() is None
    finally:
        gc.enable()
