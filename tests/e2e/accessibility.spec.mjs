import AxeBuilder from "@axe-core/playwright";
import { expect, test } from "@playwright/test";
import { finished, open, openPanel, UNTRAINED } from "./page.mjs";

const wide = { width: 1280, height: 900 };
const phone = { width: 360, height: 740 };

for (const colorScheme of ["light", "dark"]) {
  for (const viewport of [wide, phone]) {
    for (const tab of ["dream", "denoise", "restore", "attack", "landscape", "models"]) {
      test(`axe finds nothing: ${tab}, ${colorScheme}, ${viewport.width} px`, async ({ page }) => {
        await page.emulateMedia({ colorScheme });
        await page.setViewportSize(viewport);
        // Restoring takes a model that tells distances.
        const model = tab === "restore" ? `&model=${UNTRAINED}` : "&steps=2";
        const morph = tab === "dream" ? "&morph=8,40" : "";
        await open(page, `/#tab=${tab}&engine=cpu${model}${morph}`);
        if (tab === "models") await expect(page.locator(".card")).toHaveCount(2);
        else await finished(page);
        if (tab === "dream") await page.locator(".sampler summary").click();
        if (tab !== "models") {
          await page.locator(".one-step summary").click();
          await expect(page.locator("[data-formula]")).not.toBeEmpty();
        }
        const scan = () => new AxeBuilder({ page }).analyze();
        expect((await scan()).violations).toEqual([]);
        for (const panel of ["model", "engine"]) {
          await openPanel(page, panel);
          expect((await scan()).violations, `${panel} panel`).toEqual([]);
          await openPanel(page, panel);
        }
        const width = await page.evaluate(() => document.documentElement.scrollWidth);
        expect(width).toBeLessThanOrEqual(viewport.width);
      });
    }
  }
}
