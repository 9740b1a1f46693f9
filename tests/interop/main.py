"""Runs the tests beside this file in the cluster that `quorate dev --exec` has started."""

import sys
import unittest
from pathlib import Path


def main() -> int:
    tests = unittest.defaultTestLoader.discover(
        str(Path(__file__).parent), pattern="*_test.py"
    )
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2).run(tests)
    for test, why in result.skipped:
        print(f"skipped: {test}: {why}")
    failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    passed = result.testsRun - failed - len(result.skipped)
    print(f"interop: {passed} passed, {failed} failed, {len(result.skipped)} skipped")
    # Nothing found is nothing shown.
    return 0 if passed and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
