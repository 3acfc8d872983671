"""`linnet up`: everything on one machine, its end, and what keeps it from starting."""

import json
import os
import pathlib
import signal
import socket
import subprocess

import pytest
from cluster import CLI, MODEL, MODEL_FILE, SANITIZER_REPORT, SLOWNESS, environment, linnet, wait_for


class Up:
    def __init__(self, home, *args, wrapper=(), ports=("--free-ports",)):
        self.home = pathlib.Path(home)
        self.out = pathlib.Path(f"{home}.out")
        self.err = pathlib.Path(f"{home}.err")
        with open(self.out, "wb") as out, open(self.err, "wb") as err:
            self.process = subprocess.Popen(
                [*wrapper, CLI, "up", "-o", "json", *ports, *args],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=environment(LINNET_HOME=str(home)),
            )

    def wait_up(self):
        def up():
            assert self.process.poll() is None, self.err.read_text()
            return self.out.read_text().endswith("}\n")

        wait_for(up, 60, "linnet up")
        return json.loads(self.out.read_text())

    def children(self):
        """{program: process id}"""
        pids = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return {pathlib.Path(os.readlink(f"/proc/{p}/exe")).name: int(p) for p in pids}

    def cli(self, *args, **more):
        return linnet(*args, env={"LINNET_HOME": str(self.home)}, **more)

    def wait_end(self):
        return self.process.wait(60 * SLOWNESS)

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.wait_end()
        for log in self.home.glob("logs/*.log"):
            assert not SANITIZER_REPORT.search(log.read_text(errors="replace")), log.read_text(errors="replace")[-5000:]


@pytest.fixture
def up(tmp_path):
    started = []

    def start(*args, **more):
        started.append(Up(tmp_path / "home", *args, **more))
        return started[-1]

    yield start
    for one in started:
        one.close()


def gone(pids):
    def lives(pid):
        try:
            return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
        except OSError:
            return False

    return not any(lives(p) for p in pids)


def test_serves_a_model_and_stops_cleanly(up):
    one = up()
    addresses = one.wait_up()
    assert set(addresses) == {"home", "gateway", "registry", "worker"}
    children = one.children()
    assert set(children) == {"linnet-registry", "linnet-worker", "linnet-gateway"}
    # The other commands find it by LINNET_HOME alone.
    assert one.cli("model", "import", MODEL_FILE).returncode == 0
    answer = wait_for(lambda: served(one), 60, "an answer")
    assert len(answer) > 10
    second = subprocess.run(
        [CLI, "up", "--free-ports"],
        capture_output=True,
        text=True,
        timeout=30 * SLOWNESS,
        env=environment(LINNET_HOME=str(one.home)),
    )
    assert second.returncode == 4
    assert f"process {one.process.pid}" in second.stderr and "LINNET_HOME" in second.stderr
    one.process.send_signal(signal.SIGINT)
    assert one.wait_end() == 0, one.err.read_text()
    assert gone(children.values())
    assert not (one.home / "run/endpoints.json").exists()
    assert one.cli("model", "ls").returncode == 5
    # What was imported is there the next time.
    again = up()
    again.wait_up()
    assert MODEL in again.cli("model", "ls").stdout


def served(one):
    done = one.cli("run", MODEL, "Name three fish.", "--temperature", "0", "--max-tokens", "16")
    assert done.returncode in (0, 5), done.stderr
    return done.stdout if done.returncode == 0 else ""


def test_a_worker_that_is_killed_starts_again(up):
    one = up()
    one.wait_up()
    os.kill(one.children()["linnet-worker"], signal.SIGKILL)
    wait_for(lambda: "the worker is up again" in one.err.read_text(), 30, "the worker to be up again")
    assert "the worker ended (signal 9" in one.err.read_text()
    assert one.cli("worker", "ls").returncode == 0
    one.process.send_signal(signal.SIGTERM)
    assert one.wait_end() == 0


def test_nothing_outlives_it(up):
    one = up()
    one.wait_up()
    pids = one.children().values()
    one.process.kill()
    one.process.wait()
    wait_for(lambda: gone(pids), 30, "its processes to end")
    # And what it left behind keeps nobody from starting again.
    again = up()
    again.wait_up()


def test_a_port_in_use_is_named_with_the_flag_that_helps(up):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        zeros = [f"--{s}-port=0" for s in ("gateway", "registry", "worker", "gateway-metrics", "registry-metrics", "worker-metrics")]
        one = up(*zeros, f"--gateway-http-port={port}", ports=())
        assert one.wait_end() == 1
        assert str(port) in one.err.read_text() and "--gateway-http-port" in one.err.read_text()


def tmpfs(options):
    """Runs a command where a file system of its own is mounted on $LINNET_HOME."""
    # Where / is no mount of its own (in a chroot) its propagation cannot be changed, and is private already.
    script = f'mount --make-rprivate / 2>/dev/null; mkdir -p "$LINNET_HOME" && mount -t tmpfs -o {options} tmpfs "$LINNET_HOME" && exec "$@"'
    become_root = () if os.geteuid() == 0 else ("--map-root-user",)
    return ("unshare", "--mount", *become_root, "--propagation", "unchanged", "bash", "-c", script, "bash")


def test_a_read_only_home(up):
    one = up(wrapper=tmpfs("ro,size=64m"))
    assert one.wait_end() == 1
    assert str(one.home) in one.err.read_text()
    assert "ead-only" in one.err.read_text() and "LINNET_HOME" in one.err.read_text()


def test_a_full_home(up):
    one = up(wrapper=tmpfs("size=4m"))
    assert one.wait_end() == 1
    assert "4.0 MiB free" in one.err.read_text() and "LINNET_HOME" in one.err.read_text()


def test_a_home_that_fills_up_refuses_the_upload_and_goes_on(up):
    one = up(wrapper=tmpfs("size=80m"))
    flag = f"--registry={one.wait_up()['registry']['grpc']}"
    done = linnet("model", "import", MODEL_FILE, flag)
    assert done.returncode == 1, done.stderr
    assert "space" in done.stderr.lower(), done.stderr
    assert linnet("model", "ls", flag).returncode == 0
    assert json.loads(linnet("model", "ls", flag, "-o", "json").stdout)["models"] == []
    assert one.process.poll() is None


def test_a_home_that_is_a_file(up, tmp_path):
    (tmp_path / "home").write_text("not a folder")
    one = up()
    assert one.wait_end() == 1
    assert str(one.home) in one.err.read_text()
    (tmp_path / "home").unlink()
