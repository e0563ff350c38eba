"""`python -m worker`: the worker with the settings of the environment."""

import argparse
import os
import sys

# Set before the libraries come in: while they are imported they warn of picture tools that are not used here.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Threads of one product that wait for each other spin for microseconds and then sleep. By GNU's default they spin for
# milliseconds, and where anything else runs on the machine that keeps the very thread from a core that is waited for: a
# step then takes several times as long. Without any spinning a machine of one's own would be slower.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")

from app.config import WrongSettings, settings


def main() -> None:
    argparse.ArgumentParser(prog="python -m worker", description="A worker, until Ctrl-C.").parse_args()
    try:
        chosen = settings()
    except WrongSettings as error:
        sys.exit(str(error))
    from worker.celery_app import celery  # here, as it reads the settings while it is imported

    celery.worker_main(
        [
            "--quiet",
            "worker",
            "--pool=threads",
            f"--concurrency={chosen.worker_threads}",
            f"--hostname=palimpsest-{os.getpid()}@%h",  # several on one machine are told apart
            f"--loglevel={chosen.log_level}",
            "--without-gossip",
            "--without-mingle",
        ]
    )


if __name__ == "__main__":
    main()
