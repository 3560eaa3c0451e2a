import { expect, test } from "@playwright/test";
import { energies, finished, notice, open, pixels, UNTRAINED } from "./page.mjs";

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
  const [own, , rival] = await pixels(page);
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
