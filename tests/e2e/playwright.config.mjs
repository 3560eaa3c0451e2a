import { existsSync } from "node:fs";
import { defineConfig } from "@playwright/test";

// The system's Chromium where there is one; else the one that Playwright installs.
const executablePath = [process.env.CHROMIUM, "/usr/bin/chromium"].find((path) => path && existsSync(path));

export default defineConfig({
  testDir: ".",
  testMatch: "*.spec.mjs",
  timeout: 180_000,
  expect: { timeout: 60_000 },
  // One worker: each page computes on all that a small machine has.
  workers: 1,
  reporter: [["list"]],
  webServer: {
    command: "node serve.mjs 4173",
    url: "http://127.0.0.1:4173/",
    reuseExistingServer: false,
  },
  use: {
    baseURL: "http://127.0.0.1:4173/",
    // It would keep the page's files in every test; offline.spec.mjs is about it.
    serviceWorkers: "block",
    launchOptions: {
      executablePath,
      args: [
        "--no-sandbox",
        "--disable-background-networking",
        "--enable-unsafe-webgpu",
        "--use-webgpu-adapter=swiftshader",
      ],
    },
  },
});
