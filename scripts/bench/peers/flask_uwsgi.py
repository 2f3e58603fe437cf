"""Flask under uWSGI, processes with threads, one channel a process.

`uwsgi --master --lazy-apps --processes CORES --threads 16 --module bench.peers.flask_uwsgi:app`
"""

from bench.peers.flask_shared_channel import create_app

# With --lazy-apps each process imports this after its fork.
app = create_app()
