"""Never gets as far as taking a job."""

import sys

print("the weights are not where they should be")
sys.exit(3)
