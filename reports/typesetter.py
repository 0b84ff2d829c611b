"""Child process of `render_pdf`: one job as JSON on standard input, one PDF on standard output. Imports typst only."""

import contextlib
import json
import sys

MEMORY_LIMIT = 4 * 2**30


def main() -> int:
    with contextlib.suppress(ImportError, ValueError, OSError):  # not on every system: the time limit stays
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    import typst

    job = json.loads(sys.stdin.buffer.read())
    compiler = typst.Compiler(
        input=job["source"].encode(), font_paths=job["fonts"], ignore_system_fonts=True, sys_inputs=job["inputs"]
    )
    try:
        pdf = compiler.compile(format="pdf", pdf_standards=job["standards"], timestamp=job["timestamp"])
    except typst.TypstError as error:
        sys.stderr.write("; ".join([error.message, *error.hints]))
        return 1
    assert isinstance(pdf, bytes)
    sys.stdout.buffer.write(pdf)
    return 0


if __name__ == "__main__":
    sys.exit(main())
