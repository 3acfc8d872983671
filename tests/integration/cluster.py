"""Linnet's real processes, started on free ports with folders of their own."""

import json
import os
import pathlib
import re
import signal
import subprocess
import time

import grpc

BIN = pathlib.Path(os.environ["LINNET_BIN"])
# Of another build than the servers where it is only what drives them.
CLI = pathlib.Path(os.environ.get("LINNET_CLI") or BIN / "linnet")
MODEL_FILE = pathlib.Path(
    os.environ.get("LINNET_TEST_MODEL", pathlib.Path.home() / ".cache/linnet/models/SmolLM2-135M-Instruct.Q4_1.gguf")
)
MODEL = "smollm2-135m"
VARIANT = f"models/{MODEL}/variants/q4_1"

# Everything takes longer in a build with sanitizers.
SANITIZE = os.environ.get("LINNET_SANITIZE", "")
SLOWNESS = 8 if SANITIZE else 1

SANITIZER_REPORT = re.compile(
    r"ERROR: AddressSanitizer|ERROR: LeakSanitizer|WARNING: ThreadSanitizer|ERROR: ThreadSanitizer|runtime error:"
)


def environment(**more):
    env = dict(os.environ)
    suppressions = pathlib.Path(__file__).parent.parent / "tsan.supp"
    env["ASAN_OPTIONS"] = "allow_user_poisoning=0:detect_leaks=1"
    env["TSAN_OPTIONS"] = f"suppressions={suppressions}:halt_on_error=0"
    env["UBSAN_OPTIONS"] = "print_stacktrace=1"
    env.update(more)
    return env


def wait_for(condition, timeout=20.0, what="the condition", interval=0.05):
    """Polls until `condition()` is true and returns its value."""
    deadline = time.monotonic() + timeout * SLOWNESS
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"waited {timeout * SLOWNESS:.0f} s in vain for {what}"
        time.sleep(interval)


class Server:
    """One process: linnet-registry, linnet-worker or linnet-gateway."""

    def __init__(self, name, folder, args, listens=("--listen", "--metrics-listen"), env=None):
        self.name = name
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.args = list(args)
        self.listens = listens
        self.env = env
        self.ports = {}
        self.process = None
        self.log_path = self.folder / f"{name}.log"

    KEYS = {"--listen": "grpc", "--http-listen": "http", "--metrics-listen": "metrics"}

    def start(self, wait=True):
        """The first time on free ports, later on those it had."""
        self.ready_path = self.folder / f"{self.name}.ready.json"
        self.ready_path.unlink(missing_ok=True)
        listens = [f"{flag}=127.0.0.1:{self.ports.get(self.KEYS[flag], 0)}" for flag in self.listens]
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [BIN / f"linnet-{self.name}", *self.args, *listens, f"--ready-file={self.ready_path}"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(**(self.env or {})),
            )
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self):
        def ready():
            assert self.process.poll() is None, f"{self.name} ended with {self.process.returncode}:\n{self.log()[-3000:]}"
            return self.ready_path.exists()

        wait_for(ready, 30, f"{self.name} to be ready")
        self.ports = json.loads(self.ready_path.read_text())

    def address(self, key="grpc"):
        return f"127.0.0.1:{self.ports[key]}"

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def kill(self):
        """As a crash would: kill -9."""
        self.process.kill()
        self.process.wait()
        self.process = None

    def stop(self, timeout=30):
        """SIGTERM; asserts a clean end and no report of a sanitizer."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(timeout * SLOWNESS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            self.process = None
            raise AssertionError(f"{self.name} did not stop within {timeout * SLOWNESS} s of SIGTERM:\n{self.log()[-3000:]}")
        self.process = None
        self.check_log()
        assert code == 0, f"{self.name} ended with {code}:\n{self.log()[-3000:]}"

    def check_log(self):
        match = SANITIZER_REPORT.search(self.log())
        assert not match, f"{self.name}: a sanitizer's report:\n{self.log()[max(0, match.start() - 500):][:6000]}"


class Cluster:
    """Registry, worker and gateway together."""

    def __init__(self, folder, worker_args=()):
        self.folder = pathlib.Path(folder)
        self.registry = Server("registry", self.folder, [f"--data-dir={self.folder}/registry"])
        self.worker_args = worker_args

    def start(self, import_model=True):
        if self.registry.process is None:
            self.registry.start()
        if import_model:
            done = self.cli("model", "import", MODEL_FILE)
            assert done.returncode == 0, done.stderr
        flag = f"--registry={self.registry.address()}"
        self.worker = Server(
            "worker", self.folder, [flag, f"--cache-dir={self.folder}/worker", "--name=test-worker", *self.worker_args]
        )
        self.gateway = Server(
            "gateway",
            self.folder,
            [flag, f"--state-dir={self.folder}/gateway"],
            listens=("--listen", "--http-listen", "--metrics-listen"),
        )
        self.worker.start()
        self.gateway.start()
        if import_model:
            self.wait_serving()
        return self

    def wait_serving(self):
        def serving():
            try:
                return any(m["ready_workers"] for m in self.served_models())
            except grpc.RpcError as error:
                if error.code() is grpc.StatusCode.UNAVAILABLE:  # a connection that failed: not yet, then
                    return False
                raise

        wait_for(serving, 60, f"the gateway to serve {MODEL}")

    def served_models(self):
        from reflection import Api

        with Api(self.gateway.address()) as api:
            answer = api.unary("linnet.v1.Generation", "ListModels", {})
        return [{"model": m.model, "ready_workers": m.ready_workers} for m in answer.models]

    def cli(self, *args, input=None, timeout=120, env=None):
        flags = [f"--registry={self.registry.address()}"]
        if hasattr(self, "gateway") and self.gateway.ports:
            flags.append(f"--gateway={self.gateway.address()}")
        return linnet(*args, *flags, input=input, timeout=timeout, env=env)

    def stop(self):
        """All in order; every failure is told, none keeps the others running."""
        failures = []
        for server in (getattr(self, "gateway", None), getattr(self, "worker", None), self.registry):
            try:
                if server is not None:
                    server.stop()
            except AssertionError as failure:
                failures.append(str(failure))
        assert not failures, "\n".join(failures)


# The command line's exit codes.
DONE, FAILED, USAGE, NOT_FOUND, REFUSED, UNREACHABLE = range(6)


def data(done):
    """What a run of the command line with -o json says, which must have succeeded."""
    assert done.returncode == DONE, done.stderr
    return json.loads(done.stdout)


def linnet(*args, input=None, timeout=120, env=None):
    """Runs the command line; standard input is empty unless given."""
    done = subprocess.run(
        [str(a) for a in (CLI, *args)],
        input=input,
        stdin=subprocess.DEVNULL if input is None else None,
        capture_output=True,
        text=True,
        timeout=timeout * SLOWNESS,
        env=environment(**{"LINNET_HOME": "/nonexistent/linnet", **(env or {})}),
    )
    assert not SANITIZER_REPORT.search(done.stderr), done.stderr
    return done
