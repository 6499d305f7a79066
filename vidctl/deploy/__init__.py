"""From a spec to an endpoint that answers: check, plan, apply, smoke test, remember, or roll back; and destroy."""
