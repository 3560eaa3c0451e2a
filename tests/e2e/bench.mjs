// Speed and size of the built page, as JSON: `node bench.mjs`. Nothing here passes or fails.
import { readFile } from "node:fs/promises";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants } from "node:zlib";
import { chromium } from "@playwright/test";
import config from "./playwright.config.mjs";
import { serve } from "./serve.mjs";

const dist = process.env.BASIN_DIST ?? fileURLToPath(new URL("../../dist", import.meta.url));
const server = await serve(0);
const address = `http://127.0.0.1:${server.address().port}/`;
const { launchOptions } = config.use;

async function brotli(names) {
  let sum = 0;
  for (const name of names) {
    const path = join(dist, name);
    if (!existsSync(path)) return null;
    const bytes = await readFile(path);
    const params = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length };
    sum += brotliCompressSync(bytes, { params }).length;
  }
  return sum;
}

// From a browser that has nothing to the first step that is drawn.
async function coldStart() {
  const browser = await chromium.launch(launchOptions);
  const page = await browser.newPage();
  await page.addInitScript(() => {
    const watch = () => {
      const stage = document.querySelector(".stage[data-step]");
      if (stage && Number(stage.dataset.step) > 0) {
        requestAnimationFrame(() => (document.documentElement.dataset.moving = performance.now()));
      } else {
        requestAnimationFrame(watch);
      }
    };
    requestAnimationFrame(watch);
  });
  await page.goto(`${address}#engine=cpu&class=7&images=1`);
  await page.waitForSelector("html[data-moving]", { timeout: 60_000, state: "attached" });
  const moving = Number(await page.evaluate(() => document.documentElement.dataset.moving));
  await browser.close();
  return moving;
}

// Median milliseconds of a step of 16 images of the bundled model.
async function step(engine, steps) {
  const browser = await chromium.launch(launchOptions);
  try {
    const page = await browser.newPage();
    await page.goto(`${address}#engine=${engine}&class=7&images=16&steps=${steps}`);
    await page.waitForSelector('.stage[data-phase="Finished"]', { timeout: 240_000 });
    const used = await page.getAttribute("[data-engine]", "data-engine");
    if (used.toLowerCase() !== engine) return null;
    await page.click('summary[data-chip="engine"]');
    return {
      milliseconds: Number(await page.getAttribute("[data-milliseconds]", "data-milliseconds")),
      adapter: await page.locator("dt:text-is('adapter') + dd").textContent(),
    };
  } catch (error) {
    return { error: String(error.message).split("\n")[0] };
  } finally {
    await browser.close();
  }
}

const colds = [];
for (let i = 0; i < 3; i++) colds.push(Math.round(await coldStart()));
const cpu = await step("cpu", 40);
const gpu = process.argv.includes("--no-gpu") ? null : await step("gpu", 4);
const rate = (measured) => measured && { ...measured, images_per_second: Math.round(16_000 / measured.milliseconds) };
const report = {
  brotli_bytes: {
    page_and_cpu_engine: await brotli([
      "index.html", "style.css", "icon.svg", "start.js", "worker.js",
      "basin-web.js", "basin-web_bg.wasm", "basin-cpu.js", "basin-cpu_bg.wasm",
    ]),
    gpu_engine: await brotli(["basin-gpu.js", "basin-gpu_bg.wasm"]),
  },
  cold_to_moving_ms: colds,
  step_of_16: { cpu: rate(cpu), gpu: rate(gpu) },
};
console.log(JSON.stringify(report, null, 2));
server.close();
