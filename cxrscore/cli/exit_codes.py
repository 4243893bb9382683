"""What the exit codes mean, in the words of `cxrscore --help`, README.md and docs/troubleshooting.md.

In    nothing.
Out   EXIT_CODES; the lines of the help. tests/test_docs.py holds the pages to them.
"""

EXIT_CODES = {
    0: "done",
    1: "verify: something does not match; any command: an unexpected error",
    2: "invalid call, settings, labels or checkpoint; nothing was written",
    3: "done, but some files were quarantined (listed in OUTPUT.errors.csv)",
    4: "stopped (disk full, device lost, too many bad files); can be resumed",
    5: "another run is writing to the same output",
    129: "hung up (SIGHUP, a closed terminal); can be resumed",
    130: "interrupted by Ctrl-C (SIGINT); can be resumed",
    143: "terminated (SIGTERM); can be resumed",
}


def exit_code_lines() -> str:
    return "\n".join(f"  {code:<4} {meaning}" for code, meaning in EXIT_CODES.items())
