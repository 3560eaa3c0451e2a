import { readFile } from "node:fs/promises";
import { expect, test } from "@playwright/test";
import { energies, finished, open, pixels, stage, UNTRAINED } from "./page.mjs";

test("a sample is noised and cleaned, and the PSNR rises", async ({ page }) => {
  const violations = await open(page, "/#tab=denoise&engine=cpu&picture=1&sigma=0.3&seed=2");
  await finished(page);
  const { start, end } = await energies(page);
  expect(end).toBeLessThan(start);
  const gain = Number(await page.locator("[data-psnr-gain]").getAttribute("data-psnr-gain"));
  expect(gain).toBeGreaterThan(2);
  expect(violations).toEqual([]);
});

test("what a blur reaches stands beside what the model does", async ({ page }) => {
  await open(page, "/#tab=denoise&engine=cpu&picture=1&sigma=0.3&seed=2&steps=2");
  await finished(page);
  const blur = Number(await page.locator("[data-psnr-blur]").getAttribute("data-psnr-blur"));
  expect(blur).toBeGreaterThan(15);
  expect(blur).toBeLessThan(25);
  await expect(page.locator(".psnr")).toContainText(`Gaussian blur reaches${blur.toFixed(1)} dB`);
});

test("a model that tells distances has a best guess and a chain, and both can be looked at", async ({ page }) => {
  const violations = await open(page, `/#tab=denoise&engine=cpu&model=${UNTRAINED}&sampler=distance&steps=6&seed=2`);
  await finished(page);
  const guess = page.locator("[data-psnr-guess]");
  expect(Number(await guess.getAttribute("data-psnr-guess"))).toBeGreaterThan(0);
  await expect(page.getByLabel("The best guess")).toBeVisible();
  const sharp = await pixels(page);
  await page.getByRole("radio", { name: "best guess" }).click();
  await expect.poll(async () => await pixels(page)).not.toEqual(sharp);
  await page.getByRole("radio", { name: "sharp" }).click();
  await expect.poll(async () => await pixels(page)).toEqual(sharp);
  await expect.poll(() => page.url()).toContain("steps=6&sampler=distance&h=");
  // Other noise is guessed and cleaned anew.
  const before = await guess.getAttribute("data-psnr-guess");
  await page.getByRole("button", { name: "Roll other noise" }).click();
  await expect.poll(() => guess.getAttribute("data-psnr-guess")).not.toBe(before);
  await finished(page);
  await expect(stage(page)).toHaveAttribute("data-step", "6");
  expect(violations).toEqual([]);
});

test("a picture of the visitor's is fitted to the model and cleaned", async ({ page }) => {
  await open(page, "/#tab=denoise&engine=cpu&steps=2&sigma=0.2");
  await finished(page);
  const before = await pixels(page);
  const picture = page.getByLabel("choose a picture");
  await picture.setInputFiles(new URL("./fixtures/photo.jpg", import.meta.url).pathname);
  await expect.poll(() => page.url()).toContain("picture=own");
  await finished(page);
  const after = await pixels(page);
  expect(after[0]).toHaveLength(32 * 32 * 4);
  expect(after).not.toEqual(before);
});

test("a picture can be dropped and pasted", async ({ page }) => {
  await open(page, "/#tab=denoise&engine=cpu&steps=1");
  await finished(page);
  const bytes = [...(await readFile(new URL("./fixtures/photo.jpg", import.meta.url)))];
  for (const type of ["drop", "paste"]) {
    await page.getByRole("button", { name: "Sample 3" }).click();
    await expect.poll(() => page.url()).toContain("picture=2");
    await page.evaluate(
      ([type, bytes]) => {
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(bytes)], "photo.jpg", { type: "image/jpeg" }));
        const options = { bubbles: true, cancelable: true };
        const event =
          type === "drop"
            ? new DragEvent("drop", { ...options, dataTransfer: data })
            : new ClipboardEvent("paste", { ...options, clipboardData: data });
        document.body.dispatchEvent(event);
      },
      [type, bytes],
    );
    await expect.poll(() => page.url(), { message: type }).toContain("picture=own");
  }
});

test("pictures of every kind are read as the command line reads them", async ({ page }) => {
  const folder = new URL("../data/pictures/", import.meta.url);
  const expected = JSON.parse(await readFile(new URL("expected.json", folder)));
  await open(page, `/#tab=denoise&engine=cpu&model=${UNTRAINED}&sampler=distance&sigma=0&steps=1`);
  await finished(page);
  // How far the nearest of the pictures shown is from this one, in steps of 255.
  const nearest = async (grey) => {
    const shown = (await pixels(page)).filter((picture) => picture.length === 4 * grey.length);
    const off = (picture) => Math.max(...grey.map((value, i) => Math.abs(value - picture[4 * i])));
    return Math.min(...shown.map(off));
  };
  const choose = (name) => page.getByLabel("choose a picture").setInputFiles(new URL(name, folder).pathname);
  for (const [name, { 1: grey }] of Object.entries(expected)) {
    await choose(name);
    await expect.poll(() => nearest(grey), { message: name }).toBeLessThanOrEqual(2);
  }
  await choose("photo.heic");
  await expect(page.locator(".notice")).toContainText("this is a HEIC picture");
});
