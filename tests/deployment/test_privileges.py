"""As whom a stack runs that root starts, and what of its files others may read."""

import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.processes import REPOSITORY, free_port
from support.serving_client import connected, failure, model_spec
from support.stack import RunningStack
from wsgiapp.deployment.nginx import find_nginx
from wsgiapp.deployment.privileges import ROOT, User, choose, prepare
from wsgiapp.errors import StackError
from wsgiapp.settings.loading import load_settings
from wsgiapp.settings.schema import Settings
from wsgiapp.tfserving.messages import ReloadConfigRequest

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="it is root that becomes another user")
DEBIAN_PYTHON = "/usr/bin/python3"


def www_data() -> User:
    try:
        return User.find("www-data")
    except KeyError:
        pytest.skip("there is no user www-data, as Debian has it")


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that everybody can enter, unlike pytest's."""
    folder = Path(tempfile.mkdtemp(prefix="wsgiapp-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def loaded(place: Path, **variables: str) -> Settings:
    conf = place / "conf"
    if not conf.exists():
        shutil.copytree(REPOSITORY / "conf", conf)
        (place / "home").mkdir()
    return load_settings({"WSGIAPP_CONF": str(conf), "WSGIAPP_HOME": str(place / "home"), **variables})


def environment(place: Path) -> Path:
    """A virtual environment that www-data can use: this one, or Debian's Python with the packages of this one."""
    packages = Path(os.__file__).parent, Path(pytest.__file__).parent.parent
    user = www_data()
    for python in (sys.executable, DEBIAN_PYTHON):
        code = "import sys; sys.path += sys.argv[1:]; import supervisor, gevent, wsgiapp; print(sys.version_info[:2])"
        command = [python, "-c", code, str(packages[1]), str(REPOSITORY)]
        try:
            done = subprocess.run(command, user=user.uid, group=user.gid, extra_groups=[], cwd="/", capture_output=True)
        except OSError:
            continue
        if done.returncode == 0 and done.stdout.decode().strip() == str(sys.version_info[:2]):
            break
    else:
        pytest.skip("www-data can read neither this Python nor the repository")
    if python == sys.executable:
        return Path(sys.prefix)
    made = place / "venv"
    subprocess.run([DEBIAN_PYTHON, "-m", "venv", "--without-pip", str(made)], check=True)
    site = made / f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    (site / "here.pth").write_text(f"{packages[1]}\n{REPOSITORY}\n")
    for name in ("supervisord", "supervisorctl"):
        script = Path(sys.executable).with_name(name).read_text().partition("\n")[2]
        (made / "bin" / name).write_text(f"#!{made}/bin/python\n{script}")
        (made / "bin" / name).chmod(0o755)
    return made


def rights(pid: int) -> dict[str, str]:
    lines = (Path("/proc") / str(pid) / "status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def processes_below(pid: int) -> Iterator[int]:
    yield pid
    for child in (Path("/proc") / str(pid) / "task" / str(pid) / "children").read_text().split():
        yield from processes_below(int(child))


@needs_root
@pytest.mark.skipif(find_nginx(load_settings({})) is None, reason="Nginx is not installed")
def test_no_process_of_a_stack_that_root_starts_is_root_s(place: Path, tiny_server: str) -> None:
    user, python = www_data(), environment(place) / "bin/python"
    settings = loaded(place)
    conf, home = settings.conf, settings.home
    (conf / "wsgiapp.toml").write_text("")
    supervisord_conf = conf / "supervisord.conf"
    supervisord_conf.write_text(supervisord_conf.read_text().replace("startsecs=3", "startsecs=1"))
    variables = {
        "WSGIAPP_HOME": str(home),
        "WSGIAPP_CONF": str(conf),
        "WSGIAPP_HTTP_PORT": str(free_port()),
        "WSGIAPP_APP_BACKEND": "external",
        "WSGIAPP_BACKEND_ADDRESS": tiny_server,
        "WSGIAPP_APP_WORKERS": "1",
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("WSGIAPP_", "COVERAGE"))}

    def wsgiapp(command: str, **more: str) -> subprocess.CompletedProcess[str]:
        env = {**inherited, **variables, **more, "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run([str(python), "-m", "wsgiapp.cli", command], env=env, capture_output=True, text=True)

    up = wsgiapp("up", WSGIAPP_APP_USER="www-data")
    logs = "\n".join(path.read_text() for path in home.glob("log/*.log"))
    try:
        assert up.returncode == 0, up.stdout + up.stderr + logs
        pids = list(processes_below(int((home / "run/supervisord.pid").read_text())))
        assert len(pids) >= 4, "supervisord, a worker, Nginx's master and worker"
        for pid in pids:
            of_process = rights(pid)
            assert of_process["Uid"].split() == [str(user.uid)] * 4
            assert set(of_process["Gid"].split()) == {str(user.gid)}
            assert {of_process[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Amb")} == {"0" * 16}
            assert of_process["NoNewPrivs"] == "1"
        for folder in ("run", "log", "cache", "tmp"):
            for path in [home / folder, *(home / folder).rglob("*")]:
                status = path.lstat()
                assert status.st_uid == user.uid, path
                is_closed = not status.st_mode & 0o007 or path.name == "models.config"
                assert is_closed or path.is_symlink(), (path, oct(status.st_mode))
        assert stat.S_IMODE((home / "run/app_00.sock").stat().st_mode) == 0o660
        assert stat.S_IMODE((home / "run/app.sock").stat().st_mode) == 0o660
        assert stat.S_IMODE((home / "run/started.json").stat().st_mode) == 0o600
        assert stat.S_IMODE((home / "log/app_00.log").stat().st_mode) == 0o640
        assert wsgiapp("status").returncode == 0
    finally:
        down = wsgiapp("down")
    assert down.stdout.endswith("stopped\n"), down.stderr
    assert not (home / "run/app.sock").exists()


@needs_root
def test_root_stays_root_where_nobody_else_could_run_it_and_says_why(place: Path) -> None:
    settings = loaded(place)
    settings.home.chmod(0o700)
    user, (notice,) = choose(settings)
    assert user == ROOT
    assert notice.startswith("the stack runs as root, and so does whatever a model does: ")
    assert choose(loaded(place, WSGIAPP_APP_USER="root")) == (ROOT, []), "who asks for it is not told"
    user, (notice,) = choose(loaded(place, WSGIAPP_APP_BACKEND="container"))
    assert (user, "starts containers" in notice) == (ROOT, True)
    with pytest.raises(StackError, match=r'app\.user = "nosuchuser": no such user; `useradd --system nosuchuser`'):
        choose(loaded(place, WSGIAPP_APP_USER="nosuchuser"))
    www_data()
    with pytest.raises(StackError, match=r'app\.user = "www-data": www-data cannot '):
        choose(loaded(place, WSGIAPP_APP_USER="www-data"))


@needs_root
def test_folders_change_hands_but_nothing_that_links_out_of_them(place: Path) -> None:
    settings, user = loaded(place), User(*pwd.getpwnam("nobody")[:1], *pwd.getpwnam("nobody")[2:4])
    secret = place / "secret"
    secret.write_text("root's")
    deep = settings.logs / "deep"
    deep.mkdir(parents=True)
    (deep / "a.log").touch()
    (deep / "link").symlink_to(secret)
    os.link(secret, deep / "second-name")
    (settings.logs / "folder").symlink_to(place / "conf")
    prepare(settings, user)
    for path in (settings.run, settings.logs, deep, deep / "a.log", deep / "link", settings.cache):
        assert path.lstat().st_uid == user.uid, path
    for path in (secret, place / "conf", place / "conf/wsgiapp.toml", settings.home):
        assert path.stat().st_uid == 0, path
    os.chown(deep / "a.log", user.uid, 1)
    prepare(settings, user)
    assert (deep / "a.log").stat().st_gid == 1, "as sockets, which other processes ask by their group"
    prepare(settings, ROOT)
    assert (deep / "a.log").stat().st_uid == 0, "also back"


def test_the_model_server_of_a_stack_is_managed_at_its_socket_alone(stack: RunningStack) -> None:
    """Whoever can have it load a model runs a program as the stack's user."""
    with connected(f"127.0.0.1:{stack.backend_port}") as client:
        assert client.status(model_spec("lstm")).model_version_status
        assert client.metadata(model_spec("lstm"), "signature_def").metadata
        code, text = failure(client.models.HandleReloadConfigRequest, ReloadConfigRequest())
        assert (code, "backend.management" in text) == ("PERMISSION_DENIED", True)
    listed = stack.second_terminal().wsgiapp("models", "list")
    assert "cv_sod" in listed.stdout, listed.stderr
    with connected(f"unix:{stack.home}/run/modelserver.sock") as client:
        config = ReloadConfigRequest()
        config.config.model_config_list.config.add(name="x", base_path="/etc/x", model_platform="tensorflow")
        code, text = failure(client.models.HandleReloadConfigRequest, config)
        assert (code, "/etc/x is outside the folders" in text) == ("INVALID_ARGUMENT", True)


def test_what_a_stack_makes_is_closed_to_others(stack: RunningStack) -> None:
    for folder in ("run", "log"):
        assert not (stack.home / folder).stat().st_mode & 0o007, folder
    for path in [*(stack.home / "run").iterdir(), *(stack.home / "log").iterdir()]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert not mode & 0o002 and (path.name == "models.config" or not mode & 0o005), (path, oct(mode))
    for name in ("app.sock", "app_00.sock", "app_01.sock", "modelserver.sock"):
        assert stat.S_IMODE((stack.home / "run" / name).stat().st_mode) == 0o660, name
    assert stat.S_IMODE((stack.home / "run/started.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((stack.home / "run/supervisor.sock").stat().st_mode) == 0o700
    assert (stack.home / "run/modelserver.sock").stat().st_gid == os.getegid(), "and not that of Nginx's workers"
