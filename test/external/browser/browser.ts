import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { type BrowserContext, chromium, type Page } from 'playwright-core';

export interface PageOptions {
  readonly colorScheme?: 'light' | 'dark';
  readonly width?: number;
  readonly script?: boolean;
}

/** A page of a real browser, and whatever was wrong with it. */
export interface OpenPage {
  readonly page: Page;
  /** Errors of the console, of scripts, of what the policy forbids, and requests to anywhere else. */
  readonly complaints: readonly string[];
}

const FLAGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

const HEIGHT = 900;

/** Opens a URL in a browser of its own, with nothing in its profile; it is closed when the test ends. */
export async function openPage(t: TestContext, url: string, options: PageOptions = {}): Promise<OpenPage> {
  const { colorScheme = 'light', width = 1280, script = true } = options;
  const profile = await mkdtemp(join(tmpdir(), 'cambist-browser-'));
  const context: BrowserContext = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: FLAGS,
    colorScheme,
    javaScriptEnabled: script,
    viewport: { width, height: HEIGHT },
  });
  t.after(async () => {
    await context.close();
    await rm(profile, { recursive: true, force: true });
  });
  const page = await context.newPage();
  const complaints: string[] = [];
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('request', (request) => {
    if (new URL(request.url()).origin !== new URL(url).origin) complaints.push(`a request to ${request.url()}`);
  });
  await page.goto(url);
  return { page, complaints };
}
