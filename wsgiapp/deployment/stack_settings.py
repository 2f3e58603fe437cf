"""The settings by which the stack works that a shell speaks of."""

import os
from collections.abc import Mapping

from wsgiapp.deployment.supervisor import Supervisor
from wsgiapp.settings.loading import load_settings
from wsgiapp.settings.schema import Settings
from wsgiapp.settings.started import Started, run_folder


def stack_settings(environ: Mapping[str, str] | None = None, *, starts: bool = False) -> tuple[Settings, list[str]]:
    """The settings with the variables that the stack was started with, and which of the shell's do not count.

    They are the shell's own where no stack was started, or, with `starts`, where none runs: `up` is about to start one.
    """
    environ = os.environ if environ is None else environ
    started = Started.read(run_folder(environ))
    if starts and not Supervisor(run_folder(environ)).is_up():
        started = None
    if started is None:
        return load_settings(environ), []
    load_settings({**started.environment(environ), **environ})  # a variable that is wrong is an error, used or not
    return load_settings(started.environment(environ)), started.ignored(environ)
