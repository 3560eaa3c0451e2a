// Every measurement of the benchmark once, of the smallest network and a few steps, so that it can be made at all. Its
// figures are not judged.
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { expect, test } from "@playwright/test";

const fixture = new URL("./fixtures/untrained.safetensors", import.meta.url).pathname;

async function measured(...given) {
  const cwd = new URL(".", import.meta.url).pathname;
  const { stdout } = await promisify(execFile)(process.execPath, ["bench.mjs", ...given.map(String)], { cwd });
  return JSON.parse(stdout);
}

for (const [what, given, figures] of [
  ["a step of one worker", ["step", "cpu", fixture, 2, 3, "one"], ["milliseconds"]],
  ["a step of all workers by distance", ["step", "cpu", fixture, 2, 6, "all", "distance"], ["milliseconds"]],
  ["a step on the GPU", ["step", "gpu", fixture, 1, 2, "one"], ["milliseconds"]],
  ["the start", ["start", "cpu"], ["moving_ms"]],
  ["memory", ["memory", fixture, 1, 4], ["first_step_mb", "last_step_mb"]],
  ["sizes", ["sizes"], ["page_kb", "cpu_engine_kb", "gpu_engine_kb", "page_and_gpu_engine_mb_quality_9"]],
]) {
  test(`the benchmark measures ${what}`, async () => {
    const found = await measured(...given);
    for (const figure of figures) expect(found[figure], figure).toBeGreaterThan(0);
  });
}
