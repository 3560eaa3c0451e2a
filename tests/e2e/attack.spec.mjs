import { expect, test } from "@playwright/test";
import { energies, finished, notice, open, pixels, stage, UNTRAINED } from "./page.mjs";

const side = (page, which) => page.locator(`[data-side="${which}"]`);

test("an attack fools the standard network, and climbs the energy of the robust one", async ({ page }) => {
  const violations = await open(page, "/#tab=attack&engine=cpu&picture=1&radius=8");
  await finished(page);
  await expect(side(page, "standard")).toHaveAttribute("data-fooled", "true");
  await finished(page);
  const { start, end } = await energies(page);
  expect(end).toBeGreaterThan(start);
  // Picture, and what was added, of each; no number of the picture moved by more than the radius.
  const [attacked, added] = await pixels(page);
  expect(added).toHaveLength(attacked.length);
  await page.locator(".scrubber").fill("0");
  const [clean] = await pixels(page);
  const off = attacked.map((value, i) => Math.abs(value - clean[i]));
  expect(Math.max(...off)).toBeGreaterThanOrEqual(7);
  expect(Math.max(...off)).toBeLessThanOrEqual(8);
  expect(violations).toEqual([]);

  // The scrubber, at the start now, moves both.
  const [own, , , rival] = await pixels(page);
  expect(rival).toEqual(own);

  // With no radius nothing is fooled that was right before.
  await page.getByRole("slider", { name: "radius" }).fill("0");
  await finished(page);
  await expect(side(page, "standard")).toHaveAttribute("data-fooled", "false");
  await expect.poll(() => page.url()).toContain("radius=0");
});

test("an attacked picture is cleaned in the tab that cleans", async ({ page }) => {
  await open(page, "/#tab=attack&engine=cpu&picture=1&radius=16&norm=l2&steps=5");
  await finished(page);
  await page.getByRole("button", { name: "clean it again" }).click();
  await expect.poll(() => page.url()).toMatch(/tab=denoise.*picture=own&sigma=0/);
  await finished(page);
});

test("of a picture of the visitor's, the attack leads away from what the model sees", async ({ page }) => {
  await open(page, `/#tab=attack&engine=cpu&model=${UNTRAINED}&steps=3`);
  await finished(page);
  // No standard network has these classes.
  await expect(page.locator(".duel")).toContainText("for the classes of its own models alone");
  await page.getByLabel("choose a picture").setInputFiles(new URL("./fixtures/photo.jpg", import.meta.url).pathname);
  await expect.poll(() => page.url()).toMatch(/picture=own&class=[012]&/);
  await finished(page);
  await page.getByLabel("away from").selectOption("beta");
  await expect.poll(() => page.url()).toContain("class=1");
  await expect(notice(page)).toHaveCount(0);
});

test("the curves of both energies and the gradients of both networks are shown, with numbers", async ({ page }) => {
  await open(page, "/#tab=attack&engine=cpu&picture=3&radius=8&steps=6");
  await finished(page);
  await expect(side(page, "standard")).toHaveAttribute("data-fooled", "true");
  const curves = page.locator(".curve");
  await expect(curves).toHaveCount(2);
  for (const curve of [curves.first(), curves.last()]) {
    await expect(curve.locator("polyline")).toHaveCount(2);
    await expect(curve.locator(".key")).toHaveText(["E(x)", "E(x, y)"]);
    // What is climbed is what lies between them.
    const [marginal, joint] = (await curve.locator(".distance output").allTextContents()).map((text) =>
      Number(text.replace("−", "-")),
    );
    expect(joint - marginal).toBeCloseTo(Number(await curve.getAttribute("data-energy")), 1);
    const [most, least] = (await curve.locator(".ends span").allTextContents()).map((text) =>
      Number(text.replace("−", "-")),
    );
    expect(most).toBeGreaterThan(least);
    await expect(curve.locator(".steps span")).toHaveText(["0", "steps", "6"]);
  }
  // How much of a map is in the means of its blocks of 4 x 4: of noise as much as in any other sixteenth, 1.
  const coarse = await page.getByRole("img", { name: /^The gradient/ }).evaluateAll((canvases) =>
    canvases.map((canvas) => {
      const { width, height } = canvas;
      const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
      let [means, all] = [0, 0];
      for (let block = 0; block < (3 * width * height) / 16; block++) {
        const [place, channel] = [Math.floor(block / 3), block % 3];
        const [left, top] = [4 * (place % (width / 4)), 4 * Math.floor(place / (width / 4))];
        let sum = 0;
        for (let i = 0; i < 16; i++) {
          const at = (top + Math.floor(i / 4)) * width + left + (i % 4);
          const value = data[4 * at + channel] - 127.5;
          sum += value;
          all += value ** 2;
        }
        means += sum ** 2 / 16;
      }
      return (16 * means) / all;
    }),
  );
  expect(coarse).toHaveLength(2);
  expect(coarse[0]).toBeGreaterThan(2);
  expect(coarse[1]).toBeLessThan(1);
  const lengths = await page.locator("[data-gradient]").evaluateAll((all) => all.map((of) => Number(of.dataset.gradient)));
  expect(lengths[0]).toBeGreaterThan(0);
  // At the start, the picture is the same: that of the standard network is right there, and other than at the end.
  const ends = await pixels(page);
  await page.locator(".scrubber").focus();
  await page.keyboard.press("Home");
  const starts = await pixels(page);
  for (const which of [2, 5]) expect(starts[which]).not.toEqual(ends[which]);
});

test("a step in slow motion is a step of both networks", async ({ page }) => {
  await open(page, "/#tab=attack&engine=cpu&speed=2&picture=1&steps=4");
  await finished(page);
  await expect(side(page, "standard")).toHaveAttribute("data-fooled", /true|false/);
  await page.getByRole("button", { name: "reset" }).click();
  await page.getByRole("button", { name: "step", exact: true }).click();
  await expect(stage(page)).toHaveAttribute("data-step", "1");
  // What was added is grey before the first step.
  await expect.poll(async () => (await pixels(page))[4].some((value, i) => i % 4 < 3 && Math.abs(value - 128) > 1)).toBe(true);
});

test("another model has its own standard network, and a landscape that was on its way is forgotten", async ({ page }) => {
  await open(page, "/#tab=landscape&engine=cpu&model=fashion-mnist&picture=1");
  await finished(page);
  await page.locator(".tabs").getByRole("button", { name: "CIFAR-10" }).click();
  await expect(page.locator('summary[data-chip="model"]')).toContainText("CIFAR-10");
  await finished(page);
  await page.getByRole("button", { name: "Attack", exact: true }).click();
  await finished(page);
  await expect(side(page, "standard")).toContainText("CIFAR-10, standard");
  await expect(side(page, "standard")).toHaveAttribute("data-fooled", /true|false/);
  await expect(notice(page)).toHaveCount(0);
});
