import { readFile } from "node:fs/promises";
import { expect, test } from "@playwright/test";
import { alterWorkers, answerWith, engine, finished, notice, open, openPanel, stage, UNTRAINED } from "./page.mjs";

const fixture = new URL("./fixtures/untrained.safetensors", import.meta.url).pathname;

async function give(page, name, buffer) {
  await openPanel(page, "model");
  const input = page.getByLabel("a model file");
  await input.setInputFiles({ name, mimeType: "application/octet-stream", buffer });
  await openPanel(page, "model");
}

test("a broken file shows the loader's words and the model before it goes on", async ({ page }) => {
  const violations = await open(page, "/#engine=cpu&class=1&steps=3");
  await finished(page);
  const name = await page.locator("[data-model-name]").textContent();
  const sound = await readFile(fixture);
  await give(page, "cut.safetensors", sound.subarray(0, 5000));
  await expect(notice(page).last()).toContainText(/cut\.safetensors: .*5000.*The model before it stays/);
  await expect(page.locator("[data-model-name]")).toHaveText(name);
  await page.getByRole("button", { name: "ship" }).click();
  await finished(page);
  expect(violations).toEqual([]);
});

test("a model file of the visitor's is used, and a link to it says what it cannot carry", async ({ page }) => {
  await open(page, "/#engine=cpu&steps=3");
  await finished(page);
  await give(page, "mine.safetensors", await readFile(fixture));
  await expect(page.getByRole("button", { name: "gamma" })).toBeVisible();
  // It dreams at once.
  await finished(page);
  await page.getByRole("button", { name: "gamma" }).click();
  await finished(page);
  await expect.poll(() => page.url()).toContain("model=file:mine.safetensors");
  await page.reload();
  await expect(notice(page)).toContainText("mine.safetensors");
  await expect(page.getByRole("button", { name: "automobile" })).toBeVisible();
});

test("a first visitor sees the CIFAR-10 model, and the other one is a click away", async ({ page }) => {
  await open(page, "/");
  await finished(page);
  await expect(page.getByRole("button", { name: "frog" })).toBeVisible();
  await expect.poll(() => page.url()).toContain("model=cifar-10&");
  await page.getByRole("button", { name: "Fashion-MNIST" }).click();
  await expect(page.getByRole("button", { name: "Sandal" })).toBeVisible();
  await finished(page);
  await expect.poll(() => page.url()).toContain("model=fashion-mnist&");
  await page.reload();
  await expect(page.getByRole("button", { name: "Sandal" })).toBeVisible();
  await page.getByRole("button", { name: "Denoise" }).click();
  await expect(page.getByRole("button", { name: "Sample 3" }).locator("img")).toHaveAttribute(
    "src",
    "samples/fashion-mnist/2.png",
  );
  await finished(page);
  // A link to the first one, pasted over the address, keeps its own numbers: here those of Langevin dynamics, from when
  // the page's model was another.
  const link = "tab=dream&model=cifar-10&engine=cpu&class=3&seed=5&steps=7&step=0.5";
  await page.evaluate((link) => (location.hash = link), link);
  await expect(page.getByRole("button", { name: "cat" })).toHaveAttribute("aria-pressed", "true");
  await finished(page);
  await expect.poll(() => page.url()).toContain(link.replace("step=0.5", "sampler=langevin&step=0.5"));
  await expect(notice(page)).toContainText("an earlier model of the page");
});

test("?model= names a model, and the address keeps it", async ({ page, baseURL }) => {
  const url = new URL(UNTRAINED, baseURL).href;
  await open(page, `/?model=${encodeURIComponent(url)}#engine=cpu&steps=3`);
  await expect(page.locator("[data-model-name]")).toHaveText("untrained");
  await finished(page);
  await expect.poll(() => page.url()).toContain(`#tab=dream&model=${url}&`);
});

test("an address with no model behind it is named, and the bundled model takes over", async ({ page }) => {
  await open(page, "/?model=/fixtures/none.safetensors#engine=cpu&steps=2");
  await expect(notice(page)).toContainText("/fixtures/none.safetensors: the server answered 404");
  await finished(page);
});

test("an engine that crashes is started again and the chain goes on", async ({ page }) => {
  await open(page, "/#engine=cpu&class=4&seed=11&steps=150");
  await expect.poll(async () => Number(await stage(page).getAttribute("data-step"))).toBeGreaterThan(10);
  const [worker] = page.workers();
  await worker.evaluate(() => setTimeout(() => { throw new Error("pulled the plug"); }));
  await expect(notice(page)).toContainText(/CPU engine stopped .*pulled the plug.* goes on from step \d\d/);
  await finished(page);
  await expect(engine(page)).toHaveAttribute("data-engine", "CPU");
});

test("a model that the GPU engine refuses is the CPU's at once", async ({ page }) => {
  await alterWorkers(
    page,
    `Object.defineProperty(GPUSupportedLimits.prototype, "maxStorageBufferBindingSize", { get: () => 1024 });`,
  );
  await open(page, `/#engine=gpu&model=${UNTRAINED}&class=1&seed=3&steps=3&start=noise`);
  await expect(notice(page)).toContainText(
    /The GPU engine cannot hold this model \(.* bytes in one buffer on the GPU, which gives 1024.*, so the CPU computes/,
    { timeout: 120_000 },
  );
  await finished(page);
  await expect(engine(page)).toHaveAttribute("data-engine", "CPU");
  await expect(notice(page)).toHaveCount(1);
});

test("a lost GPU device is told, and the chain goes on", async ({ page }) => {
  // The worker's own device, kept where the test can destroy it.
  await alterWorkers(
    page,
    `const request = GPUAdapter.prototype.requestDevice;
    GPUAdapter.prototype.requestDevice = async function (...given) {
      return (self.lastDevice = await request.apply(this, given));
    };`,
  );
  await open(page, `/#engine=gpu&model=${UNTRAINED}&class=1&seed=3&steps=6&step=0.5&noise=0&start=noise`);
  await expect(stage(page)).toHaveAttribute("data-step", /[1-9]/, { timeout: 120_000 });
  await page.workers()[0].evaluate(() => self.lastDevice.destroy());
  await expect(notice(page)).toContainText(/GPU engine stopped/, { timeout: 150_000 });
  await finished(page);
});

// The first half of a file of the page's.
async function cut(page, pattern) {
  await answerWith(page, pattern, async (response) => {
    const body = await response.body();
    // Without headers that tell of its whole length.
    return { status: 200, headers: { "content-type": "application/wasm" }, body: body.subarray(0, body.length / 2) };
  });
}

test("an address with something else behind it is named, and the bundled model takes over", async ({ page }) => {
  await page.route((url) => url.pathname === "/odd.safetensors", (route) => route.fulfill({ body: "<!doctype html><title>moved</title>" }));
  await open(page, "/?model=/odd.safetensors#engine=cpu&steps=2");
  await expect(notice(page)).toContainText("/odd.safetensors: this is a web page");
  await finished(page);
});

test("a name of a bundled model is that model", async ({ page }) => {
  await open(page, "/?model=fashion-mnist#engine=cpu&steps=2");
  await finished(page);
  await expect.poll(() => page.url()).toContain("model=fashion-mnist");
  await expect(notice(page)).toHaveCount(0);
});

for (const [what, prepare, sentence] of [
  ["without WebAssembly", (page) => page.addInitScript("delete globalThis.WebAssembly"), /computes with WebAssembly/],
  ["whose program is missing", (page) => page.route("**/basin-web_bg.wasm", (r) => r.fulfill({ status: 404 })), /whole/],
  ["whose program is cut short", (page) => cut(page, "**/basin-web_bg.wasm"), /did not arrive whole.*Reload/],
  ["whose glue is of another version", (page) =>
    page.route("**/basin-web.js", (r) => r.fulfill({ contentType: "text/javascript", body: "export default 1" })), /another version/],
  ["whose first script is missing", (page) => page.route("**/start.js", (r) => r.fulfill({ status: 404 })), /not started yet/],
]) {
  test(`a page ${what} says so`, async ({ page }) => {
    await prepare(page);
    await page.goto("/");
    await expect(page.locator("#waiting")).toContainText(sentence);
    await expect(page.locator("#waiting")).toBeVisible({ timeout: 15_000 });
  });
}

test("an engine whose program is cut short is told once", async ({ page }) => {
  await cut(page, "**/basin-cpu*_bg.wasm");
  await open(page, "/#engine=cpu");
  await expect(notice(page)).toContainText("The engine's program is missing, cut short or of another version");
  await expect(notice(page)).toHaveCount(1);
});

test("where the GPU engine's program is missing the CPU computes", async ({ page }) => {
  await page.route("**/basin-gpu_bg.wasm", (route) => route.fulfill({ status: 404 }));
  await open(page, `/#engine=gpu&model=${UNTRAINED}&class=1&steps=2`);
  await expect(notice(page)).toContainText(/GPU engine's program is missing.*so the CPU computes/);
  await finished(page);
});

for (const [what, gpu, sentence] of [
  ["null", "null", /no WebGPU/],
  ["silent", "{ requestAdapter: () => new Promise(() => {}) }", /did not answer/],
  ["broken", "{ requestAdapter() { throw new Error('no driver'); } }", /no driver/],
  ["without an adapter", "{ requestAdapter: async () => null }", /no graphics adapter/],
]) {
  test(`where WebGPU is ${what} the CPU computes within seconds and says why`, async ({ page }) => {
    await page.addInitScript(`Object.defineProperty(navigator, "gpu", { value: ${gpu} });`);
    await open(page, `/#model=${UNTRAINED}&class=1&steps=2`);
    await expect(engine(page)).toHaveAttribute("data-engine", "CPU");
    await expect(stage(page)).toHaveAttribute("data-phase", "Finished", { timeout: 15_000 });
    await openPanel(page, "engine");
    await expect(page.locator(".reason")).toContainText(sentence);
  });
}

test("an adapter that comes late is asked for again", async ({ page }) => {
  await page.addInitScript(() => {
    const request = navigator.gpu.requestAdapter.bind(navigator.gpu);
    window.asked = 0;
    navigator.gpu.requestAdapter = (...given) => (window.asked++ ? request(...given) : Promise.resolve(null));
  });
  await open(page, `/#model=${UNTRAINED}&class=1&steps=2`);
  await finished(page);
  await expect.poll(() => page.evaluate(() => window.asked), { timeout: 15_000 }).toBe(2);
});

// Drops a file with these properties.
const dropped = (page, name, bytes, size) =>
  page.evaluate(
    ([name, bytes, size]) => {
      const file = new File([new Uint8Array(bytes)], name);
      // As large as it says.
      if (size) Object.defineProperty(File.prototype, "size", { get: () => size });
      const dataTransfer = new DataTransfer();
      dataTransfer.items.add(file);
      document.body.dispatchEvent(new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer }));
    },
    [name, bytes, size],
  );

test("a file that no model is as large as is refused before it is read", async ({ page }) => {
  await open(page, `/#engine=cpu&model=${UNTRAINED}&class=1&steps=2`);
  await finished(page);
  await dropped(page, "model.safetensors", [1], 3e9);
  await expect(notice(page)).toContainText("model.safetensors: the file has 3000 MB, more than the 256 MB");
});

test("a model in capitals is a model, and a picture that comes first waits for it", async ({ page }) => {
  const bytes = [...(await readFile(new URL("./fixtures/untrained.safetensors", import.meta.url)))];
  const picture = [...(await readFile(new URL("../data/pictures/grey16.png", import.meta.url)))];
  let arrive;
  const held = new Promise((resolve) => (arrive = resolve));
  await page.route("**/models/*.safetensors", async (route) => {
    await held;
    await route.abort();
  });
  await open(page, "/#tab=denoise&engine=cpu&steps=2");
  // Before that there is nobody who would take it.
  await page.waitForSelector("header h1");
  await dropped(page, "photo.png", picture);
  await expect(notice(page)).toContainText("The picture waits for the model");
  await dropped(page, "M.SAFETENSORS", bytes);
  await finished(page);
  await expect.poll(() => page.url()).toContain("picture=own");
  await expect.poll(() => page.url()).toContain("model=file:M.SAFETENSORS");
  arrive();
});

test("panels close on Escape and on a click elsewhere, the card says what matters first, a theme is kept", async ({ page }) => {
  await open(page, "/#engine=cpu&steps=2");
  await finished(page);
  const panel = page.locator(".chip-panel[open]");
  await openPanel(page, "model");
  await expect(panel.locator(".headlines")).toContainText("right under attack");
  await expect(panel).not.toContainText("check pgd");
  await page.keyboard.press("Escape");
  await expect(panel).toHaveCount(0);
  await openPanel(page, "engine");
  await page.locator("h1").click();
  await expect(panel).toHaveCount(0);

  const paper = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
  await page.emulateMedia({ colorScheme: "light" });
  const light = await paper();
  await page.getByRole("button", { name: "theme: auto" }).click();
  await page.getByRole("button", { name: "theme: light" }).click();
  await expect(page.getByRole("button", { name: "theme: dark" })).toBeVisible();
  expect(await paper()).not.toBe(light);
  await page.reload();
  await expect(page.getByRole("button", { name: "theme: dark" })).toBeVisible();
});

test("an embedded page is the stage alone, and leads to the whole one", async ({ page, context, baseURL }) => {
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  await open(page, "/#engine=cpu&class=3&seed=5&steps=2");
  await finished(page);
  await page.getByRole("button", { name: "copy embed" }).click();
  await expect(page.getByRole("button", { name: "copied" })).toBeVisible();
  const frame = await page.evaluate(() => navigator.clipboard.readText());
  expect(frame).toContain(`<iframe src="${baseURL}?embed=1#tab=dream&amp;model=cifar-10&amp;engine=cpu&amp;class=3&amp;seed=5`);
  const another = await context.newPage();
  await another.setContent(`<!doctype html><title>another page</title>${frame}`);
  const inside = another.frameLocator("iframe");
  await expect(inside.locator(".stage")).toHaveAttribute("data-phase", "Finished");
  await expect(inside.getByRole("button", { name: "step" })).toBeVisible();
  for (const hidden of ["header", ".choices", ".readings"]) await expect(inside.locator(hidden)).toBeHidden();
  const whole = inside.getByRole("link", { name: "open in Basin" });
  await expect(whole).toHaveAttribute("href", /#tab=dream&model=cifar-10&engine=cpu&class=3&seed=5/);
  await expect(whole).not.toHaveAttribute("href", /embed/);
});

test("a model asked for while another is being read is the one that is used", async ({ page, baseURL }) => {
  // The engine takes its time to read.
  await alterWorkers(
    page,
    `const listen = Object.getOwnPropertyDescriptor(self, "onmessage");
    Object.defineProperty(self, "onmessage", {
      set(answer) {
        listen.set.call(self, (event) => setTimeout(() => answer.call(self, event), 400));
      },
    });`,
  );
  await open(page, "/#engine=cpu&steps=2");
  await expect(page.locator(".progress")).toContainText("reading the model");
  const link = `tab=dream&engine=cpu&model=${new URL(UNTRAINED, baseURL).href}&steps=2`;
  await page.evaluate((link) => (location.hash = link), link);
  await expect(page.getByRole("button", { name: "gamma" })).toBeVisible();
  await finished(page);
  await expect(page.locator('summary[data-chip="model"]')).toContainText("untrained");
  await expect.poll(() => page.url()).toContain("untrained.safetensors");
  await expect(notice(page)).toHaveCount(0);
});
