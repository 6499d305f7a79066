#!/usr/bin/env bash
# plan.sh: plan, and write the plan into the run's summary.  Exits with what `vidctl plan` says is wrong.
set -euo pipefail

plan=$RUNNER_TEMP/vidctl-plan.json
[ -n "${VIDCTL_REPOSITORY-}" ] || unset VIDCTL_REPOSITORY

read -ra specs <<<"$SPECS"
status=0
vidctl plan "${specs[@]}" --detailed-exitcode --json >"$plan" || status=$?
case $status in
  0) has_changes=false ;;
  10) has_changes=true ;;
  *) exit "$status" ;;
esac

{
  echo '## vidctl plan'
  echo '```'
  vidctl plan "${specs[@]}" --quiet
  [ "$has_changes" = true ] || echo 'up to date'
  echo '```'
} >>"$GITHUB_STEP_SUMMARY"
{
  echo "has-changes=$has_changes"
  echo "plan=$plan"
} >>"$GITHUB_OUTPUT"
