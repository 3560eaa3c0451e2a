import { readFile } from "node:fs/promises";
import { expect, test } from "@playwright/test";
import { alterWorkers, engine, finished, notice, open, openPanel, stage, UNTRAINED } from "./page.mjs";

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
  expect(page.url()).toContain("model=file:mine.safetensors");
  await page.reload();
  await expect(notice(page)).toContainText("mine.safetensors");
  await expect(page.getByRole("button", { name: "automobile" })).toBeVisible();
});

test("a first visitor sees the CIFAR-10 model, and the other one is a click away", async ({ page }) => {
  await open(page, "/");
  await finished(page);
  await expect(page.getByRole("button", { name: "frog" })).toBeVisible();
  expect(page.url()).toContain("model=cifar-10&");
  await openPanel(page, "model");
  await page.getByRole("button", { name: "Fashion-MNIST" }).click();
  await openPanel(page, "model");
  await expect(page.getByRole("button", { name: "Sandal" })).toBeVisible();
  await finished(page);
  expect(page.url()).toContain("model=fashion-mnist&");
  await page.reload();
  await expect(page.getByRole("button", { name: "Sandal" })).toBeVisible();
  await page.getByRole("button", { name: "Denoise" }).click();
  await expect(page.getByRole("button", { name: "Sample 3" }).locator("img")).toHaveAttribute(
    "src",
    "samples/fashion-mnist/2.png",
  );
  await finished(page);
  // A link to the first one, pasted over the address, keeps its own numbers.
  const link = "tab=dream&model=cifar-10&engine=cpu&class=3&seed=5&steps=7&step=0.5";
  await page.evaluate((link) => (location.hash = link), link);
  await expect(page.getByRole("button", { name: "cat" })).toHaveAttribute("aria-pressed", "true");
  await finished(page);
  expect(page.url()).toContain(link);
});

test("?model= names a model, and the address keeps it", async ({ page, baseURL }) => {
  const url = new URL(UNTRAINED, baseURL).href;
  await open(page, `/?model=${encodeURIComponent(url)}#engine=cpu&steps=3`);
  await expect(page.locator("[data-model-name]")).toHaveText("untrained");
  await finished(page);
  expect(page.url()).toContain(`#tab=dream&model=${url}&`);
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
