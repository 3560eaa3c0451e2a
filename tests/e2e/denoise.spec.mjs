import { readFile } from "node:fs/promises";
import { expect, test } from "@playwright/test";
import { energies, finished, open, pixels } from "./page.mjs";

test("a sample is noised and cleaned, and the PSNR rises", async ({ page }) => {
  const violations = await open(page, "/#tab=denoise&engine=cpu&picture=1&sigma=0.3&seed=2");
  await finished(page);
  const { start, end } = await energies(page);
  expect(end).toBeLessThan(start);
  const gain = Number(await page.locator("[data-psnr-gain]").getAttribute("data-psnr-gain"));
  expect(gain).toBeGreaterThan(2);
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
