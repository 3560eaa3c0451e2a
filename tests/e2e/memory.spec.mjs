import { expect, test } from "@playwright/test";
import { alterWorkers, finished, open, stage } from "./page.mjs";

// How long the page is used, in seconds: BASIN_MEMORY_SECONDS=300 npx playwright test memory
const SECONDS = Number(process.env.BASIN_MEMORY_SECONDS ?? 40);
// What may be gained from the first measurement to the last, in MB: of JavaScript's heap, and of WebAssembly's memories,
// which never shrink and grow by a model file at once, where one no longer fits between what lies there.
const MOST = { heap: 3, program: 9, engine: 9 };
// What a run of some minutes may gain in a minute of its second half, when they have grown as large as they get.
const MOST_A_MINUTE = 0.5;

// Keeps every memory of a program of WebAssembly that is started here.
const REMEMBER = `
  self.memories = [];
  for (const name of ["instantiate", "instantiateStreaming"]) {
    const start = WebAssembly[name].bind(WebAssembly);
    WebAssembly[name] = async (...given) => {
      const started = await start(...given);
      const { memory } = (started.instance ?? started).exports;
      if (memory) self.memories.push(memory);
      return started;
    };
  }`;
const bytes = () => self.memories.reduce((sum, memory) => sum + memory.buffer.byteLength, 0);

test("memory stays as it is however the page is used", async ({ page }) => {
  test.setTimeout(SECONDS * 1000 + 240_000);
  await page.addInitScript(REMEMBER);
  for (const program of ["worker.js", "partner.js"]) await alterWorkers(page, REMEMBER, program);
  const violations = await open(page, "/#engine=cpu&class=1&steps=10");
  await finished(page);
  const devtools = await page.context().newCDPSession(page);
  const tab = (name) => page.getByRole("group", { name: "What to do" }).getByRole("button", { name, exact: true }).click();
  const moved = async () => {
    // Until then what ended before may still be on screen.
    await page.waitForTimeout(100);
    await expect(stage(page)).toHaveAttribute("data-phase", "Finished");
  };

  // Everything once, with either model.
  let round = 0;
  const use = async () => {
    for (const model of ["Fashion-MNIST", "CIFAR-10"]) {
      await page.locator(".tabs").getByRole("button", { name: model }).click();
      await expect(page.locator('summary[data-chip="model"]')).toContainText(model);
      await tab("Dream");
      await page.locator(".chips .chip").nth(round++ % 10).click();
      await moved();
      for (const name of ["Denoise", "Restore", "Attack", "Landscape"]) {
        await tab(name);
        await page.locator(".samples button").nth(round % 10).click();
        await moved();
      }
    }
  };
  const measure = async () => {
    await devtools.send("HeapProfiler.collectGarbage");
    const { usedSize } = await devtools.send("Runtime.getHeapUsage");
    const workers = await Promise.all(page.workers().map((worker) => worker.evaluate(bytes)));
    return {
      seconds: (Date.now() - begun) / 1000,
      heap: usedSize / 1e6,
      program: (await page.evaluate(bytes)) / 1e6,
      engine: workers.reduce((sum, size) => sum + size, 0) / 1e6,
    };
  };

  const begun = Date.now();
  // What is made once is there after two rounds.
  await use();
  await use();
  const found = [await measure()];
  do {
    await use();
    found.push(await measure());
  } while (found.at(-1).seconds < SECONDS || found.length < 3);

  const minutes = (found.at(-1).seconds - found[0].seconds) / 60;
  const gained = (name) => found.at(-1)[name] - found[0][name];
  // By least squares, in MB a minute.
  const slope = (name) => {
    const later = found.slice(minutes > 3 ? Math.floor(found.length / 2) : 0);
    const mean = (of) => later.reduce((sum, each) => sum + of(each), 0) / later.length;
    const [time, size] = [mean((each) => each.seconds / 60), mean((each) => each[name])];
    const apart = (each) => each.seconds / 60 - time;
    return mean((each) => apart(each) * (each[name] - size)) / mean((each) => apart(each) ** 2);
  };
  const words = Object.keys(MOST).map(
    (name) => `${name} ${found[0][name].toFixed(2)} to ${found.at(-1)[name].toFixed(2)} MB, ${slope(name).toFixed(2)} MB a minute`,
  );
  console.log(`${found.length} rounds in ${minutes.toFixed(1)} minutes: ${words.join("; ")}`);
  expect(found[0].program).toBeGreaterThan(1);
  expect(found[0].engine).toBeGreaterThan(1);
  for (const [name, most] of Object.entries(MOST)) expect(gained(name), name).toBeLessThan(most);
  // A few rounds have too much of chance in them.
  if (minutes > 3) {
    for (const name of Object.keys(MOST)) expect(slope(name), name).toBeLessThan(MOST_A_MINUTE);
  }
  expect(violations).toEqual([]);
});
