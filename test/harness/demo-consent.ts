import { setTimeout as delay } from 'node:timers/promises';
import { styleText } from 'node:util';
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { startCambist } from './cambist-process.ts';
import { type ConsentSite, consentAt, startConsentSetup } from './consent-site.ts';
import type { Lifetime } from './lifetime.ts';

const USER = 'alice';
const POLL_MS = 500;

/**
 * Shows a call that needs the user's consent: it gets a URL, the user consents there, and the call goes on.
 * @param byHand waits for a person who opens the URL, instead of visiting it
 * @returns the promises that were broken
 */
export async function demonstrateConsent(t: Lifetime, byHand: boolean, port = '0'): Promise<string[]> {
  const setup = await startConsentSetup(t);
  const { site, server } = setup;
  const cambist = await startCambist(t, { config: () => ({ ...setup.config, listen: `127.0.0.1:${port}` }) });
  const client = new Client(
    { name: 'demo', version: '1' },
    { capabilities: { elicitation: { form: {}, url: {} } }, versionNegotiation: { mode: 'auto' } },
  );
  const opened: string[] = [];
  client.setRequestHandler('elicitation/create', async ({ params }) => {
    if (params.mode !== 'url') return { action: 'decline' };
    opened.push(params.url);
    console.log(`  tools/call echo   ${styleText('yellow', 'consent needed')}   ${params.message}`);
    console.log(`                    open             ${styleText('cyan', params.url)}`);
    if (byHand) await waitForPerson(site);
    else await consentAt(params.url, USER, site.ca);
    console.log(`                    ${styleText('green', 'consented')}        ${USER} signed in there and consented`);
    return { action: 'accept' };
  });
  t.after(() => client.close());
  await cambist.ready();
  console.log(styleText('bold', 'cambist: a backend of another company, which a user must allow first.\n'));
  console.log(`The agent of ${USER} connects and lists the tools without her. Then it calls a tool twice:\n`);
  const requestInit = { headers: { authorization: `Bearer ${await server.mint({ subject: USER })}` } };
  await client.connect(new StreamableHTTPClientTransport(new URL(`${cambist.url}/mcp`), { requestInit }));
  const { tools } = await client.listTools();
  console.log(`  tools/list        ${styleText('green', '200')}              ${tools.length} tools`);
  const texts: string[] = [];
  for (const message of ['hello', 'hello again']) {
    const { content } = await client.callTool({ name: 'echo', arguments: { message } });
    texts.push(...content.map((part) => (part.type === 'text' ? part.text : part.type)));
    console.log(`  tools/call echo   ${styleText('green', '200')}              ${texts.at(-1)}`);
  }
  console.log(
    '\ncambist told the client where to go, in the words of MCP 2026-07-28. The client repeated its call, and the backend',
  );
  console.log("saw nothing of the consent. Nothing of the URL is in cambist's log.");
  return brokenPromises(texts, opened, cambist.stdout());
}

async function waitForPerson(site: ConsentSite): Promise<void> {
  console.log(
    `\nOpen the URL in a browser. Its certificate is the demo's own. Sign in as ${USER}, with any password.\n`,
  );
  while (!site.hasConsented(USER)) await delay(POLL_MS);
}

function brokenPromises(texts: readonly string[], opened: readonly string[], log: string): string[] {
  return [
    ...(texts.join() === 'hello,hello again' ? [] : [`the tool returned "${texts.join()}"`]),
    ...(opened.length === 1 ? [] : [`the user was asked ${opened.length} times`]),
    ...(opened.some((url) => log.includes(url)) ? ['the log contains the URL'] : []),
  ];
}
