"""A process that has imported everything, and forks trainings from there: their start takes no five seconds.

Reads lines from stdin: `start LOG ARGUMENT ...` answers with a process id, `wait ID` with its exit status.
"""

import os
import sys


def main() -> None:
    import train_gslrm
    from gslrm import cli
    from gslrm.training import environment, resume, trainer  # noqa: F401  # what main imports late

    for line in sys.stdin:
        word, *rest = line.split()
        if word == "wait":
            status = os.waitstatus_to_exitcode(os.waitpid(int(rest[0]), 0)[1])
            answer(status)
            continue
        process = os.fork()
        if process == 0:
            os.setsid()
            log = os.open(rest[0], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            for stream in (1, 2):
                os.dup2(log, stream)
            os.close(0)
            sys.argv = ["train_gslrm.py", *rest[1:]]
            cli.run(train_gslrm.main)
        answer(process)


def answer(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
