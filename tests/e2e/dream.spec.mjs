import { readFile } from "node:fs/promises";
import { expect, test } from "@playwright/test";
import { alterWorkers, energies, engine, finished, notice, open, openPanel, pixels, stage, UNTRAINED } from "./page.mjs";

test("the CPU engine draws a class and its energy falls", async ({ page }) => {
  const violations = await open(page, "/#engine=cpu&class=1&seed=7");
  await finished(page);
  const { start, end } = await energies(page);
  expect(end).toBeLessThan(start - 1);
  // The classifier itself sees what was asked for.
  const wanted = page.locator(".sees li.wanted .number");
  expect(Number(await wanted.textContent())).toBeGreaterThan(0.5);
  await expect(engine(page)).toHaveAttribute("data-engine", "CPU");
  expect(violations).toEqual([]);
});

test("all classes are drawn at once, one picture each", async ({ page }) => {
  await open(page, "/#engine=cpu&class=all&steps=3");
  await finished(page);
  expect(await pixels(page)).toHaveLength(10);
});

test("a link gives the same picture again", async ({ page, context }) => {
  await open(page, "/#engine=cpu&class=8&seed=99&steps=12&start=noise");
  await finished(page);
  await page.getByRole("button", { name: "truck" }).click();
  await page.getByLabel("seed", { exact: true }).fill("1234");
  await page.getByLabel("seed", { exact: true }).press("Enter");
  await finished(page);
  await expect.poll(() => page.url()).toContain("class=9&seed=1234&steps=12");
  const link = page.url();
  const again = await context.newPage();
  await open(again, link);
  await finished(again);
  expect(await pixels(again)).toEqual(await pixels(page));
  expect(again.url()).toBe(link);
});

test("a link that cannot be read whole says so and keeps the rest", async ({ page }) => {
  await open(page, "/#engine=cpu&class=2&steps=2&seed=much");
  await expect(notice(page)).toContainText("seed is “much”, expected 0 to 4294967295");
  await finished(page);
  await expect(page.getByRole("button", { name: "bird" })).toHaveAttribute("aria-pressed", "true");
});

test("play, pause, step, reset and the scrubber, by keyboard", async ({ page }) => {
  await open(page, "/#engine=cpu&class=3&steps=400");
  const button = (name) => page.getByRole("button", { name, exact: true });
  await button("Pause").focus();
  await page.keyboard.press("Enter");
  await expect(stage(page)).toHaveAttribute("data-phase", "Paused");
  await page.waitForTimeout(500);
  const step = Number(await stage(page).getAttribute("data-step"));
  await button("step").press("Enter");
  await expect(stage(page)).toHaveAttribute("data-step", String(step + 1));
  const newest = await pixels(page);
  const scrubber = page.getByLabel("Frame of the chain");
  await scrubber.press("Home");
  await expect(page.getByLabel("Step", { exact: true })).toHaveText("step 0 / 400");
  expect(await pixels(page)).not.toEqual(newest);
  await button("reset").press("Enter");
  await expect(stage(page)).toHaveAttribute("data-step", "0");
  await button("Play").press("Enter");
  await expect(stage(page)).toHaveAttribute("data-phase", "Running");
});

test("under reduced motion nothing starts by itself", async ({ page }) => {
  await page.emulateMedia({ reducedMotion: "reduce" });
  await open(page, "/#engine=cpu&steps=2");
  await expect(page.locator("[data-progress]")).toContainText("ready");
  await expect(stage(page)).toHaveAttribute("data-phase", "Empty");
  await page.getByRole("button", { name: "Play" }).click();
  await finished(page);
});

test("the picture is saved as a PNG, which opens its link again", async ({ page }) => {
  await open(page, "/#engine=cpu&class=1&seed=5&steps=2");
  await finished(page);
  const download = page.waitForEvent("download");
  await page.getByRole("button", { name: "save PNG" }).click();
  expect((await download).suggestedFilename()).toBe("basin-automobile-5-2.png");
  const drawn = await pixels(page);
  const path = await (await download).path();
  await page.getByRole("button", { name: "frog" }).click();
  await finished(page);
  expect(await pixels(page)).not.toEqual(drawn);
  const buffer = await readFile(path);
  await page.getByLabel("my image").setInputFiles({ name: "any.png", mimeType: "image/png", buffer });
  await expect.poll(() => page.url()).toContain("class=1&seed=5&steps=2");
  await finished(page);
  await expect.poll(() => pixels(page)).toEqual(drawn);
});

for (const [what, sampler] of [
  ["Langevin dynamics", "step=0.5&noise=0.005"],
  ["steps by distance", "sampler=distance&h=0.2&beta=0.7"],
]) {
  test(`the GPU engine agrees with the CPU engine after some steps of ${what}`, async ({ page }) => {
    // Software WebGPU: right, and slow, hence the smallest model and few steps.
    const chain = `model=${UNTRAINED}&class=1&seed=3&steps=4&${sampler}&start=noise`;
    await open(page, `/#engine=gpu&${chain}`);
    await finished(page);
    await expect(engine(page)).toHaveAttribute("data-engine", "GPU");
    await openPanel(page, "engine");
    const difference = Number(await page.locator("[data-self-test]").getAttribute("data-self-test"));
    expect(difference).toBeGreaterThan(0);
    expect(difference).toBeLessThan(1e-3);
    const gpu = { pixels: await pixels(page), energies: await energies(page) };

    await page.goto("about:blank");
    await open(page, `/#engine=cpu&${chain}`);
    await finished(page);
    await expect(engine(page)).toHaveAttribute("data-engine", "CPU");
    const cpu = { pixels: await pixels(page), energies: await energies(page) };
    // One of 255 levels, and the last digit shown.
    const differences = gpu.pixels[0].map((value, i) => Math.abs(value - cpu.pixels[0][i]));
    expect(Math.max(...differences)).toBeLessThanOrEqual(1);
    expect(Math.abs(gpu.energies.end - cpu.energies.end)).toBeLessThanOrEqual(0.011);
  });
}

test("a model that tells distances says how far a picture is, and either sampler can be had", async ({ page }) => {
  await open(page, `/#engine=cpu&model=${UNTRAINED}&class=1&seed=3&steps=5&sampler=distance&h=0.3`);
  await finished(page);
  const distance = Number(await page.locator("[data-distance]").getAttribute("data-distance"));
  expect(distance).toBeGreaterThanOrEqual(0.5);
  expect(distance).toBeLessThanOrEqual(3);
  await expect(page.locator(".explanation")).toContainText("how far a picture is from those that it knows");
  await page.getByText("sampler", { exact: true }).first().click();
  await page.getByLabel("share of the way, h").fill("0.5");
  await page.getByLabel("share of the way, h").press("Enter");
  await expect.poll(() => page.url()).toContain("h=0.5");
  await page.getByRole("combobox", { name: /^sampler/ }).selectOption("Langevin dynamics");
  await expect.poll(() => page.url()).toContain("sampler=langevin&step=");
  await finished(page);
  await expect(page.locator(".explanation")).toContainText("Langevin dynamics");
});

// Programs lie in a folder named by their contents.
const fileOf = (request) => new URL(request.url()).pathname.split("/").pop();

test("only the engine in use is fetched, and software WebGPU is not chosen by itself", async ({ page }) => {
  const fetched = [];
  page.on("request", (request) => fetched.push(fileOf(request)));
  await open(page, "/#class=0&steps=1");
  await finished(page);
  // Chromium has relaxed SIMD.
  expect(fetched.filter((path) => /basin-.*\.wasm$/.test(path)).sort()).toEqual([
    "basin-cpu-relaxed_bg.wasm",
    "basin-web_bg.wasm",
  ]);
  await openPanel(page, "engine");
  await expect(page.locator(".reason")).toContainText(/software|no WebGPU|no graphics adapter/);
});

async function openAltered(page, address, words) {
  await alterWorkers(page, words);
  await open(page, address);
  await finished(page);
  await openPanel(page, "engine");
}

const workers = (page) => page.locator("[data-workers]");
const cores = (count) => `Object.defineProperty(navigator, "hardwareConcurrency", { value: ${count} });`;

test("a browser without relaxed SIMD gets the other build", async ({ page }) => {
  const fetched = [];
  page.on("request", (request) => fetched.push(fileOf(request)));
  await openAltered(page, "/#engine=cpu&class=1&steps=2", "WebAssembly.validate = () => false;");
  expect(fetched).toContain("basin-cpu_bg.wasm");
  expect(fetched).not.toContain("basin-cpu-relaxed_bg.wasm");
});

test("workers share many images, and their number changes nothing", async ({ page, context }) => {
  const chain = "/#engine=cpu&class=1&images=16&seed=3&steps=60";
  await openAltered(page, chain, cores(3));
  await expect(workers(page)).toHaveAttribute("data-workers", "3");
  const alone = await context.newPage();
  await openAltered(alone, chain, cores(1));
  await expect(workers(alone)).toHaveAttribute("data-workers", "1");
  expect(await pixels(alone)).toEqual(await pixels(page));
});

test("one image is one worker's", async ({ page }) => {
  await openAltered(page, "/#engine=cpu&class=1&images=1&steps=12", cores(3));
  await expect(workers(page)).toHaveAttribute("data-workers", "1");
});

const failing = (body) => `const W = Worker; self.Worker = class extends W { ${body} };`;

for (const [what, words] of [
  ["no worker can be started", failing("constructor() { throw new Error('no'); }")],
  ["a worker's program is missing", failing("constructor(_, options) { super('absent.js', options); }")],
  [
    "workers fail when first asked",
    failing(`postMessage(message) {
      if (!String(message[0]).includes("evaluate")) return super.postMessage(message);
      setTimeout(() => this.dispatchEvent(new ErrorEvent("error")));
      console.log("failed when asked");
    }`),
  ],
]) {
  test(`a chain goes on alone, and as it would have, where ${what}`, async ({ page, context }) => {
    const chain = "/#engine=cpu&class=1&images=4&seed=3&steps=60";
    const said = [];
    page.on("console", (message) => said.push(message.text()));
    await openAltered(page, chain, cores(3) + words);
    await expect(workers(page)).toHaveAttribute("data-workers", "1");
    expect(said.includes("failed when asked")).toBe(words.includes("postMessage"));
    const alone = await context.newPage();
    await openAltered(alone, chain, cores(1));
    expect(await pixels(page)).toEqual(await pixels(alone));
  });
}

test("Back undoes a pick, and Forward does it again", async ({ page }) => {
  await open(page, "/#engine=cpu&class=1&steps=2");
  await finished(page);
  const pressed = (name) => page.getByRole("button", { name, exact: true, pressed: true });
  for (const [name, number] of [["frog", 6], ["truck", 9]]) {
    await page.getByRole("button", { name, exact: true }).click();
    await expect.poll(() => page.url()).toContain(`class=${number}&`);
    await finished(page);
  }
  // A number is no pick.
  const seed = page.getByRole("spinbutton", { name: "seed" });
  await seed.fill("99");
  await seed.press("Enter");
  await expect.poll(() => page.url()).toContain("seed=99");
  await page.goBack();
  await expect(pressed("frog")).toBeVisible();
  await page.goBack();
  await expect(pressed("automobile")).toBeVisible();
  await finished(page);
  await page.goForward();
  await expect(pressed("frog")).toBeVisible();
  await page.goForward();
  await expect(pressed("truck")).toBeVisible();
  await finished(page);
  await expect.poll(() => page.url()).toContain("seed=99");
});

for (const engineName of ["cpu", "gpu"]) {
  test(`a morph on the ${engineName} engine ends at the pictures of both seeds`, async ({ page }) => {
    const chain = `/#engine=${engineName}&model=${UNTRAINED}&class=1&steps=4&step=0.5&noise=0.05&start=noise`;
    const of = async (seeds) => {
      await page.goto("about:blank");
      await open(page, `${chain}&${seeds}`);
      await finished(page);
      return (await pixels(page))[0];
    };
    const ends = [await of("seed=3"), await of("seed=8")];
    expect(await of("seed=3&morph=8,0")).toEqual(ends[0]);
    expect(await of("seed=3&morph=8,100")).toEqual(ends[1]);
    const between = await of("seed=3&morph=8,50");
    const near = await of("seed=3&morph=8,52");
    await expect(engine(page)).toHaveAttribute("data-engine", engineName.toUpperCase());
    const apart = (a, b) => a.reduce((sum, value, i) => sum + Math.abs(value - b[i]), 0) / a.length;
    for (const end of ends) expect(apart(between, end)).toBeGreaterThan(3 * apart(between, near));
  });
}

test("a morph is had by keyboard, and is in the link", async ({ page }) => {
  await open(page, `/#engine=cpu&model=${UNTRAINED}&class=1&steps=4&seed=3`);
  await finished(page);
  await page.getByLabel("morph to another seed").focus();
  await page.keyboard.press("Space");
  await page.getByLabel("other seed", { exact: true }).fill("8");
  await page.keyboard.press("Enter");
  const slider = page.getByRole("slider", { name: "% of the way to it" });
  await slider.focus();
  await page.keyboard.press("ArrowRight");
  await expect.poll(() => page.url()).toContain("seed=3&morph=8,51");
  await finished(page);
  await page.reload();
  await finished(page);
  await expect(slider).toHaveValue("51");
  await page.getByLabel("morph to another seed").press("Space");
  await expect.poll(() => page.url()).not.toContain("morph");
});

test("in slow motion every step is seen, as fast as was asked for", async ({ page }) => {
  await open(page, `/#engine=cpu&model=${UNTRAINED}&class=1&steps=6&speed=10`);
  await finished(page);
  const seen = [];
  await page.exposeFunction("sawStep", (step) => seen.push([Number(step), Date.now()]));
  await stage(page).evaluate((stage) =>
    new MutationObserver(() => window.sawStep(stage.dataset.step)).observe(stage, { attributeFilter: ["data-step"] }),
  );
  await page.getByRole("button", { name: "Play" }).click();
  await expect.poll(() => seen.at(-1)?.[0]).toBe(6);
  expect(seen.map(([step]) => step)).toEqual([0, 1, 2, 3, 4, 5, 6]);
  expect(seen.at(-1)[1] - seen[0][1]).toBeGreaterThan(550);
  // By keyboard: the last choice is the slowest.
  await page.getByLabel("Speed").focus();
  await page.keyboard.press("End");
  await expect.poll(() => page.url()).toContain("speed=2");
  await page.getByRole("button", { name: "Play" }).click();
  await expect(stage(page)).toHaveAttribute("data-step", "1");
  // Held and played again meanwhile, it goes no faster.
  await page.getByRole("button", { name: "Pause" }).click();
  await page.getByRole("button", { name: "Play" }).click();
  const from = Number(await stage(page).getAttribute("data-step"));
  await page.waitForTimeout(1100);
  expect(Number(await stage(page).getAttribute("data-step")) - from).toBeLessThanOrEqual(4);
  await page.getByLabel("Speed").focus();
  await page.keyboard.press("Home");
  await expect.poll(() => page.url()).not.toContain("speed");
  await finished(page);
});
