"""The images and the compose file, as far as they can be held to their word without a container engine."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import venv
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy.pool import QueuePool

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
INSTRUCTION = re.compile(r"^(FROM|RUN|COPY|USER|CMD|HEALTHCHECK|ARG|ENV|STOPSIGNAL|WORKDIR|EXPOSE)\s+(.*)$", re.DOTALL)


class Loader(yaml.SafeLoader):
    """Compose has a tag of its own that takes a value of an earlier file back."""


Loader.add_constructor("!reset", lambda loader, node: None)


def compose(name: str = "docker-compose.yml") -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.load((ROOT / name).read_text(encoding="utf-8"), Loader)  # noqa: S506 - a safe one
    return loaded


def stages() -> dict[str, list[tuple[str, str]]]:
    """Instructions by the stage they stand in, continued lines joined."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE).replace("\\\n", " ")
    found: dict[str, list[tuple[str, str]]] = {}
    name = ""
    for line in text.splitlines():
        if match := INSTRUCTION.match(line.strip()):
            word, rest = match.groups()
            if word == "FROM":
                name = rest.split(" AS ")[1]
            found.setdefault(name, []).append((word, rest))
    return found


def installs(stage: str) -> list[str]:
    return [rest for word, rest in stages()[stage] if word == "RUN" and "pip install" in rest]


def copied(stage: str) -> list[str]:
    return [path for word, rest in stages()[stage] if word == "COPY" for path in rest.split()[:-1]]


def test_both_images_run_as_nobody_special_and_say_whether_they_are_well() -> None:
    for stage in ("web", "worker"):
        words = dict(stages()[stage])
        assert words["USER"] == "10001:10001"
        assert "HEALTHCHECK" in words
        assert words["STOPSIGNAL"] == "SIGTERM"


def test_the_web_image_has_neither_torch_nor_the_method() -> None:
    assert "torch" not in " ".join(installs("base") + installs("web"))
    assert "method" not in " ".join(installs("web"))
    assert not {"cns", "worker", "storybook"} & set(copied("web"))


def test_the_worker_takes_its_torch_from_where_a_build_argument_says() -> None:
    assert any(word == "ARG" and rest.startswith("TORCH_INDEX_URL") for word, rest in stages()["worker"])
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    pinned = re.search(r"^torch==(\S+)$", pins, re.MULTILINE)
    assert pinned
    assert f"'torch=={pinned[1]}'" in installs("worker")[0]


def test_what_is_copied_exists_and_is_sent_to_the_engine() -> None:
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] == "!"}
    for stage in ("base", "web", "worker"):
        for path in copied(stage):
            assert (ROOT / path).exists(), path
            assert let_in & {path, *map(str, Path(path).parents)}, path


@pytest.mark.parametrize("stage", ["web", "worker"])
def test_whatever_the_umask_of_the_checkout_the_images_can_be_read_by_whoever_they_run_as(
    stage: str, tmp_path: Path
) -> None:
    """COPY gives everything to root, with the modes it has."""
    for word, rest in stages()[stage]:
        if word == "COPY":
            path, to = rest.split()
            shutil.copytree(ROOT / path, tmp_path / to, ignore=shutil.ignore_patterns("__pycache__", "checkpoints"))
            for copy in (tmp_path / to, *(tmp_path / to).rglob("*")):
                copy.chmod(copy.stat().st_mode & 0o700)
        elif word == "RUN" and "pip install" not in rest:
            subprocess.run(["sh", "-c", rest], cwd=tmp_path, check=True)
        elif word == "USER":
            break
    copied_in = list(tmp_path.rglob("*"))
    assert copied_in
    closed = [path for path in (tmp_path, *copied_in) if not path.stat().st_mode & (0o001 if path.is_dir() else 0o004)]
    assert closed == []


class Healthy(BaseHTTPRequestHandler):
    """Answers as the web process of the image would that has this status."""

    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/healthz" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Tests are quiet."""


def test_the_health_check_of_the_web_image_asks_past_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    check = json.loads(dict(stages()["web"])["HEALTHCHECK"].partition(" CMD ")[2])
    monkeypatch.setattr(Healthy, "status", 200)
    with ThreadingHTTPServer(("127.0.0.1", 0), Healthy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        program = check[2].replace(":8000/", f":{server.server_port}/")
        assert program != check[2]
        nowhere = dict.fromkeys(("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"), "http://127.0.0.1:9")
        environment = {name: value for name, value in os.environ.items() if name.lower() != "no_proxy"} | nowhere

        def look() -> int:
            return subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True).returncode

        assert look() == 0
        monkeypatch.setattr(Healthy, "status", 500)
        assert look() == 1
        server.shutdown()


def test_a_module_that_the_images_start_exists() -> None:
    commands = [rest for stage in ("web", "worker") for word, rest in stages()[stage] if word in ("CMD", "HEALTHCHECK")]
    commands += [" ".join(service["command"]) for service in compose()["services"].values() if "command" in service]
    modules = {module for line in commands for module in re.findall(r"-m\W+((?:app|worker)[\w.]*)", line)}
    assert modules == {"app.serve", "app.worker_alive", "worker", "app.migrate", "app.collect"}
    for module in modules:
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module


def test_everything_starts_in_an_order_that_waits_for_health() -> None:
    services = compose()["services"]
    assert set(services) == {"postgres", "redis", "migrate", "web", "worker", "collect"}
    assert services["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    for name in ("web", "worker"):
        assert services[name]["depends_on"] == {
            "migrate": {"condition": "service_completed_successfully"},
            "postgres": {"condition": "service_healthy"},
            "redis": {"condition": "service_healthy"},
        }
    for name in ("postgres", "redis"):
        assert services[name]["healthcheck"]["test"]


def test_the_broker_loses_nothing() -> None:
    command = compose()["services"]["redis"]["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options["--maxmemory-policy"] == "noeviction"
    assert options["--appendonly"] == "yes"


def test_what_must_not_be_lost_lies_on_named_volumes() -> None:
    whole = compose()
    kept = {
        name: [mount.partition(":")[0] for mount in service.get("volumes", [])]
        for name, service in whole["services"].items()
    }
    assert kept["postgres"] == ["database"]
    assert kept["redis"] == ["broker"]
    assert kept["web"] == kept["worker"] == kept["collect"] == ["files"]
    assert set(whole["volumes"]) == {"database", "broker", "files"}


def test_passwords_come_from_files_alone() -> None:
    whole = compose()
    assert list(whole["secrets"]) == ["database_password"]
    for name, service in whole["services"].items():
        for variable, value in service.get("environment", {}).items():
            if "PASSWORD" in variable:
                assert variable.endswith("_FILE"), name
                assert value == "/run/secrets/database_password"
                assert service["secrets"] == ["database_password"]
            assert not re.search(r"://[^/@]*:[^/@]*@", str(value)), f"{name}: {variable} has a password in its address"
    assert "secrets/" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_the_worker_reserves_a_gpu_and_one_file_takes_that_back() -> None:
    devices = compose()["services"]["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert devices == [{"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}]
    assert compose("docker-compose.cpu.yml")["services"]["worker"]["deploy"] is None


def test_our_containers_can_do_little_and_the_database_is_out_of_reach() -> None:
    whole = compose()
    for name in ("migrate", "web", "worker", "collect"):
        service = whole["services"][name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
    for name in ("postgres", "redis"):
        assert "ports" not in whole["services"][name]
        assert whole["services"][name]["networks"] == ["inside"]
    assert whole["networks"]["inside"]["internal"] is True
    assert whole["services"]["web"]["ports"] == ["${PUBLISH:-127.0.0.1:8000}:8000"]


def test_every_setting_that_the_compose_file_sets_exists() -> None:
    from app.config import Settings

    known = {name.upper() for name in Settings.model_fields} | {"FORWARDED_ALLOW_IPS"}
    for name in ("migrate", "web", "worker", "collect"):
        variables = {variable.removesuffix("_FILE") for variable in compose()["services"][name]["environment"]}
        assert variables <= known, name


def test_settings_that_the_compose_file_does_not_name_come_from_a_file_that_may_be_absent() -> None:
    for name in ("migrate", "web", "worker", "collect"):
        assert compose()["services"][name]["env_file"] == [{"path": ".env", "required": False}], name
    assert ".env" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_the_database_and_the_broker_may_be_elsewhere() -> None:
    for name in ("migrate", "web", "worker", "collect"):
        for variable in ("DATABASE_URL", "REDIS_URL"):
            assert compose()["services"][name]["environment"][variable].startswith(f"${{{variable}:-"), name


def test_all_of_ours_reach_a_database_elsewhere() -> None:
    """Those that only keep tables or files in order too, without the file of the bucket."""
    networks = compose()["networks"]
    for name in ("migrate", "web", "worker", "collect"):
        reached = [networks[network] for network in compose()["services"][name]["networks"]]
        assert any(not network.get("internal") for network in reached), name


def test_the_page_about_proxies_asks_for_the_network_over_which_browsers_come() -> None:
    page, whole = (ROOT / "docs" / "proxy.md").read_text(encoding="utf-8"), compose()
    (network,) = re.findall(rf"docker network inspect {whole['name']}_(\w+) ", page)
    assert network in whole["services"]["web"]["networks"]
    assert not whole["networks"][network].get("internal")


def test_the_database_takes_more_connections_than_a_web_process_and_two_workers_open() -> None:
    from app.db import make_engine

    pool = make_engine("postgresql+psycopg://nobody@127.0.0.1:1/nothing").pool
    assert isinstance(pool, QueuePool)
    most = pool.size() + pool._max_overflow
    web, worker = 2 * most, most  # the web process reads over a pool of its own
    (takes,) = re.findall(r"max_connections=(\d+)", " ".join(compose()["services"]["postgres"]["command"]))
    assert int(takes) > web + 2 * worker
    said = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert f"a web process opens {web} connections to it at most, a worker {worker}" in said
    assert f"takes {takes}" in said


def environments(*names: str) -> dict[str, dict[str, str]]:
    """What each of our services is given by these files together, and so has in the place of what .env says."""
    found: dict[str, dict[str, str]] = {}
    for name in names:
        for service, said in compose(name)["services"].items():
            if service in found or "env_file" in said:
                found.setdefault(service, {}).update(said.get("environment", {}))
    return found


COMPOSITIONS = [
    ("docker-compose.yml",),
    ("docker-compose.yml", "docker-compose.cpu.yml"),
    ("docker-compose.yml", "docker-compose.s3.yml"),
]


@pytest.mark.parametrize("names", COMPOSITIONS, ids="+".join)
def test_what_env_says_counts_but_for_what_must_be_as_it_is_in_the_containers(names: tuple[str, ...]) -> None:
    for service, variables in environments(*names).items():
        for variable, value in variables.items():
            if value.startswith("${"):
                assert re.match(rf"\$\{{{variable}:[-?]", value), f"{service}: {variable}"
            else:  # a place in the container, or what the second file is for
                assert value.startswith(("/run/secrets/", "/var/lib/palimpsest/")) or (variable, value) == (
                    "DEVICE",
                    "cpu",
                ), f"{service}: {variable}"


@pytest.mark.parametrize("names", COMPOSITIONS, ids="+".join)
def test_the_path_of_a_secret_on_the_host_is_nobodys_in_a_container(names: tuple[str, ...]) -> None:
    secrets = {name: secret["file"] for one in names for name, secret in compose(one).get("secrets", {}).items()}
    for name, file in secrets.items():
        (variable,) = re.findall(r"^\$\{(\w+):-", file)
        for service, variables in environments(*names).items():
            assert variables.get(variable) == f"/run/secrets/{name}", service


def restoring() -> list[str]:
    """The commands of the README that bring a backup back, in order."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (after,) = re.findall(r"To restore, .*?```\n(.*?)```", text, re.DOTALL)
    return [line.strip() for line in after.strip().splitlines()]


def test_a_backup_is_made_while_nothing_removes_files_by_itself() -> None:
    """The web process is the only one left that reaches them. What the dump names is there when they are copied, but
    for what somebody deletes in between.
    """
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (recipe,) = re.findall(r"- \*Compose:\* .*?```\n(.*?)```", text.partition("To restore, ")[0], re.DOTALL)
    stop, dump, files, start = (line.split() for line in recipe.strip().splitlines())
    assert ("pg_dump" in dump, "tar" in files) == (True, True)
    reach = {
        name for name, one in compose()["services"].items() if "files:/var/lib/palimpsest" in one.get("volumes", [])
    }
    assert (stop[:3], start[:3]) == (["docker", "compose", "stop"], ["docker", "compose", "start"])
    assert set(stop[3:]) == set(start[3:]) == reach - {"web"}


def test_a_bucket_is_copied_after_its_database_while_nothing_removes_files_by_itself() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (recipe,) = re.findall(r"- \*A bucket:\* .*?```\n(.*?)```", text, re.DOTALL)
    stop, dump, files, start = (line.split() for line in recipe.strip().splitlines())
    both = ["docker", "compose", "-f", "docker-compose.yml", "-f", "docker-compose.s3.yml"]
    assert (stop[:7], start[:7]) == ([*both, "stop"], [*both, "start"])
    assert set(stop[7:]) == set(start[7:]) == set(compose("docker-compose.s3.yml")["services"]) - {"web", "migrate"}
    assert (dump[0], files[:3]) == ("pg_dump", ["aws", "s3", "sync"])


def test_the_recipe_for_compose_says_for_whom_it_is_and_every_one_names_the_base() -> None:
    """The services of its own start empty beside a database and a bucket elsewhere, and give an empty backup."""
    (backup,) = re.findall(
        r"## Backup and upgrade\n(.*?)\n## ", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL
    )
    head, *recipes = re.split(r"^- \*", backup, flags=re.MULTILINE)
    assert "`BASE_MODEL`" in head
    assert "`HF_HOME`" in head
    (own,) = [recipe for recipe in recipes if recipe.startswith("Compose:")]
    elsewhere = {variable for variable in ("DATABASE_URL", "BLOB_URL") if f"`{variable}`" in own.partition("```")[0]}
    assert elsewhere == {"DATABASE_URL", "BLOB_URL"}


def test_a_backup_comes_back_before_anything_else_starts_and_its_files_belong_to_who_uses_them() -> None:
    services, text = compose()["services"], (ROOT / "README.md").read_text(encoding="utf-8")
    database, made, files = services["postgres"]["environment"], restoring(), "tar -C /var/lib/palimpsest/blobs"
    assert made[0] == "docker compose up --detach --wait postgres"
    assert f"exec -T postgres pg_restore -U {database['POSTGRES_USER']} -d {database['POSTGRES_DB']} " in made[1]
    assert made[-2] == f"docker compose run --rm --no-deps -T web {files} -x < blobs.tar"
    assert made[-1] == "docker compose up --build --detach"
    assert "palimpsest.dump" in made[1]
    # As nobody but the user of both images: root in a container without capabilities may not even write there.
    assert {dict(stages()[stage])["USER"] for stage in ("web", "worker")} == {"10001:10001"}
    assert "user" not in services["web"]
    assert any(f"chown -R {dict(stages()['web'])['USER']} /var/lib/palimpsest" in run for _, run in stages()["base"])
    assert services["web"]["volumes"] == ["files:/var/lib/palimpsest"]
    backup = text.partition("To restore, ")[0]
    assert (
        f"pg_dump -U {database['POSTGRES_USER']} --format=custom {database['POSTGRES_DB']} > palimpsest.dump" in backup
    )
    assert f"docker compose exec -T web {files} -c . > blobs.tar" in backup


def test_a_bucket_is_for_all_who_keep_files_and_its_key_comes_from_a_file() -> None:
    from app.config import Settings

    whole, files = compose("docker-compose.s3.yml"), ["database_password", "blob_secret_key"]
    keepers = {
        name
        for name, service in compose()["services"].items()
        if any("files:" in one for one in service.get("volumes", []))
    }
    assert set(whole["services"]) == {*keepers, "migrate"}
    assert "outside" in whole["services"]["migrate"]["networks"]  # where a database is that several machines reach
    for name, service in ((name, whole["services"][name]) for name in sorted(keepers)):
        assert service["secrets"] == files, name
        assert service["environment"]["BLOB_SECRET_KEY_FILE"].startswith("/run/secrets/")
        assert "outside" in service["networks"]  # where the bucket is
        known = {setting.upper() for setting in Settings.model_fields}
        assert {variable.removesuffix("_FILE") for variable in service["environment"]} <= known
    assert whole["secrets"]["blob_secret_key"]["file"].endswith("./secrets/blob_secret_key}")


def test_a_client_that_is_at_hand_takes_the_compose_files() -> None:
    """The plugin needs no engine for that. What it makes of them shows how it has put them together."""
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True).returncode:
        pytest.skip("there is no `docker compose` on this machine, which would check the compose files")
    for names, reserves_a_gpu in (
        (["docker-compose.yml"], True),
        (["docker-compose.yml", "docker-compose.cpu.yml"], False),
        (["docker-compose.yml", "docker-compose.s3.yml"], True),
    ):
        files = [word for name in names for word in ("-f", name)]
        done = subprocess.run(
            [docker, "compose", *files, "config", "--format", "json"],
            cwd=ROOT,
            env={**os.environ, "BLOB_URL": "s3://bucket"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        worker = json.loads(done.stdout)["services"]["worker"]
        assert ("nvidia" in json.dumps(worker.get("deploy") or {})) is reserves_a_gpu


# --- the install commands, in clean environments -------------------------------------------------------------------


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    """A folder with what the image has when it installs, and an environment beside it with nothing in it."""
    context = tmp_path / "context"
    context.mkdir()
    for name in copied("base"):
        shutil.copy(ROOT / name, context)
    venv.create(tmp_path / "environment", with_pip=True, symlinks=True)
    return context


def python(clean: Path) -> str:
    return str(clean.parent / "environment" / "bin" / "python")


def run_install(clean: Path, command: str, *more: str) -> None:
    """The command as it stands in the Dockerfile, in that environment. Skips where no package index can be reached."""
    command = re.sub(r"\$\{TORCH_INDEX_URL:\+[^}]*\}", "", command)  # the default: it is empty
    words = shlex.split(command)
    assert words[:4] == ["python", "-m", "pip", "install"]
    done = subprocess.run([python(clean), *words[1:], *more], cwd=clean, capture_output=True, text=True)
    said = done.stdout + done.stderr
    if done.returncode and re.search(
        r"NewConnectionError|ConnectTimeout|Name or service|No matching.*setuptools", said
    ):
        pytest.skip("no package index can be reached")
    assert done.returncode == 0, said[-3000:]


def test_the_web_image_installs_and_its_service_starts_in_it(clean: Path) -> None:
    for command in installs("web"):
        run_install(clean, command)
    for name in copied("web"):
        shutil.copytree(ROOT / name, clean / name, ignore=shutil.ignore_patterns("__pycache__"))
    program = (
        "import sys; from app.main import create_app; import app.serve, app.migrate, app.collect, app.worker_alive; "
        "from app.concepts.sample_concepts import EMBEDDED, sample_concepts; "
        "create_app(); assert sample_concepts(EMBEDDED), 'nothing is offered to be learned'; "
        "sys.exit('torch' in sys.modules and 'torch came in')"
    )
    done = subprocess.run([python(clean), "-c", program], cwd=clean, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    listed = subprocess.run([python(clean), "-m", "pip", "list"], cwd=clean, capture_output=True, text=True).stdout
    assert not re.search(r"^(torch|diffusers|transformers) ", listed, re.MULTILINE)


@pytest.mark.parametrize("number", range(2))
def test_what_the_worker_image_installs_can_be_had_together(clean: Path, number: int) -> None:
    """Resolved, not fetched: its torch alone may be larger than everything else on this machine."""
    run_install(clean, installs("worker")[number], "--dry-run", "--quiet")


@pytest.mark.skipif("WHOLE_IMAGES" not in os.environ, reason="WHOLE_IMAGES=1 installs torch once more, gigabytes of it")
def test_the_worker_image_installs_and_its_worker_can_load_the_base(clean: Path) -> None:
    for command in installs("worker"):
        run_install(clean, command)
    for name in ("app", "cns", "storybook", "worker"):
        shutil.copytree(ROOT / name, clean / name, ignore=shutil.ignore_patterns("__pycache__", "checkpoints"))
    program = (
        "import worker.celery_app, worker.tasks, app.worker_alive; from app.config import Settings; "
        "from worker.equipment import load_equipment; load_equipment(Settings(device='cpu'))"
    )
    done = subprocess.run([python(clean), "-c", program], cwd=clean, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_these_tests_run_on_the_python_of_the_images() -> None:
    wanted = re.search(r"python:(\d+)\.(\d+)", DOCKERFILE)
    assert wanted
    assert sys.version_info[:2] >= (int(wanted[1]), int(wanted[2]))
