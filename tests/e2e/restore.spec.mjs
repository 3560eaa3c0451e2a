import { expect, test } from "@playwright/test";
import { finished, notice, open, pixels, stage, UNTRAINED } from "./page.mjs";

// A model that tells distances, of grey images of 8 × 8.
const link = (more) => `/#tab=restore&engine=cpu&model=${UNTRAINED}&picture=1&seed=2${more}`;
const editor = (page) => page.getByRole("group", { name: "What the model is given" });
const given = (page) =>
  page.getByLabel("What is known of the picture").evaluate((canvas) => {
    return [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data];
  });
const whole = (page) =>
  page.getByLabel("The whole picture").evaluate((canvas) => {
    return [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data];
  });

test("a hole is filled in four ways, and what is around it stays", async ({ page }) => {
  const violations = await open(page, link(""));
  await finished(page);
  const results = await pixels(page);
  expect(results).toHaveLength(4);
  expect(new Set(results.map(String)).size).toBe(4);
  const picture = await whole(page);
  // The default hole is a square in the middle, of 2 to 5 of the 8 pixels each way.
  const inside = (i) => [Math.floor(i / 4 / 8), Math.floor(i / 4) % 8].every((at) => at >= 3 && at < 6);
  for (const result of results) {
    const off = result.map((value, i) => (inside(i) ? 0 : Math.abs(value - picture[i])));
    expect(Math.max(...off)).toBeLessThanOrEqual(1);
  }
  expect(violations).toEqual([]);
});

test("a hole is painted, wiped and undone, by mouse and by keys, and the link holds it", async ({ page }) => {
  await open(page, link(""));
  await finished(page);
  const before = await given(page);
  await editor(page).hover({ position: { x: 4, y: 4 } });
  await page.mouse.down();
  await page.mouse.move(0, 0);
  await page.mouse.up();
  await expect.poll(() => page.url()).toContain("hole=");
  const painted = await given(page);
  expect(painted.slice(0, 4)).not.toEqual(before.slice(0, 4));
  await finished(page);
  await page.getByRole("button", { name: "undo" }).click();
  await expect.poll(() => given(page)).toEqual(before);

  await page.getByLabel("width").selectOption("1");
  await editor(page).focus();
  for (let i = 0; i < 10; i++) await page.keyboard.press("Shift+ArrowUp");
  for (let i = 0; i < 10; i++) await page.keyboard.press("Shift+ArrowLeft");
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("Space");
  await page.getByRole("radio", { name: "eraser" }).focus();
  const key = await given(page);
  expect(key.slice(4, 8)).not.toEqual(before.slice(4, 8));
  expect(key.slice(0, 4)).toEqual(before.slice(0, 4));
  const url = page.url();
  await expect.poll(() => page.url()).toContain("hole=1-1-");

  await page.goto("about:blank");
  await open(page, await Promise.resolve(url));
  await finished(page);
});

test("a picture is enlarged, and a grey model has no colour to find", async ({ page }) => {
  await open(page, link("&what=enlarge4"));
  await finished(page);
  // Of each block of 4 × 4 pixels, one value.
  const plain = await given(page);
  expect(plain.slice(0, 4)).toEqual(plain.slice(4 * (3 * 8 + 3), 4 * (3 * 8 + 4)));
  expect(await whole(page)).not.toEqual(plain);
  const first = await pixels(page);
  await page.getByRole("button", { name: "Roll other results" }).click();
  await expect.poll(async () => await pixels(page)).not.toEqual(first);
  await finished(page);

  await page.getByRole("radio", { name: "colour a grey picture" }).click();
  await expect(notice(page).filter({ hasText: "no colour to find" })).toBeVisible();
  await page.getByRole("radio", { name: "fill a hole" }).click();
  await page.getByRole("button", { name: "no hole" }).click();
  await page.getByRole("button", { name: "restore it" }).click();
  await expect(notice(page).filter({ hasText: "the mask is empty" })).toBeVisible();
});

test("a class that is named is drawn into the hole, and odd links are told", async ({ page }) => {
  await open(page, link("&class=2&hole=3-4-1&what=everything"));
  await finished(page);
  await expect(notice(page).filter({ hasText: "hole is “3-4-1”" })).toBeVisible();
  await expect(notice(page).filter({ hasText: "what is “everything”" })).toBeVisible();
  await expect.poll(() => page.url()).toContain("class=2");
  await page.getByLabel("it shows").selectOption("");
  await expect.poll(() => page.url()).not.toContain("class=");
  await finished(page);
  await expect(stage(page)).toHaveAttribute("data-step", "30");
});
