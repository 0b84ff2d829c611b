"""What every test starts from."""

import signal

# A shell's background job, as many CI runners are, ignores SIGINT, and so would every process that a test starts: then
# Ctrl-C cannot be tested.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
