"""What each of uWSGI's processes loads, after its fork (see uwsgi.ini)."""

import os
import signal
import sys

import uwsgi

# Until uWSGI has its own handler here, the master's would swallow the signal to drain, and a stop would wait for good.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
# uWSGI names the interpreter that it was built for; dictionaries are parsed in a child of this environment's.
sys.executable = os.path.join(sys.prefix, "bin", "python")

from wsgiapp.settings.loading import load_settings

settings = load_settings()
settings.metrics.mkdir(parents=True, exist_ok=True)
os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", str(settings.metrics))
MASTER = os.environ.get("SUPERVISOR_PROCESS_NAME")  # the supervised one's name, which all processes inherit
# A worker's number is its successor's, too, which goes on counting in the same file of metrics.
os.environ["SUPERVISOR_PROCESS_NAME"] = f"app_{uwsgi.worker_id() - 1:02d}"

from wsgiapp.app import application  # noqa: F401 - what uWSGI serves

if MASTER:  # `make restart` waits for it
    settings.ready_file(MASTER).write_text(str(uwsgi.masterpid()))
