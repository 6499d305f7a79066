"""A worker that asks for nothing: the test speaks to the runtime in its place."""

import time

if __name__ == "__main__":
    while True:
        time.sleep(60)
