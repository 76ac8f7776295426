"""What the measurements share: building, starting and watching servers, and percentiles. Standard library only."""

import json
import os
import pathlib
import signal
import ssl
import statistics
import subprocess
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = ROOT / "target"
WORK = TARGET / "bench"
# Another build can be measured: GATEPOST=path benches/load/run --skip-build.
GATEPOST = pathlib.Path(os.environ.get("GATEPOST", TARGET / "release/gatepost"))
DEFAULTS = "defaults: {warn: datree-default, audit: off}\nclusterScoped: {warn: datree-default, audit: off}\n"
NOTHING = "defaults: {warn: off, audit: off}\nclusterScoped: {warn: off, audit: off}\n"
TICKS = os.sysconf("SC_CLK_TCK")


def build_gatepost():
    subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=ROOT, check=True)


def build_go(directory, program, package="."):
    """Builds a Go program of the repository; Go's own cache makes the second time quick."""
    WORK.mkdir(parents=True, exist_ok=True)
    output = WORK / program
    command = ["go", "build", "-trimpath", "-ldflags=-s -w", "-o", output, package]
    subprocess.run(command, cwd=ROOT / directory, check=True)
    return output


def rego_modules(*extra):
    """Returns Gatepost's rules and libraries, and further files, as {path: source}."""
    files = [*ROOT.glob("policies/lib/*.rego"), *ROOT.glob("policies/rules/**/rule.rego"), *map(pathlib.Path, extra)]
    return {str(file.relative_to(ROOT)): file.read_text() for file in files}


class Server:
    """A process that is measured; its log goes to a file, as it would in a cluster."""

    def __init__(self, name, command, log, stdout=False):
        self.name, self.log = name, log
        handle = open(log, "wb")
        streams = {"stdout": handle, "stderr": subprocess.STDOUT} if stdout else {"stdout": subprocess.DEVNULL, "stderr": handle}
        self.started = time.monotonic()
        self.process = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, **streams)

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory_mb(self):
        """Returns resident memory now, and at its highest."""
        lines = pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        sizes = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines if line.startswith("Vm")}
        return sizes["VmRSS"], sizes["VmHWM"]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def wait_for(what, condition, seconds=60, interval=0.002, server=None):
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        if server and server.process.poll() is not None:
            raise SystemExit(f"{server.name} ended:\n{pathlib.Path(server.log).read_text()[-2000:]}")
        found = condition()
        if found:
            return found
        time.sleep(interval)
    raise SystemExit(f"waited {seconds} s for {what}")


def status(url):
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def start_gatepost(name, config, directory, extra=()):
    """Starts Gatepost on free ports; `ready_seconds` is the time from the start of the process to readiness."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.yaml").write_text(config)
    addresses = directory / "data" / "addresses.json"
    addresses.unlink(missing_ok=True)
    free = [f"--listen-{part}=127.0.0.1:0" for part in ("webhook", "http", "metrics")]
    command = [GATEPOST, "serve", "--config", directory / "config.yaml", "--data-dir", directory / "data", *free, *extra]
    server = Server(name, command, directory / "log.jsonl")
    found = wait_for("addresses", lambda: addresses.exists() and json.loads(addresses.read_text()), server=server)
    wait_for("readiness", lambda: status(f"http://{found['metrics']}/readyz") == 200, server=server)
    server.ready_seconds = time.monotonic() - server.started
    server.metrics = f"http://{found['metrics']}/metrics"
    # A scanner alone has none.
    server.url = f"https://{found.get('webhook')}/validate"
    server.authority = directory / "data" / "ca.crt"
    return server


def start_opa(program, bundle, certificate, directory):
    """Starts OPA on a free port with the modules and queries of a bundle file."""
    directory.mkdir(parents=True, exist_ok=True)
    log = directory / "log.jsonl"
    command = [program, "serve", "-cert", certificate[0], "-key", certificate[1], "-bundle", bundle]
    server = Server("OPA", command, log, stdout=True)

    def address():
        first = log.read_text().split("\n")[0]
        return json.loads(first)["addr"] if first.endswith("}") else None

    server.url = f"https://{wait_for('OPA', address, server=server)}/"
    server.ready_seconds = time.monotonic() - server.started
    return server


def self_signed(directory):
    """Makes a certificate of the same kind as Gatepost makes for itself: ECDSA P-256."""
    directory.mkdir(parents=True, exist_ok=True)
    certificate, key = directory / "tls.crt", directory / "tls.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


def post(url, body):
    """Posts JSON without looking at the certificate; returns the answer."""
    context = ssl._create_unverified_context()
    request = urllib.request.Request(url, data=body, headers={"content-type": "application/json"})
    with urllib.request.urlopen(request, context=context, timeout=10) as answer:
        return json.load(answer)


def percentile(values, share):
    """Returns a percentile of sorted values."""
    return values[min(len(values) - 1, int(len(values) * share))] if values else float("nan")


def spread(values):
    """Returns `median (least-most)`."""
    digits = 0 if max(values) >= 100 else 2 if max(values) >= 1 else 3
    middle = f"{statistics.median(values):,.{digits}f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):,.{digits}f}-{max(values):,.{digits}f})"


def table(head, rows):
    """Returns a Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows])


def machine():
    """Returns what a figure means nothing without."""
    info = pathlib.Path("/proc/cpuinfo").read_text()
    model = next((line.split(":")[1].strip() for line in info.splitlines() if line.startswith("model name")), "unknown")
    memory = int(pathlib.Path("/proc/meminfo").read_text().split()[1]) / 1024 / 1024
    return f"{os.cpu_count()} x {model}, {memory:.0f} GiB, Linux {os.uname().release}, load {os.getloadavg()[0]:.2f}"
