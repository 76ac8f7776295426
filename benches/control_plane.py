"""An API server with fresh state that measurements share: the program that the end-to-end tests build."""

import http.client
import json
import shutil
import socket
import ssl
import subprocess

from support import TARGET, Server, build_go, wait_for

TOKEN = "admin-token"


def program():
    """Returns the control plane that the end-to-end tests build, built here if it is not there."""
    built = sorted((TARGET / "e2e").glob("cluster-*"), key=lambda path: path.stat().st_mtime)
    return built[-1] if built else build_go("e2e/cluster", "cluster")


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class ControlPlane:
    """etcd and an API server with fresh state; no controllers, so that nothing else happens."""

    def __init__(self, directory):
        self.directory = directory
        shutil.rmtree(self.directory, ignore_errors=True)
        certificates = self.directory / "certs"
        certificates.mkdir(parents=True)
        client, peer, self.port = free_ports(3)
        run = lambda *command: subprocess.run(command, check=True, capture_output=True)  # noqa: E731
        run("openssl", "genrsa", "-out", certificates / "sa.key", "2048")
        run("openssl", "rsa", "-in", certificates / "sa.key", "-pubout", "-out", certificates / "sa.pub")
        (certificates / "tokens.csv").write_text(f"{TOKEN},admin,admin,system:masters\n")
        self.kubeconfig = self.directory / "kubeconfig"
        self.kubeconfig.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "bench",
            "clusters": [{"name": "bench", "cluster": {
                "server": f"https://127.0.0.1:{self.port}", "certificate-authority": str(certificates / "apiserver.crt")}}],
            "users": [{"name": "bench", "user": {"token": TOKEN}}],
            "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
        }))
        self.program = program()
        etcd = [f"--data-dir={directory}/etcd", "--unsafe-no-fsync"]
        etcd += [f"--{part}-client-urls=http://127.0.0.1:{client}" for part in ("listen", "advertise")]
        etcd += [f"--listen-peer-urls=http://127.0.0.1:{peer}", f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}"]
        etcd += [f"--initial-cluster=default=http://127.0.0.1:{peer}"]
        api = [f"--etcd-servers=http://127.0.0.1:{client}", f"--secure-port={self.port}", "--bind-address=127.0.0.1"]
        api += [f"--cert-dir={certificates}", f"--token-auth-file={certificates}/tokens.csv"]
        api += [f"--service-account-key-file={certificates}/sa.pub", f"--service-account-signing-key-file={certificates}/sa.key"]
        api += ["--service-account-issuer=https://kubernetes.default.svc", "--authorization-mode=RBAC"]
        api += ["--service-cluster-ip-range=10.0.0.0/16", "--allow-privileged"]
        self.servers = [Server("etcd", [self.program, "etcd", *etcd], self.directory / "etcd.log")]
        self.servers.append(Server("API server", [self.program, "kube-apiserver", *api], self.directory / "apiserver.log"))

    def wait(self):
        wait_for("the API server", self.is_ready, seconds=120, interval=0.25, server=self.servers[1])

    def is_ready(self):
        try:
            return Client(self.port).ask("GET", "/readyz")[0] == 200
        except OSError:
            return False

    def apply(self, text):
        command = [self.program, "kubectl", "--kubeconfig", self.kubeconfig, "apply", "-f", "-"]
        subprocess.run(command, input=text, text=True, check=True, stdout=subprocess.DEVNULL)

    def stop(self):
        for server in reversed(self.servers):
            server.stop()


class Client:
    """One connection, kept open."""

    def __init__(self, port):
        self.connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=ssl._create_unverified_context())
        self.headers = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}

    def ask(self, method, path, body=None):
        self.connection.request(method, path, body, self.headers)
        answer = self.connection.getresponse()
        answer.read()
        return answer.status, [value for name, value in answer.getheaders() if name.lower() == "warning"]

    def read(self, path):
        """Returns the bytes of what is there."""
        self.connection.request("GET", path, headers=self.headers)
        answer = self.connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{path}: {answer.status} {body[:300]}")
        return body

    def read_json(self, path):
        return json.loads(self.read(path))
