import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { type TestContext, test } from 'node:test';
import { type FakeSetup, startFakeSetup } from '../../harness/fake-setup.ts';
import { openPage } from './browser.ts';
import { STICKING_OUT, TEXTS_AND_GROUNDS } from './in-page.ts';

async function startBusyScene(t: TestContext): Promise<FakeSetup> {
  const setup = await startFakeSetup({
    change: (config) => ({
      ...config,
      routes: [
        ...config.routes,
        {
          name: 'a-route-whose-name-is-as-long-as-names-may-well-be-in-the-field',
          match: { path: '/away' },
          upstream: 'http://127.0.0.1:1/mcp',
          credential: 'none',
        },
      ],
    }),
  });
  t.after(setup.close);
  await setup.call({ headers: await setup.bearer(), body: '{}' });
  await setup.call({ path: '/away' });
  return setup;
}

/** The text of the cell of a route's row that has this label. */
const cell = (route: string, label: string) => `//tr[th[text()="${route}"]]/td[@data-label="${label}"]`;

test('the figures move while somebody looks, and what was selected stays selected', async (t) => {
  const setup = await startBusyScene(t);
  const { page, complaints } = await openPage(t, `${setup.cambist.adminUrl}/`);
  await page.getByText(/^live, /).waitFor();
  const requests = page.locator(cell('tools', 'Requests'));
  assert.equal(await requests.textContent(), '1');
  await page.evaluate("globalThis.seen = document.querySelector('tbody tr')");
  await setup.call({ headers: await setup.bearer(), body: '{}' });
  await page.locator(`${cell('tools', 'Requests')}[normalize-space()="2"]`).waitFor();
  assert.equal(await page.evaluate('globalThis.seen.isConnected'), true);
  await page.locator('[data-rate="totals.requests"] polyline').waitFor();
  assert.deepEqual(complaints, []);
});

test('what goes wrong appears by itself, and so does its end', async (t) => {
  const setup = await startBusyScene(t);
  const { page, complaints } = await openPage(t, `${setup.cambist.adminUrl}/`);
  await page.getByText(/^live, /).waitFor();
  assert.equal(await page.getByText('What needs attention').count(), 0);
  setup.authorizationServer.behaviour = { kind: 'response', status: 500 };
  for (let i = 0; i < 4; i += 1) await setup.call({ headers: await setup.bearer(), body: '{}' });
  await page.getByText('Authorization server local is down.').waitFor();
  const failures = page.locator('//section[h2="Recent failures"]//tbody/tr');
  assert.match(
    (await failures.first().textContent()) ?? '',
    /tools\s+ERR_STS_UNAVAILABLE[\s\S]+It is asked again by itself\./,
  );
  setup.authorizationServer.behaviour = { kind: 'issue' };
  const untilMs = performance.now() + 10_000;
  while ((await setup.call({ headers: await setup.bearer(), body: '{}' })).status !== 200) {
    assert.ok(performance.now() < untilMs);
  }
  await page.getByText('What needs attention').waitFor({ state: 'detached' });
  assert.deepEqual(complaints, []);
});

test('a change that waits for a restart appears by itself, with the keys that wait', async (t) => {
  const setup = await startBusyScene(t);
  const { page, complaints } = await openPage(t, `${setup.cambist.adminUrl}/`);
  await page.getByText(/^live, /).waitFor();
  const text = await readFile(setup.cambist.configFile, 'utf8');
  await setup.cambist.rewriteConfig(`${text}limits: { max_header_size: 64KiB }\n`);
  await page.getByText('Changed in the config file, and served as before: limits.max_header_size.').waitFor();
  await page.getByText('taken in part').waitFor();
  await setup.cambist.rewriteConfig(text);
  await page.getByText('What needs attention').waitFor({ state: 'detached' });
  assert.deepEqual(complaints, []);
});

test('when cambist is gone the page says so', async (t) => {
  const setup = await startBusyScene(t);
  const { page } = await openPage(t, `${setup.cambist.adminUrl}/`);
  await page.getByText(/^live, /).waitFor();
  setup.cambist.signal('SIGKILL');
  await page.getByText(/^no answer from cambist since /).waitFor();
});

test('it can be read without a script', async (t) => {
  const setup = await startBusyScene(t);
  const { page, complaints } = await openPage(t, `${setup.cambist.adminUrl}/`, { script: false });
  const text = (await page.locator('body').textContent()) ?? '';
  for (const words of ['ready', 'Authorization servers', 'local', 'tools', 'ERR_UPSTREAM_UNREACHABLE']) {
    assert.ok(text.includes(words), words);
  }
  assert.deepEqual(complaints, []);
});

for (const width of [320, 390, 820, 1280, 2200]) {
  test(`nothing is cut off or hangs over at ${width} pixels`, async (t) => {
    const setup = await startBusyScene(t);
    const { page } = await openPage(t, `${setup.cambist.adminUrl}/`, { width });
    await page.getByText(/^live, /).waitFor();
    const over = await page.evaluate<string[]>(STICKING_OUT);
    assert.deepEqual(over, []);
  });
}

for (const colorScheme of ['light', 'dark'] as const) {
  test(`every text stands out from what is behind it, ${colorScheme}`, async (t) => {
    const setup = await startBusyScene(t);
    const { page } = await openPage(t, `${setup.cambist.adminUrl}/`, { colorScheme });
    const pairs = await page.evaluate<[what: string, text: string, ground: string][]>(TEXTS_AND_GROUNDS);
    assert.ok(pairs.length > 40);
    for (const [what, text, ground] of pairs) assert.ok(contrast(text, ground) >= 4.5, `${what} ${text} on ${ground}`);
  });
}

/** @see WCAG 2.2, contrast ratio */
function contrast(one: string, other: string): number {
  const [dark = 0, light = 0] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (light + 0.05) / (dark + 0.05);
}

function luminance(colour: string): number {
  const [red = 0, green = 0, blue = 0] = (colour.match(/[\d.]+/g) ?? []).map((part) => {
    const share = Number(part) / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}
