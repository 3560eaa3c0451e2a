// What the tests read from the page, and how they wait for it.
import { expect } from "@playwright/test";

export const UNTRAINED = "/fixtures/untrained.safetensors";

// A page with the violations of its content security policy kept.
export async function open(page, address) {
  const violations = [];
  page.on("console", (message) => {
    if (/Content Security Policy/i.test(message.text())) violations.push(message.text());
  });
  page.on("pageerror", (error) => violations.push(`page error: ${error.message}`));
  await page.goto(address);
  return violations;
}

// Answers requests with what `change` makes of the server's response, which is asked for at `address` of theirs.
export async function answerWith(page, pattern, change, address = (url) => url) {
  await page.route(pattern, async (route) => {
    // A file may be asked for while the page is left or the test ends.
    try {
      const response = await route.fetch({ url: address(route.request().url()) });
      await route.fulfill({ response, ...(await change(response)) });
    } catch (error) {
      if (!/disposed|closed|ended/i.test(error.message)) throw error;
    }
  });
}

// Puts these words in front of the program of the page's workers, or of a worker's partners.
export async function alterWorkers(page, words, program = "worker.js") {
  const altered = async (response) => ({ body: `${words}\n${await response.text()}` });
  await answerWith(page, `**/${program}`, altered);
}

export const stage = (page) => page.getByRole("region", { name: "Stage" });

export async function finished(page) {
  await expect(stage(page)).toHaveAttribute("data-phase", "Finished", { timeout: 150_000 });
}

export async function energies(page) {
  const curve = page.locator("[data-energy]").first();
  const number = async (name) => Number(await curve.getAttribute(name));
  return { start: await number("data-energy-start"), end: await number("data-energy") };
}

// Every pixel of every picture on the stage.
export function pixels(page) {
  return page.evaluate(() => {
    const canvases = [...document.querySelectorAll(".stage canvas")];
    const read = (c) => [...c.getContext("2d").getImageData(0, 0, c.width, c.height).data];
    return canvases.map(read);
  });
}

export const notice = (page) => page.locator(".notice");
export const engine = (page) => page.locator("[data-engine]");

export async function openPanel(page, name) {
  await page.locator(`summary[data-chip="${name}"]`).click();
}
