// basin.js in a page that is not Basin's.
import { fileURLToPath } from "node:url";
import { expect, test } from "@playwright/test";
import { answerWith, finished, open, pixels } from "./page.mjs";
import { serve } from "./serve.mjs";

const FASHION = "/models/fashion-mnist-dsm.safetensors";
const MODEL = "/fixtures/untrained.safetensors";
const EXAMPLE = "/examples/dream.html";

// A page with nothing in it.
async function openPlain(page) {
  const body = "<!doctype html><title>A plain page</title>";
  await page.route("**/plain.html", (route) => route.fulfill({ contentType: "text/html", body }));
  await page.goto("/plain.html");
}

// What `body` answers there, with `Basin` at hand; where it fails, the words of the fault.
async function plain(page, body) {
  await openPlain(page);
  return page.evaluate(async (body) => {
    const { Basin } = await import("/basin.js");
    const AsyncFunction = (async () => {}).constructor;
    try {
      return await new AsyncFunction("Basin", body)(Basin);
    } catch (error) {
      return `${error.name}: ${error.message}`;
    }
  }, body);
}

const load = (model = MODEL, options = "{}") => `const basin = await Basin.load(${JSON.stringify(model)}, ${options});`;

test("the example draws what the page draws at the same link", async ({ page, context }) => {
  const faults = await open(page, EXAMPLE);
  await expect(page.locator("button")).toBeEnabled({ timeout: 120_000 });
  await expect(page.locator("output")).toHaveText(/^step 56, energy -?\d+\.\d\d$/);
  const drawn = await page.evaluate(() => {
    const canvas = document.querySelector("canvas");
    return [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data];
  });
  expect(faults).toEqual([]);
  const whole = await context.newPage();
  await open(whole, "/#engine=cpu&model=fashion-mnist&class=6&seed=7");
  await finished(whole);
  expect((await pixels(whole))[0]).toEqual(drawn);
  // Another seed is another picture.
  await page.locator("button").click();
  await expect(page.locator("button")).toBeDisabled();
  await expect(page.locator("button")).toBeEnabled({ timeout: 120_000 });
  const again = await page.evaluate(() => {
    const canvas = document.querySelector("canvas");
    return [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data];
  });
  expect(again).not.toEqual(drawn);
});

test("several pictures of a chain by distance are those of the page", async ({ page, context }) => {
  const frames = await plain(
    page,
    `${load()}
    const bytes = (frame) => Array.from({ length: 3 }, (_, i) => [...basin.imageData(frame.pixels, i).data]);
    let last; let count = 0;
    for await (const frame of basin.dream({ class: "all", seed: 7, steps: 6, start: "noise" })) { last = frame; count += 1; }
    return { count, step: last.step, bytes: bytes(last), names: basin.classNames, sampler: basin.model.generation.sampler };`,
  );
  expect(frames).toMatchObject({ count: 7, step: 6, names: ["alpha", "beta", "gamma"] });
  const whole = await context.newPage();
  await open(whole, `/#engine=cpu&model=${MODEL}&class=all&seed=7&steps=6&start=noise`);
  await finished(whole);
  expect(await pixels(whole)).toEqual(frames.bytes);
});

test("a picture is cleaned as the page cleans it, and its energies are those of the chain", async ({
  page,
  context,
}) => {
  const cleaned = await plain(
    page,
    `${load(FASHION)}
    const image = await createImageBitmap(await (await fetch("/samples/fashion-mnist/9.png")).blob());
    const context = new OffscreenCanvas(28, 28).getContext("2d");
    context.drawImage(image, 0, 0);
    const { data } = context.getImageData(0, 0, 28, 28);
    const picture = Float32Array.from({ length: 28 * 28 }, (_, i) => data[4 * i] / 255);
    let first, last;
    for await (const frame of basin.denoise(picture, { sigma: 0.25, seed: 3, steps: 5 })) { first ??= frame; last = frame; }
    const [of] = await basin.energies(last.pixels);
    return {
      fell: first.energy - last.energy, energy: last.energy, of: { ...of, logits: [...of.logits] }, logits: [...last.logits],
      kind: basin.model.denoising.energy, bytes: [...basin.imageData(last.pixels).data], picture: picture.length,
    };`,
  );
  expect(cleaned.picture).toBe(784);
  expect(cleaned.fell).toBeGreaterThan(0);
  const { marginal, joint, logits } = cleaned.of;
  expect(logits).toHaveLength(10);
  logits.forEach((logit, y) => expect(Math.abs(logit - cleaned.logits[y])).toBeLessThan(1e-4));
  expect(marginal).toBeCloseTo(-Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit), 0)), 4);
  joint.forEach((energy, y) => expect(energy).toBe(-logits[y]));
  expect(cleaned.energy).toBeCloseTo(cleaned.kind === "marginal" ? marginal : joint[0], 3);
  const whole = await context.newPage();
  await open(whole, "/#tab=denoise&engine=cpu&model=fashion-mnist&picture=9&sigma=0.25&seed=3&steps=5");
  await finished(whole);
  expect((await pixels(whole)).map((picture) => picture.join())).toContain(cleaned.bytes.join());
});

test("the GPU engine draws what the CPU engine draws", async ({ page }) => {
  // Software WebGPU: right, and slow.
  const drawn = (engine) =>
    plain(
      page,
      `${load(MODEL, JSON.stringify({ engine }))}
      let last;
      for await (const frame of basin.dream({ class: 1, seed: 3, steps: 3, start: "noise" })) last = frame;
      return { energy: last.energy, pixels: [...last.pixels] };`,
    );
  const [cpu, gpu] = [await drawn("cpu"), await drawn("gpu")];
  expect(gpu.energy).toBeCloseTo(cpu.energy, 2);
  expect(Math.max(...gpu.pixels.map((value, i) => Math.abs(value - cpu.pixels[i])))).toBeLessThan(1 / 255);
});

test("a model is loaded from its bytes, which stay the caller's", async ({ page }) => {
  const found = await plain(
    page,
    `const bytes = new Uint8Array(await (await fetch(${JSON.stringify(MODEL)})).arrayBuffer());
    const stages = new Set();
    const basin = await Basin.load(bytes, { onProgress: ({ stage }) => stages.add(stage) });
    const { logits, gradient } = basin.selfTest;
    return { left: bytes.length, means: basin.classMeans.length / (basin.model.channels * basin.model.size ** 2),
      off: Math.max(logits, gradient), stages: [...stages], length: basin.model.file_length };`,
  );
  expect(found.left).toBe(found.length);
  expect(found.means).toBe(3);
  expect(found.off).toBeLessThan(1e-3);
  expect(found.stages).toContain("compiling");
});

test("what runs is stopped by a signal, by another chain and by closing, each with a sentence", async ({ page }) => {
  const said = await plain(
    page,
    `${load()}
    const said = async (frames, at, act) => {
      try {
        for await (const frame of frames) if (frame.step === at) act();
        return "it went on";
      } catch (error) { return error.name + ": " + error.message; }
    };
    const stop = new AbortController();
    const stopped = await said(basin.dream({ class: 0, steps: 60, signal: stop.signal }), 4, () => stop.abort());
    const before = await said(basin.dream({ class: 0, signal: stop.signal }), 0, () => {});
    const other = basin.dream({ class: 1, steps: 3 });
    const displaced = await said(basin.dream({ class: 0, steps: 60 }), 2, () => { other.next(); });
    // The other goes on: three frames after the first.
    let left = 0; for await (const frame of other) left += 1;
    const closed = await said(basin.dream({ class: 0, steps: 60 }), 5, () => basin.close());
    const later = await basin.energies(new Float32Array(basin.classMeans.length)).catch((error) => error.message);
    const loading = await Basin.load(${JSON.stringify(MODEL)}, { signal: AbortSignal.timeout(1) }).catch((error) => error.name + ": " + error.message);
    return { stopped, before, displaced, left, closed, later, loading };`,
  );
  expect(said).toEqual({
    stopped: "AbortError: the chain was stopped after step 4 of 60, as its signal asked",
    before: expect.stringMatching(/^AbortError: the chain was stopped after step 0 of \d+, as its signal asked$/),
    displaced: "Error: another chain was begun on this model, which runs one at a time; load it twice to run two",
    left: 3,
    closed: "Error: this model was closed; load it again",
    later: "this model was closed; load it again",
    loading: "AbortError: loading the model was stopped, as its signal asked",
  });
});

for (const [what, body, sentence] of [
  ["a file that is no model", load("/icon.svg"), /^Error: \/icon\.svg: .*(header|safetensors)/],
  [
    "a file that is not there",
    load("/absent.safetensors"),
    "Error: /absent.safetensors: the server answered 404, expected a model file there",
  ],
  ["no file", load(7), "TypeError: the model is 7, expected the address of a file, or its bytes"],
  [
    "an engine that there is not",
    load(MODEL, '{ engine: "abacus" }'),
    'RangeError: engine is "abacus", expected "cpu" or "gpu"',
  ],
  [
    "a misspelt option",
    load(MODEL, '{ motor: "cpu" }'),
    /the option "motor" is not known, expected some of engine, signal, onProgress/,
  ],
  [
    "a class that there is not",
    `${load()} basin.dream({ class: "shirt" });`,
    'RangeError: class is "shirt", expected 0 to 2, "all", or one of alpha, beta, gamma',
  ],
  ["no class", `${load()} basin.dream();`, /^RangeError: class is undefined, expected/],
  [
    "a seed that is none",
    `${load()} basin.dream({ class: 0, seed: -1 });`,
    "RangeError: seed is -1, expected a whole number from 0 to 4294967295",
  ],
  [
    "half a sampler",
    `${load()} basin.dream({ class: 0, sampler: { sgld: { noise_std: 0 } } });`,
    /^TypeError: sampler is \{"sgld":\{"noise_std":0\}\}, expected a whole one, as the model's own, \{/,
  ],
  [
    "a sampler out of range",
    `${load()} for await (const _ of basin.dream({ class: 0, sampler: { by_distance: { h: 2, beta: 1, last_steps: 0, last_h: 1 } } }));`,
    /^Error: the sampler: h is 2, expected above 0 to 1/,
  ],
  [
    "pictures of another size",
    `${load()} await basin.energies(new Float32Array(10));`,
    /^RangeError: the pictures have 10 numbers, expected \d+ × \d+ × \d+ = \d+ for each$/,
  ],
]) {
  test(`${what} is told in a sentence`, async ({ page }) => {
    const said = await plain(page, body);
    sentence instanceof RegExp ? expect(said).toMatch(sentence) : expect(said).toBe(sentence);
  });
}

test("after a refusal the model is still there", async ({ page }) => {
  const steps = await plain(
    page,
    `${load()}
    const sampler = { by_distance: { h: 2, beta: 1, last_steps: 0, last_h: 1 } };
    try { for await (const _ of basin.dream({ class: 0, sampler })); } catch {}
    const steps = [];
    for await (const { step } of basin.dream({ class: 0, steps: 2 })) steps.push(step);
    return steps;`,
  );
  expect(steps).toEqual([0, 1, 2]);
});

for (const file of ["worker.js", "basin-cpu-relaxed.js", "basin-cpu-relaxed_bg.wasm"]) {
  test(`${file} missing is told in a sentence, which the example shows`, async ({ page }) => {
    await page.route(`**/${file}`, (route) => route.fulfill({ status: 404, body: "not found" }));
    await page.goto(EXAMPLE);
    await expect(page.locator("output")).toHaveText(
      file === "worker.js"
        ? /^http.*worker\.js could not be started as a worker; expected the programs of basin\.js's own build there: copy the whole folder/
        : /^the cpu engine's program is missing, cut short or of another version than basin\.js \(.*\); expected all files of one build/,
    );
  });
}

test("from another origin it says why it cannot work", async ({ page }) => {
  const other = await serve(0);
  const origin = `http://127.0.0.1:${other.address().port}`;
  const toAll = (response) => ({ headers: { ...response.headers(), "access-control-allow-origin": "*" } });
  await answerWith(page, `${origin}/**`, toAll);
  await openPlain(page);
  const said = await page.evaluate(async (address) => {
    const { Basin } = await import(address);
    return Basin.load("/models/fashion-mnist-dsm.safetensors").catch((error) => error.message);
  }, `${origin}/basin.js`);
  expect(said).toMatch(
    /^basin\.js was loaded from http:\/\/127\.0\.0\.1:\d+ into a page of .*, and a browser starts workers of the page's own origin only; put the folder/,
  );
  other.close();
});

test("its types are those of what it exports", async ({ page }) => {
  const { readFile } = await import("node:fs/promises");
  const types = await readFile(fileURLToPath(new URL("../../static/basin.d.ts", import.meta.url)), "utf8");
  const [, model] = types.match(/export interface Model \{([\s\S]*?)\n\}/);
  const [, basin] = types.match(/export class Basin \{([\s\S]*?)\n\}/);
  const named = (text, pattern) => [...text.matchAll(pattern)].map(([, name]) => name).sort();
  const found = await plain(
    page,
    `${load()}
    const members = Object.getOwnPropertyNames(Basin.prototype).concat(Object.keys(basin), ["load"]);
    return { model: Object.keys(basin.model).sort(), members: members.sort() };`,
  );
  expect(named(model, /^ {2}(\w+)\??:/gm)).toEqual(found.model);
  expect(named(basin, /^ {2}(?:private |static |readonly )?(\w+)[(:]/gm)).toEqual(found.members);
});
