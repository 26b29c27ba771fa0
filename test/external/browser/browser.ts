import type { TestContext } from 'node:test';
import { chromium } from 'playwright-core';

export interface PageOptions {
  readonly colorScheme?: 'light' | 'dark';
  readonly width?: number;
  /** Trusts every certificate. */
  readonly trustAll?: boolean;
}

/** A page of a real browser, and its errors. */
export type OpenPage = Awaited<ReturnType<typeof openPage>>;

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

/** Opens a URL in a new browser with an empty profile, and closes the browser after the test. */
export async function openPage(t: TestContext, url: string, options: PageOptions = {}) {
  const { colorScheme = 'light', width = 1280, trustAll = false } = options;
  // With an empty name, the profile is a temporary folder.
  const context = await chromium.launchPersistentContext('', {
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: FLAGS,
    colorScheme,
    ignoreHTTPSErrors: trustAll,
    viewport: { width, height: HEIGHT },
  });
  t.after(() => context.close());
  const page = await context.newPage();
  /** Console errors and warnings, script errors, violations of the content security policy, and requests to other origins. */
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

// Scripts for the page are strings, because this project has no types of the browser.

/** The elements that overflow on the right, as the beginning of their HTML. Tables and the content of `pre` scroll. */
export const OVERFLOWING = `[...document.querySelectorAll('body *:not(pre *, table, table *)')]
  .filter((element) => element.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
  .map((element) => element.outerHTML.slice(0, 80))`;

/** Lists the elements with text: the beginning of the HTML of each, its colour, and its background colour. */
export const TEXTS_AND_BACKGROUNDS = `(() => {
  const backgroundOf = (element) => {
    const { backgroundColor } = getComputedStyle(element);
    if (backgroundColor !== 'rgba(0, 0, 0, 0)') return backgroundColor;
    return element.parentElement === null ? 'rgb(255, 255, 255)' : backgroundOf(element.parentElement);
  };
  return [...document.querySelectorAll('body *')]
    .filter((element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim() !== ''))
    .map((element) => [element.outerHTML.slice(0, 80), getComputedStyle(element).color, backgroundOf(element)]);
})()`;
