"""Run the steps of the Dockerfile in order in a clean root file system, then run what it makes: no container engine.

Each stage is an overlay on the one it is based on; RUN happens in a chroot with its environment and user. The result is
started as its user with a read-only root, without capabilities, in a network of its own that has no way out; it must
become healthy, restore a picture, refuse to write to its root, and end by itself when told to. Needs root, Linux,
debootstrap (or --base), unshare and nsenter.

    sudo python deploy/prove_dockerfile.py --work /var/tmp/proof
"""

from __future__ import annotations

import argparse
import glob
import json
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import dockerfile

ROOT = Path(__file__).resolve().parent.parent
SUITE, MIRROR = "trixie", "http://deb.debian.org/debian"
#: A Ray cluster takes minutes to start on a busy machine.
READY_SECONDS = 300


def main() -> None:
    """Build, run, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="an empty folder on a disk with 20 GB left")
    parser.add_argument("--target", default="cpu")
    parser.add_argument("--base", type=Path, help=f"root file system of the base image; debootstrap {SUITE} otherwise")
    parser.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--run-env", action="append", default=[], metavar="NAME=VALUE", help="for RUN steps only")
    parser.add_argument(
        "--run-bind", action="append", default=[], metavar="PATH:INSIDE", help="read-only, for RUN steps only"
    )
    parser.add_argument("--freeze", type=Path, help="write the installed versions there, as constraints")
    parser.add_argument("--report", type=Path, help="write what was found there, as JSON")
    parser.add_argument("--also", metavar="COMMAND", help="to run afterwards instead of the image's own")
    parser.add_argument("--also-env", action="append", default=[], metavar="NAME=VALUE", help="for that")
    parser.add_argument("--keep", action="store_true", help="leave the file systems mounted")
    options = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("needs root, for chroot and mount")
    with ExitStack() as stack:
        proof = Proof(options, stack if not options.keep else ExitStack())
        image = proof.build(options.target)
        if options.freeze:
            options.freeze.write_text(proof.versions(image))
        facts = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "base": f"Debian {(image.root / 'etc/debian_version').read_text().strip()}",
            "target": options.target,
            "mib": image.size() >> 20,
            **run_it(image, options.work / "run", None, {}),
        }
        if options.also:
            given = dict(item.split("=", 1) for item in options.also_env)
            found = run_it(image, options.work / "run also", shlex.split(options.also), given)
            facts["also"] = {"command": options.also, "environment": given, **found}
    print(json.dumps(facts, indent=2))
    if options.report:
        options.report.write_text(json.dumps(facts, indent=2) + "\n")


class Image:
    """A stage that was built: its root file system, its environment and what it starts."""

    def __init__(self, root: Path, layers: Sequence[Path], base: Image | None) -> None:
        self.root, self.layers = root, layers
        self.environment = (
            dict(base.environment) if base else {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"}
        )
        self.folder = base.folder if base else "/"
        self.user = base.user if base else "0:0"
        self.words: dict[str, str] = dict(base.words) if base else {}

    def size(self) -> int:
        """Bytes on disk, as seen from inside."""
        done = subprocess.run(["du", "-sxB1", self.root], capture_output=True, text=True, check=True)
        return int(done.stdout.split()[0])


class Proof:
    """Builds stages when they are asked for, each once."""

    def __init__(self, options: argparse.Namespace, stack: ExitStack) -> None:
        self._options, self._stack = options, stack
        self._file = dockerfile.parse((ROOT / "Dockerfile").read_text())
        self._given = dict(item.split("=", 1) for item in options.build_arg)
        tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
        self._context = dockerfile.seen(tracked.stdout.splitlines(), (ROOT / ".dockerignore").read_text())
        self._built: dict[str, Image] = {}

    def build(self, name: str) -> Image:
        """The image of a stage or, under any other name, the base image."""
        if name not in self._built:
            known = {stage.name for stage in self._file.stages}
            self._built[name] = self._stage(self._file.stage(name)) if name in known else self._base(name)
        return self._built[name]

    def versions(self, image: Image) -> str:
        """Every distribution in an image's virtual environment but the project itself, as NAME==VERSION lines."""
        code = (
            "from importlib.metadata import distributions as found\n"
            "print('\\n'.join(sorted({f'{d.name.lower().replace(\"_\", \"-\")}=={d.version}' for d in found()})))"
        )
        done = subprocess.run(
            ["chroot", image.root, "/opt/pellucid/bin/python", "-c", code], capture_output=True, text=True, check=True
        )
        lines = [line for line in done.stdout.splitlines() if not line.startswith(("pellucid==", "pip=="))]
        return "\n".join(["# What the images are made of; written by prove_dockerfile.py --freeze.", *lines, ""])

    def _base(self, name: str) -> Image:
        folder = self._options.base
        if folder is None:
            folder = self._options.work / "base"
            step(f"FROM {name}", "debootstrap", "--variant=minbase", SUITE, folder, MIRROR)
        return Image(folder, [folder], None)

    def _stage(self, stage: dockerfile.Stage) -> Image:
        base = self.build(stage.base)
        folders = [self._options.work / stage.name / part for part in ("changes", "scratch", "root")]
        for folder in folders:
            folder.mkdir(parents=True)
        changes, scratch, root = folders
        lower = ":".join(str(layer) for layer in base.layers)
        step(
            f"stage {stage.name}, based on {stage.base}", "mount", "-t", "overlay", "pellucid-proof",
            "-o", f"lowerdir={lower},upperdir={changes},workdir={scratch}", root,
        )  # fmt: skip
        self._stack.callback(subprocess.run, ["umount", "--lazy", root], check=False)
        image = Image(root, [changes, *base.layers], base)
        arguments = dict(self._file.arguments)
        for item in stage.instructions:
            self._follow(image, item, arguments)
        return image

    def _follow(self, image: Image, item: dockerfile.Instruction, arguments: dict[str, str]) -> None:
        rest = item.rest
        if item.word == "ARG":
            name, _, default = rest.partition("=")
            arguments[name] = self._given.get(name, default.strip('"'))
        elif item.word == "ENV":
            image.environment |= dockerfile.pairs(dockerfile.expand(rest, {**arguments, **image.environment}))
        elif item.word == "WORKDIR":
            image.folder = rest
            (image.root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif item.word == "USER":
            image.user = rest
        elif item.word == "COPY":
            self._copy(image, rest)
        elif item.word == "RUN":
            self._run(image, rest, arguments)
        else:
            image.words[item.word] = rest

    def _copy(self, image: Image, rest: str) -> None:
        print(f"    COPY {rest}", flush=True)
        words = shlex.split(rest)
        if words[0].startswith("--from="):
            source, target = words[1:]
            origin = self.build(words[0].removeprefix("--from=")).root / source.lstrip("/")
            subprocess.run(["cp", "-a", origin, image.root / target.lstrip("/")], check=True)
            return
        *sources, target = words
        for source in sources:
            files = [name for name in self._context if name == source or name.startswith(f"{source}/")]
            if not files:
                raise SystemExit(f"COPY {source}: not in the build context")
            for name in files:
                place = image.root / image.folder.lstrip("/") / target
                place = place / Path(name).name if name == source else place / Path(name).relative_to(source)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, place)

    def _run(self, image: Image, text: str, arguments: dict[str, str]) -> None:
        given = dict(item.split("=", 1) for item in self._options.run_env)
        environment = {**arguments, **image.environment, **given}
        with ExitStack() as stack:
            for pair in (*self._options.run_bind, "/proc:/proc", "/dev:/dev", "/etc/resolv.conf:/etc/resolv.conf"):
                path, inside = pair.split(":")
                stack.enter_context(bound(Path(path), image.root / inside.lstrip("/"), read_only=path != "/dev"))
            step(
                f"RUN {text}", "chroot", f"--userspec={image.user}", image.root, "/usr/bin/env", "-i",
                *(f"{name}={value}" for name, value in environment.items()),
                "/bin/sh", "-c", f"cd {shlex.quote(image.folder)} && {text}",
            )  # fmt: skip


@contextmanager
def bound(source: Path, target: Path, *, read_only: bool) -> Iterator[None]:
    """A bind mount; what it lies upon is made and taken away again."""
    made = not target.exists()
    if made:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.mkdir() if source.is_dir() else target.touch()
    subprocess.run(["mount", "--bind", source, target], check=True)
    try:
        if read_only:  # an installation script must not reach this machine's files
            subprocess.run(["mount", "-o", "remount,bind,ro", target], check=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", target], check=True)
        if made:
            target.rmdir() if target.is_dir() else target.unlink()


def step(told: str, *command: object) -> None:
    """Say what is done, and do it."""
    print(f"    {told}", flush=True)
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)


def run_it(image: Image, work: Path, words: list[str] | None, more: dict[str, str]) -> dict[str, object]:
    """Start the image, with other words than its own if some are given, and put it to the test."""
    data = work / "data"
    data.mkdir(parents=True)
    os.chown(data, *(int(number) for number in image.user.split(":")))
    server = start(image, work, words, more)
    try:
        inside = follower(server.pid)
        facts = examine(image, inside, server)
        os.kill(server_process(server.pid), 15)
        begun = time.monotonic()
        facts["exit_code_after_sigterm"] = server.wait(timeout=90)
        facts["seconds_to_end"] = round(time.monotonic() - begun, 1)
    finally:
        server.kill()
        server.wait()
    if facts["exit_code_after_sigterm"] != 0:
        raise SystemExit(f"the server did not end well: {facts}")
    return facts


def start(image: Image, work: Path, words: list[str] | None, more: dict[str, str]) -> subprocess.Popen[bytes]:
    """ENTRYPOINT and CMD: read-only root, a volume, a temporary folder, no capability, no way out of its network."""
    uid, gid = image.user.split(":")
    volume, root = image.words["VOLUME"], work / "root"
    words = words or dockerfile.command(image.words["ENTRYPOINT"]) + dockerfile.command(image.words["CMD"])
    environment = {**image.environment, "PELLUCID_AUTH": "off", "HOME": "/data", **more}
    root.mkdir()
    script = f"""
        set -e
        cd {shlex.quote(str(work))}
        ip link set lo up
        mount --make-rprivate /
        mount --bind {image.root} root
        mount -o remount,bind,ro root
        mount -t proc proc root/proc
        mount --rbind /dev root/dev
        mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs root/tmp
        mount --bind data root{volume}
        exec chroot root /usr/bin/setpriv --reuid {uid} --regid {gid} --clear-groups --no-new-privs \
            --bounding-set=-all /usr/bin/env -i {shlex.join(f"{n}={v}" for n, v in environment.items())} \
            {shlex.join(words)}
    """
    print(f"    started: {shlex.join(words)}", flush=True)
    log = (work / "server.log").open("wb")
    return subprocess.Popen(
        ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "sh", "-c", script], stdout=log, stderr=log
    )


def server_process(parent: int) -> int:
    """What unshare has forked and the shell then became."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return int(children[0])


def follower(parent: int) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs commands of this machine in the server's network."""
    deadline = time.monotonic() + 10
    while not Path(f"/proc/{parent}/task/{parent}/children").read_text().split() and time.monotonic() < deadline:
        time.sleep(0.05)

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        entered = ["nsenter", f"--target={server_process(parent)}", "--net", *command]
        return subprocess.run(entered, capture_output=True, text=True, check=False)

    return run


def examine(
    image: Image, inside: Callable[..., subprocess.CompletedProcess[str]], server: subprocess.Popen[bytes]
) -> dict[str, object]:
    """Readiness, the health check, restorations with curl, the read-only root, the user."""
    port = image.words["EXPOSE"]
    begun = time.monotonic()
    while inside("curl", "-fsS", f"http://127.0.0.1:{port}/readyz").returncode != 0:
        if server.poll() is not None or time.monotonic() > begun + READY_SECONDS:
            raise SystemExit("the server did not become ready; see server.log")
        time.sleep(0.25)
    facts: dict[str, object] = {"seconds_until_ready": round(time.monotonic() - begun, 1)}
    pid = server_process(server.pid)
    check = dockerfile.command(image.words["HEALTHCHECK"].split("CMD", 1)[1])
    uid, gid = image.user.split(":")
    enter = ["nsenter", f"--target={pid}", "--mount", "--net", "--pid", "--root", "--wd"]
    enter += ["/usr/bin/setpriv", "--reuid", uid, "--regid", gid, "--clear-groups", "/usr/bin/env", *(
        f"{name}={value}" for name, value in image.environment.items()
    )]  # fmt: skip
    facts["healthcheck_exit_code"] = subprocess.run([*enter, *check], check=False).returncode
    facts["user"] = subprocess.run([*enter, "id", "-u"], capture_output=True, text=True, check=True).stdout.strip()
    refused = subprocess.run([*enter, "touch", "/opt/pellucid/x"], capture_output=True, text=True, check=False)
    facts["writing_to_the_root"] = refused.stderr.strip()
    facts["tools_left"] = [
        name for name in ("pip", "gcc", "make", "git") if glob.glob(f"{image.root}/*/bin/{name}")
        or glob.glob(f"{image.root}/opt/pellucid/bin/{name}")
    ]  # fmt: skip
    for task, picture in (("denoise", "noisy"), ("super-resolve", "small"), ("low-light-enhance", "dark")):
        source = ROOT / "examples" / f"{picture}.png"
        done = inside(
            "curl", "-fsS", "-o", "/dev/null",
            "-w", "%{http_code} %{content_type} %{size_download} bytes, %{time_total} s",
            "-F", f"image=@{source}", "-F", f"task={task}", f"http://127.0.0.1:{port}/restore",
        )  # fmt: skip
        facts[task] = done.stdout.strip() or done.stderr.strip()
    out = inside("curl", "-sS", "-m", "3", "http://192.0.2.1/")
    facts["way_out_of_its_network"] = out.stderr.strip()
    bad = facts["healthcheck_exit_code"] != 0 or "Read-only" not in str(facts["writing_to_the_root"])
    if bad or any(
        not str(facts[task]).startswith("200 ") for task in ("denoise", "super-resolve", "low-light-enhance")
    ):
        raise SystemExit(f"the server does not work: {json.dumps(facts, indent=2)}")
    return facts


if __name__ == "__main__":
    main()
