// One measurement of the built page, as a line of JSON; `cargo xtask bench` makes the report.
//
//   node bench.mjs step ENGINE MODEL IMAGES STEPS WORKERS [SAMPLER]   median milliseconds of a step
//   node bench.mjs start ENGINE                             from nothing to the first picture that moved
//   node bench.mjs memory MODEL IMAGES STEPS                of the browser's GPU process
//   node bench.mjs sizes                                    brotli bytes of the parts
//
// ENGINE is cpu or gpu; MODEL a file, or `bundled`; WORKERS is `one`, or `all` that the page uses;
// SAMPLER is `distance` or `langevin`.
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { brotliCompressSync, constants } from "node:zlib";
import { chromium } from "@playwright/test";
import config from "./playwright.config.mjs";
import { alterWorkers } from "./page.mjs";
import { dist, serve } from "./serve.mjs";

const FINISHED = '.stage[data-phase="Finished"]';
const MOST_MS = 580_000;

// Calls `measure(page, address, browser)` with a browser that has nothing, and the page's address.
async function inBrowser(model, measure) {
  const bundled = !model || model === "bundled";
  const server = await serve(0, bundled ? undefined : dirname(model));
  const browser = await chromium.launch(config.use.launchOptions);
  try {
    const baseURL = `http://127.0.0.1:${server.address().port}/`;
    const page = await browser.newPage({ baseURL });
    page.setDefaultTimeout(MOST_MS);
    const named = bundled ? "" : `&model=/fixtures/${basename(model)}`;
    const address = (settings) => `${baseURL}#${settings}&class=1${named}`;
    return await measure(page, address, browser);
  } finally {
    await browser.close();
    server.close();
  }
}

const step = (engine, model, images, steps, workers, sampler) =>
  inBrowser(model, async (page, address) => {
    if (workers === "one") {
      await alterWorkers(page, 'Object.defineProperty(navigator, "hardwareConcurrency", { value: 1 });');
    }
    const by = sampler ? `&sampler=${sampler}` : "";
    await page.goto(address(`engine=${engine}&images=${images}&steps=${steps}${by}`));
    await page.waitForSelector(FINISHED);
    const used = (await page.getAttribute("[data-engine]", "data-engine")).toLowerCase();
    if (used !== engine) throw new Error(`the page fell back from the ${engine} engine to ${used}`);
    await page.click('summary[data-chip="engine"]');
    const shown = (name) => page.getAttribute(`[data-${name}]`, `data-${name}`);
    return {
      milliseconds: Number(await shown("milliseconds")),
      workers: Number(await shown("workers")),
      adapter: await page.locator("dt:text-is('adapter') + dd").textContent(),
    };
  });

const start = (engine) =>
  inBrowser("bundled", async (page, address) => {
    await page.addInitScript(() => {
      window.longest = 0;
      // Told of nothing shorter than 50 ms.
      const observer = new PerformanceObserver((list) => {
        for (const task of list.getEntries()) window.longest = Math.max(window.longest, task.duration);
      });
      observer.observe({ type: "longtask", buffered: true });
      const watch = () => {
        const stage = document.querySelector(".stage[data-step]");
        const draw = stage && Number(stage.dataset.step) > 0 ? () => (window.moving = performance.now()) : watch;
        requestAnimationFrame(draw);
      };
      requestAnimationFrame(watch);
    });
    await page.goto(address(`engine=${engine}&images=1&steps=${engine === "gpu" ? 1 : 30}`));
    await page.waitForSelector(FINISHED);
    await page.waitForFunction(() => window.moving);
    const used = (await page.getAttribute("[data-engine]", "data-engine")).toLowerCase();
    if (used !== engine) throw new Error(`the page fell back from the ${engine} engine to ${used}`);
    return await page.evaluate(() => ({ moving_ms: window.moving, longest_task_ms: window.longest }));
  });

const memory = (model, images, steps) =>
  inBrowser(model, async (page, address, browser) => {
    const session = await browser.newBrowserCDPSession();
    const megabytes = async () => {
      const { processInfo } = await session.send("SystemInfo.getProcessInfo");
      const { id } = processInfo.find(({ type }) => type === "GPU");
      const status = readFileSync(`/proc/${id}/status`, "utf8");
      return Number(/VmRSS:\s+(\d+) kB/.exec(status)[1]) / 1000;
    };
    const empty = await megabytes();
    await page.goto(address(`engine=gpu&images=${images}&steps=${steps}`));
    await page.waitForSelector('.stage[data-step]:not([data-step="0"])');
    const first = await megabytes();
    await page.waitForSelector(FINISHED);
    const last = await megabytes();
    return { empty_mb: empty, first_step_mb: first, last_step_mb: last, growth_mb: last - first };
  });

function sizes() {
  const programs = readdirSync(dist).find((name) => name.startsWith("programs-"));
  const brotli = (names, quality) => {
    let sum = 0;
    for (const name of names) {
      const place = [join(dist, name), join(dist, programs, name)].find(existsSync);
      const bytes = readFileSync(place);
      const params = {
        [constants.BROTLI_PARAM_QUALITY]: quality,
        [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length,
      };
      sum += brotliCompressSync(bytes, { params }).length;
    }
    return sum;
  };
  const page = ["index.html", "style.css", "icon.svg", "start.js", "worker.js", "basin-web.js", "basin-web_bg.wasm"];
  const engine = (name) => [`${name}.js`, `${name}_bg.wasm`];
  return {
    page_kb: brotli(page, 11) / 1e3,
    cpu_engine_kb: brotli([...engine("basin-cpu-relaxed"), "partner.js"], 11) / 1e3,
    plain_cpu_engine_kb: brotli([...engine("basin-cpu"), "partner.js"], 11) / 1e3,
    gpu_engine_kb: brotli(engine("basin-gpu"), 11) / 1e3,
    // As the peer's are counted.
    page_and_cpu_engine_mb_quality_9: brotli([...page, ...engine("basin-cpu-relaxed"), "partner.js"], 9) / 1e6,
    page_and_gpu_engine_mb_quality_9: brotli([...page, ...engine("basin-gpu")], 9) / 1e6,
  };
}

const [what, ...given] = process.argv.slice(2);
const measurements = { step, start, memory, sizes };
if (!measurements[what]) {
  throw new Error(`the first argument is ${what}, expected one of: ${Object.keys(measurements).join(", ")}`);
}
if (!existsSync(join(dist, "index.html"))) throw new Error(`${dist} holds no page; run: cargo xtask build`);
console.log(JSON.stringify(await measurements[what](...given)));
