import { expect, test } from "@playwright/test";
import { finished, notice, open, pixels, stage, UNTRAINED } from "./page.mjs";

const SIDE = 33;

// Waits until every place of the plane was seen by the model in use.
const whole = (page) => expect(stage(page)).toHaveAttribute("data-seen", String(SIDE * SIDE), { timeout: 120_000 });

test("the energy around a picture is lowest near it, and a chain walks down to it", async ({ page }) => {
  const violations = await open(page, "/#tab=landscape&engine=cpu&picture=1&reach=8&from=14,14");
  await finished(page);
  await whole(page);
  const map = page.locator('[data-side="robust"]');
  const low = await map.locator("canvas").evaluate((canvas) => {
    const { data, width } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const light = (at) => data[4 * at] + data[4 * at + 1] + data[4 * at + 2];
    const mean = (places) => places.reduce((sum, at) => sum + light(at), 0) / places.length;
    const middle = (width * width - 1) / 2;
    return { middle: light(middle), edge: mean([...Array(width).keys()]) };
  });
  expect(low.middle).toBeLessThan(0.75 * low.edge);
  await expect(map.locator("path.height")).toHaveAttribute("d", /^M[0-9. ]+L/);
  // The path begins where it was asked to, in a corner, and ends in the middle.
  const points = (await map.locator("polyline").getAttribute("points")).split(" ").map((at) => at.split(",").map(Number));
  // But for pixels that were brought back to what a picture may have.
  expect(Math.hypot(points[0][0] - 30, points[0][1] - 2)).toBeLessThan(3);
  const [x, y] = points.at(-1);
  expect(Math.hypot(x - 16, y - 16)).toBeLessThan(8);
  // The standard network is drawn on the same scale.
  await expect(stage(page)).toHaveAttribute("data-rival-seen", String(SIDE * SIDE), { timeout: 120_000 });
  await expect(page.locator('[data-side="standard"] path.height')).toHaveAttribute("d", /^M/);
  expect(violations).toEqual([]);
});

test("a plane is looked around in by keyboard, and a chain begins there", async ({ page }) => {
  await open(page, `/#tab=landscape&engine=cpu&model=${UNTRAINED}&through=7,0`);
  await finished(page);
  await whole(page);
  const map = page.locator('[data-side="robust"] button');
  await map.focus();
  for (let i = 0; i < 4; i += 1) await page.keyboard.press("ArrowLeft");
  await page.keyboard.press("ArrowDown");
  await expect(page.locator(".looked-at").first()).toHaveAttribute("x", "11.5");
  await expect(page.locator(".here")).toContainText("energy");
  await page.keyboard.press("Enter");
  await expect.poll(() => page.url()).toContain("from=-4,-1");
  await finished(page);
  // Another energy is another colouring of what was seen, and is not computed again.
  await page.getByRole("combobox", { name: "energy" }).selectOption("beta");
  await expect.poll(() => page.url()).toContain("class=1");
  await expect(stage(page)).toHaveAttribute("data-seen", String(SIDE * SIDE));
  await page.getByLabel("second").selectOption({ index: 3 });
  await expect.poll(() => page.url()).toContain("through=3,0");
  await whole(page);
  await expect(notice(page)).toHaveCount(0);
});

test("a step of a chain is taken apart into what it adds", async ({ page }) => {
  await open(page, "/#tab=dream&engine=cpu&class=3&steps=12");
  await finished(page);
  // One at a time, as a chain that runs may show every second one.
  await page.getByRole("button", { name: "reset" }).click();
  await expect(stage(page)).toHaveAttribute("data-phase", "Paused");
  for (const step of ["1", "2", "3"]) {
    await page.getByRole("button", { name: "step", exact: true }).click();
    await expect(stage(page)).toHaveAttribute("data-step", step);
  }
  await page.locator(".scrubber").fill("2");
  await page.locator(".one-step summary").click();
  const formula = page.locator("[data-formula]");
  await expect(formula).toHaveText(/next x = x − \d+\.\d+ · ∇E \+ \d\.\d+ · ξ/);
  const shown = await pixels(page);
  const [x, , , , next] = shown.slice(-5);
  expect(x).toEqual(shown[0]);
  // The next frame of the chain is the step's result.
  await page.locator(".scrubber").fill("3");
  await expect.poll(async () => (await pixels(page)).at(-5)).toEqual((await pixels(page))[0]);
  expect((await pixels(page))[0]).toEqual(next);
  await expect(page.locator(".parts figcaption").first()).toContainText("d̂ =");
});
