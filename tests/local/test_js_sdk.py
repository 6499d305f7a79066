"""RunPod's JavaScript SDK works against the local runtime: it waits where its own service lets it wait."""

from support import node

SCRIPT = """
import fs from "node:fs";
import sdk from "runpod-sdk";
const [baseUrl, key, id, go] = process.argv.slice(2);
const endpoint = sdk(key, { baseUrl }).endpoint(id);
const answers = {};
answers.done = await endpoint.runSync({ input: { do: "give", value: { text: "hi" } } });
setTimeout(() => fs.writeFileSync(go, ""), 1200);  // after /runsync has let go
answers.slow = await endpoint.runSync({ input: { do: "wait", started: `${go}.started`, until: go } }, 1000);
const queued = await endpoint.run({ input: { do: "give", value: 2 } });
let status;
do { status = await endpoint.status(queued.id); } while (!["COMPLETED", "FAILED"].includes(status.status));
answers.queued = status;
answers.health = await endpoint.health();
console.log(JSON.stringify(answers));
"""


def test_its_calls_are_answered(runtime, handlers, tmp_path):
    endpoint = runtime.endpoint(handlers / "basic", name="js-sdk", workers_max=1)
    answers = node.run(SCRIPT, f"{runtime.url}/v2", runtime.api_key, endpoint, str(tmp_path / "go"))

    assert (answers["done"]["status"], answers["done"]["output"]) == ("COMPLETED", {"text": "hi"})
    assert (answers["slow"]["status"], answers["slow"]["succeeded"]) == ("COMPLETED", True)
    assert (answers["queued"]["status"], answers["queued"]["output"]) == ("COMPLETED", 2)
    assert answers["health"]["workers"].keys() >= {"idle", "running"}
