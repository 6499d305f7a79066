"""RunPod on this machine: its control planes, its job API and its workers, in one process.

`daemon` starts, finds and stops that process from outside; `app` is what runs in it, put together.  A job's way from
queued to a worker and back, from the top:

    api/job_routes     run, runsync: what a caller submits
    api/job_calls      submit: the job as it enters the queue
    queue/queue        submit: kept in queue/store, and whoever waits for jobs is woken
    api/worker_polls   jobs: the long poll of a worker, which is answered; workers/scaling says with how many
    workers/dispatch   take: the worker has it
    api/worker_routes  done: its result, to queue/queue, finish
    api/job_calls      ended: the caller's poll sees that

Where no worker asks, workers/supervisor wakes up: workers/scaling says how many there should be, workers/lifecycle
starts one.
"""
